"""When changes of Route 53 reach every resolver: PENDING first, INSYNC from then on."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

__all__ = ["PROPAGATION", "Propagation"]


@dataclass
class Propagation:
    """How long a change takes, and when each one that was begun is everywhere, by its
    id, in seconds of the monotonic clock.
    """

    seconds: float = 0.0
    due: dict[str, float] = field(default_factory=dict)

    def begin(self) -> str:
        """Begin a change and return its id."""
        id = f"C{len(self.due) + 1:013}"
        self.due[id] = self.due_next()
        return id

    def due_next(self) -> float:
        """Return when a change would be everywhere that begins now."""
        return time.monotonic() + self.seconds

    def is_everywhere(self, id: str) -> bool:
        """Say whether a change has reached every resolver; an unknown one has."""
        return time.monotonic() >= self.due.get(id, 0.0)


PROPAGATION = Propagation()
