"""Take the ARNs of a load balancer's parts apart. Pure.

Forms: `…:listener-rule/app/NAME/ID/LISTENER/RULE`, `…:loadbalancer/app/NAME/ID`,
`…:targetgroup/NAME/ID`.
"""

from __future__ import annotations

RULE = ":listener-rule/"


def key_of(rule: str) -> str:
    """Return what a rule is called in plans: by its load balancer's
    name, and its own id.
    """
    _, name, _, _, own = rule.partition(RULE)[2].split("/")
    return f"rule {name}/{own}"


def load_balancer_of(rule: str) -> str:
    """Return the ARN of the load balancer that a rule belongs to."""
    before, _, parts = rule.partition(RULE)
    kind, name, own, *_ = parts.split("/")
    return f"{before}:loadbalancer/{kind}/{name}/{own}"


def listener_of(rule: str) -> str:
    """Return the ARN of the listener that a rule belongs to."""
    return rule.replace(RULE, ":listener/").rpartition("/")[0]


def load_balancer_dimension(rule: str) -> str:
    """Return by which name CloudWatch knows the load balancer of a
    rule: `app/NAME/ID`.
    """
    return load_balancer_of(rule).partition(":loadbalancer/")[2]


def group_dimension(group: str) -> str:
    """Return by which name CloudWatch knows a target group: `targetgroup/NAME/ID`."""
    return group.rpartition(":")[2]


def group_name(group: str) -> str:
    """Return a target group's own name."""
    return group.split("/")[-2]


def group_key(name: str) -> str:
    """Return what a target group is called in plans, by its own name."""
    return f"target group {name}"
