"""What a person does about the weights of an environment: roll back, watch, approve,
promote."""

from __future__ import annotations

import time
from functools import partial

from runbook_lib import parameters, record
from runbook_lib.aws.session import Session
from runbook_lib.command.meant import found_run
from runbook_lib.command.opened import given_at_work, session_of
from runbook_lib.command.plans import show_plan
from runbook_lib.command.screen import complain, console
from runbook_lib.errors import (
    CredentialsError,
    ParametersError,
    RecordError,
    TargetError,
)
from runbook_lib.opening import open_session
from runbook_lib.printable import counted, divided, one_line
from runbook_lib.redaction import scrubbed
from runbook_lib.runs import approvals
from runbook_lib.shift import plan_steps
from runbook_lib.shift.process.following import follow_watch
from runbook_lib.shift.promoting import end_bake
from runbook_lib.shift.rollback import patiently, roll_back
from runbook_lib.shift.watching import is_staying, is_watched
from runbook_lib.survey import survey
from runbook_lib.unattended.progress import Lines


def rollback(environment: str, *, rehearse: bool, force: bool) -> None:
    """Put all traffic back on stable, and print what was written and what followed."""
    given = given_at_work("rollback", environment, rehearse)
    named = {"environment": environment, "mode": "apply", **given}
    opening = partial(open_session, named, "rollback")
    try:
        session = patiently(opening, complain, time.sleep, time.monotonic)
    except (TargetError, CredentialsError) as error:
        account = parameters.load(environment, given).account_id
        again = f"runbook rollback {environment}"
        hint = f"log in to account {account}, then: {again}"
        raise type(error)(error.message, hint=hint, reason=error.reason) from None
    back = roll_back(session, console.print, force=force)
    came = "read back" if back.decision else "nothing was left to roll back"
    weights = f"{divided(back.weights)}: {came}"
    for words in (weights, *back.notes, session.spare.words, _not_stored(session)):
        if words:
            console.print(scrubbed(words))


def _not_stored(session: Session) -> str:
    """Store the record of a rollback that was made; say in words where that fails."""
    run = session.run or session.finished
    try:
        if run:
            run.require_stored(files=True)
    except RecordError as error:
        return error.message
    return ""


def watch(environment: str, *, rehearse: bool) -> None:
    """Follow the shift under way, or watch a canary, and print each decision."""
    given = given_at_work("watch", environment, rehearse)
    named = {"environment": environment, "mode": "apply", **given}
    session = open_session(named, "watch")
    lines = Lines(console)
    watched = False
    for decision in follow_watch(session, alarm=lines.word):
        watched = True
        if decision.phase != "watching":
            lines.line({"event": "decision", **decision.line})
    weights = divided(survey(session).split.weights)
    if not watched:
        console.print("no canary has any weight: there is nothing to watch")
    console.print(weights or "nothing divides the traffic yet")


def approve(run: str, by: str, *, file: str, rehearse: bool) -> None:
    """Show the next step of a run, and approve exactly that."""
    this = found_run(run, rehearse, file)
    session = session_of("approve", this, "plan", file or run)
    this = record.with_copy(this, session.store)
    look = survey(session)
    steps = plan_steps(session)
    if look.split.state is None:
        raise ParametersError(
            "approve: no route yet: 03 was not applied",
            hint=f"runbook run {session.named}",
        )
    if not steps:
        weights = divided(look.split.weights)
        raise ParametersError(
            f"approve: no step is left: {weights}",
            hint=f"runbook status {session.named}",
        )
    plan = look.plan_weights(steps[0].weights)
    show_plan(plan, "nothing to approve")
    given = approvals.approve(session, this, plan, approver=one_line(by))
    console.print(
        f"{steps[0].words}: plan {given['plan']} approved by {given['approver']} "
        f"until {given['until']}"
    )
    left = approvals.still_needed(session, plan)
    if left:
        console.print(f"{counted(left, 'more approval')} needed before it is taken")
    elif is_staying(session) or not is_watched(session):
        console.print(f"Next: runbook run {session.named} --from 05")


def promote(run: str, by: str, because: str, *, file: str, rehearse: bool) -> None:
    """Ask the shift of a run to end its bake, and print how it goes on."""
    this = found_run(run, rehearse, file)
    session = session_of("promote", this, "plan", file or run)
    this = record.with_copy(this, session.store)
    look = survey(session)
    end_bake(look, this, by=one_line(by), because=one_line(because))
    console.print(f"{divided(look.split.weights)}: the end of its bake is asked for")
    if record.shifter(session.place) is None:
        console.print(f"Next: runbook run {session.named} --from 05")
