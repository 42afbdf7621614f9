"""Show plans, states, checks and pictures in a notebook or a terminal.

This alone imports pandas. It decides nothing and calls nothing; what came
from AWS is escaped.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from textwrap import wrap
from typing import Any

from IPython.display import display

from runbook_lib.aws.applying import Applied
from runbook_lib.aws.session import Session
from runbook_lib.display import pictures, timeline
from runbook_lib.display.drawing import Drawing, percent
from runbook_lib.display.traffic_map import mapped
from runbook_lib.parameters import Parameters
from runbook_lib.plan import Evidence, Plan
from runbook_lib.printable import counted, escaped, visible
from runbook_lib.runs.history import History
from runbook_lib.shift import plan_steps
from runbook_lib.shift.decision import Decision
from runbook_lib.shift.outlook import (
    Outlook,
    credentials_end_first,
    look_ahead,
    read_traffic,
)
from runbook_lib.shift.watching import unwatched
from runbook_lib.survey import Survey
from runbook_lib.verdict.forecast import Load
from runbook_lib.wording import (
    fields_of,
    harm_words,
    lines_of,
    said_of,
    staged,
    text_of,
)

__all__ = [
    "Picture",
    "Table",
    "Words",
    "outlook_tables",
    "plan_rows",
    "show_changes",
    "show_checks",
    "show_credentials",
    "show_done",
    "show_drawing",
    "show_evidence",
    "show_forecast",
    "show_history",
    "show_kept",
    "show_names",
    "show_plan",
    "show_resources",
    "show_review",
    "show_session",
    "show_split",
    "show_steps",
    "show_steps_taken",
    "show_tasks",
    "show_topology",
]

# JupyterLab sets text to the right, and its widgets have no padding at all.
STYLED = {
    "\\n": "<br>",
    '<table class="dataframe">': '<table class="dataframe" cellpadding="4">',
    "<td>": "<td style='text-align:left'>",
    "<th>": "<th style='text-align:left'>",
}
MARK = {
    "PASS": "✓ PASS",
    "WARN": "! WARN",
    "FAIL": "✗ FAIL",
    "DONE": "✓ done",
    "NOT DONE": "✗ not done",
}
# White on a ground of its own is as readable on a dark page as on a light one.
GROUNDS = {
    "PASS": "#1a7f37",
    "DONE": "#1a7f37",
    "WARN": "#9a6700",
    "FAIL": "#cf222e",
    "NOT DONE": "#cf222e",
}


@dataclass(frozen=True)
class Table:
    """Rows of text under a caption, as HTML where that can be shown and as
    plain text elsewhere.
    """

    caption: str
    rows: Sequence[Mapping[str, Any]]

    def _frame(self) -> Any:
        # here, since only a table that is shown is worth a third of a second
        import pandas as pd

        pd.set_option("display.max_colwidth", None)
        rows = [
            {visible(name): visible(text_of(value)) for name, value in row.items()}
            for row in self.rows
        ]
        return pd.DataFrame(rows).fillna("–")

    def _repr_html_(self) -> str:
        caption = f"<p><b>{escaped(self.caption)}</b></p>"
        if not self.rows:
            return f"{caption}<p>(none)</p>"
        table: str = self._frame().to_html(
            index=False, border=0, escape=True, justify="left"
        )
        for plain, styled in STYLED.items():
            table = table.replace(plain, styled)
        return caption + table

    def __repr__(self) -> str:
        if not self.rows:
            return f"{visible(self.caption)}: none"
        frame = self._frame()
        rows = [
            [_wrapped(cell) for cell in row]
            for row in (list(frame.columns), *frame.to_numpy().tolist())
        ]
        widths = [
            max(len(line) for cell in column for line in cell)
            for column in zip(*rows, strict=True)
        ]
        lines = [parts for row in rows for parts in zip_longest(*row, fillvalue="")]
        text = ["  ".join(map(str.ljust, parts, widths)).rstrip() for parts in lines]
        return "\n".join([visible(self.caption), *text])


def _wrapped(cell: str) -> list[str]:
    return [
        piece
        for line in cell.split("\n")
        for piece in wrap(line, 60, break_on_hyphens=False) or [""]
    ]


@dataclass(frozen=True)
class Words:
    """One statement; `kind` is PASS, WARN or FAIL where it judges something, DONE or
    NOT DONE of a deed, else "".
    """

    text: str
    kind: str = ""

    def _repr_html_(self) -> str:
        style = (
            f"background:{GROUNDS.get(self.kind)};color:#fff;padding:0 "
            ".4em;border-radius:3px"
        )
        mark = f"<b style='{style}'>{MARK[self.kind]}</b> " if self.kind else ""
        return f"<p>{mark}{escaped(self.text)}</p>"

    def __repr__(self) -> str:
        return visible(f"{MARK[self.kind]} {self.text}" if self.kind else self.text)


@dataclass(frozen=True)
class Picture:
    """A drawing that stays, as a PNG alone: pages that trust nobody drop SVG, and one
    as an image has no ink.

    No reader of notebooks takes an alternative text for it, so its words stand below.
    """

    drawing: Drawing

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        png = base64.b64encode(pictures.png(self.drawing)).decode()
        return {"image/png": png, "text/plain": repr(self)}, {
            "image/png": {"width": round(self.drawing.width)}
        }

    def __repr__(self) -> str:
        return "(a picture; its words stand below)"


def show_session(session: Session) -> None:
    """Show where this notebook is about to act, as a banner nobody overlooks."""
    display(Banner(session.parameters))
    for note in session.parameters.notes:
        display(Words(note, "WARN"))
    # Jupyter's server says so to kernels with a page that keeps old outputs
    if "JPY_SESSION_NAME" in os.environ:
        display(
            Words("what stands below a cell is a recording until that cell has run")
        )


@dataclass(frozen=True)
class Banner:
    """Environment, account, region and mode."""

    parameters: Parameters

    def __repr__(self) -> str:
        p = self.parameters
        where = "the local mesh" if p.rehearsed else "AWS"
        does = "APPLIES changes" if p.mode == "apply" else "only plans"
        return (
            f"{p.environment} on {where} · account {p.account_id} · {p.region} · {does}"
        )

    def _repr_html_(self) -> str:
        applies = self.parameters.mode == "apply"
        danger = applies and not self.parameters.rehearsed
        back = "#cf222e" if danger else "#1a7f37" if applies else "#0969da"
        style = (
            f"background:{back};color:#fff;padding:.6em "
            "1em;border-radius:6px;font-weight:600"
        )
        return (
            "<div role='status' "
            f"style='{style}'>{'⚠ ' if danger else ''}{escaped(repr(self))}</div>"
        )


def show_plan(plan: Plan) -> None:
    """Show what a plan would change, field by field, and how each
    change is taken back.
    """
    for assumed in plan.assumed:
        display(Words(f"assumed applied: {assumed}", "WARN"))
    for kept in plan.kept:
        display(Words(f"kept, since the parameters file has no key for it: {kept}"))
    if not plan.changes:
        display(
            Words(plan.obstacle, "WARN")
            if plan.obstacle
            else Words("nothing to change")
        )
        return
    display(Table(f"{counted(len(plan), 'change')}, in this order", plan_rows(plan)))


def plan_rows(plan: Plan) -> list[dict[str, str]]:
    """Return a row for each change of a plan, in its order; one that cannot be
    taken back is marked.

    A way back says no more than what comes back or goes: it is not
    taken back in its turn.
    """
    rows = [
        {"change": change.title, "fields": "\n".join(fields_of(change)) or "–"}
        for change in plan
    ]
    if all(change.undoes for change in plan):
        return rows
    backs = [
        change.inverse.verb if change.inverse else f"! none: {change.no_inverse}"
        for change in plan
    ]
    return [{**row, "way back": back} for row, back in zip(rows, backs, strict=True)]


def show_changes(applied: Iterable[Applied]) -> None:
    """Show what was changed, as it was read back."""
    rows = [{"change": made.change.title} for made in applied]
    display(
        Table(f"{counted(len(rows), 'change')} made and read back", rows)
        if rows
        else Words("nothing was changed")
    )


def show_evidence(
    evidence: Iterable[Evidence],
    caption: str = "what must hold before anything is changed",
) -> None:
    """Show claims somebody looked into, those that do not hold first."""
    told = sorted(evidence, key=lambda e: e.holds)
    rows = [
        {
            "claim": e.name,
            "holds": MARK["PASS" if e.holds else "FAIL"],
            "found": e.found,
        }
        for e in told
    ]
    if told and not told[0].holds:
        rows = [
            {**row, "next": "" if e.holds else e.hint}
            for row, e in zip(rows, told, strict=True)
        ]
    display(Table(caption, rows))


def show_done(plan: Plan, words: str) -> None:
    """Show whether anything is left to do: planned again, a step that was
    applied has nothing.
    """
    left = ", ".join(change.title for change in plan)
    display(Words(f"still to do: {left}", "WARN") if left else Words(words, "PASS"))


def show_checks(checks: Iterable[Any]) -> None:
    """Show checks (level, where, message, hint), the surprising ones first."""
    ordered = sorted(
        checks, key=lambda check: ("FAIL", "WARN", "PASS").index(check.level)
    )
    display(
        Table(
            "checks",
            [
                {"": MARK[c.level], "what": c.where, "found": c.message, "next": c.hint}
                for c in ordered
            ],
        )
    )


def show_split(found: Survey) -> None:
    """Show how the traffic is divided now."""
    rows = [
        {"service": name, "weight": percent(weight / 100)}
        for name, weight in found.split.weights.items()
    ]
    display(
        Table(staged(found.parameters.shift.name, found.stage, found.split.kind), rows)
    )
    shift = found.parameters.shift
    if words := found.split.oddity((shift.stable, shift.canary)):
        display(Words(words, "WARN"))
    if words := unwatched(found):
        display(Words(words, "WARN"))


def show_steps(decisions: Sequence[Decision], found: Survey | None = None) -> None:
    """Show the steps that are left; `found` tells the end from what has not begun."""
    if not decisions and found and found.split.state is None:
        display(Words(found.engine.hints.not_there, "WARN"))
        return
    rows = [
        {"step": d.words, **{name: percent(w / 100) for name, w in d.weights.items()}}
        for d in decisions
    ]
    display(Table("steps left", rows))


def show_forecast(found: Survey) -> None:
    """Show what each step that is left can show and risks, at the
    last minute's traffic.
    """
    if found.split.state is None:
        display(Words(found.engine.hints.not_there, "WARN"))
        return
    traffic = read_traffic(found)
    ahead = [
        look_ahead(found, step.step, traffic) for step in plan_steps(found.session)
    ]
    if not ahead:
        display(Words("no step is left: nothing to forecast"))
    elif words := credentials_end_first(found.session):
        display(Words(words, "WARN"))
    for outlook in ahead:
        for table in outlook_tables(outlook):
            display(table)


def outlook_tables(outlook: Outlook) -> list[Table]:
    """Return one weight's forecast: what it risks and needs, then how long each
    increase takes to show.
    """
    seen, traffic = outlook.forecast, outlook.traffic
    at = (
        f"at {percent(seen.weight / 100)} of {traffic.requests_per_second:,.0f} "
        f"requests/s ({traffic.source})"
    )
    sights = [
        {
            "worse by": _points(sight.increase),
            "detected after": _minutes(sight.minutes),
            "canary requests": "–"
            if sight.canary_requests is None
            else f"{sight.canary_requests:,}",
            "failed by then": "–"
            if sight.harmed_requests is None
            else f"{sight.harmed_requests:,}",
            "in this bake": "✓ seen" if sight.within_bake else "! not seen",
        }
        for sight in seen.sights
    ]
    worse = f"how soon a worse canary is detected at {percent(seen.weight / 100)}"
    return [Table(f"forecast {at}", _outlook_rows(outlook)), Table(worse, sights)]


def _outlook_rows(outlook: Outlook) -> list[dict[str, str]]:
    seen, load, traffic = outlook.forecast, outlook.load, outlook.traffic
    bake = _minutes(seen.bake_minutes)
    needs = "no number of requests would do"
    if seen.requests_to_pass is not None:
        needs = (
            f"{seen.requests_to_pass:,} canary requests, "
            f"{_minutes(seen.minutes_to_pass)}"
        )
    smallest = (
        "none" if seen.smallest_increase is None else _points(seen.smallest_increase)
    )
    rows = [
        ("a PASS needs", needs, seen.can_pass),
        ("canary's tasks", _load_words(load), load.carries),
        (
            "smallest rise to be seen",
            f"{smallest}, in a bake of {bake}",
            seen.smallest_increase is not None,
        ),
        ("requests at risk", f"{seen.requests_at_risk:,} in a bake of {bake}", True),
        ("a canary that fails half", *_harm_words(outlook)),
        ("who judges errors", outlook.judge.words, outlook.judge.by == "counts"),
        ("stable's errors", f"{percent(traffic.error_rate, 2)} of requests", True),
    ]
    ordered = sorted(rows, key=lambda row: row[2])
    return [
        {"": "" if good else MARK["WARN"], "what": what, "found": words}
        for what, words, good in ordered
    ]


def _harm_words(outlook: Outlook) -> tuple[str, bool]:
    """Return in words what a bad canary costs until its verdict, and whether its errors
    are counted at all.
    """
    if outlook.judge.by != "counts":
        return "goes on until an alarm rings", False
    return harm_words(outlook.harm, outlook.gentler), True


def _load_words(load: Load) -> str:
    each = (
        "" if load.canary_then is None else f": {load.canary_then:,.0f} requests/s each"
    )
    if not load.capacity:
        return (
            f"{load.canary_tasks} run{each}; what a task can carry is not known, "
            "since stable's carry nothing now"
        )
    return (
        f"{load.canary_tasks} run, {load.tasks_needed} needed{each}; "
        f"{load.capacity:,.0f} proven on each of stable's"
    )


def _points(increase: float) -> str:
    points = f"{float(f'{100 * increase:.2g}'):g}"  # two digits, but 100 and not 1e+02
    return f"{points} point{'' if points == '1' else 's'}"


def _minutes(minutes: float | None) -> str:
    if minutes is None:
        return "never"
    seconds = 60 * minutes
    if seconds < 1:
        return "< 1 s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.0f} h"


def show_credentials(found: Survey) -> None:
    """Show what the engine has found out before services move; what
    would fail comes first.
    """
    for facts in found.engine.facts(found):
        rows = [
            {"": MARK[row.level] if row.level else "", **row.cells}
            for row in facts.rows
        ]
        display(_marked(facts.caption, rows))


def _marked(caption: str, rows: Iterable[dict[str, str]]) -> Table:
    """Return a table with the rows that have a mark first; where none has, without
    the column of marks.
    """
    ordered = sorted(rows, key=lambda row: not row[""])
    if ordered and not ordered[0][""]:
        ordered = [
            {name: cell for name, cell in row.items() if name} for row in ordered
        ]
    return Table(caption, ordered)


def show_steps_taken(history: History) -> None:
    """Show how each step of the newest shift ended, in words that do not
    depend on the figures.
    """
    rows = [
        {
            "step": s.words,
            "the weight": "proved by traffic" if s.proved else "read back",
            "verdict": s.verdict or "–",
        }
        for s in history.steps
    ]
    display(Table("steps taken", rows))


def show_history(history: History) -> None:
    """Show the newest shift: who answered how, the canary's share against its weight,
    the evidence, the events.
    """
    show_drawing(timeline.drawn(history))


def show_tasks(found: Survey) -> None:
    """Show each task: its service, revision, and the health of its containers; those
    that are not well first.
    """
    rows = [_task(found, task) for task in found.tasks]
    display(_marked("tasks", sorted(rows, key=lambda row: row["service"])))


def _task(found: Survey, task: Mapping[str, Any]) -> dict[str, str]:
    form = found.running[task["service"]].definition or {}
    checked = {
        c["name"] for c in form.get("containerDefinitions", []) if c.get("healthCheck")
    }
    health = {c["name"]: c["health"] for c in task["containers"]}
    words = {
        n: "no health check" if h == "UNKNOWN" and n not in checked else h
        for n, h in health.items()
    }
    well = all(word in ("HEALTHY", "no health check") for word in words.values())
    revision = task["revision"].rsplit("/", 1)[-1]
    return {
        "": "" if well else MARK["WARN"],
        "service": task["service"],
        "revision": revision,
        **words,
    }


def show_resources(found: Survey, step: str) -> None:
    """Show which of one notebook's resources are there, what is missing first."""
    keys = sorted(
        (c for c in found.live if c in found.resources_of(step)),
        key=lambda c: bool(found.live[c]),
    )
    rows = [
        {"resource": key, "there": "yes" if found.live[key] else "no"} for key in keys
    ]
    display(
        Table(
            staged(found.engine.title(found.parameters), found.stage, found.split.kind),
            rows,
        )
    )


