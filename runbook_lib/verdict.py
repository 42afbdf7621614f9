"""Judge a canary against stable by their counts of requests and errors: PASS, FAIL or INCONCLUSIVE.

Pure: figures in, a frozen record out; no clock, no AWS, no word of what carries the weights.

The rule. In one interval the requests and the errors of both versions make a two by two table. While the
canary's odds of error are no higher than stable's, its errors are, given the table's margins, at most
hypergeometric. The members of the smallest margin are then *drawn* without replacement, and for every o > 1
the mean of o^hits is at most that of drawing with replacement, (1 + (o - 1) * fraction)^draws (Hoeffding
1963, Theorem 4). So o^hits / (1 + (o - 1) * fraction)^draws is an e-value at any rate of errors, and the
product over the intervals from any one on, mixed over odds ratios o, is a test supermartingale.

From when on. A canary that turns bad late must not first lose what its healthy past has won. So the product
begins at every interval: one part of the stake is laid at the first, the rest bit by bit as requests come in,
by shares that are fixed by the requests alone and add up to one. The sum, with what is not laid yet, is again
a test supermartingale and reaches 1 / alpha with probability alpha at most, however often one looks (Ville
1939; Grünwald, de Heide and Koolen 2024; Turner, Ly and Grünwald 2024; Lindon and Malek 2022 for rare errors;
Shin, Ramdas and Rinaldo 2024 for the mixture over beginnings). Rate of errors and weight may change between.

How intervals are cut. In the part laid first neither the order of intervals matters nor, while the share of
requests is the same and errors are the smallest margin, how they are cut; in what is laid later both do, as
late errors are what it looks for. An interval with no error, with nothing but errors, or with requests to one
version only leaves the evidence as it was. Errors that come in bursts to one version only are not foreseen.

Silence. A version has fallen silent once the newest intervals without a request of its own would have brought
it ten, at the rate of those just before (as many, and ten at least). A silent canary is no PASS, and neither
is a silent stable unless the canary's requests show that it took stable's over, as at weight 100.

Own code, as no library fits: savvi rests (2024), confseq compares no proportions, expectation still moves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from operator import add
from statistics import NormalDist
from typing import Literal

from runbook_lib.errors import ParametersError

__all__ = [
    "Judgement",
    "Sample",
    "Verdict",
    "evidence_curve",
    "judge",
    "judge_all",
    "requests_to_show",
    "share_of_alpha",
]

Outcome = Literal["PASS", "FAIL", "INCONCLUSIVE"]

# The odds ratios mixed over, 1.1 to 30: even in the logarithm of the logarithm, as small ones need it finer.
_LOG_ODDS = tuple(math.log(1.1) * (math.log(30) / math.log(1.1)) ** (i / 7) for i in range(8))
_ODDS = tuple(map(math.exp, _LOG_ODDS))
_WEIGHTS = tuple(log_odds**1.5 / math.fsum(v**1.5 for v in _LOG_ODDS) for log_odds in _LOG_ODDS)

_NOTHING = (0.0,) * len(_ODDS)

# How alpha is shared: to the test against stable, to what stable showed, to the ceiling.
_AGAINST_STABLE, _REFERENCE, _CEILING = 0.98, 0.01, 0.01
# What of a stake is laid at the first interval, and after how many canary requests, times the increase to
# detect, half of the square of what is then left is laid too (`_Stake`).
_AT_FIRST, _SPREAD = 0.6, 5.0
# What of its stake the comparison has left after a healthy canary's earlier steps, as a rule; for forecasts.
_CARRIED = 0.15
_MISSED = 10  # requests, and intervals looked back at, that make silence
_MOST = 1e250  # a stake is worth on one odds ratio


@dataclass(frozen=True, slots=True)
class Sample:
    """One interval's requests to both versions, and how many of them ended in an error (or were slow).

    Counts are whole numbers; anything else, or more errors than requests, is a ValueError.
    """

    stable_requests: int
    stable_errors: int
    canary_requests: int
    canary_errors: int

    def __post_init__(self) -> None:
        if not all(type(n) is int for n in self.counts):
            raise ValueError(f"a sample's counts must be whole numbers, got {self}")
        if not (0 <= self.stable_errors <= self.stable_requests and 0 <= self.canary_errors <= self.canary_requests):
            raise ValueError(f"a sample needs 0 <= errors <= requests, got {self}")

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """Return the four counts in the order of the fields."""
        return self.stable_requests, self.stable_errors, self.canary_requests, self.canary_errors

    def __add__(self, other: Sample) -> Sample:
        """Return both intervals as one."""
        return Sample(*map(add, self.counts, other.counts))


_EMPTY = Sample(0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Verdict:
    """An outcome, the reason in plain words, and the figures; rates and increases are fractions of 1."""

    outcome: Outcome
    reason: str
    seen: Sample  # all intervals as one
    stable_rate: float | None
    canary_rate: float | None
    increase: float | None  # canary's rate above stable's, interval by interval; when alone, above stable's earlier one
    log_evidence: float
    threshold: float  # the evidence that makes a FAIL, as odds to 1
    requests_needed: int | None  # canary requests missing before a PASS; None where no number is known to do

    @property
    def evidence(self) -> float:
        """Return the evidence for a worse canary as odds to 1; 1e299 stands for all that is more."""
        return math.exp(min(self.log_evidence, math.log(1e299)))


@dataclass(frozen=True, slots=True)
class Judgement:
    """The outcome over several metrics, and the verdict of each; muted ones are shown and decide nothing."""

    outcome: Outcome
    reason: str
    verdicts: Mapping[str, Verdict]
    muted: frozenset[str]


def judge(
    samples: Iterable[Sample],
    *,
    alpha: float = 0.01,
    detectable_increase: float = 0.01,
    ignored_increase: float = 0.0,
    power: float = 0.95,
    bake_over: bool = False,
    ceiling: float | None = None,
    counted: str = "with an error",
) -> Verdict:
    """Judge the intervals seen so far, earliest first; to be called again with all of them as they come in.

    FAIL: evidence of 1 / `alpha` that the canary's odds of error exceed stable's, or, where stable has no
    traffic, that its rate exceeds the one stable showed plus `detectable_increase` (or as much as stable's
    requests leave open, if more), and a rate at least `ignored_increase` above stable's; or evidence that it
    exceeds `ceiling`. A canary no worse than stable meets any of these with probability `alpha` at most.
    PASS: the bake is over, the newest interval has data, and this very rule would by now have shown an
    increase of `detectable_increase` with probability `power`; where stable has no traffic, one that much
    above the rate tested. Otherwise INCONCLUSIVE. `counted` says in the reason what is counted.
    Raises ParametersError for a setting that is no fraction.
    """
    rule = _Rule(alpha, detectable_increase, ignored_increase, power, ceiling)
    return _judge(samples, rule, bake_over, counted)


def judge_all(
    metrics: Mapping[str, Iterable[Sample]],
    *,
    muted: Collection[str] = (),
    ceilings: Mapping[str, float] | None = None,
    counted: Mapping[str, str] | None = None,
    alpha: float = 0.01,
    detectable_increase: float = 0.01,
    ignored_increase: float = 0.0,
    power: float = 0.95,
    bake_over: bool = False,
) -> Judgement:
    """Judge several metrics, each by `judge`, `alpha` shared evenly between those that decide (Bonferroni).

    FAIL if any that decides fails, PASS if all of them pass, INCONCLUSIVE otherwise and where none decides.
    `muted` metrics get a verdict too, which counts for nothing. `ceilings` and `counted` are by metric.
    Raises ParametersError for a name no metric has.
    """
    ceilings, words = ceilings or {}, {"errors": "with an error", **(counted or {})}
    _refuse_unknown({*muted, *ceilings, *(counted or {})}, metrics)
    share = share_of_alpha(alpha, metrics, muted)
    verdicts = {}
    for name, samples in metrics.items():
        rule = _Rule(share, detectable_increase, ignored_increase, power, ceilings.get(name))
        verdicts[name] = _judge(samples, rule, bake_over, words.get(name, f"counted as {name}"))
    return _combine(verdicts, frozenset(muted))


def evidence_curve(
    samples: Iterable[Sample],
    *,
    alpha: float = 0.01,
    detectable_increase: float = 0.01,
    ceiling: float | None = None,
) -> list[float]:
    """Return the natural logarithm of the evidence after each interval, as `judge` saw it then."""
    seen, curve = _Seen(_Rule(alpha, detectable_increase, 0.0, 0.95, ceiling)), []
    for sample in samples:
        seen.take(sample)
        curve.append(max(seen.against_stable, seen.against_ceiling))
    return curve


def share_of_alpha(alpha: float, metrics: Iterable[str], muted: Collection[str] = ()) -> float:
    """Return what of `alpha` each metric that decides is judged by (Bonferroni)."""
    return alpha / max(1, sum(name not in muted for name in metrics))


def requests_to_show(
    stable_rate: float,
    increase: float,
    share: float,
    *,
    alpha: float = 0.01,
    detectable_increase: float = 0.01,
    power: float = 0.95,
) -> int | None:
    """Return the canary requests by which `judge` fails a canary worse by `increase`, with this power.

    `share`, the canary's of all requests, and the rates are fractions of 1. At share 1 stable's rate counts
    as known, and `increase` must exceed `detectable_increase` to show. None where no number would do.
    """
    worse = min(1.0, stable_rate + increase)
    if 0 < share < 1:
        growth, stake = _growth((1 - share) / share, stable_rate, 1.0, worse), _AGAINST_STABLE
    else:
        growth = _growth_alone(1.0, stable_rate + detectable_increase if share else 1.0, worse)
        stake = _AGAINST_STABLE * _CARRIED
    times = growth.times_to(-math.log(_AT_FIRST * stake * alpha), power)
    return None if math.isinf(times) else math.ceil(times)


# The rule's settings, and what intervals add up to.


@dataclass(frozen=True, slots=True)
class _Rule:
    alpha: float
    detectable_increase: float
    ignored_increase: float
    power: float
    ceiling: float | None

    def __post_init__(self) -> None:
        within = {
            "alpha": 0 < self.alpha < 1,
            "detectable_increase": 0 < self.detectable_increase <= 1,
            "ignored_increase": 0 <= self.ignored_increase <= 1,
            "power": 0 < self.power < 1,
            "ceiling": self.ceiling is None or 0 < self.ceiling < 1,
        }
        for name in (name for name, good in within.items() if not good):
            raise ParametersError(
                f"verdict: {name} must be a fraction between 0 and 1, found {getattr(self, name)!r}",
                hint=f"one percent is written 0.01; correct {name} in the parameters file",
            )

    @property
    def to_show(self) -> float:
        return max(self.detectable_increase, self.ignored_increase)


class _Presence:
    """When one version had requests, interval by interval."""

    def __init__(self) -> None:
        self.until, self.gap = [0], 0  # the requests before each interval; the newest intervals without any

    def take(self, requests: int) -> None:
        self.until.append(self.until[-1] + requests)
        self.gap = 0 if requests else self.gap + 1

    def within(self, first: int, end: int) -> int:
        return self.until[end] - self.until[first]

    @property
    def silent(self) -> bool:
        if not self.gap:
            return False
        end = len(self.until) - 1 - self.gap
        size = min(max(self.gap, _MISSED), end)
        return self.within(end - size, end) * self.gap >= _MISSED * size > 0


class _Stake:
    """What a stake of 1 has become that is laid on the canary being worse, at first and later.

    What is not laid yet is kept: 1 - `_AT_FIRST` over the root of 1 + clock / `_SPREAD`.
    """

    def __init__(self) -> None:
        self.laid, self.kept, self.clock = _NOTHING, 1.0, 0.0
        self.worth = self.lowest = 1.0  # now, and ever
        self.excess = self.weight = 0.0  # since the lowest: errors above stable's rate, and what to divide them by

    def take(self, clock: float, drawn: tuple[float, float, float], excess: float = 0.0, weight: float = 0.0) -> None:
        self.clock, self.excess, self.weight = self.clock + clock, self.excess + excess, self.weight + weight
        if drawn[0]:  # otherwise there is nothing to lay it on, and what is due is laid with the next
            self._lay(_log_ratios(*drawn))
        if self.worth < self.lowest:
            self.lowest, self.excess, self.weight = self.worth, 0.0, 0.0

    def _lay(self, log_ratios: Sequence[float]) -> None:
        kept = (1 - _AT_FIRST) / math.sqrt(1 + self.clock / _SPREAD)
        due, self.kept = self.kept - kept, kept
        parts = zip(self.laid, _WEIGHTS, log_ratios, strict=True)
        self.laid = tuple([min(_MOST, (laid + due * w) * math.exp(min(ratio, 600.0))) for laid, w, ratio in parts])
        self.worth = self.kept + sum(self.laid)

    @property
    def increase(self) -> float:
        return self.excess / self.weight if self.weight else 0.0


class _Seen:
    """What the intervals so far add up to, each taken in once and in its order."""

    def __init__(self, rule: _Rule) -> None:
        self.rule, self.counts = rule, (0, 0, 0, 0)
        self.alone, self.alone_errors = 0, 0  # the canary's requests and errors since stable had fallen silent
        self.excess = self.weight = 0.0  # canary errors above stable's rate; by which requests to divide them
        self.stable, self.canary = _Presence(), _Presence()
        self.together, self.by_itself, self.in_all = _Stake(), _Stake(), _Stake()

    def take(self, sample: Sample) -> None:
        n1, y, n2, x = counts = sample.counts
        self.counts = tuple(map(add, self.counts, counts))
        self.stable.take(n1)
        self.canary.take(n2)
        clock = n2 * self.rule.detectable_increase
        if n1 and n2:  # their quotient is the risk difference of Mantel and Haenszel
            excess, weight = (x * n1 - y * n2) / (n1 + n2), n1 * n2 / (n1 + n2)
            self.excess, self.weight = self.excess + excess, self.weight + weight
            self.together.take(clock, _drawn(n1, y, n2, x), excess, weight)
        elif n2 and self.stable.silent:
            self.alone, self.alone_errors = self.alone + n2, self.alone_errors + x
            self.by_itself.take(clock, (n2, x, self.limit), x - n2 * (self.reference or 0.0), n2)
        if n2 and self.rule.ceiling:
            self.in_all.take(clock, (n2, x, self.rule.ceiling))

    @property
    def reference(self) -> float | None:
        return _rate(self.counts[1], self.counts[0])

    @property
    def limit(self) -> float:
        """Return the rate a canary alone is tested against; 1 where stable showed none."""
        if self.reference is None:
            return 1.0
        shown = _upper_rate(self.counts[0], self.counts[1], _REFERENCE * self.rule.alpha)
        return min(1.0, max(self.reference + self.rule.detectable_increase, shown))

    @property
    def increase(self) -> float | None:
        """Return the canary's rate above stable's; where it was alone, above stable's earlier one."""
        if self.alone and self.reference is not None:
            return self.alone_errors / self.alone - self.reference
        return self.excess / self.weight if self.weight else None

    @property
    def taken_over(self) -> bool:
        """Say whether the canary's requests since stable's ended are, by ratio, nearer to all than to its own."""
        end = len(self.stable.until) - 1 - self.stable.gap
        size = min(self.stable.gap, end)
        before = self.canary.within(end - size, end)
        return self.canary.within(end, end + size) ** 2 > before * (before + self.stable.within(end - size, end))

    @property
    def against_stable(self) -> float:
        return math.log(_AGAINST_STABLE * self.together.worth) + math.log(self.by_itself.worth)

    @property
    def against_ceiling(self) -> float:
        return math.log(_CEILING * self.in_all.worth)


