"""Say what whoever only reads may use of a session: nothing in it
writes, waits or decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from runbook_lib.parameters import Parameters
from runbook_lib.plan import Reading


class Reads(Protocol):
    """An environment that has been opened, for reading."""

    @property
    def parameters(self) -> Parameters:
        """What the environment's file says."""

    def read(self, reading: Reading) -> Any:
        """Return the state a reading shows, ABSENT where the thing is not there."""

    def pages(
        self, service: str, operation: str, key: str, **arguments: Any
    ) -> list[Any]:
        """Return every item of a paginated list call."""

    def now(self) -> float:
        """Return the time at AWS, in seconds since 1970."""

    def together(self, asks: Sequence[Callable[[], Any]]) -> list[Any]:
        """Return what independent readings answer, in their order."""

    def saw(self, weights: Mapping[str, int]) -> None:
        """Keep how traffic is divided now, for an error after which nobody
        can look any more.
        """


def read_each(session: Reads, readings: Iterable[Reading]) -> list[Any]:
    """Return what each of some readings shows, in their order."""
    return session.together([partial(session.read, each) for each in readings])


def read_in_portions(
    session: Reads,
    names: Sequence[str],
    most: int,
    reading_of: Callable[[Sequence[str]], Reading],
) -> list[Any]:
    """Read what a call lists of these names, of which it takes at most so many."""
    readings = []
    for first in range(0, len(names), most):
        readings.append(reading_of(names[first : first + most]))
    listed: list[Any] = []
    for answer in read_each(session, readings):
        listed += answer or ()
    return listed
