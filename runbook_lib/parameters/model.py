"""The parameters of one environment as strict, typed, frozen records.

Pure: what single fields allow. `checks` has what only several of them
together can tell.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    StringConstraints,
    field_validator,
    model_validator,
)

from runbook_lib.parameters.spelling import nearest


def _lowered(value: Any) -> Any:
    """Lower-case a DNS name: DNS ignores case, App Mesh does not, Envoy refuses
    two that differ so.
    """
    return value.lower() if isinstance(value, str) else value


def _no_run(name: str) -> str:
    if name == "latest" or re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T", name):
        raise ValueError("expected a name that is not that of a run")
    return name


Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,255}$")]
EnvironmentName = Annotated[
    str,
    # It names a folder of runs and stands in commands: no option, no run's id, nor what
    # points at the newest run.
    StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_-]{0,254}$"),
    AfterValidator(_no_run),
]
Dns = Annotated[
    str,
    BeforeValidator(_lowered),
    StringConstraints(
        pattern=r"^[a-z0-9_]([a-z0-9_-]*[a-z0-9])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9])?)*$"
    ),
]
CloudMapName = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
RoleName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_+=,.@-]{1,64}$")]
Method = Literal[
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"
]
UserId = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]*$")]
Port = Annotated[int, Field(ge=1, le=65535)]
Percent = Annotated[int, Field(ge=0, le=100)]
Positive = Annotated[int, Field(ge=1, le=1_000_000_000)]
Seconds = Annotated[int, Field(ge=1, le=2_592_000)]  # of a wait: 30 days at most
Limit = Annotated[int, Field(ge=0, le=2_592_000)]  # of a request; 0 is none
HeaderName = Annotated[str, StringConstraints(min_length=1, max_length=50)]
UrlPath = Annotated[str, StringConstraints(pattern="^/")]
Protocol = Literal["http", "http2", "grpc", "tcp"]
LaunchType = Literal["FARGATE", "EC2"]
RuleArn = Annotated[
    str,
    StringConstraints(
        pattern=r"^arn:aws[a-z-]*:elasticloadbalancing:[a-z0-9-]+:[0-9]{12}:listener-rule/app(/[A-Za-z0-9-]{1,32}){4}$"
    ),
]
CertificateArn = Annotated[
    str,
    StringConstraints(
        pattern=r"^arn:aws[a-z-]*:acm:[a-z0-9-]+:[0-9]{12}:certificate/[A-Za-z0-9-]{1,64}$"
    ),
]
SubnetId = Annotated[str, StringConstraints(pattern=r"^subnet-[0-9a-f]{8,17}$")]
SecurityGroupId = Annotated[str, StringConstraints(pattern=r"^sg-[0-9a-f]{8,17}$")]
VpcId = Annotated[str, StringConstraints(pattern=r"^vpc-[0-9a-f]{8,17}$")]
TargetGroupName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9-]{0,30}[A-Za-z0-9])?$")
]

OF_AN_ENGINE: Any = None
"""The default of what one engine alone reads: it has its type, and is None
under another engine.
"""


class Strict(BaseModel):
    """A record that refuses unknown keys by naming the nearest known one,
    and never coerces.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _know_every_key(cls, data: Any) -> Any:
        unknown = set(data) - set(cls.model_fields) if isinstance(data, dict) else set()
        if unknown:
            raise ValueError(
                "; ".join(
                    _unknown(key, cls.model_fields) for key in sorted(map(str, unknown))
                )
            )
        return data


class Mesh(Strict):
    """The mesh itself."""

    name: Name = Field(description="name of the mesh")
    egress: Literal["DROP_ALL", "ALLOW_ALL"] = Field(
        "DROP_ALL", description="what may leave the mesh"
    )


class GroupCheck(Strict):
    """How a load balancer checks a target's health."""

    path: UrlPath = Field("/", description="path asked for")
    matcher: Annotated[str, StringConstraints(pattern=r"^[0-9,-]+$")] = Field(
        "200", description="HTTP answers that are healthy, such as 200-299"
    )
    interval_seconds: Annotated[int, Field(ge=5, le=300)] = Field(
        10, description="between two checks"
    )
    timeout_seconds: Annotated[int, Field(ge=2, le=120)] = Field(
        5, description="until one check fails; shorter than the interval"
    )
    healthy_threshold: Annotated[int, Field(ge=2, le=10)] = Field(
        2, description="checks until healthy"
    )
    unhealthy_threshold: Annotated[int, Field(ge=2, le=10)] = Field(
        2, description="checks until unhealthy"
    )


