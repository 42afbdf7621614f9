"""Approvals as data: who approved which plan, until when, and what happens once that has passed.

An approval stands in the parameters or in a run's record. A widget or a command may write one; none is one.
"""

from __future__ import annotations

import getpass
from datetime import UTC, datetime, timedelta
from typing import Any

from runbook_lib.errors import Held
from runbook_lib.plan import Plan
from runbook_lib.record import Run
from runbook_lib.session import Session

__all__ = ["approval_of", "approve", "hold", "hold_since", "require_approval"]


def approve(session: Session, run: Run, plan: Plan, *, approver: str = "") -> dict[str, Any]:
    """Write an approval of exactly this plan into a run's record, and return it."""
    rule = session.parameters.shift.approvals
    until = datetime.now(UTC) + timedelta(minutes=rule.valid_minutes)
    given = {
        "approver": approver or session.identity.arn or getpass.getuser(),
        "plan": plan.hash,
        "until": until.isoformat(timespec="seconds"),
        "on_expiry": rule.on_expiry,
    }
    run.write("approved", **given)
    return given


def approval_of(session: Session, plan: Plan) -> dict[str, Any] | None:
    """Return the approval of exactly this plan that holds now, None where there is none; only reads."""
    given = (a for a in _given(session) if a["plan"] == plan.hash)
    return next((a for a in given if datetime.fromisoformat(a["until"]) > datetime.now(UTC)), None)


def hold(run: Run, by: str) -> None:
    """Write down that the shift is to hold: whoever follows it stops at the next interval, and weights stay."""
    run.write("hold", by=by)


def hold_since(run: Run, moment: datetime) -> dict[str, Any] | None:
    """Return the first hold written after a moment, None where there is none."""
    holds = (line for line in run.lines() if line["event"] == "hold")
    return next((line for line in holds if datetime.fromisoformat(line["at"]) > moment), None)


def require_approval(session: Session, step: int, plan: Plan) -> str:
    """Return nothing where this step needs no approval or has one that holds; raise Held where it has none.

    One that ran out ends as the parameters say: Held, or with the words of why the caller is to go back.
    """
    rule = session.parameters.shift.approvals
    if step not in rule.steps or approval_of(session, plan):
        return ""
    given = [a for a in _given(session) if a["plan"] == plan.hash]
    if given and rule.on_expiry == "roll_back":
        return f"the approval of {step} % by {given[-1]['approver']} ran out at {given[-1]['until']}"
    run = session.join_run()
    found = f"the one by {given[-1]['approver']} ran out" if given else "there is none"
    raise Held(
        f"{step} %: plan {plan.hash} needs an approval; {found}", hint=f"runbook approve {run.id}, then run 05 again"
    )


def _given(session: Session) -> list[dict[str, Any]]:
    stated = session.parameters.approval
    run = session.run or session.latest_run()
    recorded = [line for line in run.lines() if line["event"] == "approved"] if run and not run.closed else []
    return [*([stated.model_dump()] if stated else []), *recorded]
