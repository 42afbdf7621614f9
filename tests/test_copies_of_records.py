"""A run's copy in a store: what reaches it and when, and what comes of it on another machine. Plain values."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from runbook_lib import record
from runbook_lib.errors import ParametersError, RecordError, UnreachableError
from runbook_lib.record import Run
from runbook_lib.record.copies import Copy
from tests.scenes import one

ENVIRONMENT = "scene"


@dataclass
class Shelf:
    """A store in this process. `away` lets nothing reach it; `counted` are the verbs it was asked."""

    files_: dict[str, bytes] = field(default_factory=dict)
    where: str = "s3://shelf/runs"
    away: bool = False
    asked: list[str] = field(default_factory=list)

    def _ask(self, verb: str) -> None:
        self.asked.append(verb)
        if self.away:
            raise UnreachableError(f"s3 {verb}: no answer")

    def folders(self, under: str) -> list[str]:
        self._ask("folders")
        own = [name.removeprefix(f"{under}/") for name in self.files_ if name.startswith(f"{under}/")]
        return sorted({name.partition("/")[0] for name in own if "/" in name})

    def files(self, under: str) -> Mapping[str, str]:
        self._ask("files")
        return {
            name.removeprefix(f"{under}/"): str(hash(content))
            for name, content in self.files_.items()
            if name.startswith(f"{under}/")
        }

    def read(self, names: Sequence[str]) -> list[bytes]:
        self._ask("read")
        return [self.files_[name] for name in names]

    def add(self, name: str, content: bytes) -> bool:
        self._ask("add")
        if name in self.files_:
            return False
        self.files_[name] = content
        return True

    def put(self, name: str, content: bytes) -> str:
        self._ask("put")
        self.files_[name] = content
        return str(hash(content))


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return what takes one to a machine by its name: to its own folder of runs."""

    def go(name: str) -> None:
        monkeypatch.setenv("RUNBOOK_RUNS", str(tmp_path / name))

    go("here")
    return go


def begun(shelf: Shelf) -> Run:
    return record.start(ENVIRONMENT, shelf.where, None, store=shelf)


def brought(shelf: Shelf) -> Run:
    """Bring the newest run to the machine one is at."""
    record.bring(ENVIRONMENT, shelf)
    run = record.latest(ENVIRONMENT)
    assert run is not None
    return record.with_copy(run, shelf)


def stored(shelf: Shelf, run: Run) -> bytes:
    """Return the journal as the store has it."""
    names = sorted(name for name in shelf.files_ if name.startswith(f"{ENVIRONMENT}/{run.id}/record/"))
    return b"".join(shelf.files_[name] for name in names)


def holds(run: Run) -> list[Mapping[str, object]]:
    return [line for line in run.lines() if line["event"] == "hold"]


def soon(done: Callable[[], bool]) -> None:
    """Wait until another thread has done something."""
    until = time.monotonic() + 20
    while not done():
        assert time.monotonic() < until
        time.sleep(0.005)


Machine = Callable[[str], None]
pytestmark = pytest.mark.usefixtures("machine")


def test_a_run_has_begun_once_its_first_line_is_stored(shelf: Shelf) -> None:
    run = begun(shelf)
    assert stored(shelf, run) == run.file.read_bytes()
    assert list(shelf.files_) == [f"{ENVIRONMENT}/{run.id}/record/000001.jsonl"]


def test_a_run_that_cannot_be_stored_leaves_no_folder(shelf: Shelf) -> None:
    shelf.away = True
    with pytest.raises(RecordError, match=r"the record of run .* cannot be stored at s3://shelf/runs: s3 add: no"):
        begun(shelf)
    assert list((record.root() / ENVIRONMENT).iterdir()) == []


def test_what_is_about_to_be_done_is_stored_when_it_is_asked_for(shelf: Shelf) -> None:
    run = begun(shelf)
    run.intended("01", one())
    run.require_stored()
    assert stored(shelf, run) == run.file.read_bytes()


def test_what_cannot_be_stored_is_said_and_stored_the_next_time(shelf: Shelf) -> None:
    run = begun(shelf)
    shelf.away = True
    run.intended("01", one())
    with pytest.raises(RecordError, match="cannot be stored"):
        run.require_stored()
    shelf.away = False
    run.require_stored()
    assert stored(shelf, run) == run.file.read_bytes()


def test_a_line_that_nobody_waits_for_comes_soon_and_raises_nothing(shelf: Shelf) -> None:
    run = begun(shelf)
    shelf.away = True
    run.write("said", text="a")
    soon(lambda: shelf.asked.count("add") >= 2)
    shelf.away = False
    run.write("said", text="b")
    soon(lambda: stored(shelf, run) == run.file.read_bytes())


