"""Terraform's AWS provider at the local endpoint: what it reads after it made a thing is what it wrote.

Terraform itself runs where `RUNBOOK_TERRAFORM` names its command and `RUNBOOK_TERRAFORM_PLUGINS` a folder that
mirrors its registry, with the provider in it. The calls that the provider makes are carried out everywhere; they
were read in its source (internal/service/elbv2 and internal/service/route53 of hashicorp/terraform-provider-aws).
"""

# ruff: noqa: F401, F811  (a fixture is imported by the name it is asked for)

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

from runbook_lib.local.control_plane.propagation import PROPAGATION
from tests.control_plane_fixtures import REGION, Aws, endpoint, refused, shared_clients
from tests.front import Front, forward, front, network

FILE = Path(__file__).parent / "fixtures" / "terraform" / "main.tf"
DEFAULTS = {
    "access_logs.s3.enabled": "false",
    "client_keep_alive.seconds": "3600",
    "connection_logs.s3.enabled": "false",
    "deletion_protection.enabled": "false",
    "idle_timeout.timeout_seconds": "60",
    "routing.http.desync_mitigation_mode": "defensive",
    "routing.http.drop_invalid_header_fields.enabled": "false",
    "routing.http.preserve_host_header.enabled": "false",
    "routing.http.x_amzn_tls_version_and_cipher_suite.enabled": "false",
    "routing.http.xff_client_port.enabled": "false",
    "routing.http.xff_header_processing.mode": "append",
    "routing.http2.enabled": "true",
    "waf.fail_open.enabled": "false",
    "zonal_shift.config.enabled": "false",
}


def attributes(described: dict[str, Any]) -> dict[str, str]:
    return {each["Key"]: each["Value"] for each in described["Attributes"]}


