"""Read back what a shift looked like: its intervals from CloudWatch, its
decisions from the record.

It only reads. What goes on from an earlier attempt, pictures and the claims of
notebooks 05 and 06 are made of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from runbook_lib import record
from runbook_lib.aws import cloudwatch
from runbook_lib.aws.cloudwatch import Interval
from runbook_lib.aws.session import Session
from runbook_lib.judging import alpha_of, evidence_over, judged
from runbook_lib.parameters import Parameters
from runbook_lib.plan import revived
from runbook_lib.runs.approvals import ENDED
from runbook_lib.runs.verify import rejudged
from runbook_lib.survey import survey
from runbook_lib.verdict import Judgement

__all__ = [
    "ENDED",
    "History",
    "Step",
    "doubt",
    "read_attempt",
    "read_events",
    "read_history",
    "seen_as",
]

BEFORE = ("tried", "rehearsed")  # what precedes an attempt's first step


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the newest shift: from and to which weight, whether traffic proved
    it, how it was judged.
    """

    words: str
    step: int
    at: float
    proved: bool
    verdict: str
    reason: str


@dataclass(frozen=True, slots=True)
class History:
    """The newest shift of an environment.

    `decisions` are in the order of time, each with at least `phase`, `at` (epoch
    seconds) and `step`; approvals and holds are among them. `evidence` is the log
    evidence against the canary after each of the last intervals, and `needed` what
    makes a FAIL, as odds to 1.
    """

    stable: str
    canary: str
    intervals: Sequence[Interval]
    decisions: Sequence[Mapping[str, Any]]
    evidence: Sequence[float]
    steps: Sequence[Step]
    needed: float = 100.0
    slow: bool = False  # whether slow requests are judged


def read_history(session: Session) -> History:
    """Return the newest shift of the session's environment; empty
    where there was none.
    """
    p = session.parameters
    events = _newest_attempt(session)
    written = [d["at"] for d in events if d["phase"] == "written" and d["at"]]
    seen: list[Interval] = []
    if written and session.connection.carries_traffic:
        series = survey(session).series
        last = max(d["at"] for d in events) + 2 * p.telemetry.period_seconds
        until = min(cloudwatch.complete_until(session, session.now()), last)
        seen = cloudwatch.read_intervals(
            session, series, written[0] - 10 * p.telemetry.period_seconds, until
        )
    return seen_as(p, seen, events, since=written[0] if written else 0.0)


def seen_as(
    p: Parameters,
    seen: Sequence[Interval],
    events: Sequence[Mapping[str, Any]],
    since: float = 0,
) -> History:
    """Return intervals and events as a history; evidence counts from `since`
    on, in epoch seconds.
    """
    rule = p.shift.verdict
    since_all = max(
        (d["at"] for d in events if (d["phase"], d["step"]) == ("proved", 100)),
        default=math.inf,
    )
    bake = [interval for interval in seen if interval.start >= since]
    evidence = evidence_over(
        rule, bake, alone=sum(interval.start >= since_all for interval in bake)
    )
    return History(
        p.shift.stable,
        p.shift.canary,
        seen,
        events,
        evidence,
        list(_steps(events)),
        needed=1 / alpha_of(rule),
        slow="slow" in judged(rule),
    )


def read_attempt(session: Session, *, ended: bool = False) -> list[dict[str, Any]]:
    """Return the decisions of the attempt under way at a shift between
    these two services.

    None once it was rolled back or undone, unless one that has `ended` will do. A PASS
    counts only while what carries the weights is what it was given for, or only the run
    itself has written it since.
    """
    run, events = _newest(session)
    decisions = [line for line in events if line["event"] == "decision"]
    if not decisions or ended:
        return decisions
    if (
        run is None
        or decisions[-1]["phase"] in ENDED
        or _undone(session, run, decisions[-1])
    ):
        return []
    return decisions if _stands(session, run, decisions[-1]) else decisions[:-1]


def doubt(session: Session) -> str:
    """Say why the canary is not proven at the last step of the shift; "" where it is.

    The verdict is judged again from its stored counts, in a record that is
    as it was written.
    """
    step = session.parameters.shift.steps[-1]
    run, every = _newest(session)[0], read_attempt(session, ended=True)
    passed = [
        d
        for d in every[-1:]
        if (d["phase"], d["step"], d["verdict"]) == ("judged", step, "PASS")
    ]
    if run is None or not passed:
        return f"its last step, {step} %, has no PASS in the record"
    last = passed[-1]
    if read_attempt(session)[-1:] != passed:
        return (
            f"its PASS at {step} % was for weights that were undone, or that somebody "
            "else has written since"
        )
    if wrong := run.faults():
        return f"the record of its PASS is not as it was written: {wrong[0]}"
    again = _judged_again(_before(run, last))
    if again is None or again.outcome != "PASS":
        return (
            f"its PASS at {step} % does not follow from the stored counts: "
            f"{again.reason if again else 'none'}"
        )
    return ""


