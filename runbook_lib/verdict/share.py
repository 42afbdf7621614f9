"""Tell from requests whether a weight is in effect: whether traffic divides as the
weight says, and goes on to.

Pure: the counts of whole intervals in, facts about them out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from runbook_lib.verdict.band import separable, share_band
from runbook_lib.verdict.sample import NOTHING, Sample, as_one

__all__ = [
    "Seen",
    "Shares",
    "in_effect_from",
    "lacks_a_version",
    "seen_in",
    "seen_of",
    "strayed",
]

CONFIDENCE = 0.99999  # of the band a new weight is confirmed by
LATER = 1 - 1e-10  # of the band it must keep to, which is looked at thousands of times
# requests that show a weight which stopped working, however long it worked before
RECENT = 1_000
# percent that stands for none: a request under way when a weight changes is no proof
# against it
NEVER = 0.1


@dataclass(frozen=True, slots=True)
class Seen:
    """Requests to both versions, the canary's share of them (a fraction), and the band
    its weight allows.
    """

    requests: int
    share: float | None
    band: tuple[float, float]

    @property
    def words(self) -> str:
        """The share and what was expected, to be read."""
        if self.share is None:
            return "no request was counted"
        return (
            f"{_percent(self.share)} of {self.requests:,} requests, "
            f"{self.expected} expected"
        )

    @property
    def expected(self) -> str:
        """The band, to be read."""
        low, high = self.band
        return (
            f"{100 * low:.1f} to {100 * high:.1f} %"
            if low < high
            else "all of them"
            if low
            else "none of them"
        )


def _percent(share: float) -> str:
    """Return a share with one digit, with more where one would make it
    none or all of them.
    """
    for digits in (1, 2, 3, 4):
        text = f"{100 * share:.{digits}f}"
        if share in (0.0, 1.0) or 0 < float(text) < 100:
            break
    return f"{text} %"


@dataclass(frozen=True, slots=True)
class Shares:
    """The requests since a weight is in effect: all of them, and the newest intervals
    that hold `RECENT` of them.
    """

    every: Sample = NOTHING
    newest: tuple[Sample, ...] = ()

    def after(self, samples: Iterable[Sample]) -> Shares:
        """Return the requests of further intervals too."""
        busy = [sample for sample in samples if sample.requests]
        if not busy:
            return self
        return Shares(
            as_one([self.every, *busy]), _newest([*self.newest, *busy], RECENT)
        )


def seen_of(
    samples: Sequence[Sample], weight: float, confidence: float = CONFIDENCE
) -> Seen:
    """Return what some intervals show of a weight, in percent."""
    return seen_in(as_one(samples), weight, confidence)


def seen_in(sample: Sample, weight: float, confidence: float = CONFIDENCE) -> Seen:
    """Return what an interval, or several as one, shows of a weight, in percent."""
    requests = sample.requests
    share = sample.canary_requests / requests if requests else None
    return Seen(requests, share, share_band(weight, requests, confidence))


def lacks_a_version(sample: Sample, weight: int) -> bool:
    """Say whether an interval lacks one version's requests, which its weight (percent)
    all but rules out: they are late, lost, or do not reach it any more.
    """
    canary = _some(weight) / 100  # at 0 and 100 a few requests may stray
    if not sample.canary_requests and weight > 0:
        chance = (1 - canary) ** sample.stable_requests
    elif not sample.stable_requests and weight < 100:
        chance = canary**sample.canary_requests
    else:
        return False
    return chance < 1 - CONFIDENCE


def in_effect_from(samples: Sequence[Sample], former: int, weight: int) -> int | None:
    """Return the index of the first interval under the new weight (percent); None while
    nothing confirms it.

    It is where the new weight begins to explain the requests better than the former
    one, but for the interval in which it changed. From there on they must fit the new
    weight's band, and be too many to fit the former's.
    """
    first = _likeliest_change(samples, former, weight)
    while first < len(samples) and not _fits(samples[first : first + 1], weight, 0.99):
        first += 1
    enough = separable(
        former, weight, sum(sample.requests for sample in samples[first:])
    )
    return first if enough and _fits(samples[first:], weight, CONFIDENCE) else None


def strayed(shares: Shares, weight: int) -> Seen | None:
    """Return what shows that a weight once in effect no longer is: of all requests
    since, or the newest; else None.

    Requests that were tried again count once more, and only an error is: shares that
    errors can explain are none.
    """
    for part in (shares.every, as_one(shares.newest)):
        low, high = _possible(part)
        seen = _allowing(part, weight, LATER)
        if high < seen.band[0] or low > seen.band[1]:
            return seen
    return None


def _likeliest_change(samples: Sequence[Sample], former: int, weight: int) -> int:
    best, at, gain = 0.0, len(samples), 0.0
    for index in range(len(samples) - 1, -1, -1):
        gain += _log_likelihood(samples[index], weight) - _log_likelihood(
            samples[index], former
        )
        if gain > best:
            best, at = gain, index
    return at


def _log_likelihood(sample: Sample, weight: int) -> float:
    share = _some(weight) / 100
    return sample.canary_requests * math.log(
        share
    ) + sample.stable_requests * math.log1p(-share)


def _fits(samples: Sequence[Sample], weight: int, confidence: float) -> bool:
    seen = _allowing(as_one(samples), weight, confidence)
    return seen.share is not None and seen.band[0] <= seen.share <= seen.band[1]


def _allowing(sample: Sample, weight: int, confidence: float) -> Seen:
    """Return what an interval shows of a weight; at 0 and 100 a few requests may
    stray, and none need to.
    """
    seen = seen_in(sample, _some(weight), confidence)
    low, high = seen.band
    return replace(
        seen, band=(low if weight > 0 else 0.0, high if weight < 100 else 1.0)
    )


def _some(weight: int) -> float:
    return min(max(weight, NEVER), 100 - NEVER)


def _newest(samples: Sequence[Sample], least: int) -> tuple[Sample, ...]:
    """Return the newest intervals that hold at least so many requests."""
    total = 0
    for index in range(len(samples) - 1, -1, -1):
        total += samples[index].requests
        if total >= least:
            return tuple(samples[index:])
    return tuple(samples)


def _possible(sample: Sample) -> tuple[float, float]:
    """Return the least and the greatest share of requests by callers, if each error was
    tried again or none was.
    """
    good_stable = sample.stable_requests - sample.stable_errors
    good_canary = sample.canary_requests - sample.canary_errors
    least = _ratio(good_canary, sample.stable_requests, 0.0)
    greatest = _ratio(sample.canary_requests, good_stable, 1.0)
    return least, greatest


def _ratio(canary: int, stable: int, otherwise: float) -> float:
    return canary / (canary + stable) if canary + stable else otherwise
