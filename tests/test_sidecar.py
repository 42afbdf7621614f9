"""Real Envoys carry real requests: what the mesh says is what happens, and an update loses nothing."""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from runbook_lib.errors import PlanError, WaitError
from runbook_lib.local.data_plane.configuration import Mesh, Ports, sidecar_files
from runbook_lib.local.data_plane.sidecar import Sidecar
from runbook_lib.local.sockets import socket_of
from tests.demo_mesh import (
    CLUSTERS,
    NAME,
    PORT,
    World,
    ask,
    chance,
    free_ports,
    mesh,
    node,
    route,
    service,
    shifted,
    until,
    world,
)

NOWHERE = "nowhere.sock"  # for an Envoy that never comes so far
HONEST = 1e-7  # how rarely a fair split may fail its test


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[World]:
    """Three sidecars and two applications, at 75/25."""
    with world(tmp_path) as built:
        yield built


def counts(snapshot: dict[str, Any]) -> tuple[int, int]:
    """Return how many requests v1 and v2 answered, after making sure that none failed and none is missing.

    What a busy machine never came to send ("shed") says nothing of Envoy.
    """
    assert (snapshot["failed"], snapshot["in_flight"]) == (0, 0), snapshot
    assert snapshot["answered"] == snapshot["sent"]
    versions = snapshot["versions"]
    return versions.get("v1", {}).get("requests", 0), versions.get("v2", {}).get("requests", 0)


def requests_of(built: World, count: int, rate: float = 500, **options: Any) -> dict[str, Any]:
    """Return the ledger after at least `count` requests."""
    caller = built.caller(rate, **options).start()
    until(lambda: caller.snapshot()["answered"] >= count, 30)
    return caller.stop()


def version_at(built: World, host: str = NAME, **headers: str) -> tuple[int, str]:
    return ask(built.egress, host=f"{host}:{PORT}", **headers)[:2]


@pytest.mark.parametrize("protocol", ["http", "http2", "grpc"])
def test_75_to_25_is_what_the_requests_show(tmp_path: Path, protocol: str) -> None:
    kind = {"http": "httpRoute", "http2": "http2Route", "grpc": "grpcRoute"}[protocol]
    wanted = mesh(route({"serviceB": 75, "serviceBv2": 25}, kind=kind), protocol=protocol)
    with world(tmp_path, wanted, protocol) as built:
        found = counts(requests_of(built, 1200))
        assert chance(found, (75, 25)) > HONEST, found
        counted = built.sidecars["serviceA"].counters()
        clusters = [name.replace("http2", protocol) for name in CLUSTERS.values()]
        assert tuple(counted[name].completed for name in clusters) == found


def test_two_hundred_updates_under_load_lose_nothing_and_write_the_routes_alone(demo: World) -> None:
    caller = demo.caller(400).start()
    for turn in range(200):
        assert demo.update(shifted((turn * 37 + 1) % 101)) == ["rds.json"]
        time.sleep(0.03)
    first, second = counts(caller.stop())
    assert first + second > 2000
    assert demo.sidecars["serviceA"].applied_version() == "200"


def test_a_weight_counts_from_the_moment_envoy_has_it(demo: World) -> None:
    demo.update(shifted(0))
    caller = demo.caller(400).start()
    until(lambda: caller.snapshot()["answered"] > 100)
    caller.requests_per_second = 0
    until(lambda: caller.snapshot()["in_flight"] == 0)
    before = caller.snapshot()["sent"]
    demo.update(shifted(100))
    caller.requests_per_second = 400
    until(lambda: caller.snapshot()["answered"] > before + 200)
    first, second = counts(caller.stop())
    assert (first, second > 200) == (before, True)


