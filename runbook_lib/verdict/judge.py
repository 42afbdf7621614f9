"""Judge a canary against stable by their counts of requests and errors: PASS,
FAIL or INCONCLUSIVE.

Pure: figures in, a frozen record out; no clock, no AWS, no word of what carries the
weights. The statistics, and why they hold however often one looks, are in `evidence`.

A `Tally` is what the intervals so far add up to: each is taken in once, and neither its
size nor the time to judge it grows with their number. `judge` takes a list of intervals
into one. Who watches for long keeps a tally, takes in what is settled, and judges a
copy with the newest intervals on top.

Silence. A version has fallen silent once the newest intervals without a request of its
own would have brought it ten, at the rate of those just before (as many, and ten at
least). A silent canary is no PASS, and neither is a silent stable unless the canary's
requests show that it took stable's over, as at weight 100.

Alone. At weight 100 the canary is judged by itself, and a bad day of everybody's counts
against it. A caller who knows the weights says since when; for one who does not, stable
is gone when it is silent, and the canary took its requests over and has had so many
since that a single percent would have brought stable some.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import reduce
from numbers import Integral
from operator import add
from typing import Literal

from runbook_lib.errors import ParametersError
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

Outcome = Literal["PASS", "FAIL", "INCONCLUSIVE"]

_MISSED = 10  # requests, and intervals looked back at, that make silence
_GONE = 700  # canary requests since stable's last one, that make it gone
# intervals before and after stable's last request that are compared, at most
_LOOKED_BACK = 1_000


@dataclass(frozen=True, slots=True)
class Sample:
    """One interval's requests to both versions, and how many of them ended in an
    error (or were slow).

    Counts are whole numbers; anything else, or more errors than
    requests, is a ValueError.
    """

    stable_requests: int
    stable_errors: int
    canary_requests: int
    canary_errors: int

    def __post_init__(self) -> None:
        if not all(
            isinstance(n, Integral) and not isinstance(n, bool) for n in self.counts
        ):
            raise ValueError(f"a sample's counts must be whole numbers, got {self}")
        if not (
            0 <= self.stable_errors <= self.stable_requests
            and 0 <= self.canary_errors <= self.canary_requests
        ):
            raise ValueError(f"a sample needs 0 <= errors <= requests, got {self}")

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """Return the four counts in the order of the fields."""
        return (
            self.stable_requests,
            self.stable_errors,
            self.canary_requests,
            self.canary_errors,
        )

    def __add__(self, other: Sample) -> Sample:
        """Return both intervals as one."""
        return Sample(*map(add, self.counts, other.counts))


@dataclass(frozen=True, slots=True)
class Verdict:
    """An outcome, the reason in plain words, and the figures; rates and increases
    are fractions of 1.
    """

    outcome: Outcome
    reason: str
    seen: Sample  # all intervals as one
    stable_rate: float | None
    canary_rate: float | None
    # canary's rate above stable's, interval by interval; alone, above stable's earlier
    # one
    increase: float | None
    log_evidence: float
    threshold: float  # the evidence that makes a FAIL, as odds to 1
    # canary requests missing before a PASS; None where no number is known to do
    requests_needed: int | None

    @property
    def evidence(self) -> float:
        """Return the evidence for a worse canary as odds to 1; 1e299 stands
        for all that is more.
        """
        return math.exp(min(self.log_evidence, math.log(1e299)))


@dataclass(frozen=True, slots=True)
class Judgement:
    """The outcome over several metrics, and the verdict of each; muted ones are shown
    and decide nothing.
    """

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
    alone: int | None = None,
    ceiling: float | None = None,
    counted: str = "with an error",
) -> Verdict:
    """Judge the intervals seen so far, earliest first; to be called again with all of
    them as they come in.

    FAIL: evidence of 1 / `alpha` that the canary's odds of error exceed stable's, or,
    where stable has no traffic, that its rate exceeds the one stable showed plus
    `detectable_increase` (or as much as stable's requests leave open, if more), and a
    rate at least `ignored_increase` above stable's; or evidence that it exceeds
    `ceiling`. A canary no worse than stable meets any of these with probability `alpha`
    at most. PASS: the bake is over, no version has fallen silent, and this very rule
    would by now have shown an increase of `detectable_increase` with probability
    `power`; where stable has no traffic, one that much above the rate tested, so twice
    as much. Health before it hides no increase: one that begins late takes about twice
    the requests to show. Otherwise INCONCLUSIVE. `alone` is how many of the newest
    intervals stable has had no weight for; left out, it is told from the requests.
    `counted` says in the reason what is counted. Raises ParametersError for a setting
    that is no fraction.
    """
    tally = Tally(
        Settings(alpha, detectable_increase, ignored_increase, power, ceiling)
    )
    tally.take_all(samples, alone)
    return tally.verdict(bake_over=bake_over, counted=counted)


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
    alone: int | None = None,
) -> Judgement:
    """Judge several metrics, each by `judge`, `alpha` shared evenly between those that
    decide (Bonferroni).

    FAIL if any that decides fails, PASS if all of them pass, INCONCLUSIVE otherwise
    and where none decides. `muted` metrics get a verdict too, which counts for
    nothing. `ceilings` and `counted` are by metric. Raises ParametersError for a
    name no metric has.
    """
    tallies = tallies_of(
        metrics,
        muted=muted,
        ceilings=ceilings,
        alpha=alpha,
        detectable_increase=detectable_increase,
        ignored_increase=ignored_increase,
        power=power,
    )
    for name, samples in metrics.items():
        tallies[name].take_all(samples, alone)
    return judge_tallies(tallies, muted=muted, counted=counted, bake_over=bake_over)


def tallies_of(
    metrics: Iterable[str],
    *,
    muted: Collection[str] = (),
    ceilings: Mapping[str, float] | None = None,
    alpha: float = 0.01,
    detectable_increase: float = 0.01,
    ignored_increase: float = 0.0,
    power: float = 0.95,
) -> dict[str, Tally]:
    """Return an empty tally for each metric, with the settings that
    `judge_all` gives it.

    Raises ParametersError for a name no metric has.
    """
    names = list(metrics)
    ceilings = ceilings or {}
    _refuse_unknown({*muted, *ceilings}, names)
    share = share_of_alpha(alpha, names, muted)
    tallies = {}
    for name in names:
        settings = Settings(
            share, detectable_increase, ignored_increase, power, ceilings.get(name)
        )
        tallies[name] = Tally(settings)
    return tallies


def judge_tallies(
    tallies: Mapping[str, Tally],
    *,
    muted: Collection[str] = (),
    counted: Mapping[str, str] | None = None,
    bake_over: bool = False,
) -> Judgement:
    """Judge several metrics by what their intervals add up to;
    otherwise as `judge_all` does.
    """
    _refuse_unknown({*muted, *(counted or {})}, tallies)
    words = {"errors": "with an error", **(counted or {})}
    verdicts = {}
    for name, tally in tallies.items():
        counted_as = words.get(name, f"counted as {name}")
        verdicts[name] = tally.verdict(bake_over=bake_over, counted=counted_as)
    return _combine(verdicts, frozenset(muted))


def evidence_curve(
    samples: Iterable[Sample],
    *,
    alpha: float = 0.01,
    detectable_increase: float = 0.01,
    ceiling: float | None = None,
    alone: int | None = None,
) -> list[float]:
    """Return the natural logarithm of the evidence after each interval, as
    `judge` saw it then.
    """
    tally = Tally(Settings(alpha, detectable_increase, ceiling=ceiling))
    curve = []
    for sample, by_itself in _marked(tuple(samples), alone):
        tally.take(sample, by_itself)
        curve.append(tally.log_evidence)
    return curve


def share_of_alpha(
    alpha: float, metrics: Iterable[str], muted: Collection[str] = ()
) -> float:
    """Return what of `alpha` each metric that decides is judged by (Bonferroni)."""
    return alpha / max(1, sum(name not in muted for name in metrics))


# The settings, and what intervals add up to.


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of `judge` for one metric, each a fraction of 1; ParametersError
    for one that is not.
    """

    alpha: float = 0.01
    detectable_increase: float = 0.01
    ignored_increase: float = 0.0
    power: float = 0.95
    ceiling: float | None = None

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
                f"verdict: {name} must be a fraction between 0 and 1, found "
                f"{getattr(self, name)!r}",
                hint=f"one percent is written 0.01; correct {name} in "
                "the parameters file",
            )

    @property
    def to_show(self) -> float:
        """Return the increase that a PASS rules out."""
        return max(self.detectable_increase, self.ignored_increase)


