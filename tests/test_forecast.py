"""What the forecast promises: the verdict's own figures, before any user sees the canary."""

from __future__ import annotations

import math
from statistics import NormalDist

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runbook_lib.errors import GateError, ParametersError
from runbook_lib.verdict import Sample, judge
from runbook_lib.verdict.band import separable, share_band
from runbook_lib.verdict.evidence import requests_to_show
from runbook_lib.verdict.forecast import forecast, require_passable
from runbook_lib.verdict.harm import forecast_harm, gentler_step
from runbook_lib.verdict.load import forecast_load


def requests_for_one_look(
    stable_rate: float,
    canary_rate: float,
    weight: int,
    *,
    alpha: float = 0.01,
    power: float = 0.95,
) -> int:
    """Return the canary requests a plain one-sided test needs that looks only once,
    at a weight of 1-99.

    The classical two-proportion planner (Fleiss, Levin and Paik 2003, 4.2): what
    looking at any time is paid with is the difference to `requests_to_show`.
    """
    per_canary = (100 - weight) / weight  # stable's requests for one of the canary's
    pooled = (per_canary * stable_rate + canary_rate) / (per_canary + 1)
    same = math.sqrt(pooled * (1 - pooled) * (1 + 1 / per_canary))
    apart = math.sqrt(stable_rate * (1 - stable_rate) / per_canary + canary_rate * (1 - canary_rate))
    normal = NormalDist()
    width = normal.inv_cdf(1 - alpha) * same + normal.inv_cdf(power) * apart
    return math.ceil((width / (canary_rate - stable_rate)) ** 2)


# What a bake can show.


@pytest.mark.parametrize(
    ("stable", "canary", "expected"),
    [
        (0.001, 0.002, 30_378),
        (0.001, 0.005, 3_595),
        (0.001, 0.01, 1_259),
        (0.001, 0.02, 525),
        (0.001, 0.05, 185),
        (0.01, 0.02, 2_996),
        (0.01, 0.05, 349),
    ],
)
def test_the_classical_planner_gives_the_published_figures(stable: float, canary: float, expected: int) -> None:
    assert requests_for_one_look(stable, canary, 25) == pytest.approx(expected, abs=1)


@given(
    st.sampled_from([0.001, 0.01, 0.1, 0.4]),
    st.sampled_from([0.005, 0.01, 0.05, 0.2]),
    st.integers(1, 90),
)
@settings(max_examples=60)
def test_looking_at_any_time_is_never_cheaper_than_looking_once(stable: float, increase: float, weight: int) -> None:
    ours = requests_to_show(stable, increase, weight / 100)
    assert (ours is None) == ((stable, increase) == (0.4, 0.005))  # odds nearer to one than any the rule knows
    assert ours is None or ours >= requests_for_one_look(stable, stable + increase, weight)


def test_the_forecast_is_what_the_verdict_asks_for() -> None:
    step = forecast(20, 25, 0.0, 600)
    assert step.requests_to_pass
    n = step.requests_to_pass
    assert judge([Sample(3 * n, 0, n, 0)], bake_over=True).outcome == "PASS"
    assert judge([Sample(3 * n - 6, 0, n - 2, 0)], bake_over=True).outcome == "INCONCLUSIVE"


def test_larger_increases_are_seen_sooner() -> None:
    step = forecast(20, 25, 0.001, 1800)
    minutes = [sight.minutes or math.inf for sight in step.sights]
    assert [sight.increase for sight in step.sights] == [0.005, 0.01, 0.05, 0.5]
    assert minutes == sorted(minutes, reverse=True)
    assert minutes[1] < 6


def test_a_sight_says_how_many_requests_it_costs() -> None:
    sight = forecast(20, 25, 0.001, 1800).sights[1]
    assert sight.canary_requests is not None
    assert sight.minutes == pytest.approx(sight.canary_requests / 300)
    assert sight.harmed_requests == math.ceil(0.01 * sight.canary_requests)


def test_what_is_at_risk_is_the_canarys_share_of_the_bake() -> None:
    assert forecast(20, 25, 0.001, 60).requests_at_risk == 300


def test_the_smallest_increase_is_just_what_the_bake_has_requests_for() -> None:
    step = forecast(20, 25, 0.001, 1800)
    assert step.smallest_increase is not None
    needed = requests_to_show(0.001, step.smallest_increase, 0.25)
    assert needed == pytest.approx(step.requests_at_risk, rel=0.01)
    assert needed is not None
    assert needed <= step.requests_at_risk


