"""When the rules of others would roll a canary back, by a load balancer's series as CloudWatch has them. Pure.

Each rule is given what was `Seen` of the canary, and returns the moment at which it has seen enough, or None.
What a service then takes to act, and up to a minute until an alarm is evaluated, is not counted: all of that is in
their favour. Moments are seconds since 1970.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from statistics import fmean

MINUTE = 60
FIVE_MINUTES = 300
THRESHOLD = 0.01  # the share of errors that Express Mode and Argo's example for CloudWatch allow


@dataclass(frozen=True, slots=True)
class Minute:
    """What the series have of the canary's target group in a minute; None where they have no datum."""

    start: int
    requests: int | None = None  # RequestCount
    errors_4xx: int | None = None  # HTTPCode_Target_4XX_Count
    errors_5xx: int | None = None  # HTTPCode_Target_5XX_Count
    unhealthy: float | None = None  # UnHealthyHostCount, average

    @property
    def end(self) -> int:
        return self.start + MINUTE


@dataclass(frozen=True, slots=True)
class Seen:
    """The canary's minutes since it got its weight, and how late they come."""

    minutes: Sequence[Minute]
    since: float
    late_seconds: int

    def there(self, at: float, seconds: int) -> list[Minute]:
        """Return the minutes that are there at a moment, of the seconds before it."""
        known = [each for each in self.minutes if each.end + self.late_seconds <= at]
        return [each for each in known if each.start >= at - seconds]

    def moments(self, every_seconds: int) -> Iterator[float]:
        """Yield the moments at which somebody looks, the first as the canary gets its weight."""
        at = self.since
        while at < self.minutes[-1].end:
            yield at
            at += every_seconds


Rule = Callable[[Seen], float | None]


def codedeploy(seen: Seen) -> float | None:
    """Stop at the first of the alarms that the AWS CDK's documentation gives a deployment group of CodeDeploy.

    CodeDeploy's own guide names no metric. Source: the example of `EcsDeploymentGroup` in aws-cdk-lib's
    aws_codedeploy and of `HttpCodeTarget`: 5XX of the group's targets, at least 1 in 1 minute; unhealthy hosts,
    at least 1 in 2 periods, which are of five minutes where none is given. An alarm whose period is longer than
    a minute is evaluated each minute, over the minutes before it.
    """
    minutes = seen.minutes
    for number, minute in enumerate(minutes, 1):
        periods = (minutes[number - 10 : number - 5], minutes[number - 5 : number]) if number >= 10 else ()
        if (minute.errors_5xx or 0) >= 1 or (periods and all(map(_unhealthy, periods))):
            return minute.end + seen.late_seconds
    return None


def _unhealthy(minutes: Sequence[Minute]) -> bool:
    """Say whether at least one host was unhealthy on average, in those minutes that have a datum."""
    told = [minute.unhealthy for minute in minutes if minute.unhealthy is not None]
    return bool(told) and fmean(told) >= 1


def express(seen: Seen) -> float | None:
    """Roll back once the sum of 4xx and 5xx is above 1 % of requests in 2 of 3 minutes.

    Source: Amazon ECS Developer Guide, "Updating an Amazon ECS Express Mode service". It does not say which
    series: here those of the canary's target group.
    """
    above = [_rate(minute) > THRESHOLD for minute in seen.minutes]
    for number, minute in enumerate(seen.minutes, 1):
        if sum(above[max(0, number - 3) : number]) >= 2:
            return minute.end + seen.late_seconds
    return None


def _rate(minute: Minute) -> float:
    errors = (minute.errors_4xx or 0) + (minute.errors_5xx or 0)
    return errors / minute.requests if minute.requests else 0.0


FAILURE_LIMIT = 3


def argo(seen: Seen) -> float | None:
    """Abort at the fourth of measurements, each five minutes, whose success rate is below 95 %.

    Source: Argo Rollouts, docs/features/analysis.md: successCondition result >= 0.95, interval 5m, failureLimit 3.
    A measurement is of the five minutes that came last; without requests it does not fail.
    """

    def fails(at: float) -> bool:
        newest = seen.there(at, FIVE_MINUTES + seen.late_seconds)
        requests = sum(minute.requests or 0 for minute in newest)
        errors = sum(minute.errors_5xx or 0 for minute in newest)
        return bool(requests) and 1 - errors / requests < 0.95

    return _fourth(at for at in seen.moments(FIVE_MINUTES) if fails(at))


def argo_cloudwatch(seen: Seen) -> float | None:
    """Abort at the fourth of measurements, each minute, that is not five values or more of at most 1 %.

    Source: Argo Rollouts, docs/analysis/cloudwatch.md: errors / requests in periods of 300 s over the last
    30 minutes, successCondition len(result[0].Values) >= 5 and all(result[0].Values, {# <= 0.01}), interval 1m,
    failureLimit 3. CloudWatch's division has no value where either series has no datum.
    """

    def fails(at: float) -> bool:
        values = _quotients(seen.there(at, 30 * MINUTE))
        return len(values) < 5 or any(value > THRESHOLD for value in values)

    return _fourth(at for at in seen.moments(MINUTE) if fails(at))


def _fourth(failures: Iterator[float]) -> float | None:
    """Return the failure that is one more than the limit."""
    return next(islice(failures, FAILURE_LIMIT, None), None)


def _quotients(minutes: Sequence[Minute]) -> list[float]:
    """Return errors / requests of each five minutes in which both have a datum."""
    found = []
    for period in dict.fromkeys(minute.start // FIVE_MINUTES for minute in minutes):
        own = [minute for minute in minutes if minute.start // FIVE_MINUTES == period]
        errors = [minute.errors_5xx for minute in own if minute.errors_5xx is not None]
        requests = sum(minute.requests or 0 for minute in own)
        if errors and requests:
            found.append(sum(errors) / requests)
    return found


PEERS: Mapping[str, Rule] = {
    "CodeDeploy, CDK's alarms": codedeploy,
    "ECS Express Mode": express,
    "Argo, success rate": argo,
    "Argo, CloudWatch": argo_cloudwatch,
}


def as_if_nobody_rolled_back(
    measured: Sequence[Minute], since: float, until: float, typical: Minute, minutes: int
) -> list[Minute]:
    """Return the minutes from the one that holds `since` on, as they would be had the canary kept its weight.

    Those that were over before `until` are as measured, all others are `typical`; the first one is that too, for
    the part of it that was left, where it was not over before.
    """
    first = int(since) // MINUTE * MINUTE
    known = {minute.start: minute for minute in measured if minute.end <= until}
    found = []
    for start in range(first, first + minutes * MINUTE, MINUTE):
        part = (start + MINUTE - since) / MINUTE if start == first else 1.0
        found.append(known.get(start, _part_of(typical, part, start)))
    return found


def _part_of(minute: Minute, part: float, start: int) -> Minute:
    """Return a minute of which only a part had traffic; what counted nothing has no datum."""

    def some(count: int | None) -> int | None:
        return round(count * part) or None if count is not None else None

    counts = (some(each) for each in (minute.requests, minute.errors_4xx, minute.errors_5xx))
    requests, errors_4xx, errors_5xx = counts
    return replace(minute, start=start, requests=requests, errors_4xx=errors_4xx, errors_5xx=errors_5xx)
