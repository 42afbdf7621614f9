"""Tell the containers of a task definition apart: App Mesh's Envoy, X-Ray daemons, the
applications, and who waits for Envoy.

Pure: reads definitions, changes none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runbook_lib.task_definition.form import (
    Json,
    by_name,
    containers_of,
    group_of,
    labels_of,
    list_in,
    others,
    record_in,
    refusal,
    valued_properties,
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
    proxy = record_in(definition, "proxyConfiguration")
    return {each["name"]: each["value"] for each in valued_properties(proxy)}


def envoy_of(definition: Mapping[str, Any]) -> Json | None:
    """Return the App Mesh Envoy container, or None; raise PlanError where it is unclear
    which one that is.

    It runs App Mesh's image, or a copy of it whose repository's name ends alike, or
    carries this runbook's own label. The proxy configuration has to name that very
    container. A container that merely carries a variable of Envoy's is an application,
    and one merely called `envoy` is somebody's own proxy.
    """
    why = doubt(definition)
    if why:
        raise refusal(
            definition,
            f"it is unclear which container is Envoy: {why}",
            "let the proxy configuration name the one container that runs "
            "aws-appmesh-envoy, register that revision, and run again",
        )
    envoys = _envoys(containers_of(definition))
    return envoys[0] if envoys else None


def doubt(definition: Mapping[str, Any]) -> str:
    """Say what makes it unclear which container of a definition is Envoy; "" where it
    is clear.
    """
    containers = containers_of(definition)
    containers_by_name = by_name(containers)
    if len(containers_by_name) < len(containers):
        return (
            "expected each container to have a name of its own, found "
            f"{names_of(containers)}"
        )
    envoys = _envoys(containers)
    if len(envoys) > 1:
        found = names_of(envoys)
        return f"expected one container that runs App Mesh's image, found {found}"
    proxy = record_in(definition, "proxyConfiguration")
    named = proxy.get("containerName")
    if named and named not in containers_by_name:
        return (
            f"the proxy configuration names {named!r}, expected one of "
            f"{names_of(containers)}"
        )
    if named and named not in by_name(envoys):
        found = _instead(containers_by_name[named], envoys)
        return (
            f"the proxy configuration names {named!r}, which does not run App "
            f"Mesh's image: {found}"
        )
    if not envoys:
        return _doubt_about_copies(containers)
    return ""


def _instead(named: Json, envoys: list[Json]) -> str:
    """Return what is found where the named container does not run App Mesh's image."""
    if envoys:
        return f"{names_of(envoys)} does"
    return f"expected aws-appmesh-envoy, found {named.get('image')!r}"


def _doubt_about_copies(containers: list[Json]) -> str:
    copies = [each for each in containers if _may_be_envoy(each)]
    if not copies:
        return ""
    image = copies[0].get("image")
    return (
        f"{names_of(copies)} says which node it is and runs {image!r}: expected "
        "aws-appmesh-envoy"
    )


def _envoys(containers: list[Json]) -> list[Json]:
    return [each for each in containers if _is_envoy(each)]


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
    for name in IDENTITY:
        if known.get(name):
            return name
    return None


def names_of(containers: list[Json]) -> str:
    """Return the names of containers, in quotes."""
    return ", ".join(repr(each["name"]) for each in containers)


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
    starting_first = _routers(containers)
    proxy = envoy_of(definition)
    if proxy:
        starting_first.append(proxy)
    before_envoy = _with_awaited(starting_first, containers)
    later = others(containers.values(), before_envoy)
    meshed = [each for each in later if not passes_by(definition, each)]
    return [each for each in meshed if not is_daemon(each)]


def passes_by(definition: Mapping[str, Any], container: Mapping[str, Any]) -> bool:
    """Tell whether the proxy ignores a container: it runs as the group for that."""
    ignored = proxy_properties(definition).get("IgnoredGID")
    return bool(ignored) and group_of(container) == ignored


def is_router(container: Mapping[str, Any]) -> bool:
    """Tell whether a container is the log router that others log to."""
    return bool(container.get("firelensConfiguration"))


def _routers(containers: Mapping[str, Json]) -> list[Json]:
    return [container for container in containers.values() if is_router(container)]


def _with_awaited(first: list[Json], containers: Mapping[str, Json]) -> set[str]:
    """Return the names of some containers, and of all that they wait for."""
    found: set[str] = set()
    left = list(first)
    while left:
        container = left.pop()
        if container["name"] not in found:
            found.add(container["name"])
            left += _awaited(container, containers)
    return found


def _awaited(container: Json, containers: Mapping[str, Json]) -> list[Json]:
    """Return the containers that one waits for; where it logs to a log router ECS
    starts that first.
    """
    waits = list_in(container, "dependsOn")
    names = [wait.get("containerName") for wait in waits]
    awaited = [containers[name] for name in names if name in containers]
    log = record_in(container, "logConfiguration")
    if log.get("logDriver") == "awsfirelens":
        awaited += _routers(containers)
    return awaited


def _repository(container: Mapping[str, Any]) -> str:
    """Return the last part of an image's repository, without its
    registry, tag and digest.
    """
    image = str(container.get("image") or "")
    return image.split("@")[0].split("/")[-1].split(":")[0]
