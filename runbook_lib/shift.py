"""Move the traffic from the stable service to the canary, one step at a time.

A generator that notebook, panel and command all iterate: it yields one `Decision` per step and names no
engine. It writes only through `apply`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from runbook_lib.apply import apply
from runbook_lib.errors import GateError
from runbook_lib.plan import Evidence, Plan, clear
from runbook_lib.session import Session
from runbook_lib.survey import survey

__all__ = ["Decision", "plan_steps", "shift_traffic", "steps_left"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided at one step: the weights in percent by service, the plan, whether it was written."""

    step: int
    weights: Mapping[str, int]
    plan: Plan
    written: bool
    words: str


def steps_left(steps: list[int], now: int) -> list[int]:
    """Return the steps above the weight the canary has now: a step that was passed is never taken again."""
    return [step for step in steps if step > now]


def plan_steps(session: Session) -> list[Decision]:
    """Plan every step that is left, without writing anything."""
    found = survey(session)
    shift = session.parameters.shift
    if found.split.state is None or found.lifecycle.retired:
        return []
    now = found.split.weights.get(shift.canary, 0)
    out = []
    for step in steps_left(shift.steps, now):
        weights = {shift.stable: 100 - step, shift.canary: step}
        out.append(Decision(step, weights, found.plan_weights(weights), False, f"{now} → {step} %"))
        now = step
    return out


def shift_traffic(session: Session, *evidence: Evidence) -> Iterator[Decision]:
    """Take every step that is left: plan from what is there, clear, write, read back.

    Yields a `Decision` per step; in plan mode nothing is written. Raises GateError before the first write
    where the evidence does not hold.
    """
    if not evidence:
        raise GateError("shift: no evidence was given", hint="run the cells above again")
    for planned in plan_steps(session):
        plan = survey(session).plan_weights(planned.weights) if session.applies else planned.plan
        made = apply(session, clear(plan, *evidence))
        read = dict(survey(session).split.weights if made else planned.weights)
        if made:
            session.join_run().write("decision", weights=read, reason=planned.words)
        yield Decision(planned.step, read, plan, bool(made), planned.words)
