"""The one door that changes AWS: check, write down, call, read back, write down, wait."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from runbook_lib import apply, clear, plan_permissions, plan_sidecars, survey
from runbook_lib.aws.session import Session
from runbook_lib.errors import (
    CallError,
    ForeignChangeError,
    ReadBackError,
    StalePlanError,
    WaitError,
)
from runbook_lib.local import control_plane
from runbook_lib.local.control_plane import InMemoryLauncher, Task, TaskState
from runbook_lib.plan import Answer, Call, Inverse, Plan, Reading, Wait
from tests.scenes import (
    ROUTE,
    Clock,
    change,
    fact,
    lines,
    one,
    open_at,
    open_local,
    reopen,
    route,
    settle,
    somebody,
    weights,
    writes,
)

HALF = {"serviceB": 50, "serviceBv2": 50}


def meshes(session: Session) -> list[str]:
    return [mesh["meshName"] for mesh in somebody(session).list_meshes()["meshes"]]


def during(operation: str, act: Callable[[], None], *, after: bool = False) -> Callable[[Any], None]:
    """Return a `prepare` that acts once, just before or just after an App Mesh call of the session's own."""
    left = [act]

    def hook(**_: Any) -> None:
        if left:
            left.pop()()

    def prepare(client: Any) -> None:
        event = "after-call" if after else "before-call"
        client.meta.events.register(f"{event}.app-mesh.{operation}", hook)

    return prepare


def rewrite(session: Session) -> None:
    """Write the route as it is: its version rises by one."""
    somebody(session).update_route(**ROUTE, spec=route(session)["spec"])


# What may be applied, and when.


def test_only_a_cleared_plan_is_applied() -> None:
    with pytest.raises(TypeError, match="expected a ClearedPlan, found Plan"):
        apply(open_local(), Plan("a", (one(),)))  # type: ignore[arg-type]


def test_in_plan_mode_nothing_is_applied_and_nothing_is_recorded() -> None:
    session = open_local(mode="plan")
    assert change(session, Plan("a", (one(),))) == []
    assert meshes(session) == []
    assert writes(session) == {}
    assert lines(session) == []


def test_a_plan_without_changes_opens_no_run() -> None:
    session = open_local()
    assert change(session, Plan("a")) == []
    assert lines(session) == []


def test_changes_are_made_in_order_and_returned_as_read_back() -> None:
    session = open_local()
    made = change(session, Plan("a", (one("mesh a"), one("mesh b"))))
    assert [m.change.name for m in made] == ["mesh a", "mesh b"]
    assert [m.state["version"] for m in made] == [1, 1]
    assert meshes(session) == ["a", "b"]


def test_what_comes_behind_a_failure_is_not_tried() -> None:
    session = open_local()
    impossible = one("mesh b", call=Call("appmesh", "create_mesh", {"meshName": "not a name"}))
    with pytest.raises(CallError, match="BadRequestException"):
        change(session, Plan("a", (one("mesh a"), impossible, one("mesh c"))))
    assert meshes(session) == ["a"]


# The journal.


def test_the_intention_is_on_the_disk_before_the_call() -> None:
    seen: list[list[str]] = []
    session = open_local()
    session = reopen(
        session, "01", prepare=during("CreateMesh", lambda: seen.append([x["event"] for x in lines(session)]))
    )
    change(session, Plan("a", (one(),)))
    assert seen == [["opened", "intended"]]
    assert [x["event"] for x in lines(session)] == ["opened", "intended", "observed"]


def test_both_lines_name_the_notebook_and_the_change() -> None:
    session = open_local("01_create_mesh")
    change(session, Plan("a", (one(),)))
    intended, observed = lines(session)[1:]
    assert (intended["notebook"], intended["change"]["name"]) == ("01_create_mesh", "mesh scene")
    assert (observed["notebook"], observed["name"]) == ("01_create_mesh", "mesh scene")
    assert observed["state"]["version"] == 1


