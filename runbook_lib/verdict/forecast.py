"""Say beforehand what a step can show, what it risks, and whether the canary's
tasks can carry it.

Pure: traffic and settings in, frozen records out. The figures are those of the
verdict's own rule, so that what is forecast to show is what `judge` shows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from runbook_lib.errors import GateError, ParametersError
from runbook_lib.verdict.evidence import requests_to_show

__all__ = [
    "Forecast",
    "Harm",
    "Load",
    "Sight",
    "forecast",
    "forecast_harm",
    "forecast_load",
    "gentler_step",
    "requests_for_one_look",
    "require_passable",
    "separable",
    "share_band",
]

INCREASES = (0.005, 0.01, 0.05, 0.5)
BAD = 0.5  # how much worse a canary is that fails half of its requests
SMALL_STEPS = (1, 2, 5, 10)  # percent, of which a first step may be proposed


@dataclass(frozen=True, slots=True)
class Sight:
    """What it takes to see one increase of the error rate; None
    where no time would do.
    """

    increase: float  # fraction of 1
    canary_requests: int | None
    minutes: float | None
    harmed_requests: int | None  # errors by then that stable would not have made
    within_bake: bool


@dataclass(frozen=True, slots=True)
class Forecast:
    """What one step can show and risks; rates and increases are fractions of 1."""

    requests_per_second: float
    weight: int  # the canary's, percent
    error_rate: float  # stable's
    bake_minutes: float
    sights: tuple[Sight, ...]
    requests_at_risk: int  # the canary's in this bake
    requests_to_pass: int | None  # the canary's, before a PASS is possible
    minutes_to_pass: float | None
    smallest_increase: float | None  # this bake can see

    @property
    def can_pass(self) -> bool:
        """Return whether this bake sees enough requests for a PASS."""
        return (
            self.requests_to_pass is not None
            and self.requests_to_pass <= self.requests_at_risk
        )


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


@dataclass(frozen=True, slots=True)
class Load:
    """Requests per second on each task of the canary after a step, and
    what it can carry.
    """

    weight: int
    stable_now: float | None  # requests per second on each of stable's tasks now
    canary_then: float | None  # None where the canary has no task
    capacity: float | None  # of one task
    canary_tasks: int
    tasks_needed: int | None  # None where no capacity is known

    @property
    def carries(self) -> bool:
        """Return whether the canary's tasks are known to be enough."""
        return self.tasks_needed is not None and self.canary_tasks >= self.tasks_needed


def forecast(
    requests_per_second: float,
    weight: int,
    error_rate: float,
    bake_seconds: float,
    *,
    alpha: float = 0.01,
    detectable_increase: float = 0.01,
    ignored_increase: float = 0.0,
    power: float = 0.95,
    increases: tuple[float, ...] = INCREASES,
) -> Forecast:
    """Forecast a step to `weight` percent at this traffic of both versions and
    stable's rate of errors.

    Raises ParametersError for traffic, weight or rate out of range. At weight 100 the
    canary is judged alone, against stable's rate plus `detectable_increase`, and
    smaller increases cannot be seen.
    """
    _refuse_impossible(requests_per_second, weight, error_rate, bake_seconds)
    canary_per_minute = 60 * requests_per_second * weight / 100
    in_bake = math.floor(canary_per_minute * bake_seconds / 60)

    def needed(increase: float) -> int | None:
        return requests_to_show(
            error_rate,
            increase,
            weight / 100,
            alpha=alpha,
            detectable_increase=detectable_increase,
            power=power,
        )

    to_show = max(detectable_increase, ignored_increase)
    to_pass = needed(to_show if weight < 100 else detectable_increase + to_show)
    return Forecast(
        requests_per_second=requests_per_second,
        weight=weight,
        error_rate=error_rate,
        bake_minutes=bake_seconds / 60,
        sights=tuple(
            _sight(increase, needed(increase), canary_per_minute, in_bake)
            for increase in increases
        ),
        requests_at_risk=in_bake,
        requests_to_pass=to_pass,
        minutes_to_pass=_minutes(to_pass, canary_per_minute),
        smallest_increase=_smallest(needed, in_bake, 1 - error_rate),
    )


