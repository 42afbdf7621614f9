"""Show whatever a notebook was given: a session, a plan, gates, what was found.

One word for all of it: what is shown of a thing follows from its type, and of a list
from the type of what is in it. It decides nothing and calls nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import singledispatch
from typing import Any, Final

from IPython.display import display

from runbook_lib.aws.applying import Made
from runbook_lib.aws.cloud_map import Names
from runbook_lib.aws.ecs import Task
from runbook_lib.aws.session import Session
from runbook_lib.display.drawing import Drawing, weight_words
from runbook_lib.display.forecasts import outlook_tables
from runbook_lib.display.tables import (
    MARK,
    Banner,
    Picture,
    Table,
    Words,
    marked,
    warning,
)
from runbook_lib.display.traffic_map import mapped
from runbook_lib.display.widgets import live, mark_recording
from runbook_lib.engines.protocol import Check, Facts
from runbook_lib.plan import Change, Evidence, Plan
from runbook_lib.printable import counted
from runbook_lib.runs.history import History
from runbook_lib.shift.decision import Decision
from runbook_lib.shift.outlook import Ahead
from runbook_lib.shift.watching import unwatched
from runbook_lib.survey import Map, Resources, Review, Survey
from runbook_lib.wording import fields_of, lines_of, said_of, staged

__all__ = ["plan_rows", "show"]

LEVELS = ("FAIL", "WARN", "PASS")  # in the order they are shown
WELL = ("HEALTHY", "no health check")


def show(thing: Any) -> None:
    """Show what there is to see of a thing; raise TypeError where nothing is known of
    its type.
    """
    mark_recording()
    for part in shown(thing):
        display(live(part))


@singledispatch
def shown(thing: Any) -> Iterable[Any]:
    """Return what there is to see of a thing: tables, words and pictures, in order."""
    raise TypeError(f"show: nothing is known of a {type(thing).__name__}")


@shown.register(list)
@shown.register(tuple)
def _(things: Sequence[Any]) -> Iterable[Any]:
    """What is of one kind is one table; anything else stands one after the other."""
    if not things:
        return [Words("nothing")]
    for kind, table_of in TABLES.items():
        if isinstance(things[0], kind):
            return [table_of(things)]
    parts: list[Any] = []
    for thing in things:
        parts += shown(thing)
    return parts


@shown.register
def _(session: Session) -> Iterator[Any]:
    """Where this notebook is about to act, as a banner nobody overlooks."""
    yield Banner(session.parameters)
    for note in session.parameters.notes:
        yield Words(note, "WARN")


# --- plans, gates and what was done ---------------------------------------------------


@shown.register
def _(plan: Plan) -> Iterator[Any]:
    """What a plan would change, field by field, and how each change is undone."""
    for assumed in plan.assumed:
        yield Words(f"assumed applied: {assumed}", "WARN")
    for kept in plan.kept:
        yield Words(f"kept, since the parameters file has no key for it: {kept}")
    if plan.changes:
        caption = counted(len(plan), "change")
        caption += ", in this order" if len(plan) > 1 else ""
        yield Table(caption, plan_rows(plan))
    elif plan.obstacle:
        yield Words(plan.obstacle, "WARN")
    else:
        yield Words("nothing to change", "PASS")
    for stays in plan.stays:
        yield Words(f"left alone: {stays}", "WARN")


def plan_rows(plan: Plan) -> list[dict[str, str]]:
    """Return a row for each change of a plan, in its order; one without an inverse is
    marked. What undoes something is not undone in its turn.
    """
    rows: list[dict[str, str]] = []
    titles: dict[str, str] = {}  # of the first change with these fields
    for change in plan:
        fields = "\n".join(fields_of(change))
        first = titles.setdefault(fields, change.title)
        if first != change.title and "\n" in fields:
            fields = f"the same as: {first}"
        row = {"change": change.title, "fields": fields or "–"}
        if change.inverse:
            row["undo"] = change.inverse.verb
        elif change.no_inverse:
            row["undo"] = f"! none: {change.no_inverse}"
        rows.append(row)
    return rows


@shown.register
def _(made: Made) -> Iterator[Any]:
    """What was changed, as it was read back."""
    rows = [{"change": one.change.title} for one in made]
    if rows:
        yield Table(f"{counted(len(rows), 'change')} made and read back", rows)
    else:
        yield Words("nothing was changed")


def _gates(evidence: Sequence[Evidence]) -> Table:
    """Return gates that were looked into, those that do not hold first."""
    all_hold = all(one.holds for one in evidence)
    rows = []
    for one in sorted(evidence, key=lambda gate: gate.holds):
        mark = MARK["PASS" if one.holds else "FAIL"]
        row = {"gate": one.name, "holds": mark, "found": one.found}
        if not all_hold:
            row["next"] = "" if one.holds else one.hint
        rows.append(row)
    return Table("what must hold before anything is changed", rows)


@shown.register
def _(evidence: Evidence) -> Iterator[Any]:
    kind = "PASS" if evidence.holds else "FAIL"
    yield Words(f"{evidence.name}: {evidence.found}", kind)


def _checks(checks: Sequence[Check]) -> Table:
    """Return checks, those that need attention first."""
    rows = []
    for one in sorted(checks, key=lambda check: LEVELS.index(check.level)):
        found = {"what": one.where, "found": one.message, "next": one.hint}
        rows.append({"": MARK[one.level], **found})
    return Table("checks", rows)


# --- how the traffic is divided -------------------------------------------------------


@shown.register
def _(found: Survey) -> Iterator[Any]:
    """How the traffic is divided now."""
    shift, split = found.parameters.shift, found.split
    yield Table(staged(shift.name, found.stage, split.kind), _weights(split.weights))
    if split.state is None:
        yield Words(found.engine.hints.not_there, "WARN")
    if words := split.oddity(shift.versions):
        yield Words(words, "WARN")
    if words := unwatched(found):
        yield Words(words, "UNWATCHED")


def _weights(weights: Mapping[str, int]) -> list[dict[str, str]]:
    rows = []
    for name, weight in weights.items():
        rows.append({"service": name, "weight": weight_words(weight)})
    return rows


def _steps(decisions: Sequence[Decision]) -> Table:
    """Return the steps that are left."""
    rows = []
    for one in decisions:
        row = {"step": one.words}
        for name, weight in one.weights.items():
            row[name] = weight_words(weight)
        rows.append(row)
    return Table("steps left", rows)


@shown.register
def _(ahead: Ahead) -> Iterator[Any]:
    """What each step that is left can show and risks."""
    if not ahead.outlooks:
        yield Words("no step is left: nothing to forecast")
    elif ahead.warning:
        yield Words(ahead.warning, "WARN")
    for outlook in ahead.outlooks:
        yield from outlook_tables(outlook)


@shown.register
def _(history: History) -> Iterator[Any]:
    """How each step of the newest shift ended, in words that no figure changes."""
    rows = []
    for step in history.steps:
        weight = "confirmed by traffic" if step.proved else "read back"
        verdict = step.verdict or "–"
        rows.append({"step": step.words, "weight": weight, "verdict": verdict})
    yield Table("steps taken", rows)


# --- what was found -------------------------------------------------------------------


@shown.register
def _(shown_map: Map) -> Iterable[Any]:
    """Who calls whom, through what, on which tasks; a plan's changes are marked."""
    return shown(mapped(shown_map.look, shown_map.plan).drawn())


