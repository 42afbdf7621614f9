"""A record that cannot be written: a rollback is made all the same, and everything else stops before its write."""

from __future__ import annotations

import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runbook_lib import apply, clear, survey
from runbook_lib.errors import Held, RecordError, RolledBack
from runbook_lib.record import Run
from runbook_lib.shift.rollback import roll_back
from tests.live import CANARY, STABLE, again, ending, newest, take, under_sky
from tests.scenes import open_at, writes

BACK = {STABLE: 100, CANARY: 0}
QUARTER = {STABLE: 75, CANARY: 25}

pytestmark = pytest.mark.attack(7)


def gone(folder: Path) -> None:
    shutil.rmtree(folder)


def replaced(folder: Path) -> None:
    """Put a file where the folder was: nothing can be written there, by root neither."""
    shutil.rmtree(folder)
    folder.write_text("no folder any more")


def full(folder: Path) -> None:
    """Let no file of this process grow any more, wherever it is: `emptied` ends it."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, LIMITS[1]))


def read_only(folder: Path) -> None:
    """Let the folder be on a file system that cannot be written, by root neither: `emptied` ends it."""
    folder.mkdir(parents=True, exist_ok=True)
    mounted = subprocess.run(["mount", "--bind", folder, folder], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("this user, or this machine, lets nobody mount")
    MOUNTED.append(folder)
    subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)


MOUNTED: list[Path] = []
LIMITS = resource.getrlimit(resource.RLIMIT_FSIZE)


@pytest.fixture(autouse=True)
def emptied() -> Iterator[None]:
    """Let files grow again after each test."""
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, LIMITS)
    while MOUNTED:
        subprocess.run(["umount", MOUNTED.pop()], check=True)


TROUBLES = pytest.mark.parametrize("trouble", [gone, replaced, full, read_only])


@TROUBLES
def test_a_failing_canary_is_rolled_back_and_the_record_is_said_to_be_incomplete(
    trouble: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    session, sky = under_sky()
    spoil = {"proved": lambda: (trouble(newest(session.parameters).folder), sky.errors.update({CANARY: 0.5}))}
    caught = ending(session, RolledBack, spoil)
    assert (sky.weights(), sky.updates) == (BACK, 3)
    assert "back to 0 % in one write; traffic is back on serviceB" in str(caught)
    assert "the record is incomplete (" in str(caught)
    resource.setrlimit(resource.RLIMIT_FSIZE, LIMITS)
    if trouble is full:
        assert "what is missing could be kept nowhere" in str(caught)
        return
    (folder,) = (tmp_path / "runbook").glob("runbook-unrecorded-*")
    assert folder.stat().st_mode & 0o777 == 0o700
    events = [(line["event"], line.get("phase")) for line in Run(folder).lines()]
    assert ("intended", None) in events
    assert ("decision", "rolled back") in events


def test_where_no_other_place_takes_a_line_either_the_terminal_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/dev/null")
    monkeypatch.setattr("tempfile.tempdir", "/dev/null")
    session, sky = under_sky()
    spoil = {"proved": lambda: (gone(newest(session.parameters).folder), sky.errors.update({CANARY: 0.5}))}
    caught = ending(session, RolledBack, spoil)
    assert sky.weights() == BACK
    assert "what is missing could be kept nowhere" in str(caught)


@TROUBLES
def test_a_step_up_is_not_written_where_its_line_cannot_be(
    trouble: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    session, sky = under_sky()
    caught = ending(session, Held, {"proved": lambda: trouble(newest(session.parameters).folder)})
    assert caught.reason == "record"
    assert str(caught).startswith("before the next step: the record in ")
    assert sky.weights() == QUARTER


@TROUBLES
def test_no_other_plan_is_applied_where_its_line_cannot_be_written(trouble: Callable[[Path], None]) -> None:
    session = open_at("plain")
    session.notebook = "01_create_mesh"
    trouble(session.join_run().folder)
    before, found = writes(session), survey(session)
    with pytest.raises(RecordError, match=r"the record in .* cannot be (written|read)"):
        apply(session, clear(found.plan_resources("01"), *_facts(found.plan_resources("01"))))
    assert writes(session) == before


def _facts(plan: Any) -> list[Any]:
    from tests.scenes import fact

    return [fact(need) for need in plan.needs]


def test_a_rollback_by_command_needs_no_record(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    session, sky = under_sky()
    take(session, until=lambda d: d.phase == "proved")
    full_of = tmp_path / "a file"
    full_of.write_text("no folder")
    other = again(sky, records=str(full_of))
    back = roll_back(other, lambda words: None)
    assert sky.weights() == BACK
    assert back.decision is not None
    assert "the record is incomplete" in other.spare.words
