"""Look into the claims a plan needs before it may be applied.

Each gate takes one look at the environment and returns `Evidence`; none of them changes or decides
anything: `clear` does, and refuses. What protects traffic is looked at again by `apply`, with a fresh survey.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from runbook_lib import iam
from runbook_lib.aws import cloudwatch, ecs
from runbook_lib.aws.cloud_map import PLACEHOLDER, own_instances
from runbook_lib.errors import PrerequisiteError
from runbook_lib.history import doubt
from runbook_lib.judging import error_judge
from runbook_lib.plan import Evidence, Plan
from runbook_lib.survey import Survey, survey
from runbook_lib.task_definition import sidecar_of

__all__ = [
    "evidence_for_removal",
    "evidence_for_retirement",
    "evidence_for_shift",
    "evidence_for_sidecars",
    "evidence_for_step",
    "evidence_of_path",
]


SERVICE = "ECS_SERVICE_NAME"  # how ECS marks the addresses of a service's tasks

Gate = Callable[[Survey], Evidence]
"""One condition that must hold before a write, as a function of a look at the environment."""


def evidence_for_step(found: Survey, plan: Plan) -> tuple[Evidence, ...]:
    """Return whether the earlier notebooks have been applied, and whether callers will be led to somebody.

    In plan mode earlier notebooks are assumed to be applied.
    """
    hostnames = found.engine.hostnames(plan)
    led = partial(_led, hostnames=hostnames)
    names = _looked(found, [led], again=[led]) if hostnames else ()
    routes = (_matched(found),) if found.engine.routes_in(plan) else ()
    return (_earlier(found, plan.assumed), *names, *routes)


def evidence_for_sidecars(found: Survey, plan: Plan) -> tuple[Evidence, ...]:
    """Return whether a sidecar would find its node, could sign its requests, and knows where to send calls."""
    permissions = found.plan_permissions()
    signs = iam.evidence(found.parameters, found.lifecycle, found.credentials, permissions)
    return (_earlier(found, plan.assumed), signs, _matched(found))


def evidence_for_shift(found: Survey) -> tuple[Evidence, ...]:
    """Return whether a weight would have the effect it says, and somebody counts what comes of it."""
    canary = found.parameters.shift.canary
    ready = partial(_ready, service=canary, name="canary ready")
    still_ready = partial(_runs, service=canary, name="canary ready")
    earlier = _earlier(found, found.plan_resources("04").assumed)
    gates: list[Gate] = [_sidecars, _dialled, ready, _not_retired, _counted]
    return (earlier, *_looked(found, gates, again=[still_ready, _not_retired]))


def evidence_for_retirement(found: Survey) -> tuple[Evidence, ...]:
    """Return whether the stable service can go without anybody noticing."""
    canary = found.parameters.shift.canary
    carries = partial(_ready, service=canary, name="canary carries all")
    still_carries = partial(_runs, service=canary, name="canary carries all")
    still_quiet = partial(_quiet, waits=False)
    return _looked(
        found,
        [_carries_nothing, _proven, _quiet, _unreferenced, carries, _survives],
        again=[_carries_nothing, _proven, still_quiet, _unreferenced, still_carries, _survives],
    )


def evidence_for_removal(found: Survey) -> tuple[Evidence, ...]:
    """Return whether callers can do without the mesh: each name they dial leads to tasks that can carry it all."""
    gates = [_names_kept, _can_carry_all]
    return _looked(found, gates, again=gates)


def _looked(found: Survey, gates: Sequence[Gate], *, again: Sequence[Gate]) -> tuple[Evidence, ...]:
    """Look at gates now; `again` are those that protect traffic, which `apply` looks at once more."""

    def look_again() -> tuple[Evidence, ...]:
        fresh = survey(found.session)
        return tuple(gate(fresh) for gate in again)

    return tuple(replace(gate(found), again=look_again) for gate in gates)


def _claim(found: Survey, name: str, holds: bool, words: str, hint: str) -> Evidence:
    """In plan mode an earlier step that is missing is assumed applied, and said to be."""
    if not holds and not found.session.applies:
        return Evidence(name, True, f"assumed, since {words}")
    return Evidence(name, holds, words, "" if holds else hint)


def _earlier(found: Survey, missing: tuple[str, ...]) -> Evidence:
    what = f"missing: {', '.join(missing)}" if missing else "all of them are applied"
    return _claim(found, "earlier steps", not missing, what, "run the notebooks named there first")


def _led(found: Survey, hostnames: Mapping[str, str]) -> Evidence:
    """A node found by a name that nobody is registered under: every call to it is answered 503."""
    counts = ecs.read_counts(found.session, list(hostnames))
    running = {service: runs for service, (_, runs) in counts.items() if runs}
    lost = [
        f"{hostnames[service]} has no address, while {service} runs {runs} task(s)"
        for service, runs in running.items()
        if not _leads_somewhere(found, hostnames[service])
    ]
    words = "; ".join(lost) or "each has an address, or its service runs no task yet"
    hint = "correct services.*.hostname: the name its tasks are registered under"
    return Evidence("names of running services", not lost, words, hint)


def _leads_somewhere(found: Survey, name: str) -> bool:
    """Say whether a name has an address beside the placeholder; of another namespace's names nobody here knows."""
    registered = found.names.get(name)
    here = name.endswith(f".{found.parameters.namespace}")
    return not here or bool(registered and own_instances(registered))


def _matched(found: Survey) -> Evidence:
    """What matches no route gets a 404 once its caller has a sidecar: the file may mean it, so it is only said."""
    words = "; ".join(found.engine.unmatched(found.parameters)) or "none: every request matches a route"
    return Evidence("requests without a route", True, words)