# Evidence.


def _drawn(n1: float, y: float, n2: float, x: float) -> tuple[float, float, float]:
    """Return the table's smallest margin, how many of it speak against the canary, and the fraction due."""
    requests, errors = n1 + n2, x + y
    return min(
        (errors, x, n2 / requests),  # of the errors, the canary's
        (n2, x, errors / requests),  # of the canary's requests, the errors
        (requests - errors, n1 - y, n1 / requests),  # of the successes, stable's
        (n1, n1 - y, (requests - errors) / requests),  # of stable's requests, the successes
        key=lambda drawn: drawn[0],
    )


def _log_ratios(draws: float, hits: float, fraction: float) -> tuple[float, ...]:
    return tuple(
        [hits * log - draws * math.log1p((odds - 1) * fraction) for odds, log in zip(_ODDS, _LOG_ODDS, strict=True)]
    )


def _mixed(log_ratios: Sequence[float]) -> float:
    top = max(log_ratios)
    return top + math.log(sum(w * math.exp(r - top) for w, r in zip(_WEIGHTS, log_ratios, strict=True)))


@lru_cache(maxsize=256)
def _upper_rate(requests: int, errors: int, alpha: float) -> float:
    """Return the rate that errors out of requests rule out from there up, at any number of looks."""
    low, high = errors / requests, 1.0
    for _ in range(30):
        rate = (low + high) / 2
        against = _mixed(_log_ratios(requests, requests - errors, 1 - rate))
        low, high = (low, rate) if against >= -math.log(alpha) else (rate, high)
    return high


