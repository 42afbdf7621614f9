"""The `runbook` command.

It reads its words, calls the library, prints what came of it, and ends with the run's
exit code: 0 done, 1 failed, 2 refused before any write, 3 held, 4 rolled back.
"""

from __future__ import annotations

import getpass
import json
import os
import shlex
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from typer.core import TyperGroup

from runbook_lib import parameters, record
from runbook_lib.aws.applying import apply
from runbook_lib.aws.permissions import Role, document, permissions
from runbook_lib.aws.session import Session
from runbook_lib.command.progress import Lines, telling
from runbook_lib.engines.named import ENGINES
from runbook_lib.errors import ParametersError, RecordError, RunbookError, TargetError
from runbook_lib.judging import unpassable
from runbook_lib.local import inject, supervisor, uncarried, world
from runbook_lib.opening import ignored, open_session, world_of
from runbook_lib.parameters import Parameters
from runbook_lib.plan import Plan, clear
from runbook_lib.printable import counted, one_line, visible
from runbook_lib.private import UMASK
from runbook_lib.record.chain import CHAINED
from runbook_lib.record.place import Place, place_of
from runbook_lib.redaction import scrubbed
from runbook_lib.runs import approvals
from runbook_lib.runs.undo import plan_undo
from runbook_lib.runs.verify import verify as check_run
from runbook_lib.shift import plan_steps, report
from runbook_lib.shift.outlook import harms_of, judge_of
from runbook_lib.shift.rollback import patiently, roll_back
from runbook_lib.shift.watching import unwatched
from runbook_lib.survey import survey
from runbook_lib.wording import divided, fields_of, harm_words

# it loads papermill, which takes as long as a rollback may: each command loads it
# itself
if TYPE_CHECKING:
    from runbook_lib.command import unattended


class Commands(TyperGroup):
    """All commands: an error of this library is printed as its sentence, and ends
    with its exit code.
    """

    def invoke(self, ctx: Any) -> Any:
        """Invoke the command that is named; what it and its children write is
        this user's alone.
        """
        before = os.umask(UMASK)
        try:
            return super().invoke(ctx)
        except RunbookError as error:
            complaints.print(scrubbed(f"{error.reason}: {error}"))
            raise typer.Exit(error.exit_code) from None
        finally:
            os.umask(before)


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    help=__doc__,
    rich_markup_mode=None,
)
local = typer.Typer(no_args_is_help=True, help="The local mesh on this machine.")
app.add_typer(local, name="local")


class Screen(Console):
    """A terminal, or what stands for one, that obeys nothing in
    the text it is given.
    """

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        """Yield the parts of what is printed, whatever it is made of: their text
        visible, the styles left.
        """
        for part in super().render(renderable, options):
            yield part if part.control else Segment(visible(part.text), part.style)

    def print_json(self, json: str | None = None, **options: Any) -> None:
        """Print JSON in ASCII, in which every other character has an
        escape of JSON's own.
        """
        super().print_json(json, **{"ensure_ascii": True, **options})


console = Screen(highlight=False, soft_wrap=True, markup=False, emoji=False)
complaints = Screen(
    stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False
)

# a caller writes down every second what it did; one that does not any more has ended
SILENT_SECONDS = 5
ALARM = "bold red"  # how it is said that nobody watches a canary
TASK_COLUMNS = ("service", "phase", "pid", "ports", "envoy", "version", "update")
Environment = Annotated[
    str,
    typer.Argument(
        metavar="ENV_OR_FILE", help="An environment of parameters/, or a file."
    ),
]
RunName = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="A run's id, its folder's path, or an environment (name or "
        "file): its newest.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="As JSON, for programs.")]
Rehearsed = Annotated[
    bool, typer.Option("--rehearse", help="Its rehearsal on the local mesh.")
]
TakeOver = Annotated[
    str,
    typer.Option(
        metavar="RUN",
        envvar="RUNBOOK_TAKE_OVER",
        help="Go on although this run holds the lock.",
    ),
]


