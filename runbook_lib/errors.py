"""Every error the runbook raises on purpose.

    RunbookError
    ├── Refused                 not even begun; after a write: failed (exit 2)
    │   ├── ParametersError     the file, or a value given beside it
    │   ├── TargetError         the wrong account, region or endpoint
    │   ├── PrerequisiteError   an earlier step has not been applied
    │   ├── PlanError           the change is not possible, and why
    │   ├── GateError           evidence is missing or does not hold
    │   ├── StalePlanError      somebody changed it since it was planned
    │   └── LockError           another run is at work here
    ├── Failed                  was attempted and did not end well (exit 1)
    │   ├── CallError           AWS refused or could not be reached
    │   │   ├── ThrottledError      too many calls
    │   │   ├── UnreachableError    no answer, or AWS cannot serve just now
    │   │   └── CredentialsError    they have run out
    │   ├── ForeignChangeError  somebody wrote between our write and our reading
    │   ├── ReadBackError       AWS does not show what was written
    │   ├── WaitError           a wait timed out
    │   ├── RecordError         the record cannot be written, or is not whole
    │   └── RollbackError       the rollback could not be made, or is not in effect
    ├── Held                    traffic stays, someone must decide (exit 3)
    ├── RolledBack              all traffic is on the stable service (exit 4)
    └── NotFollowed             a cell stopped following, the shift goes on (exit 3)

A message says what, where, expected and found; `hint` says what to do next.
Neither keeps a secret.
"""

from __future__ import annotations

from typing import ClassVar

from runbook_lib.printable import visible
from runbook_lib.redaction import scrubbed

__all__ = [
    "CallError",
    "CredentialsError",
    "Failed",
    "ForeignChangeError",
    "GateError",
    "Held",
    "LockError",
    "NotFollowed",
    "ParametersError",
    "PlanError",
    "PrerequisiteError",
    "ReadBackError",
    "RecordError",
    "Refused",
    "RollbackError",
    "RolledBack",
    "RunbookError",
    "StalePlanError",
    "TargetError",
    "ThrottledError",
    "UnreachableError",
    "WaitError",
]


class RunbookError(Exception):
    """The root. `reason` is one machine-readable word, of the kind or of the case;
    `exit_code` the command's.
    """

    reason: str = "error"
    exit_code: int = 1

    def __init__(self, message: str, *, hint: str = "", reason: str = "") -> None:
        self.message, self.hint = visible(scrubbed(message)), visible(scrubbed(hint))
        self.reason = reason or self.reason
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message}\nNext: {self.hint}" if self.hint else self.message


class Refused(RunbookError):
    reason = "refused"
    exit_code = 2


class ParametersError(Refused):
    reason = "parameters"


class TargetError(Refused):
    reason = "target"


class PrerequisiteError(Refused):
    reason = "prerequisite"


class PlanError(Refused):
    reason = "plan"


class GateError(Refused):
    reason = "gate"


class StalePlanError(Refused):
    reason = "stale_plan"


class LockError(Refused):
    reason = "lock"


class Failed(RunbookError):
    reason = "failed"


class CallError(Failed):
    """`heals` says whether the same call may well be answered in some minutes."""

    reason = "call"
    heals: ClassVar[bool] = False


class ThrottledError(CallError):
    reason = "throttled"
    heals = True


class UnreachableError(CallError):
    reason = "unreachable"
    heals = True


class CredentialsError(CallError):
    reason = "credentials"


class ForeignChangeError(Failed):
    reason = "foreign_change"


class ReadBackError(Failed):
    reason = "read_back"


class WaitError(Failed):
    reason = "wait"


class RecordError(Failed):
    reason = "record"


class RollbackError(Failed):
    reason = "rollback_failed"


class Held(RunbookError):
    reason = "held"
    exit_code = 3


class RolledBack(RunbookError):
    reason = "rolled_back"
    exit_code = 4


class NotFollowed(RunbookError):
    reason = "not_followed"
    exit_code = 3
