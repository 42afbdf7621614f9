"""Once for real: a kernel killed between two calls, and the local mesh's own process killed.

A proxy stands before the local mesh and kills the kernel at one chosen writing call, before or after it was
carried out, so that the moment is the same every time.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from runbook_lib.command.cli import app
from runbook_lib.errors import CallError
from runbook_lib.local import supervisor
from runbook_lib.opening import open_session
from runbook_lib.plan import Call
from tests.notebook_runner import client, execute, newest, own_mesh, runbook, start

__all__ = ["own_mesh"]

ACCOUNT = "123456789012"
READS = ("Describe", "List", "Get", "Discover")


class Proxy(ThreadingHTTPServer):
    """Passes every request on, remembers those that write, and calls `strike` at the `at`-th of them."""

    daemon_threads = True

    def __init__(self, beyond: str) -> None:
        super().__init__(("127.0.0.1", 0), Pass)
        self.beyond = beyond
        self.written: list[str] = []
        self.at, self.named, self.after = 0, "", True
        self.strike: Callable[[], None] = lambda: None

    def arm(self, strike: Callable[[], None], *, at: int | str, after: bool) -> None:
        """Strike at the `at`-th writing call from now on (or the next so named), after it was carried out or before."""
        self.after, self.strike, self.named = after, strike, at if isinstance(at, str) else ""
        self.at = len(self.written) + at if isinstance(at, int) else 0


class Pass(BaseHTTPRequestHandler):
    """One request: on to the mesh, and its answer back."""

    server: Proxy

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        named = self.headers.get("X-Amz-Target", "").rsplit(".", 1)[-1] or _query(body)
        own = self.path.startswith("/runbook/")  # the local mesh, asked for what AWS has not
        writes = not own and (not named.startswith(READS) if named else self.command != "GET")
        if writes:
            self.server.written.append(f"{self.command} {self.path} {named} {_without_token(body)}")
        struck = writes and (len(self.server.written) == self.server.at or (named and named == self.server.named))
        if struck and not self.server.after:
            self.server.written.pop()  # it was never carried out
            self.server.strike()
            return
        answer = self._beyond(body)
        if struck:
            self.server.strike()
            return
        self.send_response(answer[0])
        for name, value in answer[1].items():
            if name.lower() not in ("connection", "content-length", "transfer-encoding", "date", "server"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer[2])))
        self.end_headers()
        self.wfile.write(answer[2])

    do_GET = do_PUT = do_POST = do_DELETE = _pass

    def _beyond(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        headers = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection", "content-length")}
        request = urllib.request.Request(self.server.beyond + self.path, body or None, headers, method=self.command)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, dict(answer.headers), answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, dict(error.headers), error.read()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def _query(body: bytes) -> str:
    """Return the action of a query-protocol request, "" of any other."""
    first = body.decode(errors="replace").partition("Action=")[2]
    return first.partition("&")[0]


def _without_token(body: bytes) -> str:
    """Return a body without the token that is new at each call."""
    try:
        said = json.loads(body or b"{}")
    except ValueError:
        return body.decode(errors="replace")
    return json.dumps({k: v for k, v in said.items() if k != "clientToken"}, sort_keys=True)


@contextmanager
def standing_before(world: Path) -> Iterator[Proxy]:
    """Put a proxy before the local mesh: whoever looks for it from now on finds the proxy."""
    file = world / "state" / "endpoint.json"
    found = json.loads(file.read_text())
    proxy = Proxy(found["endpoint"])
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    file.write_text(json.dumps({**found, "endpoint": f"http://127.0.0.1:{proxy.server_port}"}))
    try:
        yield proxy
    finally:
        file.write_text(json.dumps(found))
        proxy.shutdown()
        thread.join(timeout=5)
        proxy.server_close()


def kernel_of(command: int) -> int:
    """Return the pid of the kernel that a command started."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            words = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if parent == command and b"ipykernel_launcher" in words:
            return int(process.name)
    raise AssertionError("the command has no kernel")


def killed(proxy: Proxy, first: str, *, at: int | str, after: bool) -> tuple[int, str]:
    """Run from a notebook on, and kill -9 the kernel at a writing call, by number or name; return code and words."""
    with start("run", "local", "--from", first) as process:
        proxy.arm(lambda: os.kill(kernel_of(process.pid), signal.SIGKILL), at=at, after=after)
        said, _ = process.communicate(timeout=180)
    proxy.at, proxy.named = 0, ""
    return process.returncode, said


