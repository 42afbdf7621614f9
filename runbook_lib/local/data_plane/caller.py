"""ServiceA's own requests: paced, resolved as the application would,
counted one by one.

It alone makes traffic; every request ends in the ledger, whatever became of it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace

from runbook_lib.errors import RunbookError
from runbook_lib.local.data_plane.connections import (
    LostError,
    NeverProcessedError,
    Reply,
    Request,
)
from runbook_lib.local.data_plane.ledger import Ledger, Row
from runbook_lib.local.data_plane.pool import Connections
from runbook_lib.local.data_plane.resources import Address

Resolve = Callable[[str], Sequence[str]]
"""The addresses a name has now, empty where it has none."""
RouteTo = Callable[[Sequence[str]], Address]
"""Where on loopback the next request goes: the own Envoy, or without one a task
of those addresses.
"""

ATTEMPTS = 4
TICK_SECONDS = 0.01
LONGEST_TICK_SECONDS = 0.1  # so that a change of the rate or a stop is seen


@dataclass(frozen=True, slots=True)
class Dial:
    """What is dialled; over TLS where somebody's certificates are trusted (PEM)."""

    name: str
    port: int
    protocol: str
    trust: str = ""

    @property
    def request(self) -> Request:
        """What is asked there."""
        return Request(
            f"{self.name}:{self.port}",
            grpc=self.protocol == "grpc",
            scheme="https" if self.trust else "http",
        )


class UnknownNameError(Exception):
    """The dialled name has no address, so the request never leaves the application."""


class Names:
    """A resolver's cache: what a name has, or that it has nothing, holds
    for `ttl_seconds`.
    """

    def __init__(
        self, resolve: Resolve, ttl_seconds: float, clock: Callable[[], float]
    ) -> None:
        self._resolve, self._ttl, self._clock = resolve, ttl_seconds, clock
        self._known: dict[str, tuple[float, asyncio.Future[Sequence[str]]]] = {}

    async def addresses(self, name: str) -> Sequence[str]:
        """Return the addresses of `name`; UnknownNameError where it has none.

        The question is asked in another thread, and by one request for all that
        wait for the answer.
        """
        until, asked = self._known.get(name, (0.0, None))
        if asked is None or (asked.done() and until <= self._clock()):
            asked = asyncio.ensure_future(asyncio.to_thread(self._resolve, name))
            self._known[name] = self._clock() + self._ttl, asked
        if found := await asyncio.shield(asked):
            return found
        raise UnknownNameError(name)


