"""Plan the way back of a run, or of one notebook of it, from its record and what is there now.

It only reads and plans; the way back goes through `apply` like any other plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jmespath

from runbook_lib.errors import PlanError
from runbook_lib.plan import Answer, Call, Change, Plan, Reading, Wait, differences, holds, spoken
from runbook_lib.record import Run
from runbook_lib.session import Session

__all__ = ["plan_undo"]

UNDO = "undo"
TAKES_BACK = "it takes back a change"
LEFT_OUT = ("version", "uid", "arn", "runningCount", "rollout", "settings")


@dataclass(frozen=True)
class Made:
    """A change that the record says was made: what was there before, what after, and its inverse.

    It is not `sure` where a crash came between intending and observing it.
    """

    name: str
    reading: Reading
    before: Any
    after: Any
    inverse: Mapping[str, Any] | None
    sure: bool = True

    @property
    def renames(self) -> bool:
        """Whether its way back gives the thing another name."""
        return bool(self.inverse and self.inverse["renames"])

    @property
    def thing(self) -> str:
        """What was changed, whatever it is called in plans."""
        return f"{self.reading.call}{self.reading.query}"


def plan_undo(session: Session, run: Run | None = None, notebook: str = "") -> Plan:
    """Plan back what a run changed (only `notebook`'s part where one is named), last change first.

    Without `run` it is the environment's newest. What has been undone already stays so. Raises PlanError where
    something is no longer as the run left it: that is somebody else's change. Where a later notebook has changed
    the same thing, the plan needs that notebook taken back first, and `clear` refuses it.
    """
    run = run or session.latest_run()
    session.run = run or session.run  # the way back belongs to the same run
    made, needs = _part(_made(run.lines() if run else ()), notebook)
    changes = tuple(_changes(session, list(_net(reversed(list(_happened(session, made)))))))
    return Plan(f"{UNDO} {notebook}".strip(), changes, needs=needs)


def _part(made: Iterable[tuple[str, Made]], notebook: str) -> tuple[list[Made], tuple[str, ...]]:
    """Return one notebook's changes with the later ones that stand on them, and what these make a way back need."""
    part: list[Made] = []
    others: list[str] = []
    for name, m in made:
        if name == notebook or not notebook:
            part.append(m)
        elif any(own.thing == m.thing for own in part):
            part.append(m)
            others.append(f"{name} taken back first")
    return part, tuple(dict.fromkeys(others))


def _made(lines: Iterable[Mapping[str, Any]]) -> list[tuple[str, Made]]:
    """Return each change in its order, those a crash left open too, without those undone."""
    made: list[tuple[str, Made]] = []
    pending: dict[str, tuple[tuple[str, Made] | None, Mapping[str, Any]]] = {}
    for line in lines:
        if line["event"] == "intended":
            change = line["change"]
            known = change["no_inverse"] != TAKES_BACK and not _waits_for_answer(change["inverse"])
            entry = (line["notebook"], _one(change, change["wanted"], change["inverse"], sure=False)) if known else None
            made += [entry] if entry else []
            pending[change["name"]] = (entry, change)
        elif line["event"] == "observed" and line["name"] in pending:
            entry, change = pending.pop(line["name"])
            if change["no_inverse"] == TAKES_BACK:
                _forget(made, _one(change, line["state"], None), line["answer"])
            else:
                sure = (line["notebook"], _one(change, line["state"], line["inverse"]))
                made[:] = [sure if e is entry else e for e in made] if entry else [*made, sure]
    return made


def _waits_for_answer(value: Any) -> bool:
    """Tell whether a value still holds an `Answer`: nobody saw the name of what the call made, if it made it.

    That is a task definition's revision, which the next run takes up, and which does no harm.
    """
    if isinstance(value, Mapping):
        return set(value) == {"change", "query"} or any(map(_waits_for_answer, value.values()))
    return isinstance(value, list) and any(map(_waits_for_answer, value))


def _forget(made: list[tuple[str, Made]], undone: Made, answer: Any) -> None:
    """Drop the changes that a recorded way back has taken back, back to the state it reached.

    What came back under another name is called by that from there on.
    """
    for item in [item for item in reversed(made) if item[1].thing == undone.thing]:
        made.remove(item)
        inverse = item[1].inverse
        if inverse and inverse["renames"]:
            names = {inverse["renames"]: jmespath.search(inverse["answer"], answer)}
            made[:] = [(notebook, _called(m, names)) for notebook, m in made]
            return
        if holds(undone.after, _lasting(item[1].before)):
            return


def _called(m: Made, names: Mapping[str, str]) -> Made:
    before, after, inverse = (_renamed(value, names) for value in (m.before, m.after, m.inverse))
    return replace(m, reading=_renamed(m.reading, names), before=before, after=after, inverse=inverse)


def _one(change: Mapping[str, Any], after: Any, inverse: Any, *, sure: bool = True) -> Made:
    if inverse and inverse["reading"]:
        reading, before, after = _reading(inverse["reading"]), inverse["wanted"], inverse["expected"]
    else:
        reading, before = _reading(change["reading"]), change["expected"]
    return Made(change["name"], reading, before, after, inverse, sure)


def _happened(session: Session, made: Sequence[Made]) -> Iterator[Made]:
    """Yield changes without those a crash left open of which what came next, or is there now, shows nothing."""
    for n, m in enumerate(made):
        following = next((later for later in made[n + 1 :] if later.thing == m.thing), None)
        if not m.sure:
            state = following.before if following else session.read(m.reading)
            if holds(state, _lasting(m.before)) and not holds(state, _lasting(m.after)):
                continue
        yield m


def _net(made: Iterable[Made]) -> Iterator[Made]:
    """Yield changes in the order of their undoing, with updates in a row of the same kind on one thing as one."""
    kept: list[Made] = []
    for m in made:
        later = next((k for k in kept if (k.thing, k.name) == (m.thing, m.name)), None)
        if later and later is kept[-1] and later.after is None and m.before is None:
            kept.pop()  # made and removed with nothing in between: nobody is to see it again
            continue
        if later and not later.renames and None not in (later.before, later.after, m.before, m.after):
            kept.remove(later)
            m = Made(m.name, m.reading, m.before, later.after, m.inverse)
        kept.append(m)
    yield from kept


def _changes(session: Session, made: list[Made]) -> Iterator[Change]:
    """Yield the inverses of what is still as the run left it; what is as it was before needs none."""
    now: dict[str, Any] = {}
    renamed: dict[str, Answer] = {}
    for m in made:
        fresh = m.thing not in now
        live = session.read(m.reading) if fresh else now[m.thing]
        if m.inverse is None or (fresh and holds(live, _lasting(m.before)) and not holds(live, _lasting(m.after))):
            continue
        if fresh and not holds(live, _lasting(m.after)):
            raise _foreign(m, live)
        reading, wanted = _renamed(m.reading, renamed), _renamed(m.inverse["wanted"], renamed)
        now[m.thing] = wanted
        diff = differences(spoken(m.after, wanted), wanted)
        if fresh and not diff and not m.renames:  # there and back again, as a rollback leaves it
            continue
        name = f"{m.inverse['verb']} {m.name}"
        yield Change(
            name=name,
            verb=UNDO,
            call=_call(m.inverse["call"], renamed),
            reading=reading,
            expected=live if reading == m.reading else m.after,
            wanted=wanted,
            waits=tuple(_wait(w) for w in m.inverse["waits"]),
            no_inverse=TAKES_BACK,
            diff=diff,
        )
        if m.renames:
            renamed[m.inverse["renames"]] = Answer(name, m.inverse["answer"])


def _foreign(m: Made, live: Any) -> PlanError:
    lines = "\n".join(f"  {d.field or 'it'}: {d.before} → {d.after}" for d in differences(_lasting(m.after), live)[:8])
    return PlanError(
        f"{m.name}: somebody has changed it since:\n{lines}",
        hint="undo stops here and has changed nothing; settle it with them, or put it back by hand",
    )


def _lasting(state: Any) -> Any:
    """Return a state without what changes by itself: versions, running counts, rollouts."""
    if isinstance(state, Mapping):
        return {k: v for k, v in state.items() if k not in LEFT_OUT}
    return state


def _renamed(value: Any, renamed: Mapping[str, Answer | str]) -> Any:
    if isinstance(value, Reading):
        return replace(value, call=replace(value.call, arguments=_renamed(value.call.arguments, renamed)))
    if isinstance(value, str):
        return renamed.get(value, value)
    if isinstance(value, Mapping):
        return {k: _renamed(v, renamed) for k, v in value.items()}
    return [_renamed(v, renamed) for v in value] if isinstance(value, list) else value


def _call(call: Mapping[str, Any], renamed: Mapping[str, Answer]) -> Call:
    arguments = call["arguments"]
    if set(arguments) == {"call", "query", "absent"}:
        return Call(call["service"], call["operation"], _reading(arguments))
    return Call(call["service"], call["operation"], _renamed(arguments, renamed))


def _reading(reading: Mapping[str, Any]) -> Reading:
    call = reading["call"]
    arguments = {k: _reading(v) if isinstance(v, Mapping) and "query" in v else v for k, v in call["arguments"].items()}
    return Reading(Call(call["service"], call["operation"], arguments), reading["query"], tuple(reading["absent"]))


def _wait(wait: Mapping[str, Any]) -> Wait:
    return Wait(**{**wait, "reading": _reading(wait["reading"])})
