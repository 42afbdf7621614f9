"""Plan what `runbook accept` makes, asks and takes away: a load balancer of its own,
whose rule is given what nobody has seen AWS answer. Pure.

Nothing of the file's own is touched: its names are others, and its services stay where
they are. A rule's question is a change, which AWS takes or refuses.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

from runbook_lib.aws.naming import tags
from runbook_lib.engines.alb import elbv2, place
from runbook_lib.engines.alb.arns import group_key
from runbook_lib.engines.alb.building import making, removing, standing
from runbook_lib.engines.alb.rule import rewritten, weights_by_group
from runbook_lib.engines.protocol import Look, Split
from runbook_lib.errors import ParametersError, PlanError
from runbook_lib.parameters import Parameters
from runbook_lib.plan import Change, Plan

NAME = "runbook-accept"
HTTP2 = f"{NAME}-http2"
MORE = (*(f"{NAME}-{number}" for number in (3, 4, 5, 6)), HTTP2)
COST = (
    "one internal load balancer for about ten minutes, some 3 US cents for each hour "
    "begun; its requests and the reading of metrics, less than one cent"
)
GONE = "all of it is taken away at the end"
VERIFIED_BY = ""
"""The file in docs/ with what AWS has answered, once it has been asked."""

DISCARD = 9  # a port that nobody answers at
ACTIVE = "how long does it take until a new load balancer is active"
WHOLE = "with its target groups, its listener and its rule"
SPREAD = "for how long are requests answered by old weights after a write"
COUNTED = "how late is RequestCount"
ENDED = "what does App Mesh answer"
NOT_ASKED = {
    "does a health check reach targets that speak cleartext HTTP/2 alone": (
        "it takes such a target"
    ),
    "how long do callers have the former answer once the name's zone is theirs": (
        "it takes a caller in the VPC that asks for the name"
    ),
}

Groups = Mapping[str, str]
"""ARNs of target groups, by name."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of the rule, and the change that asks it."""

    asked: str
    change: Callable[[Split, Groups], Change]


# --- what is made, and taken away -----------------------------------------------------


def scratch(p: Parameters) -> Parameters:
    """Return the file's parameters with names that are the acceptance's own.

    Raises ParametersError where the file has another engine.
    """
    if p.engine != "alb":
        raise ParametersError(
            f"accept: expected a file with engine: alb; found {p.engine}",
            hint="docs/alb.md has one of ten lines",
        )
    names = {p.shift.stable: f"{NAME}-1", p.shift.canary: f"{NAME}-2"}
    own = {
        "rule": None,
        "name": NAME,
        "certificate": None,
        "holding_vpc": None,
        "deletion_protection": False,
        "target_groups": names,
    }
    said = {
        "environment": f"{p.environment}-accept",
        "protocol": "http",
        "alb": p.alb.model_copy(update=own),
    }
    return p.model_copy(update=said)


def plans() -> tuple[Callable[[Look], Plan], ...]:
    """Return how each part is planned of what is made, in its order, from a fresh look.

    A plan raises PlanError where a name is somebody else's, or subnets are of one zone.
    """
    balancer = partial(_made, step="01")
    groups = partial(_made, step="02")
    rule = partial(_made, step="03")
    return balancer, groups, _plan_more, rule


def _made(look: Look, step: str) -> Plan:
    return making.plan(look.parameters, standing.read_standing(look), step)


def plan_end(look: Look) -> Plan:
    """Plan the end of all that stands of it, what is used after what uses it.

    Raises PlanError where something has such a name and not the runbook's tags.
    """
    p, found = look.parameters, standing.read_standing(look)
    if found.foreign:
        words = f"{', '.join(sorted(found.foreign))}: somebody else's has this name"
        raise PlanError(words, hint="take it away, or rename it")
    whole = removing.plan(p, found, look.running)
    return Plan(NAME) + whole + Plan(NAME, tuple(_more_gone(look)))


def _plan_more(look: Look) -> Plan:
    return Plan(NAME, tuple(_more_groups(look)))


