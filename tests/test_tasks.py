"""Tasks as processes: how they start, what ECS is told of them, and how they end."""

# ruff: noqa: F401, F811  (a fixture is imported by the name it is asked for)

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runbook_lib.errors import WaitError
from runbook_lib.local import control_plane
from runbook_lib.local.control_plane import InMemoryLauncher, Task
from runbook_lib.local.data_plane import reservation, tasks
from runbook_lib.local.data_plane.health import Check
from runbook_lib.local.data_plane.member import Member, member_of
from runbook_lib.local.data_plane.reservation import BLOCKS, SIZE, Reservation
from runbook_lib.local.data_plane.sidecar import UpdateState
from runbook_lib.local.data_plane.tasks import GRACE_SECONDS, Fleet
from runbook_lib.local.data_plane.view import View
from runbook_lib.local.sockets import socket_folder
from runbook_lib.local.troubles import Troubles
from tests.control_plane_fixtures import (
    Aws,
    aws,
    definition,
    described,
    ecs,
    endpoint,
    node_spec,
    service,
    shared_clients,
)
from tests.demo_mesh import CLUSTERS, until
from tests.demo_mesh import mesh as tutorial

PORT = 80


class Now:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.fixture
def sockets() -> Iterator[Path]:
    """Return a folder for sockets: a test's own has too long a path."""
    made = socket_folder()
    yield made
    shutil.rmtree(made)