class _Presence:
    """When one version had requests: as much of that as tells whether it
    has fallen silent.

    Of what came before a gap, the newest `_MISSED` intervals with requests are enough:
    each has one request at least, so that a window which holds all of them holds the
    `_MISSED` requests that make silence.
    """

    def __init__(self) -> None:
        self.intervals = self.requests = 0
        self.gap = 0  # the newest intervals without a request
        # the number of an interval, and its requests
        self.busy: deque[tuple[int, int]] = deque(maxlen=_MISSED)

    def copy(self) -> _Presence:
        made = copy(self)
        made.busy = self.busy.copy()
        return made

    def take(self, requests: int) -> None:
        if requests:
            self.busy.append((self.intervals, requests))
            self.requests += requests
            self.gap = 0
        else:
            self.gap += 1
        self.intervals += 1

    @property
    def silent(self) -> bool:
        if not self.gap:
            return False
        before = self.intervals - self.gap
        size = min(max(self.gap, _MISSED), before)
        return self._in_newest(size, before) * self.gap >= _MISSED * size > 0

    def _in_newest(self, size: int, before: int) -> int:
        """Return the requests in the newest `size` of the intervals before the gap; if
        many, `_MISSED` at least.
        """
        if size == before:
            return self.requests
        return sum(
            requests for number, requests in self.busy if number >= before - size
        )


