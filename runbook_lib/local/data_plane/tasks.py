"""Run each ECS task as processes on loopback: its application, and Envoy where its
definition says so.

A `Fleet` is the control plane's launcher. It alone starts and ends task processes, and
brings every sidecar the configuration of its node. Start-up follows the definition: the
application waits for Envoy to be LIVE.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from runbook_lib.errors import RunbookError, WaitError
from runbook_lib.local.control_plane import Task, TaskState
from runbook_lib.local.data_plane.configuration import Endpoints, sidecar_files
from runbook_lib.local.data_plane.member import LOOPBACK, Member, Phase, member_of
from runbook_lib.local.data_plane.resources import Address, Mesh, hostname
from runbook_lib.local.data_plane.view import View, look
from runbook_lib.local.troubles import Troubles

__all__ = ["UNREACHABLE", "Fleet", "reached_at"]

# from leaving discovery until the end: callers keep a resolved name for a second
GRACE_SECONDS = 1.5
DRAIN_SECONDS = 3.0
STEP_SECONDS = 0.05
TAKEN_SECONDS = 1.0  # an Envoy may keep everybody waiting so long,
AGAIN_SECONDS = 5.0  # and then not again for a while
KEPT_FOLDERS = 50
UNREACHABLE = (LOOPBACK, 1)  # an address nobody has, such as a placeholder's


class Fleet:
    """Every task of this process, moved on by one thread of its own."""

    def __init__(
        self,
        folder: Path,
        sockets: Path,
        troubles: Troubles,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder, self.sockets, self._troubles, self._clock = (
            folder,
            sockets,
            troubles,
            clock,
        )
        self.changed = threading.Event()
        self.members: dict[str, Member] = {}
        # By account, region, cluster; requests over each limit are counted exactly.
        self.limits_ms: dict[tuple[str, str, str], tuple[float, ...]] = {}
        self._lock = threading.RLock()
        self._version = 0
        self._folders: list[Path] = []  # of tasks that have ended

    # the control plane's side: called under its lock, returns at once

    def start(self, task: Task) -> None:
        """Begin to run a task; one that cannot even get its folder and ports has
        ended with that reason.
        """
        with self._lock:
            self.members[task.id] = member_of(
                task, self.folder, self.sockets, self._clock()
            )
        self.changed.set()

    def stop(self, task: Task) -> None:
        """Begin to end a task; it has left discovery already."""
        member = self.members.get(task.id)
        if member and self._move(member, "leaving", of=("starting", "running")):
            member.leaving_since = self._clock()
        self.changed.set()

    def state(self, task: Task) -> TaskState:
        """Return what is known of a task; STOPPED once its processes have ended, and
        then it is forgotten.
        """
        member = self.members.get(task.id)
        if member is None:
            return {"status": "STOPPED", "health": {}, "reason": "unknown"}
        if member.phase == "ended":
            self._forget(member)
            return {
                "status": "STOPPED",
                "health": {},
                "reason": member.error,
                "exit_codes": member.exit_codes,
            }
        health = {name: member.health_of(name) for name in task.checked}
        return {"status": "RUNNING" if member.up else "PENDING", "health": health}

    def _forget(self, member: Member) -> None:
        """Leave a task's log files for a while to whoever asks what became of it."""
        with self._lock:
            self.members.pop(member.task.id, None)
            self._folders.append(member.folder)
            if len(self._folders) > KEPT_FOLDERS:
                shutil.rmtree(self._folders.pop(0), ignore_errors=True)

    def _move(self, member: Member, to: Phase, *, of: tuple[Phase, ...]) -> bool:
        """Move a task to a phase if it is still in one of these:
        others move it, too.
        """
        with self._lock:
            if member.phase not in of:
                return False
            member.phase = to
            return True

    # the fleet's own side

    def run(self, stop: threading.Event) -> None:
        """Move every task on until `stop` is set, at once where something changed."""
        while not stop.is_set():
            self.changed.wait(STEP_SECONDS)
            self.changed.clear()
            with self._troubles.of("tasks"):
                self.step()

    def step(self) -> None:
        """Move every task on by one step, then bring sidecars their configuration."""
        members = list(self.members.values())
        views = {where: look(*where) for where in set(map(_asks, members))}
        # traffic first
        for member in sorted(members, key=lambda m: m.phase != "running"):
            with self._troubles.of(f"task {member.name}"):
                self._configure(member, views[_asks(member)], members)
                self._advance(member)

    def end(self) -> None:
        """End every process at once; whoever calls `step` has stopped doing so."""
        members = list(self.members.values())
        for member in members:  # at once: each takes a moment to stop
            member.terminate()
        for member in members:
            member.end(drain=0.0)

    def _advance(self, member: Member) -> None:
        if member.phase in ("starting", "running") and (error := member.fallen()):
            self._fail(member, error)
        if member.phase == "starting":
            self._begin(member)
        elif member.phase == "running":
            member.check(self._clock())
        elif (
            member.phase == "leaving"
            and self._clock() - member.leaving_since >= GRACE_SECONDS
        ):
            self._end(member, "leaving", drain=DRAIN_SECONDS)

    def _begin(self, member: Member) -> None:
        """Envoy first; the application once Envoy is LIVE; running once the
        application answers.
        """
        try:
            up = member.bring_up(self._clock())
        except OSError as error:
            self._fail(member, f"CannotStartContainerError: {error}")
        else:
            member.up = up and self._move(member, "running", of=("starting",))

    def _fail(self, member: Member, error: str) -> None:
        member.error = error
        self._end(member, "starting", "running", drain=0.0)

    def _end(self, member: Member, *phases: Phase, drain: float) -> None:
        if self._move(member, "stopping", of=phases):
            threading.Thread(target=member.end, args=(drain,), daemon=True).start()

    def _configure(self, member: Member, view: View, members: Iterable[Member]) -> None:
        """Bring a sidecar its node's files where they differ from what it was sent."""
        if member.sidecar is None or member.identity is None or member.ports is None:
            return
        if member.phase in ("stopping", "ended") or self._clock() < member.again_at:
            return
        mesh = view.meshes.get(member.identity.mesh)
        if mesh is None or member.identity.virtual_node not in mesh.virtual_nodes:
            return  # Envoy keeps what it had; a new one waits, as on AWS
        place = (member.task.account, member.task.region)
        reachable = [m for m in members if m.phase in ("running", "leaving")]
        endpoints = _endpoints(
            mesh,
            view,
            [m for m in reachable if (m.task.account, m.task.region) == place],
        )
        limits = self.limits_ms.get((*place, member.task.cluster), ())
        wanted = (
            mesh,
            tuple(sorted((k, tuple(v)) for k, v in endpoints.items())),
            limits,
        )
        if member.sent == wanted:
            return
        self._version += 1
        try:
            node, version = member.identity.virtual_node, str(self._version)
            files = sidecar_files(
                mesh, node, member.ports, endpoints, version, latency_limits_ms=limits
            )
            member.sidecar.write_files(files, TAKEN_SECONDS)
        except WaitError as error:
            member.late, member.again_at = error.message, self._clock() + AGAIN_SECONDS
            return
        # a full disk, say: tried again at the next step, and everybody else goes on
        except OSError as error:
            member.refused = f"{member.sidecar.directory.name}: {error}"
            return
        except RunbookError as error:
            member.refused = error.message
        else:
            member.refused = ""
        member.sent, member.late = wanted, ""

    def rows(self) -> list[dict[str, Any]]:
        """Return what `runbook local status` shows of each task."""
        # an Envoy that hangs answers late, and they do not add up
        with ThreadPoolExecutor() as pool:
            return list(
                pool.map(
                    Member.row,
                    [m for m in list(self.members.values()) if m.phase != "ended"],
                )
            )


def _asks(member: Member) -> tuple[str, str, str]:
    """Return where a task asks for names: its account, region and VPC."""
    return member.task.account, member.task.region, member.task.vpc


def _endpoints(mesh: Mesh, view: View, running: Iterable[Member]) -> Endpoints:
    """Return where each node's tasks are reached: the name it is discovered by,
    resolved, on loopback.

    `running` are tasks of the mesh's own account and region: the same address may be
    another task's elsewhere.
    """
    by_address = {member.task.address: member for member in running}
    found: dict[tuple[str, int], list[Address]] = {}
    for name, node in mesh.virtual_nodes.items():
        for listener in node["spec"].get("listeners") or []:
            port = listener["portMapping"]["port"]
            addresses = view.addresses.get(hostname(node["spec"]).lower(), ())
            found[(name, port)] = [
                reached_at(by_address.get(address), port) for address in addresses
            ]
    return found


def reached_at(member: Member | None, port: int) -> Address:
    """Return where on loopback a task's container port is; nowhere for a task
    that is not there.
    """
    inbound = member.inbound.get(port) if member else None
    return (LOOPBACK, inbound) if inbound else UNREACHABLE
