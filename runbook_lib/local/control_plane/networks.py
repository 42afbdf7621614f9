"""VPCs that an environment's file names, made under those very ids; and which of them
somebody asks names in. Reads and writes moto's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

__all__ = ["hold", "is_asked"]

BLOCK = "10.255.0.0/28"  # the smallest there is


def hold(account: str, region: str, vpc: str) -> None:
    """Make an empty VPC with an id, where there is none."""
    from moto.ec2.models import ec2_backends  # 0.4 s to import: not before it is asked

    backend = ec2_backends[account][region]
    if vpc not in backend.vpcs:
        made = backend.create_vpc(BLOCK)
        backend.vpcs[vpc] = backend.vpcs.pop(made.id)
        made.id = vpc


def is_asked(account: str, vpcs: Iterable[Mapping[str, str]]) -> bool:
    """Say whether one of these VPCs has a subnet, in which somebody may ask."""
    from moto.ec2.models import ec2_backends

    for vpc in vpcs:
        zones = ec2_backends[account][vpc["vpc_region"]].subnets.values()
        if any(s.vpc_id == vpc["vpc_id"] for zone in zones for s in zone.values()):
            return True
    return False
