"""Execute the notebooks in order through papermill, into the run's folder,
and sum the run up.

It changes nothing itself: the notebooks do, in the way they do under a hand.
"""

from __future__ import annotations

import getpass
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# For notebooks' schema, jsonschema would compile the grammar of IRIs: a second of each
# command. It does without.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]

import nbformat
import papermill
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, papermill_engines
from papermill.exceptions import PapermillExecutionError
from papermill.log import logger

from runbook_lib import errors, notifying, parameters, record
from runbook_lib.aws.recording import LEAVES
from runbook_lib.aws.session import Session, opening
from runbook_lib.command import leaving
from runbook_lib.command.interrupts import Interrupts
from runbook_lib.command.local_aws import load_of
from runbook_lib.command.progress import Told, following
from runbook_lib.engines.named import ENGINES
from runbook_lib.errors import CallError, ParametersError, RecordError, RunbookError
from runbook_lib.opening import open_session, world_of
from runbook_lib.parameters import Parameters
from runbook_lib.private import replace_privately
from runbook_lib.record.place import Place, place_of
from runbook_lib.redaction import MASK, redacted
from runbook_lib.runs.archive import archive
from runbook_lib.runs.verify import steps_of
from runbook_lib.shift.report import OUTCOMES
from runbook_lib.shipped import VERSION, shipped

__all__ = ["EXIT", "Failure", "environ", "notebooks", "run"]

FOLDER = shipped("notebooks")
NUMBERED = "[0-9][0-9]_*.ipynb"

# environments where nothing is lost by going on to the end
ON_THIS_MACHINE = ("local", "local-alb", "local-alb-h2", "local-alb-new")
WIDGET = "application/vnd.jupyter.widget-view+json"
SHIFTED = "05"  # a run that ends before it goes on
# the command's exit code for each outcome
EXIT = {"done": 0, "failed": 1, "refused": 2, "held": 3, "rolled_back": 4}
DEAD = "DeadKernelError"
FOLLOWED_ANEW = "the kernel died; the shift goes on, and a new kernel follows it"
INTERRUPTED = (
    "interrupted: nothing more was done, and what was changed is in the record\nNext: "
    "run again to go on"
)


@dataclass(frozen=True, slots=True)
class Failure:
    """The cell that ended a run: its number and source, and the error in words."""

    notebook: str
    cell: int
    source: str
    error: str
    message: str
    reason: str = ""  # in one word, where no cell has left it in the record


@dataclass
class Kept:
    """An executed notebook on the disk, without secrets: as it was when the
    disk last took it.
    """

    file: Path
    notebook: Any = None
    trouble: str = ""

    def save(self) -> None:
        """Write the notebook as it is now. A cell that watches traffic must not end
        because a file cannot be.
        """
        if self.notebook is None:
            return
        text: str = nbformat.writes(self.notebook)  # type: ignore[no-untyped-call]
        try:
            replace_privately(
                self.file,
                json.dumps(_masked(json.loads(text)), indent=1, ensure_ascii=False)
                + "\n",
            )
            self.trouble = ""
        except OSError as error:
            self.trouble = (
                f"{self.file.name} cannot be written: {error.strerror or error}"
            )


def _masked(book: Any) -> Any:
    """Return a notebook without secret-shaped text, and without values given under
    names that nothing knows.
    """
    book = redacted(book)
    given = book["metadata"].get("papermill", {}).get("parameters", {})
    unknown = [name for name in given if name not in parameters.parameter_names()]
    given |= dict.fromkeys(unknown, MASK)
    for cell in book["cells"]:
        _drop_widgets(cell.get("outputs", []))
        if "injected-parameters" in cell["metadata"].get("tags", []):
            cell["source"] = _without_values("".join(cell["source"]), unknown)
    return book


def _drop_widgets(outputs: Sequence[dict[str, Any]]) -> None:
    """Leave of a widget what a reader sees who has not its kernel: nobody will have."""
    for output in outputs:
        data = output.get("data", {})
        if len(data) > 1:
            data.pop(WIDGET, None)


def _without_values(source: str, names: Sequence[str]) -> str:
    """Return papermill's injected cell with these names' values masked; each
    assignment is one line.
    """
    lines = [(line, line.partition(" = ")[0]) for line in source.splitlines()]
    return "\n".join(
        f'{name} = "{MASK}"' if name in names else line for line, name in lines
    )


class Client(PapermillNotebookClient):  # type: ignore[misc]  # papermill ships no types
    """Papermill's own client, whose kernel a signal interrupts, and which
    tells after each cell.
    """

    interrupts: Interrupts
    tell: Callable[[int, int], None]

    def execute_cell(self, cell: Any, cell_index: int, **options: Any) -> Any:
        """Execute a cell, within reach of signals; then tell how many are
        done, of how many.
        """
        with self.interrupts.reaching(self.km.provisioner.pid):
            done = super().execute_cell(cell, cell_index, **options)
        self.tell(cell_index + 1, len(self.nb.cells))
        return done


