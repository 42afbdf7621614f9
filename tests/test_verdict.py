"""What the verdict promises: few false alarms, no blind eye, nothing from nothing."""

from __future__ import annotations

import math
import pickle
import random
import time
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runbook_lib.errors import ParametersError
from runbook_lib.verdict import (
    Sample,
    Settings,
    Tally,
    evidence,
    evidence_curve,
    judge,
    judge_all,
    share_of_alpha,
)
from runbook_lib.verdict.evidence import AT_FIRST, requests_to_show

ALPHA = 0.01
BAR = -math.log(ALPHA)
HEALTHY = [Sample(300, 0, 100, 0)] * 9 + [Sample(300, 1, 100, 0)]
LONG_HEALTHY = HEALTHY * 4


@st.composite
def samples(draw: st.DrawFn, most: int = 2000) -> Sample:
    stable, canary = draw(st.integers(0, most)), draw(st.integers(0, most))
    return Sample(stable, draw(st.integers(0, stable)), canary, draw(st.integers(0, canary)))


def drawn(
    rng: np.random.Generator, stable: np.ndarray, canary: np.ndarray, requests: int, weights: np.ndarray
) -> list[Sample]:
    n2 = rng.binomial(requests, weights)
    n1 = requests - n2
    columns = n1, rng.binomial(n1, stable), n2, rng.binomial(n2, canary)
    return [Sample(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]


def ever_fails(intervals: list[Sample]) -> bool:
    return max(evidence_curve(intervals, alpha=ALPHA)) >= BAR


def most_false_alarms(runs: int, alpha: float, doubt: float = 1e-6) -> int:
    """Return the count that a rule with just this alpha exceeds with a probability below `doubt`."""
    chance, count, mass = 1.0, 0, (1 - alpha) ** runs
    while (chance := chance - mass) > doubt:
        mass *= (runs - count) / (count + 1) * alpha / (1 - alpha)
        count += 1
    return count


# What intervals add up to.


@given(st.lists(samples(most=30), max_size=40), st.integers(0, 40), st.booleans(), st.sampled_from([None, 0, 7]))
def test_judging_a_copy_with_the_newest_intervals_on_top_is_judging_all_of_them(
    intervals: list[Sample], settled: int, bake_over: bool, alone: int | None
) -> None:
    tally = Tally(Settings(ceiling=0.5))
    flags = [None if alone is None else left <= alone for left in range(len(intervals), 0, -1)]
    for sample, by_itself in zip(intervals[:settled], flags, strict=False):
        tally.take(sample, by_itself)
    before = tally.verdict(bake_over=bake_over)
    newest = tally.copy()
    for sample, by_itself in zip(intervals[settled:], flags[settled:], strict=True):
        newest.take(sample, by_itself)
    assert newest.verdict(bake_over=bake_over) == judge(intervals, bake_over=bake_over, alone=alone, ceiling=0.5)
    assert tally.verdict(bake_over=bake_over) == before  # the copy goes on by itself


@pytest.mark.parametrize(
    "kinds",
    [
        [Sample(300, 1, 100, 1), Sample(150, 0, 60, 0)],
        [Sample(0, 0, 100, 1)],
        [Sample(0, 0, 0, 0)],
        [Sample(1, 0, 0, 0), *[Sample(0, 0, 0, 0)] * 50, Sample(0, 0, 1, 0)],
    ],
    ids=["busy", "canary only", "silent", "few"],
)
def test_what_a_tally_keeps_does_not_grow_with_the_intervals(kinds: list[Sample]) -> None:
    tally = Tally(Settings())
    sizes = []
    for _ in range(3):
        tally.take_all([kinds[n % len(kinds)] for n in range(2_500)], alone=0)
        sizes.append(len(pickle.dumps(tally)))
    assert sizes[2] < 1.05 * sizes[1] + 100


# A sample is possible counts and nothing else.


@pytest.mark.parametrize("counts", [(10, 11, 5, 0), (10, 0, 5, 6), (-1, 0, 5, 0), (10, -1, 5, 0)])
def test_a_sample_refuses_impossible_counts(counts: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="0 <= errors <= requests"):
        Sample(*counts)


@pytest.mark.parametrize("count", [1.0, "1", None, True])
def test_a_sample_refuses_what_is_no_whole_number(count: object) -> None:
    with pytest.raises(ValueError, match="whole numbers"):
        Sample(10, count, 5, 0)  # type: ignore[arg-type]


def test_a_sample_does_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        Sample(1, 0, 1, 0).canary_errors = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    "setting",
    [
        {"alpha": 1},
        {"alpha": 0.0},
        {"power": 95},
        {"detectable_increase": 0.0},
        {"ignored_increase": -0.1},
        {"ceiling": 5.0},
    ],
)
def test_a_setting_that_is_no_fraction_is_refused_by_name(setting: dict[str, float]) -> None:
    with pytest.raises(ParametersError, match=next(iter(setting))):
        judge(HEALTHY, **setting)


# Nothing comes from nothing.


