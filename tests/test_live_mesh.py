"""The local mesh under real traffic: every request counted, every weight measured, every death mended (issue 3).

One mesh walks the whole way. Tests stand in the order of that way; the last two end it.
"""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import signal
import stat
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from runbook_lib import apply, clear, evidence_for_shift, plan_undo, survey
from runbook_lib.aws import cloudwatch
from runbook_lib.engines.appmesh import engine as mesh
from runbook_lib.local import supervisor
from runbook_lib.local.data_plane.admin import Admin
from runbook_lib.local.data_plane.caller import Caller
from runbook_lib.runs.verify import verify
from tests.demo_mesh import ask
from tests.live import CANARY, STABLE, Live, chance, listening, live, newest, processes, quick, take, until
from tests.scenes import MESH, ROUTE


def walked(it: Live) -> Counter[str]:
    """Walk from nothing to the end of notebook 04; return who answered before it, at weights of 0/100."""
    for number in ("01", "02", "03"):
        it.step(number)
    it.put(100)
    seen = it.answered(1.0)
    it.put(0)
    it.step("04")
    it.recovered()
    return seen


@dataclass
class Way:
    """A mesh, and what was seen on the way to where it stands."""

    mesh: Live
    without_sidecars: Counter[str]  # who answered while the weights said: the canary alone
    after_04: dict[str, Any]  # the ledger


@pytest.fixture(scope="module")
def way(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Way]:
    """Walk from nothing to the end of notebook 04, under traffic, in a folder that others can come to."""
    base = Path(tempfile.mkdtemp(prefix="runbook-live-"))
    base.chmod(0o755)
    before = os.umask(0o022)
    try:
        with live(base) as it:
            seen = walked(it)
            yield Way(it, seen, it.ledger())
    finally:
        os.umask(before)
        shutil.rmtree(base)


@pytest.fixture
def there(way: Way) -> Iterator[Live]:
    """Return the mesh as it is after 04, and put it back so."""
    yield way.mesh
    way.mesh.put(0)
    until(way.mesh.all_running, "every task runs again")


def test_every_service_moves_behind_its_sidecar_without_losing_a_request(way: Way) -> None:
    """Three rolling updates under traffic, the caller's own among them."""
    assert way.mesh.all_running()
    assert way.after_04["failed"] == 0
    assert way.after_04["answered"] > 500
    assert way.after_04["versions"].keys() == {STABLE}


def test_weights_have_no_effect_until_the_caller_has_its_sidecar(way: Way) -> None:
    assert way.without_sidecars[CANARY] == 0
    assert way.without_sidecars[STABLE] > 50


def test_status_names_every_task_and_sidecar(there: Live) -> None:
    code, said = there.runbook("local", "status", "--json")
    assert code == 0, said
    found = json.loads(said)
    mesh = supervisor.find(there.state)
    assert mesh is not None
    assert found["endpoint"] == mesh.endpoint
    assert [row["service"] for row in found["tasks"]] == [STABLE, CANARY, "serviceA"]  # as they were deployed
    pids = [pid for row in found["tasks"] for pid in (row["pid"], row["envoy_pid"])]
    assert set(pids) <= set(processes(there.world))
    assert {(row["envoy"], row["update"]) for row in found["tasks"]} == {("LIVE", "accepted")}
    assert len({row["admin"] for row in found["tasks"]}) == 3
    assert all(Path(row["log"]).is_dir() for row in found["tasks"])
    assert all(Admin(row["admin"]).state() == "LIVE" for row in found["tasks"])
    assert found["traffic"]["live"]["failed"] == 0
    assert Path(found["traffic"]["live"]["file"]).parent == there.calls
    told = there.runbook("local", "status")[1]
    assert f"logs of {STABLE} are in {found['tasks'][0]['log']}\n" in told
    assert f"ask its Envoy: curl --unix-socket {found['tasks'][0]['admin']} http://envoy/stats\n" in told
    assert re.search(r"^live makes \d+ calls a second now, counted in .*snapshot\.json$", told, re.MULTILINE)
    assert re.search(r"^  [\d,]+ sent, [\d,]+ answered, 0 failed, \d+ under way; .* 0 times$", told, re.MULTILINE)


def test_everything_listens_on_loopback_only(there: Live) -> None:
    sockets = listening(list(processes(there.world)))
    assert {address for address, _ in sockets} == {"127.0.0.1"}
    ports = {port for _, port in sockets}
    for row in there.tasks:
        assert {row["egress"], *row["ports"].values()} <= ports