# The ways to a FAIL.


@dataclass(frozen=True, slots=True)
class _Test:
    log_evidence: float  # less what its part of alpha costs
    counts: bool  # whether the increase is large enough for a FAIL
    against: str = ""


def _tests(seen: _Seen) -> list[_Test]:
    tests, ceiling = [_test_increase(seen)], seen.rule.ceiling
    if ceiling is not None and seen.counts[2]:
        tests.append(
            _Test(seen.against_ceiling, True, f"; in all {_count(*seen.counts[2:])}, ceiling {_percent(ceiling)}")
        )
    return tests


def _test_increase(seen: _Seen) -> _Test:
    """Return the test against stable; what the comparison won or lost, the canary alone starts with."""
    increase = max(seen.together, seen.by_itself, key=lambda stake: stake.worth).increase
    counts, against = increase >= seen.rule.ignored_increase - 1e-12, ""  # floats add up to a little less
    if seen.alone:
        against = f"; alone {_count(seen.alone, seen.alone_errors)}, up to {_percent(seen.limit)} allowed"
    if seen.rule.ignored_increase and not counts:
        against += f" ({_points(increase)} more, up to {_points(seen.rule.ignored_increase)} ignored)"
    return _Test(seen.against_stable, counts, against)


# What would have shown.


@dataclass(frozen=True, slots=True)
class _Growth:
    """Log evidence the rule would gather: at the odds ratio that fits best, and at each one mixed over."""

    mean: float = 0.0
    variance: float = 0.0
    log_ratios: tuple[float, ...] = _NOTHING

    def __add__(self, other: _Growth) -> _Growth:
        log_ratios = tuple(map(add, self.log_ratios, other.log_ratios))
        return _Growth(self.mean + other.mean, self.variance + other.variance, log_ratios)

    def times_to(self, threshold: float, power: float) -> float:
        """Return how many times this traffic it takes to pass the log threshold with this power."""
        if self.mean <= 0:
            return math.inf
        # The rule does not know the odds ratio: what mixing costs it is added to the threshold.
        mixing = threshold - _mixed([threshold / self.mean * ratio for ratio in self.log_ratios])
        bar, spread = threshold + mixing, NormalDist().inv_cdf(power) * math.sqrt(self.variance)
        return ((spread + math.sqrt(spread**2 + 4 * self.mean * bar)) / (2 * self.mean)) ** 2


