"""Say what a load balancer counts of a shift, and what it counts for nobody.

Pure. Source: CloudWatch metrics for your Application Load Balancer. A series of a
target group exists by LoadBalancer and TargetGroup together alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from runbook_lib.aws.series import NOBODY, OF_GRPC, Counted, Series
from runbook_lib.engines.alb.groups import read_groups
from runbook_lib.engines.protocol import Idle, Look, Path, SeriesOf, Split
from runbook_lib.parameters import Parameters

NAMESPACE = "AWS/ApplicationELB"
# until requests begun before a weight of 0 have left the group, and no fewer
SETTLES_SECONDS = 120
NOBODYS = (
    "answers of 502, 503 and 504 that the load balancer makes by itself, and callers "
    "that give up, are laid at the door of the version that did not answer"
)
# What the load balancer counts for neither version; a caller that gives up is a 460.
OWN = ("502", "503", "504", "4XX")
ANSWERS = ("2XX", "3XX", "4XX", "5XX")


def series(p: Parameters, split: Split) -> SeriesOf:
    """Return what counts requests, errors and slow requests by service: the load
    balancer, by target group; and what it counts for neither.

    Its names exist only live. A version whose target group is gone has no series.
    """
    found = {name: _series_of(p, split, name) for name in p.shift.versions}
    if "load balancer" not in split.ids:  # nothing divides the traffic yet
        return found
    own = _each("HTTPCode_ELB_{}_Count", OWN, _whole(split))
    return found | {NOBODY: {"errors": own}}


def _whole(split: Split) -> dict[str, str]:
    return {"LoadBalancer": split.ids["load balancer"]}


def _each(
    metric: str, kinds: Iterable[str], dimensions: Mapping[str, str]
) -> tuple[Series, ...]:
    return tuple(Series(metric.format(kind), dimensions, NAMESPACE) for kind in kinds)


def _series_of(
    p: Parameters, split: Split, service: str
) -> dict[str, tuple[Series, ...]]:
    if not {service, "load balancer"} <= split.ids.keys():
        return {"requests": (), "errors": (), "latency": (), "answers": ()}
    dimensions = _whole(split) | {"TargetGroup": split.ids[service]}
    slow_millis = p.shift.verdict.slow_millis
    # the metric is in seconds
    slow = f"TC({slow_millis / 1000:g}:)" if slow_millis else ""
    return {
        "requests": (Series("RequestCount", dimensions, NAMESPACE),),
        "errors": (
            Series("HTTPCode_Target_5XX_Count", dimensions, NAMESPACE),
            Series("TargetConnectionErrorCount", dimensions, NAMESPACE),
        ),
        "latency": (Series("TargetResponseTime", dimensions, NAMESPACE, stat=slow),),
        "answers": _each("HTTPCode_Target_{}_Count", ANSWERS, dimensions),
    }


def idle(look: Look) -> Idle:
    """Return what shows that nobody is sent to the stable service any more; health
    checks are not counted.
    """
    p, shift = look.parameters, look.parameters.shift
    counted = series(p, look.split)
    delay = look.once(read_groups)[shift.stable].delay_seconds
    # the local one has a weight at once
    settles = 0 if p.rehearsed else SETTLES_SECONDS
    return Idle(
        stable=counted[shift.stable]["requests"],
        witness=counted[shift.canary]["requests"],
        least_seconds=max(settles, delay),
        uncounted_hint="metrics are missing, or nobody calls: see RequestCount of "
        "the load balancer",
        called_hint="find the rule that still sends it requests, in any listener of "
        "the load balancer",
    )


def path(look: Look) -> Path:
    """Return what shows that requests pass the load balancer: it counts those to the
    stable version, or to the one that took over.
    """
    counted = series(look.parameters, look.split)
    requests: list[Series] = []
    for name in look.parameters.shift.versions:
        requests += counted[name]["requests"]
    return Path(
        name="requests pass the load balancer",
        counted={"the load balancer counts": tuple(requests)},
        good="it counts requests",
        hint="see that calls are made meanwhile, and that they match the "
        "rule's conditions",
    )


def counted(p: Parameters) -> Counted:
    """Return what its series can show."""
    if p.protocol == "grpc":
        return Counted(requests=True, errors=False, words=OF_GRPC)
    words = f"5XX answers of targets and failed connections to them; {NOBODYS}"
    return Counted(requests=True, errors=True, words=words)


def unmatched(p: Parameters) -> list[str]:
    """Return nothing: what does not match the rule goes where it went before."""
    return []