def _counted(found: Survey) -> Evidence:
    """A canary whose errors nobody counts would pass whatever it answers."""
    p = found.parameters
    judge = error_judge(p.shift, found.engine.counted(p))
    return Evidence("errors are counted", judge.by != "nobody", judge.words, judge.hint)


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
    return _all_run(service, name, state["desiredCount"], state["runningCount"])


def _runs(found: Survey, service: str, name: str) -> Evidence:
    """Return the same by one call, which reads nothing of its definition."""
    return _all_run(service, name, *ecs.read_counts(found.session, (service,))[service])


def _all_run(service: str, name: str, wanted: int, running: int) -> Evidence:
    words = f"{service} runs {running} of {wanted} task(s)"
    return Evidence(name, 0 < wanted <= running, words, "wait for its tasks, or look at the service's events")


def _carries_nothing(found: Survey) -> Evidence:
    shift, weights = found.parameters.shift, found.split.weights
    stable, canary = weights.get(shift.stable, 0), weights.get(shift.canary, 0)
    divided = f"{shift.stable} has {stable} %, {shift.canary} has {canary} %"
    gone = (stable, canary) == (0, 100)
    return _claim(found, "stable carries nothing", gone, divided, "finish the shift first")


def _unreferenced(found: Survey) -> Evidence:
    own = f"route {found.parameters.router}/{found.parameters.route}"
    others = ", ".join(name for name in found.references if name != own)
    return Evidence(
        "nothing else refers to it", not others, others or "only its own route", "take it out of those first"
    )


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


def _quiet(found: Survey, *, waits: bool = True) -> Evidence:
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
        if (counted and not requests) or carries or not session.applies or not waits:
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
    until = cloudwatch.complete_until(session, session.now())
    checked = p.services[service].health_check is not None
    series = found.engine.series(p)[service]["requests"] if checked else (found.engine.inbound(p, service),)
    since = until - p.retirement.quiet_seconds
    return sum(cloudwatch.read_requests(session, one, since, until) for one in series)


def evidence_of_path(found: Survey) -> Evidence:
    """Return whether calls pass both sidecars now: the caller's and the one of who answers."""
    session, p, name = found.session, found.parameters, "calls pass both sidecars"
    if not session.connection.carries_traffic:
        return Evidence(name, True, "there is no traffic here to look at")
    series = found.engine.series(p)[p.shift.stable]["requests"]
    began, period = session.now(), p.telemetry.period_seconds
    out = into = 0
    for _ in session.looks(name, p.telemetry.delay_seconds + 3 * period + 10, min(period, 5)):
        until = cloudwatch.complete_until(session, session.now())
        out = sum(cloudwatch.read_requests(session, one, began, until) for one in series)
        into = cloudwatch.read_requests(session, found.engine.inbound(p, p.shift.stable), began, until)
        if out and into:
            break
    seen = "both count requests" if out and into else f"callers' sidecars count {out}, {p.shift.stable}'s {into}"
    hint = "see that calls are made meanwhile, and that a route takes them; then look at the sidecars and ECS's events"
    return Evidence(name, bool(out and into), seen, hint)


def _names_kept(found: Survey) -> Evidence:
    """Without the mesh a name leads where discovery says: that must be a task that runs."""
    p, name = found.parameters, "callers keep their name"
    callers = [caller for caller in p.services if _meshed(found, caller)]
    dialled = dict.fromkeys(backend for caller in callers for backend in p.services[caller].backends)
    if not dialled:
        return Evidence(name, True, "nobody calls through a sidecar")
    words = "; ".join(filter(None, (_lost(found, backend) for backend in dialled)))
    if not words:
        return Evidence(name, True, f"{', '.join(dialled)}: a task that runs answers it")
    if p.removal.callers_may_fail:
        return Evidence(name, True, f"{words}: removal.callers_may_fail allows it")
    hint = "let them dial another name, or say so in the file: removal: {callers_may_fail: true}"
    return Evidence(name, False, words, hint)


def _lost(found: Survey, name: str) -> str:
    """Say why a name leads to nobody once the mesh is gone; "" where a running task answers it."""
    p = found.parameters
    callers = f"callers: {', '.join(p.callers_of(name))}"
    instances = found.names[name].instances
    runs = {p.ecs_service_of(service) for service, r in found.running.items() if r.state and r.state["runningCount"]}
    if any(attributes.get(SERVICE) in runs for attributes in instances.values()):
        return ""
    if PLACEHOLDER in instances:
        return f"{name} leads to a placeholder once the mesh is gone; {callers}"
    if instances:
        return f"{name} leads to no task that runs once the mesh is gone; {callers}"
    return f"{name} has no address once the mesh is gone; {callers}"


def _can_carry_all(found: Survey) -> Evidence:
    """Without the mesh nobody divides the traffic: what the canary carries goes to stable in one go."""
    p, name = found.parameters, "stable can carry all"
    stable, canary, weight = p.shift.stable, p.shift.canary, found.canary_weight
    if not weight or found.retired:
        return Evidence(name, True, "no traffic changes sides")
    counts = ecs.read_counts(found.session, (stable, canary))
    needed, running = max(1, counts[canary][1]), counts[stable][1]
    words = f"{weight} % of the traffic goes from {canary} to {stable} in one go; "
    words += f"{stable} runs {running} task(s), {canary} {counts[canary][1]}"
    hint = f"let {stable} run {needed} task(s) at least, or roll back first: `runbook rollback {found.session.named}`"
    return Evidence(name, running >= needed or p.removal.callers_may_fail, words, hint)


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
