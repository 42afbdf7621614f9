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
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from runbook_lib.errors import TargetError

__all__ = ["LocalMesh", "down", "ensure", "find", "serve", "state_folder"]

IDLE_SECONDS = 3600.0
UP_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class LocalMesh:
    """The running process: where it answers, its pid, and a name that no other one has."""

    endpoint: str
    pid: int
    id: str
    folder: Path

    def get(self, path: str) -> Any:
        """Return what the process answers on one of its own paths."""
        with urllib.request.urlopen(self.endpoint + path, timeout=5) as answer:
            return json.loads(answer.read())


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
        if _alive(mesh):
            return mesh
        _forget(folder)
    raise TargetError(
        "the local mesh: its process is gone, and the rehearsal ended with it",
        hint="start again: `runbook run local`, or notebook 00; the record of what was done is still in runs/",
    )


def down(folder: Path | None = None) -> bool:
    """Stop the process of a state folder and wait until it is gone; return whether there was one."""
    mesh = find(folder)
    if mesh is None:
        return False
    running = _alive(mesh)
    if running:
        os.kill(mesh.pid, signal.SIGTERM)
        _until(lambda: not _exists(mesh.pid), 15)
    _forget(mesh.folder)
    return running


def _alive(mesh: LocalMesh) -> bool:
    try:
        return bool(mesh.get("/runbook/id")["id"] == mesh.id)
    except (OSError, ValueError):
        return False


def _exists(pid: int) -> bool:
    try:
        if os.waitpid(pid, os.WNOHANG)[0] == pid:  # ours: reap it
            return False
    except ChildProcessError:
        pass
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


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


class _Used:
    """A WSGI application that answers for its identity and remembers when it was last used."""

    def __init__(self, inner: Any, id: str) -> None:
        self.inner, self.id, self.last = inner, id, time.monotonic()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        self.last = time.monotonic()
        if environ["PATH_INFO"] != "/runbook/id":
            answer: Iterable[bytes] = self.inner(environ, start_response)
            return answer
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps({"id": self.id}).encode()]


def serve(folder: Path) -> None:
    """Serve the control plane until told to stop, or until nobody has used it for an hour."""
    from werkzeug.serving import make_server

    from runbook_lib.local import control_plane

    used = _Used(control_plane.application(), secrets.token_hex(8))
    server = make_server("127.0.0.1", 0, used, threaded=True)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    for work in (server.serve_forever, lambda: control_plane.converge(stop)):
        threading.Thread(target=work, daemon=True).start()
    mesh = LocalMesh(f"http://127.0.0.1:{server.server_port}", os.getpid(), used.id, folder)
    part = folder / ".endpoint.json"
    part.write_text(json.dumps(asdict(mesh), default=str))
    part.replace(folder / "endpoint.json")
    while not stop.wait(0.2) and time.monotonic() - used.last < IDLE_SECONDS:
        pass
    _forget(folder)
