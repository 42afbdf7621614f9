"""Put the reason of a verdict into words. Pure: figures in, parts of a sentence out."""

from __future__ import annotations

import math

from runbook_lib.verdict.figures import Figures
from runbook_lib.verdict.sample import Sample

__all__ = [
    "alone",
    "ceiling",
    "detected",
    "ignored",
    "needed",
    "newest",
    "of_figures",
    "undetectable",
]


def of_figures(
    figures: Figures, log_evidence: float, test_words: str, counted: str
) -> str:
    """Return what both versions answered, and the evidence of the test that decides."""
    total = figures.total
    canary = _canary(total, f" requests {counted}")
    stable = _count(total.stable_requests, total.stable_errors)
    threshold = -math.log(figures.settings.alpha)
    return (
        f"canary answered {canary}, stable {stable}{test_words}: "
        f"evidence {_odds(log_evidence)}, a FAIL needs {_odds(threshold)}"
    )


def alone(figures: Figures) -> str:
    """Return what the canary answered while stable was gone."""
    count = _count(figures.alone_requests, figures.alone_errors)
    allowed = f"up to {_percent(figures.limit)} allowed"
    return f"; while stable got no traffic, canary {count}, {allowed}"


def ignored(increase: float, most: float) -> str:
    """Return that an increase is too small for a FAIL."""
    return f" ({_points(increase)} more, up to {_points(most)} ignored)"


def ceiling(total: Sample, most: float) -> str:
    """Return what the canary answered in all, beside its ceiling."""
    return f"; in all {_canary(total)}, ceiling {_percent(most)}"


def detected(increase: float) -> str:
    """Return what a PASS rules out."""
    return f"an increase of {_points(increase)} would have been detected"


def needed(requests: int, increase: float) -> str:
    """Return how many canary requests a PASS still needs."""
    return (
        f"{requests:,} more canary requests needed to detect an increase of "
        f"{_points(increase)}"
    )


def undetectable(increase: float) -> str:
    """Return that no number of requests makes a PASS."""
    return (
        "at these rates no number of requests would detect an increase of "
        f"{_points(increase)}"
    )


def newest(intervals: int) -> str:
    """Return the newest intervals in words."""
    if intervals == 1:
        return "newest interval"
    return f"newest interval and the {intervals - 1} before it"


def _canary(total: Sample, words: str = "") -> str:
    return _count(total.canary_requests, total.canary_errors, words)


def _count(requests: int, errors: int, words: str = "") -> str:
    if not requests:
        return "no request"
    return f"{errors:,} of {requests:,}{words} ({_percent(errors / requests)})"


def _percent(rate: float) -> str:
    if rate >= 0.001 or not rate:
        return f"{100 * rate:.1f} %"
    return f"{100 * rate:.2g} %"


def _points(increase: float) -> str:
    points = f"{100 * increase:.3g}"
    unit = "percentage point" if points == "1" else "percentage points"
    return f"{points} {unit}"


def _odds(log_evidence: float) -> str:
    if log_evidence > math.log(1e9):
        return "over a billion to 1"
    odds = math.exp(log_evidence)
    if odds < 10:
        return f"{odds:.2g} to 1"
    rounded = float(f"{odds:.2g}")
    return f"{rounded:,.0f} to 1"
