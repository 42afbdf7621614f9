"""Say whether a canary stands unwatched: its weight is live, and nobody is at work there.

It only reads. A watcher that was killed leaves its weights; so does a step by hand that nobody follows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from runbook_lib import record
from runbook_lib.aws.session import Session
from runbook_lib.errors import RecordError
from runbook_lib.runs.history import read_attempt
from runbook_lib.survey import Survey

__all__ = ["unwatched"]


def unwatched(found: Survey) -> str:
    """Return in words that a canary has traffic and nobody watches it, since when; "" where that is not so."""
    session, shift = found.session, found.parameters.shift
    weight = found.canary_weight
    if not (weight and session.connection.carries_traffic) or found.retired or _is_watched(session):
        return ""
    journal = _attempt(session)
    if weight == shift.steps[-1] and _passed(journal, weight):
        return ""
    since = f"since {datetime.fromtimestamp(journal[-1]['at'], UTC):%Y-%m-%d %H:%M:%S} UTC" if journal else ""
    when = since or "and no record here says since when"
    return f"{shift.canary} has {weight} % of the traffic and nobody watches it, {when}"


def _is_watched(session: Session) -> bool:
    p = session.parameters
    try:
        run = record.latest(p.environment, p.records, session.place)
        return run is not None and record.holder(run) is not None
    except RecordError:
        return False


def _attempt(session: Session) -> Sequence[Mapping[str, Any]]:
    try:
        return read_attempt(session)
    except RecordError:
        return ()


def _passed(journal: Sequence[Mapping[str, Any]], weight: int) -> bool:
    return bool(journal) and (journal[-1]["step"], journal[-1]["verdict"]) == (weight, "PASS")
