"""Check what a request carries against the service's own model, on the server's side.

The client's botocore checks types, required members and minima only; the service checks
the rest, and other clients check nothing. Members the model does not know are ignored,
as AWS's REST services ignore them; `null` is the same as absent. The words are those of
AWS's service framework. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import Any

from botocore.model import Shape

from runbook_lib.local.control_plane.wire import ApiError

__all__ = ["check"]

TYPES: dict[str, tuple[type, ...]] = {
    "structure": (dict,),
    "map": (dict,),
    "list": (list,),
    "string": (str,),
    "integer": (int,),
    "long": (int,),
    "boolean": (bool,),
    "double": (int, float),
    "float": (int, float),
    "timestamp": (int, float, str),
}
MEASURES = {"string": "length", "list": "length", "map": "length"}


def check(shape: Shape, value: Any, code: str) -> Any:
    """Return `value` without members the model does not know; raise ApiError `code`,
    naming every fault.
    """
    faults = list(_faults(shape, value, ""))
    if faults:
        noun = "error" if len(faults) == 1 else "errors"
        raise ApiError(
            code, f"{len(faults)} validation {noun} detected: " + "; ".join(faults)
        )
    return _known(shape, value)


def _known(shape: Shape, value: Any) -> Any:
    if shape.type_name == "structure":
        kept = {k: v for k, v in value.items() if k in shape.members and v is not None}
        return {k: _known(shape.members[k], v) for k, v in kept.items()}
    if shape.type_name == "list":
        return [_known(shape.member, item) for item in value]
    if shape.type_name == "map":
        return {key: _known(shape.value, item) for key, item in value.items()}
    return value


def _faults(shape: Shape, value: Any, path: str) -> Iterator[str]:
    expected = TYPES.get(shape.type_name, (object,))
    if not isinstance(value, expected) or (
        isinstance(value, bool) and bool not in expected
    ):
        yield _fault(value, path, f"Member must be of type {shape.type_name}")
        return
    yield from _limits(shape, value, path)
    inside: Any = value
    if shape.type_name == "structure":
        yield from _structure(shape, inside, path)
    elif shape.type_name == "list":
        for number, item in enumerate(inside, start=1):
            yield from _faults(shape.member, item, f"{path}.{number}.member")
    elif shape.type_name == "map":
        for key, item in inside.items():
            yield from _faults(shape.value, item, f"{path}.{key}.member")


def _structure(shape: Shape, value: dict[str, Any], path: str) -> Iterator[str]:
    present = {
        key for key, item in value.items() if key in shape.members and item is not None
    }
    at = partial(_at, path)
    for name in shape.required_members:
        if name not in present:
            yield _fault("null", at(name), "Member must not be null", quote=False)
    if getattr(shape, "is_tagged_union", False) and len(present) != 1:
        union = ", ".join(shape.members)
        yield _fault(
            sorted(present), path, f"Member must have exactly one of [{union}]"
        )
    for name in shape.members:
        if name in present:
            yield from _faults(shape.members[name], value[name], at(name))


def _at(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _limits(shape: Shape, value: Any, path: str) -> Iterator[str]:
    limits = {**shape.metadata, **shape.serialization}
    if (
        isinstance(value, str)
        and (values := shape.metadata.get("enum"))
        and value not in values
    ):
        yield _fault(
            value, path, f"Member must satisfy enum value set: [{', '.join(values)}]"
        )
    yield from _range(limits, value, path, MEASURES.get(shape.type_name, "value"))
    pattern = limits.get("pattern")
    if isinstance(value, str) and pattern and not re.search(_python(pattern), value):
        yield _fault(
            value, path, f"Member must satisfy regular expression pattern: {pattern}"
        )


def _range(
    limits: dict[str, Any], value: Any, path: str, measure: str
) -> Iterator[str]:
    if isinstance(value, bool) or not isinstance(value, (int, float, str, list, dict)):
        return
    size = value if isinstance(value, (int, float)) else len(value)
    if "min" in limits and size < limits["min"]:
        yield _fault(
            value,
            path,
            f"Member must have {measure} greater than or equal to {limits['min']}",
        )
    if "max" in limits and size > limits["max"]:
        yield _fault(
            value,
            path,
            f"Member must have {measure} less than or equal to {limits['max']}",
        )


def _fault(value: Any, path: str, constraint: str, *, quote: bool = True) -> str:
    shown = f"'{value}'" if quote else value
    return f"Value {shown} at '{path}' failed to satisfy constraint: {constraint}"


def _python(pattern: str) -> str:
    """Return a model's pattern, which is Java's, as Python's `re` understands it."""
    return (
        pattern.replace(r"\p{L}", r"\w")
        .replace(r"\p{Z}", r"\s")
        .replace(r"\p{N}", r"\d")
    )
