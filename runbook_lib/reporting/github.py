"""Say what came of a run where GitHub Actions shows it: in the job's summary, and as an
annotation. Pure.

The forms are GitHub's: "Workflow commands for GitHub Actions" in its documentation.
"""

from __future__ import annotations

import html

from runbook_lib.printable import counted, divided, one_line, visible
from runbook_lib.reporting.account import Account, Step

__all__ = ["annotation", "job_summary"]

LEVELS = {"failed": "error", "refused": "error", "rolled_back": "error"}
COLUMNS = ("weights", "requests", "failed", "canary's share", "verdict")


def annotation(account: Account) -> str:
    """Return the workflow command that shows a run's outcome at the job: an error, a
    warning where it is held, else a notice.
    """
    level = LEVELS.get(account.outcome, "notice")
    if account.outcome == "held":
        level = "warning"
    title = _property(f"{account.environment}: {account.title}")
    return f"::{level} title={title}::{_data(account.reason)}"


def job_summary(account: Account) -> str:
    """Return a run as Markdown: outcome, reason, what users met, a row a step."""
    lines = [
        f"## {_text(account.environment)}: {_text(account.title)}",
        "",
        f"**{_text(account.reason or 'no reason was recorded')}**",
        "",
        _text(account.felt),
        "",
    ]
    if account.steps:
        lines += [_row(COLUMNS), _row(["---"] * len(COLUMNS))]
        lines += [_row(_cells(step)) for step in account.steps]
        lines.append("")
    made = counted(len(account.made), "change")
    lines.append(f"{made}, made as {_text(account.signed)}; run `{account.run}`")
    return "\n".join(lines) + "\n"


def _cells(step: Step) -> list[str]:
    return [
        divided(step.weights),
        ", ".join(f"{name} {number:,}" for name, number in step.requests.items()),
        ", ".join(f"{name} {number:,}" for name, number in step.errors.items()),
        step.effect,
        step.ended,
    ]


def _row(cells: list[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(_text(cell) for cell in cells)} |"


def _text(text: str) -> str:
    """Return text as Markdown shows it literally, in one line, within a table too."""
    plain = html.escape(one_line(visible(text)), quote=False)
    return "".join(f"\\{one}" if one in "\\`*_[]|#" else one for one in plain)


def _data(text: str) -> str:
    shown = visible(text)
    return shown.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
