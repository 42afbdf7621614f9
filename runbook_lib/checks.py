"""Look an environment over before anything is changed: target, services, names, quotas, definitions.

It only reads, and judges nothing but PASS, WARN or FAIL with what to do next. A FAIL is what a later notebook
would break on; what may be meant, or cannot be known from here, is a WARN.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Literal

from runbook_lib import iam
from runbook_lib.aws import ecs
from runbook_lib.aws.cloud_map import own_instances
from runbook_lib.aws.ecs import Running
from runbook_lib.aws.identity import utc
from runbook_lib.aws.session import ignored
from runbook_lib.errors import GateError, RunbookError
from runbook_lib.judging import error_judge
from runbook_lib.mesh_spec import node_arn, quotas
from runbook_lib.survey import Survey
from runbook_lib.task_definition import with_envoy
from runbook_lib.task_form import same
from runbook_lib.task_lint import lint

__all__ = ["Check", "check_environment", "require_checks"]

END_OF_SUPPORT = "AWS announced the end of App Mesh for 2026-09-30"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at; `where` names it, `hint` says what to do where it is not PASS."""

    level: Literal["PASS", "WARN", "FAIL"]
    where: str
    message: str
    hint: str = ""


def check_environment(found: Survey) -> list[Check]:
    """Return every check of an environment; nothing is changed, whatever they say."""
    parts = (_target, _credentials, _notes, _counted, _services, _names, _quotas, _definitions, _traces)
    return [check for part in parts for check in part(found)]


def require_checks(checks: Iterable[Check]) -> None:
    """Raise GateError where a check is FAIL: a later notebook would break on it."""
    failing = [check for check in checks if check.level == "FAIL"]
    if not failing:
        return
    found = "\n".join(f"- {check.where}: {check.message}" for check in failing)
    raise GateError(
        f"00_check_environment: refused, since a check is FAIL:\n{found}",
        hint="; ".join(dict.fromkeys(check.hint for check in failing if check.hint)),
    )


def _target(found: Survey) -> Iterator[Check]:
    p, identity = found.parameters, found.session.identity
    yield Check("PASS", "account", f"{identity.account}, as the file says; caller {identity.arn.rsplit(':', 1)[-1]}")
    if p.rehearsed:
        yield Check("PASS", "endpoint", "the local mesh on this machine: a rehearsal, nothing reaches AWS")
        return
    answer, words = found.engine.serves(found.session)
    if answer == "serves":
        yield Check("PASS", "endpoint", f"App Mesh serves ({words}); {END_OF_SUPPORT}", "plan the way to a successor")
    else:
        hint = f"planning and every rehearsal still work: runbook run {found.session.named} --rehearse"
        yield Check("FAIL", "endpoint", f"App Mesh {answer}: {words}; {END_OF_SUPPORT}", hint)


def _credentials(found: Survey) -> Iterator[Check]:
    p = found.parameters
    if p.rehearsed:
        return
    if words := ignored(p):
        yield Check("WARN", "settings", words, "unset them; to call another endpoint is what a rehearsal is for")
    lasting = found.session.lifetime()
    if lasting.kind == "permanent":
        yield Check("PASS", "credentials", "they do not run out by themselves")
    elif lasting.kind == "renewed":
        yield Check("PASS", "credentials", f"they are renewed while they are used ({lasting.source})")
    else:
        yield _running_out(found, lasting.ends)


def _running_out(found: Survey, ends: datetime | None) -> Check:
    """Compare when credentials run out with when the file's bakes would end."""
    shift = found.parameters.shift
    baking = timedelta(seconds=len(shift.steps) * shift.bake_seconds)
    hint = "log in again just before 05"
    if ends is None:
        words = f"temporary, and when they run out is not known; this file's bakes take {baking}"
        return Check("WARN", "credentials", words, hint)
    until = datetime.fromtimestamp(found.session.wall(), UTC) + baking
    words = f"they run out at {utc(ends)}; this file's bakes, begun now, end at {utc(until)}"
    return Check("WARN", "credentials", words, hint) if ends < until else Check("PASS", "credentials", words)


def _notes(found: Survey) -> Iterator[Check]:
    p = found.parameters
    for note in p.notes:
        yield Check("WARN", "names", note, "write them in lower case")
    if p.mesh.egress == "DROP_ALL":
        hint = "list every other destination (databases, third parties) as a backend, or use ALLOW_ALL"
        yield Check("WARN", "egress", "DROP_ALL: a meshed task reaches its backends and AWS endpoints only", hint)
    if p.protocol in ("http2", "grpc"):
        hint = "an application that only speaks HTTP/1.1 fails; use protocol: http"
        yield Check("WARN", "protocol", f"{p.protocol}: Envoy speaks cleartext HTTP/2 to the application too", hint)


def _counted(found: Survey) -> Iterator[Check]:
    """A shift whose errors nobody counts is refused by 05; a request that matches no route is answered 404."""
    p = found.parameters
    judge = error_judge(p.shift, found.engine.counted(p))
    level: dict[str, Literal["PASS", "WARN", "FAIL"]] = {"counts": "PASS", "alarms": "WARN", "nobody": "FAIL"}
    hint = judge.hint or ("" if judge.by == "counts" else "see that these alarms ring when the canary fails")
    yield Check(level[judge.by], "errors", judge.words, hint)
    for words in found.engine.unmatched(p):
        yield Check("WARN", "routes", words, "add a route that takes every request, unless that is meant")


