"""Say how the load balancer's API is read, and which of its calls change something.

`read_` functions and `is_ours` read; all others are pure. This alone makes calls of
Elastic Load Balancing.

The state of a rule is read as follows: `groups` has its targets in the order of their
ARNs, each with its weight (1 where none is written, which is what AWS takes then);
`others` is what its actions say beside groups; `actions`, `conditions` and `transforms`
are as AWS has them, to be written back; `exact` is all of them as one text.

The API gives a rule no version. A change expects `exact` as it was read, so that
nothing at all may be different just before the write. What nobody can see: a write by
somebody else between that last reading and our call, and one of theirs that leaves
exactly our weights behind. The first is overwritten, in silence: AWS CloudTrail's
ModifyRule shows it later. Somebody's write between our call and the reading after it is
seen: it is not what was written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from runbook_lib.aws import naming
from runbook_lib.aws.reads import Reads
from runbook_lib.plan import Answer, Call, Reading

GROUPS = (
    "sort_by(Actions[].ForwardConfig.TargetGroups[].{group: TargetGroupArn, weight: "
    "Weight || `1`}, &group)"
)
OTHERS = (
    "Actions[].{type: Type, order: Order, "
    "login: AuthenticateOidcConfig.{issuer: Issuer, client: ClientId}, pool: "
    "AuthenticateCognitoConfig, "
    "token: JwtValidationConfig, redirect: RedirectConfig, answer: FixedResponseConfig}"
)
STATE = (
    "{arn: RuleArn, priority: Priority, default: IsDefault, "
    "conditions: Conditions, transforms: Transforms, actions: Actions, "
    f"groups: {GROUPS}, others: {OTHERS}, "
    "exact: to_string([Conditions, Transforms, Actions])}"
)
NO_RULE = ("RuleNotFound", "ListenerNotFound", "LoadBalancerNotFound")
NO_GROUP = ("TargetGroupNotFound",)
HEALTH = "TargetHealthDescriptions[].TargetHealth.State"
HEALTHY = f"length({HEALTH} | [?@=='healthy'])"


@dataclass(frozen=True, slots=True)
class Kind:
    """What the API calls one kind of a load balancer's things.

    `called` is its name in operations and `resource` in ARNs, `arn` the parameter of
    its ARN, `listed` the list of them in an answer, `absent` the errors that say that
    there is none. `settings` are the attributes that the runbook sets, by what they are
    called here.
    """

    called: str
    resource: str
    arn: str
    listed: str
    absent: tuple[str, ...] = NO_RULE
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def first_arn(self) -> str:
        """The query for the ARN of the one thing that an answer is about."""
        return f"{self.listed}[0].{self.arn}"


BALANCER = Kind(
    "load_balancer",
    "loadbalancer",
    "LoadBalancerArn",
    "LoadBalancers",
    settings={
        "idle": "idle_timeout.timeout_seconds",
        "host": "routing.http.preserve_host_header.enabled",
        "protected": "deletion_protection.enabled",
    },
)
GROUP = Kind(
    "target_group",
    "targetgroup",
    "TargetGroupArn",
    "TargetGroups",
    absent=NO_GROUP,
    settings={
        "delay": "deregistration_delay.timeout_seconds",
        "sticky": "stickiness.enabled",
    },
)
LISTENER = Kind("listener", "listener", "ListenerArn", "Listeners")
RULE = Kind("rule", "listener-rule", "RuleArn", "Rules")
KINDS = (BALANCER, GROUP, LISTENER, RULE)


# --- reading --------------------------------------------------------------------------


def rule(arn: str) -> Reading:
    """Return how a rule is read."""
    call = Call("elbv2", "describe_rules", {"RuleArns": [arn]})
    return Reading(call, f"Rules[0].{STATE}", NO_RULE)


def rule_at(listener: Reading, priority: int) -> Reading:
    """Return how the rule of a listener is read that has a priority."""
    return rules(listener, f"Rules[?Priority=='{priority}'] | [0].{STATE}")


def balancer(name: str, query: str) -> Reading:
    """Return how a load balancer is read by its name."""
    call = Call("elbv2", "describe_load_balancers", {"Names": [name]})
    return Reading(call, query, NO_RULE)


def listener(balancer: str | Reading, port: int, query: str) -> Reading:
    """Return how the listener of a load balancer is read that listens on a port."""
    call = Call("elbv2", "describe_listeners", {"LoadBalancerArn": balancer})
    return Reading(call, f"Listeners[?Port==`{port}`] | [0].{query}", NO_RULE)


def rules(listener: str | Reading, query: str) -> Reading:
    """Return how something of a listener's rules is read."""
    call = Call("elbv2", "describe_rules", {"ListenerArn": listener})
    return Reading(call, query, NO_RULE)


def tags(arn: str) -> Reading:
    """Return how all tags of a thing are read."""
    call = Call("elbv2", "describe_tags", {"ResourceArns": [arn]})
    return Reading(call, "TagDescriptions[0].Tags", NO_RULE)