@pytest.mark.attack(18)
def test_no_access_log_leads_out_of_its_tasks_folder(there: Live, tmp_path: Path) -> None:
    """The path and the text of an access log are whoever's who describes the node; here it is written as this user."""
    target = tmp_path / "theirs"
    app_mesh, node = there.client("appmesh"), {**MESH, "virtualNodeName": "serviceA"}
    before = app_mesh.describe_virtual_node(**node)["virtualNode"]["spec"]
    row = there.task("serviceA")
    file = {"path": f"/dev/..{target}", "format": {"text": "chosen by whoever asks\n"}}
    app_mesh.update_virtual_node(**node, spec={**before, "logging": {"accessLog": {"file": file}}})
    until(lambda: logged(row), "Envoy has written down a request")
    assert not target.exists()
    app_mesh.update_virtual_node(**node, spec=before)
    until(lambda: there.task("serviceA")["update"] == "accepted", "Envoy has its own log again")


def logged(row: dict[str, Any]) -> bool:
    """Make a request that a task's Envoy answers with 404, and say whether any was written down in its folder."""
    assert ask(row["egress"], host="no.where")[0] == 404
    return any("chosen by" in file.read_text() for file in Path(row["log"]).rglob("access*.log"))


@pytest.mark.attack(18)
def test_what_the_local_mesh_writes_is_its_users_alone(there: Live) -> None:
    files = [path for path in there.state.rglob("*") if not path.is_symlink()]
    sockets = {Path(row["admin"]) for row in there.tasks}
    found = {path: stat.S_IMODE(path.stat().st_mode) for path in (*files, *sockets, *(s.parent for s in sockets))}
    assert {str(path): oct(mode) for path, mode in found.items() if mode & 0o077} == {}


