"""Say which calls on a rule an undo may make. A record is only data: it may have been
written by anybody.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runbook_lib.engines.alb.arns import group_name
from runbook_lib.engines.alb.elbv2 import groups_of
from runbook_lib.engines.alb.rule import beside_weights
from runbook_lib.engines.marks import RETIRED, ROLLED_BACK
from runbook_lib.engines.protocol import Look, Undoable
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
    return bool(
        _is_rule(p, given.get("RuleArn")) and {*given} == {"RuleArn", "Actions"}
    )


def _of_its_tags(p: Parameters, given: Arguments) -> bool:
    keys = {*given.get("TagKeys", ()), *(tag["Key"] for tag in given.get("Tags", ()))}
    return bool(
        all(_is_rule(p, arn) for arn in given.get("ResourceArns", ()))
        and keys
        and keys <= {RETIRED, ROLLED_BACK}
    )


undoable = Undoable(
    writes={
        ("elbv2", "modify_rule"): _of_rule,
        ("elbv2", "add_tags"): _of_its_tags,
        ("elbv2", "remove_tags"): _of_its_tags,
    },
    reads=frozenset(
        {
            ("elbv2", "describe_rules"),
            ("elbv2", "describe_tags"),
            ("elbv2", "describe_target_health"),
        }
    ),
)


def foreign(look: Look, inverse: Inverse) -> str:
    """Say why an undo may not write a rule's actions: more than weights would
    change; "" where it may.
    """
    call = inverse.call
    if call.operation != "modify_rule" or not isinstance(call.arguments, Mapping):
        return ""
    live = (look.split.state or {}).get("actions", [])
    wanted = call.arguments["Actions"]
    if beside_weights(wanted) != beside_weights(live):
        return "elbv2 modify_rule would change more than weights"
    p = look.parameters
    own = {p.target_group_of(service) for service in p.services}
    known = own | {group_name(arn) for arn in groups_of({"Actions": live})}
    unknown = sorted(
        {group_name(arn) for arn in groups_of({"Actions": wanted})} - known
    )
    if unknown:
        return (
            "elbv2 modify_rule would send requests to target group "
            f"{', '.join(unknown)}, which nobody names"
        )
    return ""
