"""The load balancer of `parameters/local-alb.yaml` with traffic: weights, counts, errors of a canary."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from runbook_lib import open_session, parameters, survey
from runbook_lib.aws import cloudwatch
from runbook_lib.command.accepting import accept
from runbook_lib.engines.alb.arns import load_balancer_dimension, load_balancer_of
from runbook_lib.engines.alb.building import accepting
from runbook_lib.local import inject, supervisor, world
from runbook_lib.local.clients import clients
from runbook_lib.local.supervisor import LocalMesh
from runbook_lib.parameters import Parameters
from runbook_lib.shift.rules.unanswered import judge_unanswered
from tests.demo_mesh import until

FILE = Path(__file__).parent.parent / "parameters" / "local-alb.yaml"
STABLE, CANARY = "serviceB", "serviceBv2"


@dataclass
class There:
    """The environment of the file, with processes and traffic."""

    p: Parameters
    mesh: LocalMesh
    elbv2: Any
    cloudwatch: Any

    def shift(self, canary: int) -> None:
        """Write the canary's weight as the shift does."""
        weights = {STABLE: 100 - canary, CANARY: canary}
        groups = [{"TargetGroupArn": self.group(name), "Weight": weight} for name, weight in weights.items()]
        action = {"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}
        self.elbv2.modify_rule(RuleArn=self.p.alb.rule, Actions=[action])

    def group(self, service: str) -> str:
        """Return the ARN of a service's target group."""
        found = self.elbv2.describe_target_groups(Names=[self.p.target_group_of(service)])
        return str(found["TargetGroups"][0]["TargetGroupArn"])

    def counted(self, metric: str, service: str, seconds: int) -> list[float]:
        """Return a series of a group, or of the whole, of the last seconds that are published."""
        dimensions = {"LoadBalancer": load_balancer_dimension(self.p.alb.rule)}
        if service:
            dimensions["TargetGroup"] = self.group(service).rsplit(":", 1)[-1]
        named = [{"Name": name, "Value": value} for name, value in dimensions.items()]
        stat = {
            "Metric": {"Namespace": "AWS/ApplicationELB", "MetricName": metric, "Dimensions": named},
            "Period": 1,
            "Stat": "Sum",
        }
        end = int(time.time())
        found = self.cloudwatch.get_metric_data(
            MetricDataQueries=[{"Id": "a", "MetricStat": stat}],
            StartTime=datetime.fromtimestamp(end - seconds, UTC),
            EndTime=datetime.fromtimestamp(end, UTC),
        )
        return list(found["MetricDataResults"][0]["Values"])

    def pids(self, service: str) -> list[int]:
        """Return the processes of a service's tasks."""
        rows = self.mesh.ask("/runbook/tasks")["tasks"]
        return [row["pid"] for row in rows if row["service"] == service and row["pid"]]

    def healthy(self, service: str) -> int:
        """Return how many targets of a service are healthy."""
        told = self.elbv2.describe_target_health(TargetGroupArn=self.group(service))
        states = [each["TargetHealth"]["State"] for each in told["TargetHealthDescriptions"]]
        return states.count("healthy")

    def ledger(self) -> dict[str, Any]:
        """Return what callers saw."""
        found: dict[str, Any] = self.mesh.ask("/runbook/traffic")[self.p.environment]
        return found


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[There]:
    folder = tmp_path_factory.mktemp("balanced") / "state"
    p = parameters.load(str(FILE))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUNBOOK_STATE", str(folder))
        patch.setenv("RUNBOOK_LOCAL", "")  # with processes
        mesh = supervisor.ensure()
        try:
            world.ensure(p, mesh)
            make = clients(mesh, p.account_id, p.region)
            found = There(p, mesh, make("elbv2"), make("cloudwatch"))
            until(lambda: found.ledger().get("answered", 0) > 0, 20)
            yield found
        finally:
            supervisor.down(folder)


def test_weights_divide_requests_and_no_change_of_them_fails_one(there: There) -> None:
    there.shift(25)
    until(lambda: sum(there.counted("RequestCount", CANARY, 6)) > 200, 20)
    seen = {name: sum(there.counted("RequestCount", name, 4)) for name in (STABLE, CANARY)}
    total = sum(seen.values())
    deviation = (0.75 * 0.25 / total) ** 0.5
    assert abs(seen[CANARY] / total - 0.25) < 5 * deviation
    for canary in [*range(0, 100, 10), *range(100, 0, -10)]:
        there.shift(canary)
        time.sleep(0.1)
    ledger = there.ledger()
    assert ledger["failed"] == 0
    assert set(ledger["versions"]) == {STABLE, CANARY}


def test_a_canary_with_errors_shows_in_its_own_series_alone(there: There) -> None:
    there.shift(50)
    inject(there.p, CANARY, error_rate=0.5)
    until(lambda: sum(there.counted("HTTPCode_Target_5XX_Count", CANARY, 10)) > 50, 20)
    assert there.counted("HTTPCode_Target_5XX_Count", STABLE, 10) == []
    assert there.counted("TargetConnectionErrorCount", CANARY, 10) == []


def test_a_canary_that_dies_is_replaced_and_callers_get_the_load_balancers_own_codes(there: There) -> None:
    inject(there.p, CANARY)
    there.shift(50)
    (dead,) = there.pids(CANARY)
    os.kill(dead, signal.SIGKILL)
    until(lambda: "" in there.ledger()["versions"], 20)
    until(lambda: there.healthy(CANARY) == 1 and dead not in there.pids(CANARY), 30)
    assert set(there.ledger()["versions"][""]["statuses"]) <= {"502", "503"}


def test_a_load_balancer_that_is_killed_comes_back(there: There) -> None:
    (killed,) = there.mesh.ask("/runbook/tasks")["load_balancers"]
    os.kill(killed["pid"], signal.SIGKILL)
    until(lambda: there.mesh.ask("/runbook/tasks")["load_balancers"][0]["pid"] not in (None, killed["pid"]), 20)
    answered = there.ledger()["answered"]
    until(lambda: there.ledger()["answered"] > answered + 100, 20)


def test_a_canary_that_hangs_is_answered_for_and_counted_for_nobody(there: There) -> None:
    balancer = load_balancer_of(there.p.alb.rule)
    idle = {"Key": "idle_timeout.timeout_seconds", "Value": "1"}
    there.elbv2.modify_load_balancer_attributes(LoadBalancerArn=balancer, Attributes=[idle])
    there.shift(10)
    inject(there.p, CANARY, latency_ms=15_000)
    until(lambda: sum(there.counted("HTTPCode_ELB_504_Count", "", 5)) > 50, 20)
    opened = open_session({"environment": str(FILE)}, "05_shift_traffic")
    found = survey(opened)
    now = cloudwatch.complete_until(opened, opened.now())
    newest = cloudwatch.read_intervals(opened, found.series, now - 3, now)
    assert sum(one.errors.canary_errors for one in newest) == 0
    assert judge_unanswered(newest, there.p.shift.verdict).outcome == "FAIL"
    idle["Value"] = "60"
    there.elbv2.modify_load_balancer_attributes(LoadBalancerArn=balancer, Attributes=[idle])


@pytest.mark.soak
def test_an_acceptance_measures_by_requests_and_disturbs_nobody(there: There, tmp_path: Path) -> None:
    """It comes last: what it adds to this local mesh, a second load balancer, is gone then."""
    inject(there.p, CANARY)
    there.shift(0)
    until(lambda: there.healthy(CANARY) == 1, 30)
    failed, file = there.ledger()["failed"], tmp_path / "acceptance.json"
    accept(str(FILE), yes=True, rehearse=False, output=file)
    measured = {each["asked"]: each["measured"] for each in json.loads(file.read_text())["answers"]}
    assert measured[accepting.COUNTED]["counted"] == measured[accepting.COUNTED]["sent"]
    assert measured[accepting.SPREAD]["max seconds"] < 5
    assert there.ledger()["failed"] == failed
    assert len(there.mesh.ask("/runbook/tasks")["load_balancers"]) == 1
