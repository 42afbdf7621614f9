"""Write and read one run: its journal of changes, its requests, its summary.

The journal is evidence and the source of undo; nothing's correctness depends on it,
since where things stand is always read from AWS. Whoever is at work on a run writes its
journal; what others have to say to it (an approval, a hold) waits in its `requests/`
until the writer takes it in.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runbook_lib.errors import RecordError
from runbook_lib.plan import Change, fingerprint, holds, stored
from runbook_lib.private import replace_privately
from runbook_lib.record import chain
from runbook_lib.record.copies import Copy, damage, is_copied
from runbook_lib.record.paths import writing
from runbook_lib.record.place import Place, place_in
from runbook_lib.redaction import redacted
from runbook_lib.shipped import user_state

# what others may say to a run
ASKED = ("approved", "hold", "promote", "undelivered")
UNRECORDED = "its inverse holds what may not be recorded"
# whose arguments may hold anything
DEFINITIONS = (("ecs", "register_task_definition"), ("ecs", "create_service"))


@dataclass(frozen=True)
class Run:
    """One run's folder, and its copy where it has one."""

    folder: Path
    copy: Copy | None = field(default=None, compare=False, repr=False)

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
        """The journal's first line: format, place, environment, mode, what was
        given beside the file.
        """
        return next((line for line in self.lines() if line["event"] == "opened"), {})

    @property
    def closed(self) -> bool:
        """Whether the run has ended: done or rolled back, and no part
        of it was undone since.
        """
        closed = False
        for line in self.lines():
            if line["event"] == "closed":
                closed = True
            elif _undoes(line):
                closed = False
        return closed

    @property
    def worked(self) -> bool:
        """Whether the run changed or decided anything."""
        return any(line["event"] in ("intended", "decision") for line in self.lines())

    def is_of_another_shift(self, services: Collection[str]) -> bool:
        """Say whether the run has moved traffic, and never between these services:
        theirs is another release.
        """
        moved = [
            line["weights"] for line in self.lines() if line["event"] == "decision"
        ]
        return bool(services and moved) and not any(
            {*services} <= weights.keys() for weights in moved
        )

    @property
    def world(self) -> str:
        """The local mesh the run is about; "" for AWS."""
        place = place_in(self.opened)
        named = place.world if place else ""
        return named or next(
            (line["world"] for line in self.lines() if line["event"] == "joined"), ""
        )

    @property
    def place(self) -> Place | None:
        """The place the run belongs to; None where its record is of
        the former format.
        """
        place = place_in(self.opened)
        return replace(place, world=self.world) if place else None

    @property
    def is_copied(self) -> bool:
        """Whether the run has a copy elsewhere, as far as this machine knows."""
        return is_copied(self.folder)

    @property
    def file(self) -> Path:
        """The journal."""
        return self.folder / "record.jsonl"

    def write(self, event: str, **fields: Any) -> None:
        """Append one line to the journal and force it to the disk; raise RecordError
        where that cannot be done.
        """
        line = {
            "event": event,
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            **redacted(fields),
        }
        with writing(self.folder):
            _append(self.file, line)
        if self.copy:
            self.copy.send_soon()

    def require_stored(self, *, files: bool = False) -> None:
        """Return once every line is in the run's copy, where it has one (and its other
        files, where they are meant too); raise RecordError where that cannot be.
        """
        if self.copy and files:
            self.copy.send()
        elif self.copy:
            self.copy.send_lines()

    def intended(
        self, notebook: str, change: Change, before: Any = None, by: str = ""
    ) -> None:
        """Write down what is about to be done to what was read `before`, how it would
        be undone, and by whom: the ARN that signs.
        """
        self.write(
            "intended",
            notebook=notebook,
            by=by,
            change=_recorded(change),
            before=fingerprint(before),
        )

    def observed(self, notebook: str, change: Change, state: Any, answer: Any) -> None:
        """Write down what was read after a change, and its inverse with what only the
        answer could tell.
        """
        back = _recorded(change)["inverse"]
        told = {"state": stored(_state(state)), "answer": _answer(answer)}
        seen = {**told, "inverse": back, "after": fingerprint(state)}
        self.write("observed", notebook=notebook, name=change.name, **seen)

    def lines(self) -> Iterator[dict[str, Any]]:
        """Yield the journal's whole lines; those that are not are left out, and
        `faults` names them.

        Raises RecordError where there is a journal that cannot be read.
        """
        for line in chain.read_lines(self._read()):
            if line.said is not None:
                yield dict(line.said)

    def faults(self) -> list[str]:
        """Return what is wrong with the journal, in words; a line that a
        crash cut off is not.
        """
        found = chain.faults(chain.read_lines(self._read()))
        return [words for _, words, crashed in found if not crashed]

    def cuts(self) -> list[str]:
        """Return which lines a crash cut off, in words."""
        found = chain.faults(chain.read_lines(self._read()))
        return [words for _, words, crashed in found if crashed]

    def digest_of(self, number: Any) -> str:
        """Return the hash of a line by its number; "" where there is none."""
        texts = [
            line.text
            for line in chain.read_lines(self._read())
            if line.number == number
        ]
        return chain.digest(texts[0]) if texts else ""

    def head(self) -> dict[str, Any]:
        """Return how many lines the journal has, and the hash of the last, which
        the chain ends with.
        """
        lines = chain.read_lines(self._read())
        return {
            "lines": len(lines),
            "head": chain.digest(lines[-1].text) if lines else "",
        }

    def is_readable(self, since: int = chain.FORMAT) -> bool:
        """Say whether the journal is of a format that this version reads."""
        return self.opened.get("format") in range(since, chain.FORMAT + 1)

    def store_soon(self) -> None:
        """Have the run's copy brought up to date beside what goes on here."""
        if self.copy:
            self.copy.send_soon(files=True)

    def require_format(self, why: str, since: int = chain.FORMAT) -> None:
        """Raise RecordError where the journal is of a format before `since`."""
        if self.opened and not self.is_readable(since):
            form = self.opened.get("format", 1)
            raise RecordError(
                f"{why}: run {self.id} was recorded in a former format: "
                f"expected format {chain.FORMAT}, found format {form}",
                hint="runbook status says where things stand; undo it with the "
                "version that recorded it, or by hand",
            )

    def require_whole(self, why: str) -> None:
        """Raise RecordError where the journal is of a former format, or is
        not as it was written.
        """
        self.require_format(why)
        if not self.opened:
            raise RecordError(
                f"{why}: the record of run {self.id} has no first line that "
                "says what it is of"
            )
        if wrong := self.faults():
            raise RecordError(
                f"{why}: the record of run {self.id} is not as it was "
                f"written: {wrong[0]}",
                hint=f"runbook verify {self.id} names every such line",
            )

    def kept(self, mark: str, live: Any) -> bool:
        """Say whether what `mark` named is what is there now, or became it by this
        run's own writes alone.
        """
        ours, pending = {mark}, dict[str, Any]()
        for line in self.lines():
            if line["event"] == "intended" and line.get("before") in ours:
                pending[line["change"]["name"]] = line["change"]
            elif line["event"] == "observed" and pending.pop(line["name"], None):
                ours.add(str(line.get("after")))
        # and a crash came before it was observed
        made = any(_was_made(change, live) for change in pending.values())
        return bool(mark) and (fingerprint(live) in ours or made)

    def _read(self) -> bytes:
        if wrong := damage(self.folder):
            raise RecordError(
                f"the record of run {self.id} is not as it was stored: {wrong}",
                hint="find out who wrote there; where it was another machine that went "
                f"on with the run, move {self.folder} away: it is brought anew",
            )
        try:
            return self.file.read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise RecordError(
                f"the record in {self.folder} cannot be read: "
                f"{error.strerror or error}",
                hint="runbook runs lists the others",
            ) from error

    # what others ask of it

    def ask(self, event: str, **fields: Any) -> None:
        """Leave a request for whoever writes the journal; raise RecordError where
        that cannot be done.
        """
        now = datetime.now(UTC)
        said = {
            "event": event,
            "at": now.isoformat(timespec="milliseconds"),
            **redacted(fields),
        }
        folder = self.folder / "requests"
        name = f"{now:%Y-%m-%dT%H%M%S.%fZ}-{secrets.token_hex(4)}.json"
        text = json.dumps(said, default=str)
        if self.copy:
            self.copy.ask(name, text)
        with writing(self.folder):
            folder.mkdir(mode=0o700, exist_ok=True)
            replace_privately(folder / name, text)

    def has_requests(self) -> bool:
        """Say whether a request may wait that nobody has taken in: of no more than the
        names of files. What is asked elsewhere is here by the next time.
        """
        if self.copy:
            self.copy.look_soon()
        return bool(self._requests())

    def asked(self) -> list[dict[str, Any]]:
        """Return the requests nobody has taken in yet, the earliest first, each
        with its file's name.
        """
        with suppress(RecordError):
            taken = {line.get("request") for line in self.lines()}
            return [
                said
                for said in map(_request, self._requests())
                if said and said["request"] not in taken
            ]
        return []

    def said(self) -> Iterator[dict[str, Any]]:
        """Yield the journal's lines, and behind them what is asked
        and not taken in yet.
        """
        yield from self.lines()
        yield from self.asked()

    def take_in(self) -> None:
        """Write what is asked of the run into its journal. Only whoever is at
        work on the run does.

        What cannot be written stays asked, and counts all the same. What is asked
        elsewhere is here by the next time.
        """
        if self.copy:
            self.copy.look_soon()
        with suppress(RecordError):
            for said in self.asked():
                fields = {
                    key: value
                    for key, value in said.items()
                    if key not in ("event", "at")
                }
                self.write(said["event"], asked=said["at"], **fields)
            for file in self._requests():
                if _request(file):
                    file.unlink(missing_ok=True)

    def _requests(self) -> list[Path]:
        # one that is just being written has a dot before its name
        return sorted((self.folder / "requests").glob("[0-9]*.json"))

    # its end

    def summarise(self, summary: dict[str, Any], *, closes: bool = True) -> None:
        """Close the run where its outcome ends it (and `closes` says so), and write
        summary.json by rename.

        It carries the journal's head as it is then. Raises RecordError where it
        cannot be written.
        """
        if closes and summary["outcome"] in ("done", "rolled_back") and not self.closed:
            self.write("closed", outcome=summary["outcome"])
        told = redacted({**summary, "record": self.head()})
        with writing(self.folder):
            replace_privately(
                self.folder / "summary.json",
                json.dumps(told, indent=2, default=str) + "\n",
            )

    def summary(self) -> dict[str, Any] | None:
        """Return the summary, where there is one; raise RecordError
        where it is not whole.
        """
        file = self.folder / "summary.json"
        try:
            said = json.loads(file.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            raise RecordError(
                f"the summary in {file} cannot be read: {error}", hint=_see(self.id)
            ) from None
        if not isinstance(said, dict):
            raise RecordError(
                f"the summary in {file} is no summary", hint=_see(self.id)
            )
        return said


def _undoes(line: Mapping[str, Any]) -> bool:
    """Say whether a line is the intention to undo a change."""
    change = line.get("change")
    return (
        line["event"] == "intended"
        and isinstance(change, Mapping)
        and bool(change.get("undoes"))
    )


def _see(run: str) -> str:
    return f"its record is beside it: runbook verify {run}"


def _recorded(change: Change) -> dict[str, Any]:
    """Return a change as it may be recorded: a definition by a hash, an inverse
    exactly or not at all.
    """
    said: dict[str, Any] = stored(change)
    said["expected"], said["wanted"] = _state(said["expected"]), _state(said["wanted"])
    if (change.call.service, change.call.operation) in DEFINITIONS:
        said["call"]["arguments"] = _named(said["call"]["arguments"])
        said["diff"] = []
    if fingerprint(redacted(said["inverse"])) != fingerprint(said["inverse"]):
        said |= {"inverse": None, "no_inverse": UNRECORDED}
    return said


def _named(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return what names the arguments of a definition: its family or
    service, and a hash.
    """
    names = {
        key: arguments[key]
        for key in ("family", "cluster", "serviceName")
        if key in arguments
    }
    return {**names, "sha256": fingerprint(arguments)}


def _state(state: Any) -> Any:
    """Return of a state what a record needs: not the settings by which a service
    could be made again.
    """
    return (
        {k: v for k, v in state.items() if k != "settings"}
        if isinstance(state, Mapping)
        else state
    )


def _answer(answer: Any) -> dict[str, Any]:
    """Return of an answer what an inverse may need later: the name of the
    revision that was made.
    """
    made = answer.get("taskDefinition") if isinstance(answer, Mapping) else None
    arn = made.get("taskDefinitionArn") if isinstance(made, Mapping) else None
    return {"taskDefinition": {"taskDefinitionArn": arn}} if arn else {}


def _was_made(change: Any, live: Any) -> bool:
    """Say whether a versioned state is exactly what a change that nobody observed
    would have made of it.
    """
    before = change.get("expected")
    both = isinstance(before, dict) and isinstance(live, dict) and "version" in before
    return (
        both
        and live.get("version") == before["version"] + 1
        and holds(live, change.get("wanted"))
    )


@dataclass
class Spare:
    """What a run's folder would not take: lines in a folder of their own, or nowhere.

    `why` is the last reason, "" where everything was recorded.
    """

    why: str = ""
    kept: Run | None = None
    lost: int = 0

    def keep(self, write: Callable[[Run], None], error: RecordError) -> None:
        """Let `write` put a line where there is room for it: in the state folder, or
        among temporary files.
        """
        self.why = str(error.__cause__ or error.message)
        for folder in (user_state(), Path(tempfile.gettempdir())):
            with suppress(OSError, RecordError):
                if self.kept is None:
                    folder.mkdir(parents=True, exist_ok=True)
                    self.kept = Run(
                        Path(tempfile.mkdtemp(prefix="runbook-unrecorded-", dir=folder))
                    )
                write(self.kept)
                return
            self.kept = None
        self.lost += 1

    @property
    def words(self) -> str:
        """Say that the record is incomplete and where the rest is;
        "" where it is not.
        """
        if not self.why:
            return ""
        where = (
            f"what is missing is in {self.kept.folder}"
            if self.kept
            else "what is missing could be kept nowhere"
        )
        return f"the record is incomplete ({self.why}): {where}"


def _append(file: Path, line: dict[str, Any]) -> None:
    """Append a line that carries the hash of the one before it; whoever
    else appends waits.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    with os.fdopen(os.open(file, flags, 0o600), "rb+", buffering=0) as journal:
        fcntl.flock(journal, fcntl.LOCK_EX)
        before = _last_line(journal)
        # what a crash cut off stays as it is
        parting = b"\n" if before and not before.endswith(b"\n") else b""
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
        return (
            {**said, "request": file.name} if said and said["event"] in ASKED else None
        )
    return None