def test_a_bake_without_requests_sees_nothing() -> None:
    for step in (forecast(0, 25, 0.001, 600), forecast(20, 0, 0.001, 600), forecast(20, 25, 0.001, 0)):
        assert (step.smallest_increase, step.can_pass, step.requests_at_risk) == (None, False, 0)


def test_at_full_weight_only_more_than_the_detectable_increase_can_be_seen() -> None:
    step = forecast(300, 100, 0.0, 20)
    assert [sight.canary_requests is None for sight in step.sights] == [True, True, False, False]
    assert step.can_pass


def test_the_local_default_bake_can_pass() -> None:
    """300 requests per second, 25 % and then all, 20 seconds: the design's parameters file."""
    assert forecast(300, 25, 0.0, 20).can_pass
    assert forecast(300, 100, 0.0, 20).can_pass


@pytest.mark.parametrize("wrong", [{"weight": 101}, {"weight": -1}, {"error_rate": 1.5}, {"bake_seconds": -1},
                                   {"requests_per_second": math.nan}])  # fmt: skip
def test_an_impossible_step_is_refused_by_name(wrong: dict[str, float]) -> None:
    given = {"requests_per_second": 20, "weight": 25, "error_rate": 0.001, "bake_seconds": 60} | wrong
    with pytest.raises(ParametersError, match=next(iter(wrong))):
        forecast(**given)  # type: ignore[arg-type]


# A bake that could never pass.


def test_a_hopeless_bake_is_refused_and_told_how_long_it_should_be() -> None:
    step = forecast(1, 25, 0.001, 60)
    with pytest.raises(GateError, match="could never pass") as refused:
        require_passable(step)
    seconds = math.ceil(60 * (step.minutes_to_pass or 0))
    assert f"at least {seconds} seconds" in refused.value.hint
    assert require_passable(forecast(1, 25, 0.001, seconds + 4)).can_pass


def test_a_hopeless_bake_goes_on_when_told_to() -> None:
    step = forecast(1, 25, 0.001, 60)
    assert require_passable(step, allow=True) is step


def test_a_bake_without_traffic_is_refused_without_a_length() -> None:
    with pytest.raises(GateError) as refused:
        require_passable(forecast(0, 25, 0.001, 60))
    assert "bake at least" not in refused.value.hint


# Whether the tasks can carry it.


def test_a_task_is_trusted_with_what_stables_tasks_carry_now() -> None:
    load = forecast_load(300, 50, stable_tasks=4, canary_tasks=1)
    assert (load.stable_now, load.canary_then, load.tasks_needed, load.carries) == (75, 150, 2, False)
    assert forecast_load(300, 50, stable_tasks=4, canary_tasks=2).carries


def test_a_known_capacity_replaces_what_stables_tasks_carry() -> None:
    assert forecast_load(300, 50, stable_tasks=4, canary_tasks=1, capacity=150).carries


def test_what_stable_carries_now_depends_on_the_weight_now() -> None:
    assert forecast_load(300, 100, stable_tasks=4, canary_tasks=4, weight_now=50).stable_now == 37.5


def test_no_canary_task_carries_nothing_but_weight_0() -> None:
    assert not forecast_load(300, 1, stable_tasks=4, canary_tasks=0).carries
    assert forecast_load(300, 0, stable_tasks=4, canary_tasks=0).carries


def test_an_unknown_capacity_is_not_taken_for_enough() -> None:
    load = forecast_load(300, 50, stable_tasks=0, canary_tasks=8)
    assert (load.tasks_needed, load.carries) == (None, False)


# Whether a weight is real.


@pytest.mark.parametrize(
    ("requests", "low", "high"),
    [(100, 13.8, 36.2), (300, 18.6, 31.4), (1000, 21.5, 28.5), (3000, 23.0, 27.0)],
)
def test_the_band_at_99_percent_is_the_published_one(requests: int, low: float, high: float) -> None:
    found = share_band(25, requests, 0.99)
    assert [100 * bound for bound in found] == pytest.approx([low, high], abs=1.0)


