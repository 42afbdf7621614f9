"""Decide what follows from a look at a step: all that a shift decides while it watches.

Pure: frozen records in, frozen records out; no AWS, no clock, no file.

    watch = begin_step(watch, step, …)     a weight was written
    watch = observe(watch, look, rule)     add a look to those before
    move = next_move(watch, look, rule)    what follows from it
    watch = follow(watch, move, look)      what that changes for the next look
    watch = stay_on(watch)                 it has passed, and no step follows yet

`ORDER`, below, lists the rules; the first that applies decides. `under_way` looks, and
carries the moves out. Where AWS does not answer there is no look: see `unseen`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from runbook_lib.printable import counted
from runbook_lib.shift.rules.counts import LATE_PERIODS
from runbook_lib.shift.rules.look import Look
from runbook_lib.shift.rules.moves import (
    ExtendBake,
    GoOn,
    Hold,
    InEffect,
    Move,
    Pass,
    Promote,
    RollBack,
)
from runbook_lib.shift.rules.others import held, others_weights
from runbook_lib.shift.rules.rule import Rule
from runbook_lib.shift.rules.unanswered import judge_unanswered
from runbook_lib.shift.rules.unseen import too_long_blind
from runbook_lib.shift.rules.watch import Watch
from runbook_lib.verdict.share import Seen, in_effect_from, seen_in, seen_of, strayed

__all__ = ["ORDER", "SHORT_LOOKS", "follow", "next_move"]

# Looks in a row in which tasks are missing or unhealthy, until that is more than the
# replacement of a task.
SHORT_LOOKS = 3
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
    seen = seen_of([one.errors for one in missing], watch.step).words
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
