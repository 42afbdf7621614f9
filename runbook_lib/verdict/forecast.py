"""Say beforehand what a step can show, and what it risks.

Pure: traffic and settings in, frozen records out. The figures are those of the
verdict's own rule, so that what is forecast to show is what `judge` shows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from runbook_lib.errors import GateError, ParametersError
from runbook_lib.verdict.evidence import requests_to_show

__all__ = [
    "Forecast",
    "Sight",
    "forecast",
    "refuse_impossible",
    "require_passable",
]

INCREASES = (0.005, 0.01, 0.05, 0.5)


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
    refuse_impossible(requests_per_second, weight, error_rate, bake_seconds)

    def needed(increase: float) -> int | None:
        return requests_to_show(
            error_rate,
            increase,
            weight / 100,
            alpha=alpha,
            detectable_increase=detectable_increase,
            power=power,
        )

    bake = _Bake(60 * requests_per_second * weight / 100, bake_seconds)
    to_show = max(detectable_increase, ignored_increase)
    if weight == 100:  # a canary alone is allowed some beforehand
        to_show += detectable_increase
    to_pass = needed(to_show)
    sights = [bake.sight(increase, needed(increase)) for increase in increases]
    return Forecast(
        requests_per_second=requests_per_second,
        weight=weight,
        error_rate=error_rate,
        bake_minutes=bake_seconds / 60,
        sights=tuple(sights),
        requests_at_risk=bake.requests,
        requests_to_pass=to_pass,
        minutes_to_pass=bake.minutes_for(to_pass),
        smallest_increase=_smallest(needed, bake.requests, 1 - error_rate),
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
    longer = ""
    if step.minutes_to_pass is not None:
        seconds = math.ceil(60 * step.minutes_to_pass)
        longer = f"bake at least {seconds} seconds, "
    raise GateError(
        f"this bake could never pass: at {step.weight} % of "
        f"{step.requests_per_second:g} requests per second "
        f"the canary gets {step.requests_at_risk:,} of them in "
        f"{60 * step.bake_minutes:g} s, and {needs}",
        hint=f"{longer}raise the weight or detectable_increase, or allow a bake "
        "that cannot pass",
    )


def refuse_impossible(
    requests_per_second: float, weight: int, error_rate: float, seconds: float
) -> None:
    """Raise ParametersError for traffic, weight, rate or seconds out of range."""
    _require(
        "requests_per_second",
        requests_per_second,
        0 <= requests_per_second < math.inf,
        "0 or more",
    )
    _require("weight", weight, 0 <= weight <= 100, "0-100 percent")
    _require("error_rate", error_rate, 0 <= error_rate <= 1, "a fraction, 0-1")
    _require("bake_seconds", seconds, 0 <= seconds < math.inf, "0 or more")


def _require(name: str, found: float, good: bool, expected: str) -> None:
    if not good:
        raise ParametersError(f"forecast: {name} must be {expected}, found {found!r}")


@dataclass(frozen=True, slots=True)
class _Bake:
    """A bake's length, and the canary's requests in a minute of it."""

    requests_per_minute: float
    seconds: float

    @property
    def requests(self) -> int:
        """Return the canary's whole requests in this bake."""
        return math.floor(self.requests_per_minute * self.seconds / 60)

    def minutes_for(self, requests: int | None) -> float | None:
        """Return how long so many requests take; None where no time would do."""
        if requests is None or not self.requests_per_minute:
            return None
        return requests / self.requests_per_minute

    def sight(self, increase: float, requests: int | None) -> Sight:
        """Return what it takes to see an increase that so many requests show."""
        minutes = self.minutes_for(requests)
        if requests is None:
            return Sight(increase, None, minutes, None, within_bake=False)
        harmed = math.ceil(increase * requests)
        within_bake = requests <= self.requests
        return Sight(increase, requests, minutes, harmed, within_bake)


def _smallest(
    needed: Callable[[float], int | None], requests: int, top: float
) -> float | None:
    """Return the smallest increase up to `top` these requests show, to
    a thousandth of it.
    """

    def shows(increase: float) -> bool:
        enough = needed(increase)
        return enough is not None and enough <= requests

    if top <= 0 or not shows(top):
        return None
    low, high = 0.0, top
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        if shows(middle):
            high = middle
        else:
            low = middle
    return high
