"""Look ahead at a step with today's traffic: what it can show, what it risks, whether
the canary carries it.

It only reads: the last minute's requests, and the tasks. The figures are `forecast`'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from runbook_lib.aws import cloudwatch
from runbook_lib.aws.identity import utc
from runbook_lib.aws.session import Session
from runbook_lib.engines.protocol import Engine
from runbook_lib.errors import CallError, GateError, Held
from runbook_lib.judging import (
    ErrorJudge,
    alpha_of,
    deciding,
    error_judge,
    forecast_of,
    judged,
)
from runbook_lib.parameters import Parameters
from runbook_lib.shift.rules.steps import steps_left
from runbook_lib.survey import Survey
from runbook_lib.verdict.forecast import Forecast, require_passable
from runbook_lib.verdict.harm import Harm, forecast_harm, gentler_step
from runbook_lib.verdict.load import Load, forecast_load

__all__ = [
    "Ahead",
    "Outlook",
    "Traffic",
    "credentials_end_first",
    "forecast_steps",
    "harms_of",
    "judge_of",
    "look_ahead",
    "looked_back",
    "measure_traffic",
    "read_traffic",
    "require_steps_passable",
]

OUTAGE = 0.5  # of stable's requests: a shift does not begin while more of them fail
LOOKED_BACK_SECONDS = 60
# at the least: where CloudWatch's grain is coarse a minute may hold no whole period
LOOKED_BACK_PERIODS = 3


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests per second of both versions, stable's rates of errors and of slow
    requests, and where that is from.

    Rates are fractions of 1.
    """

    requests_per_second: float
    error_rate: float
    slow_rate: float
    source: str


@dataclass(frozen=True, slots=True)
class Outlook:
    """What one weight promises, with the traffic it was reckoned for.

    `deciding` holds the forecast of each metric that decides, `forecast` being that of
    errors. `harm` is what a bad canary costs, `gentler` the same of a smaller first
    step, where one costs less.
    """

    forecast: Forecast
    deciding: tuple[Forecast, ...]
    load: Load
    traffic: Traffic
    harm: Harm
    gentler: Harm | None
    judge: ErrorJudge


def looked_back(found: Survey) -> int:
    """Return over how many seconds traffic is measured."""
    return max(
        LOOKED_BACK_SECONDS,
        LOOKED_BACK_PERIODS * found.parameters.telemetry.period_seconds,
    )


def measure_traffic(found: Survey) -> Traffic | None:
    """Read the traffic of late, None where no request was counted; raise CallError
    where it cannot be read.
    """
    session = found.session
    until = cloudwatch.complete_until(session, session.now())
    seen = cloudwatch.read_intervals(
        session, found.series, until - looked_back(found), until
    )
    busy = [interval for interval in seen if interval.requests]
    if not busy:
        return None
    seconds = max(until - busy[0].start, 1)
    requests = max(sum(i.errors.stable_requests for i in busy), 1)
    return Traffic(
        sum(i.requests for i in busy) / seconds,
        sum(i.errors.stable_errors for i in busy) / requests,
        sum(i.slow.stable_errors for i in busy) / requests,
        f"measured over the last {seconds} s",
    )


def read_traffic(found: Survey) -> Traffic:
    """Read the traffic of late; where there is none, return the rate the parameters
    state, and say so.
    """
    why = f"no request was counted in the last {looked_back(found)} s"
    if not found.session.connection.carries_traffic:
        why = "nothing carries traffic here"
    else:
        try:
            if traffic := measure_traffic(found):
                return traffic
        except CallError as error:
            why = error.message
    rate = found.parameters.traffic.requests_per_second
    return Traffic(rate, 0.0, 0.0, f"the parameters' rate, since {why}")


def look_ahead(
    found: Survey, weight: int, traffic: Traffic | None = None, *, bakes: int = 1
) -> Outlook:
    """Forecast a step to `weight` percent for the canary and so many bakes, at the
    traffic given or measured now.
    """
    p = found.parameters
    traffic = traffic or read_traffic(found)
    rule, rate = p.shift.verdict, traffic.requests_per_second
    rates = {"errors": traffic.error_rate, "slow": traffic.slow_rate}
    ahead = {
        metric: forecast_of(p.shift, weight, rate, rates[metric], bakes=bakes)
        for metric in judged(rule)
    }
    tasks = found.counts
    load = forecast_load(
        traffic.requests_per_second,
        weight,
        stable_tasks=tasks[p.shift.stable][1],
        canary_tasks=tasks[p.shift.canary][1],
        weight_now=found.canary_weight,
    )
    harm, gentler = harms_of(p, weight, traffic.requests_per_second, traffic.error_rate)
    return Outlook(
        forecast=ahead["errors"],
        deciding=tuple(ahead[metric] for metric in deciding(rule)),
        load=load,
        traffic=traffic,
        harm=harm,
        gentler=gentler if weight == p.shift.steps[0] else None,
        judge=judge_of(p, found.engine),
    )


