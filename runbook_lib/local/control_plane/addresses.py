"""Addresses for tasks, as the VPC would give them: the next free one of the first
subnet named; for load balancers too.

They are invented: nothing listens there, and the data plane maps them to loopback
ports. Reads moto's subnets.
"""

from __future__ import annotations

import ipaddress
from typing import Any

from runbook_lib.local.control_plane.ecs_resources import EcsState
from runbook_lib.local.control_plane.identity import address

__all__ = ["load_balancer_addresses", "next_address", "vpc_of"]

# for a subnet moto does not know, and for tasks outside awsvpc
ANYWHERE = "10.0.0.0/16"

# addresses of a subnet are for load balancers; tasks are given the first ones
LAST = 64


def load_balancer_addresses(balancer: Any) -> tuple[str, ...]:
    """Return an address in each subnet of a load balancer of moto's."""
    number = int(balancer.arn.rsplit("/", 1)[-1], 16) % LAST
    networks = [ipaddress.IPv4Network(subnet.cidr_block) for subnet in balancer.subnets]
    return tuple(str(network.broadcast_address - 1 - number) for network in networks)


def next_address(state: EcsState, request: dict[str, Any]) -> str:
    """Return an address no living task in this account and region has."""
    subnet = _subnet(state, request)
    block = str(subnet.cidr_block) if subnet else ANYWHERE
    taken = {task.address for task in state.tasks.values() if task.last != "STOPPED"}
    state.serial += 1
    while (found := address(block, state.serial)) in taken:
        state.serial += 1
    return found


def vpc_of(state: EcsState, request: dict[str, Any]) -> str:
    """Return the VPC of a service's tasks; "" where moto knows none."""
    subnet = _subnet(state, request)
    return str(subnet.vpc_id) if subnet else ""


def _subnet(state: EcsState, request: dict[str, Any]) -> Any:
    """Return moto's first subnet of a service; None where it has none there."""
    network = request.get("networkConfiguration", {}).get("awsvpcConfiguration", {})
    subnets = network.get("subnets")
    if not subnets:
        return None
    # 0.4 s to import: not before a service has subnets
    from moto.ec2.models import ec2_backends

    regions = ec2_backends[state.account]
    # no EC2 call was made there: asking would build it, which takes a second
    if state.region not in list(regions):
        return None
    zones = regions[state.region].subnets.values()
    return next((zone[subnets[0]] for zone in zones if subnets[0] in zone), None)
