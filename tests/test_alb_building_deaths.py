"""However the runbook ends while it makes a load balancer, shifts, retires and takes all of it away, running it again
ends well: at each write in turn a process meets a fault or dies, and the next one begins from the top."""

from __future__ import annotations

import atexit
import itertools
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ConnectionClosedError

from runbook_lib import apply, clear, evidence_for_shift, open_session, plan_undo, survey
from runbook_lib.aws.session import Connection, Session
from runbook_lib.errors import RunbookError
from runbook_lib.local.control_plane import reconcile
from runbook_lib.local.control_plane.aliases import zones
from runbook_lib.local.control_plane.calls import is_read
from runbook_lib.local.data_plane.view import load_balancers
from runbook_lib.local.keys import credentials
from runbook_lib.shift import shift_traffic
from tests.alb_scene import REGION, account, network
from tests.enumeration import LASTING, Fault, InProcess, refusal
from tests.scenes import ENDPOINT, Clock, in_turn
from tests.test_alb_building import do, open_bare, take_away

ONCE = [replace(fault, lasting=False) for fault in LASTING]
STABLE, CANARY = "web", "web-v2"


class Death(BaseException):
    """The end of a process: nothing catches it."""


BEFORE, AFTER = Fault("death before"), Fault("death after", done=True)
UNDONE = (BEFORE, *(fault for fault in (*LASTING, *ONCE) if not fault.done))
DONE = (AFTER, *(fault for fault in (*LASTING, *ONCE) if fault.done))
EVERY = (*UNDONE, *DONE)


@dataclass
class Fate:
    """What happens to the calls of one process after another: each write meets some faults, one a process.

    `turns` says which of all faults each write meets, in its turn, from the first that it is asked for on; where it
    is about `reads`, each call that reads meets them after each write, and no write does.
    """

    turns: Callable[[int], Sequence[Fault]] = lambda number: ()
    answer: Callable[..., AWSResponse] = field(default_factory=lambda: InProcess().answer)
    met: list[tuple[str, str]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    fault: Fault | None = None
    left: dict[str, list[Fault]] = field(default_factory=dict)
    reads: bool = False
    last: str = ""  # write

    def begin(self) -> None:
        """Begin as a new process: nothing lasts any longer."""
        self.fault = None

    def __call__(self, request: Any, event_name: str, **_: Any) -> AWSResponse:
        service, operation = event_name.split(".")[1:]
        self.calls.append(operation)
        self.last = self.last if is_read(operation) else operation
        if self.fault is None and is_read(operation) == self.reads:
            after = self.last if self.reads else ""
            self.fault = self._next(f"{operation} {request.body!r} {request.url} {after}")
            if self.fault:
                self.met.append((operation, self.fault.kind))
        return self._answered(request, service)

    def _next(self, call: str) -> Fault | None:
        """Return what this write meets now: what it has met already it does not meet again."""
        left = self.left.setdefault(call, list(self.turns(len(self.left))))
        return left.pop(0) if left else None

    def _answered(self, request: Any, service: str) -> AWSResponse:
        fault = self.fault
        if fault is None:
            answer = self.answer(request)
            assert b"InUse" not in answer.content, f"{request.url}: {answer.content!r}"
            assert_callers_are_led_somewhere()
            return answer
        if not fault.lasting:
            self.fault = GONE
        if fault.done and fault is not GONE:
            self.answer(request)
        if fault in (BEFORE, AFTER):
            raise Death
        if fault is GONE:
            self.fault = None
            return self.answer(request)
        if fault.status:
            return refusal(request, fault, service)
        raise ConnectionClosedError(endpoint_url=request.url)


@dataclass
class Pair(Fate):
    """Two processes in a row each meet a fault at a write, by its number in that process."""

    at: tuple[tuple[int, Fault], ...] = ()
    process: int = -1
    writes: int = 0

    def begin(self) -> None:
        super().begin()
        self.process, self.writes = self.process + 1, 0

    def _next(self, call: str) -> Fault | None:
        self.writes += 1
        number, fault = self.at[self.process] if self.process < len(self.at) else (0, BEFORE)
        return fault if self.writes == number else None


GONE = Fault("gone")
FATE: list[Fate] = []  # of the process that runs now
CLIENTS: dict[str, Any] = {}


def assert_callers_are_led_somewhere() -> None:
    """Where a name leads to a load balancer, that is there, and a rule of it has a healthy target."""
    known = {each.dns_name: each for each in load_balancers(account(), REGION)}
    for name, of in zones(account(), network()[0]).aliases.items():
        assert of in known, f"{name} leads to {of}, which is gone"
        groups = known[of].groups
        assert any(group.healthy for group in groups), f"{name} leads to {of}, where nobody is healthy"


def begin(given: Session, notebook: str) -> Session:
    """Open a session as a new process does, whose calls meet the fate of now."""

    def prepare(client: Any) -> None:
        client.meta.events.register_first("before-send.*.*", lambda *given, **named: FATE[-1](*given, **named))

    clock = Clock()
    session = open_session(
        {**given.given, "environment": given.parameters.environment},
        notebook,
        connect=lambda p: Connection(ENDPOINT, prepare, carries_traffic=False, credentials=credentials("", account())),
        sleep=clock.sleep,
        clock=clock,
        clients=CLIENTS,
        beside=in_turn,
    )
    atexit.unregister(session.close)
    return session


def makes(given: Session) -> None:
    """Do what 01 to 06 do, from the top."""
    session = begin(given, "01_create_load_balancer")
    if not survey(session).retired:
        do(session, "01", "02", "03", "04")
        session = begin(given, "05_shift_traffic")
        list(shift_traffic(session, *evidence_for_shift(survey(session))))
    session = begin(given, "06_tear_down_service_b")
    apply(session, clear(replace(survey(session).plan_retirement(), needs=())))


def undoes(given: Session) -> None:
    """Take back all of it."""
    session = begin(given, "undo")
    apply(session, clear(replace(plan_undo(session), needs=())))


def removes(given: Session) -> None:
    """Do what 90 does."""
    take_away(begin(given, "90_remove_load_balancer"))


def again_and_again(way: Callable[[Session], None], given: Session, fate: Fate) -> None:
    """Go a way from the top until no process dies or meets an error."""
    FATE[:] = [fate]
    for _ in range(500):
        fate.begin()
        met = len(fate.met)
        with suppress(Death):
            try:
                way(given)
            except RunbookError:
                if len(fate.met) == met:  # it ended without a fault
                    raise
            else:
                return
        while reconcile():
            pass
    raise AssertionError(f"no end: {fate.met[-5:]}")


def state(given: Session) -> tuple[set[str], list[str], dict[str, int]]:
    """Return what stands, which services are there, and the weights, as a fresh look finds them."""
    FATE[:] = [Fate()]
    found = survey(begin(given, "look"))
    services = [name for name, running in found.running.items() if running.state]
    return {key for key, there in found.live.items() if there}, services, dict(found.split.written)


def settled(given: Session, way: Callable[[Session], None]) -> list[str]:
    """Go a way once more, and return what it writes."""
    FATE[:] = [fate := Fate()]
    way(given)
    return [call for call in fate.calls if not is_read(call)]


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> Session:
    """Two services behind no load balancer; botocore does not sleep between its retries."""
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda seconds: None))
    return open_bare(shift={"steps": [25, 100]})


