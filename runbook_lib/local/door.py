"""Let in only this user's own clients: nothing of a request is used before its key,
host and origin are right.

`Door` is a WSGI application around another one; it alone decides who is let in. An AWS
call shows its account's access key, by header or by presigned query; the local mesh's
own pages (`/runbook/...`) show the key itself. Signatures are not checked: whoever
knows a key can read it in the state folder.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from werkzeug.wrappers import Request, Response

from runbook_lib.local.control_plane.denials import denial
from runbook_lib.local.control_plane.wire import ACCOUNT_HEADER, credential
from runbook_lib.local.keys import KEY_HEADER, account_of, is_key

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

__all__ = ["Door"]

OWN = "/runbook/"
# is not heard from outside: the key tells the account
ACCOUNT = f"HTTP_{ACCOUNT_HEADER.upper().replace('-', '_')}"
HOSTS = ("127.0.0.1", "localhost")
PAGES = ("Origin", "Sec-Fetch-Site")  # what browsers send, and nobody else
# of a refused body are taken, so that its sender reads the answer
UNREAD_BYTES = 1 << 20

Application = Callable[[Any, Any], Iterable[bytes]]


class Door:
    """The WSGI application that stands before another one and knows the key."""

    def __init__(self, application: Application, key: str) -> None:
        self._application, self._key = application, key

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        request = Request(environ)
        refusal = foreign(request) or self._stranger(request)
        if refusal is None:
            return self._application(environ, start_response)
        _take_rest(environ)
        return refusal(environ, start_response)

    def _stranger(self, request: Request) -> Response | None:
        """Return the answer to one who does not know the key; let an AWS call act in
        its key's account only.
        """
        request.environ.pop(ACCOUNT, None)
        if request.path.startswith(OWN):
            known = is_key(self._key, request.headers.get(KEY_HEADER, ""))
            return (
                None
                if known
                else _forbidden("this page is for the local mesh's own user")
            )
        shown = credential(request)
        if shown is None or account_of(self._key, shown.key) is None:
            return denial(request)
        return None


def foreign(request: Request) -> Response | None:
    """Return the answer to a request that a web page made, or that was meant for
    another host; None for the rest.
    """
    if any(header in request.headers for header in PAGES):
        return _forbidden("no web page is served here")
    hosts = [f"{host}:{request.environ['SERVER_PORT']}" for host in HOSTS]
    if request.environ.get("HTTP_HOST") not in hosts:
        return _forbidden(f"no such host here; expected {hosts[0]}")
    return None


def _forbidden(message: str) -> Response:
    return Response(
        json.dumps({"message": message}), status=403, content_type="application/json"
    )


def _take_rest(environ: WSGIEnvironment) -> None:
    length = environ.get("CONTENT_LENGTH") or "0"
    if length.isascii() and length.isdigit():
        environ["wsgi.input"].read(min(int(length), UNREAD_BYTES))
    environ["wsgi.input"] = io.BytesIO()