class Alb(Strict):
    """An Application Load Balancer's rule: one that is there already, by its ARN, or
    one that the runbook makes with all it takes, by the load balancer's name.
    """

    rule: RuleArn | None = Field(
        None,
        description="ARN of the listener rule that forwards to both versions' "
        "target groups; null: 01 to 04 make it",
    )
    target_groups: dict[Name, TargetGroupName] = Field(
        {},
        description="names of target groups by service, where one is not called "
        "as its ECS service",
    )
    name: TargetGroupName | None = Field(
        None, description="name of the load balancer to make"
    )
    port: Port = Field(80, description="port it listens on: the one callers dial")
    certificate: CertificateArn | None = Field(
        None,
        description="ARN of a certificate for `shift.name`: the listener is HTTPS, "
        "which HTTP/2 needs; null: HTTP",
    )
    priority: Annotated[int, Field(ge=2, le=50000)] = Field(
        100, description="the rule's; 1 is the trial's"
    )
    path: Annotated[str, StringConstraints(pattern="^/", max_length=128)] = Field(
        "/*", description="path pattern of the rule"
    )
    subnets: list[SubnetId] = Field(
        [], description="its subnets, in two zones at least; none: stable's"
    )
    security_groups: list[SecurityGroupId] = Field(
        [], description="its security groups; none: stable's"
    )
    health_check: GroupCheck = Field(
        GroupCheck(), description="how targets are checked"
    )
    deregistration_delay_seconds: Annotated[int, Field(ge=0, le=3600)] = Field(
        30, description="how long a target that leaves may go on answering"
    )
    idle_seconds: Annotated[int, Field(ge=1, le=4000)] = Field(
        60, description="until a connection without a byte is closed"
    )
    deletion_protection: bool = Field(True, description="refuse to delete it")
    holding_vpc: VpcId | None = Field(
        None,
        description="a VPC that nobody asks for names: the private zone of "
        "`shift.name` is made there, and moved to callers when it is whole; null: "
        "the name is not switched",
    )


class Log(Strict):
    """Where a container's output goes: its `logConfiguration`."""

    driver: Literal[
        "awslogs",
        "awsfirelens",
        "splunk",
        "json-file",
        "syslog",
        "journald",
        "gelf",
        "fluentd",
    ] = Field(description="log driver; Fargate knows the first three")
    options: dict[str, str] = Field({}, description="options of the driver")


class Envoy(Strict):
    """The sidecar every task gets."""

    image_tag: str = Field(
        "v1.39.1.0-prod",
        description="tag of the App Mesh Envoy image, v1.17.2.0-prod or later",
    )
    fips: bool = Field(
        False, description="use the FIPS image; only in regions with a FIPS endpoint"
    )
    public_image: bool = Field(
        False, description="pull from the public registry instead of the regional one"
    )
    xray: bool = Field(
        False, description="add the X-Ray daemon and let Envoy report to it"
    )
    resource_cluster: str | None = Field(
        None, description="APPMESH_RESOURCE_CLUSTER: name in metrics and traces"
    )
    user: UserId = Field(
        "1337", description="user id Envoy runs as, and the proxy's IgnoredUID"
    )
    ignored_uid: str | None = Field(
        None, description="IgnoredUID, where stated; must equal `user`"
    )
    ignored_gid: UserId | None = Field(
        None,
        description="group whose containers pass Envoy by, IgnoredGID; null: as the "
        "definition has it",
    )
    ignored_ips: list[str] = Field(
        [], description="egress addresses Envoy leaves alone, besides the metadata ones"
    )
    ignored_ports: Annotated[list[Port], Field(max_length=15)] = Field(
        [22], description="EgressIgnoredPorts, at most 15"
    )
    access_log: str | None = Field(
        "/dev/stdout", description="file path of the access log; null for none"
    )
    cpu: Positive | None = Field(
        None, description="CPU units for Envoy's container, 512 are advised; null: none"
    )
    memory: Positive | None = Field(
        None,
        description="MiB that Envoy's container may use, at least 64; null: no limit "
        "but the task's",
    )
    start_seconds: Annotated[int, Field(ge=0, le=300)] = Field(
        90, description="until a failed health check of Envoy counts, its startPeriod"
    )
    log: Log | None = Field(
        None,
        description="where Envoy's output goes, an access log on /dev/stdout too; "
        "null: nowhere on Fargate",
    )


