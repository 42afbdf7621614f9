"""One run at a time changes an environment from one machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from runbook_lib import record
from runbook_lib.errors import LockError


@pytest.fixture
def run(tmp_path: Path) -> record.Run:
    return record.start("somewhere", str(tmp_path))


def test_a_second_run_is_refused_and_told_who_holds_it_since_when(run: record.Run, tmp_path: Path) -> None:
    second = record.start("somewhere", str(tmp_path))
    with record.held(run, record.lock_of(run), "alice"), pytest.raises(LockError, match="alice") as refused:
        with record.held(second, record.lock_of(second), "bob"):
            pass
    assert run.id in str(refused.value)
    assert "since 20" in str(refused.value)


def test_the_holder_may_hold_again_what_it_holds(run: record.Run) -> None:
    lock = record.lock_of(run)
    with record.held(run, lock, "alice"), record.held(run, lock, "alice"):
        pass
    assert not lock.is_locked


def test_another_environment_is_free(run: record.Run, tmp_path: Path) -> None:
    other = record.start("elsewhere", str(tmp_path))
    with record.held(run, record.lock_of(run), "alice"), record.held(other, record.lock_of(other), "bob"):
        pass


@pytest.mark.parametrize("variable", ["RUNBOOK_HOLDER", "RUNBOOK_TAKE_OVER"])
def test_only_naming_the_holders_run_passes_it(
    variable: str, run: record.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = record.start("somewhere", str(tmp_path))
    with record.held(run, record.lock_of(run), "alice"):
        monkeypatch.setenv(variable, second.id)
        with pytest.raises(LockError), record.held(second, record.lock_of(second), "bob"):
            pass
        monkeypatch.setenv(variable, run.id)
        with record.held(second, record.lock_of(second), "bob"):
            pass


def test_a_dead_holder_holds_nothing(run: record.Run) -> None:
    program = (
        "import os; from pathlib import Path; from runbook_lib import record; "
        f"run = record.Run(Path({str(run.folder)!r})); "
        "holding = record.held(run, record.lock_of(run), 'gone'); holding.__enter__(); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 9
    with record.held(run, record.lock_of(run), "alice"):
        pass
