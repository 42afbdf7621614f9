"""The way back: of a whole run, of one notebook, of what a crash cut short; never over somebody else's change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runbook_lib import plan_undo, record, survey
from runbook_lib.aws.session import Session
from runbook_lib.engines.named import engine_of
from runbook_lib.errors import GateError, PlanError, RecordError, StalePlanError
from runbook_lib.plan import Answer, Call, Change, Inverse, Reading, clear, revived, stored
from runbook_lib.runs import undoable
from runbook_lib.runs.made import Made, in_order_of_undoing
from runbook_lib.shift import go_back
from tests.enumeration import unserved
from tests.live import Killed, Reaper
from tests.scenes import (
    ROUTE,
    STAGED,
    Clock,
    change,
    fact,
    lines,
    open_at,
    open_local,
    reopen,
    route,
    settle,
    shift,
    somebody,
    step,
    weights,
    writes,
)


def back(session: Session, notebook: str = "") -> list[Any]:
    """Undo what the newest run, or one notebook of it, changed."""
    plan = plan_undo(session, notebook=notebook)
    return change(session, plan, *map(fact, plan.needs))


def revisions(session: Session) -> dict[str, str]:
    """Return the revision each service runs, as somebody else reads it."""
    names = ["serviceA", "serviceB", "serviceBv2"]
    found = somebody(session, "ecs").describe_services(cluster="apps", services=names)["services"]
    return {s["serviceName"]: s["taskDefinition"].rsplit("/", 1)[1] for s in found if s["status"] == "ACTIVE"}


def rewrite(session: Session, **targets: int) -> None:
    """Give the route other weights, as somebody at a console does."""
    spec = route(session)["spec"]
    spec["http2Route"]["action"]["weightedTargets"] = [{"virtualNode": n, "weight": w} for n, w in targets.items()]
    somebody(session).update_route(**ROUTE, spec=spec)


def journal(session: Session) -> Path:
    run = record.latest("scene", session.parameters.records)
    assert run
    return run.folder / "record.jsonl"


def cut(session: Session, event: str, name: str) -> None:
    """Cut the journal in the middle of the last line of this event about this change, as a crash does."""
    texts = journal(session).read_text().splitlines(keepends=True)
    at = max(i for i, text in enumerate(texts) if f'"event": "{event}"' in text and f'"{name}"' in text)
    journal(session).write_text("".join(texts[:at]) + texts[at][: len(texts[at]) // 2])


def test_a_whole_run_goes_back_to_before_the_mesh() -> None:
    session = open_at("shifted")
    back(session)
    settle()
    assert somebody(session).list_meshes()["meshes"] == []
    assert revisions(session) == {"serviceA": "taskA:1", "serviceB": "taskB:1", "serviceBv2": "taskBv2:1"}
    assert survey(session).stage == "plain"


def test_even_a_retired_service_comes_back() -> None:
    session = open_at("retired")
    back(session, "06_tear_down_service_b")
    settle()
    assert weights(session) == {"serviceB": 0, "serviceBv2": 100}
    found = survey(session)
    assert found.stage == "shifted"
    assert found.running["serviceB"].state["runningCount"] == 1  # type: ignore[index]
    assert found.live["virtual node serviceB"]


class Cut(Clock):
    """A clock whose n-th second is interrupted; every other one leaves callers served."""

    def __init__(self, session: Session, at: int) -> None:
        super().__init__(speed=20.0)
        self.session, self.at = session, at

    def sleep(self, seconds: float) -> None:
        if len(self.slept) + 1 == self.at:
            self.at = 0
            raise KeyboardInterrupt
        super().sleep(seconds)
        assert not unserved(self.session.parameters)


def cut_back(notebook: str, *, call: int = 0, after: bool = False, wait: int = 0) -> bool:
    """Take a retirement back with an end at a call or in a wait, then once more; return whether it came to the end.

    After each call and each step of ECS callers must be served.
    """
    session = open_at("retired")
    clock = Cut(session, wait)
    session.sleep, session.clock = clock.sleep, clock
    reaper = Reaper(session, call, after=after)
    wrong: list[str] = []
    services = [session._client(name).meta.events for name in ("appmesh", "ecs", "servicediscovery")]

    def look(**_: Any) -> None:
        wrong.extend(filter(None, [unserved(session.parameters)]))

    for events in services:
        events.register_last("after-call", look)
    cut = False
    try:
        back(session, notebook)
    except (Killed, KeyboardInterrupt):
        cut = True
    reaper.leave()
    assert not unserved(session.parameters)
    if cut:
        back(session, notebook)
    for events in services:
        events.unregister("after-call", look)
    assert not wrong, wrong[0]
    settle()
    assert survey(session).stage == ("shifted" if notebook else "plain")
    assert not unserved(session.parameters)
    return cut


@pytest.mark.parametrize("notebook", ["06_tear_down_service_b", ""])
@pytest.mark.parametrize("end", ["before a call", "after a call", "in a wait"])
def test_wherever_the_way_back_is_cut_short_callers_are_served_and_it_goes_on(end: str, notebook: str) -> None:
    ends = {"call": "call" in end, "after": "after" in end, "wait": "wait" in end}
    at = 1
    while cut_back(notebook, call=at * ends["call"], after=ends["after"], wait=at * ends["wait"]):
        at += 1 + at // (4 if notebook else 2)
    assert at > (2 if ends["wait"] else 6)


def test_undo_twice_is_nothing_the_second_time() -> None:
    session = open_at("shifted")
    back(session)
    before = writes(session)
    assert back(session) == []
    assert writes(session) == before


def test_planning_the_way_back_writes_nothing() -> None:
    session = open_at("shifted")
    before = writes(session)
    assert len(plan_undo(session)) > 0
    assert writes(session) == before


def test_one_notebook_goes_back_and_leaves_the_others() -> None:
    session = open_at("shifted")
    back(session, "05_shift_traffic")
    assert weights(session) == {"serviceB": 100, "serviceBv2": 0}
    assert survey(session).stage == "routed"
    assert set(revisions(session).values()) == {"taskA:2", "taskB:2", "taskBv2:2"}


def test_steps_in_a_row_go_back_in_one_write() -> None:
    session = open_at("shifted")
    before = writes(session)
    back(session, "05_shift_traffic")
    assert writes(session) - before == {"appmesh.UpdateRoute": 1}


def test_after_a_rollback_there_is_nothing_to_take_back() -> None:
    session = open_at("meshed", "05_shift_traffic")
    shift(session, 25)
    shift(session, 0)
    assert plan_undo(session, notebook="05_shift_traffic").changes == ()


def test_a_notebook_another_one_builds_on_waits_for_that_one() -> None:
    session = open_at("shifted")
    with pytest.raises(GateError, match="05_shift_traffic must be undone first"):
        change(session, plan_undo(session, notebook="03_create_router_and_routes"))
    assert weights(session) == {"serviceB": 0, "serviceBv2": 100}


def test_what_a_later_notebook_made_and_uses_it_waits_for_that_one() -> None:
    """App Mesh would refuse to delete a node that a route names, with words that name no notebook."""
    session = open_at("routed")
    before = writes(session)
    with pytest.raises(GateError, match="03_create_router_and_routes must be undone first") as caught:
        clear(plan_undo(session, notebook="02_create_virtual_nodes"))
    assert caught.value.hint == f"runbook undo {session.join_run().id} --notebook 03"
    assert writes(session) == before
    back(session, "03_create_router_and_routes")
    settle()
    assert back(session, "02_create_virtual_nodes")
    assert not plan_undo(session, notebook="01_create_mesh").undo_first


def test_what_somebody_else_made_and_uses_it_is_named() -> None:
    session = open_at("routed")
    back(session, "03_create_router_and_routes")
    aws = somebody(session)
    aws.create_virtual_router(meshName="apps", virtualRouterName="theirs", spec={"listeners": []})
    action = {"weightedTargets": [{"virtualNode": "serviceB", "weight": 1}]}
    spec = {"httpRoute": {"match": {"prefix": "/"}, "action": action}}
    aws.create_route(meshName="apps", virtualRouterName="theirs", routeName="own", spec=spec)
    with pytest.raises(PlanError, match="virtual node serviceB: route theirs/own uses it, which this run did not make"):
        plan_undo(session, notebook="02_create_virtual_nodes")


def test_the_way_back_is_last_change_first() -> None:
    names = [planned.title for planned in plan_undo(open_at("routed"))]
    assert names.index("delete virtual node serviceA") > names.index("detach virtual service serviceb.apps.local")
    assert names[-1] == "delete mesh apps"


def test_somebody_elses_change_stops_the_way_back_and_nothing_is_changed() -> None:
    session = open_at("shifted")
    rewrite(session, serviceB=10, serviceBv2=90)
    before = writes(session)
    with pytest.raises(PlanError, match=r"route serviceB/serviceB: somebody has changed it since") as caught:
        plan_undo(session)
    assert "weightedTargets[serviceB].weight: 0 → 10" in str(caught.value)
    assert not any(own in str(caught.value) for own in ("uid", "version", "arn"))
    assert writes(session) == before


def test_a_way_back_that_is_only_shown_says_what_is_in_its_way_and_cannot_be_taken() -> None:
    session = open_at("shifted")
    rewrite(session, serviceB=10, serviceBv2=90)
    shown = plan_undo(session, notebook="05_shift_traffic", asked=False)
    assert shown.obstacle.startswith("route serviceB/serviceB: somebody has changed it since")
    with pytest.raises(PlanError, match="somebody has changed it since"):
        clear(shown)


def test_a_way_back_that_is_only_shown_leaves_the_session_in_its_own_run() -> None:
    session = open_at("shifted")
    own = record.start("scene", session.parameters.records, session.place)
    session.run = own
    plan_undo(session, notebook="05_shift_traffic", asked=False)
    assert session.run == own
    plan_undo(session, notebook="05_shift_traffic")
    assert session.run != own


def test_a_change_between_plan_and_way_back_is_refused() -> None:
    session = open_at("shifted")
    plan = plan_undo(session, notebook="05_shift_traffic")
    rewrite(session, serviceB=10, serviceBv2=90)
    with pytest.raises(StalePlanError, match="no longer what was planned against"):
        change(session, plan)
    assert weights(session) == {"serviceB": 10, "serviceBv2": 90}


def test_what_somebody_has_taken_back_already_is_left_alone() -> None:
    session = open_at("shifted")
    rewrite(session, serviceB=100, serviceBv2=0)
    before = writes(session)
    assert back(session, "05_shift_traffic") == []
    assert writes(session) == before


def test_the_way_back_belongs_to_the_same_run() -> None:
    session = open_at("shifted")
    run = session.join_run()
    back(reopen(session, "05_shift_traffic"), "05_shift_traffic")
    assert reopen(session).join_run() == run
    assert lines(session)[-1]["event"] == "observed"


def test_after_the_way_back_the_way_there_is_open_again() -> None:
    session = open_at("meshed")
    step(session, "05")
    back(session, "05_shift_traffic")
    step(session, "05")
    back(session, "05_shift_traffic")
    assert weights(session) == {"serviceB": 100, "serviceBv2": 0}


def test_without_a_run_there_is_nothing_to_take_back() -> None:
    assert plan_undo(open_local()).changes == ()


@pytest.mark.parametrize("notebook", ["", "05_shift_traffic"])
def test_a_later_run_that_changed_nothing_hides_no_earlier_one(notebook: str) -> None:
    session = open_at("shifted")
    record.start("scene", session.parameters.records, session.place)
    later = reopen(session)
    assert plan_undo(later, notebook=notebook).changes
    assert back(later, notebook)
    assert back(later, notebook) == []  # and one that was undone is not passed over


# What a crash cut short.


def test_a_change_that_was_made_but_not_seen_goes_back_too() -> None:
    session = open_at("meshed")
    session.notebook = "05_shift_traffic"
    shift(session, 25)
    cut(session, "observed", "route serviceB/serviceB")
    back(session, "05_shift_traffic")
    assert weights(session) == {"serviceB": 100, "serviceBv2": 0}


def test_a_change_that_was_intended_but_not_made_needs_no_way_back() -> None:
    session = open_at("meshed")
    session.notebook = "05_shift_traffic"
    shift(session, 25)
    cut(session, "observed", "route serviceB/serviceB")
    rewrite(session, serviceB=100, serviceBv2=0)
    before = writes(session)
    assert back(session, "05_shift_traffic") == []
    assert writes(session) == before


def test_an_intention_cut_off_was_never_carried_out() -> None:
    session = open_at("meshed")
    session.notebook = "05_shift_traffic"
    shift(session, 25)
    cut(session, "intended", "route serviceB/serviceB")
    rewrite(session, serviceB=100, serviceBv2=0)  # the call came after the line: it was not made
    assert back(session, "05_shift_traffic") == []


def test_what_follows_a_cut_line_goes_back_as_well() -> None:
    session = open_at("meshed")
    session.notebook = "05_shift_traffic"
    shift(session, 25)
    cut(session, "observed", "route serviceB/serviceB")
    session = reopen(session, "05_shift_traffic")
    shift(session, 50)
    back(session, "05_shift_traffic")
    assert weights(session) == {"serviceB": 100, "serviceBv2": 0}


def test_a_whole_way_cut_in_its_middle_goes_back_to_before_the_mesh() -> None:
    session = open_at("routed")
    texts = journal(session).read_text().splitlines(keepends=True)
    assert '"observed"' in texts[-1]
    journal(session).write_text("".join(texts[:-1]) + texts[-1][:40])
    back(session)
    assert somebody(session).list_meshes()["meshes"] == []


def test_what_the_runbook_did_not_make_stays() -> None:
    session = open_at("routed")
    somebody(session).create_mesh(meshName="theirs")
    back(session)
    assert [m["meshName"] for m in somebody(session).list_meshes()["meshes"]] == ["theirs"]


# Undo never raises the canary's weight.


@pytest.mark.attack(8)
def test_an_undo_of_nothing_but_a_rollback_is_refused_since_it_would_raise_the_canary() -> None:
    session = open_at("meshed")
    session.notebook = "05_shift_traffic"
    shift(session, 25)
    lost = reopen(session, "05_shift_traffic", records=f"{session.parameters.records}-new")
    assert go_back(lost)
    before = writes(session)
    for notebook in ("05_shift_traffic", ""):
        with pytest.raises(PlanError, match=r"it would raise serviceBv2 from 0 to 25 %, which undo never does"):
            plan_undo(lost, notebook=notebook)
    shown = plan_undo(lost, notebook="05_shift_traffic", asked=False)
    assert "only 05 does, with its gates" in shown.obstacle
    assert (writes(session), weights(session)) == (before, {"serviceB": 100, "serviceBv2": 0})


def removed(stage: str) -> Session:
    """Open a session at a stage whose mesh 90 has taken out."""
    session = open_at(stage, "90_remove_mesh")
    plan = survey(session).plan_removal()
    change(session, plan, *map(fact, plan.needs))
    settle()
    return session


@pytest.mark.attack(8)
@pytest.mark.parametrize(
    ("stage", "expected"),
    [("shifted", {"serviceB": 100, "serviceBv2": 0}), ("retired", {"serviceBv2": 100})],
)
def test_an_undo_of_90_brings_all_traffic_back_on_stable_or_on_the_survivor(
    stage: str, expected: dict[str, int]
) -> None:
    session = removed(stage)
    back(session, "90_remove_mesh")
    settle()
    assert weights(session) == expected


# Undo makes no call that the planners could not have planned.


@pytest.mark.attack(5)
@pytest.mark.parametrize("stage", ["shifted", "retired"])
def test_every_change_that_the_planners_plan_may_be_undone(stage: str) -> None:
    session = removed(stage)
    runs = record.runs("scene", session.parameters.records)
    made = [line for run in runs for line in run.lines() if line["event"] == "intended"]
    assert len({line["notebook"] for line in made}) >= 5
    undone = [revived(line["change"]["inverse"]) for line in made]
    p, own = session.parameters, engine_of(session).undoable
    obstacles = {undoable.obstacle(p, own, inverse) for inverse in undone if inverse}
    assert obstacles == {""}


OURS = f"arn:aws:ecs:us-west-2:{STAGED}:task-definition"
COPY = "merge(taskDefinition, {tags: tags, revision: `null`})"
DEPLOY = {"cluster": "apps", "service": "serviceB"}


def copied(revision: str, query: str = COPY) -> Reading:
    """Return what reads a definition to register it again."""
    return Reading(Call("ecs", "describe_task_definition", {"taskDefinition": revision, "include": ["TAGS"]}), query)


READS_ROUTE = Reading(Call("appmesh", "describe_route", ROUTE), "route.{spec: spec}", ("NotFoundException",))
PLANTED = {
    "another service": Call("iam", "create_user", {"UserName": "mallory"}),
    "a call of ours on a foreign mesh": Call("appmesh", "delete_mesh", {"meshName": "theirs"}),
    "a service of another cluster": Call("ecs", "delete_service", {"cluster": "other", "service": "serviceB"}),
    "a service the file does not name": Call("ecs", "delete_service", {"cluster": "apps", "service": "billing"}),
    "a policy of its own": Call(
        "iam",
        "put_role_policy",
        {"RoleName": "x", "PolicyName": "runbook-envoy-apps-serviceA", "PolicyDocument": '{"Statement": []}'},
    ),
    "a policy of any name": Call(
        "iam", "attach_role_policy", {"RoleName": "x", "PolicyArn": "arn:aws:iam::aws:policy/A"}
    ),
    "a tag on anything": Call("appmesh", "tag_resource", {"resourceArn": "arn:aws:appmesh:us-west-2:1:mesh/a"}),
    "a definition by value": Call("ecs", "register_task_definition", {"family": "taskA"}),
    "a revision of a family the file does not name": Call(
        "ecs", "deregister_task_definition", {"taskDefinition": f"{OURS}/billing:3"}
    ),
    "a revision of another account": Call(
        "ecs", "deregister_task_definition", {"taskDefinition": f"{OURS.replace(STAGED, '1' * 12)}/taskB:3"}
    ),
    "a service onto a family the file does not name": Call(
        "ecs", "update_service", {**DEPLOY, "taskDefinition": f"{OURS}/billing:3"}
    ),
    "a service onto a revision that a record computes": Call(
        "ecs", "update_service", {**DEPLOY, "taskDefinition": Answer("x", f"'{OURS}/billing:3'")}
    ),
    "a count that a record computes": Call("ecs", "update_service", {**DEPLOY, "desiredCount": copied("taskB", "`9`")}),
    "a copy of a family the file does not name": Call(
        "ecs",
        "register_task_definition",
        copied(f"{OURS}/billing:3"),  # type: ignore[arg-type]
    ),
    "a copy with another role": Call(
        "ecs",
        "register_task_definition",
        copied(f"{OURS}/taskB:1", "merge(taskDefinition, {taskRoleArn: 'admin'})"),  # type: ignore[arg-type]
    ),
    "masked text": Call("appmesh", "update_route", {**ROUTE, "spec": {"a": "x****"}}),
    "arguments that are no mapping": Call("appmesh", "update_route", None),  # type: ignore[arg-type]
}


@pytest.mark.attack(5)
@pytest.mark.parametrize("call", PLANTED.values(), ids=PLANTED)
def test_a_record_that_asks_for_any_other_call_is_refused_by_its_line_before_any_call(call: Call) -> None:
    session = open_at("routed")
    run = session.join_run()
    inverse = Inverse("update", call, wanted={"spec": {}})
    key = "route serviceB/serviceB"
    planted = Change(key, "update", call, READS_ROUTE, {}, {"spec": {}}, (key,), inverse=inverse)
    run.write("intended", notebook="05_shift_traffic", change=stored(planted), before="")
    at = len(run.file.read_text().splitlines())
    calls = session.calls.copy()
    with pytest.raises(PlanError, match=rf"undo: line {at} of the record of run {run.id}: "):
        plan_undo(session)
    assert session.calls == calls


def planted_role(session: Session, call: Call) -> None:
    """Write an inverse into the run's record that is about a role."""
    reading = Reading(Call("iam", "get_role", {"RoleName": call.arguments["RoleName"]}), "Role.Arn")
    inverse = Inverse("delete", call, wanted=None)
    change = Change("policy", "create", call, reading, None, {}, ("policy",), inverse=inverse)
    session.join_run().write("intended", notebook="04", change=stored(change), before="")


