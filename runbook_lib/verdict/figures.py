"""What the intervals of one metric show: all that a verdict on it is made of. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from runbook_lib.verdict.sample import Sample
from runbook_lib.verdict.settings import Settings

__all__ = ["Figures"]


@dataclass(frozen=True, slots=True)
class Figures:
    """What the intervals so far show of one metric; rates and increases are fractions
    of 1, evidence is a natural logarithm.

    `limit` is the rate a canary alone is tested against. `increase` is the canary's
    rate above stable's; `increase_at_worst` is the same since it turned bad, if it did.
    `requests_needed` is None where no number of canary requests would do.
    """

    settings: Settings
    total: Sample  # all intervals as one
    alone_requests: int  # of the canary's, those where stable was gone
    alone_errors: int
    is_alone: bool  # whether stable is gone now
    limit: float
    increase: float | None
    increase_at_worst: float
    against_stable: float
    against_ceiling: float
    stable_gap: int  # intervals for which stable has been silent; 0 where it is not
    canary_gap: int
    taken_over: bool  # whether the canary took stable's requests over
    requests_needed: int | None

    @property
    def to_show(self) -> float:
        """Return the increase above stable's rate that a PASS rules out; a canary alone
        is allowed some beforehand.
        """
        allowed = 0.0
        if self.is_alone:
            allowed = self.limit - (self.total.stable_rate or 0.0)
        return allowed + self.settings.to_show
