"""Read what CloudWatch counted: requests, errors and slow requests by service and
period, and alarms.

The only caller of the CloudWatch client, and it only reads. The local mesh publishes
the same series, so there is one path for both.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from runbook_lib.aws.series import NOBODY, Counted, Series
from runbook_lib.aws.session import Session
from runbook_lib.parameters.model import Telemetry
from runbook_lib.parameters.shift import Shift
from runbook_lib.plan import Call, Reading
from runbook_lib.verdict import Sample

__all__ = [
    "Counted",
    "Interval",
    "Series",
    "Unclaimed",
    "complete_until",
    "pause",
    "read_alarms",
    "read_intervals",
    "read_requests",
]

SETTLE_SECONDS = 0.3  # after a period's end, until it has been put
QUERIES = 400  # a call takes 500
# of series, by whose names an engine gives them
KINDS = ("requests", "errors", "latency", "answers")


@dataclass(frozen=True, slots=True)
class Unclaimed:
    """Errors that are counted for neither version, and what each version answered."""

    errors: int
    stable_answers: int
    canary_answers: int


@dataclass(frozen=True, slots=True)
class Interval:
    """One period: when it began (seconds since 1970), and its requests judged by
    errors and by slowness.

    `unclaimed` is None where each error is counted for a version.
    """

    start: int
    errors: Sample
    slow: Sample
    unclaimed: Unclaimed | None = None

    @property
    def requests(self) -> int:
        """All requests of the period."""
        return self.errors.stable_requests + self.errors.canary_requests


def complete_until(session: Session, now: float) -> int:
    """Return the end of the last period that CloudWatch must have by `now`, in
    seconds since 1970.
    """
    telemetry = session.parameters.telemetry
    period = telemetry.period_seconds
    known = now - telemetry.delay_seconds - SETTLE_SECONDS
    return math.floor(known / period) * period


def pause(session: Session) -> float:
    """Return how many seconds to wait between two looks for new figures."""
    return min(max(session.parameters.telemetry.period_seconds / 4, 0.2), 5.0)


def read_intervals(
    session: Session,
    series: Mapping[str, Mapping[str, Iterable[Series]]],
    since: float,
    until: float,
) -> list[Interval]:
    """Read every whole period that begins within [since, until); one without
    data has no requests.

    `series` gives stable's and canary's `requests`, `errors` and `latency`, by their
    names in the parameters; where it has the errors of NOBODY, `answers` too.
    """
    p = session.parameters
    first = _first_period(session, since)
    if first >= until:
        return []
    counts: Counts = defaultdict(Counter)
    wanted = _wanted(series, (*p.shift.versions, NOBODY))
    answers = _read(session, [each.series for each in wanted], first, until)
    for each, found in zip(wanted, answers, strict=True):
        counts[each.service, each.kind].update(found)
    intervals = []
    for start in range(first, int(until), p.telemetry.period_seconds):
        unclaimed = None
        if NOBODY in series:
            unclaimed = _unclaimed(start, p.shift, counts)
        errors = _sample(start, p.shift, counts, "errors")
        slow = _sample(start, p.shift, counts, "latency")
        intervals.append(Interval(start, errors, slow, unclaimed))
    return intervals


def read_requests(session: Session, series: Series, since: float, until: float) -> int:
    """Return how many requests one series counted in the whole periods
    within [since, until).
    """
    first = _first_period(session, since)
    if first >= until:
        return 0
    (counts,) = _read(session, [series], first, until)
    return sum(counts.values())


def _first_period(session: Session, since: float) -> int:
    """Return when the first whole period begins, in seconds since 1970."""
    period = session.parameters.telemetry.period_seconds
    return math.ceil(since / period) * period


def read_alarms(session: Session, names: Iterable[str]) -> dict[str, str]:
    """Return the state of each named alarm: OK, ALARM,
    INSUFFICIENT_DATA, or MISSING.
    """
    wanted = list(names)
    if not wanted:
        return {}
    # without, only metric alarms come
    both = {"AlarmNames": wanted, "AlarmTypes": ["MetricAlarm", "CompositeAlarm"]}
    query = "[MetricAlarms, CompositeAlarms][][].{name: AlarmName, state: StateValue}"
    reading = Reading(Call("cloudwatch", "describe_alarms", both), query)
    found = session.read(reading) or []
    states = {alarm["name"]: alarm["state"] for alarm in found}
    return {name: states.get(name, "MISSING") for name in wanted}


# --- the series -----------------------------------------------------------------------

Counts = defaultdict[tuple[str, str], Counter[int]]
"""What was counted by service and kind, each by the beginning of its period."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A series to be read: whose it is, and what of theirs it counts."""

    service: str
    kind: str
    series: Series


def _wanted(
    series: Mapping[str, Mapping[str, Iterable[Series]]], services: Iterable[str]
) -> list[_Wanted]:
    """Return every series of these services that counts something."""
    wanted = []
    for service in services:
        by_kind = series.get(service, {})
        for kind in KINDS:
            for each in by_kind.get(kind, ()):
                if each.stat:
                    wanted.append(_Wanted(service, kind, each))
    return wanted


def _read(
    session: Session, wanted: Sequence[Series], since: int, until: float
) -> list[dict[int, int]]:
    """Read what each series counted, by the beginning of its period."""
    telemetry = session.parameters.telemetry
    queries = [_query(f"m{n}", each, telemetry) for n, each in enumerate(wanted)]
    window = {
        "StartTime": _moment(since),
        "EndTime": _moment(until),
        "ScanBy": "TimestampAscending",
    }
    counts: list[dict[int, int]] = [{} for _ in wanted]
    for begin in range(0, len(queries), QUERIES):
        results = session.pages(
            "cloudwatch",
            "get_metric_data",
            "MetricDataResults",
            MetricDataQueries=queries[begin : begin + QUERIES],
            **window,
        )
        for result in results:
            number = int(result["Id"].removeprefix("m"))
            data = zip(result["Timestamps"], result["Values"], strict=True)
            for moment, value in data:
                counts[number][int(moment.timestamp())] = round(value)
    return counts


def _query(id: str, series: Series, telemetry: Telemetry) -> dict[str, Any]:
    dimensions = [{"Name": k, "Value": v} for k, v in series.dimensions.items()]
    metric = {
        "Namespace": series.namespace or telemetry.namespace,
        "MetricName": series.metric,
        "Dimensions": dimensions,
    }
    period = telemetry.period_seconds
    stat = {"Metric": metric, "Period": period, "Stat": series.stat}
    return {"Id": id, "MetricStat": stat}


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


# --- one period -----------------------------------------------------------------------


def _sample(start: int, shift: Shift, counts: Counts, bad: str) -> Sample:
    """Return both versions' requests of a period, and how many of them were bad."""
    stable = counts[shift.stable, "requests"][start]
    canary = counts[shift.canary, "requests"][start]
    return Sample(
        stable,
        min(counts[shift.stable, bad][start], stable),
        canary,
        min(counts[shift.canary, bad][start], canary),
    )


def _unclaimed(start: int, shift: Shift, counts: Counts) -> Unclaimed:
    """Return the errors of a period that are counted for neither version."""
    return Unclaimed(
        errors=counts[NOBODY, "errors"][start],
        stable_answers=counts[shift.stable, "answers"][start],
        canary_answers=counts[shift.canary, "answers"][start],
    )
