"""CloudWatch metrics: sums over periods, at a grain of a second; alarms and
all else stay moto's.

moto keeps every datum and reads them all at each question; here data are summed as they
come in. What the runbook asks of CloudWatch is answered: PutMetricData with Value,
Values and Counts or StatisticValues, and GetMetricData with MetricStat queries of Sum,
SampleCount, Average, Minimum, Maximum and trimmed counts.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from moto.core.base_backend import BackendDict, BaseBackend

from runbook_lib.local.control_plane.wire import ApiError, Target

__all__ = ["MetricsBackend", "metrics_backends", "perform"]

Members = dict[str, Any]
Series = tuple[str, str, tuple[tuple[str, str], ...]]
KEPT_SECONDS = 6 * 3600
# trimmed count, as CloudWatch writes it
TRIMMED = re.compile(r"TC\((?P<low>[\d.]*):(?P<high>[\d.]*)\)$")


@dataclass
class Sum:
    """What one second of one series adds up to."""

    total: float = 0.0
    count: float = 0.0
    least: float = float("inf")
    most: float = float("-inf")
    values: Counter[float] = field(default_factory=Counter)

    def add(self, value: float, count: float = 1.0) -> None:
        """Add a value seen `count` times."""
        self.total, self.count = self.total + value * count, self.count + count
        self.least, self.most = min(self.least, value), max(self.most, value)
        self.values[value] += int(count)

    def take(self, other: Sum) -> None:
        """Add another sum."""
        self.total, self.count = self.total + other.total, self.count + other.count
        self.least, self.most = min(self.least, other.least), max(self.most, other.most)
        self.values += other.values

    def within(self, low: float, high: float) -> float:
        """Return how many values lay over `low` and at most at `high`."""
        return float(
            sum(count for value, count in self.values.items() if low < value <= high)
        )


@dataclass
class MetricsState:
    """Every series of one account in one region, by second."""

    series: dict[Series, dict[int, Sum]] = field(
        default_factory=lambda: defaultdict(dict)
    )

    def put(self, series: Series, second: int, made: Sum) -> None:
        """Add to one second of a series; what is older than six hours goes."""
        seconds = self.series[series]
        seconds.setdefault(second, Sum()).take(made)
        for old in [s for s in list(seconds)[:2] if s < second - KEPT_SECONDS]:
            del seconds[old]

    def read(
        self, series: Series, since: int, until: int, period: int
    ) -> dict[int, Sum]:
        """Return the periods within [since, until) that hold data, by their start."""
        out: dict[int, Sum] = {}
        for second, made in self.series.get(series, {}).items():
            if since <= second < until:
                out.setdefault(second - second % period, Sum()).take(made)
        return out


class MetricsBackend(BaseBackend):
    """CloudWatch's data of one account in one region; moto's own reset empties it."""

    def __init__(self, region_name: str, account_id: str) -> None:
        super().__init__(region_name, account_id)
        self.state = MetricsState()


metrics_backends: BackendDict[MetricsBackend] = BackendDict(
    MetricsBackend, "cloudwatch"
)


def key(namespace: str, name: str, dimensions: list[dict[str, str]]) -> Series:
    """Return what names a series, whatever the order of its dimensions."""
    return namespace, name, tuple(sorted((d["Name"], d["Value"]) for d in dimensions))


def perform(target: Target, members: Members) -> Members | None:
    """Carry out PutMetricData or GetMetricData; None for what moto may answer."""
    state = metrics_backends[target.account][target.region].state
    if target.operation == "PutMetricData":
        return _put(state, members)
    return _get(state, members) if target.operation == "GetMetricData" else None


def _put(state: MetricsState, members: Members) -> Members:
    if members["Namespace"].startswith("AWS/"):
        raise ApiError(
            "InvalidParameterValue",
            "The value AWS/ for parameter Namespace is invalid.",
        )
    for datum in members.get("MetricData", []):
        series = key(
            members["Namespace"], datum["MetricName"], datum.get("Dimensions", [])
        )
        state.put(series, int(_seconds(datum.get("Timestamp"))), _sum(datum))
    return {}


def _sum(datum: Members) -> Sum:
    made = Sum()
    if statistics := datum.get("StatisticValues"):
        return Sum(
            statistics["Sum"],
            statistics["SampleCount"],
            statistics["Minimum"],
            statistics["Maximum"],
        )
    values = datum.get("Values") or [datum["Value"]]
    for value, count in zip(
        values, datum.get("Counts") or [1.0] * len(values), strict=True
    ):
        made.add(float(value), float(count))
    return made


def _get(state: MetricsState, members: Members) -> Members:
    since, until = (
        int(_seconds(members["StartTime"])),
        int(_seconds(members["EndTime"])),
    )
    results = [
        _result(state, query, since, until) for query in members["MetricDataQueries"]
    ]
    if members.get("ScanBy") == "TimestampAscending":
        return {"MetricDataResults": results}
    return {"MetricDataResults": [_reversed(result) for result in results]}


def _result(state: MetricsState, query: Members, since: int, until: int) -> Members:
    stat = query["MetricStat"]
    metric = stat["Metric"]
    series = key(
        metric["Namespace"], metric["MetricName"], metric.get("Dimensions", [])
    )
    found = sorted(state.read(series, since, until, int(stat["Period"])).items())
    return {
        "Id": query["Id"],
        "Label": query.get("Label", metric["MetricName"]),
        "Timestamps": [float(second) for second, _ in found],
        "Values": [_statistic(made, stat["Stat"]) for _, made in found],
        "StatusCode": "Complete",
    }


def _reversed(result: Members) -> Members:
    return {
        **result,
        "Timestamps": result["Timestamps"][::-1],
        "Values": result["Values"][::-1],
    }


def _statistic(made: Sum, name: str) -> float:
    if trimmed := TRIMMED.match(name):
        return made.within(
            float(trimmed["low"] or "-inf"), float(trimmed["high"] or "inf")
        )
    known = {
        "Sum": made.total,
        "SampleCount": made.count,
        "Minimum": made.least,
        "Maximum": made.most,
    }
    return made.total / made.count if name == "Average" else known[name]


def _seconds(moment: Any) -> float:
    if moment is None:
        return datetime.now(UTC).timestamp()
    if isinstance(moment, int | float):
        return float(moment)
    text = (
        datetime.fromisoformat(str(moment).replace("Z", "+00:00"))
        if not isinstance(moment, datetime)
        else moment
    )
    return text.timestamp()
