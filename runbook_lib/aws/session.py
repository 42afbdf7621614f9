"""One environment that is open: its parameters, its calls, its time and its run.

Each of the four can be read alone: `environment`, `calls` and `waits`, `clock`,
`recording`. This puts them together.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from runbook_lib.aws.bucket import bucket_of
from runbook_lib.aws.environment import Connection
from runbook_lib.aws.recording import Recording, executing, opening
from runbook_lib.aws.waits import Waits
from runbook_lib.errors import RecordError
from runbook_lib.record import Store, with_copy

__all__ = ["Connection", "Session", "opening"]


@dataclass(repr=False)
class Session(Waits, Recording):
    """An environment that has been opened and proved to be the one meant."""

    engine: object = None
    """What carries the weights, where it was handed in; which it is by the
    parameters, `survey` knows.
    """

    @property
    def store(self) -> Store | None:
        """Where copies of this environment's runs are kept; None for nowhere but
        here, and for what is only planned.
        """
        return bucket_of(self)

    def close(self) -> None:
        """Leave the counts of this session's calls in the run, where one is under way
        and its folder still there.
        """
        run = executing() or self.run or self.finished
        if run and run.folder.is_dir():
            with suppress(RecordError):
                run.write("calls", notebook=self.notebook, **self.counts())
                joined = self.run or self.finished
                with_copy(run, self.store if joined else None).require_stored()
