"""States as AWS tells them, compared: what one contains, what two put together
give, where two differ.

Pure: nested dicts, lists and values, in the API's own keys.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

ABSENT: Final = None
"""The state of something that is not there."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One field that a change would alter."""

    field: str
    before: Any
    after: Any

    @property
    def reversed(self) -> Difference:
        """What undoing this changes."""
        return Difference(self.field, self.after, self.before)


def fingerprint(state: Any) -> str:
    """Return sixteen hexadecimal digits that name exactly this state; "" for
    what is not there.

    A state with an identity and a version is named by these and what it specifies.
    """
    if state is ABSENT:
        return ""
    if isinstance(state, Mapping) and "uid" in state:
        state = {key: state.get(key) for key in ("uid", "version", "spec")}
    text = json.dumps(state, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def empty(value: Any) -> bool:
    """Return whether the API makes no difference between this and nothing."""
    return value is None or value == {} or value == []


def holds(state: Any, wanted: Any) -> bool:
    """Return whether `state` contains all that `wanted` says.

    Absent is only ever equal to absent; inside a state empties are equal and more
    fields are allowed.
    """
    if state is ABSENT or wanted is ABSENT:
        return state is wanted
    return _contains(state, wanted)


def _contains(state: Any, wanted: Any) -> bool:
    if empty(state) and isinstance(wanted, Mapping):
        state = {}
    match state, wanted:
        case Mapping(), Mapping():
            return all(_contains(state.get(key), wanted[key]) for key in wanted)
        case list(), list():
            same_length = len(state) == len(wanted)
            return same_length and all(map(_contains, state, wanted))
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
    match live, desired:
        case _, Default():
            return live
        case Mapping(), Mapping():
            return _merged_fields(live, desired)
        case list(), list():
            return [merged(pair.before, pair.after) for pair in _twins(live, desired)]
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
    match desired:
        case Default():
            return stated(desired.value)
        case list():
            return [stated(value) for value in desired]
        case Mapping():
            return _stated_fields(desired)
    return desired


def _stated_fields(desired: Mapping[str, Any]) -> dict[str, Any]:
    fields = {}
    for key, value in desired.items():
        field = stated(value)
        if field is not None:
            fields[key] = field
    return fields


def with_removed(before: Any, after: Any) -> Any:
    """Return `after` with None for each field that `before` has and it has not: so that
    `holds` sees what is left.
    """
    match before, after:
        case Mapping(), Mapping():
            removed = dict.fromkeys(key for key in before if key not in after)
            left = {key: with_removed(before.get(key), after[key]) for key in after}
            return {**removed, **left}
        case list(), list():
            pairs = _twins(before, after)
            return [with_removed(pair.before, pair.after) for pair in pairs]
    return after


@dataclass(frozen=True, slots=True)
class _Pair:
    """What stands at one place in two states; `path` is where, from their top."""

    path: str
    before: Any
    after: Any


def _twins(live: list[Any], items: list[Any], where: str = "") -> list[_Pair]:
    """Return each item behind the live record that it stands for, None where it is
    new; each record is taken by one item.
    """
    left = [record for record in live if isinstance(record, Mapping)]
    pairs = []
    for place, item in enumerate(items):
        record = _take_twin(left, item)
        pairs.append(_Pair(f"{where}[{place}]", record, item))
    return pairs


def _take_twin(left: list[Mapping[str, Any]], item: Any) -> Any:
    """Take out of `left` the record that an item stands for; None where none is."""
    if not isinstance(item, Mapping) or not item:
        return None
    name = next(iter(item))
    for index, record in enumerate(left):
        if _contains(record.get(name), item[name]):
            return left.pop(index)
    return None


# --- where two states differ ----------------------------------------------------------


def differences(before: Any, after: Any, where: str = "") -> tuple[Difference, ...]:
    """Return the fields in which two states differ, as readable paths;
    empties are equal.

    Records in lists are told apart by their first field where that names them,
    else by their place.
    """
    if before == after or (empty(before) and empty(after)):
        return ()
    match before, after:
        case Mapping(), Mapping():
            pairs = _field_pairs(before, after, where)
        case list(), list() if before and after:
            pairs = _item_pairs(before, after, where)
        case _:
            return (Difference(where, before, after),)
    found: list[Difference] = []
    for pair in pairs:
        found += differences(pair.before, pair.after, pair.path)
    return tuple(found)


def _field_pairs(
    before: Mapping[str, Any], after: Mapping[str, Any], where: str
) -> list[_Pair]:
    keys = {**before, **after}
    return [_Pair(_in(where, key), before.get(key), after.get(key)) for key in keys]


def _item_pairs(before: list[Any], after: list[Any], where: str) -> list[_Pair]:
    field = _naming_field(before, after)
    old, new = _indexed(before, field), _indexed(after, field)
    keys = {**old, **new}
    return [_Pair(f"{where}[{key}]", old.get(key), new.get(key)) for key in keys]


def _in(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _naming_field(before: list[Any], after: list[Any]) -> str | None:
    """Return the first field of two lists' records where that names each of them;
    None where it does not.

    Where the order alone differs names would hide it.
    """
    for record in (*before, *after):
        if not isinstance(record, Mapping) or not record:
            return None
    field: str = next(iter(before[0]))
    if next(iter(after[0])) != field:
        return None
    old, new = _names(before, field), _names(after, field)
    if len(old) < len(before) or len(new) < len(after):
        return None
    kept_names = [name for name in old if name in new]
    in_new_order = [name for name in new if name in old]
    return field if kept_names == in_new_order else None


def _names(records: list[Any], field: str) -> list[str]:
    """Return the texts in one field of records, each once."""
    values = [record.get(field) for record in records]
    return list(dict.fromkeys(value for value in values if isinstance(value, str)))


def _indexed(records: list[Any], field: str | None) -> dict[Any, Any]:
    """Return records by what names them; by their place where no field does."""
    if field is None:
        return dict(enumerate(records))
    return {record[field]: record for record in records}


def kept(live: Any, desired: Any, where: str = "") -> tuple[Difference, ...]:
    """Return what `merged` leaves as it is although `desired` has another `Default` for
    it: from the default, to it.
    """
    match live, desired:
        case _, Default() if empty(live):
            return ()
        case _, Default():
            return differences(stated(desired), live, where)
        case Mapping(), Mapping():
            pairs = [
                _Pair(_in(where, key), live.get(key), desired[key]) for key in desired
            ]
        case list(), list():
            pairs = _twins(live, desired, where)
        case _:
            return ()
    found: list[Difference] = []
    for pair in pairs:
        found += kept(pair.before, pair.after, pair.path)
    return tuple(found)


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
    match state, wanted:
        case Mapping(), Mapping():
            return {key: state.get(key) for key in wanted}
    return state
