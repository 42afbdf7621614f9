"""Make of a run's record what a reader asks of it: what was done, when, by whom, on
what evidence, and what users met.

Pure: lines and summary in, an account out. Nothing is judged here; `verify` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from runbook_lib.printable import counted
from runbook_lib.runs.verify import step_of

__all__ = ["Account", "Made", "Moment", "Step", "account_of"]

OUTCOMES = {
    "done": "Done",
    "failed": "Failed",
    "refused": "Refused before anything was written",
    "held": "Held",
    "rolled_back": "Rolled back",
}
PHASES = {
    "tried": "canary tried with test requests",
    "rehearsed": "rollback rehearsed",
    "written": "weights written",
    "proved": "weights in effect, shown by traffic",
    "judged": "judged",
    "promoted": "promoted by a person's decision",
    "rolled back": "rolled back",
    "settled": "rollback settled",
}
GOOD, BAD = "good", "bad"
VERDICTS = {"PASS": GOOD, "FAIL": BAD}
NEVER = ""  # of a moment that the record does not tell


@dataclass(frozen=True, slots=True)
class Moment:
    """One thing that happened: when (ISO 8601, UTC), what, in which words, by whom.

    `kind` is `good`, `bad` or "".
    """

    at: str
    what: str
    words: str = ""
    by: str = ""
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Made:
    """One change: when it was begun, in which notebook, by whom, and whether it was
    read back.
    """

    at: str
    notebook: str
    words: str
    by: str
    observed: bool


@dataclass(frozen=True, slots=True)
class Step:
    """How one step ended: the weights it was judged at (percent), requests and errors
    by service, the canary's share as a fraction and the band it had to be in.
    """

    weights: Mapping[str, int]
    requests: Mapping[str, int]
    errors: Mapping[str, int]
    share: float | None
    band: Sequence[float] | None
    verdict: str
    reason: str
    promoted: bool = False

    @property
    def kind(self) -> str:
        """Whether the verdict is good or bad."""
        return VERDICTS.get(self.verdict, "")

    @property
    def ended(self) -> str:
        """How it ended, in words: by its verdict, or by a person's decision."""
        if self.promoted:
            return f"PROMOTED, {self.verdict} so far"
        return self.verdict or "–"

    @property
    def effect(self) -> str:
        """The canary's share of requests beside the band it had to be in, in words."""
        if self.share is None or self.band is None:
            return "–"
        low, high = self.band
        return f"{self.share:.1%} ({low:.1%} to {high:.1%} expected)"


@dataclass(frozen=True, slots=True)
class Account:
    """A run as a reader asks for it."""

    run: str
    environment: str
    mode: str
    place: str
    outcome: str
    """One of the summary's words; "" while the run has none."""
    reason: str
    began: str
    ended: str
    by: tuple[str, ...]
    asked: Mapping[str, str]
    course: tuple[Moment, ...]
    steps: tuple[Step, ...]
    made: tuple[Made, ...]
    notebooks: tuple[Mapping[str, Any], ...]
    head: str

    @property
    def title(self) -> str:
        """The outcome as a heading."""
        if self.reason.startswith("undo:"):
            return "Undone"
        return OUTCOMES.get(self.outcome, "Under way, or cut off before its end")

    @property
    def kind(self) -> str:
        """Whether the outcome is good or bad."""
        return {"done": GOOD, "failed": BAD, "rolled_back": BAD}.get(self.outcome, "")

    @property
    def signed(self) -> str:
        """The identities that made the changes, in words."""
        if not self.made:
            return "nobody: nothing was changed"
        return ", ".join(self.by) or "not recorded"

    @property
    def requests(self) -> dict[str, int]:
        """The requests that were judged, by service."""
        return _summed(step.requests for step in self.steps)

    @property
    def errors(self) -> dict[str, int]:
        """Those among them that failed, by service."""
        return _summed(step.errors for step in self.steps)

    @property
    def felt(self) -> str:
        """What users met while the canary was judged, in words."""
        if not self.requests:
            return "No request was judged in this run."
        told = [
            f"{name}: {counted(self.errors.get(name, 0), 'failed request')} of {n:,}"
            for name, n in self.requests.items()
        ]
        return f"While the canary was judged, {'; '.join(told)}."


def account_of(
    run: str,
    lines: Sequence[Mapping[str, Any]],
    summary: Mapping[str, Any],
    head: str = "",
) -> Account:
    """Return the account of a run by its id: the lines of its journal in order, and its
    summary, empty where there is none. `head` is the hash of the last line.
    """
    opened = next((line for line in lines if line["event"] == "opened"), {})
    course = [moment for line in lines if (moment := _moment(line))]
    made = _made(lines)
    return Account(
        run=run,
        environment=str(opened.get("environment", "")),
        mode=str(opened.get("mode", "")),
        place=_place(opened.get("place") or {}),
        outcome=str(summary.get("outcome", "")),
        reason=str(summary.get("reason", "")),
        began=_stamp(opened.get("at", NEVER)),
        ended=_stamp(lines[-1]["at"]) if lines else NEVER,
        by=tuple(dict.fromkeys(change.by for change in made if change.by)),
        asked=_asked(opened),
        course=tuple(course),
        steps=tuple(_steps(lines)),
        made=tuple(made),
        notebooks=tuple(summary.get("notebooks") or ()),
        head=head,
    )