@pytest.mark.attack(18)
@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_another_user_is_served_application_requests_and_nothing_else(there: Live) -> None:
    """What `tests.stranger` tries as another user: every port, file, socket and process of the local mesh."""
    tasks, mesh = there.tasks, supervisor.find(there.state)
    assert mesh is not None
    pids = sorted(processes(there.world))
    given = {
        "folders": [str(there.state), str(there.world / "runs"), *{str(Path(row["admin"]).parent) for row in tasks}],
        "sockets": [row["admin"] for row in tasks],
        "ports": sorted(port for _, port in listening(pids)),
        "pids": pids,
        "account": there.parameters.account_id,
    }
    before = there.weights(), [row["envoy_pid"] for row in tasks]
    program = [sys.executable, str(Path(__file__).with_name("stranger.py"))]
    done = subprocess.run(program, input=json.dumps(given), capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["user"] == 65534
    assert found["read"] == found["written"] == found["connected"] == found["signalled"] == []
    endpoint = int(mesh.endpoint.rpartition(":")[2])
    requests = {port for row in tasks for port in (row["egress"], *row["ingress"].values(), *row["ports"].values())}
    assert {port for port, served in found["served"].items() if served} <= {str(port) for port in requests}
    assert found["served"][str(endpoint)] == []
    assert (there.weights(), [row["envoy_pid"] for row in there.tasks]) == before
    assert sorted(processes(there.world)) == pids


def test_three_quarters_and_one_quarter_are_what_the_ledger_counts_and_cloudwatch_too(there: Live) -> None:
    began = time.time()
    there.put(25)
    until(lambda: there.answered(0.3)[CANARY], "the weight is real")
    seen = there.answered(4.0)
    there.put(0)
    assert sum(seen.values()) > 600
    assert chance(seen, {STABLE: 0.75, CANARY: 0.25}) > 1e-6

    counted = published(there, began)
    assert counted == {"requests": there.ledger()["versions"][CANARY]["requests"], "errors": 0}


def published(there: Live, began: float) -> dict[str, int]:
    """Return what CloudWatch counted of the canary since a moment, once nothing is in flight to it any more."""
    session = there.session()
    until(lambda: there.answered(0.3)[CANARY] == 0, "the canary has no traffic")
    session.sleep(2.5)  # until the last second is published
    return {
        kind: sum(cloudwatch.read_requests(session, one, began - 1, time.time()) for one in series)
        for kind, series in mesh.series(session.parameters)[CANARY].items()
        if kind != "latency"
    }


def heard_after(caller: Caller, version: str, moment: float) -> float:
    """Return how many seconds after a moment a version answers first."""
    until(lambda: caller.ledger.first_after(version, moment), "the new weights are real")
    return (caller.ledger.first_after(version, moment) or 0.0) - moment


def updated(there: Live, turns: int) -> tuple[float, float, int]:
    """Move all traffic over and back under load; return the median delay, describe_route's median, failures.

    The delay is from update_route's answer to the first request that ends under the new weights.
    """
    egress = there.task("serviceA")["egress"]
    caller = Caller(
        "serviceb.apps.local", 9080, "http2", requests_per_second=200,
        resolve=lambda name: ["10.0.0.1"], route_to=lambda addresses: ("127.0.0.1", egress),
    ).start()  # fmt: skip
    delays, describes = [], []
    try:
        for turn in range(turns):
            new, weight = ((CANARY, 100), (STABLE, 0))[turn % 2]
            for _ in range(3):
                began = time.perf_counter()
                there.client("appmesh").describe_route(**ROUTE)
                describes.append(time.perf_counter() - began)
            there.put(weight)
            delays.append(heard_after(caller, new, time.time()))
    finally:
        last = caller.stop()
    assert last["answered"] == last["sent"]
    return statistics.median(delays), statistics.median(describes), last["failed"]


def weights_move(there: Live, turns: int) -> None:
    before = there.ledger()["failed"]
    delay, describe, failed = updated(there, turns)
    assert (failed, there.ledger()["failed"] - before) == (0, 0)
    assert delay <= 20 * describe, f"{1000 * delay:.1f} ms, describe_route {1000 * describe:.1f} ms"


def test_forty_updates_under_load_lose_no_request_and_are_real_at_once(there: Live) -> None:
    weights_move(there, 40)


@pytest.mark.soak
@pytest.mark.parametrize("turn", range(3))
def test_two_hundred_updates_under_load_lose_no_request(there: Live, turn: int) -> None:
    weights_move(there, 200)


@pytest.mark.soak
def test_the_split_is_right_over_all_runs_pooled(there: Live) -> None:
    pooled: Counter[str] = Counter()
    for _ in range(20):
        there.put(25)
        until(lambda: there.answered(0.3)[CANARY], "the weight is real")
        pooled += there.answered(10.0)
        there.put(0)
        until(lambda: there.answered(0.3)[CANARY] == 0, "the canary has no traffic")
    print(dict(pooled))
    assert chance(pooled, {STABLE: 0.75, CANARY: 0.25}) > 1e-6


def nobody_dials(there: Live) -> None:
    name, router = "backend.apps.local", "elsewhere"
    app_mesh = there.client("appmesh")
    listener = {"portMapping": {"port": 9080, "protocol": "http2"}}
    app_mesh.create_virtual_router(**MESH, virtualRouterName=router, spec={"listeners": [listener]})
    body = {"match": {"prefix": "/"}, "action": {"weightedTargets": [{"virtualNode": CANARY, "weight": 100}]}}
    app_mesh.create_route(**MESH, virtualRouterName=router, routeName="all", spec={"http2Route": body})
    provider = {"virtualRouter": {"virtualRouterName": router}}
    app_mesh.create_virtual_service(**MESH, virtualServiceName=name, spec={"provider": provider})
    spec = app_mesh.describe_virtual_node(**MESH, virtualNodeName="serviceA")["virtualNode"]["spec"]
    more = {**spec, "backends": [*spec["backends"], {"virtualService": {"virtualServiceName": name}}]}
    app_mesh.update_virtual_node(**MESH, virtualNodeName="serviceA", spec=more)

    assert there.answered(1.0).keys() == {STABLE}
    services = {**there.said["services"]}
    services["serviceA"] = {**services["serviceA"], "backends": ["serviceb.apps.local", name]}
    virtual = {**there.said["virtual_services"], name: {"router": "serviceB"}}
    session = there.session(services=services, virtual_services=virtual, shift={**there.said["shift"], "name": name})
    claim = next(e for e in evidence_for_shift(survey(session)) if e.name == "hostname resolves")
    assert (claim.holds, claim.found) == (False, "backend.apps.local resolves to 0 addresses")

    app_mesh.update_virtual_node(**MESH, virtualNodeName="serviceA", spec=spec)
    app_mesh.delete_virtual_service(**MESH, virtualServiceName=name)
    app_mesh.delete_route(**MESH, virtualRouterName=router, routeName="all")
    app_mesh.delete_virtual_router(**MESH, virtualRouterName=router)


def test_a_virtual_service_nobody_dials_has_no_effect_and_05_says_so(there: Live) -> None:
    nobody_dials(there)


@pytest.mark.soak
@pytest.mark.parametrize("turn", range(5))
def test_a_virtual_service_nobody_dials_never_has_an_effect(there: Live, turn: int) -> None:
    nobody_dials(there)


def test_what_envoy_rejects_leaves_the_former_routes_serving_and_shows_in_status(there: Live) -> None:
    names = {**MESH, "virtualRouterName": "serviceB", "routeName": "wrong"}
    looking_behind = [{"name": "x-anything", "match": {"regex": "(?<=a)b"}}]  # what Envoy's RE2 does not have
    body = {
        "match": {"prefix": "/", "headers": looking_behind},
        "action": {"weightedTargets": [{"virtualNode": CANARY, "weight": 100}]},
    }
    before = there.ledger()["failed"]
    there.client("appmesh").create_route(**names, spec={"priority": 0, "http2Route": body})
    until(lambda: there.task("serviceA")["update"] == "rejected", "Envoy has rejected it")
    tasks = json.loads(there.runbook("local", "status", "--json")[1])["tasks"]
    row = next(row for row in tasks if row["service"] == "serviceA")
    assert row["update"] == "rejected"
    assert "invalid perl operator" in row["error"]
    assert there.answered(0.5).keys() == {STABLE}

    there.client("appmesh").delete_route(**names)
    until(lambda: there.task("serviceA")["update"] == "accepted", "Envoy takes updates again")
    there.put(100)
    until(lambda: there.answered(0.3).keys() == {CANARY}, "weights have their effect again")
    assert there.ledger()["failed"] == before


def killed(there: Live, service: str, pid: str) -> str:
    """Kill one process of a service's task; return the task."""
    row = there.task(service)
    os.kill(row[pid], signal.SIGKILL)
    return str(row["task"])


def stopped(there: Live, task: str) -> str:
    """Return why ECS says a task has stopped."""
    ecs = there.client("ecs")
    arns = ecs.list_tasks(cluster="apps", desiredStatus="STOPPED")["taskArns"]
    found = ecs.describe_tasks(cluster="apps", tasks=[arn for arn in arns if task in arn])["tasks"]
    return str(found[0]["stoppedReason"])


def replaced_after_kill(there: Live) -> None:
    there.put(50)
    before = there.ledger()["failed"]
    envoy, app = killed(there, "serviceA", "envoy_pid"), killed(there, CANARY, "pid")
    until(lambda: there.ledger()["failed"] > before, "requests fail: the caller has no way out")
    until(lambda: there.all_running() and {envoy, app}.isdisjoint(r["task"] for r in there.tasks), "both are replaced")
    there.recovered()
    assert {stopped(there, task).partition("(")[0] for task in (envoy, app)} == {"Essential container in task exited "}
    assert there.answered(0.5).keys() == {STABLE, CANARY}


def test_a_killed_envoy_and_a_killed_application_are_replaced_and_traffic_recovers(there: Live) -> None:
    replaced_after_kill(there)


def test_every_request_a_crashing_canary_costs_is_published(there: Live) -> None:
    spec = there.route()["spec"]
    tried_once = copy.deepcopy(spec)
    tried_once["http2Route"]["retryPolicy"]["maxRetries"] = 0
    there.client("appmesh").update_route(**ROUTE, spec=tried_once)
    before, began = there.ledger()["failed"], time.time()
    there.put(25)
    there.fault(CANARY, crash=True)
    until(lambda: there.ledger()["failed"] > before + 300, "it crashes, and its replacements do")
    there.fault(CANARY)
    there.put(0)
    counted = published(there, began)
    assert counted["errors"] == there.ledger()["failed"] - before
    there.client("appmesh").update_route(**ROUTE, spec=spec)


@pytest.mark.soak
@pytest.mark.parametrize("turn", range(10))
def test_killed_processes_are_replaced_every_time(there: Live, turn: int) -> None:
    replaced_after_kill(there)


def test_another_state_folder_is_another_world_and_up_down_and_status_speak_of_it_alone(
    there: Live, tmp_path: Path
) -> None:
    other = Live(tmp_path)
    code, said = other.runbook("local", "up", str(other.file))
    try:
        assert (code, said.split(":")[0]) == (0, "up"), said
        found = json.loads(other.runbook("local", "status", "--json")[1])
        assert sorted(row["service"] for row in found["tasks"]) == ["serviceA", STABLE, CANARY]
        assert {row["admin"] for row in found["tasks"]} == {None}  # before the mesh nobody has an Envoy
        ours, theirs = (listening(list(processes(world))) for world in (there.world, tmp_path))
        assert theirs
        assert not ours & theirs
        assert not processes(there.world).keys() & processes(tmp_path).keys()
    finally:
        code, said = other.runbook("local", "down")
    assert (code, said.strip()) == (0, "the local mesh is stopped")
    assert not processes(tmp_path)
    assert other.runbook("local", "down")[1].strip() == "it was not running"
    assert there.answered(0.5)[STABLE] > 50


def test_a_local_mesh_whose_folder_was_deleted_ends_with_all_it_started(tmp_path: Path) -> None:
    """Nobody could find it any more to end it."""
    lost = Live(tmp_path)
    code, said = lost.runbook("local", "up", str(lost.file))
    assert code == 0, said
    assert processes(tmp_path)
    shutil.rmtree(tmp_path / "state")
    until(lambda: not processes(tmp_path), "nothing of it runs")


def test_the_shift_and_the_retirement_lose_no_request(way: Way) -> None:
    """05 and 06 as written; with those before, the whole way."""
    there = way.mesh
    before = there.ledger()
    seen = take(there.session())
    assert [(d.step, d.verdict) for d in seen if d.phase == "judged"] == [(25, "PASS"), (100, "PASS")]
    there.step("06")
    services = there.client("ecs").describe_services(cluster="apps", services=[STABLE])["services"]
    assert [s["status"] for s in services if s["status"] == "ACTIVE"] == []
    assert there.answered(2.0).keys() == {CANARY}
    after = there.ledger()
    assert after["failed"] == before["failed"]
    assert after["answered"] > before["answered"] + 500
    assert all(each.holds for each in verify(newest(there.parameters)))


def test_the_way_back_of_a_retirement_loses_no_request_even_cut_short_in_its_wait(way: Way) -> None:
    there = way.mesh
    before = there.ledger()

    def interrupt(what: str, *_: float) -> None:
        if what.startswith("1 task of serviceB"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        taken_back(there, "06_tear_down_service_b", waiting=interrupt)
    assert {
        "deregister address of serviceb.apps.local",
        "unmark serviceB as retired (tag on route serviceB/serviceB)",
    } <= {*taken_back(there, "06_tear_down_service_b")}
    until(there.all_running, "serviceB runs again")
    assert there.weights() == {STABLE: 0, CANARY: 100}
    there.step("06")
    assert "delete mesh apps" in taken_back(there)
    assert there.answered(2.0).keys() == {STABLE}
    assert there.ledger()["failed"] == before["failed"]
    assert survey(there.session()).stage == "plain"


def taken_back(there: Live, notebook: str = "", **options: Any) -> list[str]:
    """Undo what the newest run, or one notebook of it, changed; return the names of what was done."""
    session = replace(there.session(), **options)
    return [done.change.title for done in apply(session, clear(plan_undo(session, notebook=notebook)))]


def test_killed_the_supervisor_leaves_no_process_and_the_next_command_says_so_in_one_sentence(way: Way) -> None:
    killed_supervisor(way.mesh)


def killed_supervisor(there: Live) -> None:
    found = supervisor.find(there.state)
    assert found is not None
    left, sockets = processes(there.world), {Path(row["admin"]).parent for row in there.tasks if row["admin"]}
    assert len(left) >= 6  # the supervisor, its guard, the calls, two applications, two Envoys
    os.kill(found.pid, signal.SIGKILL)
    until(lambda: not processes(there.world), "every process has ended", 10)
    assert not any(folder.exists() for folder in sockets)
    code, said = there.runbook("local", "up", str(there.file))
    sentences = [line for line in said.splitlines() if line]
    assert code == 2, said
    assert sentences[0] == "target: the local mesh: its process is gone, and the rehearsal ended with it"
    assert len(sentences) == 2  # and what to do next
    assert supervisor.find(there.state) is None


@pytest.mark.soak
@pytest.mark.parametrize("turn", range(5))
def test_the_whole_way_loses_no_request(tmp_path: Path, turn: int) -> None:
    with live(tmp_path, shift=quick()) as it:
        assert walked(it).keys() == {STABLE}, "weights have no effect before the caller's sidecar"
        take(it.session())
        it.step("06")
        ledger = it.ledger()
        killed_supervisor(it)
    assert (ledger["failed"], ledger["shed"]) == (0, 0)
    assert ledger["sent"] == ledger["answered"] + ledger["in_flight"]
