"""Judge a canary against stable by their counts of requests and errors: PASS, FAIL or INCONCLUSIVE.

Pure: figures in, a frozen record out; no clock, no AWS, no word of what carries the weights.

The rule. In one interval the requests and the errors of both versions make a two by two table. While the
canary's odds of error are no higher than stable's, its errors are, given the table's margins, at most
hypergeometric. The members of the smallest margin are then *drawn* without replacement, and for every o > 1
the mean of o^hits is at most that of drawing with replacement, (1 + (o - 1) * fraction)^draws (Hoeffding
1963, Theorem 4). So o^hits / (1 + (o - 1) * fraction)^draws is an e-value at any rate of errors; the product
over the intervals, mixed over odds ratios o, is a test supermartingale and reaches 1 / alpha with probability
alpha at most, however often one looks (Ville 1939; Grünwald, de Heide and Koolen 2024; Turner, Ly and
Grünwald 2024; Lindon and Malek 2022 for rare errors). Rate of errors and weight may change in between.

How intervals are cut. Evidence is a sum over intervals: their order never matters, and two of them count
exactly as much as the one they add up to wherever the share of requests is the same and errors are the
smallest margin of each, as in any usual traffic. An interval with no error, with nothing but errors, or with
requests to one version only adds nothing. Errors that come in bursts to one version only are not foreseen.

Own code, as no library fits: savvi rests (2024), confseq compares no proportions, expectation still moves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import accumulate
from operator import add
from statistics import NormalDist
from typing import Literal

from runbook_lib.errors import ParametersError

__all__ = ["Judgement", "Sample", "Verdict", "evidence_curve", "judge", "judge_all", "requests_to_show"]

Outcome = Literal["PASS", "FAIL", "INCONCLUSIVE"]

# The odds ratios mixed over, 1.05 to 64: even in the logarithm of the logarithm, as small ones need it finer.
_LOG_ODDS = tuple(math.log(1.05) * (math.log(64) / math.log(1.05)) ** (i / 11) for i in range(12))
_ODDS = tuple(map(math.exp, _LOG_ODDS))
_WEIGHTS = tuple(log_odds**0.75 / math.fsum(v**0.75 for v in _LOG_ODDS) for log_odds in _LOG_ODDS)
_NOTHING = (0.0,) * len(_ODDS)

# How alpha is shared: to the comparison, kept back for the canary alone, what stable showed, the ceiling.
_TOGETHER, _KEPT, _REFERENCE, _CEILING = 0.92, 0.06, 0.01, 0.01
# What of its stake the comparison has left after a healthy canary's earlier steps, as a rule; for forecasts.
_CARRIED = 0.2


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
    return _judge(tuple(samples), rule, bake_over, counted)


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
    share = alpha / max(1, sum(name not in muted for name in metrics))
    verdicts = {}
    for name, samples in metrics.items():
        rule = _Rule(share, detectable_increase, ignored_increase, power, ceilings.get(name))
        verdicts[name] = _judge(tuple(samples), rule, bake_over, words.get(name, f"counted as {name}"))
    return _combine(verdicts, frozenset(muted))


def evidence_curve(
    samples: Iterable[Sample],
    *,
    alpha: float = 0.01,
    detectable_increase: float = 0.01,
    ceiling: float | None = None,
) -> list[float]:
    """Return the natural logarithm of the evidence after each interval, as `judge` saw it then."""
    rule = _Rule(alpha, detectable_increase, 0.0, 0.95, ceiling)
    return [_strongest(_tests(sums, rule)).log_evidence for sums in accumulate(map(_sums, samples))]


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
        growth, stake = _growth((1 - share) / share, stable_rate, 1.0, worse), _TOGETHER
    else:
        growth = _growth_alone(1.0, stable_rate + detectable_increase if share else 1.0, worse)
        stake = _TOGETHER * _CARRIED + _KEPT
    times = growth.times_to(-math.log(stake * alpha), power)
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


@dataclass(frozen=True, slots=True)
class _Sums:
    total: Sample = _EMPTY
    alone: Sample = _EMPTY  # the intervals in which only the canary had traffic
    excess: float = 0.0  # canary errors above stable's rate, and by which requests to divide them:
    weight: float = 0.0  # their quotient is the risk difference of Mantel and Haenszel
    log_ratios: tuple[float, ...] = _NOTHING

    def __add__(self, other: _Sums) -> _Sums:
        log_ratios = self.log_ratios
        if other.log_ratios is not _NOTHING:
            log_ratios = tuple(map(add, log_ratios, other.log_ratios))
        excess, weight = self.excess + other.excess, self.weight + other.weight
        return _Sums(self.total + other.total, self.alone + other.alone, excess, weight, log_ratios)

    @property
    def reference(self) -> float | None:
        return _rate(self.total.stable_errors, self.total.stable_requests)

    @property
    def increase(self) -> float | None:
        return self.excess / self.weight if self.weight else None

    @property
    def increase_alone(self) -> float | None:
        rate, reference = _rate(self.alone.canary_errors, self.alone.canary_requests), self.reference
        return None if rate is None or reference is None else rate - reference

    def limit(self, rule: _Rule) -> float:
        """Return the rate a canary alone is tested against; 1 where stable showed none."""
        if self.reference is None:
            return 1.0
        shown = _upper_rate(self.total.stable_requests, self.total.stable_errors, _REFERENCE * rule.alpha)
        return min(1.0, max(self.reference + rule.detectable_increase, shown))


def _sums(sample: Sample) -> _Sums:
    n1, y, n2, x = sample.counts
    if not n2:
        return _Sums(sample)
    if not n1:
        return _Sums(sample, sample)
    drawn = _drawn(n1, y, n2, x)
    log_ratios = _log_ratios(*drawn) if drawn[0] else _NOTHING
    return _Sums(sample, _EMPTY, (x * n1 - y * n2) / (n1 + n2), n1 * n2 / (n1 + n2), log_ratios)


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
        hits * log_odds - draws * math.log1p((odds - 1) * fraction)
        for odds, log_odds in zip(_ODDS, _LOG_ODDS, strict=True)
    )


def _mixed(log_ratios: Sequence[float]) -> float:
    top = max(log_ratios)
    return top + math.log(sum(w * math.exp(r - top) for w, r in zip(_WEIGHTS, log_ratios, strict=True)))


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


def _tests(sums: _Sums, rule: _Rule) -> list[_Test]:
    tests = []
    if sums.increase is not None or sums.increase_alone is not None:
        tests.append(_test_increase(sums, rule))
    if rule.ceiling is not None and sums.total.canary_requests:
        seen = _against(sums.total, rule.ceiling, "in all {}, ceiling {}")
        tests.append(_Test(_exceeds(sums.total, rule.ceiling) + math.log(_CEILING), True, seen))
    return tests


def _test_increase(sums: _Sums, rule: _Rule) -> _Test:
    """Return the test against stable; what the comparison won or lost, the canary alone starts with."""
    together, increase, alone, against = _mixed(sums.log_ratios), sums.increase, 0.0, ""
    if sums.increase_alone is not None:
        limit = sums.limit(rule)
        alone, against = (
            _exceeds(sums.alone, limit),
            _against(sums.alone, limit, "alone {}, up to {} allowed"),
        )
        increase = sums.increase_alone if increase is None or alone > together else increase
    counts = increase is not None and increase >= rule.ignored_increase - 1e-12  # floats add up to a little less
    if increase is not None and rule.ignored_increase and not counts:
        against += f" ({_points(increase)} more, up to {_points(rule.ignored_increase)} ignored)"
    return _Test(_stake(together) + alone, counts, against)


def _stake(together: float) -> float:
    return math.log(_TOGETHER * math.exp(min(together, 600.0)) + _KEPT)


def _exceeds(seen: Sample, limit: float) -> float:
    """Return the log evidence that the canary's rate exceeds the limit, whatever stable does."""
    if limit >= 1 or not seen.canary_requests:
        return 0.0
    return _mixed(_log_ratios(seen.canary_requests, seen.canary_errors, limit))


