"""Environments wave after wave in a real Airflow, which has an environment of its own: `make integrations`."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from tests.notebook_runner import child_environment, own_mesh, runbook

__all__ = ["own_mesh"]

ROOT = Path(__file__).resolve().parents[1]
HERE = ROOT / "integrations/airflow"
UV = (sys.executable, "-m", "uv", "--quiet")
PARTS = ("api-server", "scheduler", "dag-processor")
USERS = {"alice": "a", "bob": "b"}
pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]


def settings(home: Path, port: int) -> dict[str, str]:
    """Return Airflow's settings: on loopback alone, with nothing told to anybody, and soon aware of a lost worker."""
    return {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API_AUTH__JWT_SECRET": "0123456789abcdef" * 4,
        "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "300",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PARALLELISM": "3",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "passwords.json"),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{name}:admin" for name in USERS),
        "AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT": "300",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "PYTHONDONTWRITEBYTECODE": "",
        "PYTHONPATH": str(HERE),
        "RUNBOOK_LOCAL": "",  # with processes
    }


@dataclass
class Airflow:
    """A real Airflow: its folder, its port, and the environment variables of its processes."""

    home: Path
    port: int
    environment: dict[str, str]

    @property
    def bin(self) -> Path:
        return self.home / "venv/bin"

    def request(self, method: str, path: str, said: Any = None, user: str = "alice") -> Any:
        """Make a call to Airflow's API as a user; return the answer."""
        login = {"username": user, "password": USERS[user]}
        token = self._ask("POST", "/auth/token", login, {})["access_token"]
        return self._ask(method, f"/api/v2/{path}", said, {"Authorization": f"Bearer {token}"})

    def _ask(self, method: str, path: str, said: Any, headers: dict[str, str]) -> Any:
        body = None if said is None else json.dumps(said).encode()
        asked = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            body,
            {"Content-Type": "application/json", **headers},
            method=method,
        )
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return json.load(answer)

    def is_healthy(self) -> bool:
        """Say whether the scheduler is at work."""
        status: str = self.request("GET", "monitor/health")["scheduler"]["status"]
        return status == "healthy"

    def tasks(self, dag: str) -> dict[str, dict[str, Any]]:
        """Return the tasks of a DAG's only run by their ids."""
        found = self.request("GET", f"dags/{dag}/dagRuns/~/taskInstances?limit=100")["task_instances"]
        return {task["task_id"]: task for task in found}

    def state(self, dag: str, task: str) -> str | None:
        """Return the state of a task of a DAG's only run."""
        state: str | None = self.tasks(dag)[task]["state"]
        return state

    def begin(self, dag: str) -> str:
        """Begin a DAG's only run as soon as Airflow knows of it; return its id."""
        until(lambda: dag in [each["dag_id"] for each in self.request("GET", "dags")["dags"]], "Airflow knows the DAG")
        self.request("PATCH", f"dags/{dag}", {"is_paused": False})
        run: str = self.request("POST", f"dags/{dag}/dagRuns", {"logical_date": None})["dag_run_id"]
        return run

    def run(self, dag: str) -> str:
        """Return the state of a DAG's only run."""
        state: str = self.request("GET", f"dags/{dag}/dagRuns")["dag_runs"][0]["state"]
        return state

    def approve(self, dag: str, run: str, task: str, user: str) -> None:
        """Approve what a task asks, as a user who takes a moment.

        Airflow 3.3.2 fails a task that is answered before its scheduler has heard that it waits.
        """
        until(lambda: self.state(dag, task) == "awaiting_input", f"{task} asks")
        time.sleep(10)
        path = f"dags/{dag}/dagRuns/{quote(run)}/taskInstances/{task}/-1/hitlDetails"
        self.request("PATCH", path, {"chosen_options": ["Approve"], "params_input": {}}, user)

    def clear(self, dag: str, run: str, task: str) -> None:
        """Let a task, and what follows it, be executed again."""
        said = {"dag_run_id": run, "task_ids": [task], "include_downstream": True, "only_failed": False}
        self.request("POST", f"dags/{dag}/clearTaskInstances", {"dry_run": False, **said})


