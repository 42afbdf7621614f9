"""Run each ECS task as processes on loopback: its application, and Envoy where its definition says so.

A `Fleet` is the control plane's launcher. It alone starts and ends task processes, and brings every sidecar
the configuration of its node. Start-up follows the definition: the application waits for Envoy to be LIVE.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from runbook_lib.errors import RunbookError
from runbook_lib.local.control_plane import Task, TaskState
from runbook_lib.local.data_plane.configuration import Endpoints, Ports, sidecar_files
from runbook_lib.local.data_plane.resources import Address, Mesh, hostname
from runbook_lib.local.data_plane.sidecar import Sidecar
from runbook_lib.local.data_plane.view import View, look
from runbook_lib.task_definition import Meshed, sidecar_of

__all__ = ["Fleet", "Member"]

LOOPBACK = "127.0.0.1"
GRACE_SECONDS = 1.5  # from leaving discovery until the end: callers keep a resolved name for a second
DRAIN_SECONDS = 3.0
STEP_SECONDS = 0.05
UNREACHABLE = (LOOPBACK, 1)  # an address nobody has, such as a placeholder's

Phase = Literal["starting", "running", "leaving", "ended"]


@dataclass
class Member:
    """One task's processes. `phase` goes forward only; `error` says why a task ended by itself."""

    task: Task
    folder: Path
    app_ports: Mapping[int, int]
    identity: Meshed | None
    ports: Ports | None
    sidecar: Sidecar | None
    phase: Phase = "starting"
    apps: list[subprocess.Popen[bytes]] = field(default_factory=list)
    live: bool = False
    refused: str = ""
    error: str = ""
    exit_codes: dict[str, int] = field(default_factory=dict)
    leaving_since: float = 0.0

    @property
    def inbound(self) -> Mapping[int, int]:
        """Where requests to each container port arrive: at Envoy, which would intercept them, or at the application."""
        return self.ports.ingress if self.ports else self.app_ports

    @property
    def pid(self) -> int | None:
        """The application's process."""
        return self.apps[0].pid if self.apps else None


class Fleet:
    """Every task of this process, moved on by one thread of its own."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.folder, self._clock = folder, clock
        self.changed = threading.Event()
        self.members: dict[str, Member] = {}
        self._lock = threading.RLock()
        self._version = 0
        self._sent: dict[str, Any] = {}

    # the control plane's side: called under its lock, returns at once

    def start(self, task: Task) -> None:
        """Begin to run a task."""
        with self._lock:
            self.members[task.id] = _member(task, self.folder)
        self.changed.set()

    def stop(self, task: Task) -> None:
        """Begin to end a task; it has left discovery already."""
        with self._lock:
            member = self.members.get(task.id)
            if member and member.phase != "ended":
                member.phase, member.leaving_since = "leaving", self._clock()
        self.changed.set()

    def state(self, task: Task) -> TaskState:
        """Return what is known of a task."""
        member = self.members.get(task.id)
        if member is None or member.phase == "ended":
            reason, codes = (member.error, member.exit_codes) if member else ("unknown", {})
            return {"status": "STOPPED", "health": {}, "reason": reason, "exit_codes": codes}
        health: dict[str, Literal["HEALTHY", "UNHEALTHY", "UNKNOWN"]] = {}
        for name in task.checked:
            is_envoy = member.identity is not None and name == member.identity.container
            health[name] = "HEALTHY" if (member.live if is_envoy else member.phase != "starting") else "UNKNOWN"
        return {"status": "PENDING" if member.phase == "starting" else "RUNNING", "health": health}

    # the fleet's own side

    def run(self, stop: threading.Event) -> None:
        """Move every task on until `stop` is set, at once where something changed."""
        while not stop.is_set():
            self.changed.wait(STEP_SECONDS)
            self.changed.clear()
            self.step()

    def step(self) -> None:
        """Move every task on by one step, then bring sidecars their configuration."""
        with self._lock:
            members = list(self.members.values())
        views = {place: look(*place) for place in {(m.task.account, m.task.region) for m in members}}
        for member in sorted(members, key=lambda m: m.phase != "running"):  # traffic first
            view = views[(member.task.account, member.task.region)]
            self._configure(member, view, members)
            self._advance(member)

    def end(self) -> None:
        """End every process at once."""
        for member in list(self.members.values()):
            member.phase = "leaving"
            _end(member, drain=0.0)

    def _advance(self, member: Member) -> None:
        if member.phase in ("starting", "running"):
            self._watch(member)
        if member.phase == "starting":
            self._begin(member)
        elif member.phase == "leaving" and self._clock() - member.leaving_since >= GRACE_SECONDS:
            member.phase = "ended"
            threading.Thread(target=_end, args=(member,), daemon=True).start()

    def _begin(self, member: Member) -> None:
        """Envoy first; the application once Envoy is LIVE; running once the application answers."""
        if member.sidecar and not member.live:
            if member.sidecar.pid is None and (member.sidecar.directory / "bootstrap.json").exists():
                member.sidecar.start()
            member.live = member.sidecar.pid is not None and member.sidecar.live()
        elif not member.apps:
            member.apps = [_application(member, port) for port in member.app_ports]
        elif all(_answers(port) for port in member.app_ports.values()):
            member.phase = "running"

    def _watch(self, member: Member) -> None:
        """A task whose essential process has ended has ended."""
        dead = next((app for app in member.apps if app.poll() is not None), None)
        fallen = member.live and member.sidecar is not None and member.sidecar.pid is None
        if dead is None and not fallen:
            return
        name = member.identity.container if fallen and member.identity else "application"
        member.error = f"Essential container in task exited ({name})"
        member.phase = "ended"
        threading.Thread(target=_end, args=(member,), kwargs={"drain": 0.0}, daemon=True).start()

    def _configure(self, member: Member, view: View, members: Iterable[Member]) -> None:
        """Bring a sidecar its node's files where they differ from what it was sent."""
        if member.sidecar is None or member.identity is None or member.ports is None or member.phase == "ended":
            return
        mesh = view.meshes.get(member.identity.mesh)
        if mesh is None or member.identity.virtual_node not in mesh.virtual_nodes:
            return  # Envoy keeps what it had; a new one waits, as on AWS
        endpoints = _endpoints(mesh, view, [m for m in members if m.phase in ("running", "leaving")])
        key = (mesh, tuple(sorted((k, tuple(v)) for k, v in endpoints.items())))
        if self._sent.get(member.task.id) == key:
            return
        try:
            self._version += 1
            files = sidecar_files(mesh, member.identity.virtual_node, member.ports, endpoints, str(self._version))
            member.sidecar.write_files(files)
            member.refused = ""
        except RunbookError as error:
            member.refused = error.message
        except OSError as error:  # a full disk, say: tried again at the next step, and everybody else goes on
            member.refused = f"{member.sidecar.directory.name}: {error}"
            return
        self._sent[member.task.id] = key

    def rows(self) -> list[dict[str, Any]]:
        """Return what `runbook local status` shows of each task."""
        return [_row(member) for member in list(self.members.values()) if member.phase != "ended"]