class _Handover:
    """Whether the canary took stable's requests over: as many intervals before and
    after stable's last request.
    """

    def __init__(self) -> None:
        # stable's and the canary's requests
        self.newest: deque[tuple[int, int]] = deque(maxlen=_LOOKED_BACK)
        # the newest when stable's requests ended
        self.before: tuple[tuple[int, int], ...] = ()
        self.is_over = False  # whether stable had no request in the newest interval
        self._compare_nothing()

    def _compare_nothing(self) -> None:
        self.compared = self.stable_before = self.canary_before = self.canary_after = 0

    def copy(self) -> _Handover:
        made = copy(self)
        made.newest = self.newest.copy()
        return made

    def take(self, stable_requests: int, canary_requests: int) -> None:
        if stable_requests:
            self._compare_nothing()
        elif not self.is_over:
            self.before = tuple(self.newest)
        self.is_over = not stable_requests
        if self.is_over and self.compared < len(self.before):
            self.compared += 1
            stable, canary = self.before[-self.compared]
            self.stable_before += stable
            self.canary_before += canary
            self.canary_after += canary_requests
        self.newest.append((stable_requests, canary_requests))

    @property
    def happened(self) -> bool:
        """Say whether the canary's requests since stable's ended are, by ratio, nearer
        to all than to its own.
        """
        everyones = self.canary_before + self.stable_before
        return self.canary_after**2 > self.canary_before * everyones