def until(holds: Callable[[], object], what: str, seconds: float = 600) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while True:
        with suppress(OSError, KeyError, ValueError):
            if holds():
                return
        assert time.monotonic() < deadline, f"waited {seconds} s until: {what}"
        time.sleep(1)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def airflow(own_mesh: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    """Install Airflow by its lock beside a kernel of the product's, and start its three parts."""
    home, port = tmp_path_factory.mktemp("airflow"), free_port()
    it = Airflow(home, port, child_environment(**settings(home, port)))
    subprocess.run([*UV, "venv", home / "venv"], check=True)
    locked = ["--require-hashes", "-r", HERE / "requirements.lock"]
    subprocess.run([*UV, "pip", "install", "--python", it.bin / "python", *locked], check=True)
    kernel = [sys.executable, "-m", "ipykernel", "install", "--prefix", home / "venv", "--name", "runbook"]
    subprocess.run(kernel, check=True, capture_output=True)
    (home / "dags").mkdir()
    (home / "passwords.json").write_text(json.dumps(USERS))
    migrated = subprocess.run([it.bin / "airflow", "db", "migrate"], env=it.environment, capture_output=True, text=True)
    assert migrated.returncode == 0, migrated.stderr
    started = []
    for part in PARTS:
        with (home / f"{part}.log").open("w") as log:
            own = {"env": it.environment, "stdout": log, "stderr": log, "start_new_session": True}
            started.append(subprocess.Popen([it.bin / "airflow", part], **own))
    try:
        until(it.is_healthy, "the scheduler is healthy")
        yield it
    finally:
        for each in started:
            with suppress(ProcessLookupError):
                os.killpg(each.pid, signal.SIGKILL)
            each.wait()


@dataclass
class Release:
    """A DAG of five environments that came to its end: the tasks of its run, and what was seen on the way."""

    folder: Path
    state: str
    tasks: dict[str, dict[str, Any]]
    held: dict[str, Any]
    refused: str | None

    def state_of(self, task: str) -> str | None:
        state: str | None = self.tasks[task]["state"]
        return state

    def run_of(self, environment: str) -> Path:
        """Return the folder of an environment's only run."""
        (run,) = (self.folder / "runs" / environment).glob("[0-9]*")
        return run

    def summary_of(self, environment: str) -> dict[str, Any]:
        summary: dict[str, Any] = json.loads((self.run_of(environment) / "summary.json").read_text())
        return summary

    def lines_of(self, environment: str, event: str) -> list[dict[str, Any]]:
        """Return the lines of an environment's record with an event."""
        lines = map(json.loads, (self.run_of(environment) / "record.jsonl").read_text().splitlines())
        return [line for line in lines if line["event"] == event]

    def written(self, environment: str) -> list[int]:
        """Return the weights that an environment's shift gave the canary."""
        decisions = self.lines_of(environment, "decision")
        return [decision["step"] for decision in decisions if decision["phase"] == "written"]


def write_file(folder: Path, name: str, account: int, **shift: Any) -> Path:
    """Write the parameters file of an environment with a bake of seconds."""
    said = yaml.safe_load((ROOT / "parameters/local.yaml").read_text())
    verdict = {**said["shift"]["verdict"], "detectable_increase": 0.15}
    quick = {"steps": [50], "bake_seconds": 5, "trial": None, "verdict": verdict}
    said |= {"environment": name, "account_id": str(account), "traffic": {"requests_per_second": 80}}
    said["shift"] |= {**quick, **shift}
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(said, sort_keys=False))
    return file


def kill_worker(run: Path) -> None:
    """Kill the worker that executes a run's notebook, and the task in it, with no chance to say a word."""
    (kernel,) = [
        folder
        for folder in Path("/proc").glob("[0-9]*")
        if b"ipykernel_launcher" in said_by(folder / "cmdline")
        and f"RUNBOOK_RUN={run}\0".encode() in said_by(folder / "environ")
    ]
    task = parent_of(kernel)
    for each in (parent_of(task), task):
        os.kill(int(each.name), signal.SIGKILL)


def said_by(file: Path) -> bytes:
    with suppress(OSError):
        return file.read_bytes()
    return b""


def parent_of(process: Path) -> Path:
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    return process.with_name(fields[1])


@pytest.fixture(scope="module")
def release(airflow: Airflow, own_mesh: Path) -> Release:
    """Do a release of four waves: one worker is lost, one shift waits for its approval, one canary fails."""
    held = {"steps": [50, 100], "approvals": {"steps": [100], "approvers": ["alice"], "identified_by": "name"}}
    waves = [
        [write_file(own_mesh, "plain", 510_000_000_001), write_file(own_mesh, "lost", 510_000_000_002)],
        [write_file(own_mesh, "held", 510_000_000_003, **held)],
        [write_file(own_mesh, "bad", 510_000_000_004, bake_seconds=60)],
        [write_file(own_mesh, "never", 510_000_000_005)],
    ]
    files = [[str(file) for file in wave] for wave in waves]
    source = [
        '"""A release, for Airflow."""',
        "from runbook_dag import runbook_dag",
        f"dag = runbook_dag('release', {files})",
    ]
    (airflow.home / "dags/release.py").write_text("\n\n".join(source))
    run = airflow.begin("release")
    it = Release(own_mesh, "", {}, {}, "")
    until(lambda: it.written("lost"), "the canary of lost has traffic")
    kill_worker(it.run_of("lost"))
    approval = "held.approval_100_1"
    airflow.approve("release", run, approval, "bob")
    it.held = json.loads(runbook("status", waves[1][0], "--json", RUNBOOK_LOCAL="")[1])
    until(lambda: airflow.state("release", "never.report") == "upstream_failed", "bob's approval does not count")
    airflow.clear("release", run, approval)
    airflow.approve("release", run, approval, "alice")
    until(lambda: it.written("bad"), "the canary of bad has traffic")
    runbook("local", "fault", "serviceBv2", "--error-rate", "0.5", "--environment", waves[2][0], RUNBOOK_LOCAL="")
    until(lambda: airflow.run("release") == "failed", "the release has ended")
    it.state, it.tasks = airflow.run("release"), airflow.tasks("release")
    return it


