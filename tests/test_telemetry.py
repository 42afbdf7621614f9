"""What CloudWatch counted is read as it was put: whole periods, both versions, every caller, no more."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runbook_lib.aws import cloudwatch
from runbook_lib.aws.cloudwatch import Series
from runbook_lib.aws.session import Session
from runbook_lib.engines.appmesh import engine as mesh
from runbook_lib.engines.appmesh.counts import inbound
from runbook_lib.local.control_plane.metrics import Sum, key, metrics_backends
from runbook_lib.local.data_plane.admin import Counters
from runbook_lib.local.data_plane.publisher import Grain, Publisher
from runbook_lib.local.paths import faults_file
from runbook_lib.local.troubles import Troubles
from runbook_lib.survey import survey
from runbook_lib.task_definition.sidecar import sidecar_of
from runbook_lib.verdict import Sample
from tests.live import CANARY, STABLE, quick
from tests.scenes import LOCAL, MESH, ROUTE, open_at, somebody

MINUTE = {"period_seconds": 60, "delay_seconds": 120}
BEGAN = 1_800_000_000  # the beginning of a minute


@pytest.fixture
def session() -> Session:
    return opened()


def opened(**more: Any) -> Session:
    """Open a session on an account without any metric."""
    found = open_at("meshed", **more)
    metrics_backends[found.parameters.account_id][found.parameters.region].state.series.clear()
    return found


def put(session: Session, name: str, second: int, *, caller: str = "serviceA", **values: Mapping[float, int]) -> None:
    """Put requests, errors or latency of one version: values, and how often each came."""
    state = metrics_backends[session.parameters.account_id][session.parameters.region].state
    for kind, counted in values.items():
        one = mesh.series(session.parameters)[name][kind][0]
        made = Sum()
        for value, count in counted.items():
            made.add(value, count)
        dimensions = [{"Name": k, "Value": v} for k, v in {**one.dimensions, "VirtualNode": caller}.items()]
        state.put(key("AppMesh", one.metric, dimensions), second, made)


def read(session: Session, since: float, until: float) -> list[cloudwatch.Interval]:
    return cloudwatch.read_intervals(session, mesh.series(session.parameters), since, until)


@pytest.mark.parametrize(
    ("grain", "now", "end"),
    [
        ({"period_seconds": 1, "delay_seconds": 0}, BEGAN + 10.2, BEGAN + 9),  # not yet put
        ({"period_seconds": 1, "delay_seconds": 0}, BEGAN + 10.5, BEGAN + 10),
        (MINUTE, BEGAN + 179, BEGAN),
        (MINUTE, BEGAN + 181, BEGAN + 60),
    ],
)
def test_a_period_is_complete_once_it_has_ended_and_its_delay_has_passed(
    grain: dict[str, int], now: float, end: int
) -> None:
    assert cloudwatch.complete_until(opened(telemetry=grain), now) == end


def test_every_whole_period_is_one_interval_and_one_without_data_has_no_requests(session: Session) -> None:
    put(session, STABLE, BEGAN, requests={1.0: 30}, errors={1.0: 2})
    put(session, CANARY, BEGAN + 2, requests={1.0: 10})
    seen = read(session, BEGAN, BEGAN + 3)
    assert [(i.start - BEGAN, i.errors) for i in seen] == [
        (0, Sample(30, 2, 0, 0)),
        (1, Sample(0, 0, 0, 0)),
        (2, Sample(0, 0, 10, 0)),
    ]
    assert [i.requests for i in seen] == [30, 0, 10]


def test_a_period_that_began_before_is_left_out() -> None:
    session = opened(telemetry=MINUTE)
    put(session, STABLE, BEGAN, requests={1.0: 30})
    put(session, STABLE, BEGAN + 61, requests={1.0: 20})
    put(session, STABLE, BEGAN + 119, requests={1.0: 5})
    assert [(i.start, i.requests) for i in read(session, BEGAN + 1, BEGAN + 120)] == [(BEGAN + 60, 25)]
    assert read(session, BEGAN + 61, BEGAN + 120) == []


def test_slow_requests_are_those_over_the_limit() -> None:
    session = opened(shift=quick(verdict={"slow_millis": 250}))
    put(session, CANARY, BEGAN, requests={1.0: 10}, latency={5.0: 4, 250.0: 3, 251.0: 2, 9000.0: 1})
    (seen,) = read(session, BEGAN, BEGAN + 1)
    assert seen.slow == Sample(0, 0, 10, 3)


def test_where_slowness_is_not_judged_it_is_not_asked_for(session: Session) -> None:
    put(session, CANARY, BEGAN, requests={1.0: 10}, latency={9000.0: 10})
    assert read(session, BEGAN, BEGAN + 1)[0].slow == Sample(0, 0, 10, 0)


def test_errors_that_come_before_their_requests_never_exceed_them(session: Session) -> None:
    put(session, CANARY, BEGAN, requests={1.0: 3}, errors={1.0: 5})
    assert read(session, BEGAN, BEGAN + 1)[0].errors == Sample(0, 0, 3, 3)


def test_every_callers_requests_count() -> None:
    services = {**LOCAL["services"]}
    services["shop"] = {"hostname": "shop.apps.local", "task_definition": "shop", "backends": ["serviceb.apps.local"]}
    session = opened(services=services)
    put(session, CANARY, BEGAN, requests={1.0: 10})
    put(session, CANARY, BEGAN, requests={1.0: 7}, caller="shop")
    assert read(session, BEGAN, BEGAN + 1)[0].errors.canary_requests == 17


def test_another_meshs_or_names_counts_are_not_ours(session: Session) -> None:
    one = mesh.series(session.parameters)[CANARY]["requests"][0]
    state = metrics_backends[session.parameters.account_id][session.parameters.region].state
    for different in ({"Mesh": "theirs"}, {"TargetVirtualService": "other.apps.local"}):
        dimensions = [{"Name": k, "Value": v} for k, v in {**one.dimensions, **different}.items()]
        state.put(key("AppMesh", one.metric, dimensions), BEGAN, Sum(5, 5))
    assert read(session, BEGAN, BEGAN + 1)[0].requests == 0


def test_more_series_than_one_call_takes_are_asked_for_in_several() -> None:
    callers = {
        f"caller{n}": {"hostname": f"c{n}.apps.local", "task_definition": f"c{n}", "backends": ["serviceb.apps.local"]}
        for n in range(120)
    }
    session = opened(services={**LOCAL["services"], **callers})
    put(session, CANARY, BEGAN, requests={1.0: 1}, caller="caller119")
    put(session, STABLE, BEGAN, requests={1.0: 2}, caller="caller0")
    asked: list[int] = []
    events = session._client("cloudwatch").meta.events

    def look(params: Any, **_: Any) -> None:
        asked.append(len(params["MetricDataQueries"]))

    events.register("provide-client-params.cloudwatch.GetMetricData", look)
    try:
        (seen,) = read(session, BEGAN, BEGAN + 1)
    finally:
        events.unregister("provide-client-params.cloudwatch.GetMetricData", look)
    assert seen.errors == Sample(2, 0, 1, 0)
    assert sum(asked) == 2 * 2 * 121
    assert max(asked) <= 500


def test_one_series_is_summed_over_a_window(session: Session) -> None:
    p = session.parameters
    state = metrics_backends[p.account_id][p.region].state
    one = inbound(p, STABLE)
    for second, count in ((0, 5), (1, 6), (2, 7)):
        made = Sum()
        made.add(1.0, count)
        dimensions = [{"Name": k, "Value": v} for k, v in one.dimensions.items()]
        state.put(key("AppMesh", one.metric, dimensions), BEGAN + second, made)
    assert cloudwatch.read_requests(session, one, BEGAN + 0.5, BEGAN + 3) == 13
    assert cloudwatch.read_requests(session, one, BEGAN + 9, BEGAN + 9) == 0


# Alarms.


def test_an_alarm_has_its_state_and_one_that_is_not_there_says_so(session: Session) -> None:
    client = somebody(session, "cloudwatch")
    rule = {"ComparisonOperator": "GreaterThanThreshold", "EvaluationPeriods": 1, "Threshold": 1.0, "Period": 60}
    for name, state in (("fine", "OK"), ("pager", "ALARM")):
        client.put_metric_alarm(AlarmName=name, MetricName="Errors", Namespace="Shop", Statistic="Sum", **rule)
        client.set_alarm_state(AlarmName=name, StateValue=state, StateReason="the test says so")
    found = cloudwatch.read_alarms(session, ["fine", "pager", "nobodys"])
    assert found == {"fine": "OK", "pager": "ALARM", "nobodys": "MISSING"}


def test_composite_alarms_are_asked_for_since_aws_leaves_them_out_otherwise(session: Session) -> None:
    asked: list[Any] = []
    events = session._client("cloudwatch").meta.events

    def look(params: Any, **_: Any) -> None:
        asked.append(params)

    events.register("provide-client-params.cloudwatch.DescribeAlarms", look)
    try:
        cloudwatch.read_alarms(session, ["both"])
    finally:
        events.unregister("provide-client-params.cloudwatch.DescribeAlarms", look)
    assert asked == [{"AlarmNames": ["both"], "AlarmTypes": ["MetricAlarm", "CompositeAlarm"]}]


def test_where_no_alarm_is_named_nobody_is_asked(session: Session) -> None:
    session.clients = {}  # a call would have to make a client first
    assert cloudwatch.read_alarms(session, []) == {}
    assert session.clients == {}


# What the local mesh publishes.


class Counted:
    """A sidecar that counts what it is told."""

    def __init__(self) -> None:
        self.now: dict[str, Any] = {}

    def counters(self) -> dict[str, Any]:
        return dict(self.now)


def publisher_of(session: Session) -> tuple[Publisher, Counted]:
    """Return what publishes the counts of a sidecar of serviceA's, and that sidecar."""
    p, sidecar = session.parameters, Counted()
    definition = survey(session).running["serviceA"].definition
    assert definition is not None
    task = SimpleNamespace(id="a", account=p.account_id, region=p.region, cluster=p.cluster)
    member = SimpleNamespace(task=task, sidecar=sidecar, identity=sidecar_of(definition), live=True, phase="running")
    return Publisher(lambda: [member], Troubles()), sidecar  # type: ignore[list-item]


