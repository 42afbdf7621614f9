"""What the process that shifts says, and what a follower makes of it.

A shift runs in a process of its own (`watcher`). It says where it stands in one small
file beside its lock, which it replaces as a whole: whoever follows (`following`) needs
neither the run's folder nor AWS to hear of it. The run's record stays the evidence.
Apart from `read` and `write` this is pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from runbook_lib import errors
from runbook_lib.aws.cloudwatch import Interval
from runbook_lib.errors import Failed, Held, RunbookError
from runbook_lib.plan import Evidence
from runbook_lib.private import replace_privately
from runbook_lib.redaction import scrubbed
from runbook_lib.shift.decision import Decision

INTERRUPT = "KeyboardInterrupt"
BUSY = 75  # the exit code of a process that found another one shifting
OUTCOMES = {0: "done", 1: "failed", 2: "refused", 3: "held", 4: "rolled_back"}
KINDS = {1: "Failed", 2: "Refused", 3: "Held", 4: "RolledBack"}
What = Literal["every step", "one step", "no step"]


@dataclass(frozen=True, slots=True)
class Stated:
    """What a gate found, without the way to look again: the process looks itself."""

    name: str
    holds: bool
    found: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Orders:
    """What a process that shifts is told as it starts: which environment, what to do.

    `id` tells its reports from those of any before it, `report` is the file to say
    things in. It takes every step that is left, or the one `step` that somebody took by
    hand (`plan` marks the plan that was looked at), or none: it watches the weight that
    is there.
    """

    id: str
    file: str
    given: Mapping[str, Any]
    notebook: str
    lock: str
    report: str
    what: What
    evidence: tuple[Stated, ...] = ()
    step: int = 0
    plan: str = ""


@dataclass(frozen=True, slots=True)
class Wait:
    """What is waited for, for how many seconds by now, and for how many at most."""

    what: str
    passed: float
    most: float


@dataclass(frozen=True, slots=True)
class Ending:
    """How a shift ended: with an error, by its class's name, or "" where it was done.

    `written` is how many calls that change something it had made.
    """

    error: str = ""
    message: str = ""
    hint: str = ""
    reason: str = ""
    exit_code: int = 0
    written: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """Where a shift stands: all that was decided, what was seen since, how it ended.

    `seen` are the intervals of the newest verdict, which decisions then need not carry.
    `leaves_steps` says that it was not to take every step that is left, `stays` that
    its step has passed, and is watched until another process takes the next one. Who
    stays because the next step was refused has that for an ending already.
    """

    id: str
    pid: int
    leaves_steps: bool = False
    stays: bool = False
    decisions: tuple[Decision, ...] = ()
    look: Decision | None = None
    seen: tuple[Interval, ...] = ()
    wait: Wait | None = None
    ending: Ending | None = None

    @property
    def has_ended(self) -> bool:
        """Whether the process has said its last word."""
        return self.ending is not None and not self.stays


@dataclass(frozen=True, slots=True)
class Heard:
    """How much of a report a follower has told already."""

    id: str = ""
    decisions: int = 0
    look: float = 0.0  # when the newest look that was told was taken


def with_decision(report: Report, decision: Decision, written: int = 0) -> Report:
    """Return a report after one more decision; a look takes the place of the last.

    `written` is how many calls that change something were made by then.
    """
    seen = tuple(decision.seen) or report.seen
    bare = replace(decision, seen=())
    if decision.phase == "watching":
        return replace(report, look=bare, seen=seen)
    decisions = (*report.decisions, bare)
    said = replace(report, decisions=decisions, look=None, seen=seen)
    if decision.phase != "staying":
        return said
    return replace(said, stays=True, ending=ending_while_staying(decision, written))


def news(report: Report, heard: Heard) -> tuple[list[Decision], Heard]:
    """Return what a report says that was not heard yet, and what is heard by then.

    Of looks only the newest is told. The last that is told carries what was seen.
    """
    if report.id != heard.id:
        heard = Heard(report.id)
    fresh = list(report.decisions[heard.decisions :])
    look = report.look
    if look is not None and look.at > heard.look:
        fresh.append(look)
        heard = replace(heard, look=look.at)
    if fresh:
        fresh[-1] = replace(fresh[-1], seen=report.seen)
    return fresh, replace(heard, decisions=len(report.decisions))


def ending_of(error: BaseException | None, written: int) -> Ending:
    """Return how a shift ended; an error that nobody foresaw is one of its class."""
    if error is None:
        return Ending(written=written)
    if isinstance(error, RunbookError):
        return Ending(
            error=type(error).__name__,
            message=error.message,
            hint=error.hint,
            reason=error.reason,
            exit_code=error.exit_code,
            written=written,
        )
    words = scrubbed(f"{type(error).__name__}: {error}")
    return Ending(type(error).__name__, words, exit_code=1, written=written)


def ending_while_staying(decision: Decision, written: int) -> Ending | None:
    """Return what a shift ends with for its followers while a step stays watched; None
    where nothing was refused.
    """
    why = decision.refused
    if why is None:
        return None
    return ending_of(Held(why.words, hint=why.hint, reason=why.word), written)


def ending_of_code(code: int) -> Ending:
    """Return how a process ended that could say no more than its exit code."""
    if code == 0:
        return Ending()
    outcome = OUTCOMES.get(code, "failed").replace("_", " ")
    words = (
        f"the shift's process ended: {outcome}; it could write down no more than that"
    )
    hint = "free the disk; runbook status says where traffic stands"
    return Ending(KINDS.get(code, "Failed"), words, hint, "record", min(code, 4))


def error_of(ending: Ending, log: str) -> BaseException | None:
    """Return the very error that a shift ended with; None where it was done.

    One that nobody foresaw is a failure; `log` has the rest of it.
    """
    if not ending.error:
        return None
    if ending.error == INTERRUPT:
        return KeyboardInterrupt()
    kind = getattr(errors, ending.error, None)
    if not (isinstance(kind, type) and issubclass(kind, RunbookError)):
        return Failed(
            f"the shift's process failed: {ending.message}",
            hint=f"a defect of the runbook: keep {log}, and report it",
            reason="error",
        )
    error = kind(ending.message, hint=ending.hint, reason=ending.reason)
    error.exit_code = ending.exit_code
    return error


def stated(evidence: Sequence[Evidence]) -> tuple[Stated, ...]:
    """Return evidence as it can be handed to another process."""
    return tuple(Stated(e.name, e.holds, e.found, e.hint) for e in evidence)


# Files and pipes.


def file_of(lock_file: str) -> Path:
    """Return the file beside a shift's lock in which its holder says how it stands."""
    return Path(lock_file).with_suffix(".json")


def claim_beside(file: Path) -> Path:
    """Return the file in which another process says that it is ready to take over from
    who says so in `file`, or why it cannot.
    """
    return file.with_suffix(".next.json")


def as_bytes(orders: Orders) -> bytes:
    """Return orders as a process reads them from its standard input."""
    return TypeAdapter(Orders).dump_json(orders)


def orders_in(said: bytes) -> Orders:
    """Return the orders that a process was given."""
    return TypeAdapter(Orders).validate_json(said)


def read(file: Path) -> Report | None:
    """Return the newest report in a file; None where there is none that is whole."""
    try:
        return _reports().validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return None


def write(file: Path, report: Report) -> None:
    """Replace a file by a report; raise OSError where the disk does not take it."""
    replace_privately(file, _reports().dump_json(report).decode())


@cache
def _reports() -> TypeAdapter[Report]:
    return TypeAdapter(Report)
