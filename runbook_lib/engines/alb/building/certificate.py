"""Read the certificate of a listener to make, and say why it would not do. It only
reads; this alone names calls of Certificate Manager.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from runbook_lib.aws.reads import Reads
from runbook_lib.plan import Call, Reading

CERTIFICATE = (
    "Certificate.{status: Status, until: NotAfter, type: Type, "
    "names: SubjectAlternativeNames, name: DomainName}"
)
DAY_SECONDS = 86_400
LEAST_DAYS = 1  # a shift must not outlive it
SOON_DAYS = 30  # ACM renews its own ones earlier


def read_wrong(reads: Reads) -> str:
    """Read why the file's certificate would not do; "" where it does, or none is
    asked for.
    """
    p = reads.parameters
    if p.alb.certificate is None:
        return ""
    return wrong(p.shift.name, read(reads, p.alb.certificate), reads.now())


def read(reads: Reads, arn: str) -> Mapping[str, Any] | None:
    """Read a certificate; None where there is none."""
    call = Call("acm", "describe_certificate", {"CertificateArn": arn})
    reading = Reading(call, CERTIFICATE, ("ResourceNotFoundException",))
    found: Mapping[str, Any] | None = reads.read(reading)
    return found


def wrong(dialled: str, found: Mapping[str, Any] | None, now: float) -> str:
    """Say why a certificate would not do for a name; "" where it does."""
    if found is None:
        return "there is no such certificate in this account and region"
    if found["status"] != "ISSUED":
        return f"expected one that is ISSUED; found {found['status']}"
    if days_left(found, now) < LEAST_DAYS:
        return f"it expires within {LEAST_DAYS} day, or has: {found['until']:%Y-%m-%d}"
    names = [*(found["names"] or ()), found["name"]]
    if not covers(names, dialled):
        named = ", ".join(dict.fromkeys(names))
        return f"callers dial {dialled}, which it does not name; found {named}"
    return ""


def days_left(found: Mapping[str, Any], now: float) -> float:
    """Return for how many days a certificate is good."""
    return float((found["until"].timestamp() - now) / DAY_SECONDS)


def covers(names: Iterable[str], dialled: str) -> bool:
    """Say whether a name, or one with a first label of `*`, is the dialled one."""
    _, _, parent = dialled.lower().partition(".")
    return bool({dialled.lower(), f"*.{parent}"} & {name.lower() for name in names})
