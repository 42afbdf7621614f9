"""The `runbook` command.

It reads its words, hands them to the module of the command, and ends with its exit
code. Each command imports its own module when it is called: help, and what is typed in
an emergency, wait for nothing else.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from runbook_lib.aws.roles import Role
from runbook_lib.errors import RunbookError
from runbook_lib.private import UMASK
from runbook_lib.shipped import VERSION

HELP = """Move the traffic of an Amazon ECS application to a new version.

Exit codes: 0 done, 1 failed, 2 refused before any write, 3 held, 4 rolled back.
"""


class Commands(TyperGroup):
    """All commands: an error of this library is printed as its sentence, under `--json`
    as one JSON object too, and ends with its exit code.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words, and keep whether a program will read what is printed."""
        ctx.obj = "--json" in args
        return list(super().parse_args(ctx, args))

    def invoke(self, ctx: Any) -> Any:
        """Invoke the command that is named; what it and its children write is
        this user's alone.
        """
        before = os.umask(UMASK)
        try:
            return super().invoke(ctx)
        except RunbookError as error:
            from runbook_lib.command import screen

            screen.complain(f"{error.reason}: {error}")
            if ctx.obj:
                screen.print_json(screen.as_data(error))
            raise typer.Exit(error.exit_code) from None
        except typer.BadParameter as error:
            error.message = error.message.removeprefix("Value error, ")  # pydantic's
            raise
        finally:
            os.umask(before)


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    help=HELP,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
local = typer.Typer(no_args_is_help=True, help="The local mesh on this machine.")
app.add_typer(local, name="local")


def _say_version(asked: bool) -> None:
    if asked:
        typer.echo(f"runbook {VERSION}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_say_version, is_eager=True, help="Say the version."
        ),
    ] = False,
) -> None:
    """Read what is said before the command."""


def _environments() -> list[str]:
    """Return the words that a shell may complete; without any it offers files."""
    from runbook_lib import parameters

    return parameters.environments()


Environment = Annotated[
    str,
    typer.Argument(
        metavar="ENV_OR_FILE",
        help="An environment of parameters/, or a file.",
        autocompletion=_environments,
    ),
]
RunName = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="A run's id, its folder's path, or an environment (name or "
        "file): its newest run that applied.",
        autocompletion=_environments,
    ),
]
File = Annotated[
    str,
    typer.Option(
        "--file",
        metavar="ENV_OR_FILE",
        help="RUN's environment, where its record is in a bucket.",
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print JSON, for programs; errors too.")
]
Rehearsed = Annotated[
    bool, typer.Option("--rehearse", help="Mean its rehearsal, not what is on AWS.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
TakeOver = Annotated[
    str,
    typer.Option(
        metavar="RUN",
        envvar="RUNBOOK_TAKE_OVER",
        help="Proceed although this run holds the lock.",
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
        str | None,
        typer.Option(help="The last one's; 05 if not said, 06 for local and local-*."),
    ] = None,
    mode: Annotated[
        str, typer.Option(help="plan or apply; if not said, as the file has it.")
    ] = "",
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="Run this very file on the local mesh.")
    ] = False,
    leave: Annotated[
        bool, typer.Option("--leave", help="End once the shift is watched; it goes on.")
    ] = False,
    take_over: TakeOver = "",
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write the run's report to FILE."),
    ] = None,
    as_json: Json = False,
    p: Annotated[
        list[str],
        typer.Option(
            "-p",
            metavar="NAME VALUE",
            help="Replace a value of the file: -p shift.bake_seconds 5.",
        ),
    ] = [],  # noqa: B006 - typer reads the default, nobody changes it
) -> None:
    """Execute the notebooks in order, unattended, into a run's folder."""
    from runbook_lib.command import running

    running.run(
        environment,
        p,
        context.args,
        first=first,
        through=through,
        mode=mode,
        rehearse=rehearse,
        leave=leave,
        take_over=take_over,
        report=report,
        as_json=as_json,
    )


@app.command()
def status(
    environment: Environment, as_json: Json = False, rehearse: Rehearsed = False
) -> None:
    """Show where an environment stands now, read from live state."""
    from runbook_lib.command import standing

    standing.status(environment, as_json=as_json, rehearse=rehearse)


@app.command()
def rollback(
    environment: Environment,
    rehearse: Rehearsed = False,
    force: Annotated[
        bool, typer.Option("--force", help="Write it even where stable runs no task.")
    ] = False,
) -> None:
    """Put all traffic back on stable in one write, whatever else runs. It asks nobody
    and needs no record.
    """
    from runbook_lib.command import steering

    steering.rollback(environment, rehearse=rehearse, force=force)


@app.command()
def watch(environment: Environment, rehearse: Rehearsed = False) -> None:
    """Follow the shift under way, or watch a canary left unwatched. A failing one is
    rolled back; no step is taken.
    """
    from runbook_lib.command import steering

    steering.watch(environment, rehearse=rehearse)


@app.command()
def undo(
    run: RunName,
    notebook: Annotated[
        str, typer.Option(help="Only this notebook's part, by its number: 05.")
    ] = "",
    yes: Yes = False,
    take_over: TakeOver = "",
    file: File = "",
    rehearse: Rehearsed = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the plan as JSON; nothing is undone.")
    ] = False,
) -> None:
    """Undo what a run changed, last change first. It is refused where somebody else
    has changed the same thing since.
    """
    from runbook_lib.command import undoing

    undoing.undo(
        run,
        notebook,
        file=file,
        yes=yes,
        take_over=take_over,
        rehearse=rehearse,
        as_json=as_json,
    )