def _against(seen: Sample, limit: float, words: str) -> str:
    return "; " + words.format(_count(seen.canary_requests, seen.canary_errors, ""), _percent(limit))


def _strongest(tests: Sequence[_Test]) -> _Test:
    return max(tests, key=lambda test: test.log_evidence, default=_Test(0.0, False))


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


def _needed(samples: Sequence[Sample], sums: _Sums, rule: _Rule) -> int | None:
    """Return the canary requests still needed at the shares seen; None where no number would do."""
    if sums.reference is None or not sums.total.canary_requests:
        return None
    newest = next(s for s in reversed(samples) if s.stable_requests or s.canary_requests)
    if newest.stable_requests:
        growth, stake = _growth_together(samples, sums.reference, rule.to_show), math.log(_TOGETHER)
        seen = sums.total.canary_requests - sums.alone.canary_requests
    else:
        equal = _growth_together(samples, sums.reference, 0.0)
        seen, stake, limit = sums.alone.canary_requests, _stake(_mixed(equal.log_ratios)), sums.limit(rule)
        growth = _growth_alone(seen, limit, min(1.0, limit + rule.to_show))
    times = growth.times_to(-stake - math.log(rule.alpha), rule.power)
    return None if math.isinf(times) else max(0, math.ceil(seen * (times - 1)))


