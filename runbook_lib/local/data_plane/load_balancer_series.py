"""What a load balancer's Envoy counted, as the series of `AWS/ApplicationELB`. Pure.

Sparse as AWS's: what did not happen is not reported. A group's own figures are under
{TargetGroup, LoadBalancer}, the load balancer's under {LoadBalancer}; codes that the
load balancer makes itself are the load balancer's only. Times are seconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from runbook_lib.local.control_plane.metrics import Series, Sum, key
from runbook_lib.local.data_plane.load_balancer import LoadBalancer, resource_name
from runbook_lib.local.data_plane.load_balancer_routes import FIXED

__all__ = ["NAMESPACE", "Counted", "End", "series"]

NAMESPACE = "AWS/ApplicationELB"
NO_TARGET = "UH"
GAVE_UP = "DC"  # the caller, before there was an answer: a 460 on AWS
OWN_CODES = ("502", "503", "504")

# answers by the upper bound of their time in milliseconds
Times = tuple[tuple[float, int], ...]


@dataclass(frozen=True, slots=True)
class End:
    """How requests ended: at which group's cluster, by which kind of route, with what
    status, and Envoy's flags.
    """

    cluster: str
    route: str
    code: str
    flags: str

    @property
    def is_answer(self) -> bool:
        """Say whether a target answered."""
        return bool(self.cluster) and self.flags == "-"

    @property
    def is_own(self) -> bool:
        """Say whether the load balancer made the status itself, but
        not as its rule says.
        """
        return not self.is_answer and self.route != FIXED

    @property
    def own_code(self) -> str:
        """The status that the load balancer counts, where it made it itself."""
        if not self.is_own:
            return ""
        return "460" if self.flags == GAVE_UP else self.code


@dataclass(frozen=True, slots=True)
class Counted:
    """What an Envoy has counted since it started."""

    ends: Mapping[End, int] = field(default_factory=dict)
    connection_errors: Mapping[str, int] = field(default_factory=dict)  # by cluster
    times: Mapping[str, Times] = field(default_factory=dict)  # by cluster

    def since(self, before: Counted) -> Counted:
        """Return what was counted since an earlier reading; counters that fell
        began at zero again.
        """
        return Counted(
            ends={
                end: _grown(before.ends.get(end, 0), now)
                for end, now in self.ends.items()
            },
            connection_errors={
                cluster: _grown(before.connection_errors.get(cluster, 0), now)
                for cluster, now in self.connection_errors.items()
            },
            times={
                cluster: _later(before.times.get(cluster, ()), now)
                for cluster, now in self.times.items()
            },
        )


def _grown(before: int, now: int) -> int:
    return now - before if now >= before else now


def _later(before: Times, now: Times) -> Times:
    former = dict(before)
    return tuple((bound, _grown(former.get(bound, 0), count)) for bound, count in now)


def series(balancer: LoadBalancer, counted: Counted) -> Iterator[tuple[Series, Sum]]:
    """Yield what is reported of a period."""
    whole = [{"Name": "LoadBalancer", "Value": balancer.name}]
    for metric, count in _totals(counted).items():
        if count:
            yield key(NAMESPACE, metric, whole), _sum(count)
    for group in balancer.groups:
        dimensions = [
            {"Name": "TargetGroup", "Value": resource_name(group.arn)},
            *whole,
        ]
        for metric, count in _of_group(group.cluster, counted).items():
            if count:
                yield key(NAMESPACE, metric, dimensions), _sum(count)
        times = [
            (bound / 1000, count)
            for bound, count in counted.times.get(group.cluster, ())
            if count
        ]
        if times:
            yield key(NAMESPACE, "TargetResponseTime", dimensions), _of(times)
        if group.healthy + group.unhealthy:
            yield (
                key(NAMESPACE, "HealthyHostCount", dimensions),
                _of([(float(group.healthy), 1)]),
            )
            yield (
                key(NAMESPACE, "UnHealthyHostCount", dimensions),
                _of([(float(group.unhealthy), 1)]),
            )


def _of_group(cluster: str, counted: Counted) -> Counter[str]:
    """Return the counts of one group: a request counts where a target
    could be chosen for it.
    """
    found: Counter[str] = Counter()
    for end, count in counted.ends.items():
        if end.cluster != cluster or end.flags == NO_TARGET:
            continue
        found["RequestCount"] += count
        if end.is_answer:
            found[f"HTTPCode_Target_{end.code[:1]}XX_Count"] += count
    found["TargetConnectionErrorCount"] = counted.connection_errors.get(cluster, 0)
    return found


def _totals(counted: Counted) -> Counter[str]:
    """Return the counts of the whole load balancer."""
    found: Counter[str] = Counter()
    clusters = {end.cluster for end in counted.ends if end.cluster}
    for cluster in clusters:
        found += _of_group(cluster, counted)
    for end, count in counted.ends.items():
        code = end.own_code
        if code[:1] in ("4", "5"):
            found[f"HTTPCode_ELB_{code[:1]}XX_Count"] += count
        if code in OWN_CODES:
            found[f"HTTPCode_ELB_{code}_Count"] += count
        if end.route == FIXED:
            found["HTTP_Fixed_Response_Count"] += count
    return found


def _sum(count: int) -> Sum:
    """Return a count as CloudWatch keeps one: so many times the value 1."""
    return _of([(1.0, count)])


def _of(values: list[tuple[float, int]]) -> Sum:
    made = Sum()
    for value, count in values:
        made.add(value, count)
    return made
