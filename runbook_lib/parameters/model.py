"""The parameters of one environment as strict, typed, frozen records.

Pure: what single fields allow. `checks` has what only several of them together can
tell, `appmesh` and `alb` the sections of one engine alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import (
    AwareDatetime,
    BeforeValidator,
    Field,
    PrivateAttr,
    StringConstraints,
)

from runbook_lib.parameters.alb import Alb
from runbook_lib.parameters.appmesh import (
    CloudMap,
    Envoy,
    HealthCheck,
    Iam,
    Mesh,
    Router,
    Timeout,
    VirtualService,
)
from runbook_lib.parameters.fields import (
    OF_AN_ENGINE,
    Dns,
    EnvironmentName,
    LaunchType,
    Name,
    Port,
    Positive,
    Protocol,
    RoleName,
    Seconds,
    Strict,
)
from runbook_lib.parameters.shift import Shift


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
    if not isinstance(names, dict):
        return names
    folded = Counter(name.lower() for name in names)
    double = sorted(name for name, times in folded.items() if times > 1)
    if double:
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
    def bucket(self) -> str:
        """Where the records are kept in S3, s3://BUCKET/PREFIX; "" for nowhere."""
        kept = self.records or ""
        return kept.rstrip("/") if kept.startswith("s3://") else ""

    @property
    def names(self) -> list[str]:
        """Every DNS name of the file, each once: those callers may dial, those services
        are registered under.
        """
        services = self.services.values()
        hostnames = [service.hostname for service in services if service.hostname]
        return list(dict.fromkeys([*self.virtual_services, *hostnames]))

    @property
    def carrier(self) -> str:
        """The name of what carries the weights: a lock, a run and a
        record belong to it.
        """
        if self.engine != "alb":
            return f"App Mesh {self.mesh.name}, route {self.router}/{self.route}"
        alb = self.alb
        if alb.rule:
            _, _, rule = alb.rule.partition("/")
            return f"listener rule {rule}"
        return f"load balancer {alb.name}, rule {alb.port}/{alb.priority}"

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

    def port_of_router(self, router: str) -> int:
        """Return the port that callers of a router use."""
        return self.routers[router].port or self.port

    def protocol_of_router(self, router: str) -> str:
        """Return a router's protocol."""
        return self.routers[router].protocol or self.protocol

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
        callees: set[str] = set()
        for backend in self.services[service].backends:
            callees |= self.answering(backend)
        return callees

    def answering(self, name: str) -> set[str]:
        """Return the services behind a name that callers dial."""
        if self.engine == "alb":
            return self._registered_under(name)
        provider = self.virtual_services[name]
        if provider.node:
            return {provider.node}
        targets: set[str] = set()
        for route in self.routers[provider.router or ""].routes.values():
            targets |= set(route.names)
        return targets

    def _registered_under(self, name: str) -> set[str]:
        if name == self.shift.name:
            return {*self.shift.versions}
        services = self.services.items()
        return {own for own, service in services if service.hostname == name}

    def callers_of(self, name: str) -> list[str]:
        """Return the services that list a name among their backends."""
        services = self.services.items()
        return [caller for caller, service in services if name in service.backends]

    def dialled_by(self, services: Iterable[str]) -> list[str]:
        """Return each name that one of these services calls, in their order."""
        dialled: dict[str, None] = {}
        for service in services:
            dialled |= dict.fromkeys(self.services[service].backends)
        return list(dialled)
