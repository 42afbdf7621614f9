"""Deployments of a service: how one begins, and the revisions it brings: of the service
and of its task definition. Convergence brings it to its end.
"""

from __future__ import annotations

import time
from copy import deepcopy
from typing import Final

from runbook_lib.local.control_plane import identity
from runbook_lib.local.control_plane.ecs_resources import (
    Definition,
    Deployment,
    EcsState,
    Revision,
    Service,
)
from runbook_lib.local.control_plane.wire import model

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


def begin_deployment(
    state: EcsState, service: Service, reason: str = "", revision: str = ""
) -> Deployment:
    """Put a new PRIMARY deployment at the head; the former one becomes ACTIVE.

    It is of the service as it is, whose revision is made; a deployment that rolls back
    is of a `revision` that is there.
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
        revision=revision or _revise(state, service, number, now),
    )
    made.reason = reason or f"ECS deployment {made.id} in progress."
    service.deployments.insert(0, made)
    service.steady = False
    return made


def _revise(state: EcsState, service: Service, deployment: str, now: float) -> str:
    """Keep what a service is now as a revision of it; return its ARN."""
    number = identity.digits(19, "revision", deployment)
    arn = state.arn(f"service-revision/{service.cluster}/{service.name}/{number}")
    kept = model("ecs").shape_for("ServiceRevision").members.keys()
    said = {key: value for key, value in service.request.items() if key in kept}
    own = {
        "serviceRevisionArn": arn,
        "serviceArn": service.arn,
        "clusterArn": state.arn(f"cluster/{service.cluster}"),
        "taskDefinition": service.definition,
    }
    state.revisions[arn] = Revision({**deepcopy(said), **own}, now)
    return arn


def current_definition(state: EcsState, service: Service) -> Definition:
    """Return the revision a service has, inactive or not: it may be scaled and
    restarted all the same.
    """
    family, revision = service.definition.rsplit("/", 1)[-1].split(":")
    return state.definitions[family][int(revision) - 1]
