"""One accepted connection that speaks HTTP/1.1 or cleartext HTTP/2, whichever
its first bytes say.

It alone turns requests into bytes on a server's side; what to answer it
asks the application.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions

from runbook_lib.local.data_plane import wire

CONFIG = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
# everything else is 13, internal
GRPC_OF_HTTP = {200: "0", 404: "12", 429: "8", 503: "14", 504: "4"}


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, and for how long it is held back."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes
    delay_seconds: float = 0.0
    grpc: bool = False

    @property
    def grpc_status(self) -> str:
        """Return the status gRPC puts in its trailers; HTTP's own is then 200."""
        return GRPC_OF_HTTP.get(self.status, "13")


class Answers(Protocol):
    """What a connection needs of the application."""

    in_flight: int

    def answer(self, path: str, grpc: bool) -> Answer:
        """Return the answer to one request."""


class Connection(asyncio.Protocol):
    """An accepted connection; it hands its bytes to the protocol they begin with."""

    def __init__(self, application: Answers, others: set[Connection]) -> None:
        self._application = application
        self._others = others
        self._begun = b""
        self._speaker: Http1 | Http2 | None = None
        self._draining = False
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the connection, so that it can be drained."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._others.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._others.discard(self)
        if self._speaker:
            self._speaker.lost = True

    def data_received(self, data: bytes) -> None:
        """Find out who is speaking, then let it speak; whoever breaks
        the rules is cut off.
        """
        assert self.transport is not None
        try:
            if self._speaker is None:
                self._begun, data = b"", self._begun + data
                if data != wire.PREFACE and wire.PREFACE.startswith(data):
                    self._begun = data
                    return
                speaks_2 = data.startswith(wire.PREFACE)
                self._speaker = (Http2 if speaks_2 else Http1)(
                    self._application, self.transport
                )
            self._speaker.feed(data)
        except (ValueError, IndexError, KeyError, h2.exceptions.ProtocolError):
            self.transport.abort()
        if self._draining:
            self.drain()

    def drain(self) -> None:
        """Finish what is under way, take nothing new, close."""
        self._draining = True
        if self._speaker:
            self._speaker.drain()
        elif self.transport:
            self.transport.close()


class Http1:
    """HTTP/1.1: one request after the other, in their order."""

    def __init__(self, application: Answers, transport: asyncio.Transport) -> None:
        self._application = application
        self._transport = transport
        self._messages = wire.Messages()
        self._waiting: deque[wire.Message] = deque()
        self._busy = False
        self._draining = False
        self.lost = False

    def feed(self, data: bytes) -> None:
        """Take in what arrived."""
        self._waiting.extend(self._messages.feed(data))
        self._next()

    def drain(self) -> None:
        """Close once nothing is under way."""
        self._draining = True
        if not self._busy and not self._waiting:
            self._transport.close()

    def _next(self) -> None:
        while self._waiting and not self._busy and not self.lost:
            message = self._waiting.popleft()
            _, path, _ = message.start.split(" ", 2)
            answer = self._application.answer(path, False)
            self._busy = True
            self._application.in_flight += 1
            if answer.delay_seconds:
                asyncio.get_running_loop().call_later(
                    answer.delay_seconds, self._late, answer, message.closes
                )
            else:
                self._send(answer, message.closes)

    def _late(self, answer: Answer, closes: bool) -> None:
        self._send(answer, closes)
        self._next()

    def _send(self, answer: Answer, closes: bool) -> None:
        self._busy = False
        self._application.in_flight -= 1
        if self.lost:
            return
        closes = closes or (self._draining and not self._waiting)
        headers = (
            [*answer.headers, ("connection", "close")] if closes else answer.headers
        )
        self._transport.write(wire.answer(answer.status, headers, answer.body))
        if closes:
            self._transport.close()