def test_a_summary_comes_soon_too_though_a_line_is_on_its_way(shelf: Shelf) -> None:
    run = begun(shelf)
    for _ in range(3):
        run.write("said", text="a")
        run.summarise({"outcome": "held"})
        run.store_soon()
    soon(lambda: f"{ENVIRONMENT}/{run.id}/summary.json" in shelf.files_)


def test_an_object_is_named_by_its_first_line_and_never_written_again(shelf: Shelf) -> None:
    run = begun(shelf)
    for text in "ab":
        Run(run.folder).write("said", text=text)
    run.require_stored()
    run.require_stored()
    names = [name.rpartition("/")[2] for name in sorted(shelf.files_)]
    assert names == ["000001.jsonl", "000002.jsonl"]
    assert stored(shelf, run) == run.file.read_bytes()


def test_lines_that_were_stored_without_an_answer_are_not_stored_twice(shelf: Shelf) -> None:
    run = begun(shelf)
    (run.folder / ".copy.json").unlink()
    Run(run.folder).write("said", text="a")
    run.require_stored()
    assert stored(shelf, run) == run.file.read_bytes()


def test_another_machine_has_the_same_record(shelf: Shelf, machine: Machine) -> None:
    run = begun(shelf)
    run.summarise({"outcome": "held"})
    run.copy.send()  # type: ignore[union-attr]
    machine("there")
    other = brought(shelf)
    assert (other.id, other.folder != run.folder) == (run.id, True)
    assert other.file.read_bytes() == run.file.read_bytes()
    assert other.summary() == run.summary()
    assert (other.faults(), other.head()) == ([], run.head())
    assert other.file.stat().st_mode & 0o077 == 0


def test_either_machine_goes_on_where_the_other_was(shelf: Shelf, machine: Machine) -> None:
    run = begun(shelf)
    machine("there")
    other = brought(shelf)
    other.write("said", text="there")
    other.require_stored()
    machine("here")
    again = brought(shelf)
    again.write("said", text="here")
    again.require_stored()
    assert [line["text"] for line in run.lines() if line["event"] == "said"] == ["there", "here"]
    assert (run.faults(), stored(shelf, run)) == ([], run.file.read_bytes())


def test_of_two_machines_that_go_on_at_once_the_second_is_refused(shelf: Shelf, machine: Machine) -> None:
    run = begun(shelf)
    machine("there")
    other = brought(shelf)
    Run(run.folder).write("said", text="here")
    run.require_stored()
    Run(other.folder).write("said", text="there")
    with pytest.raises(RecordError, match="somebody else has written line 2 at s3://shelf/runs"):
        other.require_stored()
    assert stored(shelf, run) == run.file.read_bytes()


def test_what_is_asked_there_is_taken_in_here(shelf: Shelf, machine: Machine) -> None:
    run = begun(shelf)
    machine("there")
    brought(shelf).ask("hold", by="ada")
    machine("here")
    soon(lambda: bool(run.take_in() or holds(run)))  # it looks in a thread of its own
    run.take_in()
    assert [hold["by"] for hold in holds(run)] == ["ada"]
    soon(lambda: stored(shelf, run) == run.file.read_bytes())
    assert run.asked() == []
    machine("there")
    assert brought(shelf).asked() == []


def test_what_cannot_be_asked_is_not_said_to_be(shelf: Shelf) -> None:
    run = begun(shelf)
    shelf.away = True
    with pytest.raises(RecordError, match="cannot be stored"):
        run.ask("hold", by="ada")
    assert run.asked() == []


def test_a_newer_summary_is_brought_and_one_not_stored_yet_is_kept(shelf: Shelf, machine: Machine) -> None:
    run = begun(shelf)
    run.summarise({"outcome": "held"})
    run.copy.send()  # type: ignore[union-attr]
    machine("there")
    other = brought(shelf)
    other.summarise({"outcome": "done"})
    other.copy.send()  # type: ignore[union-attr]
    machine("here")
    assert (brought(shelf).summary() or {})["outcome"] == "done"
    run.summarise({"outcome": "failed"})
    assert (brought(shelf).summary() or {})["outcome"] == "failed"