def _summed(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for each in counts:
        for name, number in each.items():
            total[name] = total.get(name, 0) + number
    return total


def _stamp(at: Any) -> str:
    """Return a moment, ISO 8601 or epoch seconds, as ISO 8601 in UTC to the second."""
    if isinstance(at, int | float):
        moment = datetime.fromtimestamp(at, UTC)
    elif at == NEVER:
        return NEVER
    else:
        moment = datetime.fromisoformat(str(at)).astimezone(UTC)
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")


def _place(place: Mapping[str, Any]) -> str:
    """Return a run's place in words."""
    if not place:
        return "–"
    on = "AWS" if place.get("target") == "aws" else "the local mesh"
    where = f"account {place.get('account')}, {place.get('region')}"
    return f"{place.get('carrier')} on {on}, {where}"


def _asked(opened: Mapping[str, Any]) -> dict[str, str]:
    """Return what the run was asked to do: its file, and what was given beside it."""
    given = opened.get("given") or {}
    asked = {"parameters file": str(opened.get("file", "–"))}
    return asked | {f"given: {name}": str(value) for name, value in given.items()}


def _steps(lines: Sequence[Mapping[str, Any]]) -> Iterator[Step]:
    """Yield how each step ended, at the weights that were written for it: one that was
    rolled back is recorded with the weights after that.
    """
    weights: Mapping[str, int] = {}
    for line in lines:
        if line["event"] == "decision" and line["phase"] == "written":
            weights = line["weights"]
        if step := step_of(line):
            yield Step(**{**step, "weights": weights or step["weights"]})


def _made(lines: Sequence[Mapping[str, Any]]) -> list[Made]:
    """Return the changes in their order, each with whether it was read back."""
    made: list[Made] = []
    waiting: dict[str, int] = {}
    for line in lines:
        if line["event"] == "intended":
            waiting[line["change"]["name"]] = len(made)
            made.append(_begun(line))
        elif line["event"] == "observed" and line["name"] in waiting:
            place = waiting.pop(line["name"])
            made[place] = replace(made[place], observed=True)
    return made


def _begun(line: Mapping[str, Any]) -> Made:
    change = line["change"]
    words = f"{change['verb']} {change['name']}"
    if change.get("undoes"):
        words = f"undo: {words}"
    return Made(
        at=_stamp(line["at"]),
        notebook=str(line.get("notebook", "")),
        words=words,
        by=str(line.get("by", "")),
        observed=False,
    )


def _moment(line: Mapping[str, Any]) -> Moment | None:
    """Return what a line of the journal tells a reader; None for what only machines
    read.
    """
    tell = TOLD.get(line["event"])
    return replace(tell(line), at=_stamp(line["at"])) if tell else None


def _opened(line: Mapping[str, Any]) -> Moment:
    return Moment("", "run opened", f"to {line.get('mode', 'apply')}")


def _decision(line: Mapping[str, Any]) -> Moment:
    phase, verdict = line["phase"], line.get("verdict", "")
    what = PHASES.get(phase, phase)
    if phase == "judged":
        what = f"{line['step']} % judged {verdict}"
    elif phase in ("written", "proved"):
        what = f"{line['step']} %: {what}"
    kind = BAD if phase == "rolled back" else ""
    if phase == "judged":
        kind = VERDICTS.get(verdict, "")
    return Moment("", what, line["words"], kind=kind)


def _approved(line: Mapping[str, Any]) -> Moment:
    words = f"plan {line['plan']}, until {line['until']}"
    signed = line.get("identity", "")
    if signed and signed != line["approver"]:
        words += f", signed as {signed}"
    return Moment("", "approved", words, by=line["approver"])


def _held(line: Mapping[str, Any]) -> Moment:
    return Moment("", "hold asked", by=str(line.get("by", "")))


def _failed(line: Mapping[str, Any]) -> Moment:
    words = str(line.get("error") or line.get("words") or "")
    return Moment("", "a change failed", words, kind=BAD)


def _watcher(line: Mapping[str, Any]) -> Moment:
    return Moment("", "another process goes on watching", line["words"])


def _interrupted(line: Mapping[str, Any]) -> Moment:
    return Moment("", "interrupted")


def _told(line: Mapping[str, Any]) -> Moment:
    return Moment("", "people were told", ", ".join(line["to"]))


def _undelivered(line: Mapping[str, Any]) -> Moment:
    words = f"{line['to']}: {line['why']}"
    return Moment("", "a notification was not delivered", words, kind=BAD)


def _summed_up(line: Mapping[str, Any]) -> Moment:
    outcome, reason = line["outcome"], str(line.get("reason", ""))
    kind = {"done": GOOD, "failed": BAD}.get(outcome, "")
    return Moment("", f"ended: {outcome.replace('_', ' ')}", reason, kind=kind)


TOLD = {
    "opened": _opened,
    "decision": _decision,
    "approved": _approved,
    "hold": _held,
    "failed": _failed,
    "watcher": _watcher,
    "interrupted": _interrupted,
    "summed up": _summed_up,
    "told": _told,
    "undelivered": _undelivered,
}
