"""`runbook accept`: each question is asked on things of its own, of which nothing is left, however it ends."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from runbook_lib import apply, clear, survey
from runbook_lib.aws.session import Session
from runbook_lib.command import accepting as command
from runbook_lib.command.cli import app
from runbook_lib.engines.alb.building import accepting
from runbook_lib.errors import CredentialsError, PlanError
from runbook_lib.local.control_plane.calls import is_read
from tests.alb_scene import account, network
from tests.enumeration import LASTING, Fault
from tests.scenes import other
from tests.test_alb_building import open_bare
from tests.test_alb_building_deaths import FATE, Fate, begin

EXPIRED = replace(LASTING[-1], lasting=False)
DOCS = Path(__file__).parent.parent / "docs"


def opened() -> Session:
    """Open a session as the command does, on two services behind no load balancer."""
    FATE[:] = [Fate()]
    return opened_again(open_bare())


def opened_again(given: Session) -> Session:
    """Open it as a new process does."""
    session = begin(given, "accept")
    session.parameters = accepting.scratch(given.parameters)
    return session


def named(elbv2: Any) -> list[str]:
    """Return the names of what stands that is called as an acceptance's things are."""
    balancers = [each["LoadBalancerName"] for each in elbv2.describe_load_balancers()["LoadBalancers"]]
    groups = [each["TargetGroupName"] for each in elbv2.describe_target_groups()["TargetGroups"]]
    return [name for name in (*balancers, *groups) if name.startswith(accepting.NAME)]


@pytest.fixture
def elbv2() -> Any:
    return other(account(), "elbv2")


def test_each_question_has_an_answer_and_nothing_is_left(elbv2: Any, tmp_path: Path) -> None:
    session = opened()
    file = tmp_path / "acceptance.json"
    command.answers_of(session, "again", file)
    found = json.loads(file.read_text())
    answers = {each["asked"]: each["answer"] for each in found["answers"]}
    assert found["format"] == command.FORMAT
    assert account() not in file.read_text()
    assert answers["is a rule taken back as it was read"] == "yes"
    assert answers["is a weight of 999 taken"] == "yes"
    assert answers["is a weight of 1000 taken"].startswith("no, ValidationError: ")
    assert answers["are six target groups taken in a rule"].startswith("no, TooManyTargetGroups: ")
    assert answers["is a group of HTTP/2 taken behind an HTTP listener"].startswith("no, InvalidLoadBalancerAction: ")
    unasked = {asked for asked, answer in answers.items() if answer.startswith("not asked here: ")}
    assert unasked == {accepting.SPREAD, accepting.COUNTED, *accepting.NOT_ASKED}
    assert named(elbv2) == []


def assert_nothing_is_left_wherever_a_write_fails(elbv2: Any, folder: Path, one_in: int) -> None:
    """Let credentials have run out at a write; they are there again at the next call."""
    bare, whole = open_bare(), Fate()
    FATE[:] = [whole]
    command.answers_of(opened_again(bare), "again", folder / "whole.json")
    writes = [call for call in whole.calls if not is_read(call)]
    for at in range(0, writes.index("DeleteRule"), one_in):
        FATE[:] = [Fails(at)]
        with pytest.raises(CredentialsError):
            command.answers_of(opened_again(bare), "again", folder / f"{at}.json")
        assert named(elbv2) == [], writes[at]


def test_where_a_write_fails_nothing_is_left(elbv2: Any, tmp_path: Path) -> None:
    assert_nothing_is_left_wherever_a_write_fails(elbv2, tmp_path, 12)


@pytest.mark.soak
def test_whichever_write_fails_nothing_is_left(elbv2: Any, tmp_path: Path) -> None:
    assert_nothing_is_left_wherever_a_write_fails(elbv2, tmp_path, 1)


class Fails(Fate):
    """The credentials of one write, the n-th, have run out."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    def _next(self, call: str) -> Fault | None:
        self.at -= 1
        return EXPIRED if self.at == -1 else None


def test_what_one_left_that_was_killed_is_taken_away_first(elbv2: Any, tmp_path: Path) -> None:
    bare = open_bare()
    FATE[:] = [Fate()]
    session = opened_again(bare)
    for plan in accepting.plans()[:2]:
        apply(session, clear(plan(survey(session))))
    assert named(elbv2)
    command.answers_of(opened_again(bare), "again", tmp_path / "acceptance.json")
    assert named(elbv2) == []


def test_a_signal_takes_all_away_too(elbv2: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = opened()
    monkeypatch.setattr(command, "_of_rule", lambda *given: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(KeyboardInterrupt):
        command.answers_of(session, "again", tmp_path / "acceptance.json")
    assert named(elbv2) == []
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_what_has_such_a_name_and_is_somebody_elses_is_left_alone(elbv2: Any, tmp_path: Path) -> None:
    session = opened()
    made = elbv2.create_target_group(
        Name=f"{accepting.NAME}-1", Protocol="HTTP", Port=80, VpcId=network()[0], TargetType="ip"
    )["TargetGroups"][0]["TargetGroupArn"]
    try:
        with pytest.raises(PlanError, match="somebody else's has this name"):
            command.answers_of(session, "again", tmp_path / "acceptance.json")
        assert named(elbv2) == [f"{accepting.NAME}-1"]
    finally:
        elbv2.delete_target_group(TargetGroupArn=made)


def test_a_file_of_another_engine_is_refused_before_anything_is_asked() -> None:
    done = CliRunner().invoke(app, ["accept", "local"])
    assert done.exit_code == 2
    assert "accept: expected a file with engine: alb; found appmesh\nNext: " in done.output


def test_where_nobody_can_answer_nothing_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    session = opened()
    monkeypatch.setattr(command, "open_session", lambda *given: session)
    done = CliRunner().invoke(app, ["accept", "local-alb"])
    assert (done.exit_code, "3 US cents" in done.output) == (2, True)
    assert "accept: no terminal to answer on; nothing was made\nNext: runbook accept " in done.output
    assert session.written == 0


def test_documents_say_that_it_was_not_verified_until_a_result_is_among_them() -> None:
    said = "not verified on a live account" in (DOCS / "alb.md").read_text().lower()
    assert said == (not accepting.VERIFIED_BY)
    results = [json.loads(file.read_text())["target"] for file in DOCS.glob("acceptance*.json")]
    assert bool(accepting.VERIFIED_BY) == bool(results)
    assert {*results} <= {"aws"}