EGRESS = "cds_egress_apps_serviceBv2_http2_9080"


def canary(session: Session, second: int) -> Sample:
    return read(session, second, second + 1)[0].errors


def test_a_try_that_was_tried_again_counts_and_so_does_its_error(session: Session) -> None:
    publisher, sidecar = publisher_of(session)
    sidecar.now = {EGRESS: Counters(completed=10, errors=1, retried_5xx=4)}
    publisher.step(BEGAN + 1.0)
    assert canary(session, BEGAN) == Sample(0, 0, 14, 5)


def test_each_second_has_what_was_counted_in_it(session: Session) -> None:
    publisher, sidecar = publisher_of(session)
    for second, completed in ((1, 10), (2, 25), (3, 25)):
        sidecar.now = {EGRESS: Counters(completed=completed)}
        publisher.step(BEGAN + second)
    assert [i.errors.canary_requests for i in read(session, BEGAN, BEGAN + 3)] == [10, 15, 0]


def test_a_counter_that_fell_was_counting_from_zero_again(session: Session) -> None:
    publisher, sidecar = publisher_of(session)
    for second, completed in ((1, 100), (2, 7)):
        sidecar.now = {EGRESS: Counters(completed=completed)}
        publisher.step(BEGAN + second)
    assert [i.errors.canary_requests for i in read(session, BEGAN, BEGAN + 2)] == [100, 7]