def _services(found: Survey) -> Iterator[Check]:
    p = found.parameters
    for name, running in found.running.items():
        where = f"service {name}"
        if name in found.lifecycle.retired:
            yield Check("PASS", where, "retired")
        elif running.state is None:
            yield Check("WARN", where, f"not found in cluster {p.cluster}", "01 to 03 work without it, 04 does not")
        else:
            yield _count(where, running)
            yield from _room(where, running)


def _count(where: str, running: Running) -> Check:
    state = running.state or {}
    wanted, there = state["desiredCount"], state["runningCount"]
    words = f"runs {there} of {wanted} task(s) of {running.arn.rsplit('/', 1)[-1] or 'no task definition'}"
    if 0 < wanted <= there:
        return Check("PASS", where, words)
    return Check("WARN", where, words, "wait for its tasks before 04")


def _room(where: str, running: Running) -> Iterator[Check]:
    """A rolling update needs room: with one task, 100 % minimum and 150 % maximum it never starts."""
    if running.is_daemon:
        yield Check("WARN", where, "schedulingStrategy DAEMON: 06 cannot retire it", "end it by hand once 05 is done")
    if running.controller != "ECS":
        yield Check(
            "WARN", where, f"deployed by {running.controller}: 06 cannot retire it", "end it by what deploys it"
        )
        return
    state = running.state or {}
    settings = state["settings"].get("deploymentConfiguration") or {}
    wanted, most = state["desiredCount"], settings.get("maximumPercent", 200)
    if wanted and wanted * most // 100 <= wanted and settings.get("minimumHealthyPercent", 100) >= 100:
        yield Check("FAIL", where, f"no room to roll: {wanted} task(s), at most {most} %", "raise maximumPercent")
    if not (settings.get("deploymentCircuitBreaker") or {}).get("enable"):
        yield Check("WARN", where, "no deployment circuit breaker", "enable it with rollback")


def _names(found: Survey) -> Iterator[Check]:
    p = found.parameters
    for name in dict.fromkeys(b for s in p.services.values() for b in s.backends):
        callers, addresses = ", ".join(p.callers_of(name)), found.names[name].addresses
        if addresses:
            yield Check("PASS", f"name {name}", f"dialled by {callers}; resolves to {len(addresses)} address(es)")
        else:
            hint = "callers resolve it before their Envoy sees the request: any non-loopback address will do"
            yield Check("WARN", f"name {name}", f"dialled by {callers}; does not resolve in {p.namespace}", hint)
    for service, running in found.running.items():
        name = p.services[service].hostname
        tasks = running.state["runningCount"] if running.state and service not in found.lifecycle.retired else 0
        by_name = not p.services[service].cloud_map and name.endswith(f".{p.namespace}")
        if tasks and by_name and not own_instances(found.names[name]):
            hint = f"correct services.{service}.hostname: the name its tasks are registered under"
            words = f"{service} runs {tasks} task(s), and none is registered under it"
            yield Check("FAIL", f"name {name}", words, hint)


def _quotas(found: Survey) -> Iterator[Check]:
    tasks = max((running.state["desiredCount"] for running in found.running.values() if running.state), default=0)
    for what, count, most in quotas(found.parameters, tasks):
        level: Literal["PASS", "WARN"] = "PASS" if count <= most else "WARN"
        hint = "" if count <= most else "ask for more in Service Quotas, unless your account has more already"
        yield Check(level, f"quota {what}", f"{count} of {most} by default", hint)


def _definitions(found: Survey) -> Iterator[Check]:
    p = found.parameters
    for name, running in found.running.items():
        if running.state is None or name in found.lifecycle.retired:
            continue
        if running.definition is None:
            error = ecs.not_ours(p, running)
            yield Check("FAIL", f"definition of {name}", error.message, error.hint)
            continue
        where = f"definition {running.definition['family']} of {name}"
        if running.definition["family"] != p.services[name].task_definition:
            hint = f"services.{name}.task_definition: {running.definition['family']}"
            yield Check("FAIL", where, f"the file says {p.services[name].task_definition}", hint)
        yield from _definition(found, running, running.definition, where)


def _definition(found: Survey, running: Running, definition: Any, where: str) -> Iterator[Check]:
    p, name = found.parameters, running.service
    try:
        form = with_envoy(definition, ecs.sidecar(p, name, iam.role_arns(found.credentials).get(name)))
    except RunbookError as refused:
        yield Check("FAIL", where, refused.message, refused.hint)
        return
    if running.controller != "ECS" and not same(definition, form):
        error = ecs.not_ours(p, running)
        yield Check("FAIL", where, error.message, error.hint)
    own, ports = node_arn(p, name), p.ports_of(name)
    linted = partial(lint, launch_type=p.launch_type_of(name), node_arn=own, listener_ports=ports)
    findings = linted(form)
    for finding in findings:
        yield Check(finding.level, finding.where, finding.message, finding.hint)
    for finding in linted(definition):
        if finding not in findings:
            yield Check("WARN", finding.where, f"as it runs now: {finding.message}", "04 mends it")
    if not findings:
        yield Check("PASS", where, "takes the sidecar without a finding")


def _traces(found: Survey) -> Iterator[Check]:
    for lacking in iam.lacking_traces(found.parameters, found.credentials):
        words = f"role {lacking.role} may not {iam.TRACE}: the X-Ray daemon's traces would be lost"
        yield Check("WARN", f"traces of {lacking.service}", words, f"attach {iam.XRAY_ACCESS} to the role")
