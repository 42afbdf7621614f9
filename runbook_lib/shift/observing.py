"""Observe the step in force: look, decide, and carry out, until it passes.

`rules.step` decides what follows from a look; `stopping` does what ends the shift.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from functools import partial

from runbook_lib.aws import cloudwatch
from runbook_lib.shift.decision import Decision
from runbook_lib.shift.rules.look import Look
from runbook_lib.shift.rules.moves import (
    ExtendBake,
    GoOn,
    Hold,
    InEffect,
    Move,
    Pass,
    Promote,
)
from runbook_lib.shift.rules.step import follow, next_move
from runbook_lib.shift.rules.steps import steps_left
from runbook_lib.shift.rules.watch import observe, stay_on
from runbook_lib.shift.state import State
from runbook_lib.shift.stopping import Stopping
from runbook_lib.shift.telling import seen_at
from runbook_lib.survey import survey

__all__ = ["Observing", "Relieved"]

Relieved = Callable[[], bool]  # says that another process is to take a step
# Most between two looks. On AWS figures come once a minute; tasks, alarms and somebody
# else's weights can be seen sooner.
LOOK_SECONDS = 15.0


class Observing:
    """Observes one step after another of the shift that `state` is of.

    A step that has passed stays observed until the process is `relieved`, where that is
    given.
    """

    def __init__(
        self, state: State, stopping: Stopping, relieved: Relieved | None = None
    ) -> None:
        self.state, self.session = state, state.session
        self.stopping = stopping
        self.relieved = relieved

    def until_passed(self) -> Iterator[Decision]:
        """Look until the step passes; any look may end the shift."""
        while not (yield from self._look_and_do()):
            if (yield from self._await_figures()):
                return

    def until_relieved(self, refused: Hold | None = None) -> Iterator[Decision]:
        """Go on with a step that has passed, by the same rules, until another process
        is to take the next one, which may have been `refused` here.
        """
        state = self.state
        step = state.watch.step
        if self.relieved is None or not steps_left(state.shift.steps, step):
            return
        state.watch = stay_on(state.watch)
        words = "it has passed, and stays watched until the next step"
        stays = Decision("staying", step, state.weights, words)
        yield replace(stays, at=state.time(), refused=refused)
        while not (yield from self._await_figures(self.relieved)):
            yield from self._look_and_do()

    def _look_and_do(self) -> Generator[Decision, None, bool]:
        """Look once, and do what follows; return whether the step has passed."""
        state = self.state
        look = self._look()
        state.watch = observe(state.watch, look, state.rule)
        move = next_move(state.watch, look, state.rule)
        state.watch = follow(state.watch, move, look)
        state.journal.untold = True
        state.watch = state.journal.tell_counts(state.watch)
        seen = seen_at(state.watch, state.rule, state.time())
        yield from self._carry_out(move, seen)
        return isinstance(move, Pass | Promote)

    def _look(self) -> Look:
        """Look once at everything that can end a step."""
        state, looking = self.state, self.state.looking
        until, since = state.data_until(), state.watch.counts.since
        found = survey(self.session)
        intervals, tasks, alarms = self.session.together(
            [
                partial(looking.intervals, since, until),
                partial(looking.tasks, found),
                looking.alarms,
            ]
        )
        state.found = found
        state.take_weights()
        return Look(
            at=state.time_of_watch(),
            since=since,
            data_until=until,
            intervals=tuple(intervals),
            weights=state.weights,
            oddity=looking.oddity(found),
            tasks=tasks,
            alarms=alarms,
            held_by=looking.held_by(),
            promotion=looking.promotion(found),
        )

    def _await_figures(
        self, relieved: Relieved = lambda: False
    ) -> Generator[Decision, None, bool]:
        """Wait until there is a whole interval that was not looked at yet, and look
        meanwhile at what can be seen without one.

        Return whether there is nothing to wait for: this was `relieved`, or the step
        has passed.
        """
        state, clock = self.state, self.session.clock
        most = 2 * state.rule.period_seconds
        pause = cloudwatch.pause(self.session)
        looked_at = clock()
        for _ in self.session.looks("CloudWatch's next figures", most, pause):
            if relieved():
                return True
            if state.data_until() > state.watch.looked_until:
                return False
            if clock() - looked_at >= LOOK_SECONDS or state.looking.is_asked():
                if (yield from self._look_and_do()):
                    return True
                looked_at = clock()
        return False

    def _carry_out(self, move: Move, seen: Decision) -> Iterator[Decision]:
        """Do what follows from a look; a hold or a rollback ends it by raising."""
        state = self.state
        if isinstance(move, GoOn):
            yield seen
        elif isinstance(move, InEffect) and state.watch.passed:
            yield seen  # the record has it, of an earlier process
        elif isinstance(move, InEffect):
            yield state.tell(replace(seen, phase="proved", words=move.words))
        elif isinstance(move, ExtendBake):
            state.tell_judgement("verdict")
            judged = replace(seen, phase="judged", verdict="INCONCLUSIVE")
            yield replace(judged, words=move.words)
        elif isinstance(move, Pass):
            state.tell_judgement("verdict")
            passed = replace(seen, phase="judged", verdict="PASS", words=move.words)
            yield state.tell(replace(passed, carried=state.found.carried))
        elif isinstance(move, Promote):
            state.tell_judgement("promoted")
            ended = replace(seen, phase="promoted", words=move.words)
            yield state.tell(replace(ended, carried=state.found.carried))
        else:
            yield from self.stopping.stop(move, seen)
