"""Read back what a shift looked like: its intervals from CloudWatch, its
decisions from the record.

It only reads. What goes on from an earlier attempt, pictures and the claims of
notebooks 05 and 06 are made of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from runbook_lib import record
from runbook_lib.aws import cloudwatch
from runbook_lib.aws.cloudwatch import Interval
from runbook_lib.aws.session import Session
from runbook_lib.judging import alpha_of, evidence_over, judged
from runbook_lib.parameters import Parameters
from runbook_lib.plan import Moved, revived
from runbook_lib.runs.approvals import ENDED
from runbook_lib.runs.verify import rejudged
from runbook_lib.survey import survey
from runbook_lib.verdict import Judgement

__all__ = [
    "ASKED",
    "ENDED",
    "History",
    "Step",
    "doubt",
    "read_attempt",
    "read_events",
    "read_history",
    "seen_as",
]

ASKED = ("approved", "hold", "promote")  # what others may ask of a shift
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
    events = _newest(session).events
    written = [d["at"] for d in events if d["phase"] == "written" and d["at"]]
    if not written:
        return seen_as(p, [], events)
    began = written[0]
    seen: list[Interval] = []
    if session.connection.carries_traffic:
        period = p.telemetry.period_seconds
        last = max(d["at"] for d in events) + 2 * period
        until = min(cloudwatch.complete_until(session, session.now()), last)
        series = survey(session).series
        since = began - 10 * period
        seen = cloudwatch.read_intervals(session, series, since, until)
    return seen_as(p, seen, events, since=began)


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
    all_on_canary = [event["at"] for event in events if _is(event, "proved", 100)]
    since_all = max(all_on_canary, default=math.inf)
    bake = [interval for interval in seen if interval.start >= since]
    alone = sum(interval.start >= since_all for interval in bake)
    return History(
        stable=p.shift.stable,
        canary=p.shift.canary,
        intervals=seen,
        decisions=events,
        evidence=evidence_over(rule, bake, alone=alone),
        steps=_steps(events),
        needed=1 / alpha_of(rule),
        slow="slow" in judged(rule),
    )


def _is(event: Mapping[str, Any], phase: str, step: int) -> bool:
    return (event["phase"], event["step"]) == (phase, step)


def read_attempt(session: Session, *, ended: bool = False) -> list[dict[str, Any]]:
    """Return the decisions of the attempt under way at a shift between
    these two services.

    None once it was rolled back or undone, unless one that has `ended` will do. A PASS
    counts only while what carries the weights is what it was given for, or only the run
    itself has written it since.
    """
    newest = _newest(session)
    run, decisions = newest.run, newest.decisions
    if not decisions or ended:
        return decisions
    last = decisions[-1]
    if run is None or last["phase"] in ENDED or _undone(session, run, last):
        return []
    if _stands(session, run, last):
        return decisions
    return decisions[:-1]


def doubt(session: Session) -> str:
    """Say why the canary is not proven at the last step of the shift; "" where it is.

    The verdict is judged again from its stored counts, in a record that is
    as it was written.
    """
    step = session.parameters.shift.steps[-1]
    newest = _newest(session)
    run, last = newest.run, newest.last
    if run is None or not _passed(last, step):
        return _lacks_pass(last, step)
    if read_attempt(session)[-1:] != [last]:
        return (
            f"its PASS at {step} % was for weights that were undone, or that somebody "
            "else has written since"
        )
    wrong = run.faults()
    if wrong:
        return f"the record of its PASS is not as it was written: {wrong[0]}"
    lines = list(run.lines())
    again = _judged_again(lines[: _place(lines, last)])
    if again and again.outcome == "PASS":
        return ""
    found = again.reason if again else "none"
    return f"its PASS at {step} % does not follow from the stored counts: {found}"


def _lacks_pass(last: Mapping[str, Any], step: int) -> str:
    """Say that the last decision is no PASS of a step, and what it is instead."""
    lacks = f"its last step, {step} %, has no PASS in the record"
    if last and _is(last, "promoted", step):
        return f"{lacks}: {last['words']}"
    return lacks


def _passed(decision: Mapping[str, Any], step: int) -> bool:
    if not decision or not _is(decision, "judged", step):
        return False
    return bool(decision["verdict"] == "PASS")


def _judged_again(lines: Sequence[Mapping[str, Any]]) -> Judgement | None:
    """Judge the newest verdict among the journal's lines again; None
    where there is none.
    """
    judged_at = [n for n, line in enumerate(lines) if line["event"] == "judged"]
    if not judged_at:
        return None
    newest = judged_at[-1]
    try:
        return rejudged(lines[newest], lines[:newest])
    except ValueError:  # counts of a long bake are missing
        return None


def _place(lines: Sequence[Mapping[str, Any]], decision: Mapping[str, Any]) -> int:
    """Return where a decision stands among a journal's lines."""
    return lines.index(dict(decision))


