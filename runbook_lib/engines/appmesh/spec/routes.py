"""Build the spec of a route, and read the targets of one. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runbook_lib.engines.appmesh.spec.wanted import said, time_limits, value_of
from runbook_lib.engines.protocol import Target
from runbook_lib.parameters.appmesh import Header, Match, Retry, Route
from runbook_lib.plan import Default

SPEC_OF = {
    "http": "httpRoute",
    "http2": "http2Route",
    "grpc": "grpcRoute",
    "tcp": "tcpRoute",
}


def route_spec(
    route: Route, protocol: str, weights: Mapping[str, int]
) -> dict[str, Any]:
    """Return a route's spec of the router's protocol, with the other protocols'
    variants taken out.
    """
    body: dict[str, Any] = {
        "action": {"weightedTargets": targets(weights)},
        "match": said(route, "match", _match(route.match, protocol)),
    }
    if protocol != "tcp":
        body["retryPolicy"] = said(route, "retry", _retry(route.retry, protocol))
    body["timeout"] = said(route, "timeout", time_limits(route.timeout, protocol))
    spec: dict[str, Any] = dict.fromkeys(SPEC_OF.values())
    spec["priority"] = value_of(route, "priority")
    spec[SPEC_OF[protocol]] = body
    return spec


# --- the targets ----------------------------------------------------------------------


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


# --- what it matches ------------------------------------------------------------------


def _match(match: Match, protocol: str) -> dict[str, Any] | None:
    if protocol == "grpc":
        return _grpc_match(match)
    if protocol == "tcp":
        return {"port": match.port} if match.port else None
    return _http_match(match)


def _http_match(match: Match) -> dict[str, Any]:
    headers = [_header(header) for header in match.headers]
    queries = []
    for query in match.query_parameters:
        value = {"exact": query.exact} if query.exact else None
        queries.append({"name": query.name, "match": value})
    return {
        **_path(match),
        "method": value_of(match, "method"),
        "headers": said(match, "headers", headers),
        "queryParameters": said(match, "query_parameters", queries),
        "scheme": value_of(match, "scheme"),
        "port": value_of(match, "port"),
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
        "serviceName": value_of(match, "service"),
        "methodName": value_of(match, "grpc_method"),
        "metadata": said(match, "headers", metadata),
        "port": value_of(match, "port"),
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
        "range": None,
    }
    if header.range:
        ways["range"] = header.range.model_dump()
    is_matched = any(value is not None for value in ways.values())
    match = ways if is_matched else None
    return {"name": header.name, "invert": header.invert, "match": match}


# --- how often it is tried ------------------------------------------------------------


def _retry(retry: Retry, protocol: str) -> dict[str, Any]:
    each_try = {"unit": "ms", "value": retry.per_retry_timeout_millis}
    policy = {
        "maxRetries": value_of(retry, "max_retries"),
        "perRetryTimeout": said(retry, "per_retry_timeout_millis", each_try),
        "httpRetryEvents": value_of(retry, "http_events"),
        "tcpRetryEvents": value_of(retry, "tcp_events"),
    }
    if protocol == "grpc":
        policy["grpcRetryEvents"] = value_of(retry, "grpc_events")
    return policy
