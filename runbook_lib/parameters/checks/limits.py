"""Compare the time limits of a route with those of its targets' listeners. Pure.

A listener without a limit of its own cuts after 15 s, whatever the route allows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from runbook_lib.parameters.appmesh import Route
from runbook_lib.parameters.checks.routes import Placed, routes_of
from runbook_lib.parameters.model import Parameters

HIDDEN_SECONDS = 15  # a request's time limit on a route or listener that states none


@dataclass(frozen=True, slots=True)
class _Cut:
    """A target whose listener ends a request after some seconds."""

    target: str
    seconds: int


def route_limits(p: Parameters, placed: Placed) -> Iterator[str]:
    """Yield each target that cuts a request sooner than its route does."""
    limit = placed.route.timeout.per_request_seconds
    if limit is None or limit <= HIDDEN_SECONDS:
        return
    for cut in _cuts_before(p, placed.route, limit):
        at = f"services.{cut.target}.timeout.per_request_seconds"
        yield (
            f"{placed.where}.timeout.per_request_seconds: {limit} s on the route, but "
            f"{cut.target} cuts a request at {cut.seconds} s; expected as much at {at}"
        )


def unlimited(p: Parameters) -> Iterator[str]:
    """Yield each route without a time limit whose targets have one."""
    for placed in routes_of(p):
        if placed.route.timeout.per_request_seconds != 0:
            continue
        for cut in _cuts_before(p, placed.route, math.inf):
            at = f"services.{cut.target}.timeout.per_request_seconds: 0"
            yield (
                f"{placed.where}.timeout.per_request_seconds: no limit on the route, "
                f"but {cut.target} cuts a request at {cut.seconds} s without {at}"
            )


def _cuts_before(p: Parameters, route: Route, limit: float) -> Iterator[_Cut]:
    """Yield each target whose listener ends a request sooner than `limit` seconds."""
    for name in route.names:
        seconds = HIDDEN_SECONDS
        timeout = p.services[name].timeout if name in p.services else None
        if timeout and timeout.per_request_seconds is not None:
            seconds = timeout.per_request_seconds
        if 0 < seconds < limit:  # 0 is no limit
            yield _Cut(name, seconds)
