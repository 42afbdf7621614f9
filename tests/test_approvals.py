"""An approval is data about one plan: it counts for that plan, until it runs out, and for nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from runbook_lib import record
from runbook_lib.aws.session import Session
from runbook_lib.errors import Held, ParametersError, RolledBack
from runbook_lib.parameters.shift import Shift
from runbook_lib.plan import Plan, fingerprint
from runbook_lib.runs.approvals import (
    approval_of,
    approve,
    needs_approval,
    ran_out,
    require_approval,
    still_needed,
)
from runbook_lib.shift import go_back, plan_steps
from runbook_lib.survey import survey
from tests.live import CANARY, STABLE, again, ended, newest, phases, quick, take, under_sky
from tests.scenes import ROUTE, lines, open_at, reopen, route, somebody

BACK = {STABLE: 100, CANARY: 0}
QUARTER = {STABLE: 75, CANARY: 25}


def needing(*steps: int, **rule: Any) -> dict[str, Any]:
    """Return a shift whose steps need an approval."""
    return quick(approvals={"steps": list(steps), **rule})


def next_plan(session: Session) -> Plan:
    """Return the plan of the next step, as `runbook approve` and notebook 05 make it."""
    plan: Plan = survey(session).plan_weights(plan_steps(session)[0].weights)
    return plan


def given(session: Session, plan: Plan, *, minutes: float = 5, on_expiry: str = "hold") -> dict[str, Any]:
    """Write an approval into the run's record that runs out so many minutes from now."""
    until = datetime.now(UTC) + timedelta(minutes=minutes)
    fields = {"approver": "ada", "plan": plan.hash, "until": until.isoformat(), "on_expiry": on_expiry}
    fields["carried"] = fingerprint(plan.changes[0].expected)
    newest(session.parameters).write("approved", **fields)
    return fields


def edited(session: Session) -> None:
    """Write the route as somebody else would, without a change of its weights."""
    spec = route(session)["spec"]
    spec["http2Route"]["timeout"] = {"perRequest": {"unit": "s", "value": 9}}
    somebody(session).update_route(**ROUTE, spec=spec)


def test_a_step_that_needs_none_is_taken() -> None:
    session = open_at("meshed", shift=needing(100))
    require_approval(session, 25, 0, next_plan(session))


@pytest.mark.parametrize(
    ("steps", "listed", "needing"),
    [
        ([25, 100], [100], [26, 50, 99, 100]),
        ([25, 100], [25], [5, 25]),
        ([25, 100], [50], [26, 50, 99, 100]),
        ([5, 25], [25], [25, 26, 50, 99, 100]),
        ([25, 100], [], []),
    ],
)
def test_a_weight_needs_what_is_listed_above_the_step_before_it(
    steps: list[int], listed: list[int], needing: list[int]
) -> None:
    shift = Shift.model_validate(quick(steps=steps, approvals={"steps": listed}))
    assert [weight for weight in (0, 5, 25, 26, 50, 99, 100) if needs_approval(shift, weight, former=100)] == needing


def test_a_jump_over_a_step_needs_what_is_listed_for_it() -> None:
    shift = Shift.model_validate(quick(steps=[10, 25, 50], approvals={"steps": [25]}))
    assert needs_approval(shift, 50, former=10)
    assert not needs_approval(shift, 50, former=25)


def test_a_step_without_its_approval_is_held_and_the_run_and_the_plan_are_named() -> None:
    session, sky = under_sky(shift=needing(25))
    seen, words = ended(session, Held)
    assert f"25 %: plan {next_plan(session).hash} needs an approval; there is none" in words
    assert f"runbook approve {newest(session.parameters).id}, then run 05 again" in words
    assert phases(seen) == ["rehearsed"]
    assert sky.weights() == BACK


def test_an_approval_says_who_which_plan_until_when_and_what_then() -> None:
    session, sky = under_sky(shift=needing(25, valid_minutes=30, on_expiry="roll_back"))
    ended(session, Held)
    plan = next_plan(session)
    approve(session, newest(session.parameters), plan, approver="ada")
    (line,) = lines(session, "approved")
    assert (line["approver"], line["plan"], line["on_expiry"]) == ("ada", plan.hash, "roll_back")
    left = datetime.fromisoformat(line["until"]) - datetime.fromtimestamp(sky.now, UTC)
    assert timedelta(minutes=29) < left <= timedelta(minutes=30)


def test_where_nobody_is_named_the_caller_of_aws_approves() -> None:
    session, _ = under_sky(shift=needing(25))
    ended(session, Held)
    assert approve(session, newest(session.parameters), next_plan(session))["approver"] == session.identity.arn


