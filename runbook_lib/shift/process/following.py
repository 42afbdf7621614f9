"""Start a shift in a process of its own where none runs, and follow it.

Notebook, panel and commands all go through here. Who follows decides nothing: it hears
what the process says (`report`), tells it, and ends with the very error that the shift
ended with. Where nothing carries traffic, the shift runs in this process.
"""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from runbook_lib import record
from runbook_lib.aws.session import Session, opening
from runbook_lib.detached import start_detached
from runbook_lib.errors import CallError, Failed, LockError, NotFollowed, RecordError
from runbook_lib.plan import Evidence, Plan
from runbook_lib.private import private_opener
from runbook_lib.shift.decision import Decision
from runbook_lib.shift.process import report
from runbook_lib.shift.process.report import (
    BUSY,
    Ending,
    Heard,
    Orders,
    Report,
    Wait,
    What,
)
from runbook_lib.shift.requirements import require_evidence
from runbook_lib.shift.shifting import (
    Decisions,
    anything_left,
    mark_of,
    shift_traffic,
    take_step,
)
from runbook_lib.survey import survey

LOOK_SECONDS = 0.2  # between two looks at what the process says
START_SECONDS = 90.0  # until it says something: a busy machine imports slowly
END_SECONDS = 20.0  # until it is gone once it has said how it ended
TRIES = 3  # processes in a row that are killed


class Process(Protocol):
    """A process that was started here."""

    @property
    def pid(self) -> int:
        """Its number."""

    def poll(self) -> int | None:
        """Return the exit code; None while it runs."""


Start = Callable[[Orders, Path], Process]
Alarm = Callable[[str], None]


def follow_traffic(
    session: Session, *evidence: Evidence, alarm: Alarm, start: Start | None = None
) -> Decisions:
    """Take every step that is left, in a process of its own, and yield what it decides.

    One that runs already is followed. `alarm` is told where the process was killed.
    Raises what `shift_traffic` raises, and NotFollowed on an interrupt by hand. Where
    the command leaves the shift, this ends once users are on the canary.
    """
    if not _in_own_process(session):
        yield from shift_traffic(session, *evidence)
        return
    require_evidence(evidence)
    follower = _Follower(session, alarm, start or start_process)
    if follower.is_under_way or _anything_left(session):
        shift = follower.follow(follower.orders("every step", evidence))
        for decision in shift:
            try:
                yield decision
            except KeyboardInterrupt as interrupt:
                shift.throw(interrupt)  # it ends by saying how the shift goes on
            if decision.step and session.leaves_shift:
                return


def follow_step(
    session: Session,
    step: int,
    shown: Plan,
    *evidence: Evidence,
    start: Start | None = None,
) -> Decisions:
    """Take one step in a process of its own, which watches it, and yield as above.

    Whoever needs no more than the write stops listening: the process goes on.
    """
    if not _in_own_process(session):
        yield from take_step(session, step, mark_of(shown), *evidence)
        return
    require_evidence(evidence)
    follower = _Follower(session, lambda words: None, start or start_process)
    follower.require_free()
    orders = follower.orders("one step", evidence)
    yield from follower.follow(replace(orders, step=step, plan=mark_of(shown)))


def follow_watch(
    session: Session, *, alarm: Alarm, start: Start | None = None
) -> Decisions:
    """Follow the shift under way; where there is none, let a process watch the weight
    that the canary has, and yield as above. It takes no step.
    """
    if not _in_own_process(session):
        return
    follower = _Follower(session, alarm, start or start_process)
    if follower.is_under_way or survey(session).canary_weight:
        yield from follower.follow(follower.orders("no step", ()))


def _in_own_process(session: Session) -> bool:
    return session.applies and session.connection.carries_traffic


def _anything_left(session: Session) -> bool:
    """Say whether there is anything to start for; the process asks AWS patiently."""
    try:
        return anything_left(session)
    except CallError as error:
        if not error.heals:
            raise
        return True


