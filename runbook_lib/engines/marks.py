"""Marks that the runbook leaves as tags on what divides the traffic: who is
retired, who rolled back.

Whoever looks from another machine, where this one's record is not, reads them.
`read_` functions read, all others are pure.
"""

from __future__ import annotations

import re
from typing import Protocol

from runbook_lib.aws.reads import Reads
from runbook_lib.engines.protocol import Split
from runbook_lib.plan import Call, Change, Inverse, Plan, Reading, differences

RETIRED = "runbook:retired"
ROLLED_BACK = "runbook:rolled-back"
MOST_VALUE = 256  # characters of a tag
NO_TAG = re.compile(r"[^\w\s.:/=+@-]")  # what a tag's value may not have


class Tags(Protocol):
    """How the tags of one thing are read and changed, in its service's API."""

    def reading(self, key: str) -> Reading:
        """Return how one tag's value is read."""

    def add(self, key: str, value: str) -> Call:
        """Return the call that gives the thing one tag."""

    def remove(self, key: str) -> Call:
        """Return the call that takes one tag from the thing."""


def read_retired(session: Reads, tags: Tags) -> frozenset[str]:
    """Read which services are marked as retired."""
    marked: str | None = session.read(tags.reading(RETIRED))
    return frozenset((marked or "").split())


def mark_retired(split: Split, tags: Tags, service: str) -> Change:
    """Return the mark of who has been retired, with this service among them."""
    before = " ".join(sorted(split.retired)) or None
    after = " ".join(sorted({*split.retired, service}))
    back = tags.remove(RETIRED) if before is None else tags.add(RETIRED, before)
    return Change(
        name=f"{service} as retired (tag on {split.key})",
        verb="mark",
        call=tags.add(RETIRED, after),
        reading=tags.reading(RETIRED),
        expected=before,
        wanted=after,
        about=(f"tag {RETIRED} on {split.key}", split.key),
        inverse=Inverse("unmark", back, wanted=before),
        diff=differences(before, after, RETIRED),
    )


def read_rolled_back(session: Reads, tags: Tags) -> str:
    """Read who rolled back last, and when; "" where nobody left a mark."""
    return session.read(tags.reading(ROLLED_BACK)) or ""


def plan_rolled_back(split: Split, tags: Tags, before: str, words: str) -> Plan:
    """Plan the mark of who rolled back, and when; `before` is the last one."""
    value = NO_TAG.sub("-", words)[:MOST_VALUE]
    mark = Change(
        name=f"{split.key} as rolled back",
        verb="mark",
        call=tags.add(ROLLED_BACK, value),
        reading=tags.reading(ROLLED_BACK),
        expected=before or None,
        wanted=value,
        about=(f"tag {ROLLED_BACK} on {split.key}", split.key),
        no_inverse="it says who rolled back, and when",
    )
    return Plan("rollback", (mark,))
