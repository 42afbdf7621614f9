"""What must be shown before the stable version may go: that nobody calls it, and that the canary was judged."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from runbook_lib import evidence, plan_undo, survey
from runbook_lib.aws.session import Session
from runbook_lib.errors import Held
from runbook_lib.plan import Evidence
from tests.live import CANARY, STABLE, Killed, Reaper, Sky, again, ended, newest, quick, take, under_sky
from tests.scenes import ROUTE, change, fact, route, shift, somebody

QUIET = {"quiet_seconds": 10}


def claim(session: Session, name: str) -> Evidence:
    """Return one of the claims 06 looks into."""
    found = survey(session)
    return next(e for e in evidence(found, found.plan_retirement()) if e.name == name)


def shifted(**more: object) -> tuple[Session, Sky]:
    """Open a session where a shift has been taken to its end, and passed."""
    session, sky = under_sky(retirement=QUIET, **more)
    take(session)
    return again(sky), sky


def test_quiet_is_no_request_while_the_canarys_are_counted() -> None:
    session, _ = shifted()
    found = claim(session, "stable is idle")
    assert (found.holds, found.found) == (True, "no request in the last 10 s, while serviceBv2's are counted")


def test_a_caller_without_an_envoy_keeps_the_stable_version() -> None:
    session, sky = shifted()
    sky.strays = 1
    sky.sleep(2)
    found = claim(session, "stable is idle")
    assert not found.holds
    assert found.found.startswith("10 requests in the last 10 s")
    sky.strays = 0
    assert claim(session, "stable is idle").holds  # it is waited for


def test_a_stable_version_that_is_gone_is_quiet() -> None:
    session, _ = shifted()
    ecs = somebody(session, "ecs")
    ecs.update_service(cluster="apps", service=STABLE, desiredCount=0)
    ecs.delete_service(cluster="apps", service=STABLE)
    found = claim(session, "stable is idle")
    assert (found.holds, found.found) == (True, "serviceB has no ECS service any more")


def test_without_metrics_nobody_is_quiet() -> None:
    session, sky = shifted()
    sky.silent = True
    sky.sleep(30)
    found = claim(session, "stable is idle")
    assert not found.holds
    assert found.found == "nothing is counted: serviceBv2 had no request in the last 10 s either"
    assert "metrics are missing, or nobody calls" in found.hint


def test_a_stable_version_without_a_sidecar_counts_nobody() -> None:
    session, _ = under_sky("routed", retirement=QUIET)
    shift(session, 100)
    session.sleep(15)
    found = claim(session, "stable is idle")
    assert (found.holds, found.found) == (False, "serviceB runs without a sidecar: who calls it is not counted")


def test_a_canary_that_passed_its_last_step_is_proven() -> None:
    session, _ = shifted()
    found = claim(session, "canary proven")
    assert (found.holds, found.found) == (True, "PASS at 100 %")


def test_aws_sample_defect_6_a_canary_nobody_judged_at_the_last_step_is_not_proven() -> None:
    """The sample goes on by the clock: whatever carries all traffic counts as good."""
    few = quick(steps=[100], allow_unprovable=True, verdict={"detectable_increase": 0.01})
    session, sky = under_sky(retirement=QUIET, shift=few, rate=8.0)
    ended(session, Held)
    assert sky.weights() == {STABLE: 0, CANARY: 100}
    found = claim(again(sky), "canary proven")
    assert (found.holds, found.found) == (False, "its last step, 100 %, has no PASS in the record")
    assert "allow_unjudged: true" in found.hint


def test_weights_set_by_hand_are_no_proof() -> None:
    session, sky = under_sky(retirement=QUIET)
    shift(session, 100)
    assert not claim(again(sky), "canary proven").holds


def test_who_knows_better_says_so_in_the_file() -> None:
    session, sky = under_sky(retirement=QUIET)
    shift(session, 100)
    found = claim(again(sky, retirement={**QUIET, "allow_unjudged": True}), "canary proven")
    assert (found.holds, found.found) == (
        True,
        "its last step, 100 %, has no PASS in the record: allowed by retirement.allow_unjudged in the file",
    )


def written(sky: Sky, **targets: int) -> None:
    """Give the route weights as somebody else does."""
    spec = route(sky.session)["spec"]
    spec["http2Route"]["action"]["weightedTargets"] = [{"virtualNode": n, "weight": w} for n, w in targets.items()]
    somebody(sky.session).update_route(**ROUTE, spec=spec)


@pytest.mark.attack(4)
def test_a_pass_of_a_shift_that_was_undone_proves_nothing_though_the_weights_are_set_again() -> None:
    session, sky = shifted()
    plan = plan_undo(session, notebook="05_shift_traffic")
    change(session, plan, *map(fact, plan.needs))
    assert sky.weights() == {STABLE: 100, CANARY: 0}
    written(sky, **{STABLE: 0, CANARY: 100})
    found = claim(again(sky), "canary proven")
    assert (found.holds, found.found) == (
        False,
        "its PASS at 100 % was for weights that were undone, or that somebody else has written since",
    )


@pytest.mark.attack(4)
def test_a_pass_holds_only_while_nobody_else_writes_what_carries_the_weights_and_05_gives_another() -> None:
    _, sky = shifted()
    written(sky, **{STABLE: 100, CANARY: 0})
    written(sky, **{STABLE: 0, CANARY: 100})
    assert not claim(again(sky), "canary proven").holds
    take(again(sky))
    assert claim(again(sky), "canary proven").holds


@pytest.mark.attack(4)
def test_a_pass_of_another_place_proves_nothing() -> None:
    session, sky = shifted()
    other = again(sky)
    other.connection = replace(other.connection, world="another local mesh")
    run = newest(session.parameters)
    run.write("joined", world="a local mesh that is gone")
    assert not claim(other, "canary proven").holds


@pytest.mark.attack(4)
@pytest.mark.parametrize("at", [1, 2])
@pytest.mark.parametrize("after", [False, True], ids=["before the call", "after it"])
def test_a_retirement_cut_short_goes_on_on_the_same_pass(at: int, after: bool) -> None:
    session, sky = shifted()
    session.notebook = "06_tear_down_service_b"
    reaper = Reaper(session, at, after=after)
    plan = survey(session).plan_retirement()
    with pytest.raises(Killed):
        change(session, plan, *map(fact, plan.needs))
    reaper.leave()
    assert claim(again(sky), "canary proven").holds


@pytest.mark.attack(21)
@pytest.mark.parametrize("word", ["PASS", "counts", "gone"])
def test_06_judges_again_from_the_stored_counts_in_a_record_that_is_whole(word: str) -> None:
    session, sky = shifted()
    file = newest(session.parameters).file
    lines = file.read_text().splitlines(keepends=True)
    at = max(n for n, line in enumerate(lines) if '"event": "judged"' in line)
    said = json.loads(lines[at])
    said["outcome"] = "PASS" if word == "PASS" else said["outcome"]
    for samples in said["samples"].values() if word == "counts" else ():
        samples[-1][3] = samples[-1][2]  # every request to the canary failed
    lines[at] = "" if word == "gone" else json.dumps(said, sort_keys=True) + "\n"
    file.write_text("".join(lines))
    found = claim(again(sky), "canary proven")
    assert not found.holds
    assert "not as it was written: line" in found.found


@pytest.mark.parametrize("name", ["canary proven", "stable is idle"])
def test_the_stable_version_cannot_go_without_a_look_into_it(name: str) -> None:
    session, _ = shifted()
    assert name in survey(session).plan_retirement().needs
