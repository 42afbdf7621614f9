"""Build every App Mesh resource the parameters ask for, at a given point of the
application's life.

Pure: parameters and a `Lifecycle` in, API-shaped dicts out. A field the parameters
cannot speak of is left unsaid, and so survives an update. Of those they can speak of, a
key that the file has is stated, where null or empty takes the field out (None); a key
that it does not have is a `Default`, for what is made anew alone.
"""

from __future__ import annotations

from runbook_lib.engines.appmesh.spec.desired import by_key, desired
from runbook_lib.engines.appmesh.spec.nodes import mesh_arn, node_arn
from runbook_lib.engines.appmesh.spec.quotas import quotas
from runbook_lib.engines.appmesh.spec.resource import Resource, created, updated
from runbook_lib.engines.appmesh.spec.routes import (
    SPEC_OF,
    route_spec,
    targets,
    targets_in,
    variant_of,
)

__all__ = [
    "SPEC_OF",
    "Resource",
    "by_key",
    "created",
    "desired",
    "mesh_arn",
    "node_arn",
    "quotas",
    "route_spec",
    "targets",
    "targets_in",
    "updated",
    "variant_of",
]
