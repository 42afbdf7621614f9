"""Tell the time at AWS, and let it pass.

Whoever sets this machine's clock moves no bake and no approval.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

# that AWS's time may differ from what is known of it; a Date has whole seconds
SKEW_SECONDS = 5.0


@dataclass(repr=False)
class Clock:
    """This machine's clocks, and by how much AWS's time is another than theirs."""

    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    ahead: float | None = None
    """How far AWS's time is ahead of the monotonic clock; None until somebody
    asks for the time.
    """
    moved: float = 0.0
    """By how many seconds in all AWS's time was found to be another than this
    machine's clock had said.
    """
    turn: threading.RLock = field(default_factory=threading.RLock)
    """Held by whoever changes what all that ask side by side share."""

    def now(self) -> float:
        """Return the time at AWS, in seconds since 1970.

        It begins with this machine's clock and goes on with the monotonic one: whoever
        sets the machine's clock moves no bake and no approval. An answer's Date that is
        far off sets it right (a machine that was asleep, or wrong).
        """
        if self.ahead is None:
            self.ahead = self.wall() - self.clock()
        return self.clock() + self.ahead

    def hear(self, at: float, asked: float) -> None:
        """Hear the time at AWS, whole seconds since 1970, in an answer to what was
        asked at a moment of the clock.
        """
        with self.turn:
            self._hear(at, asked)

    def _hear(self, at: float, asked: float) -> None:
        now, ahead = self.now(), self.now() - self.clock()
        early, late = asked + ahead - SKEW_SECONDS, now + SKEW_SECONDS
        if not early <= at <= late:
            self.moved += at - now
            self.ahead = at - self.clock()