def test_approved_the_shift_goes_on_and_nothing_is_rehearsed_again() -> None:
    """A second rehearsal would write the route, and with it make the plan another one than the approved."""
    session, sky = under_sky(shift=needing(25))
    ended(session, Held)
    approve(session, newest(session.parameters), next_plan(session), approver="ada")
    seen = take(again(sky))
    assert phases(seen) == ["written", "proved", "judged", "written", "proved", "judged"]
    assert sky.weights() == {STABLE: 0, CANARY: 100}
    assert sky.updates == 3


def test_between_two_steps_the_shift_is_held_and_goes_on_with_the_evidence_so_far() -> None:
    session, sky = under_sky(shift=needing(100))
    seen, words = ended(session, Held)
    assert phases(seen) == ["rehearsed", "written", "proved", "judged"]
    assert words.startswith("100 %: plan ")
    assert sky.weights() == QUARTER
    approve(session, newest(session.parameters), next_plan(session), approver="ada")
    assert phases(take(again(sky))) == ["written", "proved", "judged"]
    assert lines(session, "judged")[-1]["samples"]["errors"][0][0] == 150  # 75 % of the first interval's 200


def test_an_approval_among_the_parameters_counts_too() -> None:
    session, sky = under_sky(shift=needing(100))
    ended(session, Held)
    until = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()
    stated = {"approver": "ada", "plan": next_plan(session).hash, "until": until}
    take(again(sky, approval=stated))
    assert sky.weights() == {STABLE: 0, CANARY: 100}


def test_another_plans_approval_does_not_count() -> None:
    session, sky = under_sky(shift=needing(100))
    ended(session, Held)
    given(session, survey(session).plan_weights({STABLE: 50, CANARY: 50}))
    _, words = ended(again(sky), Held)
    assert "there is none" in words
    assert sky.weights() == QUARTER


def test_after_somebody_elses_write_the_approval_is_of_another_plan() -> None:
    session, sky = under_sky(shift=needing(100))
    ended(session, Held)
    given(session, next_plan(session))
    edited(session)
    _, words = ended(again(sky), Held)
    assert f"plan {next_plan(session).hash} needs an approval; there is none" in words
    assert sky.weights() == QUARTER


def test_one_given_before_the_rehearsal_leaves_out_neither_trial_nor_rehearsal() -> None:
    """What was approved is what is written: the rehearsal writes the same state once more, and nothing else."""
    session, sky = under_sky(shift=needing(25))
    session.join_run()
    given(session, next_plan(session))
    seen = take(again(sky), until=lambda d: d.phase == "written")
    assert phases(seen) == ["rehearsed", "written"]
    assert sky.weights() == QUARTER


def test_one_given_before_somebody_changed_the_route_is_of_another_plan() -> None:
    session, sky = under_sky(shift=needing(25))
    session.join_run()
    given(session, next_plan(session))
    changed = route(session)["spec"]
    changed["priority"] = 7
    somebody(session).update_route(**ROUTE, spec=changed)
    seen, words = ended(again(sky), Held)
    assert phases(seen) == ["rehearsed"]
    assert "needs an approval; there is none" in words
    assert sky.weights() == BACK


def test_one_that_ran_out_is_a_hold() -> None:
    session, sky = under_sky(shift=needing(100))
    ended(session, Held)
    given(session, next_plan(session), minutes=-1)
    _, words = ended(again(sky), Held)
    assert "the one by ada ran out" in words
    assert sky.weights() == QUARTER


def test_one_that_ran_out_takes_everything_back_where_it_says_so() -> None:
    session, sky = under_sky(shift=needing(100, on_expiry="roll_back"))
    ended(session, Held)
    late = given(session, next_plan(session), minutes=-1, on_expiry="roll_back")
    before = sky.updates
    _, words = ended(again(sky), RolledBack)
    assert f"approval: the approval of 100 % by ada ran out at {late['until']}; back to 0 % in one write" in words
    assert (sky.weights(), sky.updates - before) == (BACK, 1)


def test_one_that_ran_out_for_a_step_left_out_says_so_at_the_jump_over_it() -> None:
    session, _ = under_sky(shift=quick(steps=[5, 25, 50], approvals={"steps": [25], "on_expiry": "roll_back"}))
    plan = survey(session).plan_step(50)
    session.join_run()
    given(session, plan, minutes=-1, on_expiry="roll_back")
    assert ran_out(session, 50, 5, plan).startswith("the approval of 50 % by ada ran out at ")
    assert ran_out(session, 50, 25, plan) == ""


def test_a_fresh_one_beside_one_that_ran_out_is_enough() -> None:
    session, sky = under_sky(shift=needing(100, on_expiry="roll_back"))
    ended(session, Held)
    given(session, next_plan(session), minutes=-1, on_expiry="roll_back")
    given(session, next_plan(session))
    take(again(sky))
    assert sky.weights() == {STABLE: 0, CANARY: 100}


def test_at_weight_0_there_is_nothing_to_take_back() -> None:
    session, sky = under_sky(shift=needing(25, on_expiry="roll_back"))
    ended(session, Held)
    given(session, next_plan(session), minutes=-1, on_expiry="roll_back")
    _, words = ended(again(sky), Held)
    assert "needs an approval" in words
    assert sky.weights() == BACK


