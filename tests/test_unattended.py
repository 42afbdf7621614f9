"""The whole way, unattended: the command a user types, what it leaves behind, and that it can be repeated."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient.exceptions import CellTimeoutError
from typer.testing import CliRunner

from runbook_lib import local, parameters, record
from runbook_lib.command import cli
from runbook_lib.engines.named import ENGINES
from runbook_lib.errors import ParametersError
from runbook_lib.unattended import executing, notebooks, summing_up
from runbook_lib.unattended.interrupts import Interrupts
from runbook_lib.unattended.progress import Told
from runbook_lib.unattended.sequence import run_in_order
from tests.listener import Listener, listening
from tests.live import until
from tests.notebook_runner import NOTEBOOKS, Environment, client, folder, holdings, newest, own_mesh, runbook, writes
from tests.test_door_in_use import modes
from tests.test_secrets import found_in, plant

__all__ = ["folder", "own_mesh"]

ACCOUNT = "123456789012"
ROUTE = {"meshName": "apps", "virtualRouterName": "serviceB", "routeName": "serviceB"}
SUMMARY = {
    "run",
    "version",
    "environment",
    "mode",
    "outcome",
    "reason",
    "notebooks",
    "changes",
    "api_calls",
    "shift",
} | {"record"}


@pytest.fixture(scope="module")
def listener() -> Iterator[Listener]:
    with listening() as listener:
        yield listener


@pytest.fixture(scope="module")
def first(own_mesh: Path, listener: Listener) -> tuple[int, str]:
    """Run the tutorial's scenario from its beginning to its end, on a stable service that is full of secrets."""
    local.connect(parameters.load("local"))
    ecs = client("ecs", ACCOUNT)
    plant(ecs, "serviceB", "taskB")

    def deployed() -> bool:
        [found] = ecs.describe_services(cluster="apps", services=["serviceB"])["services"]
        return [d["rolloutState"] for d in found["deployments"]] == ["COMPLETED"]

    until(deployed, "serviceB runs what was planted")
    told = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(own_mesh / "summary.md")}
    report = own_mesh / "report.html"
    return runbook("run", "local", "--report", report, RUNBOOK_NOTIFY=listener.url, **told)


@pytest.fixture(scope="module")
def lines(first: tuple[int, str]) -> list[dict[str, Any]]:
    """Return the journal of that run."""
    return list(newest("local").lines())


@pytest.fixture(scope="module")
def summary(lines: list[dict[str, Any]]) -> dict[str, Any]:
    return dict(newest("local").summary() or {})


def weights_of(line: dict[str, Any]) -> dict[str, int]:
    """Return the weights an observed line has read on the route, none where it is about something else."""
    if line["event"] != "observed" or not line["name"].startswith("route serviceB/serviceB"):
        return {}
    targets = line["state"]["spec"]["http2Route"]["action"]["weightedTargets"]
    return {target["virtualNode"]: target["weight"] for target in targets}


def test_ends_well_and_says_so(first: tuple[int, str]) -> None:
    code, said = first
    assert code == 0, said
    assert said.rstrip().endswith("outcome: done")
    assert "the local mesh is still up" in said


def test_whoever_is_to_be_told_is_told_once_and_their_address_is_kept_nowhere(
    first: tuple[int, str], listener: Listener
) -> None:
    [said] = listener.wait(1)
    run = newest("local")
    assert (said["title"], said["run"], said["outcome"]) == ("local: done", run.id, "done")
    assert said["words"] == "06_tear_down_service_b was reached in mode apply"
    token = listener.url.rsplit("/", 1)[-1]
    assert [path.name for path in run.folder.iterdir() if token in path.read_text()] == []


def test_github_shows_the_outcome_and_a_report_is_where_it_was_asked_for(
    own_mesh: Path, first: tuple[int, str]
) -> None:
    assert "\n::notice title=local%3A Done::done: 06_tear_down_service_b was reached in mode apply\n" in first[1]
    summary = (own_mesh / "summary.md").read_text()
    assert summary.startswith("## local: Done\n")
    assert re.search(r"^\d+ changes, made as arn:aws:sts::\d{12}:user/moto; run `", summary, re.M)
    assert "<summary>05_shift_traffic</summary>" in (own_mesh / "report.html").read_text()


