"""A process that dies at any write of 05 or 06 at a load balancer's rule: the next one goes on, or undoes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from runbook_lib import apply, clear, evidence_for_shift, plan_undo, record, survey
from runbook_lib.shift import shift_traffic
from tests.plain_alb import FILE, Elb, Plain, Services, forward, open_alb

STABLE, RETIRED = {"web": 100, "web-v2": 0}, {"web-v2": 100}
READS = ("describe", "list", "get")
ONE_IN = 20  # reads: a death there leaves nothing that the one before it has not left


class Death(BaseException):
    """The end of a process: nothing catches it."""


@dataclass
class Life:
    """How many calls a process makes until it dies, before its last call or after it; `at` 0: it lives on."""

    at: int = 0
    after: bool = False
    calls: list[str] = field(default_factory=list)

    def around(self, client: Any) -> Any:
        """Return a client whose calls are counted, and which dies in time."""
        return Mortal(client, self)

    def end(self, *, after: bool) -> None:
        """Die, where this is the call."""
        if len(self.calls) == self.at and after == self.after:
            raise Death


@dataclass
class Mortal:
    """A client of somebody who may die."""

    client: Any
    life: Life

    def __getattr__(self, name: str) -> Callable[..., Any]:
        call = getattr(self.client, name)

        def asked(*arguments: Any, **named: Any) -> Any:
            self.life.calls.append(name)
            self.life.end(after=False)
            answer = call(*arguments, **named)
            self.life.end(after=True)
            return answer

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


def deaths(way: Callable[[World, Life], None], before: Callable[[World], None]) -> Iterator[tuple[World, Life]]:
    """Yield a world for each write of a way, and for some reads, in which somebody died before it, and one after it."""
    life, world = Life(), World.made("whole")
    before(world)
    way(world, life)
    for at, name in enumerate(life.calls, 1):
        if name.startswith(READS) and at % ONE_IN:
            continue
        for after in (False, True):
            dying, world = Life(at, after), World.made(f"death-{way.__name__}-{at}-{after}")
            before(world)
            with pytest.raises(Death):
                way(world, dying)
            yield world, dying


def test_a_death_at_any_write_of_05_and_06_is_made_good_by_running_again() -> None:
    met = 0
    for world, life in deaths(World.walk, lambda world: None):
        world.walk(Life())
        assert world.state == (RETIRED, ["web-v2"]), life
        again = Life()
        writes = list(world.elb.calls)
        world.walk(again)
        assert world.elb.calls == writes, life
        world.undo(Life())
        assert world.state == (STABLE, ["web", "web-v2"]), life
        met += 1
    assert met >= 10


def test_a_death_at_any_write_of_the_undo_is_made_good_by_undoing_again() -> None:
    met = 0
    for world, life in deaths(World.undo, lambda world: world.walk(Life())):
        world.undo(Life())
        assert world.state == (STABLE, ["web", "web-v2"]), life
        met += 1
    assert met >= 10
