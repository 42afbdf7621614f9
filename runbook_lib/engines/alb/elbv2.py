"""Say how the load balancer's API is read, and which of its calls change something.

`read_rules` and `read_tags` read; all others are pure. This alone names calls of
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

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from runbook_lib.aws.reads import Reads
from runbook_lib.plan import Call, Reading

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
RULE = (
    "{arn: RuleArn, priority: Priority, default: IsDefault, "
    "conditions: Conditions, transforms: Transforms, actions: Actions, "
    f"groups: {GROUPS}, others: {OTHERS}, "
    "exact: to_string([Conditions, Transforms, Actions])}"
)
NO_RULE = ("RuleNotFound", "ListenerNotFound", "LoadBalancerNotFound")
NO_GROUP = ("TargetGroupNotFound",)
HEALTH = "TargetHealthDescriptions[].TargetHealth.State"
HEALTHY = f"length({HEALTH} | [?@=='healthy'])"


# --- reading --------------------------------------------------------------------------


def rule(arn: str) -> Reading:
    """Return how a rule is read."""
    call = Call("elbv2", "describe_rules", {"RuleArns": [arn]})
    return Reading(call, f"Rules[0].{RULE}", NO_RULE)


def rule_at(listener: Reading, priority: int) -> Reading:
    """Return how the rule of a listener is read that has a priority."""
    return rules(listener, f"Rules[?Priority=='{priority}'] | [0].{RULE}")


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


def group(name: str, query: str = "TargetGroups[0]") -> Reading:
    """Return how a target group, or something of it, is read by its name."""
    call = Call("elbv2", "describe_target_groups", {"Names": [name]})
    return Reading(call, query, NO_GROUP)


def group_arn(name: str) -> Reading:
    """Return how a target group's ARN is read by its name."""
    return group(name, "TargetGroups[0].TargetGroupArn")


def attributes(group: str | Reading, query: str = "Attributes") -> Reading:
    """Return how a target group's attributes are read."""
    call = Call("elbv2", "describe_target_group_attributes", {"TargetGroupArn": group})
    return Reading(call, query, NO_GROUP)


def balancer_attributes(balancer: Reading, query: str) -> Reading:
    """Return how a load balancer's attributes are read."""
    arn = {"LoadBalancerArn": balancer}
    call = Call("elbv2", "describe_load_balancer_attributes", arn)
    return Reading(call, query, NO_RULE)


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


def groups_of(rule: Mapping[str, Any]) -> set[str]:
    """Return the ARNs of the target groups that a rule forwards to."""
    found = set()
    for action in rule["Actions"]:
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


def create(said: Mapping[str, Any]) -> Call:
    """Return the call that makes a rule."""
    return Call("elbv2", "create_rule", said)


def delete(arn: str) -> Call:
    """Return the call that removes a rule."""
    return Call("elbv2", "delete_rule", {"RuleArn": arn})


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
