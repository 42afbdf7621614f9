"""App Mesh routes as Envoy route configurations: matches, weights,
retries and timeouts.

Pure; the only module that knows how a route's match and policy are
said in Envoy's words.
"""

from __future__ import annotations

from collections.abc import Iterator

from runbook_lib.errors import PlanError
from runbook_lib.local.data_plane.resources import (
    Json,
    Mesh,
    Resource,
    Target,
    backends,
    doors,
    route_body,
    strangers,
    targets,
)

EGRESS = "rds_egress_http_15001"
PREVIOUS_HOSTS = (
    "type.googleapis.com/envoy.extensions.retry.host."
    "previous_hosts.v3.PreviousHostsPredicate"
)
ROUTE_CONFIGURATION = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
DEFAULT_TIMEOUT = "15s"
PASSED = "_mesh-allow-all"  # ends the cluster name of a node ALLOW_ALL lets through
# a route without a priority comes after every one that has one (0 to 1000)
LOWEST_PRIORITY = 1001

HTTP_EVENTS = {
    "server-error": (["reset", "retriable-status-codes"], [*range(500, 509), 510, 511]),
    "gateway-error": (["reset", "retriable-status-codes"], [502, 503, 504]),
    "client-error": (["retriable-status-codes"], [409]),
    "stream-error": (["refused-stream"], []),
}
# What App Mesh adds where a route says nothing; no API call shows it
# (aws-app-mesh-roadmap#229).
DEFAULT_RETRY: Json = {
    "retry_on": "connect-failure,refused-stream,retriable-status-codes,unavailable",
    "num_retries": 2,
    "retriable_status_codes": [503],
}


def duration(value: Resource) -> str:
    """Return an App Mesh duration as Envoy writes it."""
    return f"{value['value'] / (1000 if value['unit'] == 'ms' else 1):.9g}s"


def egress_routes(mesh: Mesh, node: str, egress_port: int) -> Json:
    """Return what a node may call: its backends by name, and under ALLOW_ALL the
    other nodes' own names.

    Envoy answers 404 to every other name. There is no original destination on loopback,
    so ALLOW_ALL reaches only what the mesh knows the place of.
    """
    hosts = [
        host
        for service in backends(mesh, node)
        for host in _virtual_hosts(mesh, service, egress_port)
    ]
    hosts += [
        _pass_through(name, place) for name, place in strangers(mesh, node).items()
    ]
    return _configuration(EGRESS, hosts)


def ingress_routes(place: Target) -> Json:
    """Return how a request from outside reaches the application behind one listener."""
    timeout = place.listener.get("timeout", {}).get(place.protocol, {})
    action = {"cluster": place.cluster("ingress"), **_timeouts(timeout)}
    route = {"match": {"prefix": "/"}, "route": action}
    return _configuration(
        ingress_name(place), [{"name": place.node, "domains": ["*"], "routes": [route]}]
    )


def ingress_name(place: Target) -> str:
    """Return App Mesh's name for a listener's route configuration."""
    return f"rds_ingress_http_{place.port}"


def _configuration(name: str, hosts: list[Json]) -> Json:
    # Without validate_clusters Envoy takes a route to an unknown cluster and answers
    # that share with 503.
    return {
        "@type": ROUTE_CONFIGURATION,
        "name": name,
        "validate_clusters": True,
        "virtual_hosts": hosts,
    }


def _virtual_hosts(mesh: Mesh, service: str, egress_port: int) -> Iterator[Json]:
    """Yield one virtual host a port, the bare name being the first's; without a
    provider it has no route.
    """
    for index, (port, listed) in enumerate(doors(mesh, service) or [(15001, [])]):
        bare = (
            [] if index else [service, f"{service}:15001", f"{service}:{egress_port}"]
        )
        routes = [_route(mesh, route) for route in sorted(listed, key=_precedence)]
        domains = list(dict.fromkeys([*bare, f"{service}:{port}"]))
        yield {
            "name": f"{service}:{port}" if index else service,
            "domains": domains,
            "routes": routes,
        }


def _pass_through(name: str, place: Target) -> Json:
    # No retry and no timeout: what passes a mesh unseen gets nothing of its defaults.
    action = {"cluster": place.cluster("egress") + PASSED, "timeout": "0s"}
    routes = [{"match": {"prefix": "/"}, "route": action}]
    return {"name": name, "domains": [name, f"{name}:{place.port}"], "routes": routes}


def _precedence(route: Resource) -> tuple[int, int, int, int, str]:
    """Return the order Envoy must see: priority, then exact path, longer
    prefix, fuller match.
    """
    match = route_body(route)["match"]
    path = match.get("path", {})
    place = (
        path.get("exact")
        or path.get("regex")
        or match.get("prefix")
        or match.get("serviceName")
        or ""
    )
    extra = len(match) + len(match.get("headers", [])) + len(match.get("metadata", []))
    priority = route["spec"].get("priority", LOWEST_PRIORITY)
    return (
        priority,
        0 if "exact" in path else 1,
        -len(place),
        -extra,
        str(route["routeName"]),
    )


