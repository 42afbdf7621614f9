"""Client connections to one's own Envoy or to a service: HTTP/1.1, and HTTP/2
with prior knowledge.

It alone tells a request that was never processed, which may be sent again, from
one that was lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions

from runbook_lib.local.data_plane import wire

CONFIG = h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
GRPC_EMPTY = b"\0\0\0\0\0"


class NeverProcessedError(Exception):
    """Nobody looked at the request; it may be sent again whatever it does."""


class LostError(Exception):
    """The request may have been processed, and its answer will not come."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked; `authority` is the dialled name and port."""

    authority: str
    path: str = "/"
    headers: tuple[tuple[str, str], ...] = ()
    grpc: bool = False
    scheme: str = "http"


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back, trailers among the headers."""

    status: int
    headers: Mapping[str, str]

    @property
    def version(self) -> str:
        """Return the version that answered, empty where Envoy answered by itself."""
        return self.headers.get("x-version", "")

    @property
    def outcome(self) -> str:
        """Return the status that counts: gRPC's own where there is
        one and it is not 0.
        """
        grpc = self.headers.get("grpc-status", "0")
        return str(self.status) if grpc == "0" else f"grpc-{grpc}"

    @property
    def good(self) -> bool:
        """Say whether the caller got what it asked for."""
        return 200 <= self.status < 300 and self.headers.get("grpc-status", "0") == "0"


class Http2(asyncio.Protocol):
    """One HTTP/2 connection, many requests at a time."""

    def __init__(self) -> None:
        self._state = h2.connection.H2Connection(CONFIG)
        self._frames = wire.Frames()
        self._waiting: dict[int, tuple[asyncio.Future[Reply], dict[str, str]]] = {}
        self._transport: asyncio.Transport | None = None
        self._closed = False
        self.used = 0.0

    @property
    def free(self) -> bool:
        """Say whether another request may begin."""
        room = min(self._state.remote_settings.max_concurrent_streams, 1000)
        return not self._closed and len(self._waiting) < room

    @property
    def idle(self) -> bool:
        """Say whether nothing is under way."""
        return not self._waiting

    async def ask(self, request: Request) -> Reply:
        """Send one request and wait for its answer."""
        assert self._transport is not None
        if self._closed:
            raise NeverProcessedError
        stream = self._state.get_next_available_stream_id()
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[stream] = answer, {}
        self._state.send_headers(stream, _headers(request), end_stream=not request.grpc)
        if request.grpc:
            self._state.send_data(stream, GRPC_EMPTY, end_stream=True)
        self._transport.write(self._state.data_to_send())
        try:
            return await answer
        except asyncio.CancelledError:
            self._give_up(stream)
            raise
        finally:
            self._waiting.pop(stream, None)
            if self._closed and not self._waiting:
                self.close()

    def close(self) -> None:
        """Close; nothing should be under way."""
        self._closed = True
        if self._transport:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Introduce ourselves."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._state.initiate_connection()
        transport.write(self._state.data_to_send())

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what was still waited for."""
        self._closed = True
        for answer, _ in self._waiting.values():
            _fail(answer, LostError("closed"))

    def data_received(self, data: bytes) -> None:
        """Take in what arrived."""
        assert self._transport is not None
        frames, goodbyes = self._frames.feed(data)
        try:
            for event in self._state.receive_data(frames):
                self._take(event)
        except h2.exceptions.ProtocolError:
            self._transport.abort()
            return
        for last in goodbyes:
            self._goodbye(last)
        self._transport.write(self._state.data_to_send())

    def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, (h2.events.ResponseReceived, h2.events.TrailersReceived)):
            if event.stream_id in self._waiting:
                self._waiting[event.stream_id][1].update(
                    (str(k), str(v)) for k, v in event.headers
                )
        elif isinstance(event, h2.events.DataReceived):
            self._state.acknowledge_received_data(
                event.flow_controlled_length, event.stream_id
            )
        elif isinstance(event, h2.events.StreamEnded):
            self._done(event.stream_id)
        elif isinstance(event, h2.events.StreamReset):
            refused = event.error_code == h2.errors.ErrorCodes.REFUSED_STREAM
            self._failed(
                event.stream_id,
                NeverProcessedError() if refused else LostError("reset"),
            )

    def _give_up(self, stream: int) -> None:
        if self._transport and not self._transport.is_closing():
            self._state.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
            self._transport.write(self._state.data_to_send())

    def _done(self, stream: int) -> None:
        answer, headers = self._waiting.get(stream, (None, {}))
        if answer and not answer.done():
            answer.set_result(Reply(int(headers.pop(":status")), headers))

    def _failed(self, stream: int, error: Exception) -> None:
        if stream in self._waiting:
            _fail(self._waiting[stream][0], error)

    def _goodbye(self, last: int) -> None:
        """Take no new request; those after `last` were never looked at, the others
        are still answered.
        """
        self._closed = True
        for stream in [stream for stream in self._waiting if stream > last]:
            self._failed(stream, NeverProcessedError())
        if not self._waiting:
            self.close()


class Http1(asyncio.Protocol):
    """One HTTP/1.1 connection, one request at a time."""

    def __init__(self) -> None:
        self._messages = wire.Messages()
        self._answer: asyncio.Future[Reply] | None = None
        self._transport: asyncio.Transport | None = None
        self._closed = False
        self._reused = False
        self.used = 0.0

    @property
    def free(self) -> bool:
        """Say whether another request may begin."""
        return not self._closed and self._answer is None

    @property
    def idle(self) -> bool:
        """Say whether nothing is under way."""
        return self._answer is None

    async def ask(self, request: Request) -> Reply:
        """Send one GET and wait for its answer."""
        assert self._transport is not None
        if self._closed:
            raise NeverProcessedError
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(
            wire.request("GET", request.path, request.authority, request.headers)
        )
        try:
            return await self._answer
        except asyncio.CancelledError:
            self.close()  # its answer would be taken for the next one's
            raise
        finally:
            self._answer = None
            self._reused = True

    def close(self) -> None:
        """Close; nothing should be under way."""
        self._closed = True
        if self._transport:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the connection."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what was still waited for.

        A server may close an idle connection just as the next request leaves for it. So
        HTTP clients (Go's net/http for one) send a GET again if the connection had been
        used before and ended without a byte of an answer.
        """
        self._closed = True
        if self._answer:
            untouched = self._reused and not self._messages.begun
            _fail(
                self._answer,
                NeverProcessedError() if untouched else LostError("closed"),
            )

    def data_received(self, data: bytes) -> None:
        """Take in what arrived."""
        try:
            for message in self._messages.feed(data):
                self._closed = self._closed or message.closes
                if self._answer and not self._answer.done():
                    self._answer.set_result(
                        Reply(int(message.start.split()[1]), message.headers)
                    )
        except (ValueError, IndexError):
            self.close()
        if self._closed:
            self.close()


def _headers(request: Request) -> Sequence[tuple[str, str]]:
    found = [
        (":method", "POST" if request.grpc else "GET"),
        (":scheme", request.scheme),
        (":authority", request.authority),
        (":path", request.path),
    ]
    found += (
        [("content-type", "application/grpc"), ("te", "trailers")]
        if request.grpc
        else []
    )
    return [*found, *((name.lower(), value) for name, value in request.headers)]


def _fail(answer: asyncio.Future[Reply], error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)