def test_data_appear_as_late_as_the_file_says() -> None:
    session = opened(telemetry={**MINUTE, "namespace": "AppMesh"})
    publisher, sidecar = publisher_of(session)
    p = session.parameters
    publisher.grains[p.account_id, p.region, p.cluster] = Grain(**p.telemetry.model_dump())
    sidecar.now = {EGRESS: Counters(completed=9)}
    publisher.step(BEGAN + 30)
    publisher.step(BEGAN + 179)
    assert canary_requests(session) == 0
    publisher.step(BEGAN + 180)
    assert canary_requests(session) == 9


def test_what_is_counted_of_one_version_appears_late_where_a_fault_says_so(session: Session, tmp_path: Path) -> None:
    publisher, sidecar = publisher_of(session)
    (caller,) = publisher._members()
    p = session.parameters
    task = SimpleNamespace(account=p.account_id, region=p.region, cluster=p.cluster, service="serviceBv2")
    identity = SimpleNamespace(mesh="apps", virtual_node="serviceBv2")
    canary_task = SimpleNamespace(
        task=SimpleNamespace(**vars(task), id="c"), identity=identity, sidecar=None, folder=tmp_path / "task"
    )
    publisher._members = lambda: [caller, canary_task]  # type: ignore[list-item]
    faults_file(tmp_path, "serviceBv2").write_text(json.dumps({"data_delay_seconds": 5.0}))
    sidecar.now = {EGRESS: Counters(completed=9), EGRESS.replace("serviceBv2", "serviceB"): Counters(completed=30)}
    publisher.step(BEGAN + 1.0)
    assert read(session, BEGAN, BEGAN + 1)[0].errors == Sample(30, 0, 0, 0)
    publisher.step(BEGAN + 6.0)
    assert read(session, BEGAN, BEGAN + 1)[0].errors == Sample(30, 0, 9, 0)