def _judged_again(lines: Sequence[Mapping[str, Any]]) -> Judgement | None:
    """Judge the newest verdict among the journal's lines again; None
    where there is none.
    """
    for index in range(len(lines) - 1, -1, -1):
        if lines[index]["event"] == "judged":
            with suppress(ValueError):  # counts of a long bake are missing
                return rejudged(lines[index], lines[:index])
            return None
    return None


def _before(run: record.Run, decision: Mapping[str, Any]) -> list[dict[str, Any]]:
    lines = list(run.lines())
    return lines[: lines.index(dict(decision))]


def _stands(session: Session, run: record.Run, decision: Mapping[str, Any]) -> bool:
    """Say whether a decision, where it is a PASS, still is about what
    carries the weights now.
    """
    if decision["verdict"] != "PASS":
        return True
    return run.kept(decision.get("carried", ""), survey(session).split.state)


def _undone(session: Session, run: record.Run, last: Mapping[str, Any]) -> bool:
    """Say whether an undo has lowered the canary's weight since a decision: that
    ended its attempt.
    """
    since = list(run.lines())[len(_before(run, last)) :]
    canary = session.parameters.shift.canary
    for line in since:
        change = line["change"] if line["event"] == "intended" else {}
        moved = change.get("weights") if change.get("undoes") else None
        if moved and revived(moved).lowers(canary):
            return True
    return False


def read_events(run: record.Run | None, since: float) -> list[dict[str, Any]]:
    """Return the approvals and holds that were written into a run from a moment
    on, in epoch seconds.
    """
    lines = (
        _event(line)
        for line in (run.said() if run else ())
        if line["event"] in ("approved", "hold")
    )
    return [line for line in lines if line["at"] >= since]


def _newest_attempt(session: Session) -> list[dict[str, Any]]:
    """Return decisions, approvals and holds of the newest attempt, from the
    newest run that has any.
    """
    return _newest(session)[1]


def _newest(session: Session) -> tuple[record.Run | None, list[dict[str, Any]]]:
    """Return the newest run of this place that took a step between these two services,
    and its newest attempt.

    A rollback by somebody who did not watch it has a run of its own, and belongs to the
    attempt that it ended.
    """
    p = session.parameters
    both = {p.shift.stable, p.shift.canary}
    rollbacks: list[dict[str, Any]] = []
    for run in record.runs(p.environment, p.records, session.place):
        events = [
            _event(line)
            for line in run.said()
            if line["event"] in ("decision", "approved", "hold")
        ]
        ours = [
            e for e in events if e["event"] != "decision" or both <= set(e["weights"])
        ]
        phases = {e["phase"] for e in ours if e["event"] == "decision"}
        if phases - {*ENDED}:
            return run, _last_attempt(
                sorted([*ours, *rollbacks], key=lambda e: float(e["at"]))
            )
        if phases:
            rollbacks = [*ours, *rollbacks]
    return None, _last_attempt(rollbacks)


def _event(line: Mapping[str, Any]) -> dict[str, Any]:
    if line["event"] == "decision":
        return dict(line)
    return {
        **line,
        "phase": line["event"],
        "step": 0,
        "at": datetime.fromisoformat(line["at"]).timestamp(),
    }


def _last_attempt(events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what belongs to the last attempt: one begins with its trial or rehearsal,
    or after a way back.
    """
    attempt: list[dict[str, Any]] = []
    for event in events:
        phases = {e["phase"] for e in attempt}
        over = phases & {*ENDED} and event["phase"] not in ENDED
        begins = event["phase"] in BEFORE and (
            event["phase"] in phases or "written" in phases
        )
        attempt = [event] if over or begins else [*attempt, event]
    return attempt


def _steps(decisions: Sequence[Mapping[str, Any]]) -> list[Step]:
    out: list[Step] = []
    for line in decisions:
        if line["phase"] == "written":
            out.append(
                Step(
                    line["words"].split(",")[0], line["step"], line["at"], False, "", ""
                )
            )
        elif out and line["phase"] == "proved":
            out[-1] = Step(out[-1].words, out[-1].step, out[-1].at, True, "", "")
        elif out and line["phase"] in ("judged", "rolled back"):
            out[-1] = Step(
                out[-1].words,
                out[-1].step,
                out[-1].at,
                out[-1].proved,
                line["verdict"],
                line["words"],
            )
    return out
