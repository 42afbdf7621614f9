"""What ECS keeps beside moto's clusters: task definitions, services, deployments and
tasks, by account and region.

Records and their API documents; nothing here decides. Times are seconds since 1970 and,
like events and ids, do not count when two states are compared.
"""

from __future__ import annotations

import time
from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from moto.core.base_backend import BackendDict, BaseBackend

from runbook_lib.local.control_plane import identity
from runbook_lib.local.control_plane.wire import ApiError

if TYPE_CHECKING:
    from moto.ecs.models import Cluster

__all__ = [
    "Definition",
    "Deployment",
    "EcsBackend",
    "EcsState",
    "Revision",
    "Service",
    "Task",
    "ecs_backends",
    "refusal",
]

Members = dict[str, Any]


def refusal(code: str, message: str) -> ApiError:
    """Return an ECS error: each is a 400."""
    return ApiError(code, message, 400)


@dataclass
class Definition:
    """One revision of a task definition, its document as described."""

    document: Members
    tags: list[dict[str, str]]
    registered: float = field(compare=False)
    deregistered: float | None = field(default=None, compare=False)

    @property
    def arn(self) -> str:
        """Return its ARN, revision included."""
        return str(self.document["taskDefinitionArn"])

    def describe(self) -> Members:
        """Return the document with its times."""
        times = {"registeredAt": self.registered, "deregisteredAt": self.deregistered}
        return {**deepcopy(self.document), **times}


@dataclass
class Deployment:
    """One rollout of a service to a revision."""

    id: str = field(compare=False)
    definition: str  # ARN
    desired: int
    created: float = field(compare=False)
    updated: float = field(compare=False)
    primary: bool = True
    state: Literal["IN_PROGRESS", "COMPLETED", "FAILED"] = "IN_PROGRESS"
    reason: str = field(default="", compare=False)
    failed: int = 0  # tasks that did not come up
    # launch type, network and the like, as the service had them
    settings: Members = field(default_factory=dict)
    revision: str = field(default="", compare=False)  # ARN of the service revision


@dataclass
class Revision:
    """What a service was when one of its deployments began; it never changes."""

    document: Members  # of service and definition, as described
    created: float = field(compare=False)


@dataclass
class Service:
    """One service; `request` holds the members it was created and
    updated with, as given.
    """

    arn: str
    name: str
    cluster: str
    definition: str  # ARN
    desired: int
    request: Members
    created: float = field(compare=False)
    status: Literal["ACTIVE", "DRAINING", "INACTIVE"] = "ACTIVE"
    tags: list[dict[str, str]] = field(default_factory=list)
    deployments: list[Deployment] = field(default_factory=list)
    events: list[Members] = field(default_factory=list, compare=False)
    steady: bool = False

    @property
    def primary(self) -> Deployment:
        """Return the deployment being rolled out, or the last one."""
        return next(d for d in self.deployments if d.primary)

    def tell(self, message: str) -> None:
        """Put an event at the head of the list; the service keeps the last hundred."""
        event_id = identity.uid(self.arn, len(self.events), message, time.time())
        self.events.insert(
            0,
            {
                "id": event_id,
                "createdAt": time.time(),
                "message": f"(service {self.name}) {message}",
            },
        )
        del self.events[100:]


