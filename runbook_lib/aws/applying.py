"""Apply a cleared plan: the only door through which the runbook changes AWS.

For each change: wait for what must be ready, read and compare with what was planned,
write down the intention, call, read back, write down what was seen, wait where the
change asks for it. It knows no resource.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import jmespath

from runbook_lib.aws.session import Session
from runbook_lib.errors import (
    Failed,
    ForeignChangeError,
    GateError,
    Held,
    ReadBackError,
    Refused,
    RunbookError,
    StalePlanError,
)
from runbook_lib.plan import (
    Answer,
    Call,
    Change,
    ClearedPlan,
    Evidence,
    Inverse,
    Reading,
    differences,
    holds,
    map_leaves,
    spoken,
    told,
)

__all__ = ["Applied", "Made", "apply", "keep_or_put_back"]

READ_AGAIN = 40  # times, until what was written must be seen
READ_AGAIN_URGENT = 6  # whoever rolls back looks at it anew then
READ_AGAIN_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Applied:
    """A change that was made: what was read after it, and what AWS answered."""

    change: Change
    state: Any
    answer: Any


class Made(list[Applied]):
    """The changes that were made, in their order."""


def apply(session: Session, cleared: ClearedPlan, *, urgent: bool = False) -> Made:
    """Make a cleared plan's changes in order and return what was read after each.

    What is `urgent`, a rollback, asks for no lock, and no disk can stop it: it is
    recorded as well as it can be.

    Raises GateError before the first write where evidence that protects traffic no
    longer holds, StalePlanError before a change whose thing is no longer as planned,
    ForeignChangeError or ReadBackError where the reading after it is not what was
    written, WaitError where a wait fails; what was done until then is in the record. In
    plan mode nothing is applied.
    """
    if not isinstance(cleared, ClearedPlan):
        raise TypeError(
            f"expected a ClearedPlan, found {type(cleared).__name__}: clear(plan, "
            "*evidence) makes one"
        )
    done = Made()
    if session.applies and cleared.plan.changes:
        with nullcontext() if urgent else session.holding():
            try:
                _require_still_holding(session, cleared)
                for change in cleared.plan.changes:
                    done.append(_make(session, change, done, urgent=urgent))
            except Refused as error:
                if session.written:  # nobody refuses half-way
                    error.exit_code = Failed.exit_code
                raise
        if cleared.plan.ends:
            session.finish("done")
    return done


def keep_or_put_back(
    session: Session, made: Sequence[Applied], *evidence: Evidence
) -> None:
    """Keep changes whose checks hold; put them back, last first, where one does not.

    Raises ReadBackError where they were put back, Held where there is nothing to put
    back, since an earlier run had made them. What was put back is in the record.
    """
    failing = [e for e in evidence if not e.holds]
    if not failing or not session.applies:
        return
    words = "; ".join(f"{e.name}: {e.found}" for e in failing)
    hint = "; ".join(e.hint for e in failing if e.hint)
    if not made:
        again = (
            f"`runbook undo {session.join_run().id} --notebook "
            f"{session.notebook[:2]}` undoes it"
        )
        raise Held(words, hint=f"{hint}; {again}" if hint else again, reason="check")
    with session.holding():
        for applied in reversed(made):
            inverse = applied.change.inverse
            # a revision that nobody runs any more does no harm
            if inverse and not inverse.reading:
                _go_back(session, applied.change, inverse)
    raise ReadBackError(
        f"{words}; {_put_back_words(made)} put back as before", hint=hint
    )


def _put_back_words(made: Sequence[Applied]) -> str:
    names = ", ".join(applied.change.name for applied in made)
    return f"{names} {'was' if len(made) == 1 else 'were'}"


def _require_still_holding(session: Session, cleared: ClearedPlan) -> None:
    """Look once more at the evidence that protects traffic, each kind in one look;
    raise GateError where some fails.

    A rollback has no evidence, so nothing can stop it here.
    """
    # of two looks at one claim the later counts
    before = {e.name: e for e in cleared.evidence}
    looks = dict.fromkeys(e.again for e in before.values() if e.again)
    seen = session.together(list(looks))
    failing = [e for look in seen for e in look if not e.holds]
    if not failing:
        return
    found = "\n".join(f"- {_compared(e, before.get(e.name, e))}" for e in failing)
    raise GateError(
        f"{cleared.plan.title}: refused, since it is no longer as it was:\n{found}",
        hint="; ".join(e.hint for e in failing if e.hint),
    )


def _compared(now: Evidence, before: Evidence) -> str:
    """Return what was found now, beside what was found before."""
    former = f" (before: {before.found})" if before.found != now.found else ""
    return f"{now.name}: {now.found}{former}"


def _make(
    session: Session,
    change: Change,
    done: Sequence[Applied],
    *,
    urgent: bool = False,
) -> Applied:
    """Make one change: its precondition, the intended line, the call, the state read
    back, the observed line.
    """
    answers = {made.change.name: made.answer for made in done}
    planned = _filled(change, answers)
    resolved = replace(planned, call=_resolved(session, planned.call))
    for wait in resolved.ready:
        session.wait_for(wait)
    before = session.read(resolved.reading)
    if not holds(before, resolved.expected):
        raise _stale(resolved, before)
    _write_intention(session, planned, before, urgent=urgent)
    tries = READ_AGAIN_URGENT if urgent else READ_AGAIN
    try:
        answer = session.write(resolved.call)
        made = _filled(resolved, {resolved.name: answer})
        state = _read_back(session, made, before, answer, tries)
    except RunbookError as error:
        _note_failure(session, resolved, error)
        raise
    session.note(lambda run: run.observed(session.notebook, made, state, answer))
    _await(session, made)
    return Applied(made, state, answer)


def _write_intention(
    session: Session, change: Change, before: Any, *, urgent: bool
) -> None:
    """Write what is about to be done, and wait until that is stored; where it is
    urgent, a record that cannot be written is no obstacle, and no copy is waited for.
    """
    by = session.identity.arn
    if urgent:
        session.note(lambda run: run.intended(session.notebook, change, before, by))
        return
    run = session.join_run()
    run.intended(session.notebook, change, before, by)
    run.require_stored()


def _note_failure(session: Session, change: Change, error: RunbookError) -> None:
    said = {"notebook": session.notebook, "name": change.name, "error": error.message}
    session.note(lambda run: run.write("failed", **said))


def _read_back(
    session: Session, change: Change, before: Any, answer: Any, tries: int
) -> Any:
    """Return the state after a change; a fresh thing may take some seconds until
    every reader sees it.
    """
    state = session.read(change.reading)
    for _ in range(tries):
        if holds(state, change.wanted):
            break
        session.sleep(READ_AGAIN_SECONDS)
        state = session.read(change.reading)
    else:
        raise ReadBackError(
            f"{change.name}: AWS does not show what was "
            f"written:\n{_shown(change.wanted, state)}",
            hint="somebody else may be changing it; run the notebook again to see "
            "where things stand",
        )
    _refuse_foreign(
        change, before, jmespath.search(change.reading.query, answer), state
    )
    return state


def _refuse_foreign(change: Change, before: Any, answered: Any, state: Any) -> None:
    """The version must have risen by exactly one, in the answer and in
    the reading after it.
    """
    if not (
        isinstance(before, Mapping)
        and "version" in before
        and isinstance(state, Mapping)
    ):
        return
    versions = [
        s["version"]
        for s in (answered, state)
        if isinstance(s, Mapping) and s.get("version") is not None
    ]
    if state.get("uid") == before.get("uid") and any(
        v != before["version"] + 1 for v in versions
    ):
        raise ForeignChangeError(
            f"{change.name}: somebody else changed it at the same moment: version "
            f"{before['version']} became "
            f"{versions[-1]}, expected {before['version'] + 1}",
            hint="agree with them, then run the notebook again: it plans "
            "from what is there",
        )


def _await(session: Session, change: Change) -> None:
    """Wait as the change asks; what was wanted must still be there then (a circuit
    breaker also ends stable).
    """
    try:
        for wait in change.waits:
            session.wait_for(wait)
        if change.waits and not holds(
            found := session.read(change.reading), change.wanted
        ):
            raise ReadBackError(
                f"{change.name}: went back by itself:\n{_shown(change.wanted, found)}"
            )
    except Failed as error:
        _note_failure(session, change, error)
        if change.back_on_failure and change.inverse:
            _go_back(session, change, change.inverse)
            raise type(error)(
                f"{error.message}\n{change.name} was put back as it was",
                hint=error.hint,
            ) from error
        raise


def _go_back(session: Session, change: Change, inverse: Inverse) -> None:
    """Take a change back, unless that has happened by itself."""
    if holds(session.read(change.reading), inverse.wanted):
        return
    back = Change(
        name=change.name,
        verb=inverse.verb,
        call=inverse.call,
        reading=change.reading,
        expected=change.wanted,
        wanted=inverse.wanted,
        ready=inverse.ready,
        waits=inverse.waits,
        about=change.about,
        undoes=change.name,
    )
    _make(session, back, ())


def _resolved(session: Session, call: Call) -> Call:
    """Return the call with its arguments read, where they are a reading as a whole."""
    if not isinstance(call.arguments, Reading):
        return call
    found = session.read(call.arguments) or {}
    return replace(
        call,
        arguments={key: value for key, value in found.items() if value is not None},
    )


def _filled(change: Change, answers: Mapping[str, Any]) -> Change:
    """Return a change with each `Answer` in it replaced by what its change was
    answered, if it was made by now.
    """

    def answered(leaf: Any) -> Any:
        if not isinstance(leaf, Answer) or leaf.change not in answers:
            return leaf
        return jmespath.search(leaf.query, answers[leaf.change])

    filled: Change = map_leaves(change, answered)
    return filled


def _stale(change: Change, found: Any) -> StalePlanError:
    return StalePlanError(
        f"{change.name}: it is no longer what was planned "
        f"against:\n{_shown(change.expected, found)}",
        hint="look at the difference, then run the notebook again: it plans "
        "from what is there",
    )


def _shown(said: Any, found: Any) -> str:
    """Return where what was found is not what was said, in words; more than was
    said is no difference.
    """
    return told(differences(said, spoken(found, said)))