def require_passable(step: Forecast, *, allow: bool = False) -> Forecast:
    """Return the forecast, or refuse a bake too short ever to PASS, unless
    `allow` says to go on.

    Raises GateError, which says how long the bake would have to be.
    """
    if allow or step.can_pass:
        return step
    needs = "no number of requests would do"
    if step.requests_to_pass is not None:
        needs = f"{step.requests_to_pass:,} are needed for a PASS"
    minutes = (
        ""
        if step.minutes_to_pass is None
        else f"bake at least {math.ceil(60 * step.minutes_to_pass)} seconds, "
    )
    raise GateError(
        f"this bake could never pass: at {step.weight} % of "
        f"{step.requests_per_second:g} requests per second "
        f"the canary gets {step.requests_at_risk:,} of them in "
        f"{60 * step.bake_minutes:g} s, and {needs}",
        hint=f"{minutes}raise the weight or detectable_increase, or allow a bake "
        "that cannot pass",
    )


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
    _refuse_impossible(requests_per_second, weight, error_rate, period_seconds)
    per_second = requests_per_second * weight / 100
    share = weight / 100
    rule = {"alpha": alpha, "detectable_increase": detectable_increase, "power": power}
    needed = requests_to_show(error_rate, increase, share, **rule)
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
    rule = {
        name: settings[name]
        for name in ("alpha", "detectable_increase", "power")
        if name in settings
    }
    for weight in SMALL_STEPS:
        if weight >= first.weight:
            return None
        step = forecast(
            requests_per_second, weight, error_rate, bake_seconds, increases=(), **rule
        )
        harm = forecast_harm(
            requests_per_second, weight, error_rate, increase=first.increase, **settings
        )
        less = harm.failed_requests is not None and harm.failed_requests < (
            first.failed_requests or 0
        )
        if step.can_pass and less:
            return harm
    return None


def requests_for_one_look(
    stable_rate: float,
    canary_rate: float,
    weight: int,
    *,
    alpha: float = 0.01,
    power: float = 0.95,
) -> int:
    """Return the canary requests a plain one-sided test needs that looks only once,
    at a weight of 1-99.

    The classical two-proportion planner (Fleiss, Levin and Paik 2003, 4.2): what
    looking at any time is paid with is the difference to `requests_to_show`.
    """
    per_canary = (100 - weight) / weight  # stable's requests for one of the canary's
    pooled = (per_canary * stable_rate + canary_rate) / (per_canary + 1)
    same = math.sqrt(pooled * (1 - pooled) * (1 + 1 / per_canary))
    apart = math.sqrt(
        stable_rate * (1 - stable_rate) / per_canary + canary_rate * (1 - canary_rate)
    )
    normal = NormalDist()
    width = normal.inv_cdf(1 - alpha) * same + normal.inv_cdf(power) * apart
    return math.ceil((width / (canary_rate - stable_rate)) ** 2)


def forecast_load(
    requests_per_second: float,
    weight: int,
    *,
    stable_tasks: int,
    canary_tasks: int,
    weight_now: int = 0,
    capacity: float | None = None,
) -> Load:
    """Forecast what each canary task has to carry at `weight` percent, and how
    many tasks that takes.

    `capacity` is what one task can carry, in requests per second; left out, it is what
    each of stable's tasks carries now, as that much is proven.
    """
    stable_now = (
        requests_per_second * (100 - weight_now) / 100 / stable_tasks
        if stable_tasks
        else None
    )
    known = capacity if capacity is not None else stable_now
    load = requests_per_second * weight / 100
    needed = math.ceil(load / known - 1e-9) if known else 0 if not load else None
    return Load(
        weight,
        stable_now,
        load / canary_tasks if canary_tasks else None,
        known,
        canary_tasks,
        needed,
    )


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
        return weight / 100, weight / 100
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
    return (
        share_band(lower, requests, confidence)[1]
        < share_band(higher, requests, confidence)[0]
    )


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


def _sight(
    increase: float, requests: int | None, canary_per_minute: float, in_bake: int
) -> Sight:
    harmed = None if requests is None else math.ceil(increase * requests)
    within = requests is not None and requests <= in_bake
    return Sight(
        increase, requests, _minutes(requests, canary_per_minute), harmed, within
    )


def _minutes(requests: int | None, per_minute: float) -> float | None:
    return None if requests is None or not per_minute else requests / per_minute


def _smallest(
    needed: Callable[[float], int | None], requests: int, top: float
) -> float | None:
    """Return the smallest increase up to `top` these requests show, to
    a thousandth of it.
    """

    def shows(increase: float) -> bool:
        return (count := needed(increase)) is not None and count <= requests

    if top <= 0 or not shows(top):
        return None
    low, high = 0.0, top
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if shows(middle) else (middle, high)
    return high


def _refuse_impossible(
    requests_per_second: float, weight: int, error_rate: float, bake_seconds: float
) -> None:
    within = {
        "requests_per_second": (
            requests_per_second,
            0 <= requests_per_second < math.inf,
            "0 or more",
        ),
        "weight": (weight, 0 <= weight <= 100, "0-100 percent"),
        "error_rate": (error_rate, 0 <= error_rate <= 1, "a fraction, 0-1"),
        "bake_seconds": (bake_seconds, 0 <= bake_seconds < math.inf, "0 or more"),
    }
    for name, (found, good, expected) in within.items():
        if not good:
            raise ParametersError(
                f"forecast: {name} must be {expected}, found {found!r}"
            )
