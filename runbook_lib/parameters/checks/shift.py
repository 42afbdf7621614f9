"""Check the shift, its verdict and the records, whatever carries the weights. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from runbook_lib.parameters.model import Parameters

BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


def shift(p: Parameters) -> Iterator[str]:
    """Yield where the two versions are not two services of the file, and approvals
    that cannot come together.
    """
    yield from _versions(p)
    yield from _approvers(p)


def _versions(p: Parameters) -> Iterator[str]:
    if p.shift.stable == p.shift.canary:
        yield (
            "shift.canary: expected another service than shift.stable; found "
            f"{p.shift.canary!r} twice"
        )
    versions = {"stable": p.shift.stable, "canary": p.shift.canary}
    for field, name in versions.items():
        if name not in p.services:
            yield (
                f"shift.{field}: no service {name!r}; expected one of "
                f"{list(p.services)}"
            )


def _approvers(p: Parameters) -> Iterator[str]:
    """An approver with a * in it may be any number of people."""
    rule = p.shift.approvals
    listed = set(rule.approvers)
    may_be_many = not listed or any("*" in approver for approver in listed)
    if not may_be_many and rule.required > len(listed):
        yield (
            "shift.approvals.required: expected at most the number of approvers, "
            f"{len(listed)}; found {rule.required}"
        )


def verdict(p: Parameters) -> Iterator[str]:
    """Yield where no metric is left that decides."""
    rule = p.shift.verdict
    deciding = {"errors"}
    if rule.slow_millis:
        deciding.add("slow")
    if deciding <= {*rule.muted}:
        yield (
            "shift.verdict.muted: expected a metric that decides; found all of them "
            f"muted: {', '.join(rule.muted)}"
        )
    if rule.errors_by_alarm and not p.shift.alarms:
        yield (
            "shift.verdict.errors_by_alarm: expected at least one alarm in "
            "shift.alarms; found none"
        )


def records(p: Parameters) -> Iterator[str]:
    """Yield where the records are to be kept in what is neither folder nor bucket."""
    scheme, separator, rest = (p.records or "").partition("://")
    if not separator:
        return
    bucket = rest.partition("/")[0]
    if scheme != "s3" or not BUCKET.fullmatch(bucket):
        yield f"records: expected a folder, or s3://BUCKET/PREFIX; found {p.records!r}"