@app.command(context_settings={"allow_extra_args": True})
def run(
    context: typer.Context,
    environment: Environment,
    first: Annotated[
        str, typer.Option("--from", help="The first notebook's number.")
    ] = "00",
    through: Annotated[
        str | None, typer.Option(help="The last one's; 05, and 06 for local.")
    ] = None,
    mode: Annotated[
        str, typer.Option(help="plan or apply; the environment's own where not said.")
    ] = "",
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="Run this very file on the local mesh.")
    ] = False,
    leave: Annotated[
        bool, typer.Option("--leave", help="End once the shift is watched; it goes on.")
    ] = False,
    take_over: TakeOver = "",
    p: Annotated[
        list[str],
        typer.Option(
            "-p", metavar="NAME VALUE", help="A top-level value in place of the file's."
        ),
    ] = [],  # noqa: B006 - typer reads the default, nobody changes it
) -> None:
    """Execute the notebooks in order, unattended, into a run's folder."""
    from runbook_lib.command import unattended

    given = _given(p, context.args)
    if rehearse:
        given = {"mode": "apply", **given, "target": "local"}
    given |= {"mode": mode} if mode else {}
    loaded = parameters.load(environment, given)
    _say_ignored(loaded)
    _say_unwatched(environment, loaded, given)
    with telling(console) as told, unattended.environ(RUNBOOK_TAKE_OVER=take_over):
        this, summary, failure = unattended.run(
            environment, given, first=first, last=through, told=told, leave=leave
        )
    again = {"--through": through, "--mode": mode, "--take-over": take_over}
    words = [
        word for option, value in again.items() if value for word in (option, value)
    ]
    words += ["--rehearse"] * rehearse + ["--leave"] * leave
    words += [
        word
        for name, value in zip(p, context.args, strict=True)
        for word in ("-p", name, value)
    ]
    _tell(this, summary, failure, environment, words)
    raise typer.Exit(unattended.EXIT[summary["outcome"]])


@app.command()
def status(
    environment: Environment, as_json: Json = False, rehearse: Rehearsed = False
) -> None:
    """Say where an environment stands, from live state alone."""
    given = {"target": "local"} if rehearse else {}
    p = parameters.load(environment, given)
    if not as_json:
        _say_ignored(p)
    found: dict[str, Any] = {"environment": p.environment, "stage": "", "weights": {}}
    if not p.rehearsed or supervisor.running():
        look = survey(
            open_session({"environment": environment, "mode": "plan", **given})
        )
        look.ahead("split", "live", "running")
        there = [key for key, state in look.live.items() if state]
        services = {name: r.arn.rsplit("/", 1)[-1] for name, r in look.running.items()}
        services |= dict.fromkeys(look.lifecycle.retired & services.keys(), "retired")
        found |= {
            "stage": look.stage,
            "weights": dict(look.split.weights),
            "unwatched": unwatched(look),
        }
        found |= {
            "retired": sorted(look.lifecycle.retired),
            "services": services,
            "resources": there,
        }
    else:
        found["stage"] = supervisor.absence()
    here = place_of(p, world_of(p))
    newest = record.latest(
        p.environment, p.records, here, whenever=p.rehearsed and not here.world
    )
    found["run"] = newest.id if newest else None
    if words := _shift_under_way(here):
        found["shift"] = f"{words}; runbook watch {environment} follows it"
    if as_json:
        console.print_json(json.dumps(found))
        return
    if words := found.pop("unwatched", ""):
        console.print(words, style=ALARM)
        console.print(
            f"Next: runbook watch {environment}, or runbook rollback {environment}"
        )
    _standing(found)


def _shift_under_way(here: Place) -> str:
    """Say since when a shift is under way at a place, on this machine; "" for none."""
    with suppress(RecordError):  # where nothing can be written, nothing is locked
        if shifter := record.shifter(here):
            by = f"since {shifter['since']}, process {shifter['pid']}"
            said = report.read(report.file_of(record.shift_lock_of(here).lock_file))
            stays = said is not None and said.stays
            return f"its step has passed, watched {by}" if stays else f"under way {by}"
    return ""


@app.command()
def rollback(
    environment: Environment,
    rehearse: Rehearsed = False,
    force: Annotated[
        bool, typer.Option("--force", help="Even where stable runs no task.")
    ] = False,
) -> None:
    """Put all traffic back on stable in one write, whatever else runs. It asks nobody
    and needs no record.
    """
    given = _given_at_work("rollback", environment, rehearse)
    named = {"environment": environment, "mode": "apply", **given}
    session = patiently(
        lambda: open_session(named, "rollback"), _warn, time.sleep, time.monotonic
    )
    back = roll_back(session, console.print, force=force)
    told = [
        f"{divided(back.weights)}: "
        + ("read back" if back.decision else "nothing was left to roll back")
    ]
    for words in (*told, *back.notes, session.spare.words):
        if words:
            console.print(scrubbed(words))


