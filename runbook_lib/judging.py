"""Say what the parameters file has judged, and how: which counts, by which settings, and the evidence over time.

Pure. `shift` judges by it, `outlook` looks ahead by it, pictures draw by it, and `verify` judges again by the
settings it has written down.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from runbook_lib.parameters import VerdictRule
from runbook_lib.telemetry import Interval
from runbook_lib.verdict import Sample, evidence_curve, share_of_alpha

__all__ = ["alpha_of", "counts_of", "deciding", "evidence_over", "judged", "settings_of"]


def judged(rule: VerdictRule) -> tuple[str, ...]:
    """Return the names of the metrics that get a verdict; each is one of an interval's counts."""
    return ("errors", "slow") if rule.slow_millis else ("errors",)


def deciding(rule: VerdictRule) -> tuple[str, ...]:
    """Return the names of those that are not muted."""
    return tuple(name for name in judged(rule) if name not in rule.muted)


def alpha_of(rule: VerdictRule) -> float:
    """Return what of alpha each metric that decides is judged by."""
    return share_of_alpha(rule.alpha, judged(rule), rule.muted)


def counts_of(rule: VerdictRule, seen: Sequence[Interval]) -> dict[str, list[Sample]]:
    """Return the counts of each metric that gets a verdict, interval by interval."""
    return {name: [getattr(interval, name) for interval in seen] for name in judged(rule)}


def settings_of(rule: VerdictRule, *, bake_over: bool, alone: int) -> dict[str, Any]:
    """Return the arguments of `judge_all` beside the counts, as they can be written down."""
    return {
        "alpha": rule.alpha,
        "detectable_increase": rule.detectable_increase,
        "ignored_increase": rule.ignored_increase,
        "power": rule.power,
        "bake_over": bake_over,
        "alone": alone,
        "muted": [name for name in rule.muted if name in judged(rule)],
        "ceilings": {"errors": rule.ceiling} if rule.ceiling else {},
        "counted": {"slow": f"slower than {rule.slow_millis} ms"} if rule.slow_millis else {},
    }


def evidence_over(rule: VerdictRule, seen: Sequence[Interval], alone: int) -> list[float]:
    """Return after each interval the log evidence of the metric that speaks most against the canary.

    In the newest `alone` of them it had all the traffic.
    """
    settings: dict[str, Any] = {
        "alpha": alpha_of(rule),
        "detectable_increase": rule.detectable_increase,
        "alone": alone,
    }
    counts, ceilings = counts_of(rule, seen), {"errors": rule.ceiling}
    curves = [evidence_curve(counts[name], ceiling=ceilings.get(name), **settings) for name in deciding(rule)]
    return list(map(max, zip(*curves, strict=True)))
