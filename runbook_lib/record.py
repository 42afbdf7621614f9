"""Write and read a run: its folder, its journal of changes, its summary.

This alone touches `runs/`. The journal is evidence and the source of undo; nothing's correctness depends
on it, since where things stand is always read from AWS. Whoever is at work on a run writes its journal; what
others have to say to it (an approval, a hold) waits in its `requests/` until the writer takes it in.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import socket
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from runbook_lib import chain
from runbook_lib.errors import LockError, ParametersError, RecordError
from runbook_lib.place import Place, place_in
from runbook_lib.plan import Change, fingerprint, holds
from runbook_lib.private import private_folder, replace_privately
from runbook_lib.redaction import redacted

__all__ = [
    "UNRECORDED",
    "Run",
    "Spare",
    "called",
    "environments",
    "find",
    "held",
    "holder",
    "is_path",
    "latest",
    "lock_of",
    "open_or_join",
    "root",
    "runs",
    "start",
]

CHECKOUT = Path(__file__).resolve().parent.parent
ID = re.compile(r"\d{4}-\d\d-\d\dT\d{6}\.\d{6}Z-[0-9a-f]{6}")
ASKED = ("approved", "hold")  # what others may ask of a run


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
        """The journal's first line: format, place, environment, mode, what was given beside the file."""
        return next((line for line in self.lines() if line["event"] == "opened"), {})

    @property
    def closed(self) -> bool:
        """Whether the run has ended for good: done or rolled back."""
        return any(line["event"] == "closed" for line in self.lines())

    def is_of_another_shift(self, services: Collection[str]) -> bool:
        """Say whether the run has moved traffic, and never between these services: theirs is another release."""
        moved = [line["weights"] for line in self.lines() if line["event"] == "decision"]
        return bool(services and moved) and not any({*services} <= weights.keys() for weights in moved)

    @property
    def world(self) -> str:
        """The local mesh the run is about; "" for AWS."""
        place = place_in(self.opened)
        named = place.world if place else ""
        return named or next((line["world"] for line in self.lines() if line["event"] == "joined"), "")

    @property
    def place(self) -> Place | None:
        """The place the run belongs to; None where its record is of the former format."""
        place = place_in(self.opened)
        return replace(place, world=self.world) if place else None

    @property
    def file(self) -> Path:
        """The journal."""
        return self.folder / "record.jsonl"

    def write(self, event: str, **fields: Any) -> None:
        """Append one line to the journal and force it to the disk; raise RecordError where that cannot be done."""
        line = {
            "event": event,
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            **redacted(fields),
        }
        with _writing(self.folder):
            _append(self.file, line)

    def intended(self, notebook: str, change: Change, before: Any = None) -> None:
        """Write down what is about to be done to what was read `before`, and how it would be taken back."""
        self.write("intended", notebook=notebook, change=_recorded(change), before=fingerprint(before))

    def observed(self, notebook: str, change: Change, state: Any, answer: Any) -> None:
        """Write down what was read after a change, and its inverse with what only the answer could tell."""
        back = _recorded(change)["inverse"]
        told = {"state": _state(state), "answer": _answer(answer)}
        seen = {**told, "inverse": back, "after": fingerprint(state)}
        self.write("observed", notebook=notebook, name=change.name, **seen)

    def lines(self) -> Iterator[dict[str, Any]]:
        """Yield the journal's whole lines; those that are not are left out, and `faults` names them.

        Raises RecordError where there is a journal that cannot be read.
        """
        for line in chain.read_lines(self._read()):
            if line.said is not None:
                yield dict(line.said)

    def faults(self) -> list[str]:
        """Return what is wrong with the journal, in words; a line that a crash cut off is not."""
        found = chain.faults(chain.read_lines(self._read()))
        return [words for _, words, crashed in found if not crashed]

    def cuts(self) -> list[str]:
        """Return which lines a crash cut off, in words."""
        found = chain.faults(chain.read_lines(self._read()))
        return [words for _, words, crashed in found if crashed]

    def digest_of(self, number: Any) -> str:
        """Return the hash of a line by its number; "" where there is none."""
        texts = [line.text for line in chain.read_lines(self._read()) if line.number == number]
        return chain.digest(texts[0]) if texts else ""

    def head(self) -> dict[str, Any]:
        """Return how many lines the journal has, and the hash of the last, which the chain ends with."""
        lines = chain.read_lines(self._read())
        return {"lines": len(lines), "head": chain.digest(lines[-1].text) if lines else ""}

    def require_format(self, why: str) -> None:
        """Raise RecordError where the journal is of the former format."""
        opened = self.opened
        if opened and opened.get("format") != chain.FORMAT:
            raise RecordError(
                f"{why}: run {self.id} was recorded in a former format, which says neither its place nor "
                "whether it is whole",
                hint="runbook status says where things stand; undo it with the version that recorded it, or by hand",
            )

    def require_whole(self, why: str) -> None:
        """Raise RecordError where the journal is of the former format, or is not as it was written."""
        self.require_format(why)
        if not self.opened:
            raise RecordError(f"{why}: the record of run {self.id} has no first line that says what it is of")
        if wrong := self.faults():
            raise RecordError(
                f"{why}: the record of run {self.id} is not as it was written: {wrong[0]}",
                hint=f"runbook verify {self.id} names every such line",
            )

    def kept(self, mark: str, live: Any) -> bool:
        """Say whether what `mark` named is what is there now, or became it by this run's own writes alone."""
        ours, pending = {mark}, dict[str, Any]()
        for line in self.lines():
            if line["event"] == "intended" and line.get("before") in ours:
                pending[line["change"]["name"]] = line["change"]
            elif line["event"] == "observed" and pending.pop(line["name"], None):
                ours.add(str(line.get("after")))
        made = any(_was_made(change, live) for change in pending.values())  # and a crash came before it was observed
        return bool(mark) and (fingerprint(live) in ours or made)

    def _read(self) -> bytes:
        try:
            return self.file.read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise RecordError(
                f"the record in {self.folder} cannot be read: {error.strerror or error}",
                hint="runbook runs lists the others",
            ) from error

    # what others ask of it

    def ask(self, event: str, **fields: Any) -> None:
        """Leave a request for whoever writes the journal; raise RecordError where that cannot be done."""
        now = datetime.now(UTC)
        said = {"event": event, "at": now.isoformat(timespec="milliseconds"), **redacted(fields)}
        folder = self.folder / "requests"
        name = f"{now:%Y-%m-%dT%H%M%S.%fZ}-{secrets.token_hex(4)}.json"
        with _writing(self.folder):
            folder.mkdir(mode=0o700, exist_ok=True)
            replace_privately(folder / name, json.dumps(said, default=str))

    def asked(self) -> list[dict[str, Any]]:
        """Return the requests nobody has taken in yet, the earliest first, each with its file's name."""
        with suppress(RecordError):
            taken = {line.get("request") for line in self.lines()}
            return [said for said in map(_request, self._requests()) if said and said["request"] not in taken]
        return []

    def said(self) -> Iterator[dict[str, Any]]:
        """Yield the journal's lines, and behind them what is asked and not taken in yet."""
        yield from self.lines()
        yield from self.asked()

    def take_in(self) -> None:
        """Write what is asked of the run into its journal. Only whoever is at work on the run does.

        What cannot be written stays asked, and counts all the same.
        """
        with suppress(RecordError):
            for said in self.asked():
                fields = {key: value for key, value in said.items() if key not in ("event", "at")}
                self.write(said["event"], asked=said["at"], **fields)
            for file in self._requests():
                if _request(file):
                    file.unlink(missing_ok=True)

    def _requests(self) -> list[Path]:
        return sorted((self.folder / "requests").glob("*.json"))

    # its end

    def summarise(self, summary: dict[str, Any], *, closes: bool = True) -> None:
        """Close the run where its outcome ends it (and `closes` says so), and write summary.json by rename.

        It carries the journal's head as it is then. Raises RecordError where it cannot be written.
        """
        if closes and summary["outcome"] in ("done", "rolled_back") and not self.closed:
            self.write("closed", outcome=summary["outcome"])
        told = redacted({**summary, "record": self.head()})
        with _writing(self.folder):
            replace_privately(self.folder / "summary.json", json.dumps(told, indent=2, default=str) + "\n")

    def summary(self) -> dict[str, Any] | None:
        """Return the summary, where there is one; raise RecordError where it is not whole."""
        file = self.folder / "summary.json"
        try:
            said = json.loads(file.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            raise RecordError(f"the summary in {file} cannot be read: {error}", hint=_see(self.id)) from None
        if not isinstance(said, dict):
            raise RecordError(f"the summary in {file} is no summary", hint=_see(self.id))
        return said


def _see(run: str) -> str:
    return f"its record is beside it: runbook verify {run}"


UNRECORDED = "its inverse holds what may not be recorded"
DEFINITIONS = (("ecs", "register_task_definition"), ("ecs", "create_service"))  # whose arguments may hold anything


def _recorded(change: Change) -> dict[str, Any]:
    """Return a change as it may be recorded: a definition by a hash, an inverse exactly or not at all."""
    said = asdict(change)
    said["expected"], said["wanted"] = _state(said["expected"]), _state(said["wanted"])
    if (change.call.service, change.call.operation) in DEFINITIONS:
        said["call"]["arguments"] = _named(said["call"]["arguments"])
        said["diff"] = []
    if fingerprint(redacted(said["inverse"])) != fingerprint(said["inverse"]):
        said |= {"inverse": None, "no_inverse": UNRECORDED}
    return said


def _named(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return what names the arguments of a definition: its family or service, and a hash."""
    names = {key: arguments[key] for key in ("family", "cluster", "serviceName") if key in arguments}
    return {**names, "sha256": fingerprint(arguments)}


def _state(state: Any) -> Any:
    """Return of a state what a record needs: not the settings by which a service could be made again."""
    return {k: v for k, v in state.items() if k != "settings"} if isinstance(state, Mapping) else state


def _answer(answer: Any) -> dict[str, Any]:
    """Return of an answer what an inverse may need later: the name of the revision that was made."""
    made = answer.get("taskDefinition") if isinstance(answer, Mapping) else None
    arn = made.get("taskDefinitionArn") if isinstance(made, Mapping) else None
    return {"taskDefinition": {"taskDefinitionArn": arn}} if arn else {}


def _was_made(change: Any, live: Any) -> bool:
    """Say whether a versioned state is exactly what a change that nobody observed would have made of it."""
    before = change.get("expected")
    both = isinstance(before, dict) and isinstance(live, dict) and "version" in before
    return both and live.get("version") == before["version"] + 1 and holds(live, change.get("wanted"))


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
        for folder in (_user_state(), Path(tempfile.gettempdir())):
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


def _append(file: Path, line: dict[str, Any]) -> None:
    """Append a line that carries the hash of the one before it; whoever else appends waits."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    with os.fdopen(os.open(file, flags, 0o600), "rb+", buffering=0) as journal:
        fcntl.flock(journal, fcntl.LOCK_EX)
        before = _last_line(journal)
        parting = b"\n" if before and not before.endswith(b"\n") else b""  # what a crash cut off stays as it is
        chained = {**line, "prev": chain.digest(before.removesuffix(b"\n"))}
        left = parting + json.dumps(chained, default=str).encode() + b"\n"
        while left:
            left = left[journal.write(left) or 0 :]
        os.fsync(journal.fileno())


def _last_line(journal: Any) -> bytes:
    """Return a file's last line with its end, where it has one."""
    at = journal.seek(0, os.SEEK_END)
    found = b""
    while at and b"\n" not in found[:-1]:
        size = min(at, 65536)
        at -= size
        found = os.pread(journal.fileno(), size, at) + found
    return found[found.rfind(b"\n", 0, -1) + 1 :] if found else b""


def _request(file: Path) -> dict[str, Any] | None:
    """Return what a file asks; None where it is no request."""
    with suppress(OSError):
        said = chain.parsed(file.read_bytes())
        return {**said, "request": file.name} if said and said["event"] in ASKED else None
    return None


def start(environment: str, base: str | None = None, place: Place | None = None, **opened: Any) -> Run:
    """Create a run's folder, and point `latest` at it; `opened` goes into the journal's first line.

    Raises RecordError where that cannot be done.
    """
    name = f"{datetime.now(UTC):%Y-%m-%dT%H%M%S.%fZ}-{secrets.token_hex(3)}"
    folder = _base(base) / environment / name
    with _writing(folder):
        private_folder(folder)
        if _base(base).resolve() != root().resolve():  # a run kept elsewhere is found by its id too
            private_folder(root() / environment)
            (root() / environment / name).symlink_to(folder.resolve())
        _point_at(folder)
    run = Run(folder)
    said = {"environment": environment, "mode": "apply", "place": asdict(place) if place else None}
    run.write("opened", **{"format": chain.FORMAT, **said, **opened})
    return run


def _point_at(folder: Path) -> None:
    """Let `latest` name a run; where somebody put a folder there it stays, since nothing depends on the pointer."""
    link = folder.parent / f".latest-{folder.name}"
    link.symlink_to(folder.name)
    try:
        link.replace(folder.parent / "latest")
    except IsADirectoryError:
        link.unlink()


@contextmanager
def _writing(folder: Path, *, but: type[OSError] | tuple[()] = ()) -> Iterator[None]:
    """Turn what a disk, or whoever took the folder away, does to a writer into one sentence."""
    try:
        yield
    except but:
        raise
    except OSError as error:
        raise RecordError(
            f"the record in {folder} cannot be written: {error.strerror or error}",
            hint="free the disk or give the folder back, then run again: it goes on from where AWS stands",
        ) from error


def latest(
    environment: str, base: str | None = None, place: Place | None = None, *, whenever: bool = False
) -> Run | None:
    """Return an environment's newest run that applies (of `place`, where one is said), if it has one."""
    return next(runs(environment, base, place, whenever=whenever), None)


def runs(
    environment: str, base: str | None = None, place: Place | None = None, *, whenever: bool = False
) -> Iterator[Run]:
    """Yield an environment's runs that apply, the newest first; of one place where that is said.

    With `whenever` a run of a local mesh that is gone is of that place too. What has no readable record is
    passed over.
    """
    for run in _every(_base(base) / environment):
        with suppress(RecordError):
            if run.opened.get("mode") == "apply" and (place is None or _is_of(run, place, whenever)):
                yield run


def _is_of(run: Run, place: Place, whenever: bool) -> bool:
    own = run.place
    return own is not None and place.has(own.site if whenever else own)


def _every(folder: Path) -> list[Run]:
    """Return every run in an environment's folder, the newest first."""
    paths = sorted((path for path in _inside(folder) if ID.fullmatch(path.name)), reverse=True)
    return [Run(path.readlink() if path.is_symlink() else path) for path in paths]


def _inside(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def open_or_join(
    environment: str,
    base: str | None = None,
    place: Place | None = None,
    *,
    about: Collection[str] = (),
    **opened: Any,
) -> Run:
    """Return the run that is under way in a place, or a new one where the last there has ended.

    It has also ended where it moved traffic between other services than those it is to be `about`.
    """
    run = latest(environment, base, place)
    if run is None or run.closed or run.is_of_another_shift(about):
        return start(environment, base, place, **opened)
    return run


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
        with _writing(Path(lock.lock_file).parent, but=Timeout):
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

    It is one for each place, whatever the checkout: that of a place on AWS is in this user's own folder, that of
    a local mesh beside what the mesh keeps. Its name is of one length, however long the place's names are.
    """
    place = run.place
    key = place.key if place else f"unplaced-{chain.digest(str(run.folder.parent).encode())[:16]}"
    folder = _local_state() if place is None or place.target == "local" else _user_state()
    file = folder / "locks" / f"{key}.lock"
    with _writing(file.parent):
        private_folder(file.parent)
    return FileLock(file, thread_local=False, mode=0o600)


def _user_state() -> Path:
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "runbook"


def _local_state() -> Path:
    return Path(os.environ.get("RUNBOOK_STATE") or CHECKOUT / ".runbook")


def _note(lock: FileLock) -> Path:
    return Path(lock.lock_file).with_suffix(".holder.json")


def _write_note(lock: FileLock, run: Run, who: str) -> None:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    said = {"run": run.id, "who": who, "since": since, "pid": os.getpid(), "host": socket.gethostname()}
    with _writing(Path(lock.lock_file).parent):
        replace_privately(_note(lock), json.dumps(redacted(said)))


def _noted(lock: FileLock) -> dict[str, Any]:
    try:
        said = json.loads(_note(lock).read_bytes())
    except (OSError, ValueError):
        return {}
    return dict(said) if isinstance(said, dict) else {}


def find(run: str, base: str | None = None) -> Run:
    """Return a run by its id, or its folder's path; raise ParametersError where there is none, or several.

    A name is exact, and a folder is taken only as a path: with a separator in it, or a dot before it.
    """
    if is_path(run):
        if not (Path(run) / "record.jsonl").exists():
            raise ParametersError(f"run: there is no record in {run}", hint="runbook runs")
        return Run(Path(run).resolve())
    hits = {path.resolve() for folder in _inside(_base(base)) for path in _inside(folder) if path.name == run}
    hits = {path for path in hits if ID.fullmatch(run)}
    if len(hits) == 1:
        return Run(hits.pop())
    if hits:
        found = ", ".join(str(path) for path in sorted(hits))
        raise ParametersError(f"run: {run} is there several times: {found}", hint="name one by its folder's path")
    raise ParametersError(f"run: nothing is recorded under {run!r} in {_base(base).name}/", hint="runbook runs")


def environments(base: str | None = None) -> list[str]:
    """Return the names under which runs are recorded."""
    return sorted(folder.name for folder in _inside(_base(base)) if folder.is_dir() and _every(folder))


def called(environment: str, base: str | None = None) -> list[Run]:
    """Return every run recorded under exactly this environment's name, the newest first."""
    exact = [folder for folder in _inside(_base(base)) if folder.name == environment and not folder.is_symlink()]
    return [run for folder in exact for run in _every(folder)]


def is_path(name: str) -> bool:
    """Say whether a name is a path: it has a separator in it, or begins with a dot."""
    return os.sep in name or name.startswith(".")


def _base(base: str | None) -> Path:
    """Return the folder runs are kept in; a relative one is this checkout's, wherever the caller stands."""
    return CHECKOUT / base if base and "://" not in base else root()
