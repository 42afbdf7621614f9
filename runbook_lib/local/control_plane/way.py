"""The way to AWS: slow, throttled or closed for a while, as somebody asked for.

It knows no service and no store. A call that gets through is answered as ever.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Trouble", "Way"]

Trouble = Literal["throttled", "away"]


@dataclass
class Way:
    """How calls get through; as on a good day unless `put` says otherwise."""

    latency_ms: float = 0.0
    throttled: float = 0.0
    away_until: float = 0.0  # by `clock`
    clock: Callable[[], float] = time.monotonic
    chance: random.Random = field(default_factory=lambda: random.Random(0))

    def put(
        self, *, latency_ms: float = 0.0, throttled: float = 0.0, away: float = 0.0
    ) -> None:
        """Make each call take so long, refuse this share of calls, and answer none
        for so many seconds from now.
        """
        self.latency_ms, self.throttled = latency_ms, throttled
        self.away_until = self.clock() + away

    def said(self) -> dict[str, float]:
        """Return how it is now, by the names that `put` has."""
        away = max(0.0, self.away_until - self.clock())
        return {
            "latency_ms": self.latency_ms,
            "throttled": self.throttled,
            "away": round(away, 1),
        }

    def take(self) -> Trouble | None:
        """Take as long as a call does on its way; return what keeps it from AWS."""
        if self.latency_ms:
            time.sleep(self.latency_ms / 1000)
        if self.clock() < self.away_until:
            return "away"
        if self.throttled and self.chance.random() < self.throttled:
            return "throttled"
        return None
