"""The shift of a load balancer's rule on the local control plane: its calls, and others' edits meanwhile."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from runbook_lib import apply, check_environment, clear, evidence_for_shift, plan_undo, require_checks, survey
from runbook_lib.engines.alb import engine as alb
from runbook_lib.errors import CallError, GateError, StalePlanError
from runbook_lib.shift import shift_traffic
from runbook_lib.shift.rollback import roll_back
from runbook_lib.shift.trial import end_trial
from tests.alb_scene import HOST, Front, again, open_front
from tests.plain_alb import FILE
from tests.scenes import Clock, settle, writes

STABLE, QUARTER, ALL = ({"web": 100 - canary, "web-v2": canary} for canary in (0, 25, 100))


class Slow(Clock):
    """Time that also passes by itself a little: health checks go by the machine's clock."""

    def sleep(self, seconds: float) -> None:
        """Wait, and let ECS take a step."""
        time.sleep(0.01)
        super().sleep(seconds)


def step(front: Front, weight: int) -> list[Any]:
    """Write one weight as 05 does, with its gates."""
    found = survey(front.session)
    return apply(front.session, clear(found.plan_step(weight), *evidence_for_shift(found)))


def changed(front: Front, before: Any = None) -> dict[str, int]:
    """Return the calls that changed something, since `before` was counted."""
    return dict(writes(front.session) - (before or writes(front.session).__class__()))


def retire(front: Front) -> list[Any]:
    """Do what 06 does, but for its evidence."""
    return apply(front.session, clear(replace(survey(front.session).plan_retirement(), needs=())))


def back(front: Front, notebook: str = "") -> list[Any]:
    """Undo what the newest run, or one notebook of it, changed."""
    plan = plan_undo(front.session, notebook=notebook)
    return apply(front.session, clear(replace(plan, needs=())))


def test_00_finds_nothing_to_mend() -> None:
    front = open_front()
    require_checks(check_environment(survey(front.session)))


def test_each_weight_and_the_rollback_are_one_call() -> None:
    front = open_front()
    before = writes(front.session)
    for weight in (5, 25, 50, 100):
        step(front, weight)
    assert front.weights() == ALL
    roll_back(front.session, lambda words: None)
    assert front.weights() == STABLE
    assert changed(front, before)["elbv2.ModifyRule"] == 5


def test_a_rule_with_a_login_keeps_it_and_its_conditions_priority_and_tags() -> None:
    front = open_front(login=True)
    before = front.described()
    step(front, 25)
    after = front.described()
    assert front.weights() == QUARTER
    assert after["Actions"][0] == before["Actions"][0]
    assert {**after, "Actions": 0} == {**before, "Actions": 0}
    tags = front.elbv2.describe_tags(ResourceArns=[front.rule])["TagDescriptions"][0]["Tags"]
    assert tags == [{"Key": "team", "Value": "shop"}]


def test_05_goes_from_0_to_100_and_writes_nothing_the_second_time() -> None:
    front = open_front()
    list(shift_traffic(front.session, *evidence_for_shift(survey(front.session))))
    assert front.weights() == ALL
    before = writes(front.session)
    second = again(front)
    list(shift_traffic(second.session, *evidence_for_shift(survey(second.session))))
    assert changed(front, before) == {}


def test_of_two_operators_the_second_is_refused() -> None:
    front = open_front()
    plan = replace(survey(again(front).session).plan_step(25), needs=())
    step(front, 5)
    with pytest.raises(StalePlanError, match="no longer what was planned against"):
        apply(front.session, clear(plan))
    assert front.weights() == {"web": 95, "web-v2": 5}


def test_a_condition_that_somebody_edits_makes_the_plan_stale() -> None:
    front = open_front()
    plan = replace(survey(front.session).plan_step(25), needs=())
    more = {**HOST, "HostHeaderConfig": {"Values": ["shop.test", "www.shop.test"]}}
    front.elbv2.modify_rule(RuleArn=front.rule, Conditions=[more])
    with pytest.raises(StalePlanError):
        apply(front.session, clear(plan))
    assert front.weights() == STABLE


