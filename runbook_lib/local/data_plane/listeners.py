"""Envoy listeners of a sidecar: one for what its application calls, one for what
calls its application.

Pure; the only module that knows the HTTP connection manager.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from runbook_lib.local.data_plane.clusters import file_source, socket_address
from runbook_lib.local.data_plane.resources import Json, Resource, Target
from runbook_lib.local.data_plane.routes import EGRESS, ingress_name
from runbook_lib.local.paths import file_name

LOOPBACK = "127.0.0.1"
LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
FILTERS = "type.googleapis.com/envoy.extensions.filters"
MANAGER = f"{FILTERS}.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = f"{FILTERS}.http.router.v3.Router"
FILE_LOG = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
EGRESS_FILE = "rds.json"
STREAMS = ("/dev/stdout", "/dev/stderr", "/dev/null")


def ingress_file(place: Target) -> str:
    """Return the file of a listener's routes; a file holds one route configuration,
    Envoy refuses two.
    """
    return f"{ingress_name(place)}.json"


def egress_listener(port: int, logs: Sequence[Json]) -> Json:
    """Return the listener the application's own calls go through, under the
    name it has on AWS.
    """
    chains = [{"filters": [_manager("egress", EGRESS, EGRESS_FILE, logs)]}]
    return listener("lds_egress_0.0.0.0_15001", [port], chains, "OUTBOUND")


def ingress_listener(
    places: Sequence[Target], ports: Mapping[int, int], logs: Sequence[Json]
) -> Json:
    """Return the listener others reach the application through: one
    filter chain a port.
    """
    chains = []
    for place in places:
        prefix = (
            "ingress" if len(places) == 1 else f"ingress.{place.protocol}.{place.port}"
        )
        manager = _manager(prefix, ingress_name(place), ingress_file(place), logs)
        chains.append(
            {
                "filter_chain_match": {"destination_port": ports[place.port]},
                "filters": [manager],
            }
        )
    return listener(
        "lds_ingress_0.0.0.0_15000",
        [ports[place.port] for place in places],
        chains,
        "INBOUND",
    )


def listener(
    name: str, ports: Sequence[int], chains: list[Json], direction: str
) -> Json:
    """Return a listener on ports of loopback."""
    first, *others = [socket_address((LOOPBACK, port)) for port in ports]
    more = [{"address": address} for address in others]
    return {
        "@type": LISTENER,
        "name": name,
        "address": first,
        **({"additional_addresses": more} if more else {}),
        "filter_chains": chains,
        "traffic_direction": direction,
    }


def _manager(prefix: str, routes: str, file: str, logs: Sequence[Json]) -> Json:
    config = {
        "@type": MANAGER,
        "stat_prefix": prefix,
        "rds": {"config_source": file_source(file), "route_config_name": routes},
        "http_filters": [
            {"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER}}
        ],
        "access_log": list(logs),
        "upgrade_configs": [{"upgrade_type": "websocket", "enabled": True}],
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
    }
    return {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": config,
    }


def access_logs(spec: Resource) -> list[Json]:
    """Return a node's access log, of answers from 400 up only.

    On AWS every request is logged; here paced traffic would fill a laptop's disk within
    the hour. A file that would be in the container is in the task's folder: no path is
    taken from whoever describes a node.
    """
    file = (spec.get("logging") or {}).get("accessLog", {}).get("file")
    if not file:
        return []
    config: Json = {
        "@type": FILE_LOG,
        "path": _place(file["path"]),
        **_format(file.get("format", {})),
    }
    floor = {"default_value": 400, "runtime_key": "access_log.lowest_status"}
    only = {"status_code_filter": {"comparison": {"op": "GE", "value": floor}}}
    return [
        {"name": "envoy.access_loggers.file", "filter": only, "typed_config": config}
    ]


def _place(path: str) -> str:
    return (
        path if path in STREAMS else f"./access{file_name(path.replace('/', '_'))}.log"
    )


def _format(wanted: Resource) -> Json:
    if "text" in wanted:
        return {"log_format": {"text_format_source": {"inline_string": wanted["text"]}}}
    if "json" in wanted:
        return {
            "log_format": {
                "json_format": {
                    entry["key"]: entry["value"] for entry in wanted["json"]
                }
            }
        }
    return {}
