"""Turn SIGINT and SIGTERM into an interrupt of the cell that runs, so that a run always ends by summing itself up.

It knows one process, the kernel; nothing of notebooks or AWS.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Interrupts"]

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """The signals that come while it is entered.

    The first interrupts the kernel's cell; where none runs, the next one is not begun. The second kills the kernel
    and raises KeyboardInterrupt here; from then on signals do what they did before.
    """

    def __init__(self) -> None:
        self.came = False
        self._kernel: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        self._before = {number: signal.signal(number, self._take) for number in SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def reaching(self, kernel: int) -> Iterator[None]:
        """Let signals reach a kernel, by its pid, while it runs a cell; KeyboardInterrupt where one came before."""
        if self.came:
            raise KeyboardInterrupt
        self._kernel = kernel
        try:
            yield
        finally:
            self._kernel = None

    def _take(self, *_: object) -> None:
        second, self.came = self.came, True
        if self._kernel:
            os.kill(self._kernel, signal.SIGKILL if second else signal.SIGINT)
        if second:
            self.__exit__()
            raise KeyboardInterrupt
