"""May the shift go on: the sequential test of errors, the share that traffic shows, the
forecast of a step. Pure.
"""

from __future__ import annotations

from runbook_lib.verdict.judge import (
    Judgement,
    evidence_curve,
    judge,
    judge_all,
    judge_tallies,
    share_of_alpha,
    tallies_of,
)
from runbook_lib.verdict.outcome import Verdict
from runbook_lib.verdict.sample import Sample
from runbook_lib.verdict.settings import Settings
from runbook_lib.verdict.tally import Tally

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