@pytest.mark.parametrize("bake_over", [False, True])
@pytest.mark.parametrize(
    "intervals",
    [
        [],
        [Sample(0, 0, 0, 0)] * 30,
        [Sample(1000, 1, 0, 0)] * 30,
        [Sample(1000, 1000, 0, 0)] * 30,
    ],
    ids=["no interval", "no request", "stable only", "stable only, broken"],
)
def test_without_canary_requests_it_neither_passes_nor_fails(intervals: list[Sample], bake_over: bool) -> None:
    assert judge(intervals, bake_over=bake_over).outcome == "INCONCLUSIVE"


def test_without_stable_requests_it_neither_passes_nor_fails() -> None:
    for errors in (0, 500, 1000):
        assert judge([Sample(0, 0, 1000, errors)] * 30, bake_over=True).outcome == "INCONCLUSIVE"


# Silence. A lost series must not look like health, and weight 100 or little traffic not like a lost series.


@pytest.mark.parametrize("silent", [1, 2, 20, 200])
@pytest.mark.parametrize("newest", [Sample(400, 0, 0, 0), Sample(0, 0, 0, 0)], ids=["canary", "both"])
def test_a_canary_that_has_fallen_silent_is_no_pass(newest: Sample, silent: int) -> None:
    assert judge(LONG_HEALTHY, bake_over=True).outcome == "PASS"
    verdict = judge([*LONG_HEALTHY, *[newest] * silent], bake_over=True)
    assert verdict.outcome == "INCONCLUSIVE"
    what = "no request to the canary" if newest.stable_requests else "nothing"
    before = f" and the {silent - 1} before it" if silent > 1 else ""
    assert verdict.reason.endswith(f"; {what} was seen in the newest interval{before}")


@pytest.mark.parametrize("silent", [1, 2, 20, 200])
@pytest.mark.parametrize("canary", [80, 100, 130])
def test_a_stable_that_has_fallen_silent_beside_the_canary_is_no_pass(canary: int, silent: int) -> None:
    verdict = judge([*LONG_HEALTHY, *[Sample(0, 0, canary, 0)] * silent], bake_over=True)
    assert (verdict.outcome, "no request to stable" in verdict.reason) == ("INCONCLUSIVE", True)


@pytest.mark.parametrize("weight", [1, 10, 25, 50, 75, 90])
def test_a_canary_that_took_over_stables_requests_passes_without_any_to_stable(weight: int) -> None:
    before = [Sample(1000 - 10 * weight, 0, 10 * weight, 0)] * 150
    assert judge([*before, *[Sample(0, 0, 1000, 0)] * 20], bake_over=True).outcome == "PASS"
    assert judge([*before, *[Sample(0, 0, 10 * weight, 0)] * 20], bake_over=True).outcome == "INCONCLUSIVE"


def test_empty_intervals_are_no_silence_where_traffic_is_low() -> None:
    """One request a second, looked at every second: stable has none in half the looks, the canary in three of four."""
    pattern = [Sample(0, 0, 0, 0), Sample(1, 0, 0, 0), Sample(2, 0, 1, 0), Sample(0, 0, 1, 0), Sample(0, 0, 0, 0)]
    for ends_with in range(5):
        verdict = judge([*pattern * 1200, *pattern[:ends_with]], detectable_increase=0.05, bake_over=True)
        assert (verdict.outcome, "while stable got no traffic" in verdict.reason) == ("PASS", False)


def test_the_pause_of_a_version_that_is_seldom_called_is_no_silence() -> None:
    """A request in 50 intervals: 150 without one are three missed, and would be ten by the newest ten alone."""
    seldom = [*[Sample(20, 0, 0, 0)] * 49, Sample(20, 0, 1, 0)] * 20
    assert "was seen in the newest" not in judge([*seldom, *[Sample(20, 0, 0, 0)] * 150], bake_over=True).reason
    assert "was seen in the newest" in judge([*seldom, *[Sample(20, 0, 0, 0)] * 500], bake_over=True).reason


def test_a_version_that_stays_away_is_missed_where_traffic_is_low_too() -> None:
    pattern = [Sample(0, 0, 0, 0), Sample(1, 0, 0, 0), Sample(2, 0, 1, 0), Sample(0, 0, 1, 0), Sample(0, 0, 0, 0)]
    for newest, words in (([Sample(1, 0, 0, 0)] * 60, "no request to the canary"),
                          ([Sample(0, 0, 1, 0), *pattern[:1] * 2] * 20, "no request to stable")):  # fmt: skip
        assert words in judge([*pattern * 1200, *newest], detectable_increase=0.05, bake_over=True).reason


def test_a_single_stray_request_to_stable_does_not_undo_full_weight() -> None:
    alone = [Sample(0, 0, 400, 0)] * 20
    assert judge([*LONG_HEALTHY, *alone, Sample(1, 0, 399, 0), *alone], bake_over=True).outcome == "PASS"


