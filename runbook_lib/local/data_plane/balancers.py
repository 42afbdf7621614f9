"""Run each load balancer of the control plane as one Envoy on loopback, and bring it
its configuration.

`Balancers` alone starts and ends these processes. A load balancer's addresses are
invented; `doors` says which loopback port stands for them.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from runbook_lib.local.data_plane.load_balancer import LoadBalancer
from runbook_lib.local.data_plane.load_balancer_files import ENDED, load_balancer_files
from runbook_lib.local.data_plane.load_balancer_series import Counted, End
from runbook_lib.local.data_plane.member import Member
from runbook_lib.local.data_plane.reservation import Reservation
from runbook_lib.local.data_plane.resources import Address
from runbook_lib.local.data_plane.sidecar import Sidecar
from runbook_lib.local.data_plane.tasks import reached_at
from runbook_lib.local.data_plane.view import load_balancers
from runbook_lib.local.paths import file_name
from runbook_lib.local.sockets import socket_of
from runbook_lib.local.troubles import Troubles

__all__ = ["Balancer", "Balancers"]

STEP_SECONDS = 0.02
TAKEN_SECONDS = 1.0
ENDS = re.compile(
    rf"^{re.escape(ENDED)}\.group\.(.*)\.route\.(.*)\.code\.(\d+)\.flags\.(.*)$"
)
CONNECT_FAIL = re.compile(r"^cluster\.(cds_tg_[^.]+)\.upstream_cx_connect_fail$")

Limits = Mapping[tuple[str, str, str], tuple[float, ...]]


class Balancer:
    """One load balancer's Envoy; `state` is what it was last brought."""

    def __init__(self, state: LoadBalancer, folder: Path, sockets: Path) -> None:
        self.state = state
        self.sidecar = Sidecar(
            folder / file_name(state.arn),
            str(socket_of(sockets, state.arn)),
        )
        self.ports: dict[int, int] = {}  # on loopback, by the listener's
        self._held: list[Reservation] = []
        self._sent: Any = None
        self._version = 0

    def follow(
        self,
        state: LoadBalancer,
        endpoints: Mapping[str, list[Address]],
        limits: tuple[float, ...],
    ) -> None:
        """Bring Envoy what has changed, and start it where it does not run."""
        self.state = state
        self._listen_on({listener.port for listener in state.listeners})
        wanted = (state.listeners, state.idle_seconds, dict(endpoints), limits)
        if wanted != self._sent:
            self._version += 1
            admin, version = self.sidecar.admin.path, str(self._version)
            files = load_balancer_files(
                state, self.ports, endpoints, admin, version, latency_limits_ms=limits
            )
            self.sidecar.write_files(files, TAKEN_SECONDS)
            self._sent = wanted
        if self.sidecar.pid is None:
            self.sidecar.start()

    def _listen_on(self, ports: Iterable[int]) -> None:
        for port in set(ports) - self.ports.keys():
            held = Reservation(1)
            self._held.append(held)
            self.ports[port] = held.ports[0]

    def counted(self) -> Counted | None:
        """Return what Envoy has counted since it started; None
        where it does not answer.
        """
        if self.sidecar.pid is None or not self.sidecar.live():
            return None
        admin = self.sidecar.admin
        ends = admin.stats(rf"^{re.escape(ENDED)}\.")
        failed = admin.stats(CONNECT_FAIL.pattern)
        return Counted(
            ends={
                End(*found.groups()): count
                for name, count in ends.items()
                if (found := ENDS.match(name))
            },
            connection_errors={
                found[1]: n
                for name, n in failed.items()
                if (found := CONNECT_FAIL.match(name))
            },
            times={
                cluster: counters.times
                for cluster, counters in admin.counters().items()
            },
        )

    def end(self) -> None:
        """End the process; other Envoys may have its ports."""
        self.sidecar.stop()
        for held in self._held:
            held.release()


class Balancers:
    """Every load balancer of this process, followed by one thread of its own."""

    def __init__(
        self,
        folder: Path,
        sockets: Path,
        members: Callable[[], Iterable[Member]],
        limits_ms: Limits,
        troubles: Troubles,
    ) -> None:
        self._folder, self._sockets, self._members = folder, sockets, members
        self._limits_ms, self._troubles = limits_ms, troubles
        self.running: dict[str, Balancer] = {}  # by ARN

    def run(self, stop: threading.Event) -> None:
        """Follow the control plane until `stop` is set; what is written there is in
        effect some ms later.
        """
        while not stop.wait(STEP_SECONDS):
            with self._troubles.of("load balancers"):
                self.step()

    def step(self) -> None:
        """Start what is new, bring what has changed, end what is gone."""
        wanted = {state.arn: state for state in load_balancers()}
        for arn in self.running.keys() - wanted.keys():
            self.running.pop(arn).end()
        members = [
            member
            for member in self._members()
            if member.phase in ("running", "leaving")
        ]
        for arn, state in wanted.items():
            with self._troubles.of(f"load balancer {state.name}"):
                balancer = self.running.get(arn) or Balancer(
                    state, self._folder, self._sockets
                )
                self.running[arn] = balancer
                place = (state.account, state.region, state.cluster)
                limits = self._limits_ms.get(place, ())
                balancer.follow(state, _endpoints(state, members), limits)

    def all(self) -> list[Balancer]:
        """Return those that run."""
        return list(self.running.values())

    def doors(self, account: str, region: str, port: int) -> dict[str, int]:
        """Return the loopback port behind each address of a load balancer that
        listens on a port.
        """
        here = [
            each
            for each in self.all()
            if (each.state.account, each.state.region) == (account, region)
        ]
        return {
            address: each.ports[port]
            for each in here
            if port in each.ports
            for address in each.state.addresses
        }

    def rows(self) -> list[dict[str, Any]]:
        """Return what `runbook local status` shows of each."""
        return [
            {
                "load_balancer": each.state.name,
                "dns_name": each.state.dns_name,
                "pid": each.sidecar.pid,
                "ports": dict(each.ports),
                "admin": each.sidecar.admin.path,
                "error": each.sidecar.update_state().error,
            }
            for each in self.all()
        ]

    def end(self) -> None:
        """End every process; whoever calls `step` has stopped doing so."""
        for balancer in self.all():
            balancer.end()


def _endpoints(
    state: LoadBalancer, members: Iterable[Member]
) -> dict[str, list[Address]]:
    """Return where on loopback the serving targets of each group are."""
    here = [
        member
        for member in members
        if (member.task.account, member.task.region) == (state.account, state.region)
    ]
    by_address = {member.task.address: member for member in here}
    return {
        group.arn: [
            reached_at(by_address.get(address), port) for address, port in group.serving
        ]
        for group in state.groups
    }
