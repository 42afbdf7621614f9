"""Check each key against the protocol it stands under: one that it cannot use would be
left out in silence, and so mean everything. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from runbook_lib.parameters.appmesh import Header, Match
from runbook_lib.parameters.checks.limits import route_limits
from runbook_lib.parameters.checks.routes import Placed, routes_of
from runbook_lib.parameters.checks.sentences import not_for
from runbook_lib.parameters.model import Parameters, Service

HTTP = ("http", "http2")
OF_REQUESTS = (*HTTP, "grpc")  # what tcp is not
KEYS_OF_A_MATCH: dict[str, tuple[str, ...]] = {
    "prefix": HTTP,
    "path": HTTP,
    "path_regex": HTTP,
    "query_parameters": HTTP,
    "scheme": HTTP,
    "method": HTTP,
    "headers": OF_REQUESTS,
    "service": ("grpc",),
    "grpc_method": ("grpc",),
}
WAYS_OF_A_PATH = ("prefix", "path", "path_regex")
WAYS_OF_A_HEADER = ("exact", "prefix", "suffix", "regex", "range")


def keys_under_protocols(p: Parameters) -> Iterator[str]:
    """Yield each key of a service or a route that its protocol cannot use, and what
    cannot be matched as it stands.
    """
    for name, service in p.services.items():
        yield from _of_service(f"services.{name}", p.protocol_of(name), service)
    for placed in routes_of(p):
        yield from _of_match(placed)
        yield from _port(placed)
        yield from _retry(placed)
        yield from _time_limit(p, placed)


def _of_service(where: str, protocol: str, service: Service) -> Iterator[str]:
    check, timeout = service.health_check, service.timeout
    if check and check.path and protocol not in HTTP:
        yield not_for(f"{where}.health_check.path", protocol, HTTP)
    if timeout and timeout.per_request_seconds is not None and protocol == "tcp":
        yield not_for(f"{where}.timeout.per_request_seconds", protocol, OF_REQUESTS)


# --- what a route matches -------------------------------------------------------------


def _of_match(placed: Placed) -> Iterator[str]:
    where, match = f"{placed.where}.match", placed.route.match
    for key, protocols in KEYS_OF_A_MATCH.items():
        if _says_something(match, key) and placed.protocol not in protocols:
            yield not_for(f"{where}.{key}", placed.protocol, protocols)
    yield from _at_most_one(where, match, WAYS_OF_A_PATH)
    yield from _expression(f"{where}.path_regex", match.path_regex)
    if match.grpc_method and not match.service:
        yield f"{where}.grpc_method: expected a service beside it; found none"
    for number, header in enumerate(match.headers, 1):
        yield from _header(f"{where}.headers (item {number})", header)


def _says_something(match: Match, key: str) -> bool:
    """Say whether a key narrows what is matched: the prefix / does not, under any
    protocol.
    """
    value = getattr(match, key)
    if key == "prefix" and value == "/":
        return False
    return bool(value)


def _header(where: str, header: Header) -> Iterator[str]:
    yield from _at_most_one(where, header, WAYS_OF_A_HEADER)
    yield from _expression(f"{where}.regex", header.regex)
    if header.range and header.range.start >= header.range.end:
        found = f"{header.range.start} and {header.range.end}"
        yield f"{where}.range: expected a start below its end; found {found}"


def _at_most_one(
    where: str, record: Match | Header, ways: Sequence[str]
) -> Iterator[str]:
    """Yield where more than one of some ways is said, of which one alone counts."""
    found = [way for way in ways if getattr(record, way) is not None]
    if len(found) > 1:
        many = "both" if len(found) == 2 else f"{len(found)} of them"
        yield f"{where}: expected {' or '.join(found)}; found {many}"


def _expression(where: str, regex: str | None) -> Iterator[str]:
    """Yield where a regular expression is none; Envoy would keep its former routes."""
    try:
        re.compile(regex or "")
    except re.error as error:
        yield f"{where}: expected a regular expression; found {regex!r}: {error}"


def _port(placed: Placed) -> Iterator[str]:
    found = placed.route.match.port
    if found not in (None, placed.port):
        yield (
            f"{placed.where}.match.port: expected the router's {placed.port}; "
            f"found {found}"
        )


# --- how often and for how long it tries ----------------------------------------------


def _retry(placed: Placed) -> Iterator[str]:
    where, protocol = f"{placed.where}.retry", placed.protocol
    retry = placed.route.retry
    if protocol == "tcp":
        if "retry" in placed.route.model_fields_set:
            yield not_for(where, protocol, OF_REQUESTS)
        return
    events: list[str] = [*retry.http_events, *retry.tcp_events]
    if protocol == "grpc":
        events += retry.grpc_events
    elif "grpc_events" in retry.model_fields_set and retry.grpc_events:
        yield not_for(f"{where}.grpc_events", protocol, ("grpc",))
    if not events:
        yield (
            f"{where}: expected at least one event; found none; to try nothing again "
            "say max_retries: 0"
        )


def _time_limit(p: Parameters, placed: Placed) -> Iterator[str]:
    if placed.protocol != "tcp":
        yield from route_limits(p, placed)
        return
    limit = placed.route.timeout.per_request_seconds
    if limit is not None and "timeout" in placed.route.model_fields_set:
        where = f"{placed.where}.timeout.per_request_seconds"
        yield not_for(where, placed.protocol, OF_REQUESTS)
