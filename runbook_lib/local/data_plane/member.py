"""One ECS task's processes: their ports, start, health and end.

It alone starts an application. When to do what is the fleet's.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from runbook_lib.errors import PlanError, WaitError
from runbook_lib.local.control_plane import Task
from runbook_lib.local.data_plane.configuration import Ports
from runbook_lib.local.data_plane.health import Check
from runbook_lib.local.data_plane.reservation import Reservation
from runbook_lib.local.data_plane.sidecar import BOOTSTRAP, Sidecar
from runbook_lib.local.paths import cluster_folder, faults_file, file_name
from runbook_lib.local.sockets import socket_of
from runbook_lib.task_definition.envoy import applications
from runbook_lib.task_definition.form import tcp_ports
from runbook_lib.task_definition.sidecar import Meshed, sidecar_of

__all__ = ["LOOPBACK", "Member", "Phase", "member_of"]

LOOPBACK = "127.0.0.1"
MOST_PORTS = 20  # of one task: each is a process
KILL_SECONDS = 3.0  # after what it may take to finish requests

Phase = Literal["starting", "running", "leaving", "stopping", "ended"]
Health = Literal["HEALTHY", "UNHEALTHY", "UNKNOWN"]


@dataclass
class Member:
    """One task's processes. `phase` goes forward only; `error` says why a
    task ended by itself.
    """

    task: Task
    folder: Path
    app_ports: Mapping[int, int] = field(default_factory=dict)
    identity: Meshed | None = None
    ports: Ports | None = None
    sidecar: Sidecar | None = None
    health: Check | None = None
    held: Reservation | None = None
    phase: Phase = "starting"
    # by container port
    apps: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    live: bool = False  # its Envoy has been
    up: bool = False  # all of it has been
    sent: Any = None  # what the sidecar's files were made of
    late: str = ""  # why they have not reached it yet,
    again_at: float = 0.0  # and when that is tried again
    refused: str = ""
    error: str = ""
    exit_codes: dict[str, int] = field(default_factory=dict)
    leaving_since: float = 0.0

    @property
    def name(self) -> str:
        """Its service and the beginning of its id."""
        return f"{self.task.service or 'task'}-{self.task.id[:8]}"

    @property
    def inbound(self) -> Mapping[int, int]:
        """Where requests to each container port arrive: at Envoy where it intercepts
        them, or at the application.
        """
        return {**self.app_ports, **(self.ports.ingress if self.ports else {})}

    @property
    def pid(self) -> int | None:
        """The application's process."""
        return next((app.pid for app in self.apps.values()), None)

    def health_of(self, container: str) -> Health:
        """Return what ECS is told of a container with a health check; the
        application's is not rehearsed.
        """
        if self.identity and self.health and container == self.identity.container:
            return self.health.state
        return "HEALTHY" if self.up else "UNKNOWN"

    def bring_up(self, now: float) -> bool:
        """Take the next step of the start, and say whether all of it is done; OSError
        where a process does not start.

        An Envoy whose node does not exist has nothing to start from, and
        never becomes healthy.
        """
        if self.sidecar and not self.live:
            if (
                not self.sidecar.started
                and (self.sidecar.directory / BOOTSTRAP).exists()
            ):
                self.sidecar.start()
            self.check(now)
            return False
        for port in self.app_ports.keys() - self.apps.keys():
            self.apps[port] = _application(self, port)
        return all(_answers(port) for port in self.app_ports.values())

    def check(self, now: float) -> None:
        """Carry out the health check of Envoy where it is due."""
        if self.sidecar and self.health and self.health.is_due(now):
            self.health.take(
                now, passed=self.sidecar.pid is not None and self.sidecar.live()
            )
            self.live = self.live or self.health.state == "HEALTHY"

    def fallen(self) -> str:
        """Return why the task has ended by itself, empty while its
        essential processes run.
        """
        dead = [
            self._container(port)
            for port, app in self.apps.items()
            if app.poll() is not None
        ]
        if (
            self.identity
            and self.sidecar
            and self.sidecar.started
            and self.sidecar.pid is None
        ):
            dead.append(self.identity.container)
        return f"Essential container in task exited ({dead[0]})" if dead else ""

    def terminate(self) -> None:
        """Tell the applications to stop, and wait for none of them."""
        for app in self.apps.values():
            app.terminate()

    def end(self, drain: float) -> None:
        """End the processes, as their definition's dependencies say: the
        application before its Envoy.

        For at most `drain` seconds requests under way are finished first.
        """
        if self.sidecar and drain:
            self.sidecar.drain(drain)
        self.terminate()
        for port, app in self.apps.items():
            self.exit_codes[self._container(port)] = _code(
                _waited(app, drain + KILL_SECONDS)
            )
        code = self.sidecar.stop() if self.sidecar else None
        if self.identity and code is not None:
            self.exit_codes[self.identity.container] = _code(code)
        if self.held:
            self.held.release()
        self.phase = "ended"

    def row(self) -> dict[str, Any]:
        """Return what `runbook local status` shows of it; asks its Envoy."""
        row: dict[str, Any] = {
            "service": self.task.service,
            "task": self.task.id[:8],
            "phase": self.phase,
            "pid": self.pid,
            "ports": dict(self.app_ports),
            "admin": self.ports.admin if self.ports else None,
            "log": str(self.folder),
            "note": ""
            if self.app_ports
            else "it maps no port: no application is started for it",
        }
        return row | (
            self._envoy(self.sidecar, self.ports) if self.sidecar and self.ports else {}
        )

    def _envoy(self, sidecar: Sidecar, ports: Ports) -> dict[str, Any]:
        update = sidecar.update_state()
        taken = [int(version) for version in update.versions.values() if version]
        return {
            "envoy": sidecar.admin.state() or "no answer" if self.live else "starting",
            "envoy_pid": sidecar.pid,
            "egress": ports.egress,
            "ingress": dict(ports.ingress),
            "version": str(max(taken)) if taken else "",
            "update": "rejected"
            if self.refused
            else "pending"
            if self.late
            else update.state,
            "error": self.refused or self.late or update.error,
        }

    def _container(self, port: int) -> str:
        """Return the application container of a port: the one that maps it,
        or else the first.
        """
        containers = applications(self.task.definition)
        mapped = [c for c in containers if port in tcp_ports(c)]
        return str((mapped or containers)[0]["name"])


