"""Live traffic for tests: a local mesh with processes of its own, and a sky under which time and traffic are made up.

`Live` is the real thing: a state folder of its own, Envoys, requests counted in a ledger. `Sky` is for what needs
no Envoy: seconds pass when somebody sleeps, and each brings requests, divided by the weights then in force, to
the CloudWatch of the control plane in this process.
"""

from __future__ import annotations

import atexit
import json
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from runbook_lib import gates, parameters, plan_permissions, plan_sidecars, record
from runbook_lib.aws.applying import apply
from runbook_lib.aws.cloudwatch import Series
from runbook_lib.aws.session import Session
from runbook_lib.command import cli
from runbook_lib.engines.appmesh import engine as mesh
from runbook_lib.engines.appmesh.counts import inbound
from runbook_lib.local import control_plane, inject, supervisor
from runbook_lib.local.clients import clients
from runbook_lib.local.control_plane.metrics import Sum, key, metrics_backends
from runbook_lib.local.paths import cluster_folder
from runbook_lib.opening import open_session
from runbook_lib.parameters import Parameters
from runbook_lib.plan import clear
from runbook_lib.shift import shift_traffic
from runbook_lib.shift.decision import Decision
from runbook_lib.survey import survey
from tests import scenes

ROOT = Path(__file__).resolve().parent.parent
STABLE, CANARY = "serviceB", "serviceBv2"
QUICK = {"bake_seconds": 6, "prove_seconds": 20, "trial": None, "blind_minutes": 1}


def quick(**changes: Any) -> dict[str, Any]:
    """Return the scenario's shift with a bake of seconds, and with changes; mappings are merged."""
    verdict = {"detectable_increase": 0.05, "on_inconclusive": "hold", **changes.pop("verdict", {})}
    return dict(scenes.given(shift={**QUICK, **changes, "verdict": verdict})["shift"])


# Made-up traffic.


