"""The files that make an Envoy the sidecar of one virtual node, as App Mesh
would configure it.

Pure: mesh resources in, file contents out; `sidecar` alone writes them.
Names are App Mesh's own, so that a statistic is called here what it is called on AWS.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runbook_lib.errors import PlanError
from runbook_lib.local.data_plane.clusters import (
    egress_clusters,
    egress_endpoints,
    file_source,
    ingress_cluster,
)
from runbook_lib.local.data_plane.listeners import (
    EGRESS_FILE,
    LOOPBACK,
    access_logs,
    egress_listener,
    ingress_file,
    ingress_listener,
)
from runbook_lib.local.data_plane.resources import (
    Address,
    Endpoints,
    Json,
    Mesh,
    Target,
)
from runbook_lib.local.data_plane.routes import egress_routes, ingress_routes

__all__ = ["Address", "Endpoints", "Mesh", "Ports", "sidecar_files"]

BUCKETS_MS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000)


@dataclass(frozen=True, slots=True)
class Ports:
    """One sidecar's loopback ports, `ingress` and `app` by the listener port they stand
    for, and its admin socket.
    """

    admin: str
    egress: int
    ingress: Mapping[int, int]
    app: Mapping[int, int]


def sidecar_files(
    mesh: Mesh,
    node: str,
    ports: Ports,
    endpoints: Endpoints,
    version: str,
    *,
    latency_limits_ms: Sequence[float] = (),
) -> dict[str, Json]:
    """Return the files of `node`'s sidecar by name: bootstrap, cds, rds, lds, and each
    cluster's endpoints.

    Each listener's routes have a file of their own, too. `version` is what Envoy
    reports once it has taken a file. Requests over each of `latency_limits_ms` can be
    counted exactly; other limits fall between two buckets. Raises PlanError for what
    the local mesh does not carry and for what Envoy would refuse. The files a sidecar
    already has then stay in force, as they do on AWS.
    """
    refuse_gateways(mesh)
    places = [Target(mesh.name, node, listener) for listener in mesh.listeners(node)]
    _refuse_unreached(node, places, ports)
    clusters = egress_clusters(mesh, node)
    clusters += [
        ingress_cluster(place, (LOOPBACK, ports.app[place.port])) for place in places
    ]
    logs = access_logs(mesh.node_spec(node))
    listeners = [ingress_listener(places, ports.ingress, logs)] if places else []
    return {
        "bootstrap.json": bootstrap(
            f"mesh/{mesh.name}/virtualNode/{node}", ports.admin, latency_limits_ms
        ),
        **{
            file: resource_file(version, [each])
            for file, each in egress_endpoints(mesh, node, endpoints).items()
        },
        "cds.json": resource_file(version, clusters),
        EGRESS_FILE: resource_file(version, [egress_routes(mesh, node, ports.egress)]),
        **{
            ingress_file(place): resource_file(version, [ingress_routes(place)])
            for place in places
        },
        "lds.json": resource_file(
            version, [*listeners, egress_listener(ports.egress, logs)]
        ),
    }


def _refuse_unreached(node: str, places: Sequence[Target], ports: Ports) -> None:
    """Raise PlanError where a node listens on a port that its task does not have, or
    does not send through Envoy.
    """
    known = sorted(ports.ingress.keys() & ports.app.keys())
    for place in places:
        if place.port not in known:
            raise PlanError(
                f"virtual node {node!r} listens on port {place.port}; expected one "
                "of its task's AppPorts, which "
                "are container ports too: found "
                f"{', '.join(map(str, known)) or 'none'}",
                hint="notebook 04 registers the definition that the mesh asks for",
            )


def refuse_gateways(mesh: Mesh) -> None:
    """Raise PlanError where the mesh has a door for traffic from outside; nothing
    here comes through it.
    """
    if mesh.virtual_gateways:
        names = ", ".join(mesh.virtual_gateways)
        raise PlanError(
            f"mesh {mesh.name!r} has virtual gateways ({names}); nothing "
            "local calls them"
        )


def bootstrap(
    identity: str, admin: str, latency_limits_ms: Sequence[float] = ()
) -> Json:
    """Return what Envoy starts from: who it is, its admin socket and
    the files it watches.
    """
    buckets = sorted({float(bound) for bound in (*BUCKETS_MS, *latency_limits_ms)})
    return {
        "node": {"id": identity, "cluster": identity},
        "admin": {"address": {"pipe": {"path": admin, "mode": 0o600}}},
        "dynamic_resources": {
            "lds_config": file_source("lds.json"),
            "cds_config": file_source("cds.json"),
        },
        # Histograms are only as fresh as the last flush; Envoy's 5 s would be five of
        # the local periods.
        "stats_flush_interval": "1s",
        "stats_config": {
            "histogram_bucket_settings": [
                {"match": {"suffix": "upstream_rq_time"}, "buckets": buckets}
            ]
        },
    }


def resource_file(version: str, resources: list[Json]) -> Json:
    """Return the content of a file that Envoy follows; it reports the version once it
    has taken the file.
    """
    return {"version_info": version, "resources": resources}
