"""Stop a shift before its time: hold, roll back, or say that somebody else did.

Each way writes down what was judged and decided, and ends by raising.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import NoReturn

from runbook_lib.errors import CallError, Held, RolledBack
from runbook_lib.printable import divided
from runbook_lib.runs.approvals import heed
from runbook_lib.shift.decision import Decision
from runbook_lib.shift.rolling_back import RollingBack, undisturbed
from runbook_lib.shift.rules.moves import Hold, RollBack, RolledBackElsewhere
from runbook_lib.shift.rules.unseen import blind_to_others
from runbook_lib.shift.state import State
from runbook_lib.shift.telling import settled
from runbook_lib.survey import survey

__all__ = ["BY_HAND", "Stopping"]

HELD_BY_SOMEBODY = "hold"  # the word of such a hold
BY_HAND = (HELD_BY_SOMEBODY, "interrupted")  # whoever asked has it in his own hands
FIX = "fix the canary"  # before 05 is run again
# Reasons to roll back that are not the canary's fault, and what to do about each.
NOT_THE_CANARY = {
    "inconclusive": "give it more traffic or a longer bake",
    "approval": "get the step approved again",
    "blind": "see why AWS did not answer",
}
AGAIN = "then run 05 again: it starts at the first step"


class Stopping:
    """The ways in which a shift stops that does not pass."""

    def __init__(self, state: State) -> None:
        self.state, self.session = state, state.session

    def stop(
        self, move: Hold | RollBack | RolledBackElsewhere, decision: Decision
    ) -> Iterator[Decision]:
        """Do what a move asks for; `decision` is what was seen when it was made.

        Raises Held or RolledBack in the end, RollbackError where a rollback failed.
        """
        if isinstance(move, Hold):
            yield from self._hold(move, decision)
        elif isinstance(move, RollBack):
            yield from self._roll_back(move, decision)
        else:
            yield from self._rolled_back_elsewhere(decision)

    def stop_unseen(self, move: Hold | RollBack) -> Iterator[Decision]:
        """End a shift that cannot look any more, with the weights it last saw."""
        state = self.state
        ours = (state.watch.step, state.weight)
        move = blind_to_others(move, state.weights, ours, state.rule)
        at = state.time()
        last = Decision("watching", state.weight, state.weights, move.words, at=at)
        yield from self.stop(move, last)

    def stop_interrupted(self) -> NoReturn:
        """Leave the weights as they are, and say which: raise Held."""
        try:
            now = dict(survey(self.session).split.weights)
        except CallError:
            now = self.state.weights
        self.session.note(lambda run: run.write("interrupted", weights=now))
        stays = f"{divided(now)} stays as it is"
        words = f"interrupted: {stays}{self.state.incomplete}"
        hint = f"run 05 again to go on, or {self.state.undo}"
        raise Held(words, hint=hint, reason="interrupted") from None

    def _hold(self, move: Hold, decision: Decision) -> Iterator[Decision]:
        if move.word == HELD_BY_SOMEBODY:
            heed(self.session)
        self.state.tell_judgement(move.word)
        words = f"{move.word}: {move.words}"
        yield self.state.tell(
            replace(decision, phase="judged", verdict="INCONCLUSIVE", words=words)
        )
        words = f"{decision.step} %: {move.words}{self.state.incomplete}"
        raise Held(words, hint=self._hint(move), reason=move.word)

    def _hint(self, move: Hold) -> str:
        hint = f"weights stay; settle it, then run 05 again, or {self.state.undo}"
        if move.word == "inconclusive" and self.state.rule.promotable:
            promote = f"runbook promote {self.session.named}"
            hint += f"; or go on: `{promote} --by NAME --because TEXT`, then run 05"
        if move.hint:
            hint = f"{move.hint}; {hint}"
        return hint

    def _roll_back(self, move: RollBack, decision: Decision) -> Iterator[Decision]:
        """Roll back in one write, write that down, and wait until traffic shows it."""
        state = self.state
        self.session.outlast, state.weight = None, 0  # it waits in its own way
        rolling_back = RollingBack(self.session, state.found, state.rule, state.looking)
        told = f"{move.word}: {move.words}; back to 0 % in one write"
        failed = replace(
            decision,
            verdict="INCONCLUSIVE" if move.word in NOT_THE_CANARY else "FAIL",
            weights=state.shift.weights_at(0),
        )
        back = replace(failed, phase="rolled back", words=told)
        with undisturbed() as interrupts:
            others = rolling_back.write(decision.step)
            if others is None:
                state.tell_judgement(move.word)
                back = state.tell(back)
        if others is not None:
            state.found = rolling_back.found
            state.take_weights()
            yield from self.stop(others, decision)
        words = "interrupted before traffic showed it"
        with suppress(KeyboardInterrupt):
            yield back
            if not interrupts:
                began = state.time()
                words = rolling_back.wait_until_settled(began, state.read_counts)
        last = state.tell(settled(failed, words, state.watch.counts, state.rule))
        yield last
        words = f"{decision.step} %: {told}; {last.words}{state.incomplete}"
        self.session.finish("rolled_back")
        hint = f"{NOT_THE_CANARY.get(move.word, FIX)}, {AGAIN}"
        raise RolledBack(words, hint=hint, reason=move.word)

    def _rolled_back_elsewhere(self, decision: Decision) -> Iterator[Decision]:
        """End by what somebody else did; write it down unless the record has it."""
        state = self.state
        words = state.looking.who_rolled_back(state.found)
        state.tell_judgement("by_hand")
        if not state.looking.recorded_end():
            back = replace(decision, phase="rolled back", weights=state.weights)
            yield state.tell(replace(back, words=words))
        words = f"{decision.step} %: {words}{state.incomplete}"
        self.session.finish("rolled_back")
        raise RolledBack(words, hint=f"{FIX}, {AGAIN}", reason="by_hand")
