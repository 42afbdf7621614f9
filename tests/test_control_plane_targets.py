"""Targets: their health by the checks of their group, and ECS services whose tasks are targets."""

# ruff: noqa: F401, F811  (a fixture is imported by the name it is asked for)

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from runbook_lib.local import control_plane
from runbook_lib.local.control_plane import ecs as engine
from runbook_lib.local.control_plane import elbv2
from runbook_lib.local.control_plane.elbv2_checks import InMemoryChecker, Probe
from runbook_lib.local.control_plane.elbv2_targets import GroupTargets, Outcome, Settings, Target, matches
from tests.control_plane_fixtures import (
    Aws,
    definition,
    described,
    endpoint,
    refused,
    service,
    settle,
    shared_clients,
)
from tests.front import Front, forward, front, network

FINE, FAILING, REFUSED = Outcome(status=200), Outcome(status=500), Outcome()
SETTINGS = Settings(10.0, 5.0, healthy_threshold=3, unhealthy_threshold=2, path="/", matcher="200-299,404")


# The health of one target.


def taken(*outcomes: Outcome) -> Target:
    target, now = Target("10.0.0.9", 80), 0.0
    for outcome in outcomes:
        target.take(outcome, SETTINGS, now)
        now = target.due
    return target


def test_the_first_check_that_passes_makes_a_target_healthy() -> None:
    assert taken(FINE).health.state == "healthy"
    assert taken(FAILING, FINE).health.state == "healthy"


def test_a_target_is_unhealthy_after_the_threshold_and_healthy_after_the_other() -> None:
    assert taken(FINE, FAILING).health.state == "healthy"
    assert taken(FINE, FAILING, FAILING).health.state == "unhealthy"
    assert taken(FAILING, FAILING, FINE, FINE).health.state == "unhealthy"
    assert taken(FAILING, FAILING, FINE, FINE, FINE).health.state == "healthy"
    assert taken(FAILING, FAILING, FINE, FINE, FAILING, FINE).health.state == "unhealthy"


@pytest.mark.parametrize(
    ("outcome", "reason", "words"),
    [
        (FAILING, "Target.ResponseCodeMismatch", "Health checks failed with these codes: [500]"),
        (REFUSED, "Target.FailedHealthChecks", "Health checks failed"),
        (Outcome(timed_out=True), "Target.Timeout", "Request timed out"),
    ],
)
def test_an_unhealthy_target_says_why(outcome: Outcome, reason: str, words: str) -> None:
    health = taken(outcome, outcome).health
    assert (health.reason, health.description) == (reason, words)


def test_a_matcher_has_statuses_and_ranges() -> None:
    assert [status for status in (199, 200, 299, 300, 404) if matches("200-299,404", status)] == [200, 299, 404]
    assert not matches("200-499", None)


def test_only_healthy_targets_serve_and_all_where_none_is() -> None:
    group = GroupTargets()
    for number in range(3):
        group.register(f"10.0.0.{number}", 80)
    group.targets["10.0.0.0", 80].take(FINE, SETTINGS, 0.0)
    assert [target.address for target in group.serving()] == ["10.0.0.0"]
    group.deregister("10.0.0.0", 80, 0.0, 30.0)
    assert [target.address for target in group.serving()] == ["10.0.0.1", "10.0.0.2"]


def test_a_target_that_is_registered_again_while_it_drains_is_new() -> None:
    group = GroupTargets()
    group.register("10.0.0.9", 80)
    assert group.deregister("10.0.0.9", 80, 0.0, 30.0)
    assert not group.deregister("10.0.0.9", 80, 0.0, 30.0)
    group.register("10.0.0.9", 80)
    assert group.health_of("10.0.0.9", 80, in_use=True).state == "initial"


def test_nobody_else_publishes_in_a_namespace_of_awss_own(front: Front, shared_clients: Aws) -> None:
    data = [{"MetricName": "RequestCount", "Value": 1.0}]
    put = shared_clients.cloudwatch.put_metric_data
    assert refused(put, Namespace="AWS/ApplicationELB", MetricData=data)[0] == "InvalidParameterValue"


# Services.


class Answering(InMemoryChecker):
    """Addresses in `sick` answer 500; nobody has answered yet where `silent`."""

    def __init__(self) -> None:
        self.sick: set[str] = set()
        self.silent = False

    def outcome(self, probe: Probe) -> Outcome | None:
        if self.silent:
            return None
        return FAILING if probe.address in self.sick else super().outcome(probe)


@pytest.fixture
def checker() -> Iterator[Answering]:
    made = Answering()
    control_plane.check_with(made)
    yield made
    control_plane.check_with(InMemoryChecker())


@pytest.fixture
def ecs(front: Front, shared_clients: Aws) -> Iterator[Any]:
    """Return a client whose account has a cluster and a definition, and none of the test before."""
    client = shared_clients.ecs
    client.create_cluster(clusterName="apps")
    client.register_task_definition(**definition())
    yield client
    for backend in [backend for _, _, backend in list(control_plane.ecs_backends.iter_backends())]:
        backend.state.services.clear()
        backend.state.tasks.clear()


def behind(group: str, **more: Any) -> dict[str, Any]:
    """Return the request of a service whose tasks are targets of a group."""
    return service(loadBalancers=[{"targetGroupArn": group, "containerName": "app", "containerPort": 80}], **more)


def delay(front: Front, group: str, seconds: int) -> None:
    attributes = [{"Key": "deregistration_delay.timeout_seconds", "Value": str(seconds)}]
    front.elbv2.modify_target_group_attributes(TargetGroupArn=group, Attributes=attributes)


def rollout(ecs: Any) -> str:
    return str(described(ecs)["deployments"][0]["rolloutState"])


