"""The files that make an Envoy a load balancer. Pure: its state in, file contents out;
`sidecar` writes them.

Envoy's own answers get AWS's codes (502 for a connection that fails or breaks, 503
without a target, 504 where no answer comes), and a counter tells each end of a request
by its group, its status and why Envoy answered itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from runbook_lib.local.data_plane.clusters import (
    ASSIGNMENT,
    assignment,
    breakers,
    cluster,
    endpoints_file,
    file_source,
)
from runbook_lib.local.data_plane.configuration import bootstrap, resource_file
from runbook_lib.local.data_plane.listeners import FILTERS, MANAGER, ROUTER, listener
from runbook_lib.local.data_plane.load_balancer import Group, Listener, LoadBalancer
from runbook_lib.local.data_plane.load_balancer_routes import routes
from runbook_lib.local.data_plane.resources import Address, Json
from runbook_lib.local.data_plane.routes import ROUTE_CONFIGURATION

__all__ = ["ENDED", "load_balancer_files"]

ENDED = "alb.ended"  # what the counter is called
OLDER = "_http1"  # the routes of HTTP/1.1 where there is HTTP/2 too
INSPECTOR = f"{FILTERS}.listener.tls_inspector.v3.TlsInspector"
DOWNSTREAM_TLS = (
    "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
)
TAGS = {
    "group": "%UPSTREAM_CLUSTER%",
    "route": "%ROUTE_NAME%",
    "code": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
}
STATS_LOG = "type.googleapis.com/envoy.extensions.access_loggers.stats.v3.Config"
# of Envoy's own answers, by its flags
CODES = {502: ["UF", "UC", "UR", "UPE"], 503: ["UH"], 504: ["UT", "SI"]}
CONNECT_SECONDS = 10
KEPT_SECONDS = 3600  # a caller's idle connection


def load_balancer_files(
    balancer: LoadBalancer,
    ports: Mapping[int, int],
    endpoints: Mapping[str, Sequence[Address]],
    admin: str,
    version: str,
    *,
    latency_limits_ms: Sequence[float] = (),
) -> dict[str, Json]:
    """Return the files of a load balancer's Envoy by name.

    `ports` are loopback ports by the listener's, `endpoints` the addresses on
    loopback by group's ARN.
    """
    listening = [each for each in balancer.listeners if each.port in ports]
    clusters = {group.arn: group.cluster for group in balancer.groups}
    hosts = {clusters[arn]: addresses for arn, addresses in endpoints.items()}
    tables = [table for each in listening for table in _tables(each, balancer)]
    return {
        "bootstrap.json": bootstrap(
            f"loadbalancer/{balancer.name}", admin, latency_limits_ms
        ),
        **{
            endpoints_file(name): _endpoints(name, addresses, version)
            for name, addresses in hosts.items()
        },
        "cds.json": resource_file(
            version, [_cluster(group) for group in balancer.groups]
        ),
        **{
            f"{table['name']}.json": resource_file(version, [table]) for table in tables
        },
        "lds.json": resource_file(
            version, [_listener(each, ports, balancer) for each in listening]
        ),
    }


def _endpoints(name: str, addresses: Sequence[Address], version: str) -> Json:
    return resource_file(
        version, [{"@type": ASSIGNMENT, **assignment(name, addresses)}]
    )


def _cluster(group: Group) -> Json:
    name = group.cluster
    return cluster(name, "http" if group.version == "HTTP1" else "http2") | {
        "type": "EDS",
        "eds_cluster_config": {"eds_config": file_source(endpoints_file(name))},
        "ignore_health_on_host_removal": True,
        "circuit_breakers": breakers({}),
        "connect_timeout": f"{CONNECT_SECONDS}s",
    }


def _tables(each: Listener, balancer: LoadBalancer) -> Iterator[Json]:
    """Yield the routes of a listener; where it speaks TLS, those of HTTP/1.1 apart,
    which does not reach groups of HTTP/2.
    """
    groups, idle = balancer.groups, balancer.idle_seconds
    clusters = {group.arn: group.cluster for group in groups}
    yield _table(_name(each), routes(each, clusters, idle))
    if each.certificate:
        older = {each.arn: each.cluster for each in groups if each.version == "HTTP1"}
        yield _table(f"{_name(each)}{OLDER}", routes(each, older, idle))


def _name(each: Listener) -> str:
    return f"rds_alb_{each.port}"


def _table(name: str, routes: list[Json]) -> Json:
    host = {"name": "all", "domains": ["*"], "routes": routes}
    return {
        "@type": ROUTE_CONFIGURATION,
        "name": name,
        "validate_clusters": True,
        "virtual_hosts": [host],
    }


def _listener(each: Listener, ports: Mapping[int, int], balancer: LoadBalancer) -> Json:
    idle, table = balancer.idle_seconds, _name(each)
    name, port = f"lds_alb_{each.port}", [ports[each.port]]
    if each.certificate is None:  # a listener of HTTP takes HTTP/1.1 alone
        chain = {"filters": [_manager(table, "HTTP1", idle)]}
        return listener(name, port, [chain], "INBOUND")
    tls = {"transport_socket": _tls(*each.certificate)}
    newer: Json = {
        "filter_chain_match": {"application_protocols": ["h2"]},
        "filters": [_manager(table, "HTTP2", idle)],
    }
    older = {"filters": [_manager(f"{table}{OLDER}", "HTTP1", idle)]}
    inspector = {
        "name": "envoy.filters.listener.tls_inspector",
        "typed_config": {"@type": INSPECTOR},
    }
    chains: list[Json] = [newer | tls, older | tls]
    return listener(name, port, chains, "INBOUND") | {"listener_filters": [inspector]}


def _tls(certificate: str, key: str) -> Json:
    own = {
        "certificate_chain": {"inline_string": certificate},
        "private_key": {"inline_string": key},
    }
    common = {"tls_certificates": [own], "alpn_protocols": ["h2", "http/1.1"]}
    config = {"@type": DOWNSTREAM_TLS, "common_tls_context": common}
    return {"name": "envoy.transport_sockets.tls", "typed_config": config}


def _manager(name: str, codec: str, idle_seconds: int) -> Json:
    config = {
        "@type": MANAGER,
        "stat_prefix": name.removeprefix("rds_"),
        "codec_type": codec,
        "server_name": "awselb/2.0",
        "server_header_transformation": "APPEND_IF_ABSENT",
        "rds": {
            "config_source": file_source(f"{name}.json"),
            "route_config_name": name,
        },
        "http_filters": [
            {"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER}}
        ],
        "stream_idle_timeout": f"{idle_seconds}s",
        "common_http_protocol_options": {"idle_timeout": f"{KEPT_SECONDS}s"},
        "local_reply_config": {
            "mappers": [_mapper(code, flags) for code, flags in CODES.items()]
        },
        "access_log": [_counter()],
    }
    return {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": config,
    }


def _mapper(code: int, flags: Sequence[str]) -> Json:
    return {"filter": {"response_flag_filter": {"flags": flags}}, "status_code": code}


def _counter() -> Json:
    tags = [{"name": name, "value_format": value} for name, value in TAGS.items()]
    scope, name = ENDED.split(".")
    config = {
        "@type": STATS_LOG,
        "stats_scope": {"prefix": scope},
        "counters": [{"stat": {"name": name, "tags": tags}, "value_fixed": 1}],
    }
    return {"name": "envoy.access_loggers.stats", "typed_config": config}
