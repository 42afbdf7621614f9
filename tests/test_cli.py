"""The `runbook` command: its words, its exit codes, and what it refuses before anything is run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from click.testing import Result
from typer.main import get_command
from typer.testing import CliRunner

from runbook_lib import errors, parameters, record
from runbook_lib.aws.session import opening
from runbook_lib.command import meant, plans, running
from runbook_lib.command.cli import app
from runbook_lib.local import supervisor
from runbook_lib.local.callers import traffic_of
from runbook_lib.opening import load_of
from runbook_lib.plan import Difference, Plan
from runbook_lib.record.place import place_of
from runbook_lib.unattended import executing, summing_up
from tests.notebook_runner import ROOT, Environment, folder, newest, own_mesh, runbook
from tests.scenes import one

__all__ = ["folder", "own_mesh"]


def command(*words: str | Path, answer: str = "") -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(app, [str(word) for word in words], input=answer, env={"COLUMNS": "200"})


@pytest.fixture
def no_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder for runs that is empty."""
    monkeypatch.setenv("RUNBOOK_RUNS", str(tmp_path))
    return tmp_path


# --- refused before anything is run -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ["locl"],
            "expected one of local, local-alb, local-alb-h2, local-alb-new, production, staging, staging-alb "
            "or a path\n"
            "Next: did you mean 'local'",
        ),
        (["local", "-p", "shfit", "3"], "unknown key 'shfit'; did you mean 'shift'?"),
        (["local", "-p", "acount_id", "123456789012"], "unknown key 'acount_id'; did you mean 'account_id'?"),
        (
            ["local", "-p", "account_id", "123456789012"],
            "account_id: expected a valid string; found 123456789012",
        ),
        (["local", "-p", "iam", "{manage: 'false'}"], "iam.manage: expected a valid boolean; found 'false'"),
        (["local", "-p", "shift.bake_secnds", "5"], "did you mean 'bake_seconds'?"),
        (["local", "-p", "shift.bake_seconds", "soon"], "shift.bake_seconds: expected a valid integer; found 'soon'"),
        (["local", "-p", "region.bake_seconds", "5"], "region.bake_seconds: region is no section; found 'us-west-2'"),
        (["local", "-p", "mesh"], "-p: expected a name and a value"),
        (["local", "-p", "mesh", "{name: apps"], "-p mesh: not YAML"),
        (["local", "-p", "mesh", "{name: apps, name: other}"], "'name' is there twice"),
        (["local", "-p", "mode", "plan", "-p", "mode", "apply"], "-p: mode is given more than once"),
        (
            ["local", "--mode", "aply"],
            "given: mode: expected 'plan' or 'apply'; found 'aply'\nNext: correct what was given",
        ),
        (["local", "--from", "3"], "notebook: no '3'; expected one of 00, 01, 02, 03, 04, 05, 06, 90"),
        (["local", "--through", "99"], "notebook: no '99'"),
        (["staging", "--from", "05", "--through", "03"], "--from 05 --through 03: no notebook lies between"),
        (["local", "--from", "90"], "--from 90 --through 06: no notebook lies between\nNext: say --through 90"),
    ],
)
def test_refuses_what_it_does_not_know(words: list[str], expected: str, no_runs: Path) -> None:
    done = command("run", *words)
    assert done.exit_code == 2, done.output
    assert expected in done.output
    assert list(no_runs.iterdir()) == []


def test_refuses_code_in_the_name_of_a_parameter_before_anything_runs(no_runs: Path, tmp_path: Path) -> None:
    """Papermill runs such a name as code, before any cell can look."""
    mark = tmp_path / "ran"
    done = command("run", "local", "-p", f"open({str(mark)!r}, 'w'); account_id", "x")
    assert done.exit_code == 2, done.output
    assert "unknown key" in done.output
    assert not mark.exists()


def test_refuses_code_in_a_files_key_before_anything_runs(no_runs: Path, tmp_path: Path) -> None:
    mark, file = tmp_path / "ran", tmp_path / "bad.yaml"
    said = (ROOT / "parameters" / "local.yaml").read_text()
    file.write_text(f"{said}\n\"open('{mark}', 'w'); x\": 1\n")
    done = command("run", file)
    assert done.exit_code == 2, done.output
    assert "unknown key" in done.output
    assert not mark.exists()
    assert not list(no_runs.glob("local*"))