def member_of(task: Task, folder: Path, sockets: Path, now: float) -> Member:
    """Return a task with its folder and ports; ended, with the reason, where there
    are none to be had.

    `sockets` is the folder its Envoy's administrator comes in by.
    """
    cluster = cluster_folder(folder, task.account, task.region, task.cluster)
    member = Member(
        task, cluster / file_name(f"{task.service or 'task'}-{task.id[:8]}")
    )
    try:
        member.folder.mkdir(parents=True, exist_ok=True)
        _give_ports(member, socket_of(sockets, task.id), now)
    except (OSError, PlanError, WaitError) as error:
        member.phase, member.error = "ended", f"CannotStartContainerError: {error}"
    return member


def _give_ports(member: Member, admin: Path, now: float) -> None:
    containers = member.task.definition["containerDefinitions"]
    identity = sidecar_of(member.task.definition)
    intercepted = identity.app_ports if identity else ()
    ports = _served(member.task.definition, intercepted)
    member.held = Reservation(len(ports) + 1 + len(intercepted))
    egress, *rest = member.held.ports
    member.app_ports = dict(zip(ports, rest, strict=False))
    if identity:
        inbound = dict(zip(intercepted, rest[len(ports) :], strict=True))
        app = {
            port: member.app_ports[port] for port in inbound if port in member.app_ports
        }
        member.identity, member.ports = (
            identity,
            Ports(str(admin), egress, inbound, app),
        )
        member.sidecar = Sidecar(member.folder / "envoy", str(admin))
        envoy = next(c for c in containers if c["name"] == identity.container)
        member.health = Check.of(envoy, now)


def _served(definition: Mapping[str, Any], intercepted: Iterable[int]) -> list[int]:
    """Return the ports the application is served on: those it maps, and those that
    Envoy sends to it.

    Raises PlanError where they are more than this machine is given processes for.
    """
    mapped = [
        port
        for container in applications(definition)
        for port in sorted(tcp_ports(container))
    ]
    ports = list(dict.fromkeys([*mapped, *intercepted]))
    if len(ports) > MOST_PORTS:
        raise PlanError(
            f"task definition {definition.get('family', '?')}: the local mesh serves "
            f"at most {MOST_PORTS} ports of a "
            f"task; found {len(ports)}",
            hint="map fewer ports in the rehearsal's definition",
        )
    return ports


def _application(member: Member, port: int) -> subprocess.Popen[bytes]:
    """Start the application of one port; its faults are the service's, so that a
    replaced task has them too.
    """
    service = member.task.service or "task"
    faults = faults_file(member.folder.parent, service)
    options = [
        "--port",
        str(member.app_ports[port]),
        f"--version={service}",
        "--faults-file",
        str(faults),
    ]
    with (member.folder / "application.log").open("ab") as log:
        return subprocess.Popen(
            [
                sys.executable,
                "-m",
                "runbook_lib.local.data_plane.application",
                *options,
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


def _answers(port: int) -> bool:
    try:
        with socket.create_connection((LOOPBACK, port), timeout=0.5):
            return True
    except OSError:
        return False


def _waited(app: subprocess.Popen[bytes], seconds: float) -> int:
    try:
        return app.wait(seconds)
    except subprocess.TimeoutExpired:
        app.kill()
        return app.wait()


def _code(returned: int) -> int:
    """Return an exit code as a container runtime tells it: 128 and the signal where one
    ended the process.
    """
    return returned if returned >= 0 else 128 - returned
