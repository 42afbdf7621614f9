"""Which approvals of a plan count, and how many are still needed. Pure.

Whoever approves is known by the identity that STS confirms, or by a name where the
file takes names, or asks for no more than somebody's approval. In a rehearsal everybody
is the same identity: names count there.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from runbook_lib.parameters.shift import Approvals
from runbook_lib.plan import fingerprint

__all__ = ["Approvers", "Given", "counting", "held_until", "lacking", "refusal"]


@dataclass(frozen=True, slots=True)
class Approvers:
    """Who may approve: the file's rule, whether this is a rehearsal, and the identities
    that are at work on the run.
    """

    rule: Approvals
    rehearsed: bool = False
    at_work: Collection[str] = ()

    @property
    def by_name(self) -> bool:
        """Whether a name is enough."""
        rule = self.rule
        if self.rehearsed or rule.identified_by == "name":
            return True
        asks_for_some = rule.approvers or rule.required > 1 or rule.exclude_starter
        return not asks_for_some

    @property
    def mark(self) -> str:
        """What names the rule: an approval given under another one does not count."""
        said = self.rule.model_dump(mode="json")
        names = ("approvers", "required", "exclude_starter", "identified_by")
        return fingerprint({name: said[name] for name in names})


@dataclass(frozen=True, slots=True)
class Given:
    """An approval as it was given: the name, the identity that STS confirmed ("" where
    none did), the mark of the rule then ("" in the parameters), when it runs out (epoch
    seconds).
    """

    approver: str
    identity: str
    mark: str
    until: float


def given_of(said: Mapping[str, Any], until: float) -> Given:
    """Return an approval as a record or the parameters have it."""
    return Given(
        approver=str(said["approver"]),
        identity=str(said.get("identity", "")),
        mark=str(said.get("rule", "")),
        until=until,
    )


def refusal(approvers: Approvers, given: Given) -> str:
    """Return why an approval cannot count, in words; "" where it can."""
    rule = approvers.rule
    who = _who(approvers, given)
    if not who:
        return "no identity confirms it, and the file takes no names"
    if rule.approvers and not any(fnmatchcase(who, one) for one in rule.approvers):
        return f"{who} is not among shift.approvals.approvers"
    excludes = rule.exclude_starter and not approvers.rehearsed
    if excludes and given.identity in approvers.at_work:
        return f"{given.identity} is at work on the run, and may not approve it"
    if given.mark not in ("", approvers.mark):
        return "shift.approvals has changed since"
    return ""


def counting(approvers: Approvers, given: Sequence[Given]) -> list[Given]:
    """Return the approvals that count: of each approver the newest."""
    found: dict[str, Given] = {}
    for one in given:
        if not refusal(approvers, one):
            found[_who(approvers, one)] = one
    return list(found.values())


def held_until(approvers: Approvers, given: Sequence[Given]) -> float:
    """Return until when enough approvals hold, in epoch seconds: until fewer than are
    required are left. 0 where there never were enough.
    """
    ends = sorted((one.until for one in counting(approvers, given)), reverse=True)
    required = approvers.rule.required
    if len(ends) < required:
        return 0.0
    return ends[required - 1]


def lacking(approvers: Approvers, given: Sequence[Given], now: float) -> str:
    """Return in words what is there of the approvals that are needed."""
    required = approvers.rule.required
    counts = counting(approvers, given)
    hold = [one.approver for one in counts if one.until > now]
    if hold:
        return f"{required} are needed, and there is {', '.join(hold)}"
    if counts:
        return f"the one by {counts[-1].approver} ran out"
    if given:
        why = refusal(approvers, given[-1])
        return f"the one by {given[-1].approver} does not count: {why}"
    if required == 1:
        return "there is none"
    return f"{required} are needed, and there is none"


def _who(approvers: Approvers, given: Given) -> str:
    """Return what an approver is known by; "" where nothing confirms it."""
    return given.approver if approvers.by_name else given.identity
