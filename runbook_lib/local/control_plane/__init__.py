"""AWS on this machine: every service at one endpoint, on top of moto, faithful where
the runbook depends on it.

    app = application()         a WSGI application; served on 127.0.0.1, or called
    reconcile()                 one step of ECS's scheduler; nothing moves without it
    converge(stop, troubles)    goes on taking steps, in a thread of the caller's
    launch_with(launcher)       real processes in place of made-up tasks
    answer_in_process(events)   boto3 clients that call it without a socket
    check_with(checker)         real health checks of load balancers' targets
    attach(attachment)          somebody else who hears of tasks coming and going

State is the process's own; `appmesh_backends[account][region].state` and
`ecs_backends[account][region].state` are plain records that can be copied and compared.
Nothing here opens a socket or starts a thread by itself.
"""

from __future__ import annotations

from runbook_lib.local.control_plane.application import application
from runbook_lib.local.control_plane.attachments import Attachment, Standing
from runbook_lib.local.control_plane.ecs import (
    attach,
    check_with,
    converge,
    launch_with,
    reconcile,
)
from runbook_lib.local.control_plane.ecs_resources import Task, ecs_backends
from runbook_lib.local.control_plane.elbv2_checks import Probe
from runbook_lib.local.control_plane.elbv2_targets import Outcome
from runbook_lib.local.control_plane.in_process import answer_in_process
from runbook_lib.local.control_plane.launcher import (
    InMemoryLauncher,
    Launcher,
    TaskState,
)
from runbook_lib.local.control_plane.mesh_resources import appmesh_backends
from runbook_lib.local.control_plane.metrics import metrics_backends
from runbook_lib.local.control_plane.propagation import PROPAGATION

__all__ = [
    "PROPAGATION",
    "Attachment",
    "InMemoryLauncher",
    "Launcher",
    "Outcome",
    "Probe",
    "Standing",
    "Task",
    "TaskState",
    "answer_in_process",
    "application",
    "appmesh_backends",
    "attach",
    "check_with",
    "converge",
    "ecs_backends",
    "launch_with",
    "metrics_backends",
    "reconcile",
]
