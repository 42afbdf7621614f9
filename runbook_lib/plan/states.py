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
        return all(
            _contains((state or {}).get(key), value) for key, value in wanted.items()
        )
    if isinstance(wanted, list) and isinstance(state, list):
        return len(wanted) == len(state) and all(map(_contains, state, wanted))
    return bool(state == wanted) or (empty(state) and empty(wanted))


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
        fields = dict(live)
        for key, value in desired.items():
            field = merged(live.get(key), value)
            if value is None or field is None:
                fields.pop(key, None)
            else:
                fields[key] = field
        return fields
    if isinstance(live, list) and isinstance(desired, list):
        left = [record for record in live if isinstance(record, Mapping)]
        return [merged(_taken_twin(item, left), item) for item in desired]
    return stated(desired)


def kept(live: Any, desired: Any, where: str = "") -> tuple[Difference, ...]:
    """Return what `merged` leaves as it is although `desired` has another `Default` for
    it: from the default, to it.
    """
    if isinstance(desired, Default):
        return differences(stated(desired), live, where) if not empty(live) else ()
    if isinstance(live, Mapping) and isinstance(desired, Mapping):
        pairs = [
            (f"{where}.{key}".lstrip("."), live.get(key), value)
            for key, value in desired.items()
        ]
    elif isinstance(live, list) and isinstance(desired, list):
        left = [record for record in live if isinstance(record, Mapping)]
        pairs = [
            (f"{where}[{n}]", _taken_twin(item, left), item)
            for n, item in enumerate(desired)
        ]
    else:
        return ()
    return tuple(d for path, found, value in pairs for d in kept(found, value, path))


def _taken_twin(item: Any, left: list[Mapping[str, Any]]) -> Any:
    """Take out of `left` the record that an item stands for; each stands for one."""
    if not isinstance(item, Mapping) or not item:
        return None
    name = next(iter(item))
    for index, record in enumerate(left):
        if _contains(record.get(name), item[name]):
            return left.pop(index)
    return None


def stated(desired: Any) -> Any:
    """Return `desired` as it is made from nothing: with its defaults, without the
    fields it wants out.
    """
    if isinstance(desired, Default):
        return stated(desired.value)
    if isinstance(desired, Mapping):
        fields = {key: stated(value) for key, value in desired.items()}
        return {key: value for key, value in fields.items() if value is not None}
    return (
        [stated(value) for value in desired] if isinstance(desired, list) else desired
    )


def without(before: Any, after: Any) -> Any:
    """Return `after` with None for each field that `before` has and it has not: so that
    `holds` sees what is left.
    """
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        gone = dict.fromkeys(key for key in before if key not in after)
        return gone | {
            key: without(before.get(key), value) for key, value in after.items()
        }
    if isinstance(before, list) and isinstance(after, list):
        left = [record for record in before if isinstance(record, Mapping)]
        return [without(_taken_twin(item, left), item) for item in after]
    return after


def differences(before: Any, after: Any, where: str = "") -> tuple[Difference, ...]:
    """Return the fields in which two states differ, as readable paths;
    empties are equal.

    Records in lists are told apart by their first field where that names them,
    else by their place.
    """
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        keys = [*before, *(k for k in after if k not in before)]
        pairs = [
            (f"{where}.{k}".lstrip("."), before.get(k), after.get(k)) for k in keys
        ]
    elif isinstance(before, list) and isinstance(after, list) and before and after:
        one, other = _named(before, after) or (
            dict(enumerate(before)),
            dict(enumerate(after)),
        )
        pairs = [
            (f"{where}[{key}]", one.get(key), other.get(key))
            for key in {**one, **other}
        ]
    elif before == after or (empty(before) and empty(after)):
        return ()
    else:
        return (Difference(where, before, after),)
    return tuple(d for path, a, b in pairs for d in differences(a, b, path))


def _named(
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
    one, other = (
        {r[name]: r for r in part if isinstance(r.get(name), str)}
        for part in (before, after)
    )
    unique = next(iter(after[0])) == name and len(one) + len(other) == len(records)
    in_order = [key for key in one if key in other] == [
        key for key in other if key in one
    ]
    return (one, other) if unique and in_order else None


def told(found: Sequence[Difference]) -> str:
    """Return the first eight differences, each in a line of its own."""
    said = (
        (
            d.field or "it",
            json.dumps(d.before, default=str),
            json.dumps(d.after, default=str),
        )
        for d in found[:8]
    )
    return "\n".join(f"  {where}: {before} → {after}" for where, before, after in said)


def spoken(state: Any, wanted: Any) -> Any:
    """Return of a state what `wanted` speaks of."""
    both = isinstance(state, Mapping) and isinstance(wanted, Mapping)
    return {key: state.get(key) for key in wanted} if both else state
