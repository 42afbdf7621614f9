"""May the shift go on: the sequential test of errors, the share that traffic shows, the
forecast of a step. Pure.
"""

from __future__ import annotations

from runbook_lib.verdict.judge import (
    Judgement,
    Sample,
    Settings,
    Tally,
    Verdict,
    evidence_curve,
    judge,
    judge_all,
    judge_tallies,
    share_of_alpha,
    tallies_of,
)

__all__ = [
    "Judgement",
    "Sample",
    "Settings",
    "Tally",
    "Verdict",
    "evidence_curve",
    "judge",
    "judge_all",
    "judge_tallies",
    "share_of_alpha",
    "tallies_of",
]
