"""Plan the inverse of each change that a run has made, from what is there now.

It only reads and plans.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from runbook_lib.aws.session import Session
from runbook_lib.engines.named import engine_of
from runbook_lib.errors import PlanError
from runbook_lib.plan import (
    Answer,
    Change,
    Inverse,
    Moved,
    Reading,
    differences,
    holds,
    spoken,
    told,
)
from runbook_lib.runs.made import BY_ITSELF, Made, lasting, renamed, without
from runbook_lib.survey import Survey

__all__ = ["Inverses"]


@dataclass(frozen=True, slots=True)
class _Now:
    """A thing as it is now, or as the inverses planned so far would leave it."""

    state: Any
    is_live: bool  # no inverse planned so far is about it
    as_before: bool  # as it was before the change to undo
    as_after: bool

    @property
    def is_back(self) -> bool:
        """Whether it is as it was already, without any inverse."""
        return self.is_live and self.as_before and not self.as_after

    @property
    def is_foreign(self) -> bool:
        """Whether it is no longer as the run left it."""
        return self.is_live and not self.as_after


class Inverses:
    """Plans the inverse of each change, the latest first, of what is still as the run
    left it; what is as it was before needs none.
    """

    def __init__(self, found: Survey) -> None:
        self.session, self.reads = found.session, found.reads
        # each thing as the inverses planned so far would leave it
        self.states: dict[str, Any] = {}
        # what comes back with other weights than it had
        self.reweighted: set[str] = set()
        self.renamed: dict[str, Answer] = {}

    def changes(self, made: Sequence[Made]) -> Iterator[Change]:
        """Yield the inverses, in the order of `made`; PlanError where somebody else has
        changed something since, or what has no inverse would have to be undone.
        """
        for index, m in enumerate(made):
            if self._is_undone(m, made[index + 1 :]):
                continue
            change = self._inverse(m)
            if change:
                yield change

    def _is_undone(self, m: Made, others: Sequence[Made]) -> bool:
        """Say whether an undo that was cut short has undone this, and then an earlier
        change of the same state: that is as it was before.
        """
        if not m.undoing:
            return False
        now = self._now(m)
        if not now.is_foreign:
            return False
        earlier = [other for other in others if other.read_as == m.read_as]
        return any(holds(now.state, lasting(each.before)) for each in earlier)

    def _inverse(self, m: Made) -> Change | None:
        """Return the inverse of a change; None where there is nothing to undo."""
        now = self._now(m)
        if now.is_back:
            return None
        if m.inverse is None:
            _require_none(m, now)
            return None
        if self._needs_none(m, m.inverse, now):
            return None
        if now.is_foreign:
            raise _foreign(m, now.state)
        change = self._planned(m, m.inverse, now.state)
        self.states[m.read_as] = change.wanted
        there_and_back = now.is_live and not change.diff and not m.renames
        if there_and_back:  # as a rollback
            return None
        safe = _never_raised(self.session, change, now.state)
        self.states[m.read_as] = safe.wanted
        if safe.wanted != change.wanted:
            self.reweighted.add(m.read_as)
        if m.renames:
            self.renamed[m.renames] = Answer(safe.name, m.inverse.answer)
        return safe

    def _now(self, m: Made) -> _Now:
        is_live = m.read_as not in self.states
        state = self.reads.read(m.reading) if is_live else self.states[m.read_as]
        return _Now(
            state,
            is_live,
            as_before=holds(state, lasting(m.before)),
            as_after=holds(state, lasting(m.after)),
        )

    def _needs_none(self, m: Made, inverse: Inverse, now: _Now) -> bool:
        """Say whether an undo that was cut short took a thing away, and it was made
        anew, or what comes back with other weights is as it should be.
        """
        if now.state is None and m.creates:
            return True
        return m.read_as in self.reweighted and holds(now.state, inverse.wanted)

    def _planned(self, m: Made, inverse: Inverse, state: Any) -> Change:
        """Return an inverse as a change, by the names that things have by then."""
        reading = renamed(m.reading, self.renamed)
        back = renamed(inverse, self.renamed)
        return Change(
            name=m.name,
            verb=back.verb,
            call=back.call,
            reading=reading,
            expected=self._expected(m, reading, state),
            wanted=back.wanted,
            about=m.about,
            undoes=m.name,
            ready=back.ready,
            waits=back.waits,
            diff=differences(spoken(m.after, back.wanted), back.wanted),
        )

    def _expected(self, m: Made, reading: Reading, state: Any) -> Any:
        """Return what an inverse expects, of a thing that is in this state by then."""
        if m.read_as in self.reweighted:
            return state
        if reading != m.reading:  # it comes back under a name that nobody knows yet
            return m.after
        return without(BY_ITSELF, state)


def _never_raised(session: Session, change: Change, live: Any) -> Change:
    """Return a change that gives the canary no more than it has, with what it moves.

    Raises PlanError where it would raise the canary's weight. What comes back from
    nothing comes with all traffic on stable; where stable is retired, on the survivor.
    """
    p, engine = session.parameters, engine_of(session)
    stable, canary = p.shift.versions
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


def _require_none(m: Made, now: _Now) -> None:
    """Refuse where a change that has no inverse would have to be undone;
    say why it has none.
    """
    is_undone = now.is_live and now.as_before
    if m.why and not is_undone:
        raise PlanError(
            f"{m.name}: it has no inverse: {m.why}",
            hint="put it back by hand, then undo the rest",
        )


def _foreign(m: Made, live: Any) -> PlanError:
    said = lasting(m.after)
    changed = told(differences(said, spoken(lasting(live), said)))
    return PlanError(
        f"{m.name}: somebody has changed it since:\n{changed}",
        hint="undo stops here and has changed nothing; settle it with them, or "
        "put it back by hand",
    )
