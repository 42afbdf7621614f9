"""Say which shares of requests a weight allows: exact quantiles of the binomial.

Pure.
"""

from __future__ import annotations

import math

from runbook_lib.errors import ParametersError

__all__ = ["separable", "share_band"]


def share_band(
    weight: float, requests: int, confidence: float = 0.999
) -> tuple[float, float]:
    """Return the lowest and the highest share of `requests` the canary may get if
    `weight` percent is real.

    Exact: the binomial's equal-tailed quantiles. Nothing and all are the only shares at
    weights 0 and 100; any share will do where there is no request. Raises
    ParametersError for a weight outside 0-100.
    """
    if not 0 <= weight <= 100 or requests < 0:
        raise ParametersError(
            "a weight is 0-100 percent of 0 or more requests, got "
            f"{weight} of {requests}"
        )
    if weight in (0, 100):
        only = weight / 100
        return only, only
    if not requests:
        return 0.0, 1.0
    tail = (1 - confidence) / 2
    below = _quantile(requests, weight / 100, tail)
    above = requests - _quantile(requests, 1 - weight / 100, tail)
    return below / requests, above / requests


def separable(
    former_weight: float, new_weight: float, requests: int, confidence: float = 0.999
) -> bool:
    """Return whether this many requests tell the two weights apart: their bands
    no longer overlap.
    """
    lower, higher = sorted((former_weight, new_weight))
    if lower == higher or not requests:
        return False
    _, top = share_band(lower, requests, confidence)
    bottom, _ = share_band(higher, requests, confidence)
    return top < bottom


def _quantile(n: int, p: float, tail: float) -> int:
    """Return the largest count that n draws fall below with probability `tail` at most.

    It is sought from twelve standard deviations below the mean, where the binomial has
    less than a float can add.
    """
    spread = 12 * math.sqrt(n * p * (1 - p)) + 12
    low, high = max(0, math.floor(n * p - spread)), math.ceil(n * p)
    while low < high:
        middle = (low + high) // 2
        if _at_most(middle, n, p) > tail:
            high = middle
        else:
            low = middle + 1
    return low


def _at_most(count: int, n: int, p: float) -> float:
    """Return the probability that n draws hit at most `count` times, for a
    count below the mean.

    It is an incomplete beta function: its continued fraction (DLMF 8.17.22)
    takes as few terms for millions of draws as for hundreds, the fewer the
    farther below the mean.
    """
    a, b, x = n - count, count + 1, 1 - p
    log_front = math.lgamma(n + 1) - math.lgamma(a) - math.lgamma(b)
    log_front += a * math.log(x) + b * math.log(p)
    return math.exp(log_front) * _beta_fraction(a, b, x) / a


def _beta_fraction(a: float, b: float, x: float) -> float:
    """Return the incomplete beta function's continued fraction (by Lentz's method)."""
    numerator, denominator = 1.0, 1 / (1 - (a + b) * x / (a + 1))
    value = denominator
    for m in range(1, 10_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            denominator = 1 / (1 + term * denominator)
            numerator = 1 + term / numerator
            change = numerator * denominator
            value *= change
        if abs(change - 1) < 1e-14:
            break
    return value