@app.command()
def watch(environment: Environment, rehearse: Rehearsed = False) -> None:
    """Follow the shift under way, or watch a canary that nobody watches. A failing one
    is rolled back; no step is taken.
    """
    from runbook_lib.shift.following import follow_watch

    given = _given_at_work("watch", environment, rehearse)
    session = open_session(
        {"environment": environment, "mode": "apply", **given}, "watch"
    )
    lines = Lines(console)
    for decision in follow_watch(session, alarm=lines.word):
        if decision.phase != "watching":
            lines.line({"event": "decision", **decision.line})
    console.print(divided(survey(session).split.weights))


def _given_at_work(what: str, environment: str, rehearse: bool) -> dict[str, str]:
    """Return what is given beside the file; refuse where it is about a local mesh that
    does not run.
    """
    given = {"target": "local"} if rehearse else {}
    p = parameters.load(environment, given)
    if p.rehearsed and not supervisor.running():
        raise ParametersError(
            f"{what}: {p.environment} is local, and the local mesh is "
            f"{supervisor.absence()}"
        )
    return given


def _warn(words: str) -> None:
    complaints.print(scrubbed(words))


@app.command()
def undo(
    run: RunName,
    notebook: Annotated[
        str, typer.Option(help="Only this notebook's part, by its number: 05.")
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    take_over: TakeOver = "",
    rehearse: Rehearsed = False,
) -> None:
    """Undo what a run changed, last change first. It stops on
    anybody else's change.
    """
    from runbook_lib.command import unattended

    with unattended.environ(RUNBOOK_TAKE_OVER=take_over):
        this = _found(run, rehearse)
        session = _session_of("undo", this, "apply")
        engine = session.parameters.engine
        part = unattended.notebook(notebook, "--notebook", engine) if notebook else ""
        plan = plan_undo(session, None if run == this.environment else this, part)
        this = session.run or this
        console.print(f"run {this.id}\n{session.place}")
        _show(plan, "nothing to undo")
        if plan.changes and (yes or _agreed("Undo these changes?", this)):
            made = apply(session, clear(plan))
            end = {
                "outcome": "rolled_back",
                "reason": f"undo: {part or 'the whole run'} was undone by hand",
            }
            this.write("summed up", **end)
            former: dict[str, Any] = {}
            with suppress(RecordError):  # one that was cut off is no obstacle now
                former = this.summary() or {}
            this.summarise({**former, "run": this.id, **end})
            console.print(f"{counted(len(made), 'change')} undone")
            console.print(f"record: head {this.head()['head'][:12]}")


@app.command()
def approve(
    run: RunName,
    by: Annotated[
        str,
        typer.Option(help="Who approves; the caller's own identity where not said."),
    ] = "",
    rehearse: Rehearsed = False,
) -> None:
    """Approve the next step of a run. It is for exactly the plan it has now,
    until it runs out.
    """
    this = _found(run, rehearse)
    session = _session_of("approve", this, "plan")
    look, steps = survey(session), plan_steps(session)
    if look.split.state is None:
        raise ParametersError(
            "approve: no route yet: 03 was not applied",
            hint=f"runbook run {session.named}",
        )
    if not steps:
        weights = divided(look.split.weights)
        raise ParametersError(
            f"approve: no step is left: {weights}",
            hint=f"runbook status {session.named}",
        )
    plan = look.plan_weights(steps[0].weights)
    _show(plan, "nothing to approve")
    given = approvals.approve(session, this, plan, approver=one_line(by))
    console.print(
        f"{steps[0].words}: plan {given['plan']} approved by {given['approver']} "
        f"until {given['until']}"
    )


@app.command()
def hold(
    run: RunName,
    by: Annotated[str, typer.Option(help="Who holds; you where not said.")] = "",
    rehearse: Rehearsed = False,
) -> None:
    """Let the shift of a run stop at its next look. Weights stay, and
    running 05 again goes on.
    """
    this = _found(run, rehearse)
    this.require_whole("hold")
    holder = record.holder(this)
    if holder is None or holder["run"] != this.id:
        busy = (
            f"run {holder['run']} is, by {holder['who']}"
            if holder
            else "nobody is at work there"
        )
        named = shlex.quote(str(this.opened.get("file", this.environment)))
        raise ParametersError(
            f"hold: run {this.id} is not under way; {busy}",
            hint=f"runbook status {named}",
        )
    approvals.hold(this, one_line(by) or getpass.getuser())
    console.print(
        f"{this.id}: hold is written down; the shift stops at its next "
        "look, weights stay"
    )


@app.command()
def verify(run: RunName, rehearse: Rehearsed = False) -> None:
    """Judge every verdict of a run again from its stored counts. Secrets are looked for
    in its record, too.
    """
    this = _found(run, rehearse)
    this.require_format("verify", since=CHAINED)
    checked = check_run(this)
    for each in checked:
        console.print(f"{'✓' if each.holds else '✗'} {each.what}: {each.found}")
    if not any(each.what.startswith("verdict") for each in checked):
        console.print("– no verdict in this run")
    raise typer.Exit(0 if all(each.holds for each in checked) else 1)


@app.command("report")
def report_run(
    run: RunName,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where to; the run's folder if not said."),
    ] = None,
    rehearse: Rehearsed = False,
) -> None:
    """Write a run as one page of HTML, for a change ticket. It needs nothing else to be
    read: no network, no script.
    """
    from runbook_lib.reporting import write_page  # nbconvert takes its time

    this = _found(run, rehearse)
    this.require_format("report", since=CHAINED)
    console.print(str(write_page(this, output)))


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
        words = unwatched(
            survey(open_session({"environment": environment, **given, "mode": "plan"}))
        )
    except RunbookError:
        return  # the run itself will say what is wrong
    if words:
        console.print(words, style=ALARM)
        console.print(
            "Next: this run goes on watching it in 05; or runbook rollback "
            f"{environment}"
        )


