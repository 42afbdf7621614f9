"""Create the parameters file's services as they are before the runbook, on the
local control plane.

For any file: network, cluster, roles, plain task definitions, ECS services, registered
in DNS or behind the load balancer whose rule the file names. What was created once is
not created again, so that a service the runbook retired stays away.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from filelock import FileLock

from runbook_lib.engines.appmesh.iam import policy
from runbook_lib.errors import TargetError
from runbook_lib.local.clients import clients
from runbook_lib.local.front import (
    CALLERS,
    certificate_of,
    container_port,
    create_callers,
    create_front,
    listener_port,
)
from runbook_lib.local.keys import environment, past_proxies
from runbook_lib.local.supervisor import LocalMesh
from runbook_lib.parameters import Parameters
from runbook_lib.private import replace_privately

__all__ = ["called", "create", "ensure", "known", "variables"]

NOTES = "worlds.json"
ANEW = "end that local mesh and begin again: `runbook local down`"
SETTLE_SECONDS = 60.0
RULE_SECONDS = 30.0  # the first word about load balancers loads all of moto's EC2
BLOCKS = ("10.0.0.0/20", "10.0.16.0/20")  # of subnets, each in a zone of its own
TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": "ecs-tasks.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
    ],
}

Client = Callable[[str], Any]


def ensure(p: Parameters, mesh: LocalMesh) -> str:
    """Create what the environment's file names and the local mesh has not seen yet;
    return what it is called there.

    How often is called and how late telemetry is are as the file says now; who is
    called stays as it was at first.
    """
    with FileLock(mesh.folder / "worlds.lock", mode=0o600):
        worlds = known(mesh)
        name = _name(p, worlds)
        world = worlds.setdefault(name, {**_place(p), "services": []})
        client = clients(
            mesh,
            p.account_id,
            p.region,
            retries={"mode": "standard", "total_max_attempts": 3},
        )
        new = [service for service in p.services if service not in world["services"]]
        if new and p.engine == "alb":
            _promise(p, mesh)
        if new:
            create(p, new, client)
        # a load balancer answers 503 until targets are healthy
        if p.engine == "alb" and new:
            _settle(p, new, client("ecs"))
        # 05 says it where nobody dials the name
        if p.engine == "alb" or p.callers_of(p.shift.name):
            mesh.ask("/runbook/traffic", {"environment": name, **_traffic(p)})
        if new:
            _settle(p, new, client("ecs"))
            world["services"] += new
            make_bucket(p, client("s3"))
            # last: whoever is stopped on the way begins again
            replace_privately(mesh.folder / NOTES, json.dumps(worlds))
    return name


def make_bucket(p: Parameters, s3: Any) -> None:
    """Make the bucket that the file names for records, where there is none."""
    if not p.bucket:
        return
    name = p.bucket.removeprefix("s3://").partition("/")[0]
    there = [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]
    if name not in there:
        where = {"LocationConstraint": p.region}
        settings = (
            {} if p.region == "us-east-1" else {"CreateBucketConfiguration": where}
        )
        s3.create_bucket(Bucket=name, **settings)


def called(p: Parameters, mesh: LocalMesh) -> str:
    """Return what an environment is called in a local mesh."""
    return _name(p, known(mesh))


def _promise(p: Parameters, mesh: LocalMesh) -> None:
    """Let what the file names by an id have that id."""
    place = {"account": p.account_id, "region": p.region}
    if p.alb.rule:
        mesh.ask("/runbook/rule", {**place, "rule": p.alb.rule}, timeout=RULE_SECONDS)
    if p.alb.holding_vpc:
        held = {**place, "vpc": p.alb.holding_vpc}
        mesh.ask("/runbook/vpc", held, timeout=RULE_SECONDS)
    if arn := certificate_of(p):
        issued = {**place, "arn": arn, "name": p.shift.name}
        mesh.ask("/runbook/certificate", issued, timeout=RULE_SECONDS)


def _name(p: Parameters, worlds: Mapping[str, Mapping[str, Any]]) -> str:
    """Return what an environment is called here: its own name, and its place too where
    that is another's already.
    """
    place = _place(p)
    world = worlds.get(p.environment, place)
    is_own = all(world[key] == value for key, value in place.items())
    return p.environment if is_own else f"{p.environment} in {' '.join(place.values())}"


def _place(p: Parameters) -> dict[str, str]:
    return {"account": p.account_id, "region": p.region, "cluster": p.cluster}


def known(mesh: LocalMesh) -> dict[str, dict[str, Any]]:
    """Return the environments a local mesh holds: their account, region, cluster and
    services, by name.
    """
    notes = mesh.folder / NOTES
    try:
        found = json.loads(notes.read_text()) if notes.exists() else {}
        return {
            name: {**world, "services": list(world["services"])}
            for name, world in found.items()
        }
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise TargetError(
            f"{notes}: not as the runbook left it: {error}", hint=ANEW
        ) from error


def variables(mesh: LocalMesh, own: Mapping[str, str]) -> dict[str, Any]:
    """Return the variables with which any AWS SDK or CLI reaches a local mesh, by
    account where it holds several.

    `own` are the variables of whoever asks: where they name a proxy, this machine is
    named as one to reach without.
    """
    regions: dict[str, str] = {}
    for world in known(mesh).values():
        regions.setdefault(world["account"], world["region"])
    made = {
        account: {
            **environment(mesh.endpoint, mesh.key, account, region),
            **past_proxies(own),
        }
        for account, region in regions.items()
    }
    return next(iter(made.values())) if len(made) == 1 else made


def _traffic(p: Parameters) -> dict[str, Any]:
    """Return who calls whom in this environment, and how late its telemetry is."""
    callers = p.callers_of(p.shift.name)
    door = _door(p) if p.engine == "appmesh" else (listener_port(p), p.protocol)
    calls = {
        "account": p.account_id,
        "region": p.region,
        "cluster": p.cluster,
        "service": p.ecs_service_of(callers[0]) if callers else CALLERS,
        "name": p.shift.name,
        "port": door[0],
        "protocol": door[1],
        "requests_per_second": p.traffic.requests_per_second,
        "secure": bool(certificate_of(p)),
        "former": _former(p),
    }
    grain = {**p.telemetry.model_dump(), "slow_millis": p.shift.verdict.slow_millis}
    return {"calls": calls, "grain": grain}


def _former(p: Parameters) -> tuple[str, int, str] | None:
    """Return what callers dial until there is the name under shift, where that is a
    new one: stable's own name, its port and protocol.
    """
    stable = p.services[p.shift.stable]
    if p.engine != "alb" or stable.hostname in (None, p.shift.name):
        return None
    return stable.hostname, container_port(p, p.shift.stable), p.protocol


def _door(p: Parameters) -> tuple[int, str]:
    """Return the port and the protocol of the router under shift."""
    return p.port_of_router(p.router), p.protocol_of_router(p.router)


def create(p: Parameters, names: Iterable[str], client: Client) -> None:
    """Create services, and what they stand on where it is not there; can be
    repeated after a crash.
    """
    ecs, iam = client("ecs"), client("iam")
    network = _network(p, client("ec2"))
    namespace = (
        _namespace(p, client("servicediscovery"), network.vpc) if p.namespace else ""
    )
    ecs.create_cluster(clusterName=p.cluster)
    execution = _role(iam, f"{p.cluster}-execution")
    if p.iam.instance_role:
        _role(iam, p.iam.instance_role)
    front = (
        create_front(p, client, network.vpc, network.subnets, network.group)
        if p.engine == "alb" and p.alb.rule
        else None
    )
    for name in names:
        if _missing(ecs, p.cluster, p.ecs_service_of(name)):
            role = _task_role(p, name, iam) if p.engine == "appmesh" else None
            revision = ecs.register_task_definition(
                **_definition(p, name, execution, role)
            )
            arn = revision["taskDefinition"]["taskDefinitionArn"]
            registry = (
                _registry(p, name, client("servicediscovery"), namespace)
                if namespace and _is_registered(p, name)
                else ""
            )
            behind = front.load_balancers_of(p, name) if front else []
            ecs.create_service(**_service(p, name, arn, network, registry, behind))
    if front and not p.callers_of(p.shift.name):
        create_callers(p, ecs, network.subnets, network.group)


def _is_registered(p: Parameters, name: str) -> bool:
    """Say whether the file gives a service a name in discovery."""
    service = p.services[name]
    is_named = bool(service.hostname or service.cloud_map)
    return is_named and not p.only_calls(name)


def _settle(p: Parameters, names: Iterable[str], ecs: Any) -> None:
    """Wait until new services serve, as services that are there already do: a name
    resolves once its tasks run.
    """
    end = time.monotonic() + SETTLE_SECONDS
    waiting = [p.ecs_service_of(name) for name in names]
    while waiting and time.monotonic() < end:
        found = ecs.describe_services(cluster=p.cluster, services=waiting[:10])[
            "services"
        ]
        done = {s["serviceName"] for s in found if _serves(s)}
        waiting = [name for name in waiting if name not in done]
        time.sleep(0.1)


def _serves(service: Mapping[str, Any]) -> bool:
    """Say whether a service's tasks run, and are healthy where a load
    balancer asks for that.
    """
    if service["loadBalancers"]:
        return bool(service["deployments"][0]["rolloutState"] == "COMPLETED")
    return bool(service["runningCount"] >= service["desiredCount"])


def _missing(ecs: Any, cluster: str, service: str) -> bool:
    found = ecs.describe_services(cluster=cluster, services=[service])["services"]
    return not any(service["status"] == "ACTIVE" for service in found)


@dataclass(frozen=True, slots=True)
class Network:
    """Where services run: a VPC, its subnets, a security group."""

    vpc: str
    subnets: tuple[str, ...]
    group: str


def _network(p: Parameters, ec2: Any) -> Network:
    """Create the cluster's VPC; a load balancer needs subnets in two zones."""
    label = [{"Name": "tag:Name", "Values": [p.cluster]}]
    vpcs = ec2.describe_vpcs(Filters=label)["Vpcs"]
    made = (
        vpcs[0]
        if vpcs
        else ec2.create_vpc(
            CidrBlock="10.0.0.0/16", TagSpecifications=_named("vpc", p)
        )["Vpc"]
    )
    vpc = str(made["VpcId"])
    there = {
        subnet["CidrBlock"]: subnet["SubnetId"]
        for subnet in ec2.describe_subnets(Filters=label)["Subnets"]
    }
    zones = ec2.describe_availability_zones()["AvailabilityZones"]
    blocks = BLOCKS if p.engine == "alb" else BLOCKS[:1]
    for block, zone in zip(blocks, zones, strict=False):
        if block not in there:
            where = {
                "VpcId": vpc,
                "CidrBlock": block,
                "AvailabilityZone": zone["ZoneName"],
            }
            there[block] = ec2.create_subnet(
                **where, TagSpecifications=_named("subnet", p)
            )["Subnet"]["SubnetId"]
    groups = ec2.describe_security_groups(
        Filters=[{"Name": "vpc-id", "Values": [vpc]}]
    )["SecurityGroups"]
    group = groups[0]
    if p.engine == "alb" and not group["IpPermissions"]:
        _open(ec2, vpc, group["GroupId"])
    return Network(vpc, tuple(there.values()), group["GroupId"])


