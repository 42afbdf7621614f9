"""Scenes for tests: a session on the local control plane, in this very process, at a given point of the way.

Nothing waits: whoever sleeps lets ECS take a step. What is reached once is kept as a snapshot, so that a test
that begins where the mesh is complete pays for its own part of the way only.
"""

from __future__ import annotations

import atexit
import itertools
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import yaml
from botocore.config import Config

from runbook_lib import (
    apply,
    clear,
    evidence,
    open_session,
    parameters,
    plan_permissions,
    plan_sidecars,
    record,
    survey,
)
from runbook_lib.aws.session import Connection, Session
from runbook_lib.local import control_plane, world
from runbook_lib.local.control_plane.calls import CALLS, is_read
from runbook_lib.local.keys import credentials
from runbook_lib.parameters import Parameters
from runbook_lib.plan import Call, Change, Evidence, Inverse, Plan, Reading
from tests import snapshot

ENDPOINT = "http://127.0.0.1:9"  # nothing listens there: a client that missed its hook fails
SHIPPED: dict[str, Any] = yaml.safe_load((parameters.FOLDER / "local.yaml").read_text())
# What the shipped file leaves to the defaults, said: what a file does not speak of keeps what is live.
SAID: dict[str, Any] = {
    "engine": "appmesh",
    "mesh": {**SHIPPED["mesh"], "egress": "DROP_ALL"},
    "launch_type": "FARGATE",
    "envoy": {
        "image_tag": "v1.39.1.0-prod",
        "fips": False,
        "public_image": False,
        "xray": False,
        "resource_cluster": None,
        "ignored_ips": [],
        "ignored_ports": [22],
        "access_log": "/dev/stdout",
    },
    "iam": {**SHIPPED["iam"], "policy": "node"},
    "routers": {
        "serviceB": {
            "routes": {
                "serviceB": {
                    "match": {"prefix": "/"},
                    "retry": {
                        "max_retries": 2,
                        "per_retry_timeout_millis": 5000,
                        "http_events": ["gateway-error", "stream-error"],
                        "tcp_events": ["connection-error"],
                    },
                    "timeout": {"per_request_seconds": 15},
                    "targets": ["serviceB", "serviceBv2"],
                }
            }
        }
    },
    "traffic": {"requests_per_second": 300},
    "records": None,
}
LOCAL: dict[str, Any] = {**SHIPPED, **SAID}
MESH = {"meshName": "apps"}
ROUTE = {**MESH, "virtualRouterName": "serviceB", "routeName": "serviceB"}
ACCOUNTS = itertools.count(800_000_000_000)
STAGED = "799999999999"
NUMBERS = itertools.count(1)


def given(**values: Any) -> dict[str, Any]:
    """Return LOCAL with other values in place of its own; a mapping is merged into what stands there."""

    def put(into: Any, value: Any) -> Any:
        if isinstance(into, dict) and isinstance(value, dict):
            return {**into, **{key: put(into.get(key), inner) for key, inner in value.items()}}
        return value

    base = deepcopy(LOCAL)
    if values.get("protocol") == "tcp":  # which knows neither retries nor a time limit for a request
        for word in ("retry", "timeout"):
            del base["routers"]["serviceB"]["routes"]["serviceB"][word]
    return dict(put(base, values))


def large(count: int) -> dict[str, Any]:
    """Return what is different in a file of so many services and virtual services, each with a router of its own."""
    services, virtual, routers = (dict(LOCAL[part]) for part in ("services", "virtual_services", "routers"))
    for number in range(count - len(services)):
        name = f"service{number}"
        services[name] = {"hostname": f"{name}.apps.local", "task_definition": name}
    for number in range(count - len(virtual)):
        router = f"router{number}"
        virtual[f"{router}.apps.local"] = {"router": router}
        target = list(services)[-1 - number]
        routers[router] = {"routes": {"all": {"match": {"prefix": "/"}, "targets": {target: 100}}}}
    return {"services": services, "virtual_services": virtual, "routers": routers}


def load(**values: Any) -> Parameters:
    """Return checked parameters: local.yaml's with others in place of them."""
    return parameters.load("scene", given(**values))