class CloudMap(Strict):
    """Discovery by AWS Cloud Map instead of DNS."""

    service: CloudMapName = Field(description="Cloud Map service name")
    namespace: Dns | None = Field(
        None, description="Cloud Map namespace; null takes the file's"
    )
    attributes: dict[str, str] = Field(
        {}, description="only instances that carry these"
    )


class HealthCheck(Strict):
    """A listener's active health check."""

    path: str | None = Field(None, description="path asked for; not for tcp and grpc")
    interval_millis: Annotated[int, Field(ge=5000, le=300000)] = Field(
        30000, description="between two checks"
    )
    timeout_millis: Annotated[int, Field(ge=2000, le=60000)] = Field(
        5000, description="until one check fails"
    )
    healthy_threshold: Annotated[int, Field(ge=2, le=10)] = Field(
        2, description="checks until healthy"
    )
    unhealthy_threshold: Annotated[int, Field(ge=2, le=10)] = Field(
        3, description="checks until unhealthy"
    )


class Timeout(Strict):
    """A request's time limits; above 15 s they must stand on the route and
    on every listener.
    """

    per_request_seconds: Limit | None = Field(
        None,
        description="whole request, retries included; "
        "0: no limit; null: App Mesh's own 15 s",
    )
    idle_seconds: Limit | None = Field(
        None,
        description="connection without a byte; "
        "0: no limit; null: App Mesh's own 300 s",
    )


class Service(Strict):
    """One ECS service and the virtual node that stands for it."""

    hostname: Dns = Field(
        OF_AN_ENGINE,
        description="DNS name the service is registered under; "
        "required under `appmesh` where it listens",
    )
    task_definition: Name = Field(description="task definition family")
    ecs_service: Name | None = Field(
        None, description="name of the ECS service; null: as here"
    )
    backends: list[Dns] = Field([], description="virtual services it may call")
    cloud_map: CloudMap | None = Field(
        None, description="discover through Cloud Map instead of DNS"
    )
    ports: list[Port] | None = Field(
        None,
        description="ports the application listens on; an empty list: on none, it only "
        "calls",
    )
    protocol: Protocol | None = Field(None, description="protocol of those ports")
    launch_type: LaunchType | None = Field(None, description="FARGATE or EC2")
    task_role: str | None = Field(
        None, description="name of the task role to give where the definition has none"
    )
    execution_role: RoleName | None = Field(
        None,
        description="name of the execution role to give where the definition has none",
    )
    cpu: Positive | None = Field(
        None, description="task CPU units with the sidecar; null keeps the definition's"
    )
    memory: Positive | None = Field(
        None, description="task MiB with the sidecar; null keeps the definition's"
    )
    access_log: str | None = Field(
        None,
        description="file path of this node's access log, null for none; not said: "
        "`envoy.access_log`",
    )
    health_check: HealthCheck | None = Field(
        None, description="active health check; null: none"
    )
    timeout: Timeout | None = Field(None, description="listener timeout")
    desired_count: Positive = Field(
        1, description="tasks on the local mesh; on AWS the service's own count stays"
    )


class Range(Strict):
    """Whole numbers from one to another."""

    start: int = Field(description="the first of them")
    end: int = Field(description="the first that is none of them any more")


class Header(Strict):
    """A header a request must carry; without a value any will do."""

    name: HeaderName = Field(description="header name")
    exact: str | None = Field(None, description="its exact value")
    prefix: str | None = Field(None, description="how its value starts")
    suffix: str | None = Field(None, description="how its value ends")
    regex: str | None = Field(None, description="regular expression of its whole value")
    range: Range | None = Field(None, description="range of its value, a whole number")
    invert: bool = Field(False, description="match what does not match")


