"""`runbook rollback`: all traffic to stable in one write, whatever else runs, is full, or is gone."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from runbook_lib import record
from runbook_lib.aws.session import Session
from runbook_lib.command import cli
from runbook_lib.errors import GateError, PrerequisiteError, RolledBack
from runbook_lib.shift.rollback import Back, roll_back
from tests.live import CANARY, STABLE, Sky, again, ending, take, under_sky, until
from tests.notebook_runner import Environment, folder, newest
from tests.scenes import ROUTE, open_at, route, settle, somebody, writes

__all__ = ["folder"]

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
    command = shlex.split(told[-1])
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


# Where nobody would answer.


def scaled_away(session: Session) -> None:
    """Take stable's tasks away as somebody else would."""
    somebody(session, "ecs").update_service(cluster="apps", service=STABLE, desiredCount=0)
    settle()


def test_it_is_refused_where_stable_runs_no_task_and_nothing_is_written() -> None:
    session, sky = under_sky()
    targets(session, **QUARTER)
    scaled_away(session)
    before = writes(session)
    with pytest.raises(GateError) as caught:
        back_of(sky)
    assert caught.value.message == "rollback: serviceB runs 0 of 0 tasks: nobody would answer; nothing was written"
    assert caught.value.hint.startswith("let ECS start some of serviceB first; `runbook rollback ")
    assert caught.value.hint.endswith(" --force` writes it all the same, and requests fail")
    assert (sky.weights(), writes(session)) == (QUARTER, before)


def test_it_is_refused_where_stable_is_retired_and_the_undo_is_named() -> None:
    session, sky = under_sky("retired")
    before = writes(session)
    with pytest.raises(GateError) as caught:
        back_of(sky)
    assert "rollback: serviceB is retired: nobody would answer" in str(caught.value)
    assert f"`runbook undo {session.named} --notebook 06` brings it back" in caught.value.hint
    assert writes(session) == before


def test_by_force_it_is_made_where_nobody_would_answer() -> None:
    session, sky = under_sky()
    targets(session, **QUARTER)
    scaled_away(session)
    back, told = back_of(sky, force=True)
    assert (sky.weights(), back.weights) == (BACK, BACK)
    assert any(words.startswith("aws appmesh update-route ") for words in told)


def test_before_there_is_a_route_nothing_can_be_rolled_back() -> None:
    session = open_at("plain")
    before = writes(session)
    with pytest.raises(PrerequisiteError, match=r"nothing divides the traffic of serviceb\.apps\.local yet"):
        roll_back(session, lambda words: None, force=True)
    assert writes(session) == before


# What is said first.


@pytest.mark.attack(9)
def test_that_nobody_watched_the_canary_is_said_before_the_write() -> None:
    session, sky = under_sky()
    take(session, until=lambda d: d.phase == "proved")
    _, told = back_of(sky)
    assert told[0].startswith("serviceBv2 has 25 % of the traffic and nobody watches it, since 20")
    assert told[1].startswith("aws appmesh update-route ")
    assert sky.weights() == BACK


def test_while_somebody_watches_the_command_alone_is_told() -> None:
    session, sky = under_sky()
    told: list[str] = []
    ending(session, RolledBack, {"proved": lambda: told.extend(back_of(sky)[1])})
    assert [words.split()[:3] for words in told] == [["aws", "appmesh", "update-route"]]


# By the command.


@pytest.fixture(scope="module")
def routed(folder: Path) -> Environment:
    """Return an environment whose traffic is divided by a route, on the local control plane."""
    environment = Environment.create(folder, "rolled")
    environment.walk("01", "02", "03")
    return environment


def given_weights(environment: Environment, canary: int) -> None:
    """Give the canary this weight as somebody else would."""
    aws = environment.client("appmesh")
    spec = aws.describe_route(**ROUTE)["route"]["spec"]
    weighted = [{"virtualNode": STABLE, "weight": 100 - canary}, {"virtualNode": CANARY, "weight": canary}]
    spec["http2Route"]["action"] = {"weightedTargets": weighted}
    aws.update_route(**ROUTE, spec=spec)


def version(environment: Environment) -> int:
    """Return the version of the route, which each write raises by one."""
    return int(environment.client("appmesh").describe_route(**ROUTE)["route"]["metadata"]["version"])


def command(*words: str | Path) -> Result:
    return CliRunner().invoke(cli.app, list(map(str, words)))


def test_the_command_is_not_kept_out_by_the_lock_of_a_live_run(routed: Environment) -> None:
    given_weights(routed, 25)
    before, run = version(routed), newest(routed.name)
    with record.held(run, record.lock_of(run), "alice"):
        assert (record.holder(run) or {})["run"] == run.id
        done = command("rollback", routed.file)
    assert done.exit_code == 0, done.output
    assert (routed.weights(), version(routed) - before) == (BACK, 1)
    assert "serviceB 100 %, serviceBv2 0 %: read back" in done.output


def test_the_command_refuses_where_nobody_would_answer_and_obeys_force(routed: Environment) -> None:
    given_weights(routed, 25)
    before, ecs = version(routed), routed.client("ecs")
    ecs.update_service(cluster="apps", service=STABLE, desiredCount=0)
    until(lambda: not ecs.describe_services(cluster="apps", services=[STABLE])["services"][0]["runningCount"], "0 run")
    done = command("rollback", routed.file)
    assert done.exit_code == 2, done.output
    assert "serviceB runs 0 of 0 tasks: nobody would answer; nothing was written" in done.output
    assert (routed.weights(), version(routed)) == (QUARTER, before)
    done = command("rollback", routed.file, "--force")
    assert done.exit_code == 0, done.output
    assert (routed.weights(), version(routed) - before) == (BACK, 1)
