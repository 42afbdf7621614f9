"""Inputs rebuilt from public bug reports, each through a door that a user has; `tests/cases` holds them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from runbook_lib import plan_sidecars, survey
from runbook_lib.aws.session import Session
from runbook_lib.checks import check_environment
from runbook_lib.command import cli
from runbook_lib.engines.appmesh.sidecars import plan_plain
from runbook_lib.engines.appmesh.spec import created, desired, variant_of
from runbook_lib.errors import PlanError
from runbook_lib.lifecycle import Lifecycle
from runbook_lib.parameters import load
from runbook_lib.task_definition.form import same
from runbook_lib.task_definition.sidecar import Sidecar, with_envoy, without_envoy
from runbook_lib.verdict import Sample, judge
from tests.control_plane_fixtures import refused
from tests.scenes import LOCAL, change, fact, open_at, open_local, reopen, settle, somebody, step, writes

Json = dict[str, Any]
CASES = Path(__file__).parent / "cases"
ROWS = [int(row) for row in re.findall(r"^\| (\d+) \| ", (CASES / "README.md").read_text(), re.MULTILINE)]
FIELD = r"routers\.orders\.routes\.orders\."


def folder(number: int) -> Path:
    return next(CASES.glob(f"{number:02}-*"))


def given(number: int, name: str) -> Any:
    return json.loads((folder(number) / f"{name}.json").read_text())


def lint(file: Path) -> tuple[int, str]:
    done = CliRunner().invoke(cli.app, ["lint", str(file)])
    return done.exit_code, done.output


def test_every_case_has_a_test_and_every_marked_test_its_row() -> None:
    texts = [file.read_text() for file in Path(__file__).parent.glob("test_*.py")]
    marked = {int(number) for text in texts for number in re.findall(r"mark\.case\((\d+)\)", text)}
    assert marked == set(ROWS)
    assert {int(path.name[:2]) for path in CASES.glob("[0-9]*")} <= marked


# Task definitions, as serviceB's: 00 looks at them, 04 gives them a sidecar, 90 takes it out again.


def deployed(number: int, name: str, **values: Any) -> Session:
    """Open a session where serviceB runs a case's definition, with roles that are there."""
    session = open_at("routed")
    roles = described(session, "taskB:1")
    own = {key: roles[key] for key in ("executionRoleArn", "taskRoleArn")}
    ecs = somebody(session, "ecs")
    form = {**given(number, name), **own, "family": "taskB"}
    revision = ecs.register_task_definition(**form)["taskDefinition"]["taskDefinitionArn"]
    ecs.update_service(cluster="apps", service="serviceB", taskDefinition=revision)
    settle()
    return reopen(session, **values)


def described(session: Session, revision: str) -> Json:
    found: Json = somebody(session, "ecs").describe_task_definition(taskDefinition=revision)["taskDefinition"]
    return found


def findings(session: Session) -> list[tuple[str, str]]:
    """Return what 00 has to say of serviceB's definition once it has its sidecar."""
    found = [check for check in check_environment(survey(session)) if "taskB" in check.where]
    return [(c.level, c.message) for c in found if c.level != "PASS" and not c.message.startswith("as it runs now")]


def there(session: Session) -> Json:
    """Let 04 move every service; return what serviceB runs then."""
    step(session, "04")
    found = survey(session).running["serviceB"].definition
    assert found
    return dict(found)


def back(session: Session) -> Json:
    """Let 90 take every sidecar out; return what serviceB runs then."""
    plan = plan_plain(session.parameters, survey(session).running)
    change(session, plan, *map(fact, plan.needs))
    found = survey(session).running["serviceB"].definition
    assert found
    return {key: value for key, value in found.items() if key != "tags"}  # the runbook's own


def containers(definition: Json) -> dict[str, Json]:
    return {container["name"]: container for container in definition["containerDefinitions"]}


def waits(container: Json) -> list[str]:
    return [wait["containerName"] for wait in container.get("dependsOn", [])]


def properties(definition: Json) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in definition["proxyConfiguration"]["properties"]}


