"""Find the run that is meant: by its id, its folder's path, or an environment."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from runbook_lib import parameters, record
from runbook_lib.errors import ParametersError, RecordError
from runbook_lib.record.place import place_of


def found_run(name: str, rehearse: bool) -> record.Run:
    """Return a run by its id or its folder's path, or an environment's newest: at its
    own place, or its rehearsal.

    A rehearsal is never taken for the real one. Where there is nothing else, it is
    what the name means.
    """
    if name.endswith((".yaml", ".yml")) or name in parameters.environments():
        return _newest_of(name, rehearse)
    if record.ID.fullmatch(name) or record.is_path(name):
        return record.find(name)
    return _newest_called(name, rehearse)


def found_work(name: str, rehearse: bool) -> record.Run:
    """Return a run as `found_run` does; for an environment's name its newest there that
    changed or decided anything.
    """
    this = found_run(name, rehearse)
    if Path(name).name == this.id:
        return this
    return record.last_work(this.environment, None, this.place) or this


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
    here = "runbook runs lists what is recorded on this machine"
    again = f"runbook run {named}{' --rehearse' if rehearse else ' --mode apply'}"
    raise ParametersError(
        f"run: {what} is recorded{words}", hint=f"{here}; {again} begins a run"
    )


def _newest_called(environment: str, rehearse: bool) -> record.Run:
    """Return the newest run of an environment whose file is elsewhere; refuse to
    choose between places.
    """
    runs = [
        run for run in record.runs(environment) if not rehearse or is_rehearsal(run)
    ]
    runs = [run for run in runs if not is_rehearsal(run)] or runs
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


def is_rehearsal(run: record.Run) -> bool:
    """Say whether a run was of the local mesh."""
    with suppress(RecordError):
        return run.opened.get("target") == "local"
    return False
