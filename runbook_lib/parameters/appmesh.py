"""The sections of App Mesh: mesh, sidecar, routers and their routes. Pure."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from runbook_lib.parameters.fields import (
    Dns,
    HeaderName,
    Name,
    Percent,
    Port,
    Positive,
    Protocol,
    RoleName,
    Strict,
    Threshold,
    UrlPath,
)

CloudMapName = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
Method = Literal[
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"
]
UserId = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]*$")]
Limit = Annotated[int, Field(ge=0, le=2_592_000)]  # of a request; 0 is none


class Mesh(Strict):
    """The mesh itself."""

    name: Name = Field(description="name of the mesh")
    egress: Literal["DROP_ALL", "ALLOW_ALL"] = Field(
        "DROP_ALL", description="what may leave the mesh"
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
    healthy_threshold: Threshold = Field(2, description="checks until healthy")
    unhealthy_threshold: Threshold = Field(3, description="checks until unhealthy")


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
