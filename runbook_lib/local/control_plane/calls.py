"""Count the calls that reach the endpoint, so that "plan mode changes nothing" can be
asserted from outside.

A call is a read when its name starts with Describe, List, Get or Discover, and a
write otherwise, whether or not it succeeds. What convergence does by itself is no
call and is not counted.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from runbook_lib.local.control_plane.wire import Target

__all__ = ["CALLS", "Calls", "is_read"]

READS = ("Describe", "List", "Get", "Discover")
AGENT = re.compile(r"(?:app|runbook)/\S+")


def is_read(operation: str) -> bool:
    """Say whether an operation of this name only reads."""
    return operation.startswith(READS)


def _agent(user_agent: str) -> str:
    """Return who called: the id its client put into the user agent, else the
    client's own name.
    """
    named = AGENT.findall(user_agent)
    return named[-1] if named else user_agent.split(" ")[0] or "unknown"


@dataclass
class Calls:
    """The calls seen since the last reset: (account, agent, operation) to number."""

    seen: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    def add(self, target: Target, user_agent: str) -> None:
        """Count one call."""
        self.seen[
            target.account, _agent(user_agent), f"{target.service}.{target.operation}"
        ] += 1

    def reset(self) -> None:
        """Forget every call."""
        self.seen.clear()

    def summary(self, account: str | None = None) -> dict[str, Any]:
        """Return reads, writes and operations, of one account or of all, then by
        account and by agent.
        """
        seen = {key: n for key, n in self.seen.items() if account in (None, key[0])}
        return {
            **_totals(seen),
            "operations": dict(sorted(_sum(seen, 2).items())),
            "accounts": {
                name: _totals(_only(seen, 0, name)) for name in sorted(_sum(seen, 0))
            },
            "agents": {
                name: _totals(_only(seen, 1, name)) for name in sorted(_sum(seen, 1))
            },
        }


def _sum(seen: dict[tuple[str, str, str], int], place: int) -> Counter[str]:
    total: Counter[str] = Counter()
    for key, number in seen.items():
        total[key[place]] += number
    return total


def _only(
    seen: dict[tuple[str, str, str], int], place: int, name: str
) -> dict[tuple[str, str, str], int]:
    return {key: number for key, number in seen.items() if key[place] == name}


def _totals(seen: dict[tuple[str, str, str], int]) -> dict[str, int]:
    reads = sum(n for (_, _, name), n in seen.items() if is_read(name.split(".", 1)[1]))
    return {"read": reads, "write": sum(seen.values()) - reads}


CALLS = Calls()
