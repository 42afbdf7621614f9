"""The calling service's own requests, as a process: `python -m
runbook_lib.local.data_plane.traffic FOLDER`.

It follows `plan.json` of its folder (whom to call, how often, what names resolve to,
the way out) and leaves what became of every request in `ledger.jsonl` and
`snapshot.json`. `Traffic` keeps such a process supplied.
"""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

from runbook_lib.local.control_plane import certificates
from runbook_lib.local.data_plane.caller import Caller, Dial
from runbook_lib.local.data_plane.ledger import Ledger
from runbook_lib.local.data_plane.member import LOOPBACK, Member
from runbook_lib.local.data_plane.resources import Address
from runbook_lib.local.data_plane.tasks import UNREACHABLE
from runbook_lib.local.data_plane.view import addresses
from runbook_lib.local.paths import cluster_folder, file_name

__all__ = ["Calls", "Traffic"]

SNAPSHOT_SECONDS = 0.5
READ_SECONDS = 0.02


Doors = Callable[[int], Mapping[str, int]]
"""The loopback port behind each address of load balancers that listen on a port."""


@dataclass(frozen=True, slots=True)
class Calls:
    """Who calls whom: an ECS service of an account, the name it dials, and how many
    requests a second.

    `former` (a name, a port, a protocol) is what it dials until there is that name, as
    a caller whose URL changes. TLS is spoken where `secure`, never formerly.
    """

    account: str
    region: str
    cluster: str
    service: str
    name: str
    port: int
    protocol: str
    requests_per_second: int
    secure: bool = False
    former: Sequence[Any] | None = None

    def dials(self) -> list[Dial]:
        """Return what it dials, the former last."""
        trust = certificates.trusted() if self.secure else ""
        own = [Dial(self.name, self.port, self.protocol, trust)]
        return [*own, Dial(*self.former)] if self.former else own


