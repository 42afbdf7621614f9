"""Say of a place in the file what several checks say. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence

from runbook_lib.parameters.spelling import nearest


def unknown(where: str, kind: str, name: str, known: Collection[str]) -> Iterator[str]:
    """Yield where a name is none of the known ones."""
    if name not in known:
        instead = nearest(name, [*known]) or f"expected one of {[*known]}"
        yield f"{where}: no {kind} {name!r}; {instead}"


def doubled(where: str, values: Sequence[str]) -> Iterator[str]:
    """Yield each value that is there more than once."""
    for value, times in sorted(Counter(values).items()):
        if times > 1:
            yield f"{where}: expected distinct values; found {value!r} {times} times"


def not_for(where: str, protocol: str, protocols: Collection[str]) -> str:
    """Say that a key means nothing under a protocol, and under which it does."""
    return (
        f"{where}: applies to {', '.join(protocols)} only; the protocol "
        f"here is {protocol}"
    )
