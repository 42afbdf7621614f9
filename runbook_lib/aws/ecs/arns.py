"""Take ARNs of ECS apart. Pure."""

from __future__ import annotations


def short(arn: str) -> str:
    """Return what follows the last slash: a service's name, or `family:revision`."""
    return arn.rsplit("/", 1)[-1]


def family_of(revision: str) -> str:
    """Return the family of a revision's ARN."""
    return short(revision).rsplit(":", 1)[0]


def number_of(revision: str) -> int:
    """Return the number of a revision's ARN."""
    return int(revision.rsplit(":", 1)[-1])