def test_a_rejected_update_leaves_the_old_one_serving(demo: World) -> None:
    sidecar = demo.sidecars["serviceA"]
    broken = copy.deepcopy(demo.files("serviceA", shifted(100)))
    broken["rds.json"]["version_info"] = "bad"
    hosts = broken["rds.json"]["resources"][0]["virtual_hosts"]
    hosts[0]["routes"][0]["route"]["weighted_clusters"]["clusters"][0]["name"] = "ghost"
    broken["cds.json"]["resources"] = broken["cds.json"]["resources"][1:]
    broken["cds.json"]["version_info"] = "bad"
    caller = demo.caller(400).start()
    until(lambda: caller.snapshot()["answered"] > 50)
    assert sidecar.write_files(broken) == ["cds.json", "rds.json"]
    state = sidecar.update_state()
    assert (state.state, state.versions["rds.json"]) == ("rejected", "0")
    assert "ghost" in state.error
    until(lambda: caller.snapshot()["answered"] > 600)
    first, second = counts(caller.stop())  # its cluster is still there: nothing failed
    assert first > second > 0
    demo.update(shifted(100))
    assert sidecar.update_state().state == "accepted"
    assert version_at(demo) == (200, "v2")


def test_routes_like_those_in_force_are_accepted_after_a_rejection(demo: World) -> None:
    """Envoy then keeps the former version in its dump, and only its statistics tell that it took them."""
    sidecar, good = demo.sidecars["serviceA"], demo.files("serviceA", demo.mesh)
    broken = copy.deepcopy(good)
    broken["rds.json"]["resources"][0]["no_such_field"] = 1
    broken["rds.json"]["version_info"] = "1"
    sidecar.write_files(broken)
    assert sidecar.update_state().state == "rejected"
    good["rds.json"]["version_info"] = "2"
    sidecar.write_files(good)
    assert sidecar.update_state().state == "accepted"
    assert sidecar.applied_version() == "0"


def test_a_target_that_goes_takes_its_cluster_with_it_and_no_request(demo: World) -> None:
    caller = demo.caller(400).start()
    until(lambda: caller.snapshot()["answered"] > 100)
    nodes = {name: each for name, each in demo.mesh.virtual_nodes.items() if name != "serviceB"}
    assert demo.update(mesh(route({"serviceBv2": 100}), virtual_nodes=nodes)) == ["cds.json", "rds.json"]
    until(lambda: CLUSTERS["v1"] not in demo.sidecars["serviceA"].counters())
    demo.sidecars["serviceB"].stop(drain_seconds=1)
    until(lambda: caller.snapshot()["answered"] > 400)
    first, second = counts(caller.stop())
    assert first > 0 < second


def test_a_header_and_a_priority_lead_to_the_canary_at_weight_0(tmp_path: Path) -> None:
    match = {"prefix": "/", "headers": [{"name": "x-canary", "match": {"exact": "1"}}]}
    tested = route({"serviceBv2": 1}, "tested", match=match, priority=0)
    with world(tmp_path, mesh(route({"serviceB": 100, "serviceBv2": 0}, priority=10), tested)) as built:
        caller = built.caller(200).start()
        found = [caller.ask([("x-canary", value)]).version for value in ("1", "0") for _ in range(20)]
        assert found == ["v2"] * 20 + ["v1"] * 20
        until(lambda: caller.snapshot()["answered"] >= 100)
        assert counts(caller.stop())[1] == 0


def test_a_virtual_service_nobody_dials_has_no_effect(tmp_path: Path) -> None:
    other = "service-b.apps.local"
    wanted = mesh(
        virtual_nodes=dict(mesh().virtual_nodes) | {"serviceA": node(NAME, other)},
        virtual_services={NAME: service(node="serviceB"), other: service(router="serviceB")},
    )
    with world(tmp_path, wanted) as built:
        assert counts(requests_of(built, 200))[1] == 0
        assert {version_at(built, other)[1] for _ in range(200)} == {"v1", "v2"}  # 0.75**200 says so


def test_drop_all_answers_404_to_every_other_name(demo: World) -> None:
    assert version_at(demo, "servicebv2.apps.local") == (404, "")
    assert version_at(demo, NAME.upper())[0] == 200
    assert version_at(demo, "example.org")[0] == 404


