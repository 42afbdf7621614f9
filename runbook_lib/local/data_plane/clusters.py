"""Envoy clusters for the virtual nodes a sidecar reaches and for the
application beside it.

Pure; the only module that knows health checks, outlier detection and connection
pools in Envoy's words.
"""

from __future__ import annotations

from collections.abc import Sequence

from runbook_lib.local.data_plane.resources import (
    Address,
    Endpoints,
    Json,
    Mesh,
    Resource,
    Target,
    reached,
    strangers,
)
from runbook_lib.local.data_plane.routes import PASSED, duration
from runbook_lib.local.paths import file_name

CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
ASSIGNMENT = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
PROTOCOL_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
UNLIMITED = 2147483647  # App Mesh switches Envoy's own circuit breakers off


def egress_clusters(mesh: Mesh, node: str) -> list[Json]:
    """Return a cluster for each target behind a node's backends, and for each node
    ALLOW_ALL lets through.
    """
    return [_egress(place, name) for name, place in _egress_targets(mesh, node).items()]


def egress_endpoints(mesh: Mesh, node: str, endpoints: Endpoints) -> dict[str, Json]:
    """Return where the tasks behind each of those clusters are, by the file
    the cluster follows.

    A target without a running task has none: Envoy answers its share with 503.
    """
    return {
        endpoints_file(name): {
            "@type": ASSIGNMENT,
            **assignment(name, endpoints.get((place.node, place.port), ())),
        }
        for name, place in _egress_targets(mesh, node).items()
    }


def endpoints_file(cluster: str) -> str:
    """Return the file of a cluster's endpoints; a file holds one cluster's,
    Envoy refuses two.
    """
    return f"{file_name(cluster)}.json"


def _egress_targets(mesh: Mesh, node: str) -> dict[str, Target]:
    known = {place.cluster("egress"): place for place in reached(mesh, node)}
    return known | {
        place.cluster("egress") + PASSED: place
        for place in strangers(mesh, node).values()
    }


def ingress_cluster(place: Target, application: Address) -> Json:
    """Return the cluster of the application beside the sidecar; the listener's pool
    limits protect it.
    """
    name = place.cluster("ingress")
    found = cluster(name, place.protocol) | {
        "type": "STATIC",
        "load_assignment": assignment(name, [application]),
    }
    pool = place.listener.get("connectionPool", {}).get(place.protocol, {})
    return found | {"circuit_breakers": breakers(pool)}


def _egress(place: Target, name: str) -> Json:
    found = cluster(name, place.protocol) | {
        "type": "EDS",
        # A cluster that held its endpoints would be made anew by each change of them,
        # and forget its errors.
        "eds_cluster_config": {"eds_config": file_source(endpoints_file(name))},
        # Without it a task that has left is sent requests until it fails a health
        # check.
        "ignore_health_on_host_removal": True,
        "circuit_breakers": breakers({}),
    }
    if "healthCheck" in place.listener:
        found["health_checks"] = [_health_check(place.listener["healthCheck"])]
    if "outlierDetection" in place.listener:
        found["outlier_detection"] = _outliers(place.listener["outlierDetection"])
    if found.keys() & {"health_checks", "outlier_detection"}:
        # Envoy's own 50 % would go on sending to hosts known to be ill.
        found["common_lb_config"] = {"healthy_panic_threshold": {"value": 0}}
    return found


def cluster(name: str, protocol: str) -> Json:
    """Return the beginning of a cluster whose hosts speak a protocol."""
    http: Json = (
        {"http_protocol_options": {}}
        if protocol == "http"
        else {"http2_protocol_options": {}}
    )
    options = {
        "@type": f"type.googleapis.com/{PROTOCOL_OPTIONS}",
        "explicit_http_config": http,
    }
    return {
        "@type": CLUSTER,
        "name": name,
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {PROTOCOL_OPTIONS: options},
    }


def assignment(cluster: str, addresses: Sequence[Address]) -> Json:
    """Return where a cluster's hosts are."""
    hosts = [
        {"endpoint": {"address": socket_address(address)}} for address in addresses
    ]
    return {"cluster_name": cluster, "endpoints": [{"lb_endpoints": hosts}]}


def socket_address(address: Address) -> Json:
    """Return an address as Envoy writes it."""
    return {"socket_address": {"address": address[0], "port_value": address[1]}}


def file_source(name: str) -> Json:
    """Return where Envoy reads a file from: the directory it was started in.

    Without a watched directory Envoy reloads this file alone when it is renamed into
    place, and nothing else.
    """
    return {"resource_api_version": "V3", "path_config_source": {"path": f"./{name}"}}


def breakers(pool: Resource) -> Json:
    """Return a pool's limits, none where it says none."""
    limits = {
        "max_connections": pool.get("maxConnections", UNLIMITED),
        "max_pending_requests": pool.get("maxPendingRequests", UNLIMITED),
        "max_requests": pool.get("maxRequests", UNLIMITED),
        "max_retries": UNLIMITED,
    }
    return {"thresholds": [limits]}


def _health_check(check: Resource) -> Json:
    interval = duration({"value": check["intervalMillis"], "unit": "ms"})
    return {
        "interval": interval,
        # Envoy waits 60 s after the first probe while it has no traffic, so a task that
        # came up after that probe would stay ill, and every request to it 503, for a
        # minute.
        "no_traffic_interval": interval,
        "timeout": duration({"value": check["timeoutMillis"], "unit": "ms"}),
        "healthy_threshold": check["healthyThreshold"],
        "unhealthy_threshold": check["unhealthyThreshold"],
        **_probe(check),
    }


def _probe(check: Resource) -> Json:
    if check["protocol"] == "grpc":
        return {"grpc_health_check": {}}
    if check["protocol"] == "tcp":
        return {"tcp_health_check": {}}
    codec = "HTTP2" if check["protocol"] == "http2" else "HTTP1"
    return {
        "http_health_check": {
            "path": check.get("path", "/"),
            "codec_client_type": codec,
        }
    }


def _outliers(rule: Resource) -> Json:
    return {
        "consecutive_5xx": rule["maxServerErrors"],
        "interval": duration(rule["interval"]),
        "base_ejection_time": duration(rule["baseEjectionDuration"]),
        "max_ejection_percent": rule["maxEjectionPercent"],
        "enforcing_consecutive_5xx": 100,
        # App Mesh has no such rule; Envoy would apply its own
        "enforcing_success_rate": 0,
    }
