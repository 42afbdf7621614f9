"""What AWS's protocols look like on the wire, read from botocore's own service models.

Finds out which operation of which service a request asks for, in whose account and
region; reads an operation's members out of a rest-json or json request; writes its
answer or its error. It knows no resource and keeps no state.
"""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import parse_qs, unquote

from botocore.exceptions import DataNotFoundError
from botocore.model import OperationModel, ServiceModel, Shape
from werkzeug.wrappers import Request, Response

from runbook_lib.aws.service_models import loader
from runbook_lib.local.keys import account_named

__all__ = [
    "ACCOUNT_HEADER",
    "ApiError",
    "Credential",
    "Target",
    "answer",
    "credential",
    "failure",
    "identify",
    "members",
    "model",
    "raw_path",
]

# What a signature calls a service, where botocore calls it something else.
SIGNING_NAMES = {
    "monitoring": "cloudwatch",
    "elasticloadbalancing": "elbv2",
    "tagging": "resourcegroupstaggingapi",
}
# which says the account a call is for, to moto too
ACCOUNT_HEADER = "x-moto-account-id"
SCOPE = r"(?P<key>[^/\s]+)/\d{8}/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request"
SMITHY_RPC = re.compile(r"^/service/[^/]+/operation/(?P<operation>\w+)$")


class ApiError(Exception):
    """An error a service answers with: its code, its HTTP status and its words."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


@dataclass(frozen=True, slots=True)
class Credential:
    """What a call says it is signed with: an access key, and the scope it is for.
    Nobody has checked it.
    """

    key: str
    region: str
    service: str


@dataclass(frozen=True, slots=True)
class Target:
    """Which operation of which service is asked for, in which account and region."""

    service: str
    operation: str
    account: str
    region: str


@cache
def model(service: str) -> ServiceModel:
    """Return a service's model; loading one takes 10 to 100 ms, once."""
    return ServiceModel(loader().load_service_model(service, "service-2"), service)


@cache
def _routes(service: str) -> list[tuple[str, re.Pattern[str], str]]:
    """Return (method, path, operation) of a REST service, the most
    literal path first.
    """
    found = []
    for name in model(service).operation_names:
        http = model(service).operation_model(name).http
        path = http["requestUri"].split("?")[0]
        pattern = re.sub(r"\{(\w+)\+?\}", r"(?P<\1>[^/]+)", path)
        found.append((http["method"], re.compile(f"^{pattern}/?$"), str(name)))
    return sorted(found, key=lambda route: route[1].pattern.count("(?P<"))


def raw_path(request: Request) -> str:
    """Return the path as it was sent: a name's own `%2F` must not
    look like a separator.
    """
    sent = (
        request.environ.get("RAW_URI")
        or request.environ.get("REQUEST_URI")
        or request.path
    )
    return re.sub(r"^https?://[^/]+", "", str(sent)).split("?")[0]


def _rest(service: str, request: Request) -> tuple[str, dict[str, str]] | None:
    path = raw_path(request)
    for method, pattern, operation in _routes(service):
        match = pattern.match(path) if method == request.method else None
        if match:
            return operation, {
                key: unquote(value) for key, value in match.groupdict().items()
            }
    return None


def _operation(service: str, request: Request, body: bytes) -> str:
    if target := request.headers.get("X-Amz-Target"):
        return target.rsplit(".", 1)[-1]
    if rpc := SMITHY_RPC.match(request.path):
        return rpc["operation"]
    if action := request.args.get("Action") or _form_action(request, body):
        return action
    try:
        found = _rest(service, request)
    # a service botocore does not know by its signing name is counted and passed on
    except DataNotFoundError:
        found = None
    return found[0] if found else f"{request.method.capitalize()}Unknown"


def _form_action(request: Request, body: bytes) -> str | None:
    if request.mimetype != "application/x-www-form-urlencoded":
        return None
    return parse_qs(body.decode("utf-8", "replace")).get("Action", [None])[0]


def _account(request: Request, access_key: str) -> str:
    """Return the account a call is for: as the header says, or its access key; moto
    knows those it made itself.
    """
    named = request.headers.get(ACCOUNT_HEADER) or account_named(access_key)
    if named:
        return named
    # moto.iam takes 0.5 s to import: not before it is asked
    from moto.iam.models import get_account_id_from

    return str(get_account_id_from(access_key))


