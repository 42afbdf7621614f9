"""What the callers of a local mesh say of their requests."""

from __future__ import annotations

import time
from typing import Any

from runbook_lib.local.supervisor import LocalMesh
from runbook_lib.parameters import Parameters

# a caller writes down every second what it did; one that does not any more has ended
SILENT_SECONDS = 5
TOTALS = ("sent", "answered", "failed", "shed", "in_flight", "restarts", "file")


def traffic_of(mesh: LocalMesh) -> dict[str, Any]:
    """Return each caller's requests per second now, and its totals since the
    local mesh came up.
    """
    found = {}
    for name, now in mesh.ask("/runbook/traffic").items():
        silent = time.time() - now.get("at", 0) > SILENT_SECONDS
        rate = 0 if silent else round(now.get("requests_per_second", 0))
        totals = {key: now.get(key, 0) for key in TOTALS}
        found[name] = {"requests_per_second": rate, **totals}
    return found


def load_of(mesh: LocalMesh, p: Parameters) -> dict[str, int]:
    """Return what an environment's caller has sent since the local mesh came up, what
    failed, and what was due and not sent; empty where it has none.
    """
    # with it botocore, which `local fault` can spare
    from runbook_lib.local import world

    calls = traffic_of(mesh).get(world.called(p, mesh))
    if calls is None:
        return {}
    return {
        "sent": calls["sent"],
        "failed": calls["failed"],
        "not sent": calls["shed"],
    }
