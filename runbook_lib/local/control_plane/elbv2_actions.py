"""Actions of listeners and rules: one form for all, and what AWS refuses of them. Pure.

`normal` writes an action as `DescribeRules` gives it back: a forward to one
group in both forms, a weight that was left out as 1. Texts without a source are
marked [inferred].
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from runbook_lib.local.control_plane.elbv2_refusals import refusal
from runbook_lib.local.control_plane.elbv2_weights import groups_of, weights_of

__all__ = ["Group", "check", "normal"]

Action = dict[str, Any]

MOST_GROUPS = 5
MOST_WEIGHT = 999
MOST_UNIQUE_GROUPS = 100
STICKY_SECONDS = range(1, 604801)
ONLY_HTTPS = ("HTTP2", "GRPC")


@dataclass(frozen=True, slots=True)
class Group:
    """What of a target group decides whether an action may name it."""

    arn: str
    protocol: str
    version: str
    load_balancers: frozenset[str]
    sticks_by_app_cookie: bool = False


def normal(actions: Iterable[Action]) -> list[Action]:
    """Return actions as they are described."""
    return [_normal(deepcopy(action)) for action in actions]


def _normal(action: Action) -> Action:
    if action.get("Type") != "forward":
        return action
    config = action.setdefault("ForwardConfig", {})
    if not config.get("TargetGroups"):
        config["TargetGroups"] = [{"TargetGroupArn": action.get("TargetGroupArn")}]
    for group in config["TargetGroups"]:
        group.setdefault("Weight", 1)
    config.setdefault("TargetGroupStickinessConfig", {}).setdefault("Enabled", False)
    if len(config["TargetGroups"]) == 1:
        action.setdefault("TargetGroupArn", config["TargetGroups"][0]["TargetGroupArn"])
    return action


def check(
    actions: Sequence[Action],
    protocol: str,
    load_balancer: str,
    known: Mapping[str, Group],
    used: Iterable[str],
) -> None:
    """Raise what AWS answers to actions that it does not take.

    `protocol` is the listener's, `known` every group of the account by ARN, `used` the
    groups that the load balancer's other rules name.
    """
    forwards = [action for action in actions if action.get("Type") == "forward"]
    if not actions:
        # [inferred]
        raise refusal(
            "ValidationError", "A listener or rule must have at least one action"
        )
    for action in forwards:
        _check_forward(action)
    named = [_known(arn, known) for arn in groups_of(forwards)]
    _check_protocols(protocol, named)
    _check_association(load_balancer, named)
    for action in forwards:
        _check_together([known[arn] for arn, _ in weights_of(action)])
    if len({*used, *(group.arn for group in named)}) > MOST_UNIQUE_GROUPS:
        raise refusal(
            "TooManyUniqueTargetGroupsPerLoadBalancer",
            "You have reached the maximum number of unique target groups that you "
            "can associate with a load "
            f"balancer of type 'application': [{MOST_UNIQUE_GROUPS}]",
        )


def _check_forward(action: Action) -> None:
    weights = weights_of(action)
    arns = [arn for arn, _ in weights]
    if not arns:
        # [inferred]
        raise refusal("ValidationError", "A forward action must name a target group")
    if len(arns) > MOST_GROUPS:
        # [inferred]
        words = f"A forward action can have at most {MOST_GROUPS} target groups"
        raise refusal("TooManyTargetGroups", words)
    if len(set(arns)) != len(arns):
        # [inferred]
        raise refusal(
            "ValidationError", "A target group can be specified only once in an action"
        )
    for _, weight in weights:
        if not 0 <= weight <= MOST_WEIGHT:
            # [inferred]
            words = (
                f"Target group weight '{weight}' must be between "
                f"'0-{MOST_WEIGHT}' inclusive"
            )
            raise refusal("ValidationError", words)
    single = action.get("TargetGroupArn")
    if single and arns != [single]:
        # [inferred]
        words = (
            "TargetGroupArn and ForwardConfig must name the same single target group"
        )
        raise refusal("InvalidLoadBalancerAction", words)
    _check_stickiness(
        (action.get("ForwardConfig") or {}).get("TargetGroupStickinessConfig") or {}
    )


def _check_stickiness(stickiness: Mapping[str, Any]) -> None:
    if not stickiness.get("Enabled"):
        return
    if int(stickiness.get("DurationSeconds") or 0) not in STICKY_SECONDS:
        # [inferred]
        words = "Target group stickiness needs a duration between '1-604800' seconds"
        raise refusal("InvalidLoadBalancerAction", words)


def _known(arn: str, known: Mapping[str, Group]) -> Group:
    if arn not in known:
        raise refusal("TargetGroupNotFound", f"Target group '{arn}' not found")
    return known[arn]


def _check_protocols(protocol: str, named: Sequence[Group]) -> None:
    foreign = [group.arn for group in named if group.protocol not in ("HTTP", "HTTPS")]
    if foreign:
        words = (
            "The listener and the following target groups have incompatible "
            f"protocols: {', '.join(foreign)}"
        )
        raise refusal("IncompatibleProtocols", words)
    for group in named:
        if protocol == "HTTP" and group.version in ONLY_HTTPS:
            raise refusal(
                "InvalidLoadBalancerAction",
                f"Listener protocol '{protocol}' is not supported with a target "
                "group with the protocol-version "
                f"'{group.version}'",
            )


def _check_association(load_balancer: str, named: Sequence[Group]) -> None:
    others = [group.arn for group in named if group.load_balancers - {load_balancer}]
    if others:
        raise refusal(
            "TargetGroupAssociationLimit",
            "The following target groups cannot be associated with more than "
            "one load balancer: " + ", ".join(others),
        )


def _check_together(groups: Sequence[Group]) -> None:
    """Refuse groups that cannot share one action."""
    if len(groups) > 1 and any(group.sticks_by_app_cookie for group in groups):
        raise refusal(
            "InvalidLoadBalancerAction",
            "When configuring a rule with multiple target groups, none of them can "
            "have stickiness of type "
            "'app_cookie' enabled",
        )
    if len({group.version for group in groups}) > 1:
        # [inferred]
        words = "All target groups of an action must have the same protocol version"
        raise refusal("InvalidLoadBalancerAction", words)
