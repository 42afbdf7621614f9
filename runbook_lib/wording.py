"""Say values, differences and changes so that they are read at a glance; the record
keeps them in full.

Pure. Nothing secret gets through: an environment variable is only ever named.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from runbook_lib.plan import Answer, Change, Difference, differences
from runbook_lib.redaction import redacted
from runbook_lib.verdict.harm import Harm

__all__ = [
    "fields_of",
    "harm_words",
    "lines_of",
    "said_of",
    "staged",
    "text_of",
]

MOST = 12  # fields of one change
SIZE = ("image", "cpu", "memory", "memoryReservation")
PAIRS = (("name", "value"), ("key", "value"))
WEIGHT = "weight"  # beside the one field that says whose it is
NOT_SAID = ("uid", "version", "arn")  # AWS's own, of a thing that comes or goes
STAGES = {
    "plain": "no {what} divides the traffic yet",
    "routed": "a {what} divides the traffic, and gives the canary none",
    "shifting": "the canary has a part of the traffic",
    "shifted": "the canary has reached the last step",
    "retired": "the former version is gone",
}
ITEM = re.compile(rf".*\[([^\]]+)\](\.{WEIGHT})?")  # of a list, by its name
REVISION = re.compile(r"arn:[^:]+:ecs:[^/]+task-definition/")


def text_of(value: Any) -> str:
    """Return a value as one line of words, without what is shaped like a secret."""
    if isinstance(value, Answer):
        revision = value.query.startswith("taskDefinition.")
        return (
            "(the revision registered above)"
            if revision
            else f"(known once there is {value.change})"
        )
    if isinstance(value, Mapping):
        return (
            _pair(redacted(value))
            or _container(value)
            or f"{{{', '.join(lines_of(redacted(value)))}}}"
        )
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(text_of, value))}]"
    return "–" if value is None else REVISION.sub("", str(redacted(value)))


def lines_of(state: Mapping[str, Any]) -> list[str]:
    """Return a state's fields as `path: value`, as far down as a path has no fork."""
    return [
        f"{path}: {text_of(inner)}"
        for path, inner in (_straight(k, v) for k, v in state.items())
        if _said(inner)
    ]


def _said(value: Any) -> bool:
    return value is not None and value not in ({}, [])


def _straight(path: str, value: Any) -> tuple[str, Any]:
    while True:
        if (
            isinstance(value, list)
            and len(value) == 1
            and isinstance(value[0], Mapping)
        ):
            (value,) = value
        elif isinstance(value, Mapping) and len(value) == 1 and "image" not in value:
            ((key, value),) = value.items()
            path = f"{path}.{key}"
        else:
            return path, value


def _pair(record: Mapping[str, Any]) -> str:
    """Return a name with what it is given; "" where a record is no such pair."""
    if _is_weighed(record):
        (whose,) = {*record} - {WEIGHT}
        return f"{record[whose]}: {record[WEIGHT]}"
    for name, given in PAIRS:
        if {*record} == {name, given}:
            return f"{record[name]}: {record[given]}"
    return ""


def _is_weighed(record: Any) -> bool:
    """Say whether a record has a weight, and one field more: whose it is."""
    return isinstance(record, Mapping) and WEIGHT in record and len(record) == 2


def _container(form: Mapping[str, Any]) -> str:
    """Return a container definition's image and size, and what else it says by name
    alone; "" where it is none.
    """
    if "image" not in form:
        return ""
    told = [f"{key} {form[key]}" for key in SIZE if form.get(key)]
    named = [variable["name"] for variable in form.get("environment") or []]
    told += [f"environment {', '.join(named)}"] if named else []
    more = [
        key
        for key, value in form.items()
        if _said(value) and key not in ("name", "environment", *SIZE)
    ]
    return str(
        redacted("; ".join(told) + (f"; with {', '.join(more)}" if more else ""))
    )


def fields_of(change: Change) -> list[str]:
    """Return a line for each field that a change alters, some at most, and its note."""
    lines = [line for difference in change.diff for line in _lines(change, difference)]
    more = [f"… and {len(lines) - MOST} more fields"] if len(lines) > MOST else []
    return [*lines[:MOST], *more, *([f"note: {change.note}"] if change.note else [])]


def _lines(change: Change, found: Difference) -> Iterator[str]:
    """Yield a difference; one of something with many fields that comes or
    goes field by field.
    """
    inner = _field_by_field(found)
    if inner is not None:
        for each in inner:
            yield from _lines(change, each)
        return
    shown = _as_weight(found)
    field = shown.field.removeprefix("spec.") or change.verb
    before, after = shown.before, shown.after
    if before is None:
        field, after = _straight(field, after)
    elif after is None:
        field, before = _straight(field, before)
    yield f"{field}: {text_of(before)} → {text_of(after)}"


def _field_by_field(found: Difference) -> tuple[Difference, ...] | None:
    """Return what something that comes or goes consists of; None where it is better
    said as a whole.
    """
    if found.before is not None and found.after is not None:
        return None
    whole = found.before if found.after is None else found.after
    if not isinstance(whole, Mapping) or _pair(whole) or "image" in whole:
        return None
    inner = differences(said_of(found.before), said_of(found.after), found.field)
    return inner if len(inner) > 2 or not found.field else None


def _as_weight(found: Difference) -> Difference:
    """Return the difference of a target as that of its weight: a weight is its
    owner's.
    """
    item = ITEM.fullmatch(found.field)
    whole = found.before if found.after is None else found.after
    if not item or not (item[2] or _is_weighed(whole)):
        return found
    return Difference(item[1], _weight_of(found.before), _weight_of(found.after))


def _weight_of(state: Any) -> Any:
    return state[WEIGHT] if _is_weighed(state) else state


def said_of(state: Any) -> dict[str, Any]:
    """Return of a whole thing what its owner said."""
    kept = {key: value for key, value in (state or {}).items() if key not in NOT_SAID}
    return dict(kept["spec"]) if set(kept) == {"spec"} else kept


def harm_words(harm: Harm, gentler: Harm | None = None) -> str:
    """Return what a bad canary costs until its verdict, and what a smaller
    first step would cost.
    """
    if harm.failed_requests is None or harm.seconds is None:
        return "never detected"
    words = (
        f"about {_about(harm.failed_requests)} failed requests until the verdict, "
        f"after {harm.seconds:,.0f} s"
    )
    if gentler is None or gentler.failed_requests is None:
        return words
    return (
        f"{words}; with a first step of {gentler.weight} % about "
        f"{_about(gentler.failed_requests)}"
    )


def _about(number: int) -> str:
    """Return a forecast to two digits."""
    return f"{int(float(f'{number:.2g}')):,}"


def staged(name: str, stage: str, what: str) -> str:
    """Return the stage something has reached, and what that means."""
    return f"{name}: {STAGES[stage].format(what=what)} (stage {stage})"
