"""Read each thing once, however often it is asked for: what one look shares.

It remembers what AWS answered, so it is thrown away with its look; whoever waits for
something to change asks the session itself.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

import jmespath

from runbook_lib.aws.reads import Reads
from runbook_lib.parameters import Parameters
from runbook_lib.plan import Call, Reading

T = TypeVar("T")

WHOLE = "@"  # the query for all that a call answers


class Readings:
    """The readings of one look: `Reads` that asks `session` for nothing twice."""

    def __init__(self, session: Reads) -> None:
        self.session = session
        self.known: dict[str, Future[Any]] = {}
        self.lock = threading.Lock()

    @property
    def parameters(self) -> Parameters:
        """What the environment's file says."""
        return self.session.parameters

    def read(self, reading: Reading) -> Any:
        """Return the state a reading shows, None where the thing is not there."""
        call, absent = reading.call, reading.absent
        if isinstance(call.arguments, Reading):
            raise TypeError("a reading's arguments cannot be a reading as a whole")
        arguments = {key: self._value(given) for key, given in call.arguments.items()}
        whole = Reading(Call(call.service, call.operation, arguments), WHOLE, absent)
        key = _key(call.service, call.operation, arguments, absent)
        answer = self._once(key, lambda: self.session.read(whole))
        return None if answer is None else jmespath.search(reading.query, answer)

    def pages(
        self, service: str, operation: str, key: str, **arguments: Any
    ) -> list[Any]:
        """Return every item of a paginated list call."""
        known = _key(service, operation, arguments, (key,))

        def ask() -> list[Any]:
            return self.session.pages(service, operation, key, **arguments)

        return list(self._once(known, ask))

    def now(self) -> float:
        """Return the time at AWS, in seconds since 1970."""
        return self.session.now()

    def together(self, asks: Sequence[Callable[[], Any]]) -> list[Any]:
        """Return what independent readings answer, in their order."""
        return self.session.together(asks)

    def saw(self, weights: Mapping[str, int]) -> None:
        """Keep how traffic is divided now, for an error after which nobody can look."""
        self.session.saw(weights)

    def _value(self, given: Any) -> Any:
        return self.read(given) if isinstance(given, Reading) else given

    def _once(self, key: str, ask: Callable[[], T]) -> T:
        """Return what is asked; wait for who asks the same just now."""
        mine: Future[T] = Future()
        with self.lock:
            answer: Future[T] = self.known.setdefault(key, mine)
        if answer is not mine:
            return answer.result()
        try:
            mine.set_result(ask())
        except BaseException as error:
            del self.known[key]  # who asks later asks anew
            mine.set_exception(error)
            raise
        return mine.result()


def _key(
    service: str, operation: str, arguments: Mapping[str, Any], how: tuple[str, ...]
) -> str:
    asked = [service, operation, arguments, how]
    return json.dumps(asked, sort_keys=True, default=str)
