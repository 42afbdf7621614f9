"""A shift as it stands: what it has seen so far, and what the canary may have.

It reads what is there when it begins and whenever it is told to look anew; it decides
and writes nothing.
"""

from __future__ import annotations

from dataclasses import replace

from runbook_lib.aws import cloudwatch
from runbook_lib.aws.session import Session
from runbook_lib.judging import error_judge
from runbook_lib.shift.decision import Decision
from runbook_lib.shift.journal import Journal
from runbook_lib.shift.looking import Looking
from runbook_lib.shift.rules.counts import Counts
from runbook_lib.shift.rules.rule import rule_of
from runbook_lib.shift.rules.steps import when_written
from runbook_lib.shift.rules.watch import begin_step, clock_set, start_watch
from runbook_lib.survey import survey

__all__ = ["State"]


class State:
    """What a shift under way knows, which all its parts read and bring up to date.

    `found` is the newest look at the environment, `weights` are those that it last saw.
    `weight` is the canary's as far as is known: a step that may be in force counts,
    whether AWS has answered or not. `watch` is what the looks at the step add up to.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.shift = session.parameters.shift
        self.found = survey(session)
        judge = error_judge(self.shift, self.found.engine.counted(session.parameters))
        self.rule = rule_of(session.parameters, judge)
        self.journal = Journal(session)
        self.looking = Looking(session, self.found, judge, self.journal.lines)
        self.moved = session.moved  # up to which the watch has followed AWS's time
        self.watch = start_watch(self.rule, self.journal.began or session.now())
        self.weight = self.journal.weight
        self.weights = self.shift.weights_at(self.weight)

    def look_anew(self) -> None:
        """Read what is there now."""
        self.found = survey(self.session)

    def take_weights(self) -> None:
        """Take over the weights that the newest look found."""
        self.weights = dict(self.found.split.weights)

    def begin_step(self, step: int, former: int) -> None:
        """Watch a step from now on, which was just written."""
        now = self.time()
        if not former:
            self.watch = start_watch(self.rule, now)
        self.watch = begin_step(self.watch, step, former, now, now, self.rule)

    def resume_step(self, step: int) -> None:
        """Take up the evidence about a step that was written some time ago, by an
        earlier process or somebody else.
        """
        former = max((s for s in self.shift.steps if s < step), default=0)
        now = self.time()
        written_at = when_written(self.journal.lines, step) or now
        self.watch = begin_step(self.watch, step, former, written_at, now, self.rule)

    def read_counts(self) -> Counts:
        """Read what was counted by now."""
        until, since = self.data_until(), self.watch.counts.since
        intervals = self.looking.intervals(since, until)
        counts = self.watch.counts.read_again(since, intervals)
        self.watch = replace(self.watch, counts=counts)
        return counts

    def data_until(self) -> int:
        """Return up to when the figures of traffic are complete, in epoch seconds."""
        return cloudwatch.complete_until(self.session, self.time())

    def time(self) -> float:
        """Return the time at AWS, every moment of the watch having moved with it."""
        moved = self.session.moved - self.moved
        if moved:
            self.moved += moved
            stamps_too = self.session.parameters.rehearsed
            self.watch = clock_set(self.watch, moved, stamps_too=stamps_too)
        return self.session.now()

    def time_of_watch(self) -> float:
        """Return the time at AWS as the watch has it: a clock set now counts later."""
        return self.session.now() - (self.session.moved - self.moved)

    def tell(self, decision: Decision) -> Decision:
        """Write a decision down as of now, and return it."""
        return self.journal.tell(replace(decision, at=self.time()))

    def tell_judgement(self, word: str) -> None:
        """Write down the newest judgement, once, and what it led to."""
        self.journal.tell_judgement(self.watch, self.rule, word)

    @property
    def incomplete(self) -> str:
        """What the record lacks so far, as the end of a sentence; "" for nothing."""
        spare = self.session.spare.words
        return f"; {spare}" if spare else ""

    @property
    def undo(self) -> str:
        """The command that rolls back, as part of a hint."""
        return f"`runbook rollback {self.session.named}` to roll back"