def _stands(session: Session, run: record.Run, decision: Mapping[str, Any]) -> bool:
    """Say whether a decision, where it is a PASS or a promotion, still is about what
    carries the weights now.
    """
    if decision["verdict"] != "PASS" and decision["phase"] != "promoted":
        return True
    return run.kept(decision.get("carried", ""), survey(session).split.state)


def _undone(session: Session, run: record.Run, last: Mapping[str, Any]) -> bool:
    """Say whether an undo has lowered the canary's weight since a decision: that
    ended its attempt.
    """
    canary = session.parameters.shift.canary
    lines = list(run.lines())
    for line in lines[_place(lines, last) :]:
        if line["event"] == "intended" and _lowers(line["change"], canary):
            return True
    return False


def _lowers(change: Mapping[str, Any], service: str) -> bool:
    """Say whether a stored change undoes another one and lowers a service's weight."""
    moved = change.get("weights")
    if not moved or not change.get("undoes"):
        return False
    weights: Moved = revived(moved)
    return weights.lowers(service)


def read_events(run: record.Run | None, since: float) -> list[dict[str, Any]]:
    """Return the approvals and holds that were written into a run from a moment
    on, in epoch seconds.
    """
    if run is None:
        return []
    asked = [_event(line) for line in run.said() if line["event"] in ASKED]
    return [event for event in asked if event["at"] >= since]


# --- the newest attempt ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt at a shift: its decisions, approvals and holds in the order of time,
    and the run that took its steps.
    """

    run: record.Run | None
    events: list[dict[str, Any]]

    @property
    def decisions(self) -> list[dict[str, Any]]:
        """What was decided in it."""
        return [event for event in self.events if event["event"] == "decision"]

    @property
    def last(self) -> Mapping[str, Any]:
        """The last decision; empty where there is none."""
        return self.decisions[-1] if self.decisions else {}


def _newest(session: Session) -> Attempt:
    """Return the newest attempt between these two services in this place.

    A rollback by somebody who did not watch it has a run of its own, and belongs to the
    attempt that it ended.
    """
    p = session.parameters
    both = set(p.shift.versions)
    rollbacks: list[dict[str, Any]] = []
    for run in record.runs(p.environment, p.records, session.place):
        ours = _events_between(run, both)
        phases = {event["phase"] for event in ours if event["event"] == "decision"}
        took_steps = phases - {*ENDED}
        if took_steps:
            in_order = sorted([*ours, *rollbacks], key=lambda event: float(event["at"]))
            return Attempt(run, _last_attempt(in_order))
        if phases:
            rollbacks = [*ours, *rollbacks]
    return Attempt(None, _last_attempt(rollbacks))


def _events_between(run: record.Run, both: set[str]) -> list[dict[str, Any]]:
    """Return a run's approvals, holds, and decisions about these two services."""
    found = []
    for line in run.said():
        is_ours = line["event"] == "decision" and both <= {*line["weights"]}
        if is_ours or line["event"] in ASKED:
            found.append(_event(line))
    return found


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
    or after an undo.
    """
    attempt: list[dict[str, Any]] = []
    for event in events:
        if _begins_another(event["phase"], {each["phase"] for each in attempt}):
            attempt = []
        attempt.append(event)
    return attempt


def _begins_another(phase: str, phases: set[str]) -> bool:
    """Say whether an event of this phase belongs to another attempt than those."""
    has_ended = not phases.isdisjoint(ENDED)
    if has_ended and phase not in ENDED:
        return True
    if phase not in BEFORE:
        return False
    return phase in phases or "written" in phases


def _steps(decisions: Sequence[Mapping[str, Any]]) -> list[Step]:
    steps: list[Step] = []
    for line in decisions:
        phase = line["phase"]
        if phase == "written":
            before = steps[-1].step if steps else 0
            words = f"{line.get('former', before)} → {line['step']} %"
            step = Step(
                words,
                line["step"],
                at=line["at"],
                proved=False,
                verdict="",
                reason="",
            )
            steps.append(step)
        elif steps:
            steps[-1] = _with_decision(steps[-1], line)
    return steps


def _with_decision(step: Step, line: Mapping[str, Any]) -> Step:
    """Return a step with what a later decision says of it."""
    phase = line["phase"]
    if phase == "proved":
        return replace(step, proved=True, verdict="", reason="")
    if phase == "promoted":
        return replace(step, verdict="PROMOTED", reason=line["words"])
    if phase in ("judged", "rolled back"):
        return replace(step, verdict=line["verdict"], reason=line["words"])
    return step
