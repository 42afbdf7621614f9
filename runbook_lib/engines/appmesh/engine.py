"""App Mesh as an engine: each verb of `engines.protocol`, from the
module that knows it.
"""

from __future__ import annotations

from runbook_lib.aws import cloud_map, ecs
from runbook_lib.aws.reads import Reads
from runbook_lib.engines.appmesh import iam, sidecars
from runbook_lib.engines.appmesh.chart import chart
from runbook_lib.engines.appmesh.checks import checks, serves
from runbook_lib.engines.appmesh.counts import counted, idle, path, series, unmatched
from runbook_lib.engines.appmesh.gates import gates
from runbook_lib.engines.appmesh.iam import foreign
from runbook_lib.engines.appmesh.mesh import (
    NOTEBOOKS,
    plan_node_end,
    plan_step,
    read_live,
    resources_of,
)
from runbook_lib.engines.appmesh.permissions import permissions
from runbook_lib.engines.appmesh.removing import plan_resources_end
from runbook_lib.engines.appmesh.route import (
    all_on,
    plan_mark,
    plan_rollback,
    plan_settle,
    plan_split,
    plan_trial,
    plan_trial_end,
    read_mark,
    read_split,
    read_trial,
    read_weights,
    split_reading,
    weights_of,
)
from runbook_lib.engines.appmesh.standing import references, standing
from runbook_lib.engines.appmesh.undoing import undoable
from runbook_lib.engines.protocol import Fact, Facts, Hints, Look, Split, due
from runbook_lib.errors import PlanError
from runbook_lib.parameters import Parameters
from runbook_lib.plan import Plan

__all__ = [
    "all_on",
    "chart",
    "checks",
    "counted",
    "facts",
    "foreign",
    "gates",
    "hints",
    "idle",
    "path",
    "permissions",
    "plan_mark",
    "plan_permissions",
    "plan_removal",
    "plan_resources",
    "plan_retirement",
    "plan_rollback",
    "plan_sidecars",
    "plan_split",
    "plan_trial",
    "plan_trial_end",
    "read_live",
    "read_mark",
    "read_split",
    "read_trial",
    "read_unhealthy",
    "read_weights",
    "references",
    "resources_of",
    "series",
    "serves",
    "split_reading",
    "standing",
    "steps",
    "title",
    "undoable",
    "unmatched",
    "weights_of",
]

hints = Hints(
    uncounted="metrics are missing, or nobody calls: see 04's sidecars and the "
    "metric extension",
    unheard="look at the callers' sidecars: they do not hear the change",
    not_there="no route yet: run 03_create_router_and_routes",
)


def steps(p: Parameters) -> tuple[str, ...]:
    """Return the numbers of the notebooks that have something to change: all."""
    return ("01", "02", "03", "04", "05", "06", "90")


def title(p: Parameters) -> str:
    """Return the name of what its resources are in."""
    return p.mesh.name


def facts(look: Look) -> tuple[Facts, ...]:
    """Return who signs for each service's Envoy, and whether that role
    may read its node.
    """
    credentials = sorted(iam.who_signs(look), key=lambda c: c.may_stream)
    rows = []
    for c in credentials:
        cells = {
            "service": c.service,
            "role": c.role or "none",
            "kind": c.source,
            "may read its node": "yes" if c.may_stream else "not yet",
        }
        rows.append(Fact(cells, "" if c.role else "FAIL"))
    return (Facts("the IAM role of each Envoy", tuple(rows)),)


def read_unhealthy(session: Reads, split: Split, running: int) -> int:
    """Read how many of the canary's running tasks are unhealthy, as ECS says."""
    return ecs.read_unhealthy(session, session.parameters.shift.canary)


def plan_resources(look: Look, step: str) -> Plan:
    """Plan the resources of one of notebooks 01 to 03; for 04, what
    of them is missing.
    """
    look.ahead("split", "live")
    return plan_step(look.parameters, look.lifecycle, look.live, step)


# --- notebook 04's own words ----------------------------------------------------------


def plan_permissions(look: Look) -> Plan:
    """Plan what Envoys lack to sign their requests."""
    _require_app_mesh(look)
    look.ahead("split", "live", "running")
    plan = iam.plan_credentials(look.parameters, look.lifecycle, iam.who_signs(look))
    return _due_services(look, plan)


def plan_sidecars(look: Look) -> Plan:
    """Plan the sidecars and the services' move to them."""
    _require_app_mesh(look)
    look.ahead("split", "live", "running")
    roles = iam.role_arns(iam.who_signs(look))
    plan = sidecars.plan_sidecars(look.parameters, look.lifecycle, look.running, roles)
    return _due_services(look, plan)


def _due_services(look: Look, plan: Plan) -> Plan:
    whole = plan + _assumed(look, plan.title)
    return due(whole, "services", gates(look, "services", whole))


def _require_app_mesh(look: Look) -> None:
    """Refuse to put an Envoy beside tasks that another engine sends requests to."""
    engine = look.parameters.engine
    if engine != "appmesh":
        raise PlanError(
            "04_register_task_definitions: only engine appmesh puts an Envoy beside "
            f"each task; found engine {engine}",
            hint="nothing to do here: go on with 05",
        )


def _assumed(look: Look, title: str) -> Plan:
    return Plan(title, assumed=plan_resources(look, "04").assumed)


# --- the end --------------------------------------------------------------------------


def plan_retirement(look: Look) -> Plan:
    """Plan the stable service's end, in the order in which nobody
    notices, there and back.

    Its node goes last: a sidecar without its node lets no task start, so in an undo it
    must come first. The placeholder outlives the tasks, and goes only once those that
    come back are there: callers' applications resolve the name before their Envoy sees
    the request, and any address that is not loopback will do (App Mesh user guide,
    virtual services).
    """
    look.ahead("split", "live", "running", "names")
    p, stable = look.parameters, look.running[look.parameters.shift.stable]
    stable = ecs.read_revised(look.reads, stable)
    plan = _assumed(look, NOTEBOOKS["06"])
    if look.split.state is not None:
        plan += plan_settle(look.split, p.shift.canary, p.shift.stable)
    plan += cloud_map.plan_placeholder(p, look.names[p.shift.name])
    revisions = sidecars.read_own_revisions(look.reads, stable)
    plan += ecs.plan_end(p, stable, revisions, back=sidecars.back_waits(p, stable))
    plan += plan_node_end(p, look.live, p.shift.stable)
    return plan


def plan_removal(look: Look) -> Plan:
    """Plan the end of everything the runbook made, sidecars first, and name
    what stays and why.
    """
    p = look.parameters
    look.ahead("live", "running", "names")
    signing = [*iam.who_signs(look), *iam.credentials_of_retired(look)]
    plan = sidecars.plan_plain(p, look.running)
    plan += plan_resources_end(look.reads, look.live)
    plan += iam.plan_credentials_end(look.reads, signing)
    plan += cloud_map.plan_placeholder_end(look.names[p.shift.name], plan.title)
    return plan
