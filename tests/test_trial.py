"""The canary is tried with test requests of its own, and users see nothing of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from runbook_lib.aws.session import Session
from runbook_lib.engines.appmesh import engine as mesh
from runbook_lib.errors import CallError, Held
from runbook_lib.shift.trial import end_trial, try_canary
from tests.live import CANARY, STABLE, Sky, newest, quick, refusing, under_sky, with_probe
from tests.scenes import ROUTE, open_at, route, somebody

TRIAL = {**ROUTE, "routeName": "serviceB-trial"}
GOOD = (CANARY, "200")


def tried(answers: Callable[[int], tuple[str, str]], requests: int = 5) -> tuple[Session, list[Any]]:
    """Open a session whose n-th test request (one probed alone, too) is answered as told; also return what it saw."""
    session, _ = under_sky(shift=quick(trial={"requests": requests}))
    seen: list[Any] = []

    def probe(headers: Mapping[str, str], count: int) -> list[tuple[str, str]]:
        found = []
        for _ in range(count):
            found.append(answers(len(seen)))
            seen.append((dict(headers), somebody(session).describe_route(**TRIAL)["route"]["spec"]))
        return found

    return with_probe(session, probe), seen


def test_without_a_trial_nothing_is_tried() -> None:
    session = open_at("meshed", shift=quick())
    assert try_canary(session) == "no trial"
    assert mesh.read_trial(session) is None


def test_a_canary_that_answers_well_is_said_to() -> None:
    session, _ = tried(lambda n: GOOD)
    assert try_canary(session) == "serviceBv2 answered 5 of 5 test requests without an error"


def test_only_requests_with_the_runs_own_header_reach_the_canary_before_any_other_rule() -> None:
    session, seen = tried(lambda n: GOOD)
    try_canary(session)
    headers, spec = seen[-1]
    run = newest(session.parameters).id
    assert headers == {"x-runbook-trial": run}
    assert spec["priority"] == 0
    assert spec["http2Route"]["match"] == {
        "prefix": "/",
        "headers": [{"name": "x-runbook-trial", "match": {"exact": run}}],
    }
    assert spec["http2Route"]["action"]["weightedTargets"] == [{"virtualNode": CANARY, "weight": 100}]


def test_the_route_users_follow_is_not_written() -> None:
    session, _ = tried(lambda n: GOOD)
    before = route(session)
    try_canary(session)
    assert route(session) == before


@pytest.mark.parametrize("bad", [(CANARY, "500"), ("", "503"), ("", "timeout")])
def test_one_bad_answer_is_a_hold_and_the_trials_route_is_gone(bad: tuple[str, str]) -> None:
    session, _ = tried(lambda n: bad if n == 3 else GOOD)
    with pytest.raises(Held) as caught:
        try_canary(session)
    assert caught.value.message == f"trial: 1 of 5 test requests failed: {bad[1]} from {bad[0] or 'nobody'}"
    assert "users have not seen the canary" in caught.value.hint
    assert mesh.read_trial(session) is None


def test_while_the_callers_envoys_have_not_heard_of_the_route_the_trial_waits() -> None:
    session, _ = tried(lambda n: (STABLE, "200") if n < 4 else GOOD)
    assert try_canary(session) == "serviceBv2 answered 5 of 5 test requests without an error"


def test_where_they_never_hear_of_it_the_trial_is_a_hold() -> None:
    session, _ = tried(lambda n: (STABLE, "200"))
    with pytest.raises(Held, match="5 of 5 test requests failed: 200 from serviceB"):
        try_canary(session)
    assert mesh.read_trial(session) is None


def test_whatever_ends_the_trial_its_route_goes() -> None:
    def breaks(n: int) -> tuple[str, str]:
        raise ConnectionError("the local mesh is gone")

    session, _ = tried(breaks)
    with pytest.raises(ConnectionError):
        try_canary(session)
    assert mesh.read_trial(session) is None


def test_a_route_that_a_killed_trial_left_is_removed_first() -> None:
    session, seen = tried(lambda n: GOOD)
    spec = route(session)["spec"]
    left = {"priority": 0, "http2Route": {**spec["http2Route"], "match": {"prefix": "/left"}}}
    somebody(session).create_route(**TRIAL, spec=left)
    try_canary(session)
    assert seen[0][1]["http2Route"]["match"]["prefix"] == "/"
    assert mesh.read_trial(session) is None


def test_ending_a_trial_that_is_not_there_writes_nothing() -> None:
    session, sky = under_sky()
    end_trial(session)
    assert not sky.written


def test_a_route_that_cannot_be_made_is_said_and_nothing_stays() -> None:
    session, seen = tried(lambda n: GOOD)
    quota = refusing(session, "appmesh", "CreateRoute", "LimitExceededException")
    with quota, pytest.raises(CallError, match="a quota, not a rate"):
        try_canary(session)
    assert seen == []
    assert mesh.read_trial(session) is None


# Where the runbook cannot make requests itself, somebody sends them.


def awaited(**of_sky: Any) -> tuple[Session, Sky]:
    return under_sky(shift=quick(trial={"requests": 20, "wait_seconds": 30}), **of_sky)


def test_requests_that_somebody_sends_are_counted() -> None:
    session, _ = awaited(tests_per_second=10)
    assert try_canary(session).endswith("test requests without an error")
    assert mesh.read_trial(session) is None


def test_one_of_them_that_fails_is_a_hold() -> None:
    session, _ = awaited(tests_per_second=10, errors={CANARY: 0.1})
    with pytest.raises(Held, match="trial: 1 of 10 test requests failed"):
        try_canary(session)
    assert mesh.read_trial(session) is None


def test_where_nobody_sends_any_the_wait_has_an_end() -> None:
    session, sky = awaited()
    began = sky.now
    with pytest.raises(Held, match="trial: 0 of 20 test requests came in 30 s"):
        try_canary(session)
    assert 30 < sky.now - began < 35
    assert mesh.read_trial(session) is None