def last_status(ecs: Any) -> list[str]:
    arns = [arn for kind in ("RUNNING", "STOPPED") for arn in listed(ecs, kind)]
    found = ecs.describe_tasks(cluster="apps", tasks=arns)["tasks"] if arns else []
    return [task["lastStatus"] for task in found]


def listed(ecs: Any, desired: str) -> list[str]:
    return list(ecs.list_tasks(cluster="apps", desiredStatus=desired)["taskArns"])


def test_tasks_are_targets_once_they_run(front: Front, ecs: Any) -> None:
    ecs.create_service(**behind(front.stable, desiredCount=2))
    settle()
    assert front.health(front.stable) == [("healthy", "")] * 2
    assert rollout(ecs) == "COMPLETED"


def test_a_deployment_waits_for_the_load_balancers_health_check(front: Front, ecs: Any, checker: Answering) -> None:
    checker.silent = True
    ecs.create_service(**behind(front.stable))
    settle()
    assert front.health(front.stable) == [("initial", "Elb.RegistrationInProgress")]
    assert rollout(ecs) == "IN_PROGRESS"
    checker.silent = False
    settle()
    assert rollout(ecs) == "COMPLETED"


def test_a_group_that_a_service_gets_is_filled_and_one_that_it_loses_is_emptied(front: Front, ecs: Any) -> None:
    delay(front, front.stable, 0)
    ecs.create_service(**service())
    settle()
    joined = behind(front.stable)["loadBalancers"]
    ecs.update_service(cluster="apps", service="serviceB", loadBalancers=joined, healthCheckGracePeriodSeconds=60)
    settle()
    assert front.health(front.stable) == [("healthy", "")]
    ecs.update_service(cluster="apps", service="serviceB", loadBalancers=[])
    settle()
    assert front.health(front.stable) == []
    assert rollout(ecs) == "COMPLETED"


def test_a_task_drains_before_it_is_stopped(front: Front, ecs: Any) -> None:
    delay(front, front.stable, 1)
    ecs.create_service(**behind(front.stable))
    settle()
    ecs.update_service(cluster="apps", service="serviceB", desiredCount=0)
    settle()
    assert front.health(front.stable) == [("draining", "Target.DeregistrationInProgress")]
    assert last_status(ecs) == ["DEACTIVATING"]
    deadline = time.monotonic() + 5
    while last_status(ecs) != ["STOPPED"] and time.monotonic() < deadline:
        time.sleep(0.05)
        control_plane.reconcile()
    assert last_status(ecs) == ["STOPPED"]
    assert front.health(front.stable) == []


def test_stop_task_waits_for_nobody(front: Front, ecs: Any) -> None:
    ecs.create_service(**behind(front.stable))
    settle()
    (task,) = listed(ecs, "RUNNING")
    ecs.stop_task(cluster="apps", task=task)
    settle()
    assert ecs.describe_tasks(cluster="apps", tasks=[task])["tasks"][0]["lastStatus"] == "STOPPED"


def unhealthy(front: Front, group: str, task_address: str) -> None:
    """Let the target of an address have failed its health checks."""
    known = elbv2.store(front.account, "us-west-2").targets[group].targets[task_address, 80]
    settings = elbv2.store(front.account, "us-west-2").settings_of(group)
    for _ in range(settings.unhealthy_threshold):
        known.take(FAILING, settings, time.time())


def test_a_task_that_fails_the_load_balancers_check_is_replaced(front: Front, ecs: Any, checker: Answering) -> None:
    delay(front, front.stable, 0)
    ecs.create_service(**behind(front.stable))
    settle()
    (first,) = listed(ecs, "RUNNING")
    address = described_address(ecs, first)
    checker.sick.add(address)
    unhealthy(front, front.stable, address)
    settle()
    ended = ecs.describe_tasks(cluster="apps", tasks=[first])["tasks"][0]
    assert ended["stoppedReason"] == f"Task failed ELB health checks in (target-group {front.stable})"
    (second,) = listed(ecs, "RUNNING")
    assert second != first
    assert front.health(front.stable) == [("healthy", "")]


def test_the_grace_period_keeps_a_task_that_fails_the_check(front: Front, ecs: Any, checker: Answering) -> None:
    ecs.create_service(**behind(front.stable, healthCheckGracePeriodSeconds=60))
    settle()
    (task,) = listed(ecs, "RUNNING")
    unhealthy(front, front.stable, described_address(ecs, task))
    settle()
    assert listed(ecs, "RUNNING") == [task]


def described_address(ecs: Any, task: str) -> str:
    interface = ecs.describe_tasks(cluster="apps", tasks=[task])["tasks"][0]["attachments"][0]
    details = {detail["name"]: detail["value"] for detail in interface["details"]}
    return str(details["privateIPv4Address"])


def test_refuses_load_balancers_in_the_words_of_ecs(front: Front, ecs: Any) -> None:
    def words(**changes: Any) -> str:
        entry = {"targetGroupArn": front.stable, "containerName": "app", "containerPort": 80, **changes}
        return refused(ecs.create_service, **service(loadBalancers=[entry]))[2]

    assert words(containerName="x") == "The container x does not exist in the task definition."
    assert words(containerPort=81) == "The container app did not have a container port 81 defined."
    alone = front.group("alone")
    expected = f"The target group with targetGroupArn {alone} does not have an associated load balancer."
    assert words(targetGroupArn=alone) == expected


def test_refuses_a_grace_period_without_load_balancers(ecs: Any) -> None:
    words = "Health check grace period is only valid for services configured to use load balancers"
    asked = service(healthCheckGracePeriodSeconds=60)
    assert refused(ecs.create_service, **asked) == ("InvalidParameterException", 400, words)
