"""Check what App Mesh needs before anything is changed: its part of notebook
00. It only reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from runbook_lib.aws.ecs import Running, not_ours
from runbook_lib.aws.reads import Reads
from runbook_lib.engines.appmesh import iam
from runbook_lib.engines.appmesh.counts import unmatched
from runbook_lib.engines.appmesh.gates import leads_somewhere
from runbook_lib.engines.appmesh.mesh import answer
from runbook_lib.engines.appmesh.sidecars import DEPLOY_IT, sidecar
from runbook_lib.engines.appmesh.spec import node_arn, quotas
from runbook_lib.engines.protocol import Check, Finding, Look
from runbook_lib.errors import RunbookError
from runbook_lib.printable import counted
from runbook_lib.task_definition.form import same
from runbook_lib.task_definition.lint import lint
from runbook_lib.task_definition.sidecar import with_envoy

NEAR = 0.8  # of a quota
MORE = "ask for more in Service Quotas, unless your account has more already"
END_OF_SUPPORT = "AWS announced the end of App Mesh for 2026-09-30"


def serves(session: Reads) -> Finding:
    """Return whether App Mesh answers now, and what it says."""
    what, words = answer(session)
    if what == "serves":
        found = f"App Mesh serves ({words}); {END_OF_SUPPORT}"
        return Finding(True, found, "plan the way to a successor")
    return Finding(False, f"App Mesh {what}: {words}; {END_OF_SUPPORT}")


def checks(look: Look) -> Iterator[Check]:
    """Yield every check of App Mesh's own."""
    for part in (_notes, _names, _hostnames, _quotas, _definitions, _traces):
        yield from part(look)


def _notes(look: Look) -> Iterator[Check]:
    p = look.parameters
    if p.mesh.egress == "DROP_ALL":
        words = "DROP_ALL: a meshed task reaches its backends and AWS endpoints only"
        hint = (
            "list every other destination (databases, third parties) as a "
            "backend, or use ALLOW_ALL"
        )
        yield Check("WARN", "egress", words, hint)
    if p.protocol in ("http2", "grpc"):
        words = f"{p.protocol}: Envoy speaks cleartext HTTP/2 to the application too"
        hint = "an application that only speaks HTTP/1.1 fails; use protocol: http"
        yield Check("WARN", "protocol", words, hint)
    hint = "add a route that takes every request, unless that is meant"
    for words in unmatched(p):  # a request that matches no route is answered 404
        yield Check("WARN", "routes", words, hint)


def _names(look: Look) -> Iterator[Check]:
    p = look.parameters
    for name in p.dialled_by(p.services):
        where, called = f"name {name}", f"called by {', '.join(p.callers_of(name))}"
        addresses = look.names[name].addresses
        if addresses:
            many = counted(len(addresses), "address")
            yield Check("PASS", where, f"{called}; resolves to {many}")
        else:
            words = f"{called}; does not resolve in {p.namespace}"
            hint = (
                "callers resolve it before their Envoy sees the request: any "
                "non-loopback address will do"
            )
            yield Check("WARN", where, words, hint)


def _hostnames(look: Look) -> Iterator[Check]:
    """A service is found by its hostname: tasks must be registered under it."""
    p = look.parameters
    for service in look.lifecycle.left(look.running):
        state, said = look.running[service].state, p.services[service]
        if state is None or said.cloud_map or p.only_calls(service):
            continue
        count = state["runningCount"]
        if count and not leads_somewhere(look, said.hostname):
            tasks = counted(count, "task")
            words = f"{service} runs {tasks}, and none is registered under it"
            hint = (
                f"correct services.{service}.hostname: the name its tasks are "
                "registered under"
            )
            yield Check("FAIL", f"name {said.hostname}", words, hint)


def _quotas(look: Look) -> Iterator[Check]:
    """Each quota that is near, and all others in one row."""
    services = [found.state for found in look.running.values() if found.state]
    tasks = max((state["desiredCount"] for state in services), default=0)
    far = []
    for quota in quotas(look.parameters, tasks):
        found = f"{quota.count} of {quota.most}"
        if quota.count > quota.most:
            yield Check("WARN", f"quota {quota.what}", f"{found} by default", MORE)
        elif quota.count > NEAR * quota.most:
            yield Check("PASS", f"quota {quota.what}", f"{found} by default")
        else:
            far.append(f"{found} {quota.what}")
    if far:
        yield Check("PASS", "quotas", f"by default {'; '.join(far)}")


def _definitions(look: Look) -> Iterator[Check]:
    p = look.parameters
    for name in look.lifecycle.left(look.running):
        running = look.running[name]
        if running.state is None:
            continue
        if running.definition is None:
            yield _not_ours(look, running, f"definition of {name}")
            continue
        family, said = running.definition["family"], p.services[name].task_definition
        where = f"definition {family} of {name}"
        if family != said:
            hint = f"services.{name}.task_definition: {family}"
            yield Check("FAIL", where, f"the file says {said}", hint)
        yield from _definition(look, running, running.definition, where)


def _not_ours(look: Look, running: Running, where: str) -> Check:
    error = not_ours(look.parameters, running, DEPLOY_IT)
    return Check("FAIL", where, error.message, error.hint)


def _definition(
    look: Look, running: Running, definition: Mapping[str, Any], where: str
) -> Iterator[Check]:
    """Check a definition as it would be with the sidecar, then as it runs now."""
    p, name = look.parameters, running.service
    role = iam.role_arns(iam.who_signs(look)).get(name)
    try:
        form = with_envoy(definition, sidecar(p, name, role))
    except RunbookError as refused:
        yield Check("FAIL", where, refused.message, refused.hint)
        return
    if running.controller != "ECS" and not same(definition, form):
        yield _not_ours(look, running, where)
    linted = partial(
        lint,
        launch_type=p.launch_type_of(name),
        node_arn=node_arn(p, name),
        listener_ports=p.ports_of(name),
        only_calls=p.only_calls(name),
    )
    findings = linted(form)
    for finding in findings:
        yield Check(finding.level, finding.where, finding.message, finding.hint)
    for finding in linted(definition):
        if finding not in findings:
            words = f"as it runs now: {finding.message}"
            yield Check("WARN", finding.where, words, "04 fixes it")
    if not findings:
        yield Check("PASS", where, "the sidecar can be added; no problem found")


def _traces(look: Look) -> Iterator[Check]:
    for lacking in iam.lacking_traces(look.parameters, iam.who_signs(look)):
        words = (
            f"role {lacking.role} may not {iam.TRACE}: the X-Ray daemon's "
            "traces would be lost"
        )
        hint = f"attach {iam.XRAY_ACCESS} to the role"
        yield Check("WARN", f"traces of {lacking.service}", words, hint)
