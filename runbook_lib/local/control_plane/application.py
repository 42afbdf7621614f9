"""The endpoint: one WSGI application that answers for every AWS service.

It sees each call first, counts it, gives it to the engine of its service and leaves to
moto what no engine takes. Calls take turns under one lock. Besides AWS it serves `GET
/runbook/calls`, `POST /runbook/calls/reset`, `POST /runbook/rule` (the ARN that a rule
is to have), `/runbook/vpc` and `/runbook/certificate` (what the file names by its id)
and `/runbook/way` (how the way to AWS is: slow, throttled, closed). It
opens no socket and starts no thread.
"""

from __future__ import annotations

import functools
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from werkzeug.wrappers import Request, Response

from runbook_lib.local.control_plane import (
    appmesh,
    certificates,
    cloud_map,
    ecs,
    elbv2,
    iam,
    metrics,
    profiles,
)
from runbook_lib.local.control_plane.calls import CALLS, is_read
from runbook_lib.local.control_plane.denials import denial, refusal, unserved
from runbook_lib.local.control_plane.lock import LOCK
from runbook_lib.local.control_plane.networks import hold
from runbook_lib.local.control_plane.permissions import forbidden
from runbook_lib.local.control_plane.way import Way
from runbook_lib.local.control_plane.wire import (
    ACCOUNT_HEADER,
    ApiError,
    Target,
    answer,
    failure,
    identify,
    members,
)

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

__all__ = ["Endpoint", "application"]

OWN = "/runbook/"
# how moto is told the account
ACCOUNT = f"HTTP_{ACCOUNT_HEADER.upper().replace('-', '_')}"
CLOSED = ("instance_metadata", "moto_api", "moto_api._internal", "moto_proxy")
# An engine answers with the operation's output members, or with None for what moto may
# answer.
Engine = Callable[[Target, dict[str, Any]], dict[str, Any] | None]
ENGINES: dict[str, Engine] = {
    "appmesh": appmesh.perform,
    "ecs": ecs.perform,
    "servicediscovery": cloud_map.perform,
    "cloudwatch": metrics.perform,
    "route53profiles": profiles.perform,
}


class Endpoint:
    """The WSGI application."""

    def __init__(self) -> None:
        self.moto = _services()
        self.way = Way()
        self._asked: Counter[str] = Counter()

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        request = Request(environ)
        body = request.get_data()
        environ["wsgi.input"] = io.BytesIO(body)  # moto reads it once more
        environ["CONTENT_LENGTH"] = str(len(body))
        trouble = None if request.path.startswith(OWN) else self.way.take()
        if trouble:
            return unserved(request, trouble)(environ, start_response)
        with LOCK:
            response = self._own(request) or self._aws(request, body)
        return response(environ, start_response)

    def _own(self, request: Request) -> Response | None:
        if request.path == "/runbook/calls" and request.method == "GET":
            return _json(CALLS.summary(request.args.get("account")))
        if request.path == "/runbook/calls/reset" and request.method == "POST":
            CALLS.reset()
            return _json({})
        if request.path == "/runbook/vpc" and request.method == "POST":
            asked = json.loads(request.get_data())
            hold(asked["account"], asked["region"], asked["vpc"])
            return _json({})
        if request.path == "/runbook/certificate" and request.method == "POST":
            certificates.hold(**json.loads(request.get_data()))
            return _json({})
        if request.path == "/runbook/rule" and request.method == "POST":
            asked = json.loads(request.get_data())
            elbv2.store(asked["account"], asked["region"]).expect(asked["rule"])
            return _json({})
        if request.path == "/runbook/way":
            if request.method == "POST":
                self.way.put(**json.loads(request.get_data()))
            return _json(self.way.said())
        if request.path.startswith(OWN):
            return _json({"message": "No such page."}, 404)
        return None

    def _aws(self, request: Request, body: bytes) -> Response:
        target = identify(request, body)
        if target is None:
            return denial(request)
        request.environ[ACCOUNT] = target.account
        CALLS.add(target, request.headers.get("User-Agent", ""))
        iam.ensure_managed_policies(target)
        elbv2.prepare(target)
        _prepare_names(target)
        if words := forbidden(target, request, body):
            return refusal(request, words)
        try:
            done = _engine(target, request, body)
        except ApiError as error:
            return failure(target.service, error)
        if done is not None:
            return done
        self._settle_ids(target)
        return self._moto(request, target.service)

    def _settle_ids(self, target: Target) -> None:
        """Let moto give what a call makes the id that it has each time, as the
        notebooks show it, whatever else was asked for in between.
        """
        if is_read(target.operation):
            return
        from moto.moto_api._internal import mock_random  # slow to import, as all moto

        call = f"{target.account} {target.region} {target.service}.{target.operation}"
        self._asked[call] += 1
        mock_random.seed(f"{call} {self._asked[call]}")

    def _moto(self, request: Request, service: str) -> Response:
        try:
            return Response.from_app(self.moto, request.environ, buffered=True)
        except _ClosedError:
            return _json({"message": "No such page."}, 404)
        except NotImplementedError as error:
            return _json(
                {"__type": "NotImplementedException", "message": f"{service}: {error}"},
                501,
            )


def _prepare_names(target: Target) -> None:
    """Put our Route 53 in moto's place before the first call is answered."""
    if target.service == "route53":
        from runbook_lib.local.control_plane import route53  # slow to import, with moto

        route53.install()


class _ClosedError(Exception):
    """What was asked for is of moto's own and no service of AWS's."""


def _services() -> Any:
    """Return moto's application without what is no API of AWS: its own, and the
    metadata of instances.
    """
    from moto.moto_server.werkzeug_app import (
        DomainDispatcherApplication,
        create_backend_app,
    )

    class Services(DomainDispatcherApplication):
        def get_backend_for_host(self, host: str | None) -> Any:
            backend = self._known(host)
            if backend in CLOSED:
                raise _ClosedError(backend)
            return backend

        @functools.lru_cache(maxsize=1024)  # noqa: B019 - it lives as long as the process
        def _known(self, host: str | None) -> Any:
            return super().get_backend_for_host(host)  # lists moto's folders each time

    return Services(create_backend_app)


def _engine(target: Target, request: Request, body: bytes) -> Response | None:
    engine = ENGINES.get(target.service)
    if engine is None or (
        target.service == "cloudwatch" and "X-Amz-Target" not in request.headers
    ):
        return None  # CloudWatch's older protocols are moto's
    if target.operation.endswith("Unknown"):
        raise ApiError(
            "UnknownOperationException",
            f"{request.method} {request.path} is no operation.",
            404,
        )
    done = engine(target, members(target, request, body))
    return None if done is None else answer(target, done)


def _json(document: dict[str, Any], status: int = 200) -> Response:
    return Response(
        json.dumps(document), status=status, content_type="application/json"
    )


_MADE: list[Endpoint] = []


def application() -> Endpoint:
    """Return the WSGI application that serves every AWS service at one endpoint.

    It is made at the first call; like its stores, it is the process's.
    """
    with LOCK:
        if not _MADE:
            _MADE.append(Endpoint())
        return _MADE[0]
