"""However a process ends on its way through 05 and 06 at a load balancer's rule, or through their undo, the next one
goes on: it dies before or after a call, or the call meets a fault; and the next one may end in its turn."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from runbook_lib import apply, clear, evidence_for_shift, plan_undo, record, survey
from runbook_lib.errors import RunbookError
from runbook_lib.shift import shift_traffic
from tests.enumeration import EVERY, Fault
from tests.plain_alb import FILE, Elb, Plain, Services, forward, open_alb

STABLE, RETIRED = {"web": 100, "web-v2": 0}, {"web-v2": 100}
READS = ("describe", "list", "get")
ONE_IN = 20  # reads: an end there leaves nothing that the one before it has not left
BEFORE, AFTER = Fault("death before"), Fault("death after", done=True)
KINDS = (BEFORE, AFTER, *EVERY)
PAIRED = (BEFORE, AFTER, EVERY[1], EVERY[-1])  # a lasting lost response, one answer that the token has expired


class Death(BaseException):
    """The end of a process: nothing catches it."""


@dataclass
class Life:
    """The calls of one process, and the end or the fault that it meets at one of them; `at` 0: none.

    Where it `writes`, only calls that write are counted up to there.
    """

    at: int = 0
    fault: Fault = BEFORE
    writes: bool = False
    calls: list[str] = field(default_factory=list)
    met: bool = False

    def around(self, client: Any) -> Any:
        """Return a client whose calls are counted, and may meet something."""
        return Mortal(client, self)

    def meets(self, name: str) -> bool:
        """Count a call, and say whether it meets something."""
        self.calls.append(name)
        is_it = self._count() == self.at and (not self.writes or not name.startswith(READS))
        lasts = self.met and self.fault.lasting and self.fault not in (BEFORE, AFTER)
        self.met = self.met or is_it
        return is_it or lasts

    def _count(self) -> int:
        return sum(not name.startswith(READS) for name in self.calls) if self.writes else len(self.calls)


@dataclass
class Mortal:
    """A client of somebody who may meet something."""

    client: Any
    life: Life

    def __getattr__(self, name: str) -> Callable[..., Any]:
        call = getattr(self.client, name)

        def asked(*arguments: Any, **named: Any) -> Any:
            if not self.life.meets(name):
                return call(*arguments, **named)
            fault = self.life.fault
            if fault.done:
                call(*arguments, **named)
            if fault in (BEFORE, AFTER):
                raise Death
            if not fault.status:
                raise ConnectionClosedError(endpoint_url="https://aws.test")
            said = {"Code": fault.code, "Message": fault.name}
            answer = {"Error": said, "ResponseMetadata": {"HTTPStatusCode": fault.status}}
            raise ClientError(answer, name)

        return asked


@dataclass
class World:
    """A rule and two services, which outlive whoever works on them."""

    elb: Elb
    ecs: Services
    records: str

    @classmethod
    def made(cls, name: str) -> World:
        elb = Elb([forward(web=100, web_v2=0)])
        return cls(elb, Services(elb=elb), str(record.root() / name))

    def opened(self, notebook: str, life: Life) -> Plain:
        """Open a session as a new process does."""
        shift = {**FILE["shift"], "steps": [25, 100]}
        return open_alb(self.elb, notebook, ecs=self.ecs, around=life.around, records=self.records, shift=shift)

    def walk(self, life: Life) -> None:
        """Do what 05 and 06 do, from the top."""
        session = self.opened("05_shift_traffic", life).session
        found = survey(session)
        if not found.retired:
            list(shift_traffic(session, *evidence_for_shift(found)))
        session = self.opened("06_tear_down_service_b", life).session
        apply(session, clear(replace(survey(session).plan_retirement(), needs=())))

    def undo(self, life: Life) -> None:
        """Take back all of it."""
        session = self.opened("05_shift_traffic", life).session
        apply(session, clear(replace(plan_undo(session), needs=())))

    @property
    def state(self) -> tuple[dict[str, int], list[str]]:
        """The weights and the services that are there."""
        return self.elb.weights, sorted(self.ecs.tasks)


Way = Callable[[World, Life], None]
WALKED, BACK = (RETIRED, ["web-v2"]), (STABLE, ["web", "web-v2"])
NUMBERS = itertools.count()


def world_before(way: Way) -> World:
    """Return a world in which a way can be gone."""
    world = World.made(f"{way.__name__}-{next(NUMBERS)}")
    if way is World.undo:
        world.walk(Life())
    return world


def ended(way: Way, *lives: Life) -> World:
    """Go a way by one process after another, each with what it meets, and then by one that meets nothing."""
    world = world_before(way)
    for life in lives:
        with suppress(Death, RunbookError):
            way(world, life)
        assert sum(world.elb.weights.values()) == 100, life
    way(world, Life())
    assert world.state == (WALKED if way is World.walk else BACK), lives
    return world


def calls_of(way: Way) -> list[str]:
    """Return the calls of a way on which nothing is met."""
    world, life = world_before(way), Life()
    way(world, life)
    return life.calls


def chosen(way: Way, kinds: Callable[[int], Sequence[Fault]], one_in: int = 1) -> Iterator[Life]:
    """Yield a life for each kind at each write, and at one of so many reads."""
    for at, name in enumerate(calls_of(way), 1):
        if not (name.startswith(READS) and at % one_in):
            yield from (Life(at, kind) for kind in kinds(at))


def in_turn(*first: Fault) -> Callable[[int], Sequence[Fault]]:
    """Return these kinds, and another one of all in its turn."""
    turns = itertools.cycle(EVERY)
    return lambda at: (*first, next(turns))


def all_end_well(way: Way, lives: Iterator[Life]) -> None:
    """Assert that a process which meets nothing makes each good, and print how many they are.

    Going the way once more then writes nothing, and what was walked can be undone.
    """
    met = 0
    for life in lives:
        world = ended(way, life)
        assert life.met
        if way is World.walk:
            writes = list(world.elb.calls)
            world.walk(Life())
            assert world.elb.calls == writes, life
            world.undo(Life())
            assert world.state == BACK, life
        met += 1
    print(f"\n{met}/{met} deaths and faults at calls of {way.__name__} end well")
    assert met >= 10


def pairs(way: Way, kinds: Callable[[int], Sequence[tuple[Fault, Fault]]]) -> None:
    """Assert that what two processes in a row meet at writes is made good, and print how many they are."""
    writes, met = sum(not name.startswith(READS) for name in calls_of(way)), 0
    for at in range(1, writes + 1):
        for one, other in kinds(at):
            for second in range(1, writes + 1):
                lives = Life(at, one, writes=True), Life(second, other, writes=True)
                ended(way, *lives)
                if not lives[1].met:  # it had no such write left
                    break
                met += 1
    print(f"\n{met}/{met} pairs at writes of {way.__name__} end well")
    assert met


def test_a_death_or_a_fault_at_any_write_of_05_and_06_is_made_good_by_running_again() -> None:
    all_end_well(World.walk, chosen(World.walk, in_turn(BEFORE, AFTER), ONE_IN))


def test_a_death_or_a_fault_at_any_write_of_the_undo_is_made_good_by_undoing_again() -> None:
    all_end_well(World.undo, chosen(World.undo, in_turn(BEFORE, AFTER), ONE_IN))


def test_two_processes_in_a_row_that_end_at_a_write_are_made_good() -> None:
    """Chosen: of pairs of kinds one in its turn for each write of the first."""
    turns = itertools.cycle(itertools.product(PAIRED[2:], PAIRED[:2]))
    pairs(World.walk, lambda at: [next(turns)])


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("way", [World.walk, World.undo])
def test_every_death_and_every_fault_at_every_call_is_made_good(way: Way) -> None:
    all_end_well(way, chosen(way, lambda at: KINDS))


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("way", [World.walk, World.undo])
def test_every_pair_of_ends_at_writes_is_made_good(way: Way) -> None:
    pairs(way, lambda at: list(itertools.product(PAIRED, PAIRED)))
