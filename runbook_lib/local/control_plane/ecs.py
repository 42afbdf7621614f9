"""Amazon ECS: services that converge, tasks, task definitions; clusters stay moto's.

It also holds the two seams: who runs tasks (`launch_with`) and who hears of
them (`attach`). `reconcile` is the only way anything moves; no call does more
than say what is wanted.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final

from runbook_lib.local.control_plane import (
    clusters,
    elbv2,
    resource_tags,
    services,
    task_definitions,
    tasks,
)
from runbook_lib.local.control_plane.attachments import Attachment, CloudMapRegistration
from runbook_lib.local.control_plane.convergence import Scheduler
from runbook_lib.local.control_plane.ecs_resources import (
    EcsBackend,
    EcsState,
    ecs_backends,
)
from runbook_lib.local.control_plane.elbv2_checks import (
    Checker,
    InMemoryChecker,
    check_targets,
)
from runbook_lib.local.control_plane.elbv2_registration import TargetRegistration
from runbook_lib.local.control_plane.launcher import InMemoryLauncher, Launcher
from runbook_lib.local.control_plane.lock import LOCK
from runbook_lib.local.control_plane.validation import check
from runbook_lib.local.control_plane.wire import Target, model
from runbook_lib.local.troubles import Troubles

__all__ = ["attach", "check_with", "converge", "launch_with", "perform", "reconcile"]

Members = dict[str, Any]
OPERATIONS: Final[dict[str, Callable[[EcsBackend, Members], Members | None]]] = {
    **task_definitions.OPERATIONS,
    **services.OPERATIONS,
    **tasks.OPERATIONS,
    **resource_tags.OPERATIONS,
    **clusters.OPERATIONS,
}

_LAUNCHER: list[Launcher] = [InMemoryLauncher()]
_ATTACHMENTS: list[Attachment] = [CloudMapRegistration(), TargetRegistration()]
_CHECKER: list[Checker] = [InMemoryChecker()]


def perform(target: Target, members: Members) -> Members | None:
    """Carry out one operation and return its output members, or None for
    what moto may answer.
    """
    handler = OPERATIONS.get(target.operation)
    if handler is None:
        return None
    shape = model("ecs").operation_model(target.operation).input_shape
    members = check(shape, members, "InvalidParameterException")
    return handler(ecs_backends[target.account][target.region], members)


def launch_with(launcher: Launcher) -> None:
    """Let `launcher` run the tasks of this process from now on; the
    default runs nothing.
    """
    with LOCK:
        _LAUNCHER[0] = launcher


def check_with(checker: Checker) -> None:
    """Let `checker` carry out the health checks of load balancers; the
    default asks nobody.
    """
    with LOCK:
        _CHECKER[0] = checker


def attach(attachment: Attachment) -> None:
    """Tell `attachment`, too, of every task of a service that comes up or goes."""
    with LOCK:
        _ATTACHMENTS.append(attachment)


def reconcile() -> bool:
    """Take one step in every account and region; say whether something moved."""
    with LOCK:
        moved = [_check(), *(_step(state) for state in _states())]
        return any(moved)


def converge(stop: threading.Event, troubles: Troubles, interval: float = 0.05) -> None:
    """Take a step every `interval` seconds until `stop` is set; it is what a thread of
    the caller's runs.
    """
    while not stop.wait(interval):
        with troubles.of("health checks of load balancers"), LOCK:
            _check()
        for state in _states():
            with troubles.of(f"ECS in account {state.account}, {state.region}"), LOCK:
                _step(state)


def _states() -> list[EcsState]:
    with LOCK:
        return [backend.state for _, _, backend in list(ecs_backends.iter_backends())]  # type: ignore[attr-defined]


def _check() -> bool:
    """Carry out the health checks of every load balancer that are due; say whether one
    found something new.
    """
    now = time.time()
    moved = [check_targets(store, _CHECKER[0], now) for store in elbv2.stores()]
    return any(moved)


def _step(state: EcsState) -> bool:
    return Scheduler(state, _LAUNCHER[0], tuple(_ATTACHMENTS)).step()
