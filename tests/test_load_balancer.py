"""A load balancer's rules as Envoy's routes, and what it counted as CloudWatch's series: plain values."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from runbook_lib.local.control_plane.metrics import Sum
from runbook_lib.local.data_plane.load_balancer import Group, Listener, LoadBalancer, Rule
from runbook_lib.local.data_plane.load_balancer_files import load_balancer_files
from runbook_lib.local.data_plane.load_balancer_routes import routes
from runbook_lib.local.data_plane.load_balancer_series import Counted, End, series

HERE = "arn:aws:elasticloadbalancing:us-west-2:123456789012"
STABLE, CANARY = f"{HERE}:targetgroup/serviceB/1111", f"{HERE}:targetgroup/serviceBv2/2222"
CLUSTERS = {STABLE: "cds_tg_serviceB_1111", CANARY: "cds_tg_serviceBv2_2222"}
EVERY_PATH = {"Field": "path-pattern", "Values": ["/*"]}


def forward(**weights: int) -> dict[str, Any]:
    arns = {"stable": STABLE, "canary": CANARY}
    groups = [{"TargetGroupArn": arns[name], "Weight": weight} for name, weight in weights.items()]
    return {"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}


def routes_of(*rules: Rule) -> list[dict[str, Any]]:
    return routes(Listener(80, rules), CLUSTERS, 60)


def match_of(*conditions: dict[str, Any]) -> dict[str, Any]:
    (route,) = routes_of(Rule(conditions, [forward(stable=1)]))
    return dict(route["match"])


# Routes.


def test_weights_become_weighted_clusters_without_those_of_0() -> None:
    (route,) = routes_of(Rule([EVERY_PATH], [forward(stable=75, canary=25)]))
    weights = {each["name"]: each["weight"] for each in route["route"]["weighted_clusters"]["clusters"]}
    assert weights == {CLUSTERS[STABLE]: 75, CLUSTERS[CANARY]: 25}
    (route,) = routes_of(Rule([EVERY_PATH], [forward(stable=100, canary=0)]))
    assert route["route"]["weighted_clusters"]["clusters"] == [{"name": CLUSTERS[STABLE], "weight": 100}]


def test_no_request_is_tried_again_and_none_has_a_time_limit_but_the_idle_one() -> None:
    (route,) = routes_of(Rule([EVERY_PATH], [forward(stable=1)]))
    assert route["route"].keys() == {"weighted_clusters", "timeout", "idle_timeout"}
    assert (route["route"]["timeout"], route["route"]["idle_timeout"]) == ("0s", "60s")


def test_weights_of_0_alone_are_answered_503() -> None:
    (route,) = routes_of(Rule([EVERY_PATH], [forward(stable=0, canary=0)]))
    assert route["direct_response"] == {"status": 503}


def test_rules_are_tried_in_their_order_and_other_actions_carried_out() -> None:
    fixed = {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "404", "MessageBody": "no"}}
    authenticate = {"Type": "authenticate-oidc", "Order": 1}
    found = routes_of(Rule([EVERY_PATH], [authenticate, forward(stable=1)]), Rule([], [fixed]))
    assert ["route" in each for each in found] == [True, False]
    assert found[1]["direct_response"] == {"status": 404, "body": {"inline_string": "no"}}


@pytest.mark.parametrize(
    ("condition", "match"),
    [
        (EVERY_PATH, {"prefix": "/"}),
        ({"Field": "path-pattern", "Values": ["/a/*", "/b?"]}, {"safe_regex": {"regex": r"(/a/.*|/b.)"}}),
        (
            {"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "X-Trial", "Values": ["a.b"]}},
            {
                "prefix": "/",
                "headers": [{"name": "x-trial", "string_match": {"safe_regex": {"regex": r"(?i)(a\.b)"}}}],
            },
        ),
        (
            {"Field": "host-header", "HostHeaderConfig": {"Values": ["*.x.com"]}},
            {
                "prefix": "/",
                "headers": [
                    {"name": ":authority", "string_match": {"safe_regex": {"regex": r"(?i)(.*\.x\.com)(:\d+)?"}}}
                ],
            },
        ),
    ],
)
def test_conditions_become_matches(condition: dict[str, Any], match: dict[str, Any]) -> None:
    assert match_of(condition) == match


def test_all_conditions_of_a_rule_must_match() -> None:
    method = {"Field": "http-request-method", "HttpRequestMethodConfig": {"Values": ["GET", "HEAD"]}}
    found = match_of({"Field": "path-pattern", "Values": ["/a"]}, method)
    assert found.keys() == {"safe_regex", "headers"}
    assert found["headers"][0]["string_match"] == {"safe_regex": {"regex": "(?i)(GET|HEAD)"}}


def test_a_rule_whose_condition_is_not_carried_matches_nothing() -> None:
    condition = {"Field": "source-ip", "SourceIpConfig": {"Values": ["10.0.0.0/8"]}}
    assert routes_of(Rule([condition], [forward(stable=1)])) == []


# Series.

BALANCER = LoadBalancer(
    account="123456789012",
    region="us-west-2",
    arn=f"{HERE}:loadbalancer/app/apps/3333",
    dns_name="apps",
    addresses=("10.0.0.9",),
    idle_seconds=60,
    listeners=(Listener(80, [Rule([], [forward(stable=75, canary=25)])]),),
    groups=(Group(STABLE, [], healthy=2), Group(CANARY, [], healthy=1, unhealthy=1)),
)


def end(arn: str, code: int = 200, flags: str = "-", route: str = "forward") -> End:
    return End(CLUSTERS.get(arn, ""), route, str(code), flags)


def told(counted: Counted) -> dict[str, dict[str, float]]:
    """Return the sums of each series, by group's name and metric; "" stands for the whole load balancer."""
    found: dict[str, dict[str, float]] = {"": {}, "serviceB": {}, "serviceBv2": {}}
    for (namespace, metric, dimensions), made in series(BALANCER, counted):
        named = dict(dimensions)
        assert (namespace, named["LoadBalancer"]) == ("AWS/ApplicationELB", "app/apps/3333")
        group = named.get("TargetGroup", "targetgroup//").split("/")[1]
        found[group][metric] = made.total
    return found


