"""Read back what a shift looked like: its intervals from CloudWatch, its decisions from the record.

It only reads. Pictures, summaries and the claims of notebook 05 are made of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runbook_lib import record, telemetry
from runbook_lib.session import Session
from runbook_lib.survey import survey
from runbook_lib.telemetry import Interval
from runbook_lib.verdict import evidence_curve

__all__ = ["History", "Step", "read_history"]


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the newest shift: from and to which weight, whether traffic proved it, how it was judged."""

    words: str
    step: int
    at: float
    proved: bool
    verdict: str
    reason: str


@dataclass(frozen=True, slots=True)
class History:
    """The newest shift of an environment.

    `decisions` are in the order of time, each with at least `phase`, `at` (epoch seconds) and `step`; approvals and
    holds are among them. `evidence` is the log evidence against the canary after each of the last intervals, and
    `needed` what makes a FAIL, as odds to 1.
    """

    stable: str
    canary: str
    intervals: Sequence[Interval]
    decisions: Sequence[Mapping[str, Any]]
    evidence: Sequence[float]
    steps: Sequence[Step]
    needed: float = 100.0


def read_history(session: Session) -> History:
    """Return the newest shift of the session's environment; empty where there was none."""
    p = session.parameters
    decisions = next(
        (found for run in record.runs(p.environment, p.records, p.target) if (found := _decisions(run))), []
    )
    written = [d["at"] for d in decisions if d["phase"] == "written" and d["at"]]
    seen: list[Interval] = []
    if written and session.connection.carries_traffic:
        series = survey(session).engine.series(p)
        last = max(d["at"] for d in decisions) + 2 * p.telemetry.period_seconds
        until = min(telemetry.complete_until(session, session.wall()), last)
        seen = telemetry.read_intervals(session, series, written[0] - 10 * p.telemetry.period_seconds, until)
    rule = p.shift.verdict
    samples = [i.errors for i in seen if written and i.start >= written[0]]
    curve = evidence_curve(samples, alpha=rule.alpha, detectable_increase=rule.detectable_increase)
    return History(p.shift.stable, p.shift.canary, seen, decisions, curve, list(_steps(decisions)), 1 / rule.alpha)


def _decisions(run: record.Run) -> list[dict[str, Any]]:
    return [line for line in run.lines() if line["event"] == "decision"]


def _steps(decisions: Sequence[Mapping[str, Any]]) -> list[Step]:
    out: list[Step] = []
    for line in decisions:
        if line["phase"] == "written":
            out.append(Step(line["words"].split(",")[0], line["step"], line["at"], False, "", ""))
        elif out and line["phase"] == "proved":
            out[-1] = Step(out[-1].words, out[-1].step, out[-1].at, True, "", "")
        elif out and line["phase"] in ("judged", "rolled back"):
            out[-1] = Step(out[-1].words, out[-1].step, out[-1].at, out[-1].proved, line["verdict"], line["words"])
    return out
