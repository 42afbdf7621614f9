"""Transforms of rules (a host or a URL that is rewritten), which moto reads past:
kept, and given back.

`install` teaches moto's answers to two calls about them; what the transforms do to a
request is not carried.
"""

from __future__ import annotations

from typing import Any

from moto.core.responses import ActionResult
from moto.elbv2.responses import ELBV2Response

__all__ = ["install"]


def _create(response: Any) -> ActionResult:
    given = response._get_params()
    made = response.elbv2_backend.create_rule(
        listener_arn=given["ListenerArn"],
        conditions=given.get("Conditions", []),
        priority=given["Priority"],
        actions=given["Actions"],
        tags=given.get("Tags"),
    )
    made.transforms = given.get("Transforms", [])
    return ActionResult({"Rules": [made]})


def _modify(response: Any) -> ActionResult:
    """Change what is given; transforms stay unless they are, or are reset."""
    given = response._get_params()
    transforms = [] if given.get("ResetTransforms") else given.get("Transforms")
    changed = response.elbv2_backend.modify_rule(
        rule_arn=given["RuleArn"],
        conditions=given.get("Conditions", []),
        actions=given.get("Actions", []),
        transforms=transforms,
    )
    return ActionResult({"Rules": [changed]})


def install() -> None:
    """Let moto answer so from now on."""
    for name, method in {"create_rule": _create, "modify_rule": _modify}.items():
        setattr(ELBV2Response, name, method)
