"""Run an environment's notebooks in order, into the run's folder, and sum the run up.

It changes nothing itself: the notebooks do, in the way they do under a hand.
"""

from __future__ import annotations

import getpass
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from runbook_lib import notifying, parameters, record
from runbook_lib.aws.recording import LEAVES
from runbook_lib.aws.session import Session, opening
from runbook_lib.engines.named import ENGINES
from runbook_lib.errors import CallError, ParametersError, RecordError
from runbook_lib.opening import open_session, world_of
from runbook_lib.parameters import Parameters
from runbook_lib.record.place import Place, place_of
from runbook_lib.runs.archive import archive
from runbook_lib.shift.process.report import OUTCOMES
from runbook_lib.unattended import leaving, notebooks
from runbook_lib.unattended.environ import environ
from runbook_lib.unattended.executing import DEAD, Failure, execute
from runbook_lib.unattended.interrupts import Interrupts
from runbook_lib.unattended.progress import Told, following
from runbook_lib.unattended.summing_up import (
    Executed,
    lines_of,
    message_of,
    outcome_of,
    summary_of,
)

__all__ = ["run_in_order"]

# environments where nothing is lost by going on to the end
ON_THIS_MACHINE = ("local", "local-alb", "local-alb-h2", "local-alb-new")
FOLLOWED_ANEW = "the kernel died; the shift goes on, and a new kernel follows it"


def run_in_order(
    environment: str,
    given: Mapping[str, Any],
    *,
    first: str = "00",
    last: str | None = None,
    told: Told | None = None,
    leave: bool = False,
) -> tuple[record.Run, dict[str, Any], Failure | None]:
    """Execute an environment's notebooks in order, stopping at the first failure;
    return run, summary, failure.

    With `leave` it ends once the shift is watched, which goes on in its own process.
    SIGINT, SIGTERM and SIGHUP interrupt the cell that runs: what was executed and the
    summary are written then too. Raises ParametersError before anything is executed
    where file, values or range are wrong, TargetError where nobody is logged in to the
    file's account, and LockError where somebody else is at work there: none of them
    leaves a run.
    """
    p, told = parameters.load(environment, given), told or Told()
    paths = _paths(p, first, last, leave)
    notifying.require_known(notifying.addresses())  # refused before anything is done
    began, place = time.time(), place_of(p, world_of(p))
    this = _begun(p, place, environment, given)
    since = len(list(this.lines()))
    with Interrupts() as interrupts:
        with _holding(this, p), _executing(this, leave), following(this, told.line):
            executed, failure = _execute_all(
                this,
                paths,
                {**given, "environment": parameters.located(environment)},
                p.mode,
                told,
                interrupts,
            )
        left = leaving.goes_on(place, environment) if leave and not failure else ""
        if leave and not failure and not left:
            executed, failure = _as_ended_meanwhile(place, began, executed)
        summary = summary_of(this, p, executed, failure, since=since, left=left)
        if p.mode == "apply" and not left:
            notifying.tell(this, message_of(summary), began)
        ends = paths[-1].name >= notebooks.SHIFT or summary["outcome"] != "done"
        _write_summary(this, summary, told, closes=ends and not left)
        if words := archive(this, p):
            told.word(words)
    return this, summary, failure


def _paths(p: Parameters, first: str, last: str | None, leave: bool) -> list[Path]:
    """Return the notebooks to execute; raise ParametersError where there are none."""
    end = last or (notebooks.SHIFT if leave else _end(p.environment, first))
    if leave:
        leaving.require_last(end, notebooks.SHIFT)
    return notebooks.chosen(first, end, ENGINES[p.engine].steps(p), p.engine)


def _end(environment: str, first: str) -> str:
    """Return where a run ends that was not told: with what it begins with where that is
    later, but never with 90.
    """
    end = "06" if environment in ON_THIS_MACHINE else notebooks.SHIFT
    return max(end, first) if first < notebooks.REMOVAL else end


# the run that this belongs to


def _begun(
    p: Parameters, place: Place, environment: str, given: Mapping[str, Any]
) -> record.Run:
    """Join the run that is under way, or begin one; refuse where somebody else is at
    work, or where its copy cannot be kept.
    """
    session = _require_account(p, environment, given)
    store = session.store if session else None
    opened = {"mode": p.mode, **opening(p, environment, given)}
    try:
        if p.mode == "apply":
            return _joined_or_begun(p, place, store, opened)
        if store:
            record.bring(p.environment, store)
    except RecordError as error:
        if isinstance(error.__cause__, CallError):
            words = f"records: {error.message}"
            raise ParametersError(words, hint=error.hint) from error
        raise
    return record.start(p.environment, p.records, place, **opened)