def assert_all_end_well(bare: Session, turns: Callable[[], Callable[[int], Sequence[Fault]]]) -> None:
    """Make, undo, make again, and take away, with faults on each way but the third; print how many were met."""
    plain, total = state(bare), 0
    for way, end in ((makes, "made"), (undoes, "plain"), (removes, "gone")):
        if end == "gone":
            FATE[:] = [Fate()]
            makes(bare)
            undo_retirement(bare)
        fate = Fate(turns())
        again_and_again(way, bare, fate)
        total += len(fate.met)
        things, services, weights = state(bare)
        if end == "made":
            assert (services, weights) == ([CANARY], {CANARY: 100})
        else:
            assert (things, services) == plain[:2]
        if way is not undoes:
            assert settled(bare, way) == []
    print(f"\n{total}/{total} faults at writes of 01 to 06, of undo and of 90 end well")
    assert total


def undo_retirement(given: Session) -> None:
    session = begin(given, "undo")
    apply(session, clear(replace(plan_undo(session, notebook="06_tear_down_service_b"), needs=())))


def test_each_write_meets_a_fault_and_a_death_and_all_ends_well(bare: Session) -> None:
    """Chosen: at each write one fault that leaves it undone and one that comes after it, each kind in its turn."""
    undone, done = itertools.cycle(UNDONE), itertools.cycle(DONE)
    assert_all_end_well(bare, lambda: lambda number: (next(undone), next(done)))


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_each_write_meets_every_fault_and_all_ends_well(bare: Session) -> None:
    """One write ends but once: it meets each fault after it in one of as many turns."""
    for last in DONE:
        assert_all_end_well(bare, lambda: lambda number: (*UNDONE, last))  # noqa: B023


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_each_read_meets_a_fault_and_all_ends_well(bare: Session) -> None:
    """Each kind in its turn: a read that fails leaves what the write before it has left, whatever the kind."""
    kinds = itertools.cycle(EVERY)
    plain = state(bare)
    for way in (makes, undoes, makes, removes):
        if way is removes:
            undo_retirement(bare)
        fate = Fate(lambda number: (next(kinds),), reads=True)
        again_and_again(way, bare, fate)
        print(f"\n{len(fate.met)}/{len(fate.met)} faults at reads of what it {way.__name__} end well")
        assert len(fate.met) > 20
        assert settled(bare, way) == [] or way is undoes
    assert state(bare)[:2] == plain[:2]


PAIRED = ((AFTER, BEFORE), (LASTING[1], AFTER), (BEFORE, LASTING[-1]), (LASTING[2], LASTING[0]))


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("way", [makes, undoes, removes])
def test_two_processes_in_a_row_that_end_at_a_write_end_well(bare: Session, way: Callable[[Session], None]) -> None:
    """Each write of the one with each of the other; pairs of kinds in their turn."""
    plain, turns, met = state(bare)[:2], itertools.cycle(PAIRED), 0
    for first in itertools.count(1):
        seen = 0
        for second in itertools.count(1):
            prepare(bare, way)
            one, other = next(turns)
            fate = Pair(at=((first, one), (second, other)))
            again_and_again(way, bare, fate)
            if way is makes:
                assert state(bare)[1:] == ([CANARY], {CANARY: 100}), fate.met
                prepare(bare, removes)
                removes(bare)
            assert state(bare)[:2] == plain, fate.met
            seen = len(fate.met)
            if seen < 2:
                break
            met += 1
        if not seen:
            break
    print(f"\n{met}/{met} pairs at writes of what it {way.__name__} end well")
    assert met


def prepare(bare: Session, way: Callable[[Session], None]) -> None:
    """Bring about what a way begins with."""
    FATE[:] = [Fate()]
    if way is undoes or (way is removes and STABLE in state(bare)[1]):
        FATE[:] = [Fate()]
        makes(bare)
    if way is removes:
        FATE[:] = [Fate()]
        undo_retirement(bare)
