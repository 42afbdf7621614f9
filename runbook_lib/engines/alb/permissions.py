"""Say which permissions a role needs at a load balancer's rule. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from runbook_lib.aws.naming import arn, tags
from runbook_lib.aws.permissions import Statement, reads, up_to
from runbook_lib.aws.roles import Role
from runbook_lib.engines.alb import place
from runbook_lib.engines.alb.arns import listener_of
from runbook_lib.engines.alb.building import permissions as building
from runbook_lib.engines.marks import RETIRED, ROLLED_BACK
from runbook_lib.parameters import Parameters

READS = (
    "elasticloadbalancing:DescribeListeners",
    "elasticloadbalancing:DescribeRules",
    "elasticloadbalancing:DescribeTags",
    "elasticloadbalancing:DescribeTargetGroupAttributes",
    "elasticloadbalancing:DescribeTargetGroups",
    "elasticloadbalancing:DescribeTargetHealth",
)
MODIFY = "elasticloadbalancing:ModifyRule"
CREATE = "elasticloadbalancing:CreateRule"
DELETE = "elasticloadbalancing:DeleteRule"
TAG = "elasticloadbalancing:AddTags"
UNTAG = "elasticloadbalancing:RemoveTags"
OURS = "runbook"  # the tag of what the runbook made


def permissions(p: Parameters, role: Role) -> list[Statement]:
    """Return what a role needs beside what every engine needs."""
    made = building.by_role(p) if place.is_made(p) else {}
    by_role: dict[Role, Iterable[Statement]] = {
        "reader": [reads(p, "LookAtTheRule", *READS), *made.get("reader", ())],
        "shifter": _shifter(p),
        "builder": [
            _marks(p, "MarkWhoIsRetired", RETIRED, TAG, UNTAG),
            *made.get("builder", ()),
        ],
    }
    return up_to(role, by_role)


def _shifter(p: Parameters) -> Iterator[Statement]:
    """Yield what moves weights: of one rule, and of a trial's where there is one."""
    yield Statement("MoveWeights", (MODIFY,), (_rule(p),))
    yield _marks(p, "MarkWhoRolledBack", ROLLED_BACK, TAG)
    if p.shift.trial is not None:
        yield from _trial(p)


def _marks(p: Parameters, sid: str, key: str, *actions: str) -> Statement:
    only = {"ForAllValues:StringEquals": {"aws:TagKeys": [key]}}
    return Statement(sid, actions, (_rule(p),), only)


def _rule(p: Parameters) -> str:
    """Return the rule's ARN; of one that is made, those of its load balancer's."""
    made = f"listener-rule/app/{p.alb.name}/*/*/*"
    return p.alb.rule or arn(p, "elasticloadbalancing", made)


def _trial(p: Parameters) -> Iterator[Statement]:
    rule = _rule(p)
    listener = listener_of(rule)
    rules = f"{rule.rpartition('/')[0]}/*"
    yield Statement("BeginTrial", (CREATE,), (listener,))
    made = {"elasticloadbalancing:CreateAction": "CreateRule"}
    yield Statement("TagTrial", (TAG,), (rules,), {"StringEquals": made})
    ours = {f"aws:ResourceTag/{OURS}": tags(p)[OURS]}
    yield Statement("EndTrial", (DELETE,), (rules,), {"StringEquals": ours})
