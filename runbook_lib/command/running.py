"""Run the notebooks unattended, and tell how they ended."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import typer
import yaml

from runbook_lib import parameters, record
from runbook_lib.command.local_aws import tell_traffic
from runbook_lib.command.meant import is_rehearsal
from runbook_lib.command.opened import say_ignored
from runbook_lib.command.options import option_words
from runbook_lib.command.screen import alarm, complaints, console, print_json
from runbook_lib.command.told import leave_word
from runbook_lib.errors import ParametersError, RecordError, RunbookError, TargetError
from runbook_lib.local import supervisor
from runbook_lib.opening import open_session, world_of
from runbook_lib.printable import counted, divided
from runbook_lib.record.place import place_of
from runbook_lib.redaction import scrubbed
from runbook_lib.shift.watching import unwatched
from runbook_lib.survey import survey
from runbook_lib.unattended.environ import environ
from runbook_lib.unattended.executing import Failure
from runbook_lib.unattended.progress import telling
from runbook_lib.unattended.sequence import run_in_order
from runbook_lib.unattended.summing_up import EXIT


def run(
    environment: str,
    names: Sequence[str],
    values: Sequence[str],
    *,
    first: str,
    through: str | None,
    mode: str,
    rehearse: bool,
    leave: bool,
    take_over: str,
    report: Path | None,
    as_json: bool,
) -> None:
    """Execute an environment's notebooks, and exit with the run's code; `names` and
    `values` of `-p` belong together in pairs.
    """
    given = parameters.merged(environment, _given(names, values))
    if rehearse:
        given = {"mode": "apply", **given, "target": "local"}
    if mode:
        given["mode"] = mode
    loaded = parameters.load(environment, given)
    if not as_json:
        say_ignored(loaded)
        _say_unwatched(environment, loaded, given)
    screen = complaints if as_json else console
    with telling(screen) as told, environ(RUNBOOK_TAKE_OVER=take_over):
        this, summary, failure = run_in_order(
            environment, given, first=first, last=through, told=told, leave=leave
        )
    leave_word(this, report, screen)
    if as_json:
        print_json({**summary, "folder": str(this.folder)})
    else:
        options = option_words(
            {
                "--through": through,
                "--mode": mode,
                "--take-over": take_over,
                "--rehearse": rehearse,
                "--leave": leave,
            }
        )
        for name, value in zip(names, values, strict=True):
            options += ["-p", name, value]
        _tell(this, summary, failure, environment, options)
    raise typer.Exit(EXIT[summary["outcome"]])


def _say_unwatched(
    environment: str, p: parameters.Parameters, given: Mapping[str, Any]
) -> None:
    """Say before anything else that a canary stands unwatched; nothing is asked of AWS
    where no run is open.
    """
    try:
        newest = record.latest(p.environment, p.records, place_of(p, world_of(p)))
        if newest is None or newest.closed:
            return
        session = open_session({"environment": environment, **given, "mode": "plan"})
        words = unwatched(survey(session))
    except RunbookError:
        return  # the run itself will say what is wrong
    if words:
        alarm(words)
        console.print(
            "Next: this run goes on watching it in 05; or runbook rollback "
            f"{session.named}"
        )


def _given(names: Sequence[str], values: Sequence[str]) -> dict[str, Any]:
    """Pair `-p NAME VALUE`; a value is read as YAML, as papermill does."""
    if len(names) != len(values):
        raise ParametersError(
            "-p: expected a name and a value", hint="-p region us-west-2"
        )
    doubles = sorted({name for name in names if names.count(name) > 1})
    if doubles:
        raise ParametersError(
            f"-p: {', '.join(doubles)} is given more than once", hint="say it once"
        )
    given = {}
    for name, value in zip(names, values, strict=True):
        given[name] = _value_of(name, value)
    return given


def _value_of(name: str, value: str) -> Any:
    try:
        return parameters.read_yaml(value)
    except yaml.YAMLError as error:
        raise ParametersError(
            f"-p {name:.80}: not YAML: {error}",
            hint="put the value in quotes of its own",
        ) from None


def _tell(
    this: record.Run,
    summary: Mapping[str, Any],
    failure: Failure | None,
    environment: str,
    options: Sequence[str],
) -> None:
    """Print how a run ended: the cell that ended it, each step, what was done, where
    the record is, and the outcome.
    """
    if failure:
        _tell_failure(this, failure, environment, options)
    for step in summary["shift"]:
        weights = divided(step["weights"])
        console.print(f"{weights}: {step['verdict']}\n  {step['reason']}")
    calls = summary["api_calls"]
    console.print(
        f"{counted(summary['changes'], 'change')}; API calls: {calls['read']:,} "
        f"read, {calls['write']:,} write"
    )
    console.print(f"record: {_from_here(this.folder)}, head {_head(this, summary)}")
    local = supervisor.running() if is_rehearsal(this) else None
    if local:
        # one that ends just now changes nothing in how the run has ended
        with suppress(TargetError):
            tell_traffic(local)
    reason = summary["reason"]
    if reason.startswith("left: "):
        console.print(reason.removeprefix("left: "))
    console.print(f"outcome: {summary['outcome']}", style="bold")


def _tell_failure(
    this: record.Run, failure: Failure, environment: str, options: Sequence[str]
) -> None:
    """Print the cell that ended a run, its error, and the command that goes on."""
    console.print(f"\n{failure.notebook}, cell {failure.cell}:", style="bold")
    console.print(f"{failure.source}\n", style="dim")
    console.print(f"{failure.error}: {failure.message}")
    first = failure.notebook[:2]
    does = "goes on from here"
    if is_rehearsal(this) and supervisor.there() is None:
        first = "00"
        does = "begins again"
    again = shlex.join(["runbook", "run", environment, "--from", first, *options])
    console.print(f"\n{scrubbed(again)}  {does}")


def _from_here(folder: Path) -> Path:
    """Return a folder as one names it in the current one."""
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder


def _head(run: record.Run, summary: Mapping[str, Any]) -> str:
    """Return the first digits of the hash that the record ends with: the summary's own,
    or the journal's where no summary could be written.
    """
    try:
        end = summary.get("record") or run.head()
        return str(end["head"])[:12]
    except RecordError:
        return "unreadable"
