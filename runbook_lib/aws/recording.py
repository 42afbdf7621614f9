"""The run that what is done here belongs to: joined, held, written into, closed.

Where a command executes the notebook its run is named by the environment, and is that
command's to close.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from runbook_lib import parameters as files
from runbook_lib import record
from runbook_lib.aws.environment import Environment
from runbook_lib.errors import RecordError, RunbookError
from runbook_lib.parameters import Parameters

EXECUTES = "RUNBOOK_RUN"  # the folder of the run that executes this notebook
LEAVES = "RUNBOOK_LEAVE"  # that run does not wait for the end of a shift


@dataclass(repr=False)
class Recording(Environment):
    """An environment's run under way, and the one that ended here."""

    run: record.Run | None = None
    finished: record.Run | None = None
    """The run that ended in this session; what is begun next opens another one."""
    lock: FileLock | None = None
    shift_lock: FileLock | None = None
    """What keeps everybody else from shifting here, while this session does."""
    spare: record.Spare = field(default_factory=record.Spare)
    alone: bool = False
    """Whether nothing is brought from where copies of runs are kept: whoever watches
    traffic or rolls back waits for no store.
    """

    @property
    def store(self) -> record.Store | None:
        """Where copies of runs are kept; None for nowhere but here."""
        return None

    def join_run(self) -> record.Run:
        """Return the run under way, opening one where the last has ended."""
        if self.run is None:
            p, place = self.parameters, self.place
            opened = opening(p, self.file, self.given)
            about = p.shift.versions
            bringing = None if self.alone else self.store
            run = executing() or record.open_or_join(
                p.environment, p.records, place, about=about, store=bringing, **opened
            )
            self.run = record.with_copy(run, self.store)
            if place.world and not self.run.world:
                self.run.write("joined", world=place.world)
        return self.run

    def latest_run(self) -> record.Run | None:
        """Return the newest run that applies in the session's place, ended or not."""
        p = self.parameters
        run = executing() or record.latest(p.environment, p.records, self.place)
        return run and record.with_copy(run, self.store)

    def finish(self, outcome: str) -> None:
        """Close the run, since what it was about has ended; one that executes notebooks
        is closed by who executes them.

        Where its record takes no line it stays open, which costs nothing.
        """
        if self.run is None or executing():
            return
        with suppress(RecordError):
            if not self.run.closed:
                self.run.write("closed", outcome=outcome)
        self.finished, self.run = self.run, None

    def leave_closed_run(self) -> None:
        """Let go of a run that another process has closed."""
        with suppress(RecordError):
            if self.run is not None and not self.is_executed and self.run.closed:
                self.finished, self.run = self.run, None

    @property
    def is_executed(self) -> bool:
        """Whether a command executes this notebook, and no hand."""
        return executing() is not None

    @property
    def leaves_shift(self) -> bool:
        """Whether the command that executes this waits for no end of a shift."""
        return self.is_executed and bool(os.environ.get(LEAVES))

    def note(self, write: Callable[[record.Run], None]) -> None:
        """Let `write` put a line into the run, or beside it where its folder takes
        none: no disk stops what is watched.

        What then is missing in the record, and where it is, `spare` says.
        """
        try:
            write(self.join_run())
        except RecordError as error:
            self.spare.keep(write, error)

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Hold the environment against every other run on this machine; raise LockError
        where one holds it.
        """
        run = self.join_run()
        self.lock = self.lock or record.lock_of(run)
        shift = self.shift_lock
        with record.held(run, self.lock, self.identity.arn, shift=shift):
            run.take_in()
            yield

    @contextmanager
    def shifting(self) -> Iterator[None]:
        """Let nobody else shift here meanwhile, nor anybody be at work as it begins.

        Raises LockError where somebody shifts, or is at work.
        """
        run = self.join_run()
        self.shift_lock = self.shift_lock or record.shift_lock_of(self.place)
        with record.shifting(run, self.shift_lock, self.identity.arn):
            with self.holding():
                pass
            yield

    def ended(self, error: RunbookError) -> None:
        """Leave the word of the error that ended a notebook in the run that executes
        it, where one does.
        """
        if run := executing():
            # another process may have taken the run over
            by = os.environ.get("RUNBOOK_PID")
            with suppress(RecordError):  # the error itself says it too
                run.write("ended", word=error.reason, error=type(error).__name__, by=by)


def executing() -> record.Run | None:
    """Return the run that executes this notebook, None where somebody does by hand."""
    folder = os.environ.get(EXECUTES)
    return record.Run(Path(folder)) if folder else None


def opening(p: Parameters, file: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run's first line says, beside its place: enough to come back to
    it from any folder.
    """
    return {"file": files.located(file), "given": dict(given), "target": p.target}
