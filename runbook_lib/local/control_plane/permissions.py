"""Hold calls against an IAM policy: which actions a call needs, on what, and whether a
policy allows them.

It knows the calls that the runbook makes; what it does not know of a call's resource is
`*`, which only a statement for every resource allows. Explicit denials, boundaries and
resource policies there are none. Source: the Service Authorization Reference.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from werkzeug.wrappers import Request

from runbook_lib.local.control_plane import elbv2
from runbook_lib.local.control_plane.calls import is_read
from runbook_lib.local.control_plane.wire import Target, members

__all__ = ["Asked", "Guard", "allow_only", "allows", "forbidden"]

Members = Mapping[str, Any]
Context = Mapping[str, list[str]]

PREFIXES = {"elbv2": "elasticloadbalancing"}  # where IAM calls a service otherwise
OURS = "runbook/"  # how the runbook's clients call themselves
TO_TASKS = "ecs-tasks.amazonaws.com"


@dataclass(frozen=True, slots=True)
class Asked:
    """One action that a call needs, on one resource, with what conditions may ask."""

    action: str
    resource: str = "*"
    context: Context = field(default_factory=dict)


@dataclass
class Guard:
    """A policy for the runbook's own calls; `asked` is all that they needed so far."""

    policy: Mapping[str, Any] | None
    asked: list[Asked] = field(default_factory=list)


GUARDS: dict[str, Guard] = {}  # by account


def allow_only(account: str, policy: Mapping[str, Any] | None) -> Guard:
    """Let the runbook do only what a policy allows in an account; None allows all."""
    GUARDS[account] = guard = Guard(policy)
    return guard


def forbidden(target: Target, request: Request, body: bytes) -> str:
    """Return AWS's words where a call needs what its policy does not allow, else ""."""
    guard = GUARDS.get(target.account)
    own = OURS in request.headers.get("User-Agent", "")
    if guard is None or not own or target.service == "sts":
        return ""
    needed = list(_needed(target, _members(target, request, body)))
    guard.asked += needed
    for asked in needed:
        if guard.policy is not None and not allows(guard.policy, asked):
            caller = f"arn:aws:iam::{target.account}:user/runbook"
            return (
                f"User: {caller} is not authorized to perform: {asked.action} on "
                f"resource: {asked.resource} because no identity-based policy allows "
                f"the {asked.action} action"
            )
    return ""


# --- whether a policy allows it -------------------------------------------------------


def allows(policy: Mapping[str, Any], asked: Asked) -> bool:
    """Say whether a statement of a policy allows an action on a resource."""
    return any(_applies(statement, asked) for statement in policy["Statement"])


def _applies(statement: Mapping[str, Any], asked: Asked) -> bool:
    action = any(fnmatchcase(asked.action, each) for each in statement["Action"])
    resource = any(fnmatchcase(asked.resource, each) for each in statement["Resource"])
    tests = statement.get("Condition", {}).items()
    holds = (_holds(operator, test, asked.context) for operator, test in tests)
    return action and resource and all(holds)


def _holds(operator: str, test: Mapping[str, Any], context: Context) -> bool:
    """Say whether each key of a test has one of its values; `ForAllValues` asks it of
    each value, and is content with none.
    """
    every = operator == "ForAllValues:StringEquals"
    if not every and operator != "StringEquals":
        raise ValueError(f"condition operator {operator} is not known here")
    for key, wanted in test.items():
        allowed = {wanted} if isinstance(wanted, str) else {*wanted}
        found = {*context.get(key, ())}
        if not (found <= allowed if every else found and found <= allowed):
            return False
    return True


# --- what a call needs ----------------------------------------------------------------


def _members(target: Target, request: Request, body: bytes) -> Members:
    """Return what a call says; of the query protocol the form's own flat names."""
    if request.mimetype == "application/x-www-form-urlencoded":
        return request.form.to_dict()
    if target.service == "route53":
        return {"path": request.path, "body": body.decode()}
    return members(target, request, body)


def _needed(target: Target, given: Members) -> Iterator[Asked]:
    here = {"aws:RequestedRegion": [target.region]}
    action = f"{PREFIXES.get(target.service, target.service)}:{target.operation}"
    known = KNOWN.get(target.service, _nothing_more)
    if is_read(target.operation) and target.service not in ("appmesh", "iam"):
        yield Asked(action, context=here)
        return
    for more, resource, context in known(target, given):
        yield Asked(more or action, resource, {**here, **context})


Need = tuple[str, str, Context]  # the action, "" for the call's own; where; what is so


def _nothing_more(target: Target, given: Members) -> Iterator[Need]:
    yield "", "*", {}


def _arn(target: Target, service: str, name: str) -> str:
    return f"arn:aws:{service}:{target.region}:{target.account}:{name}"


def _of_elb(target: Target, given: Members) -> Iterator[Need]:
    tags = _flat(given, r"Tags\.member\.\d+\.Key|TagKeys\.member\.\d+")
    context = {"aws:TagKeys": tags} if tags else {}
    if "Scheme" in given:
        context = {**context, "elasticloadbalancing:Scheme": [given["Scheme"]]}
    named = _flat(given, OF_ARNS) or [_arn(target, ELB, _new(target, given))]
    for arn in named:
        yield "", arn, {**context, **_tags_of(target, arn)}
    if target.operation.startswith("Create") and tags:
        made = {f"{ELB}:CreateAction": [target.operation], **context}
        yield f"{ELB}:AddTags", _made_at(named[0]), made


