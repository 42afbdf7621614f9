"""Keep two runs from changing the same thing at once, and say who is at work."""

from __future__ import annotations

import fcntl
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
from runbook_lib.record.paths import local_state, writing
from runbook_lib.record.place import Place
from runbook_lib.record.run import Run
from runbook_lib.redaction import redacted
from runbook_lib.shipped import user_state

SHIFT_PATIENCE_SECONDS = 5.0  # somebody may look for a moment whether a lock is held


@contextmanager
def held(
    run: Run,
    lock: FileLock,
    who: str,
    *,
    shift: FileLock | None = None,
    beside_shift: bool = False,
) -> Iterator[None]:
    """Keep every other run of this user on this machine from changing the
    same thing meanwhile.

    Raises LockError where one does. The system lets go of a dead holder's lock by
    itself. A live one is passed only by naming its run (RUNBOOK_TAKE_OVER), or by being
    part of it (RUNBOOK_HOLDER, which `unattended` gives its kernels). Other users and
    machines are not seen here: against them stands the version check of each write.

    A shift under way keeps out whoever does not hold its lock (`shift`) himself;
    `beside_shift` lets in who follows a shift of this very run.
    """
    shifting = shift is not None and shift.is_locked
    passed = _named_by_environment() | ({run.id} if shifting else set())
    outermost = not lock.is_locked
    if not _acquired(lock):
        found = _noted(lock)
        if found.get("run") in passed:
            if not shifting:
                _require_no_shift_beside(run, beside=beside_shift)
            yield
            return
        # Whoever is kept out by the shift holds it for a moment, until he knows.
        if not (shifting and _acquired(lock, SHIFT_PATIENCE_SECONDS)):
            raise _busy(run.environment, found, _how_to_take_over(found))
    try:
        if not shifting:
            _require_no_shift_beside(run, beside=beside_shift)
        if outermost:
            with writing(Path(lock.lock_file).parent):
                _write_note(lock, run, who)
        yield
    finally:
        if outermost:
            _forget_note(lock)
        lock.release()


@contextmanager
def shifting(run: Run, lock: FileLock, who: str) -> Iterator[None]:
    """Keep everybody else from shifting traffic at the run's place meanwhile.

    Raises LockError where somebody does: whoever wants the same shift follows it.
    """
    if not _acquired(lock):
        found = _noted(lock)
        raise _busy(run.environment, found, _how_to_end_a_shift(found))
    try:
        with writing(Path(lock.lock_file).parent):
            _write_note(lock, run, who)
        yield
    finally:
        _forget_note(lock)
        lock.release()


def require_free(environment: str, place: Place) -> None:
    """Raise LockError where somebody is at work at a place, before a run of an
    environment is begun there: it would be refused by `held`, and leave its folder.
    """
    found = _holder_of(_lock_at(place))
    if found and found.get("run") not in _named_by_environment():
        raise _busy(environment, found, _how_to_take_over(found))
    _require_no_shift(environment, place)


def holder(run: Run) -> dict[str, Any] | None:
    """Return who changes what this run is about just now: `run`, `who`, `since`, `pid`,
    `host`; None where nobody does.

    It may be another run than this one. The lock is not kept, and not even tried where
    nobody left a note.
    """
    place = run.place
    return (shifter(place) if place else None) or _holder_of(lock_of(run))


def shifter(place: Place) -> dict[str, Any] | None:
    """Return who shifts traffic at a place just now, as `holder` does; None for nobody.

    It is whoever watches the canary there.
    """
    return _holder_of(shift_lock_of(place))


def executor(run: Run) -> dict[str, Any] | None:
    """Return who executes notebooks at the run's place, or applies there by hand."""
    return _holder_of(lock_of(run))


def is_held(lock: FileLock) -> bool:
    """Say whether a lock is held, with or without a note; several may ask at once."""
    try:
        file = os.open(lock.lock_file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def lock_of(run: Run) -> FileLock:
    """Return the lock of what a run is about; one that is held may be acquired
    again by its holder.

    It is one for each place, whatever the checkout: that of a place on AWS is in this
    user's own folder, that of a local mesh beside what the mesh keeps. Its name is of
    one length, however long the place's names are.
    """
    if place := run.place:
        return _lock_at(place)
    folder = chain.digest(str(run.folder.parent).encode())[:16]
    return _lock(locks_of(None) / f"unplaced-{folder}.lock")


def shift_lock_of(place: Place) -> FileLock:
    """Return the lock that whoever shifts traffic at a place holds all the while.

    It is another one than `lock_of` gives: a shift goes on when the run that began it
    is gone, and outlasts whoever executes notebooks.
    """
    return _lock(locks_of(place) / f"{place.key}.shift.lock")


def locks_of(place: Place | None) -> Path:
    """Return the folder of a place's locks, for its owner alone."""
    local = place is None or place.target == "local"
    folder = (local_state() if local else user_state()) / "locks"
    with writing(folder):
        return private_folder(folder)


def _lock_at(place: Place) -> FileLock:
    return _lock(locks_of(place) / f"{place.key}.lock")


def _lock(file: Path) -> FileLock:
    return FileLock(file, thread_local=False, mode=0o600)


def _acquired(lock: FileLock, timeout: float = 0) -> bool:
    with writing(Path(lock.lock_file).parent, but=Timeout):
        try:
            lock.acquire(timeout=timeout)
        except Timeout:
            return False
    return True


def _holder_of(lock: FileLock) -> dict[str, Any] | None:
    return _noted(lock) if _note(lock).is_file() and is_held(lock) else None


def _require_no_shift_beside(run: Run, *, beside: bool) -> None:
    """Raise LockError where a shift is under way at the run's place; one of this very
    run is let pass where it may stand `beside`.
    """
    if run.place:
        _require_no_shift(run.environment, run.place, but=run.id if beside else None)


def _require_no_shift(
    environment: str, place: Place, *, but: str | None = None
) -> None:
    found = shifter(place)
    passed = {os.environ.get("RUNBOOK_TAKE_OVER"), but} - {None}
    if found and found.get("run") not in passed:
        raise _busy(environment, found, _how_to_end_a_shift(found))


def _named_by_environment() -> set[str | None]:
    """Return the runs whose lock is passed: named by who executes this, or by hand."""
    named = {os.environ.get("RUNBOOK_HOLDER"), os.environ.get("RUNBOOK_TAKE_OVER")}
    return named - {None}


def _how_to_take_over(found: dict[str, Any]) -> str:
    return f"wait, or take over by naming it: --take-over {found.get('run')}"


def _how_to_end_a_shift(found: dict[str, Any]) -> str:
    run = found.get("run", "RUN")
    return f"it shifts traffic: wait for its end, or `runbook hold {run}` holds it"


def _busy(environment: str, found: dict[str, Any], hint: str) -> LockError:
    who = f"{found.get('who', 'somebody')} is at work here"
    since = f"since {found.get('since', '?')}, run {found.get('run', '?')}"
    where = f"pid {found.get('pid', '?')} on {found.get('host', '?')}"
    return LockError(f"{environment}: {who} {since}, {where}", hint=hint)


def _forget_note(lock: FileLock) -> None:
    # its folder may be gone; whoever looks at it looks at the lock too
    with suppress(OSError):
        _note(lock).unlink(missing_ok=True)


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
