"""The local mesh as one process: found again, told apart, stopped; what it is told and what it is asked."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runbook_lib.errors import ParametersError, TargetError
from runbook_lib.local import control_plane, inject, supervisor, world
from runbook_lib.local.control_plane import InMemoryLauncher
from runbook_lib.local.control_plane.elbv2_checks import InMemoryChecker
from runbook_lib.local.data_plane.traffic import Calls, Traffic
from runbook_lib.local.rehearsal import Rehearsal
from runbook_lib.local.supervisor import LocalMesh
from tests.demo_mesh import until
from tests.scenes import load

NOWHERE = "http://127.0.0.1:9"


def said_to_run(folder: Path, pid: int) -> LocalMesh:
    """Leave the note that a process leaves which holds a rehearsal."""
    folder.mkdir(parents=True, exist_ok=True)
    note = {"endpoint": NOWHERE, "pid": pid, "id": "a", "folder": str(folder), "key": "k"}
    (folder / "endpoint.json").write_text(json.dumps(note))
    return LocalMesh(NOWHERE, pid, "a", folder, "k")


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[Any]:
    """Return a way to start a process that never answers, with words in its command line."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*words: str) -> subprocess.Popen[bytes]:
        code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_DFL); time.sleep(60)"
        started.append(subprocess.Popen([sys.executable, "-c", code, *words]))
        until(lambda: words[-1] in supervisor._command(started[-1].pid))  # its command line comes a moment later
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_a_process_that_does_not_answer_is_stopped_all_the_same(tmp_path: Path, sleeper: Any) -> None:
    hung = sleeper(str(tmp_path / "state"))
    said_to_run(tmp_path / "state", hung.pid)
    assert supervisor.down(tmp_path / "state")
    assert not supervisor._exists(hung.pid)
    assert supervisor.find(tmp_path / "state") is None


def test_a_process_whose_parent_takes_no_notice_of_its_end_has_ended(tmp_path: Path) -> None:
    """As a notebook's kernel does not: it started the local mesh, and lives on."""
    code = "import subprocess, sys; c = subprocess.Popen(['sleep', '60']); print(c.pid, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        os.kill(child, signal.SIGKILL)
        until(lambda: not supervisor._command(child))
        os.kill(child, 0)  # its pid is still there
        assert not supervisor._exists(child)
        parent.kill()


def test_a_process_that_has_taken_over_the_pid_is_left_alone(tmp_path: Path, sleeper: Any) -> None:
    stranger = sleeper("something else")
    said_to_run(tmp_path / "state", stranger.pid)
    assert not supervisor.down(tmp_path / "state")
    assert stranger.poll() is None


def test_a_question_without_an_answer_is_an_error_in_words(tmp_path: Path, sleeper: Any) -> None:
    hung = sleeper(str(tmp_path))
    with pytest.raises(TargetError, match=r"127\.0\.0\.1:9/runbook/tasks: no answer.*supervisor\.log") as caught:
        said_to_run(tmp_path, hung.pid).ask("/runbook/tasks")
    assert f"its process {hung.pid} goes on" in str(caught.value)
    assert "runbook local down" in (caught.value.hint or "")


# --- what is injected ---------------------------------------------------------------------------------------------


def test_a_fault_there_is_not_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RUNBOOK_STATE", str(tmp_path))
    with pytest.raises(ParametersError, match="error_rate is a share from 0 to 1, got 25"):
        inject(load(), "serviceB", error_rate=25.0)
    with pytest.raises(ParametersError, match="no fault is called 'slowness'"):
        inject(load(), "serviceB", slowness=1.0)
    with pytest.raises(TargetError, match="no local mesh is running"):
        inject(load(), "serviceB", error_rate=0.25)
    assert not list(tmp_path.rglob("*.json"))


# --- what it is told ----------------------------------------------------------------------------------------------


@pytest.fixture
def rehearsal(tmp_path: Path) -> Iterator[Rehearsal]:
    """Return a rehearsal whose threads do not run."""
    left = tmp_path / "tasks" / "1" / "apps" / "serviceB.faults.json"
    left.parent.mkdir(parents=True)
    left.write_text('{"crash": true}')
    yield Rehearsal(tmp_path, "a", tmp_path)
    control_plane.launch_with(InMemoryLauncher())
    control_plane.check_with(InMemoryChecker())


