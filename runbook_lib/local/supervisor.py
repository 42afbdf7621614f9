"""Run the local mesh as one background process per state folder, and find it again.

This alone starts and stops that process. It binds 127.0.0.1 only, and ends by itself after an hour unused.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from runbook_lib.errors import TargetError

__all__ = [
    "AGAIN",
    "GONE",
    "LocalMesh",
    "absence",
    "down",
    "ended",
    "ensure",
    "find",
    "running",
    "serve",
    "state_folder",
]

IDLE_SECONDS = 3600.0
UP_SECONDS = 60.0
GONE = "its process is gone, and the rehearsal ended with it"
AGAIN = "start again with notebook 00, or `runbook run`; the record of what was done is kept"
SLOW_SECONDS = 20.0  # in which a process that is there must answer: a busy machine is not a dead rehearsal


@dataclass(frozen=True, slots=True)
class LocalMesh:
    """The running process: where it answers, its pid, and a name that no other one has."""

    endpoint: str
    pid: int
    id: str
    folder: Path

    def ask(self, path: str, body: Any = None, *, timeout: float = 5.0) -> Any:
        """Return what the process answers on one of its own paths; TargetError where it does not in `timeout` s."""
        data = None if body is None else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(self.endpoint + path, data=data, timeout=timeout) as answer:
                return json.loads(answer.read())
        except (OSError, ValueError) as error:
            if not _exists(self.pid):
                raise TargetError(f"the local mesh: {GONE}", hint=AGAIN) from error
            where, log = f"the local mesh at {self.endpoint}{path}", self.folder / "supervisor.log"
            raise TargetError(f"{where}: no answer: {error}", hint=f"its process {self.pid} writes {log}") from error


def state_folder() -> Path:
    """Return the folder the process keeps its state in: RUNBOOK_STATE, or the checkout's `.runbook`."""
    return Path(os.environ.get("RUNBOOK_STATE") or Path(__file__).resolve().parents[2] / ".runbook")


def find(folder: Path | None = None) -> LocalMesh | None:
    """Return the process that is said to run for a state folder, whether it still does or not."""
    folder = folder or state_folder()
    try:
        found = json.loads((folder / "endpoint.json").read_text())
    except FileNotFoundError:
        return None
    return LocalMesh(found["endpoint"], found["pid"], found["id"], folder)


def running(folder: Path | None = None) -> LocalMesh | None:
    """Return the process of a state folder if it answers."""
    mesh = find(folder)
    return mesh if mesh and _alive(mesh) else None


def ensure() -> LocalMesh:
    """Return the running process, starting it where there is none.

    Raises TargetError once where one was running and is gone: what was rehearsed is gone with it.
    """
    folder = state_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock", timeout=UP_SECONDS):
        mesh = find(folder)
        if mesh is None:
            return _start(folder)
        if _until(lambda: _alive(mesh) or not _exists(mesh.pid), SLOW_SECONDS) and _alive(mesh):
            return mesh
        _forget(folder)
    raise TargetError(f"the local mesh: {GONE}", hint=AGAIN)


def ended(mesh: LocalMesh) -> bool:
    """Say whether a process has ended by itself; whoever asks tells it, and the next command starts anew."""
    if _exists(mesh.pid):
        return False
    if find(mesh.folder) == mesh:
        _forget(mesh.folder)
    return True


def absence() -> str:
    """Return in words why no process answers; that one has ended with its rehearsal is said once."""
    mesh = find()
    if mesh is None:
        return "not running"
    return f"not running: {GONE}" if ended(mesh) else "not answering"


def down(folder: Path | None = None) -> bool:
    """Stop the process of a state folder and wait until it is gone; return whether there was one.

    One that does not answer is stopped as well, by force where need be; TargetError where it stays all the same.
    """
    mesh = find(folder)
    if mesh is None:
        return False
    there = _alive(mesh) or str(mesh.folder) in _command(mesh.pid)
    if there and not any(_ended(mesh.pid, *how) for how in ((signal.SIGTERM, 15), (signal.SIGKILL, 5))):
        raise TargetError(f"the local mesh: its process {mesh.pid} does not end", hint="end it, then say `down` again")
    _forget(mesh.folder)
    return there


def _ended(pid: int, number: signal.Signals, seconds: float) -> bool:
    if _exists(pid):
        os.kill(pid, number)
    return _until(lambda: not _exists(pid), seconds)


def _command(pid: int) -> str:
    """Return the command line of a process, empty where there is none: a pid may be somebody else's by now."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except FileNotFoundError:  # no such process, or no /proc
        asked = ["ps", "-ww", "-o", "command=", "-p", str(pid)]
        return subprocess.run(asked, capture_output=True, text=True, check=False).stdout


def _alive(mesh: LocalMesh) -> bool:
    try:
        return bool(mesh.ask("/runbook/id")["id"] == mesh.id)
    except TargetError:
        return False


def _exists(pid: int) -> bool:
    """Say whether a process goes on; one that has ended and waits for its parent to notice has no command any more."""
    with suppress(ChildProcessError):  # not ours to reap
        os.waitpid(pid, os.WNOHANG)
    return _command(pid).strip() not in ("", "<defunct>")


def _forget(folder: Path) -> None:
    for name in ("endpoint.json", "worlds.json"):
        (folder / name).unlink(missing_ok=True)


def _until(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < end:
        time.sleep(0.02)
    return met


def _start(folder: Path) -> LocalMesh:
    with (folder / "supervisor.log").open("ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "runbook_lib.local", str(folder)],
            cwd=Path(__file__).resolve().parents[2],
            env={**os.environ, "RUNBOOK_PROCESS": "local mesh"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    if not _until(lambda: child.poll() is not None or find(folder) is not None, UP_SECONDS) or child.poll() is not None:
        raise TargetError("the local mesh did not start", hint=f"see {folder.name}/supervisor.log")
    child.returncode = 0  # it is meant to outlive us: no warning about a child still running
    mesh = find(folder)
    assert mesh is not None
    return mesh


def serve(folder: Path) -> None:
    """Serve the local mesh until told to stop, or until nobody has used it for an hour."""
    from werkzeug.serving import make_server

    from runbook_lib.local.rehearsal import Rehearsal

    guard = _guard()
    rehearsal = Rehearsal(folder, secrets.token_hex(8), data_plane=os.environ.get("RUNBOOK_LOCAL") != "control-plane")
    server = make_server("127.0.0.1", 0, rehearsal, threaded=True)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    threading.Thread(target=server.serve_forever, daemon=True).start()
    rehearsal.run(stop)
    mesh = LocalMesh(f"http://127.0.0.1:{server.server_port}", os.getpid(), rehearsal.id, folder)
    part = folder / ".endpoint.json"
    part.write_text(json.dumps(asdict(mesh), default=str))
    part.replace(folder / "endpoint.json")
    while not stop.wait(0.2) and time.monotonic() - rehearsal.last < IDLE_SECONDS:
        pass
    stop.set()
    _forget(folder)
    rehearsal.end()
    guard.kill()
    guard.wait()


def _guard() -> subprocess.Popen[bytes]:
    """Start what outlives a killed supervisor just long enough to end its children.

    They are all of the supervisor's process group; the guard, of another, reads a pipe that only the
    supervisor holds, and kills the group when it closes.
    """
    script = f"cat >/dev/null; kill -s KILL -- -{os.getpgrp()}"  # dash, too, takes a group only so
    return subprocess.Popen(["/bin/sh", "-c", script], stdin=subprocess.PIPE, process_group=0)
