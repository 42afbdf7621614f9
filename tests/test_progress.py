"""While a run is under way it says what it does, on a terminal and in a log."""

from __future__ import annotations

import io
import re
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from runbook_lib import record
from runbook_lib.aws.session import Connection, Session
from runbook_lib.unattended.progress import Lines, following, telling
from tests import scenes

WAIT = {"event": "waiting", "what": "serviceA", "since": "2026-11-26T12:00:00+00:00", "most": 600}
DECISION = {"event": "decision", "step": 25, "phase": "written", "words": "0 → 25 %, read back"}


def heard(screen: io.StringIO) -> list[str]:
    """Return the lines that were said, without their times."""
    return [re.sub(r"\d\d:\d\d:\d\d", "T", line) for line in screen.getvalue().splitlines()]


def test_a_log_has_one_line_for_each_notebook_decision_and_wait() -> None:
    screen = io.StringIO()
    with telling(Console(file=screen, width=200)) as told:
        for done in (0, 1, 2):
            told.cell("05_shift_traffic", done, 2)
        for line in (DECISION, WAIT, WAIT, {"event": "judged"}):
            told.line(line)
    assert isinstance(told, Lines)
    assert heard(screen) == [
        "T 05_shift_traffic begins",
        "T 05_shift_traffic is done",
        "T   25 % written: 0 → 25 %, read back",
        "T   waiting for serviceA since T, until T at most",
    ]


def test_a_terminal_shows_a_wait_beside_the_bar_until_it_is_over() -> None:
    screen = io.StringIO()
    with telling(Console(file=screen, width=200, force_terminal=True)) as told:
        told.cell("05_shift_traffic", 1, 2)
        told.line(WAIT)
        [task] = told.progress.tasks  # type: ignore[attr-defined]
        assert "waiting for serviceA since" in task.fields["wait"]
        told.line(DECISION)
        assert task.fields["wait"] == ""
    assert "05_shift_traffic" in screen.getvalue()


def test_what_comes_into_the_record_is_told_at_once_and_to_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNBOOK_RUNS", str(tmp_path))
    run, lines = record.start("told"), list[Any]()
    with following(run, lines.append):
        run.write("decision", number=1)
        end = time.monotonic() + 20
        while not lines and time.monotonic() < end:
            time.sleep(0.05)
        assert lines
        run.write("decision", number=2)
    assert [line["number"] for line in lines] == [1, 2]


def test_a_long_wait_is_written_into_the_run_that_executes_and_a_short_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNBOOK_RUNS", str(tmp_path))
    run, now = record.start("waited"), [0.0]
    monkeypatch.setenv("RUNBOOK_RUN", str(run.folder))
    session = Session(scenes.load(), "05", Connection(), sleep=lambda s: now.append(now[-1] + s), clock=lambda: now[-1])
    for what, looks in (("a short one", 2), ("a long one", 5)):
        for look, _ in enumerate(session.looks(what, 60, 1)):
            if look == looks:
                break
    found = [line for line in run.lines() if line["event"] == "waiting"]
    assert [(line["what"], line["most"], line["notebook"]) for line in found] == [("a long one", 60, "05")]
