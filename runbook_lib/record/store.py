"""What is asked of a store: a place for copies of runs that outlives this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol


class Store(Protocol):
    """Files by their names, with slashes between folders. Each verb raises CallError
    where the store does not answer, or refuses.
    """

    @property
    def where(self) -> str:
        """Its address, as the parameters file names it."""

    def folders(self, under: str) -> list[str]:
        """Return the names of the folders directly in a folder."""

    def files(self, under: str) -> Mapping[str, str]:
        """Return every file below a folder by its name from there, with a tag
        that changes with its content.
        """

    def read(self, names: Sequence[str]) -> list[bytes]:
        """Return the contents of files, in their order."""

    def add(self, name: str, content: bytes) -> bool:
        """Put a file where there is none yet; return whether it was put. Of two who
        add the same file, one does.
        """

    def put(self, name: str, content: bytes) -> str:
        """Put a file, in place of what is there; return its tag."""
