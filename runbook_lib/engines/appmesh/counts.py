"""Say what App Mesh counts of a shift, and what it leaves uncounted or unanswered.

Pure. Source: App Mesh's metric extension (`RequestCountPerTarget`,
`HTTPCode_Target_5XX_Count`, `TargetResponseTime` in milliseconds).
"""

from __future__ import annotations

from runbook_lib.aws.series import OF_GRPC, Counted, Series
from runbook_lib.engines.appmesh.sidecars import meshed
from runbook_lib.engines.protocol import Idle, Look, Path, SeriesOf, Split
from runbook_lib.parameters.appmesh import Match
from runbook_lib.parameters.model import Parameters
from runbook_lib.task_definition.image import tag_version

COUNTS_FROM = (1, 19, 1, 1)  # the first Envoy whose metric extension counts per target
OF_TCP = "no request of a tcp route is counted: App Mesh counts requests of HTTP alone"


def series(p: Parameters, split: Split | None = None) -> SeriesOf:
    """Return what counts requests, errors and slow requests by service: the callers'
    sidecars, by target.

    The parameters have every name that this takes.
    """
    return {target: _series_of(p, target) for target in p.shift.versions}


def _series_of(p: Parameters, target: str) -> dict[str, tuple[Series, ...]]:
    """Return what counts a target's requests, at each caller's sidecar."""
    requests, errors, latency = [], [], []
    slow_millis = p.shift.verdict.slow_millis
    slow = f"TC({slow_millis}:)" if slow_millis else ""
    for caller in p.callers_of(p.shift.name):
        dimensions = {
            "Mesh": p.mesh.name,
            "VirtualNode": caller,
            "TargetVirtualService": p.shift.name,
            "TargetVirtualNode": target,
        }
        requests.append(Series("RequestCountPerTarget", dimensions))
        errors.append(Series("HTTPCode_Target_5XX_Count", dimensions))
        latency.append(Series("TargetResponseTime", dimensions, stat=slow))
    return {
        "requests": tuple(requests),
        "errors": tuple(errors),
        "latency": tuple(latency),
    }


def inbound(p: Parameters, service: str) -> Series:
    """Return what counts everything that reaches a service's own
    sidecar, whoever called.
    """
    return Series("RequestCount", {"Mesh": p.mesh.name, "VirtualNode": service})


def idle(look: Look) -> Idle:
    """Return what shows that nobody sends the stable service anything any more.

    Not only callers that have an Envoy: its own sidecar counts.
    """
    p = look.parameters
    stable = p.shift.stable
    blind = ""
    if not meshed(look.running[stable]):
        blind = f"{stable} runs without a sidecar: who calls it is not counted"
    return Idle(
        stable=_reaching(p, stable),
        witness=_reaching(p, p.shift.canary),
        blind=blind,
        uncounted_hint="metrics are missing, or nobody calls: see the metric extension",
        blind_hint="deploy it with its sidecar, as 04 does",
        called_hint="find who still calls it: "
        "its own sidecar's access log says from where",
    )


def _reaching(p: Parameters, service: str) -> tuple[Series, ...]:
    """Return what counts a service's requests; its sidecar's own count includes
    its health checks.
    """
    if p.services[service].health_check is None:
        return (inbound(p, service),)
    return series(p)[service]["requests"]


def path(look: Look) -> Path:
    """Return what shows that requests pass both sidecars: the caller's and the
    one of who answers most of them.
    """
    p = look.parameters
    weights = look.split.weights
    answers = max(p.shift.versions, key=lambda name: weights.get(name, 0))
    return Path(
        name="requests pass both sidecars",
        counted={
            "callers' sidecars count": series(p)[answers]["requests"],
            f"{answers}'s": (inbound(p, answers),),
        },
        good="both count requests",
        hint="see that calls are made meanwhile, and that a route takes them; "
        "then look at the sidecars and ECS's events",
    )


def counted(p: Parameters) -> Counted:
    """Return what the series of `series` can show of the route under shift.

    Source: App Mesh's metric extension counts per target for HTTP alone, from
    Envoy v1.19.1.1 on.
    """
    protocol = p.protocol_of_router(p.router)
    version = tag_version(p.envoy.image_tag)
    if protocol == "tcp":
        return Counted(requests=False, errors=False, words=OF_TCP)
    if version is not None and version < COUNTS_FROM:
        words = (
            f"Envoy {p.envoy.image_tag} publishes no metric per target; v1.19.1.1 is "
            "the first that does"
        )
        return Counted(requests=False, errors=False, words=words)
    if protocol == "grpc":
        return Counted(requests=True, errors=False, words=OF_GRPC)
    words = "5XX answers are counted, retries included"
    return Counted(requests=True, errors=True, words=words)


def unmatched(p: Parameters) -> list[str]:
    """Return a sentence for each router that callers reach in which some requests match
    no route: those get a 404.
    """
    sentences = []
    for name in _routers_reached(p):
        routes = p.routers[name].routes
        if any(_takes_all(p, name, route.match) for route in routes.values()):
            continue
        conditions = [f"{key}: {_condition(routes[key].match)}" for key in routes]
        sentences.append(
            f"router {name}: a request that matches none of its routes "
            f"({'; '.join(conditions)}) is answered 404"
        )
    return sentences


def _routers_reached(p: Parameters) -> list[str]:
    """Return the routers that answer what some service calls."""
    routers: dict[str, None] = {}
    for name in sorted(p.dialled_by(p.services)):
        router = p.virtual_services[name].router
        if router:
            routers[router] = None
    return list(routers)


def _takes_all(p: Parameters, router: str, match: Match) -> bool:
    """Say whether a route takes every request that reaches its router."""
    protocol = p.protocol_of_router(router)
    if protocol == "tcp":
        return True
    if protocol == "grpc":
        return not (match.service or match.grpc_method or match.headers)
    anywhere = not (match.path or match.path_regex) and match.prefix in (None, "/")
    narrower = (match.method, match.scheme, match.headers, match.query_parameters)
    return anywhere and not any(narrower)


def _condition(match: Match) -> str:
    parts = {
        "path": match.path,
        "path like": match.path_regex,
        "prefix": match.prefix if match.prefix != "/" else None,
        "method": match.method,
        "scheme": match.scheme,
        "service": match.service,
        "gRPC method": match.grpc_method,
    }
    said = [f"{name} {value}" for name, value in parts.items() if value]
    said += [f"header {header.name}" for header in match.headers]
    said += [f"query parameter {query.name}" for query in match.query_parameters]
    return ", ".join(said)