def test_the_mesh_was_the_tutorials_own_at_75_to_25(lines: list[dict[str, Any]]) -> None:
    """2 virtual services, 3 nodes, 1 router, 1 route: what the record shows as made, and not yet as gone."""
    moment = next(i for i, line in enumerate(lines) if weights_of(line) == {"serviceB": 75, "serviceBv2": 25})
    names = {line["name"] for line in lines[: moment + 1] if line["event"] == "observed"}
    kinds = ("mesh ", "virtual service ", "virtual node ", "virtual router ", "route ")
    assert sorted(name for name in names if name.startswith(kinds)) == [
        "mesh apps",
        "route serviceB/serviceB",
        "virtual node serviceA",
        "virtual node serviceB",
        "virtual node serviceBv2",
        "virtual router serviceB",
        "virtual service servicea.apps.local",
        "virtual service serviceb.apps.local",
    ]
    assert not [line for line in lines[:moment] if line["event"] == "observed" and line["state"] is None]


def test_weights_only_ever_went_forward(lines: list[dict[str, Any]]) -> None:
    seen = [weights["serviceBv2"] for weights in map(weights_of, lines) if weights]
    assert seen == sorted(seen)
    assert set(seen) == {0, 25, 100}
    assert all(sum(weights.values()) == 100 for weights in map(weights_of, lines) if weights)


def test_every_intended_change_was_observed(lines: list[dict[str, Any]]) -> None:
    intended = [line["change"]["name"] for line in lines if line["event"] == "intended"]
    assert intended == [line["name"] for line in lines if line["event"] == "observed"]
    assert all(
        bool(line["change"]["inverse"]) != bool(line["change"]["no_inverse"])
        for line in lines
        if line["event"] == "intended"
    )


def test_at_the_end_the_canary_carries_everything_and_the_old_version_is_gone(summary: dict[str, Any]) -> None:
    assert summary["outcome"] == "done"
    assert_retired()


def assert_retired() -> None:
    app_mesh, ecs = client("appmesh", ACCOUNT), client("ecs", ACCOUNT)
    route = app_mesh.describe_route(**ROUTE)["route"]["spec"]["http2Route"]["action"]["weightedTargets"]
    services = ecs.describe_services(cluster="apps", services=["serviceA", "serviceB", "serviceBv2"])["services"]
    assert [(target["virtualNode"], target["weight"]) for target in route] == [("serviceBv2", 100)]
    assert holdings(app_mesh, "apps")["virtual_node"] == ["serviceA", "serviceBv2"]
    assert {s["serviceName"] for s in services if s["status"] == "ACTIVE"} == {"serviceA", "serviceBv2"}
    assert ecs.list_task_definitions(familyPrefix="taskB", status="ACTIVE")["taskDefinitionArns"] == []
    assert addresses("serviceb") == ["10.10.10.10"]  # what the caller resolves before its Envoy takes the request


def addresses(label: str) -> list[str]:
    cloud_map = client("servicediscovery", ACCOUNT)
    [service] = [s["Id"] for s in cloud_map.list_services()["Services"] if s["Name"] == label]
    found = cloud_map.list_instances(ServiceId=service)["Instances"]
    return [instance["Attributes"]["AWS_INSTANCE_IPV4"] for instance in found]


def test_the_summary_has_the_contracts_fields(summary: dict[str, Any], lines: list[dict[str, Any]]) -> None:
    assert set(summary) == SUMMARY
    assert summary["run"] == newest("local").id
    assert (summary["environment"], summary["mode"]) == ("local", "apply")
    assert summary["reason"].startswith("done: 06_tear_down_service_b")
    assert [n["name"] for n in summary["notebooks"]] == [NOTEBOOKS[number].stem for number in list(NOTEBOOKS)[:-1]]
    assert {n["outcome"] for n in summary["notebooks"]} == {"done"}
    assert all(n["seconds"] > 0 for n in summary["notebooks"])
    assert summary["changes"] == sum(line["event"] == "observed" for line in lines)


