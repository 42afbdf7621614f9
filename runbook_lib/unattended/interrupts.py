"""Turn SIGINT, SIGTERM and SIGHUP into an interrupt of the cell that runs: a run always
ends by summing itself up.

It knows one process, the kernel; nothing of notebooks or AWS.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Interrupts"]

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """The signals that come while it is entered.

    The first interrupts the kernel's cell; where none runs, the next one is not begun.
    The second kills the kernel and raises KeyboardInterrupt here; from then on signals
    do what they did before. A SIGHUP that is ignored, by `nohup`, stays so.
    """

    def __init__(self) -> None:
        self.came = False
        self._kernel: int | None = None
        self._before: dict[int, Any] = {}
        self._terminals: list[int] = []

    def __enter__(self) -> Interrupts:
        self._terminals = [number for number in (0, 1, 2) if os.isatty(number)]
        heeded = [
            n
            for n in SIGNALS
            if n != signal.SIGHUP or signal.getsignal(n) != signal.SIG_IGN
        ]
        self._before = {number: signal.signal(number, self._take) for number in heeded}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def reaching(self, kernel: int) -> Iterator[None]:
        """Let signals reach a kernel, by its pid, while it runs a cell;
        KeyboardInterrupt where one came before.
        """
        if self.came:
            raise KeyboardInterrupt
        self._kernel = kernel
        try:
            yield
        finally:
            self._kernel = None

    def _take(self, number: int, *_: object) -> None:
        if number == signal.SIGHUP:
            self._leave_terminal()
        second, self.came = self.came, True
        if self._kernel:
            os.kill(self._kernel, signal.SIGKILL if second else signal.SIGINT)
        if second:
            self.__exit__()
            raise KeyboardInterrupt

    def _leave_terminal(self) -> None:
        """Write nowhere where the terminal was: it is gone, and each word to it
        would be an error.
        """
        nowhere = os.open(os.devnull, os.O_RDWR)
        for number in self._terminals:
            os.dup2(nowhere, number)
        os.close(nowhere)
