"""Undo what a run changed."""

from __future__ import annotations

import shlex
from contextlib import suppress
from typing import Any

from runbook_lib import record
from runbook_lib.aws.applying import apply
from runbook_lib.command.meant import found_run
from runbook_lib.command.opened import session_of
from runbook_lib.command.options import option_words
from runbook_lib.command.plans import agreed, described, show_plan
from runbook_lib.command.screen import console, print_json
from runbook_lib.errors import RecordError
from runbook_lib.plan import clear
from runbook_lib.printable import counted
from runbook_lib.runs.undo import plan_undo
from runbook_lib.unattended.environ import environ
from runbook_lib.unattended.notebooks import name_of


def undo(
    run: str,
    notebook: str,
    *,
    file: str,
    yes: bool,
    take_over: str,
    rehearse: bool,
    as_json: bool,
) -> None:
    """Show what would undo a run, ask, and apply it."""
    with environ(RUNBOOK_TAKE_OVER=take_over):
        this = found_run(run, rehearse, file)
        session = session_of("undo", this, "apply", file or run)
        part = ""
        if notebook:
            part = name_of(notebook, "--notebook", session.parameters.engine)
        is_newest = run == this.environment
        plan = plan_undo(session, None if is_newest else this, part)
        this = session.run or this
        if as_json:
            print_json({"run": this.id, "changes": described(plan)})
            return
        console.print(f"run {this.id}\n{session.place}")
        show_plan(plan, "nothing to undo")
        if not plan.changes:
            return
        options = option_words(
            {
                "--notebook": notebook,
                "--file": file,
                "--take-over": take_over,
                "--rehearse": rehearse,
                "--yes": True,
            }
        )
        again = shlex.join(["runbook", "undo", this.id, *options])
        if not yes and not agreed("Undo these changes?", again):
            console.print("nothing was undone")
            return
        made = apply(session, clear(plan))
        _sum_up(this, part or "the whole run")
        console.print(f"{counted(len(made), 'change')} undone")
        console.print(f"record: head {this.head()['head'][:12]}")


def _sum_up(run: record.Run, what: str) -> None:
    """Write into a run's record and summary how it has ended."""
    end = {"outcome": "rolled_back", "reason": f"undo: {what} was undone by hand"}
    run.write("summed up", **end)
    former: dict[str, Any] = {}
    with suppress(RecordError):  # one that was cut off is no obstacle now
        former = run.summary() or {}
    run.summarise({**former, "run": run.id, **end})
    run.require_stored(files=True)
