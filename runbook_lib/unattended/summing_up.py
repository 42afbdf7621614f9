"""Sum a run up: with what it ended, in one word and one sentence, and what it did."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from runbook_lib import errors, notifying, record
from runbook_lib.errors import RecordError, RunbookError
from runbook_lib.opening import load_of
from runbook_lib.parameters import Parameters
from runbook_lib.runs.verify import steps_of
from runbook_lib.shift.process.report import OUTCOMES
from runbook_lib.shipped import VERSION
from runbook_lib.unattended.executing import DEAD, Failure

__all__ = ["EXIT", "Executed", "lines_of", "message_of", "outcome_of", "summary_of"]

# the command's exit code for each outcome
EXIT = {outcome: code for code, outcome in OUTCOMES.items()}


@dataclass(frozen=True, slots=True)
class Executed:
    """A notebook that was executed: how it ended, and after how many seconds."""

    name: str
    outcome: str
    seconds: float


def outcome_of(error: str, *, wrote: bool = False) -> str:
    """Return the outcome that an error means, by its name; who has written has not
    refused.
    """
    return _meaning(error, wrote=wrote)[0]


def _meaning(error: str, *, wrote: bool = False) -> tuple[str, str]:
    """Return the outcome and the one-word reason of an error, by its name."""
    if error == "KeyboardInterrupt":
        return "held", "interrupted"
    kind = getattr(errors, error, None)
    if not (isinstance(kind, type) and issubclass(kind, RunbookError)):
        return "failed", "kernel" if error == DEAD else "error"
    outcome = OUTCOMES[kind.exit_code]
    return "failed" if wrote and outcome == "refused" else outcome, kind.reason


def summary_of(
    this: record.Run,
    p: Parameters,
    executed: Sequence[Executed],
    failure: Failure | None,
    *,
    since: int = 0,
    left: str = "",
) -> dict[str, Any]:
    """Sum up the whole run, as docs/record.md has it; its reason is this invocation's
    own: of its kernels, in lines from `since` on.

    `left` says that the shift goes on, "" where it does not.
    """
    lines = lines_of(this)
    calls = [line for line in lines if line["event"] == "calls"]
    reads, writes = (sum(line[kind] for line in calls) for kind in ("read", "write"))
    summary = {
        "run": this.id,
        "version": VERSION,
        "environment": p.environment,
        "mode": p.mode,
        "outcome": executed[-1].outcome,
        "reason": _reason(p, executed[-1].name, failure, left, lines[since:]),
        "notebooks": [asdict(notebook) for notebook in executed],
        "changes": sum(line["event"] == "observed" for line in lines),
        "api_calls": {"read": reads, "write": writes},
        "shift": steps_of(lines),
    }
    load = _load(p)
    return {**summary, "load": load} if load else summary


def _load(p: Parameters) -> dict[str, int]:
    with suppress(RunbookError):  # a local mesh that ends just now
        return load_of(p)
    return {}


def _reason(
    p: Parameters,
    last: str,
    failure: Failure | None,
    left: str,
    lines: Sequence[Mapping[str, Any]],
) -> str:
    """Return in one word and one sentence why a run ended with its `last` notebook."""
    if failure:
        return one_sentence(_word_of(failure, lines), failure.message)
    if left:
        return one_sentence("left", left)
    return one_sentence("done", f"{last} was reached in mode {p.mode}")


def message_of(summary: Mapping[str, Any]) -> notifying.Message:
    """Return what people are told of a run's end."""
    reason, _, words = str(summary["reason"]).partition(": ")
    return notifying.Message(
        environment=summary["environment"],
        run=summary["run"],
        outcome=summary["outcome"],
        reason=reason,
        words=words,
    )


def _word_of(failure: Failure, lines: Sequence[Mapping[str, Any]]) -> str:
    """Return the one word of what ended a run: its own, or the last that one of this
    process's kernels left for such an error, or that of the error's kind.
    """
    if failure.reason:
        return failure.reason
    meant = (str(os.getpid()), failure.error)
    for line in reversed(lines):
        if line["event"] == "ended" and (line.get("by"), line["error"]) == meant:
            return str(line["word"])
    return _meaning(failure.error)[1]


def one_sentence(word: str, message: str) -> str:
    """Return one word and one sentence: a message in one line, without that word again
    and what to do next.
    """
    sentence, *others = message.partition("\nNext: ")[0].splitlines() or [""]
    for line in others:
        joint = " " if sentence.endswith((":", ",", "since")) else "; "
        sentence += joint + line.strip().removeprefix("- ")
    return f"{word}: " + re.sub(rf"^(\d+ %: )?{re.escape(word)}: ", r"\1", sentence)


def lines_of(this: record.Run) -> list[dict[str, Any]]:
    """Return the record's lines; where it cannot be read a summary says what it can."""
    try:
        return list(this.lines())
    except RecordError:
        return []