def read_tags(reads: Reads, arn: str) -> dict[str, str]:
    """Read the tags of a thing; none where it is not there."""
    return {tag["Key"]: tag["Value"] for tag in reads.read(tags(arn)) or ()}


def is_ours(reads: Reads, arn: str) -> bool:
    """Read whether a thing carries the runbook's tags of this environment."""
    return naming.tags(reads.parameters).items() <= read_tags(reads, arn).items()


def group(name: str, query: str = "TargetGroups[0]") -> Reading:
    """Return how a target group, or something of it, is read by its name."""
    call = Call("elbv2", "describe_target_groups", {"Names": [name]})
    return Reading(call, query, NO_GROUP)


def group_arn(name: str) -> Reading:
    """Return how a target group's ARN is read by its name."""
    return group(name, GROUP.first_arn)


def attributes(kind: Kind, arn: str | Reading, query: str = "Attributes") -> Reading:
    """Return how a thing's attributes are read."""
    call = Call("elbv2", f"describe_{kind.called}_attributes", {kind.arn: arn})
    return Reading(call, query, kind.absent)


def settings(kind: Kind, arn: Reading) -> Reading:
    """Return how what the runbook sets of a thing is read, by its names here."""
    values = [
        f"{name}: Attributes[?Key=='{attribute}'].Value | [0]"
        for name, attribute in kind.settings.items()
    ]
    return attributes(kind, arn, f"{{{', '.join(values)}}}")


def health(arn: str, query: str = HEALTH) -> Reading:
    """Return how the states of a target group's targets are read."""
    call = Call("elbv2", "describe_target_health", {"TargetGroupArn": arn})
    return Reading(call, query, NO_GROUP)


def read_rules(session: Reads, load_balancer: str) -> Iterator[dict[str, Any]]:
    """Read every rule of a load balancer, the listeners' default ones too."""
    listed = "elbv2", "describe_listeners", "Listeners"
    for listener in session.pages(*listed, LoadBalancerArn=load_balancer):
        arn = listener["ListenerArn"]
        yield from session.pages("elbv2", "describe_rules", "Rules", ListenerArn=arn)


def read_groups(session: Reads) -> list[dict[str, Any]]:
    """Read every target group of the account and region."""
    return session.pages("elbv2", "describe_target_groups", GROUP.listed)


def groups_of(actions: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return the ARNs of the target groups that a rule's actions forward to."""
    found = set()
    for action in actions:
        weighted = (action.get("ForwardConfig") or {}).get("TargetGroups") or ()
        found |= {group["TargetGroupArn"] for group in weighted}
        if action.get("TargetGroupArn"):
            found.add(action["TargetGroupArn"])
    return found


# --- changing -------------------------------------------------------------------------


def modify(arn: str, actions: Sequence[Mapping[str, Any]]) -> Call:
    """Return the call that gives a rule these actions; what it says
    beside them stays.
    """
    return Call("elbv2", "modify_rule", {"RuleArn": arn, "Actions": list(actions)})


def create(kind: Kind, said: Mapping[str, Any], labels: Mapping[str, str]) -> Call:
    """Return the call that makes a thing with these tags."""
    own = [{"Key": key, "Value": value} for key, value in labels.items()]
    return Call("elbv2", f"create_{kind.called}", {**said, "Tags": own})


def delete(kind: Kind, arn: str | Answer) -> Call:
    """Return the call that deletes a thing."""
    return Call("elbv2", f"delete_{kind.called}", {kind.arn: arn})


def set_values(kind: Kind, arn: str | Answer, values: Mapping[str, str]) -> Call:
    """Return the call that sets what the runbook sets of a thing, by its names here."""
    attributes = [
        {"Key": attribute, "Value": values[name]}
        for name, attribute in kind.settings.items()
    ]
    said = {kind.arn: arn, "Attributes": attributes}
    return Call("elbv2", f"modify_{kind.called}_attributes", said)


def register(group: str, target: str, port: int) -> Call:
    """Return the call that makes an address a target of a group."""
    targets = [{"Id": target, "Port": port}]
    said = {"TargetGroupArn": group, "Targets": targets}
    return Call("elbv2", "register_targets", said)


@dataclass(frozen=True, slots=True)
class Tags:
    """The tags of one thing, as `marks` uses them."""

    arn: str

    def reading(self, key: str) -> Reading:
        """Return how one tag's value is read."""
        every = tags(self.arn)
        return replace(every, query=f"{every.query}[?Key=='{key}'].Value | [0]")

    def add(self, key: str, value: str) -> Call:
        """Return the call that gives the thing one tag."""
        said = [{"Key": key, "Value": value}]
        return Call("elbv2", "add_tags", {"ResourceArns": [self.arn], "Tags": said})

    def remove(self, key: str) -> Call:
        """Return the call that takes one tag from the thing."""
        said = {"ResourceArns": [self.arn], "TagKeys": [key]}
        return Call("elbv2", "remove_tags", said)
