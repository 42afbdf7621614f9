"""Keep two runs from changing the same thing at once, and say who is at work."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from runbook_lib.errors import LockError
from runbook_lib.private import private_folder, replace_privately
from runbook_lib.record import chain
from runbook_lib.record.paths import local_state, user_state, writing
from runbook_lib.record.run import Run
from runbook_lib.redaction import redacted


@contextmanager
def held(run: Run, lock: FileLock, who: str) -> Iterator[None]:
    """Keep every other run of this user on this machine from changing the
    same thing meanwhile.

    Raises LockError where one does. The system lets go of a dead holder's lock by
    itself. A live one is passed only by naming its run (RUNBOOK_TAKE_OVER), or by being
    part of it (RUNBOOK_HOLDER, which `unattended` gives its kernels). Other users and
    machines are not seen here: against them stands the version check of each write.
    """
    passed = {os.environ.get("RUNBOOK_HOLDER"), os.environ.get("RUNBOOK_TAKE_OVER")} - {
        None
    }
    outermost = not lock.is_locked
    try:
        with writing(Path(lock.lock_file).parent, but=Timeout):
            lock.acquire(timeout=0)
    except Timeout:
        found = _noted(lock)
        if found.get("run") in passed:
            yield
            return
        raise LockError(
            f"{run.environment}: {found.get('who', 'somebody')} is at work here "
            f"since {found.get('since', '?')}, "
            f"run {found.get('run', '?')}, pid {found.get('pid', '?')} on "
            f"{found.get('host', '?')}",
            hint="wait, or take over by naming it: --take-over "
            f"{found.get('run', 'RUN')}",
        ) from None
    try:
        if outermost:
            with writing(Path(lock.lock_file).parent):
                _write_note(lock, run, who)
        yield
    finally:
        if outermost:
            # its folder may be gone; whoever looks at it looks at the lock too
            with suppress(OSError):
                _note(lock).unlink(missing_ok=True)
        lock.release()


def holder(run: Run) -> dict[str, Any] | None:
    """Return who changes what this run is about just now: `run`, `who`, `since`, `pid`,
    `host`; None where nobody does.

    It may be another run than this one. The lock is not kept, and not even tried where
    nobody left a note.
    """
    lock = lock_of(run)
    if not _note(lock).is_file():
        return None
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return _noted(lock)
    lock.release()
    return None


def lock_of(run: Run) -> FileLock:
    """Return the lock of what a run is about; one that is held may be acquired
    again by its holder.

    It is one for each place, whatever the checkout: that of a place on AWS is in this
    user's own folder, that of a local mesh beside what the mesh keeps. Its name is of
    one length, however long the place's names are.
    """
    place = run.place
    key = (
        place.key
        if place
        else f"unplaced-{chain.digest(str(run.folder.parent).encode())[:16]}"
    )
    folder = local_state() if place is None or place.target == "local" else user_state()
    file = folder / "locks" / f"{key}.lock"
    with writing(file.parent):
        private_folder(file.parent)
    return FileLock(file, thread_local=False, mode=0o600)


def _note(lock: FileLock) -> Path:
    return Path(lock.lock_file).with_suffix(".holder.json")


def _write_note(lock: FileLock, run: Run, who: str) -> None:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    said = {
        "run": run.id,
        "who": who,
        "since": since,
        "pid": os.getpid(),
        "host": socket.gethostname(),
    }
    with writing(Path(lock.lock_file).parent):
        replace_privately(_note(lock), json.dumps(redacted(said)))


def _noted(lock: FileLock) -> dict[str, Any]:
    try:
        said = json.loads(_note(lock).read_bytes())
    except (OSError, ValueError):
        return {}
    return dict(said) if isinstance(said, dict) else {}
