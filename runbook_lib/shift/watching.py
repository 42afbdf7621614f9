"""Say whether a canary stands unwatched: its weight is live, and
nobody is at work there.

It only reads. A watcher that was killed leaves its weights; so does a step by hand
that nobody follows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runbook_lib import record
from runbook_lib.aws.session import Session
from runbook_lib.errors import RecordError
from runbook_lib.printable import divided
from runbook_lib.record.place import Place
from runbook_lib.runs.history import ENDED, read_attempt
from runbook_lib.shift.process import report
from runbook_lib.shift.rules.steps import has_passed
from runbook_lib.survey import Survey

__all__ = [
    "is_staying",
    "is_watched",
    "report_file",
    "unwatched",
    "unwatched_at",
    "who_wrote",
]

MOVES = ("written", "rolled back")  # the decisions that move weights


def unwatched(found: Survey) -> str:
    """Return in words that a canary has traffic and nobody watches it, since when; ""
    where that is not so.
    """
    session, weight = found.session, found.canary_weight
    if not _stands_alone(session, weight) or found.retired:
        return ""
    return _words(session, weight, _attempt(session))


def unwatched_at(session: Session, weight: int) -> str:
    """Return the same of a weight that was just read, by this machine's record alone:
    no call is made for it.
    """
    if not _stands_alone(session, weight):
        return ""
    journal = _attempt(session, ended=True)
    over = bool(journal) and journal[-1]["phase"] in ENDED
    return _words(session, weight, () if over else journal)


def _stands_alone(session: Session, weight: int) -> bool:
    return weight > 0 and session.connection.carries_traffic and not is_watched(session)


def _words(session: Session, weight: int, journal: Sequence[Mapping[str, Any]]) -> str:
    shift = session.parameters.shift
    if weight == shift.steps[-1] and has_passed(journal, weight):
        return ""
    told = [line["at"] for line in journal[-1:]]
    last = max([*told, *_last_looks(session)], default=0)
    when = "and no record here says since when"
    if last:
        when = f"since {datetime.fromtimestamp(last, UTC):%Y-%m-%d %H:%M:%S} UTC"
    return f"{shift.canary} has {weight} % of the traffic and nobody watches it, {when}"


def _last_looks(session: Session) -> list[float]:
    """Return when a process that was killed here has last looked; nothing for none."""
    said = _newest_report(session)
    killed = said is not None and not said.has_ended
    return [said.look.at] if said and killed and said.look else []


def _newest_report(session: Session) -> report.Report | None:
    try:
        return report.read(report_file(session.place))
    except RecordError:
        return None


def report_file(place: Place) -> Path:
    """Return the file in which who shifts at a place says how it stands."""
    return report.file_of(record.shift_lock_of(place).lock_file)


def is_watched(session: Session) -> bool:
    """Say whether a shift is under way at the session's place, on this machine."""
    try:
        return record.is_held(record.shift_lock_of(session.place))
    except RecordError:
        return False


def is_staying(session: Session) -> bool:
    """Say whether whoever watches here only goes on watching a step that has passed."""
    said = _newest_report(session)
    return said is not None and said.stays


def who_wrote(session: Session, weights: Mapping[str, int]) -> str:
    """Say what the weights come from that were just read, by this machine's record: no
    call is made for it.
    """
    moved = [d for d in _attempt(session, ended=True) if d["phase"] in MOVES]
    if not moved:
        return "no shift is recorded here yet"
    last = moved[-1]
    at = f"{datetime.fromtimestamp(last['at'], UTC):%H:%M:%S} UTC"
    if dict(last["weights"]) == dict(weights):
        return f"{last['phase']} at {at}: {last['words']}"
    then = divided(last["weights"])
    return f"written by somebody else since {at}, when a shift here wrote {then}"


def is_past(session: Session, step: int) -> bool:
    """Say whether this machine's record has a step as passed, or ended by a person: no
    call is made for it.
    """
    return has_passed(_attempt(session, ended=True), step)


def _attempt(session: Session, *, ended: bool = False) -> Sequence[Mapping[str, Any]]:
    try:
        return read_attempt(session, ended=ended)
    except RecordError:
        return ()
