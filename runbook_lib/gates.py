"""Look into the claims a plan needs before it may be applied.

Each function takes one look at the environment and returns `Evidence`; none of them changes or decides
anything: `clear` does, and refuses.
"""

from __future__ import annotations

from runbook_lib import iam, telemetry
from runbook_lib.errors import PrerequisiteError
from runbook_lib.history import doubt
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
    shift, weights = found.parameters.shift, found.split.weights
    stable, canary = weights.get(shift.stable, 0), weights.get(shift.canary, 0)
    divided = f"{shift.stable} has {stable} %, {shift.canary} has {canary} %"
    gone = (stable, canary) == (0, 100)
    own = f"route {found.parameters.router}/{found.parameters.route}"
    others = ", ".join(name for name in found.references if name != own)
    return (
        _claim(found, "stable carries nothing", gone, divided, "finish the shift first"),
        _proven(found),
        _quiet(found),
        Evidence("nothing else refers to it", not others, others or "only its own route", "mend those first"),
        _ready(found, shift.canary, "canary carries all"),
        _survives(found),
    )


def evidence_for_removal(found: Survey) -> tuple[Evidence, ...]:
    """Return whether callers can do without the mesh: a retired service's name leads nowhere on its own."""
    p = found.parameters
    callers = p.callers_of(p.shift.name)
    lost = bool(found.lifecycle.retired and callers)
    words = f"{p.shift.name} leads to a placeholder once the mesh is gone; callers: {', '.join(callers)}"
    seen = words if lost else "every name leads to a running service"
    hint = "let them dial another name, or say so in the file: removal: {callers_may_fail: true}"
    return (Evidence("callers keep their name", not lost or p.removal.callers_may_fail, seen, hint),)


def _claim(found: Survey, name: str, holds: bool, words: str, hint: str) -> Evidence:
    """In plan mode an earlier step that is missing is assumed applied, and said to be."""
    if not holds and not found.session.applies:
        return Evidence(name, True, f"assumed, since {words}")
    return Evidence(name, holds, words, "" if holds else hint)


def _earlier(found: Survey, missing: tuple[str, ...]) -> Evidence:
    what = f"missing: {', '.join(missing)}" if missing else "all of them are applied"
    return _claim(found, "earlier steps", not missing, what, "run the notebooks named there first")


def _sidecars(found: Survey) -> Evidence:
    try:
        behind = found.lacking_sidecars()
    except PrerequisiteError as error:
        behind = [error.message]
    hint = "run 04_register_task_definitions: the caller's own Envoy divides the traffic"
    words = f"without the wanted sidecar: {', '.join(behind)}" if behind else "every service runs the wanted one"
    return _claim(found, "sidecars", not behind, words, hint)


def _dialled(found: Survey) -> Evidence:
    """A virtual service whose name is not the one dialled has no effect, and nothing says so."""
    name = found.parameters.shift.name
    claim, addresses = "the name dialled", found.names[name].addresses
    if not found.parameters.callers_of(name):
        return Evidence(claim, False, f"no service lists {name} among its backends", "add it to the caller")
    hint = "callers must resolve it before their Envoy sees the request: register it, or shift the name they dial"
    return Evidence(claim, bool(addresses), f"{name} resolves to {len(addresses)} address(es)", hint)


def _ready(found: Survey, service: str, name: str) -> Evidence:
    state = found.running[service].state
    if state is None:
        return _claim(found, name, False, f"{service} has no ECS service", "deploy it")
    wanted, running = state["desiredCount"], state["runningCount"]
    words = f"{service} runs {running} of {wanted} task(s)"
    return Evidence(name, 0 < wanted <= running, words, "wait for its tasks, or look at the service's events")


def _not_retired(found: Survey) -> Evidence:
    retired = ", ".join(sorted(found.retired))
    words = f"retired: {retired}" if retired else "nobody is"
    return Evidence("not retired", not retired, words, "only undo brings it back")