def _member(task: Task, folder: Path) -> Member:
    place = folder / task.account / task.cluster / f"{task.service or 'task'}-{task.id[:8]}"
    place.mkdir(parents=True, exist_ok=True)
    containers = task.definition["containerDefinitions"]
    identity = sidecar_of(task.definition)
    own = [identity.container, "xray-daemon"] if identity else []
    ports = [m["containerPort"] for c in containers if c["name"] not in own for m in c.get("portMappings") or []]
    app_ports = {port: _free_port() for port in ports}
    if identity is None:
        return Member(task, place, app_ports, None, None, None)
    inbound = {port: _free_port() for port in identity.app_ports}
    sidecar_ports = Ports(_free_port(), _free_port(), inbound, {p: app_ports[p] for p in inbound if p in app_ports})
    return Member(task, place, app_ports, identity, sidecar_ports, Sidecar(place / "envoy", sidecar_ports.admin))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _application(member: Member, port: int) -> subprocess.Popen[bytes]:
    """Start the application of one port; its faults are the service's, so that a replaced task has them too."""
    service = member.task.service or "task"
    faults = member.folder.parent / f"{service}.faults.json"
    options = ["--port", str(member.app_ports[port]), "--version", service, "--faults-file", str(faults)]
    with (member.folder / "application.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "runbook_lib.local.data_plane.application", *options],
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


def _end(member: Member, drain: float = DRAIN_SECONDS) -> None:
    """End a task's processes: Envoy drains first, since the application answers through it."""
    if member.sidecar:
        code = member.sidecar.stop(drain_seconds=drain)
        if member.identity and code is not None:
            member.exit_codes[member.identity.container] = code
    for app in member.apps:
        app.terminate()
        try:
            app.wait(drain + 3)
        except subprocess.TimeoutExpired:
            app.kill()
            app.wait()
    member.phase = "ended"


def _endpoints(mesh: Mesh, view: View, running: Iterable[Member]) -> Endpoints:
    """Return where each node's tasks are reached: the name it is discovered by, resolved, on loopback."""
    by_address = {member.task.address: member for member in running}
    found: dict[tuple[str, int], list[Address]] = {}
    for name, node in mesh.virtual_nodes.items():
        for listener in node["spec"].get("listeners") or []:
            port = listener["portMapping"]["port"]
            addresses = view.addresses.get(hostname(node["spec"]).lower(), ())
            found[(name, port)] = [_reached(by_address.get(address), port) for address in addresses]
    return found


def _reached(member: Member | None, port: int) -> Address:
    inbound = member.inbound.get(port) if member else None
    return (LOOPBACK, inbound) if inbound else UNREACHABLE


def _row(member: Member) -> dict[str, Any]:
    row: dict[str, Any] = {
        "service": member.task.service,
        "task": member.task.id[:8],
        "phase": member.phase,
        "pid": member.pid,
        "ports": dict(member.app_ports),
        "admin": member.ports.admin if member.ports else None,
        "log": str(member.folder),
    }
    if member.sidecar and member.ports:
        update = member.sidecar.update_state()
        row |= {
            "envoy": "LIVE" if member.live else "starting",
            "envoy_pid": member.sidecar.pid,
            "egress": member.ports.egress,
            "version": max(update.versions.values(), key=int, default=""),
            "update": "rejected" if member.refused else update.state,
            "error": member.refused or update.error,
        }
    return row
