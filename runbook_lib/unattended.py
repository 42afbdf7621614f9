"""Execute the notebooks in order through papermill, into the run's folder, and sum the run up.

It changes nothing itself: the notebooks do, in the way they do under a hand.
"""

from __future__ import annotations

import getpass
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import papermill
from nbclient.exceptions import DeadKernelError
from papermill.engines import NBClientEngine, papermill_engines
from papermill.exceptions import PapermillExecutionError
from papermill.iorw import papermill_io

from runbook_lib import errors, parameters, record
from runbook_lib.errors import ParametersError, RunbookError
from runbook_lib.parameters import Parameters
from runbook_lib.redaction import redacted, scrubbed

__all__ = ["Progress", "Result", "notebooks", "run"]

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"

SHIFTED = "05"  # a run that ends before it goes on
ENDS = ("judged", "rolled back")  # the decisions that end a step

Progress = Callable[[str, int, int], None]
"""Told the notebook, how many of its cells are done, and how many there are."""


@dataclass(frozen=True, slots=True)
class Result:
    """How one notebook ended, and how many seconds it took."""

    name: str
    outcome: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Failure:
    """The cell that ended a run: its number and source, and the error in words."""

    notebook: str
    cell: int
    source: str
    error: str
    message: str


class Watched(NBClientEngine):  # type: ignore[misc]  # papermill ships no types
    """Papermill's own engine, which tells after each cell."""

    @classmethod
    def execute_managed_notebook(
        cls, nb_man: Any, kernel_name: str, tell: Callable[[int, int], None], **options: Any
    ) -> None:
        """Execute a notebook, and tell how many cells are done."""
        complete, total = nb_man.cell_complete, len(nb_man.nb.cells)

        def told(cell: Any, cell_index: int | None = None, **more: Any) -> None:
            complete(cell, cell_index=cell_index, **more)
            tell((cell_index or 0) + 1, total)

        nb_man.cell_complete = told
        super().execute_managed_notebook(nb_man, kernel_name, **options)


papermill_engines.register("watched", Watched)


def notebooks(first: str = "00", last: str = "06") -> list[str]:
    """Return the names of the notebooks from `first` through `last`, by their numbers; 90 only where it is named."""
    names = sorted(path.stem for path in FOLDER.glob("[0-9][0-9]_*.ipynb"))
    numbers = [name[:2] for name in names]
    for number in (first, last):
        if number not in numbers:
            raise ParametersError(f"notebook: no {number!r}; expected one of {', '.join(numbers)}", hint="--from 03")
    return [name for name in names if first <= name[:2] <= last and (name[:2] < "90" or last == "90" == first)]


def run(
    environment: str,
    given: Mapping[str, Any],
    *,
    first: str = "00",
    last: str | None = None,
    progress: Progress = lambda name, done, total: None,
) -> tuple[record.Run, dict[str, Any], Failure | None]:
    """Execute an environment's notebooks in order, stopping at the first failure; return run, summary, failure.

    Raises ParametersError before anything is executed where file, values or range are wrong.
    """
    p = parameters.load(environment, given)
    names = notebooks(first, last or ("06" if p.environment == "local" else "05"))
    opened = {"mode": p.mode, "target": p.target, "file": environment, "given": dict(given)}
    begin = record.open_or_join if p.mode == "apply" else record.start
    this = begin(p.environment, p.records, **opened)
    results: list[Result] = []
    failure: Failure | None = None
    holding = record.held(this, record.lock_of(this), getpass.getuser()) if p.mode == "apply" else nullcontext()
    with holding, _environ(RUNBOOK_RUN=str(this.folder), RUNBOOK_HOLDER=this.id):
        for name in names:
            result, failure = _execute(this, name, {**given, "environment": environment}, progress)
            results.append(result)
            if failure:
                break
    summary = _summary(this, p, results, failure)
    this.summarise(summary, closes=names[-1][:2] >= SHIFTED or summary["outcome"] != "done")
    _publish(this, p)
    return this, summary, failure


def _execute(
    this: record.Run, name: str, given: Mapping[str, Any], progress: Progress
) -> tuple[Result, Failure | None]:
    output, began = this.folder / f"{name}.ipynb", time.monotonic()
    failure: Failure | None = None
    try:
        papermill.execute_notebook(
            FOLDER / f"{name}.ipynb",
            output,
            parameters=dict(given),
            engine_name="watched",
            tell=lambda done, total: progress(name, done, total),
            progress_bar=False,
            cwd=FOLDER,
        )
    except PapermillExecutionError as error:
        failure = Failure(name, error.exec_count or 0, error.source, error.ename, error.evalue)
    except DeadKernelError:
        failure = Failure(name, 0, "", "DeadKernelError", "the kernel died; what it had changed is in the record")
    finally:
        _mask(output)
    outcome = _outcome(failure.error)[0] if failure else "done"
    return Result(name, outcome, round(time.monotonic() - began, 1)), failure


def _outcome(error: str) -> tuple[str, str]:
    """Return the outcome and the one-word reason of an error, by its name."""
    kind = getattr(errors, error, None)
    if not (isinstance(kind, type) and issubclass(kind, RunbookError)):
        return "failed", "kernel" if error == "DeadKernelError" else "error"
    return {1: "failed", 2: "refused", 3: "held", 4: "rolled_back"}[kind.exit_code], kind.reason


def _summary(this: record.Run, p: Parameters, results: list[Result], failure: Failure | None) -> dict[str, Any]:
    lines = list(this.lines())
    outcome, word = _outcome(failure.error) if failure else ("done", "done")
    sentence = failure.message.split("\n")[0] if failure else f"{results[-1].name} was reached in mode {p.mode}"
    if outcome in ("held", "rolled_back"):
        word = next((line["word"] for line in reversed(lines) if line["event"] == "ended"), word)
    calls = [line for line in lines if line["event"] == "calls"]
    return {
        "run": this.id,
        "environment": p.environment,
        "mode": p.mode,
        "outcome": outcome,
        "reason": f"{word}: {sentence}",
        "notebooks": [asdict(result) for result in results],
        "changes": sum(line["event"] == "observed" for line in lines),
        "api_calls": {kind: sum(line[kind] for line in calls) for kind in ("read", "write")},
        "shift": [_step(line) for line in lines if line["event"] == "decision" and line["phase"] in ENDS],
    }


def _step(line: dict[str, Any]) -> dict[str, Any]:
    kept = ("weights", "requests", "errors", "share", "band", "verdict")
    return {**{key: line[key] for key in kept}, "reason": line["words"]}


def _mask(file: Path) -> None:
    """Take secret-shaped text out of an executed notebook; pictures are left as they are."""
    if not file.is_file():
        return
    book = json.loads(file.read_text())
    for cell in book["cells"]:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            masked = redacted({k: v for k, v in data.items() if not k.startswith("image/")})
            output.update({key: redacted(value) for key, value in output.items() if key != "data"})
            output.update({"data": {**data, **masked}} if data else {})
        cell["source"] = scrubbed("".join(cell["source"]))
    book["metadata"] = redacted(book["metadata"])
    part = file.with_suffix(".part")
    part.write_text(json.dumps(book, indent=1, ensure_ascii=False) + "\n")
    part.replace(file)


def _publish(this: record.Run, p: Parameters) -> None:
    """Copy a run to where the parameters keep records, if that is not here."""
    if p.records and "://" in p.records:
        for file in sorted(this.folder.iterdir()):
            papermill_io.write(file.read_text(), f"{p.records.rstrip('/')}/{this.environment}/{this.id}/{file.name}")


@contextmanager
def _environ(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
