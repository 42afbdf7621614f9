"""What App Mesh refuses beyond the shapes of its model: rules between members and
between resources.

Sources are facts/appmesh.md 2.3 and 2.5, whose words are used. Inferred, because no
source states them: a reference to a node, router or virtual service that does not exist
is NotFoundException; a route whose type is not the protocol of its router's listener,
and a listener's protocol changed under such routes, is BadRequestException
(controller#767 only says that it fails); a name that is taken is ConflictException; the
words of the refusals marked [inferred] below. Weights may sum to anything (boto3#3792)
and may all be 0. A backend may name a virtual service that does not exist. It reads the
store and changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from runbook_lib.local.control_plane.mesh_resources import (
    KINDS,
    Kind,
    MeshState,
    Names,
    Resource,
)
from runbook_lib.local.control_plane.wire import ApiError

__all__ = ["check_free", "check_names", "check_quota", "check_spec"]

ROUTES = {
    "http": "httpRoute",
    "http2": "http2Route",
    "grpc": "grpcRoute",
    "tcp": "tcpRoute",
}
QUOTAS = {
    "Mesh": 15,
    "VirtualService": 200,
    "VirtualNode": 200,
    "VirtualRouter": 200,
    "Route": 50,
    "VirtualGateway": 3,
}
BACKENDS = 50
# members of a listener that name its protocol
BY_PROTOCOL = ("timeout", "connectionPool")


def bad_request(message: str) -> ApiError:
    """Return BadRequestException, 400."""
    return ApiError("BadRequestException", message, 400)


def in_use(message: str) -> ApiError:
    """Return ResourceInUseException, 409."""
    return ApiError("ResourceInUseException", message, 409)


def check_names(kind: Kind, names: Names) -> None:
    """Refuse a name with other than letters, digits, `-` and `_`; a virtual
    service's name is free.
    """
    for member, name in zip(kind.names, names, strict=True):
        pattern = (
            r"\S{1,255}" if member == "virtualServiceName" else "[a-zA-Z0-9_-]{1,255}"
        )
        if not re.fullmatch(pattern, name):
            raise bad_request(
                f"1 validation error detected: Value '{name}' at '{member}' failed "
                "to satisfy constraint: "
                f"Member must satisfy regular expression pattern: {pattern}"
            )


def check_quota(state: MeshState, kind: Kind, names: Names) -> None:
    """Refuse one more than the default quota allows."""
    limit = QUOTAS.get(kind.name)
    if limit is not None and len(state.under(kind.name, names[:-1])) >= limit:
        raise ApiError(
            "LimitExceededException", f"Limit of {limit} {kind.listed} exceeded.", 400
        )


def check_spec(
    state: MeshState, kind: Kind, names: Names, spec: dict[str, Any]
) -> None:
    """Refuse a spec that contradicts itself or what is already there."""
    checks = {
        "VirtualNode": _check_node,
        "VirtualRouter": _check_router,
        "VirtualService": _check_service,
        "Route": _check_route,
        "GatewayRoute": _check_gateway_route,
    }
    if check := checks.get(kind.name):
        check(state, names, spec)


def _check_node(state: MeshState, names: Names, spec: dict[str, Any]) -> None:
    if spec.get("listeners") and not spec.get("serviceDiscovery"):
        # [inferred]
        raise bad_request(
            "Service discovery must be specified when a VirtualNode has listeners"
        )
    if len(spec.get("backends", [])) > BACKENDS:
        raise ApiError(
            "LimitExceededException", f"Limit of {BACKENDS} backends exceeded.", 400
        )
    for listener in spec.get("listeners", []):
        for part in BY_PROTOCOL:
            given = set(listener.get(part, {}))
            if given and given != {listener["portMapping"]["protocol"]}:
                # [inferred]
                raise bad_request(f"Listener {part} must match the listener's protocol")


def _check_router(state: MeshState, names: Names, spec: dict[str, Any]) -> None:
    routes = state.under("Route", names)
    listeners = spec.get("listeners", [])
    missing = [r.name for r in routes if "port" not in _match(r.spec)]
    if len(listeners) > 1 and missing:
        raise bad_request(
            "All Routes for this Virtual Router must define a port match before "
            "adding multiple listeners to "
            f"this Virtual Router. {len(missing)} Route(s) are missing port. "
            f"Listing up to 5 route names: [{', '.join(missing[:5])}]"
        )
    for route in routes:
        _check_protocol(listeners, route.spec)


def _check_service(state: MeshState, names: Names, spec: dict[str, Any]) -> None:
    for kind in ("virtualNode", "virtualRouter"):
        if provider := spec.get("provider", {}).get(kind):
            state.get(kind[0].upper() + kind[1:], (names[0], provider[f"{kind}Name"]))


def _check_route(state: MeshState, names: Names, spec: dict[str, Any]) -> None:
    _one_of(spec, ROUTES.values())
    listeners = state.get("VirtualRouter", names[:-1]).spec.get("listeners", [])
    _check_match(spec)
    if len(listeners) > 1 and "port" not in _match(spec):
        raise bad_request(
            "Route must define a port match criteria if the Virtual Router has "
            "multiple listeners"
        )
    _check_protocol(listeners, spec)
    _check_retries(spec)
    _check_targets(state, names, spec)


def _check_targets(state: MeshState, names: Names, spec: dict[str, Any]) -> None:
    targets = [(target["virtualNode"], target.get("port")) for target in _targets(spec)]
    if len(targets) != len(set(targets)):
        # [inferred]
        raise bad_request("Weighted targets must be distinct virtual nodes")
    for node, _ in targets:
        state.get("VirtualNode", (names[0], node))


def _check_retries(spec: dict[str, Any]) -> None:
    policy = _body(spec).get("retryPolicy")
    if policy is not None and not any(key.endswith("RetryEvents") for key in policy):
        # the rule: facts 2.3; words [inferred]
        raise bad_request("Retry policy must have at least one retry event")


def _check_match(spec: dict[str, Any]) -> None:
    match = _match(spec)
    for route in ("httpRoute", "http2Route"):
        if route in spec and "prefix" in match and "path" in match:
            # [inferred]
            raise bad_request("Route match must have either prefix or path, not both")
    if not str(match.get("prefix", "/")).startswith("/"):
        raise bad_request("Route match prefix must always start with /")


def _check_protocol(listeners: list[dict[str, Any]], spec: dict[str, Any]) -> None:
    """Compare with the listener the route's port names, else with the
    only one. [inferred]
    """
    port = _match(spec).get("port")
    mappings = [listener["portMapping"] for listener in listeners]
    chosen = [m for m in mappings if port in (None, m["port"])]
    if mappings and not chosen:
        raise bad_request(
            f"Route port match {port} is not a listener port of the Virtual Router"
        )
    if chosen and all(ROUTES[mapping["protocol"]] not in spec for mapping in chosen):
        protocol = chosen[0]["protocol"]
        raise bad_request(
            f"{next(iter(spec))} does not match the protocol {protocol} of the "
            "Virtual Router's listener"
        )


def _check_gateway_route(state: MeshState, names: Names, spec: dict[str, Any]) -> None:
    _one_of(spec, ("httpRoute", "http2Route", "grpcRoute"))
    state.get("VirtualService", (names[0], _gateway_target(spec)))


def _one_of(spec: dict[str, Any], choices: Any) -> None:
    given = [choice for choice in choices if choice in spec]
    if len(given) != 1:
        # [inferred]
        raise bad_request(
            f"Spec must have exactly one of [{', '.join(sorted(choices))}]"
        )


def _body(spec: dict[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = next(
        (spec[key] for key in ROUTES.values() if key in spec), {}
    )
    return body


def _match(spec: dict[str, Any]) -> dict[str, Any]:
    match: dict[str, Any] = _body(spec).get("match") or {}
    return match


def _targets(spec: dict[str, Any]) -> list[dict[str, Any]]:
    targets: list[dict[str, Any]] = (
        _body(spec).get("action", {}).get("weightedTargets", [])
    )
    return targets


def check_free(state: MeshState, resource: Resource) -> None:
    """Refuse to delete what something else needs; a target with weight
    0 is still a target.
    """
    for refusal in _uses(state, resource):
        raise in_use(refusal)


def _uses(state: MeshState, resource: Resource) -> Iterator[str]:
    name = (
        f"{resource.kind.name} with name {resource.name} cannot be deleted because it"
    )
    if resource.kind.name == "VirtualNode" and _targeting(state, resource):
        yield f"{name} is the target of one or more routes."
    if resource.kind.name in ("VirtualNode", "VirtualRouter") and _provides(
        state, resource
    ):
        yield f"{name} is a VirtualService provider"
    if resource.kind.name == "VirtualRouter" and state.under("Route", resource.names):
        yield f"{name} has one or more routes."  # [inferred]
    if resource.kind.name == "VirtualGateway" and state.under(
        "GatewayRoute", resource.names
    ):
        yield f"{name} has one or more gateway routes."  # [inferred]
    if resource.kind.name == "VirtualService" and (
        routes := _gateway_routes(state, resource)
    ):
        place = f"the following: GATEWAY_ROUTE: [{routes}]"
        yield f"VirtualService {resource.name} is being referenced in {place}"
    if resource.kind.name == "Mesh":
        yield from _inhabited(state, resource)


def _targeting(state: MeshState, node: Resource) -> bool:
    routes = state.under("Route", node.names[:1])
    return any(
        target["virtualNode"] == node.name
        for route in routes
        for target in _targets(route.spec)
    )


def _provides(state: MeshState, resource: Resource) -> bool:
    providers = [
        s.spec.get("provider", {})
        for s in state.under("VirtualService", resource.names[:1])
    ]
    return any(
        p.get(resource.kind.key, {}).get(resource.kind.owner) == resource.name
        for p in providers
    )


def _gateway_routes(state: MeshState, service: Resource) -> str:
    routes = state.under("GatewayRoute", service.names[:1])
    return ", ".join(
        route.name for route in routes if _gateway_target(route.spec) == service.name
    )


def _gateway_target(spec: dict[str, Any]) -> str:
    return str(_body(spec)["action"]["target"]["virtualService"]["virtualServiceName"])


def _inhabited(state: MeshState, mesh: Resource) -> Iterator[str]:
    for kind in ("VirtualGateway", "VirtualService", "VirtualRouter", "VirtualNode"):
        if state.under(kind, mesh.names):
            plural = KINDS[kind].name + "s"
            yield (
                f"Mesh {mesh.name} for account {state.account} has active {plural}, "
                f"please delete {plural} before deleting the Mesh"
            )