def test_full_weight_without_data_of_its_own_is_no_pass() -> None:
    assert judge([*LONG_HEALTHY, Sample(0, 0, 10, 0)], bake_over=True).outcome == "INCONCLUSIVE"


# FAIL.


def test_a_broken_canary_fails_at_the_first_interval() -> None:
    assert judge([Sample(150, 0, 50, 25)]).outcome == "FAIL"


def test_a_fail_does_not_wait_for_the_bake() -> None:
    for bake_over in (False, True):
        assert judge([*LONG_HEALTHY, Sample(300, 0, 100, 40)], bake_over=bake_over).outcome == "FAIL"


def test_a_better_canary_never_fails() -> None:
    assert judge([Sample(3000, 1500, 1000, 0)] * 20).outcome != "FAIL"


@given(st.lists(samples(), max_size=8))
@settings(max_examples=150)
def test_a_canary_seen_no_worse_is_never_evidence(intervals: list[Sample]) -> None:
    """Where the canary's rate is no higher in any interval, evidence never exceeds 1, by the rule's convexity."""
    no_worse = [
        Sample(s.stable_requests, s.stable_errors, s.canary_requests, min(s.canary_errors, fair))
        for s in intervals
        if s.stable_requests
        for fair in [s.stable_errors * s.canary_requests // s.stable_requests]
    ]
    assert judge(no_worse).evidence <= 1 + 1e-9


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.5, 0.9, 1.0])
def test_a_shared_outage_is_no_evidence(rate: float) -> None:
    outage = Sample(900, int(900 * rate), 300, int(300 * rate))
    verdict = judge([outage] * 60, bake_over=True)
    assert verdict.outcome != "FAIL"
    assert verdict.evidence <= 1


def test_a_total_outage_leaves_the_evidence_where_it_was() -> None:
    before = [Sample(300, 0, 100, 2), Sample(300, 1, 100, 1)]
    total = [Sample(300, 300, 100, 100)] * 50
    assert judge(before + total).log_evidence == pytest.approx(judge(before).log_evidence)


def test_a_regression_shows_in_spite_of_an_outage_before_it() -> None:
    outage = [Sample(150, 75, 50, 25)] * 6
    assert judge([*HEALTHY, *outage, *[Sample(150, 0, 50, 10)] * 6]).outcome == "FAIL"


def test_a_regression_shows_where_both_err_often() -> None:
    assert judge([Sample(750, 375, 250, 175)] * 4).outcome == "FAIL"
    assert judge([Sample(750, 675, 250, 245)] * 4).outcome == "FAIL"


def test_an_increase_that_is_ignored_does_not_fail() -> None:
    intervals = [Sample(30000, 30, 10000, 60)]
    assert judge(intervals).outcome == "FAIL"
    verdict = judge(intervals, ignored_increase=0.01, bake_over=True)
    assert (verdict.outcome, "ignored" in verdict.reason) == ("PASS", True)


def test_what_is_ignored_need_not_have_shown() -> None:
    few = [Sample(1200, 1, 400, 0)]
    assert judge(few, bake_over=True).outcome == "INCONCLUSIVE"
    assert judge(few, ignored_increase=0.05, bake_over=True).outcome == "PASS"


def test_an_increase_of_just_what_is_ignored_fails() -> None:
    assert judge([Sample(3000, 30, 1000, 110)], ignored_increase=0.1).outcome == "FAIL"


def test_weights_that_move_with_the_errors_do_not_mislead() -> None:
    """Pooled over the steps the canary looks seven times worse; within each step there is no difference."""
    steps = [Sample(9000, 9, 1000, 1)] * 3 + [Sample(1000, 100, 9000, 900)] * 3
    verdict = judge(steps)
    assert (verdict.canary_rate or 0) > 7 * (verdict.stable_rate or 1)
    assert verdict.increase == pytest.approx(0, abs=1e-4)
    assert verdict.outcome != "FAIL"


@given(st.lists(samples(300), min_size=1, max_size=6), st.data())
@settings(max_examples=150)
def test_more_canary_errors_never_weaken_the_evidence(intervals: list[Sample], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(intervals) - 1))
    s = intervals[at]
    if s.canary_errors == s.canary_requests:
        return
    one_more = Sample(s.stable_requests, s.stable_errors, s.canary_requests, s.canary_errors + 1)
    worse = [*intervals[:at], one_more, *intervals[at + 1 :]]
    good, bad = judge(intervals, bake_over=True), judge(worse, bake_over=True)
    assert bad.log_evidence >= good.log_evidence - 1e-9
    order = ["PASS", "INCONCLUSIVE", "FAIL"]
    assert order.index(bad.outcome) >= order.index(good.outcome)


# A regression that begins late. Nothing random: every interval has the errors it should have.


