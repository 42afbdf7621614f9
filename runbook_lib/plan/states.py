"""States as AWS tells them, compared: what one contains, what two put together
give, where two differ.

Pure: nested dicts, lists and values, in the API's own keys.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

ABSENT: Final = None
"""The state of something that is not there."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One field that a change would alter."""

    field: str
    before: Any
    after: Any


def fingerprint(state: Any) -> str:
    """Return sixteen hexadecimal digits that name exactly this state; "" for
    what is not there.

    A state with an identity and a version is named by these and what it specifies.
    """
    if state is ABSENT:
        return ""
    if isinstance(state, Mapping) and "uid" in state:
        state = {key: state.get(key) for key in ("uid", "version", "spec")}
    return hashlib.sha256(
        json.dumps(state, sort_keys=True, default=str).encode()
    ).hexdigest()[:16]


def empty(value: Any) -> bool:
    """Return whether the API makes no difference between this and nothing."""
    return value is None or value == {} or value == []


def holds(state: Any, wanted: Any) -> bool:
    """Return whether `state` contains all that `wanted` says.

    Absent is only ever equal to absent; inside a state empties are equal and more
    fields are allowed.
    """
    return (state is ABSENT) == (wanted is ABSENT) and _contains(state, wanted)


def _contains(state: Any, wanted: Any) -> bool:
    if isinstance(wanted, Mapping) and (empty(state) or isinstance(state, Mapping)):
        fields = state or {}
        return all(_contains(fields.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list) and isinstance(state, list):
        return len(wanted) == len(state) and all(map(_contains, state, wanted))
    if empty(wanted):
        return empty(state)
    return bool(state == wanted)


@dataclass(frozen=True, slots=True)
class Default:
    """A value that nobody asked for: it is written where nothing is there yet, and
    what is there is kept.
    """

    value: Any


def merged(live: Any, desired: Any) -> Any:
    """Return `live` with what `desired` says put in.

    Fields that `desired` does not speak of are kept, and so is what it has a `Default`
    for; None takes one out. Records in lists are matched by the first field they name;
    items that are not wanted go.
    """
    if isinstance(desired, Default):
        return live
    if isinstance(live, Mapping) and isinstance(desired, Mapping):
        return _merged_fields(live, desired)
    if isinstance(live, list) and isinstance(desired, list):
        return [merged(twin, item) for twin, item in _twins(live, desired)]
    return stated(desired)


def _merged_fields(
    live: Mapping[str, Any], desired: Mapping[str, Any]
) -> dict[str, Any]:
    fields = dict(live)
    for key, value in desired.items():
        field = merged(live.get(key), value)
        if value is None or field is None:
            fields.pop(key, None)
        else:
            fields[key] = field
    return fields


def stated(desired: Any) -> Any:
    """Return `desired` as it is made from nothing: with its defaults, without the
    fields it wants out.
    """
    if isinstance(desired, Default):
        return stated(desired.value)
    if isinstance(desired, list):
        return [stated(value) for value in desired]
    if not isinstance(desired, Mapping):
        return desired
    fields = {key: stated(value) for key, value in desired.items()}
    return {key: value for key, value in fields.items() if value is not None}


def without(before: Any, after: Any) -> Any:
    """Return `after` with None for each field that `before` has and it has not: so that
    `holds` sees what is left.
    """
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        gone = dict.fromkeys(key for key in before if key not in after)
        left = {key: without(before.get(key), value) for key, value in after.items()}
        return {**gone, **left}
    if isinstance(before, list) and isinstance(after, list):
        return [without(twin, item) for twin, item in _twins(before, after)]
    return after


def _twins(live: list[Any], items: list[Any]) -> list[tuple[Any, Any]]:
    """Return each item with the record that it stands for, None where it is new."""
    left = [record for record in live if isinstance(record, Mapping)]
    return [(_taken_twin(item, left), item) for item in items]


def _taken_twin(item: Any, left: list[Mapping[str, Any]]) -> Any:
    """Take out of `left` the record that an item stands for; each stands for one."""
    if not isinstance(item, Mapping) or not item:
        return None
    name = next(iter(item))
    for index, record in enumerate(left):
        if _contains(record.get(name), item[name]):
            return left.pop(index)
    return None


# --- where two states differ ----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Pair:
    """What stands at one path in two states."""

    path: str
    one: Any
    other: Any


def differences(before: Any, after: Any, where: str = "") -> tuple[Difference, ...]:
    """Return the fields in which two states differ, as readable paths;
    empties are equal.

    Records in lists are told apart by their first field where that names them,
    else by their place.
    """
    pairs = _pairs(before, after, where)
    if pairs is not None:
        found = [differences(pair.one, pair.other, pair.path) for pair in pairs]
        return tuple(chain.from_iterable(found))
    if before == after or (empty(before) and empty(after)):
        return ()
    return (Difference(where, before, after),)


def _pairs(before: Any, after: Any, where: str) -> list[_Pair] | None:
    """Return the parts of two states in pairs; None where they have none in common."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        keys = {**before, **after}
        return [_Pair(_in(where, k), before.get(k), after.get(k)) for k in keys]
    if not (isinstance(before, list) and isinstance(after, list) and before and after):
        return None
    one, other = _by_name(before, after) or (_by_place(before), _by_place(after))
    keys = {**one, **other}
    return [_Pair(f"{where}[{k}]", one.get(k), other.get(k)) for k in keys]


def _in(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _by_place(items: list[Any]) -> dict[Any, Any]:
    return dict(enumerate(items))


def _by_name(
    before: list[Any], after: list[Any]
) -> tuple[dict[Any, Any], dict[Any, Any]] | None:
    """Return two lists' records by their first field, where that names each of them;
    None where it does not.

    Where the order alone differs names would hide it.
    """
    records = before + after
    if not all(isinstance(record, Mapping) and record for record in records):
        return None
    name = next(iter(before[0]))
    if next(iter(after[0])) != name:
        return None
    one, other = _indexed(before, name), _indexed(after, name)
    are_named = len(one) + len(other) == len(records)
    in_one_order = [k for k in one if k in other] == [k for k in other if k in one]
    return (one, other) if are_named and in_one_order else None


def _indexed(records: list[Any], name: str) -> dict[Any, Any]:
    return {r[name]: r for r in records if isinstance(r.get(name), str)}


def kept(live: Any, desired: Any, where: str = "") -> tuple[Difference, ...]:
    """Return what `merged` leaves as it is although `desired` has another `Default` for
    it: from the default, to it.
    """
    if isinstance(desired, Default):
        return () if empty(live) else differences(stated(desired), live, where)
    found: list[Difference] = []
    for pair in _spoken_of(live, desired, where):
        found += kept(pair.one, pair.other, pair.path)
    return tuple(found)


def _spoken_of(live: Any, desired: Any, where: str) -> Iterator[_Pair]:
    """Yield each part that `desired` speaks of, beside what is live of it."""
    if isinstance(live, Mapping) and isinstance(desired, Mapping):
        for key, value in desired.items():
            yield _Pair(_in(where, key), live.get(key), value)
    elif isinstance(live, list) and isinstance(desired, list):
        for place, (twin, item) in enumerate(_twins(live, desired)):
            yield _Pair(f"{where}[{place}]", twin, item)


def told(found: Sequence[Difference]) -> str:
    """Return the first eight differences, each in a line of its own."""
    lines = []
    for each in found[:8]:
        before = json.dumps(each.before, default=str)
        after = json.dumps(each.after, default=str)
        lines.append(f"  {each.field or 'it'}: {before} → {after}")
    return "\n".join(lines)


def spoken(state: Any, wanted: Any) -> Any:
    """Return of a state what `wanted` speaks of."""
    both = isinstance(state, Mapping) and isinstance(wanted, Mapping)
    return {key: state.get(key) for key in wanted} if both else state
