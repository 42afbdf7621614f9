"""What the parameters want of App Mesh, in App Mesh's own words."""

from __future__ import annotations

import json
from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator
from hypothesis import given
from hypothesis import strategies as st

from runbook_lib.engines.appmesh.spec import Resource, created, desired, node_arn, quotas, updated
from runbook_lib.lifecycle import Lifecycle
from runbook_lib.parameters import Parameters
from runbook_lib.plan import differences, merged, stated
from tests import scenes

MODEL = botocore.session.get_session().get_service_model("appmesh")
CREATE = {
    "mesh": "CreateMesh",
    "virtual service": "CreateVirtualService",
    "virtual node": "CreateVirtualNode",
    "virtual router": "CreateVirtualRouter",
    "route": "CreateRoute",
}
SPECS = {"http": "httpRoute", "http2": "http2Route", "grpc": "grpcRoute", "tcp": "tcpRoute"}
CLOUD_MAP = {"service": "serviceb", "attributes": {"stage": "prod"}}
HEALTH = {"interval_millis": 5000, "timeout_millis": 2000, "healthy_threshold": 2, "unhealthy_threshold": 4}


def resources(life: Lifecycle | None = None, **values: Any) -> list[Resource]:
    return list(desired(scenes.load(**values), life or Lifecycle()))


def spec(key: str, life: Lifecycle | None = None, **values: Any) -> dict[str, Any]:
    """Return what a create call would be given for a resource (its last form, where it has two)."""
    return created([r for r in resources(life, **values) if r.key == key][-1])


def route(life: Lifecycle | None = None, protocol: str = "http2", **own: Any) -> dict[str, Any]:
    """Return the body of the route under shift, and check that it has the one variant of its protocol."""
    routers = {"serviceB": {"routes": {"serviceB": own}}}
    (body,) = (
        value
        for key, value in spec("route serviceB/serviceB", life, protocol=protocol, routers=routers).items()
        if key == SPECS[protocol]
    )
    return dict(body)


def listener(**own: Any) -> dict[str, Any]:
    return dict(spec("virtual node serviceB", services={"serviceB": own})["listeners"][0])


# Everything, in order.


def test_the_tutorials_mesh_is_wanted() -> None:
    assert [r.key for r in resources()] == [
        "mesh apps",
        "virtual service servicea.apps.local",
        "virtual service serviceb.apps.local",
        "virtual node serviceA",
        "virtual node serviceB",
        "virtual node serviceBv2",
        "virtual router serviceB",
        "route serviceB/serviceB",
        "virtual service servicea.apps.local",
        "virtual service serviceb.apps.local",
    ]


VARIED: list[dict[str, Any]] = [
    {},
    *({"protocol": name} for name in SPECS),
    {"services": {"serviceB": {"cloud_map": CLOUD_MAP, "health_check": HEALTH, "timeout": {"idle_seconds": 60}}}},
    {"services": {"serviceB": {"ports": [8080, 8081]}}},
    {"envoy": {"access_log": None}},
    {
        "routers": {
            "serviceB": {
                "routes": {"serviceB": {"match": {"prefix": None, "path": "/a", "method": "GET"}, "priority": 0}}
            }
        }
    },
    {"routers": {"serviceB": {"routes": {"serviceB": {"retry": {"http_events": [], "max_retries": 0}}}}}},
    {"protocol": "grpc", "routers": {"serviceB": {"routes": {"serviceB": {"match": {"service": "a.B"}}}}}},
]


@pytest.mark.parametrize("values", VARIED, ids=[str(v)[:50] for v in VARIED])
def test_every_create_call_is_what_the_model_takes(values: dict[str, Any]) -> None:
    for r in resources(**values):
        shape = MODEL.operation_model(CREATE[r.kind]).input_shape
        request = {**r.names, "spec": created(r), "tags": [{"key": k, "value": v} for k, v in r.tags.items()]}
        assert ParamValidator().validate(request, shape).generate_report() == "", r.key


