"""A record can be checked against itself, by anybody, without AWS."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from runbook_lib.aws.session import Session
from runbook_lib.command import cli
from runbook_lib.errors import Held, RolledBack
from runbook_lib.record import Run, start
from runbook_lib.record.chain import digest
from runbook_lib.runs.verify import rejudged, step_of, steps_of, verify
from runbook_lib.shift.rules import counts, watch
from runbook_lib.shipped import VERSION
from tests.live import CANARY, STABLE, ended, newest, quick, take, under_sky
from tests.scenes import ROUTE, route, somebody

SECRET = "AKIA" + "IOSFODNN7EXAMPLE"
KEY = "wJalrXUtnFEMI/K7MDENG/" + "bPxRfiCYEXAMPLEKE9"

Journal = Callable[..., Run]


@pytest.fixture(scope="module")
def shifted() -> Run:
    """Return the run of a shift that passed, its slow requests judged too."""
    session, sky = under_sky(shift=quick(verdict={"slow_millis": 500, "ceiling": 0.5, "muted": ["slow"]}))
    sky.slow = {CANARY: 0.01}
    take(session)
    run = newest(session.parameters)
    run.summarise({"outcome": "done", "shift": steps_of(run.lines())})
    return run


@pytest.fixture
def run(shifted: Run, tmp_path: Path) -> Run:
    """Return a copy that a test may spoil."""
    return Run(Path(shutil.copytree(shifted.folder, tmp_path / shifted.id)))


@pytest.fixture
def spoilt(run: Run) -> Journal:
    def spoil(change: Callable[[dict[str, Any]], None], event: str = "judged", phase: str = "") -> Run:
        """Change the journal's first verdict, or decision of a phase; a line left empty is cut out."""
        found = deepcopy(list(run.lines()))
        change(next(line for line in found if line["event"] == event and line.get("phase", "") == phase))
        forge(run, [line for line in found if line])
        return run

    return spoil


def forge(run: Run, lines: list[dict[str, Any]]) -> None:
    """Write a record as whoever can write the files can: chain, and the head in the summary, included."""
    before = b""
    texts = []
    for line in lines:
        texts.append(before := json.dumps({**line, "prev": digest(before)}).encode())
    run.file.write_bytes(b"".join(text + b"\n" for text in texts))
    if summary := run.summary():
        (run.folder / "summary.json").write_text(json.dumps({**summary, "record": run.head()}))


def failing(run: Run) -> list[str]:
    return [each.what for each in verify(run) if not each.holds]


def test_every_verdict_is_judged_again_from_its_counts(run: Run) -> None:
    checked = verify(run)
    assert all(each.holds for each in checked)
    what = ["record", "head", "verdict 1", "verdict 2", "decision 1", "decision 2", "summary", "outcome"]
    assert [each.what for each in checked] == [*what, "record.jsonl", "summary.json"]
    assert checked[2].found.startswith("PASS from ")


def test_a_rollbacks_verdict_holds_too() -> None:
    session, sky = under_sky()
    ended(session, RolledBack, on={"written": lambda: sky.errors.update({CANARY: 0.3})})
    (_, verdict, decision, file) = verify(newest(session.parameters))
    assert verdict.holds
    assert verdict.found.startswith("FAIL from ")
    assert decision.holds
    assert file.holds


def test_a_foreign_edit_as_the_bake_passes_leaves_a_record_that_holds() -> None:
    """The verdict is PASS, and what ended the step is all the same a hold."""
    session, sky = under_sky()
    sky.at(17, lambda: written_by_somebody(session))
    ended(session, Held)
    run = newest(session.parameters)
    assert failing(run) == []
    verdicts = [(line["outcome"], line["cause"]) for line in run.lines() if line["event"] == "judged"]
    assert verdicts == [("PASS", "verdict"), ("PASS", "foreign_change")]


def written_by_somebody(session: Session) -> None:
    spec = route(session)["spec"]
    spec["http2Route"]["action"]["weightedTargets"] = [
        {"virtualNode": STABLE, "weight": 60}, {"virtualNode": CANARY, "weight": 40}
    ]  # fmt: skip
    somebody(session).update_route(**ROUTE, spec=spec)


def test_the_counts_of_a_long_bake_stand_in_lines_before_its_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "RECORDED_AT_ONCE", 4)
    monkeypatch.setattr(watch, "LATE_PERIODS", 2)
    session, _ = under_sky()
    take(session)
    run = newest(session.parameters)
    parts = [line for line in run.lines() if line["event"] in ("counted", "judged")]
    assert [line["event"] for line in parts].count("counted") > 2
    assert failing(run) == []
    judged = parts[-1]
    assert 0 < len(judged["samples"]["errors"]) < 10 < judged["after"]
    assert rejudged(judged, parts[:-1]).reason == judged["reason"]
    without_one = [line for line in parts[:-1] if line.get("after") or line["event"] == "judged"]
    with pytest.raises(ValueError, match="the record lacks the first 4 intervals"):
        rejudged(judged, without_one)