def test_refuses_a_python_tag(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("environment: !!python/object/apply:os.getcwd []\n")
    done = command("run", file)
    assert done.exit_code == 2, done.output
    assert "not YAML" in done.output


def test_masks_what_is_secret_in_what_it_refuses() -> None:
    key = "AKIA" + "QWERTYUIOPASDFGH"
    done = command("run", "local", "-p", "account_id", key)
    assert done.exit_code == 2, done.output
    assert key not in done.output
    assert "account_id" in done.output


def test_wrong_use_is_refused() -> None:
    assert command("run").exit_code == 2
    assert command("walk").exit_code == 2


def test_a_role_nobody_knows_is_refused_in_plain_words() -> None:
    done = command("policy", "staging", "--role", "boss")
    assert done.exit_code == 2, done.output
    assert "Invalid value for '--role': 'boss' is not one of 'reader', 'shifter', 'builder'" in done.output


def test_a_program_reads_an_error_as_one_json_object() -> None:
    done = command("status", "locl", "--json")
    told = json.loads(done.stdout)
    assert (done.exit_code, told["error"], told["where"], told["exit_code"]) == (2, "parameters", "environment", 2)
    assert told["what"].startswith("no parameters file 'locl'; expected one of local")
    assert told["next"] == "did you mean 'local'?"
    assert done.stderr.startswith("parameters: environment: no parameters file 'locl'")  # whoever reads the log


def test_a_shell_completes_commands_options_and_environments() -> None:
    ask = """
        eval "$(runbook --show-completion)"
        try() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _runbook_completion runbook; echo "${COMPREPLY[@]}"; }
        try runbook roll
        try runbook status --reh
        try runbook hold stag
    """
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, env={**os.environ, "PATH": path})
    assert done.stdout.splitlines() == ["rollback", "--rehearse", "staging staging-alb"], done.stderr


def test_exit_codes_are_the_contracts() -> None:
    assert summing_up.EXIT == {"done": 0, "failed": 1, "refused": 2, "held": 3, "rolled_back": 4}
    assert [kind.exit_code for kind in (errors.Failed, errors.Refused, errors.Held)] == [1, 2, 3]


def test_help_tells_of_every_word_and_cuts_no_sentence() -> None:
    def commands(group: Any) -> Iterator[Any]:
        for each in group.commands.values():
            yield each
            yield from commands(each) if hasattr(each, "commands") else ()

    for each in commands(get_command(app)):
        assert not each.get_short_help_str(64).endswith("..."), each.name  # of 80 columns
        assert [p.name for p in each.params if not getattr(p, "help", None)] == [], each.name
        assert not [p.name for p in each.params if p.param_type_name == "argument" and not p.metavar], each.name


# --- lint ---------------------------------------------------------------------------------------------------


COSTS = {
    "local": "about 75 failed requests until the verdict, after 2 s; with a first step of 5 % about 15",
    "staging": "about 3,000 failed requests until the verdict, after 240 s; with a first step of 1 % about 120",
    "production": "about 600 failed requests until the verdict, after 240 s; with a first step of 1 % about 120",
}


@pytest.mark.attack(11)
@pytest.mark.parametrize("environment", ["local", "staging", "production"])
def test_lint_passes_every_shipped_file_without_a_call(environment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNBOOK_STATE", "/nonexistent")
    done = command("lint", environment)
    assert done.exit_code == 0, done.output
    costs, nothing = done.output.splitlines()
    assert costs.endswith(COSTS[environment])
    assert nothing == f"{environment}: no errors found"


def test_lint_says_that_more_is_checked_once_each_value_is_of_its_kind(tmp_path: Path) -> None:
    file = tmp_path / "short.yaml"
    file.write_text((parameters.FOLDER / "staging.yaml").read_text().replace('"210987654321"', '"21098"'))
    done = command("lint", file)
    assert done.exit_code == 2, done.output
    assert "account_id: expected 12 digits in quotes; found '21098'" in done.output
    assert "Next: fix the file, then run `runbook lint` on it; further checks follow once these pass" in done.output


def test_a_folder_is_no_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "local").mkdir()
    monkeypatch.chdir(tmp_path)
    done = command("lint", "./local")
    assert done.exit_code == 2, done.output
    assert "environment: './local' is a folder; expected one of local" in done.output
    assert "Next: did you mean 'local'?" in done.output
    assert command("lint", "local").exit_code == 0