class Watched(Engine):  # type: ignore[misc]  # papermill ships no types
    """Papermill's engine with this client, and with files that a full disk does
    not end a cell by.
    """

    @classmethod
    def execute_managed_notebook(
        cls,
        nb_man: Any,
        kernel_name: str,
        tell: Callable[[int, int], None],
        interrupts: Interrupts,
        kept: Kept,
        **_: Any,
    ) -> None:
        """Execute a notebook."""
        kept.notebook = nb_man.nb
        nb_man.nb.metadata.papermill["output_path"] = str(kept.file)
        nb_man.save = lambda **_: kept.save()
        client = Client(
            nb_man,
            kernel_name=kernel_name,
            timeout=None,
            startup_timeout=60,
            log=logger,
        )
        client.interrupts, client.tell = interrupts, tell
        # A kernel is interrupted before it is shut down, and would call that an error.
        client.extra_arguments = ["--IPKernelApp.log_level=CRITICAL"]
        tell(0, len(nb_man.nb.cells))
        # Of its cells all is in the notebook; this would be of its sockets, as it ends.
        client.execute(stderr=subprocess.DEVNULL)


papermill_engines.register("watched", Watched)

# Any parameter of the file may be given, whether or not a notebook's own cell names it;
# what nothing knows was refused before.
logger.addFilter(lambda said: not said.getMessage().startswith("Passed unknown param"))


def files(engine: str = "") -> dict[str, Path]:
    """Return an engine's notebooks by their numbers: its own, else those of all."""
    shared = FOLDER.glob(NUMBERED)
    own = (FOLDER / engine).glob(NUMBERED)
    found = {path.stem[:2]: path for path in [*shared, *own]}
    return dict(sorted(found.items()))


def notebook(number: str, option: str, engine: str = "") -> str:
    """Return a notebook's name by its number, which was given with `option`."""
    known = files(engine)
    if number not in known:
        meant = number.zfill(2)
        hint = f"{option} {meant}" if meant in known else f"{option} with one of these"
        raise ParametersError(
            f"notebook: no {number!r}; expected one of {', '.join(known)}", hint=hint
        )
    return known[number].stem


def notebooks(
    first: str = "00",
    last: str = "06",
    steps: Collection[str] | None = None,
    engine: str = "",
) -> list[Path]:
    """Return the notebooks of an engine from `first` through `last`, by their numbers;
    90 only where it is named.

    Beside 00, only those of `steps`; None for all.
    """
    notebook(first, "--from"), notebook(last, "--through")
    found = {
        number: path
        for number, path in files(engine).items()
        if first <= number <= last and (number < "90" or last == "90" == first)
    }
    if not found:
        earlier = f", or --from {last}" if "90" not in (first, last) else ""
        raise ParametersError(
            f"--from {first} --through {last}: no notebook lies between",
            hint=f"say --through {first}{earlier}",
        )
    needed = [
        path
        for number, path in found.items()
        if steps is None or number in ("00", *steps)
    ]
    if not needed:
        raise ParametersError(
            f"--from {first} --through {last}: this file's engine has "
            "nothing to do there",
            hint=f"its notebooks are 00, {', '.join(steps or ())}",
        )
    return needed


def run(
    environment: str,
    given: Mapping[str, Any],
    *,
    first: str = "00",
    last: str | None = None,
    told: Told | None = None,
    leave: bool = False,
) -> tuple[record.Run, dict[str, Any], Failure | None]:
    """Execute an environment's notebooks in order, stopping at the first failure;
    return run, summary, failure.

    With `leave` it ends once the shift is watched, which goes on in its own process.
    SIGINT, SIGTERM and SIGHUP interrupt the cell that runs: what was executed and the
    summary are written then too. Raises ParametersError before anything is executed
    where file, values or range are wrong, and TargetError where nobody is logged in to
    the file's account: neither leaves a run.
    """
    p, told = parameters.load(environment, given), told or Told()
    end = last or (SHIFTED if leave else _end(p.environment, first))
    if leave:
        leaving.require_last(end, SHIFTED)
    notifying.require_known(notifying.addresses())  # refused before anything is done
    began = time.time()
    paths = notebooks(first, end, ENGINES[p.engine].steps(p), p.engine)
    session = _require_account(p, environment, given)
    store = session.store if session else None
    opened, place = (
        {"mode": p.mode, **opening(p, environment, given)},
        place_of(p, world_of(p)),
    )
    this = _begun(p, place, opened, store)
    since = len(list(this.lines()))
    with Interrupts() as interrupts:
        own = {
            "RUNBOOK_RUN": str(this.folder.resolve()),
            "RUNBOOK_HOLDER": this.id,
            "RUNBOOK_PID": str(os.getpid()),
            LEAVES: "1" if leave else "",
        }
        with _holding(this, p), environ(**own):
            given = {**given, "environment": parameters.located(environment)}
            with following(this, told.line):
                executed, failure = _execute_all(
                    this, paths, given, p.mode, told, interrupts
                )
        left = leaving.goes_on(place, environment) if leave and not failure else ""
        if leave and not failure and not left:
            failure = _ended_meanwhile(place, began, executed)
        summary = _summary(this, p, executed, failure, since, left)
        if p.mode == "apply" and not left:
            notifying.tell(this, _message(summary), began)
        try:
            this.write(
                "summed up", outcome=summary["outcome"], reason=summary["reason"]
            )
            this.summarise(
                summary,
                closes=not left
                and (paths[-1].name >= SHIFTED or summary["outcome"] != "done"),
            )
        # the outcome stands all the same, and the command says it
        except RecordError as error:
            told.word(f"no summary of this run: {error.message}")
        if words := archive(this, p):
            told.word(words)
    return this, summary, failure