@pytest.fixture
def fleet(tmp_path: Path, sockets: Path, now: Now, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    """Run this process's tasks for real; nothing moves but by `step`."""
    monkeypatch.setenv("RUNBOOK_PROCESS", "a test's task")
    made = Fleet(tmp_path / "tasks", sockets, Troubles(), now)
    control_plane.launch_with(made)
    yield made
    control_plane.launch_with(InMemoryLauncher())
    made.end()


def meshed(node: str = "nobody", port: int = PORT) -> dict[str, Any]:
    """Return the request of a definition with an Envoy that says it is `node`."""
    given = definition()
    envoy = {
        "name": "envoy",
        "image": "aws-appmesh-envoy:v1.29.6.1-prod",
        "essential": True,
        "user": "1337",
        "environment": [{"name": "APPMESH_RESOURCE_ARN", "value": f"mesh/apps/virtualNode/{node}"}],
        "healthCheck": {"command": ["CMD", "live"], "interval": 5, "retries": 2, "startPeriod": 10},
    }
    properties = {"AppPorts": str(port), "IgnoredUID": "1337", "ProxyEgressPort": "15001", "ProxyIngressPort": "15000"}
    proxy = {
        "type": "APPMESH",
        "containerName": "envoy",
        "properties": [{"name": name, "value": value} for name, value in properties.items()],
    }
    app = {**given["containerDefinitions"][0], "dependsOn": [{"containerName": "envoy", "condition": "HEALTHY"}]}
    return {**given, "containerDefinitions": [app, envoy], "proxyConfiguration": proxy}


def task(**given: Any) -> Task:
    """Return a task of a definition as ECS describes it."""
    request = {**definition(), **given}
    containers = [{"essential": True, **each} for each in request["containerDefinitions"]]
    return Task(
        id="0123456789abcdef", account="111111111111", region="us-west-2", cluster="apps",
        definition={**request, "containerDefinitions": containers}, service="serviceB", deployment="d",
        address="10.0.0.1", request={}, registries=[], created=0.0,
    )  # fmt: skip


def moved(fleet: Fleet) -> None:
    fleet.step()
    control_plane.reconcile()


def only(fleet: Fleet) -> Member:
    [member] = fleet.members.values()
    return member


def started(fleet: Fleet, ecs: Any) -> Member:
    """Return the task of a plain service once it runs."""
    ecs.create_service(**service())
    moved(fleet)
    until(lambda: (moved(fleet), described(ecs)["runningCount"])[1])
    return only(fleet)


# --- the start ---------------------------------------------------------------------------------------------------


def test_an_application_waits_for_its_envoy_and_one_whose_node_does_not_exist_is_rolled_back(
    fleet: Fleet, ecs: Any, now: Now
) -> None:
    plain = started(fleet, ecs)
    ecs.register_task_definition(**meshed("nobody"))
    ecs.update_service(
        cluster="apps", service="serviceB", taskDefinition="taskB:2",
        deploymentConfiguration={"deploymentCircuitBreaker": {"enable": True, "rollback": True}},
    )  # fmt: skip

    def rolled_back() -> bool:
        now.seconds += 1
        moved(fleet)
        waiting = [m for m in fleet.members.values() if m.identity]
        assert not any(m.apps for m in waiting), "its Envoy has never been LIVE"
        return bool(described(ecs)["taskDefinition"].endswith("taskB:1"))

    until(rolled_back, 30)
    assert now.seconds > 100 + 3 * (10 + 5)  # the definition's own patience, for each of the breaker's three
    assert plain.phase == "running"


def test_an_envoy_that_ends_before_it_is_live_fails_its_task_and_is_not_started_again(fleet: Fleet) -> None:
    broken = task(**meshed())
    fleet.start(broken)
    member = only(fleet)
    assert member.sidecar is not None
    member.sidecar.write_files({"bootstrap.json": {"no_such_field": 1}, "cds.json": {"resources": []}})
    until(lambda: (fleet.step(), member.phase == "ended")[1])
    seen = fleet.state(broken)
    assert (seen["status"], seen["reason"]) == ("STOPPED", "Essential container in task exited (envoy)")
    assert seen["exit_codes"]["envoy"] != 0
    assert not fleet.members


def mapping(*ports: Any) -> dict[str, Any]:
    """Return a definition whose application maps these."""
    [container] = definition()["containerDefinitions"]
    return {"containerDefinitions": [{**container, "portMappings": list(ports)}]}


def test_a_task_without_ports_runs_and_says_that_nothing_is_served(fleet: Fleet) -> None:
    fleet.start(task(**mapping()))
    fleet.step()
    assert fleet.state(task())["status"] == "RUNNING"
    assert only(fleet).row()["note"] == "it maps no port: no application is started for it"


@pytest.mark.parametrize(
    ("mapped", "served"),
    [
        ([{"containerPortRange": "9080-9083"}], [9080, 9081, 9082, 9083]),
        ([{"containerPort": 80}, {"containerPort": 2000, "protocol": "udp"}], [80]),
        ([{"containerPort": 80}, {"containerPortRange": "80-81", "protocol": "tcp"}], [80, 81]),
    ],
)
def test_the_application_is_served_on_each_tcp_port_it_maps(
    tmp_path: Path, sockets: Path, mapped: list[Any], served: list[int]
) -> None:
    member = member_of(task(**mapping(*mapped)), tmp_path, sockets, 0.0)
    assert sorted(member.app_ports) == served
    assert {member._container(port) for port in served} == {"app"}
    member.end(0.0)


def test_an_application_that_maps_no_port_is_served_on_its_app_ports(tmp_path: Path, sockets: Path) -> None:
    wanted = meshed(port=9080)
    wanted["containerDefinitions"][0]["portMappings"] = []
    member = member_of(task(**wanted), tmp_path, sockets, 0.0)
    assert member.ports is not None
    assert list(member.app_ports) == list(member.ports.app) == [9080]
    member.end(0.0)


def test_a_task_of_too_many_ports_has_ended_with_that_reason(tmp_path: Path, sockets: Path) -> None:
    member = member_of(task(**mapping({"containerPortRange": "1-65535"})), tmp_path, sockets, 0.0)
    assert member.phase == "ended"
    assert "the local mesh serves at most 20 ports of a task; found 65535" in member.error


def test_a_task_of_two_envoys_has_ended_with_that_reason(tmp_path: Path, sockets: Path) -> None:
    wanted = meshed()
    wanted["containerDefinitions"].append({"name": "spare", "image": "aws-appmesh-envoy:v1.29.6.1-prod"})
    member = member_of(task(**wanted), tmp_path, sockets, 0.0)
    assert member.phase == "ended"
    assert "it is unclear which container is Envoy" in member.error


def test_a_task_without_a_folder_has_ended_with_the_reason(tmp_path: Path, sockets: Path) -> None:
    (tmp_path / "tasks").touch()
    fleet = Fleet(tmp_path / "tasks", sockets, Troubles())
    fleet.start(task())
    seen = fleet.state(task())
    assert seen["status"] == "STOPPED"
    assert seen["reason"].startswith("CannotStartContainerError: ")


def test_an_application_that_cannot_be_started_ends_its_task_alone(fleet: Fleet) -> None:
    other = task()
    other.id = "fedcba9876543210"
    fleet.start(task())
    (only(fleet).folder / "application.log").mkdir()
    fleet.start(other)
    until(lambda: (fleet.step(), fleet.state(other)["status"] == "RUNNING")[1])
    until(lambda: (fleet.step(), fleet.members[task().id].phase == "ended")[1])
    assert fleet.state(task())["reason"].startswith("CannotStartContainerError: ")


def test_an_unforeseen_error_with_one_task_keeps_no_other_from_moving(fleet: Fleet) -> None:
    other = task()
    other.id = "fedcba9876543210"
    fleet.start(task())
    only(fleet).app_ports = None  # type: ignore[assignment]
    fleet.start(other)
    until(lambda: (fleet.step(), fleet.state(other)["status"] == "RUNNING")[1])
    assert list(fleet._troubles.now) == ["task serviceB-01234567"]


# --- health ------------------------------------------------------------------------------------------------------


def test_a_check_is_healthy_at_once_and_unhealthy_after_so_many_failures() -> None:
    check = Check(start_period=10, interval=5, retries=2, began=0.0)
    states = []
    for second in range(20):
        check.take(second, passed=False)
        states.append(check.state)
    assert states.index("UNHEALTHY") == 15  # from 10 on, and one is not two
    check.take(20.0, passed=True)
    assert (check.state, check.is_due(24.9), check.is_due(25.0)) == ("HEALTHY", False, True)
    check.take(25.0, passed=False)
    assert check.state == "HEALTHY"
    check.take(30.0, passed=False)
    assert check.state == "UNHEALTHY"


def test_an_envoy_that_hangs_later_is_unhealthy(fleet: Fleet, now: Now) -> None:
    fleet.start(task(**meshed()))
    member = only(fleet)
    assert member.health is not None
    member.sidecar = hanging = Hanging()  # type: ignore[assignment]
    hanging.hangs = False
    until(lambda: (fleet.step(), fleet.state(task())["status"] == "RUNNING")[1])
    assert fleet.state(task(**meshed()))["health"]["envoy"] == "HEALTHY"
    hanging.hangs = True
    for _ in range(2):
        now.seconds += 15
        fleet.step()
    assert fleet.state(task(**meshed()))["health"]["envoy"] == "UNHEALTHY"


class Hanging:
    """A sidecar whose process is there, and which may not answer."""

    hangs, started, pid, directory = True, True, 1, Path("/nowhere")
    admin = SimpleNamespace(state=lambda: "")

    def live(self) -> bool:
        return not self.hangs

    def update_state(self) -> UpdateState:
        return UpdateState("pending", {"cds.json": "3", "lds.json": ""})

    def stop(self, drain_seconds: float = 0.0) -> int:
        return 0


def test_status_shows_an_envoy_that_has_taken_nothing_yet(fleet: Fleet) -> None:
    fleet.start(task(**meshed()))
    only(fleet).sidecar = Hanging()  # type: ignore[assignment]
    only(fleet).live = True
    [row] = fleet.rows()
    assert (row["envoy"], row["version"], row["update"]) == ("no answer", "3", "pending")


# --- the end -----------------------------------------------------------------------------------------------------


def test_a_task_is_stopped_once_its_processes_have_ended_with_their_codes(fleet: Fleet, ecs: Any, now: Now) -> None:
    member = started(fleet, ecs)
    [app] = member.apps.values()
    ecs.update_service(cluster="apps", service="serviceB", desiredCount=0)
    moved(fleet)
    assert member.phase == "leaving"
    now.seconds += GRACE_SECONDS
    fleet.step()
    until(lambda: (control_plane.reconcile(), not fleet.members)[1])
    assert app.returncode == 0
    [arn] = ecs.list_tasks(cluster="apps", desiredStatus="STOPPED")["taskArns"]
    [container] = ecs.describe_tasks(cluster="apps", tasks=[arn])["tasks"][0]["containers"]
    assert (container["name"], container["exitCode"]) == ("app", 0)


def test_nothing_is_said_to_have_stopped_while_it_is_being_ended(fleet: Fleet) -> None:
    fleet.start(task())
    member = only(fleet)
    member.phase, member.up = "stopping", True
    assert fleet.state(task())["status"] == "RUNNING"


def test_a_killed_application_has_the_code_of_its_signal(fleet: Fleet, ecs: Any) -> None:
    member = started(fleet, ecs)
    [app] = member.apps.values()
    app.kill()
    app.wait()
    until(lambda: (fleet.step(), member.phase == "ended")[1])
    assert member.exit_codes == {"app": 137}


def test_a_task_told_to_stop_while_it_comes_up_stays_told(fleet: Fleet) -> None:
    fleet.start(task())
    member = only(fleet)

    def bring_up(_: float) -> bool:
        fleet.stop(task())
        return True

    member.bring_up = bring_up  # type: ignore[method-assign]
    fleet.step()
    assert (member.phase, member.up) == ("leaving", False)


def test_the_application_ends_before_its_envoy(tmp_path: Path) -> None:
    order: list[str] = []
    app = SimpleNamespace(terminate=lambda: order.append("app told"), wait=lambda _: order.append("app ended") or 0)
    sidecar = SimpleNamespace(
        drain=lambda _: order.append("envoy drained"), stop=lambda: order.append("envoy ended") or 0
    )
    member = Member(task(**meshed()), tmp_path, apps={PORT: app}, sidecar=sidecar)  # type: ignore[dict-item, arg-type]
    member.end(drain=1.0)
    assert order == ["envoy drained", "app told", "app ended", "envoy ended"]


# --- ports -------------------------------------------------------------------------------------------------------


def test_a_container_port_that_is_not_intercepted_is_reached_directly(tmp_path: Path) -> None:
    [container] = definition()["containerDefinitions"]
    given = meshed()
    both = {**container, "portMappings": [{"containerPort": PORT}, {"containerPort": 9901}]}
    member = member_of(
        task(**{**given, "containerDefinitions": [both, given["containerDefinitions"][1]]}), tmp_path, tmp_path, 0
    )
    assert member.ports is not None
    assert member.inbound == {PORT: member.ports.ingress[PORT], 9901: member.app_ports[9901]}


def test_no_two_reservations_share_a_port_and_none_is_one_systems_lend() -> None:
    held = [Reservation(7) for _ in range(50)]
    ports = [port for each in held for port in each.ports]
    assert len(set(ports)) == 350
    assert all(20_000 <= port < 32_768 for port in ports)


def test_a_port_somebody_listens_on_is_given_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reservation, "BLOCKS", 1)  # the same ports again and again
    free = Reservation(1)
    free.release()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free.ports[0]))
        taken.listen()
        assert Reservation(1).ports != free.ports


