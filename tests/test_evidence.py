"""What must be shown before the stable version may go: that nobody calls it, and that the canary was judged."""

from __future__ import annotations

import pytest

from runbook_lib import evidence_for_retirement, survey
from runbook_lib.errors import Held
from runbook_lib.plan import Evidence
from runbook_lib.session import Session
from tests.live import CANARY, STABLE, Sky, again, ended, quick, take, under_sky
from tests.scenes import shift, somebody

QUIET = {"quiet_seconds": 10}


def claim(session: Session, name: str) -> Evidence:
    """Return one of the claims 06 looks into."""
    return next(e for e in evidence_for_retirement(survey(session)) if e.name == name)


def shifted(**more: object) -> tuple[Session, Sky]:
    """Open a session where a shift has been taken to its end, and passed."""
    session, sky = under_sky(retirement=QUIET, **more)
    take(session)
    return again(sky), sky


def test_quiet_is_no_request_while_the_canarys_are_counted() -> None:
    session, _ = shifted()
    found = claim(session, "stable is quiet")
    assert (found.holds, found.found) == (True, "no request(s) in the last 10 s, while serviceBv2's are counted")


def test_a_caller_without_an_envoy_keeps_the_stable_version() -> None:
    session, sky = shifted()
    sky.strays = 1
    sky.sleep(2)
    found = claim(session, "stable is quiet")
    assert not found.holds
    assert found.found.startswith("10 request(s) in the last 10 s")
    sky.strays = 0
    assert claim(session, "stable is quiet").holds  # it is waited for


def test_a_stable_version_that_is_gone_is_quiet() -> None:
    session, _ = shifted()
    ecs = somebody(session, "ecs")
    ecs.update_service(cluster="apps", service=STABLE, desiredCount=0)
    ecs.delete_service(cluster="apps", service=STABLE)
    found = claim(session, "stable is quiet")
    assert (found.holds, found.found) == (True, "serviceB has no ECS service any more")


def test_without_metrics_nobody_is_quiet() -> None:
    session, sky = shifted()
    sky.silent = True
    sky.sleep(30)
    found = claim(session, "stable is quiet")
    assert not found.holds
    assert found.found == "nothing is counted: serviceBv2 had no request in the last 10 s either"
    assert "metrics are missing, or nobody calls" in found.hint


def test_a_stable_version_without_a_sidecar_counts_nobody() -> None:
    session, _ = under_sky("routed", retirement=QUIET)
    shift(session, 100)
    session.sleep(15)
    found = claim(session, "stable is quiet")
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
        "its last step, 100 %, has no PASS in the record, and the file allows it",
    )


@pytest.mark.parametrize("name", ["canary proven", "stable is quiet"])
def test_the_stable_version_cannot_go_without_a_look_into_it(name: str) -> None:
    session, _ = shifted()
    assert name in survey(session).plan_retirement().needs
