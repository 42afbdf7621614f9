"""Apply a cleared plan: the only door through which the runbook changes AWS.

For each change: wait for what must be ready, read and compare with what was planned,
write down the intention, call, read back, write down what was seen, wait where the
change asks for it. It knows no resource.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
    mapped,
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
    if not (session.applies and cleared.plan.changes):
        return done
    with nullcontext() if urgent else session.holding():
        _make_all(session, cleared, done, urgent=urgent)
    if cleared.plan.ends:
        session.finish("done")
    return done


def _make_all(
    session: Session, cleared: ClearedPlan, done: Made, *, urgent: bool
) -> None:
    try:
        _require_still_holding(session, cleared)
        for change in cleared.plan.changes:
            done.append(_make(session, change, done, urgent=urgent))
    except Refused as error:
        if session.written:  # nobody refuses half-way
            error.exit_code = Failed.exit_code
        raise


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
    hint = _hint(failing)
    if not made:
        number, run = session.notebook[:2], session.join_run()
        again = f"`runbook undo {run.id} --notebook {number}` takes it back"
        raise Held(words, hint=f"{hint}; {again}" if hint else again, reason="check")
    with session.holding():
        for applied in reversed(made):
            inverse = applied.change.inverse
            # a revision that nobody runs any more does no harm
            if inverse and not inverse.reading:
                _go_back(session, applied.change, inverse)
    words = f"{words}; {_put_back_words(made)} put back as before"
    raise ReadBackError(words, hint=hint)


def _hint(failing: Iterable[Evidence]) -> str:
    return "; ".join(one.hint for one in failing if one.hint)


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
        hint=_hint(failing),
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
    asked = _filled(change, {made.change.name: made.answer for made in done})
    change = replace(asked, call=_resolved(session, asked.call))
    for wait in change.ready:
        session.wait_for(wait)
    before = session.read(change.reading)
    if not holds(before, change.expected):
        raise _stale(change, before)
    if urgent:
        session.note(lambda run: run.intended(session.notebook, asked, before))
    else:
        session.join_run().intended(session.notebook, asked, before)
    tries = READ_AGAIN_URGENT if urgent else READ_AGAIN
    try:
        answer = session.write(change.call)
        made = _filled(change, {change.name: answer})
        state = _read_back(session, made, tries)
        answered = jmespath.search(made.reading.query, answer)
        _refuse_foreign(made, before, answered, state)
    except RunbookError as error:
        _note_failure(session, change, error)
        raise
    session.note(lambda run: run.observed(session.notebook, made, state, answer))
    _await(session, made)
    return Applied(made, state, answer)


def _note_failure(session: Session, change: Change, error: RunbookError) -> None:
    said = {"notebook": session.notebook, "name": change.name, "error": error.message}
    session.note(lambda run: run.write("failed", **said))


def _read_back(session: Session, change: Change, tries: int) -> Any:
    """Return the state after a change; a fresh thing may take some seconds until
    every reader sees it.
    """
    state = session.read(change.reading)
    for _ in range(tries):
        if holds(state, change.wanted):
            return state
        session.sleep(READ_AGAIN_SECONDS)
        state = session.read(change.reading)
    raise ReadBackError(
        f"{change.name}: AWS does not show what was "
        f"written:\n{_shown(change.wanted, state)}",
        hint="somebody else may be changing it; run the notebook again to see "
        "where things stand",
    )


def _refuse_foreign(change: Change, before: Any, answered: Any, state: Any) -> None:
    """The version must have risen by exactly one, in the answer and in
    the reading after it.
    """
    former, now = _version(before), _version(state)
    if former is None or not isinstance(state, Mapping):
        return
    is_another = state.get("uid") != before.get("uid")
    seen = [each for each in (_version(answered), now) if each is not None]
    if is_another or all(each == former + 1 for each in seen):
        return
    raise ForeignChangeError(
        f"{change.name}: somebody else changed it at the same moment: version "
        f"{former} became {seen[-1]}, expected {former + 1}",
        hint="agree with them, then run the notebook again: it plans "
        "from what is there",
    )


def _version(state: Any) -> int | None:
    return state.get("version") if isinstance(state, Mapping) else None


def _await(session: Session, change: Change) -> None:
    """Wait as the change asks; what was wanted must still be there then (a circuit
    breaker also ends stable).
    """
    try:
        for wait in change.waits:
            session.wait_for(wait)
        if change.waits:
            _require_lasting(session, change)
    except Failed as error:
        _note_failure(session, change, error)
        if not (change.back_on_failure and change.inverse):
            raise
        _go_back(session, change, change.inverse)
        words = f"{error.message}\n{change.name} was put back as it was"
        raise type(error)(words, hint=error.hint) from error


def _require_lasting(session: Session, change: Change) -> None:
    found = session.read(change.reading)
    if not holds(found, change.wanted):
        raise ReadBackError(
            f"{change.name}: went back by itself:\n{_shown(change.wanted, found)}"
        )


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
    arguments = {key: value for key, value in found.items() if value is not None}
    return replace(call, arguments=arguments)


def _filled(change: Change, answers: Mapping[str, Any]) -> Change:
    """Return a change with each `Answer` in it replaced by what its change was
    answered, if it was made by now.
    """

    def end(value: Any) -> Any:
        if isinstance(value, Answer) and value.change in answers:
            return jmespath.search(value.query, answers[value.change])
        return value

    filled: Change = mapped(change, end)
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
