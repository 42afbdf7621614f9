"""Say where an environment stands, from live state alone."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from runbook_lib import parameters, record
from runbook_lib.aws.session import Session
from runbook_lib.command.opened import say_ignored
from runbook_lib.command.options import given_for
from runbook_lib.command.screen import alarm, console, print_json, table
from runbook_lib.errors import RecordError
from runbook_lib.local import supervisor
from runbook_lib.opening import load_of, open_session, world_of
from runbook_lib.parameters import Parameters
from runbook_lib.record.place import Place, place_of
from runbook_lib.runs import approvals
from runbook_lib.shift.process import report
from runbook_lib.shift.watching import report_file, unwatched
from runbook_lib.survey import Survey, survey

STAGES = {
    "plain": "nothing divides the traffic yet",
    "routed": "all traffic is on stable, and can be divided",
    "shifting": "the canary has part of what its last step gives it",
    "shifted": "the canary has what its last step gives it",
    "retired": "the former version is removed",
}


def status(environment: str, *, as_json: bool, rehearse: bool) -> None:
    """Print where an environment stands."""
    given = given_for(rehearse)
    p = parameters.load(environment, given)
    if not as_json:
        say_ignored(p)
    named = shlex.quote(environment) + (" --rehearse" if rehearse else "")
    found: dict[str, Any] = {"environment": p.environment, "stage": "", "weights": {}}
    if p.rehearsed and not supervisor.running():
        found["stage"] = supervisor.absence()
    else:
        session = open_session({"environment": environment, "mode": "plan", **given})
        found |= _live(survey(session))
        found |= _brought(session)
    found |= _recorded(p, named)
    load = load_of(p)
    if load:
        found["load"] = load
    if as_json:
        print_json(found)
        return
    words = found.pop("unwatched", "")
    if words:
        alarm(words)
        console.print(f"Next: runbook watch {named}, or runbook rollback {named}")
    _tell(found)


def _recorded(p: Parameters, named: str) -> dict[str, Any]:
    """Return what this machine has written down: the newest run, the shift under way,
    who asks it to hold, and what was decided last.
    """
    here = place_of(p, world_of(p))
    whenever = p.rehearsed and not here.world
    newest = record.latest(p.environment, p.records, here, whenever=whenever)
    last = record.last_work(p.environment, p.records, here, whenever=whenever)
    found: dict[str, Any] = {"run": newest.id if newest else None}
    under_way = _shift_under_way(here)
    if under_way:
        found["shift"] = f"{under_way}; runbook watch {named} follows it"
    if newest:
        found |= _asked(newest)
    if last:
        found |= _last_word(last)
    return found


def _brought(session: Session) -> dict[str, str]:
    """Bring here what is kept elsewhere of the newest runs; say where that fails, for
    where things stand needs no record.
    """
    try:
        if session.store:
            record.bring(session.parameters.environment, session.store)
    except RecordError as error:
        return {"records": error.message}
    return {}


def _live(look: Survey) -> dict[str, Any]:
    """Return what stands at AWS, and whether a canary stands there unwatched."""
    look.ahead("split", "live", "running")
    retired = look.lifecycle.retired
    services = {}
    for name, running in look.running.items():
        _, _, short = running.arn.rpartition("/")
        services[name] = "retired" if name in retired else short
    return {
        "stage": look.stage,
        "weights": dict(look.split.weights),
        "unwatched": unwatched(look),
        "retired": sorted(retired),
        "services": services,
        "resources": [key for key, state in look.live.items() if state],
    }


def _shift_under_way(here: Place) -> str:
    """Say since when a shift is under way at a place, on this machine; "" for none."""
    try:
        shifter = record.shifter(here)
        if shifter is None:
            return ""
        by = f"since {shifter['since']}, process {shifter['pid']}"
        said = report.read(report_file(here))
    except RecordError:  # where nothing can be written, nothing is locked
        return ""
    if said is not None and said.stays:
        return f"its step has passed, watched {by}"
    return f"under way {by}"


def _last_word(run: record.Run) -> dict[str, str]:
    """Return what a run decided last; nothing where its record cannot be read."""
    decisions: list[Mapping[str, Any]] = []
    with suppress(RecordError):
        decisions += [line for line in run.lines() if line["event"] == "decision"]
    if not decisions:
        return {}
    last = decisions[-1]
    at = datetime.fromtimestamp(last["at"], UTC)
    what = f"{last['step']} % {last['verdict'] or last['phase']}"
    when = f"{at:%Y-%m-%d %H:%M:%S} UTC"
    return {"decided": f"{what} at {when}, run {run.id}: {last['words']}"}


def _asked(run: record.Run) -> dict[str, str]:
    """Return who asks a run to hold; nothing where its record cannot be read."""
    try:
        asked = approvals.unheeded(run)
    except RecordError:
        return {}
    if not asked:
        return {}
    return {"hold": f"asked for by {asked[-1]['by']}, not heeded yet"}


def _tell(found: Mapping[str, Any]) -> None:
    """Print what was found, a row each; nothing as a dash."""
    shown = table(title="where it stands", show_header=False)
    stage = found["stage"]
    meaning = f"{stage}: {STAGES[stage]}" if stage in STAGES else stage
    weights = {name: f"{weight} %" for name, weight in found["weights"].items()}
    readable = {**found, "stage": meaning, "weights": weights}
    for key, value in readable.items():
        shown.add_row(key, _in_lines(value) or "–")
    console.print(shown)


def _in_lines(value: Any) -> str:
    """Return a value as text: what a mapping or a list holds, a line each."""
    if isinstance(value, Mapping):
        return "\n".join(f"{key} {each}" for key, each in value.items())
    if isinstance(value, list):
        return "\n".join(value)
    return value or ""