def _route(mesh: Mesh, route: Resource) -> Json:
    body = route_body(route)
    clusters = [
        {"name": place.cluster("egress"), "weight": weight}
        for place, weight in targets(mesh, route)
    ]
    action = {
        "weighted_clusters": {"clusters": clusters},
        "retry_policy": retry_policy(body.get("retryPolicy")),
        **_timeouts(body.get("timeout", {})),
    }
    match = (
        _grpc_match(body["match"])
        if "grpcRoute" in route["spec"]
        else _http_match(body["match"])
    )
    return {"name": route["routeName"], "match": match, "route": action}


def _timeouts(timeout: Resource) -> Json:
    found = {
        "timeout": duration(timeout["perRequest"])
        if "perRequest" in timeout
        else DEFAULT_TIMEOUT
    }
    return found | (
        {"idle_timeout": duration(timeout["idle"])} if "idle" in timeout else {}
    )


def retry_policy(policy: Resource | None) -> Json:
    """Return a route's retry policy, the hidden default where it has none."""
    found = dict(DEFAULT_RETRY) if policy is None else _explicit(policy)
    name = "envoy.retry_host_predicates.previous_hosts"
    predicate = {"name": name, "typed_config": {"@type": PREVIOUS_HOSTS}}
    return found | {
        "retry_host_predicate": [predicate],
        "host_selection_retry_max_attempts": 5,
    }


def _explicit(policy: Resource) -> Json:
    events: list[str] = []
    codes: set[int] = set()
    for name in policy.get("httpRetryEvents", []):
        if name not in HTTP_EVENTS:
            raise PlanError(
                f"httpRetryEvents has {name!r}; App Mesh knows {', '.join(HTTP_EVENTS)}"
            )
        words, numbers = HTTP_EVENTS[name]
        events += words
        codes |= set(numbers)
    events += ["connect-failure" for _ in policy.get("tcpRetryEvents", [])]
    events += policy.get("grpcRetryEvents", [])
    found: Json = {
        "retry_on": ",".join(dict.fromkeys(events)),
        "num_retries": policy["maxRetries"],
    }
    if "perRetryTimeout" in policy:
        found["per_try_timeout"] = duration(policy["perRetryTimeout"])
    return found | ({"retriable_status_codes": sorted(codes)} if codes else {})


def _http_match(match: Resource) -> Json:
    path = match.get("path", {})
    found: Json = {"prefix": match.get("prefix", "/")}
    if "exact" in path:
        found = {"path": path["exact"]}
    elif "regex" in path:
        found = {"safe_regex": {"regex": path["regex"]}}
    pseudo = {":method": match.get("method"), ":scheme": match.get("scheme")}
    headers = [
        {"name": name, "string_match": {"exact": value}}
        for name, value in pseudo.items()
        if value
    ]
    headers += [_header(header) for header in match.get("headers", [])]
    queries = [_query(query) for query in match.get("queryParameters", [])]
    found |= {"headers": headers} if headers else {}
    return found | ({"query_parameters": queries} if queries else {})


def _grpc_match(match: Resource) -> Json:
    service, method = match.get("serviceName"), match.get("methodName")
    found: Json = {"prefix": f"/{service}/" if service else "/"}
    if service and method:
        found = {"path": f"/{service}/{method}"}
    elif method:
        found = {"safe_regex": {"regex": f"/[^/]+/{method}"}}
    headers = [_header(entry) for entry in match.get("metadata", [])]
    return found | {"grpc": {}} | ({"headers": headers} if headers else {})


def _header(header: Resource) -> Json:
    """Return one header or metadata match; without a `match` it asks only for the
    header's presence.
    """
    found: Json = {"name": header["name"]}
    match = header.get("match", {})
    if "range" in match:
        found["range_match"] = {
            "start": match["range"]["start"],
            "end": match["range"]["end"],
        }
    elif "regex" in match:
        found["string_match"] = {"safe_regex": {"regex": match["regex"]}}
    elif match:
        found["string_match"] = {
            kind: match[kind] for kind in ("exact", "prefix", "suffix") if kind in match
        }
    else:
        found["present_match"] = True
    return found | ({"invert_match": True} if header.get("invert") else {})


def _query(query: Resource) -> Json:
    exact = query.get("match", {}).get("exact")
    found: Json = (
        {"string_match": {"exact": exact}}
        if exact is not None
        else {"present_match": True}
    )
    return {"name": query["name"]} | found
