"""The small service answers both protocols on one port and fails exactly as told."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import psutil
import pytest
from h2.settings import SettingCodes

from runbook_lib.local.data_plane.connections import Reply, Request
from runbook_lib.local.data_plane.faults import ControlFile, Faults
from runbook_lib.local.data_plane.pool import Connections
from tests.demo_mesh import answers, application, ask, fail, free_ports, until


class Service:
    """One application process."""

    def __init__(self, *options: str) -> None:
        [self.port] = free_ports(1)
        self.faults = Path(tempfile.mkdtemp(dir=os.environ["RUNBOOK_STATE"].rpartition("/")[0])) / "faults.json"
        self.process = application(self.port, "v1", "--faults-file", str(self.faults), *options)

    def ready(self) -> Service:
        until(lambda: answers(self.port))
        return self

    def fail(self, **faults: Any) -> None:
        """Let it fail from now on; no fault given: work again."""
        fail(self.port, self.faults, **faults)

    def replies(self, protocol: str, count: int, path: str = "/") -> list[Reply]:
        """Make `count` requests over one or more connections of a protocol, sixteen at a time."""
        return asyncio.run(replies(self.port, protocol, count, path))


async def replies(port: int, protocol: str, count: int, path: str) -> list[Reply]:
    connections, found = Connections(protocol), []
    request = Request("app", path, grpc=protocol == "grpc")
    left = iter(range(count))

    async def one_after_the_other() -> None:
        for _ in left:
            found.append(await connections.ask(("127.0.0.1", port), request))

    await asyncio.gather(*(one_after_the_other() for _ in range(16)))
    connections.close()
    return found


@pytest.fixture(scope="module")
def lasting() -> Iterator[Service]:
    started = Service()
    try:
        yield started.ready()
    finally:
        started.process.kill()
        started.process.wait()


@pytest.fixture
def service(lasting: Service) -> Service:
    """An application without faults; a test that ends it, or counts, takes its own from `services`."""
    lasting.fail()
    return lasting


@pytest.fixture
def services() -> Iterator[list[Service]]:
    """What a test puts here is ended with it."""
    started: list[Service] = []
    yield started
    for each in started:
        each.process.kill()
        each.process.wait()


@pytest.mark.parametrize("protocol", ["http", "http2", "grpc"])
def test_names_its_version_in_every_protocol_on_one_port(service: Service, protocol: str) -> None:
    found = service.replies(protocol, 50)
    assert [(each.version, each.good) for each in found] == [("v1", True)] * 50


def test_names_its_version_in_the_body_too(service: Service) -> None:
    assert ask(service.port) == (200, "v1", "v1\n")


def test_listens_on_one_loopback_address_only(service: Service) -> None:
    with pytest.raises(OSError, match=r"."):  # 127.0.0.2 is loopback too, and any other address would do
        socket.create_connection(("127.0.0.2", service.port), timeout=2)


def test_answers_grpc_health_checks(service: Service) -> None:
    [found] = service.replies("grpc", 1, "/grpc.health.v1.Health/Check")
    assert (found.outcome, found.headers["grpc-status"]) == ("200", "0")


@pytest.mark.parametrize(("protocol", "outcome"), [("http", "503"), ("http2", "503"), ("grpc", "grpc-14")])
def test_fails_in_the_protocols_own_words(service: Service, protocol: str, outcome: str) -> None:
    service.fail(error_rate=1, error_status=503)
    found = service.replies(protocol, 5)
    assert {(each.outcome, each.version, each.good) for each in found} == {(outcome, "v1", False)}


def test_fails_a_share_of_its_requests(service: Service) -> None:
    service.fail(error_rate=0.3)
    failed = sum(not each.good for each in service.replies("http", 1000))
    assert 220 < failed < 380  # outside with a probability below 1e-7


def test_holds_answers_back_without_holding_up_others(service: Service) -> None:
    service.fail(latency_ms=200)

    def taken() -> float:
        began = time.monotonic()
        assert len(service.replies("http2", 16)) == 16
        return time.monotonic() - began

    assert taken() >= 0.2
    until(lambda: taken() < 1.6, 30)  # sixteen one after the other would never take less than 3.2 s


def test_tells_what_it_did(services: list[Service]) -> None:
    services.append(service := Service().ready())
    service.replies("http", 7)
    service.fail(error_rate=1)
    service.replies("http2", 3)
    found = json.loads(ask(service.port, "/__status")[2])
    assert (found["version"], found["answered"], found["pid"]) == (
        "v1",
        {"200": 7, "500": 3},
        service.process.pid,
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"errors": 1}, "no fault is called 'errors'"),
        ({"error_rate": 1.5}, "error_rate is a share from 0 to 1"),
        ({"error_rate": "0.5"}, "error_rate is a float, got '0.5'"),
        ({"crash": 1}, "crash is a bool, got 1"),
        ({"error_status": 99}, "error_status is an HTTP status"),
        ({"latency_ms": -1}, "cannot be negative"),
        ([], "faults are named by a mapping"),
    ],
)
def test_refuses_a_fault_it_does_not_know(tmp_path: Path, change: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Faults().changed(change)
    (tmp_path / "faults.json").write_text(json.dumps(change))
    assert ControlFile(tmp_path / "faults.json", Faults()).read() is None


@pytest.mark.attack(18)
def test_no_request_changes_what_it_does_wrong(service: Service) -> None:
    """Anybody on this machine can make one."""
    assert ask(service.port, "/__faults", "PUT", {"crash": True}) == (200, "v1", "v1\n")
    assert json.loads(ask(service.port, "/__status")[2])["faults"] == Faults().as_dict()


def test_crashes_when_told(services: list[Service]) -> None:
    services.append(service := Service().ready())
    service.faults.write_text('{"crash": true}')
    assert service.process.wait(5) == 1


def test_opens_its_port_late_after_a_slow_start(services: list[Service]) -> None:
    began = time.monotonic()
    services.append(Service("--slow-start-seconds", "0.8"))
    services[0].ready()
    assert time.monotonic() - began >= 0.8


def test_follows_its_control_file(services: list[Service]) -> None:
    services.append(Service())
    port, file = services[0].ready().port, services[0].faults
    assert ask(port)[0] == 200
    file.write_text('{"error_rate": 1}')
    until(lambda: ask(port)[0] == 500)
    file.unlink()
    until(lambda: ask(port)[0] == 200)


def test_a_control_file_outlives_the_process(services: list[Service], tmp_path: Path) -> None:
    (tmp_path / "faults.json").write_text('{"error_rate": 1}')
    services.append(Service("--faults-file", str(tmp_path / "faults.json")))
    assert ask(services[0].ready().port)[0] == 500


def test_a_control_file_that_makes_no_sense_changes_nothing(tmp_path: Path) -> None:
    file = ControlFile(tmp_path / "faults.json", Faults(error_rate=0.5))
    assert file.read() is None
    (tmp_path / "faults.json").write_text('{"error_rate"')
    assert file.read() is None
    (tmp_path / "faults.json").write_text('{"latency_ms": 5}')
    assert file.read() == Faults(error_rate=0.5, latency_ms=5)
    assert file.read() is None


@pytest.mark.parametrize("protocol", ["http", "http2"])
def test_finishes_what_is_under_way_when_told_to_stop(services: list[Service], protocol: str) -> None:
    services.append(Service("--latency-ms", "400"))
    service, found = services[0].ready(), []
    asking = threading.Thread(target=lambda: found.extend(service.replies(protocol, 8)))
    asking.start()
    until(lambda: json.loads(ask(service.port, "/__status")[2])["in_flight"] >= 8)
    service.process.send_signal(signal.SIGTERM)
    asking.join()
    assert [each.good for each in found] == [True] * 8
    assert service.process.wait(5) == 0


def test_the_same_seed_gives_the_same_faults() -> None:
    faults, chances = Faults(error_rate=0.5), (random.Random(7), random.Random(7))
    first, second = ([faults.status(chance) for _ in range(50)] for chance in chances)
    assert first == second
    assert set(first) == {200, 500}


def test_cuts_off_who_speaks_neither_protocol(service: Service) -> None:
    with socket.create_connection(("127.0.0.1", service.port), timeout=5) as connection:
        connection.sendall(b"hello\r\n\r\n")
        assert connection.recv(100) == b""
    assert ask(service.port)[0] == 200


class Peer:
    """An HTTP/2 client that sends what it is told in one packet, whatever the server has said by then."""

    def __init__(self, port: int) -> None:
        self.state = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self.state.initiate_connection()
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=5)

    def ask(self) -> int:
        """Prepare one request and return its stream."""
        stream = self.state.get_next_available_stream_id()
        names = {":method": "GET", ":scheme": "http", ":authority": "app", ":path": "/"}
        self.state.send_headers(stream, list(names.items()), end_stream=True)
        return stream

    def answered(self, count: int, by: type[Any] = h2.events.StreamEnded) -> set[int]:
        """Send what is prepared; return the streams answered, once they are so many or the connection ends."""
        found: set[int] = set()
        self.socket.sendall(self.state.data_to_send())
        while len(found) < count and (data := self.socket.recv(65536)):
            found |= {event.stream_id for event in self.state.receive_data(data) if isinstance(event, by)}
            self.socket.sendall(self.state.data_to_send())
        return found


@pytest.fixture
def peer(service: Service) -> Iterator[Peer]:
    made = Peer(service.port)
    with made.socket:
        yield made


def test_a_burst_sent_before_its_settings_arrive_is_answered(peer: Peer) -> None:
    asked = {peer.ask() for _ in range(500)}
    assert peer.answered(500) == asked


def test_a_request_taken_back_in_the_packet_that_brings_it_costs_no_other(peer: Peer) -> None:
    *others, last = [peer.ask() for _ in range(10)]
    peer.state.reset_stream(last, h2.errors.ErrorCodes.CANCEL)
    assert peer.answered(9) == set(others)


def test_an_answer_that_waits_for_room_and_is_not_wanted_any_more_costs_no_other(peer: Peer) -> None:
    peer.state.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
    first, second = peer.ask(), peer.ask()
    assert peer.answered(2, by=h2.events.ResponseReceived) == {first, second}
    peer.state.reset_stream(first, h2.errors.ErrorCodes.CANCEL)
    peer.state.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 1000})
    assert peer.answered(1) == {second}


def test_says_how_it_is_used() -> None:
    command = [sys.executable, "-m", "runbook_lib.local.data_plane.application"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "--version" in done.stderr) == (2, True)


@pytest.mark.soak
@pytest.mark.parametrize("protocol", ["http", "http2", "grpc"])
def test_one_core_answers_two_thousand_requests_a_second(service: Service, protocol: str) -> None:
    """In the process's own CPU time: the clock on the wall would measure the client and its neighbours."""
    process = psutil.Process(service.process.pid)
    before, began = sum(process.cpu_times()[:2]), time.perf_counter()
    assert all(each.good for each in service.replies(protocol, 10_000))
    spent, wall = sum(process.cpu_times()[:2]) - before, time.perf_counter() - began
    print(f"application, {protocol}: {10_000 / spent:.0f} requests/s a core, {10_000 / wall:.0f} with this client")
    assert 10_000 / spent >= 2000
