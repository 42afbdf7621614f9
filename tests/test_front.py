"""The load balancer that an environment's file expects: made under the file's own ARN, once, and found by its name."""

# ruff: noqa: F401, F811  (a fixture is imported by the name it is asked for)

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from runbook_lib import parameters
from runbook_lib.errors import TargetError
from runbook_lib.local import world
from runbook_lib.local.control_plane import elbv2
from runbook_lib.local.data_plane.view import addresses, load_balancers
from runbook_lib.parameters import Parameters
from tests.control_plane_fixtures import REGION, Aws, endpoint, settle, shared_clients

FILE = Path(__file__).parent.parent / "parameters" / "local-alb.yaml"
ACCOUNT = "123456789012"


def given(folder: Path, **changes: Any) -> Parameters:
    file = folder / "alb.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(FILE.read_text()), **changes}))
    return parameters.load(str(file))


@pytest.fixture(scope="module")
def made(shared_clients: Aws, tmp_path_factory: pytest.TempPathFactory) -> Parameters:
    """Make the file's world twice, as after a crash; to make a VPC takes moto a second."""
    p = given(tmp_path_factory.mktemp("file"))
    shared_clients.account = ACCOUNT
    for _ in range(2):
        elbv2.store(ACCOUNT, REGION).expect(p.alb.rule)
        world.create(p, p.services, lambda service: getattr(shared_clients, service))
    settle()
    return p


@pytest.fixture
def aws(shared_clients: Aws, made: Parameters) -> Aws:
    shared_clients.account = ACCOUNT
    return shared_clients


def test_the_rule_has_the_files_arn_and_sends_everything_to_stable(made: Parameters, aws: Aws) -> None:
    (rule,) = aws.elbv2.describe_rules(RuleArns=[made.alb.rule])["Rules"]
    assert rule["Priority"] == "100"
    groups = rule["Actions"][0]["ForwardConfig"]["TargetGroups"]
    weights = {each["TargetGroupArn"].split("/")[1]: each["Weight"] for each in groups}
    assert weights == {"serviceB": 100, "serviceBv2": 0}


def test_it_is_made_once(aws: Aws) -> None:
    (balancer,) = aws.elbv2.describe_load_balancers()["LoadBalancers"]
    assert len(balancer["AvailabilityZones"]) == 2
    (listener,) = aws.elbv2.describe_listeners(LoadBalancerArn=balancer["LoadBalancerArn"])["Listeners"]
    assert len(aws.elbv2.describe_rules(ListenerArn=listener["ListenerArn"])["Rules"]) == 2  # with the default one


def test_both_versions_have_a_healthy_target_and_their_caller_none(made: Parameters, aws: Aws) -> None:
    for name in ("serviceB", "serviceBv2"):
        (group,) = aws.elbv2.describe_target_groups(Names=[name])["TargetGroups"]
        told = aws.elbv2.describe_target_health(TargetGroupArn=group["TargetGroupArn"])
        assert [each["TargetHealth"]["State"] for each in told["TargetHealthDescriptions"]] == ["healthy"]
    (caller,) = aws.ecs.describe_services(cluster=made.cluster, services=["serviceA"])["services"]
    assert caller["loadBalancers"] == []


def test_the_dialled_name_leads_to_the_load_balancer(made: Parameters) -> None:
    (balancer,) = load_balancers(ACCOUNT, REGION)
    assert len(set(balancer.addresses)) == 2
    found = addresses(ACCOUNT, REGION)
    assert found[made.shift.name] == found[balancer.dns_name] == tuple(balancer.addresses)
    elsewhere = addresses(ACCOUNT, REGION, "vpc-elsewhere")
    assert made.shift.name not in elsewhere  # another cluster's tasks may have that name
    assert elsewhere[balancer.dns_name] == tuple(balancer.addresses)


def test_callers_of_its_own_stand_in_where_the_file_names_none(tmp_path: Path, aws: Aws) -> None:
    said = yaml.safe_load(FILE.read_text())
    p = given(
        tmp_path,
        cluster="other",
        services={name: {"task_definition": name} for name in ("web", "web-v2")},
        shift={**said["shift"], "stable": "web", "canary": "web-v2"},
        alb={"rule": said["alb"]["rule"].replace("app/apps", "app/shop")},
    )
    world.create(p, p.services, lambda service: getattr(aws, service))
    (callers,) = aws.ecs.describe_services(cluster="other", services=["callers"])["services"]
    assert callers["desiredCount"] == 1
    assert world._traffic(p)["calls"]["service"] == "callers"


def test_a_protocol_that_the_local_load_balancer_does_not_speak_is_refused(tmp_path: Path, aws: Aws) -> None:
    p = given(tmp_path, cluster="third", protocol="grpc")
    with pytest.raises(TargetError, match="carries http and http2"):
        world.create(p, p.services, lambda service: getattr(aws, service))
