"""Read what CloudWatch counted: requests, errors and slow requests by service and
period, and alarms.

The only caller of the CloudWatch client, and it only reads. The local mesh publishes
the same series, so there is one path for both.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from runbook_lib.aws.series import NOBODY, Counted, Series
from runbook_lib.aws.session import Session
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
    return math.floor(
        (now - telemetry.delay_seconds - SETTLE_SECONDS) / telemetry.period_seconds
    ) * (telemetry.period_seconds)


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
    period = p.telemetry.period_seconds
    first = math.ceil(since / period) * period
    if first >= until:
        return []
    wanted = [
        (name, kind, one)
        for name in (p.shift.stable, p.shift.canary, NOBODY)
        for kind in KINDS
        for one in series.get(name, {}).get(kind, ())
        if one.stat
    ]
    counts: Counts = {(name, kind): Counter() for name, kind, _ in wanted}
    for (name, kind, _), found in zip(
        wanted, _read(session, wanted, first, until), strict=True
    ):
        counts[(name, kind)].update(found)
    intervals = [
        _interval(start, p.shift.stable, p.shift.canary, counts)
        for start in range(first, int(until), period)
    ]
    if NOBODY not in series:
        return intervals
    stable, canary = p.shift.stable, p.shift.canary
    return [_unclaimed(one, stable, canary, counts) for one in intervals]


def read_requests(session: Session, series: Series, since: float, until: float) -> int:
    """Return how many requests one series counted in the whole periods
    within [since, until).
    """
    period = session.parameters.telemetry.period_seconds
    first = math.ceil(since / period) * period
    if first >= until:
        return 0
    (counts,) = _read(session, [("", "requests", series)], first, until)
    return sum(counts.values())


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
    found = (
        session.read(Reading(Call("cloudwatch", "describe_alarms", both), query)) or []
    )
    states = {alarm["name"]: alarm["state"] for alarm in found}
    return {name: states.get(name, "MISSING") for name in wanted}


Query = tuple[str, str, Series]
Counts = dict[tuple[str, str], Counter[int]]  # by service and kind, by period


def _read(
    session: Session, wanted: list[Query], since: int, until: float
) -> list[dict[int, int]]:
    telemetry = session.parameters.telemetry
    queries = [
        {
            "Id": f"m{index}",
            "MetricStat": {
                "Metric": {
                    "Namespace": series.namespace or telemetry.namespace,
                    "MetricName": series.metric,
                    "Dimensions": [
                        {"Name": k, "Value": v} for k, v in series.dimensions.items()
                    ],
                },
                "Period": telemetry.period_seconds,
                "Stat": series.stat,
            },
        }
        for index, (_, _, series) in enumerate(wanted)
    ]
    window = {
        "StartTime": _moment(since),
        "EndTime": _moment(until),
        "ScanBy": "TimestampAscending",
    }
    results = [
        result
        for begin in range(0, len(queries), QUERIES)
        for result in session.pages(
            "cloudwatch",
            "get_metric_data",
            "MetricDataResults",
            MetricDataQueries=queries[begin : begin + QUERIES],
            **window,
        )
    ]
    out: list[dict[int, int]] = [{} for _ in wanted]
    for result in results:
        for moment, value in zip(result["Timestamps"], result["Values"], strict=True):
            out[int(result["Id"][1:])][int(moment.timestamp())] = round(value)
    return out


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _interval(start: int, stable: str, canary: str, counts: Counts) -> Interval:
    def count(service: str, kind: str) -> int:
        return counts.get((service, kind), Counter())[start]

    def sample(kind: str) -> Sample:
        n1, n2 = count(stable, "requests"), count(canary, "requests")
        bad1, bad2 = count(stable, kind), count(canary, kind)
        return Sample(n1, min(bad1, n1), n2, min(bad2, n2))

    return Interval(start, sample("errors"), sample("latency"))


def _unclaimed(one: Interval, stable: str, canary: str, counts: Counts) -> Interval:
    """Return an interval with the errors that are counted for neither version."""
    unclaimed = Unclaimed(
        errors=counts[NOBODY, "errors"][one.start],
        stable_answers=counts[stable, "answers"][one.start],
        canary_answers=counts[canary, "answers"][one.start],
    )
    return replace(one, unclaimed=unclaimed)
