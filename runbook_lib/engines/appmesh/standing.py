"""Read what stands in the mesh, whoever made it, and what each thing needs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from runbook_lib.aws.reads import Reads
from runbook_lib.engines.appmesh.changes import ANSWER, called, reading
from runbook_lib.engines.appmesh.spec import targets_in
from runbook_lib.plan import Reading

Names = Mapping[str, str]
"""What a resource is in, or what it is called: by the API's own keys."""
Needs = dict[str, set[str]]
"""Resources by key, each with the keys of what it cannot be without."""


def references(session: Reads, service: str) -> list[str]:
    """List what refers to a service's node: routes (a target of weight 0 is one),
    and virtual services.
    """
    node = f"virtual node {service}"
    return [key for key, needs in standing(session).items() if node in needs]


def standing(session: Reads) -> Needs:
    """Read everything the mesh holds, whoever made it, by key: with the keys of what it
    cannot be without.
    """
    mesh = {"meshName": session.parameters.mesh.name}
    if session.read(reading("mesh", mesh)) is None:
        return {}
    parts: list[Needs] = session.together(
        [
            partial(_routers, session, mesh),
            partial(_virtual_services, session, mesh),
            partial(_without_needs, session, mesh, "virtual node"),
            partial(_without_needs, session, mesh, "virtual gateway"),
        ]
    )
    found: Needs = {}
    for part in parts:
        for key, needs in part.items():
            found[key] = needs | {f"mesh {mesh['meshName']}"}
    return found


def _routers(session: Reads, mesh: Names) -> Needs:
    """Read every router, and its routes."""
    routers = _names(session, "virtual router", mesh)
    asks = [partial(_routes, session, mesh, router) for router in routers]
    found: Needs = {}
    for router, routes in zip(routers, session.together(asks), strict=True):
        found |= routes
        found[f"virtual router {router}"] = set()
    return found


def _routes(session: Reads, mesh: Names, router: str) -> Needs:
    """Read a router's routes: each needs the router and the nodes of its targets."""
    inside = {**mesh, "virtualRouterName": router}
    names = _names(session, "route", inside)
    asks = [partial(_nodes, session, {**inside, "routeName": name}) for name in names]
    found: Needs = {}
    for name, nodes in zip(names, session.together(asks), strict=True):
        found[f"route {router}/{name}"] = nodes | {f"virtual router {router}"}
    return found


def _nodes(session: Reads, route: Names) -> set[str]:
    """Read the keys of the nodes that a route has for targets."""
    state = session.read(reading("route", route))
    return {f"virtual node {target.service}" for target in targets_in(state)}


def _virtual_services(session: Reads, mesh: Names) -> Needs:
    names = _names(session, "virtual service", mesh)
    asks = [partial(_providers, session, mesh, name) for name in names]
    keys = [f"virtual service {name}" for name in names]
    return dict(zip(keys, session.together(asks), strict=True))


def _providers(session: Reads, mesh: Names, name: str) -> set[str]:
    """Read the keys of what a virtual service is answered by."""
    call = called("describe", "virtual service", {**mesh, "virtualServiceName": name})
    providers = "[virtualNode.virtualNodeName, virtualRouter.virtualRouterName]"
    query = f"virtualService.spec.provider.{providers}"
    found = session.read(Reading(call, query, absent=("NotFoundException",)))
    node, router = found or (None, None)
    return {f"virtual node {node}", f"virtual router {router}"}


def _without_needs(session: Reads, mesh: Names, kind: str) -> Needs:
    return {f"{kind} {name}": set() for name in _names(session, kind, mesh)}


def _names(session: Reads, kind: str, within: Names) -> list[str]:
    answer = ANSWER.get(kind, kind)
    operation = f"list_{kind.replace(' ', '_')}s"
    listed = session.pages("appmesh", operation, f"{answer}s", **within)
    return [item[f"{answer}Name"] for item in listed]
