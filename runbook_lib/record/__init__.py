"""What was done: a run's folder, its journal, its place, and the lock of that place.

This alone touches `runs/`.
"""

from __future__ import annotations

from runbook_lib.record.finding import (
    ID,
    bring,
    called,
    environments,
    find,
    is_path,
    last_work,
    latest,
    open_or_join,
    runs,
    start,
    under_way,
    with_copy,
)
from runbook_lib.record.lock import (
    executor,
    held,
    holder,
    is_held,
    lock_of,
    locks_of,
    require_free,
    shift_lock_of,
    shifter,
    shifting,
)
from runbook_lib.record.paths import root
from runbook_lib.record.run import UNRECORDED, Run, Spare
from runbook_lib.record.store import Store

__all__ = [
    "ID",
    "UNRECORDED",
    "Run",
    "Spare",
    "Store",
    "bring",
    "called",
    "environments",
    "executor",
    "find",
    "held",
    "holder",
    "is_held",
    "is_path",
    "last_work",
    "latest",
    "lock_of",
    "locks_of",
    "open_or_join",
    "require_free",
    "root",
    "runs",
    "shift_lock_of",
    "shifter",
    "shifting",
    "start",
    "under_way",
    "with_copy",
]
