"""Look into what must hold at a load balancer before something is applied.

Each gate takes one look and returns a `Finding`; none of them changes
or decides anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from runbook_lib.engines.alb import elbv2, place
from runbook_lib.engines.alb.building.standing import read_standing
from runbook_lib.engines.alb.groups import arns_of, health_words, read_groups
from runbook_lib.engines.alb.rule import FORWARDS, unfit
from runbook_lib.engines.protocol import Finding, Gate, Look
from runbook_lib.plan import Before, Plan

# how the tags of its controller begin: it writes the rule again and again
KUBERNETES = "elbv2.k8s.aws/"


def gates(look: Look, before: Before, plan: Plan | None = None) -> tuple[Gate, ...]:
    """Return the conditions for what is about to be applied, in the
    order they are shown.
    """
    return tuple(_gates(look, before))


def _gates(look: Look, before: Before) -> Iterator[Gate]:
    shift = look.parameters.shift
    if before == "shift":
        yield Gate("the rule divides", _divides)
        yield Gate("services behind their groups", _behind, parts=("running",))
        yield Gate("nobody else moves the weights", _ours, parts=("running",))
        yield Gate("no stickiness", _free, protects=True)
        healthy = partial(_healthy, shift.versions)
        yield Gate("targets healthy", healthy, protects=True)
    elif before == "removal" and place.is_made(look.parameters):
        yield Gate("the hostname has an address", _has_address, protects=True)
    elif before == "retirement":
        healthy = partial(_healthy, (shift.canary,))
        yield Gate("targets healthy", healthy, protects=True)


def _has_address(look: Look) -> Finding:
    """Without the load balancer's zone the name leads where discovery says."""
    p, zone = look.parameters, read_standing(look).zone
    name = p.shift.name
    if zone is None or zone["vpcs"] == [p.alb.holding_vpc]:
        return Finding(True, "callers are not led to the load balancer by its zone")
    if name not in look.names:
        words = f"no service of the file has the hostname {name}: nobody looked"
        return Finding(None, words)
    found = look.names[name].addresses
    words = f"{name} has {'an' if found else 'no'} address in discovery"
    hint = "give the ECS service that is left the registry of that name first"
    return Finding(bool(found) or p.removal.callers_may_fail, words, hint)


def _divides(look: Look) -> Finding:
    wrong = unfit(look.split, look.parameters.shift.versions)
    return Finding(not wrong, wrong or look.split.as_written, FORWARDS)


# --- who is behind the groups, and who owns the rule ----------------------------------


def _behind(look: Look) -> Finding:
    """ECS registers a service's tasks in the groups it names, and in no others."""
    wrong = []
    for service, group in look.once(read_groups).items():
        if not group.said:
            wrong.append(f"there is no {group.key}")
        elif group.arn not in arns_of(look.running[service]):
            wrong.append(f"{service} registers no task in {group.key}")
    words = "; ".join(wrong) or "each registers its tasks in its own"
    hint = "name its target group in alb.target_groups, or give the ECS service its"
    return Finding(not wrong, words, f"{hint} loadBalancers")


def _ours(look: Look) -> Finding:
    """Whoever else writes this rule takes the weights back: ECS itself does so
    for some strategies.
    """
    wrong: list[str] = []
    for service in look.once(read_groups):
        wrong += _other_owners(look, service)
    controller = [key for key in read_tags(look) if key.startswith(KUBERNETES)]
    if controller:
        carries = f"the rule carries {controller[0]}"
        wrong.append(f"{carries}: a Kubernetes controller writes it")
    words = "; ".join(wrong) or "no other owner is known"
    return Finding(not wrong, words, "let its owner shift, or take it out")


def _other_owners(look: Look, service: str) -> Iterator[str]:
    running = look.running[service]
    if running.controller != "ECS":
        yield f"{service} is deployed by {running.controller}"
    if not running.pace.is_rolling:
        writes = "which writes the weights itself"
        yield f"{service} is deployed by strategy {running.pace.strategy}, {writes}"
    if look.split.state is None:
        return
    for each in running.groups:
        advanced = each.get("advancedConfiguration") or {}
        if advanced.get("productionListenerRule") == look.split.state["arn"]:
            key = "advancedConfiguration.productionListenerRule"
            yield f"ECS writes this rule for {service} ({key})"


def read_tags(look: Look) -> dict[str, str]:
    """Read the rule's tags."""
    return look.once(_tags)


def _tags(look: Look) -> dict[str, str]:
    state = look.split.state
    return elbv2.read_tags(look.reads, state["arn"]) if state else {}


# --- what protects traffic, looked at just before each step up ------------------------


def _free(look: Look) -> Finding:
    """A caller that is kept with one version gets no share of another,
    whatever the weights.
    """
    actions = (look.split.state or {}).get("actions", ())
    sticky = []
    if any(_keeps_callers(action) for action in actions):
        sticky.append(look.split.key)
    groups = look.once(read_groups).values()
    sticky += [group.key for group in groups if group.is_sticky]
    words = "callers are kept with no version"
    if sticky:
        words = f"stickiness is on: {', '.join(sticky)}"
    return Finding(not sticky, words, "switch stickiness off")


def _keeps_callers(action: Mapping[str, Any]) -> bool:
    """Say whether an action keeps a caller with one of its groups."""
    config = action.get("ForwardConfig") or {}
    stickiness = config.get("TargetGroupStickinessConfig") or {}
    return bool(stickiness.get("Enabled"))


def _healthy(services: tuple[str, ...], look: Look) -> Finding:
    """Requests are never moved to the other group: one without a healthy target fails
    its share of them.

    The canary must have no unhealthy target either.
    """
    groups = look.once(read_groups)
    canary = look.parameters.shift.canary
    wrong, told = [], []
    for service in services:
        health = groups[service].health
        told.append(f"{service}: {health_words(health)}")
        if not _is_well(health, is_canary=service == canary):
            wrong.append(service)
    hint = "look at the reasons: aws elbv2 describe-target-health"
    return Finding(not wrong, "; ".join(told), hint)


def _is_well(health: Mapping[str, int], *, is_canary: bool) -> bool:
    has_healthy = bool(health.get("healthy"))
    unhealthy = health.get("unhealthy", 0)
    return has_healthy and not (is_canary and unhealthy)
