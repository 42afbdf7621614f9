"""Look into the claims a plan needs before it may be applied.

Each function takes one look at the environment and returns `Evidence`; none of them changes or decides
anything: `clear` does, and refuses.
"""

from __future__ import annotations

from runbook_lib import iam, telemetry
from runbook_lib.errors import PrerequisiteError
from runbook_lib.plan import Evidence, Plan
from runbook_lib.survey import Survey
from runbook_lib.task_definition import sidecar_of

__all__ = [
    "evidence_for_removal",
    "evidence_for_retirement",
    "evidence_for_shift",
    "evidence_for_sidecars",
    "evidence_for_step",
    "evidence_of_path",
    "meshed",
]


def evidence_for_step(found: Survey, plan: Plan) -> tuple[Evidence, ...]:
    """Return whether the earlier notebooks have been applied; in plan mode they are assumed to be."""
    return (_earlier(found, plan.assumed),)


def evidence_for_sidecars(found: Survey, plan: Plan) -> tuple[Evidence, ...]:
    """Return whether a sidecar would find its node, and could sign its requests."""
    permissions = found.plan_permissions()
    signs = iam.evidence(found.parameters, found.lifecycle, found.credentials, permissions)
    return (_earlier(found, plan.assumed), signs)


def evidence_for_shift(found: Survey) -> tuple[Evidence, ...]:
    """Return whether a weight would have the effect it says: routes, sidecars, name, canary."""
    return (
        _earlier(found, found.plan_resources("04").assumed),
        _sidecars(found),
        _dialled(found),
        _ready(found, found.parameters.shift.canary, "canary ready"),
        _not_retired(found),
    )


def evidence_for_retirement(found: Survey) -> tuple[Evidence, ...]:
    """Return whether the stable service can go without anybody noticing."""
    shift = found.parameters.shift
    weight = found.split.weights.get(shift.stable, 0)
    carried = found.split.weights.get(shift.canary, 0)
    unfinished = f"{shift.stable} still has {weight} %, {shift.canary} has {carried} %"
    own = {f"route {found.parameters.router}/{found.parameters.route}"}
    others = [name for name in found.references if name not in own]
    return (
        _claim(
            found,
            "stable carries nothing",
            weight == 0 and carried == 100,
            unfinished,
            "finish the shift first",
        ),
        _quiet(found),
        Evidence(
            "nothing else refers to it",
            not others,
            ", ".join(others) or "only its own route",
            "mend those first",
        ),
        _ready(found, shift.canary, "canary carries all"),
        _survives(found),
    )


def evidence_for_removal(found: Survey) -> tuple[Evidence, ...]:
    """Return whether callers can do without the mesh: a retired service's name leads nowhere on its own."""
    p = found.parameters
    callers = p.callers_of(p.shift.name)
    lost = bool(found.lifecycle.retired and callers)
    words = f"{', '.join(callers)} call {p.shift.name}, which leads to a placeholder once the mesh is gone"
    return (
        Evidence(
            "callers keep their name",
            not lost or p.removal.callers_may_fail,
            words if lost else "every name leads to a running service",
            "let them dial another name, or say so in the file: removal: {callers_may_fail: true}",
        ),
    )


def _claim(found: Survey, name: str, holds: bool, otherwise: str, hint: str) -> Evidence:
    """In plan mode an earlier step that is missing is assumed applied, and said to be."""
    if not holds and not found.session.applies:
        return Evidence(name, True, f"assumed, since {otherwise}")
    return Evidence(name, holds, "it does" if holds else otherwise, "" if holds else hint)


def _earlier(found: Survey, missing: tuple[str, ...]) -> Evidence:
    what = "missing: " + ", ".join(missing)
    return _claim(found, "earlier steps", not missing, what, "run the notebooks named there first")


def _sidecars(found: Survey) -> Evidence:
    try:
        behind = [change.name for change in found.plan_sidecars() if change.verb == "deploy"]
    except PrerequisiteError as error:
        behind = [error.message]
    hint = "run 04_register_task_definitions: the caller's own Envoy divides the traffic"
    return _claim(found, "sidecars", not behind, f"without the wanted sidecar: {', '.join(behind)}", hint)


