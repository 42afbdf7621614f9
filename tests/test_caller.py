"""ServiceA's traffic does what the application would do, and its ledger loses no request."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest

from runbook_lib.local.data_plane import wire
from runbook_lib.local.data_plane.caller import Caller, Names, UnknownNameError
from runbook_lib.local.data_plane.ledger import Ledger
from tests.demo_mesh import answers, application, ask, free_ports, until

LOOPBACK = "127.0.0.1"
VPC = "10.0.1.17"
SETTINGS = b"\0\0\0\4\0\0\0\0\0"
Serve = Callable[..., int]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start applications, each answering as the version it is given, and end them with the test."""
    started = []

    def start(version: str, *options: str) -> int:
        [port] = free_ports(1)
        started.append(application(port, version, *options))
        until(lambda: answers(port))
        return port

    start.processes = started  # type: ignore[attr-defined]
    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def call() -> Iterator[Callable[..., Caller]]:
    """Start callers, and stop them with the test."""
    started: list[Caller] = []

    def start(to: int | Callable[[Sequence[str]], Any], protocol: str = "http2", **options: Any) -> Caller:
        way = to if callable(to) else lambda _: (LOOPBACK, to)
        given: dict[str, Any] = {"requests_per_second": 200, "resolve": lambda _: [VPC], "route_to": way}
        started.append(Caller("serviceb.apps.local", 9080, protocol, **given | options).start())
        return started[-1]

    yield start
    for each in started:
        each.stop()


def answered(caller: Caller, version: str) -> int:
    return int(caller.snapshot()["versions"].get(version, {}).get("requests", 0))


def statuses(snapshot: dict[str, Any]) -> dict[str, dict[str, int]]:
    return {version: each["statuses"] for version, each in snapshot["versions"].items()}


def balanced(snapshot: dict[str, Any]) -> bool:
    ended = sum(sum(each.values()) for each in statuses(snapshot).values())
    return bool(snapshot["sent"] == ended + snapshot["in_flight"])


def scripted(*connections: Callable[[socket.socket], None]) -> int:
    """Serve each connection by its own script, one after the other, and return the port."""
    server = socket.create_server((LOOPBACK, 0))

    def run() -> None:
        with server:
            for script in connections:
                connection, _ = server.accept()
                with connection:
                    connection.settimeout(10)
                    script(connection)

    threading.Thread(target=run, daemon=True).start()
    return int(server.getsockname()[1])


def read_request(connection: socket.socket) -> None:
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(4096)


def read_stream(connection: socket.socket) -> None:
    """Read until the first request's HEADERS frame (type 1) is there."""
    data = b""
    while b"\1\5\0\0\0\1" not in data:
        data += connection.recv(4096)


@pytest.mark.parametrize("protocol", ["http", "http2", "grpc"])
def test_counts_every_request_by_version_and_status(serve: Serve, call: Callable[..., Caller], protocol: str) -> None:
    caller = call(serve("v1"), protocol)
    until(lambda: answered(caller, "v1") >= 100)
    last = caller.stop()
    assert statuses(last) == {"v1": {"200": last["sent"]}}
    assert (last["answered"], last["failed"], last["in_flight"], last["shed"]) == (last["sent"], 0, 0, 0)


def test_keeps_its_pace(serve: Serve, call: Callable[..., Caller]) -> None:
    caller = call(serve("v1"))

    def rate() -> float:
        before, began = caller.snapshot()["sent"], time.monotonic()
        time.sleep(1)
        return float(caller.snapshot()["sent"] - before) / (time.monotonic() - began)

    until(lambda: 170 < rate() < 230, 30)  # a machine that stalls has its good seconds; another pace has none


def test_keeps_its_pace_while_answers_are_slow(serve: Serve, call: Callable[..., Caller]) -> None:
    caller = call(serve("v1", "--latency-ms", "600"))
    until(lambda: caller.snapshot()["in_flight"] > 80)  # a closed loop would wait for each
    last = caller.stop()
    assert (last["failed"], last["slow"], last["in_flight"]) == (0, last["sent"], 0)


def test_says_how_many_it_never_sent(serve: Serve, call: Callable[..., Caller]) -> None:
    caller = call(serve("v1", "--latency-ms", "500"), max_in_flight=10)
    until(lambda: caller.snapshot()["shed"] > 0)
    assert caller.snapshot()["in_flight"] <= 10


def test_its_pace_can_change(serve: Serve, call: Callable[..., Caller]) -> None:
    caller = call(serve("v1"), requests_per_second=0)
    time.sleep(0.3)
    assert caller.snapshot()["sent"] == 0
    caller.requests_per_second = 300
    until(lambda: answered(caller, "v1") > 50)