def test_every_resource_says_who_made_it_and_for_what() -> None:
    assert all(r.tags == {"runbook": "appmesh-runbook", "runbook:environment": "scene"} for r in resources())


def test_building_is_pure() -> None:
    p = scenes.load()
    assert desired(p, Lifecycle()) == desired(p, Lifecycle())


@given(st.sampled_from(VARIED))
def test_what_was_created_needs_no_update(values: dict[str, Any]) -> None:
    for r in resources(**values):
        assert updated(r, created(r)) == created(r)


# Mesh, names, nodes.


@pytest.mark.parametrize("egress", ["DROP_ALL", "ALLOW_ALL"])
def test_the_mesh_says_what_may_leave_it(egress: str) -> None:
    assert spec("mesh apps", mesh={"egress": egress}) == {"egressFilter": {"type": egress}}


def test_a_name_is_declared_first_and_led_somewhere_later() -> None:
    first, second = (r for r in resources() if r.key == "virtual service serviceb.apps.local")
    assert (first.step, first.spec) == ("01", {})
    assert second.step == "03"
    assert stated(second.spec) == {"provider": {"virtualRouter": {"virtualRouterName": "serviceB"}}}


def test_a_name_without_a_router_leads_to_its_node() -> None:
    assert spec("virtual service servicea.apps.local") == {"provider": {"virtualNode": {"virtualNodeName": "serviceA"}}}


def test_a_name_that_gets_a_router_leaves_its_node() -> None:
    (wanted,) = (r.spec for r in resources() if r.key == "virtual service serviceb.apps.local" and r.step == "03")
    node = {"provider": {"virtualNode": {"virtualNodeName": "serviceB"}}}
    assert merged(node, wanted) == {"provider": {"virtualRouter": {"virtualRouterName": "serviceB"}}}


def test_a_node_is_found_by_dns_logs_and_lists_its_backends() -> None:
    assert spec("virtual node serviceA") == {
        "listeners": [{"portMapping": {"port": 9080, "protocol": "http2"}}],
        "serviceDiscovery": {"dns": {"hostname": "servicea.apps.local"}},
        "backends": [{"virtualService": {"virtualServiceName": "serviceb.apps.local"}}],
        "logging": {"accessLog": {"file": {"path": "/dev/stdout"}}},
    }


def test_a_node_may_be_found_by_cloud_map() -> None:
    found = spec("virtual node serviceB", services={"serviceB": {"cloud_map": CLOUD_MAP}})["serviceDiscovery"]
    assert found == {
        "awsCloudMap": {
            "namespaceName": "apps.local",
            "serviceName": "serviceb",
            "attributes": [{"key": "stage", "value": "prod"}],
        }
    }


def discovery(**own: Any) -> Any:
    return next(r.spec for r in resources(services={"serviceB": own}) if r.key == "virtual node serviceB")


@pytest.mark.parametrize(("before", "after"), [({}, {"cloud_map": CLOUD_MAP}), ({"cloud_map": CLOUD_MAP}, {})])
def test_discovery_changes_from_one_to_the_other(before: dict[str, Any], after: dict[str, Any]) -> None:
    live = stated(discovery(**before))
    assert merged(live, discovery(**after)) == stated(discovery(**after)) != live


def test_a_node_without_an_access_log_loses_it() -> None:
    live = spec("virtual node serviceB")
    wanted = next(r.spec for r in resources(envoy={"access_log": None}) if r.key == "virtual node serviceB")
    assert "logging" not in merged(live, wanted)


@pytest.mark.parametrize("path", ["/dev/stderr", None])
def test_a_node_may_have_an_access_log_of_its_own(path: str | None) -> None:
    wanted = {r.key: stated(r.spec) for r in resources(services={"serviceB": {"access_log": path}})}
    written = {"accessLog": {"file": {"path": path}}} if path else None
    assert wanted["virtual node serviceB"].get("logging") == written
    assert wanted["virtual node serviceA"]["logging"] == {"accessLog": {"file": {"path": "/dev/stdout"}}}