def _begun(
    p: Parameters, place: Place, opened: Mapping[str, Any], store: record.Store | None
) -> record.Run:
    """Join the run that is under way, or begin one; refuse where its copy cannot be
    kept.
    """
    about = (p.shift.stable, p.shift.canary)
    try:
        if p.mode == "apply":
            return record.open_or_join(
                p.environment, p.records, place, about=about, store=store, **opened
            )
        if store:
            record.bring(p.environment, store)
    except RecordError as error:
        if isinstance(error.__cause__, CallError):
            words = f"records: {error.message}"
            raise ParametersError(words, hint=error.hint) from error
        raise
    return record.start(p.environment, p.records, place, **opened)


def _ended_meanwhile(
    place: Place, began: float, executed: list[dict[str, Any]]
) -> Failure | None:
    """Return how the shift that was left has ended; None where it is done."""
    ending = leaving.ended_since(place, began)
    if ending is None:
        return None
    executed[-1]["outcome"] = OUTCOMES[ending.exit_code]
    words = f"{ending.message}\nNext: {ending.hint}"
    return Failure(executed[-1]["name"], 0, "", ending.error, words, ending.reason)


def _require_account(
    p: Parameters, environment: str, given: Mapping[str, Any]
) -> Session | None:
    """Return a session where one is needed before the notebooks' own; raise where
    nobody is logged in to the file's account, before a run is there.
    """
    if p.rehearsed and not p.bucket:
        return None
    named = {**given, "environment": environment, "mode": "plan"}
    return open_session(named, "command")


def _end(environment: str, first: str) -> str:
    """Return where a run ends that was not told: with what it begins with where that is
    later, but never with 90.
    """
    end = "06" if environment in ON_THIS_MACHINE else SHIFTED
    return max(end, first) if first < "90" else end


def _holding(this: record.Run, p: Parameters) -> AbstractContextManager[None]:
    """Hold the place while notebooks apply; a shift of this very run goes on."""
    if p.mode != "apply":
        return nullcontext()
    lock = record.lock_of(this)
    return record.held(this, lock, getpass.getuser(), beside_shift=True)


def _execute_all(
    this: record.Run,
    paths: list[Path],
    given: Mapping[str, Any],
    mode: str,
    told: Told,
    interrupts: Interrupts,
) -> tuple[list[dict[str, Any]], Failure | None]:
    """Execute notebooks until one fails; return how each ended and how many seconds it
    took, and the failure.

    In plan mode what 00 refuses ends nothing.
    """
    executed: list[dict[str, Any]] = []
    for path in paths:
        name, began, before = path.stem, time.monotonic(), len(_lines(this))
        output = this.folder / path.name
        failure = _execute(path, output, given, told, interrupts)
        if failure and failure.error == DEAD and _shifts(this):
            told.word(FOLLOWED_ANEW)
            failure = _execute(path, output, given, told, interrupts)
        with suppress(RecordError):  # the end of the run says so
            this.require_stored(files=True)
        wrote = _wrote(_lines(this)[before:], name)
        outcome = _outcome(failure.error, wrote=wrote)[0] if failure else "done"
        executed.append(
            {
                "name": name,
                "outcome": outcome,
                "seconds": round(time.monotonic() - began, 1),
            }
        )
        if failure and not _goes_on(name, outcome, paths, mode):
            return executed, failure
    return executed, None


def _shifts(this: record.Run) -> bool:
    """Say whether a shift of this very run is under way, in its own process."""
    with suppress(RecordError):
        shifter = record.shifter(this.place) if this.place else None
        return shifter is not None and shifter.get("run") == this.id
    return False