def test_a_name_that_does_not_resolve_stops_the_request_before_envoy(serve: Serve, call: Callable[..., Caller]) -> None:
    known = [VPC]
    port = serve("v1")
    caller = call(port, resolve=lambda _: list(known), ttl_seconds=0.1)
    until(lambda: answered(caller, "v1"))
    known.clear()
    until(lambda: statuses(caller.snapshot()).get("", {}).get("unresolved"))
    before = json.loads(ask(port, "/__status")[2])["answered"]
    time.sleep(0.3)
    assert json.loads(ask(port, "/__status")[2])["answered"] == before
    known.append(VPC)
    seen = answered(caller, "v1")
    until(lambda: answered(caller, "v1") > seen)
    assert balanced(caller.snapshot())


def test_a_name_is_asked_for_once_in_its_time_to_live() -> None:
    now, asked, known = [0.0], [], {"a": [VPC]}

    def resolve(name: str) -> list[str]:
        asked.append(name)
        return known.get(name, [])

    async def story() -> None:
        names = Names(resolve, 5, lambda: now[0])
        assert await asyncio.gather(*(names.addresses("a") for _ in range(20))) == [[VPC]] * 20
        for _ in range(2):
            with pytest.raises(UnknownNameError):
                await names.addresses("b")
        assert asked == ["a", "b"]
        known["b"], now[0] = [VPC], 4.9
        with pytest.raises(UnknownNameError):
            await names.addresses("b")
        now[0] = 5.0
        assert await names.addresses("b") == [VPC]
        assert asked == ["a", "b", "b"]

    asyncio.run(story())


def test_a_resolver_that_breaks_is_written_down_too(serve: Serve, call: Callable[..., Caller]) -> None:
    def broken(_: str) -> list[str]:
        raise LookupError

    caller = call(serve("v1"), resolve=broken)
    until(lambda: statuses(caller.snapshot()).get("", {}).get("LookupError"))
    assert balanced(caller.stop())


@pytest.mark.parametrize("protocol", ["http", "http2"])
def test_goes_another_way_when_told_and_loses_nothing(serve: Serve, call: Callable[..., Caller], protocol: str) -> None:
    ports, way = {"direct": serve("v1"), "through": serve("v2")}, ["direct"]
    seen: list[Sequence[str]] = []

    def route_to(addresses: Sequence[str]) -> tuple[str, int]:
        seen.append(addresses)
        return LOOPBACK, ports[way[0]]

    caller = call(route_to, protocol)
    until(lambda: answered(caller, "v1") > 20)
    way[0] = "through"
    until(lambda: answered(caller, "v2") > 20)
    last = caller.stop()
    assert (last["failed"], last["answered"]) == (0, last["sent"]), statuses(last)
    assert set(map(tuple, seen)) == {(VPC,)}


@pytest.mark.parametrize("protocol", ["http", "http2"])
def test_a_rolling_update_under_load_loses_nothing(serve: Serve, call: Callable[..., Caller], protocol: str) -> None:
    """A new task comes, the way changes, the old one drains: what ECS does."""
    ports = [serve("v1")]
    caller = call(lambda _: (LOOPBACK, ports[0]), protocol, requests_per_second=200)
    for turn in (2, 3):
        until(lambda turn=turn: answered(caller, f"v{turn - 1}") > 50)
        ports[0] = serve(f"v{turn}", "--latency-ms", "20")
        until(lambda turn=turn: answered(caller, f"v{turn}") > 0)  # ECS too ends a task after others are led away
        serve.processes[-2].terminate()  # type: ignore[attr-defined]
        assert serve.processes[-2].wait(10) == 0  # type: ignore[attr-defined]
    until(lambda: answered(caller, "v3") > 50)
    last = caller.stop()
    assert (last["failed"], last["answered"]) == (0, last["sent"]), statuses(last)


def test_a_killed_service_is_counted_request_by_request(serve: Serve, call: Callable[..., Caller]) -> None:
    caller = call(serve("v1", "--latency-ms", "50"))
    until(lambda: answered(caller, "v1") > 50)
    serve.processes[0].kill()  # type: ignore[attr-defined]
    until(lambda: statuses(caller.snapshot()).get("", {}).get("unreachable"))
    last = caller.stop()
    assert last["failed"] == sum(statuses(last)[""].values()) > 0
    assert balanced(last)
    assert last["in_flight"] == 0


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        (SETTINGS + wire.goaway(0), "GOAWAY"),
        (SETTINGS + b"\0\0\4\3\0\0\0\0\1" + struct.pack(">I", 7), "REFUSED_STREAM"),
    ],
    ids=["GOAWAY before the stream", "REFUSED_STREAM"],
)
def test_a_request_nobody_looked_at_is_sent_again(
    serve: Serve, call: Callable[..., Caller], frames: bytes, words: str
) -> None:
    def refuse(connection: socket.socket) -> None:
        read_stream(connection)
        connection.sendall(frames)
        time.sleep(0.2)

    ways = chain([scripted(refuse)], repeat(serve("v1")))
    caller = call(lambda _: (LOOPBACK, next(ways)), requests_per_second=0)
    assert caller.ask().version == "v1"
    assert caller.snapshot()["retried"] == 1


