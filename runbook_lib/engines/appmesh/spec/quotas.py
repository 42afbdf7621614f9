"""Count what the file asks for beside the quotas of App Mesh. Pure.

Source: Service Quotas, service code appmesh; ten weighted targets a route is fixed.
"""

from __future__ import annotations

from dataclasses import dataclass

from runbook_lib.parameters.model import Parameters


@dataclass(frozen=True, slots=True)
class Quota:
    """A quota, how many the file asks for, and how many there may be by default."""

    what: str
    count: int
    most: int


def quotas(p: Parameters, tasks: int = 0) -> list[Quota]:
    """Return each App Mesh quota that can bind here.

    `tasks` is how many the largest service has now.
    """
    routers = p.routers.values()
    routes = [route for router in routers for route in router.routes.values()]
    services = p.services.values()
    most_routes = max((len(router.routes) for router in routers), default=0)
    most_targets = max((len(route.names) for route in routes), default=0)
    most_backends = max(len(service.backends) for service in services)
    most_tasks = max(tasks, *(service.desired_count for service in services))
    return [
        Quota("virtual services per mesh", len(p.virtual_services), 200),
        Quota("virtual nodes per mesh", len(services), 200),
        Quota("virtual routers per mesh", len(routers), 200),
        Quota("routes per router", most_routes, 50),
        Quota("weighted targets per route", most_targets, 10),
        Quota("backends per node", most_backends, 50),
        Quota("connected Envoys per node", most_tasks, 50),
    ]
