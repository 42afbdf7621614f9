"""Amazon ECS: what runs, its task definitions, its move to another, its end.

The only caller of the ECS and Application Auto Scaling clients. `read_` functions read;
all others are pure.
"""

from __future__ import annotations

from runbook_lib.aws.ecs.definitions import (
    read_definitions,
    read_last_definition,
    read_own_revisions,
)
from runbook_lib.aws.ecs.ending import plan_end
from runbook_lib.aws.ecs.moving import deployment_order, moved, regrouped
from runbook_lib.aws.ecs.revisions import REGISTERED
from runbook_lib.aws.ecs.running import Running, not_ours
from runbook_lib.aws.ecs.scaling import plan_capacity
from runbook_lib.aws.ecs.services import (
    read_counts,
    read_registries,
    read_revised,
    read_running,
    read_states,
)
from runbook_lib.aws.ecs.tasks import (
    Task,
    read_tasks,
    read_unhealthy,
    reading_of_tasks,
    without_checks,
)

__all__ = [
    "REGISTERED",
    "Running",
    "Task",
    "deployment_order",
    "moved",
    "not_ours",
    "plan_capacity",
    "plan_end",
    "read_counts",
    "read_definitions",
    "read_last_definition",
    "read_own_revisions",
    "read_registries",
    "read_revised",
    "read_running",
    "read_states",
    "read_tasks",
    "read_unhealthy",
    "reading_of_tasks",
    "regrouped",
    "without_checks",
]
