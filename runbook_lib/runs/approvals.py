"""Approvals as data: who approved which plan, until when, and what happens
once that has passed.

An approval stands in the parameters or in a run's record. A widget or a command may
write one; none is one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from runbook_lib.errors import Held, ParametersError
from runbook_lib.parameters.shift import Shift
from runbook_lib.plan import Plan, fingerprint
from runbook_lib.record import Run
from runbook_lib.runs.approvers import (
    Approvers,
    Given,
    counting,
    given_of,
    held_until,
    lacking,
    refusal,
)

if TYPE_CHECKING:  # a hold waits for nothing that AWS needs
    from runbook_lib.aws.session import Session

__all__ = [
    "ENDED",
    "approval_of",
    "approve",
    "hold",
    "holds",
    "needs_approval",
    "ran_out",
    "require_approval",
    "still_needed",
]

# the decisions with which an attempt ends where it fails
ENDED = ("rolled back", "settled")


def approve(
    session: Session, run: Run, plan: Plan, *, approver: str = ""
) -> dict[str, Any]:
    """Ask a run to take in an approval of exactly this plan, and return it; it
    counts from now on.

    It is for what carries the weights as it is now, and holds only while that is only
    changed by the run itself.

    Raises ParametersError where nobody would read it there (the run has ended, or is
    not the newest), and where it would not count: who approves is not in the file's
    list, or is at work on the run.
    """
    _require_under_way(session, run)
    rule = session.parameters.shift.approvals
    approvers = _approvers(session, run)
    now = datetime.fromtimestamp(session.now(), UTC)
    until = now + timedelta(minutes=rule.valid_minutes)
    given = {
        "approver": approver or session.identity.arn,
        "identity": session.identity.arn,
        "plan": plan.hash,
        "carried": _carried(plan),
        "until": until.isoformat(timespec="seconds"),
        "on_expiry": rule.on_expiry,
        "rule": approvers.mark,
    }
    why = refusal(approvers, given_of(given, until.timestamp()))
    if why:
        raise ParametersError(
            f"approve: {why}",
            hint="shift.approvals in the parameters file says who may",
        )
    run.ask("approved", **given)
    return given


def still_needed(session: Session, plan: Plan) -> int:
    """Return how many approvals of exactly this plan are still needed; only reads."""
    return _still_needed(session, _given(session, plan))


def approval_of(session: Session, plan: Plan) -> dict[str, Any] | None:
    """Return the newest approval of exactly this plan where as many hold now as are
    required, else None; only reads.

    Now is the time at AWS: it was given on one machine, and is looked at on another.
    """
    given = _given(session, plan)
    if _still_needed(session, given):
        return None
    return given[-1]


def hold(run: Run, by: str) -> None:
    """Ask the shift to hold: whoever follows it stops at the next
    look, and weights stay.
    """
    run.ask("hold", by=by)


def holds(run: Run) -> list[dict[str, Any]]:
    """Return the holds asked of a run, the earliest first."""
    return [line for line in run.said() if line["event"] == "hold"]


def unheeded(run: Run) -> list[dict[str, Any]]:
    """Return the holds by which no shift was held yet, the earliest first.

    Each counts from the run's beginning, whichever notebook was executed then. Whoever
    starts a shift again that was held has settled those asked before.
    """
    settled = 0
    for line in run.lines():
        if line["event"] == "heeded":
            settled = line["holds"]
    return holds(run)[settled:]


def heed(session: Session) -> None:
    """Write down that a shift is held by every hold that was asked by now."""
    session.note(lambda run: run.write("heeded", holds=len(holds(run))))


def needs_approval(shift: Shift, weight: int, former: int) -> bool:
    """Say whether the canary needs an approval to go from its former weight to this.

    It does where one is listed above the step before the weight, up to the step that
    reaches it: 99 % needs what 100 % needs. Steps that are left out need theirs too.
    """
    if weight == 0:
        return False
    last = shift.steps[-1]
    earlier = [step for step in shift.steps if step < min(weight, last)]
    reaching = [step for step in shift.steps if step >= weight]
    above = min(max(earlier, default=0), former)
    up_to = min(reaching, default=100)
    return any(above < listed <= up_to for listed in shift.approvals.steps)


def require_approval(session: Session, step: int, former: int, plan: Plan) -> None:
    """Return where this weight needs no approval or has one that holds; raise Held
    where it has none.
    """
    if not needs_approval(session.parameters.shift, step, former):
        return
    given = _given(session, plan)
    if not _still_needed(session, given):
        return
    run = session.join_run()
    found = lacking(_approvers(session, run), _as_given(given), session.now())
    raise Held(
        f"{step} %: plan {plan.hash} needs an approval; {found}",
        hint=f"runbook approve {run.id}, then run 05 again",
        reason="approval",
    )


def ran_out(session: Session, step: int, former: int, plan: Plan) -> str:
    """Return in words the approval of this step that ran out and says to roll back
    then; "" if none does.

    What it says was settled when it was given; one among the parameters says what
    they say.
    """
    shift = session.parameters.shift
    if not needs_approval(shift, step, former):
        return ""
    given = _given(session, plan)
    ended = held_until(_approvers(session), _as_given(given))
    if not 0 < ended <= session.now():
        return ""
    newest = given[-1]
    if newest.get("on_expiry", shift.approvals.on_expiry) == "hold":
        return ""
    names = ", ".join(dict.fromkeys(each["approver"] for each in given))
    ends = [each["until"] for each in given if _ends(each) == ended]
    return f"the approval of {step} % by {names} ran out at {ends[0]}"


def _approvers(session: Session, run: Run | None = None) -> Approvers:
    """Return who may approve, and who is at work on the run."""
    p = session.parameters
    at_work = _at_work(run or session.run or session.latest_run())
    return Approvers(p.shift.approvals, p.rehearsed, at_work)


def _at_work(run: Run | None) -> frozenset[str]:
    """Return who has changed anything in a run, if only by the rehearsal of its
    rollback.
    """
    if run is None:
        return frozenset()
    intended = [line for line in run.lines() if line["event"] == "intended"]
    return frozenset(line["by"] for line in intended if line.get("by"))


def _as_given(given: Sequence[Mapping[str, Any]]) -> list[Given]:
    """Return approvals as the rule looks at them."""
    return [given_of(each, _ends(each)) for each in given]


def _still_needed(session: Session, given: Sequence[Mapping[str, Any]]) -> int:
    """Return how many approvals are needed beside those given that hold now."""
    required = session.parameters.shift.approvals.required
    now = session.now()
    hold = [each for each in _as_given(given) if each.until > now]
    count = len(counting(_approvers(session), hold))
    return max(required - count, 0)


def _given(session: Session, plan: Plan) -> list[dict[str, Any]]:
    """Return the approvals of exactly this plan: the file's, then the run's."""
    every: list[dict[str, Any]] = []
    stated = session.parameters.approval
    if stated:
        every.append(stated.model_dump(mode="json"))
    run = session.run or session.latest_run()
    if run and not run.closed:
        every += _recorded(run, plan)
    return [each for each in every if each["plan"] == plan.hash]


def _recorded(run: Run, plan: Plan) -> list[dict[str, Any]]:
    """Return the approvals of the attempt under way whose plan still is about what
    they were given for.
    """
    found: list[dict[str, Any]] = []
    for line in run.said():
        if line["event"] == "approved":
            found.append(line)
        elif line["event"] == "decision" and line["phase"] in ENDED:
            found = []
    if not plan.changes:
        return found
    live = plan.changes[0].expected
    return [line for line in found if run.kept(line.get("carried", ""), live)]


def _carried(plan: Plan) -> str:
    """Return what names the state that a plan's first change is made against: that of
    what carries the weights.
    """
    if not plan.changes:
        return ""
    return fingerprint(plan.changes[0].expected)


def _require_under_way(session: Session, run: Run) -> None:
    newest = session.latest_run()
    if run.closed:
        raise ParametersError(
            f"approve: run {run.id} has ended; what is run next opens another one, "
            "and has nothing to approve yet",
            hint=f"runbook run {session.named}, then approve the run it names",
        )
    if newest and newest.id != run.id:
        raise ParametersError(
            f"approve: run {run.id} is not the newest of {run.environment}",
            hint=f"runbook approve {newest.id}",
        )


def _ends(given: Mapping[str, Any]) -> float:
    """Return when an approval ends, in epoch seconds."""
    return datetime.fromisoformat(given["until"]).timestamp()
