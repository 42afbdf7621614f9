"""What a step is judged by, and when it ends, as the parameters file says. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from runbook_lib.judging import ErrorJudge
from runbook_lib.parameters.model import Parameters
from runbook_lib.parameters.shift import VerdictRule

__all__ = ["Rule", "rule_of"]


@dataclass(frozen=True, slots=True)
class Rule:
    """How a step is judged and when it ends, as the parameters file says."""

    stable: str
    canary: str
    period_seconds: int
    bake_seconds: int
    prove_seconds: int
    verdict: VerdictRule
    judge: ErrorJudge
    on_blind: Literal["hold", "roll_back"] = "hold"
    blind_seconds: float = 600.0
    promotable: bool = True  # a person may end a bake

    def weights_at(self, step: int) -> dict[str, int]:
        """Return both services' weights, in percent, where the canary has this one."""
        return {self.stable: 100 - step, self.canary: step}


def rule_of(parameters: Parameters, judge: ErrorJudge) -> Rule:
    """Return the rule of a parameters file; `judge` says who judges errors."""
    shift = parameters.shift
    return Rule(
        stable=shift.stable,
        canary=shift.canary,
        period_seconds=parameters.telemetry.period_seconds,
        bake_seconds=shift.bake_seconds,
        prove_seconds=shift.prove_seconds,
        verdict=shift.verdict,
        judge=judge,
        on_blind=shift.on_blind,
        blind_seconds=60.0 * shift.blind_minutes,
        promotable=shift.promotion == "by_decision",
    )