def test_a_refused_call_is_written_down_as_failed() -> None:
    session = open_local()
    with pytest.raises(CallError):
        change(session, Plan("a", (one(call=Call("appmesh", "create_mesh", {"meshName": "not a name"})),)))
    assert [x["event"] for x in lines(session)] == ["opened", "intended", "failed"]
    assert "BadRequestException" in lines(session, "failed")[0]["error"]


def test_a_stale_plan_intends_nothing() -> None:
    session = open_local()
    somebody(session).create_mesh(meshName="scene")
    with pytest.raises(StalePlanError):
        change(session, Plan("a", (one(),)))
    assert lines(session, "intended") == []


def test_what_only_the_answer_tells_is_in_the_inverse() -> None:
    session = open_local()
    back = Inverse("delete", Call("appmesh", "delete_mesh", {"meshName": Answer("mesh scene", "mesh.meshName")}), None)
    change(session, Plan("a", (one(inverse=back),)))
    assert lines(session, "observed")[0]["inverse"]["call"]["arguments"] == {"meshName": "scene"}


def test_a_later_change_takes_what_an_earlier_one_was_answered() -> None:
    session = open_local()
    arn = Answer("mesh a", "mesh.metadata.arn")
    tagged = one(
        "tag of a",
        verb="tag",
        call=Call("appmesh", "tag_resource", {"resourceArn": arn, "tags": [{"key": "k", "value": "v"}]}),
        reading=Reading(Call("appmesh", "list_tags_for_resource", {"resourceArn": arn}), "tags[0].value"),
        wanted="v",
    )
    assert change(session, Plan("a", (one("mesh a"), tagged)))[1].state == "v"


# Somebody else.


def shifted(session: Session) -> Plan:
    return survey(session).plan_weights(HALF)


def test_a_change_between_our_reading_and_our_write_is_told() -> None:
    session = open_at("routed")
    plan = shifted(session)
    session = reopen(session, prepare=during("UpdateRoute", lambda: rewrite(session)))
    with pytest.raises(ForeignChangeError, match="version 1 became 3, expected 2"):
        change(session, plan, *map(fact, plan.needs))
    assert lines(session)[-1]["event"] == "failed"


def test_a_change_between_our_write_and_our_reading_is_told() -> None:
    session = open_at("routed")
    plan = shifted(session)
    session = reopen(session, prepare=during("UpdateRoute", lambda: rewrite(session), after=True))
    with pytest.raises(ForeignChangeError, match="version 1 became 3, expected 2"):
        change(session, plan, *map(fact, plan.needs))


def test_another_writers_weights_are_told_and_not_fought() -> None:
    session = open_at("routed")
    plan = shifted(session)

    def take_back() -> None:
        spec = route(session)["spec"]
        spec["http2Route"]["action"]["weightedTargets"] = [{"virtualNode": "serviceB", "weight": 100}]
        somebody(session).update_route(**ROUTE, spec=spec)

    session = reopen(session, prepare=during("UpdateRoute", take_back, after=True))
    with pytest.raises(ReadBackError, match=r"weightedTargets\[serviceB\].weight: 50 → 100"):
        change(session, plan, *map(fact, plan.needs))
    assert weights(session) == {"serviceB": 100}


def test_a_stale_plan_shows_what_is_different() -> None:
    session = open_at("routed")
    plan = shifted(session)
    rewrite(session)
    with pytest.raises(StalePlanError, match=r"version: 1 → 2") as caught:
        change(session, plan, *map(fact, plan.needs))
    assert "plans from what is there" in caught.value.hint


def test_a_thing_made_anew_in_between_is_no_longer_the_planned_one() -> None:
    session = open_local()
    change(session, Plan("a", (one(),)))
    state = session.read(one().reading)
    client = somebody(session)
    client.delete_mesh(meshName="scene")
    client.create_mesh(meshName="scene")
    removal = one(
        verb="delete",
        call=Call("appmesh", "delete_mesh", {"meshName": "scene"}),
        expected=state,
        wanted=None,
        inverse=None,
        no_inverse="for this test",
    )
    with pytest.raises(StalePlanError, match="uid"):
        change(session, Plan("a", (removal,)))
    assert meshes(session) == ["scene"]


