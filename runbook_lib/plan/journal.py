"""Write parts of plans down as plain data, and make them of it again. Pure.

A part names its type in what is stored, so nothing is taken for a part because of its
keys: a label may have any.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import is_dataclass
from functools import cache
from typing import Any, Final, get_origin, get_type_hints

from runbook_lib.plan.changes import (
    Answer,
    Call,
    Change,
    Inverse,
    Moved,
    Reading,
    Wait,
    values_of,
)
from runbook_lib.plan.states import Difference

TYPE: Final = "$type"
"""The key under which what is stored names its type."""
PLAIN: Final = "plain"
"""The type of a mapping that has this key itself; its own items are under OWN."""
OWN: Final = "items"
PARTS: Final[Mapping[str, type]] = {
    part.__name__: part
    for part in (Answer, Call, Change, Difference, Inverse, Moved, Reading, Wait)
}


def stored(value: Any) -> Any:
    """Return plain data, and parts of plans in it, as JSON can hold them."""
    if is_dataclass(value):
        return {TYPE: type(value).__name__, **_stored_items(values_of(value))}
    if isinstance(value, Mapping) and TYPE in value:
        return {TYPE: PLAIN, OWN: _stored_items(value)}
    if isinstance(value, Mapping):
        return _stored_items(value)
    if isinstance(value, list | tuple):
        return [stored(item) for item in value]
    return value


def _stored_items(items: Mapping[str, Any]) -> dict[str, Any]:
    return {key: stored(value) for key, value in items.items()}


def revived(value: Any) -> Any:
    """Return what `stored` was given; raise ValueError or TypeError for any other form.

    Lists are lists: only what a part declares as a tuple is one.
    """
    if isinstance(value, list):
        return [revived(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    name = value.get(TYPE)
    if name is None:
        return _revived_items(value)
    if name == PLAIN:
        return _revived_items(value[OWN])
    if name not in PARTS:
        raise ValueError(f"expected a part of a plan, found {name!r}")
    given = {key: inner for key, inner in value.items() if key != TYPE}
    return _part(PARTS[name], _revived_items(given))


def _revived_items(items: Mapping[str, Any]) -> dict[str, Any]:
    return {key: revived(value) for key, value in items.items()}


def _part(part: type, given: Mapping[str, Any]) -> Any:
    declared = {**given}
    for name in _tuples(part) & given.keys():
        declared[name] = tuple(given[name])
    return part(**declared)


@cache
def _tuples(part: type) -> frozenset[str]:
    """Return the names of a part's fields that are tuples."""
    hints = get_type_hints(part)
    return frozenset(name for name, hint in hints.items() if get_origin(hint) is tuple)