def test_ports_that_are_let_go_can_be_had_again() -> None:
    usable = SIZE - 1  # of each block: one port holds it
    most = Reservation(usable * (BLOCKS - 100))
    with pytest.raises(WaitError, match="too few are free"):
        Reservation(usable * 101)
    most.release()
    assert Reservation(usable * 101).ports


@pytest.mark.parametrize("other", [("222222222222", "us-west-2"), ("111111111111", "eu-west-1")])
def test_two_environments_with_the_same_addresses_do_not_meet(
    fleet: Fleet, other: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Addresses are a subnet's own: another account, or another region, has the same ones."""
    names = {"serviceb.apps.local": ("10.0.0.1",), "servicea.apps.local": ("10.0.0.2",)}
    monkeypatch.setattr(tasks, "look", lambda *place: View({"apps": tutorial()}, names))
    for account, region in (("111111111111", "us-west-2"), other):
        place = {"account": account, "region": region}
        for name, address in (("serviceA", "10.0.0.2"), ("serviceB", "10.0.0.1")):
            listening = meshed(name, 9080)
            listening["containerDefinitions"][0]["portMappings"] = [{"containerPort": 9080}]
            made = replace(
                task(**listening), **place, id=f"{region[:2]}{account[0]}{name}", service=name, address=address
            )
            fleet.start(made)
    members = list(fleet.members.values())
    for member in members:
        member.phase = "running"
    fleet.step()
    for caller, called in (members[:2], members[2:]):
        assert caller.sidecar is not None
        written = json.loads((caller.sidecar.directory / f"{CLUSTERS['v1']}.json").read_text())
        [host] = written["resources"][0]["endpoints"][0]["lb_endpoints"]
        reached = host["endpoint"]["address"]["socket_address"]["port_value"]
        assert reached == called.inbound[9080]


# --- what sidecars are told --------------------------------------------------------------------------------------


def test_a_sidecar_tells_slow_requests_apart_at_the_very_limit(fleet: Fleet, aws: Aws) -> None:
    aws.appmesh.create_mesh(meshName="apps")
    aws.appmesh.create_virtual_node(meshName="apps", virtualNodeName="serviceB", spec=node_spec("b.apps.local"))
    mine = task(**meshed("serviceB"))
    mine.account = aws.account
    fleet.limits_ms[aws.account, "us-west-2", mine.cluster] = (300,)
    fleet.limits_ms[aws.account, "us-west-2", "other"] = (400,)
    fleet.start(mine)
    member = only(fleet)
    assert member.sidecar is not None
    fleet.step()
    bootstrap = json.loads((member.sidecar.directory / "bootstrap.json").read_text())
    buckets = bootstrap["stats_config"]["histogram_bucket_settings"][0]["buckets"]
    assert 300 in buckets
    assert 400 not in buckets