@app.command()
def runs(
    environment: Annotated[
        str, typer.Argument(metavar="[ENV]", help="Only these.")
    ] = "",
) -> None:
    """List the recorded runs, the newest first. Each with its
    place and how it ended.
    """
    names = [environment] if environment else record.environments()
    found = [run for name in names for run in record.called(name)]
    for each in sorted(found, key=lambda run: run.id, reverse=True):
        console.print(f"{each.id}  {each.environment}  {_told_of(each)}")
    if not found:
        console.print("nothing is recorded")


def _told_of(run: record.Run) -> str:
    """Return in one line where a run belongs and how it ended; what is wrong with its
    record is said there.
    """
    try:
        run.require_format("runs", since=CHAINED)
        ended = (run.summary() or {}).get("outcome", "under way, or cut short")
        return f"{run.opened.get('mode')}  {ended}  {run.place}"
    except RunbookError as error:
        return error.message


@app.command()
def lint(file: Environment) -> None:
    """Check a parameters file without calling anything."""
    p = parameters.load(file)
    for note in p.notes:
        console.print(f"WARN {note}")
    for words in _cautions(p):
        console.print(f"WARN {words}")
    rate, first = p.traffic.requests_per_second, p.shift.steps[0]
    harm = harm_words(*harms_of(p, first, rate))
    console.print(
        f"at {rate} requests/s and {first} %, a canary that fails half costs {harm}"
    )
    console.print(f"{p.environment}: nothing to refuse")


@app.command()
def policy(
    environment: Environment,
    role: Annotated[
        Role, typer.Option(help="reader looks; shifter: 05; builder: all else.")
    ],
) -> None:
    """Print the IAM policy that a role needs by a file. It calls nothing."""
    p = parameters.load(environment)
    own = ENGINES[p.engine].permissions(p, role)
    console.print_json(json.dumps(document([*permissions(p, role), *own])))


def _cautions(p: Parameters) -> Iterator[str]:
    """Yield what a shift by this file would not notice."""
    judge = judge_of(p, ENGINES[p.engine])
    if judge.by != "counts":
        yield f"errors: {judge.words}{f'; {judge.hint}' if judge.hint else ''}"
    yield from ENGINES[p.engine].unmatched(p)
    refused = unpassable(p)
    if refused:
        yield f"shift: with the file's own traffic {refused.message}; {refused.hint}"
    if words := uncarried(p):
        yield f"a rehearsal is refused: {words}"


@local.command()
def up(environment: Environment = "local") -> None:
    """Start the local mesh. An environment's services are there as they
    are before the mesh.
    """
    session = open_session(
        {"environment": environment, "target": "local", "mode": "plan"}
    )
    console.print(f"up: {session.connection.endpoint}")


