"""Faults of a canary behind a load balancer, at CloudWatch's grain of a minute: each ends in one write, or in none."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import pytest

from runbook_lib import evidence_for_shift, survey
from runbook_lib.aws.cloudwatch import Interval, Unclaimed
from runbook_lib.errors import Held, RolledBack
from runbook_lib.parameters.shift import VerdictRule
from runbook_lib.shift import shift_traffic
from runbook_lib.shift.rules.unanswered import judge_unanswered, laid_at
from runbook_lib.verdict import Sample
from tests.plain_alb import FILE, Services, Sky, open_alb

CANARY, STABLE = "web-v2", "web"
NOTHING = Sample(0, 0, 0, 0)


@dataclass
class Scene:
    """A shift under a sky, and who may be hurt."""

    sky: Sky
    ecs: Services

    def writes_after(self, fault: Callable[[Scene], object], steps: tuple[int, ...] = (25, 100)) -> list[str]:
        """Shift until the first weight is in effect, let something happen, and return the calls made since then."""
        shift = {**FILE["shift"], "steps": list(steps), "bake_seconds": 1200}
        opened = open_alb(sky=self.sky, ecs=self.ecs, shift=shift)
        before = 0
        try:
            for decision in shift_traffic(opened.session, *evidence_for_shift(survey(opened.session))):
                if decision.phase == "proved" and not before:
                    before = len(self.sky.elb.calls)
                    fault(self)
        finally:
            assert before, "the weight was never in effect"
            self.calls = self.sky.elb.calls[before:]
        return self.calls


@pytest.fixture
def scene() -> Scene:
    sky = Sky()
    return Scene(sky, Services(elb=sky.elb))


def half_crashes(scene: Scene) -> None:
    scene.ecs.wanted_of[CANARY], scene.ecs.tasks[CANARY] = 2, 1


def loses_its_targets(scene: Scene) -> None:
    scene.sky.elb.health[CANARY] = []


FAULTS: dict[str, tuple[Callable[[Scene], object], str]] = {
    "errors": (lambda scene: scene.sky.fails.update({CANARY: 0.1}), "verdict"),
    "connection refused": (lambda scene: scene.sky.refused.update({CANARY: 1.0}), "verdict"),
    "hanging": (lambda scene: scene.sky.hangs.update({CANARY: 1.0}), "unanswered"),
    "hanging now and then": (lambda scene: scene.sky.hangs.update({CANARY: 0.05}), "unanswered"),
    "no healthy target": (lambda scene: scene.sky.elb.health.update({CANARY: ["unhealthy"] * 2}), "canary_tasks"),
    "no target": (loses_its_targets, "canary_tasks"),
    "half of its tasks": (half_crashes, "canary_tasks"),
}


@pytest.mark.parametrize(("fault", "reason"), FAULTS.values(), ids=FAULTS)
def test_a_bad_canary_is_rolled_back_in_one_write(scene: Scene, fault: Callable[[Scene], object], reason: str) -> None:
    with pytest.raises(RolledBack) as caught:
        scene.writes_after(fault)
    assert caught.value.reason == reason
    assert scene.calls == ["modify_rule"]
    assert scene.sky.elb.weights == {STABLE: 100, CANARY: 0}


def test_a_canary_whose_callers_give_up_first_is_rolled_back_too(scene: Scene) -> None:
    scene.sky.impatient = True
    with pytest.raises(RolledBack, match=r"hanging|did not answer") as caught:
        scene.writes_after(lambda scene: scene.sky.hangs.update({CANARY: 0.2}))
    assert (caught.value.reason, scene.calls) == ("unanswered", ["modify_rule"])


@pytest.mark.parametrize("kind", ["fails", "refused", "hangs"])
def test_an_outage_that_both_share_rolls_nothing_back(scene: Scene, kind: str) -> None:
    with suppress(Held):  # undecided, where errors are so many
        scene.writes_after(lambda scene: getattr(scene.sky, kind).update({STABLE: 0.3, CANARY: 0.3}), steps=(25,))
    assert (scene.calls, scene.sky.elb.weights) == ([], {STABLE: 75, CANARY: 25})


def test_a_canary_alone_that_hangs_is_rolled_back(scene: Scene) -> None:
    with pytest.raises(RolledBack) as caught:
        scene.writes_after(lambda scene: scene.sky.hangs.update({CANARY: 0.2}), steps=(100,))
    assert (caught.value.reason, scene.calls) == ("unanswered", ["modify_rule"])


@pytest.mark.parametrize("share", [1.0, 0.02])
def test_a_canary_that_has_all_traffic_and_hangs_is_rolled_back_as_soon_as_one_with_errors(share: float) -> None:
    seconds = {}
    for kind in ("hangs", "fails"):
        sky, began = Sky(), 0.0
        shift = {**FILE["shift"], "steps": [25, 100], "bake_seconds": 1200}
        opened = open_alb(sky=sky, ecs=Services(elb=sky.elb), shift=shift)
        with suppress(RolledBack):
            for decision in shift_traffic(opened.session, *evidence_for_shift(survey(opened.session))):
                if (decision.phase, decision.step) == ("proved", 100):
                    began = sky.now
                    getattr(sky, kind)[CANARY] = share
        assert sky.elb.weights == {STABLE: 100, CANARY: 0}
        seconds[kind] = sky.now - began
    assert seconds["hangs"] <= seconds["fails"]


# --- whose the unanswered requests were -----------------------------------------------


def minute(requests: tuple[int, int], answers: tuple[int, int], errors: int) -> Interval:
    """Return an interval with both versions' requests and answers, and the errors counted for nobody."""
    return Interval(0, Sample(requests[0], 0, requests[1], 0), NOTHING, Unclaimed(errors, *answers))


@pytest.mark.parametrize(
    ("requests", "answers", "errors", "lost"),
    [
        ((75, 25), (75, 25), 0, (0, 0)),
        ((75, 25), (75, 5), 20, (0, 20)),
        ((75, 25), (60, 20), 20, (15, 5)),  # shared: each its part
        ((75, 25), (75, 25), 9, (0, 0)),  # where everybody was answered they are nobody's
        ((75, 25), (75, 15), 4, (0, 4)),  # no more than errors: some may be under way
        ((75, 25), (80, 20), 5, (0, 5)),  # answers to requests of the minute before
        ((75, 25), (75, 0), 90, (0, 25)),  # no more than were sent
    ],
)
def test_errors_of_nobody_are_laid_at_the_door_of_whoever_did_not_answer(
    requests: tuple[int, int], answers: tuple[int, int], errors: int, lost: tuple[int, int]
) -> None:
    found = laid_at(minute(requests, answers, errors))
    assert (found.stable_errors, found.canary_errors) == lost


def test_a_few_of_them_are_no_reason_to_roll_back() -> None:
    stray = [minute((9_000, 3_000), (8_998, 2_990), 12)] * 60  # 0.3 percentage points more, for an hour
    assert judge_unanswered(stray, VerdictRule()).outcome != "FAIL"
    assert judge_unanswered(stray, VerdictRule(detectable_increase=0.001)).outcome == "FAIL"