@pytest.mark.case(1)
def test_whoever_passes_the_proxy_by_does_so_with_the_runbooks_sidecar_too() -> None:
    session = deployed(1, "meshed-by-cdk")
    assert findings(session) == []
    after = there(session)
    assert properties(after)["IgnoredGID"] == "1338"
    assert {name: waits(container) for name, container in containers(after).items() if waits(container)} == {
        "orders": ["envoy"]
    }
    assert same(back(session), described(session, "taskB:2"))


@pytest.mark.case(1)
def test_a_group_that_the_proxy_is_to_ignore_is_named_in_the_file() -> None:
    session = deployed(1, "not-yet-meshed")
    ((level, words),) = findings(session)
    assert level == "WARN"
    assert words.startswith("runs as root of group 1338, which the proxy does not ignore")
    session = reopen(session, envoy={**session.given["envoy"], "ignored_gid": "1338"})
    assert findings(session) == []
    after = there(session)
    assert properties(after)["IgnoredGID"] == "1338"
    assert waits(containers(after)["log_router"]) == []
    assert same(back(session), described(session, "taskB:2"))


@pytest.mark.case(3)
@pytest.mark.parametrize(("name", "beside"), [("range-only", "9081-9089"), ("range-beside-port", "9100-9110")])
def test_a_port_range_is_read_kept_and_registered(name: str, beside: str) -> None:
    session = deployed(3, name)
    words = f"container ports {beside} are not among them: reached past Envoy (roadmap#166)"
    assert findings(session) == [("WARN", words)]
    mapped = containers(described(session, "taskB"))["orders"]["portMappings"]
    assert containers(there(session))["orders"]["portMappings"] == mapped
    assert any("containerPortRange" in mapping for mapping in mapped)


@pytest.mark.case(4)
@pytest.mark.parametrize("name", ["meshed-by-hand", "own-daemon-not-meshed"])
def test_what_comes_out_without_envoy_registers(name: str) -> None:
    session = deployed(4, name, envoy={"xray": True})
    if name == "own-daemon-not-meshed":
        there(session)
    planned = plan_plain(session.parameters, survey(session).running)
    daemon = {"meshed-by-hand": "xray-daemon", "own-daemon-not-meshed": "xray"}[name]
    words = f"X-Ray daemon {daemon} of task definition taskB: an application may send it traces"
    assert planned.stays == (words,)
    plain = back(session)
    assert "envoy" not in containers(plain)
    assert set(waits(containers(plain)["orders"])) <= set(containers(plain))
    if name == "own-daemon-not-meshed":
        assert same(plain, described(session, "taskB:2"))


@pytest.mark.case(5)
@pytest.mark.parametrize("name", ["app-without-mappings", "worker-only-calls"])
def test_an_application_may_map_no_port(name: str) -> None:
    session = deployed(5, name)
    assert [level for level, _ in findings(session)] == ["WARN"]
    assert properties(there(session))["AppPorts"] == "9080"


@pytest.mark.case(5)
def test_a_service_that_only_calls_is_nobodys_target_and_takes_the_sidecar_without_a_finding() -> None:
    services = {name: dict(said) for name, said in LOCAL["services"].items()}
    services["worker"] = {"task_definition": "worker", "ports": [], "backends": ["serviceb.apps.local"]}
    session = open_local(services=True, said={"services": services})
    for number in ("01", "02", "03", "04"):
        step(session, number)
    found = survey(session)
    worker = found.running["worker"].definition
    assert worker
    assert properties(dict(worker))["AppPorts"] == "9080"
    assert [c.level for c in check_environment(found) if "definition worker" in c.where] == ["PASS"]
    names = {"meshName": "apps", "virtualNodeName": "worker"}
    assert "listeners" not in somebody(session).describe_virtual_node(**names)["virtualNode"]["spec"]


@pytest.mark.case(21)
def test_windows_is_refused_beforehand_and_arm_by_the_images_version() -> None:
    session = deployed(21, "windows")
    before = writes(session)
    ((level, words),) = findings(session)
    assert (level, words) == (
        "FAIL",
        "task definition taskB: runtimePlatform.operatingSystemFamily: expected LINUX, found WINDOWS_SERVER_2022_CORE",
    )
    with pytest.raises(PlanError, match="expected LINUX"):
        plan_sidecars(survey(session))
    assert writes(session) == before
    assert findings(deployed(21, "arm64")) == []
    old = {"image_tag": "v1.19.1.1-prod"}
    assert findings(deployed(21, "arm64", envoy=old)) == [
        ("FAIL", "v1.19.1.1-prod: App Mesh's image runs on ARM64 from v1.20.0.1 on")
    ]