def _joined_or_begun(
    p: Parameters, place: Place, store: record.Store | None, opened: Mapping[str, Any]
) -> record.Run:
    about = p.shift.versions
    under_way = record.under_way(
        p.environment, p.records, place, about=about, store=store
    )
    if under_way:
        return under_way
    record.require_free(p.environment, place)
    return record.start(p.environment, p.records, place, store=store, **opened)


def _require_account(
    p: Parameters, environment: str, given: Mapping[str, Any]
) -> Session | None:
    """Return a session where one is needed before the notebooks' own; raise where
    nobody is logged in to the file's account, before a run is there.
    """
    if p.rehearsed and not p.bucket:
        return None
    named = {**given, "environment": environment, "mode": "plan"}
    return open_session(named, "command")


def _holding(this: record.Run, p: Parameters) -> AbstractContextManager[None]:
    """Hold the place while notebooks apply; a shift of this very run goes on."""
    if p.mode != "apply":
        return nullcontext()
    lock = record.lock_of(this)
    return record.held(this, lock, getpass.getuser(), beside_shift=True)


def _executing(this: record.Run, leave: bool) -> AbstractContextManager[None]:
    """Tell kernels by their environment which run executes them."""
    return environ(
        RUNBOOK_RUN=str(this.folder.resolve()),
        RUNBOOK_HOLDER=this.id,
        RUNBOOK_PID=str(os.getpid()),
        **{LEAVES: "1" if leave else ""},
    )


def _write_summary(
    this: record.Run, summary: dict[str, Any], told: Told, *, closes: bool
) -> None:
    """Write the summary; where the disk takes none the outcome stands all the same, and
    the command says it.
    """
    try:
        this.write("summed up", outcome=summary["outcome"], reason=summary["reason"])
        this.summarise(summary, closes=closes)
    except RecordError as error:
        told.word(f"no summary of this run: {error.message}")


# its notebooks


def _execute_all(
    this: record.Run,
    paths: Sequence[Path],
    given: Mapping[str, Any],
    mode: str,
    told: Told,
    interrupts: Interrupts,
) -> tuple[list[Executed], Failure | None]:
    """Execute notebooks until one fails; return how each ended, and the failure.

    In plan mode what 00 refuses ends nothing.
    """
    executed: list[Executed] = []
    for path in paths:
        began, before = time.monotonic(), len(lines_of(this))
        failure = _execute(this, path, given, told, interrupts)
        with suppress(RecordError):  # the end of the run says so
            this.require_stored(files=True)
        outcome = "done"
        if failure:
            wrote = _wrote(lines_of(this)[before:], path.stem)
            outcome = outcome_of(failure.error, wrote=wrote)
        seconds = round(time.monotonic() - began, 1)
        executed.append(Executed(path.stem, outcome, seconds))
        if failure and not _goes_on(executed[-1], paths, mode):
            return executed, failure
    return executed, None


def _execute(
    this: record.Run,
    path: Path,
    given: Mapping[str, Any],
    told: Told,
    interrupts: Interrupts,
) -> Failure | None:
    """Execute a notebook; where its kernel dies while the run's shift goes on, a second
    time, which follows that.
    """
    output = this.folder / path.name
    failure = execute(path, output, given, told, interrupts)
    if failure and failure.error == DEAD and _shifts(this):
        told.word(FOLLOWED_ANEW)
        return execute(path, output, given, told, interrupts)
    return failure


def _shifts(this: record.Run) -> bool:
    """Say whether a shift of this very run is under way, in its own process."""
    with suppress(RecordError):
        shifter = record.shifter(this.place) if this.place else None
        return shifter is not None and shifter.get("run") == this.id
    return False


def _wrote(lines: Sequence[Mapping[str, Any]], notebook: str) -> bool:
    """Say whether a notebook has begun to change anything, by its own
    lines of the record.
    """
    return any(
        line["event"] == "intended" and line.get("notebook") == notebook
        for line in lines
    )


def _goes_on(ended: Executed, paths: Sequence[Path], mode: str) -> bool:
    """Say whether a run that only plans goes on: what 00 found is reported, and
    nothing will be written.
    """
    refused = ended.name.startswith(notebooks.CHECK) and ended.outcome == "refused"
    return refused and mode == "plan" and len(paths) > 1


def _as_ended_meanwhile(
    place: Place, began: float, executed: Sequence[Executed]
) -> tuple[list[Executed], Failure | None]:
    """Return the notebooks as the shift that was left has ended the last of them, and
    its failure; None where it is done.
    """
    ending = leaving.ended_since(place, began)
    if ending is None:
        return [*executed], None
    last = replace(executed[-1], outcome=OUTCOMES[ending.exit_code])
    words = f"{ending.message}\nNext: {ending.hint}"
    failure = Failure(last.name, 0, "", ending.error, words, ending.reason)
    return [*executed[:-1], last], failure
