"""HTTP/1.1 messages and HTTP/2 frames in a stream of bytes, as far as a laptop's own
traffic needs them.

Pure: bytes in, messages out. `h2` does the rest of HTTP/2.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
GOAWAY = 7
EVERY_STREAM = 2**31 - 1
BODILESS = ("HTTP/1.1 204", "HTTP/1.1 304")


@dataclass(frozen=True, slots=True)
class Message:
    """A request or an answer: its first line, its headers in lower case, its body."""

    start: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def closes(self) -> bool:
        """Say whether the connection ends with this message."""
        return self.headers.get("connection", "").lower() == "close"


class Messages:
    """Split what arrives on one HTTP/1.1 connection into messages."""

    def __init__(self) -> None:
        self._buffer = b""

    @property
    def begun(self) -> bool:
        """Say whether part of a message has arrived."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> Iterator[Message]:
        """Yield the messages that `data` completes; ValueError for bytes
        that are no HTTP/1.1.
        """
        self._buffer += data
        while (taken := _take(self._buffer)) is not None:
            message, length = taken
            self._buffer = self._buffer[length:]
            # 100 Continue and its like announce the answer
            if not message.start.startswith("HTTP/1.1 1"):
                yield message


def _take(buffer: bytes) -> tuple[Message, int] | None:
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        return None
    start, *lines = buffer[:end].decode("latin-1").split("\r\n")
    headers = {
        name.lower(): value.strip()
        for name, _, value in (line.partition(":") for line in lines)
    }
    found = _body(buffer, end + 4, start, headers)
    return None if found is None else (Message(start, headers, found[0]), found[1])


def _body(
    buffer: bytes, at: int, start: str, headers: Mapping[str, str]
) -> tuple[bytes, int] | None:
    """Return the body and where it ends, None while it has not all arrived."""
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return _chunks(buffer, at)
    length = 0 if start.startswith(BODILESS) else int(headers.get("content-length", 0))
    return (
        (buffer[at : at + length], at + length) if len(buffer) >= at + length else None
    )


def _chunks(buffer: bytes, at: int) -> tuple[bytes, int] | None:
    body = b""
    while (end := buffer.find(b"\r\n", at)) >= 0:
        size = int(buffer[at:end].split(b";")[0], 16)
        at = end + 2 + size + 2
        if len(buffer) < at:
            return None
        if not size:
            return body, at
        body += buffer[end + 2 : end + 2 + size]
    return None


def request(
    method: str,
    path: str,
    host: str,
    headers: Iterable[tuple[str, str]],
    body: bytes = b"",
) -> bytes:
    """Return a request's bytes."""
    lines = [
        f"{method} {path} HTTP/1.1",
        f"host: {host}",
        f"content-length: {len(body)}",
    ]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def answer(status: int, headers: Iterable[tuple[str, str]], body: bytes) -> bytes:
    """Return an answer's bytes."""
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        f"content-length: {len(body)}",
    ]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


class Frames:
    """Part an HTTP/2 stream of frames into what `h2` may see and the
    GOAWAYs it may not.

    `h2` closes a connection at the first GOAWAY, sent or received, though the requests
    before it are still being answered: exactly those a rolling update must not lose.
    """

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> tuple[bytes, list[int]]:
        """Return the whole frames without their GOAWAYs, and the last
        stream id of each GOAWAY.
        """
        self._buffer += data
        kept, left, at = b"", [], 0
        while len(self._buffer) >= at + 9:
            end = at + 9 + int.from_bytes(self._buffer[at : at + 3])
            if len(self._buffer) < end:
                break
            if self._buffer[at + 3] == GOAWAY:
                left.append(
                    int.from_bytes(self._buffer[at + 9 : at + 13]) & EVERY_STREAM
                )
            else:
                kept += self._buffer[at:end]
            at = end
        self._buffer = self._buffer[at:]
        return kept, left


def goaway(last_stream: int) -> bytes:
    """Return a GOAWAY frame without an error: streams after `last_stream`
    were never looked at.
    """
    return struct.pack(">HBBBIII", 0, 8, GOAWAY, 0, 0, last_stream, 0)
