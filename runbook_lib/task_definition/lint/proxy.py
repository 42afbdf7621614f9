"""The proxy configuration: what goes through Envoy, and what passes it by. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from runbook_lib.task_definition.envoy import (
    MAX_IGNORED_PORTS,
    METADATA_IPS,
    doubt,
    passes_by,
    waiting,
)
from runbook_lib.task_definition.form import (
    Json,
    by_name,
    group_of,
    list_in,
    mounts_efs,
    record_in,
    split,
    user_of,
)
from runbook_lib.task_definition.lint.ports import in_words
from runbook_lib.task_definition.lint.rule import (
    Check,
    Finding,
    Rule,
    View,
    at,
    unlike,
)

# --- which container it names ---------------------------------------------------------

WHICH_ENVOY = Rule(
    "which-envoy",
    "FAIL",
    "it is unclear which container is Envoy: {doubt}",
    "let the proxy configuration name the one container that runs aws-appmesh-envoy",
)
NO_PROXY = Rule(
    "no-proxy",
    "FAIL",
    "no APPMESH proxy configuration that names a container: nothing goes through Envoy",
    "register it with the sidecar",
)


def which_envoy(view: View) -> Iterator[Finding]:
    """Yield what makes it unclear which container is Envoy."""
    why = doubt(view.task)
    if why:
        yield view.finding(WHICH_ENVOY, "proxyConfiguration", doubt=why)


def _no_proxy(view: View) -> Iterator[Finding]:
    proxy = view.task.get("proxyConfiguration", {})
    is_other = proxy.get("type", "APPMESH") != "APPMESH"
    if is_other or proxy.get("containerName") not in by_name(view.containers):
        yield view.finding(NO_PROXY, "proxyConfiguration")


# --- its properties -------------------------------------------------------------------

NULL_PROPERTY = Rule(
    "null-property",
    "FAIL",
    "has no value; registering it answers 'properties value cannot be null'",
    "drop the property or fill it",
)
PROPERTY = Rule(
    "property",
    "FAIL",
    "required, and absent",
    "15000 for ingress, 15001 for egress, the node's listener ports for AppPorts",
)
REQUIRED = ("ProxyIngressPort", "ProxyEgressPort", "AppPorts")


def _null_properties(view: View) -> Iterator[Finding]:
    proxy = record_in(view.raw, "proxyConfiguration")
    for given in list_in(proxy, "properties"):
        if given.get("value") is None:
            yield view.finding(NULL_PROPERTY, f"proxyConfiguration.{given['name']}")


def _required_properties(view: View) -> Iterator[Finding]:
    for name in REQUIRED:
        if not view.properties.get(name):
            yield view.finding(PROPERTY, f"proxyConfiguration.{name}")


# --- ports and addresses that it leaves alone -----------------------------------------

IGNORED_PORTS = Rule(
    "ignored-ports", "FAIL", "expected at most 15, found {found}", "drop some"
)
EFS_PORT = Rule(
    "efs-port",
    "FAIL",
    "2049 is missing, and the task mounts EFS: ResourceInitializationError",
    "add 2049",
)
METADATA = Rule(
    "metadata-ips",
    "FAIL",
    "{found} missing: the application gets no credentials through the proxy",
    "set both metadata addresses, then the others that are to pass Envoy by",
)


def _ignored_ports(view: View) -> Iterator[Finding]:
    where = "proxyConfiguration.EgressIgnoredPorts"
    ports = split(view.properties.get("EgressIgnoredPorts"))
    if len(ports) > MAX_IGNORED_PORTS:
        yield view.finding(IGNORED_PORTS, where, found=len(ports))
    if mounts_efs(view.task) and "2049" not in ports:
        yield view.finding(EFS_PORT, where)


def _ignored_ips(view: View) -> Iterator[Finding]:
    where = "proxyConfiguration.EgressIgnoredIPs"
    ignored = split(view.properties.get("EgressIgnoredIPs"))
    missing = set(METADATA_IPS).difference(ignored)
    if missing:
        yield view.finding(METADATA, where, found=in_words(missing))


# --- users and groups that it leaves alone --------------------------------------------

IGNORED_UID = Rule(
    "ignored-uid",
    "FAIL",
    "expected Envoy's user {expected}, found {found}: Envoy would proxy itself",
    "make the two equal; 1337 by custom",
)
APP_USER = Rule(
    "app-user",
    "FAIL",
    "runs as Envoy's user {found}: its calls pass the proxy by, weights have no effect",
    "run it as another user",
)
GROUP = Rule(
    "group",
    "WARN",
    "runs as root of group {found}, which the proxy does not ignore: its traffic "
    "goes through Envoy",
    "where it is to pass Envoy by, as log routers and agents are, name the "
    "group as envoy.ignored_gid in the parameters file",
)


def _ignored_user(view: View) -> Iterator[Finding]:
    """Envoy's own calls pass the proxy by, by its user or by its group."""
    user = user_of(view.proxy)
    ignored = view.properties.get("IgnoredUID", "")
    by_group = not ignored and "IgnoredGID" in view.properties
    if ignored != user and not by_group:
        where = "proxyConfiguration.IgnoredUID"
        yield view.finding(IGNORED_UID, where, **unlike(user, ignored))


def _application_users(view: View) -> Iterator[Finding]:
    user = user_of(view.proxy)
    if not user:
        return
    for container in waiting(view.task):
        if user_of(container) == user:
            yield view.finding(APP_USER, at(container, "user"), found=user)


def _groups(view: View) -> Iterator[Finding]:
    for container in view.containers:
        if _means_to_pass_by(container) and not passes_by(view.task, container):
            group = group_of(container)
            yield view.finding(GROUP, at(container, "user"), found=group)


def _means_to_pass_by(container: Json) -> bool:
    """Tell whether a container has a group that root needs for the proxy alone."""
    is_root = user_of(container) in ("0", "root")
    return is_root and group_of(container) not in ("", "0", "root")


RULES = (
    WHICH_ENVOY,
    NO_PROXY,
    NULL_PROPERTY,
    PROPERTY,
    IGNORED_PORTS,
    EFS_PORT,
    METADATA,
    IGNORED_UID,
    APP_USER,
    GROUP,
)
CHECKS: tuple[Check, ...] = (_no_proxy, _null_properties, _required_properties)
# Of a definition that has an Envoy.
CHECKS_OF_IGNORED: tuple[Check, ...] = (
    _ignored_ports,
    _ignored_ips,
    _ignored_user,
    _application_users,
    _groups,
)
