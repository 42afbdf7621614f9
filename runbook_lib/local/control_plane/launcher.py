"""The seam between the ECS of the control plane and what really runs a task.

Convergence calls a launcher and believes what it says; it never starts anything itself.
`InMemoryLauncher` runs nothing: its tasks come up at the next step.
"""

from __future__ import annotations

from typing import Literal, NotRequired, Protocol, TypedDict

from runbook_lib.local.control_plane.ecs_resources import Task

__all__ = ["InMemoryLauncher", "Launcher", "TaskState"]


class TaskState(TypedDict):
    """What a launcher reports of one task."""

    status: Literal["PENDING", "RUNNING", "STOPPED"]
    health: dict[str, Literal["HEALTHY", "UNHEALTHY", "UNKNOWN"]]  # by container
    reason: NotRequired[str]  # why it stopped
    exit_codes: NotRequired[dict[str, int]]  # by container


class Launcher(Protocol):
    """Runs tasks. Each method is called under the control plane's lock and
    must return at once.

    None may raise: what goes wrong is a STOPPED task with a reason. A task that crashes
    is started anew at the next step, so a launcher that wants to slow that down leaves
    the new one PENDING for a while.
    """

    def start(self, task: Task) -> None:
        """Begin to run a task; called once for each, before `state` is asked."""

    def stop(self, task: Task) -> None:
        """Begin to stop a task; may be called for one that has ended by itself."""

    def state(self, task: Task) -> TaskState:
        """Return what is known of a task now; STOPPED for one it does not know,
        and then for ever.
        """


class InMemoryLauncher:
    """Keeps nothing: a task runs and is healthy from the step after its start until
    it is told to stop.
    """

    def start(self, task: Task) -> None:
        """Do nothing."""

    def stop(self, task: Task) -> None:
        """Do nothing."""

    def state(self, task: Task) -> TaskState:
        """Return that it does what is wanted of it."""
        if task.told_to_stop:
            return {
                "status": "STOPPED",
                "health": {},
                "exit_codes": dict.fromkeys(task.containers, 0),
            }
        return {"status": "RUNNING", "health": dict.fromkeys(task.checked, "HEALTHY")}
