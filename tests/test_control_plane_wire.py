"""The endpoint as a client of any language sees it, with and without a socket."""

# ruff: noqa: F401, F811  (a fixture is imported by the name it is asked for)

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError
from werkzeug.test import Client, TestResponse

from runbook_lib.local import control_plane
from tests.control_plane_fixtures import Aws, aws, endpoint, mesh, node_spec, refused, shared_clients

ACCOUNT = "555555555555"
KNOWN_CODES = ("BadRequestException", "NotFoundException", "ResourceInUseException")


def call(method: str, path: str, body: Any = None, service: str = "appmesh", **headers: str) -> TestResponse:
    """Send a signed request straight to the WSGI application."""
    scope = f"AWS4-HMAC-SHA256 Credential=AKID/20260101/us-west-2/{service}/aws4_request, SignedHeaders=host"
    sent = {"Authorization": scope, "x-moto-account-id": ACCOUNT, **headers}
    text = body if isinstance(body, str) or body is None else json.dumps(body)
    return Client(control_plane.application()).open(path, method=method, data=text, headers=sent)


@pytest.fixture
def made() -> Any:
    """Create a mesh and return the body of the answer, as sent."""
    answer = call("PUT", "/v20190125/meshes", {"meshName": "wire"})
    yield answer.json
    call("DELETE", "/v20190125/meshes/wire")


def test_the_answer_is_the_payload_itself_with_times_as_numbers(made: dict[str, Any]) -> None:
    assert set(made) == {"meshName", "metadata", "spec", "status"}
    assert isinstance(made["metadata"]["createdAt"], float)
    assert isinstance(made["metadata"]["version"], int)


def test_an_error_has_its_type_in_the_header_and_its_words_in_the_body() -> None:
    answer = call("GET", "/v20190125/meshes/none")
    assert (answer.status_code, answer.headers["x-amzn-ErrorType"]) == (404, "NotFoundException")
    assert answer.json == {"message": f"Mesh with name none is not present for account {ACCOUNT}"}


def test_every_answer_has_a_request_id() -> None:
    assert call("GET", "/v20190125/meshes").headers["x-amzn-RequestId"]


@pytest.mark.parametrize("body", ["{", "[]", '"text"'])
def test_a_body_that_is_no_json_object_is_a_bad_request(body: str) -> None:
    answer = call("PUT", "/v20190125/meshes", body)
    assert (answer.status_code, answer.headers["x-amzn-ErrorType"]) == (400, "BadRequestException")


def test_null_members_count_as_absent() -> None:
    answer = call("PUT", "/v20190125/meshes", {"meshName": "nulls", "spec": None, "tags": None})
    assert (answer.status_code, answer.json["spec"]) == (200, {})
    call("DELETE", "/v20190125/meshes/nulls")


def test_members_the_model_does_not_know_are_ignored() -> None:
    spec = {"egressFilter": {"type": "ALLOW_ALL", "colour": "red"}, "shape": "round"}
    answer = call("PUT", "/v20190125/meshes", {"meshName": "unknown", "spec": spec, "mood": "good"})
    assert answer.json["spec"] == {"egressFilter": {"type": "ALLOW_ALL"}}
    call("DELETE", "/v20190125/meshes/unknown")


def test_a_limit_that_is_no_number_is_a_bad_request() -> None:
    assert call("GET", "/v20190125/meshes?limit=many").status_code == 400


def test_an_encoded_slash_belongs_to_the_name() -> None:
    answer = call("GET", "/v20190125/meshes/a%2Fb")
    assert answer.headers["x-amzn-ErrorType"] == "BadRequestException"


def test_a_path_that_is_no_operation_is_not_found() -> None:
    answer = call("GET", "/v20190125/mesh")
    assert (answer.status_code, answer.headers["x-amzn-ErrorType"]) == (404, "UnknownOperationException")


def test_ecs_answers_in_its_own_json_with_the_type_in_the_body() -> None:
    target = {"X-Amz-Target": "AmazonEC2ContainerServiceV20141113.DescribeServices"}
    headers = {**target, "Content-Type": "application/x-amz-json-1.1"}
    answer = call("POST", "/", {"services": ["x"], "cluster": "none"}, "ecs", **headers)
    assert answer.content_type == "application/x-amz-json-1.1"
    assert answer.get_json(force=True) == {
        "__type": "ClusterNotFoundException",
        "message": "Cluster not found.",
    }


