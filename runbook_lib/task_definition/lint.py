"""Say what ECS refuses only late, or accepts and then breaks, in a task definition that
is or will be meshed.

Pure: reads a definition, returns findings. Never repeats a variable's value
but the node's name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from runbook_lib.task_definition.envoy import (
    IDENTITY,
    MAX_IGNORED_PORTS,
    METADATA_IPS,
    applications,
    doubts,
    envoy_of,
    identity_variable,
    is_daemon,
    passes_by,
    proxy_properties,
    waiting,
)
from runbook_lib.task_definition.form import (
    Json,
    by_name,
    containers_of,
    group_of,
    mounts_efs,
    normalise,
    others,
    split,
    task_units,
    tcp_ports,
    user_of,
    variables,
)
from runbook_lib.task_definition.image import (
    DEFAULT_ENVOY_ACCOUNT,
    ENVOY_ACCOUNTS,
    FIPS_REGIONS,
    OLDEST,
    REGIONS,
    tag_version,
)

Level = Literal["FAIL", "WARN"]

# CPU units -> MiB: RegisterTaskDefinition's documentation of `memory` (botocore 1.44.5,
# Linux).
FARGATE_SIZES: Mapping[int, Sequence[int]] = {
    256: (512, 1024, 2048),
    512: range(1024, 4096 + 1, 1024),
    1024: range(2048, 8192 + 1, 1024),
    2048: range(4096, 16384 + 1, 1024),
    4096: range(8192, 30720 + 1, 1024),
    8192: range(16384, 61440 + 1, 4096),
    16384: range(32768, 122880 + 1, 8192),
}

# rule: (level, message, hint)
RULES: Mapping[str, tuple[Level, str, str]] = {
    # what ECS asks of every task that is to be meshed
    "fargate-needs-size": (
        "FAIL",
        "Fargate requires cpu and memory at the task level",
        'for example "1024" and "2048"',
    ),
    "fargate-size": (
        "FAIL",
        "Fargate has no size of {cpu} CPU units with {memory} MiB",
        "sizes there are: {sizes}",
    ),
    "host-port": (
        "FAIL",
        "hostPort {found} is not containerPort {expected}; in awsvpc they must match",
        "drop hostPort",
    ),
    "cpu-sum": (
        "FAIL",
        "the containers ask for {total} CPU units, the task has {limit}",
        "raise the task's cpu or lower a container's",
    ),
    "memory-sum": (
        "FAIL",
        "the containers reserve {total} of the task's {limit} MiB; {others} gets none",
        "raise the task's memory; what is reserved must stay below it",
    ),
    "memory-hard": (
        "FAIL",
        "{found} MiB is more than the task's {limit}",
        "raise the task's memory or lower the container's",
    ),
    "memory-missing": (
        "FAIL",
        "needs memory or memoryReservation, since the task has no memory of its own",
        "set one of them, or the task's memory",
    ),
    "depends-on": (
        "FAIL",
        "waits for {name}, {problem}",
        "see ContainerDependency in the ECS API reference",
    ),
    "execution-role": (
        "FAIL",
        "Fargate pulls images from ECR with it, the regional Envoy image included",
        "set an execution role with ECR pull permission",
    ),
    "secret": (
        "WARN",
        "{name} looks like a secret in plain text",
        "move it to `secrets`: everybody who may describe the definition can read it",
    ),
    "which-envoy": (
        "FAIL",
        "it is unclear which container is Envoy: {doubt}",
        "let the proxy configuration name the one container that runs "
        "aws-appmesh-envoy",
    ),
    # what App Mesh asks of one that is meshed
    "no-proxy": (
        "FAIL",
        "no APPMESH proxy configuration that names a container: nothing "
        "goes through Envoy",
        "register it with the sidecar",
    ),
    "null-property": (
        "FAIL",
        "has no value; registering it answers 'properties value cannot be null'",
        "drop the property or fill it",
    ),
    "property": (
        "FAIL",
        "required, and absent",
        "15000 for ingress, 15001 for egress, the node's listener ports for AppPorts",
    ),
    "ignored-uid": (
        "FAIL",
        "expected Envoy's user {expected}, found {found}: Envoy would proxy itself",
        "make the two equal; 1337 by custom",
    ),
    "app-user": (
        "FAIL",
        "runs as Envoy's user {found}: its calls pass the proxy by, "
        "weights have no effect",
        "run it as another user",
    ),
    "group": (
        "WARN",
        "runs as root of group {found}, which the proxy does not ignore: its traffic "
        "goes through Envoy",
        "where it is to pass Envoy by, as log routers and agents are, name the "
        "group as envoy.ignored_gid in the parameters file",
    ),
    "app-ports": (
        "FAIL",
        "no container maps TCP {found}, and each application maps others",
        "AppPorts are the ports the application listens on",
    ),
    "unmapped-ports": (
        "WARN",
        "no container maps TCP {found}; in awsvpc one may listen there all the same",
        "make sure that the application listens there; a port mapping "
        "would document it",
    ),
    "open-port": (
        "WARN",
        "container ports {found} are not among them: reached past Envoy (roadmap#166)",
        "add them, with listeners for them, if they carry mesh traffic",
    ),
    "listener-ports": (
        "FAIL",
        "expected the node's listener ports {expected}, found {found}",
        "listener ports, AppPorts and container ports are one and the same",
    ),
    "low-port": (
        "WARN",
        "{found}: the tutorial asks for ports above 1024 on Fargate; the user guide "
        "(troubleshooting-setup) says so of virtual gateways only, where "
        "Envoy binds the port",
        "fine where the application can bind it; a port above 1024 is the safe choice",
    ),
    "ignored-ports": ("FAIL", "expected at most 15, found {found}", "drop some"),
    "efs-port": (
        "FAIL",
        "2049 is missing, and the task mounts EFS: ResourceInitializationError",
        "add 2049",
    ),
    "metadata-ips": (
        "FAIL",
        "{found} missing: the application gets no credentials through the proxy",
        "set both metadata addresses, then what else is to be left alone",
    ),
    "identity": (
        "FAIL",
        "APPMESH_RESOURCE_ARN is not set: Envoy does not know which node it is",
        "set it to the node's ARN",
    ),
    "old-identity": (
        "WARN",
        "{found} is, from Envoy 1.15.0 on, supported for existing meshes only",
        "set APPMESH_RESOURCE_ARN to the node's full ARN instead",
    ),
    "other-node": (
        "FAIL",
        "expected {expected}, found {found}: Envoy gets another node's configuration",
        "set the ARN of this service's own node",
    ),
    "image-unknown": (
        "WARN",
        "{found}: no version to be read, so its age cannot be judged",
        "pin App Mesh's image to a version",
    ),
    "image-old": (
        "FAIL",
        "{found}: App Mesh serves v1.17.2.0-prod and later (user guide, envoy)",
        "take a later image",
    ),
    "image-arm": (
        "FAIL",
        "{found}: App Mesh's image runs on ARM64 from v1.20.0.1 on",
        "take a later image",
    ),
    "image-metrics": (
        "WARN",
        "{found}: the metric extension needs v1.19.1.1 or later",
        "take a later image",
    ),
    "image-account": (
        "WARN",
        "App Mesh's registry in {region} is {expected}, found {found}",
        "right only for a mirror of your own",
    ),
    "image-fips": (
        "FAIL",
        "a FIPS build in {region}, which has no App Mesh FIPS endpoint: "
        "it never connects",
        "take the standard image there",
    ),
    "envoy-essential": (
        "FAIL",
        "Envoy is not essential: the task would live on without its traffic",
        "make it essential",
    ),
    "envoy-health": (
        "FAIL",
        "no health check: Envoy never becomes HEALTHY, nor starts what waits for it",
        "add the check of server_info",
    ),
    "wait-for-envoy": (
        "FAIL",
        "does not wait for {expected} to be HEALTHY: its first calls are lost",
        "add it to dependsOn; that also stops Envoy last",
    ),
    "open-files": (
        "WARN",
        "nofile below 15000: Envoy crashes under load (troubleshooting-scaling)",
        "set its soft and hard limit to 15000",
    ),
    "envoy-cpu": (
        "WARN",
        "512 CPU units are advised for Envoy alone, the whole task has {found}",
        "give the task 1024 or more",
    ),
    "envoy-memory": (
        "WARN",
        "at least 64 MiB are advised for Envoy, {found} can be had",
        "raise the task's memory",
    ),
    "no-daemon": (
        "WARN",
        "tracing is on, and no X-Ray daemon is in the task",
        "add the daemon",
    ),
    "daemon-user": (
        "FAIL",
        "expected Envoy's user {expected}, found {found}: its own calls "
        "would be proxied",
        "run it as Envoy's user",
    ),
    "task-role": (
        "FAIL",
        "Envoy has nothing to sign with (appmesh:StreamAggregatedResources)",
        "set a task role that allows it on this node's ARN",
    ),
    "instance-role": (
        "WARN",
        "without one Envoy signs with the instance's role, if it can reach it",
        "prefer a task role",
    ),
}

# What ECS refuses at registration, or never starts.
BY_ECS = frozenset(
    {
        "fargate-needs-size",
        "fargate-size",
        "host-port",
        "cpu-sum",
        "memory-sum",
        "memory-hard",
        "memory-missing",
        "depends-on",
        "execution-role",
    }
)
_SECRET = re.compile(
    r"PASSW(OR)?D|SECRET|TOKEN|PRIVATE_?KEY|API_?KEY|ACCESS_?KEY|CREDENTIAL",
    re.IGNORECASE,
)
ARM = "ARM64"
OLDEST_ON_ARM = (1, 20, 0, 1)
METRICS = "APPMESH_METRIC_EXTENSION_VERSION"
OLDEST_WITH_METRICS = (1, 19, 1, 1)
LEAST_OPEN_FILES = 15000
LEAST_MIB = 64
_ECR = re.compile(r"(\d{12})\.dkr\.ecr\.([\w-]+)\.amazonaws\.com(?:\.cn)?/(.+)")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong: FAIL will not work, WARN may not be what is meant.
    `rule` is its key in RULES.
    """

    level: Level
    where: str
    message: str
    hint: str
    rule: str