def _dialled(found: Survey) -> Evidence:
    """A virtual service whose name is not the one dialled has no effect, and nothing says so."""
    name = found.parameters.shift.name
    addresses = found.names[name].addresses
    callers = found.parameters.callers_of(name)
    if not callers:
        return Evidence(
            "the name dialled", False, f"no service lists {name} among its backends", "add it to the caller"
        )
    hint = "callers must resolve it before their Envoy sees the request: register it, or shift the name they dial"
    return Evidence("the name dialled", bool(addresses), f"{name} resolves to {len(addresses)} address(es)", hint)


def _ready(found: Survey, service: str, name: str) -> Evidence:
    state = found.running[service].state
    if state is None:
        return _claim(found, name, False, f"{service} has no ECS service", "deploy it")
    wanted, running = state["desiredCount"], state["runningCount"]
    words = f"{service} runs {running} of {wanted} task(s)"
    return Evidence(name, 0 < wanted <= running, words, "wait for its tasks, or look at the service's events")


def _not_retired(found: Survey) -> Evidence:
    retired = ", ".join(sorted(found.lifecycle.retired))
    return Evidence(
        "not retired",
        not retired,
        f"retired: {retired}" if retired else "nobody is",
        "only undo brings it back",
    )


def _quiet(found: Survey) -> Evidence:
    """Nobody sends the stable service anything any more: not only callers that have an Envoy."""
    session, p, name = found.session, found.parameters, "stable is quiet"
    seconds = p.retirement.quiet_seconds
    if not session.connection.carries_traffic:
        return Evidence(name, True, "there is no traffic here to look at")
    end = session.wall() + seconds + p.telemetry.delay_seconds + 3 * p.telemetry.period_seconds
    carries = bool(found.split.weights.get(p.shift.stable, 0))  # then waiting cannot help
    while (requests := _requests(found, seconds)) and session.applies and not carries and session.wall() < end:
        session.sleep(min(p.telemetry.period_seconds, 5))
    words = f"{requests} request(s) in the last {seconds} s"
    hint = "find who still calls it: its own sidecar's access log says from where"
    return _claim(found, name, requests == 0, words, hint)


def _requests(found: Survey, seconds: int) -> int:
    """Count what reached the stable service of late; its sidecar's own count includes its health checks."""
    session, p = found.session, found.parameters
    until = telemetry.complete_until(session, session.wall())
    stable = p.shift.stable
    checked = p.services[stable].health_check is not None
    series = found.engine.series(p)[stable]["requests"] if checked else (found.engine.inbound(p, stable),)
    return sum(telemetry.read_requests(session, one, until - seconds, until) for one in series)


def evidence_of_path(found: Survey) -> Evidence:
    """Return whether calls pass both sidecars now: the caller's and the one of who answers."""
    session, p, name = found.session, found.parameters, "calls pass both sidecars"
    if not session.connection.carries_traffic:
        return Evidence(name, True, "there is no traffic here to look at")
    series = found.engine.series(p)[p.shift.stable]["requests"]
    began = session.wall()
    end = began + p.telemetry.delay_seconds + 3 * p.telemetry.period_seconds + 10
    out = into = 0
    while not (out and into) and session.wall() < end:
        session.sleep(min(p.telemetry.period_seconds, 5))
        until = telemetry.complete_until(session, session.wall())
        out = sum(telemetry.read_requests(session, one, began, until) for one in series)
        into = telemetry.read_requests(session, found.engine.inbound(p, p.shift.stable), began, until)
    seen = "both count requests" if out and into else f"callers' sidecars count {out}, {p.shift.stable}'s {into}"
    return Evidence(name, bool(out and into), seen, "look at the sidecars: `runbook local status`, or ECS's events")


def _survives(found: Survey) -> Evidence:
    """The caller's application resolves the name before its Envoy sees the request."""
    name = found.parameters.shift.name
    known = found.names[name].service_id
    words = f"{name} will keep an address in {known}" if known else f"{name} is not in this namespace"
    return Evidence(
        "the name survives",
        bool(known),
        "it keeps an address" if known else words,
        "keep an address under it yourself",
    )


def meshed(found: Survey) -> dict[str, str]:
    """Return, for each service, the node its running definition's Envoy is, or "" where it has none."""
    out = {}
    for name, running in found.running.items():
        side = sidecar_of(running.definition) if running.definition else None
        out[name] = side.virtual_node if side else ""
    return out
