"""Build every App Mesh resource the parameters ask for, at a given point of the
application's life.

Pure: parameters and a `Lifecycle` in, API-shaped dicts out. A field the parameters
cannot speak of is left unsaid, and so survives an update. Of those they can speak of, a
key that the file has is stated, where null or empty takes the field out (None); a key
that it does not have is a `Default`, for what is made anew alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from runbook_lib.aws.naming import partition, tags
from runbook_lib.engines.protocol import Target
from runbook_lib.lifecycle import Lifecycle
from runbook_lib.parameters.appmesh import (
    Header,
    HealthCheck,
    Match,
    Retry,
    Route,
    Timeout,
)
from runbook_lib.parameters.model import Parameters
from runbook_lib.plan import Default, merged, stated
from runbook_lib.plan.states import empty

LIMITS = ("timeout", "http", "http2", "grpc", "tcp")
SPEC_OF = {
    "http": "httpRoute",
    "http2": "http2Route",
    "grpc": "grpcRoute",
    "tcp": "tcpRoute",
}


@dataclass(frozen=True, slots=True)
class Resource:
    """One thing that should exist: what it is, its names, its spec, and the
    notebook that makes it.
    """

    kind: str
    names: Mapping[str, str]
    spec: Mapping[str, Any]
    step: str
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its own name: the innermost."""
        return list(self.names.values())[-1]

    @property
    def key(self) -> str:
        """What it is called in plans."""
        return f"{self.kind} {'/'.join(list(self.names.values())[1:]) or self.name}"


def created(resource: Resource) -> dict[str, Any]:
    """Return the spec of a resource that is not there yet."""
    spec: dict[str, Any] = _without_empty_limits(stated(resource.spec))
    return spec


def updated(resource: Resource, live: Mapping[str, Any]) -> dict[str, Any]:
    """Return the spec that a resource with the `live` one should have: equal where
    nothing is to change.
    """
    spec: dict[str, Any] = _without_empty_limits(merged(live, resource.spec))
    return spec


def _without_empty_limits(spec: Any) -> Any:
    """Return a spec without the time limits that say nothing; every other field is
    kept, empty or not.
    """
    if isinstance(spec, list):
        return [_without_empty_limits(item) for item in spec]
    if not isinstance(spec, Mapping):
        return spec
    fields = {key: _without_empty_limits(value) for key, value in spec.items()}
    return {
        key: value
        for key, value in fields.items()
        if key not in LIMITS or not empty(value)
    }


def desired(p: Parameters, life: Lifecycle) -> tuple[Resource, ...]:
    """Return every resource, in the order in which they can be made.

    Route before the provider that leads to it: a router attached without routes may
    never reach Envoy.
    """
    return (
        _mesh(p),
        *_virtual_services(p),
        *_virtual_nodes(p, life),
        *_routers_and_routes(p, life),
        *_providers(p, life),
    )


def _resource(
    p: Parameters, kind: str, step: str, spec: Mapping[str, Any], **names: str
) -> Resource:
    return Resource(kind, {"meshName": p.mesh.name, **names}, spec, step, tags(p))


def _mesh(p: Parameters) -> Resource:
    egress = said(p.mesh, "egress", {"type": p.mesh.egress})
    return _resource(p, "mesh", "01", {"egressFilter": egress})


def _virtual_services(p: Parameters) -> Iterator[Resource]:
    """Yield them without providers: nodes may name them as backends
    before these are there.
    """
    for name in p.virtual_services:
        yield _resource(p, "virtual service", "01", {}, virtualServiceName=name)


def _virtual_nodes(p: Parameters, life: Lifecycle) -> Iterator[Resource]:
    for name in p.services:
        if name not in life.retired:
            yield _resource(
                p, "virtual node", "02", _node(p, name), virtualNodeName=name
            )


def _routers_and_routes(p: Parameters, life: Lifecycle) -> Iterator[Resource]:
    for name, router in p.routers.items():
        protocol = router.protocol or p.protocol
        listener = {
            "portMapping": {"port": router.port or p.port, "protocol": protocol}
        }
        spec = {"listeners": [listener]}
        yield _resource(p, "virtual router", "03", spec, virtualRouterName=name)
        for route_name, route in router.routes.items():
            weights = _weights(p, life, name, route_name, route)
            spec = route_spec(route, protocol, weights)
            yield _resource(
                p, "route", "03", spec, virtualRouterName=name, routeName=route_name
            )


