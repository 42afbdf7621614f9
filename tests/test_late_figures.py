"""A figure of one version that is late or lost is no weight that stopped working, and no failing canary."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook_lib.aws.cloudwatch import Interval
from runbook_lib.shift.rules.counts import LATE_PERIODS
from runbook_lib.shift.rules.look import Look
from runbook_lib.shift.rules.moves import ExtendBake, GoOn, Hold, InEffect, Move, Pass, RollBack
from runbook_lib.shift.rules.rule import Rule
from runbook_lib.shift.rules.step import follow, next_move
from runbook_lib.shift.rules.watch import AWAITED_PERIODS, EMPTY_PERIODS, begin_step, observe, start_watch
from runbook_lib.verdict import Sample
from runbook_lib.verdict.share import lacks_a_version
from tests.test_step import BEGAN, RUN_WELL, SILENT, rule

LOST = 10_000  # seconds late: nobody waits so long
MOST = 200  # seconds until a shift must have ended

Late = Callable[[int], int]  # by how many seconds the figure of a second is late


def never(second: int) -> int:
    return 0


@dataclass
class Telemetry:
    """What CloudWatch has of a step at a moment: what was counted, less what is late."""

    stable_late: Late = never
    canary_late: Late = never
    weight: int = 25
    stable_errors: Callable[[int], float] = lambda second: 0.0
    canary_errors: Callable[[int], float] = lambda second: 0.0
    by: Rule = field(default_factory=rule)

    def interval(self, second: int, now: int) -> Interval:
        canary = 400 * self.weight // 100
        stable = 400 - canary
        parts = ((stable, self.stable_errors, self.stable_late), (canary, self.canary_errors, self.canary_late))
        counts: list[int] = []
        for requests, errors, late in parts:
            is_there = second + late(second) < now
            counts += [requests, int(requests * errors(second))] if is_there else [0, 0]
        sample = Sample(*counts)
        return Interval(BEGAN + second, sample, SILENT)

    def moves(self) -> list[Move]:
        """Return what followed from each second's look, to the end of the step."""
        watch = begin_step(start_watch(self.by, BEGAN), self.weight, 0, BEGAN, BEGAN, self.by)
        moves: list[Move] = []
        for now in range(1, MOST):
            since = max(int(watch.counts.since) - BEGAN, 0)
            intervals = tuple(self.interval(second, now) for second in range(since, now))
            at = BEGAN + now
            look = Look(at, BEGAN + since, at, intervals, self.by.weights_at(self.weight), RUN_WELL)
            watch = observe(watch, look, self.by)
            move = next_move(watch, look, self.by)
            watch = follow(watch, move, look)
            moves.append(move)
            if not isinstance(move, GoOn | InEffect | ExtendBake):
                break
        return moves


def some(chance: float, seed: int, *late: int) -> Late:
    """Return figures of which a share is late by one of these."""

    def by(second: int) -> int:
        own = random.Random(f"{seed} {second}")
        return own.choice(late) if own.random() < chance else 0

    return by


@pytest.mark.parametrize(
    ("sample", "weight", "lacks"),
    [
        (Sample(300, 0, 100, 0), 25, False),
        (Sample(300, 0, 0, 0), 25, True),
        (Sample(0, 0, 100, 0), 25, True),
        (Sample(10, 0, 0, 0), 25, False),  # in ten requests a quarter may be none by chance
        (Sample(300, 0, 0, 0), 1, False),
        (Sample(3000, 0, 0, 0), 1, True),
        (Sample(300, 0, 0, 0), 0, False),
        (Sample(0, 0, 300, 0), 100, False),
        (Sample(0, 0, 50_000, 0), 100, False),
        (Sample(50_000, 0, 0, 0), 0, False),
        (Sample(300, 0, 0, 0), 100, True),
        (Sample(1, 0, 0, 0), 100, False),  # one may stray
        (SILENT, 25, False),
    ],
)
def test_a_version_is_missing_where_its_weight_all_but_rules_that_out(sample: Sample, weight: int, lacks: bool) -> None:
    assert lacks_a_version(sample, weight) is lacks


@given(st.integers(0, 10**6), st.sampled_from([0.05, 0.3]), st.booleans(), st.sampled_from([25, 50]))
def test_figures_that_are_late_or_lost_now_and_then_end_no_healthy_shift(
    seed: int, chance: float, of_stable: bool, weight: int
) -> None:
    late = some(chance, seed, 1, 5, LATE_PERIODS - 1, LOST)
    told = Telemetry(stable_late=late, weight=weight) if of_stable else Telemetry(canary_late=late, weight=weight)
    assert isinstance(told.moves()[-1], Pass)


@given(st.integers(0, 10**6), st.integers(1, EMPTY_PERIODS - 2))
def test_figures_of_both_that_are_late_at_once_end_no_healthy_shift(seed: int, seconds: int) -> None:
    late = some(0.3, seed, seconds)
    assert isinstance(Telemetry(stable_late=late, canary_late=late).moves()[-1], Pass)


@pytest.mark.parametrize("seconds", [1, 4, 10, 20])
def test_a_version_that_is_always_late_passes_as_much_later(seconds: int) -> None:
    in_time, late = Telemetry().moves(), Telemetry(canary_late=lambda second: seconds).moves()
    assert isinstance(late[-1], Pass)
    assert len(in_time) < len(late) <= len(in_time) + 2 * seconds


def test_a_version_that_is_counted_no_more_is_a_hold_once_no_figure_can_be_so_late() -> None:
    moves = Telemetry(canary_late=lambda second: LOST if second >= 5 else 0).moves()
    assert isinstance(moves[-1], Hold)
    assert moves[-1].word == "share"
    assert len(moves) == 5 + LATE_PERIODS
    assert moves[-1].words.endswith("23.0 to 27.0 % expected, for 30 s now")


def test_an_outage_that_both_share_rolls_nothing_back_though_stables_figures_are_late() -> None:
    def outage(second: int) -> float:
        return 0.4 if second >= 6 else 0.0

    moves = Telemetry(stable_late=some(0.5, 1, AWAITED_PERIODS - 1), stable_errors=outage, canary_errors=outage).moves()
    assert not [move for move in moves if isinstance(move, RollBack)]


@pytest.mark.parametrize("of_stable", [True, False])
def test_a_canary_that_fails_is_rolled_back_within_three_periods_though_a_version_is_late(of_stable: bool) -> None:
    def fails(second: int) -> float:
        return 0.5 if second >= 6 else 0.0

    def late(second: int) -> int:
        return LOST if second >= 6 else 0

    def ends(moves: Sequence[Move]) -> int:
        assert isinstance(moves[-1], RollBack)
        return len(moves)

    in_time = ends(Telemetry(canary_errors=fails).moves())
    told = Telemetry(canary_errors=fails, stable_late=late)
    if not of_stable:
        told = Telemetry(canary_errors=fails, canary_late=lambda second: 2 if second >= 6 else 0)
    assert ends(told.moves()) <= in_time + AWAITED_PERIODS
