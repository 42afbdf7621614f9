"""Serve a WSGI application on loopback, over connections that stay
open between requests.

Werkzeug's own handler ends every connection after one answer, since it cannot tell
where a request's body ends. Connecting costs more than most answers do: this one knows,
and keeps the connection wherever it was read to there.
"""

from __future__ import annotations

import io
import traceback
from contextlib import suppress
from typing import Any

from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server
from werkzeug.test import run_wsgi_app

__all__ = ["server_of"]

# of a body nobody wanted are taken, so that its sender reads the answer
UNREAD_BYTES = 10_000_000
UNREAD_SECONDS = 0.5  # without any of it are waited for
BROKEN = (
    [("Content-Type", "text/plain; charset=utf-8")],
    b"The local mesh failed at this request; see its log.\n",
)


class _Body(io.RawIOBase):
    """The body of one request, which ends where the next request begins."""

    def __init__(self, source: io.BufferedIOBase, left: int) -> None:
        self.source, self.left = source, left

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        wanted = memoryview(buffer)[: self.left]
        read = self.source.readinto(wanted)
        self.left -= read
        return read


class _Handler(WSGIRequestHandler):
    """Answers one request after another on a connection."""

    protocol_version = "HTTP/1.1"
    # or an answer's last part waits for the client to acknowledge its first
    disable_nagle_algorithm = True
    wbufsize = -1  # an answer goes out in one piece

    def run_wsgi(self) -> None:
        self.wfile.flush()  # "100 Continue", where it was asked for
        environ = self.make_environ()
        body = self._bounded(environ)
        try:
            parts, status, fields = run_wsgi_app(
                self.server.app, environ, buffered=True
            )
            headers, content = list(fields), b"".join(parts)
        except Exception:  # noqa: BLE001 - whatever it is, the next request is answered
            self.log("error", "%s", traceback.format_exc())
            status, (headers, content) = "500 INTERNAL SERVER ERROR", BROKEN
        if body.left:
            self.close_connection = True
        self._send(status, headers, content)
        self._take_rest(body)

    def _bounded(self, environ: Any) -> _Body:
        """Put a body that ends in the place of the connection; where its length is not
        said, nothing follows it.
        """
        length = environ.get("CONTENT_LENGTH") or "0"
        is_known = (
            length.isascii()
            and length.isdecimal()
            and "HTTP_TRANSFER_ENCODING" not in environ
        )
        body = _Body(self.rfile, int(length) if is_known else UNREAD_BYTES)
        if not is_known:
            self.close_connection = True
        if not environ.get("wsgi.input_terminated"):  # chunks end by themselves
            environ["wsgi.input"] = body
        return body

    def _send(
        self, status: str, headers: list[tuple[str, str]], content: bytes
    ) -> None:
        code, _, reason = status.partition(" ")
        self.send_response(int(code), reason)
        for name, value in headers:
            self.send_header(name, value)
        if not any(name.lower() == "content-length" for name, _ in headers):
            self.send_header("Content-Length", str(len(content)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else content)
        self.wfile.flush()

    def _take_rest(self, body: _Body) -> None:
        """Read on for a while where a body was left unread: closing at once would
        take the answer back.
        """
        if not body.left:
            return
        most = UNREAD_BYTES
        self.connection.settimeout(UNREAD_SECONDS)
        with suppress(TimeoutError):
            while body.left and most > 0 and (read := body.read(65536)):
                most -= len(read)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Leave no line for each request."""


def server_of(application: Any) -> BaseWSGIServer:
    """Return a server of an application on a free port of 127.0.0.1, each connection in
    a thread of its own.
    """
    return make_server(
        "127.0.0.1", 0, application, threaded=True, request_handler=_Handler
    )