class Traffic:
    """One calling service's process, told of every change of names and ways."""

    def __init__(self, calls: Calls, folder: Path) -> None:
        self.calls = calls
        cluster = cluster_folder(folder, calls.account, calls.region, calls.cluster)
        self.folder = cluster / file_name(f"{calls.service}-calls")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.process: subprocess.Popen[bytes] | None = None
        self.starts = 0
        self._told: dict[str, Any] = {}

    def step(self, members: Sequence[Member], doors: Doors) -> None:
        """Tell the process what names resolve to and which way out it has; start it
        with its service's first task.
        """
        own = [m for m in members if self._is_own(m) and m.phase == "running"]
        if own:
            self._tell(own[0], members, doors)
        if self._told and (self.process is None or self.process.poll() is not None):
            self._start()

    def snapshot(self) -> dict[str, Any]:
        """Return what the process last wrote of its ledger, and its restarts; empty
        before its first word.

        What was in flight when it died, and the second it had not written
        yet, is in no count.
        """
        file = self.folder / "snapshot.json"
        found: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
        return (
            {**found, "restarts": self.starts - 1, "file": str(file)} if found else {}
        )

    def probe(
        self,
        members: Sequence[Member],
        doors: Doors,
        headers: Mapping[str, str],
        count: int,
    ) -> list[tuple[str, str]]:
        """Make requests with headers as the service would, beside its own; return
        version and status of each.
        """
        own = next(
            (m for m in members if self._is_own(m) and m.phase == "running"), None
        )
        names, direct = self._ways(own, members, doors)

        def way(addresses: Sequence[str]) -> Address:
            if own is None:
                return UNREACHABLE
            return (
                (LOOPBACK, own.ports.egress)
                if own.ports
                else (LOOPBACK, direct.get(addresses[0], 1))
            )

        caller = Caller(
            *astuple(_dialled(self.calls.dials(), names)),
            requests_per_second=0,
            resolve=lambda name: names[name],
            route_to=way,
        ).start()
        try:
            return caller.outcomes(headers.items(), count)
        finally:
            caller.stop()

    def end(self) -> None:
        """Send nothing more, and wait for what is under way."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def _is_own(self, member: Member) -> bool:
        calls = self.calls
        place = (
            member.task.account,
            member.task.region,
            member.task.cluster,
            member.task.service,
        )
        return place == (calls.account, calls.region, calls.cluster, calls.service)

    def _ways(
        self, own: Member | None, members: Sequence[Member], doors: Doors
    ) -> tuple[dict[str, tuple[str, ...]], dict[str, int]]:
        """Return the addresses of each name that is dialled, as the caller's VPC has
        them, and the loopback port behind each address, one that a caller may still
        remember too: a task's, a load balancer's.
        """
        vpc = own.task.vpc if own else ""
        known = addresses(self.calls.account, self.calls.region, vpc)
        names: dict[str, tuple[str, ...]] = {}
        direct: dict[str, int] = {}
        for dial in reversed(self.calls.dials()):
            names[dial.name] = known.get(dial.name, ())
            direct |= {**self._tasks(members, dial.port), **doors(dial.port)}
        return names, direct

    def _tasks(self, members: Sequence[Member], port: int) -> dict[str, int]:
        """Return the loopback port behind each task that listens on a port."""
        place = (self.calls.account, self.calls.region)
        here = [m for m in members if (m.task.account, m.task.region) == place]
        return {
            m.task.address: m.inbound[port]
            for m in here
            if port in m.inbound and m.phase != "ended"
        }

    def _tell(self, own: Member, members: Sequence[Member], doors: Doors) -> None:
        names, direct = self._ways(own, members, doors)
        plan = {
            "calls": asdict(self.calls),
            "dial": astuple(_dialled(self.calls.dials(), names)),
            "names": names,
            "via": own.ports.egress if own.ports else None,
            "direct": direct,
        }
        if plan != self._told:
            self._told = plan
            _replace(self.folder / "plan.json", plan)

    def _start(self) -> None:
        self.starts += 1
        with (self.folder / "log").open("ab") as log:
            command = [
                sys.executable,
                "-m",
                "runbook_lib.local.data_plane.traffic",
                str(self.folder),
            ]
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )


def _dialled(dials: Sequence[Dial], names: Mapping[str, Sequence[str]]) -> Dial:
    """Return the first whose name there is; its own where there is none."""
    return next((dial for dial in dials if names[dial.name]), dials[0])


def _replace(file: Path, content: Mapping[str, Any]) -> None:
    part = file.with_name(f".{file.name}")
    part.write_text(json.dumps(content))
    part.replace(file)


class Way:
    """What the plan file says now: read again whenever it was replaced."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._seen: tuple[int, int] | None = None
        self._turn = itertools.count()
        self.plan: dict[str, Any] = {}
        self.read()

    def read(self) -> None:
        """Read the plan if it was replaced."""
        stat = self.file.stat()
        if (stat.st_mtime_ns, stat.st_ino) != self._seen:
            self._seen = (stat.st_mtime_ns, stat.st_ino)
            self.plan = json.loads(self.file.read_text())

    @property
    def dial(self) -> Dial:
        """What is dialled."""
        return Dial(*self.plan["dial"])

    def resolve(self, name: str) -> Sequence[str]:
        """Return the addresses of a name, as discovery has them."""
        self.read()
        return list(self.plan["names"][name])

    def route_to(self, addresses: Sequence[str]) -> Address:
        """Return where the next request goes: the own Envoy, or without one a task
        of those addresses.
        """
        if self.plan["via"]:
            return LOOPBACK, self.plan["via"]
        address = addresses[next(self._turn) % len(addresses)]
        return LOOPBACK, self.plan["direct"].get(address, 1)


def main(folder: Path) -> None:
    """Call until told to stop."""
    way = Way(folder / "plan.json")
    calls = Calls(**way.plan["calls"])
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    caller = Caller(
        *astuple(way.dial),
        requests_per_second=calls.requests_per_second,
        resolve=way.resolve,
        route_to=way.route_to,
        ledger=Ledger(folder / "ledger.jsonl"),
    ).start()
    written = time.monotonic()
    while not stop.wait(READ_SECONDS):
        way.read()
        caller.dial = way.dial
        caller.requests_per_second = way.plan["calls"]["requests_per_second"]
        if time.monotonic() - written > SNAPSHOT_SECONDS:
            written = time.monotonic()
            _replace(folder / "snapshot.json", caller.snapshot())
    _replace(folder / "snapshot.json", caller.stop())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