def _growth(n1: float, p1: float, n2: float, p2: float) -> _Growth:
    y, x = n1 * p1, n2 * p2
    by_stable = _slope(lambda v: _gain(*_drawn(n1, v, n2, x)), y, n1)
    by_canary = _slope(lambda v: _gain(*_drawn(n1, y, n2, v)), x, n2)
    variance = by_stable**2 * y * (1 - p1) + by_canary**2 * x * (1 - p2)
    drawn = _drawn(n1, y, n2, x)
    return _Growth(_gain(*drawn), variance, _log_ratios(*drawn))


def _growth_alone(requests: float, limit: float, rate: float) -> _Growth:
    if limit >= rate:
        return _Growth()
    slope = _slope(lambda v: _gain(1.0, v, limit), rate, 1.0)
    drawn = (requests, requests * rate, limit)
    return _Growth(_gain(*drawn), slope**2 * requests * rate * (1 - rate), _log_ratios(*drawn))


def _gain(draws: float, hits: float, fraction: float) -> float:
    """Return the log evidence at the odds ratio that fits best."""
    parts = ((hits, fraction), (draws - hits, 1 - fraction))
    return sum(seen * math.log(seen / (draws * expected)) for seen, expected in parts if seen > 0)


def _slope(function: Callable[[float], float], at: float, top: float) -> float:
    step = 1e-4 * min(at, top - at)
    return (function(at + step) - function(at - step)) / (2 * step) if step > 0 else 0.0