def test_one_in_a_run_that_has_ended_does_not_count() -> None:
    session = open_at("meshed", shift=needing(25))
    plan = next_plan(session)
    session.join_run()
    given(session, plan)
    assert approval_of(session, plan)
    newest(session.parameters).write("closed", outcome="done")
    assert approval_of(session, plan) is None


def test_one_that_ran_out_does_what_was_said_when_it_was_given() -> None:
    session, sky = under_sky(shift=needing(100))
    ended(session, Held)
    given(session, next_plan(session), minutes=-1)
    _, words = ended(again(sky, shift=needing(100, on_expiry="roll_back")), Held)
    assert "the one by ada ran out" in words
    assert sky.weights() == QUARTER


def test_none_is_written_where_nobody_would_read_it() -> None:
    session = open_at("meshed", shift=needing(25))
    plan = next_plan(session)
    older = record.start("scene", session.parameters.records, session.place)
    newer = record.start("scene", session.parameters.records, session.place)
    with pytest.raises(ParametersError, match=rf"(?s)not the newest of scene.*runbook approve {newer.id}"):
        approve(session, older, plan)
    newer.write("closed", outcome="done")
    with pytest.raises(ParametersError, match=f"run {newer.id} has ended"):
        approve(session, newer, plan)
    assert not [line for run in (older, newer) for line in run.said() if line["event"] == "approved"]


@pytest.mark.attack(4)
def test_one_of_an_attempt_that_was_rolled_back_does_not_count_for_the_next() -> None:
    session, sky = under_sky(shift=needing(25))
    ended(session, Held)
    approve(session, newest(session.parameters), next_plan(session), approver="ada")
    take(again(sky), until=lambda d: d.phase == "written")
    go_back(again(sky))
    assert sky.weights() == BACK
    _, words = ended(again(sky), Held)
    assert "needs an approval; there is none" in words


@pytest.mark.attack(21)
def test_one_asked_for_from_elsewhere_waits_in_a_file_of_this_user_alone_until_the_writer_takes_it_in() -> None:
    session, sky = under_sky(shift=needing(25))
    ended(session, Held)
    run = newest(session.parameters)
    before = run.file.read_bytes()
    approve(session, run, next_plan(session), approver="ada")
    (request,) = (run.folder / "requests").iterdir()
    assert (run.file.read_bytes(), request.stat().st_mode & 0o777) == (before, 0o600)
    assert approval_of(again(sky), next_plan(session))
    take(again(sky), until=lambda d: d.phase == "written")
    assert not list((run.folder / "requests").iterdir())
    assert [line["approver"] for line in run.lines() if line["event"] == "approved"] == ["ada"]


@pytest.mark.parametrize(
    ("until", "words"), [("tomorrow", "valid datetime"), ("2030-01-31T12:00:00", "expected timezone info")]
)
def test_a_moment_without_an_offset_is_refused_before_anything_is_done(until: str, words: str) -> None:
    session = open_at("meshed", shift=needing(25))
    with pytest.raises(ParametersError, match=f"approval.until: .*{words}.*; found '{until}'"):
        reopen(session, approval={"approver": "ada", "plan": "0123456789ab", "until": until})


def test_a_step_that_needs_two_approvers_is_held_until_both_have_approved() -> None:
    session, sky = under_sky(shift=needing(25, required=2, approvers=["ada", "g*"]))
    _, words = ended(session, Held)
    assert f"plan {next_plan(session).hash} needs an approval; 2 are needed, and there is none" in words
    run, plan = newest(session.parameters), next_plan(session)
    with pytest.raises(ParametersError, match=r"approve: linus is not among shift\.approvals\.approvers"):
        approve(session, run, plan, approver="linus")
    for approver in ("ada", "ada"):
        approve(session, run, plan, approver=approver)
    assert still_needed(session, plan) == 1
    _, words = ended(again(sky), Held)
    assert "2 are needed, and there is ada" in words
    assert sky.weights() == BACK
    approve(session, run, plan, approver="grace")
    assert [line["approver"] for line in run.said() if line["event"] == "approved"] == ["ada", "ada", "grace"]
    assert phases(take(again(sky)))[0] == "written"
    assert sky.weights() == {STABLE: 0, CANARY: 100}


def test_a_changed_list_of_approvers_voids_what_was_approved() -> None:
    session, sky = under_sky(shift=needing(25, approvers=["ada"]))
    ended(session, Held)
    approve(session, newest(session.parameters), next_plan(session), approver="ada")
    changed = again(sky, shift=needing(25, approvers=["ada", "grace"]))
    _, words = ended(changed, Held)
    assert "the one by ada does not count: shift.approvals has changed since" in words
    assert sky.weights() == BACK
