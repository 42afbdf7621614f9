"""Look at what can end a step besides its verdict: weights, tasks, alarms, and somebody who says hold.

It only reads, but for the line which says that a hold was heeded. What comes of a hazard, a hold or the way back,
is `shift`'s to do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from runbook_lib.approvals import holds
from runbook_lib.aws import cloudwatch, ecs
from runbook_lib.aws.session import Session
from runbook_lib.errors import RecordError
from runbook_lib.history import ENDED, read_attempt
from runbook_lib.judging import error_judge
from runbook_lib.plan import Evidence
from runbook_lib.rollback import read_signature
from runbook_lib.survey import Survey, survey
from runbook_lib.wording import divided

__all__ = ["Hazard", "Hazards"]

WORD_SECONDS = 3  # until whoever rolled back has said so
SHORT_LOOKS = 3  # in a row in which tasks are missing or unhealthy, until that is no mere replacement of one


@dataclass(frozen=True, slots=True)
class Hazard:
    """What ends a step: the word of its reason, a sentence, and how it ends; `gone back` is when somebody did it."""

    word: str
    words: str
    ends: Literal["hold", "roll back", "gone back"] = "hold"


class Hazards:
    """What is looked at while a shift is under way; `journal` holds the decisions of its attempt, as they come."""

    def __init__(self, session: Session, journal: Sequence[Mapping[str, Any]]) -> None:
        self.session, self.shift, self.journal = session, session.parameters.shift, journal
        self.short: Counter[str] = Counter()  # looks in a row in which a service lacked tasks
        counted = survey(session).engine.counted(session.parameters)
        self.alarms_alone = error_judge(self.shift, counted).by == "alarms"  # one without data judges nothing then

    def evidence(self) -> tuple[Evidence, ...]:
        """Return what a step needs beforehand: somebody to go back to, and no alarm that rings or is not there.

        Both protect traffic, and are looked at again before a step is written.
        """
        return tuple(replace(one, again=self._evidence) for one in self._evidence())

    def _evidence(self) -> tuple[Evidence, ...]:
        stable = self.shift.stable
        wanted, running = ecs.read_counts(self.session, (stable,))[stable]
        least = max(wanted, self._least())
        states = cloudwatch.read_alarms(self.session, self.shift.alarms)
        refused = ("ALARM", "MISSING", *(["INSUFFICIENT_DATA"] if self.alarms_alone else []))
        bad = [f"{name} is {state}" for name, state in states.items() if state in refused]
        words = f"{stable} runs {running} of {least} task(s)"
        return (
            Evidence("a way back", 0 < least <= running, words, "it must be able to take everything back, until 06"),
            Evidence("alarms", not bad, ", ".join(bad) or "none of them rings", "settle it, or correct shift.alarms"),
        )

    def first(self, found: Survey, step: int) -> Hazard | None:
        """Return the first of them, None where all is as it should be at this step."""
        return self.of_weights(found, step) or next(self._others(), None)

    def of_weights(self, found: Survey, step: int) -> Hazard | None:
        """Return what weights mean that are not this step's: somebody said go back, or wrote on their own."""
        live, oddity = dict(found.split.weights), self.of_targets(found)
        if live == self.shift.weights_at(step) and not oddity:
            return None
        if live and not live.get(self.shift.canary):
            return Hazard("by_hand", self._word_of_rollback(found), "gone back")
        return oddity or Hazard("foreign_change", f"somebody changed the weights to {divided(live)}")

    def of_targets(self, found: Survey) -> Hazard | None:
        """Return what nobody who shifts between these two services can have written."""
        words = found.split.oddity((self.shift.stable, self.shift.canary))
        return Hazard("foreign_change", words) if words else None

    def _word_of_rollback(self, found: Survey) -> str:
        """Return who rolled back, from this machine's record or the mark left at AWS: either comes a moment later."""
        since = max((line["at"] for line in self.journal if line["phase"] == "written"), default=0.0)
        for _ in self.session.looks("word of who rolled back", WORD_SECONDS, 0.5):
            newest = self.recorded_end()
            if newest and newest["at"] >= since:
                return str(newest["words"])
            if words := read_signature(found, since):
                return f"by hand: {words}"
        return f"somebody gave {self.shift.stable} all of the canary's traffic, and left no word of it"

    def recorded_end(self) -> Mapping[str, Any] | None:
        """Return the decision that ended the newest attempt, where this machine's record has one."""
        decisions = _read(lambda: read_attempt(self.session, ended=True))
        return decisions[-1] if decisions and decisions[-1]["phase"] in ENDED else None

    def _others(self) -> Iterator[Hazard]:
        yield from self._of_tasks()
        alarms = cloudwatch.read_alarms(self.session, self.shift.alarms)
        if ringing := [name for name, state in alarms.items() if state == "ALARM"]:
            yield Hazard("alarm", f"in ALARM: {', '.join(ringing)}", "roll back")
        if gone := [name for name, state in alarms.items() if state == "MISSING"]:
            yield Hazard("alarm_missing", f"no longer there: {', '.join(gone)}")
        silent = [name for name, state in alarms.items() if state == "INSUFFICIENT_DATA"]
        if silent and self.alarms_alone:
            yield Hazard("alarm_missing", f"without data, and the only judge of errors: {', '.join(silent)}")
        if held := self.held():
            yield held

    def held(self) -> Hazard | None:
        """Return the hold that was asked of this run and held no shift yet, and write down that it does now.

        It counts from the run's beginning, whichever notebook was executed then. Whoever starts the shift again
        has settled it. No AWS is needed to see it.
        """
        run = self.session.join_run()
        run.take_in()
        asked = _read(lambda: holds(run))
        heeded = _read(lambda: [line for line in run.lines() if line["event"] == "heeded"])
        settled = heeded[-1]["holds"] if heeded else 0
        if len(asked) <= settled:
            return None
        self.session.note(lambda run: run.write("heeded", holds=len(asked)))
        return Hazard("hold", f"held by {asked[-1]['by']}")

    def _of_tasks(self) -> Iterator[Hazard]:
        """Too few tasks for some looks in a row end a step; none at all, at once."""
        stable, canary = self.shift.stable, self.shift.canary
        counts = ecs.read_counts(self.session, (stable, canary))
        (_, stable_runs), (wanted, canary_runs) = counts[stable], counts[canary]
        if stable_runs == 0:
            yield Hazard("stable_tasks", f"{stable} has no running task: nobody could take the traffic back")
        if canary_runs == 0:
            yield Hazard("canary_tasks", f"{canary} has no running task", "roll back")
        if self._is_short(stable, stable_runs < self._least()):
            words = f"{stable} runs {stable_runs} of the {self._least()} task(s) it had: too few to go back to"
            yield Hazard("stable_tasks", words)
        unhealthy = ecs.read_unhealthy(self.session, canary)
        if self._is_short(canary, canary_runs - unhealthy < wanted):
            words = f"{canary} runs {canary_runs} of {wanted} task(s), {unhealthy} unhealthy"
            yield Hazard("canary_tasks", words, "roll back")

    def _is_short(self, service: str, short: bool) -> bool:
        self.short[service] = self.short[service] + 1 if short else 0
        return self.short[service] >= SHORT_LOOKS

    def _least(self) -> int:
        """Return how many tasks stable ran when the attempt began: it may have to take everything back."""
        counts = [line["tasks"].get(self.shift.stable, 0) for line in self.journal if line.get("tasks")]
        return counts[-1] if counts else 0


def _read(record: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return what a record says; one that cannot be read says nothing, and stops nobody who watches."""
    try:
        return record()
    except RecordError:
        return []