def _needed(samples: Sequence[Sample], seen: _Seen) -> int | None:
    """Return the canary requests still needed at the shares seen; None where no number would do."""
    rule, stake = seen.rule, _AT_FIRST * _AGAINST_STABLE
    if seen.reference is None or not seen.counts[2]:
        return None
    if seen.stable.silent:
        had, limit, stake = seen.alone, seen.limit, stake * seen.together.kept
        growth = _growth_alone(had, limit, min(1.0, limit + rule.to_show))
    else:
        together = [s for s in samples if s.stable_requests and s.canary_requests]
        had, growth = sum(s.canary_requests for s in together), _growth_together(together, seen.reference, rule.to_show)
    times = growth.times_to(-math.log(stake * rule.alpha), rule.power)
    return None if math.isinf(times) else max(0, math.ceil(had * (times - 1)))


def _growth_together(samples: Sequence[Sample], rate: float, increase: float) -> _Growth:
    by_share: dict[float, tuple[int, int]] = {}
    for n1, _, n2, _ in (sample.counts for sample in samples):
        share = round(n2 / (n1 + n2), 2)
        before = by_share.get(share, (0, 0))
        by_share[share] = before[0] + n1, before[1] + n2
    worse = min(1.0, rate + increase)
    return reduce(add, (_growth(n1, rate, n2, worse) for n1, n2 in by_share.values()), _Growth())


