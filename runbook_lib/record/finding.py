"""Begin, join and find runs in the folders they are kept in."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runbook_lib.errors import CallError, ParametersError, RecordError
from runbook_lib.private import private_folder
from runbook_lib.record import chain
from runbook_lib.record.copies import Copy
from runbook_lib.record.paths import base_of, root, writing
from runbook_lib.record.place import Place
from runbook_lib.record.run import Run
from runbook_lib.record.store import Store
from runbook_lib.shipped import VERSION

ID = re.compile(r"\d{4}-\d\d-\d\dT\d{6}\.\d{6}Z-[0-9a-f]{6}")


NEWEST = 10  # runs of an environment that are brought from a store


def start(
    environment: str,
    base: str | None = None,
    place: Place | None = None,
    *,
    store: Store | None = None,
    **opened: Any,
) -> Run:
    """Create a run's folder, and point `latest` at it; `opened` goes into the
    journal's first line.

    Raises RecordError where that cannot be done, or a `store` does not take that line:
    then no folder is left.
    """
    name = f"{datetime.now(UTC):%Y-%m-%dT%H%M%S.%fZ}-{secrets.token_hex(3)}"
    folder = base_of(base) / environment / name
    with writing(folder):
        private_folder(folder)
        # a run kept elsewhere is found by its id too
        if base_of(base).resolve() != root().resolve():
            private_folder(root() / environment)
            (root() / environment / name).symlink_to(folder.resolve())
        _point_at(folder)
    run = Run(folder)
    said = {
        "version": VERSION,
        "environment": environment,
        "mode": "apply",
        "place": asdict(place) if place else None,
    }
    run.write("opened", **{"format": chain.FORMAT, **said, **opened})
    run = with_copy(run, store)
    try:
        run.require_stored()
    except RecordError:
        shutil.rmtree(folder, ignore_errors=True)
        (folder.parent / "latest").unlink(missing_ok=True)
        raise
    return run


def with_copy(run: Run, store: Store | None) -> Run:
    """Return a run with its copy in a store, if there is one."""
    if store is None:
        return run
    name = f"{run.environment}/{run.id}"
    return replace(run, copy=Copy(store, name, run.folder))


def bring(
    environment: str,
    store: Store,
    base: str | None = None,
    *,
    newest: int | None = NEWEST,
    only: str = "",
    anew: bool = False,
) -> None:
    """Bring an environment's runs here from a store: the newest, all (None), or
    the one with an id; `anew` as `Copy.bring` has it.

    Raises RecordError where it cannot be read.
    """
    try:
        there = store.folders(environment)
    except CallError as error:
        raise RecordError(
            f"{store.where} cannot be read: {error.message}", hint=error.hint
        ) from error
    ids = sorted((name for name in there if ID.fullmatch(name)), reverse=True)
    for name in ids[:newest] if not only else {only} & {*ids}:
        folder = base_of(base) / environment / name
        Copy(store, f"{environment}/{name}", folder).bring(anew=anew)


def _point_at(folder: Path) -> None:
    """Let `latest` name a run; where somebody put a folder there it stays, since
    nothing depends on the pointer.
    """
    link = folder.parent / f".latest-{folder.name}"
    link.symlink_to(folder.name)
    try:
        link.replace(folder.parent / "latest")
    except IsADirectoryError:
        link.unlink()


def latest(
    environment: str,
    base: str | None = None,
    place: Place | None = None,
    *,
    whenever: bool = False,
) -> Run | None:
    """Return an environment's newest run that applies (of `place`, where one is
    said), if it has one.
    """
    return next(runs(environment, base, place, whenever=whenever), None)


def last_work(
    environment: str,
    base: str | None = None,
    place: Place | None = None,
    *,
    whenever: bool = False,
) -> Run | None:
    """Return an environment's newest run, as `latest` does, that changed or decided
    anything.
    """
    found = runs(environment, base, place, whenever=whenever)
    return next((run for run in found if run.worked), None)


def runs(
    environment: str,
    base: str | None = None,
    place: Place | None = None,
    *,
    whenever: bool = False,
) -> Iterator[Run]:
    """Yield an environment's runs that apply, the newest first; of one place
    where that is said.

    With `whenever` a run of a local mesh that is gone is of that place too. What has no
    readable record is passed over.
    """
    for run in _every(base_of(base) / environment):
        with suppress(RecordError):
            if run.opened.get("mode") == "apply" and (
                place is None or _is_of(run, place, whenever)
            ):
                yield run


def _is_of(run: Run, place: Place, whenever: bool) -> bool:
    own = run.place
    return own is not None and place.has(own.site if whenever else own)


def _every(folder: Path) -> list[Run]:
    """Return every run in an environment's folder, the newest first."""
    paths = sorted(
        (path for path in _inside(folder) if ID.fullmatch(path.name)), reverse=True
    )
    return [Run(path.readlink() if path.is_symlink() else path) for path in paths]


def _inside(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def open_or_join(
    environment: str,
    base: str | None = None,
    place: Place | None = None,
    *,
    about: Collection[str] = (),
    store: Store | None = None,
    **opened: Any,
) -> Run:
    """Return the run that is `under_way` in a place, or a new one where the last there
    has ended.
    """
    run = under_way(environment, base, place, about=about, store=store)
    return run or start(environment, base, place, store=store, **opened)


def under_way(
    environment: str,
    base: str | None = None,
    place: Place | None = None,
    *,
    about: Collection[str] = (),
    store: Store | None = None,
) -> Run | None:
    """Return the run that is under way in a place; None where the last there has ended.

    It has also ended where it moved traffic between other services than
    those it is `about`, and where it was recorded in a former format. What a `store`
    has of the environment is looked at too.
    """
    if store:
        bring(environment, store, base)
    run = latest(environment, base, place)
    if run is None or not run.is_readable() or run.closed:
        return None
    if run.is_of_another_shift(about):
        return None
    return with_copy(run, store)


def find(run: str, base: str | None = None) -> Run:
    """Return a run by its id, or its folder's path; raise ParametersError where there
    is none, or several.

    A name is exact, and a folder is taken only as a path: with a separator in it,
    or a dot before it.
    """
    if is_path(run):
        if not Run(Path(run)).file.exists():
            raise ParametersError(
                f"run: there is no record in {run}", hint="runbook runs"
            )
        return Run(Path(run).resolve())
    hits = {
        path.resolve()
        for folder in _inside(base_of(base))
        for path in _inside(folder)
        if path.name == run
    }
    hits = {path for path in hits if ID.fullmatch(run)}
    if len(hits) == 1:
        return Run(hits.pop())
    if hits:
        found = ", ".join(str(path) for path in sorted(hits))
        raise ParametersError(
            f"run: {run} is there several times: {found}",
            hint="name one by its folder's path",
        )
    raise ParametersError(
        f"run: nothing is recorded under {run!r} in {base_of(base).name}/",
        hint="runbook runs",
    )


def environments(base: str | None = None) -> list[str]:
    """Return the names under which runs are recorded."""
    return sorted(
        folder.name
        for folder in _inside(base_of(base))
        if folder.is_dir() and _every(folder)
    )


def called(environment: str, base: str | None = None) -> list[Run]:
    """Return every run recorded under exactly this environment's
    name, the newest first.
    """
    exact = [
        folder
        for folder in _inside(base_of(base))
        if folder.name == environment and not folder.is_symlink()
    ]
    return [run for folder in exact for run in _every(folder)]


def is_path(name: str) -> bool:
    """Say whether a name is a path: it has a separator in it, or begins with a dot."""
    return os.sep in name or name.startswith(".")
