"""Steps that only rise; on a control plane without traffic each is written and read back."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook_lib import plan_steps, plan_undo, shift_traffic, survey
from runbook_lib.errors import GateError, Held, PrerequisiteError, RolledBack
from runbook_lib.plan import Evidence
from runbook_lib.runs.approvals import hold
from runbook_lib.shift import go_back, steps_left
from tests.live import CANARY, again, ending, newest, take, under_sky
from tests.scenes import change, fact, open_at, open_local, reopen, shift, step, weights, writes

STEPS = st.lists(st.integers(1, 100), min_size=1, max_size=6, unique=True).map(sorted)


@given(STEPS, st.integers(0, 100))
def test_a_step_that_was_passed_is_never_taken_again(steps: list[int], now: int) -> None:
    left = steps_left(steps, now)
    assert all(step > now for step in left)
    assert [step for step in steps if step <= now] + left == steps


@given(STEPS, st.integers(0, 100))
def test_the_canarys_weight_only_rises(steps: list[int], now: int) -> None:
    assert all(a < b for a, b in pairwise([now, *steps_left(steps, now)]))


@pytest.mark.parametrize(("weight", "left"), [(0, [25, 100]), (10, [25, 100]), (25, [100]), (60, [100])])
def test_the_steps_left_follow_from_the_weights_in_force(weight: int, left: list[int]) -> None:
    session = open_at("meshed")
    if weight:
        shift(session, weight)
    assert [planned.step for planned in plan_steps(session)] == left


def test_each_planned_step_says_its_weights() -> None:
    assert [dict(planned.weights) for planned in plan_steps(open_at("meshed"))] == [
        {"serviceB": 75, "serviceBv2": 25},
        {"serviceB": 0, "serviceBv2": 100},
    ]


@pytest.mark.parametrize("stage", ["plain", "shifted", "retired"])
def test_where_nothing_is_left_no_step_is_planned(stage: str) -> None:
    assert plan_steps(open_at(stage)) == []


def test_planning_the_steps_writes_nothing() -> None:
    session = open_at("meshed")
    before = writes(session)
    plan_steps(session)
    assert writes(session) == before


def test_without_traffic_every_step_is_written_and_read_back() -> None:
    session = open_at("meshed")
    seen = []
    for decision in shift_traffic(session, fact()):
        seen.append((decision.step, dict(decision.weights)))
        assert weights(session) == decision.weights
    assert seen == [(25, {"serviceB": 75, "serviceBv2": 25}), (100, {"serviceB": 0, "serviceBv2": 100})]


def test_a_shift_that_was_interrupted_goes_on_where_it_stands() -> None:
    session = open_at("meshed")
    next(iter(shift_traffic(session, fact())))
    assert weights(session) == {"serviceB": 75, "serviceBv2": 25}
    assert [decision.step for decision in shift_traffic(session, fact())] == [100]


def test_a_second_shift_writes_nothing() -> None:
    session = open_at("shifted")
    before = writes(session)
    assert list(shift_traffic(session, fact())) == []
    assert writes(session) == before


def test_in_plan_mode_the_steps_are_shown_and_none_is_taken() -> None:
    session = open_at("meshed", mode="plan")
    before = writes(session)
    assert [decision.step for decision in shift_traffic(session, fact())] == [25, 100]
    assert writes(session) == before


def test_without_traffic_a_hold_asked_since_the_run_began_holds_the_first_step() -> None:
    session = open_at("meshed")
    hold(session.join_run(), "ada")
    before = writes(session)
    with pytest.raises(Held, match="held by ada"):
        list(shift_traffic(session, fact()))
    assert writes(session) == before
    assert [decision.step for decision in shift_traffic(session, fact())] == [25, 100]


REFUSED: dict[str, tuple[tuple[Evidence, ...], type[Exception]]] = {
    "no evidence at all": ((), GateError),
    "evidence that does not hold": ((fact(holds=False),), GateError),
    "earlier steps that are missing": ((fact("earlier steps", holds=False),), PrerequisiteError),
}


@pytest.mark.parametrize(("evidence", "error"), REFUSED.values(), ids=REFUSED)
def test_is_refused_before_the_first_write(evidence: tuple[Evidence, ...], error: Any) -> None:
    session = open_at("meshed")
    before = writes(session)
    with pytest.raises(error):
        list(shift_traffic(session, *evidence))
    assert writes(session) == before


def test_without_a_route_there_is_no_step() -> None:
    assert plan_steps(open_local()) == []


# How a run that is made by hand ends.


def test_by_hand_a_run_is_done_once_stable_is_retired_and_the_next_change_opens_another() -> None:
    session = open_at("meshed")
    list(shift_traffic(session, fact()))
    run = session.join_run()
    assert not run.closed
    step(session, "06")
    assert run.closed
    assert reopen(session).join_run() != run
    assert plan_undo(reopen(session), notebook="06_tear_down_service_b").changes


def test_by_hand_a_run_goes_on_once_a_part_of_it_was_undone() -> None:
    session = open_at("meshed")
    list(shift_traffic(session, fact()))
    run = session.join_run()
    step(session, "06")
    back = reopen(session)
    change(back, plan_undo(back, notebook="06_tear_down_service_b"))
    assert not run.closed
    assert reopen(session).join_run() == run


def test_by_hand_a_run_is_done_once_everything_is_removed() -> None:
    session = open_at("shifted", "90_remove_mesh")
    run = session.join_run()
    plan = survey(session).plan_removal()
    change(session, plan, *map(fact, plan.needs))
    assert run.closed
    assert session.join_run() != run


def test_by_hand_a_run_is_over_once_its_shift_was_rolled_back() -> None:
    session, sky = under_sky()
    run = session.join_run()
    ending(session, RolledBack, {"proved": lambda: sky.errors.update({CANARY: 1.0})})
    assert run.closed
    sky.errors.clear()
    take(again(sky))
    assert newest(session.parameters) != run
    assert [line["phase"] for line in run.lines() if line["event"] == "decision"][-1] == "settled"


def test_by_hand_a_run_is_over_once_somebody_rolled_back_what_nobody_watched() -> None:
    session, sky = under_sky()
    take(session, until=lambda d: d.phase == "proved")
    session = again(sky)
    run = session.join_run()
    assert go_back(session)
    assert run.closed
    assert session.join_run() != run


def test_a_run_that_executes_notebooks_is_closed_by_who_executes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    session = open_at("shifted")
    monkeypatch.setenv("RUNBOOK_RUN", str(session.join_run().folder))
    step(session, "06")
    assert not session.join_run().closed
