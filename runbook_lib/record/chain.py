"""Chain the lines of a record: each carries the hash of the one before it.

Pure. Whoever can write the file can write the whole chain anew: it shows an edit only
to somebody who has the last line's hash from elsewhere. Without that it shows mistakes,
damage and edits made by hand.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

__all__ = ["CHAINED", "FORMAT", "Line", "digest", "faults", "parsed", "read_lines"]

FORMAT = 3
"""The format that is written: each part of a change names its type."""
CHAINED = 2
"""The first format with a place and a chain: it is verified, and no more undone."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a record: its number, its bytes, and what it says; None where
    that is not whole.
    """

    number: int
    text: bytes
    said: Mapping[str, Any] | None


def digest(text: bytes) -> str:
    """Return the hash by which the next line names this one; "" for what
    comes before the first.
    """
    return hashlib.sha256(text).hexdigest() if text else ""


@lru_cache(maxsize=4096)
def parsed(text: bytes) -> Mapping[str, Any] | None:
    """Return what a line says, None where it is no whole line of a record.

    A line never changes, and a shift reads its record at every look: each is parsed
    once. Whoever changes what it says copies it first.
    """
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):  # no JSON, or bytes that are no UTF-8
        return None
    return (
        said
        if isinstance(said, dict)
        and isinstance(said.get("event"), str)
        and "at" in said
        else None
    )


def read_lines(raw: bytes) -> list[Line]:
    """Return a record's lines, those that are not whole too."""
    texts = raw.removesuffix(b"\n").split(b"\n") if raw else []
    return [Line(number, text, parsed(text)) for number, text in enumerate(texts, 1)]


def faults(lines: list[Line]) -> Iterator[tuple[int, str, bool]]:
    """Yield what is wrong with a chain: the line's number, what is wrong in words,
    whether a crash explains it.
    """
    before = b""
    for line in lines:
        last = line is lines[-1]
        following = lines[line.number].said if not last else None
        if line.said is None:
            crashed = last or bool(
                following and following.get("prev") == digest(line.text)
            )
            what = "was cut off by a crash" if crashed else "cannot be read"
            yield line.number, f"line {line.number} {what}", crashed
        elif line.said.get("prev") != digest(before):
            yield line.number, _broken(line.number), False
        before = line.text


def _broken(number: int) -> str:
    if number == 1:
        return "line 1 is not the first line that was written"
    return (
        f"line {number - 1} was changed, or lines between it and line "
        f"{number} are missing"
    )
