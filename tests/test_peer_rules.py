"""What peers are known to get wrong, each by name (facts/peers.md A.5, A.6), and what we say instead."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from runbook_lib.verdict import Sample, judge

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
import bench_verdict as bench  # (a script, not a package)

MINUTE = 300  # requests to the canary; three times as many to stable


def minutes(canary_errors: list[int], stable_errors: list[int], requests: int = MINUTE) -> list[Sample]:
    pairs = zip(canary_errors, stable_errors, strict=True)
    return [Sample(3 * requests, stable, requests, canary) for canary, stable in pairs]


# The AWS App Mesh sample (A.5). Defects 1, 4, 5 and 7 are about the route and the run, and tested there.


def test_aws_sample_defect_2_no_metric_data_is_not_healthy() -> None:
    nothing = [Sample(0, 0, 0, 0)] * 30
    assert bench.aws_sample(0)(nothing) is None
    assert judge(nothing, bake_over=True).outcome == "INCONCLUSIVE"


def test_aws_sample_defect_3_one_error_among_thousands_is_no_reason_to_roll_back() -> None:
    bake = minutes([0] * 9 + [1] + [0] * 10, [0, 1] * 10)
    assert bench.aws_sample(0)(bake) == 10
    assert bench.ours(bake) is None
    assert judge(bake, bake_over=True).outcome == "PASS"


def test_aws_sample_defect_6_at_full_weight_the_canary_is_still_judged() -> None:
    before = minutes([0] * 10, [1] * 10)
    assert judge(before, bake_over=True).outcome == "PASS"
    assert judge([*before, Sample(0, 0, 1200, 120)]).outcome == "FAIL"
    assert judge([*before, Sample(0, 0, 12, 0)], bake_over=True).outcome == "INCONCLUSIVE"


# Kayenta (A.6).


def test_kayentas_interval_is_its_own_tests_published_one() -> None:
    low, estimate, high = bench.mann_whitney([10, 20, 30, 40], [1, 2, 3, 4], 0.95)
    assert (low, high) == pytest.approx((6, 39), abs=1e-4)
    assert 6 < estimate < 39


def test_kayenta_miss_780_seven_bad_minutes_of_ten_fail() -> None:
    canary, stable = [100] * 7 + [1] * 3, [1] * 10
    assert not bench.kayenta_high(canary, stable)
    assert judge(minutes(canary, [3 * n for n in stable])).outcome == "FAIL"


def test_kayenta_miss_780_eight_of_ten_fail_as_seven_do() -> None:
    canary, stable = [100] * 8 + [1] * 2, [1] * 10
    assert bench.kayenta_high(canary, stable)
    assert judge(minutes(canary, [3 * n for n in stable])).outcome == "FAIL"


def test_kayenta_miss_426_sparse_errors_beside_none_are_no_pass() -> None:
    """Four errors to none, at equal traffic: 16 to 1 by chance alone, so neither healthy nor proven bad."""
    canary, stable = [0, 1, 2, 1, 0, 0], [0] * 6
    assert not bench.kayenta_high(canary, stable)
    few = [Sample(10, 0, 10, errors) for errors in canary]
    assert judge(few, bake_over=True).outcome == "INCONCLUSIVE"
    assert judge(minutes(canary * 3, stable * 3), bake_over=True).outcome == "FAIL"


def test_kayenta_miss_a_metric_without_data_is_no_perfect_score() -> None:
    assert not bench.kayenta_high([], [])
    assert judge([], bake_over=True).outcome == "INCONCLUSIVE"


def test_kayenta_miss_single_valued_data_is_judged_all_the_same() -> None:
    """Every request of both fails: Kayenta passes equal data, and here nothing could be told either way."""
    assert not bench.kayenta_high([1.0] * 10, [1.0] * 10)
    assert judge(minutes([MINUTE] * 10, [3 * MINUTE] * 10), bake_over=True).outcome == "INCONCLUSIVE"


# On the same traffic.


def test_a_service_that_always_errs_a_little_is_rolled_back_by_thresholds_and_not_by_us() -> None:
    bake = minutes([5, 4, 6, 5] * 7, [14, 13, 15, 13] * 7)
    assert bench.flagger(10)(bake) is not None
    assert bench.cloudwatch_alarm(bake) is not None
    assert bench.ours(bake) is None


def test_one_percent_is_below_argos_threshold_and_not_below_ours() -> None:
    bake = minutes([3] * 30, [1] * 30)
    assert bench.argo(bake) is None
    assert bench.ours(bake) is not None


def test_a_shared_outage_is_rolled_back_by_thresholds_and_not_by_us() -> None:
    bake = minutes([150] * 10, [450] * 10)
    assert [bench.flagger(5)(bake), bench.argo(bake), bench.cloudwatch_alarm(bake)] == [5, 4, 3]
    assert bench.ours(bake) is None
