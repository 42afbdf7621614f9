"""Keep a copy of a run in a store, and bring it here from there.

The folder here is what is worked with; the store outlives it. Lines go there in the
journal's order, each object named by its first line's number and never written twice,
so of two machines that go on with one run the second is refused.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runbook_lib.errors import CallError, RecordError, RunbookError
from runbook_lib.private import private_folder, private_opener, replace_privately
from runbook_lib.record.paths import writing
from runbook_lib.record.store import Store

JOURNAL, REQUESTS, LINES = "record.jsonl", "requests/", "record/"
NOTES, DAMAGED = ".copy.json", ".damaged"
GO_ON = "run again once it can: it goes on from where AWS stands"
# What of a store is written to this disk: no name leads out of the run's folder.
OWN = re.compile(rf"({REQUESTS})?[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclass
class Notes:
    """What is the same here and in the store: so many bytes of the journal, and files,
    each with its tag there and the hash of its content.
    """

    size: int = 0
    files: dict[str, list[str]] = field(default_factory=dict)

    def tag_of(self, name: str) -> str:
        """Return a file's tag in the store; "" for one that is not known."""
        return self.files.get(name, ["", ""])[0]

    def hash_of(self, name: str) -> str:
        """Return the hash of a file's content; "" for one that is not known."""
        return self.files.get(name, ["", ""])[1]