class QueryParameter(Strict):
    """A query parameter a request must carry; without a value any will do."""

    name: str = Field(description="its name")
    exact: str | None = Field(None, description="its exact value")


class Match(Strict):
    """Which requests a route is for."""

    prefix: UrlPath | None = Field(None, description="path prefix")
    path: UrlPath | None = Field(None, description="exact path")
    path_regex: str | None = Field(
        None, description="regular expression of the whole path"
    )
    query_parameters: Annotated[list[QueryParameter], Field(max_length=10)] = Field(
        [], description="query parameters, all of which must match"
    )
    scheme: Literal["http", "https"] | None = Field(None, description="HTTP scheme")
    port: Port | None = Field(None, description="port that was called: the router's")
    method: Method | None = Field(None, description="HTTP method")
    headers: Annotated[list[Header], Field(max_length=10)] = Field(
        [], description="headers, all of which must match"
    )
    service: str | None = Field(None, description="gRPC service")
    grpc_method: str | None = Field(None, description="gRPC method")


class Retry(Strict):
    """An explicit retry policy: without one App Mesh may add a hidden one that
    masks a bad canary.
    """

    max_retries: Annotated[int, Field(ge=0, le=10)] = Field(
        2, description="after the first attempt"
    )
    per_retry_timeout_millis: Positive = Field(5000, description="one attempt")
    http_events: list[
        Literal["server-error", "gateway-error", "client-error", "stream-error"]
    ] = Field(["gateway-error", "stream-error"], description="HTTP answers tried again")
    tcp_events: list[Literal["connection-error"]] = Field(
        ["connection-error"], description="TCP failures tried again"
    )
    grpc_events: list[
        Literal[
            "cancelled",
            "deadline-exceeded",
            "internal",
            "resource-exhausted",
            "unavailable",
        ]
    ] = Field(["unavailable"], description="gRPC statuses tried again")


class Route(Strict):
    """A rule of a router: these requests, to these targets."""

    match: Match = Field(Match(prefix="/"), description="which requests")
    priority: Annotated[int, Field(ge=0, le=1000)] | None = Field(
        None, description="0 is highest"
    )
    retry: Retry = Field(Retry(), description="retry policy, always written out")
    timeout: Timeout = Field(
        Timeout(per_request_seconds=15), description="time limits, always written out"
    )
    targets: list[Name] | dict[Name, Percent] = Field(
        description="services; with weights unless it is under shift"
    )

    @property
    def names(self) -> list[str]:
        """The targets' names."""
        return list(self.targets)


class Router(Strict):
    """A virtual router: it may listen on another port than its nodes."""

    port: Port | None = Field(
        None, description="port callers use; null takes the file's"
    )
    protocol: Protocol | None = Field(
        None, description="its protocol; null takes the file's"
    )
    routes: Annotated[dict[Name, Route], Field(min_length=1)] = Field(
        description="routes by name"
    )


class VirtualService(Strict):
    """A name callers dial, and what answers it."""

    node: Name | None = Field(None, description="the service that answers")
    router: Name | None = Field(None, description="or the router that chooses")

    @model_validator(mode="after")
    def _one_provider(self) -> Self:
        if (self.node is None) == (self.router is None):
            raise ValueError("expected either node or router")
        return self


class VerdictRule(Strict):
    """How the canary is judged."""

    alpha: Annotated[float, Field(gt=0, lt=0.5)] = Field(
        0.01, description="chance of a false FAIL over the whole bake"
    )
    detectable_increase: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.01,
        description="rise of the error rate a PASS rules out; "
        "at weight 100, twice that",
    )
    power: Annotated[float, Field(gt=0.5, lt=1)] = Field(
        0.95, description="chance that such a rise would be detected"
    )
    ignored_increase: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="rise too small to roll back for"
    )
    on_inconclusive: Literal["hold", "extend", "roll_back"] = Field(
        "hold",
        description="when the bake ends undecided; "
        "extend: up to three bakes, then hold",
    )
    ceiling: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="error rate that is a FAIL in any case"
    )
    slow_millis: Positive | None = Field(
        None,
        description="requests over this are judged as errors are; null: not judged",
    )
    muted: list[Literal["errors", "slow"]] = Field(
        [], description="shown, but never deciding"
    )
    errors_by_alarm: bool = Field(
        False,
        description="where no metric counts errors (gRPC), accept `shift.alarms` as "
        "their only judge",
    )

    @property
    def bakes(self) -> int:
        """How many bakes an undecided step may take."""
        return 3 if self.on_inconclusive == "extend" else 1


