"""What follows where a step is not looked at: where AWS does not answer, and before
it is written. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from runbook_lib.plan import Evidence
from runbook_lib.shift.rules.moves import Hold, RollBack
from runbook_lib.shift.rules.others import others_weights
from runbook_lib.shift.rules.rule import Rule

__all__ = [
    "approval_expired",
    "blind_to_others",
    "cannot_look",
    "gates_fail",
    "too_long_blind",
]


# What follows where nothing can be looked at.


def too_long_blind(words: str, rule: Rule) -> Hold | RollBack:
    """What follows when AWS has not answered for as long as the file allows."""
    if rule.on_blind == "roll_back":
        return RollBack("blind", words)
    return Hold("blind", words)


def blind_to_others(
    move: Hold | RollBack, weights: Mapping[str, int], ours: Iterable[int], rule: Rule
) -> Hold | RollBack:
    """A shift that last saw somebody else's weights does not roll them back, but holds.

    `ours` are the steps whose weights may be there: the one watched, one just written.
    """
    if any(weights == rule.weights_at(step) for step in ours):
        return move
    others = others_weights(weights, "", 0, rule)
    return others if isinstance(others, Hold) else move


def cannot_look(word: str, words: str, hint: str) -> Hold:
    """What follows when looking fails in a way that time does not heal."""
    return Hold(word, f"nothing can be looked at: {words}", hint)


# What follows before a step is written, once users are on the canary or have tried it.


def gates_fail(evidence: Iterable[Evidence]) -> Hold | None:
    """A condition of the next step that does not hold: weights stay where they are."""
    failing = [one for one in evidence if not one.holds]
    if not failing:
        return None
    words = "; ".join(f"{one.name}: {one.found}" for one in failing)
    hint = "; ".join(one.hint for one in failing if one.hint)
    return Hold("gate", f"before the next step: {words}", hint)


def approval_expired(words: str, former: int) -> RollBack | None:
    """An approval that expired and says so rolls back; `words` is empty for none.

    At weight 0 there is nothing to roll back: then it is missing, as any other.
    """
    return RollBack("approval", words) if words and former else None
