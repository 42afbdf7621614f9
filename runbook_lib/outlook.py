"""Look ahead at a step with today's traffic: what it can show, what it risks, whether the canary carries it.

It only reads: the last minute's requests, and the tasks. The figures are `forecast`'s.
"""

from __future__ import annotations

from dataclasses import dataclass

from runbook_lib import ecs, telemetry
from runbook_lib.errors import CallError
from runbook_lib.forecast import Forecast, Load, forecast, forecast_load
from runbook_lib.survey import Survey

__all__ = ["Outlook", "Traffic", "look_ahead", "read_traffic"]

LOOKED_BACK_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests per second of both versions, stable's rate of errors (a fraction), and where that is from."""

    requests_per_second: float
    error_rate: float
    source: str


@dataclass(frozen=True, slots=True)
class Outlook:
    """What one weight promises, with the traffic it was reckoned for."""

    forecast: Forecast
    load: Load
    traffic: Traffic


def read_traffic(found: Survey) -> Traffic:
    """Read the last minute's traffic; where there is none, return the rate the parameters state, and say so."""
    session, p = found.session, found.parameters
    stated = Traffic(p.traffic.requests_per_second, 0.0, "the parameters' rate")
    if not session.connection.carries_traffic:
        return _because(stated, "nothing carries traffic here")
    until = telemetry.complete_until(session, session.wall())
    try:
        seen = telemetry.read_intervals(session, found.engine.series(p), until - LOOKED_BACK_SECONDS, until)
    except CallError as error:
        return _because(stated, error.message)
    busy = [interval for interval in seen if interval.requests]
    if not busy:
        return _because(stated, "no request was counted in the last minute")
    seconds = until - busy[0].start
    requests = sum(interval.errors.stable_requests for interval in busy)
    errors = sum(interval.errors.stable_errors for interval in busy)
    rate = sum(interval.requests for interval in busy) / seconds
    return Traffic(rate, errors / max(requests, 1), f"measured over the last {seconds} s")


def look_ahead(found: Survey, weight: int, traffic: Traffic | None = None) -> Outlook:
    """Forecast a step to `weight` percent for the canary, at the traffic given or measured now."""
    p = found.parameters
    traffic = traffic or read_traffic(found)
    rule = p.shift.verdict
    tasks = ecs.read_counts(found.session, (p.shift.stable, p.shift.canary))
    seen = forecast(
        traffic.requests_per_second,
        weight,
        traffic.error_rate,
        p.shift.bake_seconds,
        alpha=rule.alpha,
        detectable_increase=rule.detectable_increase,
        ignored_increase=rule.ignored_increase,
        power=rule.power,
    )
    load = forecast_load(
        traffic.requests_per_second,
        weight,
        stable_tasks=tasks[p.shift.stable][1],
        canary_tasks=tasks[p.shift.canary][1],
        weight_now=found.split.weights.get(p.shift.canary, 0),
    )
    return Outlook(seen, load, traffic)


def _because(stated: Traffic, why: str) -> Traffic:
    return Traffic(stated.requests_per_second, stated.error_rate, f"{stated.source}, since {why}")
