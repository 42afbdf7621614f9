"""A shift whose errors nobody counts is refused, unless alarms are accepted as the only judge, and that is said."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from runbook_lib import evidence_for_shift, survey
from runbook_lib.aws.session import Session
from runbook_lib.command import cli
from runbook_lib.display.forecasts import outlook_tables
from runbook_lib.engines.appmesh import engine as mesh
from runbook_lib.errors import GateError, Held, RolledBack
from runbook_lib.judging import error_judge
from runbook_lib.shift.outlook import look_ahead
from tests.live import CANARY, STABLE, Sky, ended, quick, take
from tests.notebook_runner import Environment, folder
from tests.scenes import given, lines, load, open_at, open_local, settle, somebody, step

__all__ = ["folder"]

TRAILERS = "gRPC failures travel in trailers of HTTP 200, which no 5XX metric counts"
ALONE = "errors are judged by alarm pager alone"
ACCEPTED = {"alarms": ["pager"], "verdict": {"errors_by_alarm": True}}


class GrpcSky(Sky):
    """Traffic over gRPC: however it fails, no 5XX is published."""

    def weights(self) -> dict[str, int]:
        return dict(survey(self.session).split.weights)


def grpc_sky(shift: Mapping[str, Any]) -> tuple[Session, Sky]:
    """Open a session of the scenario over gRPC, after 04, under a sky whose canary fails each request."""
    session = open_local("05_shift_traffic", services=True, protocol="grpc", shift=dict(shift))
    for number in ("01", "02", "03", "04"):
        step(session, number)
    settle()
    return session, GrpcSky(session)


def alarm(session: Session, state: str) -> None:
    cloudwatch = somebody(session, "cloudwatch")
    cloudwatch.put_metric_alarm(
        AlarmName="pager", ComparisonOperator="GreaterThanThreshold", EvaluationPeriods=1, Threshold=1.0,
        MetricName="grpc-status", Namespace="Shop", Period=60, Statistic="Sum",
    )  # fmt: skip
    cloudwatch.set_alarm_state(AlarmName="pager", StateValue=state, StateReason="the test says so")


# --- gRPC -----------------------------------------------------------------------------------------------------


@pytest.mark.attack(11)
def test_a_grpc_shift_is_refused_before_the_first_write() -> None:
    session, sky = grpc_sky(quick())
    _, words = ended(session, GateError)
    assert f"errors are counted: {TRAILERS}" in words
    assert "errors_by_alarm: true" in words
    assert sky.updates == 0


@pytest.mark.attack(11)
def test_with_alarms_accepted_a_grpc_canary_is_rolled_back_when_one_rings_and_every_word_says_who_judges() -> None:
    session, sky = grpc_sky(quick(**ACCEPTED))
    alarm(session, "OK")
    _, words = ended(session, RolledBack, on={"proved": lambda: alarm(session, "ALARM")})
    assert "alarm: in ALARM: pager; back to 0 % in one write" in words
    assert sky.weights() == {STABLE: 100, CANARY: 0}
    assert ALONE in lines(session, "judged")[-1]["reason"]


@pytest.mark.attack(11)
def test_an_alarm_without_data_is_no_judge() -> None:
    session, sky = grpc_sky(quick(**ACCEPTED))
    alarm(session, "INSUFFICIENT_DATA")
    _, words = ended(session, GateError)
    assert "alarms: pager is INSUFFICIENT_DATA" in words
    assert sky.updates == 0
    alarm(session, "OK")
    _, words = ended(session, Held, on={"proved": lambda: alarm(session, "INSUFFICIENT_DATA")})
    assert "25 %: without data, and the only judge of errors: pager" in words


@pytest.mark.attack(11)
def test_a_grpc_canary_whose_alarms_are_silent_passes_as_judged_by_them_alone() -> None:
    session, _ = grpc_sky(quick(**ACCEPTED))
    alarm(session, "OK")
    judged = [d for d in take(session) if d.phase == "judged"]
    assert [d.verdict for d in judged] == ["PASS", "PASS"]
    assert all(ALONE in d.words for d in judged)


@pytest.mark.attack(11)
def test_the_notebooks_say_it_before_anything_is_written_and_05_refuses(folder: Path) -> None:
    environment = Environment.create(folder, "grpc", protocol="grpc")
    looked = environment.notebook("00")
    assert f"errors: {TRAILERS}" in looked.first
    environment.walk("01", "02", "03", "04")
    before = environment.writes()
    planned = environment.notebook("05", mode="plan")
    assert not planned.errors, planned.first
    [claim] = [e for e in planned.names["gates"] if e.name == "errors are counted"]
    assert (claim.holds, claim.found) == (False, TRAILERS)
    done = environment.notebook("05", mode="apply", go_on=True)
    assert re.search(f"(?s)GateError: .*errors are counted: {TRAILERS}", done.first)
    assert environment.writes() == before


@pytest.mark.attack(11)
def test_lint_says_what_nobody_would_notice(tmp_path: Path) -> None:
    said = linted(tmp_path, protocol="grpc")
    assert f"WARN errors: {TRAILERS}; accept alarms as the only judge of errors" in said
    assert f"WARN errors: {ALONE}" in linted(tmp_path, protocol="grpc", shift=ACCEPTED)
    assert "WARN" not in linted(tmp_path)


def linted(folder: Path, **values: Any) -> str:
    file = folder / "linted.yaml"
    file.write_text(yaml.safe_dump({**given(**values), "environment": "linted"}))
    done = CliRunner().invoke(cli.app, ["lint", str(file)])
    assert done.exit_code == 0, done.output
    return done.output


def test_the_forecast_says_that_alarms_judge_alone() -> None:
    session, _ = grpc_sky(quick(**ACCEPTED))
    alarm(session, "OK")
    rows = outlook_tables(look_ahead(survey(session), 25))[0].rows
    found = {row["what"]: row["found"] for row in rows}
    assert found["how errors are counted"] == ALONE
    assert found["a canary that fails half"] == "goes on until an alarm rings"


# --- every other way for errors to be invisible ---------------------------------------------------------------


@pytest.mark.attack(11)
@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"protocol": "tcp"}, "no request of a tcp route is counted"),
        ({"envoy": {"image_tag": "v1.17.2.0-prod"}}, "Envoy v1.17.2.0-prod publishes no metric per target"),
    ],
)
def test_alarms_cannot_replace_requests_that_nobody_counts(values: dict[str, Any], words: str) -> None:
    p = load(**values, shift={"trial": None, **ACCEPTED})
    judge = error_judge(p.shift, mesh.counted(p))
    assert judge.by == "nobody"
    assert judge.words.startswith(words)


@pytest.mark.attack(11)
def test_a_caller_without_the_metric_extension_lets_no_step_be_written(folder: Path) -> None:
    environment = Environment.create(folder, "unextended")
    environment.walk("01", "02", "03", "04")
    without_extension(environment)
    before = environment.writes()
    done = environment.notebook("05", mode="apply", go_on=True)
    assert environment.writes() == before
    assert re.search("(?s)GateError: .*sidecars: without the wanted sidecar: service serviceA", done.first)


def without_extension(environment: Environment) -> None:
    ecs = environment.client("ecs")
    found = ecs.describe_task_definition(taskDefinition="taskA")["taskDefinition"]
    for container in found["containerDefinitions"]:
        kept = [e for e in container["environment"] if e["name"] != "APPMESH_METRIC_EXTENSION_VERSION"]
        container["environment"] = kept
    form = {key: value for key, value in found.items() if key in REGISTERED and value}
    revision = ecs.register_task_definition(**form)["taskDefinition"]["taskDefinitionArn"]
    ecs.update_service(cluster="apps", service="serviceA", taskDefinition=revision)
    settle()


REGISTERED = (
    "family", "taskRoleArn", "executionRoleArn", "networkMode", "containerDefinitions", "volumes", "cpu", "memory",
    "requiresCompatibilities", "proxyConfiguration",
)  # fmt: skip


def test_muted_errors_are_said_to_decide_nothing() -> None:
    p = load(shift={"verdict": {"slow_millis": 500, "muted": ["errors"]}})
    judge = error_judge(p.shift, mesh.counted(p))
    assert judge.by == "counts"
    assert judge.words.endswith("and never decide: the file mutes them")


def test_the_gate_says_what_is_counted() -> None:
    [claim] = [e for e in evidence_for_shift(survey(open_at("meshed"))) if e.name == "errors are counted"]
    assert claim.holds
    assert claim.found.startswith("5XX answers are counted")
