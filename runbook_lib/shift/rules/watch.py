"""What the looks at a step so far add up to, from one to the next. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from runbook_lib.aws.cloudwatch import Interval
from runbook_lib.judging import judge_by
from runbook_lib.shift.rules.counts import LATE_PERIODS, Counts, Span, start_counting
from runbook_lib.shift.rules.look import Look
from runbook_lib.shift.rules.rule import Rule
from runbook_lib.verdict import Judgement
from runbook_lib.verdict.share import Seen, seen_in

__all__ = [
    "AWAITED_PERIODS",
    "EMPTY_PERIODS",
    "Watch",
    "begin_step",
    "clock_set",
    "nobody_looked",
    "observe",
    "start_watch",
    "stay_on",
]

# Periods for which stable's figures are waited for. From then on the canary is judged
# by what stable showed before.
AWAITED_PERIODS = 3
# Periods for which figures of both versions are waited for. From then on nobody calls.
EMPTY_PERIODS = 10
NO_SPAN = Span(0.0)  # before the first step


@dataclass(frozen=True, slots=True)
class Watch:
    """What the looks so far add up to; it does not grow with their number.

    `counts` go on over all steps of an attempt, the rest is about the step under way.
    `confirmed_at` is when traffic confirmed the weight and the bake began; None before.
    `busy_at` is when the newest interval with requests ended. `missing` are the newest
    intervals with requests, as far back as each lacks a version. A step that has
    `passed` is watched until another one is taken.
    """

    counts: Counts
    step: int = 0
    former: int = 0
    span: Span = NO_SPAN
    confirm_until: float = 0.0
    confirmed_at: float | None = None
    bakes: int = 1  # how many this step may take as far as is known
    looked_until: float = 0.0
    stable_short: int = 0  # looks in a row, with new figures, in which it lacked tasks
    canary_short: int = 0
    bake_over: bool = False
    alone: int = 0  # newest intervals in which the canary had all the traffic
    judgement: Judgement | None = None  # of the newest look
    busy_at: float = 0.0
    missing: tuple[Interval, ...] = ()
    passed: bool = False

    @property
    def seen(self) -> Seen:
        """The canary's share of the step's requests; once confirmed, of those since."""
        if self.confirmed_at is None:
            errors, _ = self.counts.of_step(self.span)
            return seen_in(errors, self.step)
        return seen_in(self.counts.in_effect(self.span).every, self.step)


def start_watch(rule: Rule, since: float) -> Watch:
    """Return the watch of an attempt whose first step was written at a moment."""
    return Watch(start_counting(rule.verdict, since))


def begin_step(
    watch: Watch, step: int, former: int, written_at: float, now: float, rule: Rule
) -> Watch:
    """Return the watch of a step that was written, and is watched from now on.

    The counts of earlier steps go on, and its verdict is made of all of them.
    """
    return replace(
        watch,
        counts=watch.counts.begin_step(),
        step=step,
        former=former,
        span=Span(written_at, weight=step),
        confirm_until=now + rule.prove_seconds,
        confirmed_at=None,
        bakes=1,
        bake_over=False,
        alone=0,
        judgement=None,
        busy_at=written_at,
        missing=(),
        passed=False,
    )


def observe(watch: Watch, look: Look, rule: Rule) -> Watch:
    """Add a look to those before, and judge what all of them counted.

    The newest intervals are as if they had not been read yet while figures of a version
    may still come; the canary is judged sooner where only stable's do not.
    """
    known = _known(watch, look)
    counts, span = known.counts, known.span
    counts = counts.settle(_settled_until(watch, known, rule), span)
    over = _bake_is_over(watch, known.until, rule)
    tallies = counts.tallies(span)
    judgement = judge_by(rule.verdict, tallies, bake_over=over, judge=rule.judge)
    new = look.data_until > watch.looked_until
    return replace(
        watch,
        counts=counts,
        span=span,
        missing=known.missing,
        looked_until=look.data_until,
        stable_short=_short(watch.stable_short, look.tasks.stable_lacks, new),
        canary_short=_short(watch.canary_short, look.tasks.canary_lacks, new),
        bake_over=over,
        alone=counts.alone(span),
        judgement=judgement,
        busy_at=_busy_at(watch, look, rule),
    )


def _short(so_far: int, lacks: bool, new: bool) -> int:
    """Return for how many looks with new figures tasks have been missing: a look
    between them ends that, and makes it no longer.
    """
    if not lacks:
        return 0
    return so_far + 1 if new else so_far


@dataclass(frozen=True, slots=True)
class _Known:
    """What a look knows of both versions, which is `until` a moment: the newest
    intervals, with requests, that lack one are `missing`.
    """

    counts: Counts
    span: Span
    until: float
    missing: tuple[Interval, ...]


def _known(watch: Watch, look: Look) -> _Known:
    """Return what is known with a look, without intervals that figures are awaited for.

    The canary is judged alone from where stable has not been counted for long.
    """
    counts = watch.counts.read_again(look.since, look.intervals)
    incomplete = counts.incomplete(watch.span)
    missing = tuple(one for one in incomplete if one.requests)
    span = replace(watch.span, alone_from=None)
    if _is_stable_gone(missing):
        span = replace(span, alone_from=missing[0].start)
    elif missing or 0 < len(incomplete) <= EMPTY_PERIODS:
        until = incomplete[0].start
        return _Known(counts.hold_back(until), span, until, missing)
    return _Known(counts, span, look.data_until, missing)


def _settled_until(watch: Watch, known: _Known, rule: Rule) -> float:
    """Return the moment before which no figure comes any more."""
    settled_until = known.until - LATE_PERIODS * rule.period_seconds
    if watch.confirmed_at is None:  # from when on the weight is in effect is not known
        return min(settled_until, known.span.written_at)
    return settled_until


def _busy_at(watch: Watch, look: Look, rule: Rule) -> float:
    """Return when the newest interval with requests ended."""
    busy = [interval.start for interval in look.intervals if interval.requests]
    return max([watch.busy_at, *(start + rule.period_seconds for start in busy)])


def _is_stable_gone(missing: Sequence[Interval]) -> bool:
    """Say whether only the canary has been counted for longer than is waited."""
    canary_alone = [one for one in missing if one.errors.canary_requests]
    return len(canary_alone) == len(missing) > AWAITED_PERIODS


def _bake_is_over(watch: Watch, complete_until: float, rule: Rule) -> bool:
    """A bake lasts until there are figures of both versions for `bake_seconds` since it
    began.
    """
    if watch.confirmed_at is None:
        return False
    return complete_until >= watch.confirmed_at + watch.bakes * rule.bake_seconds


def nobody_looked(watch: Watch, seconds: float) -> Watch:
    """Return the watch after a time without a look: it is neither bake nor proof."""
    confirmed_at = watch.confirmed_at
    if confirmed_at is not None:
        confirmed_at += seconds
    confirm_until = watch.confirm_until + seconds
    return replace(watch, confirm_until=confirm_until, confirmed_at=confirmed_at)


def clock_set(watch: Watch, seconds: float, *, stamps_too: bool) -> Watch:
    """Return the watch where the clock turned out to be wrong by so many seconds.

    No bake gets shorter or longer by it. Where the figures are stamped by the same
    clock (`stamps_too`: the local mesh), what was counted moves along.
    """
    watch = nobody_looked(watch, seconds)
    if not stamps_too:
        return watch
    span, in_effect_since = watch.span, watch.span.in_effect_since
    if in_effect_since is not None:
        in_effect_since = round(in_effect_since + seconds)
    written_at = span.written_at + seconds
    return replace(
        watch,
        counts=watch.counts.stamped_later(seconds, watch.looked_until),
        span=replace(span, written_at=written_at, in_effect_since=in_effect_since),
        looked_until=watch.looked_until + round(seconds),
        busy_at=watch.busy_at + seconds,
    )


def stay_on(watch: Watch) -> Watch:
    """Return the watch of a step that has passed, and is watched as before until
    another one is taken: it passes no more, and no bake of it ends.
    """
    return replace(watch, passed=True)
