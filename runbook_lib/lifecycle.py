"""Say where the application stands on its way from the stable version
to the canary. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """Where the application stands, as read from AWS.

    `weights` are those under shift, as they are written there; empty where nothing
    divides the traffic yet.
    """

    weights: Mapping[str, int] = field(default_factory=dict)
    retired: frozenset[str] = frozenset()

    def left(self, services: Iterable[str]) -> list[str]:
        """Return those of some services that have not been retired."""
        return [name for name in services if name not in self.retired]

    def stage(self, canary: str, last_step: int) -> str:
        """Return plain, routed, shifting, shifted or retired."""
        if self.retired:
            return "retired"
        if not self.weights:
            return "plain"
        weight = self.weights.get(canary, 0)
        if weight == 0:
            return "routed"
        return "shifted" if weight >= last_step else "shifting"
