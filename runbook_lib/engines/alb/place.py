"""Say where the rule under shift is: by its ARN, or by names it is made by. Pure."""

from __future__ import annotations

from runbook_lib.engines.alb import elbv2
from runbook_lib.engines.alb.arns import (
    key_of,
    listener_of,
    load_balancer_dimension,
)
from runbook_lib.parameters import Parameters
from runbook_lib.plan import Reading


def is_made(p: Parameters) -> bool:
    """Say whether the runbook makes the rule, and all it takes."""
    return p.alb.rule is None


def balancer_name(p: Parameters) -> str:
    """Return the load balancer's name."""
    if p.alb.rule is None:
        return p.alb.name or ""
    return load_balancer_dimension(p.alb.rule).split("/")[1]


def key(p: Parameters) -> str:
    """Return what the rule is called in plans."""
    if p.alb.rule is None:
        return f"rule {p.alb.name}/{p.alb.priority}"
    return key_of(p.alb.rule)


def rule_reading(p: Parameters) -> Reading:
    """Return how the rule is read."""
    if p.alb.rule is not None:
        return elbv2.rule(p.alb.rule)
    return elbv2.rule_at(listener_arn(p), p.alb.priority)


def listener(p: Parameters) -> str | Reading:
    """Return the rule's listener by its ARN, or how that of one to make is read."""
    if p.alb.rule is not None:
        return listener_of(p.alb.rule)
    return listener_arn(p)


def balancer_arn(p: Parameters) -> Reading:
    """Return how the ARN of the load balancer to make is read."""
    return elbv2.balancer(balancer_name(p), elbv2.BALANCER.first_arn)


def listener_arn(p: Parameters) -> Reading:
    """Return how the ARN of the listener to make is read."""
    return elbv2.listener(balancer_arn(p), p.alb.port, "ListenerArn")
