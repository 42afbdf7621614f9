"""A shift under way: which step is written when, and what is observed meanwhile.

`State` is what it knows, `Writing` writes its steps, `Observing` watches them,
`Stopping` ends it where it does not pass, and `Outlasting` waits where AWS does not
answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from runbook_lib.aws.session import Session
from runbook_lib.errors import Held, TargetError
from runbook_lib.plan import Evidence
from runbook_lib.shift.decision import Decision
from runbook_lib.shift.observing import Observing, Relieved
from runbook_lib.shift.outlasting import CannotLookError, Outlasting
from runbook_lib.shift.requirements import require_no_hold, require_ours
from runbook_lib.shift.rules.moves import Hold
from runbook_lib.shift.rules.steps import has_passed, is_anything_left, steps_left
from runbook_lib.shift.state import State
from runbook_lib.shift.stopping import BY_HAND, Stopping
from runbook_lib.shift.writing import Writing

__all__ = ["UnderWay"]


class _RelievedError(Exception):
    """Another process goes on with the shift from here."""


class UnderWay:
    """One shift under way. What it knows it has read; what it writes is recorded."""

    def __init__(
        self,
        session: Session,
        evidence: Sequence[Evidence],
        relieved: Relieved | None = None,
    ) -> None:
        self.session, self.relieved = session, relieved
        self.state = State(session)
        self.stopping = Stopping(self.state)
        self.outlasting = Outlasting(self.state)
        self.writing = Writing(self.state, evidence, self.outlasting)
        self.observing = Observing(self.state, self.stopping, relieved)
        if self.state.weight:
            session.outlast = self.outlasting.ask_again

    def run(self) -> Iterator[Decision]:
        """Take every step that is left."""
        try:
            left = self._is_anything_left()
        except CannotLookError as blind:
            yield from self.stopping.stop_unseen(blind.move)
        if left:
            require_ours(self.state.found)
            with self._in_hand():
                yield from self._heeding(self._steps())

    def stand_by(self) -> Iterator[Decision]:
        """Watch the weight that is there."""
        found = self.state.found
        if not found.canary_weight or found.retired:
            return
        now = self._begin_at_weights()
        with self._in_hand():
            yield from self._heeding(self._watch_and_stay(now))

    def take(self, step: int) -> Iterator[Decision]:
        """Write one step and watch it."""
        now = self._begin_at_weights()
        with self._in_hand():
            yield from self._heeding(self._one(now, step))

    def _is_anything_left(self) -> bool:
        found = self.state.found
        self.state.take_weights()
        if found.retired or found.split.state is None:
            return False
        steps, lines = self.state.shift.steps, self.state.journal.lines
        return is_anything_left(steps, found.canary_weight, lines)

    def _begin_at_weights(self) -> int:
        """Begin at the weights that are there, which must be ours; return the
        canary's.
        """
        require_ours(self.state.found)
        self.state.weight = self.state.found.canary_weight
        self.state.take_weights()
        return self.state.weight

    # The order of what is written and what is observed.

    def _steps(self) -> Iterator[Decision]:
        now = self.state.found.canary_weight
        self.state.weight = now
        left = steps_left(self.state.shift.steps, now)
        if now == 0 and left and not self.writing.is_prepared(left[0]):
            yield from self.writing.prepare(left)
        elif now and not has_passed(self.state.journal.lines, now):
            yield from self._go_on_watching(now)
        for step in left:
            yield from self._take(step)
            yield from self.observing.until_passed()

    def _one(self, now: int, step: int) -> Iterator[Decision]:
        if now == 0 and not self.writing.is_prepared(step):
            yield from self.writing.prepare([step])
        yield from self._take(step)
        if step:
            yield from self.observing.until_passed()
            yield from self.observing.until_relieved()

    def _watch_and_stay(self, now: int) -> Iterator[Decision]:
        yield from self._go_on_watching(now)
        yield from self.observing.until_relieved()

    def _go_on_watching(self, step: int) -> Iterator[Decision]:
        """Watch a step that an earlier process, or somebody else, has written."""
        self.state.resume_step(step)
        yield from self.observing.until_passed()

    def _take(self, step: int) -> Iterator[Decision]:
        """Write a step. Where it is refused and the one before it has passed, that one
        is watched on until another process may take the step.
        """
        now = self.state.weight
        passed = has_passed(self.state.journal.lines, now)
        if passed and self.state.watch.step != now:  # by an earlier process
            self.state.resume_step(now)
        try:
            yield from self._write(step)
        except Held as error:
            is_attempted = self.state.weight != now  # nobody knows what is in force
            if not passed or is_attempted or error.reason in BY_HAND:
                raise
            if self.relieved is None:  # nobody comes after this one
                raise
            words = f"{error.message}; {now} % stays watched until then"
            refused = Hold(error.reason, words, error.hint)
            yield from self.observing.until_relieved(refused)
            raise _RelievedError from None

    def _write(self, step: int) -> Iterator[Decision]:
        """Write a step once its gates and its approval are there."""
        self.state.look_anew()
        former = self.state.found.canary_weight
        require_no_hold(self.session, self.state.weights)
        expired = self.writing.write(step, former)
        if expired:
            unwritten = Decision("watching", former, self.state.weights, "")
            yield from self.stopping.stop(expired, unwritten)
        yield self.writing.begin(step, former)

    # How it ends where nothing can be looked at, or somebody interrupts it.

    def _heeding(self, steps: Iterator[Decision]) -> Iterator[Decision]:
        """Take steps; end as the file says where nothing can be looked at any more."""
        try:
            yield from steps
        except _RelievedError:
            return
        except CannotLookError as blind:
            yield from self.stopping.stop_unseen(blind.move)
        except TargetError as error:  # the credentials became another account's
            if not self.state.weight:
                raise
            hold = Hold(error.reason, error.message, error.hint)
            yield from self.stopping.stop_unseen(hold)

    @contextmanager
    def _in_hand(self) -> Iterator[None]:
        """Hold the environment; an interrupt leaves the weights, and says so."""
        self.session.outlast = self.outlasting.ask_again
        try:
            with self.session.shifting():
                require_no_hold(self.session, self.state.weights)
                yield
        except KeyboardInterrupt:
            self.stopping.stop_interrupted()
        finally:
            self.session.outlast = None
