"""Check where each route leads: its targets, their weights, their protocols. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from runbook_lib.parameters.appmesh import Route
from runbook_lib.parameters.checks.sentences import doubled, unknown
from runbook_lib.parameters.model import Parameters

MOST_TARGETS = 10  # of a route


@dataclass(frozen=True, slots=True)
class Placed:
    """A route, where it stands in the file, and what its router says."""

    where: str
    router: str
    name: str
    route: Route
    protocol: str
    port: int


def routes_of(p: Parameters) -> list[Placed]:
    """Return every route of the file."""
    routes = []
    for router_name, router in p.routers.items():
        protocol = p.protocol_of_router(router_name)
        port = p.port_of_router(router_name)
        for name, route in router.routes.items():
            where = f"routers.{router_name}.routes.{name}"
            routes.append(Placed(where, router_name, name, route, protocol, port))
    return routes


def routes(p: Parameters) -> Iterator[str]:
    """Yield what is wrong with a route's targets."""
    for placed in routes_of(p):
        yield from _targets(p, placed)
        if _is_under_shift(p, placed):
            yield from _both_versions(p, placed)
        else:
            yield from _weights(placed)
        yield from _protocols(p, placed)


def _is_under_shift(p: Parameters, placed: Placed) -> bool:
    provider = p.virtual_services.get(p.shift.name)
    if provider is None or provider.router != placed.router:
        return False
    is_only_one = len(p.routers[placed.router].routes) == 1
    return is_only_one or p.shift.route == placed.name


def _targets(p: Parameters, placed: Placed) -> Iterator[str]:
    where = f"{placed.where}.targets"
    names = placed.route.names
    if not 1 <= len(names) <= MOST_TARGETS:
        yield f"{where}: expected 1 to {MOST_TARGETS} targets; found {len(names)}"
    yield from doubled(where, names)
    for name in names:
        yield from unknown(where, "service", name, p.services)


def _both_versions(p: Parameters, placed: Placed) -> Iterator[str]:
    """The route under shift names the two versions, and no weights."""
    where = f"{placed.where}.targets"
    versions = list(p.shift.versions)
    if isinstance(placed.route.targets, dict):
        yield (
            f"{where}: expected names only, since `shift` moves these weights; found "
            "weights"
        )
    if set(placed.route.names) != set(versions):
        names = placed.route.names
        yield f"{where}: expected the shift's {versions}; found {names}"


def _weights(placed: Placed) -> Iterator[str]:
    """A route that is not under shift divides its traffic as the file says."""
    where = f"{placed.where}.targets"
    targets = placed.route.targets
    if isinstance(targets, dict):
        total = sum(targets.values())
        if total != 100:
            yield f"{where}: expected weights that sum to 100; found {total}"
    elif len(targets) > 1:
        yield (
            f"{where}: expected a weight for each, since this route is not under "
            "shift; found names only"
        )


def _protocols(p: Parameters, placed: Placed) -> Iterator[str]:
    for name in placed.route.names:
        if name not in p.services:
            continue
        own = p.protocol_of(name)
        if own != placed.protocol:
            yield (
                f"{placed.where}.targets: expected one protocol along a route, the "
                f"router's {placed.protocol}; {name} has {own}"
            )
