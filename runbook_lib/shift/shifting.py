"""Shift the traffic: what a notebook, a panel and the command call.

Each is a generator that yields one `Decision` after another. It names no engine, writes
only through `apply`, and decides nothing about a step: that is `rules.step`'s. However
it ends, traffic is served and the record says where it stands.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import asdict

from runbook_lib.aws.applying import apply
from runbook_lib.aws.session import Session
from runbook_lib.errors import GateError, StalePlanError
from runbook_lib.gates import evidence_for_shift
from runbook_lib.plan import Evidence, Plan, clear, fingerprint
from runbook_lib.runs.approvals import require_approval
from runbook_lib.runs.history import read_attempt
from runbook_lib.shift.decision import Decision, write_down
from runbook_lib.shift.observing import Relieved
from runbook_lib.shift.requirements import (
    require_evidence,
    require_no_hold,
    require_ours,
)
from runbook_lib.shift.rollback import roll_back
from runbook_lib.shift.rules.steps import (
    has_passed,
    is_anything_left,
    left_out,
    steps_left,
)
from runbook_lib.shift.under_way import UnderWay
from runbook_lib.survey import survey

__all__ = [
    "anything_left",
    "go_back",
    "mark_of",
    "obstacle_by_hand",
    "plan_steps",
    "shift_traffic",
    "take_step",
    "watch_traffic",
]

Decisions = Generator[Decision, None, None]


def plan_steps(session: Session) -> list[Decision]:
    """Plan every step that is left, without writing anything."""
    found, shift = survey(session), session.parameters.shift
    if found.split.state is None or found.retired:
        return []
    now = found.canary_weight
    planned = []
    for step in steps_left(shift.steps, now):
        words = f"{now} → {step} %"
        planned.append(Decision("planned", step, shift.weights_at(step), words))
        now = step
    return planned


def shift_traffic(
    session: Session, *evidence: Evidence, relieved: Relieved | None = None
) -> Decisions:
    """Take every step that is left, watching each; in plan mode write nothing.

    A run that was interrupted goes on from the live weights, with the evidence so far.
    Where a step is refused, the one before it is watched until this is `relieved`,
    where that is given. Raises GateError before the first write where the evidence does
    not hold, Held where somebody must decide (weights stay), RolledBack once a FAIL was
    rolled back, RollbackError where it could not be.
    """
    require_evidence(evidence)
    if not session.applies:
        yield from plan_steps(session)
    elif session.connection.carries_traffic:
        yield from UnderWay(session, evidence, relieved).run()
    else:
        for planned in plan_steps(session):
            yield _unwatched(session, planned.step, evidence)


def take_step(
    session: Session,
    step: int,
    shown: str,
    *evidence: Evidence,
    relieved: Relieved | None = None,
) -> Decisions:
    """Write one step with gates, trial and rehearsal, and watch it until it passes.

    While steps are left it goes on watching until it is `relieved`, where that is
    given. `shown` marks the plan that somebody looked at (`mark_of`). Raises
    StalePlanError where it is no longer what would be written, and what `shift_traffic`
    raises.
    """
    require_evidence(evidence)
    found = survey(session)
    require_ours(found)
    if mark_of(found.plan_step(step)) != shown:
        words = f"{step} %: it is no longer what was planned against"
        raise StalePlanError(words, hint="look at the new plan first")
    if words := obstacle_by_hand(session, found.canary_weight, step):
        raise GateError(words)
    if session.connection.carries_traffic:
        yield from UnderWay(session, evidence, relieved).take(step)
    else:
        yield _unwatched(session, step, evidence)


def watch_traffic(session: Session, *, relieved: Relieved | None = None) -> Decisions:
    """Watch the weight that the canary has until it passes, and go on as `take_step`
    does; take no step.

    Its evidence is the record's where there is one; without it, it begins now. Raises
    what `shift_traffic` raises.
    """
    yield from UnderWay(session, (), relieved).stand_by()


def anything_left(session: Session) -> bool:
    """Say whether a step is left to take, or to go on watching; it only reads."""
    found = survey(session)
    if found.retired or found.split.state is None:
        return False
    now, journal = found.canary_weight, read_attempt(session)
    return is_anything_left(session.parameters.shift.steps, now, journal)


def mark_of(plan: Plan) -> str:
    """Return what names a plan and the state it is for, that state's version too."""
    return fingerprint(asdict(plan))


def obstacle_by_hand(session: Session, now: int, step: int) -> str:
    """Say why a step by hand cannot be taken: the weight users are on must pass before
    it, and the file allow what leaves out some of its steps; "" if it can.
    """
    shift = session.parameters.shift
    if not shift.skip_steps and (out := left_out(shift.steps, now, step)):
        names = ", ".join(f"{each} %" for each in out)
        return f"{step} % skips {names}: the file says shift.skip_steps: false"
    if not session.connection.carries_traffic or not step > now > 0:
        return ""
    if has_passed(read_attempt(session), now):
        return ""
    what_to_do = "run the cell below, which watches it and goes on by itself"
    return f"{now} % has not passed yet: {what_to_do}"


def go_back(session: Session) -> Decision | None:
    """Put all traffic back on stable in one write, because somebody says so.

    A shift under way ends by it. None where all traffic is there already.
    """
    return roll_back(session, lambda command: None).decision


def _unwatched(session: Session, step: int, evidence: Sequence[Evidence]) -> Decision:
    """Write a step where no traffic shows it: it can be read back, and nothing more."""
    found = survey(session)
    gates = evidence_for_shift(found)
    require_ours(found)
    former = found.canary_weight
    plan = found.plan_step(step)
    require_approval(session, step, former, plan)
    require_no_hold(session, found.split.weights)
    made = apply(session, clear(plan, *evidence, *gates))
    now = found.split.weights
    if made:
        now = found.engine.weights_of(session.parameters, made[-1].state)
    words = f"{former} → {step} %, read back"
    written = Decision("written", step, now, words, former=former)
    return write_down(session, written)
