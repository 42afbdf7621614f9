"""Call AWS: read, list and write, each error turned into a sentence once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar, cast

import jmespath
from botocore.exceptions import ClientError

from runbook_lib.aws.call_errors import CALL_ERRORS
from runbook_lib.aws.signing import Signing
from runbook_lib.aws.together import together
from runbook_lib.errors import CallError
from runbook_lib.plan import Call, Reading

# how the names of calls begin that only read
READS = ("describe", "list", "get", "discover")

T = TypeVar("T")


class _Group(threading.local):
    """Whether this thread asks for one of several things."""

    within = False


_GROUP = _Group()


def _as_member(ask: Callable[[], T]) -> T:
    """Return what is asked, as one of several things."""
    before, _GROUP.within = _GROUP.within, True
    try:
        return ask()
    finally:
        _GROUP.within = before


@dataclass(repr=False)
class Calls(Signing):
    """What may be called: readings, lists, writes."""

    written: int = 0
    """How many calls that change something were made; after one no error of this
    notebook is a refusal.
    """
    outlast: Callable[[Callable[[], Any], CallError], Any] | None = None
    """Asks again what a call that reads failed at, and returns the answer, or
    raises; None: it fails.
    """
    beside: Callable[[Sequence[Callable[[], Any]]], list[Any]] = together
    """Asks several things side by side; whoever counts calls has them asked in turn."""

    def read(self, reading: Reading) -> Any:
        """Return the state a reading shows, ABSENT where the thing is not there."""
        if not reading.call.operation.startswith(READS):
            raise ValueError(f"{reading.call.operation} is not a call that only reads")
        arguments = self._resolved(reading.call.arguments)
        if any(value is None or value == [] for value in arguments.values()):
            return None

        def ask() -> Any:
            try:
                answer = self._call(reading.call, arguments)
            except CallError as error:
                cause = error.__cause__
                if (
                    isinstance(cause, ClientError)
                    and cause.response["Error"]["Code"] in reading.absent
                ):
                    return None
                raise
            return jmespath.search(reading.query, answer)

        return self._outlasting(ask)

    def pages(
        self, service: str, operation: str, key: str, **arguments: Any
    ) -> list[Any]:
        """Return every item of a paginated list call."""

        def ask() -> list[Any]:
            try:
                pages = (
                    self._client(service).get_paginator(operation).paginate(**arguments)
                )
                return [item for page in pages for item in page.get(key, [])]
            except CALL_ERRORS as error:
                raise self._error(Call(service, operation, arguments), error) from error

        return self._outlasting(ask)

    def together(self, asks: Sequence[Callable[[], Any]]) -> list[Any]:
        """Return what independent readings answer, in their order.

        Where some fail, the first in their order is raised; whoever watches asks for
        all of them again.
        """
        members = [partial(_as_member, ask) for ask in asks]
        return self._outlasting(lambda: self.beside(members))

    def _outlasting(self, ask: Callable[[], T]) -> T:
        """Return what is asked; what fails may be asked again by whoever watches."""
        if _GROUP.within:
            return ask()
        try:
            return ask()
        except CallError as error:
            if self.outlast is None:
                raise
            return cast("T", self.outlast(ask, error))

    def write(self, call: Call) -> Any:
        """Make one call that changes something. Only `apply` may use this."""
        answer = self._call(call, self._resolved(call.arguments))
        self.written += 1
        return answer

    def call_store(self, operation: str, arguments: Mapping[str, Any]) -> Any:
        """Make one call about copies of records, which is neither a look at what runs
        nor a change of it, and is not asked again.
        """
        return self._call(Call("s3", operation), arguments)

    def counts(self) -> dict[str, int]:
        """Return how many calls read and how many wrote, those about copies of records
        aside.
        """
        counted = {n: c for n, c in self.calls.items() if not n.startswith("s3.")}
        read = sum(
            n
            for name, n in counted.items()
            if name.split(".")[1].lower().startswith(READS)
        )
        return {"read": read, "write": sum(counted.values()) - read}

    def _resolved(self, arguments: Mapping[str, Any] | Reading) -> dict[str, Any]:
        if isinstance(arguments, Reading):
            raise TypeError("a reading's arguments cannot be a reading as a whole")
        return {
            k: self.read(v) if isinstance(v, Reading) else v
            for k, v in arguments.items()
        }

    def _call(self, call: Call, arguments: Mapping[str, Any]) -> Any:
        try:
            answer = getattr(self._client(call.service), call.operation)(**arguments)
        except CALL_ERRORS as error:
            raise self._error(call, error) from error
        answer.pop("ResponseMetadata", None)  # headers are nobody's state
        return answer
