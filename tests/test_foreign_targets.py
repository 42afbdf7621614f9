"""Somebody else's targets and weights under shift: read as shares, held before the first write, kept by a rollback."""

from __future__ import annotations

from typing import Any

import pytest

from runbook_lib import survey
from runbook_lib.aws.session import Session
from runbook_lib.engines import protocol
from runbook_lib.errors import Held
from runbook_lib.shift import plan_steps, take_step
from runbook_lib.shift.rollback import roll_back
from runbook_lib.shift.shifting import mark_of
from tests.live import CANARY, STABLE, again, ending, quick, under_sky
from tests.scenes import MESH, ROUTE, fact, route, somebody, writes

BACK = {STABLE: 100, CANARY: 0}

pytestmark = pytest.mark.attack(14)


def put(session: Session, *targets: dict[str, Any]) -> None:
    """Write these targets as somebody else would."""
    spec = route(session)["spec"]
    spec["http2Route"]["action"] = {"weightedTargets": list(targets)}
    somebody(session).update_route(**ROUTE, spec=spec)


def weighted(**weights: int) -> list[dict[str, Any]]:
    return [{"virtualNode": name, "weight": weight} for name, weight in weights.items()]


def third(session: Session, **weights: int) -> None:
    """Let a third version, `other`, share the route."""
    node = somebody(session).describe_virtual_node(**MESH, virtualNodeName=STABLE)["virtualNode"]["spec"]
    somebody(session).create_virtual_node(**MESH, virtualNodeName="other", spec=node)
    put(session, *weighted(**weights))


@pytest.mark.case(26)
@pytest.mark.parametrize("by_hand", [False, True], ids=["the cell", "the panel"])
@pytest.mark.parametrize("weight", [40, 0])
def test_a_third_target_is_held_before_the_first_write(weight: int, by_hand: bool) -> None:
    session, sky = under_sky(shift=quick(trial={"requests": 5}))
    third(session, **{STABLE: 100 - weight, CANARY: 0, "other": weight})
    before = writes(session)
    if by_hand:
        shown = survey(session).plan_weights({STABLE: 100, CANARY: 0, "other": 0})
        with pytest.raises(Held) as caught:
            list(take_step(session, 25, mark_of(shown), fact()))
        held = caught.value
    else:
        held = ending(session, Held, {})
    assert held.reason == "foreign_change"
    assert "other is a target too, and no part of this shift" in str(held)
    assert writes(session) == before
    assert sky.weights()["other"] == weight


def test_a_third_target_that_comes_in_the_bake_is_a_hold() -> None:
    session, sky = under_sky()
    held = ending(session, Held, {"proved": lambda: third(session, **{STABLE: 50, CANARY: 25, "other": 25})})
    assert held.reason == "foreign_change"
    assert sky.weights()["other"] == 25


def test_in_an_emergency_a_third_target_keeps_what_it_has() -> None:
    session, sky = under_sky()
    third(session, **{STABLE: 60, CANARY: 25, "other": 15})
    roll_back(again(sky), lambda words: None)
    assert sky.weights() == {STABLE: 85, CANARY: 0, "other": 15}


def test_whatever_else_a_target_says_is_kept_by_a_weight_change() -> None:
    session, _ = under_sky()
    put(session, {"virtualNode": STABLE, "weight": 100, "port": 9080}, {"virtualNode": CANARY, "weight": 0})
    (change,) = survey(session).plan_step(25)
    targets = change.call.arguments["spec"]["http2Route"]["action"]["weightedTargets"]
    assert targets == [
        {"virtualNode": STABLE, "weight": 75, "port": 9080},
        {"virtualNode": CANARY, "weight": 25},
    ]


@pytest.mark.case(10)
@pytest.mark.parametrize(
    ("written", "shares"),
    [
        ({STABLE: 1, CANARY: 0}, {STABLE: 100, CANARY: 0}),
        ({STABLE: 3, CANARY: 3}, {STABLE: 50, CANARY: 50}),
        ({STABLE: 100, CANARY: 100}, {STABLE: 50, CANARY: 50}),
        ({STABLE: 100, CANARY: 1}, {STABLE: 99, CANARY: 1}),
        ({STABLE: 1, CANARY: 1, "c": 1}, {STABLE: 34, CANARY: 33, "c": 33}),
        ({STABLE: 100, CANARY: 100, "c": 1}, {STABLE: 50, CANARY: 49, "c": 1}),
        ({STABLE: 0, CANARY: 0}, {STABLE: 0, CANARY: 0}),
        ({STABLE: 75, CANARY: 25}, {STABLE: 75, CANARY: 25}),
    ],
)
def test_weights_are_read_as_shares_of_their_sum(written: dict[str, int], shares: dict[str, int]) -> None:
    assert protocol.shares(written) == shares


@pytest.mark.case(10)
@pytest.mark.parametrize("canary", [1, 3, 100])
def test_weights_that_nobody_meant_as_percents_are_somebody_elses(canary: int) -> None:
    session, _ = under_sky()
    stable = {1: 100, 3: 3, 100: 100}[canary]
    put(session, *weighted(**{STABLE: stable, CANARY: canary}))
    before = writes(session)
    held = ending(session, Held, {})
    assert f"do not sum to 100 but to {stable + canary}" in str(held)
    assert writes(session) == before


def test_one_and_zero_are_all_of_it_and_a_shift_begins_there() -> None:
    session, sky = under_sky()
    put(session, *weighted(**{STABLE: 1, CANARY: 0}))
    assert survey(session).stage == "routed"
    assert [step.step for step in plan_steps(session)] == [25, 100]
    roll_back(again(sky), lambda words: None)
    assert sky.weights() == {STABLE: 1, CANARY: 0}  # nothing was left to roll back


@pytest.mark.case(10)
def test_where_every_weight_is_0_it_is_said_what_envoy_does() -> None:
    session, sky = under_sky()
    put(session, *weighted(**{STABLE: 0, CANARY: 0}))
    sky.at(0, lambda: None)
    held = ending(session, Held, {})
    assert "every weight is 0, and Envoy keeps the weights it had before" in str(held)
    roll_back(again(sky), lambda words: None)
    assert sky.weights() == BACK


def test_03_leaves_the_weights_as_they_stand_in_the_route() -> None:
    session, _ = under_sky()
    put(session, *weighted(**{STABLE: 3, CANARY: 1}))
    assert not survey(session).plan_resources("03").changes
