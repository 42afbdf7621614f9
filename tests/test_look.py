"""One look a step: nothing is read twice, and what does not depend on each other is read side by side."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from runbook_lib import evidence_for_shift, survey
from runbook_lib.aws.session import Session
from runbook_lib.aws.together import together
from runbook_lib.local import control_plane
from runbook_lib.shift import shift_traffic
from runbook_lib.survey import Survey
from tests.live import quick, under_sky
from tests.scenes import fact, large, open_at, open_local, reopen, step

LATENCY_MS = 40
DEPENDENT = 12  # calls of a gated weight change, each of which waits for the one before it
CALLS = 36  # of a gated weight change, its own look and those of `apply` included


@dataclass
class Chain:
    """Counts calls, and of how many the longest chain is in which each waits for the one before it."""

    depth: int = 0
    calls: Counter[str] = field(default_factory=Counter)

    def prepare(self, client: Any) -> None:
        client.meta.events.register("before-call", self._count)
        client.meta.events.register("provide-client-params", self._note)

    def _count(self, **_: Any) -> None:
        self.depth += 1

    def _note(self, params: Any, model: Any, **_: Any) -> None:
        self.calls[f"{model.name} {params}"] += 1

    def beside(self, asks: Sequence[Callable[[], Any]]) -> list[Any]:
        """Ask for things in turn, and count the longest of their chains alone."""
        start, longest, answers = self.depth, self.depth, []
        for ask in asks:
            self.depth = start
            answers.append(ask())
            longest = max(longest, self.depth)
        self.depth = longest
        return answers

    def repeated(self) -> list[str]:
        """Return what was asked more than once."""
        return [call for call, count in self.calls.items() if count > 1]


def open_counted(stage: str, **said: Any) -> tuple[Session, Chain]:
    """Open a session at a stage, whose calls are counted from here on."""
    return reopen_counted(open_at(stage, **said))


def reopen_counted(known: Session) -> tuple[Session, Chain]:
    """Open a session as another one, whose calls are counted from here on."""
    chain = Chain()
    session = reopen(known, prepare=chain.prepare)
    session.beside = chain.beside
    chain.depth = 0
    chain.calls.clear()
    return session, chain


def test_a_gated_weight_change_makes_few_calls_that_wait_for_each_other() -> None:
    session, chain = open_counted("meshed", shift={**open_at("meshed").given["shift"], "steps": [25]})
    (written,) = shift_traffic(session, fact())
    assert written.weights == {"serviceB": 75, "serviceBv2": 25}
    assert chain.depth <= DEPENDENT
    assert chain.calls.total() <= CALLS


def test_so_does_one_that_traffic_is_watched_for() -> None:
    chain = Chain()
    session, sky = under_sky(shift=quick(steps=[25, 100]), prepare=chain.prepare)
    session.beside = chain.beside
    for decision in shift_traffic(session, fact()):
        if decision.phase == "judged":
            chain.depth = 0
        if (decision.phase, decision.step) == ("written", 100):
            break
    assert sky.weights()["serviceBv2"] == 100
    assert 0 < chain.depth <= DEPENDENT


def whole(found: Survey) -> object:
    return found.ahead("split", "live", "running", "counts", "tasks", "names", "references")


PARTS: dict[str, Callable[[Survey], object]] = {
    "all of it": whole,
    "gates of a shift": evidence_for_shift,
    "plan of 02": lambda found: found.plan_resources("02"),
    "retirement": lambda found: found.plan_retirement(),
    "removal": lambda found: found.plan_removal(),
}


@pytest.mark.parametrize("look", PARTS.values(), ids=PARTS)
def test_a_look_asks_for_nothing_twice(look: Callable[[Survey], object]) -> None:
    session, chain = open_counted("meshed")
    look(survey(session))
    assert chain.repeated() == []


def test_all_of_a_look_is_a_chain_of_few_calls() -> None:
    session, chain = open_counted("meshed")
    whole(survey(session))
    assert chain.depth <= 4


def test_a_plan_of_a_large_mesh_reads_each_resource_once() -> None:
    count = 40
    session = open_local(said=large(count))
    for number in ("01", "02", "03"):
        step(session, number)
    counted, chain = reopen_counted(session)
    found = survey(counted)
    assert not found.plan_resources("03").changes
    resources = len(found.live)
    assert resources > 3 * count
    of_the_route = 1  # its tags, which say who is retired
    assert chain.calls.total() == resources + of_the_route
    assert chain.repeated() == []


# As far away as AWS.


def least_seconds(do: Callable[[], Callable[[], object]], enough: float, tries: int = 5) -> float:
    """Return how many seconds it takes, at 40 ms a call, where nobody else keeps the machine busy.

    `do` prepares it, and returns what is measured.
    """
    endpoint, least = control_plane.application(), math.inf
    for _ in range(tries):
        measured = do()
        endpoint.way.put(latency_ms=LATENCY_MS)
        try:
            began = time.perf_counter()
            measured()
            least = min(least, time.perf_counter() - began)
        finally:
            endpoint.way.put()
        if least <= enough:
            break
    return least


def test_a_gated_weight_change_takes_a_second() -> None:
    def do() -> Callable[[], object]:
        session = open_at("meshed", shift={**open_at("meshed").given["shift"], "steps": [25]})
        session.beside = together
        return lambda: list(shift_traffic(session, fact()))

    assert least_seconds(do, 1.0) <= 1.0


def test_opening_and_a_whole_look_take_a_second_and_a_half() -> None:
    def do() -> Callable[[], object]:
        known = open_at("meshed")

        def open_and_look() -> None:
            session = reopen(known, alone=True)
            session.beside = together
            whole(survey(session))

        return open_and_look

    assert least_seconds(do, 1.5) <= 1.5
