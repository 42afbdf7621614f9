"""Ports of this machine's loopback for tasks: no two are given the same, of whichever
local mesh they are.

They lie below those that systems lend to outgoing connections. A block of them is taken
by binding its first port and listening to nobody there; the system lets go of it with
the process that holds it.
"""

from __future__ import annotations

import random
import socket

from runbook_lib.errors import WaitError

__all__ = ["Reservation"]

FIRST, BLOCKS, SIZE = 20_000, 750, 16


class Reservation:
    """So many ports, held until released or until this process ends; WaitError
    where none are left.
    """

    def __init__(self, count: int) -> None:
        self.ports: list[int] = []
        self._held: list[socket.socket] = []
        # not the ones just let go: a caller may remember them
        for block in random.sample(range(BLOCKS), BLOCKS):
            if len(self.ports) < count and (held := _bound(FIRST + block * SIZE)):
                self._held.append(held)
                ports = range(FIRST + block * SIZE + 1, FIRST + (block + 1) * SIZE)
                self.ports += [port for port in ports if _is_free(port)]
        if len(self.ports) < count:
            self.release()
            raise WaitError(
                f"ports from {FIRST} to {FIRST + BLOCKS * SIZE}: {count} wanted, "
                "too few are free"
            )
        self.ports = self.ports[:count]

    def release(self) -> None:
        """Let others have them."""
        while self._held:
            self._held.pop().close()

    def __del__(self) -> None:
        self.release()


def _bound(port: int) -> socket.socket | None:
    """Return a socket that keeps a port, None where somebody else has it."""
    held = socket.socket()
    try:
        held.bind(("127.0.0.1", port))
    except OSError:
        held.close()
        return None
    return held


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # what was closed a moment ago is free
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