def _providers(p: Parameters, life: Lifecycle) -> Iterator[Resource]:
    for name, provider in p.virtual_services.items():
        if not provider.router and provider.node in life.retired:
            continue
        node = {"virtualNodeName": provider.node} if provider.node else None
        router = {"virtualRouterName": provider.router} if provider.router else None
        spec = {"provider": {"virtualNode": node, "virtualRouter": router}}
        yield _resource(p, "virtual service", "03", spec, virtualServiceName=name)


def quotas(p: Parameters, tasks: int = 0) -> list[tuple[str, int, int]]:
    """Return (what, how many the file asks for, the default quota) for each App Mesh
    quota that can bind here.

    `tasks` is how many the largest service has now.
    Source: Service Quotas, service code appmesh; ten weighted targets a route is fixed.
    """
    routes = [
        route for router in p.routers.values() for route in router.routes.values()
    ]
    services = p.services.values()
    most_routes = max((len(router.routes) for router in p.routers.values()), default=0)
    most_targets = max((len(route.names) for route in routes), default=0)
    most_backends = max(len(service.backends) for service in services)
    most_tasks = max(tasks, *(service.desired_count for service in services))
    return [
        ("virtual services per mesh", len(p.virtual_services), 200),
        ("virtual nodes per mesh", len(services), 200),
        ("virtual routers per mesh", len(p.routers), 200),
        ("routes per router", most_routes, 50),
        ("weighted targets per route", most_targets, 10),
        ("backends per node", most_backends, 50),
        ("connected Envoys per node", most_tasks, 50),
    ]


def node_arn(p: Parameters, service: str) -> str:
    """Return the ARN of a service's virtual node: the identity of its Envoy."""
    node = f"mesh/{p.mesh.name}/virtualNode/{service}"
    return f"arn:{partition(p)}:appmesh:{p.region}:{p.account_id}:{node}"


def said(record: BaseModel, key: str, value: Any) -> Any:
    """Return the API's value of a key of the parameters: as it is where the file has
    the key, else a default.

    None, which takes a field out, stands for a value that is empty.
    """
    wanted = None if empty(value) else value
    return wanted if key in record.model_fields_set else Default(wanted)


def _node(p: Parameters, name: str) -> dict[str, Any]:
    service = p.services[name]
    backends = [
        {"virtualService": {"virtualServiceName": backend}}
        for backend in service.backends
    ]
    speaker = service if "access_log" in service.model_fields_set else p.envoy
    log = None
    if speaker.access_log:
        log = {"accessLog": {"file": {"path": speaker.access_log}}}
    return {
        "listeners": [_listener(p, name, port) for port in p.ports_of(name)] or None,
        "serviceDiscovery": None if p.only_calls(name) else _discovery(p, name),
        "backends": said(service, "backends", backends),
        "logging": said(speaker, "access_log", log),
    }


def _listener(p: Parameters, name: str, port: int) -> dict[str, Any]:
    service, protocol = p.services[name], p.protocol_of(name)
    check = (
        _health_check(service.health_check, protocol, port)
        if service.health_check
        else None
    )
    timeout = (
        {protocol: _timeout(service.timeout, protocol)} if service.timeout else None
    )
    return {
        "portMapping": {"port": port, "protocol": protocol},
        "healthCheck": said(service, "health_check", check),
        "timeout": said(service, "timeout", timeout),
    }


def _discovery(p: Parameters, name: str) -> dict[str, Any]:
    service, cloud = p.services[name], p.services[name].cloud_map
    if cloud is None:
        return {"dns": {"hostname": service.hostname}, "awsCloudMap": None}
    attributes = [
        {"key": key, "value": value} for key, value in cloud.attributes.items()
    ]
    found = {
        "namespaceName": cloud.namespace or p.namespace,
        "serviceName": cloud.service,
        "attributes": said(cloud, "attributes", attributes),
    }
    return {"dns": None, "awsCloudMap": found}


def _health_check(check: HealthCheck, protocol: str, port: int) -> dict[str, Any]:
    asked = protocol in ("http", "http2")  # tcp and grpc know no path
    return {
        "protocol": protocol,
        "port": port,
        "intervalMillis": said(check, "interval_millis", check.interval_millis),
        "timeoutMillis": said(check, "timeout_millis", check.timeout_millis),
        "healthyThreshold": said(check, "healthy_threshold", check.healthy_threshold),
        "unhealthyThreshold": said(
            check, "unhealthy_threshold", check.unhealthy_threshold
        ),
        "path": said(check, "path", check.path or "/") if asked else None,
    }


def _timeout(timeout: Timeout, protocol: str) -> dict[str, Any]:
    limits = {"idle": said(timeout, "idle_seconds", _seconds(timeout.idle_seconds))}
    if protocol != "tcp":
        limits["perRequest"] = said(
            timeout, "per_request_seconds", _seconds(timeout.per_request_seconds)
        )
    return limits