def _proven(found: Survey) -> Evidence:
    """The canary was judged at the last step: that it carries everything is no proof that it does so well."""
    session, p, name = found.session, found.parameters, "canary proven"
    if not session.connection.carries_traffic:
        return Evidence(name, True, "there is no traffic here to judge by")
    words = doubt(session)
    passed = not words
    hint = "run 05 until it has, from the first step if need be; or say in the file that you know better: "
    hint += "retirement: {allow_unjudged: true}"
    if p.retirement.allow_unjudged and not passed:
        return Evidence(name, True, f"{words}, and the file allows it")
    return _claim(found, name, passed, f"PASS at {p.shift.steps[-1]} %" if passed else words, hint)


def _quiet(found: Survey) -> Evidence:
    """Nobody sends the stable service anything any more, as far back as requests are known to be counted.

    Not only callers that have an Envoy: its own sidecar counts. That this is no mere lack of metrics is shown by
    the canary's requests, which are counted in the same window and in the same way.
    """
    session, p, name = found.session, found.parameters, "stable is quiet"
    stable, canary, seconds = p.shift.stable, p.shift.canary, p.retirement.quiet_seconds
    if not session.connection.carries_traffic:
        return Evidence(name, True, "there is no traffic here to look at")
    if found.running[stable].state is None:  # this notebook was cut short behind its end
        return Evidence(name, True, f"{stable} has no ECS service any more")
    most = seconds + p.telemetry.delay_seconds + 3 * p.telemetry.period_seconds
    for _ in session.looks(f"{stable} to be quiet for {seconds} s", most, min(p.telemetry.period_seconds, 5)):
        requests, counted = _requests(found, stable), _requests(found, canary)
        carries = bool(found.split.weights.get(stable, 0))  # then waiting cannot help
        if (counted and not requests) or carries or not session.applies:
            break
    if not counted:
        words = f"nothing is counted: {canary} had no request in the last {seconds} s either"
        return _claim(found, name, False, words, "metrics are missing, or nobody calls: see the metric extension")
    if not _meshed(found, stable):
        words = f"{stable} runs without a sidecar: who calls it is not counted"
        return _claim(found, name, False, words, "deploy it with its sidecar, as 04 does")
    words = f"{requests or 'no'} request(s) in the last {seconds} s, while {canary}'s are counted"
    hint = "find who still calls it: its own sidecar's access log says from where"
    return _claim(found, name, requests == 0, words, hint)


def _requests(found: Survey, service: str) -> int:
    """Count what reached a service of late; its sidecar's own count includes its health checks."""
    session, p = found.session, found.parameters
    until = telemetry.complete_until(session, session.now())
    checked = p.services[service].health_check is not None
    series = found.engine.series(p)[service]["requests"] if checked else (found.engine.inbound(p, service),)
    since = until - p.retirement.quiet_seconds
    return sum(telemetry.read_requests(session, one, since, until) for one in series)


def evidence_of_path(found: Survey) -> Evidence:
    """Return whether calls pass both sidecars now: the caller's and the one of who answers."""
    session, p, name = found.session, found.parameters, "calls pass both sidecars"
    if not session.connection.carries_traffic:
        return Evidence(name, True, "there is no traffic here to look at")
    series = found.engine.series(p)[p.shift.stable]["requests"]
    began, period = session.now(), p.telemetry.period_seconds
    out = into = 0
    for _ in session.looks(name, p.telemetry.delay_seconds + 3 * period + 10, min(period, 5)):
        until = telemetry.complete_until(session, session.now())
        out = sum(telemetry.read_requests(session, one, began, until) for one in series)
        into = telemetry.read_requests(session, found.engine.inbound(p, p.shift.stable), began, until)
        if out and into:
            break
    seen = "both count requests" if out and into else f"callers' sidecars count {out}, {p.shift.stable}'s {into}"
    return Evidence(name, bool(out and into), seen, "look at the sidecars: `runbook local status`, or ECS's events")


def _survives(found: Survey) -> Evidence:
    """The caller's application resolves the name before its Envoy sees the request."""
    name = found.parameters.shift.name
    known = bool(found.names[name].service_id)
    words = "it keeps an address" if known else f"{name} is not in this namespace"
    return Evidence("the name survives", known, words, "keep an address under it yourself")


def _meshed(found: Survey, service: str) -> bool:
    definition = found.running[service].definition
    side = sidecar_of(definition) if definition else None
    return bool(side and side.virtual_node)