HOSTS = {
    "serviceB": {"HealthyHostCount": 2.0, "UnHealthyHostCount": 0.0},
    "serviceBv2": {"HealthyHostCount": 1.0, "UnHealthyHostCount": 1.0},
}


def test_what_did_not_happen_is_not_reported() -> None:
    assert told(Counted({end(STABLE): 0, end(CANARY, 500): 0})) == {"": {}, **HOSTS}


def test_answers_are_counted_for_their_group_and_for_the_whole() -> None:
    seen = told(Counted({end(STABLE): 75, end(CANARY): 20, end(CANARY, 503): 5}))
    stable = {"RequestCount": 75, "HTTPCode_Target_2XX_Count": 75}
    canary = {"RequestCount": 25, "HTTPCode_Target_2XX_Count": 20, "HTTPCode_Target_5XX_Count": 5}
    assert seen["serviceB"] == {**HOSTS["serviceB"], **stable}
    assert seen["serviceBv2"] == {**HOSTS["serviceBv2"], **canary}
    assert seen[""] == {"RequestCount": 100, "HTTPCode_Target_2XX_Count": 95, "HTTPCode_Target_5XX_Count": 5}


def test_codes_of_the_load_balancers_own_are_nobodys() -> None:
    ends = {end(CANARY, 502, "UF"): 3, end(CANARY, 502, "UC"): 2, end(CANARY, 504, "SI"): 4}
    seen = told(Counted(ends, connection_errors={CLUSTERS[CANARY]: 2}))
    assert seen["serviceBv2"] == {**HOSTS["serviceBv2"], "RequestCount": 9, "TargetConnectionErrorCount": 2}
    expected = {"HTTPCode_ELB_5XX_Count": 9, "HTTPCode_ELB_502_Count": 5, "HTTPCode_ELB_504_Count": 4}
    assert {name: seen[""].get(name) for name in expected} == expected