class Tally:
    """What the intervals of one metric add up to, each taken in once and in its order.

    A copy goes on by itself. Its size, and the time to judge it, do not depend on the
    number of intervals.
    """

    def __init__(self, settings: Settings) -> None:
        self.rule, self.counts = settings, (0, 0, 0, 0)
        # the canary's requests and errors where stable was gone
        self.alone, self.alone_errors = 0, 0
        # whether it is now; its requests since stable's last one
        self.is_alone, self.since = False, 0
        self.unsure: list[Sample] = []  # what it may have been alone in
        # canary errors above stable's rate; by which requests to divide them
        self.excess = self.weight = 0.0
        # the canary's requests in intervals in which stable had some too
        self.beside = 0
        # those intervals' requests, by the canary's share
        self.by_share: dict[float, tuple[int, int]] = {}
        self.stable, self.canary, self.handover = _Presence(), _Presence(), _Handover()
        self.together, self.by_itself, self.in_all = EValue(), EValue(), EValue()

    def copy(self) -> Tally:
        """Return another tally of the same intervals."""
        made = copy(self)
        made.unsure, made.by_share = self.unsure.copy(), self.by_share.copy()
        made.stable, made.canary, made.handover = (
            self.stable.copy(),
            self.canary.copy(),
            self.handover.copy(),
        )
        made.together, made.by_itself, made.in_all = (
            copy(self.together),
            copy(self.by_itself),
            copy(self.in_all),
        )
        return made

    def take_all(self, samples: Iterable[Sample], alone: int | None = None) -> None:
        """Take in intervals, earliest first; in the newest `alone` of them
        stable had no weight.
        """
        for sample, by_itself in _marked(tuple(samples), alone):
            self.take(sample, by_itself)

    def take(self, sample: Sample, alone: bool | None = None) -> None:
        """Take in an interval; `alone` says whether stable had no weight in it, None
        that nobody knows.
        """
        stable, canary = sample.stable_requests, sample.canary_requests
        self.counts = tuple(map(add, self.counts, sample.counts))
        self.stable.take(stable)
        self.canary.take(canary)
        self.handover.take(stable, canary)
        if stable and canary:
            self._take_comparison(sample)
        if stable:
            self.since, self.unsure = 0, []
        elif canary:
            self.since += canary
            self._take_unsure(sample)
        self.is_alone = self._is_gone(stable) if alone is None else alone
        if self.is_alone:
            self._take_alone()
        if canary and self.rule.ceiling:
            draws = canary, sample.canary_errors, self.rule.ceiling
            self.in_all.take(self._clock(canary), draws)

    def verdict(
        self, *, bake_over: bool = False, counted: str = "with an error"
    ) -> Verdict:
        """Judge the intervals taken in so far, as `judge` does."""
        return _verdict_on(self, bake_over, counted)

    @property
    def log_evidence(self) -> float:
        """Return the natural logarithm of the evidence against the canary."""
        return max(self.against_stable, self.against_ceiling)

    def _clock(self, canary_requests: int) -> float:
        """Return by how much so many requests bring an interval's evidence on."""
        return canary_requests * self.rule.detectable_increase

    def _take_comparison(self, sample: Sample) -> None:
        """Take in an interval that both had requests in.

        The sums' quotient is the risk difference of Mantel and Haenszel.
        """
        n1, y, n2, x = sample.counts
        excess = (x * n1 - y * n2) / (n1 + n2)
        weight = n1 * n2 / (n1 + n2)
        self.excess += excess
        self.weight += weight
        self.together.take(self._clock(n2), draws_of(n1, y, n2, x), excess, weight)
        self._take_share(n1, n2)

    def _take_share(self, stable_requests: int, canary_requests: int) -> None:
        self.beside += canary_requests
        share = round(canary_requests / (stable_requests + canary_requests), 2)
        stable, canary = self.by_share.get(share, (0, 0))
        self.by_share[share] = stable + stable_requests, canary + canary_requests

    def _take_unsure(self, sample: Sample) -> None:
        """Keep an interval that may turn out to be the canary's alone; of too many,
        the first two as one.
        """
        self.unsure.append(sample)
        if len(self.unsure) > _LOOKED_BACK:
            self.unsure[:2] = [self.unsure[0] + self.unsure[1]]

    def _is_gone(self, stable_requests: int) -> bool:
        if self.is_alone:
            return not stable_requests
        return self.stable.silent and self.since >= _GONE and self.handover.happened

    def _take_alone(self) -> None:
        """Take in the intervals that turned out to be the canary's alone."""
        for sample in self.unsure:
            requests, errors = sample.canary_requests, sample.canary_errors
            self.alone += requests
            self.alone_errors += errors
            above = errors - requests * (self.reference or 0.0)
            draws = requests, errors, self.limit
            self.by_itself.take(self._clock(requests), draws, above, requests)
        self.unsure = []

    @property
    def reference(self) -> float | None:
        return _rate(self.counts[1], self.counts[0])

    @property
    def limit(self) -> float:
        """Return the rate a canary alone is tested against; 1 where
        stable showed none.
        """
        if self.reference is None:
            return 1.0
        shown = upper_rate(self.counts[0], self.counts[1], REFERENCE * self.rule.alpha)
        return min(1.0, max(self.reference + self.rule.detectable_increase, shown))

    @property
    def to_show(self) -> float:
        """Return the increase above stable's rate that a PASS rules out; a canary alone
        is allowed some beforehand.
        """
        allowed = self.limit - (self.reference or 0.0) if self.is_alone else 0.0
        return allowed + self.rule.to_show

    @property
    def increase(self) -> float | None:
        """Return the canary's rate above stable's; where it was alone, above
        stable's earlier one.
        """
        if self.alone and self.reference is not None:
            return self.alone_errors / self.alone - self.reference
        return self.excess / self.weight if self.weight else None

    @property
    def against_stable(self) -> float:
        return math.log(AGAINST_STABLE * self.together.value) + math.log(
            self.by_itself.value
        )

    @property
    def against_ceiling(self) -> float:
        return math.log(CEILING * self.in_all.value) if self.rule.ceiling else -math.inf


