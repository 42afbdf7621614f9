"""A small service: it says its version, keeps count, and fails as told.

`python -m runbook_lib.local.data_plane.application --port 9080 --version v1`
serves HTTP/1.1 and cleartext HTTP/2 on one loopback port. `/__status` counts.
What it does wrong is said by a file of its user's, not by a request: anybody on
this machine can make those.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runbook_lib.local.data_plane.faults import ControlFile, Faults
from runbook_lib.local.data_plane.serving import Answer, Connection

HEALTH_CHECK = "/grpc.health.v1.Health/Check"
SERVING = b"\x08\x01"  # grpc.health.v1.HealthCheckResponse{status: SERVING}
POLL_SECONDS = 0.1
DRAIN_SECONDS = 5.0  # from being told to stop until it ends
DIALLED_SECONDS = 1.0  # of these, how long it may still be dialled
QUIET_SECONDS = 0.1  # without a new connection, after which nobody dials any more


@dataclass
class Application:
    """What answers: a version, faults and counters; it knows no protocol."""

    version: str
    faults: Faults
    chance: random.Random

    def __post_init__(self) -> None:
        self.started = time.time()
        self.answered: Counter[str] = Counter()
        self.in_flight = 0
        self.dialled = 0  # connections taken

    def answer(self, path: str, grpc: bool) -> Answer:
        """Return the answer to one request, and how long it is held back."""
        if path == "/__status":
            return self._json(200, self.status())
        if self.faults.crash:
            os._exit(1)
        status = self.faults.status(self.chance)
        self.answered[str(status)] += 1
        return self._answer(status, path, grpc)

    def status(self) -> dict[str, object]:
        """Return who this is and what it answered so far, by status."""
        return {
            "version": self.version,
            "pid": os.getpid(),
            "uptime_seconds": round(time.time() - self.started, 3),
            "in_flight": self.in_flight,
            "answered": dict(self.answered),
            "faults": self.faults.as_dict(),
        }

    def _answer(self, status: int, path: str, grpc: bool) -> Answer:
        headers = [
            ("x-version", self.version),
            ("content-type", "application/grpc" if grpc else "text/plain"),
        ]
        text = (
            f"{self.version}\n".encode()
            if status < 400
            else f"{self.version} fails on purpose\n".encode()
        )
        if grpc:
            text = SERVING if path == HEALTH_CHECK else text
            text = b"\0" + len(text).to_bytes(4) + text
        return Answer(status, headers, text, self.faults.latency_ms / 1000, grpc)

    def _json(self, status: int, content: object) -> Answer:
        headers = [("x-version", self.version), ("content-type", "application/json")]
        return Answer(status, headers, json.dumps(content).encode() + b"\n")


async def serve(application: Application, port: int, control: ControlFile) -> None:
    """Serve until SIGTERM, then finish what is under way for at
    most `DRAIN_SECONDS`.
    """
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    application.faults = control.read() or application.faults
    if await _told_to_stop(stop, application.faults.slow_start_seconds):
        return
    connections: set[Connection] = set()

    def accept() -> Connection:
        application.dialled += 1
        return Connection(application, connections)

    server = await loop.create_server(accept, "127.0.0.1", port, backlog=512)
    while not await _told_to_stop(stop, POLL_SECONDS if control.path else None):
        application.faults = control.read() or application.faults
        if application.faults.crash:
            os._exit(1)
    end = time.monotonic() + DRAIN_SECONDS
    await _undialled(application)
    server.close()
    for connection in list(connections):
        connection.drain()
    await _emptied(connections, end)


async def _told_to_stop(stop: asyncio.Event, seconds: float | None) -> bool:
    try:
        return await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return False


async def _undialled(application: Application) -> None:
    """Wait, for at most `DIALLED_SECONDS`, until nobody dials: who was led here
    a moment ago is on the way, and what the kernel has taken is not read yet.
    """
    end = time.monotonic() + DIALLED_SECONDS
    before = None
    while before != application.dialled and time.monotonic() < end:
        before = application.dialled
        await asyncio.sleep(QUIET_SECONDS)


async def _emptied(connections: set[Connection], end: float) -> None:
    while connections and time.monotonic() < end:
        await asyncio.sleep(0.01)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(prog="application", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--version", required=True, help="the name it answers with")
    parser.add_argument(
        "--faults-file",
        type=Path,
        help="JSON with the faults to have; followed while it runs",
    )
    parser.add_argument("--error-rate", type=float, default=0.0)
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--slow-start-seconds", type=float, default=0.0)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the service."""
    given = parse(arguments)
    faults = Faults(
        error_rate=given.error_rate,
        latency_ms=given.latency_ms,
        slow_start_seconds=given.slow_start_seconds,
    )
    application = Application(given.version, faults, random.Random())
    control = ControlFile(given.faults_file, faults)
    asyncio.run(serve(application, given.port, control))


if __name__ == "__main__":
    main()