# The verdict and its words.


def _judge(given: Iterable[Sample], rule: _Rule, bake_over: bool, counted: str) -> Verdict:
    samples, seen = tuple(given), _Seen(rule)
    for sample in samples:
        seen.take(sample)
    tests, needed = _tests(seen), _needed(samples, seen)
    failed = [t for t in tests if t.counts and t.log_evidence >= -math.log(rule.alpha)]
    shown = max(failed or tests, key=lambda test: test.log_evidence)
    missing = _missing(seen, needed, bake_over)
    outcome: Outcome = "FAIL" if failed else "INCONCLUSIVE" if missing else "PASS"
    n1, y, n2, x = seen.counts
    return Verdict(
        outcome=outcome,
        reason=_reason(seen, shown, counted) + ("" if failed else f"; {missing or _enough(rule)}"),
        seen=Sample(n1, y, n2, x),
        stable_rate=seen.reference,
        canary_rate=_rate(x, n2),
        increase=seen.increase,
        log_evidence=shown.log_evidence,
        threshold=1 / rule.alpha,
        requests_needed=needed,
    )


def _missing(seen: _Seen, needed: int | None, bake_over: bool) -> str:
    """Return what stands between these intervals and a PASS, or nothing."""
    to_show = _points(seen.rule.to_show)
    if not seen.counts[2]:
        return "no request to the canary was seen"
    if seen.reference is None:
        return "stable answered no request it could be compared with"
    if seen.canary.silent:
        return f"no request to the canary was seen in the {_newest(seen.canary.gap)}"
    if seen.stable.silent and not seen.taken_over:
        return f"no request to stable was seen in the {_newest(seen.stable.gap)}, and the canary did not take them over"
    if needed is None:
        return f"at these rates no number of requests would show {to_show} more"
    if needed:
        return f"{needed:,} more canary requests needed before {to_show} more would have shown"
    return "" if bake_over else "the bake is not over"