def test_allow_all_reaches_a_node_by_its_own_name(tmp_path: Path) -> None:
    with world(tmp_path, shifted(0, egress="ALLOW_ALL")) as built:
        assert version_at(built) == (200, "v1")
        assert version_at(built, "servicebv2.apps.local") == (200, "v2")
        assert version_at(built, "example.org")[0] == 404


def test_weights_have_no_effect_without_the_callers_sidecar(demo: World) -> None:
    demo.update(shifted(100))
    direct = ("127.0.0.1", demo.app_port("serviceB"))
    assert counts(requests_of(demo, 100, route_to=lambda _: direct))[1] == 0


def test_the_hidden_retries_hide_a_bad_canary_from_its_caller(demo: World) -> None:
    demo.update(shifted(50))
    demo.fail("serviceBv2", error_rate=0.3, error_status=503)
    last = requests_of(demo, 600)
    canary = demo.sidecars["serviceA"].counters()[CLUSTERS["v2"]]
    assert canary.errors == last["failed"]
    assert canary.retried_5xx > 3 * last["failed"]  # 0.3 + 0.09 to 0.027
    tries = demo.sidecars["serviceA"].admin.stats(rf"^cluster\.{CLUSTERS['v2']}\.upstream_rq_total$")
    assert sum(tries.values()) == canary.completed + canary.retried_5xx


def test_what_was_counted_stays_counted_when_tasks_come_and_go(demo: World) -> None:
    demo.fail("serviceBv2", error_rate=1)
    first = requests_of(demo, 200)
    [*places] = demo.endpoints["serviceBv2", PORT]
    for each in ([], places):
        demo.endpoints["serviceBv2", PORT] = each
        demo.update(demo.mesh)
    last = requests_of(demo, 200)
    assert demo.sidecars["serviceA"].counters()[CLUSTERS["v2"]].errors == first["failed"] + last["failed"]


def test_slow_requests_are_counted_over_the_very_limit(demo: World) -> None:
    demo.fail("serviceBv2", latency_ms=230)
    last = requests_of(demo, 200, 200)

    def times(over_ms: float, *versions: str) -> int:
        counted = demo.sidecars["serviceA"].counters()
        return sum(n for version in versions for bound, n in counted[CLUSTERS[version]].times if bound > over_ms)

    until(lambda: times(0, "v1", "v2") == last["sent"])
    assert times(200, "v2") == last["versions"]["v2"]["requests"] > 0
    assert times(5000, "v2") == 0


def test_a_task_that_comes_up_late_is_healthy_within_an_interval(tmp_path: Path) -> None:
    check = {
        "protocol": "http2", "path": "/ping", "intervalMillis": 300, "timeoutMillis": 200,
        "healthyThreshold": 2, "unhealthyThreshold": 2,
    }  # fmt: skip
    wanted = mesh(virtual_nodes=dict(shifted(0).virtual_nodes) | {"serviceB": node(healthCheck=check)})
    with world(tmp_path, shifted(100)) as built:
        built.sidecars["serviceB"].stop()
        built.update(mesh(route({"serviceB": 1}), virtual_nodes=wanted.virtual_nodes))
        until(lambda: version_at(built) == (503, ""))
        built.sidecars["serviceB"].start()
        until(lambda: version_at(built) == (200, "v1"), 5)


def test_a_killed_envoy_serves_the_same_weights_again(demo: World) -> None:
    sidecar = demo.sidecars["serviceA"]
    demo.update(shifted(100))
    assert sidecar.pid is not None
    os.kill(sidecar.pid, signal.SIGKILL)
    until(lambda: sidecar.pid is None)
    assert (sidecar.live(), sidecar.update_state().state, sidecar.counters()) == (False, "pending", {})
    sidecar.start()
    until(sidecar.live)
    assert version_at(demo) == (200, "v2")
    assert (sidecar.applied_version(), sidecar.update_state().state) == ("1", "accepted")


def test_a_drained_envoy_answers_what_is_under_way(demo: World) -> None:
    demo.update(shifted(0))
    demo.fail("serviceB", latency_ms=500)
    found: list[tuple[int, str]] = []
    asking = threading.Thread(target=lambda: found.append(version_at(demo)))
    asking.start()
    sidecar = demo.sidecars["serviceB"]
    until(sidecar.admin.active_requests)
    assert sidecar.stop(drain_seconds=3) == 0
    asking.join()
    assert found == [(200, "v1")]