def _goes_on(name: str, outcome: str, paths: list[Path], mode: str) -> bool:
    """Say whether a run that only plans goes on: what 00 found is reported, and
    nothing will be written.
    """
    checked = name.startswith("00") and outcome == "refused"
    return checked and mode == "plan" and len(paths) > 1


def _execute(
    path: Path,
    output: Path,
    given: Mapping[str, Any],
    told: Told,
    interrupts: Interrupts,
) -> Failure | None:
    name, kept = output.stem, Kept(output)
    try:
        papermill.execute_notebook(
            path,
            None,
            parameters=dict(given),
            engine_name="watched",
            kept=kept,
            tell=lambda done, total: told.cell(name, done, total),
            interrupts=interrupts,
            progress_bar=False,
            cwd=FOLDER,
        )
    except PapermillExecutionError as error:
        words = INTERRUPTED if error.ename == "KeyboardInterrupt" else error.evalue
        return Failure(name, error.exec_count or 0, error.source, error.ename, words)
    except KeyboardInterrupt:  # a signal between two cells, or a second one
        return Failure(name, 0, "", "KeyboardInterrupt", INTERRUPTED)
    except RuntimeError:  # nbclient's DeadKernelError, or the kernel never came up
        return Failure(
            name,
            0,
            "",
            DEAD,
            "the kernel died; what it had changed is in the record",
        )
    except OSError as error:  # of the kernel's own files
        return Failure(
            name,
            0,
            "",
            DEAD,
            f"no kernel could be started: {error.strerror or error}",
        )
    finally:
        kept.save()
        if kept.trouble:
            told.word(kept.trouble)
    return None


def _wrote(lines: Sequence[Mapping[str, Any]], notebook: str) -> bool:
    """Say whether a notebook has begun to change anything, by its own
    lines of the record.
    """
    return any(
        line["event"] == "intended" and line.get("notebook") == notebook
        for line in lines
    )


def _outcome(error: str, *, wrote: bool = False) -> tuple[str, str]:
    """Return the outcome and the one-word reason of an error, by its name; who has
    written has not refused.
    """
    if error == "KeyboardInterrupt":
        return "held", "interrupted"
    kind = getattr(errors, error, None)
    if not (isinstance(kind, type) and issubclass(kind, RunbookError)):
        return "failed", "kernel" if error == DEAD else "error"
    outcome = next(outcome for outcome, code in EXIT.items() if code == kind.exit_code)
    return "failed" if wrote and outcome == "refused" else outcome, kind.reason


def _summary(
    this: record.Run,
    p: Parameters,
    executed: list[dict[str, Any]],
    failure: Failure | None,
    since: int,
    left: str = "",
) -> dict[str, Any]:
    """Sum up the whole run; its reason is this invocation's own: of its kernels, in
    lines from `since` on.
    """
    lines = _lines(this)
    outcome = executed[-1]["outcome"]
    if failure:
        word, message = _word_of(failure, lines[since:]), failure.message
    elif left:
        word, message = "left", left
    else:
        word = "done"
        message = f"{executed[-1]['name']} was reached in mode {p.mode}"
    calls = [line for line in lines if line["event"] == "calls"]
    load: dict[str, int] = {}
    with suppress(RunbookError):  # a local mesh that ends just now
        load = load_of(p)
    return {
        "run": this.id,
        "version": VERSION,
        "environment": p.environment,
        "mode": p.mode,
        "outcome": outcome,
        "reason": _reason(word, message),
        "notebooks": executed,
        "changes": sum(line["event"] == "observed" for line in lines),
        "api_calls": {
            kind: sum(line[kind] for line in calls) for kind in ("read", "write")
        },
        "shift": steps_of(lines),
        **({"load": load} if load else {}),
    }


def _message(summary: Mapping[str, Any]) -> notifying.Message:
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
    own, error = str(os.getpid()), failure.error
    ended = [line for line in lines if line["event"] == "ended"]
    words = [
        line["word"]
        for line in ended
        if (line.get("by"), line["error"]) == (own, error)
    ]
    found = failure.reason or (words[-1] if words else _outcome(error)[1])
    return str(found)


def _lines(this: record.Run) -> list[dict[str, Any]]:
    """Return the record's lines; where it cannot be read a summary says what it can."""
    try:
        return list(this.lines())
    except RecordError:
        return []


def _reason(word: str, message: str) -> str:
    """Return one word and one sentence: a message in one line, without that word again
    and what to do next.
    """
    sentence, *others = message.partition("\nNext: ")[0].splitlines() or [""]
    for line in others:
        joint = " " if sentence.endswith((":", ",", "since")) else "; "
        sentence += joint + line.strip().removeprefix("- ")
    return f"{word}: " + re.sub(rf"^(\d+ %: )?{re.escape(word)}: ", r"\1", sentence)


@contextmanager
def environ(**values: str) -> Iterator[None]:
    """Set environment variables for what runs within, kernels included."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