ELB = "elasticloadbalancing"
OF_ARNS = r"(Rule|Listener|LoadBalancer|TargetGroup)Arn|ResourceArns\.member\.\d+"
PARENTS = {":loadbalancer/": ":listener/", ":listener/": ":listener-rule/"}


def _new(target: Target, given: Members) -> str:
    """Return what is made by a name."""
    if target.operation == "CreateTargetGroup":
        return f"targetgroup/{given.get('Name')}/made"
    return f"loadbalancer/app/{given.get('Name')}/made"


def _made_at(arn: str) -> str:
    """Return the ARN of what is made at a load balancer or a listener."""
    for parent, child in PARENTS.items():
        if parent in arn and not arn.endswith("/made"):
            return f"{arn.replace(parent, child)}/made"
    return arn


def _flat(given: Members, names: str) -> list[str]:
    return [value for name, value in given.items() if re.fullmatch(names, name)]


def _tags_of(target: Target, arn: str) -> Context:
    """Return the tags that a rule has, as conditions ask for them."""
    if target.operation != "DeleteRule":
        return {}
    store = elbv2.store(target.account, target.region)
    tags = store.tagging_service.get_tag_dict_for_resource(arn)
    return {f"aws:ResourceTag/{key}": [value] for key, value in tags.items()}


def _of_ecs(target: Target, given: Members) -> Iterator[Need]:
    service = given.get("service") or given.get("serviceName")
    where = f"service/{given.get('cluster')}/{service}"
    if target.operation == "RegisterTaskDefinition":
        where = f"task-definition/{given['family']}:1"
    own = target.operation != "DeregisterTaskDefinition"
    resource = _arn(target, "ecs", where) if own else "*"
    yield "", resource, {}
    if given.get("tags"):
        yield "ecs:TagResource", resource, {"ecs:CreateAction": [target.operation]}
    for role in (given.get("taskRoleArn"), given.get("executionRoleArn")):
        if role:
            yield "iam:PassRole", role, {"iam:PassedToService": [TO_TASKS]}


def _of_scaling(target: Target, given: Members) -> Iterator[Need]:
    said = {
        "application-autoscaling:service-namespace": [given["ServiceNamespace"]],
        "application-autoscaling:scalable-dimension": [given["ScalableDimension"]],
    }
    yield "", _arn(target, target.service, "scalable-target/one"), said


def _of_cloud_map(target: Target, given: Members) -> Iterator[Need]:
    yield "", _arn(target, target.service, f"service/{given['ServiceId']}"), {}


MESH_PARTS = {
    "virtualServiceName": "virtualService",
    "virtualNodeName": "virtualNode",
    "virtualRouterName": "virtualRouter",
    "routeName": "route",
}


def _of_mesh(target: Target, given: Members) -> Iterator[Need]:
    """Yield what App Mesh asks: a route's change needs the nodes that it leads to."""
    if target.operation == "ListMeshes":
        yield "", "*", {}
        return
    parts = [f"{kind}/{given[key]}" for key, kind in MESH_PARTS.items() if key in given]
    mesh = "/".join([f"mesh/{given.get('meshName')}", *parts])
    yield "", given.get("resourceArn") or _arn(target, "appmesh", mesh), {}
    targets = re.findall(r"'virtualNode': '([^']+)'", str(given.get("spec", "")))
    for node in targets if "routeName" in given else ():
        yield (
            "",
            _arn(target, "appmesh", f"mesh/{given['meshName']}/virtualNode/{node}"),
            {},
        )
    if given.get("tags") and target.operation.startswith("Create"):
        yield "appmesh:TagResource", _arn(target, "appmesh", mesh), {}


def _of_names(target: Target, given: Members) -> Iterator[Need]:
    """Yield what Route 53 asks: a zone is in the path, a record's name in the body."""
    zone = given["path"].rpartition("/hostedzone/")[2].partition("/")[0]
    names = re.findall(r"<Name>([^<]+?)\.?</Name>", given["body"])
    if target.operation != "ChangeResourceRecordSets":
        yield "", "*", {}
        return
    key = "route53:ChangeResourceRecordSetsNormalizedRecordNames"
    yield "", f"arn:aws:route53:::hostedzone/{zone}", {key: names}


def _of_iam(target: Target, given: Members) -> Iterator[Need]:
    role = f"arn:aws:iam::{target.account}:role/{given.get('RoleName')}"
    yield "", role if "RoleName" in given else given.get("PolicyArn", "*"), {}


KNOWN: Mapping[str, Callable[[Target, Members], Iterator[Need]]] = {
    "elbv2": _of_elb,
    "ecs": _of_ecs,
    "application-autoscaling": _of_scaling,
    "servicediscovery": _of_cloud_map,
    "appmesh": _of_mesh,
    "iam": _of_iam,
    "route53": _of_names,
}