def _growth_together(samples: Sequence[Sample], rate: float, increase: float) -> _Growth:
    by_share: dict[float, tuple[int, int]] = {}
    for n1, _, n2, _ in (sample.counts for sample in samples if sample.stable_requests and sample.canary_requests):
        share = round(n2 / (n1 + n2), 2)
        before = by_share.get(share, (0, 0))
        by_share[share] = before[0] + n1, before[1] + n2
    worse = min(1.0, rate + increase)
    return reduce(add, (_growth(n1, rate, n2, worse) for n1, n2 in by_share.values()), _Growth())


# The verdict and its words.


def _judge(samples: Sequence[Sample], rule: _Rule, bake_over: bool, counted: str) -> Verdict:
    sums = reduce(add, map(_sums, samples), _Sums())
    tests, needed = _tests(sums, rule), _needed(samples, sums, rule)
    failed = [t for t in tests if t.counts and t.log_evidence >= -math.log(rule.alpha)]
    shown = _strongest(failed or tests)
    missing = _missing(samples, sums, rule, needed, bake_over)
    outcome: Outcome = "FAIL" if failed else "INCONCLUSIVE" if missing else "PASS"
    return Verdict(
        outcome=outcome,
        reason=_reason(sums, shown, rule, counted) + ("" if failed else f"; {missing or _enough(rule)}"),
        seen=sums.total,
        stable_rate=sums.reference,
        canary_rate=_rate(sums.total.canary_errors, sums.total.canary_requests),
        increase=sums.increase if sums.increase_alone is None else sums.increase_alone,
        log_evidence=shown.log_evidence,
        threshold=1 / rule.alpha,
        requests_needed=needed,
    )


def _missing(samples: Sequence[Sample], sums: _Sums, rule: _Rule, needed: int | None, bake_over: bool) -> str:
    """Return what stands between these intervals and a PASS, or nothing."""
    if not sums.total.canary_requests:
        return "no request to the canary was seen"
    if sums.reference is None:
        return "stable answered no request it could be compared with"
    if samples[-1] == _EMPTY:
        return "nothing was seen in the newest interval"
    if needed is None:
        return f"at these rates no number of requests would show {_points(rule.to_show)} more"
    if needed:
        return f"{needed:,} more canary requests needed before {_points(rule.to_show)} more would have shown"
    return "" if bake_over else "the bake is not over"


def _enough(rule: _Rule) -> str:
    return f"{_points(rule.to_show)} more would have shown"


def _reason(sums: _Sums, shown: _Test, rule: _Rule, counted: str) -> str:
    t = sums.total
    stable = _count(t.stable_requests, t.stable_errors, "")
    canary = _count(t.canary_requests, t.canary_errors, f" requests {counted}")
    evidence = f"evidence {_odds(shown.log_evidence)}, {_odds(-math.log(rule.alpha))} needed"
    return f"canary answered {canary}, stable {stable}{shown.against}: {evidence}"


def _count(requests: int, errors: int, words: str) -> str:
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
    return Judgement(outcome, " | ".join(reasons) or "no metric decides", verdicts, muted)


def _refuse_unknown(names: Collection[str], metrics: Collection[str]) -> None:
    if unknown := sorted(set(names) - set(metrics)):
        raise ParametersError(
            f"verdict: no metric is called {', '.join(unknown)}; there are {', '.join(metrics) or 'none'}",
            hint="correct the name, or leave it out",
        )
