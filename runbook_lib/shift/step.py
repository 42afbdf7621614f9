"""Decide what follows from a look at a step: all that a shift decides while it watches.

Pure: frozen records in, frozen records out; no AWS, no clock, no file.

    watch = begin_step(watch, step, …)     a weight was written
    watch = observe(watch, look, rule)     add a look to those before
    move = next_move(watch, look, rule)    what follows from it
    watch = follow(watch, move, look)      what that changes for the next look
    watch = stay_on(watch)                 it has passed, and no step follows yet

`ORDER`, below, lists the rules; the first that applies decides. `shifting` looks, and
carries the moves out. Where AWS does not answer there is no look: see `nobody_looked`,
`too_long_blind` and `cannot_look`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from runbook_lib.aws.cloudwatch import Interval
from runbook_lib.judging import ErrorJudge, judge_by
from runbook_lib.parameters.model import Parameters
from runbook_lib.parameters.shift import VerdictRule
from runbook_lib.plan import Evidence
from runbook_lib.printable import counted
from runbook_lib.shift.counts import LATE_PERIODS, Counts, Span, start_counting
from runbook_lib.shift.unanswered import judge_unanswered
from runbook_lib.verdict import Judgement
from runbook_lib.verdict.share import Seen, in_effect_from, seen_in, strayed
from runbook_lib.wording import divided

__all__ = [
    "ExtendBake",
    "GoOn",
    "Hold",
    "InEffect",
    "Look",
    "Move",
    "Pass",
    "Promote",
    "RollBack",
    "RolledBackElsewhere",
    "Rule",
    "Tasks",
    "Watch",
    "approval_expired",
    "begin_step",
    "blind_to_others",
    "cannot_look",
    "clock_set",
    "follow",
    "gates_fail",
    "held",
    "next_move",
    "nobody_looked",
    "observe",
    "others_weights",
    "rule_of",
    "start_watch",
    "stay_on",
    "too_long_blind",
]

# Looks in a row in which tasks are missing or unhealthy, until that is more than the
# replacement of a task.
SHORT_LOOKS = 3
# Periods for which stable's figures are waited for. From then on the canary is judged
# by what stable showed before.
AWAITED_PERIODS = 3
# Periods for which figures of both versions are waited for. From then on nobody calls.
EMPTY_PERIODS = 10
NO_SPAN = Span(0.0)  # before the first step


# What a step is judged by, and what a look finds.


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


@dataclass(frozen=True, slots=True)
class Tasks:
    """How many tasks run; `stable_at_first`: of stable, when the attempt began."""

    stable: int
    stable_at_first: int
    canary: int
    canary_wanted: int
    canary_unhealthy: int = 0


@dataclass(frozen=True, slots=True)
class Look:
    """What one look found. Moments are in seconds since 1970, by the clock of AWS.

    `intervals` are the whole periods from `since` up to `data_until`. `oddity` says
    what nobody who shifts between the two services can have written. `promotion` says
    who ends the bake at these very weights, and why.
    """

    at: float
    since: float
    data_until: float
    intervals: tuple[Interval, ...]
    weights: Mapping[str, int]
    tasks: Tasks
    oddity: str = ""
    alarms: Mapping[str, str] = field(default_factory=dict)
    held_by: str = ""
    promotion: str = ""


# What the looks so far add up to.


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
    stable_short: int = 0  # looks in a row in which stable lacked tasks
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
    counts = watch.counts.read_again(look.since, look.intervals)
    incomplete = counts.incomplete(watch.span)
    missing = tuple(one for one in incomplete if one.requests)
    span = replace(watch.span, alone_from=None)
    complete_until: float = look.data_until
    if _is_stable_gone(missing):
        span = replace(span, alone_from=missing[0].start)
    elif missing or 0 < len(incomplete) <= EMPTY_PERIODS:
        complete_until = incomplete[0].start
        counts = counts.hold_back(complete_until)
    settled_until = complete_until - LATE_PERIODS * rule.period_seconds
    if watch.confirmed_at is None:  # from when on the weight is in effect is not known
        settled_until = min(settled_until, span.written_at)
    counts = counts.settle(settled_until, span)
    over = _bake_is_over(watch, complete_until, rule)
    tallies = counts.tallies(span)
    judgement = judge_by(rule.verdict, tallies, bake_over=over, judge=rule.judge)
    tasks = look.tasks
    healthy = tasks.canary - tasks.canary_unhealthy
    period = rule.period_seconds
    busy = [one.start + period for one in look.intervals if one.requests]
    stable_lacks = tasks.stable < tasks.stable_at_first
    canary_lacks = healthy < tasks.canary_wanted
    return replace(
        watch,
        counts=counts,
        span=span,
        missing=missing,
        looked_until=look.data_until,
        stable_short=watch.stable_short + 1 if stable_lacks else 0,
        canary_short=watch.canary_short + 1 if canary_lacks else 0,
        bake_over=over,
        alone=counts.alone(span),
        judgement=judgement,
        busy_at=max([watch.busy_at, *busy]),
    )


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


# What may follow.


@dataclass(frozen=True, slots=True)
class GoOn:
    """Nothing: look again at the next interval."""


@dataclass(frozen=True, slots=True)
class InEffect:
    """Traffic confirms the weight, in intervals from `since` on: the bake begins."""

    since: int
    words: str


@dataclass(frozen=True, slots=True)
class ExtendBake:
    """The bake is over and undecided: another one follows."""

    words: str


@dataclass(frozen=True, slots=True)
class Pass:
    """The step is over: the next one may be taken."""

    words: str


@dataclass(frozen=True, slots=True)
class Promote:
    """The step is over because a person says so, without a PASS."""

    words: str


@dataclass(frozen=True, slots=True)
class Hold:
    """Weights stay, and someone must decide; `word` is the machine's reason."""

    word: str
    words: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class RollBack:
    """All traffic goes back to stable, in one write; `word` is the machine's reason."""

    word: str
    words: str


