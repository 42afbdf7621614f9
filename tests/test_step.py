"""What follows from a look at a step, rule by rule, with plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runbook_lib.aws.cloudwatch import Interval
from runbook_lib.judging import ErrorJudge
from runbook_lib.parameters.shift import VerdictRule
from runbook_lib.plan import Evidence
from runbook_lib.shift.rules.counts import LATE_PERIODS, PICTURED
from runbook_lib.shift.rules.look import Look, Tasks
from runbook_lib.shift.rules.moves import (
    ExtendBake,
    GoOn,
    Hold,
    InEffect,
    Move,
    Pass,
    Promote,
    RollBack,
    RolledBackElsewhere,
)
from runbook_lib.shift.rules.others import others_weights
from runbook_lib.shift.rules.rule import Rule
from runbook_lib.shift.rules.step import SHORT_LOOKS, follow, next_move
from runbook_lib.shift.rules.unseen import approval_expired, blind_to_others, cannot_look, gates_fail, too_long_blind
from runbook_lib.shift.rules.watch import Watch, begin_step, clock_set, nobody_looked, observe, start_watch, stay_on
from runbook_lib.verdict import Sample

STABLE, CANARY = "serviceB", "serviceBv2"
BEGAN = 1_000_000
COUNTED, BY_ALARMS = ErrorJudge("counts", "counted"), ErrorJudge("alarms", "errors are judged by alarm pager alone")
RUN_WELL = Tasks(stable=2, stable_at_first=2, canary=2, canary_wanted=2)
SILENT = Sample(0, 0, 0, 0)


def rule(judge: ErrorJudge = COUNTED, on_blind: Any = "hold", **verdict: Any) -> Rule:
    """Return a rule of one-second periods: bakes of ten seconds, confirmed within twenty."""
    given_rule = VerdictRule(**{"detectable_increase": 0.05, **verdict})
    return Rule(STABLE, CANARY, 1, 10, 20, given_rule, judge, on_blind)


def second(weight: int, errors: float = 0.0, *, requests: int = 400, slow: float = 0.0) -> tuple[Sample, Sample]:
    """Return one second's requests, divided by the canary's weight, of whose a share has errors, or is slow."""
    canary = requests * weight // 100
    stable = requests - canary
    return Sample(stable, 0, canary, int(canary * errors)), Sample(stable, 0, canary, int(canary * slow))


class Follower:
    """Follows a step as `shifting` does, with made-up looks: each call is one second."""

    def __init__(self, step: int = 25, former: int = 0, by: Rule | None = None) -> None:
        self.rule = by or rule()
        self.watch = begin_step(start_watch(self.rule, BEGAN), step, former, BEGAN, BEGAN, self.rule)
        self.now = BEGAN
        self.moves: list[Move] = []

    def look(self, *seconds: tuple[Sample, Sample], **found: Any) -> Look:
        """Return what is found after these further seconds."""
        intervals = []
        for errors, slow in seconds:
            intervals.append(Interval(self.now, errors, slow))
            self.now += 1
        weights = self.rule.weights_at(self.watch.step)
        since = self.now - len(seconds)
        return Look(self.now, since, self.now, tuple(intervals), **{"weights": weights, "tasks": RUN_WELL, **found})

    def follow(self, *seconds: tuple[Sample, Sample], **found: Any) -> Move:
        """Look once, and return what follows."""
        look = self.look(*seconds, **found)
        self.watch = observe(self.watch, look, self.rule)
        move = next_move(self.watch, look, self.rule)
        self.watch = follow(self.watch, move, look)
        self.moves.append(move)
        return move

    def each(self, seconds: Sequence[tuple[Sample, Sample]], **found: Any) -> Move:
        """Look after each of some seconds, until the step is over; return what followed last."""
        move: Move = GoOn()
        for one in seconds:
            move = self.follow(one, **found)
            if not isinstance(move, GoOn | InEffect | ExtendBake):
                break
        return move


def confirmed(step: int = 25, former: int = 0, by: Rule | None = None) -> Follower:
    """Return one whose weight was confirmed a moment ago."""
    follower = Follower(step, former, by)
    follower.each([second(step)] * 3)
    assert [m for m in follower.moves if isinstance(m, InEffect)]
    return follower


HEALTHY = [second(25)] * 60
FAILING = [second(25, 0.5)] * 60


# In effect, then a bake, then a verdict.


def test_a_weight_is_in_effect_once_traffic_shows_it_and_the_bake_begins_then() -> None:
    follower = Follower()
    assert isinstance(follower.each([second(0)] * 8), GoOn)  # nobody has heard of it yet
    assert follower.watch.confirmed_at is None
    moves = [follower.follow(second(25)) for _ in range(3)]
    (found,) = [move for move in moves if isinstance(move, InEffect)]
    assert found.since == BEGAN + 8
    assert found.words.startswith("25 % is in effect: the canary answers 25.0 % of ")
    confirmed_at = follower.watch.confirmed_at
    assert isinstance(follower.each(HEALTHY), Pass)
    assert confirmed_at is not None
    assert follower.now == confirmed_at + 10


def test_a_healthy_canary_passes_when_the_bake_is_over_and_not_before() -> None:
    follower = confirmed()
    assert isinstance(follower.each(HEALTHY), Pass)
    assert not [move for move in follower.moves[:-1] if isinstance(move, Pass)]


@pytest.mark.parametrize("weight", [0, 12, 60])
def test_a_share_that_never_fits_the_weight_is_a_hold_when_the_time_is_over(weight: int) -> None:
    follower = Follower()
    move = follower.each([second(weight, 0.0)] * 30)
    assert isinstance(move, Hold)
    assert move.word == "unproved"
    assert follower.now == BEGAN + 21
    effect = "the weight has no effect" if weight < 25 else "it is not what the weight says"
    assert move.words.endswith(f": {effect}")
    assert move.words.startswith(f"after 20 s the canary answers {weight}.0 % of ")


def test_without_a_request_a_weight_cannot_be_confirmed() -> None:
    assert Follower().each([(SILENT, SILENT)] * 30) == Hold(
        "unproved", "no request was counted in 20 s: the weight cannot be proved"
    )


def test_a_weight_heard_late_is_confirmed_late_and_passes() -> None:
    follower = Follower()
    assert isinstance(follower.each([second(0)] * 15 + HEALTHY), Pass)


def test_a_weight_that_stops_working_in_the_bake_is_a_hold_never_a_verdict() -> None:
    move = confirmed(by=rule(detectable_increase=0.001)).each([second(0)] * 60)
    assert isinstance(move, Hold)
    assert move.word == "share"
    assert move.words.startswith("the weight stopped working: the canary answers ")


def test_errors_tried_again_are_no_stray_share() -> None:
    """Each of the canary's errors may be a further request; stable's share is then not what the weight says."""
    shared = Sample(300, 150, 100, 50)
    follower = confirmed(by=rule(ignored_increase=0.5, detectable_increase=0.9))
    assert not [m for m in [follower.follow((shared, shared)) for _ in range(8)] if isinstance(m, Hold)]


# A verdict.


@pytest.mark.parametrize("before", [0, 8], ids=["during the proof", "during the bake"])
def test_a_canary_that_fails_is_rolled_back_at_once(before: int) -> None:
    follower = Follower()
    follower.each(HEALTHY[:before])
    move = follower.each(FAILING)
    assert isinstance(move, RollBack)
    assert move.word == "verdict"
    assert follower.now <= BEGAN + before + 2


def test_an_outage_of_both_is_no_fail() -> None:
    outage = Sample(300, 90, 100, 30)
    move = confirmed().each([(outage, outage)] * 30)
    assert not isinstance(move, RollBack)


def test_an_error_rate_above_the_ceiling_is_rolled_back_though_stable_fails_too() -> None:
    outage = Sample(300, 150, 100, 50)
    move = confirmed(by=rule(ceiling=0.3)).each([(outage, outage)] * 30)
    assert isinstance(move, RollBack)
    assert "ceiling 30.0 %" in move.words


def test_slow_requests_fail_a_canary_where_they_are_judged_and_never_where_they_are_muted() -> None:
    slow = [second(25, slow=0.5)] * 30
    assert isinstance(confirmed(by=rule(slow_millis=500)).each(slow), RollBack)
    assert isinstance(confirmed(by=rule(slow_millis=500, muted=["slow"])).each(slow), Pass)


def test_at_100_the_canary_is_judged_alone_from_when_the_weight_is_in_effect() -> None:
    follower = Follower(25)
    follower.each(HEALTHY)
    follower.watch = begin_step(follower.watch, 100, 25, follower.now, follower.now, follower.rule)
    assert isinstance(follower.each([second(100)] * 40), Pass)
    assert follower.watch.alone >= 10
    assert follower.watch.counts.total("errors").stable_requests > 0  # of the earlier step, which it is held against
    assert follower.watch.judgement is not None
    assert "; while stable got no traffic, canary 0 of" in follower.watch.judgement.reason


FEW = [second(25, requests=8)] * 120


@pytest.mark.parametrize(
    ("rule_says", "bakes", "expected"),
    [("hold", 1, Hold), ("extend", 3, Hold), ("roll_back", 1, RollBack)],
)
def test_an_undecided_bake_ends_as_the_file_says(rule_says: Any, bakes: int, expected: type[Move]) -> None:
    follower = Follower(by=rule(on_inconclusive=rule_says, detectable_increase=0.01))
    move = follower.each([second(25)] * 3 + FEW)
    assert isinstance(move, expected)
    assert isinstance(move, Hold | RollBack)
    assert move.word == "inconclusive"
    assert "more canary requests needed" in move.words
    extended = [move for move in follower.moves if isinstance(move, ExtendBake)]
    assert len(extended) == bakes - 1
    confirmed_at = follower.watch.confirmed_at
    assert confirmed_at is not None
    assert follower.now == confirmed_at + 10 * bakes
    assert all(move.words.endswith("; the bake is extended") for move in extended)


def test_an_extended_bake_that_has_enough_passes() -> None:
    follower = confirmed(by=rule(on_inconclusive="extend", detectable_increase=0.01))
    assert isinstance(follower.each([second(25, requests=100)] * 30), Pass)
    assert [move for move in follower.moves if isinstance(move, ExtendBake)]


@pytest.mark.parametrize("rule_says", ["hold", "extend"])
def test_metrics_that_end_are_a_hold_never_a_pass(rule_says: str) -> None:
    move = confirmed(by=rule(on_inconclusive=rule_says)).each([(SILENT, SILENT)] * 60)
    assert isinstance(move, Hold)
    assert "nothing was seen in the newest interval" in move.words


# Interruptions.


def test_weights_of_somebody_else_are_a_hold_and_named() -> None:
    move = confirmed().follow(weights={STABLE: 40, CANARY: 60})
    assert move == Hold("foreign_change", "somebody changed the weights to serviceB 40 %, serviceBv2 60 %")


def test_targets_of_somebody_else_are_a_hold_though_the_weights_are_ours() -> None:
    assert confirmed().follow(oddity="a third one has 5 %") == Hold("foreign_change", "a third one has 5 %")


def test_a_rollback_by_somebody_else_ends_the_shift_as_what_it_is() -> None:
    assert confirmed().follow(weights={STABLE: 100, CANARY: 0}) == RolledBackElsewhere()
    assert others_weights({STABLE: 100}, "", 25, rule()) == RolledBackElsewhere()


def test_weights_that_cannot_be_told_are_no_rollback() -> None:
    assert isinstance(others_weights({}, "it is gone", 25, rule()), Hold)


def test_a_canary_without_a_task_is_rolled_back_at_once() -> None:
    move = confirmed().follow(tasks=replace(RUN_WELL, canary=0))
    assert move == RollBack("canary_tasks", "serviceBv2 has no running task")


def test_a_stable_service_without_a_task_is_a_hold_since_nobody_could_take_the_traffic_back() -> None:
    move = confirmed().follow(*FAILING[:3], tasks=replace(RUN_WELL, stable=0, canary=0))
    assert move == Hold("stable_tasks", "serviceB has no running task: nobody could take the traffic back")


SHORT: dict[str, tuple[Tasks, Move]] = {
    "stable": (
        Tasks(stable=1, stable_at_first=3, canary=2, canary_wanted=2),
        Hold("stable_tasks", "serviceB runs 1 of the 3 tasks it had: too few to go back to"),
    ),
    "canary": (
        Tasks(stable=2, stable_at_first=2, canary=2, canary_wanted=4),
        RollBack("canary_tasks", "serviceBv2 runs 2 of 4 tasks, 0 unhealthy"),
    ),
    "unhealthy": (
        Tasks(stable=2, stable_at_first=2, canary=4, canary_wanted=4, canary_unhealthy=1),
        RollBack("canary_tasks", "serviceBv2 runs 4 of 4 tasks, 1 unhealthy"),
    ),
}


@pytest.mark.parametrize(("tasks", "expected"), SHORT.values(), ids=SHORT)
def test_too_few_tasks_end_a_step_after_some_looks_in_a_row(tasks: Tasks, expected: Move) -> None:
    follower = confirmed()
    for _ in range(SHORT_LOOKS - 1):
        assert follower.follow(second(25), tasks=tasks) == GoOn()
    assert follower.follow(tasks=RUN_WELL) == GoOn()  # the replacement of a task
    moves = [follower.follow(second(25), tasks=tasks) for _ in range(SHORT_LOOKS)]
    assert moves == [GoOn()] * (SHORT_LOOKS - 1) + [expected]


@pytest.mark.parametrize("tasks", [tasks for tasks, _ in SHORT.values()], ids=SHORT)
def test_looks_between_two_figures_leave_a_task_as_much_time_to_be_replaced(tasks: Tasks) -> None:
    """Where figures come once a minute one looks several times for each; a replacement takes no less for that."""
    follower = confirmed()
    for _ in range(SHORT_LOOKS - 1):
        moves = [follower.follow(second(25), tasks=tasks), *(follower.follow(tasks=tasks) for _ in range(3))]
        assert moves == [GoOn()] * 4


def test_an_alarm_that_rings_rolls_back() -> None:
    assert confirmed().follow(alarms={"quiet": "OK", "pager": "ALARM"}) == RollBack("alarm", "in ALARM: pager")


def test_an_alarm_that_is_gone_is_a_hold() -> None:
    assert confirmed().follow(alarms={"pager": "MISSING"}) == Hold("alarm_missing", "no longer there: pager")


def test_an_alarm_without_data_is_a_hold_only_where_no_count_judges_errors() -> None:
    silent = {"pager": "INSUFFICIENT_DATA"}
    assert confirmed().follow(alarms=silent) == GoOn()
    assert confirmed(by=rule(BY_ALARMS)).follow(alarms=silent) == Hold(
        "alarm_missing", "without data, and the only judge of errors: pager"
    )


def test_a_hold_is_heeded_before_and_in_the_bake() -> None:
    assert Follower().follow(held_by="ada") == Hold("hold", "held by ada")
    assert confirmed().follow(held_by="ada") == Hold("hold", "held by ada")


# What a person decides.

ADA = "by ada, because the campaign begins at noon"


def test_a_bake_that_a_person_ends_is_promoted_and_says_what_was_judged_so_far() -> None:
    move = confirmed().follow(*HEALTHY[:2], promotion=ADA)
    assert isinstance(move, Promote)
    assert move.words.startswith(f"promoted: {ADA}; INCONCLUSIVE so far: errors: canary answered 0 of ")


def test_nobody_promotes_a_weight_that_traffic_does_not_show_yet() -> None:
    assert Follower().follow(promotion=ADA) == GoOn()


def test_an_undecided_bake_that_is_over_is_promoted_instead_of_held() -> None:
    strict = rule(detectable_increase=0.001)
    assert isinstance(confirmed(by=strict).follow(*HEALTHY), Hold)
    assert isinstance(confirmed(by=strict).follow(*HEALTHY, promotion=ADA), Promote)


def test_a_pass_is_no_promotion_whoever_asked_for_one() -> None:
    assert isinstance(confirmed().follow(*HEALTHY, promotion=ADA), Pass)


def test_where_the_file_says_never_nobody_promotes() -> None:
    never = replace(rule(), promotable=False)
    assert confirmed(by=never).follow(*HEALTHY[:2], promotion=ADA) == GoOn()


# What comes first.

FOREIGN = {"weights": {STABLE: 40, CANARY: 60}}
INTERRUPTIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("foreign_change", FOREIGN),
    ("stable_tasks", {"tasks": replace(RUN_WELL, stable=0)}),
    ("canary_tasks", {"tasks": replace(RUN_WELL, canary=0)}),
    ("alarm", {"alarms": {"pager": "ALARM"}}),
    ("hold", {"held_by": "ada"}),
    ("verdict", {}),  # the canary fails in every one of these
)


@pytest.mark.parametrize("index", range(len(INTERRUPTIONS)), ids=[word for word, _ in INTERRUPTIONS])
def test_of_several_interruptions_the_first_in_this_order_decides(index: int) -> None:
    found: dict[str, Any] = {}
    for _, more in reversed(INTERRUPTIONS[index:]):
        tasks = [each["tasks"] for each in (found, more) if "tasks" in each]
        found = {**found, **more}
        if len(tasks) == 2:
            found["tasks"] = replace(RUN_WELL, stable=0, canary=0)
    move = confirmed().follow(*FAILING[:5], **found)
    assert isinstance(move, Hold | RollBack)
    assert move.word == INTERRUPTIONS[index][0]


@pytest.mark.parametrize("index", range(len(INTERRUPTIONS)), ids=[word for word, _ in INTERRUPTIONS])
def test_what_stops_a_step_comes_before_a_promotion(index: int) -> None:
    word, found = INTERRUPTIONS[index]
    move = confirmed().follow(*FAILING[:5], promotion=ADA, **found)
    assert isinstance(move, Hold | RollBack)
    assert move.word == word


def test_a_failing_canary_is_rolled_back_though_an_alarm_is_gone() -> None:
    move = confirmed().follow(*FAILING[:5], alarms={"pager": "MISSING"})
    assert isinstance(move, RollBack)
    assert move.word == "verdict"


# Any looks at all.

WEIGHTS = st.sampled_from([{STABLE: 75, CANARY: 25}] * 6 + [{STABLE: 100, CANARY: 0}, {STABLE: 40, CANARY: 60}, {}])
TASKS = st.builds(
    Tasks,
    stable=st.sampled_from([2, 2, 2, 2, 1, 0]),
    stable_at_first=st.just(2),
    canary=st.sampled_from([2, 2, 2, 2, 1, 0]),
    canary_wanted=st.just(2),
    canary_unhealthy=st.sampled_from([0, 0, 0, 1]),
)
STATES = st.sampled_from(["OK"] * 5 + ["ALARM", "MISSING", "INSUFFICIENT_DATA"])
SECONDS = st.builds(
    second,
    st.sampled_from([25, 25, 25, 25, 0, 100]),
    st.sampled_from([0.0, 0.0, 0.0, 0.1, 1.0]),
    requests=st.sampled_from([400, 400, 40, 0]),
)
FOUND = st.fixed_dictionaries(
    {"weights": WEIGHTS, "tasks": TASKS, "alarms": st.fixed_dictionaries({"pager": STATES})},
    optional={"held_by": st.just("ada"), "promotion": st.just("by ada, because it is time")},
)


@st.composite
def looked(draw: st.DrawFn) -> tuple[Watch, Look, Rule]:
    """Return a watch after healthy seconds and some others, and a look that found anything."""
    by = rule(draw(st.sampled_from([COUNTED, BY_ALARMS])), on_inconclusive=draw(st.sampled_from(["hold", "extend"])))
    follower = Follower(by=by)
    for one in [*HEALTHY[: draw(st.integers(0, 16))], *draw(st.lists(SECONDS, max_size=3))]:
        follower.follow(one)
    look = follower.look(*draw(st.lists(SECONDS, max_size=3)), **draw(FOUND))
    return observe(follower.watch, look, by), look, by


@given(looked())
def test_never_a_pass_while_anything_is_amiss(any_look: tuple[Watch, Look, Rule]) -> None:
    watch, look, by = any_look
    if not isinstance(next_move(watch, look, by), Pass):
        return
    assert watch.judgement is not None
    assert watch.judgement.outcome == "PASS"
    assert watch.confirmed_at is not None
    assert look.data_until >= watch.confirmed_at + by.bake_seconds
    assert look.weights == by.weights_at(25)
    assert look.tasks.stable > 0
    assert look.tasks.canary > 0
    assert not look.held_by
    assert look.alarms["pager"] not in ("ALARM", "MISSING")


@given(looked())
def test_never_a_promotion_while_anything_is_amiss(any_look: tuple[Watch, Look, Rule]) -> None:
    watch, look, by = any_look
    if not isinstance(next_move(watch, look, by), Promote):
        return
    assert watch.judgement is not None
    assert watch.judgement.outcome == "INCONCLUSIVE"
    assert watch.confirmed_at is not None
    assert (look.weights, look.held_by) == (by.weights_at(25), "")
    assert look.tasks.stable > 0
    assert look.tasks.canary > 0
    assert look.alarms["pager"] not in ("ALARM", "MISSING")


@given(looked())
def test_a_fail_and_an_alarm_are_rolled_back_unless_the_weights_are_not_ours_or_nobody_could_take_them(
    any_look: tuple[Watch, Look, Rule],
) -> None:
    watch, look, by = any_look
    assert watch.judgement is not None
    theirs = look.weights != by.weights_at(25)
    lost = look.tasks.stable == 0 or watch.stable_short >= SHORT_LOOKS
    rings = look.alarms["pager"] == "ALARM"
    fails = watch.judgement.outcome == "FAIL" and not look.held_by  # somebody may hold a canary that fails
    if (rings or fails) and not (theirs or lost):
        assert isinstance(next_move(watch, look, by), RollBack)


@given(looked())
def test_weights_of_somebody_else_are_never_overwritten(any_look: tuple[Watch, Look, Rule]) -> None:
    watch, look, by = any_look
    if look.weights != by.weights_at(25):
        assert isinstance(next_move(watch, look, by), Hold | RolledBackElsewhere)


# Time in which nobody looked, and clocks.


def test_time_without_a_look_is_neither_bake_nor_proof() -> None:
    follower = Follower()
    follower.watch = nobody_looked(follower.watch, 40)
    assert isinstance(follower.each([second(0)] * 70), Hold)
    assert follower.now == BEGAN + 40 + 21

    follower = confirmed()
    confirmed_at = follower.watch.confirmed_at
    assert confirmed_at is not None
    follower.watch = nobody_looked(follower.watch, 40)
    assert isinstance(follower.each(HEALTHY), Pass)
    assert follower.now == confirmed_at + 40 + 10


def test_what_was_missed_meanwhile_is_judged() -> None:
    follower = confirmed()
    follower.watch = nobody_looked(follower.watch, 8)
    assert isinstance(follower.follow(*FAILING[:8]), RollBack)


@pytest.mark.parametrize("jump", [3600, -3600])
@pytest.mark.parametrize("seen", [1, 6], ids=["during the proof", "during the bake"])
def test_a_clock_that_is_set_makes_no_bake_longer_or_shorter_and_loses_no_count(seen: int, jump: int) -> None:
    plain, moved = Follower(), Follower()
    plain.each(HEALTHY)
    moved.each(HEALTHY[:seen])
    moved.watch = clock_set(moved.watch, jump, stamps_too=True)
    moved.now += jump
    assert isinstance(moved.each(HEALTHY), Pass)
    assert len(moved.moves) == len(plain.moves)
    assert moved.now - jump == plain.now
    assert moved.watch.counts.total("errors") == plain.watch.counts.total("errors")
    assert moved.watch.seen == plain.watch.seen


@pytest.mark.parametrize("rule_says", ["hold", "roll_back"])
def test_a_shift_that_is_blind_too_long_does_as_the_file_says(rule_says: str) -> None:
    expected = {"hold": Hold("blind", "nothing"), "roll_back": RollBack("blind", "nothing")}
    assert too_long_blind("nothing", rule(on_blind=rule_says)) == expected[rule_says]


def test_a_blind_shift_does_not_roll_back_what_somebody_else_wrote_before() -> None:
    by, back = rule(on_blind="roll_back"), RollBack("blind", "nothing")
    for ours in (by.weights_at(25), by.weights_at(100), {STABLE: 100, CANARY: 0}):
        assert blind_to_others(back, ours, (25, 100), by) == back
    theirs = blind_to_others(back, {STABLE: 40, CANARY: 60}, (25, 100), by)
    assert isinstance(theirs, Hold)
    assert theirs.word == "foreign_change"


def test_what_time_does_not_heal_is_a_hold_whatever_the_file_says() -> None:
    move = cannot_look("permission", "it lacks one", "add it")
    assert move == Hold("permission", "nothing can be looked at: it lacks one", "add it")


# Before a step.


def test_a_gate_that_fails_before_a_step_is_a_hold_with_what_to_do() -> None:
    good = Evidence("rollback possible", True, "2 of 2", "wait")
    bad = Evidence("alarms", False, "pager is ALARM", "settle it")
    assert gates_fail([good]) is None
    assert gates_fail([good, bad]) == Hold("gate", "before the next step: alarms: pager is ALARM", "settle it")


def test_an_approval_that_expired_rolls_back_only_where_users_are_on_the_canary_and_it_says_so() -> None:
    assert approval_expired("it ran out", 25) == RollBack("approval", "it ran out")
    assert approval_expired("it ran out", 0) is None
    assert approval_expired("", 25) is None


# Late figures, and long bakes.


@settings(max_examples=30)
@given(st.data())
def test_the_order_in_which_late_figures_come_does_not_matter_within_the_window(data: st.DataObject) -> None:
    count = 12
    every = [Interval(BEGAN + n, *data.draw(SECONDS)) for n in range(count)]
    known = {one.start: Interval(one.start, SILENT, SILENT) for one in every}
    late = Follower()
    order = data.draw(st.permutations(range(count)))
    for n in order:
        known[every[n].start] = every[n]
        late.watch = observed(late, known)
    at_once = Follower()
    assert observed(at_once, {one.start: one for one in every}).judgement == late.watch.judgement


def observed(follower: Follower, known: dict[int, Interval]) -> Watch:
    """Look at all that is known so far."""
    until = BEGAN + len(known)
    since = follower.watch.counts.since
    intervals = tuple(one for one in known.values() if one.start >= since)
    weights = follower.rule.weights_at(25)
    look = Look(until, since, until, intervals, weights, RUN_WELL)
    return observe(follower.watch, look, follower.rule)


def test_what_a_look_reads_and_keeps_does_not_grow_with_the_bake() -> None:
    long = Follower(by=replace(rule(), bake_seconds=86_400))
    sizes = []
    for minute in range(15):
        for _ in range(60):
            assert isinstance(long.follow(second(25)), GoOn | InEffect)
        counts = long.watch.counts
        sizes.append(len(counts.open))
        assert counts.since >= long.now - LATE_PERIODS
        assert len(counts.picture) <= PICTURED + LATE_PERIODS
        assert counts.total("errors").canary_requests == 60 * 100 * (minute + 1)
    assert set(sizes[1:]) == {LATE_PERIODS}


# A step that has passed, and is watched until the next one is taken.


def passed(by: Rule | None = None) -> Follower:
    """Return one whose step has passed."""
    follower = confirmed(by=by)
    assert isinstance(follower.each(HEALTHY), Pass)
    follower.watch = stay_on(follower.watch)
    return follower


def test_a_step_that_has_passed_passes_no_more_and_nothing_ends_it_while_it_goes_well() -> None:
    follower = passed()
    assert {type(follower.follow(second(25))) for _ in range(400)} == {GoOn}


def test_a_canary_that_fails_after_its_pass_is_rolled_back_as_before_it() -> None:
    follower = passed()
    move = follower.each(FAILING)
    assert isinstance(move, RollBack)
    assert move.word == "verdict"


def test_weights_of_somebody_else_after_a_pass_are_a_hold_and_a_rollback_elsewhere_its_end() -> None:
    weights = {STABLE: 60, CANARY: 40}
    assert isinstance(passed().follow(second(40), weights=weights), Hold)
    assert isinstance(passed().follow(second(0), weights={STABLE: 100, CANARY: 0}), RolledBackElsewhere)


@pytest.mark.parametrize(("on_blind", "kind"), [("hold", Hold), ("roll_back", RollBack)])
def test_a_canary_of_whom_nothing_is_counted_any_more_is_a_hold_or_rolled_back_as_the_file_says(
    on_blind: Any, kind: type[Move]
) -> None:
    follower = passed(replace(rule(on_blind=on_blind), blind_seconds=60.0))
    nothing = (SILENT, SILENT)
    assert {type(follower.follow(nothing)) for _ in range(59)} == {GoOn}
    move = follower.follow(nothing)
    assert isinstance(move, kind)
    assert isinstance(move, Hold | RollBack)
    assert (move.word, move.words) == ("blind", "no request was counted for 1 minute")
