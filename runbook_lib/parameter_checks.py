"""Check what a parameters file's single fields cannot tell: references, sums, protocols along a route.

Pure: it reads parsed parameters and yields a sentence for each thing that must be mended.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from runbook_lib.envoy_image import image_problems
from runbook_lib.task_lint import FARGATE_SIZES

if TYPE_CHECKING:  # the parameters themselves import this module
    from runbook_lib.parameters import Parameters, Route

__all__ = ["nearest", "problems"]


LONGEST_WORD = 300


def problems(p: Parameters) -> Iterator[str]:
    """Yield what single fields cannot tell: references, sums, protocols along a route."""
    for check in (_check_image, _check_services, _check_providers, _check_routes, _check_shift, _check_verdict):
        yield from check(p)


def _check_image(p: Parameters) -> Iterator[str]:
    yield from image_problems(p.region, p.envoy.image_tag, fips=p.envoy.fips)
    if p.envoy.ignored_uid not in (None, p.envoy.user):
        yield f"envoy.ignored_uid: expected Envoy's user {p.envoy.user!r}; found {p.envoy.ignored_uid!r}"


def _check_verdict(p: Parameters) -> Iterator[str]:
    rule = p.shift.verdict
    if {"errors", *(["slow"] if rule.slow_millis else [])} <= {*rule.muted}:
        yield f"shift.verdict.muted: expected a metric that decides; found all of them muted: {', '.join(rule.muted)}"


def _check_services(p: Parameters) -> Iterator[str]:
    for name, service in p.services.items():
        where = f"services.{name}"
        for backend in service.backends:
            yield from _known(f"{where}.backends", "virtual service", backend, p.virtual_services)
        sized = p.launch_type_of(name) == "FARGATE" and (service.cpu or service.memory)
        if sized and service.memory not in FARGATE_SIZES.get(service.cpu or 0, ()):
            yield f"{where}: Fargate has no size of {service.cpu} CPU units with {service.memory} MiB; give both"
    yield from _doubles("services.*.hostname", [s.hostname for s in p.services.values()])
    yield from _doubles("services.*.ecs_service", [p.ecs_service_of(n) for n in p.services])


def _doubles(where: str, values: list[str]) -> Iterator[str]:
    for value in sorted({v for v in values if values.count(v) > 1}):
        yield f"{where}: expected distinct values; found {value!r} {values.count(value)} times"


def _check_providers(p: Parameters) -> Iterator[str]:
    for name, provider in p.virtual_services.items():
        if provider.node:
            yield from _known(f"virtual_services.{name}", "service", provider.node, p.services)
        elif provider.router:
            yield from _known(f"virtual_services.{name}", "router", provider.router, p.routers)


def _check_routes(p: Parameters) -> Iterator[str]:
    for router_name, router in p.routers.items():
        for name, route in router.routes.items():
            where = f"routers.{router_name}.routes.{name}.targets"
            yield from _check_targets(p, where, route, under_shift=_under_shift(p, router_name, name))
            yield from _check_protocols(p, where, router.protocol or p.protocol, route)


def _under_shift(p: Parameters, router: str, route: str) -> bool:
    provider = p.virtual_services.get(p.shift.name)
    routes = p.routers[router].routes
    return provider is not None and provider.router == router and (p.shift.route == route or len(routes) == 1)


def _check_targets(p: Parameters, where: str, route: Route, *, under_shift: bool) -> Iterator[str]:
    names = route.names
    if not 1 <= len(names) <= 10:
        yield f"{where}: expected 1 to 10 targets; found {len(names)}"
    yield from _doubles(where, names)
    for name in names:
        yield from _known(where, "service", name, p.services)
    if under_shift:
        if isinstance(route.targets, dict):
            yield f"{where}: expected names only, since `shift` moves these weights; found weights"
        if set(names) != {p.shift.stable, p.shift.canary}:
            yield f"{where}: expected the shift's {[p.shift.stable, p.shift.canary]}; found {names}"
    elif isinstance(route.targets, dict):
        if sum(route.targets.values()) != 100:
            yield f"{where}: expected weights that sum to 100; found {sum(route.targets.values())}"
    elif len(names) > 1:
        yield f"{where}: expected a weight for each, since this route is not under shift; found names only"


def _check_protocols(p: Parameters, where: str, protocol: str, route: Route) -> Iterator[str]:
    for name in route.names:
        own = p.protocol_of(name) if name in p.services else protocol
        if own != protocol:
            yield f"{where}: expected one protocol along a route, the router's {protocol}; {name} has {own}"


def _check_shift(p: Parameters) -> Iterator[str]:
    provider = p.virtual_services.get(p.shift.name)
    if provider is None or provider.router not in p.routers:
        routed = [n for n, v in p.virtual_services.items() if v.router]
        yield f"shift.name: expected a virtual service with a router, one of {routed}; found {p.shift.name!r}"
        return
    routes = list(p.routers[provider.router].routes)
    if p.shift.route not in routes and not (p.shift.route is None and len(routes) == 1):
        yield f"shift.route: expected one of {routes}; found {p.shift.route!r}"
    if p.shift.stable == p.shift.canary:
        yield f"shift.canary: expected another service than shift.stable; found {p.shift.canary!r} twice"
    for field in ("stable", "canary"):
        if getattr(p.shift, field) not in p.services:
            yield f"shift.{field}: no service {getattr(p.shift, field)!r}; expected one of {list(p.services)}"


def _known(where: str, kind: str, name: str, known: Collection[str]) -> Iterator[str]:
    if name not in known:
        yield f"{where}: no {kind} {name!r}; {nearest(name, [*known]) or f'expected one of {[*known]}'}"


def nearest(word: str, known: list[str]) -> str:
    """Return a question that names the closest known word, or nothing."""
    if len(word) > LONGEST_WORD:  # nobody's slip of a key, and slow to compare
        return ""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else ""
