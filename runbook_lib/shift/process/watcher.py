"""The process that shifts: it holds the shift's lock, and says where it stands.

    python -m runbook_lib.shift.process.watcher ENVIRONMENT < orders

`following` starts it, and reads what it says. It outlives whoever started it: a kernel,
a browser, a terminal. It ends with the shift; SIGINT and SIGTERM hold it, SIGHUP does
nothing. A step that was taken alone stays watched after it has passed, and so does one
whose next is refused, for want of an approval, say: then this goes on until the process
that takes the next one is ready (`claim_beside`). The words of the command line are for
whoever looks at a list of processes.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from runbook_lib import notifying, opening, record
from runbook_lib.aws.session import Session
from runbook_lib.errors import RecordError, RunbookError, TargetError
from runbook_lib.plan import Evidence
from runbook_lib.printable import one_line
from runbook_lib.private import UMASK
from runbook_lib.redaction import scrubbed
from runbook_lib.runs.history import read_attempt
from runbook_lib.runs.verify import steps_of
from runbook_lib.shift.decision import Decision
from runbook_lib.shift.observing import Relieved
from runbook_lib.shift.process import report
from runbook_lib.shift.process.report import (
    BUSY,
    INTERRUPT,
    OUTCOMES,
    Ending,
    Orders,
    Report,
    Wait,
)
from runbook_lib.shift.rolling_back import HELD
from runbook_lib.shift.shifting import (
    Decisions,
    shift_traffic,
    take_step,
    watch_traffic,
)

LOCK_SECONDS = 2.0  # whoever looks whether a lock is held holds it for a moment
WAIT_SECONDS = 1.0  # between two reports of one wait
UNHARMED = (2,)  # exit codes of which nobody but the follower needs to hear
RELIEF_SECONDS = 60.0  # until who stays has ended the look at which it is relieved


class Board:
    """The file that followers read. What the disk does not take stops no shift."""

    def __init__(
        self, file: Path, orders_id: str, *, leaves_steps: bool = False
    ) -> None:
        self.file = file
        self.began = time.time()
        self.claim = report.claim_beside(file)
        before = report.read(file)
        # Who said nothing of its end was killed.
        self.killed = before.pid if before and not before.has_ended else 0
        self.report = Report(orders_id, os.getpid(), leaves_steps)
        self._told_wait = 0.0
        self.put(self.report)

    def put(self, said: Report) -> None:
        """Show a report in place of the former one."""
        self.report = said
        with suppress(OSError):
            report.write(self.file, said)

    def is_relieved(self) -> bool:
        """Say whether another process is ready to take over."""
        said = report.read(self.claim)
        return said is not None and said.ending is None

    def wait(self, what: str, passed: float, most: float) -> None:
        """Show what is waited for; of one wait as often as somebody can read it."""
        now, former = time.monotonic(), self.report.wait
        same = former is not None and former.what == what
        if same and now - self._told_wait < WAIT_SECONDS:
            return
        self._told_wait = now
        self.put(replace(self.report, wait=Wait(what, passed, most)))


def _obey(session: Session, orders: Orders, board: Board) -> None:
    """Do what was ordered to the end, and show each decision; raise as a shift does.

    An interrupt between two decisions is the shift's own: it holds, and says where.
    """
    session.waiting = board.wait
    decisions = _decisions(session, orders, board.is_relieved)
    interrupt: KeyboardInterrupt | None = None
    while True:
        try:
            decision = decisions.throw(interrupt) if interrupt else next(decisions)
            interrupt = None
            _show(session, orders, board, decision)
        except StopIteration:
            return
        except KeyboardInterrupt as caught:
            if interrupt:  # it went through the shift: nothing was under way
                raise
            interrupt = caught


def _show(session: Session, orders: Orders, board: Board, decision: Decision) -> None:
    """Show a decision to followers, and tell people where it rolled back, or where it
    stays and somebody must decide.
    """
    said = report.with_decision(board.report, decision, session.written)
    refusal = said.ending if decision.refused else None
    if refusal:
        with suppress(RecordError):
            if run := _sum_up(session, refusal):
                run.store_soon()
    board.put(said)
    if decision.phase == "rolled back":  # it was made: now it may be told
        reason, _, words = decision.words.partition(": ")
        _tell(session, "rolled_back", reason, words, board.began)
    if refusal:
        _tell_end(session, orders, refusal, board.began)


def _decisions(session: Session, orders: Orders, relieved: Relieved) -> Decisions:
    evidence = [Evidence(e.name, e.holds, e.found, e.hint) for e in orders.evidence]
    if orders.what == "one step":
        return take_step(
            session, orders.step, orders.plan, *evidence, relieved=relieved
        )
    if orders.what == "no step":
        return watch_traffic(session, relieved=relieved)
    return shift_traffic(session, *evidence, relieved=relieved)


def main() -> int:
    """Shift as standard input orders; return the exit code of what came of it."""
    os.umask(UMASK)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    for number in HELD:
        signal.signal(number, signal.default_int_handler)
    orders = report.orders_in(sys.stdin.buffer.read())
    lock = FileLock(orders.lock, thread_local=False, mode=0o600)
    ready: Session | None = None
    if _is_staying(orders):
        try:
            ready = _opened(orders, lock)
        except RunbookError as why:
            return _leave_to_others(orders, why)
        is_ours = _take_over(orders, lock)
    else:
        is_ours = _acquired(lock, LOCK_SECONDS)
    if not is_ours:
        return BUSY
    leaves_steps = orders.what != "every step"
    board = Board(Path(orders.report), orders.id, leaves_steps=leaves_steps)
    session, error = carry_out(orders, board, lambda: ready or _opened(orders, lock))
    for number in HELD:
        signal.signal(number, signal.SIG_IGN)  # it has ended, and says how
    return conclude(orders, board, session, error).exit_code


def _acquired(lock: FileLock, seconds: float) -> bool:
    try:
        lock.acquire(timeout=seconds)
    except Timeout:
        return False
    return True


# Taking over from a process that only goes on watching a step that has passed.


def _is_staying(orders: Orders) -> bool:
    said = report.read(Path(orders.report))
    return said is not None and said.stays and orders.what != "no step"


def _take_over(orders: Orders, lock: FileLock) -> bool:
    """Say that this is ready, and wait until who stays has left; return whether it has.

    Everything is loaded and opened by then: nobody waits for it without a watch.
    """
    claim = report.claim_beside(Path(orders.report))
    with suppress(OSError):
        report.write(claim, Report(orders.id, os.getpid()))
    try:
        return _acquired(lock, RELIEF_SECONDS)
    finally:
        claim.unlink(missing_ok=True)


def _leave_to_others(orders: Orders, error: RunbookError) -> int:
    """Say why this cannot take over: who stays goes on."""
    ending = report.ending_of(error, 0)
    claim = report.claim_beside(Path(orders.report))
    with suppress(OSError):
        report.write(claim, Report(orders.id, os.getpid(), ending=ending))
    return ending.exit_code


def carry_out(
    orders: Orders, board: Board, open_session: Callable[[], Session]
) -> tuple[Session | None, BaseException | None]:
    """Do what was ordered; return the session, and the error that it ended with."""
    session: Session | None = None
    try:
        session = open_session()
        _note_killed(session, board.killed)
        _obey(session, orders, board)
    except (RunbookError, KeyboardInterrupt) as error:
        return session, error
    except Exception as error:  # noqa: BLE001 - it would be nobody's: followers say it
        sys.stderr.write(scrubbed(traceback.format_exc()))
        return session, error
    return session, None


def conclude(
    orders: Orders,
    board: Board,
    session: Session | None,
    error: BaseException | None,
) -> Ending:
    """Close the session and sum up, say so to followers, and tell people.

    Who stays and is relieved has said all: what is left is the next process's to say.
    """
    if session is not None and error is None and board.report.stays:
        session.close()
        ending = board.report.ending or Ending(written=session.written)
        board.put(replace(board.report, wait=None, ending=ending, stays=False))
        return ending
    ending = end(session, error)
    board.put(replace(board.report, wait=None, ending=ending, stays=False))
    if session is not None:
        _tell_end(session, orders, ending, board.began)
    return ending


def end(session: Session | None, error: BaseException | None) -> Ending:
    """Close the session and sum up; return how it ended."""
    if session is None:
        return report.ending_of(error, 0)
    ending = report.ending_of(error, session.written)
    session.close()
    atexit.unregister(session.close)
    with suppress(RecordError):  # whoever follows hears it all the same
        if run := _sum_up(session, ending):
            run.require_stored(files=True)
    return ending


def _opened(orders: Orders, lock: FileLock) -> Session:
    """Open the environment anew, and prove that it is still the place of the lock."""
    named = {**orders.given, "environment": orders.file}
    session = opening.open_session(named, orders.notebook)
    if record.shift_lock_of(session.place).lock_file != lock.lock_file:
        words = f"the shift was begun for another place; {orders.file} now names"
        raise TargetError(f"{words} {session.place}", hint="run the cells above again")
    session.shift_lock = lock
    session.alone = True  # whoever started this has brought what there is
    return session


def _note_killed(session: Session, pid: int) -> None:
    """Write down that a process that shifted here ended without a word."""
    words = f"process {pid}, which watched the shift, was killed"
    with suppress(RunbookError):  # a word about it, which stops no shift
        run = session.latest_run() if pid and read_attempt(session) else None
        if run is not None and not run.closed:
            run.write("watcher", words=f"{words}; process {os.getpid()} goes on")


def _tell_end(session: Session, orders: Orders, ending: Ending, since: float) -> None:
    """Tell people how the shift ended, unless whoever executes the run will."""
    if ending.exit_code in UNHARMED or ending.error == INTERRUPT:
        return
    words = one_line(ending.message)
    if not ending.exit_code:
        if orders.what != "every step" or _others_sum_up(session):
            return
        words = "every step passed"
    outcome = OUTCOMES[ending.exit_code]
    _tell(session, outcome, ending.reason or outcome, words, since)


def _others_sum_up(session: Session) -> bool:
    """Say whether whoever executes the run is there, and sums it up."""
    run = session.run or session.finished
    if run is None or not session.is_executed or session.leaves_shift:
        return False
    return bool(record.executor(run))


def _tell(
    session: Session, outcome: str, reason: str, words: str, since: float
) -> None:
    """Tell people what came of the shift: the reason in one word, and a sentence."""
    run = session.run or session.finished
    if run is None:
        return
    environment = session.parameters.environment
    told = notifying.Message(environment, run.id, outcome, reason, words)
    notifying.tell(run, told, since)


def _sum_up(session: Session, ending: Ending) -> record.Run | None:
    """Sum the run up where whoever executed it, and would do so, is gone or leaves;
    return the run then.
    """
    run, leaves = session.run or session.finished, session.leaves_shift
    if run is None or not session.is_executed:
        return None
    if record.executor(run) and not leaves:
        return None
    outcome, lines = OUTCOMES[ending.exit_code], list(run.lines())
    reason = f"{ending.reason or outcome}: {ending.message or 'every step passed'}"
    p = session.parameters
    former: dict[str, Any] = {}
    with suppress(RecordError):
        former = run.summary() or {}
    summary = {
        **former,
        "run": run.id,
        "environment": p.environment,
        "mode": p.mode,
        "outcome": outcome,
        "reason": reason,
        "changes": sum(line["event"] == "observed" for line in lines),
        "shift": steps_of(lines),
    }
    run.write("summed up", outcome=outcome, reason=reason)
    run.summarise(summary, closes=leaves or outcome == "rolled_back")
    return run


if __name__ == "__main__":
    sys.exit(main())
