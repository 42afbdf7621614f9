"""Forecast what a bad canary costs users until its verdict. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from runbook_lib.verdict.evidence import requests_to_show
from runbook_lib.verdict.forecast import forecast, refuse_impossible

__all__ = ["Harm", "forecast_harm", "gentler_step"]

BAD = 0.5  # how much worse a canary is that fails half of its requests
SMALL_STEPS = (1, 2, 5, 10)  # percent, of which a first step may be proposed
RULE = ("alpha", "detectable_increase", "power")


@dataclass(frozen=True, slots=True)
class Harm:
    """What a bad canary costs users until its verdict, at one weight and one
    grain of the metrics.

    `increase` is how much worse it is, a fraction of 1; None where no
    time would show that.
    """

    weight: int  # percent
    increase: float
    seconds: float | None  # from the write to the verdict, at most
    failed_requests: int | None


def forecast_harm(
    requests_per_second: float,
    weight: int,
    error_rate: float,
    *,
    period_seconds: int,
    delay_seconds: int,
    increase: float = BAD,
    alpha: float = 0.01,
    detectable_increase: float = 0.01,
    power: float = 0.95,
) -> Harm:
    """Forecast how many requests a canary that is worse by `increase` fails
    until its verdict.

    A weight is written within a period; the periods after it that hold enough requests
    are read once the last of them is complete, `delay_seconds` after its end. What
    happens meanwhile is harm: three times a period of 60 s with a delay of 120 s.
    """
    refuse_impossible(requests_per_second, weight, error_rate, period_seconds)
    needed = requests_to_show(
        error_rate,
        increase,
        weight / 100,
        alpha=alpha,
        detectable_increase=detectable_increase,
        power=power,
    )
    per_second = requests_per_second * weight / 100  # the canary's
    if needed is None or not per_second:
        return Harm(weight, increase, None, None)
    periods = max(1, math.ceil(needed / (per_second * period_seconds)))
    seconds = period_seconds * (1 + periods) + delay_seconds
    return Harm(weight, increase, seconds, round(increase * per_second * seconds))


def gentler_step(
    first: Harm,
    bake_seconds: float,
    requests_per_second: float,
    error_rate: float,
    **settings: Any,
) -> Harm | None:
    """Return the harm of the smallest first step that can PASS in this bake, where that
    is less; None where none is.

    `settings` are those of `forecast_harm`.
    """
    rule = {name: settings[name] for name in RULE if name in settings}
    for weight in SMALL_STEPS:
        if weight >= first.weight:
            return None
        step = forecast(
            requests_per_second, weight, error_rate, bake_seconds, increases=(), **rule
        )
        harm = forecast_harm(
            requests_per_second, weight, error_rate, increase=first.increase, **settings
        )
        if step.can_pass and _is_less(harm, first):
            return harm
    return None


def _is_less(harm: Harm, than: Harm) -> bool:
    if harm.failed_requests is None:
        return False
    return harm.failed_requests < (than.failed_requests or 0)
