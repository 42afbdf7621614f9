"""Leave word of a run where a file, or GitHub Actions, is to have it."""

from __future__ import annotations

import os
from pathlib import Path

from runbook_lib import record
from runbook_lib.command.screen import Screen, complain
from runbook_lib.errors import RunbookError


def leave_word(run: record.Run, report: Path | None, screen: Screen) -> None:
    """Write a run's report into a file, where one is named; in GitHub Actions, show its
    outcome at the job. What cannot be written is said, and changes no outcome. What is
    printed goes to `screen`.
    """
    in_actions = os.environ.get("GITHUB_ACTIONS") == "true"
    if report is None and not in_actions:
        return
    try:
        if report is not None:
            _write_report(run, report, screen)
        if in_actions:
            _tell_github(run, os.environ.get("GITHUB_STEP_SUMMARY", ""), screen)
    except (RunbookError, OSError) as error:
        complain(f"no report: {getattr(error, 'message', error)}")


def _write_report(run: record.Run, file: Path, screen: Screen) -> None:
    from runbook_lib.reporting.page import write_page  # nbconvert takes its time

    screen.print(f"report: {write_page(run, file)}")


def _tell_github(run: record.Run, summary: str, screen: Screen) -> None:
    from runbook_lib.reporting.account import account_of
    from runbook_lib.reporting.github import annotation, job_summary

    account = account_of(run.id, list(run.lines()), run.summary() or {})
    screen.print(annotation(account))
    if summary:
        with Path(summary).open("a") as file:
            file.write(job_summary(account))
