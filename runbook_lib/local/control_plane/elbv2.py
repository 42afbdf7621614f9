"""Elastic Load Balancing: where its store is, and when it takes moto's place.

moto answers its calls, in the query protocol's XML, from a store of ours.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, cast

from runbook_lib.local.control_plane.wire import Target

if TYPE_CHECKING:
    from runbook_lib.local.control_plane.elbv2_backend import LoadBalancers

__all__ = ["prepare", "store", "stores"]

# a module that is loaded with the first store
MADE = "runbook_lib.local.control_plane.elbv2_backend"


def prepare(target: Target) -> None:
    """Put our store in moto's place before the first call is answered."""
    if target.service == "elbv2":
        store(target.account, target.region)


def store(account: str, region: str) -> LoadBalancers:
    """Return the load balancers of an account in a region."""
    # 1 s to import, with EC2: not before it is asked
    from moto.elbv2.models import elbv2_backends

    from runbook_lib.local.control_plane.elbv2_backend import install

    install()
    return cast("LoadBalancers", elbv2_backends[account][region])


def stores() -> list[LoadBalancers]:
    """Return every store there is; moto is not loaded for it."""
    if MADE not in sys.modules:
        return []
    from moto.elbv2.models import elbv2_backends

    return [
        cast("LoadBalancers", backend)
        for _, _, backend in list(elbv2_backends.iter_backends())
    ]