def test_the_summary_counts_the_calls_the_endpoint_saw(summary: dict[str, Any]) -> None:
    assert summary["api_calls"]["write"] == summary["changes"]
    assert summary["api_calls"]["read"] > 100


def test_the_executed_notebooks_are_kept_under_their_names(summary: dict[str, Any]) -> None:
    run = newest("local")
    kept = {path.stem for path in run.folder.glob("*.ipynb")}
    assert kept == {n["name"] for n in summary["notebooks"]}
    for path in run.folder.glob("*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        assert not [o for c in cells if c.cell_type == "code" for o in c.outputs if o.output_type == "error"]


@pytest.mark.attack(18)
def test_what_a_run_writes_is_its_users_alone(own_mesh: Path, summary: dict[str, Any]) -> None:
    assert modes(own_mesh / "runs") == modes(own_mesh / "state") == {}


@pytest.mark.attack(19)
def test_of_thirty_secrets_none_is_in_runs_or_state_or_what_any_command_says(
    own_mesh: Path, first: tuple[int, str], summary: dict[str, Any]
) -> None:
    """What is stored in a bucket is the run's folder, file by file."""
    run = newest("local").id
    definitions = client("ecs", ACCOUNT).list_task_definitions(familyPrefix="taskB", status="INACTIVE")
    assert len(definitions["taskDefinitionArns"]) == 3  # before, planted, and with Envoy
    commands = [
        ("status", "local"),
        ("status", "local", "--json"),
        ("runs",),
        ("verify", run),
        ("undo", run),
        ("undo", run, "--notebook", "06"),
        ("run", "local", "--mode", "plan", "--from", "04", "--through", "04"),
        ("local", "status", "--json"),
    ]
    said = {" ".join(words): CliRunner().invoke(cli.app, words).output for words in commands}
    assert "register task definition taskB:3" in said[f"undo {run}"]
    assert {words: found_in(text) for words, text in said.items() if found_in(text)} == {}
    assert found_in(first[1]) == []
    files = [path for path in own_mesh.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} >= {".ipynb", ".jsonl", ".json", ".log"}
    kept = {path.name: found_in(path.read_text(errors="replace")) for path in files}
    assert {name: found for name, found in kept.items() if found} == {}


def test_run_again_writes_nothing_and_brings_nothing_back(summary: dict[str, Any]) -> None:
    """This time as a rehearsal, which for a local file is the same thing.

    Of the last notebook: that no other writes again either, test_notebooks shows at every stage.
    """
    before = writes(ACCOUNT)
    code, said = runbook("run", "local", "--rehearse", "--from", "06", "-p", "shift.bake_seconds", "7")
    again = newest("local").summary() or {}
    assert code == 0, said
    assert said.rstrip().endswith("outcome: done")
    assert "Passed unknown parameter" not in said  # target, of which the notebook's own cell says nothing
    assert "KeyboardInterrupt" not in said
    assert newest("local").opened["given"]["shift"]["bake_seconds"] == 7
    assert newest("local").opened["given"]["shift"]["steps"] == [25, 100]
    assert writes(ACCOUNT) == before
    assert again["run"] != summary["run"]
    assert (again["changes"], again["api_calls"]["write"]) == (0, 0)
    assert_retired()


@pytest.fixture
def no_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder for runs that is empty."""
    monkeypatch.setenv("RUNBOOK_RUNS", str(tmp_path))
    return tmp_path


# --- what it is asked to do ---------------------------------------------------------------------------------


def test_90_is_executed_only_where_it_is_named() -> None:
    assert [path.stem[:2] for path in notebooks.chosen()] == ["00", "01", "02", "03", "04", "05", "06"]
    assert [path.stem[:2] for path in notebooks.chosen("03", "05")] == ["03", "04", "05"]
    assert [path.stem[:2] for path in notebooks.chosen("90", "90")] == ["90"]


def test_a_run_leaves_out_what_its_engine_has_nothing_to_do_in() -> None:
    steps = ENGINES["alb"].steps(parameters.load("local-alb"))
    assert [path.stem[:2] for path in notebooks.chosen(steps=steps)] == ["00", "05", "06"]
    with pytest.raises(ParametersError, match="this file's engine has nothing to do there"):
        notebooks.chosen("02", "04", steps)


@pytest.mark.parametrize(("first", "last"), [("3", "06"), ("00", "7"), ("07", "90")])
def test_refuses_a_notebook_there_is_not(first: str, last: str) -> None:
    with pytest.raises(ParametersError, match="expected one of 00, 01, 02, 03, 04, 05, 06, 90"):
        notebooks.chosen(first, last)


@pytest.mark.parametrize(
    ("first", "last", "hint"),
    [
        ("06", "05", "say --through 06, or --from 05"),
        ("05", "03", "say --through 05, or --from 03"),
        ("90", "06", "say --through 90"),
    ],
)
def test_refuses_a_range_in_which_no_notebook_lies(first: str, last: str, hint: str) -> None:
    with pytest.raises(ParametersError, match=f"--from {first} --through {last}: no notebook lies between") as refused:
        notebooks.chosen(first, last)
    assert refused.value.hint == hint


def test_bad_parameters_leave_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNBOOK_RUNS", str(tmp_path))
    with pytest.raises(ParametersError, match="did you mean 'mesh'"):
        run_in_order("local", {"mehs": "apps"})
    assert list(tmp_path.iterdir()) == []


def test_records_go_where_the_file_says(own_mesh: Path, folder: Path, tmp_path: Path) -> None:
    environment = Environment.create(folder, "elsewhere", records=str(tmp_path / "kept"))
    code, said = runbook("run", environment.file, "--through", "00")
    [run] = (tmp_path / "kept" / "elsewhere").glob("[0-9]*")
    assert code == 0, said
    assert {path.name for path in run.iterdir()} == {"00_check_environment.ipynb", "record.jsonl", "summary.json"}


@pytest.mark.soak
def test_records_go_to_a_folder_named_from_where_the_caller_stands(own_mesh: Path, tmp_path: Path) -> None:
    relative = os.path.relpath(tmp_path, tempfile.gettempdir())  # where `runbook` is started
    code, said = runbook("run", "local", "--through", "00", RUNBOOK_RUNS=relative)
    [run] = (tmp_path / "local").glob("[0-9]*")
    assert code == 0, said
    assert [line["notebook"] for line in record.Run(run).lines() if line["event"] == "calls"] == [NOTEBOOKS["00"].stem]


# --- the reason ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("traffic stays\nNext: run 05 again", "held: traffic stays"),
        ("06: refused, since\n- one: 1\n- two: 2\nNext: wait", "held: 06: refused, since one: 1; two: 2"),
        ("a/b: changed since:\n  x: 1 → 2\n  y: 3 → 4", "held: a/b: changed since: x: 1 → 2; y: 3 → 4"),
        ("held: 8 of 20 failed", "held: 8 of 20 failed"),
        ("25 %: held: errors", "held: 25 %: errors"),
        ("", "held: "),
    ],
)
def test_the_reason_is_the_whole_message_in_one_line_and_no_word_twice(message: str, reason: str) -> None:
    assert summing_up.one_sentence("held", message) == reason


def test_the_reasons_word_is_the_last_of_this_processs_own_kernels(no_runs: Path) -> None:
    """Two processes may share a run: the second took it over."""
    own, other = {"error": "Held", "by": str(os.getpid())}, {"error": "Held", "by": "1"}
    run = record.start("shared", file="local")
    for line in ({**own, "word": "before"}, {**own, "word": "hold"}, {**other, "word": "foreign_change"}):
        run.write("ended", **line)
    failure = executing.Failure("05_shift_traffic", 7, "", "Held", "25 %: held by bob")
    executed = [summing_up.Executed(failure.notebook, "held", 1.0)]
    summary = summing_up.summary_of(run, parameters.load("local"), executed, failure)
    assert summary["reason"] == "hold: 25 %: held by bob"


def test_output_that_never_came_is_not_called_a_kernel_that_did_not_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def late(*_: Any, **__: Any) -> None:
        raise CellTimeoutError("Timeout waiting for IOPub output")

    monkeypatch.setattr(executing.papermill, "execute_notebook", late)
    failure = executing.execute(NOTEBOOKS["00"], tmp_path / NOTEBOOKS["00"].name, {}, Told(), Interrupts())
    assert failure is not None
    assert failure.message.startswith("what the cell showed did not come within 60 s of its end")


# --- secrets ------------------------------------------------------------------------------------------------

KEY_ID = "AKIA" + "QWERTYUIOPASDFGH"
SECRET_KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCY" + "EXAMPLEKEY"
TOKEN = "IQoJb3JpZ2luX2VjE" + "Aa9" * 40
PASSWORD = "correct-horse-battery-staple"
SECRETS = [KEY_ID, SECRET_KEY, TOKEN, PASSWORD]


def test_nothing_secret_reaches_screen_notebooks_record_or_summary(own_mesh: Path, folder: Path) -> None:
    environment = Environment.create(folder, "secretive")
    put_secrets(environment)
    envoy = {"resource_cluster": KEY_ID}
    code, said = runbook("run", environment.file, "--from", "03", "--through", "04", "-p", "envoy", json.dumps(envoy))
    assert code == 2, said  # nothing has been made yet: 03 shows all there is and refuses
    environment.walk("01", "02", "03")
    code, more = runbook("run", environment.file, "--from", "04", "--through", "04", "-p", "envoy", json.dumps(envoy))
    assert code == 0, more
    for file in sorted(path for path in environment.runs.rglob("*") if path.is_file()):
        text = file.read_text()
        assert not [secret for secret in SECRETS if secret in text], file
    assert not [secret for secret in SECRETS if secret in said + more]


def test_what_is_masked_on_the_screen_is_not_masked_in_aws(own_mesh: Path, folder: Path) -> None:
    environment = Environment.create(folder, "kept")
    put_secrets(environment)
    environment.walk("01", "02", "03", "04")
    ecs = environment.client("ecs")
    found = ecs.describe_task_definition(taskDefinition="taskA")["taskDefinition"]["containerDefinitions"]
    kept = {pair["value"] for container in found for pair in container.get("environment", [])}
    assert set(SECRETS) <= kept


def put_secrets(environment: Environment) -> None:
    """Give serviceA a definition whose environment is full of secrets, as too many are."""
    ecs = environment.client("ecs")
    found = ecs.describe_task_definition(taskDefinition="taskA")["taskDefinition"]
    names = ("family", "networkMode", "cpu", "memory", "requiresCompatibilities", "executionRoleArn", "taskRoleArn")
    [container] = found["containerDefinitions"]
    pairs = zip(("KEY", "SIGNING", "SESSION", "DB_PASSWORD"), SECRETS, strict=True)
    container["environment"] = [{"name": name, "value": value} for name, value in pairs]
    form = {name: found[name] for name in names if name in found}
    made = ecs.register_task_definition(**form, containerDefinitions=[container])
    ecs.update_service(cluster="apps", service="serviceA", taskDefinition=made["taskDefinition"]["taskDefinitionArn"])


@pytest.mark.attack(19)
def test_what_was_given_under_a_name_nothing_knows_is_masked_in_the_executed_notebook(tmp_path: Path) -> None:
    file = tmp_path / "01_create_mesh.ipynb"
    given = {"token": PASSWORD, "mode": "plan", "undo": False}
    source = f'# Parameters\nmode = "plan"\ntoken = "{PASSWORD}"\nundo = False'
    cell = nbformat.v4.new_code_cell(source, metadata={"tags": ["injected-parameters"]})
    book = nbformat.v4.new_notebook(cells=[cell], metadata={"papermill": {"parameters": given}})
    executing.Kept(file, book).save()
    kept = json.loads(file.read_text())["metadata"]["papermill"]["parameters"]
    assert PASSWORD not in file.read_text()
    assert "".join(json.loads(file.read_text())["cells"][0]["source"]).splitlines()[1:] == [
        'mode = "plan"',
        'token = "****"',
        "undo = False",
    ]
    assert kept == {**given, "token": "****"}
    assert file.stat().st_mode & 0o777 == 0o600
