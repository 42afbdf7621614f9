"""A record can be checked against itself, by anybody, without AWS."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from runbook_lib import cli
from runbook_lib.errors import RolledBack
from runbook_lib.record import Run
from runbook_lib.verify import verify
from tests.live import CANARY, ended, newest, quick, take, under_sky

SECRET = "AKIA" + "IOSFODNN7EXAMPLE"
KEY = "wJalrXUtnFEMI/K7MDENG/" + "bPxRfiCYEXAMPLEKE9"

Journal = Callable[[Callable[[dict[str, Any]], None]], Run]


@pytest.fixture(scope="module")
def shifted() -> Run:
    """Return the run of a shift that passed, its slow requests judged too."""
    session, sky = under_sky(shift=quick(verdict={"slow_millis": 500, "ceiling": 0.5, "muted": ["slow"]}))
    sky.slow = {CANARY: 0.01}
    take(session)
    return newest(session.parameters)


@pytest.fixture
def run(shifted: Run, tmp_path: Path) -> Run:
    """Return a copy that a test may spoil."""
    return Run(Path(shutil.copytree(shifted.folder, tmp_path / shifted.id)))


@pytest.fixture
def spoilt(run: Run) -> Journal:
    def spoil(change: Callable[[dict[str, Any]], None]) -> Run:
        """Change the journal's first verdict."""
        found = list(run.lines())
        change(next(line for line in found if line["event"] == "judged"))
        (run.folder / "record.jsonl").write_text("".join(json.dumps(line) + "\n" for line in found))
        return run

    return spoil


def failing(run: Run) -> list[str]:
    return [each.what for each in verify(run) if not each.holds]


def test_every_verdict_is_judged_again_from_its_counts(run: Run) -> None:
    checked = verify(run)
    assert all(each.holds for each in checked)
    assert [each.what for each in checked] == ["verdict 1", "verdict 2", "record.jsonl"]
    assert checked[0].found.startswith("PASS from ")


def test_a_rollbacks_verdict_holds_too() -> None:
    session, sky = under_sky()
    ended(session, RolledBack, on={"written": lambda: sky.errors.update({CANARY: 0.3})})
    (verdict, _) = verify(newest(session.parameters))
    assert verdict.holds
    assert verdict.found.startswith("FAIL from ")


def test_counts_that_say_otherwise_are_found(spoilt: Journal) -> None:
    def tampered(line: dict[str, Any]) -> None:
        line["samples"]["errors"][3][3] += 25

    (first, *others) = verify(spoilt(tampered))
    assert not first.holds
    assert "judged again: FAIL" in first.found
    assert all(each.holds for each in others)


def test_one_request_more_is_found_though_the_outcome_is_the_same(spoilt: Journal) -> None:
    def tampered(line: dict[str, Any]) -> None:
        line["samples"]["errors"][3][2] += 1

    assert failing(spoilt(tampered)) == ["verdict 1"]


@pytest.mark.parametrize("name", ["outcome", "reason"])
def test_an_outcome_that_the_counts_do_not_give_is_found(spoilt: Journal, name: str) -> None:
    assert failing(spoilt(lambda line: line.update({name: "INCONCLUSIVE"}))) == ["verdict 1"]


def test_a_setting_that_was_loosened_is_found(spoilt: Journal) -> None:
    assert failing(spoilt(lambda line: line["settings"].update(alpha=0.1))) == ["verdict 1"]


@pytest.mark.parametrize(
    "secret",
    [SECRET, f"key {KEY} here", "postgres://shop:hunter2@db/orders"],
    ids=["access key id", "secret access key", "password in an address"],
)
@pytest.mark.parametrize("file", ["record.jsonl", "summary.json", "05_shift_traffic.ipynb"])
def test_what_is_shaped_like_a_secret_is_found_wherever_it_stands(run: Run, file: str, secret: str) -> None:
    document = {"event": "note", "cells": [{"outputs": [{"text": ["line\n", secret]}]}]}
    with (run.folder / file).open("a") as it:
        it.write(json.dumps(document) + "\n")
    assert failing(run) == [file]


def test_a_picture_is_not_read_as_text(run: Run) -> None:
    (run.folder / "05_shift_traffic.ipynb").write_text(json.dumps({"outputs": [{"data": {"image/png": KEY}}]}))
    assert failing(run) == []


@pytest.mark.parametrize("end", ['{"event": "decision", "band": {}', '{"event": "dec'], ids=["at a brace", "anywhere"])
def test_a_line_that_a_crash_cut_off_is_no_obstacle_and_hides_no_secret(run: Run, end: str) -> None:
    journal = run.folder / "record.jsonl"
    whole = journal.read_text()
    journal.write_text(whole + end)
    assert failing(run) == []
    journal.write_text(f"{whole}{SECRET} {end}")
    assert failing(run) == ["record.jsonl"]


def test_the_command_says_each_and_ends_with_1_where_one_fails(run: Run, spoilt: Journal) -> None:
    done = CliRunner().invoke(cli.app, ["verify", str(run.folder)])
    assert (done.exit_code, done.output.splitlines()[0][:12]) == (0, "✓ verdict 1:")
    spoilt(lambda line: line.update(outcome="FAIL"))
    done = CliRunner().invoke(cli.app, ["verify", str(run.folder)])
    assert (done.exit_code, done.output.splitlines()[0][:12]) == (1, "✗ verdict 1:")