def test_a_node_listens_on_each_of_its_ports() -> None:
    found = spec("virtual node serviceB", services={"serviceB": {"ports": [8080, 8081]}})
    assert [x["portMapping"]["port"] for x in found["listeners"]] == [8080, 8081]


def test_a_service_that_only_calls_has_neither_listener_nor_discovery() -> None:
    worker = {"task_definition": "worker", "ports": [], "backends": ["serviceb.apps.local"]}
    found = spec("virtual node worker", services={"worker": worker})
    assert "listeners" not in found
    assert "serviceDiscovery" not in found
    assert found["backends"] == [{"virtualService": {"virtualServiceName": "serviceb.apps.local"}}]


def test_a_health_check_is_the_listeners() -> None:
    assert listener(health_check={**HEALTH, "path": "/ping"})["healthCheck"] == {
        "protocol": "http2",
        "port": 9080,
        "path": "/ping",
        "intervalMillis": 5000,
        "timeoutMillis": 2000,
        "healthyThreshold": 2,
        "unhealthyThreshold": 4,
    }


@pytest.mark.parametrize("protocol", ["tcp", "grpc"])
def test_a_health_check_without_http_has_no_path(protocol: str) -> None:
    values = {"protocol": protocol, "services": {"serviceB": {"health_check": HEALTH}}}
    assert "path" not in spec("virtual node serviceB", **values)["listeners"][0]["healthCheck"]


def test_a_listeners_timeout_is_its_protocols() -> None:
    assert listener(timeout={"per_request_seconds": 30, "idle_seconds": 60})["timeout"] == {
        "http2": {"perRequest": {"unit": "s", "value": 30}, "idle": {"unit": "s", "value": 60}}
    }


def test_a_router_may_listen_on_another_port_than_its_nodes() -> None:
    found = spec("virtual router serviceB", routers={"serviceB": {"port": 80}})
    assert found == {"listeners": [{"portMapping": {"port": 80, "protocol": "http2"}}]}
    assert spec("virtual node serviceB")["listeners"][0]["portMapping"]["port"] == 9080


# Routes.


@pytest.mark.parametrize(("protocol", "variant"), SPECS.items())
def test_a_route_is_of_its_routers_protocol(protocol: str, variant: str) -> None:
    assert set(spec("route serviceB/serviceB", protocol=protocol)) == {variant}


def test_a_route_of_another_protocol_is_taken_out() -> None:
    slip = {"httpRoute": {"action": {"weightedTargets": []}, "match": {"prefix": "/"}}}
    wanted = next(r.spec for r in resources() if r.kind == "route")
    assert set(merged(slip, wanted)) == {"http2Route"}


def test_a_fresh_route_gives_everything_to_the_stable_service() -> None:
    assert route()["action"]["weightedTargets"] == [
        {"virtualNode": "serviceB", "weight": 100},
        {"virtualNode": "serviceBv2", "weight": 0},
    ]


@given(st.integers(0, 100))
def test_weights_in_force_are_kept(weight: int) -> None:
    found = route(Lifecycle({"serviceB": 100 - weight, "serviceBv2": weight}))["action"]["weightedTargets"]
    assert found == [
        {"virtualNode": "serviceB", "weight": 100 - weight},
        {"virtualNode": "serviceBv2", "weight": weight},
    ]


def test_another_routes_weights_are_the_files() -> None:
    routers = {"other": {"routes": {"x": {"targets": {"serviceA": 60, "serviceB": 30, "serviceBv2": 10}}}}}
    found = spec("route other/x", Lifecycle({"serviceB": 0, "serviceBv2": 100}), routers=routers)
    weights = {t["virtualNode"]: t["weight"] for t in found["http2Route"]["action"]["weightedTargets"]}
    assert weights == {"serviceA": 60, "serviceB": 30, "serviceBv2": 10}


