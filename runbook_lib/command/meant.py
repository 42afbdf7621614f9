"""Find the run that is meant: by its id, its folder's path, or an environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from runbook_lib import parameters, record
from runbook_lib.command.options import given_for
from runbook_lib.errors import ParametersError, RecordError
from runbook_lib.record.place import Place, place_of


def found_run(name: str, rehearse: bool, file: str = "") -> record.Run:
    """Return a run by its id or its folder's path, or an environment's newest: at its
    own place, or its rehearsal.

    A rehearsal is never taken for the real one. Where there is nothing else, it is
    what the name means. What is kept elsewhere of a run with an id is brought here
    where `file`, an environment or its file, says where that is.
    """
    if names_file(name):
        return _newest_of(name, rehearse)
    if name.startswith("s3://"):
        if not file:
            raise ParametersError(
                f"run: {name}: expected --file too, since a run of a bucket is read "
                "with the credentials of its environment",
                hint="--file ENV_OR_FILE, the parameters file with these records",
            )
        name = name.rstrip("/").rpartition("/")[2]
    if record.ID.fullmatch(name) and file:
        _bring(file, given_for(rehearse), only=name)
    if record.ID.fullmatch(name) or record.is_path(name):
        return record.find(name)
    return _newest_called(name, rehearse)


def names_file(name: str) -> bool:
    """Say whether a name is that of a parameters file, or its path."""
    return name.endswith((".yaml", ".yml")) or name in parameters.environments()


def _bring(named: str, given: Mapping[str, str], only: str = "") -> None:
    if parameters.load(named, given).bucket:
        from runbook_lib.command.opened import bring_runs  # loads what AWS needs

        bring_runs(named, given, only=only)


def found_work(name: str, rehearse: bool, file: str = "") -> record.Run:
    """Return a run as `found_run` does; for an environment's name its newest there that
    changed or decided anything.
    """
    this = found_run(name, rehearse, file)
    if Path(name).name == this.id:
        return this
    return record.last_work(this.environment, None, this.place) or this


def _newest_of(named: str, rehearse: bool) -> record.Run:
    """Return the newest run at the place that a parameters file names now."""
    p = parameters.load(named)
    local = parameters.load(named, {"target": "local"})
    _bring(named, given_for(rehearse))
    for each in [local] if rehearse else [p, local]:
        found = record.latest(
            each.environment, each.records, place_of(each), whenever=True
        )
        if found:
            return found
    raise _nothing_recorded(named, p, rehearse)


def _nothing_recorded(
    named: str, p: parameters.Parameters, rehearse: bool
) -> ParametersError:
    others = [run.id for run in record.called(p.environment)]
    words = f"; of other places: {', '.join(others[:5])}" if others else ""
    what = f"nothing of {place_of(p)}"
    again = f"runbook run {named} --mode apply"
    if rehearse:
        what = f"no rehearsal of {named}"
        again = f"runbook run {named} --rehearse"
    here = "runbook runs lists what is recorded on this machine"
    return ParametersError(
        f"run: {what} is recorded{words}", hint=f"{here}; {again} begins a run"
    )


def _newest_called(environment: str, rehearse: bool) -> record.Run:
    """Return the newest run of an environment whose file is elsewhere; refuse to
    choose between places.
    """
    every = list(record.runs(environment))
    runs = [run for run in every if is_rehearsal(run) == rehearse]
    if not runs and not rehearse:
        runs = every
    if not runs:
        what = "no rehearsal" if rehearse else "nothing"
        raise ParametersError(
            f"run: {what} is recorded under {environment!r}", hint="runbook runs"
        )
    _require_one_site(environment, runs)
    return runs[0]


def _require_one_site(environment: str, runs: Sequence[record.Run]) -> None:
    """Raise ParametersError where runs, the newest first, are of several places."""
    newest: dict[Place | None, str] = {}
    for run in runs:
        site = run.place.site if run.place else None
        newest.setdefault(site, run.id)
    if len(newest) == 1:
        return
    lines = [f"run: {environment} is the name of several places:"]
    for site, name in newest.items():
        lines.append(f"- {name}: {site or 'of a former format'}")
    raise ParametersError(
        "\n".join(lines), hint="name a run by its id, as one of these"
    )


def is_rehearsal(run: record.Run) -> bool:
    """Say whether a run was of the local mesh."""
    with suppress(RecordError):
        return run.opened.get("target") == "local"
    return False