def test_the_callers_own_sidecar_is_replaced_and_no_request_lost(demo: World, tmp_path: Path) -> None:
    admin = str(socket_of(demo.sockets, "newer"))
    egress, ingress, app = free_ports(3)
    ports = Ports(admin, egress, {PORT: ingress}, {PORT: app})
    way = [demo.egress]
    caller = demo.caller(400, route_to=lambda _: ("127.0.0.1", way[0])).start()
    until(lambda: caller.snapshot()["answered"] > 100)
    newer = Sidecar(tmp_path / "newer", admin)
    try:
        newer.write_files(sidecar_files(demo.mesh, "serviceA", ports, demo.endpoints, "0"))
        newer.start()
        until(newer.live)
        way[0] = egress
        demo.sidecars["serviceA"].stop(drain_seconds=2)
        seen = caller.snapshot()["answered"]
        until(lambda: caller.snapshot()["answered"] > seen + 100)
        counts(caller.stop())
    finally:
        caller.stop()
        newer.stop()


def test_tasks_come_and_go_under_load_and_no_request_is_lost(demo: World) -> None:
    """The task behind a sidecar is replaced by one without: here its application, reached directly."""
    caller = demo.caller(400).start()
    former, direct = demo.endpoints["serviceB", PORT], [("127.0.0.1", demo.app_port("serviceB"))]
    for _ in range(5):
        for places in (former + direct, direct, former + direct, former):
            demo.endpoints["serviceB", PORT] = places
            assert demo.update(demo.mesh) == [f"{CLUSTERS['v1']}.json"]
            time.sleep(0.05)
    demo.endpoints["serviceB", PORT] = direct
    demo.update(demo.mesh)
    demo.sidecars["serviceB"].stop(drain_seconds=2)
    seen = caller.snapshot()["answered"]
    until(lambda: caller.snapshot()["answered"] > seen + 100)
    counts(caller.stop())


def test_nothing_to_write_is_nothing_written(demo: World) -> None:
    assert demo.update(demo.mesh) == []
    assert demo.sidecars["serviceA"].update_state().state == "accepted"


def test_a_listeners_own_timeout_is_taken_while_running(demo: World) -> None:
    pooled = {"http2": {"perRequest": {"value": 200, "unit": "ms"}}}
    nodes = dict(demo.mesh.virtual_nodes) | {"serviceB": node(timeout=pooled)}
    changed = mesh(route({"serviceB": 1}), virtual_nodes=nodes)
    written = demo.sidecars["serviceB"].write_files(demo.files("serviceB", changed))
    assert written == ["rds_ingress_http_9080.json"]
    demo.update(mesh(route({"serviceB": 1}, retryPolicy={"maxRetries": 0})))
    demo.fail("serviceB", latency_ms=600)
    assert version_at(demo) == (504, "")


def test_every_port_is_on_loopback(demo: World) -> None:
    for sidecar in demo.sidecars.values():
        found = psutil.Process(sidecar.pid).net_connections()
        listening = [each.laddr for each in found if each.status == psutil.CONN_LISTEN]
        assert {address.ip for address in listening} == {"127.0.0.1"}
        assert len(listening) == 2


def test_an_envoy_that_cannot_start_says_why(tmp_path: Path) -> None:
    sidecar = Sidecar(tmp_path, NOWHERE)
    sidecar.write_files({"bootstrap.json": {"no_such_field": 1}, "cds.json": {"resources": []}})
    sidecar.start()
    until(lambda: sidecar.pid is None)
    assert "no_such_field" in sidecar.log.read_text()
    assert sidecar.stop() != 0