@dataclass
class Sky:
    """Time that passes only when somebody sleeps, and the requests each second brings to both versions.

    `errors` and `slow` are shares of each version's requests. Fractions are carried over, so that nothing is
    left to chance. `unheard_until` lets traffic follow the weights of before for a while; while `silent`,
    requests are made and nobody publishes them.
    """

    session: Session
    rate: float = 200.0
    now: float = 0.0
    errors: dict[str, float] = field(default_factory=dict)
    slow: dict[str, float] = field(default_factory=dict)
    unheard_until: float = 0.0
    silent: bool = False
    stamped_ahead: int = 0  # by how many seconds figures are stamped ahead of this time
    tests_per_second: int = 0  # requests that somebody sends to the trial's route
    strays: int = 0  # requests a second that somebody without an Envoy sends to stable
    made: list[Counter[str]] = field(default_factory=list)  # by second: requests and "errors of" each version

    def __post_init__(self) -> None:
        self.now = self.now or float(int(time.time()))
        p = self.session.parameters
        self._state = metrics_backends[p.account_id][p.region].state
        self._state.series.clear()  # of the test before
        self._owed: Counter[str] = Counter()
        self._plans: list[tuple[float, Callable[[], object]]] = []
        self._heard = self.weights()
        self._before = scenes.writes(self.session)
        self.over(self.session)
        self.sleep(10)  # traffic has been there for a while

    def over(self, session: Session) -> Session:
        """Put a session under this sky."""
        session.sleep, session.clock, session.wall = self.sleep, self, self
        session.connection = replace(session.connection, carries_traffic=True)
        return session

    def at(self, seconds: float, do: Callable[[], object]) -> None:
        """Let something happen so many seconds from now."""
        self._plans.append((self.now + seconds, do))

    def __call__(self) -> float:
        return self.now

    def weights(self) -> dict[str, int]:
        """Return the weights in force, as App Mesh says."""
        return scenes.weights(self.session)

    @property
    def updates(self) -> int:
        """How often the route was written under this sky, by whomever."""
        return self.written["appmesh.UpdateRoute"]

    @property
    def written(self) -> Counter[str]:
        """The calls under this sky that changed something."""
        return scenes.writes(self.session) - self._before

    def sleep(self, seconds: float) -> None:
        """Let time pass: what was to happen happens, ECS takes a step, full seconds are published."""
        end = self.now + seconds
        while self.now < end:
            before, self.now = int(self.now), min(end, math.floor(self.now) + 1.0)
            for plan in [plan for plan in self._plans if plan[0] <= self.now]:
                self._plans.remove(plan)
                plan[1]()
            control_plane.reconcile()
            if int(self.now) > before:
                self._second(before)

    def _second(self, second: int) -> None:
        weights = self._heard if self.now < self.unheard_until else self.weights()
        self._heard = weights
        made: Counter[str] = Counter()
        for name, weight in weights.items():
            made[name] = self._whole(name, self.rate * weight / 100)
            made[f"errors of {name}"] = min(
                made[name], self._whole(f"errors of {name}", made[name] * self.errors.get(name, 0.0))
            )
            self._publish(second, name, made[name], made[f"errors of {name}"])
        if self.tests_per_second and mesh.read_trial(self.session):
            bad = self._whole("tests", self.tests_per_second * self.errors.get(CANARY, 0.0))
            self._publish(second, CANARY, self.tests_per_second, bad)
        self.made.append(made)

    def _whole(self, name: str, amount: float) -> int:
        self._owed[name] += amount  # type: ignore[assignment]
        whole = int(self._owed[name] + 1e-9)
        self._owed[name] -= whole
        return whole

    def _publish(self, second: int, name: str, requests: int, errors: int) -> None:
        into = requests + (self.strays if name == STABLE else 0)
        if into and not self.silent:
            self._put(second, inbound(self.session.parameters, name), {1.0: into})
        if self.silent or not requests:
            return
        slow = self._whole(f"slow of {name}", requests * self.slow.get(name, 0.0))
        values = {"requests": {1.0: requests}, "errors": {1.0: errors}, "latency": {5.0: requests - slow, 900.0: slow}}
        for kind, every in mesh.series(self.session.parameters).get(name, {}).items():
            self._put(second, every[0], values[kind])

    def _put(self, second: int, series: Series, values: Mapping[float, int]) -> None:
        made = Sum()
        for value, count in values.items():
            if count:
                made.add(value, count)
        dimensions = [{"Name": k, "Value": v} for k, v in series.dimensions.items()]
        if made.count:
            self._state.put(key("AppMesh", series.metric, dimensions), second + self.stamped_ahead, made)

    def seen(self, name: str) -> int:
        """Return all requests made to a version, or "errors of" it."""
        return sum(made[name] for made in self.made)


def under_sky(stage: str = "meshed", *, shift: Mapping[str, Any] | None = None, **more: Any) -> tuple[Session, Sky]:
    """Open a session of the scenario under a sky of its own; `more` that a sky knows is the sky's."""
    of_sky = {name: more.pop(name) for name in list(more) if name in Sky.__dataclass_fields__}
    session = scenes.open_at(stage, "05_shift_traffic", shift=dict(shift or quick()), **more)
    return session, Sky(session, **of_sky)


def again(sky: Sky, **more: Any) -> Session:
    """Open a session as somebody does who begins anew: it knows what AWS and the record know."""
    return sky.over(scenes.reopen(sky.session, "05_shift_traffic", **more))


def take(session: Session, *, until: Callable[[Decision], object] = lambda decision: False) -> list[Decision]:
    """Follow a shift to its end or to a decision."""
    out = []
    for decision in shift_traffic(session, scenes.fact()):
        out.append(decision)
        if until(decision):
            break
    return out


def ended(
    session: Session, error: type[BaseException], *, on: Mapping[str, Callable[[], object]] | None = None
) -> tuple[list[Decision], str]:
    """Follow a shift to the error it must end with; return its decisions and the error's words.

    What `on` has for a phase happens at its first decision, once.
    """
    out: list[Decision] = []
    return out, str(ending(session, error, on or {}, out))