@shown.register
def _(drawing: Drawing) -> Iterator[Any]:
    """A picture, where there is anything to see, and the same in words."""
    if drawing.shapes:
        yield Picture(drawing)
    yield Words(drawing.words)


@shown.register
def _(facts: Facts) -> Iterator[Any]:
    """What the engine has found out; what would fail comes first."""
    rows = []
    for row in facts.rows:
        mark = MARK[row.level] if row.level else ""
        rows.append({"": mark, **row.cells})
    yield marked(facts.caption, rows)


@shown.register
def _(names: Names) -> Iterator[Any]:
    """Each name callers may dial, with how many addresses answer it."""
    rows = []
    for name, registered in names.items():
        count = len(registered.addresses)
        row = {"": warning(not count), "name": name, "addresses": str(count)}
        rows.append(row)
    yield marked("names in discovery", rows)


def _tasks(tasks: Sequence[Task]) -> Table:
    """Return each task with its containers' health; those that are not well first."""
    rows = []
    for task in sorted(tasks, key=lambda task: task.service):
        well = all(health in WELL for health in task.health.values())
        own = {"service": task.service, "revision": task.revision}
        rows.append({"": warning(not well), **own, **task.health})
    return marked("tasks", rows)


@shown.register
def _(resources: Resources) -> Iterator[Any]:
    """Which of one notebook's resources are there, what is missing first."""
    rows = []
    for key in sorted(resources.there, key=lambda key: resources.there[key]):
        there = "yes" if resources.there[key] else "no"
        rows.append({"resource": key, "exists": there})
    yield Table(staged(resources.title, resources.stage, resources.divides), rows)


@shown.register
def _(review: Review) -> Iterator[Any]:
    """Every resource of the engine; what is not as the parameters say first."""
    rows = []
    for key, state in review.live.items():
        change = review.changes.get(key)
        if state or change:
            rows.append(_review_row(key, state, change))
    good = "review: all is as the parameters say"
    yield marked("review" if review.changes else good, rows)


def _review_row(
    key: str, state: Mapping[str, Any] | None, change: Change | None
) -> dict[str, str]:
    spec = "not there"
    if state:
        spec = "\n".join(lines_of(said_of(state))) or "–"
    says = "the same"
    if change:
        says = "\n".join(fields_of(change))
    return {
        "": warning(change is not None),
        "resource": key,
        "spec": spec,
        "the parameters say": says,
    }


TABLES: Final[Mapping[type, Callable[[Sequence[Any]], Table]]] = {
    Check: _checks,
    Decision: _steps,
    Evidence: _gates,
    Task: _tasks,
}
"""How a list of one kind is shown."""