def test_stickiness_set_meanwhile_is_seen_before_the_next_step() -> None:
    front = open_front()
    found = survey(front.session)
    cleared = clear(found.plan_step(25), *evidence_for_shift(found))
    sticky = {"Key": "stickiness.enabled", "Value": "true"}
    front.elbv2.modify_target_group_attributes(TargetGroupArn=front.groups["web"], Attributes=[sticky])
    with pytest.raises(GateError, match=r"stickiness is on: target group shop-.*-web"):
        apply(front.session, cleared)
    assert front.weights() == STABLE


def test_a_canary_without_healthy_targets_gets_nothing() -> None:
    front = open_front()
    front.ecs.update_service(cluster=front.session.parameters.cluster, service="web-v2", desiredCount=0)
    settle()
    with pytest.raises(GateError, match="targets healthy"):
        step(front, 25)
    assert front.weights() == STABLE


def test_undo_of_05_is_one_call() -> None:
    front = open_front(login=True)
    step(front, 5), step(front, 100)
    before = writes(front.session)
    back(front)
    assert (front.weights(), changed(front, before)) == (STABLE, {"elbv2.ModifyRule": 1})


def test_06_drops_the_group_last_and_undo_brings_the_version_back_without_traffic() -> None:
    front = again(open_front(), "06_tear_down_service_b", clock=Slow())
    front.write(web=0, web_v2=100)
    made = [applied.change.name for applied in retire(front)]
    assert (front.weights(), front.services()) == ({"web-v2": 100}, ["web-v2"])
    assert made[0].startswith("web as retired (tag on rule ")
    assert made[-1] == survey(front.session).split.key
    assert survey(front.session).plan_retirement().changes == ()
    require_checks(check_environment(survey(front.session)))
    back(front)
    assert (front.weights(), front.services()) == (ALL, ["web", "web-v2"])
    assert front.healthy("web") == 2


# --- the trial ------------------------------------------------------------------------

HEADER = "x-runbook-trial"
TRIED = {**FILE["shift"], "trial": {"header": HEADER}}


def begin_trial(front: Front, value: str = "run-1") -> None:
    """Send requests with a header to the canary, as 05 does before users see it."""
    p, found = front.session.parameters, survey(front.session)
    apply(front.session, clear(alb.plan_trial(p, found.split, HEADER, value)))


def rules(front: Front) -> dict[str, list[dict[str, Any]]]:
    """Return the rules of the listener by their priority, each with its conditions."""
    listener = front.rule.replace(":listener-rule/", ":listener/").rpartition("/")[0]
    found = front.elbv2.describe_rules(ListenerArn=listener)["Rules"]
    return {rule["Priority"]: rule["Conditions"] for rule in found}


def test_a_trial_is_one_rule_before_the_others_and_ends_with_it() -> None:
    front = open_front(login=True, shift=TRIED)
    before = front.described()
    begin_trial(front)
    assert [condition["Field"] for condition in rules(front)["1"]] == ["host-header", "http-header"]
    assert (front.weights(), front.described()) == (STABLE, before)
    end_trial(front.session)
    assert [*rules(front)] == ["100", "default"]


def test_a_trial_that_a_crash_left_behind_is_ended_by_the_next_shift() -> None:
    front = open_front(shift=TRIED)
    begin_trial(front, "an earlier run")
    end_trial(again(front).session)
    assert "1" not in rules(front)


def test_a_rule_of_somebody_elses_with_that_header_is_left_alone() -> None:
    front = open_front(shift=TRIED)
    theirs = {"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": HEADER, "Values": ["theirs"]}}
    front.elbv2.create_rule(
        ListenerArn=front.rule.replace(":listener-rule/", ":listener/").rpartition("/")[0],
        Priority=1,
        Conditions=[theirs],
        Actions=[{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "404"}}],
    )
    end_trial(front.session)
    assert "1" in rules(front)
    with pytest.raises(CallError, match=r"PriorityInUse(?s:.*)say shift\.trial: null"):
        begin_trial(front)
