"""Tell the containers of a task definition apart: App Mesh's Envoy, X-Ray daemons, the
applications, and who waits for Envoy.

Pure: reads definitions, changes none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from runbook_lib.task_definition.form import (
    Json,
    by_name,
    containers_of,
    group_of,
    labels_of,
    refusal,
    variables,
)

# the agent's order
IDENTITY = (
    "APPMESH_RESOURCE_ARN",
    "APPMESH_RESOURCE_NAME",
    "APPMESH_VIRTUAL_NODE_NAME",
)
LABEL = "appmesh-runbook.before"  # on the Envoy container: what was there before it
DAEMON = "xray-daemon"  # the tutorial's name of it
# task credentials and metadata, EC2 metadata
METADATA_IPS = ("169.254.170.2", "169.254.169.254")
MAX_IGNORED_PORTS = 15  # the tutorial, "EgressIgnoredPorts"; 22 is always ignored


def proxy_properties(definition: Mapping[str, Any]) -> dict[str, str]:
    """Return the proxy configuration's properties, name to value,
    null-valued ones left out.
    """
    properties = (definition.get("proxyConfiguration") or {}).get("properties") or []
    return {p["name"]: p["value"] for p in properties if p.get("value") is not None}


def envoy_of(definition: Mapping[str, Any]) -> Json | None:
    """Return the App Mesh Envoy container, or None; raise PlanError where it is unclear
    which one that is.

    It runs App Mesh's image, or a copy of it whose repository's name ends alike, or
    carries this runbook's own label. The proxy configuration has to name that very
    container. A container that merely carries a variable of Envoy's is an application,
    and one merely called `envoy` is somebody's own proxy.
    """
    for doubt in doubts(definition):
        raise refusal(
            definition,
            f"it is unclear which container is Envoy: {doubt}",
            "let the proxy configuration name the one container that runs "
            "aws-appmesh-envoy, register that revision, and run again",
        )
    return next(iter(_envoys(definition)), None)


def doubts(definition: Mapping[str, Any]) -> Iterator[str]:
    """Yield, in words, what makes it unclear which container of a
    definition is Envoy.
    """
    containers = containers_of(definition)
    containers_by_name = by_name(containers)
    if len(containers_by_name) < len(containers):
        yield (
            "expected each container to have a name of its own, found "
            f"{_names(containers)}"
        )
        return
    envoys = _envoys(definition)
    named = (definition.get("proxyConfiguration") or {}).get("containerName")
    if len(envoys) > 1:
        yield (
            f"expected one container that runs App Mesh's image, found {_names(envoys)}"
        )
    elif named and named not in containers_by_name:
        yield (
            f"the proxy configuration names {named!r}, expected one of "
            f"{_names(containers)}"
        )
    elif named and named not in by_name(envoys):
        found = _instead(containers_by_name[named], envoys)
        yield (
            f"the proxy configuration names {named!r}, which does not run App "
            f"Mesh's image: {found}"
        )
    elif not envoys:
        yield from _doubtful_copies(containers)


def _instead(named: Json, envoys: list[Json]) -> str:
    """Return what is found where the named container does not run App Mesh's image."""
    if envoys:
        return f"{_names(envoys)} does"
    return f"expected aws-appmesh-envoy, found {named.get('image')!r}"


def _doubtful_copies(containers: list[Json]) -> Iterator[str]:
    copies = [c for c in containers if _may_be_envoy(c)]
    if copies:
        image = copies[0].get("image")
        yield (
            f"{_names(copies)} says which node it is and runs {image!r}: expected "
            "aws-appmesh-envoy"
        )


def _envoys(definition: Mapping[str, Any]) -> list[Json]:
    return [c for c in containers_of(definition) if _is_envoy(c)]


def _is_envoy(container: Mapping[str, Any]) -> bool:
    if LABEL in labels_of(container):
        return True
    return _repository(container).endswith("aws-appmesh-envoy")


def _may_be_envoy(container: Mapping[str, Any]) -> bool:
    """Tell whether a container is perhaps a copy of App Mesh's Envoy
    under another name.
    """
    says_node = not set(IDENTITY).isdisjoint(variables(container))
    return says_node and "envoy" in _repository(container)


def identity_variable(container: Mapping[str, Any]) -> str | None:
    """Return the variable by which Envoy knows which node it is, or None."""
    known = variables(container)
    return next((name for name in IDENTITY if known.get(name)), None)


def _names(containers: list[Json]) -> str:
    return ", ".join(repr(c["name"]) for c in containers)


def applications(definition: Mapping[str, Any]) -> list[Json]:
    """Return the containers that are neither Envoy nor an X-Ray daemon."""
    containers = containers_of(definition)
    return [c for c in containers if not _is_envoy(c) and not is_daemon(c)]


def is_daemon(container: Mapping[str, Any]) -> bool:
    """Tell whether a container is an X-Ray daemon."""
    if _repository(container) == "aws-xray-daemon":
        return True
    return container.get("name") == DAEMON and not _is_envoy(container)


def waiting(definition: Mapping[str, Any]) -> list[Json]:
    """Return the containers that must wait for Envoy.

    Neither what Envoy waits for itself nor an X-Ray daemon. Not a log router either:
    ECS starts one before the containers that log to it only while it waits for nobody.
    Nor whoever passes Envoy by.
    """
    containers = by_name(containers_of(definition))
    proxy = envoy_of(definition)
    first: set[str] = set()
    if proxy:
        _awaited(proxy, containers, first)
    for router in _routers(containers):
        _awaited(router, containers, first)
    later = [c for name, c in containers.items() if name not in first]
    meshed = [c for c in later if not passes_by(definition, c)]
    return [c for c in meshed if not is_daemon(c)]


def passes_by(definition: Mapping[str, Any], container: Mapping[str, Any]) -> bool:
    """Tell whether the proxy ignores a container: it runs as the group for that."""
    ignored = proxy_properties(definition).get("IgnoredGID")
    return bool(ignored) and group_of(container) == ignored


def is_router(container: Mapping[str, Any]) -> bool:
    """Tell whether a container is the log router that others log to."""
    return bool(container.get("firelensConfiguration"))


def _routers(containers: Mapping[str, Json]) -> list[Json]:
    return [container for container in containers.values() if is_router(container)]


def _awaited(container: Json, containers: dict[str, Json], seen: set[str]) -> None:
    """Add to `seen` the names of a container and of all it waits for.

    A log router counts: ECS starts it first.
    """
    if container["name"] in seen:
        return
    seen.add(container["name"])
    awaited = [d.get("containerName") for d in container.get("dependsOn") or []]
    if (container.get("logConfiguration") or {}).get("logDriver") == "awsfirelens":
        awaited += [router["name"] for router in _routers(containers)]
    for name in awaited:
        if name in containers:
            _awaited(containers[name], containers, seen)


def _repository(container: Mapping[str, Any]) -> str:
    """Return the last part of an image's repository, without its
    registry, tag and digest.
    """
    image = str(container.get("image") or "")
    return image.split("@")[0].split("/")[-1].split(":")[0]
