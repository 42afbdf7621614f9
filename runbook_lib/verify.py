"""Check a run's record against itself: every verdict from its stored counts, and nothing secret-shaped in it.

It only reads files; nothing is asked of AWS.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runbook_lib.record import Run
from runbook_lib.redaction import scrubbed
from runbook_lib.verdict import Judgement, Sample, judge_all

__all__ = ["Checked", "rejudged", "verify"]


@dataclass(frozen=True, slots=True)
class Checked:
    """One thing checked: what, whether it holds, what was found."""

    what: str
    holds: bool
    found: str


def verify(run: Run) -> list[Checked]:
    """Return what came of checking each verdict and each file of a run."""
    return [*_verdicts(run), *_files(run)]


def rejudged(line: Mapping[str, Any]) -> Judgement:
    """Judge again what a `judged` line of the journal holds: samples and settings."""
    settings = dict(line["settings"])
    ceiling, muted, counted = settings.pop("ceiling"), settings.pop("muted"), settings.pop("counted")
    samples = {name: [Sample(*counts) for counts in metric] for name, metric in line["samples"].items()}
    known = [name for name in muted if name in samples]
    ceilings = {"errors": ceiling} if ceiling else None
    return judge_all(samples, muted=known, ceilings=ceilings, counted=counted, **settings)


def _verdicts(run: Run) -> Iterator[Checked]:
    for number, line in enumerate((x for x in run.lines() if x["event"] == "judged"), 1):
        again = rejudged(line)
        holds = (again.outcome, again.reason) == (line["outcome"], line["reason"])
        found = f"{line['outcome']} from {sum(map(len, line['samples'].values()))} intervals"
        otherwise = f"{found}; judged again: {again.outcome}, {again.reason}; recorded: {line['reason']}"
        yield Checked(f"verdict {number}", holds, found if holds else otherwise)


def _files(run: Run) -> Iterator[Checked]:
    for file in sorted(path for path in run.folder.iterdir() if path.suffix in (".jsonl", ".json", ".ipynb")):
        clean = all(scrubbed(text) == text for text in _texts(file))
        yield Checked(file.name, clean, "nothing secret-shaped" if clean else "secret-shaped text")


def _texts(file: Path) -> Iterator[str]:
    """Yield every text of a file but pictures."""
    for text in file.read_text().splitlines() if file.suffix == ".jsonl" else [file.read_text()]:
        try:
            yield from _strings(json.loads(text))
        except json.JSONDecodeError:  # a crash cut it off
            yield text


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if not str(key).startswith("image/"):
                yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)
