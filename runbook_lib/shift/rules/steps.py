"""Say which steps of a shift are left, and what must come before one. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = [
    "has_passed",
    "is_anything_left",
    "left_out",
    "steps_left",
    "when_written",
]


def steps_left(steps: Sequence[int], now: int) -> list[int]:
    """Return the steps above the canary's weight: none is taken twice."""
    return [step for step in steps if step > now]


def has_passed(journal: Sequence[Mapping[str, Any]], step: int) -> bool:
    """Say whether an attempt, by its decisions, ended this step with a PASS, or by a
    person's decision.
    """
    if not journal or journal[-1]["step"] != step:
        return False
    last = journal[-1]
    return bool(last["verdict"] == "PASS" or last["phase"] == "promoted")


def is_anything_left(
    steps: Sequence[int], now: int, journal: Sequence[Mapping[str, Any]]
) -> bool:
    """Say whether anything is left to do at the canary's weight now.

    That is a step to take, or one to go on watching. The last step without a decision
    is a shift that ended elsewhere: its record is not here.
    """
    if steps_left(steps, now):
        return True
    on_last_step = now == steps[-1]
    return on_last_step and bool(journal) and not has_passed(journal, now)


def left_out(steps: Sequence[int], now: int, step: int) -> list[int]:
    """Return the steps of the file that going from `now` to `step` passes over."""
    return [each for each in steps if now < each < step]


def when_written(journal: Sequence[Mapping[str, Any]], step: int) -> float | None:
    """Return when an attempt last wrote a step, in epoch seconds; None if never."""
    written = [line for line in journal if line["phase"] == "written"]
    times = [line["at"] for line in written if line["step"] == step]
    return times[-1] if times else None