def test_a_goaway_lets_the_requests_before_it_be_answered(call: Callable[..., Caller]) -> None:
    def answer_late(connection: socket.socket) -> None:
        read_stream(connection)
        connection.sendall(SETTINGS + wire.goaway(1))
        time.sleep(0.1)
        connection.sendall(b"\0\0\1\1\5\0\0\0\1\x88")  # HEADERS, END_STREAM: :status 200

    caller = call(scripted(answer_late), requests_per_second=0)
    assert caller.ask().status == 200
    assert caller.snapshot()["retried"] == 0


def test_a_used_connection_that_ends_without_a_byte_is_replaced(serve: Serve, call: Callable[..., Caller]) -> None:
    def answer_once(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(wire.answer(200, [("x-version", "old")], b""))
        read_request(connection)

    ways = chain(repeat(scripted(answer_once), 2), repeat(serve("v1")))
    caller = call(lambda _: (LOOPBACK, next(ways)), "http", requests_per_second=0)
    assert [caller.ask().version, caller.ask().version] == ["old", "v1"]


def test_a_first_request_that_ends_without_a_byte_is_lost(call: Callable[..., Caller]) -> None:
    """Nobody knows whether it was processed."""
    caller = call(scripted(read_request, read_request), "http", requests_per_second=50)
    until(lambda: statuses(caller.snapshot()).get("", {}).get("closed"))


def test_an_answer_that_never_comes_is_a_timeout(serve: Serve, call: Callable[..., Caller]) -> None:
    caller = call(serve("v1", "--latency-ms", "900"), timeout_seconds=0.2)
    until(lambda: statuses(caller.snapshot()).get("", {}).get("timeout", 0) > 20)
    assert balanced(caller.snapshot())


@pytest.mark.parametrize("protocol", ["http", "http2"])
def test_a_failed_answer_is_answered_and_failed(serve: Serve, call: Callable[..., Caller], protocol: str) -> None:
    caller = call(serve("v1", "--error-rate", "1"), protocol)
    until(lambda: answered(caller, "v1") > 20)
    last = caller.stop()
    assert (last["answered"], last["failed"]) == (last["sent"], last["sent"])
    assert statuses(last) == {"v1": {"500": last["sent"]}}


def test_a_test_request_is_not_in_the_ledger(serve: Serve, call: Callable[..., Caller]) -> None:
    caller = call(serve("v1"), requests_per_second=0)
    reply = caller.ask([("X-Canary", "1")], path="/elsewhere")
    assert (reply.version, reply.status, caller.snapshot()["sent"]) == ("v1", 200, 0)


def test_the_file_has_every_request_once(serve: Serve, call: Callable[..., Caller], tmp_path: Path) -> None:
    file = tmp_path / "ledger.jsonl"
    caller = call(serve("v1", "--error-rate", "0.5"), ledger=Ledger(file))
    time.sleep(2.2)
    last = caller.stop()
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert sum(row["requests"] for row in rows) == last["sent"]
    keys = [(row["second"], row["version"], row["status"]) for row in rows]
    assert len(keys) == len(set(keys)) > 2
    assert {status for _, _, status in keys} == {"200", "500"}


def test_the_ledger_knows_when_a_version_first_answered_after_an_update() -> None:
    now = [100.0]
    ledger = Ledger(clock=lambda: now[0])
    for at, version in [(100.2, "v1"), (100.4, "v2"), (101.5, "v2"), (102.6, "v1")]:
        now[0] = at
        ledger.sent()
        ledger.ended(version, "200", 0.3, answered=True, failed=False)
    assert ledger.first_after("v2", 100.0) == 100.4
    assert ledger.first_after("v2", 101.0) == 101.5
    assert ledger.first_after("v2", 102.0) is None
    versions = ledger.snapshot()["versions"]
    assert (versions["v1"]["first"], versions["v1"]["last"]) == (100.2, 102.6)
    assert ledger.snapshot()["slow"] == 4
