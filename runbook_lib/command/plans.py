"""Show a plan, and ask whether to apply it."""

from __future__ import annotations

from typing import Any

import typer

from runbook_lib.command.screen import console, table
from runbook_lib.errors import ParametersError
from runbook_lib.plan import Plan
from runbook_lib.wording import fields_of


def show_plan(plan: Plan, nothing: str) -> None:
    """Print each change of a plan with its fields; `nothing` where it has none."""
    shown = table(title=plan.title)
    for column in ("change", "fields"):
        shown.add_column(column, overflow="fold")
    for change in plan:
        shown.add_row(change.title, "\n".join(fields_of(change)))
    console.print(shown if plan.changes else f"{plan.title}: {nothing}")
    for stays in plan.stays:
        console.print(f"left alone: {stays}")


def described(plan: Plan) -> list[dict[str, Any]]:
    """Return each change of a plan with its fields, as plain data."""
    changes = []
    for each in plan:
        changes.append({"change": each.title, "fields": fields_of(each)})
    return changes


NOBODY = "undo: no terminal to answer on; nothing was undone"


def agreed(question: str, again: str, refused: str = NOBODY) -> bool:
    """Ask, and say whether the answer was yes; where nobody can answer, refuse and name
    the command that does it.
    """
    try:
        return typer.confirm(question, default=False)
    except typer.Abort:
        raise ParametersError(refused, hint=again) from None
