"""A weight is real when requests say so, and only as long as they do."""

from __future__ import annotations

import random

import pytest

from runbook_lib.verdict import Sample
from runbook_lib.verdict.share import Seen, Shares, in_effect_from, seen_of, strayed


def interval(requests: int, share: float, *, seed: random.Random | None = None) -> Sample:
    """Return an interval of which the canary answers a share: exactly so, or by chance."""
    canary = round(requests * share) if seed is None else sum(seed.random() < share for _ in range(requests))
    return Sample(requests - canary, 0, canary, 0)


def drifted(samples: list[Sample], weight: int) -> Seen | None:
    """Return what shows that a weight stopped working in some intervals."""
    return strayed(Shares().after(samples), weight)


def test_a_weight_heard_at_once_is_real_from_its_first_interval() -> None:
    assert in_effect_from([interval(300, 0.25)] * 2, 0, 25) == 0


def test_a_weight_heard_late_is_real_from_the_interval_after_the_one_in_which_it_changed() -> None:
    heard = [interval(300, 0.0)] * 3 + [interval(300, 0.12)] + [interval(300, 0.25)] * 2
    assert in_effect_from(heard, 0, 25) == 4


@pytest.mark.parametrize(("former", "weight"), [(0, 25), (25, 100), (5, 10)])
def test_the_former_weight_is_no_proof_of_the_new_one(former: int, weight: int) -> None:
    assert in_effect_from([interval(1000, former / 100)] * 20, former, weight) is None


def test_too_few_requests_prove_nothing() -> None:
    assert in_effect_from([interval(8, 0.25)], 0, 25) is None


def test_no_request_proves_nothing() -> None:
    assert in_effect_from([], 0, 25) is None
    assert in_effect_from([Sample(0, 0, 0, 0)] * 5, 0, 25) is None


def test_one_request_under_way_when_everything_moved_is_no_proof_against_it() -> None:
    moved = [interval(300, 1.0)] * 3
    assert in_effect_from([*moved, Sample(1, 0, 299, 0), *moved], 25, 100) is not None
    assert drifted([*moved, Sample(1, 0, 299, 0), *moved], 100) is None


@pytest.mark.parametrize(("former", "weight"), [(25, 100), (25, 0)])
@pytest.mark.parametrize("requests", [1_000, 15_000, 50_000, 1_000_000])
def test_that_no_request_strays_is_no_oddity_however_many_were_made(requests: int, former: int, weight: int) -> None:
    before, moved = [interval(300, former / 100)] * 3, [interval(requests // 10, weight / 100)] * 10
    assert in_effect_from([*before, *moved], former, weight) == 3
    assert drifted(moved, weight) is None
    assert in_effect_from([*before, interval(requests, weight / 100)], former, weight) == 3


@pytest.mark.parametrize("share", [0.0, 0.125, 0.4])
def test_a_share_that_is_not_the_weights_shows_in_the_bake_at_the_latest(share: float) -> None:
    """One of two callers that never heard the weight, for instance: half of it arrives."""
    found = drifted([interval(100, share)] * 10, 25)
    assert found is not None
    assert (found.requests, found.share) == (1000, pytest.approx(share, abs=0.01))


def test_a_weight_that_stops_working_shows_however_long_it_worked() -> None:
    worked = [interval(300, 0.25)] * 3600
    assert drifted(worked, 25) is None
    assert drifted([*worked, *[interval(300, 0.0)] * 4], 25) is not None


def test_chance_alone_never_looks_like_a_weight_that_stopped_working() -> None:
    """A look has a chance of 1e-10, the whole hour at each second one below 1e-6."""
    seed = random.Random(7)
    seen = [interval(30, 0.25, seed=seed) for _ in range(600)]
    assert not any(drifted(seen[:n], 25) for n in range(1, len(seen), 7))


def test_errors_that_were_tried_again_are_not_taken_for_another_share() -> None:
    """Each of the canary's errors may be a further request that its caller's Envoy made of one."""
    assert drifted([Sample(75, 0, 75, 50)] * 20, 25) is None
    assert drifted([Sample(75, 0, 75, 0)] * 20, 25) is not None


def test_what_is_seen_of_a_weight_has_its_share_and_its_band() -> None:
    seen = seen_of([interval(300, 0.25)], 25)
    assert (seen.requests, seen.share) == (300, 0.25)
    assert seen.band[0] < 0.25 < seen.band[1]
    assert seen_of([], 25).share is None


def test_a_share_that_is_not_all_of_them_is_never_said_to_be() -> None:
    few_elsewhere = seen_of([Sample(2, 0, 47_749, 0)], 100)
    assert few_elsewhere.words == "99.996 % of 47,751 requests, all of them expected"
    assert seen_of([Sample(0, 0, 47_751, 0)], 100).words.startswith("100.0 % of")
    assert seen_of([Sample(47_749, 0, 2, 0)], 0).words == "0.004 % of 47,751 requests, none of them expected"