def test_lint_says_what_can_never_pass_and_what_cannot_be_rehearsed(tmp_path: Path) -> None:
    said = yaml.safe_load((parameters.FOLDER / "staging.yaml").read_text())
    router = said["routers"]["serviceB"]["routes"]["serviceB"]
    said |= {"protocol": "tcp", "traffic": {"requests_per_second": 1}}
    said["shift"] |= {"bake_seconds": 60, "trial": None}
    del router["retry"], router["timeout"]
    file = tmp_path / "tcp.yaml"
    file.write_text(yaml.safe_dump(said))
    done = command("lint", str(file))
    assert done.exit_code == 0, done.output
    assert "WARN shift: with the file's own traffic this bake could never pass: at 25 % of 1 requests" in done.output
    words = "WARN a rehearsal is refused: the local mesh carries http, http2 and grpc; found tcp: services.serviceA"
    assert words in done.output
    file.write_text(yaml.safe_dump({**said, "target": "local"}))
    refused = command("lint", str(file))
    assert refused.exit_code == 2, refused.output
    assert "this bake could never pass: at 25 % of 1 requests" in refused.output


def test_a_file_that_the_local_mesh_cannot_carry_is_refused_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, no_runs: Path
) -> None:
    monkeypatch.delenv("RUNBOOK_LOCAL")
    monkeypatch.setenv("RUNBOOK_STATE", str(no_runs / "state"))  # another test's mesh may be up
    routes = {"serviceB": {"targets": ["serviceB", "serviceBv2"]}}
    said = yaml.safe_load((parameters.FOLDER / "local.yaml").read_text())
    said |= {"environment": "tcp", "protocol": "tcp", "routers": {"serviceB": {"routes": routes}}}
    said["shift"]["trial"] = None
    file = no_runs / "tcp.yaml"
    file.write_text(yaml.safe_dump(said))
    done = command("local", "up", str(file))
    assert done.exit_code == 2, done.output
    assert "tcp: the local mesh carries http, http2 and grpc; found tcp: services.serviceA" in done.output
    assert supervisor.there() is None


def test_lint_warns_of_names_it_lower_cases_and_refuses_the_rest(tmp_path: Path) -> None:
    said = (ROOT / "parameters" / "local.yaml").read_text()
    file = tmp_path / "loud.yaml"
    file.write_text(said.replace("hostname: servicea.apps.local", "hostname: ServiceA.apps.local"))
    done = command("lint", file)
    assert done.exit_code == 0, done.output
    assert "WARN services.serviceA.hostname: 'ServiceA.apps.local' was read as" in done.output
    file.write_text(said.replace("steps: [25, 100]", "steps: [100, 25]"))
    done = command("lint", file)
    assert done.exit_code == 2, done.output
    assert "shift.steps: expected steps that rise" in done.output