@pytest.mark.case(20)
def test_a_sidecar_of_2019_is_brought_up_to_date_there_and_back() -> None:
    former = given(20, "described")
    image = "840364872350.dkr.ecr.eu-west-1.amazonaws.com/aws-appmesh-envoy:v1.39.1.0-prod"
    node = "arn:aws:appmesh:eu-west-1:111122223333:mesh/shop/virtualNode/orders"
    after = with_envoy(former, Sidecar(image, node, (9080,)))
    envoys = [c for c in after["containerDefinitions"] if c["image"] == image]
    assert len(envoys) == 1
    known = {entry["name"]: entry["value"] for entry in envoys[0]["environment"]}
    assert known["APPMESH_RESOURCE_ARN"] == node
    assert "APPMESH_VIRTUAL_NODE_NAME" not in known
    assert same(without_envoy(after), former)
    ecs = somebody(open_at("plain"), "ecs")
    for form in (after, without_envoy(after)):
        assert ecs.register_task_definition(**form)["taskDefinition"]["status"] == "ACTIVE"


@pytest.mark.case(23)
def test_a_sixteenth_port_is_refused_by_its_name() -> None:
    code, said = lint(folder(23) / "parameters.yaml")
    assert (code, said.splitlines()[-1]) == (0, "shop-live: no errors found")
    sidecar = Sidecar("aws-appmesh-envoy:v1.39.1.0-prod", "arn", (9080,), ignored_ports=tuple(range(22, 37)))
    words = "EgressIgnoredPorts: expected at most 15, found 16 with 2049 for its EFS volumes"
    with pytest.raises(PlanError, match=words):
        with_envoy(given(23, "task"), sidecar)


REFUSED_BY_ECS = {
    "awsfirelens-without-router": "When awsfirelens log driver is specified in log configuration, a firelens "
    "configuration object must be configured in one of the containers.",
    "firelens-nobody-uses": "When a firelensConfiguration object is specified, at least one container has to be "
    "configured with the awsfirelens log driver.",
    "mapping-without-port": "Invalid 'containerPort' setting for container 'orders'.",
    "port-of-two-containers": "TCP host port '9080' is mapped multiple times in task.",
    "proxy-in-bridge": "APPMESH proxy configuration is only supported in networkMode=awsvpc",
    "secret-and-variable-of-one-name": "The secret name must be unique and not shared with any new or existing "
    "environment variables set on the container, such as 'DB_USER'.",
    "secret-twice": "Duplicate secret names found: T. Each secret name must be unique.",
    "success-of-an-essential": "A dependency container with SUCCESS or COMPLETE condition cannot be an essential "
    "container",
}


@pytest.mark.case(22)
@pytest.mark.parametrize("name", REFUSED_BY_ECS)
def test_the_local_ecs_refuses_what_ecs_refuses(name: str) -> None:
    ecs = somebody(open_at("plain"), "ecs")
    found = refused(ecs.register_task_definition, **given(22, name))
    assert found == ("ClientException", 400, REFUSED_BY_ECS[name])


# What a file says.

REFUSED = {
    "grpc-words-on-http2": FIELD + r"match\.service: applies to grpc only; the protocol here is http2",
    "header-exact-and-prefix": FIELD + r"match\.headers \(item 1\): expected exact or prefix; found both",
    "method-in-lower-case": FIELD + r"match\.method: expected 'GET', .*; found 'get'",
    "path-on-grpc": FIELD + r"match\.prefix: applies to http, http2 only; the protocol here is grpc",
    "prefix-and-path": FIELD + r"match: expected prefix or path; found both",
    "prefix-on-tcp": FIELD + r"match\.prefix: applies to http, http2 only; the protocol here is tcp",
}


@pytest.mark.case(9)
@pytest.mark.case(13)
@pytest.mark.parametrize("number", [9, 13])
def test_legal_input_is_taken(number: int) -> None:
    code, said = lint(folder(number) / "parameters.yaml")
    assert code == 0
    assert "shop-live: no errors found\n" in said


