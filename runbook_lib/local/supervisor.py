"""Run the local mesh as one background process per state folder, and find it again.

This alone starts and stops that process. It binds 127.0.0.1 only, lets in only who can
read its state folder, and ends by itself after an hour unused.
"""

from __future__ import annotations

import http.client
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from runbook_lib.errors import TargetError
from runbook_lib.local.keys import KEY_HEADER, new_key
from runbook_lib.local.sockets import socket_folder
from runbook_lib.private import UMASK, private_folder, private_opener, replace_privately
from runbook_lib.shipped import home

__all__ = [
    "AGAIN",
    "GONE",
    "LocalMesh",
    "absence",
    "down",
    "ended",
    "ensure",
    "find",
    "is_there",
    "running",
    "serve",
    "state_folder",
    "there",
]

NOTE, LOG, LOCK = "endpoint.json", "supervisor.log", "lock"
LOCKS = "locks"  # of runs, one of which may begin before its local mesh does
IDLE_SECONDS = 3600.0
UP_SECONDS = 60.0
GONE = "its process is gone, and the rehearsal ended with it"
AGAIN = (
    "start again with notebook 00, or `runbook run`; the record of what "
    "was done is kept"
)
WAIT = "run again in a moment, or end it: `runbook local down`"
ELSEWHERE = "name another by RUNBOOK_STATE, which need not exist yet"
# whatever proxy is set: it is this machine
DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))
ANSWER_SECONDS = 5.0
# in which a process that is there must answer: a busy machine is not a dead rehearsal
SLOW_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class LocalMesh:
    """The running process: where it answers, its pid, a name that no other one has,
    and the key to it.
    """

    endpoint: str
    pid: int
    id: str
    folder: Path
    key: str = field(default="", repr=False)

    def ask(self, path: str, body: Any = None, *, timeout: float = 0.0) -> Any:
        """Return what the process answers on one of its own paths; TargetError
        where it does not in time.

        That is in ANSWER_SECONDS, or in `timeout` where more is needed.
        """
        data = None if body is None else json.dumps(body).encode()
        try:
            request = urllib.request.Request(
                self.endpoint + path, data, {KEY_HEADER: self.key}
            )
            with DIRECTLY.open(request, timeout=timeout or ANSWER_SECONDS) as answer:
                return json.loads(answer.read())
        except (OSError, ValueError, http.client.HTTPException) as error:
            if not is_there(self):
                raise TargetError(f"the local mesh: {GONE}", hint=AGAIN) from error
            where = f"the local mesh at {self.endpoint}{path}"
            raise TargetError(
                f"{where}: no answer: {error}; {self.goes_on}", hint=WAIT
            ) from error

    @property
    def goes_on(self) -> str:
        """Its process and where that writes, in words."""
        return f"its process {self.pid} goes on and writes to {self.folder / LOG}"


def state_folder() -> Path:
    """Return the folder the process keeps its state in: RUNBOOK_STATE, or `.runbook` of
    this runbook's home.
    """
    said = os.environ.get("RUNBOOK_STATE")
    return Path(said or home() / ".runbook").resolve()


def find(folder: Path | None = None) -> LocalMesh | None:
    """Return the process that is said to run for a state folder, whether it
    still does or not.

    Where its note is not whole, the system is asked for it; that of a copied folder
    is another folder's.
    """
    folder = folder.resolve() if folder else state_folder()
    note = folder / NOTE
    try:
        found = json.loads(note.read_text())
        mesh = LocalMesh(
            found["endpoint"],
            int(found["pid"]),
            found["id"],
            Path(found["folder"]),
            found["key"],
        )
    except FileNotFoundError:
        return None
    except (ValueError, LookupError, TypeError, IsADirectoryError):
        pid = _process_of(folder)
        return LocalMesh("http://127.0.0.1:0", pid, "", folder) if pid else None
    except OSError as error:
        raise TargetError(
            f"{note}: {error.strerror}", hint="say RUNBOOK_STATE: a folder of your own"
        ) from error
    return mesh if mesh.folder == folder else None


def running(folder: Path | None = None) -> LocalMesh | None:
    """Return the process of a state folder if it answers."""
    mesh = find(folder)
    return mesh if mesh and _answers(mesh) else None


def there(folder: Path | None = None) -> LocalMesh | None:
    """Return the process of a state folder while it exists, whether
    it answers or not.
    """
    mesh = find(folder)
    return mesh if mesh and is_there(mesh) else None


