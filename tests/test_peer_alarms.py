"""What others' alarms and analyses make of a load balancer's series, on plain values."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
import peer_alarms as peers  # (a script's part, not a package)
from peer_alarms import Minute, Seen

LATE = 120
BEGAN = 1_800_000_000  # a whole five minutes


def seen(*errors: int | None, requests: int | None = 600, unhealthy: float | None = 0.0) -> Seen:
    """Return what is seen of a canary with so many errors in each minute."""
    return Seen(minutes(*errors, requests=requests, unhealthy=unhealthy), BEGAN, LATE)


def minutes(*errors: int | None, requests: int | None = 600, unhealthy: float | None = 0.0) -> list[Minute]:
    """Return minutes with so many errors; None where none was counted."""
    return [
        Minute(BEGAN + 60 * number, requests, None, count, unhealthy if requests else None)
        for number, count in enumerate(errors)
    ]


def after(moment: float | None) -> float | None:
    return None if moment is None else moment - BEGAN


def test_a_single_error_stops_codedeploy_as_soon_as_its_minute_is_there() -> None:
    assert after(peers.codedeploy(seen(None, 1))) == 2 * 60 + LATE


def test_errors_that_the_load_balancer_makes_stop_no_codedeploy() -> None:
    """A canary that hangs, or that nobody reaches, has no 5XX of its targets."""
    assert peers.codedeploy(seen(*[None] * 60)) is None
    assert peers.codedeploy(seen(*[None] * 60, requests=None)) is None


def test_unhealthy_hosts_stop_codedeploy_after_two_periods_of_five_minutes() -> None:
    assert after(peers.codedeploy(seen(*[None] * 12, unhealthy=1.0))) == 10 * 60 + LATE
    assert peers.codedeploy(seen(*[None] * 60, unhealthy=0.5)) is None


def test_express_mode_waits_for_two_minutes_of_three() -> None:
    assert after(peers.express(seen(7, 7))) == 2 * 60 + LATE
    assert after(peers.express(seen(7, None, 7))) == 3 * 60 + LATE
    assert peers.express(seen(7, None, None, 7, None, None)) is None
    assert peers.express(seen(*[6] * 60)) is None  # 1 % is not above 1 %


def test_express_mode_counts_errors_of_callers_too() -> None:
    both = [Minute(BEGAN + 60 * number, 600, 4, 4) for number in range(3)]
    assert after(peers.express(Seen(both, BEGAN, LATE))) == 2 * 60 + LATE


def test_argos_success_rate_fails_at_its_fourth_bad_measurement() -> None:
    """The first has no figures, the next four are five minutes apart."""
    assert after(peers.argo(seen(*[180] * 30))) == 4 * 300
    assert peers.argo(seen(*[30] * 60)) is None  # 95 % is not below 95 %
    assert peers.argo(seen(*[None] * 60, requests=None)) is None


@pytest.mark.parametrize("errors", [None, 0, 1, 300])
def test_argos_example_for_cloudwatch_aborts_whatever_a_group_without_a_past_does(errors: int | None) -> None:
    """It wants five values of five minutes, and has none: measurements at 0, 60, 120 and 180 s fail."""
    assert after(peers.argo_cloudwatch(seen(*[errors] * 60))) == 180


def test_argos_example_for_cloudwatch_passes_where_there_is_a_past_with_errors() -> None:
    assert peers._quotients(minutes(*[1] * 25)) == [1 / 600] * 5
    assert peers._quotients(minutes(*[None] * 25)) == []  # no error, no value


def test_minutes_after_the_rollback_are_as_the_typical_one() -> None:
    measured = minutes(0, 180, 180)
    typical = measured[-1]
    found = peers.as_if_nobody_rolled_back(measured, BEGAN + 30, BEGAN + 150, typical, 4)
    assert [(each.start - BEGAN, each.errors_5xx) for each in found] == [(0, 0), (60, 180), (120, 180), (180, 180)]


def test_a_first_minute_that_was_cut_off_is_as_much_of_the_typical_one_as_was_left() -> None:
    typical = Minute(0, 600, None, 30, 1.0)
    first, second = peers.as_if_nobody_rolled_back([], BEGAN + 45, BEGAN + 50, typical, 2)
    assert (first.requests, first.errors_5xx, first.errors_4xx, first.unhealthy) == (150, 8, None, 1.0)
    assert second == Minute(BEGAN + 60, 600, None, 30, 1.0)
