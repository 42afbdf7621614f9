"""What is wanted and what is there, turned into ordered changes that can be
checked and undone. Pure.
"""

from __future__ import annotations

from runbook_lib.plan.changes import (
    Answer,
    Before,
    Call,
    Change,
    ClearedPlan,
    Evidence,
    Inverse,
    Moved,
    Need,
    Plan,
    Reading,
    Wait,
    as_command,
    clear,
    mapped,
    ordered,
    turned,
)
from runbook_lib.plan.journal import revived, stored
from runbook_lib.plan.states import (
    ABSENT,
    Default,
    Difference,
    differences,
    fingerprint,
    holds,
    kept,
    merged,
    spoken,
    stated,
    told,
    without,
)

__all__ = [
    "ABSENT",
    "Answer",
    "Before",
    "Call",
    "Change",
    "ClearedPlan",
    "Default",
    "Difference",
    "Evidence",
    "Inverse",
    "Moved",
    "Need",
    "Plan",
    "Reading",
    "Wait",
    "as_command",
    "clear",
    "differences",
    "fingerprint",
    "holds",
    "kept",
    "mapped",
    "merged",
    "ordered",
    "revived",
    "spoken",
    "stated",
    "stored",
    "told",
    "turned",
    "without",
]
