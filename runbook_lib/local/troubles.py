"""What went wrong in the local mesh's own threads: noted and shown, and the thread goes
on with what is next.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Troubles"]


class Troubles:
    """The errors there are now, in words, by what was being done; one that
    passes is forgotten.
    """

    def __init__(self) -> None:
        self.now: dict[str, str] = {}

    @contextmanager
    def of(self, what: str) -> Iterator[None]:
        """Note an error instead of raising it; its traceback goes to stderr once,
        not at every turn.
        """
        try:
            yield
        except Exception as error:  # noqa: BLE001 - a thread that ended would freeze everything, and nobody would know
            words = f"{type(error).__name__}: {error}"
            if self.now.get(what) != words:
                traceback.print_exc()
            self.now[what] = words
        else:
            self.now.pop(what, None)