@given(st.integers(1, 99), st.integers(1, 400), st.sampled_from([0.9, 0.99, 0.999]))
@settings(max_examples=80)
def test_the_band_is_the_narrowest_with_equal_tails(weight: int, requests: int, confidence: float) -> None:
    p, tail = weight / 100, (1 - confidence) / 2
    mass = [math.comb(requests, k) * p**k * (1 - p) ** (requests - k) for k in range(requests + 1)]
    low, high = (round(bound * requests) for bound in share_band(weight, requests, confidence))
    assert sum(mass[:low]) <= tail + 1e-9
    assert sum(mass[high + 1 :]) <= tail + 1e-9
    assert sum(mass[: low + 1]) > tail - 1e-9
    assert sum(mass[high:]) > tail - 1e-9


def test_at_weight_0_no_request_is_allowed_and_at_100_no_other() -> None:
    assert (share_band(0, 1000), share_band(100, 1000)) == ((0.0, 0.0), (1.0, 1.0))


def test_without_requests_any_share_will_do() -> None:
    assert share_band(25, 0) == (0.0, 1.0)


def test_the_band_of_many_requests_is_narrow_and_quickly_found() -> None:
    low, high = share_band(25, 10_000_000)
    assert 0.249 < low < 0.25 < high < 0.251


@pytest.mark.parametrize("weight", [-1, 101])
def test_a_weight_outside_0_to_100_has_no_band(weight: int) -> None:
    with pytest.raises(ParametersError, match="0-100"):
        share_band(weight, 10)


@pytest.mark.parametrize(("former", "new"), [(0, 25), (25, 50), (25, 100), (100, 0), (5, 1), (50, 25), (0, 100)])
def test_weights_part_for_good_at_enough_requests(former: int, new: int) -> None:
    assert not separable(former, new, 0)
    enough = next(n for n in range(1, 20_000) if separable(former, new, n))
    assert separable(former, new, 2 * enough)
    assert separable(new, former, enough)


def test_from_0_to_25_percent_27_requests_tell() -> None:
    assert [n for n in (26, 27) if separable(0, 25, n)] == [27]


def test_a_weight_never_parts_from_itself() -> None:
    assert not separable(25, 25, 10**6)


# What a bad canary costs.

AWS_GRAIN = {"period_seconds": 60, "delay_seconds": 120}


@pytest.mark.attack(11)
def test_a_canary_that_fails_half_costs_nine_thousand_requests_at_awss_grain() -> None:
    harm = forecast_harm(300, 25, 0.0, **AWS_GRAIN)
    assert (harm.seconds, harm.failed_requests) == (240, 9000)


def test_a_finer_grain_costs_less() -> None:
    harm = forecast_harm(300, 25, 0.0, period_seconds=1, delay_seconds=0)
    assert (harm.seconds, harm.failed_requests) == (2, 75)


@pytest.mark.attack(11)
def test_a_smaller_first_step_is_proposed_with_what_it_costs() -> None:
    first = forecast_harm(300, 25, 0.0, **AWS_GRAIN)
    gentler = gentler_step(first, 1800, 300, 0.0, **AWS_GRAIN)
    assert gentler
    assert (gentler.weight, gentler.failed_requests) == (1, 360)


def test_no_smaller_step_is_proposed_that_could_not_pass_in_the_bake() -> None:
    first = forecast_harm(10, 25, 0.0, **AWS_GRAIN)
    gentler = gentler_step(first, 1800, 10, 0.0, **AWS_GRAIN)
    assert gentler is None or forecast(10, gentler.weight, 0.0, 1800).can_pass
    assert gentler_step(first, 60, 10, 0.0, **AWS_GRAIN) is None


def test_the_smallest_step_has_no_smaller_one() -> None:
    assert gentler_step(forecast_harm(300, 1, 0.0, **AWS_GRAIN), 1800, 300, 0.0, **AWS_GRAIN) is None


def test_what_no_time_would_show_has_no_cost() -> None:
    assert forecast_harm(0, 25, 0.0, **AWS_GRAIN).failed_requests is None


@given(st.integers(1, 1000), st.integers(1, 99), st.sampled_from([1, 10, 60]), st.sampled_from([0, 120]))
@settings(max_examples=50)
def test_harm_grows_with_the_weight_and_is_never_less_than_one_periods(
    rate: int, weight: int, period: int, delay: int
) -> None:
    harm = forecast_harm(rate, weight, 0.0, period_seconds=period, delay_seconds=delay)
    assert harm.seconds is not None
    assert harm.failed_requests is not None
    assert harm.seconds >= 2 * period + delay
    assert harm.failed_requests >= math.floor(0.5 * rate * weight / 100 * (2 * period + delay))