@dataclass(repr=False)
class Copy:
    """A run's copy: `folder` is the run's here, `name` that in the store."""

    store: Store
    name: str
    folder: Path
    _due: list[Callable[[], None]] = field(default_factory=list)
    _turn: Any = field(default_factory=threading.Lock)
    _work: Any = field(default_factory=threading.Lock)

    @property
    def where(self) -> str:
        """The copy's address."""
        return f"{self.store.where}/{self.name}"

    # from here to the store

    def send_lines(self) -> None:
        """Send the journal's whole lines that the store lacks; raise RecordError where
        it takes none, or somebody else has written those lines.
        """
        with self._said("stored"), self._noting() as notes:
            self._send_lines(notes)

    def send(self) -> None:
        """Send lines and files that the store lacks; raise RecordError as
        `send_lines` does.
        """
        with self._said("stored"), self._noting() as notes:
            self._send_lines(notes)
            for file in _files(self.folder):
                content = file.read_bytes()
                if notes.hash_of(file.name) == _hash(content):
                    continue
                tag = self.store.put(f"{self.name}/{file.name}", content)
                notes.files[file.name] = [tag, _hash(content)]

    def send_soon(self, *, files: bool = False) -> None:
        """Send lines (and files, where they are meant too) in a thread of its own, if
        they can be sent: whoever watches traffic waits for no store.
        """
        self._soon(self.send if files else self.send_lines)

    def look_soon(self) -> None:
        """Bring what others ask of the run in a thread of its own, and send lines."""
        self._soon(self._exchange)

    def ask(self, name: str, content: str) -> None:
        """Leave a request in the store; raise RecordError where it takes none."""
        with self._said("stored"):
            self.store.add(f"{self.name}/{REQUESTS}{name}", content.encode())

    def _send_lines(self, notes: Notes) -> None:
        journal = _whole_lines(self.folder)
        while left := journal[notes.size :]:
            number = journal.count(b"\n", 0, notes.size) + 1
            name = f"{self.name}/{LINES}{number:06}.jsonl"
            sent = left
            if not self.store.add(name, left):
                (sent,) = self.store.read([name])
                if not sent or not left.startswith(sent):
                    raise RecordError(
                        f"run {self.name}: somebody else has written line {number} at "
                        f"{self.store.where}",
                        hint="another machine goes on with this run: end it there, or "
                        f"move {self.folder} away and run again",
                    )
            notes.size += len(sent)
            self._keep(notes)

    def _exchange(self) -> None:
        with self._noting() as notes:
            asked = self.store.files(f"{self.name}/{REQUESTS}".rstrip("/"))
            files = {f"{REQUESTS}{name}": tag for name, tag in asked.items()}
            self._bring_files(notes, files)
            self._send_lines(notes)

    def _soon(self, do: Callable[[], None]) -> None:
        with self._turn:
            is_awaited = bool(self._due)
            if do not in self._due:
                self._due.append(do)
        if not is_awaited:
            with suppress(RuntimeError):  # the process ends: it sends as it closes
                threading.Thread(target=self._quietly, daemon=True).start()

    def _quietly(self) -> None:
        with self._work:
            with self._turn:
                due, self._due = self._due, []
            for do in due:
                # whoever takes a step, or ends the run, says it
                with suppress(RunbookError, OSError):
                    do()

    # from the store to here

    def bring(self, *, anew: bool = False) -> None:
        """Bring here what the store has more of the run: lines, requests, files.

        With `anew` all its lines are compared with those here. Where they differ, every
        reader of the run is told so (`damage`). Raises RecordError where the store
        cannot be read.
        """
        with self._said("read"):
            with writing(self.folder):
                private_folder(self.folder)
            with self._noting() as notes:
                files = self.store.files(self.name)
                before = notes.size
                notes.size = 0 if anew else before
                if wrong := self._bring_lines(notes, files):
                    notes.size = before
                    replace_privately(self.folder / DAMAGED, wrong)
                    return
                (self.folder / DAMAGED).unlink(missing_ok=True)
                self._bring_files(notes, files)

    def _bring_lines(self, notes: Notes, files: Mapping[str, str]) -> str:
        """Bring lines; return what is wrong with those in the store, "" for nothing."""
        journal = _whole_lines(self.folder)
        number = journal.count(b"\n", 0, notes.size) + 1
        parts = sorted(name for name in files if name.startswith(LINES))
        parts = [name for name in parts if name >= f"{LINES}{number:06}"]
        texts = self.store.read([f"{self.name}/{part}" for part in parts])
        for part, text in zip(parts, texts, strict=True):
            number = journal.count(b"\n", 0, notes.size) + 1
            if part != f"{LINES}{number:06}.jsonl":
                return f"line {number} is missing at {self.where}: found {part}"
            here = journal[notes.size : notes.size + len(text)]
            if here and here != text:
                return f"{self.where}/{part} differs from line {number} that is here"
            if not here:
                _append(self.folder / JOURNAL, text)
                journal += text
            notes.size += len(text)
            self._keep(notes)
        return ""

    def _bring_files(self, notes: Notes, files: Mapping[str, str]) -> None:
        """Bring files that are new or changed there, and were not changed here."""
        for name, tag in files.items():
            if not OWN.fullmatch(name) or notes.tag_of(name) == tag:
                continue
            file = self.folder / name
            if file.is_file() and _hash(file.read_bytes()) != notes.hash_of(name):
                continue
            (content,) = self.store.read([f"{self.name}/{name}"])
            private_folder(file.parent)
            replace_privately(file, content.decode(errors="replace"))
            notes.files[name] = [tag, _hash(file.read_bytes())]

    # both

    @contextmanager
    def _noting(self) -> Iterator[Notes]:
        """Let one process at a time exchange with the store, and keep what it knows."""
        file = self.folder / NOTES
        # as a plain file: it must not make a folder anew that was taken away
        with open(self.folder / ".copy.lock", "w", opener=private_opener) as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            notes = Notes()
            with suppress(OSError, ValueError, TypeError):
                notes = Notes(**json.loads(file.read_text()))
            yield notes
            self._keep(notes)

    def _keep(self, notes: Notes) -> None:
        said = {"size": notes.size, "files": notes.files}
        replace_privately(self.folder / NOTES, json.dumps(said))

    @contextmanager
    def _said(self, what: str) -> Iterator[None]:
        """Turn what a store answers into one sentence."""
        try:
            with writing(self.folder):
                yield
        except CallError as error:
            raise RecordError(
                f"the record of run {self.name} cannot be {what} at "
                f"{self.store.where}: {error.message}",
                hint=error.hint or GO_ON,
            ) from error


def is_copied(folder: Path) -> bool:
    """Say whether a run has a copy in a store, as far as this machine knows."""
    return (folder / NOTES).is_file()


def damage(folder: Path) -> str:
    """Return what was wrong with a run's copy when it was last brought; "" for
    nothing.
    """
    with suppress(OSError):
        return (folder / DAMAGED).read_text()
    return ""


def _files(folder: Path) -> list[Path]:
    """Return the files of a run but its journal: notebooks, summary, report."""
    files = (path for path in folder.iterdir() if path.is_file())
    own = (path for path in files if not path.name.startswith("."))
    return sorted(path for path in own if path.name != JOURNAL)


def _whole_lines(folder: Path) -> bytes:
    try:
        journal = (folder / JOURNAL).read_bytes()
    except FileNotFoundError:
        return b""
    return journal[: journal.rfind(b"\n") + 1]


def _append(file: Path, text: bytes) -> None:
    with open(file, "ab", opener=private_opener) as journal:
        journal.write(text)


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
