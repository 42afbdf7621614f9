"""Looking ahead: today's traffic where it is counted, the parameters' where it is not, and that it was so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from runbook_lib import survey
from runbook_lib.aws import cloudwatch
from runbook_lib.aws.cloudwatch import Interval
from runbook_lib.errors import CallError, GateError
from runbook_lib.shift import outlook
from runbook_lib.shift.outlook import look_ahead, read_traffic, require_steps_passable
from runbook_lib.survey import Survey
from runbook_lib.verdict import Sample
from tests.live import quick
from tests.scenes import open_at, reopen, shift


def carrying(monkeypatch: pytest.MonkeyPatch, found: Any) -> Survey:
    """Return a survey where metrics answer with these intervals, or with this error."""
    session = open_at("meshed")
    session.connection = replace(session.connection, carries_traffic=True)

    def read(session: Any, series: Any, since: float, until: float) -> list[Interval]:
        if isinstance(found, Exception):
            raise found
        return [Interval(int(until) - 10 + i, sample, Sample(0, 0, 0, 0)) for i, sample in enumerate(found)]

    monkeypatch.setattr(cloudwatch, "read_intervals", read)
    return survey(session)


def test_traffic_is_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    traffic = read_traffic(carrying(monkeypatch, [Sample(90, 9, 10, 0)] * 10))
    assert (traffic.requests_per_second, traffic.error_rate) == (100, 0.1)
    assert traffic.source == "measured over the last 10 s"


def test_a_quiet_start_does_not_dilute_it(monkeypatch: pytest.MonkeyPatch) -> None:
    traffic = read_traffic(carrying(monkeypatch, [Sample(0, 0, 0, 0)] * 5 + [Sample(100, 0, 0, 0)] * 5))
    assert traffic.requests_per_second == 100


@pytest.mark.parametrize(
    ("found", "why"),
    [([], "no request was counted"), (CallError("cloudwatch: AccessDenied"), "cloudwatch: AccessDenied")],
)
def test_what_is_not_measured_is_the_parameters_and_says_why(
    monkeypatch: pytest.MonkeyPatch, found: Any, why: str
) -> None:
    traffic = read_traffic(carrying(monkeypatch, found))
    assert traffic.requests_per_second == 300
    assert why in traffic.source


def test_a_step_is_looked_at_with_the_tasks_that_run() -> None:
    ahead = look_ahead(survey(open_at("meshed")), 25)
    assert ahead.load.canary_tasks == 1
    assert ahead.load.canary_then == 75
    assert ahead.forecast.requests_at_risk == 1500


def failing(monkeypatch: pytest.MonkeyPatch, errors: int, weight: int = 0) -> Survey:
    found = carrying(monkeypatch, [Sample(100, errors, 0, 0)] * 10)
    if weight:
        shift(found.session, weight)
        found = survey(found.session)
    return found


@pytest.mark.attack(10)
def test_a_shift_does_not_begin_while_most_of_stables_requests_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    words = "serviceB is failing: 60 % of its requests, measured over the last 10 s"
    with pytest.raises(GateError, match=words):
        require_steps_passable(failing(monkeypatch, 60), 25)


def test_it_begins_where_half_of_them_are_answered_and_goes_on_in_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {"allow_unprovable": True}
    half, under_way = failing(monkeypatch, 50), failing(monkeypatch, 100, weight=25)
    for found in (half, under_way):
        found.session.parameters = reopen(found.session, shift=quick(**changes)).parameters
        require_steps_passable(found, 50)


def test_it_is_complete() -> None:
    assert all(hasattr(outlook, name) for name in outlook.__all__)