@app.command()
def approve(
    run: RunName,
    by: Annotated[
        str,
        typer.Option(help="Who approves; your identity at AWS if not said."),
    ] = "",
    file: File = "",
    rehearse: Rehearsed = False,
) -> None:
    """Approve the next step of a run. The approval is for exactly its current plan,
    and expires.
    """
    from runbook_lib.command import steering

    steering.approve(run, by, file=file, rehearse=rehearse)


@app.command()
def promote(
    run: RunName,
    by: Annotated[str, typer.Option(help="Who decides.")],
    because: Annotated[str, typer.Option(help="Why, for the record.")],
    file: File = "",
    rehearse: Rehearsed = False,
) -> None:
    """End the bake of the step now, without its PASS. It is a person's decision, and
    recorded as one.
    """
    from runbook_lib.command import steering

    steering.promote(run, by, because, file=file, rehearse=rehearse)


@app.command()
def hold(
    run: RunName,
    by: Annotated[str, typer.Option(help="Who holds; you if not said.")] = "",
    file: File = "",
    rehearse: Rehearsed = False,
) -> None:
    """Pause the shift of a run at its next look. Weights stay, and
    running 05 again goes on.
    """
    from runbook_lib.command import asking

    asking.hold(run, by, file=file, rehearse=rehearse)


@app.command()
def verify(
    run: RunName, file: File = "", rehearse: Rehearsed = False, as_json: Json = False
) -> None:
    """Judge every verdict of a run again from its stored counts. Its record is also
    searched for secrets.
    """
    from runbook_lib.command import records

    records.verify(run, file=file, rehearse=rehearse, as_json=as_json)


@app.command("report")
def report_run(
    run: RunName,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Where to write it; the run's folder if not said."
        ),
    ] = None,
    file: File = "",
    rehearse: Rehearsed = False,
) -> None:
    """Write a run as one page of HTML, for a change ticket. The page needs no network
    and runs no script.
    """
    from runbook_lib.command import records

    records.report(run, output, file=file, rehearse=rehearse)


@app.command()
def runs(
    environment: Annotated[
        str,
        typer.Argument(metavar="ENV", help="Only this environment's; all if not said."),
    ] = "",
    outcome: Annotated[
        str,
        typer.Option(
            metavar="WORD", help="done, failed, refused, held, rolled_back or open."
        ),
    ] = "",
    since: Annotated[
        str,
        typer.Option(
            metavar="DAY", help="Only those begun since then (UTC): 2026-11-01."
        ),
    ] = "",
    as_json: Json = False,
) -> None:
    """List the recorded runs, newest first. Each with its place
    and how it ended.
    """
    from runbook_lib.command import records

    records.runs(environment, outcome=outcome, since=since, as_json=as_json)


@app.command()
def lint(file: Environment, as_json: Json = False) -> None:
    """Check a parameters file without calling anything."""
    from runbook_lib.command import files

    files.lint(file, as_json=as_json)


@app.command()
def policy(
    environment: Environment,
    role: Annotated[
        Role,
        typer.Option(help="reader: only looks; shifter: also 05; builder: everything."),
    ],
) -> None:
    """Print the IAM policy that a role needs for a file, offline."""
    from runbook_lib.command import files

    files.policy(environment, role)


@app.command()
def accept(
    environment: Environment,
    yes: Yes = False,
    rehearse: Rehearsed = False,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where to; the run's folder if not said."),
    ] = None,
) -> None:
    """Ask AWS what nobody has verified, in an account for trials. What it makes is
    taken away again.
    """
    from runbook_lib.command import accepting

    accepting.accept(environment, yes=yes, rehearse=rehearse, output=output)


@local.command()
def up(environment: Environment = "local") -> None:
    """Start the local mesh. An environment's services run there as they
    are before the mesh.
    """
    from runbook_lib.command import local_aws

    local_aws.up(environment)


@local.command()
def down() -> None:
    """Stop the local mesh."""
    from runbook_lib.command import local_aws

    local_aws.down()


@local.command("status")
def local_status(as_json: Json = False) -> None:
    """Show what the local mesh runs: tasks, sidecars, traffic."""
    from runbook_lib.command import local_aws

    local_aws.status(as_json=as_json)


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
        float, typer.Option(help="Share of requests answered with 500, from 0 to 1.")
    ] = 0.0,
    latency_ms: Annotated[
        float, typer.Option(help="Milliseconds added to every answer.")
    ] = 0.0,
    crash: Annotated[
        bool,
        typer.Option(
            "--crash", help="Crash at the next request, and again after each restart."
        ),
    ] = False,
    data_delay_seconds: Annotated[
        float, typer.Option(help="Seconds by which its CloudWatch data come late.")
    ] = 0.0,
) -> None:
    """Let a service's application fail; without options, work again."""
    from runbook_lib.command import local_aws

    local_aws.fault(
        service,
        environment,
        error_rate=error_rate,
        latency_ms=latency_ms,
        crash=crash,
        data_delay_seconds=data_delay_seconds,
    )


@local.command()
def aws(
    latency_ms: Annotated[
        float,
        typer.Option(min=0, max=5000, help="Milliseconds that each call takes longer."),
    ] = 0.0,
    throttle: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Share of calls that are throttled, from 0 to 1."
        ),
    ] = 0.0,
    away: Annotated[
        float, typer.Option(min=0, help="Seconds in which no call is answered.")
    ] = 0.0,
) -> None:
    """Make the local AWS slow, throttling or away, or normal again."""
    from runbook_lib.command import local_aws

    local_aws.aws(latency_ms, throttle, away)


if __name__ == "__main__":
    app(prog_name="runbook")