@local.command()
def down() -> None:
    """Stop the local mesh."""
    console.print("down" if supervisor.down() else "it was not running")


@local.command("status")
def local_status(as_json: Json = False) -> None:
    """Say what the local mesh runs. Tasks, sidecars, ports, traffic, logs."""
    found: dict[str, Any] = {
        "endpoint": None,
        "environment": {},
        "tasks": [],
        "traffic": {},
    }
    if mesh := supervisor.running():
        found = {
            "endpoint": mesh.endpoint,
            "environment": world.variables(mesh, os.environ),
            "pid": mesh.pid,
        }
        found |= {
            "tasks": mesh.ask("/runbook/tasks")["tasks"],
            "traffic": _traffic(mesh),
            "aws": mesh.ask("/runbook/way"),
        }
    else:
        found["state"] = supervisor.absence()
    console.print_json(json.dumps(found)) if as_json else _local(found)


@local.command()
def fault(
    service: Annotated[
        str,
        typer.Argument(
            metavar="SERVICE", help="A service, as the parameters file names it."
        ),
    ],
    environment: Annotated[
        str, typer.Option("--environment", help="The environment it belongs to.")
    ] = "local",
    error_rate: Annotated[
        float, typer.Option(help="Share of requests answered with 500.")
    ] = 0.0,
    latency_ms: Annotated[float, typer.Option(help="Added to every answer.")] = 0.0,
    crash: Annotated[
        bool,
        typer.Option(
            "--crash", help="End at the next request, and again after each restart."
        ),
    ] = False,
) -> None:
    """Let a service's application fail, or (with no option) work again."""
    p = parameters.load(environment)
    if service not in p.services:
        raise ParametersError(
            f"service: no {service!r}; expected one of {', '.join(p.services)}"
        )
    inject(p, service, error_rate=error_rate, latency_ms=latency_ms, crash=crash)
    console.print(
        f"{service}: error rate {error_rate:g}, latency {latency_ms:g} "
        f"ms{', crashing' if crash else ''}"
    )


@local.command()
def aws(
    latency_ms: Annotated[
        float, typer.Option(min=0, max=5000, help="How long each call takes.")
    ] = 0.0,
    throttle: Annotated[
        float, typer.Option(min=0, max=1, help="Share of calls that are throttled.")
    ] = 0.0,
    away: Annotated[
        float, typer.Option(min=0, help="Seconds in which no call is answered.")
    ] = 0.0,
) -> None:
    """Make the local AWS slow, throttling or away; no option ends that."""
    mesh = supervisor.running()
    if mesh is None:
        raise TargetError("local mesh: it is not running", hint="runbook local up")
    asked = {"latency_ms": latency_ms, "throttled": throttle, "away": away}
    mesh.ask("/runbook/way", asked)
    console.print(
        f"local AWS: {latency_ms:g} ms a call, {throttle:.0%} of calls throttled, "
        f"away for {away:g} s"
    )


def _traffic(mesh: supervisor.LocalMesh) -> dict[str, Any]:
    """Return each caller's requests per second now, and its totals since the
    local mesh came up.
    """
    kept = ("sent", "answered", "failed", "shed", "in_flight", "restarts", "file")
    found = {}
    for name, now in mesh.ask("/runbook/traffic").items():
        silent = time.time() - now.get("at", 0) > SILENT_SECONDS
        rate = 0 if silent else round(now.get("requests_per_second", 0))
        found[name] = {
            "requests_per_second": rate,
            **{key: now.get(key, 0) for key in kept},
        }
    return found


def _tell_traffic(mesh: supervisor.LocalMesh) -> None:
    for name, calls in _traffic(mesh).items():
        console.print(
            f"{name}: {calls['sent']:,} requests since the local mesh came up, "
            f"{calls['failed']:,} failed"
        )
        if calls["shed"]:
            console.print(f"  {_shed(calls['shed'])}")
    console.print("the local mesh is still up: look around, then `runbook local down`")


def _shed(count: int) -> str:
    return (
        f"{count:,} more were due and never sent: this machine was too busy to make "
        "or to answer them"
    )


def _table(**options: Any) -> Table:
    return Table(box=None, padding=(0, 2, 0, 0), **options)