def test_counts_that_say_otherwise_are_found(spoilt: Journal) -> None:
    def tampered(line: dict[str, Any]) -> None:
        line["samples"]["errors"][3][3] += 25

    run = spoilt(tampered)
    assert failing(run) == ["verdict 1", "summary"]  # whoever can write the files can forge the chain and its head
    assert "judged again: FAIL" in verify(run)[2].found


ALONE = re.compile(r"; while stable got no traffic, canary (\S+ of \S+)")


def in_former_words(run: Run, version: str) -> list[dict[str, Any]]:
    """Return a record's lines in the words of version 0.1.0, as if some version had recorded them."""
    text, worded = ALONE.subn(r"; alone \1", json.dumps(list(run.lines())))
    assert worded
    lines: list[dict[str, Any]] = json.loads(text)
    lines[0]["version"] = version
    return lines


def in_former_summary(run: Run) -> None:
    file = run.folder / "summary.json"
    file.write_text(ALONE.sub(r"; alone \1", file.read_text()))


def test_a_verdict_in_the_words_of_a_former_version_holds_by_its_outcome_and_numbers(run: Run) -> None:
    in_former_summary(run)
    forge(run, in_former_words(run, "0.1.0"))
    assert failing(run) == []
    found = [checked.found for checked in verify(run) if checked.what.startswith("verdict")]
    assert found[-1].endswith(" intervals, in the words of version 0.1.0: same outcome and numbers")


def test_a_verdict_of_a_former_version_with_another_number_is_found(run: Run) -> None:
    lines = in_former_words(run, "0.1.0")
    judged = [line for line in lines if line["event"] == "judged"][-1]
    assert "; alone 0 of" in judged["reason"]
    judged["reason"] = judged["reason"].replace("; alone 0 of", "; alone 1 of")
    forge(run, lines)
    assert "verdict 2" in failing(run)


def test_other_words_of_the_same_version_are_found(run: Run) -> None:
    in_former_summary(run)
    forge(run, in_former_words(run, VERSION))
    assert failing(run) == ["verdict 2"]


def test_the_summary_counts_what_the_sentence_of_its_reason_counts(run: Run) -> None:
    """The second step's verdict is made of both steps; a machine reads the numbers, a person the sentence."""
    for entry in steps_of(run.lines()):
        for service in (STABLE, CANARY):
            assert f"{entry['errors'][service]:,} of {entry['requests'][service]:,}" in entry["reason"]


def test_a_summary_that_counts_by_step_as_former_versions_did_holds(run: Run) -> None:
    by_step = [step for line in run.lines() if (step := step_of(line))]
    assert by_step[1]["requests"] != steps_of(run.lines())[1]["requests"]
    run.summarise({"outcome": "done", "shift": by_step})
    assert failing(run) == []


def test_a_verdict_that_was_cut_out_is_missed(spoilt: Journal) -> None:
    assert failing(spoilt(dict.clear)) == ["decision 1"]


@pytest.mark.parametrize("changed", [{"verdict": "INCONCLUSIVE"}, {"words": "all is well"}], ids=str)
def test_a_decision_that_is_not_its_verdict_is_found(spoilt: Journal, changed: dict[str, str]) -> None:
    assert failing(spoilt(lambda line: line.update(changed), "decision", "judged")) == ["decision 1", "summary"]


@pytest.mark.parametrize("changed", [{"outcome": "done"}, {"reason": "verdict: nothing"}], ids=str)
@pytest.mark.parametrize("summed_up", [True, False], ids=["summed up", "closed only"])
def test_a_summary_that_ends_otherwise_is_found(tmp_path: Path, changed: dict[str, str], summed_up: bool) -> None:
    run = start("scene", str(tmp_path))
    end = {"outcome": "rolled_back", "reason": "verdict: 25 %: errors"}
    if summed_up:
        run.write("summed up", **end)
    run.summarise({**end, "shift": []})
    assert failing(run) == []
    run.summarise({**end, "shift": [], **changed}, closes=False)
    assert failing(run) == (["outcome"] if summed_up or "outcome" in changed else [])


def test_a_decision_that_was_cut_out_is_missed_by_the_summary(spoilt: Journal) -> None:
    assert failing(spoilt(dict.clear, "decision", "judged")) == ["summary"]


def test_a_fail_cannot_pass_by_a_word_in_the_journal() -> None:
    session, sky = under_sky()
    ended(session, RolledBack, on={"written": lambda: sky.errors.update({CANARY: 0.3})})
    run = newest(session.parameters)
    forge(run, [{**line, "verdict": "PASS"} if line.get("verdict") == "FAIL" else line for line in run.lines()])
    assert failing(run) == ["decision 1"]


# Edits by hand, which leave the chain as it was.


@pytest.mark.attack(21)
def test_a_fail_rewritten_as_a_pass_is_named_by_its_line() -> None:
    session, sky = under_sky()
    ended(session, RolledBack, on={"written": lambda: sky.errors.update({CANARY: 0.3})})
    run = newest(session.parameters)
    run.file.write_text(run.file.read_text().replace('"FAIL"', '"PASS"'))
    at = next(n for n, text in enumerate(run.file.read_text().splitlines(), 1) if '"outcome": "PASS"' in text)
    done = CliRunner().invoke(cli.app, ["verify", str(run.folder)])
    assert done.exit_code == 1, done.output
    assert f"✗ record: line {at} was changed, or lines between it and line {at + 1} are missing" in done.output


