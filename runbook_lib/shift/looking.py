"""Look at a step: weights, traffic, tasks, alarms, and whether somebody says hold.

It only reads, and decides nothing: `step` says what follows from a look.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from runbook_lib.aws import cloudwatch, ecs
from runbook_lib.aws.cloudwatch import Interval
from runbook_lib.aws.session import Session
from runbook_lib.errors import RecordError
from runbook_lib.judging import ErrorJudge
from runbook_lib.plan import Evidence
from runbook_lib.printable import counted
from runbook_lib.runs.approvals import unheeded
from runbook_lib.runs.history import ENDED, read_attempt
from runbook_lib.runs.promotions import promotion_of, promotions_before
from runbook_lib.shift.rollback import read_signature
from runbook_lib.shift.rules.look import Tasks
from runbook_lib.survey import Survey

__all__ = ["Looking"]

WORD_SECONDS = 3  # until whoever rolled back has said so


class Looking:
    """Reads what a look is made of; `journal` has the attempt's decisions so far."""

    def __init__(
        self,
        session: Session,
        found: Survey,
        judge: ErrorJudge,
        journal: Sequence[Mapping[str, Any]],
    ) -> None:
        self.session, self.shift = session, session.parameters.shift
        self.found = found  # when the shift began: its series stay the same
        self.judge, self.journal = judge, journal
        # One may have been asked for after the run that was held, which is another.
        self.earlier = _recorded(lambda: promotions_before(session))

    def intervals(self, since: float, until: float) -> list[Interval]:
        """Read the whole periods within [since, until)."""
        series = self.found.series
        return cloudwatch.read_intervals(self.session, series, since, until)

    def tasks(self, found: Survey) -> Tasks:
        """Read how many tasks of both services run, and which are unhealthy."""
        stable, canary = self.shift.versions
        found.ahead("split", "counts")
        counts = found.counts
        wanted, running = counts[canary]
        return Tasks(
            stable=counts[stable][1],
            stable_at_first=self.stable_at_first(),
            canary=running,
            canary_wanted=wanted,
            canary_unhealthy=found.engine.read_unhealthy(
                found.reads, found.split, running
            ),
        )

    def stable_at_first(self) -> int:
        """Return how many tasks stable ran when the attempt began, by its decisions."""
        lines = [line for line in self.journal if line.get("tasks")]
        return lines[-1]["tasks"].get(self.shift.stable, 0) if lines else 0

    def alarms(self) -> dict[str, str]:
        """Read the state of the file's alarms."""
        return cloudwatch.read_alarms(self.session, self.shift.alarms)

    def oddity(self, found: Survey) -> str:
        """Return what nobody who shifts between these two services can have written."""
        return found.split.oddity(self.shift.versions)

    def is_asked(self) -> bool:
        """Say whether somebody may ask something: a hold, or the end of a bake."""
        return self.session.join_run().has_requests()

    def held_by(self) -> str:
        """Return who said hold since the run began; "" once a shift was held by it.

        No AWS is needed to see it.
        """
        run = self.session.join_run()
        run.take_in()
        new = _recorded(lambda: unheeded(run))
        return str(new[-1]["by"]) if new else ""

    def promotion(self, found: Survey) -> str:
        """Return who ends the bake at the weights that are there, and why; "" for
        nobody.
        """
        run = self.session.join_run()
        earlier = _recorded(lambda: [*self.earlier, *run.said()])
        return promotion_of(earlier, found.carried)

    def who_rolled_back(self, found: Survey) -> str:
        """Return who rolled back, from this machine's record or the mark left at AWS.

        Either comes a moment after the weights.
        """
        written = [line["at"] for line in self.journal if line["phase"] == "written"]
        since = max(written, default=0.0)
        for _ in self.session.looks("word of who rolled back", WORD_SECONDS, 0.5):
            newest = self.recorded_end()
            if newest and newest["at"] >= since:
                return str(newest["words"])
            if words := read_signature(found, since):
                return f"by hand: {words}"
        stable = self.shift.stable
        back = f"somebody gave {stable} all of the canary's traffic"
        return f"{back}, and left no word of it"

    def recorded_end(self) -> Mapping[str, Any] | None:
        """Return what ended the newest attempt, by this machine's record."""
        decisions = _recorded(lambda: read_attempt(self.session, ended=True))
        if decisions and decisions[-1]["phase"] in ENDED:
            return decisions[-1]
        return None

    def evidence(self) -> tuple[Evidence, ...]:
        """Return what a step needs: a rollback is possible, and no alarm rings.

        Both protect traffic, and are looked at again before a step is written.
        """
        return tuple(replace(one, again=self._evidence) for one in self._evidence())

    def _evidence(self) -> tuple[Evidence, ...]:
        looks = [self._rollback_possible, self._no_alarm]
        return tuple(self.session.together(looks))

    def _rollback_possible(self) -> Evidence:
        stable = self.shift.stable
        wanted, running = ecs.read_counts(self.session, (stable,))[stable]
        least = max(wanted, self.stable_at_first())
        found = f"{stable} runs {running} of {counted(least, 'task')}"
        hint = "it must be able to take all traffic back, until 06"
        return Evidence("rollback possible", 0 < least <= running, found, hint)

    def _no_alarm(self) -> Evidence:
        refused = ["ALARM", "MISSING"]
        if self.judge.by == "alarms":  # then one without data judges nothing
            refused.append("INSUFFICIENT_DATA")
        states = self.alarms()
        bad = [
            f"{name} is {state}" for name, state in states.items() if state in refused
        ]
        found = ", ".join(bad) or "none of them rings"
        return Evidence("alarms", not bad, found, "settle it, or correct shift.alarms")


def _recorded(read: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return what a record says; nothing where it cannot be read: that stops nobody."""
    try:
        return read()
    except RecordError:
        return []
