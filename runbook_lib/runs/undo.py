"""Plan the undo of a run, or of one notebook of it, from its record and
what is there now.

It only reads and plans; the undo goes through `apply` like any other plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jmespath

from runbook_lib import record
from runbook_lib.aws.reads import Reads
from runbook_lib.aws.session import Session
from runbook_lib.engines.named import engine_of
from runbook_lib.engines.protocol import Undoable
from runbook_lib.errors import PlanError, RecordError
from runbook_lib.plan import (
    Answer,
    Change,
    Inverse,
    Moved,
    Plan,
    Reading,
    Wait,
    differences,
    holds,
    mapped,
    revived,
    spoken,
    told,
)
from runbook_lib.record import Run
from runbook_lib.runs import undoable
from runbook_lib.survey import Survey, survey

__all__ = ["plan_undo"]

UNDO = "undo"
SHIFT = "05"  # the notebook that tries the canary
REMOVAL = "90"  # the one that takes all away
# what changes in a state though nobody changes it
BY_ITSELF = ("runningCount", "rollout")
LEFT_OUT = (*BY_ITSELF, "version", "uid", "arn", "settings")


@dataclass(frozen=True, slots=True)
class Made:
    """A change that the record says a notebook made: what was there before, what
    after, and its inverse.

    It is not `sure` where a crash came between intending and observing it.
    """

    notebook: str
    name: str
    about: tuple[str, ...]
    reading: Reading
    before: Any
    after: Any
    inverse: Inverse | None
    sure: bool = True
    why: str = ""
    """Why it has no inverse, where it says so."""
    for_good: str = ""
    """What makes again what a removal took away for good."""
    undoing: bool = False
    """An undo set out to undo it; whether it did, nobody saw."""

    @property
    def renames(self) -> str:
        """The name that the thing has no more once this is undone."""
        return self.inverse.renames if self.inverse else ""

    @property
    def read_as(self) -> str:
        """How what was changed is read, whatever it is called in plans."""
        return f"{self.reading.call}{self.reading.query}"


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
    if asked and run:  # the undo belongs to the same run
        session.run = record.with_copy(run, session.store)
    try:
        if run:
            run.require_whole(UNDO)
            _require_ours(found, run)
        every = _made(run.lines() if run else ())
        made = _part(every, notebook)
        left = _still_there(made)
        happened = [_seen_by_now(found, m) for m in _happened(found.reads, left)]
        latest_first = _net(reversed(_of_what_is_there(found.reads, left, happened)))
        changes = tuple(_Undoing(found).changes(latest_first))
    except (PlanError, RecordError) as error:
        if asked:
            raise
        return Plan(f"{UNDO} {notebook}".strip(), obstacle=error.message)
    later = [m.notebook for m in made if notebook not in ("", m.notebook)]
    if notebook and asked:
        later += _users(session, changes, every)
    undo_first = {
        name: f"runbook undo {run.id} --notebook {name[:2]}" for name in later if run
    }
    if run and changes:
        first = replace(
            changes[0], ready=(*_unfinished(found.reads, run), *changes[0].ready)
        )
        changes = (first, *changes[1:])
    changes = (*_trial_end(session, notebook), *changes)
    title = f"{UNDO} {notebook}".strip()
    stays = _named(_gone_for_good(made))
    return Plan(title, changes, undo_first=undo_first, stays=stays)


def _named(gone: Iterable[Made]) -> tuple[str, ...]:
    """Return what was taken away for good in words, by what makes it again."""
    names: dict[str, list[str]] = {}
    for m in gone:
        names.setdefault(m.for_good, []).append(m.name)
    return tuple(f"{', '.join(names[why])}: {why}" for why in names)


def _gone_for_good(made: Sequence[Made]) -> list[Made]:
    """Return what a removal has taken away, and nobody has made again since, that no
    undo brings back.
    """
    latest = {m.read_as: m for m in made}
    return [m for m in latest.values() if m.for_good]


def _still_there(made: Sequence[Made]) -> list[Made]:
    """Return changes without those that a removal has overtaken for good: of the same
    state, and of parts of what is gone.
    """
    overtaken = _gone_for_good(made)
    read_as = {m.read_as for m in overtaken}
    gone = {m.about[0] for m in overtaken if m.after is None}
    there = [m for m in made if m.read_as not in read_as]
    return [m for m in there if gone.isdisjoint(m.about)]


def _trial_end(session: Session, notebook: str) -> tuple[Change, ...]:
    """Plan the end of a trial that a crash has left behind, where 05 is undone."""
    engine, is_shifts = engine_of(session), notebook.startswith(SHIFT)
    trial = engine.read_trial(session) if is_shifts or not notebook else None
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
    notebooks = {m.about[0]: m.notebook for m in made}
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


def _newest(session: Session, notebook: str) -> Run | None:
    p = session.parameters
    for run in record.runs(p.environment, p.records, session.place):
        if not run.is_readable() or any(_part(_intended(run), notebook)):
            return run
    return session.latest_run()


def _intended(run: Run) -> Iterator[Made]:
    """Yield what a run set out to change, whether it has been undone or not."""
    for line in run.lines():
        change = revived(line["change"]) if line["event"] == "intended" else None
        if change and not change.undoes:
            yield _intention(line["notebook"], change)


def _unfinished(reads: Reads, run: Run) -> tuple[Wait, ...]:
    """Return what the undo still waits for where it was cut short
    behind its last call.
    """
    intended = [line["change"] for line in run.lines() if line["event"] == "intended"]
    last: Change | None = revived(intended[-1]) if intended else None
    if last and last.undoes and holds(reads.read(last.reading), last.wanted):
        return last.waits
    return ()


def _part(made: Iterable[Made], notebook: str) -> list[Made]:
    """Return one notebook's changes with the later ones that stand on them; everything
    where none is named.
    """
    part: list[Made] = []
    for m in made:
        if notebook in ("", m.notebook) or any(
            own.read_as == m.read_as for own in part
        ):
            part.append(m)
    return part


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
    if line["event"] not in ("intended", "observed"):
        return ""
    change = revived(line["change"]) if line["event"] == "intended" else None
    inverse = change.inverse if change else revived(line["inverse"])
    own, wrong = found.engine.undoable, ""
    if inverse and not (change and _is_never_made(own, inverse)):
        wrong = undoable.obstacle(found.parameters, own, inverse)
        wrong = wrong or found.engine.foreign(found, inverse)
    if change and not wrong:
        readings = [
            change.reading,
            *(wait.reading for wait in (*change.ready, *change.waits)),
        ]
        obstacles = (undoable.obstacle_to_reading(own, reading) for reading in readings)
        wrong = next(filter(None, obstacles), "")
    return wrong


def _is_never_made(own: Undoable, inverse: Inverse) -> bool:
    """Say whether a call of the engine's waits for what its change was answered: the
    line after it has that, and the call to make.
    """
    call = inverse.call
    return (call.service, call.operation) in own.writes and _waits_for_answer(inverse)


def _made(lines: Iterable[Mapping[str, Any]]) -> list[Made]:
    """Return each change in its order, those a crash left open too,
    without those undone.
    """
    made: list[Made] = []
    pending: dict[str, tuple[Change, Made]] = {}
    for line in lines:
        if line["event"] == "intended":
            change = revived(line["change"])
            intended = _intention(line["notebook"], change)
            made = _without_failed(made, intended)
            made = _begun(made, change)
            if not change.undoes and not _is_never_seen(change.inverse):
                made.append(intended)
            pending[change.name] = (change, intended)
        elif line["event"] == "observed" and line["name"] in pending:
            change, intended = pending.pop(line["name"])
            inverse = revived(line["inverse"])
            seen = _one(line["notebook"], change, revived(line["state"]), inverse)
            made = [m for m in made if m is not intended]
            if change.undoes:
                made = _left(made, seen, line["answer"])
            else:
                made.append(seen)
    return made


def _begun(made: list[Made], change: Change) -> list[Made]:
    """Return changes, of which the latest that this one is to undo says so."""
    undone = (change.undoes, change.about)
    same = [n for n, m in enumerate(made) if (m.name, m.about) == undone]
    if not same:
        return made
    last = same[-1]
    return [*made[:last], replace(made[last], undoing=True), *made[last + 1 :]]


def _without_failed(made: list[Made], next_one: Made) -> list[Made]:
    """Return changes without the latest of the same thing, where nobody saw it made and
    what was found before the next one shows nothing of it.
    """
    same = [m for m in made if m.read_as == next_one.read_as]
    if not same or same[-1].sure or not _shows_nothing(same[-1], next_one.before):
        return made
    return [m for m in made if m is not same[-1]]


def _shows_nothing(m: Made, state: Any) -> bool:
    return holds(state, _lasting(m.before)) and not holds(state, _lasting(m.after))


def _waits_for_answer(value: Any) -> bool:
    """Tell whether a value still holds an `Answer`: nobody saw the name of what the
    call made, if it made it.
    """
    return bool(_answers(value))


def _is_never_seen(value: Any) -> bool:
    """Tell whether a value holds an `Answer` that no state shows.

    That is a task definition's revision, which the next run takes up, and
    which does no harm.
    """
    return not all(answer.seen for answer in _answers(value))


def _seen_by_now(found: Survey, m: Made) -> Made:
    """Return a change with the name, in its inverse, of what it has made: a crash may
    have come before anybody saw it.

    Raises PlanError where that is nothing that an undo may take away.
    """
    if not _waits_for_answer(m.inverse):
        return m
    state = found.reads.read(m.reading) or {}

    def end(value: Any) -> Any:
        return state.get(value.seen) if isinstance(value, Answer) else value

    inverse = mapped(m.inverse, end)
    wrong = undoable.obstacle(found.parameters, found.engine.undoable, inverse)
    wrong = wrong or found.engine.foreign(found, inverse)
    if state and wrong:
        raise PlanError(f"undo: {m.name}: {wrong}")
    return replace(m, inverse=inverse)


def _answers(value: Any) -> list[Answer]:
    found: list[Answer] = []

    def end(value: Any) -> Any:
        if isinstance(value, Answer):
            found.append(value)
        return value

    mapped(value, end)
    return found


def _left(made: list[Made], undone: Made, answer: Any) -> list[Made]:
    """Return changes without those that a recorded undo has undone, up to the state it
    reached.

    What came back under another name is called by that from there on.
    """
    left = list(made)
    for n, m in reversed([*enumerate(made)]):
        if m.read_as != undone.read_as:
            continue
        left.remove(m)
        if undone.after is None and m.before is None:  # with all that became of it
            went = {id(later) for later in made[n:] if m.about[0] in later.about}
            left = [other for other in left if id(other) not in went]
        if m.inverse and m.renames:
            name = jmespath.search(m.inverse.answer, answer)
            return [_renamed(other, {m.renames: name}) for other in left]
        if holds(undone.after, _lasting(m.before)):
            break
    return left


def _intention(notebook: str, change: Change) -> Made:
    """Return a change that nobody has seen made yet."""
    made = _one(notebook, change, change.wanted, change.inverse)
    return replace(made, sure=False)


def _one(notebook: str, change: Change, after: Any, inverse: Inverse | None) -> Made:
    if inverse and inverse.reading:
        return Made(
            notebook,
            change.name,
            change.about,
            inverse.reading,
            before=inverse.wanted,
            after=inverse.expected,
            inverse=inverse,
        )
    return Made(
        notebook,
        change.name,
        change.about,
        change.reading,
        before=change.expected,
        after=after,
        inverse=inverse,
        why=change.no_inverse if change.no_inverse == record.UNRECORDED else "",
        for_good=change.no_inverse if notebook.startswith(REMOVAL) else "",
    )


def _happened(reads: Reads, made: Sequence[Made]) -> Iterator[Made]:
    """Yield changes without those a crash left open of which what came next, or is
    there now, shows nothing.
    """
    for n, m in enumerate(made):
        following = next(
            (later for later in made[n + 1 :] if later.read_as == m.read_as), None
        )
        if not m.sure:
            state = following.before if following else reads.read(m.reading)
            if _shows_nothing(m, state):
                continue
        yield m


def _of_what_is_there(
    reads: Reads, made: Sequence[Made], happened: Sequence[Made]
) -> list[Made]:
    """Return what happened, without changes of things that the run made, and left
    there, and that are gone by now: an undo that was cut short has taken them away.
    """
    reads.together([partial(reads.read, m.reading) for m in made])
    absent = [m for m in made if reads.read(m.reading) is None]
    left_absent = {m.read_as for m in made if m.after is None}
    created = [m for m in absent if m.before is None and m.read_as not in left_absent]
    gone = {m.about[0] for m in created}
    moot = {m.read_as for m in absent if gone.intersection(m.about)}
    return [m for m in happened if m.read_as not in moot]


def _net(made: Iterable[Made]) -> Iterator[Made]:
    """Yield changes in the order of their undoing, with updates in a row of the same
    kind on one thing as one.
    """
    kept: list[Made] = []  # the later ones, the latest first
    for m in made:
        later = _later_of_the_same(kept, m)
        if later is None:
            kept.append(m)
        elif later is kept[-1] and _made_and_removed(m, later):
            kept.pop()  # with nothing in between: nobody needs to see it again
        elif _both_update(m, later) and _in_a_row(kept, later):
            kept.remove(later)
            kept.append(replace(m, after=later.after))
        else:
            kept.append(m)
    yield from kept


def _later_of_the_same(kept: Sequence[Made], m: Made) -> Made | None:
    same = [k for k in kept if (k.read_as, k.name) == (m.read_as, m.name)]
    return same[-1] if same else None


def _made_and_removed(m: Made, later: Made) -> bool:
    return m.before is None and later.after is None


def _both_update(m: Made, later: Made) -> bool:
    states = (m.before, m.after, later.before, later.after)
    return not (later.renames or later.undoing) and None not in states


def _in_a_row(kept: Sequence[Made], later: Made) -> bool:
    """Say whether nothing is undone in between: what came in between may need the
    thing as it was then.
    """
    between = kept[kept.index(later) + 1 :]
    return not any(m.inverse for m in between)


class _Undoing:
    """Plans the inverse of each change, the latest first, of what is still as the run
    left it; what is as it was before needs none.
    """

    def __init__(self, found: Survey) -> None:
        self.session, self.reads = found.session, found.reads
        # each thing as it is now, or as the changes planned so far would leave it
        self.now: dict[str, Any] = {}
        # what comes back with other weights than it had
        self.reweighted: set[str] = set()
        self.renamed: dict[str, Answer] = {}

    def changes(self, made: Iterable[Made]) -> Iterator[Change]:
        """Yield the inverses, in the order of `made`."""
        every = list(made)
        for n, m in enumerate(every):
            earlier = [other for other in every[n + 1 :] if other.read_as == m.read_as]
            change = None if self._is_undone(m, earlier) else self._inverse(m)
            if change:
                yield change

    def _is_undone(self, m: Made, earlier: Sequence[Made]) -> bool:
        """Say whether an undo that was cut short has undone this, and then an earlier
        change of the same state: that is as it was before.
        """
        if not m.undoing or m.read_as in self.now:
            return False
        live = self.reads.read(m.reading)
        if holds(live, _lasting(m.after)):
            return False
        return any(holds(live, _lasting(each.before)) for each in earlier)

    def _inverse(self, m: Made) -> Change | None:
        """Return the inverse of a change; None where there is nothing to undo."""
        first = m.read_as not in self.now
        live = self.reads.read(m.reading) if first else self.now[m.read_as]
        as_before = holds(live, _lasting(m.before))
        as_after = holds(live, _lasting(m.after))
        if first and as_before and not as_after:
            return None
        if m.inverse is None:
            _require_none(m, live, fresh=first)
            return None
        if live is None and m.before is None:
            return None  # an undo that was cut short took it away, and it was made anew
        if m.read_as in self.reweighted and holds(live, m.inverse.wanted):
            return None
        if first and not as_after:
            raise _foreign(m, live)
        change = self._planned(m, m.inverse, live)
        self.now[m.read_as] = change.wanted
        there_and_back = first and not change.diff and not m.renames  # as a rollback
        if there_and_back:
            return None
        safe = _never_raised(self.session, change, live)
        if safe.wanted != change.wanted:
            self.reweighted.add(m.read_as)
            self.now[m.read_as] = safe.wanted
        if m.renames:
            self.renamed[m.renames] = Answer(safe.name, m.inverse.answer)
        return safe

    def _planned(self, m: Made, inverse: Inverse, live: Any) -> Change:
        """Return an inverse as a change, by the names that things have by then."""
        reading = _renamed(m.reading, self.renamed)
        back = _renamed(inverse, self.renamed)
        if m.read_as in self.reweighted:
            expected = live
        elif reading == m.reading:
            expected = _without(BY_ITSELF, live)
        else:
            expected = m.after
        return Change(
            name=m.name,
            verb=back.verb,
            call=back.call,
            reading=reading,
            expected=expected,
            wanted=back.wanted,
            about=m.about,
            undoes=m.name,
            ready=back.ready,
            waits=back.waits,
            diff=differences(spoken(m.after, back.wanted), back.wanted),
        )


def _never_raised(session: Session, change: Change, live: Any) -> Change:
    """Return a change that gives the canary no more than it has, with what it moves.

    Raises PlanError where it would raise the canary's weight. What comes back from
    nothing comes with all traffic on stable; where stable is retired, on the survivor.
    """
    p, engine = session.parameters, engine_of(session)
    stable, canary = p.shift.stable, p.shift.canary
    if change.reading.call != engine.split_reading(p).call:
        return change
    before, after = engine.weights_of(p, live), engine.weights_of(p, change.wanted)
    moved = Moved(before, after)
    survives = not before and stable not in after
    if survives or not moved.raises(canary):
        return replace(change, weights=moved)
    if live is None:
        safe = engine.all_on(p, change, stable)
        all_of_it = Moved(before, engine.weights_of(p, safe.wanted))
        return replace(safe, weights=all_of_it)
    raise PlanError(
        f"{change.title}: it would raise {canary} from {before.get(canary, 0)} to "
        f"{after[canary]} %, which undo never does: only 05 does, with its gates",
        hint="run 05, or name another notebook: --notebook",
    )


def _require_none(m: Made, live: Any, *, fresh: bool) -> None:
    """Refuse where a change that has no inverse would have to be undone;
    say why it has none.
    """
    if m.why and not (fresh and holds(live, _lasting(m.before))):
        raise PlanError(
            f"{m.name}: it has no inverse: {m.why}",
            hint="put it back by hand, then undo the rest",
        )


def _foreign(m: Made, live: Any) -> PlanError:
    said = _lasting(m.after)
    return PlanError(
        f"{m.name}: somebody has changed it "
        f"since:\n{told(differences(said, spoken(_lasting(live), said)))}",
        hint="undo stops here and has changed nothing; settle it with them, or "
        "put it back by hand",
    )


def _lasting(state: Any) -> Any:
    """Return a state without what changes by itself, or with each write: versions,
    running counts, rollouts.
    """
    return _without(LEFT_OUT, state)


def _without(fields: Sequence[str], state: Any) -> Any:
    return (
        {k: v for k, v in state.items() if k not in fields}
        if isinstance(state, Mapping)
        else state
    )


def _renamed(value: Any, names: Mapping[str, Answer | str]) -> Any:
    return mapped(
        value, lambda end: names.get(end, end) if isinstance(end, str) else end
    )