def test_a_caller_that_gives_up_is_counted_for_the_load_balancer() -> None:
    seen = told(Counted({end(CANARY, 0, "DC"): 3}))
    assert seen["serviceBv2"] == {**HOSTS["serviceBv2"], "RequestCount": 3}
    assert seen[""] == {"RequestCount": 3, "HTTPCode_ELB_4XX_Count": 3}


def test_a_request_without_a_target_is_no_request_of_its_group() -> None:
    seen = told(Counted({end(CANARY, 503, "UH"): 7}))
    assert seen["serviceBv2"] == HOSTS["serviceBv2"]
    assert seen[""] == {"HTTPCode_ELB_5XX_Count": 7, "HTTPCode_ELB_503_Count": 7}


def test_an_answer_that_the_rule_fixes_is_no_error_of_the_load_balancer() -> None:
    assert told(Counted({end("", 503, route="fixed"): 7}))[""] == {"HTTP_Fixed_Response_Count": 7}
    assert told(Counted({end("", 503): 7}))[""]["HTTPCode_ELB_503_Count"] == 7


def test_times_are_seconds() -> None:
    times = {CLUSTERS[CANARY]: ((250.0, 3), (500.0, 2), (1000.0, 1))}
    found = {
        (name, dict(d).get("TargetGroup")): made for (_, name, d), made in series(BALANCER, Counted({}, {}, times))
    }
    made: Sum = found["TargetResponseTime", "targetgroup/serviceBv2/2222"]
    assert (made.count, made.within(0.5, float("inf")), made.most) == (6, 1, 1.0)


def test_what_was_counted_since_starts_anew_with_a_new_process() -> None:
    before = Counted({end(STABLE): 100}, {"c": 5}, {"c": ((1.0, 10),)})
    after = Counted({end(STABLE): 130, end(CANARY): 4}, {"c": 5}, {"c": ((1.0, 12), (2.0, 1))})
    since = after.since(before)
    assert since.ends == {end(STABLE): 30, end(CANARY): 4}
    assert (since.connection_errors, since.times) == ({"c": 0}, {"c": ((1.0, 2), (2.0, 1))})
    assert Counted({end(STABLE): 7}).since(before).ends == {end(STABLE): 7}


# Files.


def test_over_tls_http1_is_answered_464_where_the_groups_speak_http2() -> None:
    groups = [replace(group, version="HTTP2") for group in BALANCER.groups]
    listeners = [replace(BALANCER.listeners[0], port=443, certificate=("certificate", "key"))]
    secure = replace(BALANCER, groups=groups, listeners=listeners)
    files = load_balancer_files(secure, {443: 20001}, {}, "/admin", "7")
    (listener,) = files["lds.json"]["resources"]
    newer, older = listener["filter_chains"]
    assert newer["filter_chain_match"] == {"application_protocols": ["h2"]}
    assert all(chain["transport_socket"]["name"] == "envoy.transport_sockets.tls" for chain in (newer, older))
    tables = [chain["filters"][0]["typed_config"]["rds"]["route_config_name"] for chain in (newer, older)]
    assert tables == ["rds_alb_443", "rds_alb_443_http1"]
    (host,) = files["rds_alb_443_http1.json"]["resources"][0]["virtual_hosts"]
    assert host["routes"][0]["direct_response"] == {"status": 464}
    (host,) = files["rds_alb_443.json"]["resources"][0]["virtual_hosts"]
    assert "weighted_clusters" in host["routes"][0]["route"]


def test_each_listener_and_each_group_has_its_files() -> None:
    endpoints = {STABLE: [("127.0.0.1", 9000)], CANARY: []}
    files = load_balancer_files(BALANCER, {80: 20001}, endpoints, "/admin", "7")
    assert {name for name in files if name != "bootstrap.json"} == {
        "cds.json",
        "lds.json",
        "rds_alb_80.json",
        "cds_tg_serviceB_1111.json",
        "cds_tg_serviceBv2_2222.json",
    }
    (listener,) = files["lds.json"]["resources"]
    assert listener["address"]["socket_address"] == {"address": "127.0.0.1", "port_value": 20001}
    (empty,) = files["cds_tg_serviceBv2_2222.json"]["resources"]
    assert empty["endpoints"] == [{"lb_endpoints": []}]
