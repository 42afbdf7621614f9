"""A run's journal: whole lines, on the disk before the next call, without a secret."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from runbook_lib import record
from runbook_lib.errors import ParametersError, RecordError
from runbook_lib.plan import Call
from runbook_lib.record import Run, chain, find, latest, open_or_join, start
from runbook_lib.record.place import Place
from tests.scenes import one

KEY = "AKIA" + "IOSFODNN7EXAMPLE"
HERE = Place("local", "111111111111", "us-west-2", "App Mesh a")


@pytest.fixture
def base(tmp_path: Path) -> str:
    return str(tmp_path / "runs")


def words(run: Run) -> list[str]:
    return [line["text"] for line in run.lines() if line["event"] == "said"]


def test_a_run_opens_with_what_it_was_given(base: str) -> None:
    run = start("scene", base, file="mine.yaml", given={"port": 80})
    assert run.opened["given"] == {"port": 80}
    assert (run.opened["environment"], run.opened["mode"], run.opened["file"]) == ("scene", "apply", "mine.yaml")
    assert run.environment == "scene"


def test_latest_points_at_the_newest_run(base: str) -> None:
    start("scene", base)
    second = start("scene", base)
    assert (Path(base) / "scene" / "latest").resolve() == second.folder.resolve()


def test_a_line_is_on_the_disk_when_write_returns(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run, synced = start("scene", base), []
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_size) or sync(file))
    run.write("said", text="a")
    assert synced == [(run.folder / "record.jsonl").stat().st_size]


@pytest.mark.parametrize("write", [lambda run: run.write("said"), lambda run: run.summarise({"outcome": "held"})])
def test_a_run_whose_folder_is_gone_says_so_in_one_sentence(write: Callable[[Run], None], base: str) -> None:
    run = start("scene", base)
    shutil.rmtree(run.folder)
    with pytest.raises(RecordError, match="cannot be written: No such file or directory"):
        write(run)


def test_a_run_that_cannot_be_opened_says_so_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file where the folder was")
    with pytest.raises(RecordError, match="cannot be written"):
        start("scene", str(tmp_path / "runs"))


def test_lines_come_back_in_order(base: str) -> None:
    run = start("scene", base)
    for text in "abc":
        run.write("said", text=text)
    assert words(run) == ["a", "b", "c"]


def test_a_line_cut_off_by_a_crash_is_left_out(base: str) -> None:
    run = start("scene", base)
    run.write("said", text="a")
    journal = run.folder / "record.jsonl"
    journal.write_bytes(journal.read_bytes()[:-7])
    assert words(run) == []
    assert run.opened["environment"] == "scene"


def test_a_line_cut_off_by_a_crash_does_not_take_the_next_one_with_it(base: str) -> None:
    run = start("scene", base)
    run.write("said", text="a")
    journal = run.folder / "record.jsonl"
    journal.write_bytes(journal.read_bytes()[:-7])
    run.write("said", text="b")
    run.write("said", text="c")
    assert words(run) == ["b", "c"]


def test_a_run_without_a_journal_has_no_lines(tmp_path: Path) -> None:
    assert list(Run(tmp_path).lines()) == []
    assert not Run(tmp_path).closed


def test_no_secret_reaches_the_disk(base: str) -> None:
    run = start("scene", base, given={"records": f"s3://{KEY}/"})
    run.write("said", text=f"refused {KEY}", deep=[{"name": "DB_PASSWORD", "value": "hunter2"}])
    run.intended("01", one(note=KEY))
    run.summarise({"outcome": "failed", "reason": KEY})
    assert not any(KEY in file.read_text() or "hunter2" in file.read_text() for file in run.folder.iterdir())


def test_an_intended_line_says_how_it_would_be_taken_back(base: str) -> None:
    run = start("scene", base)
    run.intended("01_create_mesh", one())
    (line,) = (line for line in run.lines() if line["event"] == "intended")
    assert line["notebook"] == "01_create_mesh"
    assert line["change"]["inverse"]["call"]["operation"] == "delete_mesh"


def test_a_run_stays_open_until_it_is_done(base: str) -> None:
    run = open_or_join("scene", base)
    assert open_or_join("scene", base) == run
    run.summarise({"outcome": "failed"})
    assert open_or_join("scene", base) == run
    run.summarise({"outcome": "done"})
    assert run.closed
    assert open_or_join("scene", base) != run


def test_a_run_that_moved_traffic_between_other_services_is_not_joined(base: str) -> None:
    run = open_or_join("scene", base, about=("a", "b"))
    assert open_or_join("scene", base, about=("b", "c")) == run  # it has moved nothing yet
    run.write("decision", phase="written", weights={"a": 0, "b": 100})
    assert open_or_join("scene", base, about=("a", "b")) == run
    assert open_or_join("scene", base, about=("b", "c")) != run


def test_a_run_about_a_local_mesh_that_is_gone_is_not_joined(base: str) -> None:
    run = open_or_join("scene", base, HERE)
    run.write("joined", world="one")
    assert open_or_join("scene", base, replace(HERE, world="one")) == run
    assert open_or_join("scene", base, HERE) != run  # none runs: the next one will be another


@pytest.mark.attack(4)
@pytest.mark.parametrize("other", [{"account": "222222222222"}, {"region": "eu-west-1"}, {"carrier": "App Mesh b"}])
def test_a_run_of_another_place_is_not_joined_whatever_its_environment_is_called(
    base: str, other: dict[str, str]
) -> None:
    run = open_or_join("scene", base, HERE)
    theirs = open_or_join("scene", base, replace(HERE, **other))
    assert theirs != run
    assert open_or_join("scene", base, HERE) == run
    assert [found.id for found in record.runs("scene", base, HERE)] == [run.id]


@pytest.mark.attack(21)
def test_a_run_of_the_former_format_is_neither_joined_nor_undone(base: str) -> None:
    former = start("scene", base, HERE)
    (former.folder / "record.jsonl").write_text('{"event": "opened", "at": "then", "place": ["1", "a", "b"]}\n')
    assert open_or_join("scene", base, HERE) != former
    with pytest.raises(RecordError, match=f"undo: run {former.id} was recorded in a former format"):
        former.require_whole("undo")


def test_a_run_whose_changes_name_no_types_is_verified_but_neither_joined_nor_undone(base: str) -> None:
    former = start("scene", base, HERE)
    former.file.write_text(former.file.read_text().replace(f'"format": {chain.FORMAT}', f'"format": {chain.CHAINED}'))
    former.require_format("verify", since=chain.CHAINED)
    assert open_or_join("scene", base, HERE) != former
    with pytest.raises(RecordError, match="in a former format: expected format 3, found format 2"):
        former.require_whole("undo")


def test_a_run_is_closed_once(base: str) -> None:
    run = start("scene", base)
    for _ in range(2):
        run.summarise({"outcome": "rolled_back"})
    assert sum(line["event"] == "closed" for line in run.lines()) == 1


def test_a_run_that_only_planned_is_not_joined(base: str) -> None:
    applied = start("scene", base)
    start("scene", base, mode="plan")
    assert latest("scene", base) == applied


def test_a_summary_is_written_as_a_whole(base: str) -> None:
    run = start("scene", base)
    assert run.summary() is None
    run.summarise({"outcome": "held", "changes": 2})
    assert run.summary() == {"outcome": "held", "changes": 2, "record": run.head()}
    assert json.loads((run.folder / "summary.json").read_text()) == run.summary()
    assert not list(run.folder.glob(".*"))


@pytest.mark.parametrize("how", ["id", "path"])
def test_a_run_is_found_by_its(how: str, base: str) -> None:
    run = start("scene", base)
    name = {"id": run.id, "path": str(run.folder)}[how]
    assert find(name, base).folder.resolve() == run.folder.resolve()


def test_a_run_kept_elsewhere_is_found_by_its_id_and_under_its_environment_too(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNBOOK_RUNS", str(tmp_path / "here"))
    run = start("scene", base)
    assert find(run.id) == record.called("scene")[0] == run


@pytest.mark.parametrize("begin", [start, open_or_join])
def test_a_run_under_a_relative_folder_goes_on_in_the_copy_that_the_process_moves_to(
    begin: Callable[[str], Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNBOOK_RUNS", "runs")
    (tmp_path / "one").mkdir()
    monkeypatch.chdir(tmp_path / "one")
    start("scene")
    run = begin("scene")
    shutil.copytree(tmp_path / "one", tmp_path / "two", symlinks=True)
    monkeypatch.chdir(tmp_path / "two")
    run.write("said", text="in the copy")
    assert words(run) == ["in the copy"]
    monkeypatch.chdir(tmp_path / "one")
    assert words(run) == []


@pytest.mark.parametrize("name", ["", "nobody", "2026-01-01", "scene", "latest", "2026*", "*", "./scene", "a/../b"])
def test_a_run_nobody_recorded_is_refused(name: str, base: str) -> None:
    start("scene", base)
    with pytest.raises(ParametersError, match=r"nothing is recorded under|there is no record in"):
        find(name, base)


@pytest.mark.attack(5)
def test_an_id_that_is_there_several_times_is_refused_and_each_is_named(base: str) -> None:
    run = start("scene", base)
    shutil.copytree(run.folder, Path(base) / "other" / run.id)
    with pytest.raises(ParametersError, match=f"several times: .*other/{run.id}, .*scene/{run.id}"):
        find(run.id, base)


@pytest.mark.attack(5)
def test_a_folder_in_the_working_directory_is_taken_only_as_a_path(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start("scene", base)
    shutil.copytree(run.folder, tmp_path / "shop")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ParametersError, match="nothing is recorded under"):
        find("shop", base)
    assert find("./shop", base).folder == tmp_path / "shop"


def test_records_elsewhere_are_kept_here_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNBOOK_RUNS", str(tmp_path))
    assert record.root() == tmp_path
    assert start("scene", "s3://bucket/runs").folder.parent == tmp_path / "scene"


@pytest.mark.attack(20)
def test_an_inverse_that_holds_what_may_not_be_recorded_is_left_out_and_said_to_be(base: str) -> None:
    run = start("scene", base)
    made = one()
    assert made.inverse
    secret = replace(made.inverse, call=Call("appmesh", "update_mesh", {"meshName": KEY}))
    run.intended("01", replace(made, inverse=secret))
    (line,) = (line for line in run.lines() if line["event"] == "intended")
    assert (line["change"]["inverse"], line["change"]["no_inverse"]) == (None, record.UNRECORDED)
    run.intended("01", made)
    assert [line["change"]["no_inverse"] for line in run.lines() if line["event"] == "intended"][1:] == [""]


# Damage.


@pytest.mark.attack(22)
@pytest.mark.parametrize(
    "damage", [b"\xff\xfe\x00", b'{"event": "said", "at": ', b"[" * 100_000, b"null", b'{"event": 3}']
)
def test_a_damaged_line_is_passed_over_by_who_reads_and_named_by_who_needs_it(base: str, damage: bytes) -> None:
    run = start("scene", base, HERE)
    run.write("said", text="a")
    run.file.write_bytes(run.file.read_bytes() + damage + b"\n")
    run.write("said", text="b")
    assert words(run) == ["a", "b"]
    lines = run.file.read_bytes().split(b"\n")
    run.file.write_bytes(b"\n".join([lines[0], damage, *lines[1:]]))
    assert latest("scene", base, HERE) == run
    with pytest.raises(RecordError, match=r"is not as it was written: line 2 cannot be read"):
        run.require_whole("undo")


@pytest.mark.attack(22)
def test_a_record_that_is_a_folder_is_named_and_the_others_are_listed(base: str) -> None:
    whole, run = start("scene", base, HERE), start("scene", base, HERE)
    run.file.unlink()
    run.file.mkdir()
    assert latest("scene", base, HERE) == whole
    for needs in (run.require_whole, lambda why: run.write(why), lambda why: list(run.lines())):
        with pytest.raises(RecordError, match=r"the record in .* cannot be (read|written): Is a directory"):
            needs("undo")


@pytest.mark.attack(22)
@pytest.mark.parametrize("text", ["", '{"outcome": "do', "[]", "\x00", "3"])
def test_a_summary_that_is_cut_off_is_one_sentence(base: str, text: str) -> None:
    run = start("scene", base)
    (run.folder / "summary.json").write_text(text)
    with pytest.raises(RecordError, match=r"the summary in .* (cannot be read|is no summary)"):
        run.summary()


@pytest.mark.attack(22)
def test_a_pointer_that_is_a_folder_stops_no_run(base: str) -> None:
    (Path(base) / "scene" / "latest").mkdir(parents=True)
    run = start("scene", base, HERE)
    assert latest("scene", base, HERE) == run
    assert not list((Path(base) / "scene").glob(".latest-*"))


@pytest.mark.attack(22)
def test_whatever_lies_in_requests_is_no_request(base: str) -> None:
    run = start("scene", base, HERE)
    run.ask("hold", by="ada")
    for name, text in {"a.json": "\x00", "b.json": "[1]", "c.json": '{"event": "closed", "at": "now"}'}.items():
        (run.folder / "requests" / name).write_text(text)
    (run.folder / "requests" / "d.json").mkdir()
    assert [said["event"] for said in run.asked()] == ["hold"]
    run.take_in()
    assert [line["event"] for line in run.lines()] == ["opened", "hold"]
    run.take_in()
    assert len(list(run.lines())) == 2


@pytest.mark.attack(21)
def test_two_processes_that_write_keep_one_chain(base: str) -> None:
    run = start("scene", base)
    program = (
        "import sys; from pathlib import Path; from runbook_lib.record import Run; "
        f"[Run(Path({str(run.folder)!r})).write('said', text=sys.argv[1] * 9000) for _ in range(20)]"
    )
    both = [subprocess.Popen([sys.executable, "-c", program, letter]) for letter in "ab"]
    assert [each.wait() for each in both] == [0, 0]
    assert len(words(run)) == 40
    assert run.faults() == []


@pytest.mark.attack(19)
def test_what_a_run_writes_is_this_users_alone(tmp_path: Path) -> None:
    run = start("scene", str(tmp_path / "a" / "runs"))
    run.ask("hold", by="ada")
    run.summarise({"outcome": "held"})
    folders = [run.folder, run.folder.parent, tmp_path / "a", run.folder / "requests"]
    assert {folder.stat().st_mode & 0o777 for folder in folders} == {0o700}
    files = [path for path in run.folder.rglob("*") if path.is_file()]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
