"""The groups and weights that actions name. Pure; needs nothing of moto."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["groups_of", "weights_of"]


def groups_of(actions: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the ARNs of the groups that actions name, each once, in their order."""
    return list(
        dict.fromkeys(arn for action in actions for arn, _ in weights_of(action))
    )


def weights_of(action: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Return each group of a forward action with its weight; one
    that is left out is 1.
    """
    config = action.get("ForwardConfig") or {}
    named = config.get("TargetGroups") or []
    if not named and action.get("TargetGroupArn"):
        return [(action["TargetGroupArn"], 1)]
    return [(group["TargetGroupArn"], int(group.get("Weight", 1))) for group in named]
