"""Health checks of targets: which are due, and who carries them out.

Convergence asks a checker and believes what it says, as it does its launcher. A group
that no rule names is not checked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from runbook_lib.local.control_plane.ecs_resources import ecs_backends
from runbook_lib.local.control_plane.elbv2_targets import Outcome, Target

if TYPE_CHECKING:
    from runbook_lib.local.control_plane.elbv2_backend import LoadBalancers

__all__ = ["Checker", "InMemoryChecker", "Probe", "check_targets"]


@dataclass(frozen=True, slots=True)
class Probe:
    """One health check of one target; `number` tells it from those before."""

    account: str
    region: str
    group: str
    address: str
    port: int
    path: str
    timeout_seconds: float
    number: int


class Checker(Protocol):
    """Carries out health checks. Called under the control plane's
    lock; returns at once.
    """

    def outcome(self, probe: Probe) -> Outcome | None:
        """Return what a check has found, or None while it is under way; the
        first call begins it.
        """


class InMemoryChecker:
    """Asks nobody: the address of a running task answers 200, any other refuses."""

    def outcome(self, probe: Probe) -> Outcome | None:
        """Return what the address answers."""
        tasks = ecs_backends[probe.account][probe.region].state.tasks.values()
        running = {task.address for task in tasks if task.last == "RUNNING"}
        return Outcome(status=200) if probe.address in running else Outcome()


def check_targets(store: LoadBalancers, checker: Checker, now: float) -> bool:
    """Carry out the health checks that are due; say whether the health
    of a target changed.
    """
    moved = False
    for arn, known in store.targets.items():
        known.forget_drained(now)
        group = store.target_groups[arn]
        if not group.load_balancer_arns:
            continue
        for target in list(known.targets.values()):
            if not target.is_due(now):
                continue
            outcome = checker.outcome(_probe(store, group, target))
            if outcome is not None:
                before = target.health
                target.take(outcome, store.settings_of(arn), now)
                moved = moved or target.health != before
    return moved


def _probe(store: LoadBalancers, group: Any, target: Target) -> Probe:
    settings = store.settings_of(group.arn)
    apart = group.health_check_port != "traffic-port"
    return Probe(
        account=store.account_id,
        region=store.region_name,
        group=group.arn,
        address=target.address,
        port=int(group.health_check_port) if apart else target.port,
        path=settings.path,
        timeout_seconds=settings.timeout_seconds,
        number=target.checks,
    )
