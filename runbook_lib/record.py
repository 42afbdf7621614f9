"""Write and read a run: its folder, its journal of changes, its summary.

This alone touches `runs/`. The journal is evidence and the source of undo; nothing's correctness depends
on it, since where things stand is always read from AWS.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from runbook_lib.errors import LockError, ParametersError, RecordError
from runbook_lib.plan import Change
from runbook_lib.redaction import redacted

__all__ = ["Run", "Spare", "find", "held", "holder", "latest", "lock_of", "open_or_join", "root", "runs", "start"]

CHECKOUT = Path(__file__).resolve().parent.parent


def root() -> Path:
    """Return the folder of all runs: RUNBOOK_RUNS, or `runs/` of this checkout.

    A relative RUNBOOK_RUNS stays so in the runs started or joined there: a copied process writes to its own copy.
    """
    return Path(os.environ.get("RUNBOOK_RUNS") or CHECKOUT / "runs")


@dataclass(frozen=True)
class Run:
    """One run's folder."""

    folder: Path

    @property
    def id(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def environment(self) -> str:
        """The environment the run is about."""
        return self.folder.parent.name

    @property
    def opened(self) -> dict[str, Any]:
        """The journal's first line: environment, mode, what was given beside the file."""
        return next((line for line in self.lines() if line["event"] == "opened"), {})

    @property
    def closed(self) -> bool:
        """Whether the run has ended for good: done or rolled back."""
        return any(line["event"] == "closed" for line in self.lines())

    @property
    def world(self) -> str:
        """The local mesh the run is about; "" for AWS."""
        return next((line["world"] for line in self.lines() if line["event"] == "joined"), "")

    def write(self, event: str, **fields: Any) -> None:
        """Append one line to the journal and force it to the disk; raise RecordError where that cannot be done."""
        line = {
            "event": event,
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            **redacted(fields),
        }
        with _writing(self.folder), (self.folder / "record.jsonl").open("ab+") as journal:
            if journal.tell():
                journal.seek(-1, os.SEEK_END)
                if journal.read(1) != b"\n":  # what a crash cut off must not take this line with it
                    journal.write(b"\n")
            journal.write(f"{json.dumps(line, default=str)}\n".encode())
            journal.flush()
            os.fsync(journal.fileno())

    def intended(self, notebook: str, change: Change) -> None:
        """Write down what is about to be done, and how it would be taken back."""
        self.write("intended", notebook=notebook, change=asdict(change))

    def observed(self, notebook: str, change: Change, state: Any, answer: Any) -> None:
        """Write down what was read after a change, and its inverse with what only the answer could tell."""
        back = asdict(change.inverse) if change.inverse else None
        self.write("observed", notebook=notebook, name=change.name, state=state, answer=answer, inverse=back)

    def lines(self) -> Iterator[dict[str, Any]]:
        """Yield the journal's whole lines; a line cut off by a crash is left out."""
        journal = self.folder / "record.jsonl"
        for text in journal.read_text().splitlines() if journal.is_file() else ():
            try:
                yield json.loads(text)
            except json.JSONDecodeError:
                continue

    def summarise(self, summary: dict[str, Any], *, closes: bool = True) -> None:
        """Write summary.json by rename, and close the run where its outcome ends it (and `closes` says so).

        Raises RecordError where it cannot be written.
        """
        part = self.folder / ".summary.json"
        with _writing(self.folder):
            part.write_text(json.dumps(redacted(summary), indent=2, default=str) + "\n")
            part.replace(self.folder / "summary.json")
        if closes and summary["outcome"] in ("done", "rolled_back") and not self.closed:
            self.write("closed", outcome=summary["outcome"])

    def summary(self) -> dict[str, Any] | None:
        """Return the summary, where there is one."""
        file = self.folder / "summary.json"
        return json.loads(file.read_text()) if file.is_file() else None


@dataclass
class Spare:
    """What a run's folder would not take: lines in a folder of their own, or nowhere.

    `why` is the last reason, "" where everything was recorded.
    """

    why: str = ""
    kept: Run | None = None
    lost: int = 0

    def keep(self, write: Callable[[Run], None], error: RecordError) -> None:
        """Let `write` put a line where there is room for it: in the state folder, or among temporary files."""
        self.why = str(error.__cause__ or error.message)
        for folder in (state_folder(), Path(tempfile.gettempdir())):
            with suppress(OSError, RecordError):
                if self.kept is None:
                    folder.mkdir(parents=True, exist_ok=True)
                    self.kept = Run(Path(tempfile.mkdtemp(prefix="runbook-unrecorded-", dir=folder)))
                write(self.kept)
                return
            self.kept = None
        self.lost += 1

    @property
    def words(self) -> str:
        """Say that the record is incomplete and where the rest is; "" where it is not."""
        if not self.why:
            return ""
        where = f"what is missing is in {self.kept.folder}" if self.kept else "what is missing could be kept nowhere"
        return f"the record is incomplete ({self.why}): {where}"


def start(environment: str, base: str | None = None, **opened: Any) -> Run:
    """Create a run's folder, and point `latest` at it; `opened` goes into the journal's first line.

    Raises RecordError where that cannot be done.
    """
    name = f"{datetime.now(UTC):%Y-%m-%dT%H%M%S.%fZ}-{secrets.token_hex(3)}"
    folder = _base(base) / environment / name
    with _writing(folder):
        folder.mkdir(parents=True)
        if _base(base).resolve() != root().resolve():  # a run kept elsewhere is found by its id too
            (root() / environment).mkdir(parents=True, exist_ok=True)
            (root() / environment / name).symlink_to(folder.resolve())
        link = folder.parent / f".latest-{name}"
        link.symlink_to(name)
        link.replace(folder.parent / "latest")
    run = Run(folder)
    run.write("opened", **{"environment": environment, "mode": "apply", **opened})
    return run


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Turn what a disk, or whoever took the folder away, does to a writer into one sentence."""
    try:
        yield
    except Timeout:  # of a lock that another holds: no trouble of a disk
        raise
    except OSError as error:
        raise RecordError(
            f"the record in {folder} cannot be written: {error.strerror or error}",
            hint="free the disk or give the folder back, then run again: it goes on from where AWS stands",
        ) from error


def latest(environment: str, base: str | None = None, target: str = "") -> Run | None:
    """Return an environment's newest run that applies (on `target`, where one is said), if it has one."""
    return next(runs(environment, base, target), None)


def runs(environment: str, base: str | None = None, target: str = "") -> Iterator[Run]:
    """Yield an environment's runs that apply, the newest first; a rehearsal's target is not the real one's."""
    for path in sorted((_base(base) / environment).glob("[0-9]*"), reverse=True):
        opened = (run := Run(path.readlink() if path.is_symlink() else path)).opened
        if opened.get("mode") == "apply" and target in ("", opened.get("target", target)):
            yield run


def open_or_join(environment: str, base: str | None = None, world: str = "", **opened: Any) -> Run:
    """Return the run that is under way, or a new one where the last has ended, or the local mesh it was about."""
    run = latest(environment, base, opened.get("target", ""))
    ended = run is None or run.closed or run.world not in ("", world)
    return start(environment, base, **opened) if run is None or ended else run


@contextmanager
def held(run: Run, lock: FileLock, who: str) -> Iterator[None]:
    """Keep every other run of this user on this machine from changing the same thing meanwhile.

    Raises LockError where one does. The system lets go of a dead holder's lock by itself. A live one is passed only
    by naming its run (RUNBOOK_TAKE_OVER), or by being part of it (RUNBOOK_HOLDER, which `unattended` gives its
    kernels). Other users and machines are not seen here: against them stands the version check of each write.
    """
    passed = {os.environ.get("RUNBOOK_HOLDER"), os.environ.get("RUNBOOK_TAKE_OVER")} - {None}
    outermost = not lock.is_locked
    try:
        with _writing(Path(lock.lock_file).parent):
            lock.acquire(timeout=0)
    except Timeout:
        found = _noted(lock)
        if found.get("run") in passed:
            yield
            return
        raise LockError(
            f"{run.environment}: {found.get('who', 'somebody')} is at work here since {found.get('since', '?')}, "
            f"run {found.get('run', '?')}, pid {found.get('pid', '?')} on {found.get('host', '?')}",
            hint=f"wait, or take over by naming it: --take-over {found.get('run', 'RUN')}",
        ) from None
    try:
        if outermost:
            with _writing(Path(lock.lock_file).parent):
                _write_note(lock, run, who)
        yield
    finally:
        if outermost:
            with suppress(OSError):  # its folder may be gone; whoever looks at it looks at the lock too
                _note(lock).unlink(missing_ok=True)
        lock.release()


def holder(run: Run) -> dict[str, Any] | None:
    """Return who changes what this run is about just now: `run`, `who`, `since`, `pid`, `host`; None where nobody does.

    It may be another run than this one. The lock is not kept, and not even tried where nobody left a note.
    """
    lock = lock_of(run)
    if not _note(lock).is_file():
        return None
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return _noted(lock)
    lock.release()
    return None


def lock_of(run: Run) -> FileLock:
    """Return the lock of what a run is about; one that is held may be acquired again by its holder.

    On AWS it is one for each account, region and mesh, in this user's own folder, whatever the checkout; a local
    mesh is its checkout's own, and so is its lock.
    """
    place = run.opened.get("place")
    folder = state_folder()
    file = folder / f"{'-'.join(place)}.lock" if place else run.folder.parent / ".lock"
    file.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(file, thread_local=False)


def state_folder() -> Path:
    """Return this user's own folder for what belongs to no checkout."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "runbook"


def _note(lock: FileLock) -> Path:
    return Path(lock.lock_file).with_suffix(".holder.json")


def _write_note(lock: FileLock, run: Run, who: str) -> None:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    said = {"run": run.id, "who": who, "since": since, "pid": os.getpid(), "host": socket.gethostname()}
    part = _note(lock).with_suffix(".part")
    part.write_text(json.dumps(said))
    part.replace(_note(lock))


def _noted(lock: FileLock) -> dict[str, Any]:
    note = _note(lock)
    return dict(json.loads(note.read_text())) if note.is_file() else {}


def find(run: str, base: str | None = None) -> Run:
    """Return a run by its id, its path, or an environment's name (its newest); raise ParametersError where none is."""
    path = Path(run)
    if (path / "record.jsonl").is_file():
        return Run(path.resolve())
    hits = sorted(_base(base).glob(f"*/{run}"))
    if hits and run:
        return Run(hits[0].resolve())
    newest = latest(run, base)
    if newest is None:
        raise ParametersError(
            f"run: nothing is recorded under {run!r} in {_base(base).name}/", hint="runbook status ENV"
        )
    return newest


def _base(base: str | None) -> Path:
    """Return the folder runs are kept in; a relative one is this checkout's, wherever the caller stands."""
    return CHECKOUT / base if base and "://" not in base else root()
