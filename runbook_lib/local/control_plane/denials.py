"""What AWS answers to a call that it does not carry out, in the caller's protocol:
without an access key, with an unknown one, against a policy, throttled, or while it
cannot serve.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from werkzeug.wrappers import Request, Response

from runbook_lib.local.control_plane.way import Trouble
from runbook_lib.local.control_plane.wire import Credential, credential

__all__ = ["denial", "refusal", "unserved"]


@dataclass(frozen=True, slots=True)
class _Words:
    """An error as one family of services says it."""

    code: str
    message: str
    status: int = 403


NO_KEY = "Missing Authentication Token"
UNKNOWN_KEY = "The security token included in the request is invalid."
NONE = {
    "json": _Words("MissingAuthenticationTokenException", NO_KEY),
    "query": _Words("MissingAuthenticationToken", NO_KEY),
    "ec2": _Words("MissingAuthenticationToken", NO_KEY),
    "s3": _Words("AccessDenied", "Access Denied"),
}
UNKNOWN = {
    "json": _Words("UnrecognizedClientException", UNKNOWN_KEY),
    "query": _Words("InvalidClientTokenId", UNKNOWN_KEY),
    "ec2": _Words(
        "AuthFailure",
        "AWS was not able to validate the provided access credentials",
        401,
    ),
    "s3": _Words(
        "InvalidAccessKeyId",
        "The AWS Access Key Id you provided does not exist in our records.",
    ),
}
FORBIDDEN = {
    "json": "AccessDeniedException",
    "query": "AccessDenied",
    "ec2": "UnauthorizedOperation",
    "s3": "AccessDenied",
}
THROTTLED = {
    "json": _Words("ThrottlingException", "Rate exceeded", 400),
    "query": _Words("Throttling", "Rate exceeded", 400),
    "ec2": _Words("RequestLimitExceeded", "Request limit exceeded.", 503),
    "s3": _Words("SlowDown", "Please reduce your request rate.", 503),
}
AWAY = dict.fromkeys(
    THROTTLED,
    _Words("ServiceUnavailable", "The service is temporarily unavailable.", 503),
)
TROUBLES: dict[Trouble, dict[str, _Words]] = {"throttled": THROTTLED, "away": AWAY}
FORMS = {
    "query": "<ErrorResponse><Error><Type>Sender</Type>{}</Error></ErrorResponse>",
    "ec2": "<Response><Errors><Error>{}</Error></Errors></Response>",
    "s3": "<Error>{}</Error>",
}
XML = ("cloudfront", "route53")  # services that say errors as the query protocol does


def denial(request: Request) -> Response:
    """Return the answer; the request's body is not looked at."""
    shown = credential(request)
    protocol = _protocol(request, shown)
    return _answer(protocol, (UNKNOWN if shown else NONE)[protocol])


def refusal(request: Request, message: str) -> Response:
    """Return the answer to a call that a policy does not allow, in AWS's words."""
    protocol = _protocol(request, credential(request))
    return _answer(protocol, _Words(FORBIDDEN[protocol], message))


def unserved(request: Request, trouble: Trouble) -> Response:
    """Return the answer to a call that nothing is wrong with, and that AWS does not
    carry out now.
    """
    protocol = _protocol(request, credential(request))
    return _answer(protocol, TROUBLES[trouble][protocol])


def _answer(protocol: str, words: _Words) -> Response:
    if protocol == "json":
        text = json.dumps({"__type": words.code, "message": words.message})
        headers = {"x-amzn-ErrorType": words.code}
        return Response(text, words.status, headers, content_type="application/json")
    error = f"<Code>{words.code}</Code><Message>{words.message}</Message>"
    return Response(
        FORMS[protocol].format(error), words.status, content_type="text/xml"
    )


def _protocol(request: Request, shown: Credential | None) -> str:
    service = shown.service if shown else ""
    if service in ("s3", "ec2"):
        return service
    form = (
        request.mimetype == "application/x-www-form-urlencoded"
        or "Action" in request.args
    )
    return "query" if form or service in XML else "json"
