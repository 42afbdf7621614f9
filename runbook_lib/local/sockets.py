"""Where this user's Envoys answer their administrator: Unix sockets in a private folder
with a short path.

The path of a socket may be 103 bytes long (107 on Linux), and a state folder's may
be longer than that.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path

__all__ = ["LONGEST_PATH", "socket_folder", "socket_of"]

LONGEST_PATH = 103
PREFIX = "runbook-"
NAME_BYTES = 32  # of what is made here: the folder's own name, and a socket's in it


def socket_folder() -> Path:
    """Create a folder that nobody else can enter, under a name that nobody can
    foresee; return it.
    """
    return Path(tempfile.mkdtemp(prefix=PREFIX, dir=_short(_candidates())))


def socket_of(folder: Path, task: str) -> Path:
    """Return the socket of a task's Envoy."""
    return folder / f"{hashlib.sha256(task.encode()).hexdigest()[:12]}.sock"


def _candidates() -> list[str]:
    runtime = os.environ.get("XDG_RUNTIME_DIR", "-")
    return [*([runtime] if _is_private(runtime) else []), tempfile.gettempdir(), "/tmp"]


def _short(folders: list[str]) -> str:
    """Return the first folder whose path leaves room; the last where none does."""
    room = LONGEST_PATH - NAME_BYTES - 2
    return next(
        (folder for folder in folders if len(os.fsencode(folder)) <= room), folders[-1]
    )


def _is_private(folder: str) -> bool:
    try:
        found = Path(folder).stat()
    except (OSError, ValueError):
        return False
    return (
        stat.S_ISDIR(found.st_mode)
        and found.st_uid == os.getuid()
        and stat.S_IMODE(found.st_mode) == 0o700
    )