@dataclass
class Clock:
    """Time that passes only when somebody sleeps; each sleep is a step of ECS's scheduler."""

    now: float = 0.0
    speed: float = 1.0
    slept: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds * self.speed
        control_plane.reconcile()

    def __call__(self) -> float:
        return self.now


def connect(p: Parameters, prepare: Callable[[Any], None] = lambda client: None) -> Connection:
    """Return the way to the control plane of this process, which has no traffic; `prepare` is told of each client."""

    def hooked(client: Any) -> None:
        prepare(client)  # first, so that what it registers in front comes behind the answer
        control_plane.answer_in_process(client.meta.events)

    return Connection(ENDPOINT, hooked, carries_traffic=False, credentials=credentials("", p.account_id))


@cache
def other(account: str, service: str) -> Any:
    """Return somebody else's client in the same account."""
    config = Config(inject_host_prefix=False, retries={"total_max_attempts": 1})
    made = boto3.Session(region_name="us-west-2", **credentials("", account))
    client = made.client(service, endpoint_url=ENDPOINT, config=config)
    control_plane.answer_in_process(client.meta.events)
    return client


def somebody(session: Session, service: str = "appmesh") -> Any:
    """Return the client of somebody else who works on the session's account."""
    return other(session.parameters.account_id, service)


def in_turn(asks: Sequence[Callable[[], Any]]) -> list[Any]:
    """Ask for things one after another, as many as there are: so calls have an order that can be counted."""
    return [ask() for ask in asks]


def settle() -> None:
    """Let ECS take steps until nothing moves."""
    assert any(not control_plane.reconcile() for _ in range(100)), "ECS does not settle"


def open_local(
    notebook: str = "", *, services: bool = False, said: Mapping[str, Any] | None = None, **values: Any
) -> Session:
    """Open a session on an account of its own, which is empty unless its `services` are to run there.

    `said` are values of any name, `services` too.
    """
    records = record.root() / f"scene-{next(NUMBERS)}"
    own = {"environment": "scene", "account_id": str(next(ACCOUNTS)), "records": str(records)}
    named = given(**{**own, **values, **(said or {})})
    if services:
        p = parameters.load("scene", named)
        world.create(p, list(p.services), lambda service: other(p.account_id, service))
        settle()
    return reopen(named, notebook)


def reopen(
    values: Mapping[str, Any] | Session,
    notebook: str = "",
    *,
    prepare: Callable[[Any], None] | None = None,
    alone: bool = False,
    clock: Clock | None = None,
    shared: dict[str, Any] | None = None,
    **more: Any,
) -> Session:
    """Open a session as a notebook opened later does: by the values of another one, or given ones.

    It uses the other one's clients, which are slow to make, or those that are `shared`, unless it is to have some
    that are `alone` its own.
    """
    known = {"environment": "scene", **values.given} if isinstance(values, Session) else values
    clients: dict[str, Any] = {}
    if isinstance(values, Session) and not (alone or prepare):
        clients = values.clients
        clients.setdefault("sts", somebody(values, "sts"))
    clients = clients if shared is None else shared
    clock = clock or Clock()
    session = open_session(
        {**known, **more},
        notebook,
        connect=lambda p: connect(p, prepare or (lambda client: None)),
        sleep=clock.sleep,
        clock=clock,
        clients=clients,
        beside=in_turn,
    )
    atexit.unregister(session.close)  # its records are gone by then
    return session


def change(session: Session, plan: Plan, *evidence: Any) -> list[Any]:
    """Clear and apply a plan with the evidence a notebook gathers."""
    return apply(session, clear(plan, *evidence))


def shift(session: Session, weight: int) -> list[Any]:
    """Give the canary this weight, in percent, as one step of the shift does."""
    p, found = session.parameters, survey(session)
    plan = found.plan_weights({p.shift.stable: 100 - weight, p.shift.canary: weight})
    return change(session, plan, *map(fact, plan.needs))


