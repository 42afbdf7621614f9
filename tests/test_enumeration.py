"""However the runbook ends on its way, running it again from the top ends well; and two at once lose nothing."""

from __future__ import annotations

import atexit
import itertools
import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from runbook_lib import apply, clear, open_session, survey
from runbook_lib.aws.session import Connection, Session
from runbook_lib.errors import ForeignChangeError, ReadBackError, RunbookError, StalePlanError
from runbook_lib.local import control_plane
from runbook_lib.local.clients import clients
from runbook_lib.local.keys import credentials
from runbook_lib.local.supervisor import LocalMesh
from tests.control_plane_fixtures import listener, node_spec, route_spec
from tests.enumeration import EVERY, LASTING, NOBODY, ONE_IN
from tests.scenes import fact

ROOT = Path(__file__).resolve().parent.parent
DEATHS = ("death before", "death after")
FAULTS = tuple(fault.kind for fault in EVERY)
AGAIN = tuple(f"again: {kind}" for kind in (*DEATHS, *(fault.kind for fault in LASTING)))

Result = dict[str, Any]


# --- an end everywhere ---------------------------------------------------------------------------------------


@dataclass
class Results:
    """What `tests.enumeration` has found, read from its results."""

    every: list[Result]

    @property
    def path(self) -> Result:
        """How many calls the path has, and how many of them write."""
        return next(result for result in self.every if "calls" in result)

    @property
    def broken(self) -> list[str]:
        return [result["broken"] for result in self.every if "broken" in result]

    def cases(self, kinds: tuple[str, ...]) -> list[Result]:
        return [result for result in self.every if result.get("case") in kinds]

    def wrong(self, kinds: tuple[str, ...]) -> list[str]:
        """Return what went wrong in the runs from where the cases of some kinds ended."""
        verdicts = self._verdicts()
        ended = [case for case in self.cases(kinds) if "state" in case]
        found = (
            verdicts.get(case["state"], verdicts.get(case["control"], "nobody ran on from here")) for case in ended
        )
        return [verdict for verdict in found if verdict]

    def _verdicts(self) -> dict[str, str]:
        """Return the verdict on each state, and on each state of the control plane whatever the record says."""
        controls = {result["state"]: result["control"] for result in self.every if "control" in result}
        verdicts: dict[str, str] = {}
        for state, verdict in self._ends().items():
            for name in (state, controls.get(state, "")):
                verdicts[name] = verdicts.get(name, "") or verdict
        return verdicts

    def _ends(self) -> dict[str, str]:
        """Return the verdict on each run by the state it began in; one that joined another has that one's end."""
        ends = {r["state"]: r["verdict"] for r in self.every if "verdict" in r and "state" in r}
        joined = {r["state"]: r["joined"] for r in self.every if "joined" in r}
        for state, other in joined.items():
            while other in joined:
                other = joined[other]
            ends[state] = ends.get(other, "nobody ran on from where it joined")
        return ends

    def table(self, kinds: tuple[str, ...]) -> str:
        """Return a line for each kind: how many of its cases end well, and how many left no trace at all."""
        lines = []
        for kind in kinds:
            cases, wrong = self.cases((kind,)), self.wrong((kind,))
            hidden = sum("hidden" in case for case in cases)
            lines.append(f"{kind:32}{len(cases) - len(wrong)}/{len(cases)}, {hidden} hidden by the SDK's own retries")
        return "\n".join(lines)


def enumerated(folder: Path, *options: str) -> Results:
    """Run the enumeration in a process without threads, whose forks are its snapshots."""
    command = [sys.executable, "-m", "tests.enumeration", *options, str(folder)]
    subprocess.run(command, cwd=ROOT, check=True)
    return Results([json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()])


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return enumerated(tmp_path_factory.mktemp("enumeration"), "--again", "--undo")


