"""Check who calls whom through App Mesh, and the Envoys beside them. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from runbook_lib.parameters.checks.routes import routes_of
from runbook_lib.parameters.checks.sentences import unknown
from runbook_lib.parameters.model import Parameters
from runbook_lib.task_definition.image import image_problems

FARGATE_DRIVERS = ("awslogs", "awsfirelens", "splunk")  # the LogConfiguration's docs


def on_fargate(p: Parameters) -> list[str]:
    """Return the services that run on Fargate."""
    return [name for name in p.services if p.launch_type_of(name) == "FARGATE"]


def envoy(p: Parameters) -> Iterator[str]:
    """Yield what is wrong with Envoy's image, user and log."""
    yield from image_problems(p.region, p.envoy.image_tag, fips=p.envoy.fips)
    if p.envoy.ignored_uid not in (None, p.envoy.user):
        yield (
            f"envoy.ignored_uid: expected Envoy's user {p.envoy.user!r}; found "
            f"{p.envoy.ignored_uid!r}"
        )
    names = on_fargate(p)
    if p.envoy.log and names and p.envoy.log.driver not in FARGATE_DRIVERS:
        yield (
            f"envoy.log.driver: expected one of {', '.join(FARGATE_DRIVERS)}, since "
            f"{', '.join(names)} run on FARGATE; found {p.envoy.log.driver!r}"
        )


def backends(p: Parameters) -> Iterator[str]:
    """Yield each virtual service that a service calls and the file does not have."""
    known = p.virtual_services
    for name, service in p.services.items():
        where = f"services.{name}.backends"
        for backend in service.backends:
            yield from unknown(where, "virtual service", backend, known)


def providers(p: Parameters) -> Iterator[str]:
    """Yield each node and router that is to answer a name and is not in the file."""
    for name, provider in p.virtual_services.items():
        where = f"virtual_services.{name}"
        if provider.node:
            yield from unknown(where, "service", provider.node, p.services)
        elif provider.router:
            yield from unknown(where, "router", provider.router, p.routers)


def only_callers(p: Parameters) -> Iterator[str]:
    """Yield each name and route that leads to a service which does not listen."""
    called = {}
    for name, provider in p.virtual_services.items():
        if provider.node:
            called[f"virtual_services.{name}"] = [provider.node]
    for placed in routes_of(p):
        called[f"{placed.where}.targets"] = placed.route.names
    for where, names in called.items():
        for name in names:
            if name in p.services and p.only_calls(name):
                yield f"{where}: expected a service that listens; {name} only calls"


def under_shift(p: Parameters) -> Iterator[str]:
    """Yield where the shift's name and route are not among the routers'."""
    provider = p.virtual_services.get(p.shift.name)
    if provider is None or provider.router not in p.routers:
        routed = [name for name, each in p.virtual_services.items() if each.router]
        yield (
            f"shift.name: expected a virtual service with a router, one of {routed}; "
            f"found {p.shift.name!r}"
        )
        return
    routes = list(p.routers[provider.router].routes)
    is_clear = p.shift.route is None and len(routes) == 1
    if p.shift.route not in routes and not is_clear:
        yield f"shift.route: expected one of {routes}; found {p.shift.route!r}"