def step(session: Session, number: str) -> list[Any]:
    """Do what the notebook with this number does."""
    session.notebook = NOTEBOOKS[number]
    found = survey(session)
    if number in ("01", "02", "03"):
        plan = found.plan_resources(number)
        return change(session, plan, *evidence(found, plan))
    if number == "04":
        plan = plan_permissions(found)
        made = change(session, plan, *evidence(found, plan))
        found = survey(session)
        plan = plan_sidecars(found)
        return made + change(session, plan, *evidence(found, plan))
    if number == "05":
        return [made for weight in session.parameters.shift.steps for made in shift(session, weight)]
    plan = found.plan_retirement()
    return change(session, plan, *map(fact, plan.needs))


NOTEBOOKS = {
    "01": "01_create_mesh",
    "02": "02_create_virtual_nodes",
    "03": "03_create_router_and_routes",
    "04": "04_register_task_definitions",
    "05": "05_shift_traffic",
    "06": "06_tear_down_service_b",
}
STAGES = {"plain": (), "routed": ("01", "02", "03"), "meshed": ("04",), "shifted": ("05",), "retired": ("06",)}


@dataclass(frozen=True)
class Kept:
    """A point of the way: the account's state, the journal that led there, and clients, slow to make."""

    state: snapshot.Snapshot
    session: Session


_KEPT: dict[str, Kept] = {}


def _kept(stage: str) -> Kept:
    if stage not in _KEPT:
        names = list(STAGES)
        if stage == names[0]:
            session = open_local(services=True, account_id=STAGED)
        else:
            session = open_at(names[names.index(stage) - 1])
        for number in STAGES[stage]:
            step(session, number)
        own = {key: value for key, value in snapshot.take().items() if key[1] == STAGED}
        _KEPT[stage] = Kept(own, session)
    return _KEPT[stage]


def open_at(stage: str, notebook: str = "", **more: Any) -> Session:
    """Open a session where the shipped scenario is plain, routed, meshed, shifted or retired.

    Its state and its journal are the test's own; what other tests left of the same account is gone.
    """
    kept = _kept(stage)
    others = {key: value for key, value in snapshot.take().items() if key[1] != STAGED}
    snapshot.put_back({**others, **kept.state})
    records = record.root() / f"scene-{next(NUMBERS)}"
    former = Path(str(kept.session.parameters.records))
    if former.is_dir():
        shutil.copytree(former, records, symlinks=True)
    return reopen(kept.session, notebook, records=str(records), **more)


def writes(session: Session) -> Counter[str]:
    """Return the calls that changed something, or tried to, in the session's account since it is counted."""
    seen = CALLS.summary(session.parameters.account_id)["operations"]
    return Counter({name: number for name, number in seen.items() if not is_read(name.split(".")[1])})


def lines(session: Session, event: str = "") -> list[dict[str, Any]]:
    """Return the journal's lines, and what is asked of the run, of one event where it is named."""
    run = record.latest("scene", session.parameters.records)
    return [line for line in (run.said() if run else ()) if event in ("", line["event"])]


def route(session: Session) -> dict[str, Any]:
    """Return the scenario's route as somebody else reads it."""
    found: dict[str, Any] = somebody(session).describe_route(**ROUTE)["route"]
    return found


def weights(session: Session) -> dict[str, int]:
    """Return the weights in force, as somebody else reads them."""
    targets = route(session)["spec"]["http2Route"]["action"]["weightedTargets"]
    return {target["virtualNode"]: target["weight"] for target in targets}


def fact(name: str = "fact", *, holds: bool = True) -> Evidence:
    """Return evidence of a claim."""
    return Evidence(name, holds, "it does" if holds else "it does not", "mend it")


def one(name: str = "mesh scene", **different: Any) -> Change:
    """Return a change that creates a mesh; `different` fields replace its own."""
    called = {"meshName": name.split()[-1]}
    query = "mesh.{uid: metadata.uid, version: metadata.version, spec: spec}"
    made = Change(
        name=name,
        verb="create",
        call=Call("appmesh", "create_mesh", called),
        reading=Reading(Call("appmesh", "describe_mesh", called), query, ("NotFoundException",)),
        expected=None,
        wanted={"spec": {}},
        about=(name,),
        inverse=Inverse("delete", Call("appmesh", "delete_mesh", called), wanted=None),
    )
    return replace(made, **different)