class Trial(Strict):
    """Test requests of the canary's own, before users see it: a route of higher
    priority for one header.
    """

    header: HeaderName = Field("x-runbook-trial", description="its header")
    requests: Positive = Field(
        20, description="answered without an error before users see the canary"
    )
    wait_seconds: Seconds = Field(
        120,
        description="for requests with that header, where the runbook cannot make them",
    )


class Approvals(Strict):
    """Whether somebody must approve a step, and what happens when an
    approval runs out.
    """

    steps: list[Percent] = Field([], description="the steps that need one")
    approvers: list[str] = Field(
        [],
        description="who may approve: ARNs, or names; `*` stands for any part; "
        "empty: anybody",
    )
    required: Annotated[int, Field(ge=1, le=20)] = Field(
        1, description="how many different approvers a step needs"
    )
    exclude_starter: bool = Field(
        False, description="whoever starts or changes anything in the run may not"
    )
    identified_by: Literal["aws", "name"] = Field(
        "aws",
        description="by the identity that STS confirms, or by what `--by` says; "
        "a rehearsal always takes names",
    )
    valid_minutes: Positive = Field(60, description="how long an approval holds")
    on_expiry: Literal["hold", "roll_back"] = Field(
        "hold", description="when it ran out before the step was written"
    )


class Shift(Strict):
    """The route that moves, and how."""

    name: Dns = Field(
        description="the name callers dial; under `appmesh` a virtual service"
    )
    route: Name | None = Field(
        None, description="its route, only where the router has several"
    )
    stable: Name = Field(description="the service that carries the traffic now")
    canary: Name = Field(description="the new version")
    steps: Annotated[list[Annotated[int, Field(ge=1, le=100)]], Field(min_length=1)] = (
        Field(description="the canary's weights in percent, rising; may end below 100")
    )
    skip_steps: bool = Field(
        False, description="a step by hand may leave out some of them"
    )
    bake_seconds: Seconds = Field(description="watched at each step")
    prove_seconds: Seconds = Field(
        600, description="until traffic must show a new weight"
    )
    blind_minutes: Positive = Field(
        10,
        description="a shift that cannot look, AWS being away, tries again for so long",
    )
    on_blind: Literal["hold", "roll_back"] = Field(
        "hold", description="when that time is over"
    )
    allow_unprovable: bool = Field(
        False, description="bake although this traffic could never make it PASS"
    )
    trial: Trial | None = Field(
        None, description="try the canary with test requests first; null: do not"
    )
    alarms: list[str] = Field(
        [], description="CloudWatch alarms; one in ALARM rolls back"
    )
    approvals: Approvals = Field(Approvals(), description="who must agree")
    promotion: Literal["by_decision", "never"] = Field(
        "by_decision",
        description="whether a person may end a bake before its PASS: "
        "`runbook promote`",
    )
    verdict: VerdictRule = Field(VerdictRule(), description="how the canary is judged")

    @field_validator("steps")
    @classmethod
    def _rising(cls, steps: list[int]) -> list[int]:
        if steps != sorted(set(steps)):
            raise ValueError("expected steps that rise")
        return steps

    def weights_at(self, step: int) -> dict[str, int]:
        """Return both services' weights, in percent, where the canary has this one."""
        return {self.stable: 100 - step, self.canary: step}


