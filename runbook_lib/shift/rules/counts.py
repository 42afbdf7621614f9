"""Add up what was counted since the first step, a long bake as cheaply as a short one.

Pure. CloudWatch may still add to figures that it has given out. So the newest periods
stay *open*: each look reads them again. What is older is *settled*: it is taken once
into the tallies that the verdict judges, and not kept. Neither the time for a look nor
the memory grows with the length of a bake.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from runbook_lib.aws.cloudwatch import Interval
from runbook_lib.judging import tallies
from runbook_lib.parameters.shift import VerdictRule
from runbook_lib.verdict import Sample, Tally
from runbook_lib.verdict.sample import NOTHING, as_one
from runbook_lib.verdict.share import Shares, lacks_a_version

__all__ = ["LATE_PERIODS", "PICTURED", "Counts", "Span", "start_counting"]

# Periods that each look reads again. `delay_seconds` says when figures should be
# complete; what arrives later still counts for so many periods: half an hour where a
# period is a minute, far longer than an agent lags that publishes every minute.
LATE_PERIODS = 30
RECORDED_AT_ONCE = 3_600  # settled intervals that go into the record as one line
PICTURED = 720  # intervals kept for the picture; of more, each two become one
NO_SHARES = Shares()


@dataclass(frozen=True, slots=True)
class Span:
    """Which intervals belong to the step and to its weight; moments in epoch seconds.

    `weight` is the canary's, in percent. `in_effect_since` is None until traffic has
    confirmed it. `alone` says that the canary then has all the traffic, `alone_from`
    from when on nothing of stable is counted.
    """

    written_at: float
    weight: int = 0
    in_effect_since: float | None = None
    alone: bool = False
    alone_from: float | None = None

    def of_step(self, interval: Interval) -> bool:
        """Say whether an interval began after the step was written."""
        return interval.start >= self.written_at

    def in_effect(self, interval: Interval) -> bool:
        """Say whether traffic shows the step's weight in an interval."""
        since = self.in_effect_since
        return since is not None and interval.start >= since

    def lacks_a_version(self, interval: Interval) -> bool:
        """Say whether the figures of one version are missing from an interval."""
        return lacks_a_version(interval.errors, self.weight)

    def divides(self, interval: Interval) -> bool:
        """Say whether an interval shows how the weight in effect divides requests."""
        return self.in_effect(interval) and not self.lacks_a_version(interval)

    def canary_alone(self, interval: Interval) -> bool:
        """Say whether stable had no weight in an interval, or is not counted."""
        if self.alone_from is not None and interval.start >= self.alone_from:
            return True
        return self.alone and self.in_effect(interval)