def every(seconds: int, rate: float, requests: int) -> list[int]:
    """Return the errors of each ten seconds, evenly spread, the first one late."""
    sums = [int((n + 0.5) * rate * requests) for n in range(seconds // 10 + 1)]
    return [after - before for before, after in pairwise(sums)]


def together(seconds: int, stable: float, canary: float) -> list[Sample]:
    """Return 20 requests a second, a quarter of them to the canary."""
    pairs = zip(every(seconds, stable, 150), every(seconds, canary, 50), strict=True)
    return [Sample(150, y, 50, x) for y, x in pairs]


def alone(seconds: int, canary: float) -> list[Sample]:
    return [Sample(0, 0, 200, x) for x in every(seconds, canary, 200)]


def seconds_to_fail(before: list[Sample], after: list[Sample]) -> float:
    curve = evidence_curve(before + after, alpha=ALPHA)
    return next((10.0 * n for n, e in enumerate(curve[len(before) :], 1) if e >= BAR), math.inf)


def test_a_late_regression_shows_nearly_as_soon_as_an_early_one() -> None:
    bad = together(1200, 0.001, 0.01)
    at_once = seconds_to_fail([], bad)
    assert at_once <= 140
    for healthy, most in ((300, 240), (1800, 320), (7200, 380)):  # one product from the start on: 220, 380, 700
        assert at_once <= seconds_to_fail(together(healthy, 0.001, 0.001), bad) <= most


def test_a_late_regression_shows_at_full_weight_too() -> None:
    healthy = [*together(600, 0.001, 0.001), *alone(1200, 0.001)]
    assert judge(healthy, bake_over=True).outcome == "PASS"
    assert seconds_to_fail(healthy, alone(600, 0.02)) <= 400
    assert judge(healthy + alone(600, 0.02), bake_over=True).outcome == "FAIL"


def test_a_late_breach_of_the_ceiling_shows_too() -> None:
    healthy = together(3600, 0.001, 0.001)
    both = together(300, 0.1, 0.1)
    assert judge(healthy + both).outcome != "FAIL"
    assert judge(healthy + both, ceiling=0.05).outcome == "FAIL"


def test_what_is_ignored_is_held_against_the_increase_of_late() -> None:
    """After an hour of health ten minutes of 5 % more are less than half a point more over the whole bake."""
    healthy, worse = together(3600, 0.001, 0.001), together(300, 0.001, 0.05)
    verdict = judge(healthy + worse, ignored_increase=0.02)
    assert (verdict.outcome, (verdict.increase or 0) < 0.005) == ("FAIL", True)
    assert judge(healthy + together(1800, 0.001, 0.012), ignored_increase=0.02).outcome != "FAIL"


def test_a_regression_after_half_an_hour_of_health_is_caught_in_minutes() -> None:
    """0.93 of runs within eight minutes; 200 of such a rule fall below 166 less than once in a million seeds."""
    rng, onset = np.random.default_rng(17), np.repeat([0.001, 0.01], [180, 48])
    runs = (drawn(rng, np.full(228, 0.001), onset, 200, np.full(228, 0.25)) for _ in range(200))
    assert sum(map(ever_fails, runs)) >= 166


def test_late_errors_are_more_evidence_than_the_same_errors_early() -> None:
    healthy, bad = together(600, 0.001, 0.001), together(60, 0.001, 0.05)
    assert judge(healthy + bad).evidence > 2 * judge(bad + healthy).evidence


# How intervals are cut.


@given(st.lists(samples(), min_size=1, max_size=8), st.randoms(use_true_random=False))
@settings(max_examples=100)
def test_in_no_order_is_the_evidence_below_what_was_laid_first(intervals: list[Sample], rng: random.Random) -> None:
    both = [s for s in intervals if s.stable_requests and s.canary_requests]
    tables = [evidence._log_ratios(*evidence.draws_of(*s.counts)) for s in both]
    least = math.log(0.98 * AT_FIRST) + (
        evidence._mixed([sum(r) for r in zip(*tables, strict=True)]) if tables else 0.0
    )
    for _ in range(3):
        rng.shuffle(both)
        assert judge(both).log_evidence >= min(least, math.log(1e249)) - 1e-6


@given(
    st.integers(1, 60),
    st.integers(1, 60),
    st.lists(st.tuples(st.integers(1, 30), st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=8),
)
@settings(max_examples=200)
def test_intervals_of_one_share_lose_no_more_than_what_is_laid_later(
    stable: int, canary: int, pieces: list[tuple[int, float, float]]
) -> None:
    """While errors are the smallest margin: each version's are at most a third of the fewer requests."""
    fewer = min(stable, canary)
    cut = [Sample(n * stable, int(n * fewer / 3 * a), n * canary, int(n * fewer / 3 * b)) for n, a, b in pieces]
    whole = [sum(cut, Sample(0, 0, 0, 0))]
    assert judge(cut).log_evidence >= judge(whole).log_evidence + math.log(AT_FIRST) - 1e-6
    assert judge(cut, bake_over=True).requests_needed == judge(whole, bake_over=True).requests_needed


@given(samples(200), st.integers(2, 30))
@settings(max_examples=100)
def test_equal_parts_lose_no_more_than_what_is_laid_later_at_any_rate(part: Sample, parts: int) -> None:
    whole = sum([part] * parts, Sample(0, 0, 0, 0))
    assert judge([part] * parts).log_evidence >= judge([whole]).log_evidence + math.log(AT_FIRST) - 1e-6


def test_intervals_without_a_request_or_an_error_leave_the_evidence_as_it_was() -> None:
    seen = [*HEALTHY, Sample(300, 1, 100, 3)]
    for quiet in (Sample(0, 0, 0, 0), Sample(300, 0, 100, 0), Sample(50, 7, 0, 0)):
        assert judge([*seen, quiet]).log_evidence == pytest.approx(judge(seen).log_evidence)
    nothing_to_compare = [Sample(0, 0, 0, 0), Sample(50, 7, 0, 0)]
    assert judge([*nothing_to_compare, *seen]).log_evidence == pytest.approx(judge(seen).log_evidence)


# That the evidence is an e-value, exactly: a sum over every table of small margins.


@pytest.mark.parametrize("stable", range(1, 8))
@pytest.mark.parametrize("canary", range(1, 8))
def test_evidence_averages_to_no_more_than_one_over_all_tables_of_equal_versions(stable: int, canary: int) -> None:
    for errors in range(stable + canary + 1):
        tables = [
            (math.comb(canary, x) * math.comb(stable, errors - x), Sample(stable, errors - x, canary, x))
            for x in range(max(0, errors - stable), min(canary, errors) + 1)
        ]
        ways = sum(count for count, _ in tables)
        mean = sum(count * judge([sample]).evidence for count, sample in tables) / ways
        assert ways == math.comb(stable + canary, errors)
        assert mean <= 1


@pytest.mark.parametrize(("stable", "canary"), [(3, 1), (2, 2), (1, 3), (4, 3)])
def test_evidence_averages_to_no_more_than_one_over_two_intervals_of_equal_versions(stable: int, canary: int) -> None:
    tables = [Sample(stable, y, canary, x) for y in range(stable + 1) for x in range(canary + 1)]
    for rate in (0.05, 0.5, 0.8):
        chance = {s: chance_of(s, rate) for s in tables}
        mean = sum(chance[a] * chance[b] * judge([a, b]).evidence for a in tables for b in tables)
        assert sum(chance.values()) == pytest.approx(1)
        assert mean <= 1


@pytest.mark.parametrize("requests", [1, 3, 12])
def test_evidence_against_a_canary_alone_averages_to_no_more_than_before_at_the_rate_allowed(requests: int) -> None:
    """Stable showed 10 % in so many requests that 11 % is what is allowed."""
    before = [Sample(3 * 10**6, 3 * 10**5, 10, 1)]
    looks = [Sample(0, 0, requests, x) for x in range(requests + 1)]
    chance = [math.comb(requests, s.canary_errors) * 0.11**s.canary_errors * 0.89 ** (requests - s.canary_errors)
              for s in looks]  # fmt: skip
    mean = sum(
        p * q * judge([*before, a, b], alone=2).evidence
        for p, a in zip(chance, looks, strict=True)
        for q, b in zip(chance, looks, strict=True)
    )
    assert judge([*before, looks[-1]], alone=1).evidence > judge(before).evidence
    assert mean <= judge(before).evidence * (1 + 1e-9)


def chance_of(sample: Sample, rate: float) -> float:
    n1, y, n2, x = sample.counts
    return math.comb(n1, y) * math.comb(n2, x) * rate ** (x + y) * (1 - rate) ** (n1 + n2 - x - y)


# False alarms, however often one looks. Each simulation has a fixed seed; the limit would turn a rule that
# just keeps alpha away less than once in a million seeds.


@pytest.mark.parametrize(
    ("rate", "weight", "requests"), [(0.001, 0.25, 200), (0.02, 0.05, 200), (0.5, 0.5, 20), (0.05, 0.25, 8)]
)
def test_a_healthy_canary_fails_no_more_often_than_alpha(rate: float, weight: float, requests: int) -> None:
    rng, runs, flat = np.random.default_rng(11), 500, np.ones(60)
    alarms = sum(ever_fails(drawn(rng, flat * rate, flat * rate, requests, flat * weight)) for _ in range(runs))
    assert alarms <= most_false_alarms(runs, ALPHA)


def test_outages_and_moving_weights_raise_no_false_alarm() -> None:
    rng, runs = np.random.default_rng(12), 400
    weights = np.repeat([0.05, 0.25, 0.5, 0.75], 15)
    rates = rng.choice([0.001, 0.02, 0.3, 0.95, 1.0], p=[0.6, 0.2, 0.1, 0.05, 0.05], size=(runs, 60))
    alarms = sum(ever_fails(drawn(rng, rate, rate, 120, weights)) for rate in rates)
    assert alarms <= most_false_alarms(runs, ALPHA)


@pytest.mark.parametrize(("rate", "requests"), [(0.02, 40), (0.05, 20), (0.3, 30)])
def test_full_weight_after_few_stable_requests_raises_no_false_alarm(rate: float, requests: int) -> None:
    """Stable's few requests may show far too low a rate: the limit then leaves that open."""
    rng, runs, flat = np.random.default_rng(13), 200, np.full(50, rate)
    weights = np.repeat([0.25, 1.0], [5, 45])
    alarms = sum(ever_fails(drawn(rng, flat, flat, requests, weights)) for _ in range(runs))
    assert alarms <= most_false_alarms(runs, ALPHA)


@pytest.mark.soak
@pytest.mark.parametrize("rate", [0.0005, 0.001, 0.005, 0.015, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("weight", [0.01, 0.05, 0.25, 0.5, 0.9])
def test_a_healthy_canary_fails_no_more_often_than_alpha_in_an_hour(rate: float, weight: float) -> None:
    rng, runs, flat = np.random.default_rng(14), 1000, np.ones(360)
    alarms = sum(ever_fails(drawn(rng, flat * rate, flat * rate, 200, flat * weight)) for _ in range(runs))
    print(f"rate {rate}, weight {weight}: {alarms}/{runs}")
    assert alarms <= most_false_alarms(runs, ALPHA)


def test_the_limit_on_false_alarms_is_the_binomials() -> None:
    limit = most_false_alarms(500, 0.01)
    tail = 1 - sum(math.comb(500, k) * 0.01**k * 0.99 ** (500 - k) for k in range(limit + 1))
    over = 1 - sum(math.comb(500, k) * 0.01**k * 0.99 ** (500 - k) for k in range(limit))
    assert tail <= 1e-6 < over


# PASS.


def test_enough_healthy_requests_pass_only_once_the_bake_is_over() -> None:
    assert judge(LONG_HEALTHY, bake_over=True).outcome == "PASS"
    assert judge(LONG_HEALTHY, bake_over=False).outcome == "INCONCLUSIVE"


def test_too_few_requests_are_inconclusive_and_the_missing_ones_are_counted() -> None:
    verdict = judge(HEALTHY, bake_over=True)
    assert verdict.outcome == "INCONCLUSIVE"
    assert verdict.requests_needed
    more = math.ceil(verdict.requests_needed / 100)
    assert f"{verdict.requests_needed:,} more canary requests" in verdict.reason
    assert judge([*HEALTHY, *[Sample(300, 0, 100, 0)] * more], bake_over=True).outcome == "PASS"


@pytest.mark.parametrize(
    ("stable", "increase", "share"),
    [
        (0.0, 0.01, 0.25),
        (0.001, 0.01, 0.25),
        (0.001, 0.01, 0.05),
        (0.01, 0.02, 0.25),
        (0.2, 0.05, 0.25),
        (0.5, 0.1, 0.5),
    ],
)
def test_what_would_have_shown_does_show_with_the_power_stated(stable: float, increase: float, share: float) -> None:
    """0.95 asked for; 300 runs of a rule with 0.95 fall below 262 less than once in a million seeds."""
    needed = requests_to_show(stable, increase, share)
    assert needed
    looks, rng, flat = 20, np.random.default_rng(21), np.ones(20)
    per_look = math.ceil(needed / share / looks)
    runs = (drawn(rng, flat * stable, flat * (stable + increase), per_look, flat * share) for _ in range(300))
    assert sum(map(ever_fails, runs)) >= 262


def test_a_longer_search_for_a_smaller_increase() -> None:
    needed = [requests_to_show(0.001, increase, 0.25) or 0 for increase in (0.05, 0.02, 0.01, 0.005, 0.001)]
    assert needed == sorted(needed)


def test_no_number_of_requests_shows_more_than_everything() -> None:
    assert requests_to_show(1.0, 0.01, 0.25) is None
    assert requests_to_show(0.001, 0.01, 0.0) is None
    assert judge([Sample(300, 300, 100, 100)], bake_over=True).requests_needed is None


# The canary alone.


def test_at_full_weight_the_canary_is_held_against_what_stable_showed() -> None:
    assert judge([*LONG_HEALTHY, *[Sample(0, 0, 400, 40)] * 2]).outcome == "FAIL"
    assert judge([*LONG_HEALTHY, *[Sample(0, 0, 400, 0)] * 20], bake_over=True).outcome == "PASS"


def test_at_full_weight_up_to_the_detectable_increase_is_no_evidence() -> None:
    """Stable showed 0.1 %, so 1.1 % may be."""
    just = [Sample(0, 0, 1000, 11)] * 40
    assert judge(LONG_HEALTHY + just).outcome != "FAIL"
    assert judge(LONG_HEALTHY + [Sample(0, 0, 1000, 30)] * 3).outcome == "FAIL"


def test_at_full_weight_a_pass_needs_requests_seen_there() -> None:
    verdicts = [judge([*LONG_HEALTHY, *[Sample(0, 0, 400, 0)] * n], bake_over=True) for n in (2, 6, 20)]
    assert [v.outcome for v in verdicts] == ["INCONCLUSIVE", "INCONCLUSIVE", "PASS"]
    needed = [v.requests_needed or 0 for v in verdicts]
    assert needed[0] - needed[1] == pytest.approx(1600, abs=2)


def test_what_stable_showed_before_the_first_step_counts_too() -> None:
    baseline = [Sample(3000, 3, 0, 0)]
    assert judge([*baseline, *[Sample(0, 0, 400, 40)] * 2]).outcome == "FAIL"
    assert judge([*baseline, *[Sample(0, 0, 400, 0)] * 20], bake_over=True).outcome == "PASS"


@pytest.mark.parametrize("weight", [90, 95, 99])
@pytest.mark.parametrize("rps", [20, 100])
@pytest.mark.parametrize("times", [15, pytest.param(60, marks=pytest.mark.soak)])
def test_a_shared_outage_just_after_a_step_that_leaves_stable_little_is_no_evidence(
    times: int, rps: int, weight: int
) -> None:
    """A second or two without a request to stable are no silence; whoever knows the weight can say so outright."""
    rng, failed = np.random.default_rng(weight * rps), 0
    healthy, out = np.full(60, 0.001), np.r_[np.full(3, 0.001), np.full(60, 0.5)]
    for _ in range(times):
        before = drawn(rng, healthy, healthy, rps, np.full(60, 0.25))
        after = drawn(rng, out, out, rps, np.full(63, weight / 100))
        outcomes = {judge([*before, *after[:n]]).outcome for n in range(1, 64, 3)}
        failed += "FAIL" in outcomes
        assert "FAIL" not in {judge([*before, *after[:n]], alone=0).outcome for n in range(1, 64, 3)}
    assert failed <= most_false_alarms(times, 0.01 if weight < 99 else 0.05)


def test_versions_that_were_never_there_together_cannot_be_compared() -> None:
    verdict = judge([Sample(0, 0, 900, 0), Sample(1, 0, 0, 0)], bake_over=True)
    assert (verdict.outcome, verdict.requests_needed) == ("INCONCLUSIVE", None)


def test_whoever_knows_the_weights_need_not_wait_until_stable_is_gone() -> None:
    bad = [*LONG_HEALTHY, Sample(0, 0, 20, 12)]
    assert (judge(bad).outcome, judge(bad, alone=1).outcome) == ("INCONCLUSIVE", "FAIL")


def test_a_pass_alone_rules_out_what_it_says_and_that_is_more_than_beside_stable() -> None:
    rng = np.random.default_rng(5)

    def passed(rate: float) -> list[str]:
        bakes = [[Sample(0, 0, 400, x) for x in rng.binomial(400, rate, 20).tolist()] for _ in range(60)]
        verdicts = [judge([*LONG_HEALTHY, *alone], bake_over=True) for alone in bakes]
        return [verdict.reason for verdict in verdicts if verdict.outcome == "PASS"]

    assert len(passed(0.0003 + 0.02)) <= most_false_alarms(60, 0.05)
    assert [reason.rpartition("; ")[2] for reason in passed(0.0003)] == [
        "an increase of 2 percentage points would have been detected"
    ] * 60
    assert judge(LONG_HEALTHY, bake_over=True).reason.endswith(
        "; an increase of 1 percentage point would have been detected"
    )


def test_evidence_gathered_together_is_carried_on_to_full_weight() -> None:
    suspicious = [*HEALTHY, Sample(300, 0, 100, 5)]
    alone = [Sample(0, 0, 700, 17)]
    assert 10 < judge(suspicious).evidence < 100
    assert judge(suspicious + alone).outcome == "FAIL"
    assert judge(HEALTHY + alone).outcome == "INCONCLUSIVE"


# The ceiling.


def test_above_the_ceiling_it_fails_even_beside_a_stable_as_bad() -> None:
    bad = [Sample(900, 90, 300, 30)] * 3
    assert judge(bad).outcome != "FAIL"
    assert judge(bad, ceiling=0.02).outcome == "FAIL"


def test_above_the_ceiling_it_fails_without_any_stable() -> None:
    verdict = judge([Sample(0, 0, 1000, 100)], ceiling=0.02)
    assert (verdict.outcome, "ceiling 2.0 %" in verdict.reason) == ("FAIL", True)


def test_below_the_ceiling_nothing_changes() -> None:
    assert judge(LONG_HEALTHY, ceiling=0.02, bake_over=True).outcome == "PASS"
    assert judge([Sample(0, 0, 1000, 0)], ceiling=0.02, bake_over=True).outcome == "INCONCLUSIVE"


# Several metrics.


def test_one_failing_metric_fails_all() -> None:
    found = judge_all({"errors": LONG_HEALTHY, "slow": [Sample(300, 0, 100, 40)]}, bake_over=True)
    assert found.outcome == "FAIL"
    assert found.reason.startswith("slow: canary answered 40 of 100 requests counted as slow")


def test_all_metrics_must_pass_for_a_pass() -> None:
    assert judge_all({"errors": LONG_HEALTHY, "slow": HEALTHY}, bake_over=True).outcome == "INCONCLUSIVE"
    assert judge_all({"errors": LONG_HEALTHY, "slow": LONG_HEALTHY}, bake_over=True).outcome == "PASS"


def test_alpha_is_shared_between_the_metrics_that_decide() -> None:
    metrics = {"errors": HEALTHY, "slow": HEALTHY, "heavy": HEALTHY}
    assert judge_all(metrics).verdicts["errors"].threshold == pytest.approx(300)
    assert judge_all(metrics, muted={"heavy"}).verdicts["errors"].threshold == pytest.approx(200)


def test_a_muted_metric_is_shown_and_decides_nothing() -> None:
    found = judge_all({"errors": LONG_HEALTHY, "slow": [Sample(300, 0, 100, 40)]}, muted={"slow"}, bake_over=True)
    assert (found.outcome, found.verdicts["slow"].outcome, found.muted) == ("PASS", "FAIL", {"slow"})


def test_nothing_to_decide_by_is_inconclusive() -> None:
    assert judge_all({}, bake_over=True).outcome == "INCONCLUSIVE"
    assert judge_all({"errors": LONG_HEALTHY}, muted={"errors"}, bake_over=True).outcome == "INCONCLUSIVE"


def test_where_every_metric_is_muted_the_reason_says_so() -> None:
    assert judge_all({"errors": LONG_HEALTHY}, muted={"errors"}).reason == (
        "every metric is muted, so none can fail or pass"
    )


def test_the_share_of_alpha_is_what_each_deciding_metric_is_judged_by() -> None:
    metrics = {"errors": HEALTHY, "slow": HEALTHY, "heavy": HEALTHY}
    for muted in ((), ("heavy",), ("heavy", "slow")):
        share = share_of_alpha(0.01, metrics, muted)
        assert judge_all(metrics, muted=muted).verdicts["errors"].threshold == pytest.approx(1 / share)


def test_a_metric_nobody_has_is_refused_by_name() -> None:
    with pytest.raises(ParametersError, match="eror"):
        judge_all({"errors": HEALTHY}, muted={"eror"})
    with pytest.raises(ParametersError, match="slwo"):
        judge_all({"errors": HEALTHY}, ceilings={"slwo": 0.1})


def test_each_metric_may_have_its_ceiling() -> None:
    bad = [Sample(900, 90, 300, 30)] * 3
    assert judge_all({"errors": LONG_HEALTHY, "slow": bad}, ceilings={"slow": 0.02}).outcome == "FAIL"


# The words, and the cost.


def test_the_reason_gives_the_figures_in_plain_words() -> None:
    assert judge([Sample(3611, 12, 1203, 17)]).reason == (
        "canary answered 17 of 1,203 requests with an error (1.4 %), stable 12 of 3,611 (0.3 %): "
        f"evidence {float(f'{judge([Sample(3611, 12, 1203, 17)]).evidence:.2g}'):,.0f} to 1, a FAIL needs 100 to 1"
    )


def test_an_inconclusive_reason_says_what_is_missing() -> None:
    assert judge(LONG_HEALTHY).reason.endswith("; the bake is not over")
    assert judge([]).reason.endswith("; no request to the canary was seen")
    assert "stable answered no request" in judge([Sample(0, 0, 9, 1)]).reason


def test_the_verdict_carries_the_counts_it_can_be_recomputed_from() -> None:
    verdict = judge([Sample(300, 3, 100, 2), Sample(0, 0, 50, 1)])
    assert verdict.seen == Sample(300, 3, 150, 3)
    assert (verdict.stable_rate, verdict.canary_rate, verdict.threshold) == (0.01, 0.02, 100)


@given(st.lists(st.one_of(samples(), st.builds(Sample, st.just(0), st.just(0), st.just(900), st.integers(0, 90))),
                max_size=12))  # fmt: skip
@settings(max_examples=60)
def test_the_curve_is_what_each_look_would_have_said(intervals: list[Sample]) -> None:
    looks = [judge(intervals[: n + 1]).log_evidence for n in range(len(intervals))]
    assert evidence_curve(intervals) == looks


def test_the_curve_shows_the_ceiling_where_that_is_more() -> None:
    bad = [Sample(900, 90, 300, 30)] * 3
    assert evidence_curve(bad, ceiling=0.02)[-1] == judge(bad, ceiling=0.02).log_evidence > evidence_curve(bad)[-1]


def test_ten_hours_of_ten_seconds_are_judged_and_drawn_in_a_blink() -> None:
    rng, flat = np.random.default_rng(3), np.ones(3600)
    hours = drawn(rng, flat * 0.01, flat * 0.01, 200, flat * 0.25)

    def once(look: Callable[[], object]) -> float:
        start = time.process_time()
        look()
        return time.process_time() - start

    assert min(once(lambda: judge(hours, bake_over=True)) for _ in range(3)) < 0.2
    assert min(once(lambda: evidence_curve(hours)) for _ in range(3)) < 0.2
