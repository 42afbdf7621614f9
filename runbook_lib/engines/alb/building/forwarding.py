"""Say who answers a name in a VPC before its private zone is asked: rules of Route 53
Resolver, and a Route 53 Profile. It only reads.

A query takes the rule of the most specific domain. A private zone is a rule of its own
name, and a forwarding rule of that very name goes before it. Source: Route 53 Developer
Guide, considerations of private hosted zones, and rules that Resolver makes by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runbook_lib.engines.protocol import Check, Look
from runbook_lib.errors import CallError
from runbook_lib.parameters import Parameters

EVERY_NAME = "."
# Of associations that answer nobody: those that did not come about, that are gone, or
# in whose place another one is asked.
NOT_IN_FORCE = ("DELETED", "FAILED", "OVERRIDDEN")
LEAVING = "DELETING"
DELEGATE = "DELEGATE"


@dataclass(frozen=True, slots=True)
class Rule:
    """A Resolver rule that a VPC has, by itself or by a Profile.

    `kind` is `FORWARD`, `SYSTEM`, `RECURSIVE` or `DELEGATE`; `domain` ends with a dot.
    Both are "" where this account may not list the rule. One that `is_leaving` answers
    until its association is gone.
    """

    id: str
    domain: str
    kind: str
    profile: str = ""
    is_leaving: bool = False


@dataclass(frozen=True, slots=True)
class Held:
    """A resource of a Route 53 Profile, by its ARN."""

    profile: str
    arn: str

    @property
    def id(self) -> str:
        """The id of the rule or of the zone."""
        return self.arn.rpartition("/")[2]


def checks(look: Look, vpc: str) -> Iterator[Check]:
    """Yield whether a VPC will ask the zone of the dialled name."""
    p, where = look.parameters, f"Route 53 Profile of {vpc}"
    held: list[Held] = []
    try:
        held = list(_read_held(look, vpc))
    except CallError as error:
        hint = f"aws route53profiles list-profile-associations --resource-id {vpc}"
        yield Check("WARN", where, f"not asked: {error.message}", hint)
    for each in held:
        if ":hostedzone/" in each.arn:
            words = f"{each.profile} brings zone {each.id}, whose name was not asked"
            hint = f"it may not be {p.shift.name}: aws route53 get-hosted-zone --id "
            yield Check("WARN", where, words, hint + each.id)
    rules = _read_rules(look, vpc, held)
    for rule in rules:
        if not rule.kind:
            words = f"rule {rule.id} is not listed in this account: not asked"
            hint = f"ask its owner whether it forwards {p.shift.name}"
            yield Check("WARN", f"resolver of {vpc}", words, hint)
    yield _check(p, vpc, taken(rules, p.shift.name))


def taken(rules: Iterable[Rule], name: str) -> Rule | None:
    """Return the rule that a query for a name takes, None where none covers it; of two
    of one domain the first, which is the VPC's own.

    A rule that delegates takes no query: an NS record of a zone leads to it.
    """
    asked = [rule for rule in rules if rule.kind != DELEGATE]
    matching = [rule for rule in asked if _covers(rule.domain, f"{name}.")]
    return max(matching, key=lambda rule: len(rule.domain), default=None)


def _covers(domain: str, name: str) -> bool:
    parent = domain and name.endswith(f".{domain}")
    return bool(parent) or domain in (EVERY_NAME, name)


def _check(p: Parameters, vpc: str, rule: Rule | None) -> Check:
    where, name = f"resolver of {vpc}", p.shift.name
    if rule is None or rule.kind != "FORWARD":
        return Check("PASS", where, f"no rule forwards {name}")
    forwards = f"rule {rule.id} forwards {rule.domain} to other DNS servers"
    said = f"--resolver-rule-id {rule.id} --region {p.region}"
    if rule.domain != f"{name}.":
        words = f"{forwards}; the zone of {name} goes first, in this VPC alone"
        hint = f"who dials it elsewhere? aws route53resolver get-resolver-rule {said}"
        return Check("WARN", where, words, hint)
    hint = f"aws route53resolver disassociate-resolver-rule --vpc-id {vpc} {said}"
    if rule.profile:
        hint = f"take it out of Profile {rule.profile}"
    if rule.is_leaving:
        hint = "it is being taken away: run 00 again in a minute"
    words = f"{forwards}: no zone of that name is asked"
    return Check("FAIL", where, words, f"{hint}; or alb.holding_vpc: null")


def _read_rules(look: Look, vpc: str, held: list[Held]) -> list[Rule]:
    """Return the rules of a VPC, its own first."""
    pages, asked = look.reads.pages, {"Name": "VPCId", "Values": [vpc]}
    listed = pages("route53resolver", "list_resolver_rules", "ResolverRules")
    associated = pages(
        "route53resolver",
        "list_resolver_rule_associations",
        "ResolverRuleAssociations",
        Filters=[asked],
    )
    by_id = {each["Id"]: each for each in listed}
    return rules_of(associated, held, by_id)


def rules_of(
    associated: Iterable[Mapping[str, Any]],
    held: Iterable[Held],
    by_id: Mapping[str, Mapping[str, Any]],
) -> list[Rule]:
    """Return the rules that answer, by a VPC's associations as Resolver lists them, by
    what its Profiles bring, and by the rules that this account may list.
    """
    own = [
        _rule(each["ResolverRuleId"], by_id, is_leaving=each.get("Status") == LEAVING)
        for each in _in_force(associated)
    ]
    brought = [
        _rule(each.id, by_id, profile=each.profile)
        for each in held
        if ":resolver-rule/" in each.arn
    ]
    return own + brought


def _rule(
    id: str,
    by_id: Mapping[str, Mapping[str, Any]],
    *,
    profile: str = "",
    is_leaving: bool = False,
) -> Rule:
    said = by_id.get(id, {})
    domain = said.get("DomainName", "").lower()
    return Rule(id, domain, said.get("RuleType", ""), profile, is_leaving)


def _in_force(associated: Iterable[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """Return the associations that answer, or are about to."""
    return [each for each in associated if each.get("Status") not in NOT_IN_FORCE]


def _read_held(look: Look, vpc: str) -> Iterator[Held]:
    """Yield what each Profile of a VPC brings."""
    pages = look.reads.pages
    listed = "list_profile_associations", "ProfileAssociations"
    resources = "list_profile_resource_associations", "ProfileResourceAssociations"
    for profile in _in_force(pages("route53profiles", *listed, ResourceId=vpc)):
        id = profile["ProfileId"]
        brought = pages("route53profiles", *resources, ProfileId=id)
        for each in _in_force(brought):
            yield Held(id, each["ResourceArn"])