def canary_requests(session: Session) -> int:
    (seen,) = read(session, BEGAN, BEGAN + 60)
    return seen.errors.canary_requests


def test_what_arrives_is_counted_by_the_sidecar_it_arrives_at(session: Session) -> None:
    publisher, sidecar = publisher_of(session)
    sidecar.now = {"cds_ingress_apps_serviceA_http2_9080": Counters(completed=12)}
    publisher.step(BEGAN + 1.0)
    series = Series("RequestCount", {"Mesh": "apps", "VirtualNode": "serviceA"})
    assert cloudwatch.read_requests(session, series, BEGAN, BEGAN + 1) == 12


def test_another_namespace_is_published_to_where_the_file_names_one(session: Session) -> None:
    publisher, sidecar = publisher_of(session)
    p = session.parameters
    publisher.grains[p.account_id, p.region, p.cluster] = Grain(1, 0, "Shop")
    publisher.grains[p.account_id, p.region, "other"] = Grain(60, 600, "Other")  # of nobody who is asked here
    sidecar.now = {EGRESS: Counters(completed=3)}
    publisher.step(BEGAN + 1.0)
    assert canary(session, BEGAN).canary_requests == 0
    elsewhere = open_at("meshed", telemetry={"period_seconds": 1, "delay_seconds": 0, "namespace": "Shop"})
    assert canary(elsewhere, BEGAN).canary_requests == 3


@pytest.mark.parametrize("weights", [(0, 0), None])
def test_routes_that_the_local_mesh_refuses_cost_no_metric(session: Session, weights: tuple[int, int] | None) -> None:
    """Envoy goes on with the former ones meanwhile; the other route is nobody's business."""
    app_mesh = somebody(session)
    if weights:
        spec = app_mesh.describe_route(**ROUTE)["route"]["spec"]
        for target, weight in zip(spec["http2Route"]["action"]["weightedTargets"], weights, strict=True):
            target["weight"] = weight
        app_mesh.update_route(**ROUTE, spec=spec)
    else:
        other = {**MESH, "virtualRouterName": "other"}
        listener = {"portMapping": {"port": 9080, "protocol": "tcp"}}
        app_mesh.create_virtual_router(**other, spec={"listeners": [listener]})
        action = {"weightedTargets": [{"virtualNode": CANARY, "weight": 1}]}
        app_mesh.create_route(**other, routeName="tcp", spec={"tcpRoute": {"action": action}})
        provider = {"virtualRouter": {"virtualRouterName": "other"}}
        app_mesh.create_virtual_service(**MESH, virtualServiceName="other.apps.local", spec={"provider": provider})
    publisher, sidecar = publisher_of(session)
    sidecar.now = {EGRESS: Counters(completed=10)}
    publisher.step(BEGAN + 1.0)
    assert canary(session, BEGAN) == Sample(0, 0, 10, 0)


def test_a_sidecar_that_cannot_be_read_costs_no_other_its_metrics(session: Session) -> None:
    publisher, sidecar = publisher_of(session)
    [member] = publisher._members()
    broken = SimpleNamespace(**{**vars(member), "task": SimpleNamespace(id="b"), "sidecar": SimpleNamespace()})
    both = Publisher(lambda: [broken, member], troubles := Troubles())  # type: ignore[list-item]
    sidecar.now = {EGRESS: Counters(completed=10)}
    both.step(BEGAN + 1.0)
    assert canary(session, BEGAN) == Sample(0, 0, 10, 0)
    assert list(troubles.now) == ["metrics of task b"]


def test_a_request_is_slow_over_the_very_limit() -> None:
    session = opened(shift=quick(verdict={"slow_millis": 300}))
    publisher, sidecar = publisher_of(session)
    sidecar.now = {EGRESS: Counters(completed=9, times=((300.0, 7), (500.0, 2)))}
    publisher.step(BEGAN + 1.0)
    assert read(session, BEGAN, BEGAN + 1)[0].slow == Sample(0, 0, 9, 2)


@pytest.mark.parametrize(("stage", "answers"), [("meshed", STABLE), ("shifted", CANARY)])
def test_calls_pass_the_sidecar_of_who_answers_most_of_them(stage: str, answers: str) -> None:
    counted = mesh.path(survey(open_at(stage))).counted
    assert list(counted) == ["callers' sidecars count", f"{answers}'s"]
