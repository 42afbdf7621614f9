"""One App Mesh resource that should exist, and its spec once it is there. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from runbook_lib.plan import merged, stated
from runbook_lib.plan.states import empty

LIMITS = ("timeout", "http", "http2", "grpc", "tcp")


@dataclass(frozen=True, slots=True)
class Resource:
    """One thing that should exist: what it is, its names, its spec, and the
    notebook that makes it.
    """

    kind: str
    names: Mapping[str, str]
    spec: Mapping[str, Any]
    step: str
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its own name: the innermost."""
        return list(self.names.values())[-1]

    @property
    def key(self) -> str:
        """What it is called in plans."""
        within_the_mesh = list(self.names.values())[1:]
        return f"{self.kind} {'/'.join(within_the_mesh) or self.name}"


def created(resource: Resource) -> dict[str, Any]:
    """Return the spec of a resource that is not there yet."""
    spec: dict[str, Any] = _without_empty_limits(stated(resource.spec))
    return spec


def updated(resource: Resource, live: Mapping[str, Any]) -> dict[str, Any]:
    """Return the spec that a resource with the `live` one should have: equal where
    nothing is to change.
    """
    spec: dict[str, Any] = _without_empty_limits(merged(live, resource.spec))
    return spec


def _without_empty_limits(spec: Any) -> Any:
    """Return a spec without the time limits that say nothing; every other field is
    kept, empty or not.
    """
    if isinstance(spec, list):
        return [_without_empty_limits(item) for item in spec]
    if not isinstance(spec, Mapping):
        return spec
    fields: dict[str, Any] = {}
    for key, value in spec.items():
        inner = _without_empty_limits(value)
        if key not in LIMITS or not empty(inner):
            fields[key] = inner
    return fields