def ending(
    session: Session,
    error: type[BaseException],
    on: Mapping[str, Callable[[], object]],
    out: list[Decision] | None = None,
) -> Any:
    """Follow a shift to the error it must end with, and return that; `out` gets its decisions."""
    waiting = dict(on)

    def follow() -> None:
        for decision in shift_traffic(session, scenes.fact()):
            (out if out is not None else []).append(decision)
            waiting.pop(decision.phase, lambda: None)()

    with pytest.raises(error) as caught:
        follow()
    assert not waiting, f"it never came to {', '.join(waiting)}"
    return caught.value


def phases(decisions: Sequence[Decision]) -> list[str]:
    """Return the phases of decisions, without the watching between them."""
    return [d.phase for d in decisions if d.phase != "watching"]


@contextmanager
def refusing(session: Session, service: str, operation: str, code: str, status: int = 400) -> Iterator[list[str]]:
    """Let AWS refuse an operation ("*": every one of the service) with an error code; yields what was refused."""
    refused: list[str] = []

    class Answer:
        status_code = status

    def refuse(model: Any, **_: Any) -> tuple[Any, dict[str, Any]] | None:
        if operation not in ("*", model.name):
            return None
        refused.append(model.name)
        metadata = {"HTTPStatusCode": status, "RequestId": "refused", "HTTPHeaders": {}, "RetryAttempts": 0}
        return Answer(), {"Error": {"Code": code, "Message": "as the test wants"}, "ResponseMetadata": metadata}

    events = session._client(service).meta.events
    events.register_last("before-call", refuse)
    try:
        yield refused
    finally:
        events.unregister("before-call", refuse)


class Killed(BaseException):
    """The end of a process: whatever it would still do does not happen."""


class Reaper:
    """Kills a process at its n-th call that writes: before it reaches AWS, or after it and before its answer is read.

    A dead process makes no call any more: each later one ends the same way.
    """

    def __init__(self, session: Session, at: int, *, after: bool) -> None:
        self.at, self.after = at, after
        self.written: list[str] = []
        self.dead = False
        self._events = []
        for service in ("appmesh", "ecs", "cloudwatch", "servicediscovery"):
            events = session._client(service).meta.events
            self._events.append(events)
            events.register_last("before-call", self._before)
            events.register_first("after-call", self._answered)

    def _before(self, model: Any, **_: Any) -> None:
        if self.dead:
            raise Killed
        if not model.name.startswith(("Describe", "List", "Get")):
            self.written.append(model.name)
            if len(self.written) == self.at and not self.after:
                self._strike()

    def _answered(self, model: Any, **_: Any) -> None:
        writes = not model.name.startswith(("Describe", "List", "Get"))
        if writes and len(self.written) == self.at and self.after and not self.dead:
            self._strike()

    def _strike(self) -> None:
        self.dead = True
        raise Killed

    def leave(self) -> None:
        """Let other processes call."""
        for events in self._events:
            events.unregister("before-call", self._before)
            events.unregister("after-call", self._answered)


# The real thing.


