"""Check a run's record against itself: its chain, verdicts from stored counts,
decisions from verdicts, no secrets.

It only reads files; nothing is asked of AWS. Whoever can write the files can
write all of it anew, chain and summary: against that stands the head alone,
where it was kept elsewhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runbook_lib.errors import RunbookError
from runbook_lib.printable import counted
from runbook_lib.record import Run
from runbook_lib.redaction import redacted
from runbook_lib.shipped import VERSION
from runbook_lib.verdict import Judgement, Sample, judge_all
from runbook_lib.verdict.sample import as_one

__all__ = ["Checked", "rejudged", "step_of", "steps_of", "verify"]

ENDS = ("judged", "promoted", "rolled back")  # the decisions that end a step
CLOSING = ("done", "rolled_back")  # the outcomes that end a run for good
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
OF_STEP = ("weights", "requests", "errors", "share", "band", "verdict")


@dataclass(frozen=True, slots=True)
class Checked:
    """One thing checked: what, whether it holds, what was found."""

    what: str
    holds: bool
    found: str


@dataclass(frozen=True, slots=True)
class End:
    """How a step ended: the phase of the decision that ended it, and the verdict that
    this names.
    """

    phase: str
    verdict: str


PASSED = End("judged", "PASS")
HELD = End("judged", "INCONCLUSIVE")
BACK = End("rolled back", "FAIL")
UNDECIDED = End("rolled back", "INCONCLUSIVE")
ENDS_BY_OUTCOME: Mapping[str, Collection[End]] = {
    "PASS": (PASSED,),
    "FAIL": (BACK,),
    "INCONCLUSIVE": (HELD, UNDECIDED),
}


def verify(run: Run) -> list[Checked]:
    """Return what came of checking each verdict, decision and file of a
    run, and its summary.
    """
    return [
        *_chain(run),
        *_verdicts(run),
        *_decisions(run),
        *_summary(run),
        *_outcome(run),
        *_files(run),
    ]


def steps_of(lines: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return how each step ended, as `summary.json` has it, of a journal's lines.

    Its requests and errors are those that the sentence in `reason` counts: all that the
    verdict was made of, since the first step. Where nothing was judged they are those
    of the step.
    """
    found = list(lines)
    steps = []
    judged: Sample | None = None
    for number, line in enumerate(found):
        if line["event"] == "judged":
            judged = _judged_counts(line, found[:number])
        elif _ends_step(line):
            counts = _by_service(judged, line["requests"])
            steps.append({**step_of(line), **counts})
            judged = None
    return steps


def step_of(line: Mapping[str, Any]) -> dict[str, Any]:
    """Return how a step ended by its own line of the journal, with the requests and
    errors since its weights were written; empty for a line that ends no step.
    """
    if not _ends_step(line):
        return {}
    step = {key: line[key] for key in OF_STEP}
    step["reason"] = line["words"]
    if line["phase"] == "promoted":
        step["promoted"] = True
    return step


def _judged_counts(
    line: Mapping[str, Any], before: Sequence[Mapping[str, Any]]
) -> Sample | None:
    """Return all that a verdict was made of as one; None where the record lacks it."""
    try:
        return as_one(_samples(line, before)["errors"])
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _by_service(
    judged: Sample | None, of_step: Mapping[str, int]
) -> dict[str, dict[str, int]]:
    """Return requests and errors by service, where there was a verdict; `of_step` names
    stable, then the canary.
    """
    if judged is None or len(of_step) != 2:
        return {}
    stable, canary = of_step
    return {
        "requests": {stable: judged.stable_requests, canary: judged.canary_requests},
        "errors": {stable: judged.stable_errors, canary: judged.canary_errors},
    }


def _ends_step(line: Mapping[str, Any]) -> bool:
    return line["event"] == "decision" and line["phase"] in ENDS


def rejudged(
    line: Mapping[str, Any], before: Sequence[Mapping[str, Any]] = ()
) -> Judgement:
    """Judge again what a `judged` line of the journal holds: samples and settings.

    Of a long bake it holds the newest samples; `counted` lines among those `before` it
    hold the others. Raises ValueError where one is missing.
    """
    return judge_all(_samples(line, before), **line["settings"])


