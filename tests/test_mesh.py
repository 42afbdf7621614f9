"""App Mesh's changes: each does what it says, is read back, keeps the rest and refuses a stale plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from runbook_lib import plan_sidecars, survey
from runbook_lib.aws.session import Session
from runbook_lib.engines.appmesh import mesh
from runbook_lib.engines.appmesh import route as shifting
from runbook_lib.engines.appmesh.removing import plan_resources_end
from runbook_lib.engines.appmesh.standing import references
from runbook_lib.errors import CallError, PlanError, PrerequisiteError, StalePlanError
from runbook_lib.plan import Plan, holds
from tests.scenes import MESH, ROUTE, change, fact, open_at, open_local, reopen, route, somebody, weights, writes

B = "serviceb.apps.local"
NODE = {**MESH, "virtualNodeName": "serviceB"}
V2 = {**MESH, "virtualNodeName": "serviceBv2"}
SERVICE = {**MESH, "virtualServiceName": B}
EVIDENCE = ("earlier steps",)


def applied(session: Session, plan: Plan) -> list[Any]:
    return change(session, plan, *(fact(name) for name in (*EVIDENCE, *plan.needs)))


def with_cloud_map(session: Session) -> Session:
    """Open the same environment by a file that finds serviceB through Cloud Map."""
    services = {name: dict(values) for name, values in session.given["services"].items()}
    services["serviceB"]["cloud_map"] = {"service": "serviceb"}
    return reopen(session, services=services)


def without_provider(session: Session) -> Session:
    somebody(session).update_virtual_service(**SERVICE, spec={})
    return session


def write_route(session: Session, **more: Any) -> None:
    """Write the route as it is, with more in it, as somebody at a console does."""
    spec = route(session)["spec"]
    spec["http2Route"] |= more
    somebody(session).update_route(**ROUTE, spec=spec)


def tag_route(session: Session, **tags: str) -> None:
    arn = route(session)["metadata"]["arn"]
    labels = [{"key": k.replace("_", ":"), "value": v} for k, v in tags.items()]
    somebody(session).tag_resource(resourceArn=arn, tags=labels)


def tags_of(session: Session) -> dict[str, str]:
    found = somebody(session).list_tags_for_resource(resourceArn=route(session)["metadata"]["arn"])["tags"]
    return {tag["key"]: tag["value"] for tag in found}


def spec_of(session: Session, kind: str, **names: str) -> Any:
    return getattr(somebody(session), f"describe_{kind}")(**names)[NAMES[kind]]["spec"]


NAMES = {
    "mesh": "mesh",
    "virtual_node": "virtualNode",
    "virtual_service": "virtualService",
    "virtual_router": "virtualRouter",
}


def settled(session: Session) -> Plan:
    p, found = session.parameters, survey(session)
    return shifting.plan_settle(found.split, p.shift.canary, p.shift.stable)


def off_the_route(session: Session) -> Session:
    applied(session, settled(session))
    return session


def retirement(session: Session) -> Plan:
    return mesh.plan_node_end(session.parameters, mesh.read_live(session), "serviceB")


@dataclass(frozen=True)
class Kind:
    """One kind of change: where it begins, its plan, what must be true after it, and what makes it stale."""

    begin: Callable[[], Session]
    plan: Callable[[Session], Plan]
    done: Callable[[Session], bool]
    meddle: Callable[[Session], object]


def update_node(session: Session) -> None:
    somebody(session).update_virtual_node(**NODE, spec=spec_of(session, "virtual_node", **NODE))


KINDS = {
    "create": Kind(
        open_local,
        lambda s: survey(s).plan_resources("01"),
        lambda s: spec_of(s, "mesh", meshName="apps") == {"egressFilter": {"type": "DROP_ALL"}},
        lambda s: somebody(s).create_mesh(meshName="apps"),
    ),
    "update": Kind(
        lambda: with_cloud_map(open_at("routed")),
        lambda s: survey(s).plan_resources("02"),
        lambda s: set(spec_of(s, "virtual_node", **NODE)["serviceDiscovery"]) == {"awsCloudMap"},
        update_node,
    ),
    "attach": Kind(
        lambda: without_provider(open_at("routed")),
        lambda s: survey(s).plan_resources("03"),
        lambda s: "virtualRouter" in spec_of(s, "virtual_service", **SERVICE)["provider"],
        lambda s: somebody(s).update_virtual_service(**SERVICE, spec={}),
    ),
    "shift": Kind(
        lambda: open_at("routed"),
        lambda s: survey(s).plan_weights({"serviceB": 75, "serviceBv2": 25}),
        lambda s: weights(s) == {"serviceB": 75, "serviceBv2": 25},
        write_route,
    ),
    "settle": Kind(
        lambda: open_at("shifted"),
        settled,
        lambda s: weights(s) == {"serviceBv2": 100} and tags_of(s)["runbook:retired"] == "serviceB",
        write_route,
    ),
    "delete": Kind(
        lambda: off_the_route(open_at("shifted")),
        retirement,
        lambda s: "serviceB" not in nodes(s),
        update_node,
    ),
}
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def nodes(session: Session) -> list[str]:
    return [n["virtualNodeName"] for n in somebody(session).list_virtual_nodes(**MESH)["virtualNodes"]]


@every_kind
def test_a_change_does_what_it_says_and_then_there_is_nothing_left(kind: Kind) -> None:
    session = kind.begin()
    applied(session, kind.plan(session))
    assert kind.done(session)
    assert kind.plan(session).changes == ()


@every_kind
def test_a_change_is_read_back(kind: Kind) -> None:
    session = kind.begin()
    for made in applied(session, kind.plan(session)):
        assert holds(made.state, made.change.wanted)
        assert session.read(made.change.reading) == made.state


@every_kind
def test_a_stale_plan_is_refused_and_nothing_is_written(kind: Kind) -> None:
    session = kind.begin()
    plan = kind.plan(session)
    kind.meddle(session)
    before = writes(session)
    with pytest.raises(StalePlanError, match="no longer what was planned against"):
        applied(session, plan)
    assert writes(session) == before


# Each keeps the rest.


def test_creating_names_leaves_those_of_others() -> None:
    session = open_local()
    somebody(session).create_mesh(meshName="theirs", spec={"egressFilter": {"type": "ALLOW_ALL"}})
    applied(session, survey(session).plan_resources("01"))
    assert spec_of(session, "mesh", meshName="theirs") == {"egressFilter": {"type": "ALLOW_ALL"}}


def test_an_update_keeps_the_fields_nobody_speaks_of() -> None:
    session = with_cloud_map(open_at("routed"))
    spec = spec_of(session, "virtual_node", **NODE)
    outlier = {
        "baseEjectionDuration": {"unit": "s", "value": 30},
        "interval": {"unit": "s", "value": 10},
        "maxEjectionPercent": 50,
        "maxServerErrors": 5,
    }
    spec["listeners"][0]["outlierDetection"] = outlier
    somebody(session).update_virtual_node(**NODE, spec=spec)
    applied(session, survey(session).plan_resources("02"))
    assert spec_of(session, "virtual_node", **NODE)["listeners"][0]["outlierDetection"] == outlier


def test_attaching_leaves_the_other_name_alone() -> None:
    session = without_provider(open_at("routed"))
    made = applied(session, survey(session).plan_resources("03"))
    assert [m.change.name for m in made] == [f"virtual service {B}"]


def test_a_shift_keeps_every_other_field_of_the_route() -> None:
    session = open_at("routed")
    write_route(session, match={"prefix": "/", "headers": [{"name": "x-mine"}]})
    spec = route(session)["spec"]
    spec["http2Route"]["action"]["weightedTargets"][1]["port"] = 9080
    somebody(session).update_route(**ROUTE, spec={**spec, "priority": 7})
    before = route(session)["spec"]
    applied(session, survey(session).plan_weights({"serviceB": 75, "serviceBv2": 25}))
    after = route(session)["spec"]
    before["http2Route"]["action"] = {
        "weightedTargets": [
            {"virtualNode": "serviceB", "weight": 75},
            {"virtualNode": "serviceBv2", "weight": 25, "port": 9080},
        ]
    }
    assert after == before


def test_settling_keeps_the_routes_other_tags() -> None:
    session = open_at("shifted")
    tag_route(session, theirs="yes")
    before = tags_of(session)
    applied(session, settled(session))
    assert tags_of(session) == {**before, "runbook:retired": "serviceB"}


def test_retiring_one_node_leaves_the_others() -> None:
    session = off_the_route(open_at("shifted"))
    applied(session, retirement(session))
    assert nodes(session) == ["serviceA", "serviceBv2"]


def test_a_shift_is_one_write() -> None:
    session = open_at("routed")
    before = writes(session)
    applied(session, survey(session).plan_weights({"serviceB": 75, "serviceBv2": 25}))
    assert writes(session) - before == {"appmesh.UpdateRoute": 1}


# What a plan says.


def test_planning_writes_nothing() -> None:
    session = open_at("shifted")
    before = writes(session)
    found = survey(session)
    for number in ("01", "02", "03"):
        found.plan_resources(number)
    found.plan_weights({"serviceB": 50, "serviceBv2": 50})
    found.plan_removal()
    assert writes(session) == before


def test_a_change_of_discovery_is_an_ordinary_update_that_can_be_taken_back() -> None:
    session = with_cloud_map(open_at("routed"))
    (planned,) = survey(session).plan_resources("02")
    assert (planned.verb, planned.name) == ("update", "virtual node serviceB")
    assert [d.field for d in planned.diff] == ["serviceDiscovery.dns", "serviceDiscovery.awsCloudMap"]
    assert planned.inverse
    back = planned.inverse.wanted["spec"]["serviceDiscovery"]
    assert (set(back), back["awsCloudMap"]) == ({"dns", "awsCloudMap"}, None)  # read back as gone, too


def test_a_later_step_assumes_the_earlier_ones_and_names_them() -> None:
    plan = survey(open_local()).plan_resources("03")
    assert "mesh apps (01_create_mesh)" in plan.assumed
    assert "virtual node serviceBv2 (02_create_virtual_nodes)" in plan.assumed
    assert [c.verb for c in plan] == ["create", "create", "attach", "attach"]


def test_01_to_03_need_no_service() -> None:
    session = open_local()
    for number in ("01", "02", "03"):
        applied(session, survey(session).plan_resources(number))
    assert weights(session) == {"serviceB": 100, "serviceBv2": 0}
    with pytest.raises(PrerequisiteError, match="ECS services not found in cluster apps"):
        plan_sidecars(survey(session))


def test_a_steps_own_weights_are_left_to_the_shift() -> None:
    assert survey(open_at("shifted")).plan_resources("03").changes == ()


def test_nobody_brings_a_retired_node_back() -> None:
    session = open_at("retired")
    assert [survey(session).plan_resources(n).changes for n in ("01", "02", "03")] == [(), (), ()]


def test_a_health_check_on_a_live_node_comes_with_a_warning() -> None:
    session = open_at("routed")
    services = {name: dict(values) for name, values in session.given["services"].items()}
    services["serviceB"]["health_check"] = {}
    (planned,) = survey(reopen(session, services=services)).plan_resources("02")
    assert "prefer a new node" in planned.note


# What is refused.


@pytest.mark.parametrize("number", ["02", "03"])
def test_another_protocol_under_routes_is_refused_with_the_reason(number: str) -> None:
    session = reopen(open_at("routed"), protocol="http")
    with pytest.raises(PlanError, match=r"its protocol is .*http2.*, the parameters say http.*") as caught:
        survey(session).plan_resources(number)
    assert "App Mesh refuses" in str(caught.value)
    assert "new name" in caught.value.hint


@pytest.mark.parametrize(
    "asked",
    [
        {"serviceB": 60, "serviceBv2": 50},
        {"serviceB": 75.0, "serviceBv2": 25.0},
        {"serviceB": -1, "serviceBv2": 101},
        {"serviceB": True, "serviceBv2": 99},
        {},
    ],
)
def test_weights_that_are_no_percents_of_100_are_refused(asked: Any) -> None:
    session = open_at("routed")
    with pytest.raises(PlanError, match="whole percents that sum to 100"):
        survey(session).plan_weights(asked)


def test_weights_without_a_route_are_refused() -> None:
    with pytest.raises(PlanError, match="there is no such route") as caught:
        survey(open_local()).plan_weights({"serviceB": 100})
    assert "03_create_router_and_routes" in caught.value.hint


def test_a_trial_of_a_tcp_route_is_refused_since_nothing_tells_its_requests() -> None:
    session = open_at("routed")
    split = shifting.read_split(session)
    state = {**(split.state or {}), "spec": {"tcpRoute": {"action": {"weightedTargets": []}}}}
    with pytest.raises(PlanError, match="TCP carries no header") as caught:
        shifting.plan_trial(session.parameters, replace(split, state=state), "x-trial", "1")
    assert caught.value.hint == "shift.trial: null"


def test_weights_in_force_are_no_change() -> None:
    assert survey(open_at("routed")).plan_weights({"serviceBv2": 0, "serviceB": 100}).changes == ()


# Reading.


def test_nothing_there_reads_as_absent() -> None:
    session = open_local()
    assert set(mesh.read_live(session).values()) == {None}
    assert survey(session).stage == "plain"


@pytest.mark.parametrize("stage", ["routed", "shifted", "retired"])
def test_the_life_cycle_is_read_from_what_is_there(stage: str) -> None:
    assert survey(open_at(stage)).stage == stage


def test_an_endpoint_that_answers_serves() -> None:
    assert mesh.answer(open_local())[0] == "serves"


def test_references_are_routes_of_any_weight_and_names() -> None:
    session = open_at("shifted")
    client = somebody(session)
    client.create_virtual_service(
        **MESH,
        virtualServiceName="direct.apps.local",
        spec={"provider": {"virtualNode": {"virtualNodeName": "serviceB"}}},
    )
    assert references(session, "serviceB") == ["route serviceB/serviceB", "virtual service direct.apps.local"]
    assert references(session, "serviceA") == ["virtual service servicea.apps.local"]


def test_without_a_mesh_nothing_refers_to_anything() -> None:
    assert references(open_local(), "serviceB") == []


def test_every_page_of_a_list_is_read() -> None:
    session = reopen(open_at("routed"), alone=True)
    spec = route(session)["spec"]
    for i in range(9):
        somebody(session).create_route(**{**ROUTE, "routeName": f"r{i}"}, spec=spec)
    events = session._client("appmesh").meta.events
    events.register("provide-client-params.app-mesh.ListRoutes", lambda params, **_: {**params, "limit": 2})
    assert len(references(session, "serviceB")) == 10
    assert session.calls["appmesh.ListRoutes"] == 5


def test_a_refusal_of_app_mesh_is_one_sentence() -> None:
    session = open_at("shifted")
    plan = retirement(session)
    with pytest.raises(CallError, match="ResourceInUseException: VirtualNode with name serviceB cannot be deleted"):
        applied(session, plan)


# Taking it out again.


def removal(session: Session) -> Plan:
    return plan_resources_end(session, mesh.read_live(session))


def test_removal_takes_everything_children_first() -> None:
    session = open_at("routed")
    plan = removal(session)
    assert plan.stays == ()
    applied(session, plan)
    assert somebody(session).list_meshes()["meshes"] == []
    assert removal(session).changes == ()


def test_removal_leaves_what_does_not_carry_the_runbooks_tag() -> None:
    session = open_at("routed")
    arn = spec_arn(session)
    somebody(session).untag_resource(resourceArn=arn, tagKeys=["runbook"])
    plan = removal(session)
    assert "virtual node serviceA: does not carry the runbook's tag" in plan.stays
    assert "mesh apps: virtual node serviceA stays, and needs it" in plan.stays
    applied(session, plan)
    assert nodes(session) == ["serviceA"]


def spec_arn(session: Session) -> str:
    found = somebody(session).describe_virtual_node(**MESH, virtualNodeName="serviceA")
    return str(found["virtualNode"]["metadata"]["arn"])


def test_removal_leaves_a_mesh_with_somebody_elses_node_and_names_it() -> None:
    session = open_at("routed")
    somebody(session).create_virtual_node(**MESH, virtualNodeName="theirs", spec={})
    plan = removal(session)
    assert plan.stays == ("mesh apps: virtual node theirs stays, and needs it",)
    applied(session, plan)
    assert nodes(session) == ["theirs"]


def test_removal_leaves_what_somebody_elses_route_stands_on() -> None:
    session = open_at("routed")
    spec = route(session)["spec"]
    spec["http2Route"]["action"]["weightedTargets"] = [{"virtualNode": "serviceBv2", "weight": 1}]
    somebody(session).create_route(**{**ROUTE, "routeName": "theirs"}, spec=spec)
    plan = removal(session)
    assert [words.split(":")[0] for words in plan.stays] == [
        "virtual router serviceB",
        "virtual node serviceBv2",
        "mesh apps",
    ]
    applied(session, plan)
    assert nodes(session) == ["serviceBv2"]


def test_what_was_removed_can_be_made_again() -> None:
    session = open_at("routed")
    for removed in removal(session):
        assert removed.inverse
        assert removed.inverse.wanted == {"spec": removed.expected["spec"]}
        assert {"key": "runbook", "value": "appmesh-runbook"} in removed.inverse.call.arguments["tags"]
