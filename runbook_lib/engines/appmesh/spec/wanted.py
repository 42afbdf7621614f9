"""Put what the file says, and what it leaves unsaid, into the API's terms. Pure."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from runbook_lib.parameters.appmesh import Timeout
from runbook_lib.plan import Default
from runbook_lib.plan.states import empty


def said(record: BaseModel, key: str, value: Any) -> Any:
    """Return the API's value of a key of the parameters: as it is where the file has
    the key, else a default.

    None, which takes a field out, stands for a value that is empty.
    """
    wanted = None if empty(value) else value
    return wanted if key in record.model_fields_set else Default(wanted)


def value_of(record: BaseModel, key: str) -> Any:
    """Return the API's value of a key that it takes as the file writes it."""
    return said(record, key, getattr(record, key))


def time_limits(timeout: Timeout, protocol: str) -> dict[str, Any]:
    """Return the time limits of a listener or a route; TCP has no requests to limit."""
    idle = _seconds(timeout.idle_seconds)
    limits = {"idle": said(timeout, "idle_seconds", idle)}
    if protocol != "tcp":
        each_request = _seconds(timeout.per_request_seconds)
        limits["perRequest"] = said(timeout, "per_request_seconds", each_request)
    return limits


def _seconds(value: int | None) -> dict[str, Any] | None:
    return None if value is None else {"unit": "s", "value": value}
