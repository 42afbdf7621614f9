"""Say what ECS refuses only late, or accepts and then breaks, in a task definition that
is or will be meshed.

Pure: reads a definition, returns findings. Never repeats a variable's value
but the node's name.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from runbook_lib.task_definition.envoy import doubt, envoy_of, proxy_properties
from runbook_lib.task_definition.form import Json, containers_of, normalise
from runbook_lib.task_definition.lint import ecs, image, ports, proxy, secret, sidecar
from runbook_lib.task_definition.lint.rule import Check, Finding, Rule, View

SUBJECTS = (ecs, secret, proxy, ports, sidecar, image)
RULES: Mapping[str, Rule] = {
    rule.name: rule for subject in SUBJECTS for rule in subject.RULES
}
BY_ECS = frozenset(rule.name for rule in ecs.RULES)
"""What ECS refuses at registration, or never starts."""

OF_EVERY_TASK: tuple[Check, ...] = (*ecs.CHECKS, secret.secrets, proxy.which_envoy)
OF_A_PROXY = proxy.CHECKS + ports.CHECKS
OF_AN_ENVOY = (
    sidecar.CHECKS_OF_IDENTITY + proxy.CHECKS_OF_IGNORED + image.CHECKS + sidecar.CHECKS
)


def lint(
    definition: Mapping[str, Any],
    *,
    launch_type: str,
    node_arn: str | None = None,
    listener_ports: Collection[int] = (),
    only_calls: bool = False,
) -> tuple[Finding, ...]:
    """Return what is wrong with a definition, failures first; one without Envoy gets
    the ECS checks alone.

    `node_arn` and `listener_ports` are the virtual node's it should be, compared where
    given; nobody listens where it `only_calls`. `where` is `family: path`. Sources:
    RegisterTaskDefinition's documentation and the App Mesh user guide.
    """
    task = normalise(definition)
    envoy = _clear_envoy(task)
    view = View(
        raw=definition.get("taskDefinition", definition),
        task=task,
        fargate=launch_type == "FARGATE",
        node_arn=node_arn,
        listener_ports={str(port) for port in listener_ports},
        containers=containers_of(task),
        proxy=envoy,
        properties=proxy_properties(task),
        only_calls=only_calls,
    )
    findings: list[Finding] = []
    for check in _checks_of(view):
        findings.extend(check(view))
    return tuple(sorted(findings, key=lambda finding: finding.level))


def _clear_envoy(task: Json) -> Json:
    """Return the Envoy container; empty where there is none, or it is unclear which
    one that is.
    """
    if doubt(task):
        return {}
    return envoy_of(task) or {}


def _checks_of(view: View) -> tuple[Check, ...]:
    """Return the checks that a definition gets."""
    checks = OF_EVERY_TASK
    if doubt(view.task):
        return checks
    if view.proxy or view.task.get("proxyConfiguration"):
        checks += OF_A_PROXY
    if view.proxy:
        checks += OF_AN_ENVOY
    return checks
