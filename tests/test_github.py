"""What GitHub Actions shows of a run, and the workflow that others may use."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from runbook_lib.reporting.account import Account, Made, Step
from runbook_lib.reporting.github import annotation, job_summary

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = [ROOT / ".github/workflows/ci.yml", ROOT / "integrations/github/runbook.yml"]
STEP = ROOT / "integrations/github/step.sh"

FAILED = Step(
    weights={"serviceB": 75, "serviceBv2": 25},
    requests={"serviceB": 1200, "serviceBv2": 400},
    errors={"serviceB": 0, "serviceBv2": 40},
    share=0.25,
    band=(0.2, 0.3),
    verdict="FAIL",
    reason="canary answered 40 of 400 requests with an error",
)
ROLLED_BACK = Account(
    run="2026-11-29T200000.000000Z-abcdef",
    environment="staging",
    mode="apply",
    place="App Mesh apps on AWS",
    outcome="rolled_back",
    reason="verdict: 25 %: 100 % worse,\nback to 0 %",
    began="",
    ended="",
    by=("arn:aws:sts::111122223333:assumed-role/Release/ada",),
    asked={},
    course=(),
    steps=(FAILED,),
    made=(Made("", "05_shift_traffic", "shift route", "", observed=True),),
    notebooks=(),
    head="",
)


def test_the_annotation_is_one_line_whatever_the_reason_says() -> None:
    assert annotation(ROLLED_BACK) == (
        "::error title=staging%3A Rolled back::verdict: 25 %25: 100 %25 worse,%0Aback to 0 %25"
    )


@pytest.mark.parametrize(
    ("outcome", "level"),
    [("done", "notice"), ("held", "warning"), ("failed", "error"), ("refused", "error"), ("rolled_back", "error")],
)
def test_its_level_follows_from_the_outcome(outcome: str, level: str) -> None:
    assert annotation(replace(ROLLED_BACK, outcome=outcome)).startswith(f"::{level} title=")


def test_the_summary_has_a_row_for_each_step() -> None:
    told = job_summary(ROLLED_BACK)
    assert "## staging: Rolled back\n" in told
    row = "| serviceB 75 %, serviceBv2 25 % | serviceB 1,200, serviceBv2 400 | serviceB 0, serviceBv2 40 |"
    assert f"{row} 25.0% (20.0% to 30.0% expected) | FAIL |" in told
    assert "1 change, made as arn:aws:sts::111122223333:assumed-role/Release/ada" in told


def test_names_are_text_in_the_summary() -> None:
    told = job_summary(replace(ROLLED_BACK, environment="a|b <img src=x> `c`\n# d"))
    assert told.splitlines()[0] == "## a\\|b &lt;img src=x&gt; \\`c\\` \\# d: Rolled back"


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_a_workflow_uses_each_action_by_its_commit_and_leaves_no_token_behind(file: Path) -> None:
    jobs = yaml.safe_load(file.read_text())["jobs"].values()
    steps = [step for job in jobs for step in job["steps"]]
    used = [step["uses"] for step in steps if "uses" in step]
    assert used
    assert [one for one in used if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", one)] == []
    checkouts = [step for step in steps if step.get("uses", "").startswith("actions/checkout@")]
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


@pytest.mark.parametrize("words", [[], ["plan"], ["undo", "local", "report"]])
def test_the_step_says_how_it_is_used(words: list[str], tmp_path: Path) -> None:
    done = subprocess.run([STEP, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: step.sh plan|apply ENV_OR_FILE FOLDER")
    assert list(tmp_path.iterdir()) == []


def test_the_step_asks_for_the_run_and_its_report_and_keeps_its_exit_code(tmp_path: Path) -> None:
    stand_in = tmp_path / "bin" / "runbook"
    stand_in.parent.mkdir()
    stand_in.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\nexit 4\n')
    stand_in.chmod(0o700)
    path = {"PATH": f"{stand_in.parent}:{os.environ['PATH']}"}
    command = [STEP, "apply", "staging", "report", "--through", "06"]
    done = subprocess.run(command, cwd=tmp_path, env=path, capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert done.stdout.split() == [
        "run", "staging", "--mode", "apply", "--report", "report/report.html", "--through", "06",
    ]  # fmt: skip
    assert (tmp_path / "report").is_dir()