class Live:
    """A local mesh of a module's own, with processes and traffic."""

    def __init__(self, world: Path, **changes: Any) -> None:
        self.world, self.state = world, world / "state"
        self.file = world / "live.yaml"
        shift = quick(bake_seconds=3, verdict={"detectable_increase": 0.1})
        said = scenes.given(traffic={"requests_per_second": 250}, shift=shift, retirement={"quiet_seconds": 2})
        self.said = {**said, "environment": "live", **changes}
        self.file.write_text(yaml.safe_dump(self.said, sort_keys=False))
        self.parameters = parameters.load(str(self.file))
        self._clients: dict[str, Any] = {}
        self._shared: dict[str, Any] = {}

    def session(self, notebook: str = "05_shift_traffic", **given: Any) -> Session:
        """Open a session as a notebook does; clients are slow to make and shared."""
        session = open_session({"environment": str(self.file), **given}, notebook, clients=self._shared)
        atexit.unregister(session.close)  # its records are gone by then
        return session

    def step(self, number: str) -> None:
        """Do what the notebook with this number does, evidence and all."""
        session = self.session(scenes.NOTEBOOKS[number])
        found = survey(session)
        if number == "04":
            permissions, plan = plan_permissions(found), plan_sidecars(found)
            evidence = gates.evidence(found, plan)
            apply(session, clear(permissions, *gates.evidence(found, permissions)))
        elif number == "06":
            plan = found.plan_retirement()
            evidence = gates.evidence(found, plan)
        else:
            plan = found.plan_resources(number)
            evidence = gates.evidence(found, plan)
        apply(session, clear(plan, *evidence))

    def client(self, service: str) -> Any:
        """Return a client that acts in this account, as somebody else would."""
        if service not in self._clients:
            found = supervisor.find(self.state)
            assert found is not None
            p, once = self.parameters, {"total_max_attempts": 1}
            self._clients[service] = clients(found, p.account_id, p.region, retries=once)(service)
        return self._clients[service]

    def route(self) -> dict[str, Any]:
        """Return the route under shift, as somebody else reads it."""
        found: dict[str, Any] = self.client("appmesh").describe_route(**scenes.ROUTE)["route"]
        return found

    def weights(self) -> dict[str, int]:
        """Return the weights in force."""
        targets = self.route()["spec"]["http2Route"]["action"]["weightedTargets"]
        return {target["virtualNode"]: target["weight"] for target in targets}

    def put(self, canary: int) -> None:
        """Write the canary's weight as somebody else would, past the runbook."""
        spec = self.route()["spec"]
        weighted = [{"virtualNode": STABLE, "weight": 100 - canary}, {"virtualNode": CANARY, "weight": canary}]
        spec["http2Route"]["action"]["weightedTargets"] = weighted
        self.client("appmesh").update_route(**scenes.ROUTE, spec=spec)

    def fault(self, service: str, **faults: Any) -> None:
        """Let a service's application fail; nothing given mends it."""
        inject(self.parameters, service, **faults)

    @property
    def tasks(self) -> list[dict[str, Any]]:
        """What `runbook local status` says of each task."""
        found = supervisor.find(self.state)
        assert found is not None
        rows: list[dict[str, Any]] = found.ask("/runbook/tasks")["tasks"]
        return rows

    def task(self, service: str) -> dict[str, Any]:
        """Return the row of a service's newest running task."""
        return [row for row in self.tasks if row["service"] == service and row["phase"] == "running"][-1]

    @property
    def calls(self) -> Path:
        """The folder of serviceA's own requests."""
        p = self.parameters
        return cluster_folder(self.state / "tasks", p.account_id, p.region, p.cluster) / "serviceA-calls"

    def ledger(self) -> dict[str, Any]:
        """Return the ledger as it stands now, not as it stood when it was last written."""
        since = time.time()
        found: dict[str, Any] = {}

        def fresh() -> bool:
            with suppress(FileNotFoundError):  # until serviceA's first task runs
                found.update(json.loads((self.calls / "snapshot.json").read_text()))
            return bool(found and found["at"] >= since)

        until(fresh, "the ledger is written")
        return found

    def answered(self, seconds: float = 0.0) -> Counter[str]:
        """Return the requests each version answered in the next seconds ("" stands for nobody), or ever."""
        before = self._versions() if seconds else Counter()
        time.sleep(seconds)
        return self._versions() - before

    def _versions(self) -> Counter[str]:
        return Counter({name: version["requests"] for name, version in self.ledger()["versions"].items()})

    def statuses(self) -> Counter[str]:
        """Return how requests ended that nobody answered, by the ledger's words."""
        return Counter(self.ledger()["versions"].get("", {}).get("statuses", {}))

    def recovered(self, seconds: float = 40.0) -> None:
        """Wait until every request of a second is answered well again."""

        def well() -> bool:
            before = self.ledger()
            time.sleep(1.0)
            after = self.ledger()
            return bool(after["failed"] == before["failed"] and after["answered"] > before["answered"] + 50)

        until(well, "traffic recovers", seconds)

    def all_running(self) -> bool:
        """Say whether every service runs one task with a LIVE sidecar."""
        rows = [row for row in self.tasks if row["phase"] == "running" and row.get("envoy") == "LIVE"]
        return sorted(row["service"] for row in rows) == ["serviceA", STABLE, CANARY]

    def runbook(self, *words: str) -> tuple[int, str]:
        """Run the `runbook` command in this world, but in this process: to start one takes seconds."""
        done = CliRunner().invoke(cli.app, list(words), env={"RUNBOOK_LOCAL": None, **own(self.world)})
        return done.exit_code, done.output

    @property
    def environ(self) -> dict[str, str]:
        """The environment of a process in this world."""
        known = {name: value for name, value in os.environ.items() if name != "RUNBOOK_LOCAL"}
        return {**known, "PYTHONPATH": str(ROOT), **own(self.world)}