def _marked(
    samples: Sequence[Sample], alone: int | None
) -> Iterator[tuple[Sample, bool | None]]:
    """Yield each interval, and whether the canary was alone in it; None
    where nobody knows.
    """
    for left, sample in zip(range(len(samples), 0, -1), samples, strict=True):
        yield sample, None if alone is None else left <= alone


# The ways to a FAIL.


@dataclass(frozen=True, slots=True)
class _Test:
    log_evidence: float  # less what its part of alpha costs
    counts: bool  # whether the increase is large enough for a FAIL
    against: str = ""


def _tests(seen: Tally) -> list[_Test]:
    ceiling, in_all = seen.rule.ceiling, _count(*seen.counts[2:])
    against = (
        [
            _Test(
                seen.against_ceiling,
                True,
                f"; in all {in_all}, ceiling {_percent(ceiling)}",
            )
        ]
        if ceiling
        else []
    )
    return [_test_increase(seen), *against]


def _test_increase(seen: Tally) -> _Test:
    """Return the test against stable; what the comparison won or lost, the canary
    alone starts with.
    """
    increase = max(
        seen.together, seen.by_itself, key=lambda evidence: evidence.value
    ).increase
    # floats add up to a little less
    counts, against = increase >= seen.rule.ignored_increase - 1e-12, ""
    if seen.alone:
        against = (
            f"; alone {_count(seen.alone, seen.alone_errors)}, up to "
            f"{_percent(seen.limit)} allowed"
        )
    if seen.rule.ignored_increase and not counts:
        against += (
            f" ({_points(increase)} more, up to "
            f"{_points(seen.rule.ignored_increase)} ignored)"
        )
    return _Test(seen.against_stable, counts, against)


# What would have been detected.


def _needed(seen: Tally) -> int | None:
    """Return the canary requests still needed at the shares seen; None
    where no number would do.
    """
    rule, begins_at = seen.rule, AT_FIRST * AGAINST_STABLE
    if seen.reference is None or not seen.counts[2]:
        return None
    bar = -math.log(begins_at * rule.alpha)
    if seen.is_alone:
        growth = growth_alone(1.0, seen.limit, min(1.0, seen.limit + rule.to_show))
        had, most = (
            seen.alone,
            growth.times_to(bar - math.log(seen.together.reserve), rule.power),
        )
    else:
        growth = _growth_together(seen.by_share.values(), seen.reference, rule.to_show)
        had = seen.beside
        most = had * growth.times_to(bar, rule.power) if had else math.inf
    return None if math.isinf(most) else max(0, math.ceil(most - had))


def _growth_together(
    requests: Iterable[tuple[int, int]], rate: float, increase: float
) -> Growth:
    """Return what requests to both would gather at stable's rate, and at that much
    more for the canary.
    """
    worse = min(1.0, rate + increase)
    return reduce(
        add, (growth_of(n1, rate, n2, worse) for n1, n2 in requests), Growth()
    )


# The verdict and its words.