def test_the_typed_exceptions_of_boto3_are_raised(mesh: Any) -> None:
    with pytest.raises(mesh.exceptions.NotFoundException):
        mesh.describe_mesh(meshName="none")
    with pytest.raises(mesh.exceptions.ResourceInUseException):
        mesh.delete_mesh(meshName="apps")


def test_all_38_operations_are_answered_by_the_engine(aws: Aws) -> None:
    operations = aws.lax.meta.method_to_api_mapping
    filled = {"spec": {}, "tags": [], "tagKeys": []}
    for method, name in operations.items():
        required = aws.lax.meta.service_model.operation_model(name).input_shape.required_members
        arguments = {member: filled.get(member, "x") for member in required}
        try:
            getattr(aws.lax, method)(**arguments)
        except tuple(getattr(aws.lax.exceptions, code) for code in KNOWN_CODES):
            pass  # no operation is unknown or breaks
    assert len(operations) == 38


def test_other_services_are_motos(aws: Aws) -> None:
    assert aws.sts.get_caller_identity()["Account"] == aws.account


def test_the_managed_policies_a_mesh_needs_are_there(aws: Aws) -> None:
    aws.iam.create_role(RoleName="task", AssumeRolePolicyDocument="{}")
    for name in (
        "AWSAppMeshEnvoyAccess",
        "AWSXRayDaemonWriteAccess",
        "service-role/AmazonECSTaskExecutionRolePolicy",
    ):
        aws.iam.attach_role_policy(RoleName="task", PolicyArn=f"arn:aws:iam::aws:policy/{name}")
    attached = aws.iam.list_attached_role_policies(RoleName="task")["AttachedPolicies"]
    assert len(attached) == 3


def test_what_nothing_implements_says_so_and_is_not_retried(aws: Aws) -> None:
    found = refused(aws.ecs.list_service_deployments, service="x")
    assert found[:2] == ("NotImplementedException", 501)


def test_clients_can_call_without_a_socket() -> None:
    client = Aws("http://127.0.0.1:1", "555555555556").client("appmesh")
    control_plane.answer_in_process(client.meta.events)
    made = client.create_mesh(meshName="here", tags=[{"key": "k", "value": "v"}])["mesh"]
    assert client.list_tags_for_resource(resourceArn=made["metadata"]["arn"])["tags"][0]["key"] == "k"
    assert refused(client.describe_mesh, meshName="there")[0] == "NotFoundException"


def test_one_of_forty_creations_at_once_wins(aws: Aws) -> None:
    def attempt(_: int) -> str:
        try:
            return str(aws.appmesh.create_mesh(meshName="race")["mesh"]["status"]["status"])
        except ClientError as error:
            return str(error.response["Error"]["Code"])

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(attempt, range(40)))
    assert sorted(found) == ["ACTIVE"] + ["ConflictException"] * 39


def test_the_backend_can_be_copied_and_compared(aws: Aws, mesh: Any) -> None:
    from copy import deepcopy

    state = control_plane.appmesh_backends[aws.account]["us-west-2"].state
    before = deepcopy(state)
    assert state == before
    mesh.create_virtual_node(meshName="apps", virtualNodeName="n", spec=node_spec("n"))
    assert state != before


def test_importing_starts_no_thread_and_a_forked_child_can_go_on() -> None:
    program = """
        import os, threading
        from werkzeug.test import Client
        from runbook_lib.local import control_plane
        client = Client(control_plane.application())
        scope = "AWS4-HMAC-SHA256 Credential=A/20260101/us-west-2/appmesh/aws4_request"
        headers = {"Authorization": scope}
        client.put("/v20190125/meshes", json={"meshName": "m"}, headers=headers)
        assert threading.active_count() == 1
        child = os.fork()
        if child == 0:
            ok = client.get("/v20190125/meshes/m", headers=headers).status_code == 200
            gone = client.delete("/v20190125/meshes/m", headers=headers).status_code == 200
            control_plane.reconcile()
            os._exit(0 if ok and gone else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert client.get("/v20190125/meshes/m", headers=headers).status_code == 200
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