def _open(ec2: Any, vpc: str, group: str) -> None:
    """Let the members of a VPC's default group reach each other, as AWS's may, and
    private zones be asked.
    """
    each_other = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]}
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[each_other])
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": True})


def _named(kind: str, p: Parameters) -> list[dict[str, Any]]:
    return [{"ResourceType": kind, "Tags": [{"Key": "Name", "Value": p.cluster}]}]


def _namespace(p: Parameters, cloud_map: Any, vpc: str) -> str:
    """Create the cluster's namespace; another VPC may have one of the same name."""
    of_cluster = f"of cluster {p.cluster}"

    def found() -> list[str]:
        return [
            n["Id"]
            for n in cloud_map.list_namespaces()["Namespaces"]
            if (n["Name"], n.get("Description")) == (p.namespace, of_cluster)
        ]

    if not found():
        cloud_map.create_private_dns_namespace(
            Name=p.namespace, Vpc=vpc, Description=of_cluster
        )
    return found()[0]


def _registry(p: Parameters, name: str, cloud_map: Any, namespace: str) -> str:
    service = p.services[name]
    label = (
        service.cloud_map.service
        if service.cloud_map
        else service.hostname.split(".")[0]
    )
    filters = [{"Name": "NAMESPACE_ID", "Values": [namespace], "Condition": "EQ"}]
    found = [
        s
        for s in cloud_map.list_services(Filters=filters)["Services"]
        if s["Name"] == label
    ]
    dns = {
        "NamespaceId": namespace,
        "RoutingPolicy": "MULTIVALUE",
        "DnsRecords": [{"Type": "A", "TTL": 10}],
    }
    made = (
        found[0]
        if found
        else cloud_map.create_service(Name=label, NamespaceId=namespace, DnsConfig=dns)[
            "Service"
        ]
    )
    return str(made["Arn"])


