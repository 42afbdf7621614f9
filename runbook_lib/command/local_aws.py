"""Start, stop and disturb the local mesh, and say what it runs."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from runbook_lib import parameters
from runbook_lib.command.screen import console, print_json, table
from runbook_lib.errors import ParametersError, TargetError
from runbook_lib.local import inject, supervisor
from runbook_lib.local.callers import traffic_of
from runbook_lib.printable import counted

TASK_COLUMNS = ("service", "phase", "pid", "ports", "envoy", "version", "update")


def up(environment: str) -> None:
    """Start the local mesh with an environment's services."""
    from runbook_lib.opening import open_session

    given = {"environment": environment, "target": "local", "mode": "plan"}
    session = open_session(given)
    console.print(f"up: {session.connection.endpoint}")


def down() -> None:
    """Stop the local mesh."""
    was_running = supervisor.down()
    console.print("the local mesh is stopped" if was_running else "it was not running")


def status(*, as_json: bool) -> None:
    """Print what the local mesh runs: tasks, sidecars, ports, traffic, logs."""
    found = _found()
    if as_json:
        print_json(found)
    else:
        _local(found)


def _found() -> dict[str, Any]:
    """Return what the local mesh runs, or why there is none."""
    from runbook_lib.local import world

    mesh = supervisor.running()
    if mesh is None:
        return {
            "endpoint": None,
            "environment": {},
            "tasks": [],
            "traffic": {},
            "state": supervisor.absence(),
        }
    return {
        "endpoint": mesh.endpoint,
        "environment": world.variables(mesh, os.environ),
        "pid": mesh.pid,
        "tasks": mesh.ask("/runbook/tasks")["tasks"],
        "traffic": traffic_of(mesh),
        "aws": mesh.ask("/runbook/way"),
    }


def fault(
    service: str,
    environment: str,
    *,
    error_rate: float,
    latency_ms: float,
    crash: bool,
    data_delay_seconds: float,
) -> None:
    """Let a service's application fail, or its figures come late; or work again."""
    p = parameters.load(environment)
    if service not in p.services:
        raise ParametersError(
            f"service: no {service!r}; expected one of {', '.join(p.services)}"
        )
    inject(
        p,
        service,
        error_rate=error_rate,
        latency_ms=latency_ms,
        crash=crash,
        data_delay_seconds=data_delay_seconds,
    )
    words = f"{service}: error rate {error_rate:g}, latency {latency_ms:g} ms"
    if crash:
        words += ", crashing"
    if data_delay_seconds:
        words += f", figures {data_delay_seconds:g} s late"
    console.print(words)


def aws(latency_ms: float, throttle: float, away: float) -> None:
    """Make the local AWS slow, throttling or away."""
    mesh = supervisor.running()
    if mesh is None:
        raise TargetError("local mesh: it is not running", hint="runbook local up")
    asked = {"latency_ms": latency_ms, "throttled": throttle, "away": away}
    mesh.ask("/runbook/way", asked)
    console.print(
        f"local AWS: {latency_ms:g} ms a call, {throttle:.0%} of calls throttled, "
        f"away for {away:g} s"
    )


def tell_traffic(mesh: supervisor.LocalMesh) -> None:
    """Print what every caller sent since the local mesh came up, and what failed."""
    for name, calls in traffic_of(mesh).items():
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


def _local(found: Mapping[str, Any]) -> None:
    if found["endpoint"]:
        console.print(f"endpoint {found['endpoint']}")
        console.print(
            "the variables that an AWS SDK or CLI needs: runbook local status "
            "--json, under environment"
        )
    else:
        console.print(f"the local mesh is {found['state']}")
    if found["tasks"]:
        console.print(_tasks(found["tasks"]))
    for task in found["tasks"]:
        _tell_task(task)
    for name, made in found["traffic"].items():
        _tell_caller(name, made)


def _tasks(tasks: Sequence[Mapping[str, Any]]) -> Table:
    """Return a table with a row for each task; what is not known is a dash."""
    shown = table()
    for column in TASK_COLUMNS:
        shown.add_column("last update" if column == "update" else column, no_wrap=True)
    for task in tasks:
        pairs = [f"{port}→{own}" for port, own in task["ports"].items()]
        told = {**task, "ports": ", ".join(pairs)}
        cells = [_cell(told.get(key)) for key in TASK_COLUMNS]
        shown.add_row(*cells)
    return shown


def _cell(value: Any) -> str:
    return "–" if value in (None, "") else str(value)


def _tell_task(task: Mapping[str, Any]) -> None:
    """Print where a task's logs are, how its Envoy is asked, and what is wrong."""
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


def _tell_caller(name: str, made: Mapping[str, Any]) -> None:
    """Print a caller's rate, and its totals since the local mesh came up."""
    console.print(
        f"{name} makes {made['requests_per_second']} calls a second now, counted "
        f"in {made['file']}"
    )
    totals = [f"{made[key]:,} {key}" for key in ("sent", "answered", "failed")]
    console.print(
        f"  {', '.join(totals)}, {made['in_flight']} under way; its caller was "
        f"restarted {counted(made['restarts'], 'time')}"
    )
    if made["shed"]:
        console.print(f"  {_shed(made['shed'])}")