class Iam(Strict):
    """Whether the runbook may give Envoy its permission."""

    manage: bool = Field(
        False, description="put the policy on the task roles; false: print and check it"
    )
    policy: Literal["node", "managed"] = Field(
        "node", description="each node's own ARN, or AWSAppMeshEnvoyAccess"
    )
    instance_role: RoleName | None = Field(
        None, description="role of the EC2 instances, where tasks use it"
    )
    metadata_blocked: bool = Field(
        False, description="tasks on EC2 cannot reach the instance metadata"
    )


class Telemetry(Strict):
    """How late and how coarse CloudWatch is; 60 and 120 on AWS."""

    period_seconds: Seconds = Field(description="length of one datum")
    delay_seconds: Annotated[int, Field(ge=0, le=2_592_000)] = Field(
        description="until a datum is complete"
    )
    namespace: str = Field(
        "AppMesh", description="CloudWatch namespace the metric extension publishes to"
    )


class Traffic(Strict):
    """serviceA's own calls; local mesh only."""

    requests_per_second: Annotated[int, Field(ge=1, le=1000)] = Field(
        description="paced, open loop"
    )


class Retirement(Strict):
    """How the name stays resolvable once the stable version is gone."""

    placeholder_ip: Annotated[
        str, StringConstraints(pattern=r"^[0-9]{1,3}(\.[0-9]{1,3}){3}$")
    ] = Field(
        "10.10.10.10",
        description="any non-loopback address; "
        "Envoy takes the request before it is used",
    )
    quiet_seconds: Seconds = Field(
        300, description="without a request from anyone before the stable version goes"
    )
    allow_unjudged: bool = Field(
        False, description="retire it although the last step has no PASS in the record"
    )


class Removal(Strict):
    """Taking the mesh out again."""

    callers_may_fail: bool = Field(
        False, description="90 may leave a retired service's callers without an answer"
    )


class Approval(Strict):
    """Somebody's word for one plan."""

    approver: str = Field(description="who")
    plan: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{12}$")] = Field(
        description="the plan's hash"
    )
    until: AwareDatetime = Field(
        strict=False, description="when it runs out, ISO 8601 with an offset"
    )


def _distinct(names: Any) -> Any:
    folded = [name.lower() for name in names] if isinstance(names, dict) else []
    if double := sorted({name for name in folded if folded.count(name) > 1}):
        raise ValueError(f"{', '.join(double)} is there twice, differing only by case")
    return names