@pytest.mark.case(14)
@pytest.mark.parametrize("name", REFUSED)
def test_a_word_that_does_not_apply_is_refused_by_name(name: str) -> None:
    code, said = lint(folder(14) / f"{name}.yaml")
    assert code == 2
    assert re.search(REFUSED[name], said)


@pytest.mark.case(14)
def test_a_header_by_a_regular_expression_is_written_as_one() -> None:
    file = folder(14) / "header-by-regex.yaml"
    assert lint(file)[0] == 0
    wanted = desired(load(str(file)), Lifecycle())
    spec = created(next(each for each in wanted if each.key == "route orders/orders"))
    (header,) = spec[variant_of({"spec": spec})]["match"]["headers"]
    assert header["match"] == {"regex": "^(.*?;)?(type=insider)(;.*)?$"}


@pytest.mark.case(25)
def test_no_time_limit_can_be_said_and_what_still_cuts_is_said() -> None:
    code, said = lint(folder(25) / "parameters.yaml")
    assert code == 0
    assert "orders cuts a request at 15 s without services.orders.timeout.per_request_seconds: 0" in said


WRONG = {
    ("environmnet", "local"): "unknown key 'environmnet'; did you mean 'environment'?",
    ("account_id", "12345678901"): "account_id: expected a valid string; found 12345678901: put it in quotes",
    ("mode", "Apply"): "mode: expected 'plan' or 'apply'; found 'Apply'",
    ("mode", "aply"): "mode: expected 'plan' or 'apply'; found 'aply'",
    ("steps", "25"): "unknown key 'steps'",
    ("services", "serviceA"): "services: expected an object; found 'serviceA'",
    ("shift", "{steps: '25,100'}"): "shift.steps: expected a valid array; found '25,100'",
    ("shift", "{steps: [25%, 100%]}"): "shift.steps (item 1): expected a valid integer; found '25%'",
}


@pytest.mark.case(19)
@pytest.mark.parametrize("said", WRONG, ids="=".join)
def test_what_nobody_knows_or_of_the_wrong_type_is_refused_on_the_command_line(said: tuple[str, str]) -> None:
    done = CliRunner().invoke(cli.app, ["run", "local", "-p", *said])
    assert done.exit_code == 2
    assert WRONG[said] in done.output
    assert "nothing was changed" in done.output


# What a verdict says: each row is stable's requests and errors, then the canary's, of one interval.


def verdicts(number: int, name: str) -> list[str]:
    """Return the outcome after each interval, and last that of the bake."""
    samples = [Sample(*row) for row in given(number, name)]
    looks = [judge(samples[: n + 1]).outcome for n in range(len(samples))]
    return [*looks, judge(samples, bake_over=True).outcome]


@pytest.mark.case(15)
@pytest.mark.case(16)
@pytest.mark.parametrize(
    ("number", "name"),
    [
        (15, "no-traffic-at-all"),
        (15, "stable-only"),
        (15, "traffic-then-silence"),
        (15, "both-then-silence"),
        (16, "one-of-three-fails"),
        (16, "one-of-three-fails-ten-times"),
        (16, "spikes"),
    ],
)
def test_too_little_is_no_evidence_either_way(number: int, name: str) -> None:
    assert set(verdicts(number, name)) == {"INCONCLUSIVE"}


@pytest.mark.case(15)
def test_a_count_that_is_no_whole_number_is_no_sample() -> None:
    with pytest.raises(ValueError, match="whole number"):
        verdicts(15, "not-a-number")


@pytest.mark.case(17)
@pytest.mark.parametrize(("name", "failed_by"), [("stable-none-canary-some", 9), ("all-fail", 1), ("bad-then-good", 3)])
def test_errors_beside_none_fail_for_good(name: str, failed_by: int) -> None:
    looks = verdicts(17, name)
    assert "FAIL" in looks[:failed_by]
    assert set(looks[looks.index("FAIL") :]) == {"FAIL"}


@pytest.mark.case(18)
@pytest.mark.parametrize("name", ["canary-recovers-with-stable", "shared-outage", "stable-worse"])
def test_where_both_fail_the_canary_does_not(name: str) -> None:
    assert "FAIL" not in verdicts(18, name)
