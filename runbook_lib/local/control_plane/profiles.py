"""Route 53 Profiles, which moto has not: there are none here, and none can be made."""

from __future__ import annotations

from typing import Any

from runbook_lib.local.control_plane.wire import ApiError, Target

__all__ = ["perform"]


def perform(target: Target, members: dict[str, Any]) -> dict[str, Any]:
    """Return that a VPC has none."""
    if target.operation == "ListProfileAssociations":
        return {"ProfileAssociations": []}
    words = f"The local AWS has no {target.operation}."
    raise ApiError("ValidationException", words)
