"""How a real `runbook run` of a shift under traffic ends: its exit code, its summary's word, and what is left behind.

One local mesh and one run, which every command joins; each goes on from where the one before left the weights.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client import BlockingKernelClient

from runbook_lib import record
from runbook_lib.record import Run
from tests.lab import lab
from tests.live import CANARY, STABLE, Live, meshed, processes, until
from tests.notebook_runner import newest, start
from tests.test_kill import kernel_of

QUARTER = {STABLE: 75, CANARY: 25}
PHASES = ("rehearsed", "written", "judged")  # in which a command may be killed, too


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Walk from nothing to the end of notebook 04, under as much traffic as a verdict needs."""
    with meshed(tmp_path_factory.mktemp("outcomes"), traffic={"requests_per_second": 100}) as it:
        yield it


def begin(mesh: Live, *options: str, **shift: Any) -> subprocess.Popen[str]:
    """Start a run of notebook 05 with options and changes of the file's shift."""
    patient = {"prove_seconds": 60, "verdict": {**mesh.said["shift"]["verdict"], "on_inconclusive": "extend"}}
    said = json.dumps({**mesh.said["shift"], **patient, **shift})  # a busy machine serves fewer requests a second
    return start("run", mesh.file, "--from", "05", "--through", "05", "-p", "shift", said, *options)


def end(process: subprocess.Popen[str]) -> tuple[int, str, str, str]:
    """Wait for a run's end; return its exit code, its summary's outcome and reason's word, and all it said."""
    with process:
        said, _ = process.communicate(timeout=120)
    summary = newest("live").summary() or {}
    return process.returncode, summary["outcome"], summary["reason"].partition(":")[0], said


def newest_phase(since: float = 0.0) -> str:
    """Return the phase of the run's newest decision since a moment."""
    decisions = [line for line in newest("live").lines() if line["event"] == "decision"]
    return next((line["phase"] for line in decisions[-1:] if line["at"] >= since), "")


def bakes() -> bool:
    """Say whether the run's newest decision proved a weight."""
    return newest_phase() == "proved"


def test_local_status_says_what_each_sidecar_serves_and_how_many_call_now(mesh: Live) -> None:
    code, said = mesh.runbook("local", "status")
    assert code == 0, said
    head, *rows = said.splitlines()[2:6]
    assert head.split("  ")[0] == "service"
    assert head.split()[-3:] == ["version", "last", "update"]
    for service, row in zip(("serviceA", STABLE, CANARY), sorted(rows), strict=True):
        assert [word in row.split() for word in (service, "running", "LIVE", "accepted")] == [True] * 4
        assert "9080→" in row
    assert "calls a second now, counted in " in said


SIGNALS = [
    pytest.param(signal.SIGHUP, marks=pytest.mark.attack(9)),
    pytest.param(signal.SIGINT, marks=pytest.mark.soak),
    pytest.param(signal.SIGTERM, marks=pytest.mark.soak),
]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_in_the_bake_holds_and_leaves_traffic_notebook_and_summary(mesh: Live, number: int) -> None:
    process = begin(mesh, bake_seconds=120)
    until(bakes, "the bake has begun", 90)
    assert (record.holder(newest("live")) or {})["run"] == newest("live").id
    process.send_signal(number)
    code, outcome, word, said = end(process)
    assert (code, outcome, word) == (3, "held", "interrupted"), said
    assert "outcome: held" in said
    assert mesh.weights() == QUARTER
    cells = nbformat.read(newest("live").folder / "05_shift_traffic.ipynb", as_version=4).cells
    [error] = [o for c in cells if c.cell_type == "code" for o in c.outputs if o.output_type == "error"]
    assert error.ename == "Held"
    assert record.holder(newest("live")) is None


@pytest.mark.attack(9)
def test_the_next_run_says_first_that_nobody_watches_then_goes_on_and_holds_for_a_reason_of_its_own(mesh: Live) -> None:
    code, outcome, word, said = end(begin(mesh, approvals={"steps": [100]}))
    assert (code, outcome, word) == (3, "held", "approval"), said
    assert said.startswith("serviceBv2 has 25 % of the traffic and nobody watches it, since 20"), said
    assert re.search(r"live: [\d,]+ requests since the local mesh came up, 0 failed", said), said
    assert mesh.weights() == QUARTER
    summary = newest("live").summary() or {}
    assert [(step["weights"], step["verdict"]) for step in summary["shift"]] == [(QUARTER, "PASS")]


