"""What is recorded of runs: which there are, and whether their verdicts hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path

import typer

from runbook_lib import parameters, record
from runbook_lib.command.meant import found_work, is_rehearsal, names_file
from runbook_lib.command.opened import bring_runs
from runbook_lib.command.options import given_for
from runbook_lib.command.screen import console, print_json
from runbook_lib.errors import ParametersError, RunbookError
from runbook_lib.record.chain import CHAINED
from runbook_lib.runs.verify import Checked
from runbook_lib.runs.verify import verify as check_run

OPEN = "open"  # under way, or cut off before it was summed up
OUTCOMES = ("done", "failed", "refused", "held", "rolled_back", OPEN)


def verify(run: str, *, file: str, rehearse: bool, as_json: bool) -> None:
    """Print each check of a run's record; exit 1 where one fails."""
    this = found_work(run, rehearse, file)
    checked: list[Checked] = []
    if file or names_file(run):
        checked += _compared_with_copy(this, file or run)
    this.require_format("verify", since=CHAINED)
    checked += check_run(this)
    all_hold = all(each.holds for each in checked)
    if as_json:
        checks = [asdict(each) for each in checked]
        print_json({"run": this.id, "holds": all_hold, "checks": checks})
    else:
        _tell(checked)
    raise typer.Exit(0 if all_hold else 1)


def _compared_with_copy(this: record.Run, named: str) -> list[Checked]:
    """Return what came of comparing a run with its copy, where the file `named` says
    that it has one; raise RecordError where they differ.
    """
    given = given_for(is_rehearsal(this))
    where = bring_runs(named, given, only=this.id, anew=True)
    if not where:
        return []
    return [Checked("copy", True, f"the same lines are at {where}")]


def _tell(checked: Sequence[Checked]) -> None:
    for each in checked:
        mark = "✓" if each.holds else "✗"
        console.print(f"{mark} {each.what}: {each.found}")
    if not any(each.what.startswith("verdict") for each in checked):
        console.print("– no verdict in this run")


def report(run: str, output: Path | None, *, file: str, rehearse: bool) -> None:
    """Write a run as one page of HTML, and print where it is."""
    from runbook_lib.reporting.page import write_page  # nbconvert takes its time

    this = found_work(run, rehearse, file)
    this.require_format("report", since=CHAINED)
    console.print(f"run {this.id}\n{write_page(this, output)}")


def runs(environment: str, *, outcome: str, since: str, as_json: bool) -> None:
    """Print the recorded runs, the newest first: of one environment, with one outcome,
    begun since a day, where that is said.
    """
    if outcome and outcome not in OUTCOMES:
        raise ParametersError(
            f"--outcome: expected one of {', '.join(OUTCOMES)}; found {outcome!r}"
        )
    first_day = _day(since)
    every = _recorded(environment)
    rows = [_row(run) for run in every if run.id >= first_day]
    found = [row for row in rows if outcome in ("", row["outcome"])]
    if as_json:
        print_json(found)
        return
    for row in found:
        told = row["trouble"] or f"{row['mode']}  {row['outcome']}  {row['place']}"
        console.print(f"{row['run']}  {row['environment']}  {told}")
    if not found:
        console.print("no such run is recorded" if every else "nothing is recorded")


def _recorded(environment: str) -> list[record.Run]:
    """Return the runs recorded of an environment, or of all ("" for it), the newest
    first; raise ParametersError for a name that has none.
    """
    if names_file(environment):
        bring_runs(environment, {}, newest=None)
        environment = parameters.load(environment).environment
    known = record.environments()
    if environment and environment not in known:
        others = ", ".join(known) or "none"
        raise ParametersError(
            f"runs: nothing is recorded of {environment!r}; recorded are: {others}"
        )
    every: list[record.Run] = []
    for name in [environment] if environment else known:
        every += record.called(name)
    return sorted(every, key=lambda run: run.id, reverse=True)


def _day(since: str) -> str:
    """Return a day as the ids of runs begin with it; "" for none."""
    if not since:
        return ""
    try:
        return date.fromisoformat(since).isoformat()
    except ValueError:
        raise ParametersError(
            f"--since: expected a day (UTC) as 2026-11-29, found {since!r}"
        ) from None


def _row(run: record.Run) -> dict[str, str]:
    """Return what one record says of its run; `trouble` is what is wrong with it."""
    row = {
        "run": run.id,
        "environment": run.environment,
        "mode": "",
        "outcome": "",
        "reason": "",
        "place": "",
        "folder": str(run.folder),
        "trouble": "",
    }
    try:
        run.require_format("runs", since=CHAINED)
        summary = run.summary() or {}
        said = {
            "mode": str(run.opened.get("mode")),
            "outcome": str(summary.get("outcome", OPEN)),
            "reason": str(summary.get("reason", "")),
            "place": str(run.place),
        }
    except RunbookError as error:
        said = {"trouble": error.message}
    return row | said
