"""Several things are asked side by side, a few at a time; one look reads nothing twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from runbook_lib.aws.readings import Readings
from runbook_lib.aws.session import Session
from runbook_lib.aws.together import AT_ONCE, together
from runbook_lib.errors import CallError
from runbook_lib.plan import Call, Reading
from tests.scenes import in_turn, open_local, somebody

MESH = Reading(Call("appmesh", "describe_mesh", {"meshName": "apps"}), "mesh.meshName", ("NotFoundException",))


class Meeting:
    """Asks that wait for each other: they come to an end only where so many are under way at once."""

    def __init__(self, needed: int) -> None:
        self.barrier = threading.Barrier(needed)

    def ask(self, answer: int) -> int:
        self.barrier.wait(timeout=30)
        return answer


def test_answers_come_in_the_order_of_asking() -> None:
    meeting = Meeting(AT_ONCE)
    assert together([partial(meeting.ask, number) for number in range(AT_ONCE)]) == list(range(AT_ONCE))


def test_no_more_are_under_way_than_said() -> None:
    lock, now, most, full = threading.Lock(), 0, 0, threading.Event()

    def ask() -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
            if now == AT_ONCE:
                full.set()
        full.wait(timeout=30)
        with lock:
            now -= 1

    together([ask] * (4 * AT_ONCE))
    assert most == AT_ONCE


def test_an_ask_may_ask_for_several_things_itself() -> None:
    def ask(depth: int) -> int:
        return sum(together([partial(ask, depth - 1)] * 3)) if depth else 1

    assert ask(4) == 81


def failing(word: str) -> Callable[[], Any]:
    def ask() -> None:
        raise ValueError(word)

    return ask


def test_the_first_failure_in_the_order_of_asking_is_raised() -> None:
    meeting = Meeting(2)

    def late() -> None:
        meeting.ask(0)
        raise ValueError("first")

    def early() -> None:
        meeting.ask(0)
        raise ValueError("second")

    with pytest.raises(ValueError, match="first"):
        together([late, early])


def test_what_was_not_begun_before_a_failure_is_not_asked() -> None:
    asked: list[int] = []
    with pytest.raises(ValueError, match="at once"):
        together([failing("at once")] * AT_ONCE + [partial(asked.append, 1)] * 100)
    assert asked == []


def test_a_failure_is_raised_once_all_that_was_begun_has_ended() -> None:
    meeting, ended = Meeting(2), []

    def fails() -> None:
        meeting.ask(0)
        raise ValueError("at once")

    def takes_longer() -> None:
        meeting.ask(0)
        time.sleep(0.05)
        ended.append(1)

    with pytest.raises(ValueError, match="at once"):
        together([fails, takes_longer])
    assert ended == [1]


def test_nothing_to_ask_answers_nothing() -> None:
    assert together([]) == []


def test_an_interrupt_ends_what_was_not_begun() -> None:
    asked: list[int] = []
    over = threading.Event()

    def ask() -> None:
        if threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt
        over.wait(timeout=30)
        asked.append(1)

    with pytest.raises(KeyboardInterrupt):
        together([ask] * 100)
    over.set()
    assert together([partial(int, 1)] * 3) == [1] * 3
    assert len(asked) < AT_ONCE


# One look.


def test_a_look_reads_a_thing_once_by_whatever_query() -> None:
    session = open_local()
    somebody(session).create_mesh(meshName="apps")
    look, before = Readings(session), session.calls.total()
    assert look.read(MESH) == "apps"
    assert look.read(Reading(MESH.call, "mesh.metadata.version", MESH.absent)) == 1
    assert session.calls.total() - before == 1


def test_a_look_knows_what_is_absent_and_another_look_reads_anew() -> None:
    session = open_local()
    look = Readings(session)
    assert look.read(MESH) is None
    somebody(session).create_mesh(meshName="apps")
    assert look.read(MESH) is None
    assert Readings(session).read(MESH) == "apps"


def test_a_list_of_a_look_is_read_once_and_is_nobodys() -> None:
    session = open_local()
    somebody(session).create_mesh(meshName="apps")
    look, before = Readings(session), session.calls.total()
    look.pages("appmesh", "list_meshes", "meshes").clear()
    assert len(look.pages("appmesh", "list_meshes", "meshes")) == 1
    assert session.calls.total() - before == 1


def test_what_takes_its_arguments_from_a_reading_reads_that_once_too() -> None:
    session = open_local()
    look, before = Readings(session), session.calls.total()
    listed = Reading(Call("appmesh", "list_meshes"), "meshes[].meshName | [0]")
    named = Reading(Call("appmesh", "describe_mesh", {"meshName": listed}), "mesh.meshName")
    assert look.read(named) is None
    assert look.read(named) is None
    assert session.calls.total() - before == 1


def test_two_who_ask_for_the_same_thing_at_once_make_one_call() -> None:
    session = open_local()
    session.beside = together
    look, before = Readings(session), session.calls.total()
    assert look.together([partial(look.read, MESH)] * AT_ONCE) == [None] * AT_ONCE
    assert session.calls.total() - before == 1


def test_what_could_not_be_read_is_asked_again() -> None:
    session = open_local()
    look = Readings(session)
    wrong = Reading(Call("appmesh", "describe_mesh", {"meshName": "apps"}), "mesh")
    for before in (session.calls.total(), session.calls.total() + 1):
        with pytest.raises(CallError, match="NotFoundException"):
            look.read(wrong)
        assert session.calls.total() - before == 1


# Of a session.


def outlasting(session: Session) -> list[str]:
    """Let a session ask again once, and return who it is told of."""
    told: list[str] = []

    def again(ask: Callable[[], Any], error: CallError) -> Any:
        told.append(error.message)
        return ask()

    session.outlast = again
    return told


@pytest.mark.parametrize("beside", [together, in_turn])
def test_of_things_asked_together_whoever_outlasts_is_told_once(beside: Any) -> None:
    session = open_local()
    session.beside = beside
    told, tried = outlasting(session), threading.Lock()

    def away_once() -> str:
        if tried.acquire(blocking=False):
            raise CallError("away")
        return session.read(MESH) or "answered"

    assert session.together([away_once, away_once, away_once]) == ["answered"] * 3
    assert told == ["away"]


def test_every_call_of_things_asked_together_is_counted() -> None:
    session = open_local()
    session.beside = together
    session.together([partial(session.read, MESH)] * 50)
    assert session.calls["appmesh.DescribeMesh"] == 50


class End(BaseException):
    """What ends a process: an interrupt, an exit."""


def test_what_ends_a_thread_ends_whoever_waits_for_it_and_no_other_ask() -> None:
    def end() -> None:
        raise End

    for _ in range(AT_ONCE + 1):  # no thread is lost by it
        with pytest.raises(End):
            together([lambda: 1, end, end])
    assert together([lambda: 1, lambda: 2]) == [1, 2]