def pairs(values: dict[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in values.items()]


# What the provider asks before it makes a thing, and after.


def test_a_name_that_is_free_is_said_to_be_by_the_codes_that_the_provider_knows(front: Front) -> None:
    assert refused(front.elbv2.describe_load_balancers, Names=["free"])[0] == "LoadBalancerNotFound"
    assert refused(front.elbv2.describe_target_groups, Names=["free"])[0] == "TargetGroupNotFound"


def test_a_load_balancer_reads_back_as_the_provider_sets_it(front: Front) -> None:
    named = {"LoadBalancerArn": front.balancer}
    front.elbv2.modify_load_balancer_attributes(**named, Attributes=pairs(DEFAULTS))
    found = front.elbv2.describe_load_balancers(LoadBalancerArns=[front.balancer])["LoadBalancers"][0]
    assert found["State"] == {"Code": "active"}
    assert (found["Type"], found["Scheme"], found["IpAddressType"]) == ("application", "internal", "ipv4")
    assert {zone["SubnetId"] for zone in found["AvailabilityZones"]} == set(front.subnets)
    assert attributes(front.elbv2.describe_load_balancer_attributes(**named)).items() >= DEFAULTS.items()
    assert "MinimumLoadBalancerCapacity" not in front.elbv2.describe_capacity_reservation(**named)


def test_a_target_group_reads_back_as_the_provider_sets_it(front: Front) -> None:
    said = {
        "deregistration_delay.timeout_seconds": "30",
        "load_balancing.algorithm.anomaly_mitigation": "off",
        "load_balancing.algorithm.type": "round_robin",
        "load_balancing.cross_zone.enabled": "use_load_balancer_configuration",
    }
    group = front.group("web", HealthCheckPath="/health", Matcher={"HttpCode": "200"})
    front.elbv2.modify_target_group_attributes(TargetGroupArn=group, Attributes=pairs(said))
    found = front.elbv2.describe_target_groups(TargetGroupArns=[group])["TargetGroups"][0]
    assert (found["ProtocolVersion"], found["TargetType"], found["VpcId"]) == ("HTTP1", "ip", front.vpc)
    assert (found["HealthCheckPath"], found["Matcher"]) == ("/health", {"HttpCode": "200"})
    assert attributes(front.elbv2.describe_target_group_attributes(TargetGroupArn=group)).items() >= said.items()


def test_a_listener_of_http_has_no_security_policy(front: Front) -> None:
    found = front.elbv2.describe_listeners(ListenerArns=[front.listener])["Listeners"][0]
    assert (found["Port"], found["Protocol"]) == (80, "HTTP")
    assert "SslPolicy" not in found
    assert front.elbv2.describe_listener_attributes(ListenerArn=front.listener)["Attributes"]


def test_a_rule_keeps_the_order_and_the_weights_that_the_provider_writes(front: Front) -> None:
    action = {**forward({front.stable: 100, front.canary: 0})[0], "Order": 1}
    conditions = [{"Field": "path-pattern", "PathPatternConfig": {"Values": ["/web/*"]}}]
    made = front.elbv2.create_rule(ListenerArn=front.listener, Priority=7, Conditions=conditions, Actions=[action])
    found = front.elbv2.describe_rules(RuleArns=[made["Rules"][0]["RuleArn"]])["Rules"][0]
    assert (found["Priority"], found["Conditions"], found["Actions"][0]["Order"]) == ("7", conditions, 1)
    groups = found["Actions"][0]["ForwardConfig"]["TargetGroups"]
    assert groups == action["ForwardConfig"]["TargetGroups"]


@pytest.mark.parametrize("kind", ["balancer", "listener", "rule", "stable"])
def test_tags_of_each_thing_are_read_one_by_one(front: Front, kind: str) -> None:
    arn = getattr(front, kind)
    front.elbv2.add_tags(ResourceArns=[arn], Tags=[{"Key": "team", "Value": "shop"}])
    found = front.elbv2.describe_tags(ResourceArns=[arn])["TagDescriptions"]
    assert found == [{"ResourceArn": arn, "Tags": [{"Key": "team", "Value": "shop"}]}]


@dataclass
class Zone:
    """A zone as the provider makes one: a VPC, and no word of being private."""

    route53: Any
    created: dict[str, Any]
    target: dict[str, Any]

    @property
    def id(self) -> str:
        return str(self.created["HostedZone"]["Id"].removeprefix("/hostedzone/"))

    def write(self, action: str, **record: Any) -> None:
        change = {"Action": action, "ResourceRecordSet": record}
        batch = {"Comment": "Managed by Terraform", "Changes": [change]}
        self.route53.change_resource_record_sets(HostedZoneId=self.id, ChangeBatch=batch)

    def read(self, name: str, kind: str) -> dict[str, Any]:
        found = self.route53.list_resource_record_sets(
            HostedZoneId=self.id, StartRecordName=name, StartRecordType=kind, MaxItems="1"
        )
        return dict(found["ResourceRecordSets"][0])


@pytest.fixture
def zone(front: Front, shared_clients: Aws, monkeypatch: pytest.MonkeyPatch) -> Iterator[Zone]:
    monkeypatch.setattr(PROPAGATION, "seconds", 0.0)
    client = shared_clients.route53
    made = client.create_hosted_zone(
        Name="shop.internal",
        CallerReference="terraform-1",
        HostedZoneConfig={"Comment": "Managed by Terraform"},
        VPC={"VPCRegion": REGION, "VPCId": front.vpc},
    )
    target = front.elbv2.describe_load_balancers(LoadBalancerArns=[front.balancer])["LoadBalancers"][0]
    found = Zone(client, made, target)
    yield found
    client.delete_hosted_zone(Id=found.id)


def test_a_zone_with_a_vpc_is_private_though_nobody_says_so(zone: Zone, front: Front) -> None:
    found = zone.route53.get_hosted_zone(Id=zone.id)
    assert found["HostedZone"]["Config"] == {"Comment": "Managed by Terraform", "PrivateZone": True}
    assert found["VPCs"] == [{"VPCRegion": REGION, "VPCId": front.vpc}]


def test_a_change_is_asked_after_by_its_bare_id_and_told_by_its_whole_one(zone: Zone) -> None:
    whole = zone.created["ChangeInfo"]["Id"]
    found = zone.route53.get_change(Id=whole.removeprefix("/change/"))["ChangeInfo"]
    assert (found["Id"], found["Status"]) == (whole, "INSYNC")


def test_a_zones_own_records_are_plain_ones(zone: Zone) -> None:
    """The provider takes the name servers of a private zone from its NS record."""
    servers = zone.read("shop.internal", "NS")["ResourceRecords"]
    assert [server["Value"].count(".") >= 2 for server in servers] == [True] * 4
    assert zone.read("shop.internal", "SOA")["ResourceRecords"][0]["Value"].startswith(servers[0]["Value"])


def test_a_zones_tags_read_back(zone: Zone) -> None:
    named = {"ResourceType": "hostedzone", "ResourceId": zone.id}
    zone.route53.change_tags_for_resource(**named, AddTags=[{"Key": "team", "Value": "shop"}])
    found = zone.route53.list_tags_for_resource(**named)["ResourceTagSet"]
    assert found == {**named, "Tags": [{"Key": "team", "Value": "shop"}]}


def test_an_alias_reads_back_in_lower_case_with_a_dot_at_its_end(zone: Zone) -> None:
    target = {
        "HostedZoneId": zone.target["CanonicalHostedZoneId"],
        "DNSName": zone.target["DNSName"].upper(),
        "EvaluateTargetHealth": False,
    }
    record = {"Name": "web.shop.internal", "Type": "A", "AliasTarget": target}
    zone.write("CREATE", **record)
    found = zone.read("web.shop.internal", "A")
    assert found["AliasTarget"] == {**target, "DNSName": f"{zone.target['DNSName'].lower()}."}
    zone.write("DELETE", **found)


def test_a_record_of_values_reads_back_as_it_was_written(zone: Zone) -> None:
    values = [{"Value": zone.target["DNSName"]}]
    record = {"Name": "api.shop.internal", "Type": "CNAME", "TTL": 60, "ResourceRecords": values}
    zone.write("CREATE", **record)
    assert zone.read("api.shop.internal", "CNAME") == {**record, "Name": "api.shop.internal."}
    zone.write("DELETE", **record)


# Terraform itself.


@dataclass
class Terraform:
    """The command in a folder that has the file, with providers from a folder and dummy credentials."""

    command: str
    folder: Path
    environment: dict[str, str]

    def run(self, *words: str) -> tuple[int, str]:
        """Return the exit code and all that was said."""
        done = subprocess.run(
            [self.command, *words],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
        )
        return done.returncode, done.stdout

    def changes(self) -> bool:
        """Say whether a plan would change anything."""
        code, said = self.run("plan", "-input=false", "-no-color", "-detailed-exitcode")
        assert code in (0, 2), said
        return code == 2


@pytest.fixture
def terraform(tmp_path: Path, endpoint: str) -> Terraform:
    command, plugins = (os.environ.get(name) for name in ("RUNBOOK_TERRAFORM", "RUNBOOK_TERRAFORM_PLUGINS"))
    if not command or not plugins:
        pytest.skip(
            "RUNBOOK_TERRAFORM (the command) and RUNBOOK_TERRAFORM_PLUGINS (a mirror's folder) name no Terraform"
        )
    keys = {"aws_access_key_id": "local", "aws_secret_access_key": "local"}
    ec2 = boto3.session.Session(region_name=REGION).client("ec2", endpoint_url=endpoint, **keys)
    vpc = ec2.create_vpc(CidrBlock="10.7.0.0/16")["Vpc"]["VpcId"]
    zones = [("10.7.0.0/24", f"{REGION}a"), ("10.7.1.0/24", f"{REGION}b")]
    made = [ec2.create_subnet(VpcId=vpc, CidrBlock=block, AvailabilityZone=zone) for block, zone in zones]
    subnets = [each["Subnet"]["SubnetId"] for each in made]
    (tmp_path / "main.tf").write_text(FILE.read_text())
    settings = tmp_path / "terraform.rc"
    settings.write_text(f'provider_installation {{ filesystem_mirror {{ path = "{plugins}" }} }}\n')
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "TF_CLI_CONFIG_FILE": str(settings),
        "TF_VAR_endpoint": endpoint,
        "TF_VAR_vpc": vpc,
        "TF_VAR_subnets": json.dumps(subnets),
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_EC2_METADATA_DISABLED": "true",
        "CHECKPOINT_DISABLE": "1",
    }
    return Terraform(command, tmp_path, environment)


@pytest.mark.integration
def test_terraform_applies_plans_nothing_more_and_leaves_weights_alone(terraform: Terraform, endpoint: str) -> None:
    code, said = terraform.run("init", "-input=false", "-no-color")
    assert code == 0, said
    assert terraform.changes()
    code, said = terraform.run("apply", "-input=false", "-no-color", "-auto-approve")
    assert code == 0, said
    try:
        assert not terraform.changes()
        told = {name: each["value"] for name, each in json.loads(terraform.run("output", "-json")[1]).items()}
        keys = {"aws_access_key_id": "local", "aws_secret_access_key": "local"}
        elbv2 = boto3.session.Session(region_name=REGION).client("elbv2", endpoint_url=endpoint, **keys)
        elbv2.modify_rule(RuleArn=told["rule"], Actions=forward(dict(zip(told["groups"], (75, 25), strict=True))))
        assert not terraform.changes()
    finally:
        code, said = terraform.run("destroy", "-input=false", "-no-color", "-auto-approve")
    assert code == 0, said
