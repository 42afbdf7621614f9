"""Deployments of a service: how one begins, and the revision it brings. Convergence
brings it to its end.
"""

from __future__ import annotations

import time
from typing import Final

from runbook_lib.local.control_plane import identity
from runbook_lib.local.control_plane.ecs_resources import (
    Definition,
    Deployment,
    EcsState,
    Service,
)

__all__ = ["begin_deployment", "current_definition"]

OF_A_DEPLOYMENT: Final[tuple[str, ...]] = (
    "launchType",
    "platformVersion",
    "platformFamily",
    "networkConfiguration",
    "serviceConnectConfiguration",
    "volumeConfigurations",
    "vpcLatticeConfigurations",
)


def begin_deployment(state: EcsState, service: Service, reason: str = "") -> Deployment:
    """Put a new PRIMARY deployment of the service's revision at the head; the former
    one becomes ACTIVE.
    """
    for former in service.deployments:
        former.primary = False
    number = identity.digits(19, *state.fresh())
    settings = {
        key: service.request[key] for key in OF_A_DEPLOYMENT if key in service.request
    }
    now = time.time()
    made = Deployment(
        f"ecs-svc/{number}",
        service.definition,
        service.desired,
        now,
        now,
        settings=settings,
    )
    made.reason = reason or f"ECS deployment {made.id} in progress."
    service.deployments.insert(0, made)
    service.steady = False
    return made


def current_definition(state: EcsState, service: Service) -> Definition:
    """Return the revision a service has, inactive or not: it may be scaled and
    restarted all the same.
    """
    family, revision = service.definition.rsplit("/", 1)[-1].split(":")
    return state.definitions[family][int(revision) - 1]
