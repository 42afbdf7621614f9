"""Ports of this machine's loopback for tasks: no two are given the same, of whichever local mesh they are.

They lie below those that systems lend to outgoing connections. A block of them is taken by a lock on a file that
every local mesh of the user knows; the lock falls with the process that holds it.
"""

from __future__ import annotations

import getpass
import random
import socket
import tempfile
from pathlib import Path

from filelock import FileLock, Timeout

from runbook_lib.errors import WaitError

__all__ = ["Reservation"]

FIRST, BLOCKS, SIZE = 20_000, 750, 16
FOLDER = Path(tempfile.gettempdir()) / f"runbook-ports-{getpass.getuser()}"


class Reservation:
    """So many ports, held until released or until this process ends; WaitError where none are left."""

    def __init__(self, count: int, folder: Path = FOLDER) -> None:
        self.ports: list[int] = []
        self._locks: list[FileLock] = []
        folder.mkdir(exist_ok=True)
        for block in random.sample(range(BLOCKS), BLOCKS):  # not the ones just let go: a caller may remember them
            if len(self.ports) < count and (lock := _locked(folder / str(block))):
                self._locks.append(lock)
                ports = range(FIRST + block * SIZE, FIRST + (block + 1) * SIZE)
                self.ports += [port for port in ports if _is_free(port)]
        if len(self.ports) < count:
            self.release()
            raise WaitError(f"ports from {FIRST} to {FIRST + BLOCKS * SIZE}: {count} wanted, too few are free")
        self.ports = self.ports[:count]

    def release(self) -> None:
        """Let others have them."""
        while self._locks:
            self._locks.pop().release()


def _locked(file: Path) -> FileLock | None:
    lock = FileLock(file, timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        return None
    return lock


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what was closed a moment ago is free
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