@dataclass(frozen=True, slots=True)
class Ahead:
    """What each step that is left promises; `warning` is what will not wait for it."""

    outlooks: tuple[Outlook, ...]
    warning: str = ""


def forecast_steps(found: Survey) -> Ahead:
    """Forecast each step that is left, at the traffic of the last minute."""
    shift = found.parameters.shift
    if found.split.state is None or found.retired:
        return Ahead(())
    traffic = read_traffic(found)
    left = steps_left(shift.steps, found.canary_weight)
    ahead = tuple(look_ahead(found, step, traffic) for step in left)
    return Ahead(ahead, credentials_end_first(found.session))


def judge_of(p: Parameters, engine: Engine) -> ErrorJudge:
    """Return who judges the errors of the file's shift, by what its engine counts."""
    return error_judge(p.shift, engine.counted(p))


def harms_of(
    p: Parameters, weight: int, requests_per_second: float, error_rate: float = 0.0
) -> tuple[Harm, Harm | None]:
    """Forecast what a canary that fails half costs at a weight, and at a smaller one,
    where that costs less.
    """
    rule, grain = p.shift.verdict, p.telemetry
    settings: dict[str, Any] = {
        "period_seconds": grain.period_seconds,
        "delay_seconds": grain.delay_seconds,
        "alpha": alpha_of(rule),
        "detectable_increase": rule.detectable_increase,
        "power": rule.power,
    }
    harm = forecast_harm(requests_per_second, weight, error_rate, **settings)
    bake = rule.bakes * p.shift.bake_seconds
    return harm, gentler_step(harm, bake, requests_per_second, error_rate, **settings)


def credentials_end_first(session: Session) -> str:
    """Say that the credentials run out before a bake begun now would end, with both
    times; "" where they do not.
    """
    now = datetime.fromtimestamp(session.wall(), UTC)
    until, ends = (
        now + timedelta(seconds=session.parameters.shift.bake_seconds),
        session.lifetime().ends,
    )
    if ends is None or ends >= until:
        return ""
    return (
        f"the credentials run out at {utc(ends)}, before a bake begun now ends, at "
        f"{utc(until)}: log in again first"
    )


def require_steps_passable(found: Survey, *weights: int) -> None:
    """Wait for the first figures of traffic, and refuse steps whose bakes could
    never make them PASS.

    Raises Held where no request is counted, GateError for a bake too short (the
    parameters may allow that one), and before the first step where more than half of
    stable's requests fail: a shift does not begin in an outage.
    """
    shift = found.parameters.shift
    traffic = _awaited(found)
    if traffic is None:
        raise Held(
            f"no request to {shift.name} was counted in the last "
            f"{looked_back(found)} s",
            hint=found.engine.hints.uncounted,
            reason="no_metrics",
        )
    if not found.canary_weight:
        _require_serving(shift.stable, traffic)
    for weight in weights:
        for ahead in look_ahead(
            found, weight, traffic, bakes=shift.verdict.bakes
        ).deciding:
            require_passable(ahead, allow=shift.allow_unprovable)


def _require_serving(stable: str, traffic: Traffic) -> None:
    if traffic.error_rate > OUTAGE:
        raise GateError(
            f"{stable} is failing: {100 * traffic.error_rate:.0f} % of its requests, "
            f"{traffic.source}; "
            f"a shift does not begin while more than {100 * OUTAGE:.0f} % of them fail",
            hint=f"let {stable} serve again, then run 05 again",
        )


def _awaited(found: Survey) -> Traffic | None:
    session, grain = found.session, found.parameters.telemetry
    patience = grain.delay_seconds + 3 * grain.period_seconds + 10
    for _ in session.looks("figures of traffic", patience, cloudwatch.pause(session)):
        if traffic := measure_traffic(found):
            return traffic
    return None