def credential(request: Request) -> Credential | None:
    """Return what a call shows by its `Authorization` header, or else by a presigned
    query; None for neither.
    """
    header = request.headers.get("Authorization")
    presigned = request.args.get("X-Amz-Credential", "")
    found = (
        re.search(f"Credential={SCOPE}", header)
        if header
        else re.fullmatch(SCOPE, presigned)
    )
    if not found:
        return None
    service = found["service"].lower()
    return Credential(
        found["key"], found["region"], SIGNING_NAMES.get(service, service)
    )


def identify(request: Request, body: bytes) -> Target | None:
    """Return what a signed request asks for, or None for one that is not signed."""
    shown = credential(request)
    if shown is None:
        return None
    account = _account(request, shown.key)
    return Target(
        shown.service, _operation(shown.service, request, body), account, shown.region
    )


def members(target: Target, request: Request, body: bytes) -> dict[str, Any]:
    """Return the members a request carries, as sent: body, path and
    query, not yet checked.
    """
    operation = model(target.service).operation_model(target.operation)
    sent = _document(
        body,
        "BadRequestException" if _is_rest(target.service) else "SerializationException",
    )
    if _is_rest(target.service):
        sent = {
            key: value
            for key, value in sent.items()
            if _location(operation, key) is None
        }
        found = _rest(target.service, request)
        sent.update(found[1] if found else {})
        sent.update(_query(operation, request))
    return sent


def _is_rest(service: str) -> bool:
    """Say whether a service speaks rest-json and not json; Cloud Map's CBOR
    is not spoken here.
    """
    return bool(model(service).metadata["protocol"] == "rest-json")


def _document(body: bytes, code: str) -> dict[str, Any]:
    try:
        document = json.loads(body) if body.strip() else {}
    except ValueError:
        raise ApiError(code, "The request body is not valid JSON.") from None
    if not isinstance(document, dict):
        raise ApiError(code, "The request body is not a JSON object.")
    return document


def _location(operation: OperationModel, member: str) -> str | None:
    shape = operation.input_shape.members.get(member) if operation.input_shape else None
    return shape.serialization.get("location") if shape else None


def _query(operation: OperationModel, request: Request) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, shape in (
        operation.input_shape.members if operation.input_shape else {}
    ).items():
        key = shape.serialization.get("name", name)
        if shape.serialization.get("location") == "querystring" and key in request.args:
            text = request.args[key]
            numeric = shape.type_name in ("integer", "long") and re.fullmatch(
                r"-?\d+", text
            )
            found[name] = int(text) if numeric else text
    return found


def conform(shape: Shape, value: Any) -> Any:
    """Return `value` as the model has it, without absent members and
    those it does not know.
    """
    if shape.type_name == "structure":
        known = {k: v for k, v in value.items() if k in shape.members and v is not None}
        return {k: conform(shape.members[k], v) for k, v in known.items()}
    if shape.type_name == "list":
        return [conform(shape.member, item) for item in value]
    if shape.type_name == "map":
        return {key: conform(shape.value, item) for key, item in value.items()}
    return round(value, 3) if shape.type_name == "timestamp" else value


def answer(target: Target, document: dict[str, Any]) -> Response:
    """Return an operation's HTTP answer; where the model names a payload member, that
    member is the body.
    """
    shape = model(target.service).operation_model(target.operation).output_shape
    body = conform(shape, document) if shape else {}
    payload = shape.serialization.get("payload") if shape else None
    return _response(target.service, 200, body[payload] if payload else body, {})


def failure(service: str, error: ApiError) -> Response:
    """Return an error's HTTP answer, as every SDK reads it: type in the header,
    words in `message`.
    """
    body = {"message": error.message}
    if not _is_rest(service):
        body = {"__type": error.code, **body}
    return _response(service, error.status, body, {"x-amzn-ErrorType": error.code})


def _response(
    service: str, status: int, body: dict[str, Any], headers: dict[str, str]
) -> Response:
    metadata = model(service).metadata
    mime = (
        "application/json"
        if _is_rest(service)
        else f"application/x-amz-json-{metadata['jsonVersion']}"
    )
    headers = {"x-amzn-RequestId": str(uuid.uuid4()), **headers}
    return Response(json.dumps(body), status=status, headers=headers, content_type=mime)