def _newest(intervals: int) -> str:
    return "newest interval" if intervals == 1 else f"newest {intervals} intervals"


def _enough(rule: _Rule) -> str:
    return f"{_points(rule.to_show)} more would have shown"


def _reason(seen: _Seen, shown: _Test, counted: str) -> str:
    n1, y, n2, x = seen.counts
    evidence = f"evidence {_odds(shown.log_evidence)}, {_odds(-math.log(seen.rule.alpha))} needed"
    canary, stable = _count(n2, x, f" requests {counted}"), _count(n1, y)
    return f"canary answered {canary}, stable {stable}{shown.against}: {evidence}"


def _count(requests: int, errors: int, words: str = "") -> str:
    return f"{errors:,} of {requests:,}{words} ({_percent(errors / requests)})" if requests else "no request"


def _percent(rate: float) -> str:
    return f"{100 * rate:.1f} %" if rate >= 0.001 or not rate else f"{100 * rate:.2g} %"


def _points(increase: float) -> str:
    points = f"{100 * increase:.3g}"
    return f"{points} point" if points == "1" else f"{points} points"


def _odds(log_evidence: float) -> str:
    if log_evidence > math.log(1e9):
        return "over a billion to 1"
    odds = math.exp(log_evidence)
    return f"{float(f'{odds:.2g}'):,.0f} to 1" if odds >= 10 else f"{odds:.2g} to 1"


def _rate(errors: int, requests: int) -> float | None:
    return errors / requests if requests else None


def _combine(verdicts: Mapping[str, Verdict], muted: frozenset[str]) -> Judgement:
    deciding = {name: verdict for name, verdict in verdicts.items() if name not in muted}
    found = {verdict.outcome for verdict in deciding.values()}
    outcome: Outcome = "FAIL" if "FAIL" in found else "PASS" if found == {"PASS"} else "INCONCLUSIVE"
    reasons = [f"{name}: {verdict.reason}" for name, verdict in deciding.items() if verdict.outcome == outcome]
    none = "every metric is muted, so none can fail or pass" if verdicts else "there is no metric to judge by"
    return Judgement(outcome, " | ".join(reasons) or none, verdicts, muted)


def _refuse_unknown(names: Collection[str], metrics: Collection[str]) -> None:
    if unknown := sorted(set(names) - set(metrics)):
        raise ParametersError(
            f"verdict: no metric is called {', '.join(unknown)}; there are {', '.join(metrics) or 'none'}",
            hint="correct the name, or leave it out",
        )