@dataclass(frozen=True, slots=True)
class RolledBackElsewhere:
    """Somebody else has put all traffic back on stable: the shift ends by it."""


Move = (
    GoOn
    | InEffect
    | ExtendBake
    | Pass
    | Promote
    | Hold
    | RollBack
    | RolledBackElsewhere
)
Applies = Callable[[Watch, Look, Rule], Move | None]


def next_move(watch: Watch, look: Look, rule: Rule) -> Move:
    """Return what follows from the newest look, by the first rule that applies."""
    for applies in ORDER:
        move = applies(watch, look, rule)
        if move is not None:
            return move
    return GoOn()


def follow(watch: Watch, move: Move, look: Look) -> Watch:
    """Return the watch after a move that lets the step go on."""
    if isinstance(move, InEffect):
        alone = watch.step == 100
        span = replace(watch.span, in_effect_since=move.since, alone=alone)
        return replace(watch, span=span, confirmed_at=look.at)
    if isinstance(move, ExtendBake):
        return replace(watch, bakes=watch.bakes + 1)
    return watch


def stay_on(watch: Watch) -> Watch:
    """Return the watch of a step that has passed, and is watched as before until
    another one is taken: it passes no more, and no bake of it ends.
    """
    return replace(watch, passed=True)


# The rules, as `ORDER` has them.


def others_weights(
    weights: Mapping[str, int], oddity: str, step: int, rule: Rule
) -> Hold | RolledBackElsewhere | None:
    """Weights that are not the step's are somebody's, and never overwritten."""
    if weights == rule.weights_at(step) and not oddity:
        return None
    if weights and not weights.get(rule.canary):
        return RolledBackElsewhere()
    changed = f"somebody changed the weights to {divided(weights)}"
    return Hold("foreign_change", oddity or changed)


def _somebody_wrote(watch: Watch, look: Look, rule: Rule) -> Move | None:
    return others_weights(look.weights, look.oddity, watch.step, rule)


def _tasks_are_gone(watch: Watch, look: Look, rule: Rule) -> Move | None:
    """No task ends a step at once, too few of them after some looks in a row.

    Where stable lacks them it is a hold: nobody could take the traffic back.
    """
    tasks, stable, canary = look.tasks, rule.stable, rule.canary
    if not tasks.stable:
        words = f"{stable} has no running task: nobody could take the traffic back"
        return Hold("stable_tasks", words)
    if not tasks.canary:
        return RollBack("canary_tasks", f"{canary} has no running task")
    if watch.stable_short >= SHORT_LOOKS:
        had = counted(tasks.stable_at_first, "task")
        found = f"{stable} runs {tasks.stable} of the {had}"
        return Hold("stable_tasks", f"{found} it had: too few to go back to")
    if watch.canary_short >= SHORT_LOOKS:
        found = (
            f"{canary} runs {tasks.canary} of {counted(tasks.canary_wanted, 'task')}"
        )
        return RollBack("canary_tasks", f"{found}, {tasks.canary_unhealthy} unhealthy")
    return None