def ensure() -> LocalMesh:
    """Return the running process, starting it where there is none.

    Raises TargetError once where one was running and is gone: what was
    rehearsed is gone with it. One that does not answer while its process exists
    is never taken for gone.
    """
    folder = _own(state_folder())
    with FileLock(folder / LOCK, timeout=UP_SECONDS, mode=0o600):
        mesh = find(folder)
        if mesh is None:
            return _start(folder)
        if _until(
            lambda: _answers(mesh) or not is_there(mesh), SLOW_SECONDS
        ) and is_there(mesh):
            return mesh
        if is_there(mesh):
            raise TargetError(
                f"the local mesh: no answer in {SLOW_SECONDS:g} s; {mesh.goes_on}",
                hint=WAIT,
            )
        _forget(folder)
    raise TargetError(f"the local mesh: {GONE}", hint=AGAIN)


def _own(folder: Path) -> Path:
    """Return the state folder, for nobody else to read; TargetError where it is
    somebody else's, or no folder for it.

    A folder with other things in it keeps its mode, and is refused.
    """
    try:
        private_folder(folder)
        owner, names = folder.stat().st_uid, [path.name for path in folder.iterdir()]
        if owner == os.getuid() and (LOCK in names or {*names} <= {LOCKS}):
            folder.chmod(0o700)
            return folder
    except OSError as error:
        raise TargetError(
            f"state folder {folder}: {error.strerror}", hint=ELSEWHERE
        ) from error
    found = (
        "other things in it"
        if owner == os.getuid()
        else f"the user with id {owner} owns it"
    )
    raise TargetError(
        f"state folder {folder}: expected a folder for the local mesh alone; {found}",
        hint=ELSEWHERE,
    )


def ended(mesh: LocalMesh) -> bool:
    """Say whether a process has ended by itself; whoever asks tells it, and the next
    command starts anew.
    """
    if is_there(mesh):
        return False
    if find(mesh.folder) == mesh:
        _forget(mesh.folder)
    return True


def absence() -> str:
    """Return in words why no process answers; that one has ended with its
    rehearsal is said once.
    """
    mesh = find()
    if mesh is None:
        return "not running"
    return f"not running: {GONE}" if ended(mesh) else f"not answering; {mesh.goes_on}"


def down(folder: Path | None = None) -> bool:
    """Stop the process of a state folder and wait until it is gone; return
    whether there was one.

    One that does not answer is stopped as well, by force where need be; TargetError
    where it stays all the same.
    """
    mesh = find(folder)
    if mesh is None:
        return False
    found = is_there(mesh)
    if found and not any(
        _ended(mesh.pid, *how) for how in ((signal.SIGTERM, 15), (signal.SIGKILL, 5))
    ):
        raise TargetError(
            f"the local mesh: its process {mesh.pid} does not end",
            hint="end it, then say `down` again",
        )
    _forget(mesh.folder)
    return found


def is_there(mesh: LocalMesh) -> bool:
    """Say whether a local mesh's process exists: its pid may be
    somebody else's by now.
    """
    return _exists(mesh.pid) and _command(mesh.pid).rstrip().endswith(f" {mesh.folder}")


def _ended(pid: int, number: signal.Signals, seconds: float) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
        os.kill(pid, signal.SIGCONT)  # one that was stopped hears nothing else
    return _until(lambda: not _exists(pid), seconds)


def _process_of(folder: Path) -> int | None:
    """Return the pid of the process that serves a state folder, by what the system
    says of all processes.
    """
    asked = ["ps", "-axww", "-o", "pid=,command="]
    listed = subprocess.run(
        asked, capture_output=True, text=True, check=False
    ).stdout.splitlines()
    ours = [
        line
        for line in listed
        if line.rstrip().endswith(f" -m runbook_lib.local {folder}")
    ]
    return int(ours[0].split()[0]) if ours else None


def _command(pid: int) -> str:
    """Return the command line of a process, empty where there is none: a pid may be
    somebody else's by now.
    """
    try:
        return (
            Path(f"/proc/{pid}/cmdline")
            .read_bytes()
            .replace(b"\0", b" ")
            .decode(errors="replace")
        )
    except FileNotFoundError:  # no such process, or no /proc
        asked = ["ps", "-ww", "-o", "command=", "-p", str(pid)]
        return subprocess.run(asked, capture_output=True, text=True, check=False).stdout