def own(world: Path) -> dict[str, str]:
    """Return the variables that make a world of its own."""
    return {"RUNBOOK_STATE": str(world / "state"), "RUNBOOK_RUNS": str(world / "runs")}


@contextmanager
def live(world: Path, **changes: Any) -> Iterator[Live]:
    """Give a module a local mesh with processes, in a world of its own; it is brought down at the end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RUNBOOK_LOCAL", raising=False)
        for name, value in own(world).items():
            patch.setenv(name, value)
        try:
            yield Live(world, **changes)
        finally:
            supervisor.down(world / "state")


@contextmanager
def meshed(world: Path, **changes: Any) -> Iterator[Live]:
    """Give a module a local mesh after notebook 04, with traffic that goes well."""
    with live(world, **changes) as it:
        for number in ("01", "02", "03", "04"):
            it.step(number)
        it.recovered()
        yield it


def until(condition: Callable[[], object], what: str = "it comes about", seconds: float = 40.0) -> None:
    """Wait until something is so; AssertionError where it does not become so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds:g} s in vain until {what}"
        time.sleep(0.05)


def processes(world: Path) -> dict[int, str]:
    """Return the commands, by pid, of what was started in a world or names it; not this process."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            command, environment = ((process / name).read_bytes() for name in ("cmdline", "environ"))
            if command and str(world).encode() in command + environment and int(process.name) != os.getpid():
                found[int(process.name)] = command.replace(b"\0", b" ").decode(errors="replace").strip()
    return found


def listening(pids: Sequence[int]) -> set[tuple[str, int]]:
    """Return the addresses and ports these processes listen on."""
    inodes = set()
    for pid in pids:
        with suppress(OSError):
            links = [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]
            inodes |= {link[8:-1] for link in links if link.startswith("socket:[")}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                address, port = fields[1].split(":")
                found.add((address if table == "tcp6" else _dotted(address), int(port, 16)))
    return found


def _dotted(address: str) -> str:
    return ".".join(str(part) for part in reversed(bytes.fromhex(address)))


def chance(counts: Mapping[str, int], shares: Mapping[str, float]) -> float:
    """Return the chance that requests divided by these shares come out as far off as these counts, or farther."""
    total = sum(counts.values())
    off = sum((counts[name] - total * share) ** 2 / (total * share) for name, share in shares.items())
    assert len(shares) == 2, "one degree of freedom"
    return math.erfc(math.sqrt(off / 2))


def newest(p: Parameters) -> record.Run:
    """Return an environment's newest run."""
    run = record.latest(p.environment, p.records)
    assert run is not None
    return run


def with_probe(session: Session, probe: Callable[[Mapping[str, str], int], list[tuple[str, str]]]) -> Session:
    """Let a session make test requests."""
    session.connection = replace(session.connection, probe=probe)
    return session