def _alarm_rings(watch: Watch, look: Look, rule: Rule) -> Move | None:
    ringing = _in_state(look, "ALARM")
    return RollBack("alarm", f"in ALARM: {ringing}") if ringing else None


def _somebody_holds(watch: Watch, look: Look, rule: Rule) -> Move | None:
    return held(look.held_by) if look.held_by else None


def held(by: str) -> Hold:
    """Somebody said hold; no AWS is needed to heed it."""
    return Hold("hold", f"held by {by}")


def _canary_fails(watch: Watch, look: Look, rule: Rule) -> Move | None:
    """A FAIL rolls back at any look, before and after the weight is in effect."""
    judgement = watch.judgement
    if judgement is not None and judgement.outcome == "FAIL":
        return RollBack("verdict", judgement.reason)
    return None


def _canary_does_not_answer(watch: Watch, look: Look, rule: Rule) -> Move | None:
    """Errors that are counted for neither version are the canary's where it, more than
    stable, leaves requests unanswered: of the newest intervals, which are enough.
    """
    every = (*watch.counts.open, *watch.counts.held_back)
    newest = [one for one in every if one.unclaimed is not None]
    if not newest or "errors" in rule.verdict.muted:
        return None
    verdict = judge_unanswered(newest, rule.verdict)
    if verdict.outcome == "FAIL":
        return RollBack("unanswered", verdict.reason)
    return None


def _alarm_is_mute(watch: Watch, look: Look, rule: Rule) -> Move | None:
    """A lost alarm is a hold; one without data only if it alone judges errors."""
    if missing := _in_state(look, "MISSING"):
        return Hold("alarm_missing", f"no longer there: {missing}")
    silent = _in_state(look, "INSUFFICIENT_DATA")
    if silent and rule.judge.by == "alarms":
        words = f"without data, and the only judge of errors: {silent}"
        return Hold("alarm_missing", words)
    return None


def _not_confirmed(watch: Watch, look: Look, rule: Rule) -> Move | None:
    """The bake begins when traffic confirms the weight; if it never does, hold.

    An interval from which a version is missing confirms nothing, and refutes nothing.
    """
    if watch.confirmed_at is not None:
        return None
    span = watch.span
    of_step = [i for i in watch.counts.open if span.of_step(i)]
    intervals = [i for i in of_step if not span.lacks_a_version(i)]
    samples = [interval.errors for interval in intervals]
    first = in_effect_from(samples, watch.former, watch.step)
    if first is not None:
        since = intervals[first].start
        shown = _share_since(watch, since)
        words = f"{watch.step} % is in effect: the canary answers {shown.words}"
        return InEffect(since, words)
    if look.at > watch.confirm_until:
        return Hold("unproved", _why_not_confirmed(watch, rule))
    return GoOn()


def _share_since(watch: Watch, since: int) -> Seen:
    span = replace(watch.span, in_effect_since=since)
    return seen_in(watch.counts.in_effect(span).every, watch.step)


def _why_not_confirmed(watch: Watch, rule: Rule) -> str:
    seen, seconds = watch.seen, rule.prove_seconds
    if seen.share is None:
        return f"no request was counted in {seconds} s: the weight cannot be proved"
    why = "it is not what the weight says"
    if seen.share < seen.band[0]:
        why = "the weight has no effect"
    return f"after {seconds} s the canary answers {seen.words}: {why}"


def _share_strayed(watch: Watch, look: Look, rule: Rule) -> Move | None:
    """A weight that was in effect and no longer is, is a hold and never a FAIL."""
    seen = strayed(watch.counts.in_effect(watch.span), watch.step)
    if seen is None:
        return None
    return Hold("share", f"the weight stopped working: the canary answers {seen.words}")


def _a_version_is_missing(watch: Watch, look: Look, rule: Rule) -> Move | None:
    """A version that is not counted for longer than a figure may be late is a hold."""
    missing = watch.missing
    late_seconds = LATE_PERIODS * rule.period_seconds
    if not missing or look.data_until - missing[0].start < late_seconds:
        return None
    total = missing[0].errors
    for interval in missing[1:]:
        total += interval.errors
    seen = seen_in(total, watch.step).words
    words = f"the weight stopped working: the canary answers {seen}"
    hint = "or its figures come later than telemetry.delay_seconds says"
    return Hold("share", f"{words}, for {late_seconds} s now", hint)