def _answers(mesh: LocalMesh) -> bool:
    try:
        return bool(mesh.ask("/runbook/id")["id"] == mesh.id)
    except TargetError:
        return False


def _exists(pid: int) -> bool:
    """Say whether a process goes on; one that has ended and waits for its parent to
    notice has no command any more.
    """
    with suppress(ChildProcessError):  # not ours to reap
        os.waitpid(pid, os.WNOHANG)
    return _command(pid).strip() not in ("", "<defunct>")


def _is_noted(folder: Path) -> bool:
    """Say whether a folder has the note of a local mesh; where the disk does not
    answer, it may have.
    """
    try:
        return (folder / NOTE).exists()
    except OSError:
        return True


def _forget(folder: Path) -> None:
    for name in (NOTE, "worlds.json"):
        (folder / name).unlink(missing_ok=True)


def _until(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < end:
        time.sleep(0.02)
    return met


def _start(folder: Path) -> LocalMesh:
    _forget(folder)  # a note that is not whole, or was copied here
    with open(folder / LOG, "ab", opener=private_opener) as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "runbook_lib.local", str(folder)],
            cwd=Path(__file__).resolve().parents[2],
            env=_environment(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            umask=UMASK,
        )
    if (
        not _until(
            lambda: child.poll() is not None or find(folder) is not None, UP_SECONDS
        )
        or child.poll() is not None
    ):
        raise TargetError("the local mesh did not start", hint=f"see {folder / LOG}")
    # it is meant to outlive us: no warning about a child still running
    child.returncode = 0
    mesh = find(folder)
    assert mesh is not None
    return mesh


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the process's variables: none that leads to AWS, through a proxy, or that
    changes what moto is.
    """
    kept = {
        name: value
        for name, value in variables.items()
        if not name.startswith(("AWS_", "MOTO_"))
        and not name.lower().endswith("_proxy")
    }
    return {
        **kept,
        "RUNBOOK_PROCESS": "local mesh",
        "MOTO_DISABLE_GLOBAL_CORS": "true",
        "MOTO_EC2_LOAD_DEFAULT_AMIS": "false",  # 1,300 in each account, for nobody
    }


def carries_traffic() -> bool:
    """Say whether a local mesh that starts here runs tasks, and not their API alone."""
    return os.environ.get("RUNBOOK_LOCAL") != "control-plane"


def serve(folder: Path) -> None:
    """Serve the local mesh until told to stop, until nobody has used it for an
    hour, or until its folder was deleted, after which nobody could find it.
    """
    from runbook_lib.local.door import Door
    from runbook_lib.local.rehearsal import Rehearsal
    from runbook_lib.local.serving import server_of

    os.umask(UMASK)
    sockets, key = socket_folder(), new_key()
    guard = _guard(sockets)
    rehearsal = Rehearsal(
        folder, secrets.token_hex(8), sockets, data_plane=carries_traffic()
    )
    server = server_of(Door(rehearsal, key))
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    threading.Thread(target=server.serve_forever, daemon=True).start()
    rehearsal.run(stop)
    mesh = LocalMesh(
        f"http://127.0.0.1:{server.server_port}", os.getpid(), rehearsal.id, folder, key
    )
    replace_privately(folder / NOTE, json.dumps(asdict(mesh), default=str))
    while not stop.wait(0.2):
        is_idle = time.monotonic() - rehearsal.last >= IDLE_SECONDS
        if is_idle or not _is_noted(folder):
            break
    stop.set()
    _forget(folder)
    rehearsal.end()
    shutil.rmtree(sockets, ignore_errors=True)  # while the guard still stands behind it
    guard.kill()
    guard.wait()


def _guard(sockets: Path) -> subprocess.Popen[bytes]:
    """Start what outlives the supervisor, killed or not, just long enough to clear up:
    its children, its sockets.

    They are all of the supervisor's process group; the guard, of another, reads a pipe
    that only the supervisor holds, and kills the group when it closes.
    """
    group = os.getpgrp()
    # dash, too, takes a group only so
    script = f'cat >/dev/null; rm -rf -- "$1"; kill -s KILL -- -{group}'
    return subprocess.Popen(
        ["/bin/sh", "-c", script, "guard", sockets],
        stdin=subprocess.PIPE,
        process_group=0,
    )
