"""Write the steps of a shift, and before the first one what must come before it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from runbook_lib.aws import ecs
from runbook_lib.aws.applying import apply
from runbook_lib.errors import (
    CallError,
    ForeignChangeError,
    GateError,
    Held,
    ReadBackError,
    RecordError,
    RunbookError,
    StalePlanError,
)
from runbook_lib.gates import evidence_for_shift
from runbook_lib.plan import Evidence, Plan, clear
from runbook_lib.printable import counted
from runbook_lib.runs.approvals import approval_of, ran_out, require_approval
from runbook_lib.shift.decision import Decision
from runbook_lib.shift.outlasting import Outlasting
from runbook_lib.shift.outlook import credentials_end_first, require_steps_passable
from runbook_lib.shift.requirements import require_ours
from runbook_lib.shift.rules.moves import RollBack
from runbook_lib.shift.rules.unseen import approval_expired, gates_fail
from runbook_lib.shift.state import State
from runbook_lib.shift.trial import end_trial, try_canary

__all__ = ["Writing"]

# What stops a step before its write; once a trial or a step was written it is a hold.
BEFORE_STEP = (
    GateError,
    StalePlanError,
    ForeignChangeError,
    ReadBackError,
    RecordError,
)


class Writing:
    """Prepares and writes steps; `evidence` is what the notebook's cells have shown."""

    def __init__(
        self, state: State, evidence: Sequence[Evidence], outlasting: Outlasting
    ) -> None:
        self.state, self.session = state, state.session
        self.evidence = tuple(evidence)
        self.outlasting = outlasting

    def is_prepared(self, step: int) -> bool:
        """Say whether all but an approval had been done, and it was given."""
        approved = approval_of(self.session, self.state.found.plan_step(step))
        return bool(approved) and self.state.journal.is_rehearsed

    def prepare(self, steps: Sequence[int]) -> Iterator[Decision]:
        """Try the canary without users, keep stable's tasks, rehearse the rollback."""
        state, found = self.state, self.state.found
        none = state.shift.weights_at(0)
        back = found.engine.plan_split(found.split, none, rewrite=True)
        gates = (*self.evidence, *evidence_for_shift(found))
        cleared = clear(back, *gates, *state.looking.evidence())
        require_steps_passable(found, *steps)
        stable = state.shift.stable
        _, running = ecs.read_counts(self.session, (stable,))[stable]
        if state.shift.trial:
            yield state.tell(Decision("tried", 0, none, try_canary(self.session)))
        else:
            # One that was killed while the file still asked for it.
            end_trial(self.session)
        kept = apply(self.session, clear(found.plan_capacity(running)))
        apply(self.session, cleared)
        words = "the rollback was written once at weight 0"
        if kept:
            words += f"; {stable} keeps at least {counted(running, 'task')}"
        yield state.tell(Decision("rehearsed", 0, none, words, tasks={stable: running}))

    def write(self, step: int, former: int) -> RollBack | None:
        """Write a step, again where AWS did not take it; or return what an expired
        approval asks for.

        Raises Held where something that must come before it is not so.
        """
        try:
            return self._attempt(step, former)
        except CallError as error:
            again = self._attempt_again
            return self.outlasting.ask_again(lambda: again(step, former), error)
        except RecordError as error:  # an approval cannot be read, say
            raise self._before_step(error) from None

    def begin(self, step: int, former: int) -> Decision:
        """Begin to watch a step that is written, and write that down."""
        state = self.state
        state.weight = step
        state.begin_step(step, former)
        weights = state.shift.weights_at(step)
        self.session.saw(weights)
        words = f"{former} → {step} %, read back"
        if ending := credentials_end_first(self.session):
            words += f"; {ending}"
        return state.tell(Decision("written", step, weights, words, former=former))

    def _attempt_again(self, step: int, former: int) -> RollBack | None:
        """Look anew, and attempt it: where the answer was lost, the step is written."""
        self.state.look_anew()
        return self._attempt(step, former)

    def _attempt(self, step: int, former: int) -> RollBack | None:
        """Write a step, gates included; or return what an expired approval asks for."""
        found = self.state.found
        plan = found.plan_step(step)
        if not plan.changes:
            return None
        require_ours(found)
        if step <= former:
            self._apply(step, plan, ())
            return None
        evidence = (*evidence_for_shift(found), *self.state.looking.evidence())
        if lacking := gates_fail(evidence):
            raise Held(lacking.words, hint=lacking.hint, reason=lacking.word)
        ended = ran_out(self.session, step, former, plan)
        if expired := approval_expired(ended, former):
            return expired
        require_approval(self.session, step, former, plan)
        self._apply(step, plan, evidence)
        return None

    def _apply(self, step: int, plan: Plan, evidence: Sequence[Evidence]) -> None:
        try:
            if evidence:
                require_steps_passable(self.state.found, step)
            # may be in force from here on, whatever is answered
            self.state.weight = step
            apply(self.session, clear(plan, *evidence))
        except BEFORE_STEP as error:
            raise self._before_step(error) from None

    def _before_step(self, error: RunbookError) -> Held:
        words = f"before the next step: {error.message}{self.state.incomplete}"
        return Held(words, hint=error.hint, reason=error.reason)