def version() -> int:
    named = {"meshName": "apps", "virtualRouterName": "serviceB", "routeName": "serviceB"}
    return int(client("appmesh", ACCOUNT).describe_route(**named)["route"]["metadata"]["version"])


def assert_died_in(notebook: str, code: int, said: str) -> None:
    summary = newest("local").summary() or {}
    assert code == 1, said
    assert f"{notebook}, cell" in said
    assert f"--from {notebook[:2]}" in said
    assert (summary["outcome"], summary["reason"].partition(":")[0]) == ("failed", "kernel")
    assert summary["notebooks"][-1] == {**summary["notebooks"][-1], "name": notebook, "outcome": "failed"}


@pytest.mark.soak
def test_a_kernel_killed_in_03_and_one_in_06_cost_nothing(own_mesh: Path) -> None:
    for number in ("01", "02"):
        assert not execute(number, {"environment": "local"}).errors
    with standing_before(own_mesh) as proxy:
        code, said = killed(proxy, "03", at=2, after=True)  # the route is there, and nobody was told
        assert_died_in("03_create_router_and_routes", code, said)
        assert len(proxy.written) == 2

        for number in ("03", "04", "05"):
            assert not execute(number, {"environment": "local"}).errors
        code, said = killed(proxy, "06", at="UpdateService", after=True)  # tasks are to go
        assert_died_in("06_tear_down_service_b", code, said)
        assert "UpdateService" in proxy.written[-1]

        code, said = runbook("run", "local", "--from", "06")
    assert code == 0, said
    assert said.rstrip().endswith("outcome: done")
    assert len(set(proxy.written)) == len(proxy.written), "a call was made twice"
    assert version() == 4  # created, 25 %, 100 %, left alone: no update doubled
    assert len({line["event"] for line in newest("local").lines()} & {"opened", "closed"}) == 2


@pytest.mark.soak
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", range(1, 9))
def test_a_kernel_killed_at_any_call_of_06_costs_nothing(at: int, after: bool, own_mesh: Path) -> None:
    runbook("local", "down")
    for number in ("01", "02", "03", "04", "05"):
        assert not execute(number, {"environment": "local"}).errors
    with standing_before(own_mesh) as proxy:
        code, said = killed(proxy, "06", at=at, after=after)
        assert_died_in("06_tear_down_service_b", code, said)
        code, said = runbook("run", "local", "--from", "06")
    assert code == 0, said
    assert len(set(proxy.written)) == len(proxy.written), "a call was made twice"
    assert version() == 4


def test_the_local_mesh_killed_ends_the_rehearsal_in_one_sentence(own_mesh: Path) -> None:
    assert up().exit_code == 0
    mesh_killed(own_mesh)
    done = up()
    sentences = [line for line in done.output.splitlines() if line]
    assert done.exit_code == 2, done.output
    assert sentences[0] == "target: the local mesh: its process is gone, and the rehearsal ended with it"
    assert sentences[1].startswith("Next: start again")
    assert len(sentences) == 2
    assert up().exit_code == 0  # said once; the next command starts anew


def mesh_killed(own_mesh: Path) -> None:
    pid = json.loads((own_mesh / "state" / "endpoint.json").read_text())["pid"]
    os.kill(pid, signal.SIGKILL)


def test_a_call_that_finds_the_local_mesh_killed_says_so_once(own_mesh: Path) -> None:
    session = open_session({"environment": "local"})
    mesh_killed(own_mesh)
    task = {"family": "taskB", "containerDefinitions": [{"name": "app", "image": "serviceb:1"}]}
    for call in (Call("appmesh", "list_meshes"), Call("ecs", "register_task_definition", task)):
        with pytest.raises(CallError) as caught:
            session.write(call)
        assert caught.value.reason == "target", caught.value
        assert str(caught.value).startswith(f"the local mesh: {supervisor.GONE}\nNext: start again")
    assert up().exit_code == 0


@pytest.mark.parametrize("words", [["status", "local"], ["local", "status"]])
def test_status_says_once_that_the_rehearsal_ended_with_its_process(own_mesh: Path, words: list[str]) -> None:
    assert up().exit_code == 0
    mesh_killed(own_mesh)
    first, second = (CliRunner().invoke(app, words).output for _ in range(2))
    assert f"not running: {supervisor.GONE}" in first
    assert "not running" in second
    assert supervisor.GONE not in second


def up() -> Result:
    return CliRunner().invoke(app, ["local", "up"])
