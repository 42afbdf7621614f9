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
from runbook_lib.engines.alb.groups import Group, health_words, read_groups
from runbook_lib.engines.alb.rule import FORWARDS, unfit
from runbook_lib.engines.protocol import Finding, Gate, Look
from runbook_lib.plan import Before, Plan

# how the tags of its controller begin: it writes the rule again and again

KUBERNETES = "elbv2.k8s.aws/"
ROLLING = "ROLLING"


def gates(look: Look, before: Before, plan: Plan | None = None) -> tuple[Gate, ...]:
    """Return the conditions for what is about to be applied, in the
    order they are shown.
    """
    return tuple(_gates(look, before))


def _gates(look: Look, before: Before) -> Iterator[Gate]:
    shift = look.parameters.shift
    both = (shift.stable, shift.canary)
    if before == "shift":
        yield Gate("the rule divides", _divides)
        yield Gate("services behind their groups", _behind, parts=("running",))
        yield Gate("nobody else moves the weights", _ours, parts=("running",))
        yield Gate("no stickiness", _free, protects=True)
        yield Gate("targets healthy", partial(_healthy, both), protects=True)
    elif before == "removal" and place.is_made(look.parameters):
        yield Gate("the hostname has an address", _has_address, protects=True)
    elif before == "retirement":
        yield Gate("targets healthy", partial(_healthy, (shift.canary,)), protects=True)


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
    shift = look.parameters.shift
    wrong = unfit(look.split, (shift.stable, shift.canary))
    return Finding(not wrong, wrong or look.split.as_written, FORWARDS)


# --- who is behind the groups, and who owns the rule ----------------------------------


def _behind(look: Look) -> Finding:
    """ECS registers a service's tasks in the groups it names, and in no others."""
    wrong = []
    for service, group in look.once(read_groups).items():
        if not group.said:
            wrong.append(f"there is no target group {group.name}")
        elif group.arn not in [
            each.get("targetGroupArn") for each in _load_balancers(look, service)
        ]:
            wrong.append(f"{service} registers no task in target group {group.name}")
    hint = (
        "name its target group in alb.target_groups, or give the ECS service "
        "its loadBalancers"
    )
    return Finding(
        not wrong, "; ".join(wrong) or "each registers its tasks in its own", hint
    )


def _settings(look: Look, service: str) -> Mapping[str, Any]:
    return (look.running[service].state or {}).get("settings") or {}


def _load_balancers(look: Look, service: str) -> list[dict[str, Any]]:
    return list(_settings(look, service).get("loadBalancers") or ())


def _ours(look: Look) -> Finding:
    """Whoever else writes this rule takes the weights back: ECS itself does so
    for some strategies.
    """
    wrong = [
        words
        for service in look.once(read_groups)
        for words in _other_owners(look, service)
    ]
    controller = [key for key in read_tags(look) if key.startswith(KUBERNETES)]
    if controller:
        wrong.append(
            f"the rule carries {controller[0]}: a Kubernetes controller writes it"
        )
    return Finding(
        not wrong,
        "; ".join(wrong) or "no other owner is known",
        "let its owner shift, or take it out",
    )


def _other_owners(look: Look, service: str) -> Iterator[str]:
    running = look.running[service]
    if running.controller != "ECS":
        yield f"{service} is deployed by {running.controller}"
    deployments = _settings(look, service).get("deploymentConfiguration") or {}
    strategy = deployments.get("strategy") or ROLLING
    if strategy != ROLLING:
        yield (
            f"{service} is deployed by strategy {strategy}, which writes "
            "the weights itself"
        )
    for each in _load_balancers(look, service):
        written = (each.get("advancedConfiguration") or {}).get(
            "productionListenerRule"
        )
        if written and written == (look.split.state or {}).get("arn"):
            yield (
                f"ECS writes this rule for {service} "
                "(advancedConfiguration.productionListenerRule)"
            )


def read_tags(look: Look) -> dict[str, str]:
    """Read the rule's tags."""
    return look.once(_tags)


def _tags(look: Look) -> dict[str, str]:
    state = look.split.state
    return elbv2.read_tags(look.reads, state["arn"]) if state else {}


# --- what protects traffic, looked at just before each step up
# -------------------------


def _free(look: Look) -> Finding:
    """A caller that is kept with one version gets no share of another,
    whatever the weights.
    """
    actions = (look.split.state or {}).get("actions", ())
    configs = [action.get("ForwardConfig") or {} for action in actions]
    kept = [config.get("TargetGroupStickinessConfig") or {} for config in configs]
    sticky = [look.split.key] if any(each.get("Enabled") for each in kept) else []
    groups = look.once(read_groups).values()
    sticky += [f"target group {group.name}" for group in groups if group.is_sticky]
    words = (
        f"stickiness is on: {', '.join(sticky)}"
        if sticky
        else "callers are kept with no version"
    )
    return Finding(not sticky, words, "switch stickiness off")


def _healthy(services: tuple[str, ...], look: Look) -> Finding:
    """Requests are never moved to the other group: one without a healthy target fails
    its share of them.

    The canary must have no unhealthy target either.
    """
    groups = look.once(read_groups)
    canary = look.parameters.shift.canary
    good = all(
        _is_well(groups[service], is_canary=service == canary) for service in services
    )
    words = "; ".join(
        f"{service}: {health_words(groups[service].health)}" for service in services
    )
    return Finding(good, words, "look at the reasons: aws elbv2 describe-target-health")


def _is_well(group: Group, *, is_canary: bool) -> bool:
    has_healthy = bool(group.health.get("healthy"))
    unhealthy = group.health.get("unhealthy", 0)
    return has_healthy and not (is_canary and unhealthy)
