"""Make a verdict of what the intervals of one metric show. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from runbook_lib.verdict import reason
from runbook_lib.verdict.figures import Figures
from runbook_lib.verdict.sample import Sample

__all__ = ["Outcome", "Verdict", "verdict_on"]

Outcome = Literal["PASS", "FAIL", "INCONCLUSIVE"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """An outcome, the reason in plain words, and the figures; rates and increases
    are fractions of 1.
    """

    outcome: Outcome
    reason: str
    seen: Sample  # all intervals as one
    stable_rate: float | None
    canary_rate: float | None
    # canary's rate above stable's, interval by interval; alone, above stable's earlier
    # one
    increase: float | None
    log_evidence: float
    threshold: float  # the evidence that makes a FAIL, as odds to 1
    # canary requests missing before a PASS; None where no number is known to do
    requests_needed: int | None

    @property
    def evidence(self) -> float:
        """Return the evidence for a worse canary as odds to 1; 1e299 stands
        for all that is more.
        """
        return math.exp(min(self.log_evidence, math.log(1e299)))


@dataclass(frozen=True, slots=True)
class _Test:
    """One way to a FAIL."""

    log_evidence: float  # less what its part of alpha costs
    is_large: bool  # whether the increase is large enough for a FAIL
    words: str


def verdict_on(figures: Figures, *, bake_over: bool, counted: str) -> Verdict:
    """Return the verdict on figures: FAIL where a test reaches its threshold, PASS
    where nothing is missing, INCONCLUSIVE otherwise.

    `counted` says in the reason what is counted: `with an error`.
    """
    tests = [_against_stable(figures)]
    if figures.settings.ceiling:
        tests.append(_against_ceiling(figures, figures.settings.ceiling))
    failed = _failed(tests, figures)
    shown = max(failed or tests, key=lambda test: test.log_evidence)
    words = reason.of_figures(figures, shown.log_evidence, shown.words, counted)
    outcome: Outcome
    if failed:
        outcome = "FAIL"
    elif missing := _missing(figures, bake_over=bake_over):
        outcome = "INCONCLUSIVE"
        words = f"{words}; {missing}"
    else:
        outcome = "PASS"
        words = f"{words}; {reason.detected(figures.to_show)}"
    return Verdict(
        outcome=outcome,
        reason=words,
        seen=figures.total,
        stable_rate=figures.total.stable_rate,
        canary_rate=figures.total.canary_rate,
        increase=figures.increase,
        log_evidence=shown.log_evidence,
        threshold=1 / figures.settings.alpha,
        requests_needed=figures.requests_needed,
    )


def _failed(tests: Sequence[_Test], figures: Figures) -> list[_Test]:
    threshold = -math.log(figures.settings.alpha)
    large = [test for test in tests if test.is_large]
    return [test for test in large if test.log_evidence >= threshold]


def _against_stable(figures: Figures) -> _Test:
    """Return the test of the canary against stable, or against what stable showed."""
    ignored = figures.settings.ignored_increase
    # floats add up to a little less
    is_large = figures.increase_at_worst >= ignored - 1e-12
    words = ""
    if figures.alone_requests:
        words += reason.alone(figures)
    if ignored and not is_large:
        words += reason.ignored(figures.increase_at_worst, ignored)
    return _Test(figures.against_stable, is_large, words)


def _against_ceiling(figures: Figures, ceiling: float) -> _Test:
    words = reason.ceiling(figures.total, ceiling)
    return _Test(figures.against_ceiling, True, words)


def _missing(figures: Figures, *, bake_over: bool) -> str:
    """Return what stands between these figures and a PASS, or nothing."""
    needed = figures.requests_needed
    if not figures.total.canary_requests:
        return "no request to the canary was seen"
    if figures.total.stable_rate is None:
        return "stable answered no request it could be compared with"
    if silent := _silent(figures):
        return silent
    if needed is None:
        return reason.undetectable(figures.to_show)
    if needed:
        return reason.needed(needed, figures.to_show)
    return "" if bake_over else "the bake is not over"


def _silent(figures: Figures) -> str:
    """Return which version has fallen silent that should not have, or nothing."""
    stable_gap, canary_gap = figures.stable_gap, figures.canary_gap
    if canary_gap and stable_gap:
        return f"nothing was seen in the {reason.newest(min(canary_gap, stable_gap))}"
    if canary_gap:
        newest = reason.newest(canary_gap)
        return f"no request to the canary was seen in the {newest}"
    if stable_gap and not figures.is_alone and not figures.taken_over:
        return (
            f"no request to stable was seen in the {reason.newest(stable_gap)}, and "
            "the canary did not take them over"
        )
    return ""
