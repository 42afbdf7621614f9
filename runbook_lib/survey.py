"""Read what a notebook needs to know about an environment, each part once and only when asked for.

This only reads: it composes the readers, decides nothing, and is thrown away after use.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from runbook_lib import iam, mesh
from runbook_lib.aws import cloud_map, ecs
from runbook_lib.aws.cloud_map import Registered
from runbook_lib.aws.ecs import Running
from runbook_lib.aws.session import Session
from runbook_lib.iam import Credentials
from runbook_lib.mesh_spec import Lifecycle, desired
from runbook_lib.parameters import Parameters
from runbook_lib.plan import Plan, fingerprint

__all__ = ["Survey", "survey"]

ENGINES = {"appmesh": mesh}


@dataclass
class Survey:
    """One look at an environment. Make a new one after anything was changed."""

    session: Session

    @property
    def parameters(self) -> Parameters:
        """The environment's parameters."""
        return self.session.parameters

    @property
    def engine(self) -> Any:
        """The module of what carries the weights."""
        return ENGINES[self.parameters.engine]

    @cached_property
    def live(self) -> Mapping[str, Any]:
        """The state of every resource the engine should hold, by key."""
        state: Mapping[str, Any] = self.engine.read_live(self.session)
        return state

    @cached_property
    def split(self) -> Any:
        """How the traffic is divided."""
        return self.engine.read_split(self.session)

    @property
    def carried(self) -> str:
        """What names the state of what carries the weights; "" where there is none."""
        return fingerprint(self.split.state)

    @property
    def canary_weight(self) -> int:
        """The canary's weight now, in percent."""
        weight: int = self.split.weights.get(self.parameters.shift.canary, 0)
        return weight

    @property
    def lifecycle(self) -> Lifecycle:
        """Where the application stands."""
        return Lifecycle(self.split.written, self.split.retired)

    @property
    def retired(self) -> frozenset[str]:
        """Who of the two services under shift has been retired; an earlier shift's stable is none of them."""
        return self.lifecycle.retired & {self.parameters.shift.stable, self.parameters.shift.canary}

    @property
    def stage(self) -> str:
        """Plain, routed, shifting, shifted or retired."""
        shift = self.parameters.shift
        return Lifecycle(self.split.weights, self.retired).stage(shift.canary, shift.steps[-1])

    @cached_property
    def running(self) -> dict[str, Running]:
        """Each ECS service with its definition."""
        return ecs.read_running(self.session)

    @cached_property
    def tasks(self) -> list[dict[str, Any]]:
        """Each running task with its containers' health."""
        return ecs.read_tasks(self.session)

    @cached_property
    def names(self) -> dict[str, Registered]:
        """Each name callers may dial, as discovery has it."""
        return cloud_map.read_names(self.session)

    @cached_property
    def credentials(self) -> list[Credentials]:
        """Who signs for each sidecar."""
        return iam.read_credentials(self.session, {n: r.definition for n, r in self.running.items() if r.state})

    @cached_property
    def roles(self) -> frozenset[str]:
        """Every role that an Envoy may sign with: those in the file, and those in its services' definitions."""
        p, found = self.parameters, self.running
        definitions = [(name, d) for name, r in found.items() for d in (r.definition, r.newest) if d]
        definitions += self._last_definitions().items()
        named = [p.iam.instance_role, *(service.task_role for service in p.services.values())]
        return frozenset(filter(None, [*named, *(iam.task_role(p, *d) for d in definitions)]))

    @cached_property
    def references(self) -> list[str]:
        """What still refers to the stable service."""
        found: list[str] = self.engine.references(self.session, self.parameters.shift.stable)
        return found

    def resources_of(self, step: str) -> list[str]:
        """Return the keys of one notebook's resources."""
        return [r.key for r in desired(self.parameters, Lifecycle()) if r.step == step]

    def plan_resources(self, step: str) -> Plan:
        """Plan the engine's resources of one notebook."""
        plan: Plan = self.engine.plan_step(self.parameters, self.lifecycle, self.live, step)
        return plan

    def plan_permissions(self) -> Plan:
        """Plan what Envoys lack to sign their requests."""
        return self._assuming(iam.plan_credentials(self.parameters, self.lifecycle, self.credentials))

    def plan_sidecars(self) -> Plan:
        """Plan the sidecars and the services' move to them."""
        roles = iam.role_arns(self.credentials)
        return self._assuming(ecs.plan_sidecars(self.parameters, self.lifecycle, self.running, roles))

    def lacking_sidecars(self) -> list[str]:
        """Return the services that do not run with the wanted sidecar, each with the role it runs with."""
        defined = {name: r.definition for name, r in self.running.items() if r.definition}
        roles = {name: found["taskRoleArn"] for name, found in defined.items() if found.get("taskRoleArn")}
        plan = ecs.plan_sidecars(self.parameters, self.lifecycle, self.running, roles)
        return [change.name for change in plan if change.verb == "deploy"]

    def plan_weights(self, weights: Mapping[str, int]) -> Plan:
        """Plan the traffic's division, in percent by service; more of it for the canary needs evidence, less none."""
        plan: Plan = self.engine.plan_split(self.split, weights)
        rises = weights.get(self.parameters.shift.canary, 0) > self.canary_weight
        needs = ("earlier steps", "sidecars", "the name dialled", "canary ready", "not retired", "errors are counted")
        return replace(plan, needs=needs) if rises else plan

    def plan_step(self, weight: int) -> Plan:
        """Plan that the canary has this weight, in percent, and stable the rest."""
        return self.plan_weights(self.parameters.shift.weights_at(weight))

    def plan_capacity(self, least: int) -> Plan:
        """Plan that stable's scaling keeps at least so many tasks, which can take everything back."""
        return ecs.plan_capacity(self.parameters, self.running[self.parameters.shift.stable], least)

    def plan_retirement(self) -> Plan:
        """Plan the stable service's end, in the order in which nobody notices, there and back.

        Its node goes last: a sidecar without its node lets no task start, so on the way back it must come first.
        The placeholder outlives the tasks, and goes only once those that come back are there.
        """
        p = self.parameters
        needs = (
            "stable carries nothing",
            "canary proven",
            "stable is quiet",
            "nothing else refers to it",
            "canary carries all",
            "the name survives",
        )
        plan: Plan = Plan("06_tear_down_service_b", needs=needs, assumed=self.plan_resources("04").assumed, ends=True)
        if self.split.state is not None:
            plan += self.engine.plan_settle(self.split, p.shift.canary, p.shift.stable)
        plan += cloud_map.plan_placeholder(p, self.names[p.shift.name])
        stable = self.running[p.shift.stable]
        plan += ecs.plan_end(p, stable, ecs.read_own_revisions(self.session, stable))
        plan += self.engine.plan_retirement(p, self.live, p.shift.stable)
        return plan

    def plan_removal(self) -> tuple[Plan, tuple[str, ...]]:
        """Plan the end of everything the runbook made; also name what stays, and why."""
        p = self.parameters
        resources, kept = self.engine.plan_removal(self.session, self.live)
        plan = ecs.plan_plain(p, self.running) + resources
        plan += iam.plan_credentials_end(self.session, [*self.credentials, *self._credentials_of_retired()])
        plan += cloud_map.plan_placeholder_end(self.names[p.shift.name])
        needs = ("callers keep their name", "stable can carry all")
        return Plan(plan.title, needs=needs, ends=True) + plan, kept

    def _credentials_of_retired(self) -> list[Credentials]:
        """Read who signed for services that are gone."""
        return iam.read_credentials(self.session, self._last_definitions())

    def _last_definitions(self) -> dict[str, Mapping[str, Any]]:
        """Read, of each service that is gone, the newest definition of its family."""
        gone = [name for name, found in self.running.items() if not found.state]
        families = {name: self.parameters.services[name].task_definition for name in gone}
        last = {name: ecs.read_last_definition(self.session, family) for name, family in families.items()}
        return {name: found for name, found in last.items() if found}

    def _assuming(self, plan: Plan) -> Plan:
        missing = self.plan_resources("04").assumed
        return plan + Plan(plan.title, assumed=missing)


def survey(session: Session) -> Survey:
    """Return a fresh look at the session's environment."""
    return Survey(session)
