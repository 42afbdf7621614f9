"""Say what the parameters file has judged, and how: which counts, by which settings,
and the evidence over time.

Pure. `shift` judges by it, `outlook` looks ahead by it, pictures draw by it, and
`verify` judges again by the settings it has written down.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from runbook_lib.aws.cloudwatch import Counted, Interval
from runbook_lib.errors import GateError
from runbook_lib.parameters.model import Parameters
from runbook_lib.parameters.shift import Shift, VerdictRule
from runbook_lib.verdict import (
    Judgement,
    Sample,
    Tally,
    evidence_curve,
    judge_tallies,
    share_of_alpha,
    tallies_of,
)
from runbook_lib.verdict.forecast import Forecast, forecast, require_passable

__all__ = [
    "ErrorJudge",
    "alpha_of",
    "counts_of",
    "deciding",
    "error_judge",
    "evidence_over",
    "forecast_of",
    "judge_by",
    "judged",
    "settings_of",
    "tallies",
    "unpassable",
]

ACCEPT = "shift: {alarms: [NAME], verdict: {errors_by_alarm: true}}"


@dataclass(frozen=True, slots=True)
class ErrorJudge:
    """Who judges a canary's errors: the counts, the file's alarms alone, or nobody; and
    the same in words.
    """

    by: Literal["counts", "alarms", "nobody"]
    words: str
    hint: str = ""


def error_judge(shift: Shift, counted: Counted) -> ErrorJudge:
    """Return who judges a shift's errors, by what is counted of it and
    what the file accepts.
    """
    if counted.errors and "errors" in shift.verdict.muted:
        return ErrorJudge(
            "counts", f"{counted.words}, and never decide: the file mutes them"
        )
    if counted.errors:
        return ErrorJudge("counts", counted.words)
    if not counted.requests:
        return ErrorJudge(
            "nobody",
            counted.words,
            "shift http, http2 or grpc, with an Envoy that counts",
        )
    if shift.alarms and shift.verdict.errors_by_alarm:
        return ErrorJudge("alarms", _by_alarms(shift))
    return ErrorJudge(
        "nobody", counted.words, f"accept alarms as the only judge of errors: {ACCEPT}"
    )


def _by_alarms(shift: Shift) -> str:
    """Return in words that alarms are the only judge of errors."""
    kind = "alarm" if len(shift.alarms) == 1 else "alarms"
    return f"errors are judged by {kind} {', '.join(shift.alarms)} alone"


def judged(rule: VerdictRule) -> tuple[str, ...]:
    """Return the names of the metrics that get a verdict; each is one of an
    interval's counts.
    """
    return ("errors", "slow") if rule.slow_millis else ("errors",)


def deciding(rule: VerdictRule) -> tuple[str, ...]:
    """Return the names of those that are not muted."""
    return tuple(name for name in judged(rule) if name not in rule.muted)


def alpha_of(rule: VerdictRule) -> float:
    """Return what of alpha each metric that decides is judged by."""
    return share_of_alpha(rule.alpha, judged(rule), rule.muted)


def counts_of(rule: VerdictRule, seen: Sequence[Interval]) -> dict[str, list[Sample]]:
    """Return the counts of each metric that gets a verdict, interval by interval."""
    return {
        name: [getattr(interval, name) for interval in seen] for name in judged(rule)
    }


def forecast_of(
    shift: Shift,
    weight: int,
    requests_per_second: float,
    error_rate: float,
    *,
    bakes: int = 1,
) -> Forecast:
    """Forecast a step to `weight` percent and so many bakes, by the file's rule."""
    rule = shift.verdict
    return forecast(
        requests_per_second,
        weight,
        error_rate,
        bakes * shift.bake_seconds,
        alpha=alpha_of(rule),
        detectable_increase=rule.detectable_increase,
        ignored_increase=rule.ignored_increase,
        power=rule.power,
    )


def unpassable(p: Parameters) -> GateError | None:
    """Return what would refuse the file's first step that can never pass, with the
    traffic that the file states and no errors; None where each step can, where the file
    allows it, and where it states no traffic.
    """
    shift = p.shift
    states_traffic = p.rehearsed or "traffic" in p.model_fields_set
    if shift.allow_unprovable or not states_traffic:
        return None
    for weight in shift.steps:
        rate = float(p.traffic.requests_per_second)
        ahead = forecast_of(shift, weight, rate, 0.0, bakes=shift.verdict.bakes)
        try:
            require_passable(ahead)
        except GateError as error:
            return error
    return None


def tallies(rule: VerdictRule) -> dict[str, Tally]:
    """Return an empty tally of each metric that gets a verdict."""
    return tallies_of(
        judged(rule),
        muted=_muted(rule),
        ceilings=_ceilings(rule),
        alpha=rule.alpha,
        detectable_increase=rule.detectable_increase,
        ignored_increase=rule.ignored_increase,
        power=rule.power,
    )


def judge_by(
    rule: VerdictRule,
    tallies: Mapping[str, Tally],
    *,
    bake_over: bool,
    judge: ErrorJudge,
) -> Judgement:
    """Judge what the intervals of each metric add up to."""
    counted = _counted(rule, judge)
    return judge_tallies(
        tallies, muted=_muted(rule), counted=counted, bake_over=bake_over
    )


def settings_of(
    rule: VerdictRule, *, bake_over: bool, alone: int, judge: ErrorJudge
) -> dict[str, Any]:
    """Return the arguments of `judge_all` beside the counts, as they
    can be written down.
    """
    return {
        "alpha": rule.alpha,
        "detectable_increase": rule.detectable_increase,
        "ignored_increase": rule.ignored_increase,
        "power": rule.power,
        "bake_over": bake_over,
        "alone": alone,
        "muted": _muted(rule),
        "ceilings": _ceilings(rule),
        "counted": _counted(rule, judge),
    }


def _muted(rule: VerdictRule) -> list[str]:
    return [name for name in rule.muted if name in judged(rule)]


def _counted(rule: VerdictRule, judge: ErrorJudge) -> dict[str, str]:
    """Return in words what each metric counts."""
    counted = {}
    if rule.slow_millis:
        counted["slow"] = f"slower than {rule.slow_millis} ms"
    if judge.by != "counts":
        counted["errors"] = f"with a 5XX ({judge.words})"
    return counted


def _ceilings(rule: VerdictRule) -> dict[str, float]:
    return {"errors": rule.ceiling} if rule.ceiling else {}


def evidence_over(
    rule: VerdictRule, seen: Sequence[Interval], alone: int
) -> list[float]:
    """Return after each interval the log evidence of the metric that speaks most
    against the canary.

    In the newest `alone` of them it had all the traffic.
    """
    settings: dict[str, Any] = {
        "alpha": alpha_of(rule),
        "detectable_increase": rule.detectable_increase,
        "alone": alone,
    }
    counts, ceilings = counts_of(rule, seen), {"errors": rule.ceiling}
    curves = [
        evidence_curve(counts[name], ceiling=ceilings.get(name), **settings)
        for name in deciding(rule)
    ]
    return list(map(max, zip(*curves, strict=True)))
