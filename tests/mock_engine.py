"""A second engine, of plain values: what is asked of an engine, without App Mesh and without AWS.

It is handed in, never found by name. `Division` is what it divides and what its calls go
to; `open_mock` opens a session on it in which every other service of AWS is plain values too.
"""

from __future__ import annotations

import atexit
import itertools
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from runbook_lib import open_session, parameters, record, survey
from runbook_lib.aws import ecs
from runbook_lib.aws.permissions import Role, Statement
from runbook_lib.aws.reads import Reads
from runbook_lib.aws.series import Counted, Series
from runbook_lib.aws.session import Connection, Session
from runbook_lib.engines.protocol import (
    ANSWERS,
    CALLERS,
    DIVIDES,
    FRAME,
    NAMES,
    TASKS,
    Arrow,
    Box,
    Chart,
    Check,
    Facts,
    Finding,
    Gate,
    Hints,
    Idle,
    Look,
    Path,
    SeriesOf,
    Split,
    Target,
    Undoable,
    shares,
)
from runbook_lib.errors import PlanError
from runbook_lib.parameters import Parameters
from runbook_lib.plan import Before, Call, Change, Inverse, Moved, Plan, Reading, differences
from runbook_lib.survey import Survey

ACCOUNT = "123456789012"
NUMBERS = itertools.count(1)
LOCAL: dict[str, Any] = yaml.safe_load((parameters.FOLDER / "local.yaml").read_text())
STATE = "division.{version: version, targets: targets}"
READING = Reading(Call("mock", "describe_division", {"name": "shop"}), STATE)
TRIAL = Reading(Call("mock", "describe_trial", {"name": "shop"}), "trial")
MARKS = Reading(Call("mock", "describe_marks", {"name": "shop"}), "marks.rolled_back")


@dataclass
class Division:
    """What is divided, kept in memory; it answers calls as a client of AWS does."""

    targets: dict[str, int] | None = None
    retired: tuple[str, ...] = ()
    version: int = 1
    trial: dict[str, str] | None = None
    rolled_back: str | None = None
    calls: list[str] = field(default_factory=list)

    def describe_division(self, name: str) -> dict[str, Any]:
        return {"division": self._state()}

    def _state(self) -> dict[str, Any] | None:
        if self.targets is None:
            return None
        targets = [{"service": name, "weight": weight} for name, weight in self.targets.items()]
        return {"version": self.version, "targets": targets, "retired": list(self.retired)}

    def write_division(self, name: str, targets: list[dict[str, Any]]) -> dict[str, Any]:
        self.calls.append("write_division")
        self.targets = {target["service"]: target["weight"] for target in targets}
        self.version += 1
        return {"division": self._state()}

    def delete_division(self, name: str) -> dict[str, Any]:
        self.calls.append("delete_division")
        self.targets = None
        return {}

    def describe_trial(self, name: str) -> dict[str, Any]:
        return {"trial": self.trial}

    def write_trial(self, name: str, header: str, value: str) -> dict[str, Any]:
        self.calls.append("write_trial")
        self.trial = {"header": header, "value": value}
        return {"trial": self.trial}

    def delete_trial(self, name: str) -> dict[str, Any]:
        self.calls.append("delete_trial")
        self.trial = None
        return {}

    def describe_marks(self, name: str) -> dict[str, Any]:
        return {"marks": {"rolled_back": self.rolled_back}}

    def write_mark(self, name: str, words: str) -> dict[str, Any]:
        self.calls.append("write_mark")
        self.rolled_back = words
        return {}


def of_the_shop(p: Parameters, said: Mapping[str, Any]) -> bool:
    return said.get("name") == "shop"


COUNTS = Counted(True, True, "each answer of 5XX is counted")
HINTS = Hints("let somebody call", "ask the mock", "run 03_divide")
UNDOABLE = Undoable(
    writes={("mock", "write_division"): of_the_shop, ("mock", "delete_division"): of_the_shop},
    reads=frozenset({("mock", "describe_division")}),
)