class Caller:
    """Requests at a steady rate, in a thread of its own, from `start` to `stop`."""

    def __init__(
        self,
        name: str,
        port: int,
        protocol: str,
        trust: str = "",
        *,
        requests_per_second: float,
        resolve: Resolve,
        route_to: RouteTo,
        ttl_seconds: float = 1.0,
        ledger: Ledger | None = None,
        max_in_flight: int = 500,
        # over App Mesh's 15 s, so that Envoy's own answer is seen
        timeout_seconds: float = 20.0,
    ) -> None:
        self.requests_per_second = requests_per_second
        self.ledger = ledger or Ledger()
        # replaced as a caller's configuration is: what is under way stays as it was
        self.dial = Dial(name, port, protocol, trust)
        self._route_to = route_to
        self._names = Names(resolve, ttl_seconds, time.monotonic)
        self._max_in_flight, self._timeout = max_in_flight, timeout_seconds
        self._ready: Future[asyncio.AbstractEventLoop] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._main()), name="caller", daemon=True
        )

    def start(self) -> Caller:
        """Begin; returns once requests are being made."""
        self._thread.start()
        self._ready.result(timeout=10)
        return self

    def stop(self) -> Row:
        """Send nothing more, wait for what is in flight, return the last snapshot."""
        if self._thread.is_alive():
            self._ready.result().call_soon_threadsafe(self._stopping.set)
            self._thread.join()
        return self.snapshot()

    def snapshot(self) -> Row:
        """Return what the ledger says."""
        return self.ledger.snapshot()

    def ask(self, headers: Iterable[tuple[str, str]] = (), path: str = "/") -> Reply:
        """Make one request beside the paced ones, the same way, without an
        entry in the ledger.
        """
        request = replace(self.dial.request, path=path, headers=tuple(headers))
        return asyncio.run_coroutine_threadsafe(
            self._within(request), self._ready.result()
        ).result()

    def outcomes(
        self, headers: Iterable[tuple[str, str]], count: int
    ) -> list[tuple[str, str]]:
        """Make requests beside the paced ones, all at once; return version and status
        of each, as a ledger would.
        """
        request = replace(self.dial.request, headers=tuple(headers))

        async def made() -> list[tuple[str, str]]:
            ends = await asyncio.gather(*(self._end_of(request) for _ in range(count)))
            return [(reply.version if reply else "", status) for reply, status in ends]

        return asyncio.run_coroutine_threadsafe(made(), self._ready.result()).result()

    async def _main(self) -> None:
        self._stopping = asyncio.Event()
        self._connections: dict[Dial, Connections] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._ready.set_result(asyncio.get_running_loop())
        books = asyncio.create_task(self._keep_books())
        await self._pace()
        if self._running:
            await asyncio.wait(self._running)
        books.cancel()
        for connections in self._connections.values():
            connections.close()
        self.ledger.write(everything=True)

    async def _keep_books(self) -> None:
        while True:
            await asyncio.sleep(1)
            for connections in self._connections.values():
                connections.sweep()
            self.ledger.write()

    async def _pace(self) -> None:
        """Send what is due, late ticks included; what is more than a second
        late was never sent.
        """
        due, before = 0.0, time.monotonic()
        while not self._stopping.is_set():
            now = time.monotonic()
            due, before = due + (now - before) * self.requests_per_second, now
            count = min(int(due), self._max_in_flight - len(self._running))
            for _ in range(count):
                self._begin()
            due -= count
            excess = int(due - self.requests_per_second)
            if excess > 0:
                self.ledger.shed(excess)
                due -= excess
            pause = (
                (1 - due) / self.requests_per_second
                if self.requests_per_second
                else LONGEST_TICK_SECONDS
            )
            await asyncio.sleep(min(max(TICK_SECONDS, pause), LONGEST_TICK_SECONDS))

    def _begin(self) -> None:
        self.ledger.sent()
        task = asyncio.create_task(self._counted())
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _counted(self) -> None:
        """Make one request and write down how it ended."""
        began = time.perf_counter()
        reply, status = await self._end_of(self.dial.request)
        version, good = (reply.version, reply.good) if reply else ("", False)
        seconds = time.perf_counter() - began
        self.ledger.ended(
            version, status, seconds, answered=reply is not None, failed=not good
        )

    async def _end_of(self, request: Request) -> tuple[Reply | None, str]:
        """Make one request; return its answer, if any, and how it ended."""
        try:
            reply = await self._within(request)
            return reply, reply.outcome
        except TimeoutError:
            return None, "timeout"
        except UnknownNameError:
            return None, "unresolved"
        except NeverProcessedError:
            return None, "refused"
        except LostError as error:
            return None, str(error)
        except OSError:
            return None, "unreachable"
        except RunbookError:
            return None, "unroutable"
        except Exception as error:  # noqa: BLE001 - a request that vanished would be a lie in the ledger
            return None, type(error).__name__

    async def _within(self, request: Request) -> Reply:
        async with asyncio.timeout(self._timeout):
            return await self._ask(request)

    async def _ask(self, request: Request) -> Reply:
        """Resolve, choose the way, ask; again where nobody looked at the request."""
        for _ in range(ATTEMPTS - 1):
            try:
                return await self._once(request)
            except NeverProcessedError:
                self.ledger.retried()
        return await self._once(request)

    async def _once(self, request: Request) -> Reply:
        dial = self.dial
        addresses = await self._names.addresses(dial.name)
        if dial not in self._connections:
            self._connections[dial] = Connections(dial.protocol, dial.name, dial.trust)
        return await self._connections[dial].ask(self._route_to(addresses), request)
