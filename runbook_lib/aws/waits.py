"""Wait for something at AWS: look again and again, and tell what for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import jmespath

from runbook_lib.aws.calls import Calls
from runbook_lib.aws.recording import executing
from runbook_lib.errors import RecordError, WaitError
from runbook_lib.plan import Wait

LONG_SECONDS = 2.0  # a wait is written down once it has lasted so long
PAUSE, LOCAL_PAUSE = 6.0, 0.1  # seconds between two looks at a service
LOOKS = 20  # locally, at what must last


@dataclass(repr=False)
class Waits(Calls):
    """Calls that are made again until they show what is waited for."""

    waiting: Callable[[str, float, float], None] = lambda what, passed, most: None
    """Told at each look of a wait: what for, for how many seconds by now, how many at
    most; no word once it ended.
    """

    def wait_for(self, wait: Wait) -> Any:
        """Read until `wait` ends well and return the last state; raise WaitError with
        it where it does not.
        """
        after = f" after {wait.timeout_seconds} s"
        local = max(LOCAL_PAUSE, wait.lasting_seconds / LOOKS)
        pause = local if self.parameters.rehearsed else PAUSE
        since: float | None = None  # when what is waited for came about
        for _ in self.looks(wait.what, wait.timeout_seconds, pause):
            state = self.read(wait.reading)
            if not jmespath.search(wait.until, state):
                since = None
            elif since is None:
                since = self.clock()
            if since is not None and self.clock() - since >= wait.lasting_seconds:
                return state
            if jmespath.search(wait.failed, state):
                after = ""
                break
        raise WaitError(
            f"{wait.what}: did not come about{after}; last seen {state}",
            hint="look at the service's events",
        )

    def looks(self, what: str, most: float, interval: float) -> Iterator[None]:
        """Yield, and again every `interval` seconds until `most` have passed; whoever
        watches is told what for.
        """
        began, since = self.clock(), datetime.now(UTC)
        told = False
        try:
            while True:
                yield
                passed = self.clock() - began
                if passed > most:
                    return
                self.waiting(what, passed, most)
                if passed >= LONG_SECONDS and not told:
                    told = self._written_down(what, since, most)
                self.sleep(interval)
        finally:
            self.waiting("", self.clock() - began, most)

    def _written_down(self, what: str, since: datetime, most: float) -> bool:
        """Write a wait into the run that executes this notebook, where one does: it is
        nothing but a word to whoever looks on.
        """
        run = executing()
        if run is None:
            return False
        began = since.isoformat(timespec="seconds")
        said = {"what": what, "since": began, "most": round(most)}
        with suppress(RecordError):
            run.write("waiting", notebook=self.notebook, **said)
        return True