POLICY = {"PolicyName": "runbook-envoy-apps-serviceB"}
OF_ROLES = {
    "delete its policy": Call("iam", "delete_role_policy", {"RoleName": "admin", **POLICY}),
    "attach a policy": Call(
        "iam",
        "attach_role_policy",
        {"RoleName": "admin", "PolicyArn": "arn:aws:iam::aws:policy/AWSAppMeshEnvoyAccess"},
    ),
    "tag it": Call("iam", "tag_role", {"RoleName": "admin", "Tags": [{"Key": "runbook:x", "Value": "y"}]}),
}


@pytest.mark.attack(5)
@pytest.mark.parametrize("call", OF_ROLES.values(), ids=OF_ROLES)
def test_a_record_may_not_write_to_a_role_that_no_service_of_the_file_has(call: Call) -> None:
    session = open_at("meshed")
    planted_role(session, call)
    before = writes(session)
    with pytest.raises(PlanError, match="role 'admin' is neither in scene's file nor that of a service it names"):
        plan_undo(session)
    assert writes(session) == before


@pytest.mark.attack(5)
@pytest.mark.parametrize("stage", ["meshed", "retired"])
@pytest.mark.parametrize("service", ["serviceA", "serviceB", "serviceBv2"])
def test_the_roles_of_the_files_services_may_be_written_to_while_they_run_and_once_retired(
    stage: str, service: str
) -> None:
    found = survey(open_at(stage))
    call = Call("iam", "delete_role_policy", {"RoleName": f"apps-{service}-task", **POLICY})
    assert found.engine.foreign(found, Inverse("delete", call, wanted=None)) == ""