# Reading back.


def test_what_aws_never_shows_is_no_success() -> None:
    clock = Clock()
    session = reopen(open_local(), clock=clock)
    with pytest.raises(ReadBackError, match=r"does not show what was written:\n  spec.egressFilter"):
        change(session, Plan("a", (one(wanted={"spec": {"egressFilter": {"type": "ALLOW_ALL"}}}),)))
    assert 15 < sum(clock.slept) < 25


def test_what_aws_shows_late_is_waited_for() -> None:
    session = open_local()
    clock = Clock()
    session = reopen(session, clock=clock)
    late = iter([False, True])  # the first reading finds nothing at all
    read = session._client("appmesh").describe_mesh

    class Late:
        def __getattr__(self, name: str) -> Any:
            return getattr(session_client, name)

        def describe_mesh(self, **arguments: Any) -> Any:
            answer = read(**arguments)
            return answer if next(late, True) else {}

    session_client = session.clients["appmesh"]
    session.clients["appmesh"] = Late()
    assert change(session, Plan("a", (one(expected=None),)))[0].state["version"] == 1
    assert clock.slept == [0.5]


def test_a_lost_connection_is_one_sentence_and_a_failed_line() -> None:
    def lost() -> None:
        raise EndpointConnectionError(endpoint_url="https://appmesh.example")

    session = reopen(open_local(), prepare=during("CreateMesh", lost))
    with pytest.raises(CallError, match="appmesh create_mesh: Could not connect"):
        change(session, Plan("a", (one(),)))
    assert lines(session)[-1]["event"] == "failed"
    assert meshes(session) == []


# Waits, and the way back when they fail.


def waiting(until: str, failed: str = "`false`") -> Wait:
    reading = one().reading
    return Wait("the mesh to be so", reading, until, failed, timeout_seconds=60)


def test_a_wait_that_comes_true_ends_well() -> None:
    session = open_local()
    change(session, Plan("a", (one(waits=(waiting("version == `1`"),)),)))
    assert lines(session)[-1]["event"] == "observed"


def test_a_wait_that_comes_to_its_end_says_what_it_saw_last() -> None:
    session = reopen(open_local(), clock=Clock(speed=50))
    with pytest.raises(WaitError, match=r"the mesh to be so: did not come about after 60 s; last seen .*'version': 1"):
        change(session, Plan("a", (one(waits=(waiting("version == `2`"),)),)))
    assert lines(session)[-1]["event"] == "failed"
    assert meshes(session) == ["scene"]


def test_a_wait_that_fails_ends_at_once() -> None:
    clock = Clock()
    session = reopen(open_local(), clock=clock)
    with pytest.raises(WaitError, match=r"did not come about; last seen"):
        change(session, Plan("a", (one(waits=(waiting("`false`", failed="version == `1`"),)),)))
    assert clock.slept == []


def test_a_failed_wait_takes_its_change_back_where_the_change_asks_for_it() -> None:
    session = reopen(open_local(), clock=Clock(speed=50))
    with pytest.raises(WaitError, match="mesh scene was put back as it was"):
        change(session, Plan("a", (one(waits=(waiting("`false`"),), back_on_failure=True),)))
    assert meshes(session) == []


class Sick:
    """A launcher whose tasks of one family's later revisions come up and are never healthy, or never come up."""

    def __init__(self, family: str, state: TaskState) -> None:
        self.family, self.sick, self.well = family, state, InMemoryLauncher()

    def start(self, task: Task) -> None:
        """Do nothing."""

    def stop(self, task: Task) -> None:
        """Do nothing."""

    def state(self, task: Task) -> TaskState:
        later = task.definition["family"] == self.family and task.definition["revision"] > 1
        return self.sick if later and task.desired == "RUNNING" else self.well.state(task)


