"""One run at a time changes an environment from one machine."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from runbook_lib import record
from runbook_lib.errors import LockError
from runbook_lib.record.place import Place


def place(account: str, target: str = "aws", mesh: str = "apps") -> Place:
    return Place(target, account, "us-west-2", mesh)


@pytest.fixture
def run(tmp_path: Path) -> record.Run:
    return record.start("somewhere", str(tmp_path), place("1", "local"))


def test_a_second_run_is_refused_and_told_who_holds_it_since_when(run: record.Run, tmp_path: Path) -> None:
    second = record.start("somewhere", str(tmp_path), place("1", "local"))
    with (
        record.held(run, record.lock_of(run), "alice"),
        pytest.raises(LockError, match="alice") as refused,
        record.held(second, record.lock_of(second), "bob"),
    ):
        pass
    assert run.id in str(refused.value)
    assert "since 20" in str(refused.value)


def test_the_holder_may_hold_again_what_it_holds(run: record.Run) -> None:
    lock = record.lock_of(run)
    with record.held(run, lock, "alice"), record.held(run, lock, "alice"):
        pass
    assert not lock.is_locked


def test_who_holds_it_can_be_asked_and_asking_takes_nothing(run: record.Run, tmp_path: Path) -> None:
    second = record.start("somewhere", str(tmp_path), place("1", "local"))
    assert record.holder(run) is None
    with record.held(run, record.lock_of(run), "alice"):
        for asked in (run, second):
            found = record.holder(asked) or {}
            assert (found["run"], found["who"], found["pid"]) == (run.id, "alice", os.getpid())
        with pytest.raises(LockError), record.held(second, record.lock_of(second), "bob"):
            pass
    assert record.holder(run) is None
    with record.held(second, record.lock_of(second), "bob"):
        pass


def test_holding_again_does_not_change_who_holds_it_since_when(run: record.Run) -> None:
    lock = record.lock_of(run)
    with record.held(run, lock, "alice"):
        first = record.holder(run)
        with record.held(run, lock, "alice again"):
            assert record.holder(run) == first
        assert record.holder(run) == first


def test_on_aws_it_is_one_for_an_account_region_and_mesh_whatever_the_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    places = place("1"), place("1"), place("2")
    one, same, other = (record.start(f"e{n}", str(tmp_path / f"{n}"), p) for n, p in enumerate(places))
    with (
        record.held(one, record.lock_of(one), "alice"),
        record.held(other, record.lock_of(other), "bob"),
        pytest.raises(LockError, match=f"alice is at work here since .*run {one.id}"),
        record.held(same, record.lock_of(same), "carol"),
    ):
        pass


@pytest.mark.attack(4)
def test_one_local_mesh_has_one_lock_whatever_the_folder_of_its_runs(run: record.Run, tmp_path: Path) -> None:
    other = record.start("somewhere", str(tmp_path / "other"), place("1", "local"))
    with (
        record.held(run, record.lock_of(run), "alice"),
        pytest.raises(LockError, match="alice is at work here"),
        record.held(other, record.lock_of(other), "bob"),
    ):
        pass


@pytest.mark.attack(22)
@pytest.mark.parametrize("target", ["aws", "local"])
def test_names_as_long_as_aws_allows_have_a_lock(target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    long = record.start("e" * 255, str(tmp_path), place("1" * 12, target, f"App Mesh {'m' * 255}, route {'r' * 255}"))
    with record.held(long, record.lock_of(long), "alice"):
        assert (record.holder(long) or {})["who"] == "alice"


def test_another_place_is_free(run: record.Run, tmp_path: Path) -> None:
    other = record.start("elsewhere", str(tmp_path), place("2", "local"))
    with record.held(run, record.lock_of(run), "alice"), record.held(other, record.lock_of(other), "bob"):
        pass


@pytest.mark.parametrize("variable", ["RUNBOOK_HOLDER", "RUNBOOK_TAKE_OVER"])
def test_only_naming_the_holders_run_passes_it(
    variable: str, run: record.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = record.start("somewhere", str(tmp_path), place("1", "local"))
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
    assert record.holder(run) is None
    with record.held(run, record.lock_of(run), "alice"):
        pass


# A shift has a lock of its own, which outlasts whoever executes notebooks.


def test_while_somebody_shifts_nothing_else_is_applied_there(run: record.Run) -> None:
    with (
        record.shifting(run, record.shift_lock_of(place("1", "local")), "the shift"),
        pytest.raises(LockError, match="the shift is at work here") as refused,
        record.held(run, record.lock_of(run), "alice"),
    ):
        pass
    assert f"`runbook hold {run.id}`" in refused.value.hint
    assert not record.is_held(record.lock_of(run))


def test_whoever_follows_a_shift_of_the_same_run_may_be_beside_it(run: record.Run, tmp_path: Path) -> None:
    other = record.start("somewhere", str(tmp_path), place("1", "local"))
    with record.shifting(run, record.shift_lock_of(place("1", "local")), "the shift"):
        with record.held(run, record.lock_of(run), "alice", beside_shift=True):
            pass
        with pytest.raises(LockError), record.held(other, record.lock_of(other), "bob", beside_shift=True):
            pass


def test_the_shift_itself_passes_whoever_executes_its_run(run: record.Run) -> None:
    shift = record.shift_lock_of(place("1", "local"))
    with (
        record.held(run, record.lock_of(run), "runbook run"),
        record.shifting(run, shift, "the shift"),
        record.held(run, record.lock_of(run), "the shift", shift=shift),
    ):
        assert (record.holder(run) or {})["who"] == "the shift"
        assert (record.executor(run) or {})["who"] == "runbook run"
    assert record.holder(run) is None


def test_of_two_shifts_the_second_is_refused(run: record.Run) -> None:
    first, second = (record.shift_lock_of(place("1", "local")) for _ in range(2))
    with (
        record.shifting(run, first, "alice"),
        pytest.raises(LockError, match="alice"),
        record.shifting(run, second, "bob"),
    ):
        pass


def test_several_may_ask_at_once_whether_a_lock_is_held(run: record.Run) -> None:
    lock = record.shift_lock_of(place("1", "local"))
    assert not record.is_held(lock)
    lock.acquire()
    lock.release()
    with Path(lock.lock_file).open() as asking:
        fcntl.flock(asking, fcntl.LOCK_SH | fcntl.LOCK_NB)  # as somebody does who asks
        assert not record.is_held(lock)
