"""Who is let in at the local endpoint, and what everybody else is answered: without a socket, in milliseconds."""

from __future__ import annotations

import io
from typing import Any
from xml.etree import ElementTree

import boto3
import pytest
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import Client, TestResponse

from runbook_lib.local import keys
from runbook_lib.local.door import Door

KEY, OTHER = "1" * 64, "2" * 64  # fixed: they stand in the names of tests, which every worker must find alike
ACCOUNT = "123456789012"
HOST = "127.0.0.1:4567"
OWN = {keys.KEY_HEADER: KEY}


class Inside:
    """Stands behind the door and keeps what it is asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        self.asked.append(environ)
        start_response("200 OK", [])
        return [b"inside"]


@pytest.fixture
def inside() -> Inside:
    return Inside()


def signed(service: str = "appmesh", key: str = KEY, account: str = ACCOUNT) -> dict[str, str]:
    """Return the header of a call that is signed with an account's access key."""
    scope = f"{keys.access_key(key, account)}/20260101/us-west-2/{service}/aws4_request"
    return {"Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"}


def ask(inside: Inside, path: str = "/v20190125/meshes", method: str = "GET", **headers: str) -> TestResponse:
    sent = {"Host": HOST, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return Client(Door(inside, KEY)).open(path, method=method, headers=sent, environ_overrides={"SERVER_PORT": "4567"})


def test_a_call_with_its_accounts_key_comes_in(inside: Inside) -> None:
    assert ask(inside, **signed()).data == b"inside"


def test_a_page_of_its_own_asks_for_the_key_itself(inside: Inside) -> None:
    assert ask(inside, "/runbook/tasks", **OWN).data == b"inside"


@pytest.mark.parametrize("host", ["127.0.0.1:4567", "localhost:4567"])
def test_this_machine_has_two_names(inside: Inside, host: str) -> None:
    assert ask(inside, Host=host, **signed()).status_code == 200


@pytest.mark.attack(18)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer of nothing"},
        {"Authorization": "AWS AKIDEXAMPLE:signature"},
        signed(key=OTHER),
        {"Authorization": signed()["Authorization"].replace(ACCOUNT, "999999999999")},
        {"Authorization": signed()["Authorization"].replace("LOCAL", "AKIA")},
        {"x-moto-account-id": ACCOUNT},
        {**signed(), "Host": "evil.example:4567"},
        {**signed(), "Host": "127.0.0.1:4568"},
        {**signed(), "Host": "127.0.0.1"},
        {**signed(), "Host": ""},
        {**signed(), "Origin": "http://127.0.0.1:4567"},
        {**signed(), "Origin": "null"},
        {**signed(), "Sec-Fetch-Site": "cross-site"},
        {**signed(), "Sec-Fetch-Site": "none"},
        {keys.KEY_HEADER: KEY},
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_nothing_of_anybody_elses_comes_in(inside: Inside, method: str, headers: dict[str, str]) -> None:
    answer = ask(inside, method=method, **headers)
    assert (answer.status_code, inside.asked) == (403, [])
    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.attack(18)
@pytest.mark.parametrize(
    "headers", [{}, {keys.KEY_HEADER: OTHER}, {keys.KEY_HEADER: ""}, signed(), {**OWN, "Origin": "null"}], ids=str
)
@pytest.mark.parametrize("path", ["/runbook/tasks", "/runbook/traffic", "/runbook/calls/reset", "/runbook/none"])
def test_its_own_pages_are_nobody_elses(inside: Inside, path: str, headers: dict[str, str]) -> None:
    assert (ask(inside, path, "POST", **headers).status_code, inside.asked) == (403, [])


def test_who_calls_does_not_choose_another_account(inside: Inside) -> None:
    ask(inside, **signed(), x_moto_account_id="999999999999")
    assert "HTTP_X_MOTO_ACCOUNT_ID" not in inside.asked[0]


def presigned(key: str) -> str:
    """Return what stands behind the path of an URL that somebody signed for an object."""
    request = AWSRequest("GET", f"http://{HOST}/bucket/object")
    SigV4QueryAuth(Credentials(keys.access_key(key, ACCOUNT), keys.SECRET), "s3", "us-west-2").add_auth(request)
    return str(request.prepare().url).partition(HOST)[2]


@pytest.mark.attack(18)
def test_a_presigned_call_shows_its_key_too(inside: Inside) -> None:
    assert ask(inside, presigned(KEY)).status_code == 200
    assert ask(inside, presigned(OTHER)).status_code == 403
    assert ask(inside, presigned(KEY).replace("X-Amz-Credential", "X-Amz-Nothing")).status_code == 403
    foreign = "AWS4-HMAC-SHA256 Credential=a/20260101/r/s3/aws4_request"
    assert ask(inside, presigned(KEY), Authorization=foreign).status_code == 403
    assert len(inside.asked) == 1


# --- AWS's own words ----------------------------------------------------------------------------------------------


CALLS = {
    "appmesh": ("list_meshes", {}, "UnrecognizedClientException", 403),
    "ecs": ("list_clusters", {}, "UnrecognizedClientException", 403),
    "servicediscovery": ("list_namespaces", {}, "UnrecognizedClientException", 403),
    "sts": ("get_caller_identity", {}, "InvalidClientTokenId", 403),
    "iam": ("list_roles", {}, "InvalidClientTokenId", 403),
    "route53": ("list_hosted_zones", {}, "InvalidClientTokenId", 403),
    "ec2": ("describe_vpcs", {}, "AuthFailure", 401),
    "s3": ("list_buckets", {}, "InvalidAccessKeyId", 403),
}


@pytest.mark.attack(18)
@pytest.mark.parametrize(("service", "call"), CALLS.items())
def test_a_foreign_key_is_refused_in_the_services_own_words(
    inside: Inside, service: str, call: tuple[str, dict[str, Any], str, int]
) -> None:
    operation, arguments, code, status = call
    made = boto3.Session(region_name="us-west-2", **keys.credentials(OTHER, ACCOUNT))
    client = made.client(service, endpoint_url=f"http://{HOST}")

    def answer(request: Any, **_: Any) -> Any:
        sent = {k: v.decode() if isinstance(v, bytes) else v for k, v in request.headers.items()}
        got = ask(inside, request.url.partition(HOST)[2], request.method, **sent)
        body = io.BytesIO(got.data)
        body.stream = lambda: [got.data]  # type: ignore[attr-defined]
        return AWSResponse(request.url, got.status_code, dict(got.headers), body)

    client.meta.events.register_first("before-send.*.*", answer)
    with pytest.raises(client.exceptions.ClientError) as caught:
        getattr(client, operation)(**arguments)
    answered = caught.value.response
    assert (answered["Error"]["Code"], answered["ResponseMetadata"]["HTTPStatusCode"]) == (code, status)
    assert not inside.asked


def test_a_call_without_a_key_is_told_so_in_its_own_form(inside: Inside) -> None:
    json = ask(inside, "/", "POST", Content_Type="application/x-amz-json-1.1")
    assert json.headers["x-amzn-ErrorType"] == "MissingAuthenticationTokenException"
    form = ask(inside, "/", "POST", Content_Type="application/x-www-form-urlencoded")
    assert ElementTree.fromstring(form.text).findtext("Error/Code") == "MissingAuthenticationToken"


# --- the keys themselves ------------------------------------------------------------------------------------------


def test_each_state_folder_has_a_key_of_its_own() -> None:
    assert KEY != OTHER
    assert len(KEY) == 64


@given(st.from_regex(r"\A[0-9]{12}\Z"))
def test_a_key_tells_its_account_to_who_made_it_and_to_nobody_else(account: str) -> None:
    access_key = keys.access_key(KEY, account)
    assert keys.account_of(KEY, access_key) == account
    assert keys.account_of(OTHER, access_key) is None


@given(st.text())
def test_no_other_text_is_a_key(text: str) -> None:
    assert keys.account_of(KEY, text) is None
    assert not keys.is_key(KEY, text)
