"""Say what must be so before a shift writes anything, or raise what ends it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from runbook_lib.aws.session import Session
from runbook_lib.errors import GateError, Held, PrerequisiteError, RecordError
from runbook_lib.plan import Evidence, Need
from runbook_lib.printable import divided
from runbook_lib.runs.approvals import heed, unheeded
from runbook_lib.shift.rules.others import held
from runbook_lib.survey import Survey

__all__ = ["require_evidence", "require_no_hold", "require_ours"]


def require_evidence(evidence: Sequence[Evidence]) -> None:
    """Raise where no evidence was given, or an earlier step is missing."""
    if not evidence:
        raise GateError(
            "shift: no evidence was given", hint="run the cells above again"
        )
    for one in evidence:
        # without a route no step is left
        if one.name == Need.EARLIER_STEPS and not one.holds:
            raise PrerequisiteError(f"05_shift_traffic: {one.found}", hint=one.hint)


def require_ours(found: Survey) -> None:
    """Raise Held where targets or weights of somebody else carry the traffic."""
    shift, session = found.parameters.shift, found.session
    if words := found.split.oddity(shift.versions):
        back = f"`runbook rollback {session.named}`"
        hint = f"put the weights right, then run 05 again; or {back}"
        raise Held(f"nothing was written: {words}", hint=hint, reason="foreign_change")


def require_no_hold(session: Session, weights: Mapping[str, int]) -> None:
    """Raise Held where somebody said hold since the run began and nothing was held."""
    asked: list[dict[str, Any]] = []
    with suppress(RecordError):  # nothing is written either, where it cannot be read
        asked = unheeded(session.join_run())
    if asked:
        heed(session)
        stay = f"{divided(weights)} stays as it is"
        words = f"before the next step: {held(str(asked[-1]['by'])).words}; {stay}"
        back = f"`runbook rollback {session.named}`"
        hint = f"agree with them, then run 05 again; or {back}"
        raise Held(words, hint=hint, reason="hold")
