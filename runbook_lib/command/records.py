"""What is recorded of runs: which there are, and whether their verdicts hold."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import typer

from runbook_lib import record
from runbook_lib.command.meant import found_run
from runbook_lib.command.screen import console, print_json
from runbook_lib.errors import RunbookError
from runbook_lib.record.chain import CHAINED
from runbook_lib.runs.verify import verify as check_run


def verify(run: str, *, rehearse: bool, as_json: bool) -> None:
    """Print each check of a run's record; exit 1 where one fails."""
    this = found_run(run, rehearse)
    this.require_format("verify", since=CHAINED)
    checked = check_run(this)
    all_hold = all(each.holds for each in checked)
    if as_json:
        checks = [asdict(each) for each in checked]
        print_json({"run": this.id, "holds": all_hold, "checks": checks})
        raise typer.Exit(0 if all_hold else 1)
    for each in checked:
        console.print(f"{'✓' if each.holds else '✗'} {each.what}: {each.found}")
    if not any(each.what.startswith("verdict") for each in checked):
        console.print("– no verdict in this run")
    raise typer.Exit(0 if all_hold else 1)


def report(run: str, output: Path | None, *, rehearse: bool) -> None:
    """Write a run as one page of HTML, and print where it is."""
    from runbook_lib.reporting.page import write_page  # nbconvert takes its time

    this = found_run(run, rehearse)
    this.require_format("report", since=CHAINED)
    console.print(str(write_page(this, output)))


def runs(environment: str) -> None:
    """Print the recorded runs, the newest first."""
    names = [environment] if environment else record.environments()
    found = [run for name in names for run in record.called(name)]
    for each in sorted(found, key=lambda run: run.id, reverse=True):
        console.print(f"{each.id}  {each.environment}  {_told_of(each)}")
    if not found:
        console.print("nothing is recorded")


def _told_of(run: record.Run) -> str:
    """Return in one line where a run belongs and how it ended; what is wrong with its
    record is said there.
    """
    try:
        run.require_format("runs", since=CHAINED)
        ended = (run.summary() or {}).get("outcome", "under way, or cut short")
        return f"{run.opened.get('mode')}  {ended}  {run.place}"
    except RunbookError as error:
        return error.message
