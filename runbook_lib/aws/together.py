"""Ask for several things at a time, and never for more than a few.

What is asked runs in threads that end with the process: whoever stops waiting is not
kept by an answer that does not come.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

# calls that one process makes at a time, so that AWS throttles nobody else's
AT_ONCE = 8


def together(asks: Sequence[Callable[[], Any]]) -> list[Any]:
    """Return what each of `asks` answers, in their order.

    Whoever calls takes part in the work, so an ask may itself ask for several things.
    Where some fail, the first in their order is raised, and what was not begun by then
    is not asked any more.
    """
    group = _Group(asks)
    helpers = min(len(asks), AT_ONCE) - 1
    for _ in range(helpers):
        _POOL.take(group.work)
    try:
        group.work()
        group.wait()
    finally:
        group.left.clear()
    if group.errors:
        raise group.errors[min(group.errors)]
    return group.answers


class _Group:
    """Things that are asked together; answers and errors by their places."""

    def __init__(self, asks: Sequence[Callable[[], Any]]) -> None:
        self.left = deque(enumerate(asks))
        self.answers: list[Any] = [None] * len(asks)
        self.errors: dict[int, BaseException] = {}
        self.at_work = 0
        self.changed = threading.Condition()

    def work(self) -> None:
        """Ask for what is left, in its order, until something fails."""
        with self.changed:
            self.at_work += 1
        try:
            while (taken := self._next()) is not None:
                place, ask = taken
                self._ask(place, ask)
        finally:
            with self.changed:
                self.at_work -= 1
                self.changed.notify_all()

    def wait(self) -> None:
        """Wait until nobody is at work."""
        with self.changed:
            self.changed.wait_for(lambda: self.at_work == 0)

    def _next(self) -> tuple[int, Callable[[], Any]] | None:
        try:
            return self.left.popleft()
        except IndexError:
            return None

    def _ask(self, place: int, ask: Callable[[], Any]) -> None:
        try:
            self.answers[place] = ask()
        except BaseException as error:  # whoever asked raises it
            self.errors[place] = error
            self.left.clear()
            if not isinstance(error, Exception):  # and ends by it at once
                raise


class _Pool:
    """A few threads, each started when it is needed.

    They are AT_ONCE, since whoever asked often only waits for one of them.
    """

    def __init__(self) -> None:
        self.waiting: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self.threads = 0
        self.lock = threading.Lock()

    def take(self, work: Callable[[], None]) -> None:
        """Let a thread do this as soon as one is free."""
        with self.lock:
            if self.threads < AT_ONCE:
                self.threads += 1
                name = f"asking {self.threads}"
                threading.Thread(target=self._serve, name=name, daemon=True).start()
        self.waiting.put(work)

    def _serve(self) -> None:
        while True:
            with suppress(BaseException):  # whoever asked raises it
                self.waiting.get()()


_POOL = _Pool()
