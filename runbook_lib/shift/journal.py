"""Write down what a shift decides, what it judged, and what it counted."""

from __future__ import annotations

from dataclasses import replace

from runbook_lib.aws.session import Session
from runbook_lib.runs.history import read_attempt
from runbook_lib.shift.decision import Decision, write_down
from runbook_lib.shift.rules.rule import Rule
from runbook_lib.shift.rules.watch import Watch
from runbook_lib.shift.telling import counts_line, judgement_line

__all__ = ["Journal"]

# the last decision, where users are on it
ON_CANARY = ("written", "proved", "judged", "promoted")


class Journal:
    """The decisions of an attempt so far, `lines`, and what is added to them."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.lines = read_attempt(session)
        self.untold = False  # whether the newest judgement is not in the record

    @property
    def began(self) -> float | None:
        """When this attempt wrote its first step, in epoch seconds; None if never."""
        written = [line["at"] for line in self.lines if line["phase"] == "written"]
        return written[0] if written else None

    @property
    def weight(self) -> int:
        """The canary's weight by the last decision, in percent."""
        on_canary = bool(self.lines) and self.lines[-1]["phase"] in ON_CANARY
        return int(self.lines[-1]["step"]) if on_canary else 0

    @property
    def is_rehearsed(self) -> bool:
        """Whether the last decision is that the rollback was rehearsed."""
        return bool(self.lines) and self.lines[-1]["phase"] == "rehearsed"

    def tell(self, decision: Decision) -> Decision:
        """Write a decision down, and return it."""
        told = write_down(self.session, decision)
        self.lines.append(told.line)
        return told

    def tell_judgement(self, watch: Watch, rule: Rule, word: str) -> None:
        """Write down the newest judgement with its counts, once, and its cause."""
        if not self.untold:
            return
        self.untold = False
        cause = "verdict" if word == "inconclusive" else word
        line = judgement_line(watch, rule, cause)
        self.session.note(lambda run: run.write("judged", **line))

    def tell_counts(self, watch: Watch) -> Watch:
        """Write down the settled counts of a long bake, many at once; return the watch
        that goes on from there.
        """
        counts = watch.counts
        if not counts.fills_a_line:
            return watch
        line = counts_line(counts)
        self.session.note(lambda run: run.write("counted", **line))
        return replace(watch, counts=counts.written_down())