def _seconds(value: int | None) -> dict[str, Any] | None:
    return None if value is None else {"unit": "s", "value": value}


def _weights(
    p: Parameters, life: Lifecycle, router: str, name: str, route: Route
) -> dict[str, int]:
    """Return a route's weights: those in force where it is under
    shift, else the file's.
    """
    if (router, name) == (p.router, p.route):
        return dict(life.weights) or {p.shift.stable: 100, p.shift.canary: 0}
    if isinstance(route.targets, dict):
        return dict(route.targets)
    return dict.fromkeys(route.targets, 100)


def route_spec(
    route: Route, protocol: str, weights: Mapping[str, int]
) -> dict[str, Any]:
    """Return a route's spec of the router's protocol, with the other protocols'
    variants taken out.
    """
    body: dict[str, Any] = {"action": {"weightedTargets": targets(weights)}}
    if protocol == "grpc":
        body["match"] = said(route, "match", _grpc_match(route.match))
    elif protocol == "tcp":
        by_port = {"port": route.match.port} if route.match.port else None
        body["match"] = said(route, "match", by_port)
    else:
        body["match"] = said(route, "match", _match(route.match))
    if protocol != "tcp":
        body["retryPolicy"] = said(route, "retry", _retry(route.retry, protocol))
    body["timeout"] = said(route, "timeout", _timeout(route.timeout, protocol))
    others: dict[str, Any] = dict.fromkeys(SPEC_OF.values())
    return {
        **others,
        "priority": said(route, "priority", route.priority),
        SPEC_OF[protocol]: body,
    }


def targets(weights: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return weighted targets as the API writes them."""
    return [{"virtualNode": name, "weight": weight} for name, weight in weights.items()]


def variant_of(state: Mapping[str, Any]) -> str:
    """Return under which of its names a route's spec is there: `http2Route`, say."""
    return next(variant for variant in SPEC_OF.values() if state["spec"].get(variant))


def targets_in(state: Mapping[str, Any] | None) -> tuple[Target, ...]:
    """Return the targets of a route in this state, as they are written there."""
    if state is None:
        return ()
    written = state["spec"][variant_of(state)]["action"]["weightedTargets"]
    return tuple(Target(target["virtualNode"], target["weight"]) for target in written)


def _match(match: Match) -> dict[str, Any]:
    headers = [_header(header) for header in match.headers]
    queries = [
        {"name": query.name, "match": {"exact": query.exact} if query.exact else None}
        for query in match.query_parameters
    ]
    return {
        **_path(match),
        "method": said(match, "method", match.method),
        "headers": said(match, "headers", headers),
        "queryParameters": said(match, "query_parameters", queries),
        "scheme": said(match, "scheme", match.scheme),
        "port": said(match, "port", match.port),
    }


def _path(match: Match) -> dict[str, Any]:
    """Return the one of prefix and path that a match is for: App Mesh takes either."""
    if match.path or match.path_regex:
        path = {"exact": match.path, "regex": match.path_regex}
        return {"path": path, "prefix": None}
    if {"path", "path_regex", "prefix"} & match.model_fields_set:
        return {"path": None, "prefix": match.prefix or "/"}
    return {"prefix": Default("/")}


def _grpc_match(match: Match) -> dict[str, Any]:
    metadata = [_header(header) for header in match.headers]
    return {
        "serviceName": said(match, "service", match.service),
        "methodName": said(match, "grpc_method", match.grpc_method),
        "metadata": said(match, "headers", metadata),
        "port": said(match, "port", match.port),
    }


def _header(header: Header) -> dict[str, Any]:
    """Return a header with all that it is matched by: another way to
    match it is taken out.
    """
    ways: dict[str, Any] = {
        "exact": header.exact,
        "prefix": header.prefix or None,
        "suffix": header.suffix or None,
        "regex": header.regex or None,
        "range": header.range.model_dump() if header.range else None,
    }
    match = ways if any(value is not None for value in ways.values()) else None
    return {"name": header.name, "invert": header.invert, "match": match}


def _retry(retry: Retry, protocol: str) -> dict[str, Any]:
    each = {"unit": "ms", "value": retry.per_retry_timeout_millis}
    policy = {
        "maxRetries": said(retry, "max_retries", retry.max_retries),
        "perRetryTimeout": said(retry, "per_retry_timeout_millis", each),
        "httpRetryEvents": said(retry, "http_events", retry.http_events),
        "tcpRetryEvents": said(retry, "tcp_events", retry.tcp_events),
    }
    if protocol == "grpc":
        policy["grpcRetryEvents"] = said(retry, "grpc_events", retry.grpc_events)
    return policy