@pytest.fixture
def launch() -> Iterator[Callable[[Any], None]]:
    yield control_plane.launch_with
    control_plane.launch_with(InMemoryLauncher())


UNHEALTHY: TaskState = {"status": "RUNNING", "health": {"envoy": "UNHEALTHY"}}
PENDING: TaskState = {"status": "PENDING", "health": {}}


def sidecars(session: Session) -> None:
    found = survey(session)
    permissions = plan_permissions(found)
    change(session, permissions, *map(fact, permissions.needs))
    plan = plan_sidecars(survey(session))
    apply(session, clear(plan, *(fact(need) for need in plan.needs)))


def revision(session: Session, service: str) -> tuple[str, str]:
    (found,) = somebody(session, "ecs").describe_services(cluster="apps", services=[service])["services"]
    (primary,) = (d for d in found["deployments"] if d["status"] == "PRIMARY")
    return primary["taskDefinition"].rsplit("/", 1)[1], primary["rolloutState"]


def test_a_deployment_the_circuit_breaker_took_back_is_no_success(launch: Callable[[Any], None]) -> None:
    session = open_at("routed")
    launch(Sick("taskBv2", UNHEALTHY))
    with pytest.raises(ReadBackError, match=r"(?s)service serviceBv2: went back by itself.*was put back as it was"):
        sidecars(session)
    assert revision(session, "serviceBv2") == ("taskBv2:1", "COMPLETED")


def test_a_deployment_that_never_ends_is_taken_back(launch: Callable[[Any], None]) -> None:
    session = reopen(open_at("routed"), clock=Clock(speed=200))
    launch(Sick("taskBv2", PENDING))
    with pytest.raises(WaitError, match=r"(?s)serviceBv2 stable.*after 900 s.*service serviceBv2 was put back"):
        sidecars(session)
    launch(InMemoryLauncher())
    settle()
    assert revision(session, "serviceBv2") == ("taskBv2:1", "COMPLETED")


def test_a_failed_deployment_leaves_the_caller_alone(launch: Callable[[Any], None]) -> None:
    session = open_at("routed")
    launch(Sick("taskB", UNHEALTHY))
    with pytest.raises(ReadBackError):
        sidecars(session)
    assert revision(session, "serviceA") == ("taskA:1", "COMPLETED")


def test_what_was_put_back_is_in_the_journal(launch: Callable[[Any], None]) -> None:
    session = reopen(open_at("routed"), clock=Clock(speed=200))
    launch(Sick("taskB", PENDING))
    with pytest.raises(WaitError):
        sidecars(session)
    told = [(x["event"], x.get("name") or x["change"]["name"]) for x in lines(session)[-3:]]
    assert told == [("failed", "service serviceB"), ("intended", "service serviceB"), ("observed", "service serviceB")]


# Once more.


def test_a_second_run_makes_no_write() -> None:
    session = open_at("meshed")
    before = writes(session)
    for number in ("01", "02", "03"):
        plan = survey(session).plan_resources(number)
        change(session, plan, *map(fact, plan.needs))
    sidecars(session)
    assert writes(session) == before


def test_a_retried_request_is_not_taken_for_somebody_else() -> None:
    """The response is lost, botocore asks again with the same token: one version step."""
    session = open_at("routed")
    plan = shifted(session)
    lost = iter([True])

    def prepare(client: Any) -> None:
        client.meta.events.register("needs-retry.app-mesh.UpdateRoute", lambda **_: 0.01 if next(lost, False) else None)

    session = reopen(session, prepare=prepare)
    before = writes(session)
    (made,) = change(session, plan, *map(fact, plan.needs))
    assert writes(session)["appmesh.UpdateRoute"] - before["appmesh.UpdateRoute"] == 2
    assert (made.state["version"], route(session)["metadata"]["version"]) == (2, 2)
