"""Walk the whole path in one process, end that process at every call, and let the next one run from the top.

    python -m tests.enumeration [--again] [--undo] [--full] FOLDER

The code cells of notebooks 01 to 06 run in order, each notebook in a namespace of its own as a kernel gives it,
against the control plane without a socket. At each AWS call the process forks: the child meets a fault there, or
ends, and what it leaves is run from the top again. Invariants are asserted after every request and every move of
ECS. States no client can tell apart (control plane and record) are run from once; and a run that stands between two
notebooks as another stood there before has that one's end. Writes `FOLDER/results.jsonl`.

A fork is a snapshot of everything, the calling stack included; nothing here starts a thread.
"""

from __future__ import annotations

import argparse
import functools
import gc
import hashlib
import io
import itertools
import json
import os
import re
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from botocore.awsrequest import AWSResponse
from botocore.exceptions import ConnectionClosedError

import runbook_lib
from runbook_lib import opening, parameters
from runbook_lib.aws.session import Connection
from runbook_lib.display.show import shown
from runbook_lib.local import control_plane, world
from runbook_lib.local.clients import clients
from runbook_lib.local.control_plane.calls import is_read
from runbook_lib.local.keys import credentials
from runbook_lib.local.supervisor import LocalMesh
from runbook_lib.parameters import Parameters
from runbook_lib.survey import Map
from runbook_lib.task_definition.sidecar import sidecar_of
from tests import snapshot
from tests.quick_botocore import quicken_botocore
from tests.scenes import in_turn

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
NOBODY = "http://127.0.0.1:9"  # the discard port: what misses the hook below is refused
WORKERS = 2
ONE_IN = 10
NAME = "serviceb"  # in Cloud Map, of the name callers dial


# --- what can happen to a call -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fault:
    """What a caller meets instead of an answer: `status` 0 is a connection that drops, once what was asked is done
    or before. It lasts for every request until the process ends, or for one."""

    name: str
    status: int = 0
    code: str = ""
    done: bool = False
    lasting: bool = True

    @property
    def kind(self) -> str:
        return f"{self.name}, {'lasting' if self.lasting else 'once'}"


LASTING = (
    Fault("lost request"),
    Fault("lost response", done=True),
    Fault("429", 429, "TooManyRequestsException"),
    Fault("500", 500, "InternalServerErrorException"),
    Fault("expired token", 403, "ExpiredTokenException"),
)
ONCE = tuple(Fault(f.name, f.status, f.code, f.done, lasting=False) for f in LASTING)
EVERY = LASTING + ONCE
OVER = Fault("over")


class Body(io.BytesIO):
    """A body that can be read as urllib3's."""

    def stream(self) -> Iterator[bytes]:
        yield self.read()


def refusal(request: Any, fault: Fault, service: str) -> AWSResponse:
    """Return an error as the service's protocol words it."""
    text = json.dumps({"__type": fault.code, "message": fault.name})
    error = f"<Error><Code>{fault.code}</Code><Message>{fault.name}</Message></Error>"
    if service in ("iam", "sts", "elastic-load-balancing-v2", "route-53"):
        text = f"<ErrorResponse>{error}</ErrorResponse>"
    elif service == "ec2":
        text = f"<Response><Errors>{error}</Errors></Response>"
    return AWSResponse(request.url, fault.status, {"x-amzn-ErrorType": fault.code}, Body(text.encode()))


class InProcess:
    """Takes the place of a client's events, to get hold of what answers its requests."""

    def __init__(self) -> None:
        self.answer: Callable[..., AWSResponse]
        control_plane.answer_in_process(self)

    def register_first(self, _event: str, answer: Callable[..., AWSResponse]) -> None:
        self.answer = answer


# --- what must hold at every moment --------------------------------------------------------------------------