def _role(iam: Any, name: str) -> str:
    try:
        return str(iam.get_role(RoleName=name)["Role"]["Arn"])
    except iam.exceptions.NoSuchEntityException:
        return str(
            iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST))[
                "Role"
            ]["Arn"]
        )


def _task_role(p: Parameters, name: str, iam: Any) -> str | None:
    """Return the role the plain definition names: none where the file gives one, or
    where EC2 lends its own.
    """
    service = p.services[name]
    role = service.task_role or f"{p.cluster}-{name}-task"
    on_instance = (
        p.launch_type_of(name) == "EC2"
        and p.iam.instance_role
        and not p.iam.metadata_blocked
    )
    if on_instance and not service.task_role:
        role = str(p.iam.instance_role)
    arn = _role(iam, role)
    if not p.iam.manage:  # then its owner has given the permission, as the file expects
        iam.put_role_policy(
            RoleName=role,
            PolicyName=f"envoy-{name}",
            PolicyDocument=json.dumps(policy(p, name)),
        )
    return None if service.task_role or on_instance else arn


def _definition(
    p: Parameters, name: str, execution: str, role: str | None
) -> dict[str, Any]:
    known = [container_port(p, name)] if p.engine == "alb" else p.ports_of(name)
    ports = [{"containerPort": port, "protocol": "tcp"} for port in known]
    container = {
        "name": "app",
        "image": f"{name.lower()}:1",
        "essential": True,
        "portMappings": ports,
        "memory": 256,
    }
    return {
        "family": p.services[name].task_definition,
        "networkMode": "awsvpc",
        "requiresCompatibilities": [p.launch_type_of(name)],
        "cpu": "1024",
        "memory": "2048",
        "executionRoleArn": execution,
        **({"taskRoleArn": role} if role else {}),
        "containerDefinitions": [container],
    }


def _service(
    p: Parameters,
    name: str,
    arn: str,
    network: Network,
    registry: str,
    load_balancers: list[dict[str, Any]],
) -> dict[str, Any]:
    where = {
        "subnets": list(network.subnets),
        "securityGroups": [network.group],
        "assignPublicIp": "DISABLED",
    }
    return {
        "cluster": p.cluster,
        "serviceName": p.ecs_service_of(name),
        "taskDefinition": arn,
        "desiredCount": p.services[name].desired_count,
        "launchType": p.launch_type_of(name),
        "networkConfiguration": {"awsvpcConfiguration": where},
        **({"serviceRegistries": [{"registryArn": registry}]} if registry else {}),
        **({"loadBalancers": load_balancers} if load_balancers else {}),
        "deploymentConfiguration": {
            "minimumHealthyPercent": 100,
            "maximumPercent": 200,
            "deploymentCircuitBreaker": {"enable": True, "rollback": True},
        },
    }
