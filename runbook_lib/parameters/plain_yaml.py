"""Read YAML that holds names, values and nothing else, in bounded time and size; judge
values that came otherwise.

Pure. Whoever wrote a text, reading it runs no code, ends soon, and gives null,
booleans, numbers, text, lists and mappings alone. A value is what YAML 1.1 makes of it,
but dates and numbers that do not begin with their first digit (octal, hexadecimal,
minutes with seconds) stay the text they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

import yaml

__all__ = ["MOST_BYTES", "lines_of", "plain", "read_yaml"]

MOST_BYTES: Final = 200_000  # of a file: a mesh of 200 services takes 60,000
MOST_DEPTH: Final = 30
MOST_VALUES: Final = 20_000  # aliases counted as what they stand for
MOST_DIGITS: Final = 18

# its parser alone is used; C's is ten times faster
LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
BOOLEANS: Final = {
    **dict.fromkeys(
        ("true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"), True
    ),
    **dict.fromkeys(
        ("false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"), False
    ),
}
INTEGER: Final = re.compile(r"[-+]?(0|[1-9][0-9]*)")
FRACTION: Final = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+][0-9]+)?")
MERGE: Final = "<<"
PRINTABLE: Final = "expected text that can be printed"
UNPRINTABLE: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def read_yaml(text: str) -> Any:
    """Return what a YAML text says.

    Raises yaml.YAMLError with one sentence, which names the line: a text that is no
    YAML, says a key twice or asks for more than plain values, within bounds.
    """
    if len(text) > MOST_BYTES:
        raise yaml.YAMLError(
            f"expected at most {MOST_BYTES:,} characters; found {len(text):,}"
        )
    found = UNPRINTABLE.search(text)
    if found:
        line = text.count("\n", 0, found.start()) + 1
        raise _refused(line, PRINTABLE, _unprintable(found[0]))
    loader = LOADER(text)
    try:
        return _Reader(loader).document()
    except yaml.reader.ReaderError as error:
        raise yaml.YAMLError(f"expected text; {error.reason}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}: " if mark else ""
        raise yaml.YAMLError(f"{where}{error.problem or error.context}") from None
    finally:
        loader.dispose()


def lines_of(text: str) -> dict[str, int]:
    """Return in which line of a YAML text each key and each item of a list stands, by
    its place: `shift.verdict.alpha`, `shift.steps (item 2)`.
    """
    lines = _lines(yaml.compose(text, Loader=LOADER), "", 0)
    return dict(islice(lines, MOST_VALUES))


def _lines(node: Any, place: str, depth: int) -> Iterator[tuple[str, int]]:
    if depth >= MOST_DEPTH:
        return
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            at = f"{place}.{key.value}".removeprefix(".")
            yield at, _line(key)
            yield from _lines(value, at, depth + 1)
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value, 1):
            at = f"{place} (item {number})"
            yield at, _line(item)
            yield from _lines(item, at, depth + 1)


def plain(value: Any, where: str) -> Any:
    """Return a value that Python holds as plain YAML would have given it: dates as
    text, tuples as lists.

    Raises ValueError with one sentence, which begins with `where`, for anything beyond
    that and beyond its bounds.
    """
    return _Copier().copy(value, where, 0)


@dataclass
class _Copier:
    """Copies a value part by part, so that one which holds itself, or
    very much, ends soon.
    """

    count: int = 0

    def copy(self, value: Any, where: str, depth: int) -> Any:
        """Return a copy of a value, which stands `depth` levels down."""
        self.count += 1
        if depth > MOST_DEPTH or self.count > MOST_VALUES:
            top = where.split(".")[0]
            raise ValueError(
                f"{top}: expected at most {MOST_DEPTH} levels and {MOST_VALUES:,} "
                "values; found more"
            )
        if isinstance(value, Mapping):
            copied = {}
            for key, inner in value.items():
                own = _key(key, where)
                copied[own] = self.copy(inner, f"{where}.{key}", depth + 1)
            return copied
        if isinstance(value, list | tuple):
            return [self.copy(inner, where, depth + 1) for inner in value]
        return _single(value, where)


def _key(key: Any, where: str) -> Any:
    if isinstance(key, Mapping | list | tuple):
        raise ValueError(
            f"{where}: expected names that are text; found {type(key).__name__}"
        )
    return _single(key, where)


def _single(value: Any, where: str) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if hasattr(value, "isoformat"):  # a date, as papermill reads one
        return value.isoformat()
    if isinstance(value, str):
        found = _unprintable(value)
        if found:
            raise ValueError(f"{where}: {PRINTABLE}; found {found}")
        return value
    if isinstance(value, int | float):
        if not abs(value) < 10**MOST_DIGITS:
            raise ValueError(
                f"{where}: expected a number of at most {MOST_DIGITS} digits; "
                "found a longer one"
            )
        return value
    raise ValueError(
        f"{where}: expected text, a number, a list or names with values; found "
        f"{type(value).__name__}"
    )


def _unprintable(text: str) -> str:
    """Return the first control character of a text, or half of a character, by its
    number; "" where there is none.
    """
    found = UNPRINTABLE.search(text)
    return f"U+{ord(found[0]):04X}" if found else ""


def _refused(line: int, expected: str, found: str) -> yaml.YAMLError:
    return yaml.YAMLError(f"line {line}: {expected}; found {found}")


@dataclass(frozen=True, slots=True)
class _Anchored:
    """A value with a name for aliases, and how many values it counts for."""

    value: Any
    count: int


@dataclass
class _Reader:
    """Builds values from the parser's events, which come one by one, so that what is
    too much is never read.
    """

    loader: Any
    count: int = 0
    anchors: dict[str, _Anchored] = field(default_factory=dict)
    open: set[str] = field(default_factory=set)

    def document(self) -> Any:
        """Return the value of the only document."""
        self._next()  # the stream begins
        if isinstance(self._next(), yaml.StreamEndEvent):
            return None
        value = self._value(self._next(), 0)
        self._next()  # the document ends
        event = self._next()
        if not isinstance(event, yaml.StreamEndEvent):
            raise _refused(_line(event), "expected one document", "another")
        return value

    def _next(self) -> Any:
        return self.loader.get_event()

    def _until(self, end: type) -> Iterator[Any]:
        """Yield what comes before the event that ends a list or a mapping."""
        event = self._next()
        while not isinstance(event, end):
            yield event
            event = self._next()

    def _value(self, event: Any, depth: int) -> Any:
        line = _line(event)
        self._took(1, line)
        if depth > MOST_DEPTH:
            raise _refused(line, f"expected at most {MOST_DEPTH} levels", "more")
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, line)
        if event.tag is not None:
            raise _refused(line, "expected a plain value", _tag(event.tag))
        before = self.count
        if event.anchor:
            self.open.add(event.anchor)
        value = self._built(event, depth, line)
        if event.anchor:
            self.open.discard(event.anchor)
            count = self.count - before + 1
            self.anchors[event.anchor] = _Anchored(value, count)
        return value

    def _built(self, event: Any, depth: int, line: int) -> Any:
        if isinstance(event, yaml.ScalarEvent):
            return _scalar(event, line)
        if isinstance(event, yaml.SequenceStartEvent):
            items = self._until(yaml.SequenceEndEvent)
            return [self._value(item, depth + 1) for item in items]
        return self._mapping(depth)

    def _mapping(self, depth: int) -> dict[Any, Any]:
        said: dict[Any, Any] = {}
        merged: dict[Any, Any] = {}
        lines: dict[Any, int] = {}
        for event in self._until(yaml.MappingEndEvent):
            line = _line(event)
            if not isinstance(event, yaml.ScalarEvent):
                raise _refused(line, "expected a name before a colon", "something else")
            key = self._value(event, depth + 1)
            name = str(event.value)
            if name in lines:
                raise yaml.YAMLError(
                    f"line {line}: {name!r:.60} is there twice, first in "
                    f"line {lines[name]}"
                )
            lines[name] = line
            value = self._value(self._next(), depth + 1)
            is_quoted = bool(event.style)
            if key == MERGE and not is_quoted:
                merged = _merged(value, line)
            else:
                said[key] = value
        return {**merged, **said}

    def _alias(self, event: Any, line: int) -> Any:
        if event.anchor in self.open:
            raise _refused(
                line, "expected a value that ends", f"*{event.anchor:.60} within itself"
            )
        if event.anchor not in self.anchors:
            raise _refused(line, f"expected &{event.anchor:.60} before its use", "none")
        anchored = self.anchors[event.anchor]
        self._took(anchored.count, line)
        return anchored.value

    def _took(self, count: int, line: int) -> None:
        self.count += count
        if self.count > MOST_VALUES:
            raise _refused(line, f"expected at most {MOST_VALUES:,} values", "more")


def _merged(value: Any, line: int) -> dict[Any, Any]:
    """Return what `<<` takes over: of several mappings the first that says a name."""
    mappings = value if isinstance(value, list) else [value]
    if not all(isinstance(mapping, dict) for mapping in mappings):
        raise _refused(line, "expected names and values after <<", "something else")
    merged: dict[Any, Any] = {}
    for mapping in reversed(mappings):
        merged |= mapping
    return merged


def _scalar(event: Any, line: int) -> Any:
    text = str(event.value)
    found = _unprintable(text)
    if found:
        raise _refused(line, PRINTABLE, found)
    if event.style:  # in quotes, or a block
        return text
    if text in NULLS:
        return None
    if text in BOOLEANS:
        return BOOLEANS[text]
    if not INTEGER.fullmatch(text) and not FRACTION.fullmatch(text):
        return text
    if len(text) > MOST_DIGITS + 2:
        raise _refused(
            line,
            f"expected a number of at most {MOST_DIGITS} digits",
            f"{len(text):,} characters",
        )
    return int(text) if INTEGER.fullmatch(text) else float(text)


def _tag(tag: str) -> str:
    return f"the tag {tag.replace('tag:yaml.org,2002:', '!!')!r:.60}"


def _line(event: Any) -> int:
    """Return the line in which an event or a node begins."""
    return int(event.start_mark.line) + 1
