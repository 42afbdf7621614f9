"""What the intervals of one metric add up to, each taken in once. Pure.

Neither its size nor the time to judge it grows with the number of intervals. Who
watches for long keeps a tally, takes in what is settled, and judges a copy with the
newest intervals on top.

It has three parts. Where both versions had requests, the canary is *compared* with
stable. Where stable was gone, as at weight 100, it is *alone*, and a bad day of
everybody's counts against it. Where there is a *ceiling*, all its requests are held
against that.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass

from runbook_lib.verdict.evidence import (
    AGAINST_STABLE,
    AT_FIRST,
    CEILING,
    REFERENCE,
    EValue,
    Growth,
    draws_of,
    growth_alone,
    growth_of,
    upper_rate,
)
from runbook_lib.verdict.figures import Figures
from runbook_lib.verdict.outcome import Verdict, verdict_on
from runbook_lib.verdict.presence import LOOKED_BACK, Handover, Presence
from runbook_lib.verdict.sample import NOTHING, Sample
from runbook_lib.verdict.settings import Settings

__all__ = ["Alone", "Comparison", "Marked", "Tally", "marked"]

_GONE = 700  # canary requests since stable's last one, that make it gone


@dataclass(frozen=True, slots=True)
class Marked:
    """An interval, and whether stable had no weight in it; None if nobody knows."""

    sample: Sample
    alone: bool | None


def marked(samples: Sequence[Sample], alone: int | None) -> Iterator[Marked]:
    """Yield intervals, earliest first; in the newest `alone` of them stable had no
    weight.
    """
    for index, sample in enumerate(samples):
        by_itself = None if alone is None else len(samples) - index <= alone
        yield Marked(sample, by_itself)


class Comparison:
    """The canary beside stable: the intervals in which both had requests.

    `excess` by `weight` is the risk difference of Mantel and Haenszel: the canary's
    errors above stable's rate, and the requests to divide them by.
    """

    def __init__(self) -> None:
        self.evidence = EValue()
        self.excess = 0.0
        self.weight = 0.0
        self.canary_requests = 0
        # the same intervals by the canary's share, in hundredths
        self.by_share: dict[float, Sample] = {}

    def copy(self) -> Comparison:
        """Return another comparison of the same intervals."""
        made = copy(self)
        made.evidence = copy(self.evidence)
        made.by_share = self.by_share.copy()
        return made

    def take(self, sample: Sample, clock: float) -> None:
        """Take in an interval; `clock` says how far it brings the evidence on."""
        n1, y, n2, x = sample.counts
        excess = (x * n1 - y * n2) / (n1 + n2)
        weight = n1 * n2 / (n1 + n2)
        self.excess += excess
        self.weight += weight
        self.evidence.take(clock, draws_of(n1, y, n2, x), excess, weight)
        self.canary_requests += n2
        share = round(n2 / (n1 + n2), 2)
        self.by_share[share] = self.by_share.get(share, NOTHING) + sample

    @property
    def increase(self) -> float | None:
        """Return the canary's rate above stable's, interval by interval."""
        return self.excess / self.weight if self.weight else None

    def growth(self, rate: float, increase: float) -> Growth:
        """Return what as many requests would gather at stable's rate, and at that much
        more for the canary.
        """
        worse = min(1.0, rate + increase)
        total = Growth()
        for part in self.by_share.values():
            total += growth_of(part.stable_requests, rate, part.canary_requests, worse)
        return total


class Alone:
    """The canary by itself: the intervals in which stable was gone.

    Who knows the weights says when that is. For who does not, stable is gone when it is
    silent, and the canary took its requests over and has had so many since that a
    single percent would have brought stable some. Until that shows, intervals are
    `unsure`.
    """

    def __init__(self) -> None:
        self.evidence = EValue()
        self.requests = 0
        self.errors = 0
        self.is_now = False  # whether stable is gone in the newest interval
        self.since = 0  # the canary's requests since stable's last one
        self.unsure: list[Sample] = []

    def copy(self) -> Alone:
        """Return another one of the same intervals."""
        made = copy(self)
        made.evidence = copy(self.evidence)
        made.unsure = self.unsure.copy()
        return made

    def wait(self, sample: Sample) -> None:
        """Keep an interval that may turn out to be the canary's alone; of too many,
        the first two as one.
        """
        if sample.stable_requests:
            self.since = 0
            self.unsure = []
        elif sample.canary_requests:
            self.since += sample.canary_requests
            self.unsure.append(sample)
            if len(self.unsure) > LOOKED_BACK:
                self.unsure[:2] = [self.unsure[0] + self.unsure[1]]

    def take(self, sample: Sample, clock: float, rate: float, limit: float) -> None:
        """Take in an interval: errors are tested against a `limit`, and counted above
        the `rate` that stable showed.
        """
        requests, errors = sample.canary_requests, sample.canary_errors
        self.requests += requests
        self.errors += errors
        above = errors - requests * rate
        self.evidence.take(clock, (requests, errors, limit), above, requests)


class Tally:
    """What the intervals of one metric add up to, each taken in once and in its order.

    A copy goes on by itself. Its size, and the time to judge it, do not depend on the
    number of intervals.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.total = NOTHING
        self.stable, self.canary = Presence(), Presence()
        self.handover = Handover()
        self.comparison = Comparison()
        self.alone = Alone()
        self.above_ceiling = EValue()

    def copy(self) -> Tally:
        """Return another tally of the same intervals."""
        made = copy(self)
        made.stable = self.stable.copy()
        made.canary = self.canary.copy()
        made.handover = self.handover.copy()
        made.comparison = self.comparison.copy()
        made.alone = self.alone.copy()
        made.above_ceiling = copy(self.above_ceiling)
        return made

    def take_all(self, samples: Iterable[Sample], alone: int | None = None) -> None:
        """Take in intervals, earliest first; in the newest `alone` of them
        stable had no weight.
        """
        for one in marked(tuple(samples), alone):
            self.take(one.sample, one.alone)

    def take(self, sample: Sample, alone: bool | None = None) -> None:
        """Take in an interval; `alone` says whether stable had no weight in it, None
        that nobody knows.
        """
        stable, canary = sample.stable_requests, sample.canary_requests
        self.total += sample
        self.stable.take(stable)
        self.canary.take(canary)
        self.handover.take(stable, canary)
        if stable and canary:
            self.comparison.take(sample, self._clock(canary))
        self.alone.wait(sample)
        self.alone.is_now = self._is_gone(stable) if alone is None else alone
        if self.alone.is_now:
            self._take_alone()
        ceiling = self.settings.ceiling
        if ceiling and canary:
            draws = (canary, sample.canary_errors, ceiling)
            self.above_ceiling.take(self._clock(canary), draws)

    def verdict(
        self, *, bake_over: bool = False, counted: str = "with an error"
    ) -> Verdict:
        """Judge the intervals taken in so far, as `judge` does."""
        return verdict_on(self.figures(), bake_over=bake_over, counted=counted)

    def figures(self) -> Figures:
        """Return what the intervals taken in so far show."""
        comparison, alone = self.comparison, self.alone
        strongest = max(comparison.evidence, alone.evidence, key=lambda one: one.value)
        return Figures(
            settings=self.settings,
            total=self.total,
            alone_requests=alone.requests,
            alone_errors=alone.errors,
            is_alone=alone.is_now,
            limit=self._limit,
            increase=self._increase,
            increase_at_worst=strongest.increase,
            against_stable=self._against_stable,
            against_ceiling=self._against_ceiling,
            stable_gap=self.stable.gap if self.stable.silent else 0,
            canary_gap=self.canary.gap if self.canary.silent else 0,
            taken_over=self.handover.happened,
            requests_needed=self._requests_needed(),
        )

    @property
    def log_evidence(self) -> float:
        """Return the natural logarithm of the evidence against the canary."""
        return max(self._against_stable, self._against_ceiling)

    def _clock(self, canary_requests: int) -> float:
        """Return by how much so many requests bring an interval's evidence on."""
        return canary_requests * self.settings.detectable_increase

    def _is_gone(self, stable_requests: int) -> bool:
        if self.alone.is_now:
            return not stable_requests
        enough = self.alone.since >= _GONE
        return enough and self.stable.silent and self.handover.happened

    def _take_alone(self) -> None:
        """Take in the intervals that turned out to be the canary's alone."""
        if not self.alone.unsure:
            return
        rate, limit = self.total.stable_rate or 0.0, self._limit
        for sample in self.alone.unsure:
            clock = self._clock(sample.canary_requests)
            self.alone.take(sample, clock, rate, limit)
        self.alone.unsure = []

    @property
    def _limit(self) -> float:
        """Return the rate a canary alone is tested against; 1 where
        stable showed none.
        """
        total, settings = self.total, self.settings
        rate = total.stable_rate
        if rate is None:
            return 1.0
        doubt = REFERENCE * settings.alpha
        shown = upper_rate(total.stable_requests, total.stable_errors, doubt)
        return min(1.0, max(rate + settings.detectable_increase, shown))

    @property
    def _increase(self) -> float | None:
        """Return the canary's rate above stable's; where it was alone, above
        stable's earlier one.
        """
        alone, stable_rate = self.alone, self.total.stable_rate
        if alone.requests and stable_rate is not None:
            return alone.errors / alone.requests - stable_rate
        return self.comparison.increase

    @property
    def _against_stable(self) -> float:
        """What the comparison won or lost, the canary alone starts with."""
        compared = math.log(AGAINST_STABLE * self.comparison.evidence.value)
        return compared + math.log(self.alone.evidence.value)

    @property
    def _against_ceiling(self) -> float:
        if not self.settings.ceiling:
            return -math.inf
        return math.log(CEILING * self.above_ceiling.value)

    def _requests_needed(self) -> int | None:
        """Return the canary requests still needed for a PASS, at the shares seen; None
        where no number would do.
        """
        stable_rate = self.total.stable_rate
        if stable_rate is None or not self.total.canary_requests:
            return None
        if self.alone.is_now:
            had, enough = self.alone.requests, self._enough_alone()
        else:
            had, enough = self.comparison.canary_requests, self._enough(stable_rate)
        if math.isinf(enough):
            return None
        return max(0, math.ceil(enough - had))

    def _enough(self, stable_rate: float) -> float:
        """Return the canary requests beside stable that detect an increase."""
        had = self.comparison.canary_requests
        if not had:
            return math.inf
        growth = self.comparison.growth(stable_rate, self.settings.to_show)
        return had * growth.times_to(self._threshold, self.settings.power)

    def _enough_alone(self) -> float:
        """Return the canary requests without stable that detect an increase."""
        worse = min(1.0, self._limit + self.settings.to_show)
        growth = growth_alone(1.0, self._limit, worse)
        carried = math.log(self.comparison.evidence.reserve)
        return growth.times_to(self._threshold - carried, self.settings.power)

    @property
    def _threshold(self) -> float:
        """The log evidence to gather by what begins at the first interval."""
        begins_at = AT_FIRST * AGAINST_STABLE
        return -math.log(begins_at * self.settings.alpha)
