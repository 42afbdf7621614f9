"""Ask for several things at a time, and never for more than a few.

What is asked runs in threads that end with the process: whoever stops waiting is not
kept by an answer that does not come.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

AT_ONCE = 8  # calls that one process makes at most, so that AWS throttles nobody else's


def together(asks: Sequence[Callable[[], Any]]) -> list[Any]:
    """Return what each of `asks` answers, in their order.

    Whoever calls takes part in the work, so an ask may itself ask for several things.
    Where some fail, the first in their order is raised, and what was not begun by then
    is not asked any more.
    """
    group = [_Ask(ask) for ask in asks]
    left = deque(group)
    helpers = min(len(group), AT_ONCE) - 1
    for _ in range(helpers):
        _POOL.take(lambda: _work(left))
    try:
        _work(left)
    finally:
        left.clear()
    return [each.answer.result() for each in group]


class _Ask:
    """One thing that is asked, and its answer."""

    def __init__(self, ask: Callable[[], Any]) -> None:
        self.ask = ask
        self.answer: Future[Any] = Future()

    def run(self) -> bool:
        """Ask, and say whether it was answered."""
        try:
            self.answer.set_result(self.ask())
        except BaseException as error:  # raised where the answer is taken
            self.answer.set_exception(error)
            if not isinstance(error, Exception):  # the end of whoever asks, at once
                raise
            return False
        return True


def _work(left: deque[_Ask]) -> None:
    """Run what is left of a group, in its order, until something fails."""
    while left:
        try:
            each = left.popleft()
        except IndexError:  # another thread was quicker
            return
        if not each.run():
            left.clear()


class _Pool:
    """A few threads, each started when it is needed; AT_ONCE with whoever asks."""

    def __init__(self) -> None:
        self.waiting: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self.threads = 0
        self.lock = threading.Lock()

    def take(self, work: Callable[[], None]) -> None:
        """Let a thread do this as soon as one is free."""
        with self.lock:
            if self.threads < AT_ONCE - 1:
                self.threads += 1
                name = f"asking {self.threads}"
                threading.Thread(target=self._serve, name=name, daemon=True).start()
        self.waiting.put(work)

    def _serve(self) -> None:
        while True:
            with suppress(BaseException):  # it is in the answer
                self.waiting.get()()


_POOL = _Pool()
