"""Name what the runbook makes: its tags, names that fit, its ARNs. Pure."""

from __future__ import annotations

import hashlib

from runbook_lib.parameters import Parameters

HASH_DIGITS = 16


def fitting(name: str, most: int) -> str:
    """Return a name of at most so many characters; one that is cut off is
    told apart by a hash.
    """
    if len(name) <= most:
        return name
    told_apart = hashlib.sha256(name.encode()).hexdigest()[:HASH_DIGITS]
    return f"{name[: most - HASH_DIGITS - 1]}-{told_apart}"


def tags(p: Parameters) -> dict[str, str]:
    """Return the tags that mark what the runbook made."""
    return {"runbook": "appmesh-runbook", "runbook:environment": p.environment}


def partition(p: Parameters) -> str:
    """Return the part of AWS that ARNs of the file's region are in."""
    return "aws-cn" if p.region.startswith("cn-") else "aws"


def arn(p: Parameters, service: str, name: str) -> str:
    """Return the ARN of something in the file's account and region."""
    return f"arn:{partition(p)}:{service}:{p.region}:{p.account_id}:{name}"


def role_arn(p: Parameters, role: str) -> str:
    """Return the ARN of a role in the file's account."""
    return f"arn:{partition(p)}:iam::{p.account_id}:role/{role}"