def assert_all_end_well(results: Results, kinds: tuple[str, ...]) -> None:
    print(f"\n{results.table(kinds)}")
    assert not results.broken, results.broken[0]
    assert results.cases(kinds)
    assert not (wrong := results.wrong(kinds)), f"{len(wrong)}, the first: {wrong[0]}"


@pytest.mark.timeout(900)
def test_death_before_or_after_any_call_is_made_good_by_running_again(results: Results) -> None:
    assert_all_end_well(results, DEATHS)
    died = Counter(case["case"] for case in results.cases(DEATHS))
    writes, calls = results.path["writes"], results.path["calls"]
    assert died["death before"] == died["death after"]
    assert writes + (calls - writes) // (2 * ONE_IN) < died["death before"] <= writes + calls // ONE_IN


def test_any_fault_at_a_call_is_made_good_by_running_again(results: Results) -> None:
    assert_all_end_well(results, FAULTS)
    reads, writes = results.path["calls"] - results.path["writes"], results.path["writes"]
    assert len(results.cases(FAULTS)) == reads // ONE_IN + writes * len(EVERY)


def test_so_is_another_end_while_it_runs_again(results: Results) -> None:
    assert_all_end_well(results, AGAIN)


def test_no_case_got_lost(results: Results) -> None:
    launched = sum("launched" in result for result in results.every)
    met = [case for case in results.cases(FAULTS + AGAIN) if not case["case"].endswith(DEATHS)]
    assert len(met) == launched


def test_from_every_state_there_is_a_way_back(results: Results) -> None:
    assert_all_go_back(results)


def assert_all_go_back(results: Results) -> None:
    back = [result for result in results.every if "undone" in result]
    wrong = [result["verdict"] for result in back if result["verdict"]]
    later = sum(bool(result["first"]) for result in back)
    print(f"\nthe way back{'':20}{len(back) - len(wrong)}/{len(back)}, {later} at the second attempt")
    assert back
    assert not wrong, wrong[0]


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_every_fault_at_every_call_from_every_state_and_record(tmp_path: Path) -> None:
    results = enumerated(tmp_path, "--again", "--undo", "--full")
    assert_all_end_well(results, DEATHS + FAULTS + AGAIN)
    assert len(results.cases(DEATHS + FAULTS)) == results.path["calls"] * (len(DEATHS) + len(EVERY))
    assert_all_go_back(results)


# --- two at once ---------------------------------------------------------------------------------------------

ACCOUNT = "100200300400"
ROUTE = {"meshName": "apps", "virtualRouterName": "serviceB", "routeName": "serviceB"}


@dataclass
class Actor:
    """Somebody who moves the weights through `apply`, on a machine of their own, step by step when told to.

    The steps: plan, read again, write and read back; `apart`, reading back is a step of its own.
    """

    name: str
    canary: int
    events: list[str]
    session: Session = field(init=False)
    apart: bool = False
    error: RunbookError | None = None
    over: bool = True
    wrote: bool = False
    turn: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    rest: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def open(self, folder: Path) -> None:
        """Open a session with a record, and thus a lock, that the other does not see."""
        given = {"environment": "local", "account_id": ACCOUNT, "records": str(folder / self.name)}
        self.session = open_session(given, self.name, connect=self._connect, sleep=lambda seconds: None)
        self.session.lock = FileLock(folder / f"{self.name}.lock", thread_local=False)

    def _connect(self, _: Any) -> Connection:
        return Connection(NOBODY, self._prepare, carries_traffic=False, credentials=credentials("", ACCOUNT))

    def _prepare(self, client: Any) -> None:
        client.meta.events.register_first("before-send.*.*", self._notice)
        control_plane.answer_in_process(client.meta.events)

    def _notice(self, event_name: str, **_: Any) -> None:
        """Wait before the requests that begin a step."""
        if event_name.endswith(".UpdateRoute"):
            self._wait()
            self.events.append(f"{self.name} writes")
            self.wrote = True
        elif self.apart and self.wrote:
            self._wait()
            self.wrote = False

    def begin(self, *, apart: bool) -> threading.Thread:
        self.apart, self.error, self.over, self.wrote = apart, None, False, False
        thread = threading.Thread(target=self._work)
        thread.start()
        self.rest.acquire()
        return thread

    def go(self) -> None:
        """Let the actor take the next step, if one is left."""
        if not self.over:
            self.turn.release()
            self.rest.acquire()

    def _wait(self) -> None:
        self.rest.release()
        self.turn.acquire()

    def _work(self) -> None:
        self._wait()
        try:
            plan = survey(self.session).plan_weights({"serviceB": 100 - self.canary, "serviceBv2": self.canary})
            self.events.append(f"{self.name} plans")
            self._wait()
            apply(self.session, clear(plan, *map(fact, plan.needs)))
        except RunbookError as error:
            self.error = error
        finally:
            self.over = True
            self.rest.release()


