"""Looking ahead: today's traffic where it is counted, the parameters' where it is not, and that it was so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from runbook_lib import outlook, survey, telemetry
from runbook_lib.errors import CallError
from runbook_lib.outlook import look_ahead, read_traffic
from runbook_lib.survey import Survey
from runbook_lib.telemetry import Interval
from runbook_lib.verdict import Sample
from tests.scenes import open_at


def carrying(monkeypatch: pytest.MonkeyPatch, found: Any) -> Survey:
    """Return a survey where metrics answer with these intervals, or with this error."""
    session = open_at("meshed")
    session.connection = replace(session.connection, carries_traffic=True)

    def read(session: Any, series: Any, since: float, until: float) -> list[Interval]:
        if isinstance(found, Exception):
            raise found
        return [Interval(int(until) - 10 + i, sample, Sample(0, 0, 0, 0)) for i, sample in enumerate(found)]

    monkeypatch.setattr(telemetry, "read_intervals", read)
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


def test_it_is_complete() -> None:
    assert all(hasattr(outlook, name) for name in outlook.__all__)