@pytest.mark.attack(5)
def test_a_record_may_not_read_whatever_it_likes_either() -> None:
    session = open_at("routed")
    secret = Reading(Call("secretsmanager", "get_secret_value", {"SecretId": "db"}), "SecretString")
    inverse = Inverse("update", Call("appmesh", "update_route", ROUTE), wanted={}, reading=secret)
    update = Call("appmesh", "update_route", ROUTE)
    planted = Change("x", "update", update, READS_ROUTE, {}, {}, ("x",), inverse=inverse)
    session.join_run().write("intended", notebook="05", change=stored(planted), before="")
    with pytest.raises(PlanError, match="secretsmanager get_secret_value is no reading of this product"):
        plan_undo(session)


@pytest.mark.attack(21)
def test_a_record_that_is_not_as_it_was_written_is_not_undone() -> None:
    session = open_at("routed")
    file = journal(session)
    file.write_text(file.read_text().replace("serviceBv2", "serviceB"))
    with pytest.raises(RecordError, match=r"undo: the record of run .* is not as it was written: line \d+ was changed"):
        plan_undo(session)
    assert "is not as it was written" in plan_undo(session, asked=False).obstacle


@pytest.mark.attack(21)
def test_a_run_of_a_former_format_hides_no_change_that_nobody_can_undo() -> None:
    """Its changes cannot be told apart from plain data: the undo says so, and looks at no older run instead."""
    session = open_at("routed")
    file = journal(session)
    file.write_text(file.read_text().replace('"format": 3', '"format": 2'))
    assert "was recorded in a former format" in plan_undo(session, asked=False).obstacle


# --- in which order, of plain values ------------------------------------------------------------------------


def written(name: str, before: int, after: int) -> Made:
    """Return an update of a thing that has no version, as a load balancer's rule has none."""
    call = Call("elbv2", "modify_rule", {"RuleArn": name})
    back = Inverse("update", call, wanted={"weight": before})
    reading = Reading(Call("elbv2", "describe_rules", {"RuleArns": [name]}), "Rules[0]")
    return Made("05", name, (name,), reading, {"weight": before}, {"weight": after}, back)


@pytest.mark.parametrize("last", [10, 20])
def test_updates_in_a_row_are_undone_as_one_though_a_later_one_equals_them(last: int) -> None:
    """0 to 10 may be written twice; the first time is in a row with 5 to 0."""
    tag, back = written("tag", 1, 2), written("tag", 2, 1)
    rule = [written("rule", 5, 0), written("rule", 0, 10), written("rule", 10, 0), written("rule", 0, last)]
    made = [*rule[:2], tag, rule[2], back, rule[3]]
    assert in_order_of_undoing(made) == [rule[3], back, rule[2], tag, written("rule", 5, 10)]
