"""A load balancer as the data plane follows it: its listeners, their rules, and the
targets that serve. Pure records.

What AWS describes stays as AWS describes it: conditions and actions are the API's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Group", "Listener", "LoadBalancer", "Rule", "resource_name"]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a listener; the default rule has no conditions."""

    conditions: Sequence[Mapping[str, Any]]
    actions: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Listener:
    """One listener, its rules in the order in which they are tried.

    Where it has a `certificate`, with its key in PEM, it speaks TLS.
    """

    port: int
    rules: Sequence[Rule]
    certificate: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """One target group: the addresses and ports that get requests, how many targets
    are in which health, and the version of HTTP that they are spoken to in.
    """

    arn: str
    serving: Sequence[tuple[str, int]]
    healthy: int = 0
    unhealthy: int = 0
    version: str = "HTTP1"

    @property
    def cluster(self) -> str:
        """Return what Envoy's cluster for it is called."""
        _, name, id = self.arn.rsplit(":", 1)[-1].split("/")
        return f"cds_tg_{name}_{id}"


@dataclass(frozen=True, slots=True)
class LoadBalancer:
    """One Application Load Balancer and the groups that its rules name."""

    account: str
    region: str
    arn: str
    dns_name: str
    addresses: Sequence[str]  # invented ones, of its subnets
    idle_seconds: int
    listeners: Sequence[Listener]
    groups: Sequence[Group]
    cluster: str = ""  # whose services are behind it

    @property
    def name(self) -> str:
        """Return the value of the dimension `LoadBalancer`: `app/<name>/<id>`."""
        return resource_name(self.arn)

    def rules(self) -> Iterator[Rule]:
        """Yield every rule."""
        for listener in self.listeners:
            yield from listener.rules


def resource_name(arn: str) -> str:
    """Return what CloudWatch calls a load balancer or a target group, from its ARN."""
    return arn.rsplit(":", 1)[-1].removeprefix("loadbalancer/")