def _samples(
    line: Mapping[str, Any], before: Sequence[Mapping[str, Any]]
) -> dict[str, list[Sample]]:
    """Return by metric all intervals that a `judged` line was made of."""
    samples: dict[str, list[Sample]] = {name: [] for name in line["samples"]}
    for part in [*_counted_before(line, before), line]:
        for name, metric in part["samples"].items():
            samples[name] += [Sample(*counts) for counts in metric]
    return samples


def _counted_before(
    line: Mapping[str, Any], before: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """Return the `counted` lines whose intervals precede those of a `judged`
    line, in their order.
    """
    found: list[Mapping[str, Any]] = []
    missing = line.get("after", 0)  # how many intervals came before
    for earlier in reversed(before):
        if not missing:
            break
        if earlier["event"] != "counted":
            continue
        end = earlier["after"] + _intervals_in(earlier)
        if end == missing:
            found.insert(0, earlier)
            missing = earlier["after"]
    if missing:
        raise ValueError(f"the record lacks the first {missing} intervals")
    return found


def _intervals_in(line: Mapping[str, Any]) -> int:
    return max(map(len, line["samples"].values()), default=0)


def _chain(run: Run) -> Iterator[Checked]:
    """Check that each line follows from the one before, and that the line the summary
    ends with is still there.
    """
    head = run.head()
    if not run.opened:
        found = "it has no first line" if head["lines"] else "it is empty"
        yield Checked("record", False, found)
        return
    wrong = run.faults()
    whole = [f"{head['lines']} lines, head {head['head'][:12]}", *run.cuts()]
    yield Checked("record", not wrong, "; ".join(wrong or whole))
    summary = run.summary() or {}
    said = summary.get("record")
    if isinstance(said, Mapping):
        yield _head(run, said)


def _head(run: Run, said: Mapping[str, Any]) -> Checked:
    """Check that the line of which the summary names the digest is still there."""
    number = said.get("lines")
    same = run.digest_of(number) == said.get("head")
    is_it = "is" if same else "is not"
    found = f"line {number} {is_it} the one the summary ends with"
    return Checked("head", same, found)


def _verdicts(run: Run) -> Iterator[Checked]:
    """Check that each verdict follows from what was counted."""
    lines = list(run.lines())
    recorded_by = str(run.opened.get("version"))
    number = 0
    for index, line in enumerate(lines):
        if line["event"] == "judged":
            number += 1
            yield _verdict(f"verdict {number}", line, lines[:index], recorded_by)


def _verdict(
    what: str,
    line: Mapping[str, Any],
    before: Sequence[Mapping[str, Any]],
    recorded_by: str,
) -> Checked:
    """Judge a verdict's counts again. Another version of the runbook may have put it
    into other words: then its outcome must be the same, and each number in its words.
    """
    try:
        again = rejudged(line, before)
    except (KeyError, TypeError, ValueError, AttributeError, RunbookError):
        return Checked(what, False, "its samples and settings are no verdict's")
    samples = line["samples"]
    earlier = line.get("after", 0) * len(samples)
    count = earlier + sum(map(len, samples.values()))
    found = f"{line['outcome']} from {count} intervals"
    if (again.outcome, again.reason) == (line["outcome"], line["reason"]):
        return Checked(what, True, found)
    if recorded_by != VERSION and _same_numbers(line, again):
        worded = f"in the words of version {recorded_by}: same outcome and numbers"
        return Checked(what, True, f"{found}, {worded}")
    otherwise = f"judged again: {again.outcome}, {again.reason}"
    return Checked(what, False, f"{found}; {otherwise}; recorded: {line['reason']}")


def _same_numbers(line: Mapping[str, Any], again: Judgement) -> bool:
    """Say whether a verdict judged again has the recorded outcome, and its reason the
    same numbers in any order.
    """
    recorded = NUMBER.findall(line["reason"])
    now = NUMBER.findall(again.reason)
    return line["outcome"] == again.outcome and sorted(recorded) == sorted(now)


def _decisions(run: Run) -> Iterator[Checked]:
    """Check that each step ended as the verdict just before says;
    nothing else may end one.
    """
    judged: Mapping[str, Any] | None = None
    number = 0
    for line in run.lines():
        if line["event"] == "judged":
            judged = line
        elif _ends_step(line):
            number += 1
            wrong = _unlike(line, judged)
            found = wrong or f"{line['phase']} as the verdict says"
            yield Checked(f"decision {number}", not wrong, found)
            judged = None


def _unlike(decision: Mapping[str, Any], judged: Mapping[str, Any] | None) -> str:
    """Return how a decision differs from its verdict: it must name what ended it, and
    end no better than judged.

    Where nothing was counted (somebody went back by hand, an approval had run out)
    there is nothing to judge.
    """
    if not decision["requests"] and decision["verdict"] != "PASS":
        return ""
    if judged is None:
        return f"{decision['verdict']} without a verdict"
    cause = judged.get("cause", "verdict")
    is_judged = cause in ("verdict", "promoted")
    must_name = judged["reason"] if is_judged else cause
    end = End(decision["phase"], decision["verdict"])
    if end in _ends_after(judged, cause) and must_name in decision["words"]:
        return ""
    return (
        f"{decision['verdict']}, {decision['words']}; judged: {judged['outcome']}, "
        f"{must_name}"
    )


def _ends_after(judged: Mapping[str, Any], cause: str) -> Collection[End]:
    """Return how a step may end after it was judged, by the cause of its end."""
    if cause == "verdict":
        return ENDS_BY_OUTCOME.get(judged["outcome"], ())
    if cause != "promoted":
        return (HELD, BACK, UNDECIDED)
    if judged["outcome"] == "FAIL":
        return ()
    return (End("promoted", judged["outcome"]),)


def _summary(run: Run) -> Iterator[Checked]:
    """Check that the summary tells the steps that the journal has; later ones
    may have followed it.
    """
    summary = run.summary()
    if not summary or "shift" not in summary:
        return
    told, lines = summary["shift"], list(run.lines())
    count = len(told)
    steps = steps_of(lines)
    # former versions told the requests since each step's own weights were written
    formerly = [step_of(line) for line in lines if _ends_step(line)]
    if told in (steps[:count], formerly[:count]):
        found = f"{counted(count, 'step')}, as the journal has them"
        yield Checked("summary", True, found)
    else:
        yield Checked("summary", False, "its steps are not the journal's")


def _outcome(run: Run) -> Iterator[Checked]:
    """Check that the summary ends as was written down when it was summed up, or as
    the run was closed.
    """
    summary = run.summary() or {}
    end = _end_of(run, summary)
    if end is None:
        return
    known = [key for key in ("outcome", "reason") if key in end]
    told = [summary.get(key) for key in known]
    own = [end[key] for key in known]
    if told == own:
        yield Checked("outcome", True, end["outcome"])
        return
    found = f"{', '.join(map(str, told))}; the journal has {', '.join(map(str, own))}"
    yield Checked("outcome", False, found)


def _end_of(run: Run, summary: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the line with which a run ended; None where there is none."""
    lines = list(run.lines())
    summed_up = [line for line in lines if line["event"] == "summed up"]
    if summed_up:
        return summed_up[-1]
    closed = [line for line in lines if line["event"] == "closed"]
    if closed and summary.get("outcome") in CLOSING:
        return closed[-1]
    return None


def _files(run: Run) -> Iterator[Checked]:
    """Check that no file holds what is shaped like a secret."""
    for file in sorted(run.folder.iterdir()):
        is_document = file.suffix in (".jsonl", ".json", ".ipynb")
        if not is_document or file.name.startswith("."):
            continue
        clean = all(redacted(document) == document for document in _documents(file))
        found = "nothing secret-shaped" if clean else "secret-shaped text"
        yield Checked(file.name, clean, found)


def _documents(file: Path) -> Iterator[Any]:
    """Yield what a file holds, without pictures: each line of a
    journal, else the whole.
    """
    whole = file.read_text(errors="replace")
    texts = whole.splitlines() if file.suffix == ".jsonl" else [whole]
    for text in texts:
        try:
            yield _without_pictures(json.loads(text))
        except (ValueError, RecursionError):  # a crash cut it off
            yield text


def _without_pictures(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_pictures(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    shown = [key for key in value if not str(key).startswith("image/")]
    return {key: _without_pictures(value[key]) for key in shown}