def test_a_route_always_says_how_often_it_tries_again() -> None:
    assert route()["retryPolicy"] == {
        "maxRetries": 2,
        "perRetryTimeout": {"unit": "ms", "value": 5000},
        "httpRetryEvents": ["gateway-error", "stream-error"],
        "tcpRetryEvents": ["connection-error"],
    }


def test_events_that_are_not_tried_again_are_taken_out() -> None:
    wanted = next(
        r.spec for r in resources(routers={"serviceB": {"routes": {"serviceB": {"retry": {"http_events": []}}}}})
        if r.kind == "route"
    )  # fmt: skip
    assert "httpRetryEvents" not in merged(spec("route serviceB/serviceB"), wanted)["http2Route"]["retryPolicy"]


def test_a_route_always_says_how_long_a_request_may_take() -> None:
    assert route()["timeout"] == {"perRequest": {"unit": "s", "value": 15}}


def test_a_grpc_route_names_grpc_events() -> None:
    assert route(protocol="grpc")["retryPolicy"]["grpcRetryEvents"] == ["unavailable"]


def test_a_tcp_route_has_neither_match_nor_retries() -> None:
    assert set(route(protocol="tcp")) == {"action"}


def test_a_match_says_path_method_and_headers() -> None:
    headers = [
        {"name": "x-version", "exact": "2"},
        {"name": "x-user", "prefix": "qa", "invert": True},
        {"name": "x-any"},
    ]
    found = route(match={"prefix": None, "path": "/a", "method": "POST", "headers": headers})["match"]
    assert found == {
        "path": {"exact": "/a"},
        "method": "POST",
        "headers": [
            {"name": "x-version", "invert": False, "match": {"exact": "2"}},
            {"name": "x-user", "invert": True, "match": {"prefix": "qa"}},
            {"name": "x-any", "invert": False},
        ],
    }


def test_a_match_says_every_filter_that_app_mesh_has() -> None:
    headers = [
        {"name": "x-user", "suffix": "@qa"},
        {"name": "x-tenant", "regex": "blue|green"},
        {"name": "x-build", "range": {"start": 40, "end": 50}},
    ]
    queries = [{"name": "preview", "exact": "yes"}, {"name": "debug"}]
    match = {"path_regex": "/orders/[0-9]+", "scheme": "http", "port": 9080, "headers": headers}
    found = route(match={"prefix": None, **match, "query_parameters": queries})["match"]
    assert found == {
        "path": {"regex": "/orders/[0-9]+"},
        "scheme": "http",
        "port": 9080,
        "headers": [
            {"name": "x-user", "invert": False, "match": {"suffix": "@qa"}},
            {"name": "x-tenant", "invert": False, "match": {"regex": "blue|green"}},
            {"name": "x-build", "invert": False, "match": {"range": {"start": 40, "end": 50}}},
        ],
        "queryParameters": [{"name": "preview", "match": {"exact": "yes"}}, {"name": "debug"}],
    }
    assert route(protocol="grpc", match={"port": 9080})["match"] == {"port": 9080}
    assert route(protocol="tcp", match={"port": 9080})["match"] == {"port": 9080}