@pytest.mark.attack(9)
@pytest.mark.parametrize("phase", ["proved", *(pytest.param(phase, marks=pytest.mark.soak) for phase in PHASES)])
def test_a_bad_canary_is_rolled_back_and_can_be_followed_though_kernel_and_command_were_killed(
    mesh: Live, phase: str
) -> None:
    process = begin_anew(mesh, phase)
    for pid in (kernel_of(process.pid), process.pid):
        os.kill(pid, signal.SIGKILL)
    mesh.fault(CANARY, error_rate=0.5)
    with process:
        process.communicate(timeout=20)
    code, said = mesh.runbook("status", str(mesh.file))
    assert "under way since 20" in said
    code, said = mesh.runbook("watch", str(mesh.file))
    assert code == 4, said
    assert " % rolled back: verdict: " in said
    assert_rolled_back(mesh)


@pytest.mark.soak
@pytest.mark.attack(9)
@pytest.mark.parametrize("phase", ["proved", *PHASES])
def test_a_bad_canary_is_rolled_back_though_the_kernel_was_killed_and_the_run_says_so(mesh: Live, phase: str) -> None:
    process = begin_anew(mesh, phase)
    os.kill(kernel_of(process.pid), signal.SIGKILL)
    mesh.fault(CANARY, error_rate=0.5)
    code, outcome, word, said = end(process)
    assert (code, outcome, word) == (4, "rolled_back", "verdict"), said
    assert "the kernel died; the shift goes on, and a new kernel follows it" in said
    assert_rolled_back(mesh)


def begin_anew(mesh: Live, phase: str) -> subprocess.Popen[str]:
    """Start a run from the first step on, and wait until it comes to a phase."""
    code, said = mesh.runbook("rollback", str(mesh.file))
    assert code == 0, said
    began, process = time.time(), begin(mesh, bake_seconds=30)
    until(lambda: newest_phase(since=began) == phase, f"it is {phase}", 90)
    return process


def shifter_pid() -> int:
    """Return the number of the process that shifts."""
    place = newest("live").place
    assert place is not None
    return int((record.shifter(place) or {})["pid"])


def assert_rolled_back(mesh: Live) -> None:
    """Wait until the run has ended, however; its record must say what became of it."""
    until(lambda: newest("live").closed, "the run is closed", 90)
    mesh.fault(CANARY)
    assert mesh.weights() == {STABLE: 100, CANARY: 0}
    until(lambda: record.holder(newest("live")) is None, "nobody is at work")
    summary = newest("live").summary() or {}
    assert (summary["outcome"], summary["reason"].partition(":")[0]) == ("rolled_back", "verdict")
    code, said = mesh.runbook("verify", newest("live").id)
    assert code == 0, said


@pytest.mark.soak
@pytest.mark.attack(9)
@pytest.mark.parametrize("phase", ["proved", *PHASES])
def test_a_bad_canary_is_rolled_back_though_the_process_that_watches_was_killed(mesh: Live, phase: str) -> None:
    process = begin_anew(mesh, phase)
    os.kill(shifter_pid(), signal.SIGKILL)
    mesh.fault(CANARY, error_rate=0.5)
    code, outcome, word, said = end(process)
    assert (code, outcome, word) == (4, "rolled_back", "verdict"), said
    assert "which watched the shift, was killed" in said
    assert_rolled_back(mesh)


@pytest.mark.soak
@pytest.mark.attack(9)
@pytest.mark.parametrize("phase", ["proved", *PHASES])
def test_where_everything_was_killed_the_next_command_says_first_that_nobody_watches(mesh: Live, phase: str) -> None:
    process = begin_anew(mesh, phase)
    for pid in (shifter_pid(), kernel_of(process.pid), process.pid):
        os.kill(pid, signal.SIGKILL)
    with process:
        process.communicate(timeout=20)
    code, said = mesh.runbook("status", str(mesh.file))
    assert code == 0, said
    assert said.startswith("serviceBv2 has 25 % of the traffic and nobody watches it") is (phase != "rehearsed"), said
    mesh.fault(CANARY, error_rate=0.5)
    if phase != "rehearsed":
        code, said = mesh.runbook("watch", str(mesh.file))
        assert code == 4, said
    mesh.fault(CANARY)
    assert mesh.weights() == {STABLE: 100, CANARY: 0}