class Slow:
    """The admin socket of an Envoy that takes a file when it is told to."""

    def __init__(self) -> None:
        self.taken = {"cds.json": "1", "rds.json": "1"}

    def file_versions(self) -> dict[str, str]:
        return dict(self.taken)


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Sidecar]:
    """A sidecar that runs on its first files, and whose Envoy is a process that does nothing by itself."""
    sidecar = Sidecar(tmp_path, NOWHERE)
    sidecar.write_files(configuration("1"))
    sidecar.start(spawn=lambda _, **how: subprocess.Popen(["sleep", "60"], **how))
    sidecar.admin = Slow()  # type: ignore[assignment]
    yield sidecar
    sidecar.stop()


def configuration(clusters: str, routes: str = "1", version: str = "") -> dict[str, dict[str, Any]]:
    return {
        "bootstrap.json": {},
        "cds.json": {"version_info": version or clusters, "resources": [{"name": clusters}]},
        "rds.json": {"version_info": version or routes, "resources": [{"name": routes}]},
    }


def refuses(sidecar: Sidecar, words: str) -> None:
    with sidecar.log.open("a") as log:
        log.write(f"Filesystem config update rejected: {words}\n")


def test_an_update_envoy_is_slow_to_take_is_finished_later(slow: Sidecar) -> None:
    wanted = configuration("2", "2")
    with pytest.raises(WaitError, match=r"what it makes of cds\.json"):
        slow.write_files(wanted, seconds=0)
    assert slow._wanted()["rds.json"] == "1", "routes do not come before the clusters they name"
    with pytest.raises(WaitError):
        slow.write_files(wanted, seconds=0)
    slow.admin.taken["cds.json"] = "2"  # type: ignore[attr-defined]
    with pytest.raises(WaitError, match=r"what it makes of rds\.json"):
        slow.write_files(wanted, seconds=0)
    assert slow._wanted()["rds.json"] == "2"
    slow.admin.taken["rds.json"] = "2"  # type: ignore[attr-defined]
    slow.write_files(wanted, seconds=0)
    assert slow.update_state().state == "accepted"


def test_a_refusal_is_remembered_while_other_files_change(slow: Sidecar) -> None:
    with pytest.raises(WaitError):
        slow.write_files(configuration("1", "2"), seconds=0)
    refuses(slow, "no such cluster")
    assert (slow.update_state().state, slow.update_state().error) == ("rejected", "no such cluster")
    slow.admin.taken["cds.json"] = "3"  # type: ignore[attr-defined]
    slow.write_files(configuration("3", "2"), seconds=0)
    assert (slow.update_state().state, slow.update_state().error) == ("rejected", "no such cluster")


def test_all_zero_weights_never_reach_envoy(demo: World) -> None:
    with pytest.raises(PlanError, match="every weight of route 'serviceB' is 0"):
        demo.update(mesh(route({"serviceB": 0, "serviceBv2": 0})))
    assert version_at(demo)[0] == 200
    assert demo.sidecars["serviceA"].update_state().state == "accepted"


def pooled(built: World, wanted: Mesh, rounds: int) -> tuple[int, int]:
    """Return the counts of a split over several callers, each with connections of its own."""
    built.update(wanted)
    found = [counts(requests_of(built, 5000, 800)) for _ in range(rounds)]
    return sum(first for first, _ in found), sum(second for _, second in found)


@pytest.mark.soak
@pytest.mark.parametrize("weight", [1, 25, 50, 99])
def test_a_split_holds_over_many_requests(demo: World, weight: int) -> None:
    found = pooled(demo, shifted(weight), 4)
    print(f"weight {weight}: {found}, p = {chance(found, (100 - weight, weight)):.3f}")
    assert chance(found, (100 - weight, weight)) > HONEST


@pytest.mark.soak
def test_two_hundred_updates_at_800_requests_a_second_lose_nothing(demo: World) -> None:
    caller, taken = demo.caller(800).start(), []
    for turn in range(200):
        began = time.perf_counter()
        demo.update(shifted((turn * 37 + 1) % 101))
        taken.append((time.perf_counter() - began) * 1000)
        time.sleep(0.1)
    first, second = counts(caller.stop())
    taken.sort()
    print(f"{first + second} requests, 200 updates, taken in p50 {taken[100]:.1f} ms, p95 {taken[190]:.1f} ms")
