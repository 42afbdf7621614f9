"""An HTTP server on loopback that keeps what is posted to it: somebody's webhook."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Listener:
    """What was posted, in its order; `statuses` are answered one after another, then 200."""

    url: str = ""
    said: list[dict[str, Any]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)

    def wait(self, count: int, seconds: float = 30) -> list[dict[str, Any]]:
        """Return what was posted once there is that much of it, or the time is over."""
        deadline = time.monotonic() + seconds
        while len(self.said) < count and time.monotonic() < deadline:
            time.sleep(0.02)
        return self.said


@contextmanager
def listening() -> Iterator[Listener]:
    """Listen on a free port of loopback."""
    listener = Listener()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            listener.said.append(json.loads(body))
            self.send_response(listener.statuses.pop(0) if listener.statuses else 200)
            self.end_headers()

        def log_message(self, *words: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        listener.url = f"http://127.0.0.1:{server.server_address[1]}/hook/t0ken"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield listener
        server.shutdown()
        thread.join()
