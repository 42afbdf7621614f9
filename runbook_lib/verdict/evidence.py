"""Evidence that the canary is worse than stable, as e-values, and the requests it
takes to detect that.

Pure: counts in, numbers out. `judge` puts them into words; `forecast` asks
beforehand. Each interval is a two by two table of requests and errors, tested given
its margins; the product over the intervals, mixed over odds ratios and over the
interval at which the canary turned bad, is a test supermartingale. docs/verdict.md
has the rule in words, with its sources.

Own code, as no library fits: savvi rests (2024), confseq compares no proportions,
expectation still moves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import add
from statistics import NormalDist

__all__ = [
    "AGAINST_STABLE",
    "AT_FIRST",
    "CEILING",
    "REFERENCE",
    "EValue",
    "Growth",
    "draws_of",
    "growth_alone",
    "growth_of",
    "requests_to_show",
    "upper_rate",
]

# The odds ratios mixed over, and the part of each. Most is on the three that between
# them lose least to a test told the true ratio, from 2 up; the small ones take so many
# requests to show that a small part hardly delays them.
_ODDS = (1.05, 1.2, 1.4, 2.0, 6.0, 25.0)
_WEIGHTS = (0.01, 0.02, 0.03, 0.34, 0.29, 0.31)
_LOG_ODDS = tuple(map(math.log, _ODDS))
_NOTHING = (0.0,) * len(_ODDS)
_MOST = 1e250  # where an e-value stays: more than any alpha asks for
_LARGEST_EXPONENT = 709.0  # of e, in a float

# How alpha is shared: to the test against stable, to what stable showed, to the
# ceiling.
AGAINST_STABLE, REFERENCE, CEILING = 0.98, 0.01, 0.01
# The part that begins at the first interval; of the rest 29 % once the clock shows
# `_SPREAD`, and 90 % at a hundred times that. The clock counts canary requests times
# the increase to detect.
AT_FIRST, _SPREAD = 0.8, 5.0
# The e-value of the comparison that is left after a healthy canary's earlier steps, as
# a rule; for forecasts.
_CARRIED = 0.12


class EValue:
    """The e-value against the canary, over the intervals taken in so
    far; it begins at 1.

    `reserve` is the part that has not begun yet. `increase` is the canary's rate
    above the one it is compared with, since the value was lowest: since the canary
    turned bad, if it did.
    """

    def __init__(self) -> None:
        self.begun = _NOTHING
        self.reserve = 1.0
        self.clock = 0.0
        self.value = 1.0
        self.lowest = 1.0  # ever
        # since the lowest: canary errors above those due, and what to divide them by
        self.excess = 0.0
        self.weight = 0.0

    def take(
        self,
        clock: float,
        drawn: tuple[float, float, float],
        excess: float = 0.0,
        weight: float = 0.0,
    ) -> None:
        """Settle one interval: what the clock went on, what `draws_of` returns, and the
        parts of the increase.
        """
        self.clock += clock
        self.excess += excess
        self.weight += weight
        draws, hits, fraction = drawn
        # with nothing drawn, what is due begins with the next
        if draws and self.value < _MOST:
            self._multiply(_log_ratios(draws, hits, fraction))
        if self.value < self.lowest:
            self.lowest = self.value
            self.excess = 0.0
            self.weight = 0.0

    def _multiply(self, log_ratios: Sequence[float]) -> None:
        reserve = (1 - AT_FIRST) / math.sqrt(1 + self.clock / _SPREAD)
        begins = self.reserve - reserve
        self.reserve = reserve
        begun = []
        for so_far, part, ratio in zip(self.begun, _WEIGHTS, log_ratios, strict=True):
            growth = math.exp(min(ratio, _LARGEST_EXPONENT))
            begun.append((so_far + begins * part) * growth)
        self.begun = tuple(begun)
        self.value = min(_MOST, reserve + sum(begun))

    @property
    def increase(self) -> float:
        return self.excess / self.weight if self.weight else 0.0


def draws_of(n1: float, y: float, n2: float, x: float) -> tuple[float, float, float]:
    """Return the table's smallest margin, how many of it speak against the canary,
    and the fraction due.
    """
    requests, errors = n1 + n2, x + y
    good, good_stable = requests - errors, n1 - y
    of_errors = (errors, x, n2 / requests)  # the canary's among them
    of_canary = (n2, x, errors / requests)  # the errors among them
    of_good = (good, good_stable, n1 / requests)  # stable's among them
    of_stable = (n1, good_stable, good / requests)  # the successes among them
    return min(of_errors, of_canary, of_good, of_stable, key=_draws)


def _draws(drawn: tuple[float, float, float]) -> float:
    return drawn[0]


def _log_ratios(draws: float, hits: float, fraction: float) -> tuple[float, ...]:
    return tuple(
        [
            hits * log - draws * math.log1p((odds - 1) * fraction)
            for odds, log in zip(_ODDS, _LOG_ODDS, strict=True)
        ]
    )


def _mixed(log_ratios: Sequence[float]) -> float:
    top = max(log_ratios)
    return top + math.log(
        sum(w * math.exp(r - top) for w, r in zip(_WEIGHTS, log_ratios, strict=True))
    )


@lru_cache(maxsize=256)
def upper_rate(requests: int, errors: int, alpha: float) -> float:
    """Return the rate that errors out of requests rule out from there up, at
    any number of looks.
    """
    low, high = errors / requests, 1.0
    threshold = -math.log(alpha)
    for _ in range(30):
        rate = (low + high) / 2
        against = _mixed(_log_ratios(requests, requests - errors, 1 - rate))
        if against >= threshold:
            high = rate
        else:
            low = rate
    return high


# What would be detected.


@dataclass(frozen=True, slots=True)
class Growth:
    """Log evidence that some traffic would gather at each odds ratio mixed
    over, and its variance.
    """

    means: tuple[float, ...] = _NOTHING
    variances: tuple[float, ...] = _NOTHING

    def __add__(self, other: Growth) -> Growth:
        return Growth(
            tuple(map(add, self.means, other.means)),
            tuple(map(add, self.variances, other.variances)),
        )

    def times_to(self, threshold: float, power: float) -> float:
        """Return how many times this traffic it takes to pass the log threshold with
        this power; inf if none does.
        """
        spread = NormalDist().inv_cdf(power)
        low, high = 0.0, self._times_by_one(threshold, spread)
        # together they need no more than the best alone
        while math.isfinite(high) and high - low > 1e-6 * high:
            middle = (low + high) / 2
            if self._reached(middle, spread) >= threshold:
                high = middle
            else:
                low = middle
        return high

    def _reached(self, times: float, spread: float) -> float:
        """Return the log evidence that so many times this traffic passes."""
        reached = []
        for mean, variance in zip(self.means, self.variances, strict=True):
            reached.append(times * mean - spread * math.sqrt(times * variance))
        return _mixed(reached)

    def _times_by_one(self, threshold: float, spread: float) -> float:
        """Return how many times this traffic it takes by the best odds ratio alone."""
        every = [math.inf]
        parts = zip(self.means, self.variances, _WEIGHTS, strict=True)
        for mean, variance, weight in parts:
            if mean > 0:
                bar = threshold - math.log(weight)
                spare = spread * math.sqrt(variance)
                root = (spare + math.sqrt(spare**2 + 4 * mean * bar)) / (2 * mean)
                every.append(root**2)
        return min(every)


def growth_of(n1: float, p1: float, n2: float, p2: float) -> Growth:
    """Return what n1 requests to stable at error rate p1, beside n2 to the canary
    at p2, would gather.
    """
    y, x = n1 * p1, n2 * p2
    by_stable = _slopes(lambda v: _log_ratios(*draws_of(n1, v, n2, x)), y, n1)
    by_canary = _slopes(lambda v: _log_ratios(*draws_of(n1, y, n2, v)), x, n2)
    variances = [
        a**2 * y * (1 - p1) + b**2 * x * (1 - p2)
        for a, b in zip(by_stable, by_canary, strict=True)
    ]
    return Growth(_log_ratios(*draws_of(n1, y, n2, x)), tuple(variances))


def growth_alone(requests: float, limit: float, rate: float) -> Growth:
    """Return what requests to a canary alone would gather, at this error rate
    against that limit.
    """
    if limit >= rate:
        return Growth()
    spread = requests * rate * (1 - rate)
    return Growth(
        _log_ratios(requests, requests * rate, limit),
        tuple(log**2 * spread for log in _LOG_ODDS),
    )


def _slopes(
    function: Callable[[float], Sequence[float]], at: float, top: float
) -> Sequence[float]:
    step = 1e-4 * min(at, top - at)
    if step <= 0:
        return _NOTHING
    below, above = function(at - step), function(at + step)
    pairs = zip(below, above, strict=True)
    return [(after - before) / (2 * step) for before, after in pairs]


def requests_to_show(
    stable_rate: float,
    increase: float,
    share: float,
    *,
    alpha: float = 0.01,
    detectable_increase: float = 0.01,
    power: float = 0.95,
) -> int | None:
    """Return the canary requests by which `judge` fails a canary worse by
    `increase`, with this power.

    `share`, the canary's of all requests, and the rates are fractions of 1. At share 1
    stable's rate counts as known, and `increase` must exceed `detectable_increase` to
    show. None where no number would do.
    """
    worse = min(1.0, stable_rate + increase)
    value = AGAINST_STABLE
    if 0 < share < 1:
        growth = growth_of((1 - share) / share, stable_rate, 1.0, worse)
    else:
        limit = stable_rate + detectable_increase if share else 1.0
        growth = growth_alone(1.0, limit, worse)
        value *= _CARRIED
    times = growth.times_to(-math.log(AT_FIRST * value * alpha), power)
    if math.isinf(times):
        return None
    return math.ceil(times)
