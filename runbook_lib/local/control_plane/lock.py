"""One lock for the whole control plane, safe across `fork()`.

moto's stores are plain dicts and two of its services are read and written by the
convergence step too, so calls take turns. A fork waits for the call in progress, and
the child starts with a lock nobody holds: it never finds half a change, nor a lock
whose owner did not come along.
"""

from __future__ import annotations

import os
import threading
from types import TracebackType

__all__ = ["LOCK"]


class ForkLock:
    """A re-entrant lock that is renewed in a forked child."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        os.register_at_fork(
            before=self._acquire,
            after_in_parent=self._release,
            after_in_child=self._renew,
        )

    def __enter__(self) -> None:
        self._acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._release()

    def _acquire(self) -> None:
        self._lock.acquire()

    def _release(self) -> None:
        self._lock.release()

    def _renew(self) -> None:
        self._lock = threading.RLock()


LOCK = ForkLock()
