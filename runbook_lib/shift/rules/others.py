"""What follows where somebody else has written weights, or says hold. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from runbook_lib.printable import divided
from runbook_lib.shift.rules.moves import Hold, RolledBackElsewhere
from runbook_lib.shift.rules.rule import Rule

__all__ = ["held", "others_weights"]


def others_weights(
    weights: Mapping[str, int], oddity: str, step: int, rule: Rule
) -> Hold | RolledBackElsewhere | None:
    """Weights that are not the step's are somebody's, and never overwritten."""
    if weights == rule.weights_at(step) and not oddity:
        return None
    if weights and not weights.get(rule.canary):
        return RolledBackElsewhere()
    changed = f"somebody changed the weights to {divided(weights)}"
    return Hold("foreign_change", oddity or changed)


def held(by: str) -> Hold:
    """Somebody said hold; no AWS is needed to heed it."""
    return Hold("hold", f"held by {by}")