def _verdict_on(seen: Tally, bake_over: bool, counted: str) -> Verdict:
    tests, needed = _tests(seen), _needed(seen)
    failed = [
        t for t in tests if t.counts and t.log_evidence >= -math.log(seen.rule.alpha)
    ]
    shown = max(failed or tests, key=lambda test: test.log_evidence)
    missing, would_show = (
        _missing(seen, needed, bake_over),
        f"an increase of {_points(seen.to_show)} would have been detected",
    )
    outcome: Outcome = "FAIL" if failed else "INCONCLUSIVE" if missing else "PASS"
    n1, y, n2, x = seen.counts
    return Verdict(
        outcome=outcome,
        reason=_reason(seen, shown, counted)
        + ("" if failed else f"; {missing or would_show}"),
        seen=Sample(n1, y, n2, x),
        stable_rate=seen.reference,
        canary_rate=_rate(x, n2),
        increase=seen.increase,
        log_evidence=shown.log_evidence,
        threshold=1 / seen.rule.alpha,
        requests_needed=needed,
    )


def _missing(seen: Tally, needed: int | None, bake_over: bool) -> str:
    """Return what stands between these intervals and a PASS, or nothing."""
    to_show = _points(seen.to_show)
    if not seen.counts[2]:
        return "no request to the canary was seen"
    if seen.reference is None:
        return "stable answered no request it could be compared with"
    if seen.canary.silent and seen.stable.silent:
        return (
            f"nothing was seen in the {_newest(min(seen.canary.gap, seen.stable.gap))}"
        )
    if seen.canary.silent:
        return f"no request to the canary was seen in the {_newest(seen.canary.gap)}"
    if seen.stable.silent and not (seen.is_alone or seen.handover.happened):
        return (
            f"no request to stable was seen in the {_newest(seen.stable.gap)}, and "
            "the canary did not take them over"
        )
    if needed is None:
        return (
            "at these rates no number of requests would detect an "
            f"increase of {to_show}"
        )
    if needed:
        return (
            f"{needed:,} more canary requests needed to detect an increase of {to_show}"
        )
    return "" if bake_over else "the bake is not over"


def _newest(intervals: int) -> str:
    return "newest interval" + (
        f" and the {intervals - 1} before it" if intervals > 1 else ""
    )


def _reason(seen: Tally, shown: _Test, counted: str) -> str:
    n1, y, n2, x = seen.counts
    evidence = (
        f"evidence {_odds(shown.log_evidence)}, "
        f"a FAIL needs {_odds(-math.log(seen.rule.alpha))}"
    )
    canary, stable = _count(n2, x, f" requests {counted}"), _count(n1, y)
    return f"canary answered {canary}, stable {stable}{shown.against}: {evidence}"


def _count(requests: int, errors: int, words: str = "") -> str:
    return (
        f"{errors:,} of {requests:,}{words} ({_percent(errors / requests)})"
        if requests
        else "no request"
    )


def _percent(rate: float) -> str:
    return f"{100 * rate:.1f} %" if rate >= 0.001 or not rate else f"{100 * rate:.2g} %"


def _points(increase: float) -> str:
    points = f"{100 * increase:.3g}"
    return (
        f"{points} percentage point" if points == "1" else f"{points} percentage points"
    )


def _odds(log_evidence: float) -> str:
    if log_evidence > math.log(1e9):
        return "over a billion to 1"
    odds = math.exp(log_evidence)
    return f"{float(f'{odds:.2g}'):,.0f} to 1" if odds >= 10 else f"{odds:.2g} to 1"


def _rate(errors: int, requests: int) -> float | None:
    return errors / requests if requests else None


def _combine(verdicts: Mapping[str, Verdict], muted: frozenset[str]) -> Judgement:
    deciding = {
        name: verdict for name, verdict in verdicts.items() if name not in muted
    }
    found = {verdict.outcome for verdict in deciding.values()}
    outcome: Outcome = (
        "FAIL" if "FAIL" in found else "PASS" if found == {"PASS"} else "INCONCLUSIVE"
    )
    reasons = [
        f"{name}: {verdict.reason}"
        for name, verdict in deciding.items()
        if verdict.outcome == outcome
    ]
    none = (
        "every metric is muted, so none can fail or pass"
        if verdicts
        else "there is no metric to judge by"
    )
    return Judgement(outcome, " | ".join(reasons) or none, verdicts, muted)


def _refuse_unknown(names: Collection[str], metrics: Collection[str]) -> None:
    if unknown := sorted(set(names) - set(metrics)):
        raise ParametersError(
            f"verdict: no metric is called {', '.join(unknown)}; there are "
            f"{', '.join(metrics) or 'none'}",
            hint="correct the name, or leave it out",
        )