@dataclass
class Scene:
    """A route, and two who move its weights."""

    appmesh: Any
    events: list[str]
    actors: dict[str, Actor]

    def play(self, order: str, *, apart: bool) -> str:
        """Let the actors take their steps in this order, and return what became of it."""
        self.appmesh.update_route(**ROUTE, spec=route_spec(serviceB=100, serviceBv2=0))
        self.events.clear()
        threads = [actor.begin(apart=apart) for actor in self.actors.values()]
        for name in order:
            self.actors[name].go()
        for thread in threads:
            thread.join()
        return self._outcome()

    def _outcome(self) -> str:
        errors = [actor.error for actor in self.actors.values() if actor.error]
        assert all(isinstance(error, StalePlanError | ForeignChangeError | ReadBackError) for error in errors), errors
        if any(isinstance(error, StalePlanError) for error in errors):
            return "refused before"
        if errors:
            return "told just after"
        return "lost in silence" if self._overlapped() else "one after the other"

    def _overlapped(self) -> bool:
        """Tell whether somebody wrote by a plan older than what the other wrote."""
        first, last = (event for event in self.events if event.endswith("writes"))
        return self.events.index(f"{last[0]} plans") < self.events.index(first)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    client = clients(LocalMesh(NOBODY, 0, "", Path()), ACCOUNT, "us-west-2")("appmesh")
    control_plane.answer_in_process(client.meta.events)
    client.create_mesh(meshName="apps")
    for name in ("serviceB", "serviceBv2"):
        client.create_virtual_node(meshName="apps", virtualNodeName=name, spec=node_spec(f"{name.lower()}.apps.local"))
    client.create_virtual_router(meshName="apps", virtualRouterName="serviceB", spec={"listeners": [listener()]})
    client.create_route(**ROUTE, spec=route_spec(serviceB=100, serviceBv2=0))
    events: list[str] = []
    actors = {name: Actor(name, canary, events) for name, canary in (("A", 25), ("B", 50))}
    for actor in actors.values():
        actor.open(tmp_path_factory.mktemp("records"))
    yield Scene(client, events, actors)
    for actor in actors.values():
        atexit.unregister(actor.session.close)


def orders(steps: int) -> list[str]:
    """Return every order in which two can take so many steps each."""
    chosen = itertools.combinations(range(2 * steps), steps)
    return ["".join("A" if n in own else "B" for n in range(2 * steps)) for own in chosen]


def test_of_two_at_once_none_loses_a_change_in_silence(scene: Scene) -> None:
    outcomes = Counter(scene.play(order, apart=False) for order in orders(3))
    print(f"\nall {outcomes.total()} interleavings of plan, read again, write: {dict(outcomes)}")
    assert outcomes == {"one after the other": 2, "refused before": 6, "told just after": 12}


def test_nor_where_the_other_comes_between_writing_and_reading_back(scene: Scene) -> None:
    outcomes = Counter(scene.play(order, apart=True) for order in orders(4))
    print(f"\nall {outcomes.total()} interleavings of plan, read again, write, read back: {dict(outcomes)}")
    assert outcomes.total() == 70
    assert "lost in silence" not in outcomes
