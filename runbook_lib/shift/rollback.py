"""Put all traffic back on stable in one write, whatever else runs or is broken.

It needs the file, the permission and the live split, and nothing else: no record,
no lock, no metric, no room on a disk. Whoever watches the shift sees what was
written, by whom, and stops.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from runbook_lib import record
from runbook_lib.aws import ecs
from runbook_lib.aws.applying import apply
from runbook_lib.aws.session import Session, opening
from runbook_lib.engines.named import engine_of
from runbook_lib.engines.protocol import Split
from runbook_lib.errors import (
    CallError,
    ForeignChangeError,
    GateError,
    PrerequisiteError,
    ReadBackError,
    RecordError,
    RollbackError,
    RunbookError,
    StalePlanError,
)
from runbook_lib.plan import Plan, as_command, clear
from runbook_lib.printable import counted
from runbook_lib.shift.decision import Decision, write_down
from runbook_lib.shift.watching import is_watched, unwatched_at
from runbook_lib.survey import Survey, survey

__all__ = ["Back", "patiently", "read_signature", "roll_back"]

T = TypeVar("T")

MOMENT = "%Y-%m-%dT%H:%M:%SZ"  # in a mark

PATIENCE_SECONDS = 120  # in which AWS may throttle, or be away
AGAIN_SECONDS = 1.0
TRIES = 5  # where somebody else writes the same thing in between
WRITTEN_BETWEEN = (StalePlanError, ForeignChangeError, ReadBackError)


@dataclass(frozen=True, slots=True)
class Back:
    """What came of a rollback: the weights now, what was decided (None where nothing
    was left to write), what else.
    """

    weights: Mapping[str, int]
    decision: Decision | None = None
    notes: tuple[str, ...] = ()


def roll_back(
    session: Session, told: Callable[[str], None], *, force: bool = False
) -> Back:
    """Give stable all that the canary has, in one write that is told as an `aws`
    command before it is made.

    Where nobody watched the canary, that is told first.

    Raises PrerequisiteError where nothing divides the traffic, GateError where nobody
    would answer it (unless by `force`), RollbackError where it could not be written.
    """
    split, plan = patiently(
        lambda: _planned(session), told, session.sleep, session.clock
    )
    if not session.applies:
        return Back(split.weights)
    if not plan.changes:
        return Back(split.weights, notes=tuple(_kept(_end_trial(session, split))))
    former = split.weights.get(session.parameters.shift.canary, 0)
    with suppress(
        RunbookError, OSError
    ):  # a word about it, which is no reason not to roll back
        if words := unwatched_at(session, former):
            told(words)
    if not force:
        _require_somebody(session)
    own = session.run is None
    session.alone = True
    session.run = session.run or _own_run(session)
    now = _write(session, plan, told)
    who = (
        f"rolled back by {session.identity.arn} on {socket.gethostname()}, "
        if own
        else ""
    )
    words = f"by hand: {who}back to 0 % in one write"
    decision = write_down(
        session, Decision("rolled back", former, now, words, at=session.now())
    )
    notes = tuple(_kept(_after(session)))
    if own:
        session.note(lambda run: _close(run, session, words))
    elif not is_watched(session):  # whoever watches ends the run, and says how
        session.finish("rolled_back")
    return Back(now, decision, notes)


def patiently(
    do: Callable[[], T],
    told: Callable[[str], None],
    sleep: Callable[[float], None],
    clock: Callable[[], float],
) -> T:
    """Return what `do` returns, tried again for two minutes while AWS
    throttles or is away.
    """
    end = clock() + PATIENCE_SECONDS
    while True:
        try:
            return do()
        except CallError as error:
            if not error.heals or clock() > end:
                raise
            told(f"not yet: {error.message}; trying again")
            sleep(AGAIN_SECONDS)


def _close(run: record.Run, session: Session, words: str) -> None:
    p = session.parameters
    end = {"outcome": "rolled_back", "reason": f"by_hand: {words}"}
    run.write("summed up", **end)
    run.summarise({"run": run.id, "environment": p.environment, "mode": p.mode, **end})


def _kept(notes: Iterator[str]) -> Iterator[str]:
    """Yield notes; what comes after a rollback that was made is no reason
    to call it failed.
    """
    try:
        yield from notes
    except RunbookError as error:
        yield f"beside the rollback, which is made: {error.message}"


def _own_run(session: Session) -> record.Run:
    """Open a run of its own: another process may be writing the one under way."""
    p = session.parameters
    try:
        run = record.start(
            p.environment,
            p.records,
            session.place,
            **opening(p, session.file, session.given),
        )
        return record.with_copy(run, session.store)
    except RecordError:
        return record.Run(
            record.root() / p.environment / "not-started"
        )  # takes no line: each goes beside it


def _planned(session: Session) -> tuple[Split, Plan]:
    """Read the live split, and plan the write from it alone."""
    shift, engine = session.parameters.shift, engine_of(session)
    split = engine.read_weights(session)
    if split.state is None:
        raise PrerequisiteError(
            f"rollback: nothing divides the traffic of {shift.name} yet, so there is "
            "nothing to roll back",
            hint=f"runbook status {session.named}",
        )
    return split, engine.plan_rollback(split, shift.stable, shift.canary)


def _require_somebody(session: Session) -> None:
    """Refuse to send users to a service that runs nothing; what cannot be
    read refuses nothing.
    """
    stable = session.parameters.shift.stable
    try:
        wanted, running = ecs.read_counts(session, (stable,))[stable]
        retired = not running and stable in survey(session).split.retired
    except CallError:
        return
    if running:
        return
    if retired:
        words, hint = (
            f"{stable} is retired",
            f"`runbook undo {session.named} --notebook 06` brings it back",
        )
    else:
        words, hint = (
            f"{stable} runs 0 of {counted(wanted, 'task')}",
            f"let ECS start some of {stable} first",
        )
    raise GateError(
        f"rollback: {words}: nobody would answer; nothing was written",
        hint=f"{hint}; `runbook rollback {session.named} --force` writes it all "
        "the same, and requests fail",
    )


def _write(session: Session, plan: Plan, told: Callable[[str], None]) -> dict[str, int]:
    """Write it and return the weights after it.

    It is planned again where somebody else wrote in between, and tried again
    while AWS is away.
    """
    shown, end, between = "", session.clock() + PATIENCE_SECONDS, 0
    while True:
        command = _command(session, plan)
        try:
            if plan.changes and command != shown:
                told(command)
                shown = command
            if plan.changes:
                apply(session, clear(plan), urgent=True)
            split, plan = _planned(session)
            if not plan.changes:
                return dict(split.weights)
        except WRITTEN_BETWEEN as error:
            between += 1
            if between >= TRIES:
                raise _failed(
                    f"somebody else writes it all the time: {error.message}", shown
                ) from error
        except CallError as error:
            if not error.heals or session.clock() > end:
                raise _failed(error.message, shown, error.hint) from error
            told(f"not yet: {error.message}; trying again")
            session.sleep(AGAIN_SECONDS)


def _command(session: Session, plan: Plan) -> str:
    return "\n".join(
        as_command(change.call, session.parameters.region) for change in plan
    )


def _failed(words: str, command: str, hint: str = "") -> RollbackError:
    return RollbackError(
        f"the rollback failed: {words}\nby hand:\n{command}", hint=hint
    )


def _after(session: Session) -> Iterator[str]:
    """Do what can wait: leave word of who did it, and end a trial
    that was left behind.
    """
    engine = engine_of(session)
    split = engine.read_weights(session)
    mark = engine.plan_mark(
        split, engine.read_mark(session, split), _signature(session)
    )
    apply(session, clear(mark), urgent=True)
    yield from _end_trial(session, split)


def _end_trial(session: Session, split: Split) -> Iterator[str]:
    """End a trial that is under way or was left behind, in a run of its own."""
    engine = engine_of(session)
    trial = engine.read_trial(session)
    if trial is None:
        return
    session.run = session.run or _own_run(session)
    apply(session, clear(engine.plan_trial_end(split, trial)), urgent=True)
    yield (
        "a trial was under way or left behind, and is ended: its requests still "
        f"reached {session.parameters.shift.canary}"
    )


def _signature(session: Session) -> str:
    """Return who rolls back, from where and when, in words that a
    mark at AWS may have.
    """
    when = datetime.fromtimestamp(session.now(), UTC).strftime(MOMENT)
    return f"{when} {session.identity.arn} on {socket.gethostname()}"


def read_signature(found: Survey, since: float) -> str:
    """Return in words who rolled back since a moment, in epoch seconds, as the mark at
    AWS says; "" for nobody.
    """
    when, _, who = found.engine.read_mark(found.session, found.split).partition(" ")
    try:
        at = datetime.strptime(when, MOMENT).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return ""
    return (
        f"rolled back by {who}, by `runbook rollback`, at {when}"
        if at >= since - 1
        else ""
    )