class Parameters(Strict):
    """Everything one environment says. Values at this level are defaults for what
    does not say its own.

    Each engine has sections of its own: `checks` requires them, and
    refuses another engine's.
    """

    environment: EnvironmentName = Field(
        description="name of this environment; not `latest`"
    )
    target: Literal["local", "aws"] = Field(description="the local mesh, or AWS itself")
    engine: Literal["appmesh", "alb"] = Field(
        "appmesh", description="what carries the weights"
    )
    account_id: Annotated[str, StringConstraints(pattern=r"^[0-9]{12}$")] = Field(
        description="the only account acted on, quoted"
    )
    region: str = Field(description="AWS region")
    mode: Literal["plan", "apply"] = Field(
        "plan", description="what the notebooks do when not told"
    )
    alb: Alb = Field(
        OF_AN_ENGINE,
        description="the load balancer's rule; required under `alb`, and only there",
    )
    mesh: Mesh = Field(
        OF_AN_ENGINE, description="the mesh; required under `appmesh`, and only there"
    )
    namespace: Dns = Field(
        OF_AN_ENGINE,
        description="Cloud Map namespace the services are registered in; "
        "required under `appmesh`",
    )
    cluster: Name = Field(description="ECS cluster")
    port: Port = Field(
        OF_AN_ENGINE,
        description="default port of services and routers; required under `appmesh`",
    )
    protocol: Protocol = Field(
        "http",
        description="default protocol of services and routers; "
        "required under `appmesh`",
    )
    launch_type: LaunchType = Field("FARGATE", description="default launch type")
    envoy: Envoy = Field(Envoy(), description="the sidecar")
    iam: Iam = Field(Iam(), description="Envoy's permission")
    services: Annotated[dict[Name, Service], Field(min_length=1)] = Field(
        description="services by name; under `appmesh` that of their virtual nodes"
    )
    virtual_services: Annotated[
        dict[Dns, VirtualService], BeforeValidator(_distinct)
    ] = Field({}, description="names callers dial; required under `appmesh`")
    routers: dict[Name, Router] = Field({}, description="routers by name")
    shift: Shift = Field(description="the shift")
    retirement: Retirement = Field(
        Retirement(), description="taking the stable version out"
    )
    removal: Removal = Field(Removal(), description="taking the mesh out again")
    telemetry: Telemetry = Field(
        Telemetry(period_seconds=60, delay_seconds=120),
        description="CloudWatch's grain",
    )
    traffic: Traffic = Field(
        Traffic(requests_per_second=300), description="the local mesh's own load"
    )
    approval: Approval | None = Field(
        None, description="an approval given beside the file"
    )
    records: str | None = Field(
        None,
        description="a folder for runs, or s3://BUCKET/PREFIX: a copy of each "
        "applied run as it goes, read from any machine; null: runs/ here",
    )

    _notes: tuple[str, ...] = PrivateAttr(())

    @property
    def notes(self) -> tuple[str, ...]:
        """What was changed on reading: names that were lower-cased."""
        return self._notes

    @property
    def rehearsed(self) -> bool:
        """Whether this is the local mesh."""
        return self.target == "local"

    @property
    def names(self) -> list[str]:
        """Every DNS name of the file, each once: those callers may dial, those services
        are registered under.
        """
        hostnames = [
            service.hostname for service in self.services.values() if service.hostname
        ]
        return list(dict.fromkeys([*self.virtual_services, *hostnames]))

    @property
    def carrier(self) -> str:
        """The name of what carries the weights: a lock, a run and a
        record belong to it.
        """
        if self.engine == "alb" and self.alb.rule:
            return f"listener rule {self.alb.rule.partition('/')[2]}"
        if self.engine == "alb":
            alb = self.alb
            return f"load balancer {alb.name}, rule {alb.port}/{alb.priority}"
        return f"App Mesh {self.mesh.name}, route {self.router}/{self.route}"

    @property
    def router(self) -> str:
        """The router under shift."""
        return self.virtual_services[self.shift.name].router or ""

    @property
    def route(self) -> str:
        """The route under shift."""
        return self.shift.route or next(iter(self.routers[self.router].routes))

    def ports_of(self, service: str) -> list[int]:
        """Return the ports a service's application listens on."""
        ports = self.services[service].ports
        return [self.port] if ports is None else ports

    def only_calls(self, service: str) -> bool:
        """Return whether a service takes part as a caller alone: nobody calls it."""
        return not self.ports_of(service)

    def protocol_of(self, service: str) -> str:
        """Return a service's protocol."""
        return self.services[service].protocol or self.protocol

    def target_group_of(self, service: str) -> str:
        """Return the name of a service's target group."""
        return self.alb.target_groups.get(service) or self.ecs_service_of(service)

    def launch_type_of(self, service: str) -> str:
        """Return FARGATE or EC2 for a service."""
        return self.services[service].launch_type or self.launch_type

    def ecs_service_of(self, service: str) -> str:
        """Return the name of a service's ECS service."""
        return self.services[service].ecs_service or service

    def callees_of(self, service: str) -> set[str]:
        """Return the services that answer this one's calls."""
        return {
            n
            for backend in self.services[service].backends
            for n in self.answering(backend)
        }

    def answering(self, name: str) -> set[str]:
        """Return the services behind a name that callers dial."""
        if self.engine == "alb":
            return self._registered_under(name)
        provider = self.virtual_services[name]
        if provider.node:
            return {provider.node}
        return {
            n
            for route in self.routers[provider.router or ""].routes.values()
            for n in route.names
        }

    def _registered_under(self, name: str) -> set[str]:
        if name == self.shift.name:
            return {self.shift.stable, self.shift.canary}
        return {n for n, service in self.services.items() if service.hostname == name}

    def callers_of(self, name: str) -> list[str]:
        """Return the services that list a name among their backends."""
        return [n for n, service in self.services.items() if name in service.backends]


def _unknown(key: str, known: Mapping[str, Any]) -> str:
    close = nearest(key, list(known))
    return f"unknown key {key!r:.80}; {close or 'expected one of ' + ', '.join(known)}"
