"""Say who answers a name in a VPC before its private zone is asked: rules of Route 53
Resolver, and a Route 53 Profile. It only reads.

A query takes the rule of the most specific domain. A private zone is a rule of its own
name, and a forwarding rule of that very name goes before it. Source: Route 53 Developer
Guide, considerations of private hosted zones, and rules that Resolver makes by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from runbook_lib.engines.protocol import Check, Look
from runbook_lib.errors import CallError
from runbook_lib.parameters import Parameters

EVERY_NAME = "."


@dataclass(frozen=True, slots=True)
class Rule:
    """A Resolver rule that a VPC has, by itself or by a Profile.

    `kind` is `FORWARD`, `SYSTEM`, `RECURSIVE` or `DELEGATE`; `domain` ends with a dot,
    and is "" where this account may not list the rule.
    """

    id: str
    domain: str
    kind: str
    profile: str = ""


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
        if not rule.domain:
            words = f"rule {rule.id} is not listed in this account: not asked"
            hint = f"ask its owner whether it forwards {p.shift.name}"
            yield Check("WARN", f"resolver of {vpc}", words, hint)
    yield _check(p, vpc, taken(rules, p.shift.name))


def taken(rules: Iterable[Rule], name: str) -> Rule | None:
    """Return the rule that a query for a name takes, None where none covers it; of two
    of one domain the first, which is the VPC's own.
    """
    matching = [rule for rule in rules if _covers(rule.domain, f"{name}.")]
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
    there = [(each["ResolverRuleId"], "") for each in associated]
    there += [(each.id, each.profile) for each in held if ":resolver-rule/" in each.arn]
    by_id = {each["Id"]: each for each in listed}
    return [_rule(id, profile, by_id.get(id, {})) for id, profile in there]


def _rule(id: str, profile: str, said: Mapping[str, Any]) -> Rule:
    domain = said.get("DomainName", "").lower()
    return Rule(id, domain, said.get("RuleType", ""), profile)


def _read_held(look: Look, vpc: str) -> Iterator[Held]:
    """Yield what each Profile of a VPC brings."""
    pages = look.reads.pages
    listed = "list_profile_associations", "ProfileAssociations"
    resources = "list_profile_resource_associations", "ProfileResourceAssociations"
    for profile in pages("route53profiles", *listed, ResourceId=vpc):
        id = profile["ProfileId"]
        for each in pages("route53profiles", *resources, ProfileId=id):
            yield Held(id, each["ResourceArn"])
