"""One interval's counts of requests and errors to both versions. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Integral

__all__ = ["NOTHING", "Sample", "as_one"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One interval's requests to both versions, and how many of them ended in an
    error (or were slow).

    Counts are whole numbers; anything else, or more errors than
    requests, is a ValueError.
    """

    stable_requests: int
    stable_errors: int
    canary_requests: int
    canary_errors: int

    def __post_init__(self) -> None:
        if not all(map(_is_whole, self.counts)):
            raise ValueError(f"a sample's counts must be whole numbers, got {self}")
        of_stable = 0 <= self.stable_errors <= self.stable_requests
        of_canary = 0 <= self.canary_errors <= self.canary_requests
        if not (of_stable and of_canary):
            raise ValueError(f"a sample needs 0 <= errors <= requests, got {self}")

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """Return the four counts in the order of the fields."""
        return (
            self.stable_requests,
            self.stable_errors,
            self.canary_requests,
            self.canary_errors,
        )

    @property
    def requests(self) -> int:
        """Return the requests to both versions."""
        return self.stable_requests + self.canary_requests

    @property
    def stable_rate(self) -> float | None:
        """Return stable's rate of errors, a fraction; None without a request."""
        return _rate(self.stable_errors, self.stable_requests)

    @property
    def canary_rate(self) -> float | None:
        """Return the canary's rate of errors, a fraction; None without a request."""
        return _rate(self.canary_errors, self.canary_requests)

    def __add__(self, other: Sample) -> Sample:
        """Return both intervals as one."""
        return Sample(
            self.stable_requests + other.stable_requests,
            self.stable_errors + other.stable_errors,
            self.canary_requests + other.canary_requests,
            self.canary_errors + other.canary_errors,
        )


def _is_whole(number: object) -> bool:
    if type(number) is int:  # nearly always, and far faster than to ask for Integral
        return True
    return isinstance(number, Integral) and not isinstance(number, bool)


def _rate(errors: int, requests: int) -> float | None:
    if not requests:
        return None
    return errors / requests


NOTHING = Sample(0, 0, 0, 0)


def as_one(samples: Iterable[Sample]) -> Sample:
    """Return several intervals as one; without any, one that counted nothing."""
    return sum(samples, NOTHING)
