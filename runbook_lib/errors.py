"""Every error the runbook raises on purpose.

    RunbookError
    ├── Refused                 nothing was changed                        exit 2
    │   ├── ParametersError     the file, or a value given beside it
    │   ├── TargetError         the wrong account, region or endpoint
    │   ├── PrerequisiteError   an earlier step has not been applied
    │   ├── PlanError           the change is not possible, and why
    │   ├── GateError           evidence is missing or does not hold
    │   ├── StalePlanError      somebody changed it since it was planned
    │   └── LockError           another run is at work here
    ├── Failed                  something was attempted and did not end well   exit 1
    │   ├── CallError           AWS refused or could not be reached
    │   │   ├── ThrottledError      too many calls
    │   │   └── CredentialsError    they have run out
    │   ├── ForeignChangeError  another writer was there between our write and our reading
    │   ├── ReadBackError       AWS does not show what was written
    │   ├── WaitError           a wait came to its end
    │   └── RollbackError       the way back to stable could not be made, or traffic does not show it
    ├── Held                    traffic stays where it is, somebody is to decide   exit 3
    └── RolledBack              traffic is back on the stable service              exit 4

A message says what, where, expected and found; `hint` says what to do next. Neither keeps a secret.
"""

from __future__ import annotations

from typing import ClassVar

from runbook_lib.redaction import scrubbed

__all__ = [
    "CallError",
    "CredentialsError",
    "Failed",
    "ForeignChangeError",
    "GateError",
    "Held",
    "LockError",
    "ParametersError",
    "PlanError",
    "PrerequisiteError",
    "ReadBackError",
    "Refused",
    "RollbackError",
    "RolledBack",
    "RunbookError",
    "StalePlanError",
    "TargetError",
    "ThrottledError",
    "WaitError",
]


class RunbookError(Exception):
    """The root. `reason` is one machine-readable word, of the kind or of the case; `exit_code` the command's."""

    reason: str = "error"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "", reason: str = "") -> None:
        self.message, self.hint = scrubbed(message), scrubbed(hint)
        self.reason = reason or self.reason
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message}\nNext: {self.hint}" if self.hint else self.message


class Refused(RunbookError):
    """Refused before any write."""

    reason = "refused"
    exit_code = 2


class ParametersError(Refused):
    """The parameters cannot be used as they stand."""

    reason = "parameters"


class TargetError(Refused):
    """The caller's account, region or endpoint is not the file's."""

    reason = "target"


class PrerequisiteError(Refused):
    """An earlier notebook has not been applied."""

    reason = "prerequisite"


class PlanError(Refused):
    """What is wanted cannot be reached from what is there."""

    reason = "plan"


class GateError(Refused):
    """A plan's evidence is missing or does not hold."""

    reason = "gate"


class StalePlanError(Refused):
    """What the plan was made against is no longer what is there."""

    reason = "stale_plan"


class LockError(Refused):
    """Another run holds this environment."""

    reason = "lock"


class Failed(RunbookError):
    """Something was attempted and did not end well."""

    reason = "failed"


class CallError(Failed):
    """AWS refused a call, or could not be reached."""

    reason = "call"


class ThrottledError(CallError):
    """AWS takes no more calls just now."""

    reason = "throttled"


class CredentialsError(CallError):
    """The credentials have run out, or are no longer taken."""

    reason = "credentials"


class ForeignChangeError(Failed):
    """Another writer changed the same thing at the same time."""

    reason = "foreign_change"


class ReadBackError(Failed):
    """What was read after a write is not what was written."""

    reason = "read_back"


class WaitError(Failed):
    """A wait ended without its condition."""

    reason = "wait"


class RollbackError(Failed):
    """The way back to the stable service could not be made, or traffic does not show it."""

    reason = "rollback_failed"


class Held(RunbookError):
    """Traffic stays where it is until somebody decides."""

    reason = "held"
    exit_code = 3


class RolledBack(RunbookError):
    """Traffic was taken back to the stable service."""

    reason = "rolled_back"
    exit_code = 4
