"""Let boto3 clients call the endpoint without a socket, in their own process.

It stands in for the network under a client: the request it would send goes to the WSGI
application, signed and serialised as ever. Nothing else differs, retries included.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from werkzeug.test import EnvironBuilder, run_wsgi_app

from runbook_lib.local.control_plane.application import application

__all__ = ["answer_in_process"]


class _Body(io.BytesIO):
    """A body that can be read as urllib3's."""

    def stream(self) -> Iterator[bytes]:
        """Return what is left, in one piece."""
        yield self.read()


def _answer(request: AWSPreparedRequest, **_: Any) -> AWSResponse:
    headers = [
        (key, value.decode() if isinstance(value, bytes) else value)
        for key, value in request.headers.items()
    ]
    body = (
        request.body.encode() if isinstance(request.body, str) else request.body or b""
    )
    builder = EnvironBuilder(
        path=request.url, method=request.method, headers=headers, data=body
    )
    try:
        content, status, answered = run_wsgi_app(
            application(), builder.get_environ(), buffered=True
        )
    finally:
        builder.close()
    return AWSResponse(
        request.url, int(status.split()[0]), dict(answered), _Body(b"".join(content))
    )


def answer_in_process(events: Any) -> None:
    """Answer every request of a client (`client.meta.events`) or session
    (`session.events`) from this process.
    """
    events.register_first("before-send.*.*", _answer)
