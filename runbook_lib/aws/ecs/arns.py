"""Take ARNs of ECS apart, and split what its calls take only so many of. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def short(arn: str) -> str:
    """Return what follows the last slash: a service's name, or `family:revision`."""
    return arn.rsplit("/", 1)[-1]


def family_of(revision: str) -> str:
    """Return the family of a revision's ARN."""
    return short(revision).rsplit(":", 1)[0]


def number_of(revision: str) -> int:
    """Return the number of a revision's ARN."""
    return int(revision.rsplit(":", 1)[-1])


def portions(items: Sequence[T], most: int) -> list[Sequence[T]]:
    """Return items in their order, at most so many at a time."""
    return [items[first : first + most] for first in range(0, len(items), most)]
