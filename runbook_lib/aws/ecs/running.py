"""One ECS service as it was found: its state, its definition, how it scales. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runbook_lib.aws.ecs.deployments import Pace, pace_of
from runbook_lib.errors import PlanError
from runbook_lib.parameters import Parameters


@dataclass(frozen=True, slots=True)
class Running:
    """One ECS service as found: its state and the definition it runs; both None where
    there is no service.

    `newest` is its family's newest active revision. `revised` is what ECS shows of its
    service revision alone; None where that has not been read, or cannot be.
    """

    service: str
    state: Mapping[str, Any] | None
    definition: Mapping[str, Any] | None
    newest: Mapping[str, Any] | None
    scalable: Mapping[str, Any] | None = None
    revised: Mapping[str, Any] | None = None

    @property
    def arn(self) -> str:
        """The ARN of the revision it runs; "" where ECS does not say one."""
        return str(self._shown("taskDefinition") or "")

    @property
    def settings(self) -> Mapping[str, Any]:
        """What CreateService was given of it; empty where there is no service."""
        return self._shown("settings") or {}

    @property
    def groups(self) -> list[Mapping[str, Any]]:
        """The `loadBalancers` that its tasks are in, as the API has them."""
        return list(self.settings.get("loadBalancers") or [])

    @property
    def counts_words(self) -> str:
        """How many of its tasks run, to be read."""
        if self.state is None:
            return "no service"
        return f"{self.state['runningCount']} of {self.state['desiredCount']} running"

    @property
    def controller(self) -> str:
        """Who deploys it: ECS, CODE_DEPLOY or EXTERNAL."""
        controller = self.settings.get("deploymentController") or {}
        return str(controller.get("type") or "ECS")

    @property
    def is_daemon(self) -> bool:
        """Whether ECS runs one task of it on each instance, as many as there are."""
        return self.settings.get("schedulingStrategy") == "DAEMON"

    @property
    def is_express(self) -> bool:
        """Whether ECS made it with a load balancer of its own, in Express mode."""
        return bool(self._shown("managedBy") == "ECS")

    @property
    def is_being_deployed(self) -> bool:
        """Whether its deployment is still under way."""
        return bool(self._shown("rollout") == "IN_PROGRESS")

    @property
    def pace(self) -> Pace:
        """How ECS deploys it, and how long that may take."""
        return pace_of(self.settings.get("deploymentConfiguration") or {})

    def _shown(self, key: str) -> Any:
        """Return one key of its state; None where there is no service."""
        state = self.state or {}
        return state.get(key)


def not_ours(p: Parameters, found: Running, hint: str = "") -> PlanError:
    """Return what to raise of a service that cannot be moved to another definition."""
    kind = found.controller
    if kind == "ECS":
        kind = "no task definition"
    return PlanError(
        f"ECS service {p.ecs_service_of(found.service)}: expected one that ECS "
        f"deploys (deploymentController ECS), found {kind}: UpdateService cannot give "
        "it a task definition",
        hint=hint,
    )
