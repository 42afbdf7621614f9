"""Turn what AWS answers in place of what was asked into one sentence."""

from __future__ import annotations

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    HTTPClientError,
)
from botocore.parsers import ResponseParserError

from runbook_lib.errors import (
    CallError,
    CredentialsError,
    ThrottledError,
    UnreachableError,
)
from runbook_lib.plan import Call
from runbook_lib.printable import one_line

# the last: what answered was not AWS
CALL_ERRORS = ClientError, BotoCoreError, ResponseParserError
GO_ON = "run again: it goes on from where AWS stands"
OUT = CredentialsError, f"log in again and {GO_ON}"
EXPIRED = (
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
)
DENIED = "this identity lacks a permission; docs/iam.md lists what is needed"
IN_USE = "undo what uses it first: the later notebooks, last one first"
THROTTLED = ThrottledError, "throttled; nothing is half done, run again in a minute"
AWAY = (
    "InternalFailure",
    "InternalServerErrorException",
    "RequestTimeout",
    "RequestTimeoutException",
    "ServiceUnavailable",
    "ServiceUnavailableException",
)
KNOWN: dict[str, tuple[type[CallError], str]] = {
    **dict.fromkeys(EXPIRED, OUT),
    **dict.fromkeys(
        (
            "Throttling",
            "ThrottlingException",
            "ThrottledException",
            "RequestLimitExceeded",
            "TooManyRequestsException",
        ),
        THROTTLED,
    ),
    **dict.fromkeys(AWAY, (UnreachableError, GO_ON)),
    **dict.fromkeys(
        ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation"),
        (CallError, DENIED),
    ),
    "ResourceInUseException": (CallError, IN_USE),
    "NoSuchBucket": (
        CallError,
        "make the bucket, or correct `records` in the parameters file",
    ),
    "PriorityInUse": (
        CallError,
        "another rule has the place of the trial's: move it, or say shift.trial: null",
    ),
    "LimitExceededException": (
        CallError,
        "a quota, not a rate: free some, or ask for more in Service Quotas",
    ),
}


def call_error(call: Call, error: Exception) -> CallError:
    """Return an error of a call as one sentence, with what to do next."""
    where = f"{call.service} {call.operation}"
    if isinstance(error, ClientError):
        code, message = (
            error.response["Error"]["Code"],
            error.response["Error"].get("Message", ""),
        )
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        unknown = (
            THROTTLED
            if status == 429
            else (UnreachableError if status >= 500 else CallError, GO_ON)
        )
        kind, advice = KNOWN.get(code, unknown)
        return kind(one_line(f"{where}: {code}: {message}"), hint=advice)
    kind = (
        UnreachableError
        if isinstance(error, (ConnectionError, HTTPClientError, ResponseParserError))
        else CallError
    )
    return kind(
        one_line(f"{where}: {error}"), hint="check the connection, then run again"
    )
