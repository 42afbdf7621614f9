"""End the bake of a step by a person's decision, where one may.

It asks the shift, which alone writes it down. A canary that fails is never promoted:
its verdict comes before what a person says, at every look.
"""

from __future__ import annotations

from runbook_lib.errors import GateError, ParametersError
from runbook_lib.gates import evidence_for_shift
from runbook_lib.judging import error_judge
from runbook_lib.printable import divided
from runbook_lib.record import Run
from runbook_lib.runs.history import read_attempt
from runbook_lib.runs.promotions import promote
from runbook_lib.shift.looking import Looking
from runbook_lib.shift.rules.steps import has_passed
from runbook_lib.shift.rules.unseen import gates_fail
from runbook_lib.survey import Survey

__all__ = ["end_bake"]


def end_bake(found: Survey, run: Run, *, by: str, because: str) -> None:
    """Ask a run for the end of the bake at the weights that are there now.

    Raises ParametersError where there is no such bake or the file allows no promotion,
    and GateError where the verdict is FAIL or what the next step needs does not hold.
    """
    if not by or not because:
        raise ParametersError(
            "promote: expected who decides it and why",
            hint=f'runbook promote {run.id} --by NAME --because "TEXT"',
        )
    _require_bake(found, run)
    _require_well(found)
    promote(run, found.carried, by=by, because=because)


def _require_bake(found: Survey, run: Run) -> None:
    """Raise where the file allows no promotion, or a run has no bake to end."""
    session = found.session
    where = f"runbook status {session.named}"
    if session.parameters.shift.promotion == "never":
        words = "promote: the file says shift.promotion: never"
        raise ParametersError(words, hint="wait for the verdict, or change the file")
    newest = session.latest_run()
    if newest and newest.id != run.id:
        words = f"promote: run {run.id} is not the newest of {run.environment}"
        raise ParametersError(words, hint=f"runbook promote {newest.id}")
    weight = found.canary_weight
    if not weight or found.retired:
        weights = divided(found.split.weights) or "nothing divides the traffic yet"
        raise ParametersError(f"promote: no step is baking: {weights}", hint=where)
    if has_passed(read_attempt(session), weight):
        words = f"promote: {weight} % has passed, nothing is left to decide"
        raise ParametersError(words, hint=where)


def _require_well(found: Survey) -> None:
    """Raise where the canary fails, or a gate of the next step does not hold."""
    session, p = found.session, found.parameters
    journal = read_attempt(session)
    if journal and journal[-1]["verdict"] == "FAIL":
        hint = f"runbook rollback {session.named}"
        raise GateError("promote: the verdict is FAIL", hint=hint)
    judge = error_judge(p.shift, found.engine.counted(p))
    looking = Looking(session, found, judge, journal)
    lacking = gates_fail((*evidence_for_shift(found), *looking.evidence()))
    if lacking:
        raise GateError(f"promote: {lacking.words}", hint=lacking.hint)