def _nothing_is_counted(watch: Watch, look: Look, rule: Rule) -> Move | None:
    """Where a step has passed, nobody would see the canary fail without requests."""
    silent = look.data_until - watch.busy_at
    if not watch.passed or silent < rule.blind_seconds:
        return None
    minutes = counted(round(rule.blind_seconds / 60), "minute")
    return too_long_blind(f"no request was counted for {minutes}", rule)


def _somebody_promotes(watch: Watch, look: Look, rule: Rule) -> Move | None:
    """A person ends the bake; where it has its PASS that is what ends it."""
    judgement = watch.judgement
    if not look.promotion or not rule.promotable or watch.passed or judgement is None:
        return None
    if judgement.outcome == "PASS":
        return None
    so_far = f"{judgement.outcome} so far: {judgement.reason}"
    return Promote(f"promoted: {look.promotion}; {so_far}")


def _bake_ends(watch: Watch, look: Look, rule: Rule) -> Move | None:
    """After the bake a PASS goes on; for the undecided the file says what to do."""
    judgement = watch.judgement
    if judgement is None or watch.passed or not watch.bake_over:
        return None
    if judgement.outcome == "PASS":
        return Pass(judgement.reason)
    if rule.verdict.on_inconclusive == "roll_back":
        return RollBack("inconclusive", judgement.reason)
    if watch.bakes < rule.verdict.bakes:
        return ExtendBake(f"{judgement.reason}; the bake is extended")
    return Hold("inconclusive", judgement.reason)


ORDER: tuple[Applies, ...] = (
    _somebody_wrote,  # hold; the end, where all traffic is back on stable
    _tasks_are_gone,  # stable's: hold; the canary's: roll back
    _alarm_rings,  # roll back
    _somebody_holds,  # hold
    _canary_fails,  # roll back
    _canary_does_not_answer,  # roll back
    _alarm_is_mute,  # hold
    _not_confirmed,  # the bake begins, or go on waiting; in the end hold
    _share_strayed,  # hold
    _a_version_is_missing,  # hold
    _nothing_is_counted,  # once it has passed: hold, or roll back
    _somebody_promotes,  # promote
    _bake_ends,  # pass, or what the file says: extend, hold, roll back
)


def _in_state(look: Look, state: str) -> str:
    """Return the names of the alarms in a state."""
    return ", ".join(name for name, found in look.alarms.items() if found == state)


# What follows where nothing can be looked at.


def too_long_blind(words: str, rule: Rule) -> Hold | RollBack:
    """What follows when AWS has not answered for as long as the file allows."""
    if rule.on_blind == "roll_back":
        return RollBack("blind", words)
    return Hold("blind", words)


def blind_to_others(
    move: Hold | RollBack, weights: Mapping[str, int], ours: Iterable[int], rule: Rule
) -> Hold | RollBack:
    """A shift that last saw somebody else's weights does not roll them back, but holds.

    `ours` are the steps whose weights may be there: the one watched, one just written.
    """
    if any(weights == rule.weights_at(step) for step in ours):
        return move
    others = others_weights(weights, "", 0, rule)
    return others if isinstance(others, Hold) else move


def cannot_look(word: str, words: str, hint: str) -> Hold:
    """What follows when looking fails in a way that time does not heal."""
    return Hold(word, f"nothing can be looked at: {words}", hint)


# What follows before a step is written, once users are on the canary or have tried it.


def gates_fail(evidence: Iterable[Evidence]) -> Hold | None:
    """A condition of the next step that does not hold: weights stay where they are."""
    failing = [one for one in evidence if not one.holds]
    if not failing:
        return None
    words = "; ".join(f"{one.name}: {one.found}" for one in failing)
    hint = "; ".join(one.hint for one in failing if one.hint)
    return Hold("gate", f"before the next step: {words}", hint)


def approval_expired(words: str, former: int) -> RollBack | None:
    """An approval that expired and says so rolls back; `words` is empty for none.

    At weight 0 there is nothing to roll back: then it is missing, as any other.
    """
    return RollBack("approval", words) if words and former else None