def damaged(shelf: Shelf, how: str) -> None:
    (name,) = (name for name in shelf.files_ if name.endswith("/000002.jsonl"))
    if how == "gone":
        del shelf.files_[name]
    elif how == "cut":
        shelf.files_[name] = b""
    else:
        shelf.files_[name] = shelf.files_[name].replace(b"first", b"other")


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("gone", "line 2 is missing at s3://shelf/runs/scene/"),
        ("cut", "line 2 is missing at s3://shelf/runs/scene/"),
        ("edited", "differs from line 2 that is here"),
    ],
)
def test_what_was_done_to_the_copy_is_seen_where_it_was_brought_before(shelf: Shelf, how: str, words: str) -> None:
    run = begun(shelf)
    for text in ("first", "second"):
        run.write("said", text=text)
        run.require_stored()
    damaged(shelf, how)
    assert run.copy
    run.copy.bring(anew=True)
    with pytest.raises(RecordError, match="is not as it was stored: ") as caught:
        list(run.lines())
    assert words in caught.value.message


@pytest.mark.parametrize("how", ["gone", "cut", "edited"])
def test_and_on_a_machine_that_never_had_it(shelf: Shelf, machine: Machine, how: str) -> None:
    run = begun(shelf)
    for text in ("first", "second"):
        run.write("said", text=text)
        run.require_stored()
    damaged(shelf, how)
    machine("there")
    record.bring(ENVIRONMENT, shelf)
    other = Run(record.root() / ENVIRONMENT / run.id)
    try:
        faults = other.faults()
    except RecordError as error:
        faults = [error.message]
    assert faults
    assert "line 2" in faults[0]


def test_a_copy_that_is_whole_again_is_believed_again(shelf: Shelf) -> None:
    run = begun(shelf)
    run.write("said", text="first")
    run.require_stored()
    before = dict(shelf.files_)
    damaged(shelf, "edited")
    assert run.copy
    run.copy.bring(anew=True)
    shelf.files_.update(before)
    run.copy.bring(anew=True)
    assert [line["event"] for line in run.lines()] == ["opened", "said"]


@pytest.mark.parametrize(
    "name", ["../../escaped.json", ".copy.json", "deep/er.json", "/etc/passwd", "requests/../../x"]
)
def test_no_name_in_a_store_leads_out_of_the_runs_folder(
    shelf: Shelf, machine: Machine, name: str, tmp_path: Path
) -> None:
    run = begun(shelf)
    shelf.files_[f"{ENVIRONMENT}/{run.id}/{name}"] = b"evil"
    machine("there")
    brought(shelf)
    assert [file for file in tmp_path.rglob("*") if file.is_file() and file.read_bytes() == b"evil"] == []


def test_only_the_newest_runs_are_brought_unless_all_are_asked_for(shelf: Shelf, machine: Machine) -> None:
    for _ in range(3):
        begun(shelf)
    shelf.files_[f"{ENVIRONMENT}/no-run/record/000001.jsonl"] = b"x"
    machine("there")
    record.bring(ENVIRONMENT, shelf, newest=2)
    assert len(record.called(ENVIRONMENT)) == 2
    record.bring(ENVIRONMENT, shelf, newest=None)
    assert len(record.called(ENVIRONMENT)) == 3


def test_a_store_that_cannot_be_read_is_a_sentence(shelf: Shelf) -> None:
    shelf.away = True
    with pytest.raises(RecordError, match="s3://shelf/runs cannot be read: s3 folders: no answer"):
        record.bring(ENVIRONMENT, shelf)


def test_a_bucket_is_no_folder_of_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNBOOK_RUNS", "s3://shelf/runs")
    with pytest.raises(ParametersError, match="RUNBOOK_RUNS: expected a folder of this machine; found s3://shelf"):
        record.root()


def test_a_run_that_is_open_in_the_store_is_joined(shelf: Shelf, machine: Machine) -> None:
    run = record.open_or_join(ENVIRONMENT, shelf.where, store=shelf)
    machine("there")
    assert record.open_or_join(ENVIRONMENT, shelf.where, store=shelf).id == run.id


def test_notes_of_what_is_stored_hold_no_more_than_that(shelf: Shelf) -> None:
    run = begun(shelf)
    notes = json.loads((run.folder / ".copy.json").read_text())
    assert notes == {"size": run.file.stat().st_size, "files": {}}


def test_a_folder_that_is_gone_is_a_sentence_and_stops_no_line_that_nobody_waits_for(shelf: Shelf) -> None:
    run = begun(shelf)
    assert run.copy
    shutil.rmtree(run.folder)
    run.copy.send_soon()
    with pytest.raises(RecordError, match="cannot be written"):
        run.write("said", text="a")


def test_several_copies_of_one_run_send_its_lines_once(shelf: Shelf) -> None:
    run = begun(shelf)
    others = [Copy(shelf, f"{ENVIRONMENT}/{run.id}", run.folder) for _ in range(3)]
    for number in range(20):
        Run(run.folder).write("said", text=str(number))
        others[number % 3].send_soon()
    soon(lambda: stored(shelf, run) == run.file.read_bytes())