@pytest.mark.attack(21)
def test_verdicts_that_were_deleted_are_missed_by_the_chain_and_by_the_decisions(run: Run) -> None:
    texts = run.file.read_text().splitlines(keepends=True)
    run.file.write_text("".join(text for text in texts if '"event": "judged"' not in text))
    assert failing(run) == ["record", "head", "decision 1", "decision 2", "summary"]


@pytest.mark.attack(21)
@pytest.mark.parametrize(("text", "found"), [("", "it is empty"), ("{}\n", "it has no first line")])
def test_an_empty_record_is_not_whole(run: Run, text: str, found: str) -> None:
    run.file.write_text(text)
    done = CliRunner().invoke(cli.app, ["verify", str(run.folder)])
    assert (done.exit_code, done.output.splitlines()[0]) == (1, f"✗ record: {found}")


@pytest.mark.attack(21)
def test_lines_cut_off_at_the_end_are_missed_by_the_summary(run: Run) -> None:
    lines = len(run.file.read_text().splitlines())
    run.file.write_text("".join(run.file.read_text().splitlines(keepends=True)[:-1]))
    assert "head" in failing(run)
    assert f"line {lines} is not the one the summary ends with" in {each.found for each in verify(run)}


@pytest.mark.attack(21)
def test_a_run_of_the_former_format_is_listed_and_neither_verified_nor_undone(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(run.folder, tmp_path / "runs" / "scene" / run.id)
    monkeypatch.setenv("RUNBOOK_RUNS", str(tmp_path / "runs"))
    lines = [{k: v for k, v in line.items() if k not in ("prev", "format", "place")} for line in run.lines()]
    texts = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "runs" / "scene" / run.id / "record.jsonl").write_text(texts)
    for words in (["verify", run.id], ["undo", run.id, "--yes"], ["approve", run.id], ["hold", run.id]):
        done = CliRunner().invoke(cli.app, words)
        assert done.exit_code == 1, done.output
        assert f"record: {words[0]}: run {run.id} was recorded in a former format" in done.output
    done = CliRunner().invoke(cli.app, ["runs"])
    assert (done.exit_code, done.output[: len(run.id)]) == (0, run.id), done.output
    assert "recorded in a former format" in done.output


def test_what_ended_a_step_beside_its_verdict_must_be_named(spoilt: Journal) -> None:
    """An alarm ends a step whatever the counts say; they are judged and stored all the same."""
    run = spoilt(lambda line: line.update(cause="alarm"))
    assert failing(run) == ["decision 1"]
    held = {"verdict": "INCONCLUSIVE", "words": "alarm: in ALARM: checkout-5xx"}
    run = spoilt(lambda line: line.update(held), "decision", "judged")
    run.summarise({"outcome": "held", "shift": steps_of(run.lines())})
    assert failing(run) == []


def test_where_nothing_was_counted_nothing_had_to_be_judged(run: Run) -> None:
    """As where somebody takes the weights back by hand."""
    line = next(line for line in run.lines() if line.get("phase") == "judged")
    fields = {key: value for key, value in line.items() if key not in ("event", "at")}
    run.write("decision", **{**fields, "phase": "rolled back", "requests": {}, "verdict": "", "words": "by hand"})
    assert failing(run) == []


def test_a_value_that_is_secret_by_its_name_is_found(run: Run) -> None:
    run.summarise({**(run.summary() or {}), "outcome": "failed"})
    said = json.loads((run.folder / "summary.json").read_text())
    said["environment"] = [{"name": "DB_PASSWORD", "value": "x"}]
    (run.folder / "summary.json").write_text(json.dumps(said))
    assert failing(run) == ["summary.json"]


def test_one_request_more_is_found_though_the_outcome_is_the_same(spoilt: Journal) -> None:
    def tampered(line: dict[str, Any]) -> None:
        line["samples"]["errors"][3][2] += 1

    assert failing(spoilt(tampered)) == ["verdict 1", "summary"]


@pytest.mark.parametrize("name", ["outcome", "reason"])
def test_an_outcome_that_the_counts_do_not_give_is_found(spoilt: Journal, name: str) -> None:
    assert failing(spoilt(lambda line: line.update({name: "INCONCLUSIVE"}))) == ["verdict 1", "decision 1"]


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
    with (run.folder / file).open("a" if file.endswith("l") else "w") as it:
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
    assert (done.exit_code, done.output.splitlines()[2][:12]) == (0, "✓ verdict 1:"), done.output
    spoilt(lambda line: line.update(outcome="FAIL"))
    done = CliRunner().invoke(cli.app, ["verify", str(run.folder)])
    assert (done.exit_code, done.output.splitlines()[2][:12]) == (1, "✗ verdict 1:")