def _more_groups(look: Look) -> Iterator[Change]:
    p = look.parameters
    vpc = standing.read_standing(look).network.vpc
    for name in MORE:
        key = group_key(name)
        said = {
            "Name": name,
            "Protocol": "HTTP",
            "ProtocolVersion": "HTTP2" if name == HTTP2 else "HTTP1",
            "Port": DISCARD,
            "VpcId": vpc,
            "TargetType": "ip",
        }
        yield Change(
            name=key,
            verb="create",
            call=elbv2.create(elbv2.GROUP, said, tags(p)),
            reading=elbv2.group(name),
            expected=None,
            wanted={"TargetGroupName": name},
            about=(key,),
            no_inverse=GONE,
        )


def _more_gone(look: Look) -> Iterator[Change]:
    for name, arn in _groups(look, MORE).items():
        if elbv2.is_ours(look.reads, arn):
            reading = elbv2.group(name, standing.GROUP)
            key = group_key(name)
            yield removing.gone(elbv2.GROUP, key, reading, {"arn": arn})


def _groups(look: Look, names: tuple[str, ...]) -> dict[str, str]:
    groups = {}
    for name in names:
        arn = look.reads.read(elbv2.group_arn(name))
        if arn:
            groups[name] = arn
    return groups


# --- what is asked of the rule --------------------------------------------------------


def groups(look: Look) -> Groups:
    """Read the target groups that a question may name."""
    return _groups(look, (f"{NAME}-1", f"{NAME}-2", *MORE))


def _given(split: Split, weights: Mapping[str, int]) -> Change:
    """Return the change of the rule to these weights by the groups' ARNs."""
    return rewritten(split, weights, verb="try", diff=())


def _as_read(split: Split, groups: Groups) -> Change:
    """Return the change that writes back what was read, word for word."""
    state = split.require_state()
    call = elbv2.modify(state["arn"], state["actions"])
    return replace(_given(split, weights_by_group(split)), call=call)


def _weighing(first: int, second: int) -> Callable[[Split, Groups], Change]:
    def change(split: Split, groups: Groups) -> Change:
        both = {groups[f"{NAME}-1"]: first, groups[f"{NAME}-2"]: second}
        return _given(split, both)

    return change


def _six_groups(split: Split, groups: Groups) -> Change:
    six = [arn for name, arn in groups.items() if name != HTTP2]
    return _given(split, dict.fromkeys(six, 1))


def _http2_group(split: Split, groups: Groups) -> Change:
    return _given(split, {groups[f"{NAME}-1"]: 100, groups[HTTP2]: 0})


QUESTIONS = (
    Question("is a rule taken back as it was read", _as_read),
    Question("is a weight of 1000 taken", _weighing(1000, 0)),
    Question("are two weights of 0 taken", _weighing(0, 0)),
    Question("are six target groups taken in a rule", _six_groups),
    Question("is a group of HTTP/2 taken behind an HTTP listener", _http2_group),
    Question("is a weight of 999 taken", _weighing(999, 1)),
)


# --- what takes requests --------------------------------------------------------------


def address(look: Look) -> tuple[str, int]:
    """Return the name of the load balancer, and the port it listens on."""
    found = standing.read_standing(look).balancer or {"dns": ""}
    return str(found["dns"]), look.parameters.alb.port


def plan_silent_target(look: Look) -> Plan:
    """Plan a target of the canary's group that answers nobody: the VPC's router, at a
    port that is nobody's. The other group has none, so the load balancer answers 503.
    """
    p, found = look.parameters, standing.read_standing(look)
    group = found.groups[p.shift.canary].arn
    subnets = found.network.subnets
    block = look.reads.read(standing.of_subnets(subnets, "Subnets[0].CidrBlock"))
    router = str(ipaddress.ip_network(block)[1])
    silent = Change(
        name=f"target {router} of {NAME}-2",
        verb="register",
        call=elbv2.register(group, router, DISCARD),
        reading=elbv2.health(group, "TargetHealthDescriptions[].Target.Id"),
        expected=[],
        wanted=[router],
        about=(place.key(p),),
        no_inverse=GONE,
    )
    return Plan(NAME, (silent,))
