"""Gates hold at the write, not only where they were looked at; and a check that fails afterwards is never done."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runbook_lib import apply, clear, evidence, evidence_for_shift, survey
from runbook_lib.errors import GateError
from runbook_lib.plan import Evidence
from runbook_lib.shift import go_back
from tests.control_plane_fixtures import listener, route_spec
from tests.live import under_sky
from tests.notebook_runner import Environment, Executed, folder, newest, refused, runbook
from tests.scenes import open_at, settle, shift, somebody

__all__ = ["folder"]


def made(folder: Path, name: str, *numbers: str, **changes: Any) -> Environment:
    """Return an environment in which some notebooks were applied."""
    environment = Environment.create(folder, name, **changes)
    environment.walk(*numbers)
    return environment


def scale(environment: Environment, service: str, count: int) -> None:
    """Give a service another number of tasks, as somebody does by hand, and wait until it has them."""
    ecs = environment.client("ecs")
    ecs.update_service(cluster="apps", service=service, desiredCount=count)
    for _ in range(200):
        settle()
        [found] = ecs.describe_services(cluster="apps", services=[service])["services"]
        if found["runningCount"] == count:
            return
    raise AssertionError(f"{service} does not run {count} task(s)")


# --- between the cell that looks and the cell that writes -----------------------------------------------------


def routes_to_serviceb(environment: Environment) -> None:
    app_mesh, router = environment.client("appmesh"), {"meshName": "apps", "virtualRouterName": "theirs"}
    app_mesh.create_virtual_router(**router, spec={"listeners": [listener()]})
    app_mesh.create_route(**router, routeName="theirs", spec=route_spec(serviceB=100))


@pytest.mark.attack(10)
def test_06_deletes_no_service_that_somebody_has_routed_traffic_to_since(folder: Path) -> None:
    environment = made(folder, "since-06", "01", "02", "03", "04", "05")
    before = environment.writes()
    routed = {"apply": lambda names: routes_to_serviceb(environment)}
    done = environment.notebook("06", mode="apply", go_on=True, before=routed)
    assert environment.writes() == before
    words = r"nothing else refers to it: route theirs/theirs \(before: only its own route\)"
    refusal = "GateError: 06_tear_down_service_b: refused, since it is no longer as it was:"
    assert re.search(f"(?s){refusal}.*{words}", done.first)
    [service] = environment.client("ecs").describe_services(cluster="apps", services=["serviceB"])["services"]
    assert (service["status"], service["runningCount"]) == ("ACTIVE", 1)


@pytest.mark.attack(10)
def test_90_leaves_a_mesh_whose_stable_service_was_scaled_away_since(folder: Path) -> None:
    environment = made(folder, "since-90", "01", "02", "03", "04", removal={"callers_may_fail": False})
    before = environment.writes()
    scaled = {"apply": lambda names: scale(environment, "serviceB", 0)}
    done = environment.notebook("90", mode="apply", go_on=True, before=scaled)
    assert environment.writes() == before
    assert re.search(r"(?s)GateError: .*callers keep their name: serviceb\.apps\.local has no address", done.first)


@pytest.mark.attack(10)
def test_a_step_is_not_written_while_the_canary_lost_its_task_since() -> None:
    session, sky = under_sky()
    found = survey(session)
    cleared = clear(found.plan_step(25), *evidence_for_shift(found))
    somebody(session, "ecs").update_service(cluster="apps", service="serviceBv2", desiredCount=0)
    settle()
    with pytest.raises(GateError, match=r"canary ready: serviceBv2 runs 0 of 0 tasks \(before: serviceBv2 runs 1"):
        apply(session, cleared)
    assert sky.updates == 0


def test_a_rollback_needs_no_gate() -> None:
    session, sky = under_sky()
    shift(session, 25)
    somebody(session, "ecs").update_service(cluster="apps", service="serviceBv2", desiredCount=0)
    settle()
    assert go_back(session)
    assert sky.weights() == {"serviceB": 100, "serviceBv2": 0}


def test_looking_again_costs_a_step_a_handful_of_calls() -> None:
    session = open_at("meshed")
    found = survey(session)
    plan, looked = found.plan_step(25), evidence_for_shift(found)
    before = session.calls.total()
    apply(session, clear(plan, *(replace(e, again=None) for e in looked)))
    without = session.calls.total() - before
    shift(session, 0)
    found = survey(session)
    cleared = clear(found.plan_step(25), *evidence_for_shift(found))
    before = session.calls.total()
    apply(session, cleared)
    assert session.calls.total() - before <= without + 4


def test_of_two_looks_at_one_claim_the_later_is_looked_at_again() -> None:
    session, asked = open_at("meshed"), []

    def look(name: str) -> Any:
        def again() -> tuple[Evidence, ...]:
            asked.append(name)
            return (Evidence("fact", True, "it does"),)

        return Evidence("fact", True, "it does", again=again)

    plan = survey(session).plan_step(25)
    facts = [Evidence(need, True, "it does") for need in plan.needs]
    apply(session, clear(plan, *facts, look("first"), look("second")))
    assert asked == ["second"]


def test_every_gate_but_what_no_traffic_depends_on_is_looked_at_again() -> None:
    """Left out: what App Mesh itself refuses, what a service is put back for, and what the file alone says."""
    found = survey(open_at("shifted"))
    retirement, removal = found.plan_retirement(), found.plan_removal()
    again = {
        one.name
        for looked in (evidence_for_shift(found), evidence(found, retirement), evidence(found, removal))
        for look in {e.again for e in looked if e.again}
        for one in look()
    }
    needed = {*retirement.needs, *removal.needs, "canary ready", "not retired"}
    assert again == needed


# --- a check that fails after a change ------------------------------------------------------------------------


@pytest.mark.attack(12)
def test_02_refuses_a_hostname_that_nobody_is_registered_under(folder: Path) -> None:
    environment = made(folder, "nowhere", "01", "02", "03", "04")
    services = environment.said["services"]
    moved = {**services, "serviceB": {**services["serviceB"], "hostname": "nowhere.apps.local"}}
    words = r"names of running services: nowhere\.apps\.local has no address, while serviceB runs 1 task"
    refused(environment, "02", f"(?s)GateError: .*{words}", services=moved)
    looked = environment.notebook("00", services=moved)
    assert "✗ FAIL  name nowhere.apps.local" in looked.shown
    assert "GateError: 00_check_environment: refused, since a check is FAIL" in looked.first


@pytest.mark.attack(12)
def test_02_writes_a_name_of_a_service_that_runs_no_task_yet(folder: Path) -> None:
    environment = made(folder, "new", "01")
    scale(environment, "serviceBv2", 0)
    environment.walk("02")


def without_calls(names: dict[str, Any]) -> None:
    """Let metrics count nothing, as where no call reaches anybody; time passes only when somebody sleeps."""
    session = names["session"]
    session.connection = replace(session.connection, carries_traffic=True)
    passed = [0.0]
    session.sleep = lambda seconds: passed.append(passed.pop() + seconds)
    session.clock = lambda: passed[0]


@pytest.mark.attack(12)
def test_04_puts_every_service_back_where_no_call_passes_both_sidecars(folder: Path) -> None:
    environment = made(folder, "unpassed", "01", "02", "03")
    before = revisions(environment)

    def look_without_calls(names: dict[str, Any]) -> None:
        assert revisions(environment) != before
        without_calls(names)

    done = environment.notebook("04", mode="apply", before={"verify-path": look_without_calls})
    assert "ReadBackError: requests pass both sidecars: callers' sidecars count 0, serviceB's 0" in done.first
    assert "put back as before" in done.first
    assert revisions(environment) == before


@pytest.mark.attack(12)
def test_04_ends_held_where_an_earlier_run_has_moved_the_callers(folder: Path) -> None:
    environment = made(folder, "moved", "01", "02", "03", "04")
    before = environment.writes()
    done = environment.notebook("04", mode="apply", before={"verify-path": without_calls})
    assert environment.writes() == before
    assert re.search(r"(?s)Held: requests pass both sidecars: .*`runbook undo \S+ --notebook 04`", done.first)


def revisions(environment: Environment) -> dict[str, str]:
    names = ["serviceA", "serviceB", "serviceBv2"]
    found = environment.client("ecs").describe_services(cluster="apps", services=names)["services"]
    return {service["serviceName"]: service["taskDefinition"].rsplit("/")[-1] for service in found}


def with_a_picky_route(environment: Environment) -> dict[str, Any]:
    route = environment.said["routers"]["serviceB"]["routes"]["serviceB"]
    match = {"prefix": "/", "method": "GET", "headers": [{"name": "x-tenant", "exact": "blue"}]}
    return {"serviceB": {"routes": {"serviceB": {**route, "match": match}}}}


@pytest.mark.attack(12)
def test_requests_that_match_no_route_are_said_before_any_caller_has_a_sidecar(folder: Path) -> None:
    environment = Environment.create(folder, "picky")
    picky = with_a_picky_route(environment)
    words = "a request that matches none of its routes (serviceB: method GET, header x-tenant) is answered 404"
    looked = environment.notebook("00", routers=picky)
    assert words in said_of(looked, "checks", "routes")
    environment.walk("01", "02")
    for number in ("03", "04"):
        done = environment.notebook(number, routers=picky, mode="plan")
        assert words in said_of(done, "gates", "requests without a route")


def said_of(done: Executed, cell: str, name: str) -> str:
    """Return what a notebook found of one check or claim."""
    assert not done.errors, done.first
    found = {getattr(one, "where", None) or one.name: one for one in done.names[cell]}
    return str(getattr(found[name], "message", None) or found[name].found)


# --- 90 -------------------------------------------------------------------------------------------------------


@pytest.mark.attack(13)
def test_90_refuses_where_a_name_leads_to_nobody_without_the_mesh(folder: Path) -> None:
    environment = made(folder, "nobody", "01", "02", "03", "04", "05", removal={"callers_may_fail": False})
    scale(environment, "serviceB", 0)
    words = r"callers keep their name: serviceb\.apps\.local has no address once the mesh is gone; callers: serviceA"
    also = "stable can carry all: 100 % of the traffic goes from serviceBv2"
    refused(environment, "90", f"(?s)GateError: .*{words}.*{also}")


@pytest.mark.attack(13)
def test_90_says_that_the_canarys_traffic_goes_back_in_one_go(folder: Path) -> None:
    environment = made(folder, "one-go", "01", "02", "03", "04", removal={"callers_may_fail": False})
    environment.walk("05", shift=environment.shift(25))
    shown = said_of(environment.notebook("90", mode="plan"), "gates", "stable can carry all")
    moved = "25 % of the traffic goes from serviceBv2 to serviceB in one go"
    assert shown == f"{moved}; serviceB runs 1 task, serviceBv2 1"
    scale(environment, "serviceBv2", 3)
    words = r"stable can carry all: 25 % of the traffic goes .* serviceB runs 1 task, serviceBv2 3"
    refused(environment, "90", f"(?s)GateError: .*{words}.*let serviceB run 3 task")


@pytest.mark.attack(13)
def test_90_goes_on_where_the_file_says_that_callers_may_fail(folder: Path) -> None:
    environment = made(folder, "may-fail", "01", "02", "03", "04", removal={"callers_may_fail": True})
    scale(environment, "serviceB", 0)
    said = said_of(environment.notebook("90", mode="apply"), "gates", "callers keep their name")
    assert said.endswith("allowed by removal.callers_may_fail in the file")


# --- 00 -------------------------------------------------------------------------------------------------------


@pytest.mark.attack(17)
def test_a_fail_of_00_stops_an_unattended_run_before_its_first_write(folder: Path) -> None:
    environment = Environment.create(folder, "unfit")
    before = environment.writes()
    code, said = runbook("run", environment.file, "--through", "01", "-p", "port", "8081")
    assert (code, environment.writes()) == (2, before), said
    summary = dict(newest(environment.name).summary() or {})
    assert summary["outcome"] == "refused"
    assert re.match("gate: 00_check_environment: refused, .*no container maps TCP 8081", summary["reason"])
    assert [one["name"] for one in summary["notebooks"]] == ["00_check_environment"]


@pytest.mark.attack(17)
def test_in_plan_mode_a_fail_of_00_is_reported_and_the_run_goes_on_unless_it_ends_there(folder: Path) -> None:
    environment = Environment.create(folder, "unfit-plan", mode="plan")
    code, said = runbook("run", environment.file, "--through", "01", "-p", "port", "8081")
    assert code == 0, said
    summary = dict(newest(environment.name).summary() or {})
    outcomes = [(one["name"][:2], one["outcome"]) for one in summary["notebooks"]]
    assert outcomes == [("00", "refused"), ("01", "done")]
    code, said = runbook("run", environment.file, "--through", "00", "-p", "port", "8081")
    assert code == 2, said
    assert "no container maps TCP 8081" in said


@pytest.mark.attack(17)
def test_by_hand_00_shows_every_check_before_it_ends_with_an_error(folder: Path) -> None:
    environment = Environment.create(folder, "unfit-hand")
    done = environment.notebook("00", port=8081)
    assert list(done.errors) == ["verify"]
    assert "account" in done.shown
    assert "✗ FAIL" in done.shown
