"""The notebooks as they are stored: strict nbval, on a local mesh with real traffic."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.timeout(600)
def test_every_notebook_shows_again_what_is_stored_in_it() -> None:
    """In a process of its own, whose `conftest` gives it a world of its own."""
    command = [sys.executable, "-m", "pytest", "--nbval", "notebooks"]
    environment = {name: value for name, value in os.environ.items() if name != "RUNBOOK_LOCAL"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