@pytest.fixture
def failed_run(no_runs: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> record.Run:
    """Return a rehearsal that a dead local mesh has ended, while none runs."""
    monkeypatch.setenv("RUNBOOK_STATE", str(tmp_path_factory.mktemp("ended") / "state"))
    return record.start("local", target="local")


def told(run: record.Run, capsys: pytest.CaptureFixture[str]) -> str:
    """Return what the command says of a run that failed in 05."""
    failure = executing.Failure("05_shift_traffic", 7, "shift", "CallError", "the local mesh: its process is gone")
    calls = {"read": 3, "write": 1}
    summary = {"shift": [], "api_calls": calls, "changes": 1, "outcome": "failed", "reason": "target: it is gone"}
    running._tell(run, summary, failure, "local", [])
    return capsys.readouterr().out


@pytest.mark.attack(23)
def test_a_rehearsal_whose_local_mesh_has_ended_begins_again(
    failed_run: record.Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "runbook run local --from 00  begins again" in told(failed_run, capsys)


def test_a_run_that_failed_on_aws_goes_on_from_where_it_failed(
    no_runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = record.start("local", target="aws")
    assert "runbook run local --from 05  goes on from here" in told(run, capsys)


def test_requests_that_were_never_sent_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = {"requests_per_second": 900.0, "sent": 1500, "answered": 1500, "failed": 0, "in_flight": 0, "shed": 36342}
    asked = {"/runbook/tasks": {"tasks": []}, "/runbook/traffic": {"local": {"at": time.time(), **counts}}}
    mesh = SimpleNamespace(endpoint="http://127.0.0.1:9", key="k", pid=7, folder=Path("nowhere"), ask=asked.get)
    monkeypatch.setattr(supervisor, "running", lambda: mesh)
    assert said(command("local", "status", "--json"))["traffic"]["local"]["shed"] == 36342
    assert "36,342 more were due and never sent: this machine was too busy" in command("local", "status").output
    load = load_of(parameters.load("local"))  # of `status ENV` and of a run's summary
    assert load == {"sent": 1500, "failed": 0, "not sent": 36342}
    assert load_of(parameters.load("staging")) == {}


# --- the local mesh and where things stand ------------------------------------------------------------------


def test_up_status_and_down(own_mesh: Path) -> None:
    assert said(command("local", "status", "--json"))["endpoint"] is None
    assert said(command("status", "local", "--json"))["stage"] == "not running"
    code, words = runbook("local", "up")
    found = said(command("local", "status", "--json"))
    assert (code, words) == (0, f"up: {found['endpoint']}\n")
    assert found["endpoint"].startswith("http://127.0.0.1:")
    assert {"service", "pid", "admin"} <= {
        key for task in found["tasks"] or [{"service": 0, "pid": 0, "admin": 0}] for key in task
    }
    standing = said(command("status", "local", "--json"))
    assert (standing["stage"], standing["weights"], standing["resources"]) == ("plain", {}, [])
    assert standing["services"] == {"serviceA": "taskA:1", "serviceB": "taskB:1", "serviceBv2": "taskBv2:1"}
    assert "plain" in command("status", "local").output
    assert command("local", "down").output == "the local mesh is stopped\n"
    assert command("local", "down").output == "it was not running\n"
    assert supervisor.find() is None


def test_a_local_mesh_that_does_not_end_is_told_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def down() -> bool:
        raise errors.TargetError("the local mesh: its process 7 does not end", hint="end it")

    monkeypatch.setattr(supervisor, "down", down)
    done = command("local", "down")
    assert (done.exit_code, done.output) == (2, "target: the local mesh: its process 7 does not end\nNext: end it\n")


def test_a_caller_that_has_ended_makes_no_requests_now() -> None:
    class Mesh:
        def ask(self, path: str) -> dict[str, Any]:
            counts = {"requests_per_second": 300.0, "sent": 1500, "answered": 1490, "failed": 4, "in_flight": 6}
            return {"alive": {"at": time.time(), **counts}, "gone": {"at": time.time() - 60, **counts}}

    found = traffic_of(Mesh())  # type: ignore[arg-type]
    assert {name: (calls["requests_per_second"], calls["sent"]) for name, calls in found.items()} == {
        "alive": (300.0, 1500),
        "gone": (0, 1500),
    }


def said(done: Result) -> dict[str, Any]:
    assert done.exit_code == 0, done.output
    return dict(json.loads(done.stdout))


# --- runs ---------------------------------------------------------------------------------------------------


def test_a_notebook_that_refuses_shows_its_cell_and_what_to_do(own_mesh: Path, folder: Path) -> None:
    environment = Environment.create(folder, "early")
    before = environment.writes()
    done = command("run", environment.file, "--from", "03", "--through", "04")
    words, summary = done.output, newest("early").summary() or {}
    assert done.exit_code == 2, words
    assert "03_create_router_and_routes, cell" in words
    assert "cleared = runbook.clear(plan, *gates)" in words
    assert "GateError: 03_create_router_and_routes: refused" in words
    assert "Next: run the notebooks named there first" in words
    assert "--from 03" in words
    assert "outcome: refused" in words
    assert [n["name"][:2] for n in summary["notebooks"]] == ["03"]  # it stopped there
    assert summary["outcome"] == "refused"
    assert summary["reason"].startswith("gate: 03_create_router_and_routes: refused, since earlier steps: missing: ")
    assert environment.writes() == before


def test_mode_plan_changes_nothing_and_joins_no_run(own_mesh: Path, folder: Path) -> None:
    environment = Environment.create(folder, "planned")
    before = environment.writes()
    done = command("run", environment.file, "--mode", "plan", "--from", "05", "--through", "05")
    assert done.exit_code == 0, done.output
    assert (newest("planned").summary() or {})["mode"] == "plan"
    assert environment.writes() == before
    assert said(command("status", environment.file, "--json"))["run"] is None


def test_a_run_that_begins_after_its_default_end_ends_where_it_begins(own_mesh: Path, folder: Path) -> None:
    environment = Environment.create(folder, "late")
    done = command("run", environment.file, "--mode", "plan", "--from", "06")
    assert done.exit_code == 0, done.output
    assert [n["name"][:2] for n in (newest("late").summary() or {})["notebooks"]] == ["06"]


def test_a_second_run_goes_on_only_by_naming_the_one_that_holds(own_mesh: Path, folder: Path) -> None:
    environment = Environment.create(folder, "busy")
    run = record.start("busy", None, place_of(parameters.load(environment.file)))
    words = ("run", environment.file, "--from", "00", "--through", "00")
    with record.held(run, record.lock_of(run), "alice"):
        done = command(*words)
        assert done.exit_code == 2, done.output
        assert "lock: busy: alice is at work here since 20" in done.output
        assert f"--take-over {run.id}" in done.output
        done = command(*words, "--take-over", run.id)
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("lock", [record.held, record.shifting])
def test_a_run_refused_since_somebody_is_at_work_leaves_no_folder(
    lock: Callable[..., AbstractContextManager[None]], own_mesh: Path, folder: Path
) -> None:
    """The run at work has ended already, as while it is undone: another one would be begun, and refused."""
    environment = Environment.create(folder, f"ended-{lock.__name__}")
    place = place_of(parameters.load(environment.file))
    ended = record.start(environment.name, None, place)
    ended.write("closed", outcome="done")
    held = record.lock_of(ended) if lock is record.held else record.shift_lock_of(place)
    with lock(ended, held, "alice"):
        done = command("run", environment.file, "--through", "00")
    assert done.exit_code == 2, done.output
    assert f"lock: {environment.name}: alice is at work here since 20" in done.output
    assert [run.id for run in record.called(environment.name)] == [ended.id]


def test_a_rehearsal_that_stops_is_gone_on_with_and_looked_at_as_one(own_mesh: Path) -> None:
    """Without `--rehearse` the command it prints would go to the real account."""
    options = ("--through", "04", "--mode", "apply", "--rehearse", "-p", "traffic", "{requests_per_second: 20}")
    done = command("run", "staging", "--from", "03", *options)
    assert done.exit_code == 2, done.output
    again = "runbook run staging --from 03 --through 04 --mode apply --rehearse -p traffic '{requests_per_second: 20}'"
    assert f"\n{again}  goes on from here" in done.output
    standing = said(command("status", "staging", "--rehearse", "--json"))
    assert (standing["stage"], standing["run"]) == ("plain", newest("staging").id)
    done = command("approve", "staging", "--rehearse")
    assert done.exit_code == 2, done.output
    assert "approve: no route yet: 03 was not applied\nNext: runbook run staging --rehearse" in done.output


def test_a_name_means_runs_of_its_own_target_and_rehearsals_only_where_that_is_said(no_runs: Path) -> None:
    real = begun("staging")
    with pytest.raises(errors.ParametersError, match="no rehearsal of staging"):
        meant.found_run("staging", True)
    rehearsal = begun("staging", target="local")
    assert [meant.found_run("staging", rehearse) for rehearse in (False, True)] == [real, rehearsal]
    assert meant.found_run(rehearsal.id, False).id == rehearsal.id
    only = begun("production", target="local")
    assert meant.found_run("production", False) == only


def test_a_run_that_did_nothing_hides_neither_the_last_decision_nor_its_report(
    no_runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNBOOK_STATE", "/nonexistent")
    worked = begun("local")
    worked.write("decision", at=0.0, step=25, verdict="PASS", phase="judged", words="no more errors", weights={})
    idle = begun("local")
    told = said(command("status", "local", "--json"))
    assert told["run"] == idle.id
    assert told["decided"] == f"25 % PASS at 1970-01-01 00:00:00 UTC, run {worked.id}: no more errors"
    assert meant.found_work("local", False) == worked
    assert meant.found_work(idle.id, False) == idle


def begun(environment: str, **given: Any) -> record.Run:
    """Begin a run of an environment of `parameters/`, as the command does."""
    p = parameters.load(environment, given)
    return record.start(environment, None, place_of(p), **opening(p, environment, given))


# --- hold ---------------------------------------------------------------------------------------------------


def test_hold_is_written_into_the_run_that_is_under_way(no_runs: Path) -> None:
    run = begun("local")
    with record.held(run, record.lock_of(run), "alice"):
        done = command("hold", run.id, "--by", "bob")
    assert done.exit_code == 0, done.output
    assert [line["by"] for line in run.said() if line["event"] == "hold"] == ["bob"]


def test_hold_is_refused_where_nobody_would_follow_it(no_runs: Path) -> None:
    run, other = begun("local"), begun("local")
    done = command("hold", run.id)
    assert done.exit_code == 2, done.output
    assert "no shift is running there" in done.output
    with record.held(other, record.lock_of(other), "alice"):
        done = command("hold", run.id)
    assert f"run {run.id} is not under way; run {other.id} is, by alice" in done.output
    assert not [line for line in run.said() if line["event"] == "hold"]


# --- verify -------------------------------------------------------------------------------------------------


def test_verify_says_that_a_run_has_no_verdict(no_runs: Path) -> None:
    done = command("verify", record.start("early").id)
    assert done.exit_code == 0, done.output
    assert done.output.endswith("– no verdict in this run\n")


# --- what a command waits for ------------------------------------------------------------------------------

HEAVY = {"boto3", "botocore", "papermill", "pandas", "tenacity", "moto", "matplotlib", "nbformat", "IPython"}
LOADED = """
import sys
from runbook_lib.command.cli import app
try:
    app(sys.argv[1:], prog_name="runbook")
finally:
    print("loaded", *{name.split(".")[0] for name in sys.modules})
"""


def loaded(*words: str) -> set[str]:
    """Return the packages that a command has loaded when it ends, by a process of its own."""
    done = subprocess.run([sys.executable, "-c", LOADED, *words], capture_output=True, text=True)
    return {*done.stdout.rpartition("loaded ")[2].split()}


@pytest.mark.parametrize(
    ("words", "needed"),
    [
        (("--help",), set()),
        (("run", "--help"), {"pydantic"}),  # typer's own, of a command with options
        (("hold", "local"), {"pydantic"}),
        (("local", "fault", "serviceBv2"), {"pydantic"}),
        (("rollback", "local"), {"pydantic", "botocore"}),
        (("status", "local"), {"pydantic", "botocore"}),
    ],
)
def test_a_command_loads_only_what_it_needs(words: tuple[str, ...], needed: set[str], no_runs: Path) -> None:
    """What is typed in an emergency answers at once; a package loaded for another command costs up to a second."""
    found = loaded(*words)
    assert "typer" in found
    assert found & {*HEAVY, "pydantic"} == needed


# --- what a plan says -------------------------------------------------------------------------------------


def said_of(*found: Difference, capsys: pytest.CaptureFixture[str]) -> str:
    plans.show_plan(Plan("a", (one(diff=found),)), "nothing")
    return capsys.readouterr().out


def test_a_plan_keeps_what_stands_in_brackets(capsys: pytest.CaptureFixture[str]) -> None:
    """A console would take `[serviceB]` for markup and leave it out, and a path in brackets for an error."""
    target = Difference("spec.tcpRoute.action.weightedTargets[serviceB].weight", 100, 75)
    said = said_of(target, Difference("paths", "[/var/log]", ["/tmp"]), capsys=capsys)
    assert "serviceB: 100 → 75" in said
    assert "paths: [/var/log] → [/tmp]" in said


def test_a_plan_keeps_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    variable = {"name": "DB_PASSWORD", "value": "hunter2"}
    said = said_of(Difference("environment", [variable], []), capsys=capsys)
    assert "environment: [DB_PASSWORD: ****] → []" in said


# --- undo ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(own_mesh: Path, folder: Path) -> Environment:
    """Return an environment at the end of the whole way."""
    environment = Environment.create(folder, "finished")
    environment.walk("01", "02", "03", "04", "05", "06")
    return environment


def test_undo_asks_first(finished: Environment) -> None:
    before = finished.writes()
    done = command("undo", newest("finished").id, answer="n\n")
    assert done.exit_code == 0, done.output
    assert "Undo these changes?" in done.output
    assert "delete mesh apps" in done.output
    assert done.output.endswith("nothing was undone\n")
    assert finished.writes() == before


def test_a_program_reads_the_plan_of_an_undo_and_what_verify_found(finished: Environment) -> None:
    before, run = finished.writes(), newest("finished").id
    plan = said(command("undo", run, "--json"))
    assert plan["run"] == run
    assert "delete mesh apps" in [each["change"] for each in plan["changes"]]
    checked = said(command("verify", run, "--json"))
    assert checked["holds"] is True
    assert {"what", "holds", "found"} == {*checked["checks"][0]}
    assert finished.writes() == before


def test_undo_is_refused_where_nobody_can_answer(finished: Environment) -> None:
    before = finished.writes()
    done = command("undo", newest("finished").id)
    assert done.exit_code == 2, done.output
    assert "undo: no terminal to answer on; nothing was undone\n" in done.output
    assert f"Next: runbook undo {newest('finished').id} --yes\n" in done.output
    part = command("undo", newest("finished").id, "--notebook", "06")
    assert f"Next: runbook undo {newest('finished').id} --notebook 06 --yes\n" in part.output
    assert finished.writes() == before


def test_undo_stops_on_somebody_elses_change(finished: Environment) -> None:
    app_mesh, before = finished.client("appmesh"), finished.writes()
    spec = {"egressFilter": {"type": "ALLOW_ALL"}}
    app_mesh.update_mesh(meshName="apps", spec=spec)
    code, words = runbook("undo", newest("finished").id, "--yes")
    assert code == 2, words
    assert "mesh apps: somebody has changed it since" in words
    assert finished.writes() == before
    app_mesh.update_mesh(meshName="apps", spec={"egressFilter": {"type": "DROP_ALL"}})


def test_status_says_one_thing_a_line(finished: Environment) -> None:
    lines = [line.strip() for line in command("status", finished.file).output.splitlines()]
    assert {"virtual node serviceBv2", "route serviceB/serviceB", "serviceBv2 taskBv2:2", "serviceB retired"} <= set(
        lines
    )
    assert "weights      serviceBv2 100 %" in lines


def test_approve_says_where_traffic_is_when_no_step_is_left(finished: Environment) -> None:
    done = command("approve", newest("finished").id)
    assert done.exit_code == 2, done.output
    assert "approve: no step is left: serviceBv2 100 %" in done.output


def test_promote_says_that_no_step_is_baking(finished: Environment) -> None:
    done = command("promote", newest("finished").id, "--by", "ada", "--because", "the campaign begins")
    assert done.exit_code == 2, done.output
    assert "promote: no step is baking: serviceBv2 100 %" in done.output


def test_undo_of_a_notebook_that_another_one_stands_on_names_that_one(finished: Environment) -> None:
    run, before = newest("finished"), finished.writes()
    done = command("undo", run.id, "--notebook", "05", "--yes")
    assert done.exit_code == 2, done.output
    assert f"Next: runbook undo {run.id} --notebook 06" in done.output
    assert finished.writes() == before


def test_undo_from_a_fresh_shell_takes_a_whole_run_back_to_plain(finished: Environment) -> None:
    run = newest("finished")
    code, words = runbook("undo", run.id, "--yes")
    assert code == 0, words
    assert "undone" in words
    assert (run.summary() or {})["outcome"] == "rolled_back"
    assert "✓ outcome: rolled_back" in command("verify", run.id).output
    standing = said(command("status", finished.file, "--json"))
    assert (standing["stage"], standing["weights"], standing["resources"]) == ("plain", {}, [])
    assert finished.client("appmesh").list_meshes()["meshes"] == []
    assert containers(finished) == {"serviceA": ["app"], "serviceB": ["app"], "serviceBv2": ["app"]}
    policies = finished.client("iam").list_role_policies(RoleName="apps-serviceA-task")["PolicyNames"]
    assert policies == []


def test_undo_once_more_has_nothing_to_take_back(finished: Environment) -> None:
    before = finished.writes()
    code, words = runbook("undo", newest("finished").id, "--yes")
    assert code == 0, words
    assert "nothing to undo" in words
    assert finished.writes() == before


def test_undo_of_one_notebook_leaves_the_others_and_passes_a_holder_only_by_its_name(finished: Environment) -> None:
    finished.walk("01", "02")
    run = newest("finished")
    with record.held(run, record.lock_of(run), "alice"):
        done = command("undo", run.id, "--notebook", "02", "--yes")
        assert done.exit_code == 2, done.output
        assert f"--take-over {run.id}" in done.output
        done = command("undo", run.id, "--notebook", "02", "--yes", "--take-over", run.id)
    assert done.exit_code == 0, done.output
    assert said(command("status", finished.file, "--json"))["resources"] == [
        "mesh apps",
        "virtual service servicea.apps.local",
        "virtual service serviceb.apps.local",
    ]
    assert (run.summary() or {})["reason"] == "undo: 02_create_virtual_nodes was undone by hand"
    assert "RUNBOOK_TAKE_OVER" not in os.environ


def test_undo_of_a_run_nobody_knows_is_refused(own_mesh: Path) -> None:
    done = command("undo", "2020-01-01", "--yes")
    assert done.exit_code == 2, done.output
    assert "nothing is recorded under '2020-01-01'" in done.output


# --- undo at another place, or by another name ----------------------------------------------------------------


@pytest.mark.attack(4)
def test_undo_is_refused_where_the_file_names_another_account_than_the_run_is_of(own_mesh: Path, folder: Path) -> None:
    environment = Environment.create(folder, "moved")
    environment.walk("01")
    run, account = newest("moved"), environment.account
    other = {**environment.said, "account_id": "222222222222"}
    environment.file.write_text(yaml.safe_dump(other, sort_keys=False))
    before = environment.writes()
    for name in (run.id, "moved"):
        done = command("undo", name, "--yes")
        assert done.exit_code == 2, done.output
        assert f"target: undo: run {run.id} is of account {account}, us-west-2, App Mesh apps" in done.output
        assert f"{environment.file} now names account 222222222222, us-west-2, App Mesh apps" in done.output
    for words in (("approve",), ("verify",), ("hold",)):
        assert "Traceback" not in command(*words, run.id).output
    assert environment.writes() == before
    assert environment.client("appmesh").list_meshes()["meshes"]


@pytest.mark.attack(4)
def test_a_name_of_several_places_is_refused_and_each_is_listed(own_mesh: Path, folder: Path) -> None:
    environment = Environment.create(folder, "twice")
    first = record.start("twice", None, place_of(parameters.load(environment.file)), file=str(environment.file))
    theirs = folder / "theirs.yaml"
    theirs.write_text(yaml.safe_dump({**environment.said, "account_id": "222222222222"}))
    second = record.start("twice", None, place_of(parameters.load(theirs)), file=str(theirs), given={})
    done = command("undo", "twice", "--yes")
    assert done.exit_code == 2, done.output
    assert "twice is the name of several places" in done.output
    assert f"- {first.id}: account {environment.account}" in done.output
    assert f"- {second.id}: account 222222222222" in done.output
    assert meant.found_run(str(theirs), False).id == second.id  # the file says which


@pytest.mark.attack(5)
@pytest.mark.parametrize("name", ["latest", "2026*", "20*", "*", "?", "loca[l]", "local/latest", "..", ""])
def test_undo_takes_no_pattern_and_no_pointer_for_a_run(no_runs: Path, name: str) -> None:
    begun("local")
    done = command("undo", name, "--yes")
    assert done.exit_code == 2, done.output
    assert done.output.startswith("parameters: run: ")
    assert "Traceback" not in done.output


@pytest.mark.attack(5)
def test_a_folder_in_the_working_directory_never_shadows_an_environment(
    no_runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begun("local")
    shutil.copytree(run.folder, tmp_path / "here" / "local")
    monkeypatch.chdir(tmp_path / "here")
    assert meant.found_run("local", False).id == run.id
    assert meant.found_run("./local", False).id == "local"


DAMAGE: dict[str, Callable[[record.Run], object]] = {
    "no text": lambda run: run.file.write_bytes(run.file.read_bytes()[:-9] + b"\xff\xfe\n"),
    "cut off": lambda run: run.file.write_bytes(run.file.read_bytes()[:40]),
    "empty": lambda run: run.file.write_bytes(b""),
    "a folder": lambda run: (run.file.unlink(), run.file.mkdir()),
    "a summary cut off": lambda run: (run.folder / "summary.json").write_text('{"outcome": "do'),
    "a pointer that is a folder": lambda run: (
        (run.folder.parent / "latest").unlink(),
        (run.folder.parent / "latest").mkdir(),
    ),
}


@pytest.mark.attack(22)
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_run_is_named_in_one_sentence_and_survived(
    no_runs: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[record.Run], object]
) -> None:
    monkeypatch.setenv("RUNBOOK_STATE", "/nonexistent")
    whole, run = begun("local"), begun("local")
    damage(run)
    for words in (("runs",), ("status", "local"), ("verify", run.id), ("hold", run.id)):
        done = command(*words)
        assert isinstance(done.exception, SystemExit | None), (words, done.exception)
        assert len([line for line in done.output.splitlines() if line.startswith(("record:", "parameters:"))]) <= 1
    listed = command("runs").output
    assert whole.id in listed
    assert run.id in listed


def test_recorded_runs_are_listed_by_what_came_of_them(no_runs: Path) -> None:
    assert command("runs", "--since", "today").exit_code == 2  # though nothing is recorded yet
    first, second, other = begun("local"), begun("local"), begun("local-alb")
    first.summarise({"outcome": "rolled_back", "reason": "verdict: 25 %: worse"}, closes=False)
    shown = command("runs").output
    assert [line.split()[0] for line in shown.splitlines()] == [other.id, second.id, first.id]
    told = json.loads(command("runs", "local", "--json").output)
    assert [(row["run"], row["outcome"], row["reason"]) for row in told] == [
        (second.id, "open", ""),
        (first.id, "rolled_back", "verdict: 25 %: worse"),
    ]
    assert command("runs", "--outcome", "rolled_back").output.startswith(first.id)
    assert command("runs", "--since", "2999-01-01").output == "no such run is recorded\n"
    assert command("runs", "--since", first.id[:10], "--outcome", "open").output.count("\n") == 2
    assert "--since: expected a day (UTC) as 2026-11-29, found 'today'" in command("runs", "--since", "today").output
    assert "--outcome: expected one of done, failed" in command("runs", "--outcome", "dnoe").output


def containers(environment: Environment) -> dict[str, list[str]]:
    """Return the containers of what each service runs, for those that are active."""
    ecs = environment.client("ecs")
    services = ecs.describe_services(cluster="apps", services=["serviceA", "serviceB", "serviceBv2"])["services"]
    out = {}
    for service in (s for s in services if s["status"] == "ACTIVE"):
        form = ecs.describe_task_definition(taskDefinition=service["taskDefinition"])["taskDefinition"]
        out[service["serviceName"]] = [container["name"] for container in form["containerDefinitions"]]
        assert service["desiredCount"] == service["runningCount"] == 1
    return out
