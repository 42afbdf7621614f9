"""VPCs that an environment's file names, made in moto under those very ids."""

from __future__ import annotations

__all__ = ["hold"]

BLOCK = "10.255.0.0/28"  # the smallest there is


def hold(account: str, region: str, vpc: str) -> None:
    """Make an empty VPC with an id, where there is none."""
    from moto.ec2.models import ec2_backends  # 0.4 s to import: not before it is asked

    backend = ec2_backends[account][region]
    if vpc not in backend.vpcs:
        made = backend.create_vpc(BLOCK)
        backend.vpcs[vpc] = backend.vpcs.pop(made.id)
        made.id = vpc
