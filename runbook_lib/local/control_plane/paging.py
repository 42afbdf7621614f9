"""Pages of an ECS list: `maxResults` and `nextToken`. Pure."""

from __future__ import annotations

import base64
from typing import Any

from runbook_lib.local.control_plane.wire import ApiError

__all__ = ["page"]


def page(
    key: str, entries: list[str], members: dict[str, Any], most: int
) -> dict[str, Any]:
    """Return one page of `entries` under `key` and the next's token; raise
    InvalidParameterException.
    """
    limit = members.get("maxResults") or most
    if not 1 <= limit <= 100:
        raise ApiError(
            "InvalidParameterException", "maxResults must be between 1 and 100.", 400
        )
    start = _start(members["nextToken"]) if members.get("nextToken") else 0
    shown = {key: entries[start : start + limit]}
    if len(entries) <= start + limit:
        return shown
    return {
        **shown,
        "nextToken": base64.urlsafe_b64encode(str(start + limit).encode()).decode(),
    }


def _start(token: str) -> int:
    try:
        return int(base64.urlsafe_b64decode(token))
    except ValueError:
        raise ApiError("InvalidParameterException", "Invalid token.", 400) from None