@dataclass
class Watch:
    """Asserts the invariants on each state a history passes through; forked, it goes on with that history."""

    p: Parameters
    written: list[Mapping[str, int]] = field(default_factory=list)
    version: int = 0
    forward: bool = True

    def look(self) -> None:
        self._route()
        self._definitions()
        assert not (found := unserved(self.p)), found

    def _route(self) -> None:
        names = (self.p.mesh.name, self.p.router, self.p.route)
        route = control_plane.appmesh_backends[self.p.account_id][self.p.region].state.find("Route", names)
        if route is None or route.version == self.version:
            return
        weights = {t["virtualNode"]: t["weight"] for t in route.spec["http2Route"]["action"]["weightedTargets"]}
        assert sum(weights.values()) == 100, f"weights sum to {weights}"
        if self.forward:
            assert route.version == self.version + 1, f"version {self.version} became {route.version}"
            assert weights not in self.written, f"written twice: {weights}"
            canary = [w.get(self.p.shift.canary, 0) for w in (*self.written, weights)]
            assert canary == sorted(canary), f"the canary went back: {canary}"
            assert not self._rolling(), f"{weights} while these still roll out: {self._rolling()}"
        self.version = route.version
        self.written.append(weights)

    def _rolling(self) -> list[str]:
        services = control_plane.ecs_backends[self.p.account_id][self.p.region].state.services.values()
        return [s.name for s in services if [d.state for d in s.deployments] != ["COMPLETED"]]

    def _definitions(self) -> None:
        for family, revisions in control_plane.ecs_backends[self.p.account_id][self.p.region].state.definitions.items():
            active = [plain_document(d.document) for d in revisions if d.document["status"] == "ACTIVE"]
            assert all(a != b for a, b in itertools.combinations(active, 2)), f"{family} has two equal revisions"


def unserved(p: Parameters) -> str:
    """Return why a caller may get no answer, "" where every caller gets one, in the control plane as it stands.

    The name resolves to a running task, or to anything while the callers' Envoys take what is sent there; and a
    task that is to stay has its sidecar's node, without which it would never start.
    """
    from moto.servicediscovery.models import servicediscovery_backends

    services = servicediscovery_backends[p.account_id][p.region].services.values()
    instances = [i.attributes for s in services if s.name == NAME for i in s.instances]
    known = {attributes["AWS_INSTANCE_IPV4"] for attributes in instances if "AWS_INSTANCE_IPV4" in attributes}
    mesh = control_plane.appmesh_backends[p.account_id][p.region].state
    ecs = control_plane.ecs_backends[p.account_id][p.region].state
    tasks = [task for task in ecs.tasks.values() if task.desired == "RUNNING"]
    sidecars = {task.id: sidecar_of(task.definition) for task in tasks}
    calling = [t for t in tasks if t.service in map(p.ecs_service_of, p.callers_of(p.shift.name))]
    dialled = mesh.find("VirtualService", (p.mesh.name, p.shift.name))
    taken = dialled and dialled.spec.get("provider") and calling and all(sidecars[task.id] for task in calling)
    if not known:
        return f"{NAME} resolves to nothing"
    if not taken and not known & {task.address for task in tasks if task.last == "RUNNING"}:
        return f"{NAME} resolves to {known}, where nobody answers, and no Envoy takes it"
    staying = {service.name for service in ecs.services.values() if service.status == "ACTIVE" and service.desired}
    nodes = [side.virtual_node for task in tasks if task.service in staying and (side := sidecars[task.id])]
    lost = [name for name in nodes if not mesh.find("VirtualNode", (p.mesh.name, name))]
    return f"tasks without their node: {lost}" if lost else ""


