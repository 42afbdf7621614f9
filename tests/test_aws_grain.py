"""A shift with requests at the grain of AWS: figures of a minute that come two minutes late, from `runbook run` on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.notebook_runner import child_environment

ROOT = Path(__file__).resolve().parents[1]
RATE, WEIGHT, ERRORS = 40, 0.25, 0.3  # requests a second, the canary's share, and how many of them fail


@pytest.mark.soak
def test_a_canary_with_errors_is_rolled_back_within_two_minutes_of_its_first_figures(tmp_path: Path) -> None:
    """A first minute that began late has too few requests; the next one, of a minute, comes two minutes late."""
    command = [sys.executable, ROOT / "tools" / "bench_grain.py", "30 % of errors", "--folder", tmp_path]
    done = subprocess.run(command, cwd=ROOT, env=child_environment(), capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stderr + (tmp_path / "run.log").read_text()
    found = json.loads(done.stdout)
    assert found["outcome"] == "rolled_back"
    assert found["why"].startswith("verdict: errors: canary answered")
    assert 120 < found["seconds"] < 300
    fair = found["seconds"] * RATE * WEIGHT * ERRORS
    assert 0.5 * fair < found["failed"] < 1.5 * fair
    first, *whole = found["minutes"][: int(found["seconds"] // 60)]
    assert first[0] <= 0
    assert all(0.5 * 60 * RATE * WEIGHT < requests < 1.5 * 60 * RATE * WEIGHT for _, requests, *_ in whole)
    assert {name: end is not None for name, end in found["peers"].items()} == {
        "CodeDeploy, CDK's alarms": True,
        "ECS Express Mode": True,
        "Argo, success rate": True,
        "Argo, CloudWatch": True,
    }
