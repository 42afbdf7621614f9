"""The local endpoint keeps connections open, and never takes a body for the next request."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from runbook_lib.local.serving import server_of


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Say what was asked; read the body where the path says so, and fail where it does."""
    if environ["PATH_INFO"] == "/fails":
        raise ValueError("broken")
    body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])) if environ["PATH_INFO"] == "/reads" else b""
    start_response("200 OK", [("Content-Type", "application/json")])
    said = {"path": environ["PATH_INFO"], "port": environ["REMOTE_PORT"], "body": body.decode()}
    return [json.dumps(said).encode()]


@pytest.fixture
def port() -> Iterator[int]:
    server = server_of(application)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def connection(port: int) -> Iterator[http.client.HTTPConnection]:
    made = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    yield made
    made.close()


def ask(connection: http.client.HTTPConnection, path: str, body: bytes = b"") -> tuple[int, str, Any]:
    connection.request("POST", path, body)
    answer = connection.getresponse()
    content = answer.read()
    said = json.loads(content) if answer.status == 200 else content.decode()
    return answer.status, answer.headers.get("Connection", "stays"), said


def test_one_connection_serves_several_requests(connection: http.client.HTTPConnection) -> None:
    answers = [ask(connection, "/reads", text.encode()) for text in ("one", "", "three")]
    assert [said["body"] for _, _, said in answers] == ["one", "", "three"]
    assert len({said["port"] for _, _, said in answers}) == 1


def test_a_body_nobody_read_ends_the_connection(connection: http.client.HTTPConnection) -> None:
    status, stays, _ = ask(connection, "/leaves", b"GET /smuggled HTTP/1.1\r\n\r\n" * 40_000)
    assert (status, stays) == (200, "close")
    assert ask(connection, "/reads", b"again")[2]["body"] == "again"


def test_a_failure_is_an_answer_and_the_next_request_gets_one_too(
    connection: http.client.HTTPConnection, caplog: pytest.LogCaptureFixture
) -> None:
    status, stays, said = ask(connection, "/fails")
    assert (status, stays) == (500, "stays")
    assert "see its log" in said
    assert "ValueError: broken" in caplog.text
    assert ask(connection, "/reads")[0] == 200


@pytest.mark.parametrize("length", ["Content-Length: many", "Transfer-Encoding: chunked"])
def test_where_the_length_is_not_said_nothing_follows(port: int, length: str) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as raw:
        raw.sendall(f"POST /leaves HTTP/1.1\r\nHost: here\r\n{length}\r\n\r\n".encode())
        raw.sendall(b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: here\r\n\r\n")
        said = b""
        while part := raw.recv(65536):
            said += part
    assert said.count(b"HTTP/1.1 200 OK") == 1
    assert b"smuggled" not in said