def show_kept(kept: Iterable[str]) -> None:
    """Show what is left alone, and why."""
    for words in kept:
        display(Words(f"left alone: {words}", "WARN"))


def show_names(found: Survey) -> None:
    """Show each name callers may dial, and how many addresses answer it; one that
    leads nowhere first.
    """
    rows = [
        {
            "": "" if r.addresses else MARK["WARN"],
            "name": name,
            "addresses": str(len(r.addresses)),
        }
        for name, r in found.names.items()
    ]
    display(_marked("names in discovery", rows))


def show_review(found: Survey) -> None:
    """Show every resource of the engine in one table (tutorial, step 4); what is not as
    the parameters say first.
    """
    changes = {
        change.name: change
        for step in ("01", "02", "03")
        for change in found.plan_resources(step)
    }
    rows = [
        {
            "": MARK["WARN"] if key in changes else "",
            "resource": key,
            "spec": "\n".join(lines_of(said_of(state))) or "–"
            if state
            else "not there",
            "the parameters say": "\n".join(fields_of(changes[key]))
            if key in changes
            else "the same",
        }
        for key, state in found.live.items()
        if state or key in changes
    ]
    display(
        _marked("review" if changes else "review: all is as the parameters say", rows)
    )


def show_topology(
    found: Survey, plan: Plan | None = None, *, steps: Sequence[Decision] = ()
) -> None:
    """Show the map: who calls whom, through what, and on which tasks; what a plan
    would change is marked.

    With `steps` it is marked what the first of them would write. The same stands
    beside it in words.
    """
    ours = (
        bool(steps)
        and found.split.state is not None
        and {*found.split.weights} <= {*steps[0].weights}
    )
    if plan is None and ours:
        plan = found.plan_weights(steps[0].weights)
    show_drawing(mapped(found, plan).drawn())


def show_drawing(drawing: Drawing) -> None:
    """Show a picture, where there is anything to see, and the same in words."""
    if drawing.shapes:
        display(Picture(drawing))
    display(Words(drawing.words))
