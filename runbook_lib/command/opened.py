"""Open what a command is about: an environment as it is given, or as a run had it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runbook_lib import parameters, record
from runbook_lib.aws.session import Session
from runbook_lib.command.options import given_for
from runbook_lib.command.screen import console
from runbook_lib.errors import ParametersError, TargetError
from runbook_lib.local import supervisor
from runbook_lib.opening import ignored, open_session, world_of
from runbook_lib.parameters import Parameters
from runbook_lib.record.place import Place, place_of


def session_of(what: str, run: record.Run, mode: str, named: str = "") -> Session:
    """Open the environment a run was about, as it was given then; refuse where that is
    another place now.

    Where its file is not on this machine, `named` is the same one here. What a store
    has of the run is here then.
    """
    run.require_whole(what)
    opened = run.opened
    file = opened["file"]
    if named and not parameters.is_here(file):
        file = named
    given = {**opened["given"], "environment": file, "mode": mode}
    p = parameters.load(file, given)
    _require_place(what, run, place_of(p, world_of(p)), file)
    say_ignored(p)
    session = open_session(given, "command")
    _require_place(what, run, session.place, file)
    if session.store:
        record.bring(run.environment, session.store, only=run.id)
    return session


def bring_runs(named: str, given: Mapping[str, Any], **which: Any) -> str:
    """Bring here what is kept elsewhere of the runs of an environment, by its name or
    file; return where that is, "" where nothing is. `which` are those of
    `record.bring`.
    """
    p = parameters.load(named, given)
    if not p.bucket or (p.rehearsed and not supervisor.running()):
        return ""
    session = open_session({**given, "environment": named, "mode": "plan"}, "command")
    if session.store is None:
        return ""
    record.bring(p.environment, session.store, **which)
    return session.store.where


def _require_place(what: str, run: record.Run, here: Place, file: str) -> None:
    own = run.place
    if own is None or here.has(own):
        return
    if here.site == own.site:
        now = "none runs now"
        if here.world:
            now = f"another one runs now, {here.world}"
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


def given_at_work(what: str, environment: str, rehearse: bool) -> dict[str, str]:
    """Return what is given beside the file; refuse where it is about a local mesh that
    does not run.
    """
    given = given_for(rehearse)
    p = parameters.load(environment, given)
    if p.rehearsed and not supervisor.running():
        again = environment + (" --rehearse" if rehearse else "")
        raise ParametersError(
            f"{what}: {p.environment} is on the local mesh, which is "
            f"{supervisor.absence()}",
            hint=f"nothing runs there; `runbook run {again}` starts it",
        )
    return given


def say_ignored(p: Parameters) -> None:
    """Name the settings that would lead calls elsewhere than to
    AWS, if there are any.
    """
    words = ignored(p)
    if words:
        console.print(words, style="bold")