def plain_document(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a task definition without what numbers it."""
    return {k: v for k, v in document.items() if k not in ("taskDefinitionArn", "revision", "status")}


def plain() -> Any:
    """Return the control plane's state without the numbers of task definitions, nor those no service runs."""
    found = {str(key): entry for key, entry in json.loads(snapshot.fingerprint())}
    for entry in found.values():
        documents = {arn: entry.pop(arn)[0] for arn in list(entry) if ":task-definition/" in arn}
        for arn in [arn for arn in entry if ":service/" in arn]:
            status, definition, desired = entry.pop(arn)[:3]
            if status == "ACTIVE":
                entry[arn] = [desired, documents[definition]["status"], plain_document(documents[definition])]
        entry["tasks"] = len(entry.get("tasks", []))
    return sorted((key, entry) for key, entry in found.items() if any(entry.values()))


# --- processes -----------------------------------------------------------------------------------------------


@dataclass
class Jobs:
    """Forks, at most WORKERS at work at once, and what they share in one folder: claims and results."""

    folder: Path
    free: tuple[int, int] = field(default_factory=os.pipe)
    lent: bool = False
    children: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.folder / "claims").mkdir()
        (self.folder / "work" / "first" / "runs").mkdir(parents=True)
        os.chdir(self.folder / "work" / "first")
        os.environ["RUNBOOK_RUNS"] = "runs"  # a process's record is in its own folder, whatever forks from it
        os.environ["RUNBOOK_STATE"] = "state"  # and so is its lock
        os.set_blocking(self.free[0], False)
        os.write(self.free[1], b"." * (WORKERS - 1))

    def claim(self, name: str) -> bool:
        """Tell whether nobody has claimed this before."""
        return self.claimed_by(name, "") is None

    def claimed_by(self, name: str, owner: str) -> str | None:
        """Claim this for an owner; return whose it is already, None where it was nobody's."""
        claim = self.folder / "claims" / hashlib.sha256(name.encode()).hexdigest()
        try:
            claim.symlink_to(f"of {owner}")  # a link is there with what it says, or not at all
        except FileExistsError:
            return str(claim.readlink()).removeprefix("of ")
        return None

    def report(self, **result: Any) -> None:
        with (self.folder / "results.jsonl").open("a") as results:
            results.write(json.dumps(result) + "\n")

    def fork(self, *, beside: bool = True) -> bool:
        """Return True in a child with a copy of the folder; the parent goes on beside it where a worker is free.

        The copy is made first: a parent that goes on would change, or remove, what its child still reads.
        """
        lent = beside and self._borrow()
        copy = tempfile.mkdtemp(dir=self.folder / "work")
        shutil.copytree(Path.cwd(), copy, symlinks=True, dirs_exist_ok=True)
        child = os.fork()
        if child == 0:
            self.lent, self.children = lent, []
            os.chdir(copy)
            return True
        if lent:
            self.children.append(child)
        else:
            os.waitpid(child, 0)
        while self.children and os.waitpid(self.children[0], os.WNOHANG)[0]:
            self.children.pop(0)
        return False

    def _borrow(self) -> bool:
        with suppress(BlockingIOError):
            return bool(os.read(self.free[0], 1))
        return False

    @contextmanager
    def nothing_passes(self) -> Iterator[None]:
        """Report what is wrong with this module itself: below a child's stack is its parent's."""
        try:
            yield
        except BaseException:  # noqa: BLE001  nothing may pass
            self.report(broken=traceback.format_exc())
            self.end()

    def end(self) -> NoReturn:
        """End this process as it stands, once its children have ended; its place is free meanwhile."""
        shutil.rmtree(Path.cwd())
        if self.lent:
            os.write(self.free[1], b".")
        for child in self.children:
            os.waitpid(child, 0)
        os._exit(0)


# --- the path and its ends -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Depth:
    """How far to go: whether runs that follow an end may end too, at each write; whether the way back is taken.

    `full` takes every fault everywhere, tells states apart by the record, and lets every run go to its own end. Short
    of it a first run dies and meets every fault at each write; at each tenth read it dies, and meets one in its turn;
    a run that follows an end meets one at each tenth write.
    """

    again: bool = False
    undo: bool = False
    full: bool = False


class JoinsError(Exception):
    """A run stands where another has stood before: what follows is known."""