def test_a_grpc_match_says_service_and_method() -> None:
    found = route(protocol="grpc", match={"service": "a.B", "grpc_method": "Do"})["match"]
    assert found == {"serviceName": "a.B", "methodName": "Do"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"prefix": "/"}, {"path": "/a"}),
        ({"path": "/a"}, {"prefix": "/b"}),
        ({"path": "/a"}, {"path_regex": "/a+"}),
        ({"path_regex": "/a+"}, {"path": "/a"}),
    ],
)
def test_a_match_has_a_prefix_or_a_path_and_changes_from_one_to_the_other(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    def of(match: dict[str, Any]) -> Any:
        routers = {"other": {"routes": {"x": {"targets": ["serviceB"], "match": match}}}}
        return next(r.spec for r in resources(routers=routers) if r.key == "route other/x")

    live = stated(of(before))
    assert merged(live, of(after))["http2Route"]["match"] == stated(of(after))["http2Route"]["match"]


def test_a_priority_is_written_even_when_it_is_0() -> None:
    found = spec("route serviceB/serviceB", routers={"serviceB": {"routes": {"serviceB": {"priority": 0}}}})
    assert found["priority"] == 0


# The life of the application.


RETIRED = Lifecycle({"serviceBv2": 100}, frozenset({"serviceB"}))


def test_a_retired_service_has_no_node_any_more() -> None:
    assert "virtual node serviceB" not in [r.key for r in resources(RETIRED)]
    assert "virtual node serviceBv2" in [r.key for r in resources(RETIRED)]


def test_a_retired_service_does_not_come_back_to_the_route() -> None:
    assert route(RETIRED)["action"]["weightedTargets"] == [{"virtualNode": "serviceBv2", "weight": 100}]


@pytest.mark.parametrize(
    ("life", "stage"),
    [
        (Lifecycle(), "plain"),
        (Lifecycle({"serviceB": 100, "serviceBv2": 0}), "routed"),
        (Lifecycle({"serviceB": 75, "serviceBv2": 25}), "shifting"),
        (Lifecycle({"serviceB": 0, "serviceBv2": 100}), "shifted"),
        (RETIRED, "retired"),
    ],
)
def test_the_stage_follows_from_the_weights(life: Lifecycle, stage: str) -> None:
    assert life.stage("serviceBv2", 100) == stage


def test_a_shift_that_ends_early_is_shifted_there() -> None:
    assert Lifecycle({"serviceB": 50, "serviceBv2": 50}).stage("serviceBv2", 50) == "shifted"


# The seed's slips (facts 2.7) do not come back.


def every_word(p: Parameters) -> str:
    return json.dumps([[dict(r.names), stated(r.spec)] for r in desired(p, Lifecycle())])


def test_no_name_of_dns_has_a_capital() -> None:
    names = [spec(f"virtual node {n}")["serviceDiscovery"]["dns"]["hostname"] for n in scenes.load().services]
    names += [r.name for r in resources() if r.kind == "virtual service"]
    assert names == [name.lower() for name in names]


def test_the_route_of_an_http2_router_is_no_http_route() -> None:
    assert '"httpRoute"' not in every_word(scenes.load())


def test_the_mesh_is_not_called_as_its_namespace() -> None:
    assert {r.names["meshName"] for r in resources()} == {"apps"}


def test_listeners_have_the_applications_port() -> None:
    ports = {spec(f"virtual node {n}")["listeners"][0]["portMapping"]["port"] for n in scenes.load().services}
    assert ports == {9080}


def test_the_route_comes_before_the_provider_that_leads_to_it() -> None:
    keys = [(r.key, r.step) for r in resources()]
    assert keys.index(("route serviceB/serviceB", "03")) < keys.index(("virtual service serviceb.apps.local", "03"))


# ARNs and quotas.


@pytest.mark.parametrize(("region", "partition"), [("us-west-2", "aws"), ("cn-north-1", "aws-cn")])
def test_a_nodes_arn_is_of_its_partition(region: str, partition: str) -> None:
    found = node_arn(scenes.load(region=region), "serviceB")
    assert found == f"arn:{partition}:appmesh:{region}:123456789012:mesh/apps/virtualNode/serviceB"


def test_quotas_count_what_the_file_asks_for() -> None:
    counts = {quota.what: quota.count for quota in quotas(scenes.load())}
    assert counts["virtual nodes per mesh"] == 3
    assert counts["weighted targets per route"] == 2
    assert counts["backends per node"] == 1


def test_a_difference_of_a_route_is_readable() -> None:
    before, after = (
        spec("route serviceB/serviceB", Lifecycle({"serviceB": 100 - w, "serviceBv2": w})) for w in (0, 25)
    )
    assert [d.field for d in differences(before, after)] == [
        "http2Route.action.weightedTargets[serviceB].weight",
        "http2Route.action.weightedTargets[serviceBv2].weight",
    ]
