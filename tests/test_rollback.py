"""`runbook rollback`: all traffic to stable in one write, whatever else runs, is full, or is gone."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from runbook_lib.aws.session import Session
from runbook_lib.errors import RolledBack
from runbook_lib.rollback import Back, roll_back
from tests.live import CANARY, STABLE, Sky, again, ending, under_sky
from tests.scenes import ROUTE, route, somebody, writes

BACK = {STABLE: 100, CANARY: 0}
QUARTER = {STABLE: 75, CANARY: 25}

pytestmark = pytest.mark.attack(1)


def targets(session: Session, **weights: int) -> None:
    """Write these targets into the route as somebody else would."""
    spec = route(session)["spec"]
    spec["http2Route"]["action"] = {"weightedTargets": [{"virtualNode": n, "weight": w} for n, w in weights.items()]}
    somebody(session).update_route(**ROUTE, spec=spec)


def back_of(sky: Sky, **more: Any) -> tuple[Back, list[str]]:
    """Roll back as a process that knows the file alone; return what came of it, and what it told."""
    told: list[str] = []
    return roll_back(again(sky), told.append, **more), told


def test_all_traffic_goes_to_stable_by_one_write_that_is_told_as_a_command_first() -> None:
    session, sky = under_sky()
    targets(session, **QUARTER)
    before = sky.updates
    back, told = back_of(sky)
    assert (sky.weights(), sky.updates - before) == (BACK, 1)
    assert back.weights == BACK
    command = shlex.split(told[0])
    assert command[:3] == ["aws", "appmesh", "update-route"]
    somebody(session).update_route(**json.loads(command[-1]))  # what it told does the same
    assert sky.weights() == BACK


def test_where_all_of_it_is_there_already_nothing_is_written() -> None:
    session, sky = under_sky()
    before = writes(session)
    back, told = back_of(sky)
    assert (back.decision, told, writes(session)) == (None, [], before)


def test_whoever_watches_sees_who_did_it_and_ends_as_rolled_back() -> None:
    session, sky = under_sky()
    caught = ending(session, RolledBack, {"proved": lambda: back_of(sky)})
    assert "by hand: rolled back by arn:aws:" in str(caught)
    assert caught.reason == "by_hand"
    assert sky.weights() == BACK
    assert sky.updates == 3  # rehearsal, 25 %, back


def test_who_did_it_is_seen_from_another_machine_too_by_a_mark_at_aws(tmp_path: Path) -> None:
    session, sky = under_sky()

    def elsewhere() -> None:
        other = again(sky, records=str(tmp_path))
        roll_back(other, lambda words: None)

    caught = ending(session, RolledBack, {"proved": elsewhere})
    assert "rolled back by arn:aws:" in str(caught)
    assert "by `runbook rollback`" in str(caught)


def test_the_command_that_was_told_made_by_hand_ends_the_shift_too() -> None:
    session, _ = under_sky()
    caught = ending(session, RolledBack, {"proved": lambda: targets(session, **BACK)})
    assert "somebody gave serviceB all of the canary's traffic, and left no word of it" in str(caught)


def test_it_is_made_while_a_live_run_holds_the_lock() -> None:
    session, sky = under_sky()
    with session.holding():
        back_of(again(sky) and sky)
    assert sky.weights() == BACK or sky.updates == 0