class Http2:
    """HTTP/2: every stream by itself."""

    def __init__(self, application: Answers, transport: asyncio.Transport) -> None:
        self._application = application
        self._transport = transport
        self._state = h2.connection.H2Connection(CONFIG)
        # h2's own limit is 100, and it ends the whole connection for one stream more,
        # which a peer under load sends before it can have read the limit.
        self._state.local_settings.max_concurrent_streams = wire.EVERY_STREAM
        self._state.local_settings.acknowledge()
        self._state.initiate_connection()
        # headers, by stream; a body is not looked at
        self._requests: dict[int, dict[str, str]] = {}
        self._unsent: dict[int, Answer] = {}  # waiting for room in the peer's window
        self._last: int | None = None  # the last stream taken, once draining
        self.lost = False

    def feed(self, data: bytes) -> None:
        """Take in all that arrived, then answer: a request may be taken back by the
        very bytes that bring it.
        """
        ended = []
        for event in self._state.receive_data(data):
            if isinstance(event, h2.events.RequestReceived):
                self._requests[event.stream_id] = {
                    str(k): str(v) for k, v in event.headers
                }
            elif isinstance(event, h2.events.DataReceived):
                self._state.acknowledge_received_data(
                    event.flow_controlled_length, event.stream_id
                )
            elif isinstance(event, h2.events.StreamEnded):
                ended.append(event.stream_id)
            elif isinstance(event, h2.events.StreamReset):
                self._requests.pop(event.stream_id, None)
                self._unsent.pop(event.stream_id, None)
        self._retry_unsent()
        for stream in ended:
            self._answer(stream)
        self._flush()

    def drain(self) -> None:
        """Say goodbye once, then close when the last answer is out."""
        if self._last is None:
            self._last = self._state.highest_inbound_stream_id
            self._transport.write(wire.goaway(self._last))
        if not self._requests and not self._unsent:
            self._transport.close()

    def _answer(self, stream: int) -> None:
        if stream not in self._requests:
            return
        if self._last is not None and stream > self._last:
            del self._requests[stream]
            self._state.reset_stream(stream, h2.errors.ErrorCodes.REFUSED_STREAM)
            return
        headers = self._requests[stream]
        grpc = headers.get("content-type", "").startswith("application/grpc")
        answer = self._application.answer(headers[":path"], grpc)
        self._application.in_flight += 1
        if answer.delay_seconds:
            asyncio.get_running_loop().call_later(
                answer.delay_seconds, self._late, stream, answer
            )
        else:
            self._send(stream, answer)

    def _late(self, stream: int, answer: Answer) -> None:
        try:
            self._send(stream, answer)
        except h2.exceptions.ProtocolError:
            self._transport.abort()  # the peer said goodbye in the meantime
        else:
            self._flush()

    def _send(self, stream: int, answer: Answer) -> None:
        """Send one answer; a peer that gave up on it in the meantime gets nothing."""
        self._application.in_flight -= 1
        if self.lost or self._requests.pop(stream, None) is None:
            return
        status = 200 if answer.grpc else answer.status
        length = [] if answer.grpc else [("content-length", str(len(answer.body)))]
        self._state.send_headers(
            stream, [(":status", str(status)), *answer.headers, *length]
        )
        self._send_body(stream, answer)

    def _send_body(self, stream: int, answer: Answer) -> None:
        room = min(
            self._state.local_flow_control_window(stream),
            self._state.max_outbound_frame_size,
        )
        if room < len(answer.body):
            self._unsent[stream] = answer
            return
        self._state.send_data(stream, answer.body, end_stream=not answer.grpc)
        if answer.grpc:
            self._state.send_headers(
                stream, [("grpc-status", answer.grpc_status)], end_stream=True
            )

    def _retry_unsent(self) -> None:
        waiting, self._unsent = self._unsent, {}
        for stream, answer in waiting.items():
            self._send_body(stream, answer)

    def _flush(self) -> None:
        if not self.lost:
            self._transport.write(self._state.data_to_send())
        if self._last is not None and not self._requests and not self._unsent:
            self._transport.close()