class Explorer:
    """Runs the path from 01 to 06 from every state that the end of an earlier run can leave."""

    def __init__(self, jobs: Jobs, depth: Depth) -> None:
        self.jobs, self.depth = jobs, depth
        self.p = parameters.load("local", {})
        self.watch = Watch(self.p)
        self.in_process = InProcess()
        self.clients: dict[str, Any] = {}
        self.now = 0.0
        self.branches = False  # whether this run may end on the way
        self.control = ""
        self.case: str = ""  # what this run has met
        self.state = ""  # where it has begun
        self.fault: Fault | None = None
        self.expected = ""
        self.first = True
        self.calls: list[str] = []
        self.turn = 0  # handed on to whatever forks from here, so that no call is left out in every run
        self.cells = [_cells(file) for file in sorted(NOTEBOOKS.glob("0[1-6]_*.ipynb"))]
        self._begin()
        self.plain, self.done = plain(), ""

    def _begin(self) -> None:
        """Make the services as they are before the mesh, and let notebooks open sessions that end here."""
        made = clients(LocalMesh(NOBODY, 0, "", Path()), self.p.account_id, self.p.region)

        def client(service: str) -> Any:
            each = made(service)
            control_plane.answer_in_process(each.meta.events)
            return each

        world.create(self.p, self.p.services, client)
        while control_plane.reconcile():
            pass
        options: dict[str, Any] = {"sleep": self._sleep, "clock": lambda: self.now, "clients": self.clients}
        options["beside"] = in_turn  # a fork has no thread but the one that forks
        self.open: Any = functools.partial(opening.open_session, connect=self._connect, **options)
        runbook_lib.open_session = self.open
        shown.register(Map, lambda _: ())  # a third of a walk's time, and nobody looks
        time.sleep = lambda seconds: None  # botocore's, between its retries; ECS stands still meanwhile

    def _connect(self, p: Parameters) -> Connection:
        def prepare(client: Any) -> None:
            client.meta.events.register_first("before-send.*.*", self._answer)

        return Connection(NOBODY, prepare, carries_traffic=False, credentials=credentials("", p.account_id))

    def _settle(self) -> None:
        while control_plane.reconcile():
            self.watch.look()

    def _sleep(self, seconds: float) -> None:
        self.now += seconds
        control_plane.reconcile()
        self.watch.look()

    def _walk(self) -> None:
        """Run every notebook from the top; raise what a cell raises."""
        for number, cells in enumerate(self.cells, 1):
            kernel: dict[str, Any] = {"__name__": "__main__"}
            try:
                for cell in cells:
                    exec(cell, kernel)
            finally:
                if "session" in kernel:
                    kernel["session"].close()
            self._pass(number)

    def _pass(self, number: int) -> None:
        """Stand at the end of a notebook, which leaves nothing behind but what AWS and the record say."""
        if not self.branches or self.case or self.depth.full:
            return
        stood = f"after {number}: {snapshot.fingerprint()} {self.watch.version} {self.watch.written}"
        owner = self.jobs.claimed_by(stood, self.state)
        if owner is not None and not self.first:
            raise JoinsError(owner)

    def explore(self) -> NoReturn:
        """Go the whole way once to see how it ends, and then from its beginning with an end at every call."""
        before = snapshot.take()
        self._walk()
        self._settle()
        self.jobs.report(calls=len(self.calls), writes=sum(not is_read(call) for call in self.calls))
        self.done = snapshot.fingerprint()
        snapshot.put_back(before)
        shutil.rmtree("runs")
        self.watch, self.calls = Watch(self.p), []
        self.branches = True
        gc.collect()
        gc.freeze()  # a collection in a child would copy every page of its parent's
        gc.disable()
        self._run("")

    def _run(self, state: str) -> NoReturn:
        """Run from the top to the end of the path, or to an end on the way, which is where the next run starts."""
        self.case, self.state, self.first, verdict = "", state, not state, ""
        try:
            self._walk()
        except JoinsError as joins:
            self.jobs.report(state=state, joined=str(joins))
            self.jobs.end()
        except Exception:  # noqa: BLE001  it is reported, whatever it is
            verdict = "" if self.case else traceback.format_exc()
        if not self.case:
            self.jobs.report(state=state, verdict=verdict or self._finished())
        elif state := self._leaves(self.case):
            self._goes_on(state)
        self.jobs.end()

    def _finished(self) -> str:
        """Return what is wrong at the end of the path, "" where all is right and nothing is left to do."""
        self._settle()
        if snapshot.fingerprint() != self.done:
            return f"another end: {snapshot.fingerprint()}"
        self.branches, self.calls = False, []
        if self.jobs.claim("done"):
            self._walk()
        again = [call for call in self.calls if not is_read(call)]
        return f"run again it writes: {again}" if again else ""

    def _leaves(self, case: str) -> str:
        """Report the state that a run leaves which ends here, and return it if no run has started from it."""
        found = snapshot.fingerprint()
        record = self._record() if self.first and self.depth.full else ""
        control, state = (hashlib.sha256(text.encode()).hexdigest() for text in (found, found + record))
        self.control = control
        self.jobs.report(case=case if self.first else f"again: {case}", control=control, state=state)
        new = self.jobs.claim(state)
        self.jobs.claim(control)
        return state if new else ""

    def _goes_on(self, state: str) -> NoReturn:
        """Run on from a state that an end has left, and let a child go back from it."""
        with self.jobs.nothing_passes():
            self.fault = None
            self.branches = self.depth.again and self._once(f"{self.control} ends again")
            if self.depth.undo and self._once(f"{self.control} goes back") and self.jobs.fork():
                self._goes_back(state)
            self._run(state)

    def _once(self, what: str) -> bool:
        return self.depth.full or self.jobs.claim(what)

    @staticmethod
    def _record() -> str:
        """Return what the record tells the next run: what was intended, and what was seen of it."""
        lines = [json.loads(line) for file in sorted(Path("runs").glob("*/[0-9]*/*.jsonl")) for line in file.open()]
        told = [line for line in lines if line["event"] in ("intended", "observed")]
        kept = [{key: value for key, value in line.items() if key not in ("at", "answer")} for line in told]
        return scrubbed(json.dumps(kept))

    def _goes_back(self, state: str) -> NoReturn:
        """Take back what the record says was done; where that ends early, it is asked for once more."""
        self.watch.forward, self.branches = False, False
        first = self._undone()
        self.jobs.report(undone=state, verdict=first and self._undone(later=True), first=first)
        self.jobs.end()

    def _undone(self, *, later: bool = False) -> str:
        """Return what went wrong on the way back, "" where all is plain again."""
        self.calls = []
        try:
            if later:
                self._settle()
            opened = self.open({"environment": "local"}, "undo")
            runbook_lib.apply(opened, runbook_lib.clear(runbook_lib.plan_undo(opened)))
            self._settle()
        except Exception:  # noqa: BLE001  it is reported, whatever it is
            return f"{self.calls} {traceback.format_exc()}"
        found = plain()
        return "" if found == self.plain else f"not plain: {found}"

    # --- at each request

    def _answer(self, request: Any, event_name: str, **_: Any) -> AWSResponse:
        service, operation = event_name.split(".")[1:]
        if self.fault:
            return self._faulty(request, self.fault, service)
        if not self.case:
            self.calls.append(operation)
        ends = self.branches and not self.case and (self.first or not is_read(operation))
        dies = ends and (self.depth.full or not is_read(operation) or not len(self.calls) % ONE_IN)
        if dies:
            self._die("death before")
        if ends:
            self._branch(request, operation)
        if self.fault:  # a child that has just been told to meet it
            return self._faulty(request, self.fault, service)
        answer = self._done(request)
        if dies and not self.case:
            self._die("death after")
        return answer

    def _done(self, request: Any) -> AWSResponse:
        answer = self.in_process.answer(request)
        assert b"ResourceInUse" not in answer.content, f"{request.url}: {answer.content!r}"
        self.watch.look()
        return answer

    def _die(self, case: str) -> None:
        """End here: nothing of this run goes on, and a child runs from the top unless a run has from such a state."""
        if (state := self._leaves(case)) and self.jobs.fork():
            self._goes_on(state)

    def _branch(self, request: Any, operation: str) -> None:
        """Let a child meet each fault here; for those that may pass unnoticed, first see what is answered without."""
        faults = self._faults(operation)
        if not all(fault.lasting for fault in faults):
            before = snapshot.take()
            self.expected = self._seen(self.in_process.answer(request))
            snapshot.put_back(before)
        for fault in faults:
            self.jobs.report(launched=fault.kind)
            if self.jobs.fork():
                self.case, self.fault = fault.kind, fault
                return

    def _faults(self, operation: str) -> Sequence[Fault]:
        """Return every fault, or one in its turn at each tenth call that only reads or is on the way from an end."""
        every = EVERY if self.first else LASTING
        if self.depth.full or (self.first and not is_read(operation)):
            return every
        self.turn += 1
        turn, between = divmod(self.turn, ONE_IN)
        return () if between else (every[turn % len(every)],)

    def _faulty(self, request: Any, fault: Fault, service: str) -> AWSResponse:
        if fault is OVER:
            return self._tried_again(request)
        if not fault.lasting:
            self.fault = OVER
        if fault.done:
            self._done(request)
        if fault.status:
            return refusal(request, fault, service)
        raise ConnectionClosedError(endpoint_url=request.url)

    def _tried_again(self, request: Any) -> AWSResponse:
        """Answer; where that is all as if there had been no fault, the rest of this run is known."""
        self.fault = None
        answer = self._done(request)
        if self._seen(answer) == self.expected:
            self.jobs.report(case=self.case if self.first else f"again: {self.case}", hidden=True)
            self.jobs.end()
        return answer

    @staticmethod
    def _seen(answer: AWSResponse) -> str:
        return f"{answer.status_code} {scrubbed(answer.text)} {snapshot.fingerprint()}"


def _cells(file: Path) -> list[Any]:
    cells = [cell for cell in json.loads(file.read_text())["cells"] if cell["cell_type"] == "code"]
    return [compile("".join(cell["source"]), f"{file.stem}, {cell['id']}", "exec") for cell in cells]


def scrubbed(text: str) -> str:
    """Return a text without uuids and times."""
    return re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}|\b\d{10}(\.\d+)?|\d{4}-\d\d-\d\d[T ][\d:.]+", "*", text)


# --- from outside --------------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    for name in ("full", "again", "undo"):
        parser.add_argument(f"--{name}", action="store_true")
    told = vars(parser.parse_args())
    sys.setrecursionlimit(100_000)  # the next run's stack is on top of the one that ended: nothing of that may run
    quicken_botocore()
    jobs = Jobs(told.pop("folder").resolve())
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), jobs.nothing_passes():
        Explorer(jobs, Depth(**told)).explore()


if __name__ == "__main__":
    main()
