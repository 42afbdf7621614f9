"""Plan the undo of a run, or of one notebook of it, from its record and
what is there now.

It only reads and plans; the undo goes through `apply` like any other plan. `made` says
what the run has changed, `inverses` plans each change's inverse.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from runbook_lib import record
from runbook_lib.aws.reads import Reads, read_each
from runbook_lib.aws.session import Session
from runbook_lib.engines.named import engine_of
from runbook_lib.engines.protocol import Undoable
from runbook_lib.errors import PlanError, RecordError
from runbook_lib.plan import (
    Answer,
    Change,
    Inverse,
    Plan,
    Wait,
    holds,
    map_leaves,
    revived,
)
from runbook_lib.record import Run
from runbook_lib.runs import undoable
from runbook_lib.runs.inverses import Inverses
from runbook_lib.runs.made import (
    Made,
    answers_in,
    gone_for_good,
    in_order_of_undoing,
    intended_by,
    made_by,
    part_of,
    shows_nothing,
    still_there,
    unfinished,
)
from runbook_lib.survey import Survey, survey

__all__ = ["plan_undo"]

UNDO = "undo"
SHIFT = "05"  # the notebook that tries the canary


def plan_undo(
    session: Session, run: Run | None = None, notebook: str = "", *, asked: bool = True
) -> Plan:
    """Plan back what a run changed (only `notebook`'s part where one is named),
    last change first.

    Without `run` it is the newest that changed something there, undone or not. What has
    been undone already stays so. Raises PlanError where something is no longer as the
    run left it: that is somebody else's change; where nobody `asked` for it to be
    taken, the plan says so instead. Where a later notebook has changed the same thing,
    the plan names that notebook to be undone first, and `clear` refuses it.
    """
    run = run or _newest(session, notebook)
    found = survey(session)
    title = f"{UNDO} {notebook}".strip()
    if asked and run:  # the undo belongs to the same run
        session.run = record.with_copy(run, session.store)
    try:
        part = _part(found, run, notebook)
    except (PlanError, RecordError) as error:
        if asked:
            raise
        return Plan(title, obstacle=error.message)
    changes = part.changes
    later: list[str] = []
    if notebook:
        later += [m.notebook for m in part.made if m.notebook != notebook]
        if asked:
            later += _users(session, changes, part.every)
    if run and changes:
        changes = _waiting_first(changes, _unfinished(found.reads, run))
    return Plan(
        title,
        (*_trial_end(session, notebook), *changes),
        undo_first=_undo_first(run, later),
        stays=_named(part.gone),
    )


@dataclass(frozen=True, slots=True)
class _Part:
    """What an undo is about: `every` change of the run, those `made` that are to be
    undone, what of them is `gone` for good, and the `changes` that undo the others.
    """

    every: list[Made]
    made: list[Made]
    gone: list[Made]
    changes: tuple[Change, ...]


def _part(found: Survey, run: Run | None, notebook: str) -> _Part:
    """Return what the undo of a run is about, of one notebook where one is named.

    Raises RecordError or PlanError where the run or something there is not as it must
    be.
    """
    if run is None:
        return _Part([], [], [], ())
    run.require_whole(UNDO)
    _require_ours(found, run)
    every = made_by(run.lines())
    made = part_of(every, notebook)
    gone = gone_for_good(made)
    changes = _inverses(found, still_there(made, gone))
    return _Part(every, made, gone, changes)


def _newest(session: Session, notebook: str) -> Run | None:
    p = session.parameters
    for run in record.runs(p.environment, p.records, session.place):
        if not run.is_readable():  # what it changed nobody can say: it is refused
            return run
        if part_of(intended_by(run.lines()), notebook):
            return run
    return session.latest_run()


def _inverses(found: Survey, made: Sequence[Made]) -> tuple[Change, ...]:
    """Plan the inverses of what has happened, and is there, the latest first."""
    happened = [_seen_by_now(found, m) for m in _happened(found.reads, made)]
    there = _of_what_is_there(found.reads, made, happened)
    return tuple(Inverses(found).changes(in_order_of_undoing(there)))


def _named(gone: Iterable[Made]) -> tuple[str, ...]:
    """Return what was taken away for good in words, by what makes it again."""
    names: dict[str, list[str]] = {}
    for m in gone:
        names.setdefault(m.for_good, []).append(m.name)
    return tuple(f"{', '.join(names[why])}: {why}" for why in names)


def _undo_first(run: Run | None, notebooks: Iterable[str]) -> dict[str, str]:
    """Return by notebook the command that undoes it, before this undo may begin."""
    if run is None:
        return {}
    return {name: f"runbook undo {run.id} --notebook {name[:2]}" for name in notebooks}


def _waiting_first(
    changes: Sequence[Change], waits: Iterable[Wait]
) -> tuple[Change, ...]:
    """Return changes, of which the first waits for that before it is made."""
    first, *others = changes
    return (replace(first, ready=(*waits, *first.ready)), *others)


def _unfinished(reads: Reads, run: Run) -> tuple[Wait, ...]:
    """Return what the undo still waits for where it was cut short
    behind its last call.
    """
    last = unfinished(run.lines())
    if last is None or not holds(reads.read(last.reading), last.wanted):
        return ()
    return last.waits


def _trial_end(session: Session, notebook: str) -> tuple[Change, ...]:
    """Plan the end of a trial that a crash has left behind, where 05 is undone."""
    if notebook and not notebook.startswith(SHIFT):
        return ()
    engine = engine_of(session)
    trial = engine.read_trial(session)
    if trial is None:
        return ()
    return engine.plan_trial_end(engine.read_weights(session), trial).changes


def _users(
    session: Session, changes: Sequence[Change], made: Sequence[Made]
) -> list[str]:
    """Return the notebooks that made what cannot be without what these changes delete:
    AWS would refuse to.

    Raises PlanError where something uses it that this run did not make.
    """
    going = {change.thing for change in changes if change.wanted is None}
    if not going:
        return []
    altered = {change.thing for change in changes}  # and so lets go of it, or goes
    notebooks = {m.thing: m.notebook for m in made}
    found: list[str] = []
    for user, needs in engine_of(session).standing(session).items():
        used = sorted(going.intersection(needs))
        if user in altered or not used:
            continue
        if user not in notebooks:
            raise PlanError(
                f"{used[0]}: {user} uses it, which this run did not make",
                hint=f"take {user} away first, or undo the run that made it: runbook "
                f"runs {session.file}",
            )
        found.append(notebooks[user])
    return found


# What a record may ask for.


def _require_ours(found: Survey, run: Run) -> None:
    """Refuse a record that asks for what no planner could have asked for, by the
    line, before any call.
    """
    for number, line in enumerate(run.lines(), 1):
        try:
            wrong = _obstacle(found, line)
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            wrong = f"it is no change of this product ({type(error).__name__}: {error})"
        if wrong:
            raise PlanError(
                f"undo: line {number} of the record of run {run.id}: {wrong}",
                hint=f"look at it: runbook verify {run.id}; nothing was changed",
            )


def _obstacle(found: Survey, line: Mapping[str, Any]) -> str:
    """Return what keeps a line of the record from being undone, or nothing."""
    if line["event"] == "observed":
        inverse = revived(line["inverse"])
        return _obstacle_to(found, inverse) if inverse else ""
    if line["event"] != "intended":
        return ""
    change: Change = revived(line["change"])
    own = found.engine.undoable
    if change.inverse and not _is_never_made(own, change.inverse):
        wrong = _obstacle_to(found, change.inverse)
        if wrong:
            return wrong
    return undoable.obstacle_to_readings(own, change)


def _obstacle_to(found: Survey, inverse: Inverse) -> str:
    """Return why an inverse is none that an undo may make, or nothing."""
    wrong = undoable.obstacle(found.parameters, found.engine.undoable, inverse)
    return wrong or found.engine.foreign(found, inverse)


def _is_never_made(own: Undoable, inverse: Inverse) -> bool:
    """Say whether a call of the engine's waits for what its change was answered: the
    line after it has that, and the call to make.
    """
    call = inverse.call
    return (call.service, call.operation) in own.writes and bool(answers_in(inverse))


# What has happened, where a crash left that open, and what is there.


def _happened(reads: Reads, made: Sequence[Made]) -> Iterator[Made]:
    """Yield changes without those a crash left open of which what came next, or is
    there now, shows nothing.
    """
    for index, m in enumerate(made):
        if m.sure:
            yield m
            continue
        after = _state_after(reads, m, made[index + 1 :])
        if not shows_nothing(m, after):
            yield m


def _state_after(reads: Reads, m: Made, later: Iterable[Made]) -> Any:
    """Return the state that was found after a change: before the next one of the same
    thing, or now.
    """
    for other in later:
        if other.read_as == m.read_as:
            return other.before
    return reads.read(m.reading)


def _seen_by_now(found: Survey, m: Made) -> Made:
    """Return a change with the name, in its inverse, of what it has made: a crash may
    have come before anybody saw it.

    Raises PlanError where that is nothing that an undo may take away.
    """
    if not answers_in(m.inverse):
        return m
    state = found.reads.read(m.reading) or {}

    def seen(leaf: Any) -> Any:
        return state.get(leaf.seen) if isinstance(leaf, Answer) else leaf

    inverse = map_leaves(m.inverse, seen)
    wrong = _obstacle_to(found, inverse)
    if state and wrong:
        raise PlanError(f"undo: {m.name}: {wrong}")
    return replace(m, inverse=inverse)


def _of_what_is_there(
    reads: Reads, made: Sequence[Made], happened: Sequence[Made]
) -> list[Made]:
    """Return what happened, without changes of things that the run made, and left
    there, and that are gone by now: an undo that was cut short has taken them away.
    """
    absent = _of_what_is_absent(reads, made)
    removed_by_run = {m.read_as for m in made if m.removes}
    created = [m for m in absent if m.creates]
    taken_away = {m.thing for m in created if m.read_as not in removed_by_run}
    moot = {m.read_as for m in absent if not taken_away.isdisjoint(m.about)}
    return [m for m in happened if m.read_as not in moot]


def _of_what_is_absent(reads: Reads, made: Sequence[Made]) -> list[Made]:
    """Return the changes of what is not there now."""
    states = read_each(reads, [m.reading for m in made])
    return [m for m, state in zip(made, states, strict=True) if state is None]