@pytest.mark.soak
@pytest.mark.attack(9)
@pytest.mark.parametrize("phase", ["proved", *PHASES])
def test_a_bad_canary_is_rolled_back_though_jupyterlab_and_its_kernel_were_killed(
    mesh: Live, phase: str, tmp_path: Path
) -> None:
    code, said = mesh.runbook("rollback", str(mesh.file))
    assert code == 0, said
    shift = {**mesh.said["shift"], "bake_seconds": 30, "prove_seconds": 60}
    cell = f"""
from runbook_lib import evidence_for_shift, follow_shift, open_session, survey
session = open_session({{"environment": {str(mesh.file)!r}, "shift": {shift!r}}}, "05_shift_traffic")
follow_shift(session, *evidence_for_shift(survey(session)))
"""
    began = time.time()
    with lab(tmp_path, mesh.environ) as address:
        asked = urllib.request.Request(f"{address}/api/kernels?token=runbook", data=b"{}", method="POST")
        with urllib.request.urlopen(asked, timeout=60) as answer:
            kernel = json.load(answer)["id"]
        file = tmp_path / ".jupyter" / "runtime" / f"kernel-{kernel}.json"
        client = BlockingKernelClient(connection_file=str(file))
        client.load_connection_file()
        client.start_channels()
        client.execute(cell)
        until(lambda: newest_phase(since=began) == phase, f"it is {phase}", 90)
        for pid, command in processes(tmp_path).items():
            if "runbook_lib.shift.process.watcher" not in command:
                os.kill(pid, signal.SIGKILL)
        client.stop_channels()
    mesh.fault(CANARY, error_rate=0.5)
    until(lambda: newest_phase(since=began) == "settled", "it is rolled back", 90)
    mesh.fault(CANARY)
    assert mesh.weights() == {STABLE: 100, CANARY: 0}


def test_a_run_that_leaves_ends_once_the_shift_is_watched_and_the_watcher_sums_it_up(mesh: Live) -> None:
    code, said = mesh.runbook("rollback", str(mesh.file))
    assert code == 0, said
    code, outcome, word, said = end(begin(mesh, "--leave", bake_seconds=300))
    assert (code, outcome, word) == (0, "done", "left"), said
    assert f"`runbook watch {mesh.file}` follows it" in said
    assert mesh.weights() == QUARTER
    assert not newest("live").closed
    assert [d["name"] for d in (newest("live").summary() or {})["notebooks"]] == ["05_shift_traffic"]
    mesh.fault(CANARY, error_rate=0.5)
    assert_rolled_back(mesh)
    assert [d["name"] for d in (newest("live").summary() or {})["notebooks"]] == ["05_shift_traffic"]


def test_a_run_that_leaves_refuses_what_needs_the_end_of_the_shift(mesh: Live) -> None:
    code, said = mesh.runbook("run", str(mesh.file), "--leave", "--through", "06")
    assert (code, "--leave: 06 needs the end of the shift" in said) == (2, True), said


@pytest.mark.attack(1)
def test_a_rollback_by_command_is_made_while_a_run_holds_the_lock_and_ends_it(mesh: Live) -> None:
    process = begin(mesh, bake_seconds=120)
    until(bakes, "the bake has begun", 90)
    before, began = updates(mesh), time.monotonic()
    with start("rollback", mesh.file) as command:
        told, _ = command.communicate(timeout=60)
    print(f"rolled back in {time.monotonic() - began:.1f} s")
    assert command.returncode == 0, told
    assert told.startswith("aws appmesh update-route --region us-west-2 --cli-input-json ")
    assert "serviceB 100 %, serviceBv2 0 %: read back" in told
    assert updates(mesh) - before == 1
    watched = Run((record.root() / "live" / "latest").resolve())
    with process:
        said, _ = process.communicate(timeout=120)
    assert process.returncode == 4, said
    assert "by hand: rolled back by arn:aws:" in said
    assert watched.summary()["outcome"] == "rolled_back"
    assert mesh.weights() == {STABLE: 100, CANARY: 0}


def updates(mesh: Live) -> int:
    """Return the version of the route under shift, which each write raises by one."""
    return int(mesh.route()["metadata"]["version"])


@pytest.mark.attack(7)
def test_a_bad_canary_is_rolled_back_though_the_runs_are_gone(mesh: Live) -> None:
    process = begin(mesh, bake_seconds=60)
    until(bakes, "the bake has begun", 90)
    shutil.rmtree(record.root() / "live")
    mesh.fault(CANARY, error_rate=0.5)
    with process:
        said, _ = process.communicate(timeout=120)
    mesh.fault(CANARY)
    assert process.returncode == 4, said
    assert mesh.weights() == {STABLE: 100, CANARY: 0}
    assert "the record is incomplete (" in said
    assert "outcome: rolled_back" in said
    assert "Traceback" not in said


def test_the_local_mesh_killed_in_the_bake_ends_the_run_in_words(mesh: Live) -> None:
    process = begin(mesh, bake_seconds=120)
    until(bakes, "the bake has begun", 90)
    os.kill(json.loads((mesh.state / "endpoint.json").read_text())["pid"], signal.SIGKILL)
    code, outcome, word, said = end(process)
    assert (code, outcome, word) == (1, "failed", "target"), said
    assert (record.holder(newest("live")), newest("live").closed) == (None, False)