def written(weights: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return weights as the division's calls take them."""
    return [{"service": name, "weight": weight} for name, weight in weights.items()]


@dataclass
class MockEngine:
    """An engine whose answers are what a test says; its series need a name that exists only live."""

    own: Mapping[Before, tuple[Gate, ...]] = field(default_factory=dict)
    what_counts: Counted = COUNTS
    blind: str = ""
    least_seconds: int = 0
    refers: tuple[str, ...] = ()
    found: tuple[Check, ...] = ()
    hints: Hints = HINTS
    undoable: Undoable = UNDOABLE

    # What the parameters alone tell

    def title(self, p: Parameters) -> str:
        return "shop"

    def steps(self, p: Parameters) -> tuple[str, ...]:
        return ("03", "05", "06", "90")

    def resources_of(self, p: Parameters, step: str) -> list[str]:
        return ["division shop"] if step == "03" else []

    def counted(self, p: Parameters) -> Counted:
        return self.what_counts

    def unmatched(self, p: Parameters) -> list[str]:
        return []

    def permissions(self, p: Parameters, role: Role) -> list[Statement]:
        return []

    # How the traffic is divided

    def split_reading(self, p: Parameters) -> Reading:
        return READING

    def weights_of(self, p: Parameters, state: Mapping[str, Any] | None) -> dict[str, int]:
        targets = state["targets"] if state else []
        return shares({target["service"]: target["weight"] for target in targets})

    def all_on(self, p: Parameters, change: Change, service: str) -> Change:
        targets = [
            {**target, "weight": 100 if target["service"] == service else 0} for target in change.wanted["targets"]
        ]
        call = replace(change.call, arguments={"name": "shop", "targets": targets})
        return replace(change, call=call, wanted={"targets": targets})

    def read_split(self, session: Reads) -> Split:
        retired = session.read(Reading(READING.call, "division.retired")) or []
        return replace(self.read_weights(session), retired=frozenset(retired))

    def read_weights(self, session: Reads) -> Split:
        state = session.read(READING)
        targets = tuple(Target(t["service"], t["weight"]) for t in (state or {"targets": []})["targets"])
        split = Split("division shop", READING, state, targets, at_zero="nobody answers", ids={"shop": "shop-7f3a"})
        session.saw(split.written)
        return split

    def plan_split(self, split: Split, weights: Mapping[str, int], *, rewrite: bool = False) -> Plan:
        if split.state is None:
            raise PlanError(f"{split.key}: it is not there", hint=self.hints.not_there)
        if dict(weights) == split.written and not rewrite:
            return Plan("05_shift_traffic")
        return Plan("05_shift_traffic", (self._shifted(split, weights),))

    def _shifted(self, split: Split, weights: Mapping[str, int]) -> Change:
        before, after = written(split.written), written(weights)
        back = Call("mock", "write_division", {"name": "shop", "targets": before})
        return Change(
            name=split.key,
            verb="shift",
            call=Call("mock", "write_division", {"name": "shop", "targets": after}),
            reading=READING,
            expected=split.state,
            wanted={"targets": after},
            about=(split.key,),
            weights=Moved(split.weights, weights),
            inverse=Inverse("shift", back, wanted={"targets": before}),
            diff=differences({"targets": before}, {"targets": after}),
        )

    def plan_rollback(self, split: Split, stable: str, canary: str) -> Plan:
        if not split.written.get(canary):
            return Plan("rollback")
        return Plan("rollback", (self._shifted(split, {stable: 100, canary: 0}),))

    def read_mark(self, session: Reads, split: Split) -> str:
        return session.read(MARKS) or ""

    def plan_mark(self, split: Split, before: str, words: str) -> Plan:
        mark = Change(
            name=f"mark {split.key} as rolled back",
            verb="tag",
            call=Call("mock", "write_mark", {"name": "shop", "words": words}),
            reading=MARKS,
            expected=before or None,
            wanted=words,
            about=(f"mark of {split.key}", split.key),
            no_inverse="it says who rolled back",
        )
        return Plan("rollback", (mark,))

    # The trial

    def read_trial(self, session: Reads) -> Mapping[str, Any] | None:
        found: Mapping[str, Any] | None = session.read(TRIAL)
        return found

    def plan_trial(self, p: Parameters, split: Split, header: str, value: str) -> Plan:
        said = {"header": header, "value": value}
        trial = Change(
            name="trial of shop",
            verb="create",
            call=Call("mock", "write_trial", {"name": "shop", **said}),
            reading=TRIAL,
            expected=None,
            wanted=said,
            about=("trial of shop", split.key),
            inverse=Inverse("delete", Call("mock", "delete_trial", {"name": "shop"}), wanted=None),
        )
        return Plan("trial", (trial,))

    def plan_trial_end(self, split: Split, state: Mapping[str, Any] | None) -> Plan:
        if state is None:
            return Plan("trial")
        end = Change(
            name="trial of shop",
            verb="delete",
            call=Call("mock", "delete_trial", {"name": "shop"}),
            reading=TRIAL,
            expected=state,
            wanted=None,
            about=("trial of shop", split.key),
            no_inverse="a trial is over once it was made",
        )
        return Plan("trial", (end,))

    # What is counted

    def series(self, p: Parameters, split: Split) -> SeriesOf:
        return {name: self._series_of(name, split) for name in (p.shift.stable, p.shift.canary)}

    def _series_of(self, service: str, split: Split) -> dict[str, tuple[Series, ...]]:
        dimensions = {"Service": service, "Id": split.ids["shop"]}
        return {
            "requests": (Series("Requests", dimensions, "Mock"),),
            "errors": (Series("Errors", dimensions, "Mock"), Series("Refused", dimensions, "Mock")),
            "latency": (Series("Seconds", dimensions, "Mock", stat=""),),
        }

    def read_unhealthy(self, session: Reads, split: Split, running: int) -> int:
        return ecs.read_unhealthy(session, session.parameters.shift.canary)

    def idle(self, look: Look) -> Idle:
        series = self.series(look.parameters, look.split)
        shift = look.parameters.shift
        return Idle(
            stable=series[shift.stable]["requests"],
            witness=series[shift.canary]["requests"],
            blind=self.blind,
            least_seconds=self.least_seconds,
            uncounted_hint="let somebody call",
            blind_hint="let it see",
            called_hint="find who calls",
        )

    def path(self, look: Look) -> Path:
        requests = self.series(look.parameters, look.split)[look.parameters.shift.stable]["requests"]
        return Path("calls pass the mock", {"the mock counts": requests}, "it counts them", "call")

    # What must hold, what is shown

    def gates(self, look: Look, before: Before, plan: Plan | None = None) -> tuple[Gate, ...]:
        return self.own.get(before, ())

    def checks(self, look: Look) -> Iterator[Check]:
        yield from self.found

    def serves(self, session: Reads) -> Finding:
        return Finding(True, "the mock always serves")

    def references(self, session: Reads, service: str) -> list[str]:
        return ["division shop", *self.refers]

    def standing(self, session: Reads) -> Mapping[str, Collection[str]]:
        return {}

    def foreign(self, look: Look, inverse: Inverse) -> str:
        return ""

    def facts(self, look: Look) -> tuple[Facts, ...]:
        return ()

    def chart(self, look: Look, plan: Plan) -> Chart:
        p, there = look.parameters, look.split.state is not None
        services = (p.shift.stable, p.shift.canary)
        boxes = {
            "shop": Box(FRAME, ("shop",), there),
            "caller": Box(CALLERS, ("caller",), True),
            "name shop": Box(NAMES, ("shop",), there, called="shop"),
            "division shop": Box(DIVIDES, ("division",), there),
            **{f"pool {name}": Box(ANSWERS, (name,), there) for name in services},
            **{f"service {name}": Box(TASKS, (name, "1 of 1 running"), True) for name in services},
        }
        weights = look.split.weights
        after = plan.moved.after if plan.moved else weights
        arrows = [Arrow("caller", "name shop"), Arrow("name shop", "division shop")]
        arrows += [Arrow("division shop", f"pool {s}", weights.get(s), after.get(s)) for s in services]
        arrows += [Arrow(f"pool {s}", f"service {s}") for s in services]
        columns = ("calls", "name", "what divides", "pool", "tasks")
        return Chart(columns, "shop", boxes, tuple(arrows))

    # What is made and removed

    def read_live(self, session: Reads) -> dict[str, Any]:
        return {"division shop": session.read(READING)}

    def plan_resources(self, look: Look, step: str) -> Plan:
        missing = () if look.split.state else ("division shop (03_divide)",)
        return Plan("05_shift_traffic", assumed=missing)

    def plan_retirement(self, look: Look) -> Plan:
        canary = look.parameters.shift.canary
        return Plan("06_tear_down_service_b", (self._shifted(look.split, {canary: 100}),))

    def plan_removal(self, look: Look) -> Plan:
        return Plan("90_remove", stays=("division shop: somebody else made it",))


# --- the rest of AWS, as plain values -------------------------------------------------


@dataclass
class Sts:
    """Whose the credentials are."""

    def get_caller_identity(self) -> dict[str, str]:
        return {"Account": ACCOUNT, "Arn": f"arn:aws:iam::{ACCOUNT}:user/somebody"}


@dataclass
class Ecs:
    """How many tasks each service runs, of how many."""

    tasks: dict[str, int] = field(default_factory=lambda: {"serviceA": 1, "serviceB": 2, "serviceBv2": 2})
    wanted: int = 2

    def describe_services(self, services: list[str], **_: Any) -> dict[str, Any]:
        return {"services": [self._service(name) for name in services if name in self.tasks]}

    def _service(self, name: str) -> dict[str, Any]:
        deployment = {"status": "PRIMARY", "taskDefinition": f"{name}:1", "rolloutState": "COMPLETED"}
        running = self.tasks[name]
        return {
            "serviceName": name,
            "serviceArn": f"arn/{name}",
            "status": "ACTIVE",
            "desiredCount": min(self.wanted, max(running, 1)) if name != "serviceBv2" else self.wanted,
            "runningCount": running,
            "deployments": [deployment],
        }

    def describe_task_definition(self, taskDefinition: str, **_: Any) -> dict[str, Any]:
        return {"taskDefinition": {"taskDefinitionArn": taskDefinition, "family": taskDefinition.split(":")[0]}}

    def get_paginator(self, operation: str) -> Pages:
        return Pages(lambda **_: {})


@dataclass
class Scaling:
    """Application Auto Scaling, which scales nothing here."""

    def describe_scalable_targets(self, **_: Any) -> dict[str, Any]:
        return {"ScalableTargets": []}


@dataclass
class Pages:
    """One page of whatever is listed."""

    page: Callable[..., dict[str, Any]]

    def paginate(self, **arguments: Any) -> list[dict[str, Any]]:
        return [self.page(**arguments)]


@dataclass
class Metrics:
    """What was counted in each period, by metric and service."""

    counts: dict[tuple[str, str], int] = field(default_factory=dict)
    asked: list[dict[str, Any]] = field(default_factory=list)

    def get_paginator(self, operation: str) -> Pages:
        return Pages(self._page)

    def _page(self, MetricDataQueries: list[dict[str, Any]], StartTime: Any, EndTime: Any, **_: Any) -> dict[str, Any]:
        results = []
        for query in MetricDataQueries:
            count = self._count(query["MetricStat"])
            values = [float(count)] if count and EndTime > StartTime else []
            results.append({"Id": query["Id"], "Timestamps": [StartTime] * len(values), "Values": values})
        return {"MetricDataResults": results}

    def _count(self, stat: dict[str, Any]) -> int:
        """Return what one series counted in a period."""
        metric = stat["Metric"]
        self.asked.append(metric)
        dimensions = {d["Name"]: d["Value"] for d in metric["Dimensions"]}
        return self.counts.get((metric["MetricName"], dimensions["Service"]), 0)

    def describe_alarms(self, **_: Any) -> dict[str, Any]:
        return {"MetricAlarms": [], "CompositeAlarms": []}


@dataclass
class Clock:
    """Time that passes only when somebody sleeps."""

    now: float = 1_000_000.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def __call__(self) -> float:
        return self.now


@dataclass
class Mocked:
    """A session on the mock engine, with all that it finds."""

    session: Session
    engine: MockEngine
    division: Division
    ecs: Ecs
    metrics: Metrics
    clock: Clock

    def look(self) -> Survey:
        """Take a fresh look."""
        return survey(self.session)


def open_mock(
    weights: Mapping[str, int] | None = None,
    *,
    engine: MockEngine | None = None,
    notebook: str = "05_shift_traffic",
    traffic: bool = False,
    **values: Any,
) -> Mocked:
    """Open a session whose engine is the mock, at these weights; None where nothing is divided yet."""
    engine = engine or MockEngine()
    division = Division(dict(weights) if weights is not None else None)
    ecs, metrics, clock = Ecs(), Metrics(), Clock()
    records = record.root() / f"mock-{next(NUMBERS)}"
    clients = {
        "sts": Sts(),
        "mock": division,
        "ecs": ecs,
        "application-autoscaling": Scaling(),
        "cloudwatch": metrics,
    }
    said = {**LOCAL, "environment": "mock", "account_id": ACCOUNT, "records": str(records)}
    for name, value in values.items():
        said[name] = {**said[name], **value} if isinstance(value, dict) else value
    session = open_session(
        said,
        notebook,
        connect=lambda p: Connection("http://127.0.0.1:9", carries_traffic=traffic),
        sleep=clock.sleep,
        clock=clock,
        wall=clock,
        clients=clients,
        engine=engine,
    )
    atexit.unregister(session.close)  # its records are gone by then
    return Mocked(session, engine, division, ecs, metrics, clock)