def test_an_environment_is_shifted_and_reported_in_one_run(release: Release) -> None:
    assert release.state_of("plain.05_shift_traffic") == "success"
    assert release.summary_of("plain")["outcome"] == "done"
    found = {file.name[:2] for file in release.run_of("plain").glob("*.ipynb")}
    assert found == {"00", "01", "02", "03", "04", "05"}
    page = (release.run_of("plain") / "report.html").read_text()
    assert "<summary>05_shift_traffic</summary>" in page


def test_a_lost_worker_costs_a_try_and_no_step(release: Release) -> None:
    task = release.tasks["lost.05_shift_traffic"]
    assert (task["state"], task["try_number"]) == ("success", 2)
    assert release.written("lost") == [50]
    assert release.lines_of("lost", "watcher") == []  # nobody had to take the shift over
    assert release.summary_of("lost")["outcome"] == "done"
    book = json.loads((release.run_of("lost") / "05_shift_traffic.ipynb").read_text())
    assert book["metadata"]["papermill"]["end_time"]


def test_a_shift_waits_for_its_approval_watched_and_goes_on_with_it(release: Release) -> None:
    assert release.held["weights"] == {"serviceB": 50, "serviceBv2": 50}
    assert release.held["shift"].startswith("its step has passed, watched since")
    approved = release.lines_of("held", "approved")
    assert [line["approver"] for line in approved] == ["alice"]  # bob's did not count
    assert release.state_of("held.05_shift_traffic_after_100") == "success"
    assert release.written("held") == [50, 100]
    assert release.summary_of("held")["outcome"] == "done"
    assert "alice" in (release.run_of("held") / "report.html").read_text()


def test_a_rolled_back_environment_stops_what_follows(release: Release) -> None:
    task = release.tasks["bad.05_shift_traffic"]
    assert (task["state"], task["try_number"]) == ("failed", 1)
    assert release.summary_of("bad")["outcome"] == "rolled_back"
    assert release.state_of("bad.report") == "success"
    assert "Rolled back" in (release.run_of("bad") / "report.html").read_text()
    never = [task["state"] for name, task in release.tasks.items() if name.startswith("never.")]
    assert set(never) == {"upstream_failed"}
    assert not (release.folder / "runs/never").exists()


@pytest.mark.parametrize("environment", ["plain", "lost", "held", "bad"])
def test_the_record_of_a_run_is_whole(release: Release, environment: str) -> None:
    code, said = runbook("verify", release.run_of(environment), RUNBOOK_LOCAL="")
    assert code == 0, said


def next_try(airflow: Airflow, folder: Path, outcome: str, reason: str) -> str:
    """Let a notebook's task be tried again in a run that has ended so; return what it says."""
    (folder / "summary.json").write_text(json.dumps({"outcome": outcome, "reason": reason}))
    script = """
import sys
from runbook_dag import NotebookOperator
file, output = sys.argv[1:]
NotebookOperator(task_id="it", environment=file, input_nb="none.ipynb", output_nb=output).execute({})
"""
    command = [airflow.bin / "python", "-c", script, "none.yaml", folder / "05_shift_traffic.ipynb"]
    done = subprocess.run(command, env=airflow.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    return done.stderr


def test_what_was_rolled_back_is_not_begun_again(airflow: Airflow, tmp_path: Path) -> None:
    said = next_try(airflow, tmp_path, "rolled_back", "verdict: errors")
    assert "AirflowFailException: rolled_back: verdict: errors\nNext: to begin another run, clear" in said


def test_what_was_held_while_its_worker_was_lost_stays_held(airflow: Airflow, tmp_path: Path) -> None:
    begun = tmp_path / ".05_shift_traffic.begun"
    begun.touch()
    said = next_try(airflow, tmp_path, "held", "hold: asked for by Ada")
    assert "AirflowFailException: held: hold: asked for by Ada" in said
    assert not begun.exists()  # and the next one goes on


def test_a_file_that_cannot_be_used_ends_the_first_task_in_words(tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text("environment: wrong\nacount_id: '510000000006'\n")
    command = [sys.executable, "-P", HERE / "open_run.py", file]
    done = subprocess.run(command, env=child_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "acount_id" in done.stderr
    assert "Traceback" not in done.stderr