@dataclass(frozen=True, slots=True)
class Counts:
    """What was counted since the first step.

    `settled` are the tallies of the settled intervals by metric, `step` their requests
    since the step was written, `shares` those since its weight is in effect.
    `open` are the intervals that the next look may change: it reads from `since` on.
    Those `held_back` are as if they had not been read yet: they lack a version.
    """

    since: float
    settled: Mapping[str, Tally]
    step_errors: Sample = NOTHING
    step_slow: Sample = NOTHING
    shares: Shares = NO_SHARES
    settled_alone: int = 0  # settled intervals in which the canary had all the traffic
    open: tuple[Interval, ...] = ()
    held_back: tuple[Interval, ...] = ()
    # the settled ones for the picture, the older the coarser
    pictured: tuple[Interval, ...] = ()
    # the settled ones that the record does not have
    unrecorded: tuple[Interval, ...] = ()
    recorded: int = 0  # how many intervals before them it has

    def read_again(self, since: float, intervals: Iterable[Interval]) -> Counts:
        """Put what a look read from `since` on in the place of what was known of it."""
        known = (*self.open, *self.held_back)
        kept = [interval for interval in known if interval.start < since]
        return replace(self, open=(*kept, *intervals), held_back=())

    def settle(self, before: float, span: Span) -> Counts:
        """Take the open intervals that began before a moment into what is settled."""
        done = [interval for interval in self.open if interval.start < before]
        if not done:
            return self
        left = [interval for interval in self.open if interval.start >= before]
        settled = {name: tally.copy() for name, tally in self.settled.items()}
        _take(settled, done, span)
        of_step = [interval for interval in done if span.of_step(interval)]
        divided = [interval.errors for interval in done if span.divides(interval)]
        alone = sum(span.canary_alone(interval) for interval in done)
        return replace(
            self,
            since=max(self.since, before),
            settled=settled,
            step_errors=as_one([self.step_errors, *(i.errors for i in of_step)]),
            step_slow=as_one([self.step_slow, *(i.slow for i in of_step)]),
            shares=self.shares.after(divided),
            settled_alone=self.settled_alone + alone,
            open=tuple(left),
            pictured=_coarser((*self.pictured, *done)),
            unrecorded=(*self.unrecorded, *done),
        )

    def begin_step(self) -> Counts:
        """Return the same counts with none of them in the step that begins."""
        return replace(self, step_errors=NOTHING, step_slow=NOTHING, shares=NO_SHARES)

    @property
    def fills_a_line(self) -> bool:
        """Whether the settled intervals that the record lacks fill a line of it."""
        return len(self.unrecorded) >= RECORDED_AT_ONCE

    def written_down(self) -> Counts:
        """Return the same counts once the record has the settled intervals."""
        recorded = self.recorded + len(self.unrecorded)
        return replace(self, unrecorded=(), recorded=recorded)

    def stamped_later(self, seconds: float, looked_until: float) -> Counts:
        """Return the same counts where the clock that stamps the figures was set.

        What was read before cannot be read again: figures from now on have other times.
        """
        return replace(
            self,
            since=looked_until + seconds,
            open=tuple(_moved(interval, seconds) for interval in self.open),
            held_back=tuple(_moved(interval, seconds) for interval in self.held_back),
            pictured=tuple(_moved(interval, seconds) for interval in self.pictured),
        )

    def tallies(self, span: Span) -> dict[str, Tally]:
        """Return the tallies of all intervals, the open ones too."""
        every = {name: tally.copy() for name, tally in self.settled.items()}
        _take(every, self.open, span)
        return every

    def of_step(self, span: Span) -> tuple[Sample, Sample]:
        """Return the requests since the step was written, by errors and by slowness."""
        newer = [interval for interval in self.open if span.of_step(interval)]
        errors = as_one([self.step_errors, *(one.errors for one in newer)])
        slow = as_one([self.step_slow, *(one.slow for one in newer)])
        return errors, slow

    def in_effect(self, span: Span) -> Shares:
        """Return the requests since the step's weight is in effect, but for intervals
        from which a version is missing.
        """
        newer = [interval.errors for interval in self.open if span.divides(interval)]
        return self.shares.after(newer)

    def incomplete(self, span: Span) -> tuple[Interval, ...]:
        """Return the newest intervals since the weight is in effect, as far back as
        each lacks one version or both.
        """
        run: list[Interval] = []
        for interval in reversed(self.open):
            known = interval.requests and not span.lacks_a_version(interval)
            if known or not span.in_effect(interval):
                break
            run.insert(0, interval)
        return tuple(run)

    def hold_back(self, since: float) -> Counts:
        """Return the same counts as if nothing from a moment on had been read yet."""
        before = tuple(one for one in self.open if one.start < since)
        return replace(self, open=before, held_back=self.open[len(before) :])

    def alone(self, span: Span) -> int:
        """Return how many of the newest intervals the canary had all the traffic in."""
        return self.settled_alone + sum(map(span.canary_alone, self.open))

    def total(self, metric: str) -> Sample:
        """Return the requests since the first step by one metric, all as one."""
        settled = self.settled[metric].total
        return as_one([settled, *(getattr(one, metric) for one in self.open)])

    @property
    def unrecorded_samples(self) -> dict[str, list[tuple[int, ...]]]:
        """The counts of each metric in the settled intervals that the record lacks."""
        return self._samples(self.unrecorded)

    @property
    def newest_samples(self) -> dict[str, list[tuple[int, ...]]]:
        """The counts of each metric in all intervals that the record lacks."""
        return self._samples((*self.unrecorded, *self.open))

    def _samples(
        self, intervals: tuple[Interval, ...]
    ) -> dict[str, list[tuple[int, ...]]]:
        samples = {}
        for metric in self.settled:
            samples[metric] = [getattr(one, metric).counts for one in intervals]
        return samples

    @property
    def picture(self) -> tuple[Interval, ...]:
        """The intervals since the first step; of a long bake, older ones as one."""
        return (*self.pictured, *self.open)


def start_counting(verdict: VerdictRule, since: float) -> Counts:
    """Return counts to which nothing from `since` on was added yet."""
    return Counts(since, tallies(verdict))


def _take(into: Mapping[str, Tally], intervals: Iterable[Interval], span: Span) -> None:
    for interval in intervals:
        alone = span.canary_alone(interval)
        for metric, tally in into.items():
            tally.take(getattr(interval, metric), alone)


def _moved(interval: Interval, seconds: float) -> Interval:
    return replace(interval, start=round(interval.start + seconds))


def _coarser(intervals: tuple[Interval, ...]) -> tuple[Interval, ...]:
    """Return at most so many intervals as are kept for the picture."""
    while len(intervals) > PICTURED:
        pairs = [intervals[i : i + 2] for i in range(0, len(intervals), 2)]
        intervals = tuple(_as_one(pair) for pair in pairs)
    return intervals


def _as_one(pair: tuple[Interval, ...]) -> Interval:
    errors = as_one(interval.errors for interval in pair)
    slow = as_one(interval.slow for interval in pair)
    return Interval(pair[0].start, errors, slow)