def _local(found: dict[str, Any]) -> None:
    if found["endpoint"]:
        console.print(f"endpoint {found['endpoint']}")
        console.print(
            "the variables that an AWS SDK or CLI needs: runbook local status "
            "--json, under environment"
        )
    else:
        console.print(f"the local mesh is {found['state']}")
    table = _table()
    for column in TASK_COLUMNS:
        table.add_column("last update" if column == "update" else column, no_wrap=True)
    for task in found["tasks"]:
        told = {
            **task,
            "ports": ", ".join(f"{port}→{own}" for port, own in task["ports"].items()),
        }
        table.add_row(
            *(
                "–" if told.get(key) in (None, "") else str(told[key])
                for key in TASK_COLUMNS
            )
        )
    if found["tasks"]:
        console.print(table)
    for task in found["tasks"]:
        console.print(f"logs of {task['service']} are in {task['log']}")
        if task.get("admin"):
            console.print(
                f"  ask its Envoy: curl --unix-socket {shlex.quote(task['admin'])} "
                "http://envoy/stats"
            )
        if task.get("error"):
            console.print(f"  rejected: {task['error']}")
        if task.get("note"):
            console.print(f"  {task['note']}")
    for name, made in found["traffic"].items():
        console.print(
            f"{name} makes {made['requests_per_second']} calls a second now, counted "
            f"in {made['file']}"
        )
        counts = ", ".join(
            f"{made[key]:,} {key}" for key in ("sent", "answered", "failed")
        )
        console.print(
            f"  {counts}, {made['in_flight']} under way; its caller was restarted "
            f"{counted(made['restarts'], 'time')}"
        )
        if made["shed"]:
            console.print(f"  {_shed(made['shed'])}")


def _agreed(question: str, run: record.Run) -> bool:
    try:
        return typer.confirm(question, default=False)
    except typer.Abort:
        hint = f"runbook undo {run.id} --yes, with the same options"
        raise ParametersError(
            "undo: nobody answers here; nothing was undone", hint=hint
        ) from None


def _found(name: str, rehearse: bool) -> record.Run:
    """Return a run by its id or its folder's path, or an environment's newest: at its
    own place, or its rehearsal.

    A rehearsal is never taken for the real one. Where there is nothing else, it is
    what the name means.
    """
    if name.endswith((".yaml", ".yml")) or name in {
        file.stem for file in parameters.FOLDER.glob("*.yaml")
    }:
        return _newest_of(name, rehearse)
    if record.ID.fullmatch(name) or record.is_path(name):
        return record.find(name)
    return _newest_called(name, rehearse)


def _newest_of(named: str, rehearse: bool) -> record.Run:
    """Return the newest run at the place that a parameters file names now."""
    p = parameters.load(named)
    local = parameters.load(named, {"target": "local"})
    for each in [local] if rehearse else [p, local]:
        if found := record.latest(
            each.environment, each.records, place_of(each), whenever=True
        ):
            return found
    others = [run.id for run in record.called(p.environment)]
    words = f"; of other places: {', '.join(others[:5])}" if others else ""
    what = f"no rehearsal of {named}" if rehearse else f"nothing of {place_of(p)}"
    again = f"runbook run {named}{' --rehearse' if rehearse else ''}"
    raise ParametersError(f"run: {what} is recorded{words}", hint=again)


def _newest_called(environment: str, rehearse: bool) -> record.Run:
    """Return the newest run of an environment whose file is elsewhere; refuse to
    choose between places.
    """
    runs = [
        run for run in record.runs(environment) if not rehearse or _is_rehearsal(run)
    ]
    runs = [run for run in runs if not _is_rehearsal(run)] or runs
    newest = {run.place.site if run.place else None: run.id for run in reversed(runs)}
    if not runs:
        what = "no rehearsal" if rehearse else "nothing"
        raise ParametersError(
            f"run: {what} is recorded under {environment!r}", hint="runbook runs"
        )
    if len(newest) > 1:
        found = "\n".join(
            f"- {run}: {place or 'of a former format'}" for place, run in newest.items()
        )
        raise ParametersError(
            f"run: {environment} is the name of several places:\n{found}",
            hint="name a run by its id, as one of these",
        )
    return runs[0]


def _is_rehearsal(run: record.Run) -> bool:
    with suppress(RecordError):
        return run.opened.get("target") == "local"
    return False


def _head(run: record.Run) -> str:
    try:
        return str(run.head()["head"])
    except RecordError:
        return "unreadable"


