"""Say which calls on a rule an undo may make. A record is only data: it may have been
written by anybody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from runbook_lib.engines.alb import elbv2
from runbook_lib.engines.alb.arns import group_name
from runbook_lib.engines.alb.building.standing import read_standing, zone_by
from runbook_lib.engines.alb.elbv2 import BALANCER, GROUP, KINDS, Kind, groups_of
from runbook_lib.engines.alb.rule import beside_weights
from runbook_lib.engines.marks import RETIRED, ROLLED_BACK
from runbook_lib.engines.protocol import Look, Permitted, Undoable
from runbook_lib.parameters import Parameters
from runbook_lib.plan import Inverse

Arguments = Mapping[str, Any]


def _is_rule(p: Parameters, arn: Any) -> bool:
    """Say whether this is the rule under shift, or one of the load balancer that the
    runbook makes.
    """
    if p.alb.rule is not None:
        return bool(arn == p.alb.rule)
    return isinstance(arn, str) and f":listener-rule/app/{p.alb.name}/" in arn


def _of_rule(p: Parameters, given: Arguments) -> bool:
    return _is_rule(p, given.get("RuleArn")) and set(given) == {"RuleArn", "Actions"}


def _of_its_tags(p: Parameters, given: Arguments) -> bool:
    keys = set(given.get("TagKeys", ()))
    keys |= {tag["Key"] for tag in given.get("Tags", ())}
    if not keys or not keys <= {RETIRED, ROLLED_BACK}:
        return False
    return all(_is_rule(p, arn) for arn in given.get("ResourceArns", ()))


def _of_made(kind: Kind) -> Permitted:
    """Return whether a call's one ARN is of a thing of this kind that the runbook
    makes.
    """

    def is_ours(p: Parameters, given: Arguments) -> bool:
        arn = given.get(kind.arn)
        if p.alb.rule is not None or not isinstance(arn, str):
            return False
        groups = [p.target_group_of(service) for service in p.shift.versions]
        names = [f"app/{p.alb.name}", *groups]
        return any(f":{kind.resource}/{name}/" in arn for name in names)

    return is_ours


def _of_zone(p: Parameters, given: Arguments) -> bool:
    """Whether it is about the dialled name; `foreign` looks whose zone it is."""
    if p.alb.holding_vpc is None:
        return False
    batch = given.get("ChangeBatch") or {"Changes": []}
    records = [change["ResourceRecordSet"]["Name"] for change in batch["Changes"]]
    return all(name == f"{p.shift.name}." for name in records)


_DELETIONS = {("elbv2", f"delete_{kind.called}"): _of_made(kind) for kind in KINDS}
_SETTINGS = {
    ("elbv2", f"modify_{kind.called}_attributes"): _of_made(kind)
    for kind in (BALANCER, GROUP)
}

undoable = Undoable(
    writes={
        **_DELETIONS,
        **_SETTINGS,
        ("elbv2", "modify_rule"): _of_rule,
        ("elbv2", "add_tags"): _of_its_tags,
        ("elbv2", "remove_tags"): _of_its_tags,
        ("route53", "change_resource_record_sets"): _of_zone,
        ("route53", "delete_hosted_zone"): _of_zone,
        ("route53", "disassociate_vpc_from_hosted_zone"): _of_zone,
    },
    reads=frozenset(
        {
            ("elbv2", "describe_listeners"),
            ("elbv2", "describe_load_balancer_attributes"),
            ("elbv2", "describe_load_balancers"),
            ("elbv2", "describe_rules"),
            ("elbv2", "describe_tags"),
            ("elbv2", "describe_target_group_attributes"),
            ("elbv2", "describe_target_groups"),
            ("elbv2", "describe_target_health"),
            ("route53", "get_change"),
            ("route53", "get_hosted_zone"),
            ("route53", "list_hosted_zones_by_name"),
            ("route53", "list_resource_record_sets"),
        }
    ),
)


def foreign(look: Look, inverse: Inverse) -> str:
    """Say why an undo may not make a call: it is about a zone of somebody else, or
    would change more of a rule than weights; "" where it may.
    """
    call = inverse.call
    if not isinstance(call.arguments, Mapping):
        return ""
    if call.service == "route53":
        return _foreign_zone(look, call.arguments)
    if call.operation == "modify_rule":
        return _foreign_actions(look, call.arguments)
    return ""


def _foreign_zone(look: Look, given: Arguments) -> str:
    named = given.get("HostedZoneId") or given.get("Id")
    own = (read_standing(look).zone or {}).get("id", named)
    if named == own or look.reads.read(zone_by(str(named))) is None:
        return ""  # one that an earlier undo has deleted is nobody's
    return f"zone {named} is not the runbook's"


def _foreign_actions(look: Look, given: Arguments) -> str:
    state = look.split.state
    if state is None and look.reads.read(elbv2.rule(given["RuleArn"])) is None:
        return ""  # by an undo that was cut short: nothing is written there any more
    live = state["actions"] if state else []
    wanted = given["Actions"]
    if beside_weights(wanted) != beside_weights(live):
        return "elbv2 modify_rule would change more than weights"
    p = look.parameters
    known = {p.target_group_of(service) for service in p.services} | _names_in(live)
    unknown = ", ".join(sorted(_names_in(wanted) - known))
    if unknown:
        words = f"would send requests to target group {unknown}, which nobody names"
        return f"elbv2 modify_rule {words}"
    return ""


def _names_in(actions: Sequence[Arguments]) -> set[str]:
    """Return the names of the groups that actions forward to."""
    return {group_name(arn) for arn in groups_of(actions)}