def test_the_faults_of_the_rehearsal_before_are_gone(rehearsal: Rehearsal) -> None:
    assert not list(rehearsal.folder.rglob("*.faults.json"))


def told(rehearsal: Rehearsal, body: Any) -> Any:
    """Tell the rehearsal about traffic, as a session does."""
    content = json.dumps(body).encode()
    environ = {
        "PATH_INFO": "/runbook/traffic", "REQUEST_METHOD": "POST",
        "CONTENT_LENGTH": str(len(content)), "wsgi.input": io.BytesIO(content),
    }  # fmt: skip
    return json.loads(b"".join(rehearsal(environ, lambda *_: None)))


def known_world(tmp_path: Path, said: list[Any], **values: Any) -> None:
    """Open a session's world whose services have all been created before."""
    p = load(**values)
    place = {"account": p.account_id, "region": p.region, "cluster": p.cluster}
    note = {p.environment: {**place, "services": list(p.services)}}
    (tmp_path / "worlds.json").write_text(json.dumps(note))
    mesh = SimpleNamespace(folder=tmp_path, endpoint=NOWHERE, key="k", ask=lambda _, body: said.append(body))
    world.ensure(p, mesh)  # type: ignore[arg-type]


def test_a_later_session_changes_pace_and_grain_and_brings_a_lost_caller_back(
    rehearsal: Rehearsal, tmp_path: Path
) -> None:
    said: list[Any] = []
    known_world(tmp_path, said)
    known_world(
        tmp_path,
        said,
        traffic={"requests_per_second": 7},
        telemetry={"delay_seconds": 3},
        shift={"verdict": {"slow_millis": 300}},
    )
    assert told(rehearsal, said[0]) == {"calls": True}
    told(rehearsal, said[1])
    place = tuple(said[1]["calls"][key] for key in ("account", "region", "cluster"))
    assert rehearsal.traffic[said[1]["environment"]].calls.requests_per_second == 7
    assert (rehearsal.publisher.grains[place].delay_seconds, rehearsal.fleet.limits_ms[place]) == (3, (300,))


@pytest.mark.parametrize("key", ["account_id", "region", "cluster"])
def test_two_files_of_one_name_are_two_environments(tmp_path: Path, key: str) -> None:
    said: list[Any] = []
    known_world(tmp_path, said)
    p = load(**{key: {"account_id": "222222222222", "region": "eu-west-1", "cluster": "other"}[key]})
    mesh = SimpleNamespace(folder=tmp_path, endpoint=NOWHERE, key="k", ask=lambda _, body: said.append(body))
    worlds = world.known(mesh)  # type: ignore[arg-type]
    assert world._name(p, worlds) == f"{p.environment} in {p.account_id} {p.region} {p.cluster}"
    assert world._name(load(), worlds) == said[0]["environment"] == p.environment


def test_a_killed_caller_counts_on_and_a_new_pace_is_kept(tmp_path: Path) -> None:
    calls = Calls("222222222222", "us-west-2", "apps", "serviceA", "nobody.apps.local", 9080, "http2", 50)
    traffic = Traffic(calls, tmp_path)
    task = SimpleNamespace(
        account=calls.account, region=calls.region, cluster="apps", service="serviceA", address="", vpc=""
    )
    member = SimpleNamespace(task=task, phase="running", ports=None, inbound={})

    def ended() -> int:
        traffic.step([member], lambda port: {})  # type: ignore[list-item]
        seen = traffic.snapshot()
        return int(seen.get("sent", 0) - seen.get("in_flight", 0))

    try:
        until(lambda: ended() > 60 and (traffic.folder / "ledger.jsonl").exists(), 20)
        assert traffic.process is not None
        traffic.process.kill()
        traffic.process.wait()
        written = [json.loads(line)["requests"] for line in (traffic.folder / "ledger.jsonl").read_text().splitlines()]
        (traffic.folder / "snapshot.json").unlink()
        traffic.calls = replace(calls, requests_per_second=400)
        until(lambda: ended() > sum(written) + 400, 20)
        seen = traffic.snapshot()
        assert (seen["restarts"], seen["failed"], seen["answered"]) == (1, seen["sent"] - seen["in_flight"], 0)
        assert seen["versions"][""]["statuses"].keys() == {"unresolved"}
    finally:
        traffic.end()
