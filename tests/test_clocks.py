"""Whoever sets a clock shortens and lengthens no bake, no proof and no approval."""

from __future__ import annotations

import pytest

from runbook_lib import survey
from runbook_lib.aws.session import Session
from runbook_lib.errors import Held
from runbook_lib.runs.approvals import approval_of, approve
from runbook_lib.shift.decision import Decision
from tests.live import CANARY, STABLE, Sky, ending, newest, quick, take, under_sky
from tests.scenes import Clock, lines, open_at

pytestmark = pytest.mark.attack(9)


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
def test_time_is_the_machines_at_first_and_goes_on_without_it(jump: float) -> None:
    session = open_at("plain")
    clock, wall = Clock(), [1_000_000.0]
    session.clock, session.wall, session.ahead = clock, lambda: wall[0], None
    assert session.now() == 1_000_000.0
    wall[0] += jump
    clock.now += 7
    assert session.now() == 1_000_007.0


def test_an_answers_date_that_is_far_off_sets_it_right_and_one_that_is_near_does_not() -> None:
    session = open_at("plain")
    clock = Clock()
    session.clock, session.wall, session.ahead = clock, lambda: 1_000_000.0, None
    asked, _ = clock(), session.now()
    clock.now += 9  # a slow answer is no other time
    session.hear(1_000_000.0, asked)
    session.hear(1_000_013.0, asked)
    assert (session.now(), session.moved) == (1_000_009.0, 0.0)
    session.hear(1_003_600.0, clock())  # this machine was asleep, or its clock wrong
    assert (session.now(), session.moved) == (1_003_600.0, 3591.0)


def test_the_date_is_heard_from_each_answer() -> None:
    session = open_at("plain")
    answer = type("Answer", (), {"headers": {"Date": "Sat, 28 Nov 2026 22:00:00 GMT"}})()
    session._hear_answer(answer, {"runbook_asked": session.clock()})
    assert session.now() == pytest.approx(1_795_903_200, abs=1)
    for nonsense in ({}, {"Date": ""}, {"Date": "tomorrow"}):
        session._hear_answer(type("Answer", (), {"headers": nonsense})(), {"runbook_asked": session.clock()})
    assert session.now() == pytest.approx(1_795_903_200, abs=1)


def _set_clock(sky: Sky, jump: float) -> None:
    """Set the machine's clock, by which the local mesh stamps its figures and dates its answers."""
    at = sky.session.now() + jump
    sky.stamped_ahead += int(jump)
    sky.session.hear(float(int(at)), sky.session.clock())


@pytest.mark.parametrize(("phase", "jump"), [("written", 3600), ("proved", -3600)])
def test_a_bake_in_which_the_clock_is_set_is_as_long_and_sees_as_much(phase: str, jump: int) -> None:
    session, sky = under_sky(shift=quick(bake_seconds=10))
    began: dict[str, float] = {}
    for decision in take_all(session, sky, phase, jump, began):
        if (decision.phase, decision.step) == ("judged", 25):
            assert decision.verdict == "PASS"
            assert 9 <= began["judged"] - began["proved"] <= 10 + 4
    samples = lines(session, "judged")[0]["samples"]["errors"]
    assert sum(row[2] for row in samples) >= 9 * 50  # the canary's requests: none of them was lost but at the seam
    assert sky.weights() == {STABLE: 0, CANARY: 100}


def take_all(session: Session, sky: Sky, phase: str, jump: float, began: dict[str, float]) -> list[Decision]:
    """Follow a shift to its end; three seconds after its first decision of a phase somebody sets the clock."""
    done: list[str] = []

    def at(decision: Decision) -> bool:
        began.setdefault(decision.phase, sky.now)
        if decision.phase == phase and not done:
            done.append(phase)
            sky.at(3, lambda: _set_clock(sky, jump))
        return False

    return take(session, until=at)


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
def test_an_approval_lasts_as_long_as_it_was_given_for_whoever_sets_this_machines_clock(jump: float) -> None:
    session, sky = under_sky(shift=quick(approvals={"steps": [25], "valid_minutes": 30}))
    ending(session, Held, {})
    wall = [sky.now]
    session.wall = lambda: wall[0]
    plan = survey(session).plan_step(25)
    approve(session, newest(session.parameters), plan, approver="ada")
    wall[0] += jump
    assert approval_of(session, plan)
    sky.now += 31 * 60
    assert not approval_of(session, plan)