class _Follower:
    """Whoever follows the shift at a session's place."""

    def __init__(self, session: Session, alarm: Alarm, start: Start) -> None:
        self.session, self.alarm, self.start = session, alarm, start
        self.lock = record.shift_lock_of(session.place)
        self.file = report.file_of(self.lock.lock_file)
        self.log = self.file.with_suffix(".log")
        self.heard = Heard()
        self.wait: Wait | None = None
        self.pid = 0
        self.interrupted = False

    @property
    def is_under_way(self) -> bool:
        """Whether somebody shifts at the place."""
        return record.is_held(self.lock)

    def require_free(self) -> None:
        """Raise LockError where a shift is under way: its steps are its own.

        Who only goes on watching a step that has passed is relieved.
        """
        if self.is_under_way and not self._may_be_relieved("one step"):
            raise self._busy()

    def _may_be_relieved(self, what: What) -> bool:
        said = report.read(self.file)
        return said is not None and said.stays and what != "no step"

    def _require_same(self, orders: Orders) -> None:
        """Raise LockError where another shift takes other steps than were ordered."""
        if orders.what == "one step":
            raise self._busy()

    def _busy(self) -> LockError:
        words = f"{self.session.parameters.environment}: a shift is under way"
        return LockError(words, hint=f"hold it: `runbook hold {self.session.named}`")

    def orders(self, what: What, evidence: Sequence[Evidence]) -> Orders:
        """Return what the process is told: this environment, as it was opened here."""
        session = self.session
        opened = opening(session.parameters, session.file, session.given)
        return Orders(
            id=_new_id(),
            file=str(opened["file"]),
            given=opened["given"],
            notebook=session.notebook,
            lock=self.lock.lock_file,
            report=str(self.file),
            what=what,
            evidence=report.stated(evidence),
        )

    def follow(self, orders: Orders) -> Decisions:
        """Follow the shift to its end, starting it where none runs (any more).

        Somebody else's may have taken one step alone: then the rest is started.
        """
        killed = 0
        while killed < TRIES:
            waits = self.is_under_way and not self._may_be_relieved(orders.what)
            process = None if waits else self._started(orders)
            last = yield from self._hear(process, orders)
            if last is not None:
                if last.ending is not None:
                    self._end(last.ending)
                rest_is_left = last.leaves_steps and orders.what == "every step"
                if last.id == orders.id or not rest_is_left:
                    return
            elif self.interrupted:
                raise KeyboardInterrupt
            else:
                killed += 1
                words = f"process {self.pid}, which watched the shift, was killed"
                self.alarm(f"{words}; a new one goes on with the evidence so far")
            orders = replace(orders, id=_new_id())
        raise self._failed(f"the process that shifts was killed {TRIES} times in a row")

    def _started(self, orders: Orders) -> Process:
        try:
            process = self.start(orders, self.log)
        except OSError as error:
            words = f"no process could be started: {error.strerror or error}"
            raise self._failed(words) from error
        self.pid = process.pid
        return process

    def _hear(self, process: Process | None, orders: Orders) -> Hearing:
        """Yield what the process says; return its last word, None where it was killed.

        Who has no more to say than that a step that has passed stays watched goes on.

        `process` is the one that was started here, None where another one is followed.
        """
        deadline = self.session.clock() + START_SECONDS
        while True:
            try:
                if process is not None and process.poll() == BUSY:
                    self._require_same(orders)
                    process = None  # another one was quicker
                alive = self._is_alive(process)  # whoever is gone has said all
                said = self._newest(orders.id if process else "", alive=alive)
                if said is not None:
                    yield from self._tell(said)
                    if said.has_ended:
                        self._wait_until_gone(process)
                    if said.has_ended or said.stays:
                        return said
                if not alive:
                    return _last_by_exit_code(process, orders.id)
                if not self.heard.id and self.session.clock() > deadline:
                    raise self._failed(f"it said nothing in {START_SECONDS:g} s")
                self.session.sleep(LOOK_SECONDS)
            except KeyboardInterrupt:
                self._interrupt()

    def _newest(self, own_id: str, *, alive: bool) -> Report | None:
        """Return what the process says; None where that is of one before it."""
        if own_id:
            return self._own(own_id)
        said = report.read(self.file)
        if said is None:
            return None
        former = said.has_ended and said.id != self.heard.id
        return None if former and alive else said

    def _own(self, own_id: str) -> Report | None:
        """Return what the process that was started here says, before it took over from
        another one or since.
        """
        for file in (self.file, report.claim_beside(self.file)):
            said = report.read(file)
            if said is not None and said.id == own_id:
                return said
        return None

    def _is_alive(self, process: Process | None) -> bool:
        if process is not None:
            return process.poll() is None
        return self.is_under_way

    def _tell(self, said: Report) -> Iterator[Decision]:
        """Yield what was not heard yet, and tell of the wait."""
        fresh, self.heard = report.news(said, self.heard)
        self.pid = said.pid
        if fresh and self.session.run is None:
            with suppress(RecordError):
                self.session.run = self.session.latest_run()
        self._tell_wait(said.wait)
        yield from fresh

    def _tell_wait(self, wait: Wait | None) -> None:
        """Tell of a wait, and once of its end."""
        newest = wait or (replace(self.wait, what="") if self.wait else None)
        if newest is not None and wait != self.wait:
            self.session.waiting(newest.what, newest.passed, newest.most)
        self.wait = wait

    def _wait_until_gone(self, process: Process | None) -> None:
        until = self.session.clock() + END_SECONDS
        while self._is_alive(process) and self.session.clock() < until:
            self.session.sleep(LOOK_SECONDS / 4)

    def _end(self, ending: Ending) -> None:
        """Know what the shift has done, and raise what it ended with."""
        self.session.written += ending.written
        self.session.leave_closed_run()
        error = report.error_of(ending, str(self.log))
        if error is not None:
            raise error

    def _interrupt(self) -> None:
        """Pass an interrupt on where a command executes this; else stop following."""
        if not self.session.is_executed or not self.pid:
            raise self._not_followed() from None
        self.interrupted = True
        if self.is_under_way:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGINT)

    def _not_followed(self) -> NotFollowed:
        named, run = self.session.named, self.session.run
        held = run.id if run else named
        words = f"this cell stopped following; the shift goes on in process {self.pid}"
        hint = (
            f"run the cell again to follow it; `runbook hold {held}` holds it; "
            f"`runbook rollback {named}` rolls back"
        )
        return NotFollowed(words, hint=hint)

    def _failed(self, words: str) -> Failed:
        hint = f"see {self.log}; `runbook rollback {self.session.named}` rolls back"
        return Failed(f"shift: {words}", hint=hint, reason="watcher")


Hearing = Generator[Decision, None, Report | None]


def _last_by_exit_code(process: Process | None, orders_id: str) -> Report | None:
    """Return the end of a process that could not say it; None where it was killed."""
    code = process.poll() if process is not None else None
    if process is None or code is None or code < 0:
        return None
    return Report(orders_id, process.pid, ending=report.ending_of_code(code))


def _new_id() -> str:
    return secrets.token_hex(8)


def start_process(orders: Orders, log: Path) -> Process:
    """Start the process that shifts; return it. Raises OSError."""
    module, words = "runbook_lib.shift.process.watcher", [Path(orders.file).stem]
    with open(log, "wb", opener=private_opener) as written:
        return start_detached(module, report.as_bytes(orders), words, written)