@dataclass(frozen=True, slots=True)
class _View:
    """A definition as the checks read it: `raw` as it was written, `task`
    in comparison form.
    """

    raw: Mapping[str, Any]
    task: Json
    fargate: bool
    node_arn: str | None
    listener_ports: set[str]
    containers: list[Json]
    proxy: Json
    properties: dict[str, str]
    only_calls: bool

    def finding(self, rule: str, where: str, **named: object) -> Finding:
        """Return what a rule has to say of a place, with what its
        message and hint name.
        """
        level, message, hint = RULES[rule]
        where = f"{self.task.get('family', '?')}: {where}"
        return Finding(
            level, where, message.format(**named), hint.format(**named), rule
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
    RegisterTaskDefinition's documentation
    and the App Mesh user guide.
    """
    task = normalise(definition)
    checks = _ECS_CHECKS
    proxy: Json = {}
    if not any(doubts(task)):
        proxy = envoy_of(task) or {}
        if proxy or task.get("proxyConfiguration"):
            checks += _PROXY_CHECKS
        if proxy:
            checks += _MESH_CHECKS
    view = _View(
        raw=definition.get("taskDefinition", definition),
        task=task,
        fargate=launch_type == "FARGATE",
        node_arn=node_arn,
        listener_ports={str(port) for port in listener_ports},
        containers=containers_of(task),
        proxy=proxy,
        properties=proxy_properties(task),
        only_calls=only_calls,
    )
    findings: list[Finding] = []
    for check in checks:
        findings.extend(check(view))
    return tuple(sorted(findings, key=lambda finding: finding.level))


def _at(container: Mapping[str, Any], key: str) -> str:
    return f"containerDefinitions[{container['name']}].{key}"


def _ports(ports: Collection[str]) -> str:
    """Return ports or addresses in words, those in a row as `first-last`."""
    numbers = sorted(int(port) for port in ports if port.isdecimal())
    rows: list[list[int]] = []
    for number in numbers:
        if rows and number == rows[-1][-1] + 1:
            rows[-1].append(number)
        else:
            rows.append([number])
    words = [_row(row) for row in rows]
    words += sorted(port for port in ports if not port.isdecimal())
    return ", ".join(words) or "(none)"


def _row(numbers: Sequence[int]) -> str:
    if len(numbers) > 2:
        return f"{numbers[0]}-{numbers[-1]}"
    return ", ".join(str(number) for number in numbers)


def _reserved(container: Mapping[str, Any]) -> int:
    return int(container.get("memoryReservation") or container.get("memory") or 0)


def _fargate_size(view: _View) -> Iterator[Finding]:
    if not view.fargate:
        return
    where = "cpu, memory"
    cpu = task_units(view.task.get("cpu"))
    memory = task_units(view.task.get("memory"))
    if cpu is None or memory is None:
        yield view.finding("fargate-needs-size", where)
    elif memory not in FARGATE_SIZES.get(cpu, ()):
        sizes = _fargate_sizes(cpu)
        yield view.finding("fargate-size", where, cpu=cpu, memory=memory, sizes=sizes)


def _fargate_sizes(cpu: int) -> str:
    """Return what memory goes with these CPU units; which CPU units there are where
    none does.
    """
    memories = FARGATE_SIZES.get(cpu)
    if memories is None:
        return f"{list(FARGATE_SIZES)} CPU units"
    return f"{memories[0]}-{memories[-1]} MiB with {cpu}"


def _host_ports(view: _View) -> Iterator[Finding]:
    if view.task.get("networkMode") != "awsvpc":
        return
    for container in view.containers:
        where = _at(container, "portMappings")
        for port in container.get("portMappings", []):
            found, expected = port.get("hostPort"), port.get("containerPort")
            if found is not None:
                yield view.finding("host-port", where, found=found, expected=expected)


def _secrets(view: _View) -> Iterator[Finding]:
    for container in view.containers:
        where = _at(container, "environment")
        for name, value in variables(container).items():
            if value and _SECRET.search(name):
                yield view.finding("secret", where, name=name)


def _cpu_sum(view: _View) -> Iterator[Finding]:
    total = sum(c.get("cpu", 0) for c in view.containers)
    limit = task_units(view.task.get("cpu"))
    if limit is not None and total > limit:
        yield view.finding("cpu-sum", "cpu", total=total, limit=limit)


def _memory(view: _View) -> Iterator[Finding]:
    limit = task_units(view.task.get("memory"))
    without = [c for c in view.containers if not _reserved(c)]
    if limit is not None:
        yield from _memory_within(view, limit, without)
    elif not view.fargate:
        for container in without:
            yield view.finding("memory-missing", _at(container, "memory"))


def _memory_within(
    view: _View, limit: int, without: Sequence[Json]
) -> Iterator[Finding]:
    """Yield what does not fit into the task's memory in MiB; some containers are
    without any of their own.
    """
    total = sum(_reserved(container) for container in view.containers)
    if total > limit or (total == limit and without):
        names = ", ".join(c["name"] for c in without) or "anything else"
        numbers = {"total": total, "limit": limit}
        yield view.finding("memory-sum", "memory", **numbers, others=names)
    for container in view.containers:
        found = container.get("memory", 0)
        if found > limit:
            where = _at(container, "memory")
            yield view.finding("memory-hard", where, found=found, limit=limit)


def _dependencies(view: _View) -> Iterator[Finding]:
    containers = by_name(view.containers)
    for container in view.containers:
        where = _at(container, "dependsOn")
        for wait in container.get("dependsOn", []):
            name = wait["containerName"]
            problem = _problem(wait, containers.get(name))
            if problem:
                yield view.finding("depends-on", where, name=name, problem=problem)


def _problem(wait: Json, target: Json | None) -> str:
    if target is None:
        return "which is not a container of this task"
    if wait["condition"] == "HEALTHY" and "healthCheck" not in target:
        return "which has no health check to be HEALTHY by"
    if wait["condition"] in ("SUCCESS", "COMPLETE") and target.get("essential", True):
        return "which is essential and so must not end"
    return ""


def _which_envoy(view: _View) -> Iterator[Finding]:
    for doubt in doubts(view.task):
        yield view.finding("which-envoy", "proxyConfiguration", doubt=doubt)


def _execution_role(view: _View) -> Iterator[Finding]:
    private = any(_ECR.fullmatch(c.get("image", "")) for c in view.containers)
    if view.fargate and private and not view.task.get("executionRoleArn"):
        yield view.finding("execution-role", "executionRoleArn")


def _proxy_configuration(view: _View) -> Iterator[Finding]:
    proxy = view.task.get("proxyConfiguration", {})
    is_other = proxy.get("type", "APPMESH") != "APPMESH"
    if is_other or proxy.get("containerName") not in by_name(view.containers):
        yield view.finding("no-proxy", "proxyConfiguration")
    for given in (view.raw.get("proxyConfiguration") or {}).get("properties") or []:
        if given.get("value") is None:
            yield view.finding("null-property", f"proxyConfiguration.{given['name']}")
    for name in ("ProxyIngressPort", "ProxyEgressPort", "AppPorts"):
        if not view.properties.get(name):
            yield view.finding("property", f"proxyConfiguration.{name}")


def _listeners(view: _View) -> Iterator[Finding]:
    where = "proxyConfiguration.AppPorts"
    app_ports = set(split(view.properties.get("AppPorts")))
    mapped = [tcp_ports(container) for container in applications(view.task)]
    container_ports = {str(port) for port in set().union(*mapped)}
    missing = app_ports - container_ports
    if missing and not view.only_calls:
        rule = "app-ports" if all(mapped) else "unmapped-ports"
        yield view.finding(rule, where, found=_ports(missing))
    beside = container_ports - app_ports
    if beside:
        yield view.finding("open-port", where, found=_ports(beside))
    expected = view.listener_ports
    if expected and expected != app_ports:
        ports = {"expected": _ports(expected), "found": _ports(app_ports)}
        yield view.finding("listener-ports", where, **ports)
    numbers = [port for port in app_ports | container_ports if port.isdigit()]
    low = [port for port in numbers if int(port) <= 1024]
    if view.fargate and low:
        yield view.finding("low-port", where, found=_ports(low))


def _ignored_ports(view: _View) -> Iterator[Finding]:
    where = "proxyConfiguration.EgressIgnoredPorts"
    ports = split(view.properties.get("EgressIgnoredPorts"))
    if len(ports) > MAX_IGNORED_PORTS:
        yield view.finding("ignored-ports", where, found=len(ports))
    if mounts_efs(view.task) and "2049" not in ports:
        yield view.finding("efs-port", where)


def _ignored_ips(view: _View) -> Iterator[Finding]:
    where = "proxyConfiguration.EgressIgnoredIPs"
    missing = set(METADATA_IPS) - set(split(view.properties.get("EgressIgnoredIPs")))
    if missing:
        yield view.finding("metadata-ips", where, found=_ports(missing))


def _users(view: _View) -> Iterator[Finding]:
    user = user_of(view.proxy)
    ignored = view.properties.get("IgnoredUID", "")
    if ignored != user and (ignored or "IgnoredGID" not in view.properties):
        named = {"expected": user or "(none)", "found": ignored or "(none)"}
        yield view.finding("ignored-uid", "proxyConfiguration.IgnoredUID", **named)
    for container in waiting(view.task):
        if user and user_of(container) == user:
            yield view.finding("app-user", _at(container, "user"), found=user)
    for container in view.containers:
        if _means_to_pass_by(container) and not passes_by(view.task, container):
            group = group_of(container)
            yield view.finding("group", _at(container, "user"), found=group)


def _means_to_pass_by(container: Json) -> bool:
    """Tell whether a container has a group that root needs for the proxy alone."""
    is_root = user_of(container) in ("0", "root")
    return is_root and group_of(container) not in ("", "0", "root")


def _identity(view: _View) -> Iterator[Finding]:
    where = _at(view.proxy, "environment")
    variable = identity_variable(view.proxy)
    if variable is None:
        yield view.finding("identity", where)
        return
    if variable != IDENTITY[0]:
        yield view.finding("old-identity", where, found=variable)
    arn = view.node_arn
    found = variables(view.proxy)[variable]
    if arn and found not in (arn, arn[arn.find("mesh/") :]):
        yield view.finding("other-node", where, expected=arn, found=found)


def _image_version(view: _View) -> Iterator[Finding]:
    where = _at(view.proxy, "image")
    image = _image_of(view.proxy)
    version = tag_version(image.tag)
    if version is None:
        yield view.finding("image-unknown", where, found=view.proxy.get("image", ""))
        return
    if version < OLDEST:
        yield view.finding("image-old", where, found=image.tag)
    elif version < OLDEST_WITH_METRICS and METRICS in variables(view.proxy):
        yield view.finding("image-metrics", where, found=image.tag)
    platform = view.task.get("runtimePlatform") or {}
    if version < OLDEST_ON_ARM and platform.get("cpuArchitecture") == ARM:
        yield view.finding("image-arm", where, found=image.tag)


def _image_registry(view: _View) -> Iterator[Finding]:
    where = _at(view.proxy, "image")
    image = _image_of(view.proxy)
    ecr = _ECR.fullmatch(image.repository)
    if ecr is None:
        return
    account, region, name = ecr.groups()
    if region not in REGIONS or name != "aws-appmesh-envoy":
        return
    expected = ENVOY_ACCOUNTS.get(region, DEFAULT_ENVOY_ACCOUNT)
    if account != expected:
        accounts = {"expected": expected, "found": account}
        yield view.finding("image-account", where, region=region, **accounts)
    if image.tag.endswith("-fips") and region not in FIPS_REGIONS:
        yield view.finding("image-fips", where, region=region)


class _Image(NamedTuple):
    """An image by its repository, registry included, and its tag."""

    repository: str
    tag: str


def _image_of(container: Json) -> _Image:
    without_digest = container.get("image", "").partition("@")[0]
    repository, _, tag = without_digest.rpartition(":")
    return _Image(repository, tag)


def _envoy(view: _View) -> Iterator[Finding]:
    if view.proxy.get("essential") is False:
        yield view.finding("envoy-essential", _at(view.proxy, "essential"))
    if not view.proxy.get("healthCheck"):
        yield view.finding("envoy-health", _at(view.proxy, "healthCheck"))
    limits = view.proxy.get("ulimits", [])
    open_files = [each["softLimit"] for each in limits if each["name"] == "nofile"]
    if max(open_files, default=0) < LEAST_OPEN_FILES:
        yield view.finding("open-files", _at(view.proxy, "ulimits"))


def _waits(view: _View) -> Iterator[Finding]:
    name = view.proxy["name"]
    wait = {"containerName": name, "condition": "HEALTHY"}
    for container in waiting(view.task):
        if wait not in container.get("dependsOn", []):
            where = _at(container, "dependsOn")
            yield view.finding("wait-for-envoy", where, expected=name)


def _envoy_size(view: _View) -> Iterator[Finding]:
    cpu = task_units(view.task.get("cpu"))
    if view.fargate and cpu is not None and cpu <= 512:
        yield view.finding("envoy-cpu", "cpu", found=cpu)
    limits = [view.proxy["memory"]] if "memory" in view.proxy else []
    memory = task_units(view.task.get("memory"))
    if memory is not None:
        beside = others(view.containers, [view.proxy["name"]])
        reserved = sum(_reserved(container) for container in beside)
        limits.append(max(memory - reserved, 0))
    if limits and min(limits) < LEAST_MIB:
        yield view.finding("envoy-memory", "memory", found=min(limits))


def _daemons(view: _View) -> Iterator[Finding]:
    if variables(view.proxy).get("ENABLE_ENVOY_XRAY_TRACING") != "1":
        return
    daemons = [c for c in view.containers if is_daemon(c)]
    if not daemons:
        yield view.finding("no-daemon", _at(view.proxy, "environment"))
    for daemon in daemons:
        expected, found = user_of(view.proxy), user_of(daemon)
        if found != expected and not passes_by(view.task, daemon):
            named = {"expected": expected or "(none)", "found": found or "(none)"}
            yield view.finding("daemon-user", _at(daemon, "user"), **named)


def _task_role(view: _View) -> Iterator[Finding]:
    if not view.task.get("taskRoleArn"):
        rule = "task-role" if view.fargate else "instance-role"
        yield view.finding(rule, "taskRoleArn")


Checks = tuple[Callable[[_View], Iterator[Finding]], ...]
_ECS_CHECKS: Checks = (
    _fargate_size,
    _host_ports,
    _secrets,
    _cpu_sum,
    _memory,
    _dependencies,
    _execution_role,
    _which_envoy,
)
_PROXY_CHECKS: Checks = (_proxy_configuration, _listeners)
_MESH_CHECKS: Checks = (
    _identity,
    _ignored_ports,
    _ignored_ips,
    _users,
    _image_version,
    _image_registry,
    _envoy,
    _waits,
    _envoy_size,
    _daemons,
    _task_role,
)
