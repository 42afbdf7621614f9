"""Look into what must hold in App Mesh before something is applied.

Each gate takes one look and returns a `Finding`; none of them changes
or decides anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from runbook_lib.aws import ecs
from runbook_lib.aws.cloud_map import PLACEHOLDER, own_instances
from runbook_lib.engines.appmesh import iam, sidecars
from runbook_lib.engines.appmesh.counts import unmatched
from runbook_lib.engines.protocol import Finding, Gate, Look, Part
from runbook_lib.errors import PrerequisiteError
from runbook_lib.plan import Before, Change, Plan
from runbook_lib.printable import counted

OF_SIDECARS: tuple[Part, ...] = ("split", "running")
SERVICE = "ECS_SERVICE_NAME"  # how ECS marks the addresses of a service's tasks


def gates(look: Look, before: Before, plan: Plan | None = None) -> tuple[Gate, ...]:
    """Return the conditions for what is about to be applied, in the
    order they are shown.
    """
    return tuple(_gates(before, plan or Plan("nothing")))


def _gates(before: Before, plan: Plan) -> Iterator[Gate]:
    if before == "resources":
        hostnames = _hostnames(plan)
        if hostnames:
            led = partial(_led, hostnames)
            named = "names of running services"
            yield Gate(named, led, protects=True, parts=("names",))
        if any(_argument(change, "routeName") for change in plan):
            yield Gate("requests without a route", _matched)
    elif before == "services":
        yield Gate("credentials", _signed, parts=OF_SIDECARS)
        yield Gate("requests without a route", _matched)
    elif before == "shift":
        yield Gate("sidecars", _sidecars, assumable=True, parts=OF_SIDECARS)
        yield Gate("hostname resolves", _dialled, parts=("names",))
    elif before == "retirement":
        yield Gate("the name survives", _survives, protects=True, parts=("names",))
    else:
        kept = "callers keep their name"
        yield Gate(kept, _names_kept, protects=True, parts=("running", "names"))


# --- before 01 to 03 ------------------------------------------------------------------


def _hostnames(plan: Plan) -> dict[str, str]:
    """Return by which DNS name a plan's virtual nodes will be found, by service."""
    found = {}
    for change in plan:
        spec = _argument(change, "spec") or {}
        dns = (spec.get("serviceDiscovery") or {}).get("dns")
        if dns:
            found[_argument(change, "virtualNodeName")] = str(dns["hostname"])
    return found


def _argument(change: Change, name: str) -> Any:
    """Return what a change's call says under a name of the API; None for nothing."""
    given = change.call.arguments
    return given.get(name) if isinstance(given, Mapping) else None


def _led(hostnames: Mapping[str, str], look: Look) -> Finding:
    """A node found by a name that nobody is registered under: every call to
    it is answered 503.
    """
    lost = []
    for service, (_, runs) in ecs.read_counts(look.reads, list(hostnames)).items():
        name = hostnames[service]
        if runs and not leads_somewhere(look, name):
            tasks = counted(runs, "task")
            lost.append(f"{name} has no address, while {service} runs {tasks}")
    words = "; ".join(lost) or "each has an address, or its service runs no task yet"
    hint = "correct services.*.hostname: the name its tasks are registered under"
    return Finding(not lost, words, hint)


def leads_somewhere(look: Look, name: str) -> bool:
    """Say whether a name has an address beside the placeholder; of another namespace's
    names nobody here knows.
    """
    if not name.endswith(f".{look.parameters.namespace}"):
        return True
    registered = look.names.get(name)
    return bool(registered and own_instances(registered))


def _matched(look: Look) -> Finding:
    """What matches no route gets a 404 once its caller has a sidecar: the file may mean
    it, so it is only said.
    """
    words = "; ".join(unmatched(look.parameters))
    return Finding(True, words or "none: every request matches a route")


# --- before 04 and 05 -----------------------------------------------------------------


def _signed(look: Look) -> Finding:
    p, credentials = look.parameters, iam.who_signs(look)
    permissions = iam.plan_credentials(p, look.lifecycle, credentials)
    return iam.finding(p, look.lifecycle, credentials, permissions)


def _sidecars(look: Look) -> Finding:
    try:
        behind = sidecars.behind(look.parameters, look.lifecycle, look.running)
    except PrerequisiteError as error:
        behind = [error.message]
    hint = (
        "run 04_register_task_definitions: the caller's own Envoy divides the traffic"
    )
    if behind:
        return Finding(False, f"without the wanted sidecar: {', '.join(behind)}", hint)
    return Finding(True, "every service runs the wanted one", hint)


def _dialled(look: Look) -> Finding:
    """A virtual service whose name is not the one dialled has no effect,
    and nothing says so.
    """
    name = look.parameters.shift.name
    if not look.parameters.callers_of(name):
        words = f"no service lists {name} among its backends"
        return Finding(False, words, "add it to the caller")
    addresses = look.names[name].addresses
    words = f"{name} resolves to {counted(len(addresses), 'address')}"
    hint = (
        "callers must resolve it before their Envoy sees the request: register it, or "
        "shift the name they dial"
    )
    return Finding(bool(addresses), words, hint)


# --- before 06 and 90 -----------------------------------------------------------------


def _survives(look: Look) -> Finding:
    """The caller's application resolves the name before its Envoy sees the request."""
    name = look.parameters.shift.name
    known = bool(look.names[name].service_id)
    words = "it keeps an address" if known else f"{name} is not in this namespace"
    return Finding(known, words, "keep an address under it yourself")


def _names_kept(look: Look) -> Finding:
    """Without the mesh a name leads where discovery says: that must
    be a task that runs.
    """
    p = look.parameters
    callers = [caller for caller in p.services if sidecars.meshed(look.running[caller])]
    dialled = p.dialled_by(callers)
    if not dialled:
        return Finding(True, "nobody calls through a sidecar")
    lost = [_lost(look, name) for name in dialled]
    words = "; ".join(each for each in lost if each)
    if not words:
        return Finding(True, f"{', '.join(dialled)}: a task that runs answers it")
    if p.removal.callers_may_fail:
        allowed = "allowed by removal.callers_may_fail in the file"
        return Finding(True, f"{words}: {allowed}")
    hint = (
        "let them dial another name, or say so in the file: removal: "
        "{callers_may_fail: true}"
    )
    return Finding(False, words, hint)


def _lost(look: Look, name: str) -> str:
    """Say why a name leads to nobody once the mesh is gone; "" where a
    running task answers it.
    """
    p = look.parameters
    instances = look.names[name].instances
    owners = set()
    for service, running in look.running.items():
        if running.state and running.state["runningCount"]:
            owners.add(p.ecs_service_of(service))
    if any(attributes.get(SERVICE) in owners for attributes in instances.values()):
        return ""
    callers = f"callers: {', '.join(p.callers_of(name))}"
    if PLACEHOLDER in instances:
        return f"{name} leads to a placeholder once the mesh is gone; {callers}"
    if instances:
        return f"{name} leads to no task that runs once the mesh is gone; {callers}"
    return f"{name} has no address once the mesh is gone; {callers}"
