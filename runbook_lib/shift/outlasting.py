"""Outlast AWS while it throttles or is away: ask again, and count no such time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from runbook_lib.errors import CallError
from runbook_lib.printable import counted
from runbook_lib.shift.rules.moves import Hold, RollBack
from runbook_lib.shift.rules.others import held
from runbook_lib.shift.rules.unseen import cannot_look, too_long_blind
from runbook_lib.shift.rules.watch import nobody_looked
from runbook_lib.shift.state import State

__all__ = ["CannotLookError", "Outlasting"]

PAUSE_SECONDS = 1.0  # between two tries to look while nothing answers
T = TypeVar("T")


class CannotLookError(Exception):
    """Nothing can be looked at any more: `move` is what follows."""

    def __init__(self, move: Hold | RollBack) -> None:
        self.move = move
        super().__init__(move.words)


class Outlasting:
    """Asks again in place of who got no answer, while users are on the canary."""

    def __init__(self, state: State) -> None:
        self.state, self.session = state, state.session

    def ask_again(self, ask: Callable[[], T], error: CallError) -> T:
        """Ask again while AWS throttles or is away, and return the answer.

        Time without an answer counts neither as bake nor as proof. Raises
        CannotLookError where it lasts too long, will not heal, or somebody says hold;
        where users are not on the canary, the error itself.
        """
        self._require_healing(error)
        most_minutes = self.state.shift.blind_minutes
        began = self.session.clock()
        what = f"AWS to answer again: {error.message}"
        for _ in self.session.looks(what, 60.0 * most_minutes, PAUSE_SECONDS):
            if by := self.state.looking.held_by():
                raise CannotLookError(held(by))
            try:
                answer = ask()
            except CallError as again:
                error = again
                self._require_healing(error)
            else:
                blind = self.session.clock() - began
                self.state.watch = nobody_looked(self.state.watch, blind)
                return answer
        minutes = counted(most_minutes, "minute")
        words = f"nothing could be looked at for {minutes}: {error.message}"
        raise CannotLookError(too_long_blind(words, self.state.rule))

    def _require_healing(self, error: CallError) -> None:
        # The local mesh is no more, and all traffic with it.
        target_gone = error.reason == "target"
        if target_gone or not self.state.weight:
            raise error
        if not error.heals:
            move = cannot_look(error.reason, error.message, error.hint)
            raise CannotLookError(move) from error