@dataclass
class Task:
    """One task: what is wanted of it, what is known of it, and where it is."""

    id: str
    account: str
    region: str
    cluster: str
    definition: Members  # the whole document
    service: str | None
    deployment: str
    address: str  # an invented address of its subnet
    # launchType, platformVersion, networkConfiguration, enableExecuteCommand
    request: Members
    registries: list[Members]
    created: float = field(compare=False)
    desired: Literal["RUNNING", "STOPPED"] = "RUNNING"
    last: Literal["PENDING", "RUNNING", "STOPPED"] = "PENDING"
    health: dict[str, str] = field(default_factory=dict)  # by container
    load_balancers: list[Members] = field(default_factory=list)
    vpc: str = ""  # whose resolver it asks; "" where none is known
    grace_seconds: int = 0  # in which a load balancer's health checks do not end it
    attached: bool = False
    serves: bool = True  # as far as whoever it is attached to can tell
    told_to_stop: bool = False
    was_ready: bool = False
    exit_codes: dict[str, int] = field(default_factory=dict)
    stop_code: str = ""
    reason: str = ""
    tags: list[dict[str, str]] = field(default_factory=list)
    started: float | None = field(default=None, compare=False)
    stopping: float | None = field(default=None, compare=False)
    stopped: float | None = field(default=None, compare=False)

    @property
    def arn(self) -> str:
        """Return its ARN."""
        return identity.arn(
            "ecs", self.region, self.account, f"task/{self.cluster}/{self.id}"
        )

    @property
    def containers(self) -> list[str]:
        """Return the names of its containers."""
        return [
            container["name"] for container in self.definition["containerDefinitions"]
        ]

    @property
    def checked(self) -> list[str]:
        """Return the names of its containers that have a health check."""
        return [
            c["name"]
            for c in self.definition["containerDefinitions"]
            if c.get("healthCheck")
        ]

    @property
    def ready(self) -> bool:
        """Say whether it runs, is in service, and every container with a
        health check is healthy.
        """
        return (
            self.last == "RUNNING"
            and self.serves
            and all(self.health.get(name) == "HEALTHY" for name in self.checked)
        )

    @property
    def healthy(self) -> str:
        """Return the task's own health, from its containers with a health check."""
        seen = {self.health.get(name, "UNKNOWN") for name in self.checked}
        return next(
            (
                status
                for status in ("UNHEALTHY", "UNKNOWN", "HEALTHY")
                if status in seen
            ),
            "UNKNOWN",
        )


@dataclass
class EcsState:
    """All of ECS but its clusters, of one account in one region."""

    account: str
    region: str
    # by family; revision n at n - 1
    definitions: dict[str, list[Definition]] = field(default_factory=dict)
    services: dict[str, Service] = field(default_factory=dict)  # by ARN
    # of services, by ARN
    revisions: dict[str, Revision] = field(default_factory=dict, compare=False)
    tasks: dict[str, Task] = field(default_factory=dict)  # by id
    serial: int = field(default=0, compare=False)

    def arn(self, path: str) -> str:
        """Return the ARN of an ECS resource here."""
        return identity.arn("ecs", self.region, self.account, path)

    def fresh(self) -> tuple[Any, ...]:
        """Return what no earlier name was made of."""
        self.serial += 1
        return (self.account, self.region, self.serial)

    def tasks_of(self, service: Service) -> list[Task]:
        """Return a service's tasks that have not stopped, oldest first."""
        here = (service.cluster, service.name)
        return [
            t
            for t in self.tasks.values()
            if (t.cluster, t.service) == here and t.last != "STOPPED"
        ]


class EcsBackend(BaseBackend):
    """ECS of one account in one region; moto's own reset empties it."""

    def __init__(self, region_name: str, account_id: str) -> None:
        super().__init__(region_name, account_id)
        self.state = EcsState(account_id, region_name)

    @property
    def clusters(self) -> dict[str, Cluster]:
        """Return moto's clusters here, by name."""
        # 0.5 s to import: not before it is asked
        from moto.ecs.models import ecs_backends as moto_ecs

        return moto_ecs[self.account_id][self.region_name].clusters

    def cluster(self, name: str | None) -> Cluster:
        """Return an active cluster by name or ARN, `default` when none is named."""
        found = self.clusters.get((name or "default").rsplit("/", 1)[-1])
        if found is None or found.status != "ACTIVE":
            raise refusal("ClusterNotFoundException", "Cluster not found.")
        return found


ecs_backends: BackendDict[EcsBackend] = BackendDict(EcsBackend, "ecs")