def _session_of(what: str, run: record.Run, mode: str) -> Session:
    """Open the environment a run was about, as it was given then; refuse where that is
    another place now.
    """
    run.require_whole(what)
    opened = run.opened
    given = {**opened["given"], "environment": opened["file"], "mode": mode}
    p = parameters.load(opened["file"], given)
    _require_place(what, run, place_of(p, world_of(p)))
    _say_ignored(p)
    session = open_session(given, "command")
    _require_place(what, run, session.place)
    return session


def _require_place(what: str, run: record.Run, here: Place) -> None:
    own, file = run.place, run.opened["file"]
    if own is None or here.has(own):
        return
    if here.site == own.site:
        now = f"another one runs now, {here.world}" if here.world else "none runs now"
        raise TargetError(
            f"{what}: run {run.id} was of the local mesh {own.world}, which is gone "
            f"with all that it held; {now}",
            hint=f"start again: runbook run {file}",
        )
    raise TargetError(
        f"{what}: run {run.id} is of {own}; {file} now names {here}",
        hint="give the file its former values, or take the run's changes back by "
        "hand; nothing was changed",
    )


def _say_ignored(p: parameters.Parameters) -> None:
    """Name the settings that would lead calls elsewhere than to
    AWS, if there are any.
    """
    if words := ignored(p):
        console.print(words, style="bold")


def _given(names: list[str], values: list[str]) -> dict[str, Any]:
    """Pair `-p NAME VALUE`; a value is read as YAML, as papermill does."""
    if len(names) != len(values):
        raise ParametersError(
            "-p: expected a name and a value", hint="-p region us-west-2"
        )
    if doubles := sorted({name for name in names if names.count(name) > 1}):
        raise ParametersError(
            f"-p: {', '.join(doubles)} is given more than once", hint="say it once"
        )
    return {
        name: _value_of(name, value) for name, value in zip(names, values, strict=True)
    }


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
    summary: dict[str, Any],
    failure: unattended.Failure | None,
    environment: str,
    options: list[str],
) -> None:
    if failure:
        console.print(f"\n{failure.notebook}, cell {failure.cell}:", style="bold")
        console.print(f"{failure.source}\n", style="dim")
        console.print(f"{failure.error}: {failure.message}")
        ended = _is_rehearsal(this) and supervisor.there() is None
        first, does = (
            ("00", "begins again")
            if ended
            else (failure.notebook[:2], "goes on from here")
        )
        again = shlex.join(["runbook", "run", environment, "--from", first, *options])
        console.print(f"\n{scrubbed(again)}  {does}")
    for step in summary["shift"]:
        weights = ", ".join(
            f"{name} {weight} %" for name, weight in step["weights"].items()
        )
        console.print(f"{weights}: {step['verdict']}\n  {step['reason']}")
    calls = summary["api_calls"]
    console.print(
        f"{counted(summary['changes'], 'change')}; API calls: {calls['read']:,} "
        f"read, {calls['write']:,} write"
    )
    folder = (
        this.folder.relative_to(Path.cwd())
        if this.folder.is_relative_to(Path.cwd())
        else this.folder
    )
    console.print(
        f"record: {folder}, head "
        f"{(summary.get('record') or {'head': _head(this)})['head'][:12]}"
    )
    if _is_rehearsal(this) and (mesh := supervisor.running()):
        # a mesh that ends just now changes nothing in how the run has ended
        with suppress(TargetError):
            _tell_traffic(mesh)
    if (said := summary["reason"]).startswith("left: "):
        console.print(said.removeprefix("left: "))
    console.print(f"outcome: {summary['outcome']}", style="bold")


def _show(plan: Plan, nothing: str) -> None:
    table = _table(title=plan.title)
    for column in ("change", "fields"):
        table.add_column(column, overflow="fold")
    for change in plan:
        table.add_row(change.title, "\n".join(fields_of(change)))
    console.print(table if plan.changes else f"{plan.title}: {nothing}")


def _standing(found: dict[str, Any]) -> None:
    table = _table(title="where it stands", show_header=False)
    weights = {name: f"{weight} %" for name, weight in found["weights"].items()}
    for key, value in {**found, "weights": weights}.items():
        lines = (
            [f"{k} {v}" for k, v in value.items()]
            if isinstance(value, dict)
            else value or []
        )
        table.add_row(
            key, ("\n".join(lines) if isinstance(lines, list) else lines) or "–"
        )
    console.print(table)


if __name__ == "__main__":
    app(prog_name="runbook")
