"""What 01 to 04 make of a load balancer and 90 takes away again, on the local control plane."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from runbook_lib import (
    apply,
    check_environment,
    clear,
    evidence,
    evidence_for_shift,
    plan_undo,
    record,
    survey,
)
from runbook_lib.aws.naming import tags
from runbook_lib.aws.session import Session
from runbook_lib.engines.alb import engine as alb
from runbook_lib.engines.alb.building.certificate import wrong
from runbook_lib.engines.alb.building.forwarding import Held, Rule, rules_of, taken
from runbook_lib.engines.alb.building.permissions import by_role as permissions_of
from runbook_lib.errors import GateError, PlanError
from runbook_lib.local.control_plane.aliases import Zones, zones
from runbook_lib.local.control_plane.certificates import hold
from runbook_lib.local.control_plane.permissions import GUARDS, allow_only, allows
from runbook_lib.local.control_plane.propagation import PROPAGATION, Propagation
from runbook_lib.shift import shift_traffic
from tests.alb_scene import REGION, account, clients, deploy, network
from tests.plain_alb import FILE
from tests.scenes import NUMBERS, other, reopen, settle, somebody, writes
from tests.test_permissions import policy, without

NAME = "shop.test"
MADE = {"01": "01_create_load_balancer", "02": "02_create_target_groups", "03": "03_create_rule_and_name"}


def open_bare(shift: dict[str, Any] | None = None, **said: Any) -> Session:
    """Open a session on two services that are behind no load balancer; `said` is of `alb`."""
    cluster = f"bare-{next(NUMBERS)}"
    ecs, ec2 = other(account(), "ecs"), other(account(), "ec2")
    ecs.create_cluster(clusterName=cluster)
    for name in ("web", "web-v2"):
        deploy(cluster, name)
    settle()
    holding = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    values = {
        **FILE,
        "environment": cluster,
        "account_id": account(),
        "region": REGION,
        "cluster": cluster,
        "services": {name: {"task_definition": f"{cluster}-{name}", "ports": [80]} for name in ("web", "web-v2")},
        "shift": {**FILE["shift"], "name": f"{cluster}.{NAME}", **(shift or {})},
        "alb": {
            "name": cluster,
            "holding_vpc": holding,
            "deregistration_delay_seconds": 0,
            "target_groups": {name: f"{cluster}-{name}" for name in ("web", "web-v2")},
            **said,
        },
        "records": str(record.root() / cluster),
    }
    return reopen(values, shared=clients())


def do(session: Session, *numbers: str) -> list[Any]:
    """Do what notebooks do, each with its evidence."""
    done = []
    for number in numbers:
        session.notebook = MADE.get(number, "04_attach_services")
        found = survey(session)
        plan = found.plan_resources(number)
        done += apply(session, clear(plan, *evidence(found, plan)))
    return done


def take_away(session: Session) -> list[Any]:
    session.notebook = "90_remove_load_balancer"
    plan = survey(session).plan_removal()
    return apply(session, clear(replace(plan, needs=())))


def undo(session: Session, notebook: str = "") -> list[Any]:
    plan = plan_undo(session, notebook=notebook)
    return apply(session, clear(replace(plan, needs=())))


def there(session: Session) -> set[str]:
    """Return the keys of what stands, as a fresh look finds it."""
    return {key for key, state in survey(session).live.items() if state}


def vpcs(session: Session) -> list[str]:
    zone = survey(session).live[f"zone {session.parameters.shift.name}"]
    return list(zone["vpcs"]) if zone else []


def groups_of(session: Session, service: str) -> list[str]:
    ecs = somebody(session, "ecs")
    found = ecs.describe_services(cluster=session.parameters.cluster, services=[service])["services"][0]
    return [each["targetGroupArn"].split("/")[-2] for each in found["loadBalancers"]]


def test_what_is_there_after_01_to_04_and_again_nothing_is_written() -> None:
    session = open_bare()
    p = session.parameters
    do(session, "01", "02", "03", "04")
    assert there(session) == {*survey(session).live}
    split = survey(session).split
    assert (split.written, split.key) == ({"web": 100, "web-v2": 0}, f"rule {p.alb.name}/100")
    assert vpcs(session) == sorted([p.alb.holding_vpc or "", network()[0]])
    assert {name: groups_of(session, name) for name in p.services} == {n: [f"{p.cluster}-{n}"] for n in p.services}
    before = writes(session)
    assert do(session, "01", "02", "03", "04") == []
    assert writes(session) == before


def test_the_load_balancer_is_internal_protected_and_passes_on_the_host_that_was_asked_for() -> None:
    session = open_bare()
    do(session, "01")
    elbv2 = somebody(session, "elbv2")
    made = elbv2.describe_load_balancers(Names=[session.parameters.alb.name])["LoadBalancers"][0]
    said = elbv2.describe_load_balancer_attributes(LoadBalancerArn=made["LoadBalancerArn"])["Attributes"]
    attributes = {each["Key"]: each["Value"] for each in said}
    assert made["Scheme"] == "internal"
    assert attributes["deletion_protection.enabled"] == "true"
    assert attributes["routing.http.preserve_host_header.enabled"] == "true"


def test_callers_are_led_to_the_load_balancer_last_and_back_in_one_call() -> None:
    session = open_bare()
    changes = [made.change.title for made in do(session, "01", "02", "03", "04")]
    assert changes[-1] == f"switch name {session.parameters.shift.name}"
    assert [title.split()[-1] for title in changes[-3:-1]] == ["web-v2", "web"]
    back = undo(session, "04_attach_services")
    assert back[0].change.call.operation == "disassociate_vpc_from_hosted_zone"
    assert [wait.lasting_seconds for wait in back[0].change.waits] == [60]  # an alias's TTL
    assert vpcs(session) == [session.parameters.alb.holding_vpc]
    assert groups_of(session, "web") == []


def test_undo_takes_all_of_it_away() -> None:
    session = open_bare()
    do(session, "01", "02", "03", "04")
    undo(session)
    assert there(session) == set()
    assert groups_of(session, "web-v2") == []


def test_90_takes_all_of_it_away_the_name_first_and_01_to_04_make_it_again() -> None:
    session = open_bare()
    do(session, "01", "02", "03", "04")
    gone = [made.change.call.operation for made in take_away(session)]
    assert gone[0] == "disassociate_vpc_from_hosted_zone"
    assert gone[-1] == "delete_hosted_zone"
    assert there(session) == set()
    assert take_away(session) == []
    do(session, "01", "02", "03", "04")
    assert there(session) == {*survey(session).live}


def test_undo_names_what_90_took_away_for_good_and_undoes_the_rest() -> None:
    session = open_bare()
    do(session, "01", "02", "03", "04")
    gone = {made.change.name for made in take_away(session)}
    of_90, whole = plan_undo(session, notebook="90_remove_load_balancer"), plan_undo(session)
    ((names, _, again),) = [words.rpartition(": ") for words in of_90.stays]
    assert again == "01 to 04 make it again"
    assert {*names.split(", ")} == gone - {f"name {session.parameters.shift.name}"}  # it goes with its zone
    assert len(whole.stays[0]) == len(of_90.stays[0])  # the same, in another order
    assert (of_90.changes, whole.changes) == ((), ())
    do(session, "01", "02", "03", "04")
    assert plan_undo(session).stays == ()


def released(session: Session, stable: str, canary: str) -> Session:
    """Open a session on the file of the next release, whose service is there, and whose former canary is stable."""
    cluster = session.parameters.cluster
    deploy(cluster, canary)
    settle()
    values = {
        **session.given,
        "environment": session.parameters.environment,
        "services": {name: {"task_definition": f"{cluster}-{name}", "ports": [80]} for name in (stable, canary)},
        "shift": {**session.given["shift"], "stable": stable, "canary": canary},
        "alb": {**session.given["alb"], "target_groups": {name: f"{cluster}-{name}" for name in (stable, canary)}},
    }
    return reopen(values, shared=clients())


def shift_and_retire(session: Session) -> None:
    session.notebook = "05_shift_traffic"
    list(shift_traffic(session, *evidence_for_shift(survey(session))))
    session.notebook = "06_tear_down_service_b"
    apply(session, clear(replace(survey(session).plan_retirement(), needs=())))


def test_three_releases_in_a_row_take_the_same_notebooks_and_90_names_what_is_left_of_the_first() -> None:
    session = open_bare(shift={"steps": [100]})
    cluster, rule = session.parameters.cluster, ""
    for stable, canary in (("web", "web-v2"), ("web-v2", "web-v3"), ("web-v3", "web-v4")):
        session = released(session, stable, canary) if stable != "web" else session
        do(session, "01", "02", "03", "04")
        assert survey(session).split.written == {stable: 100, canary: 0}
        assert do(session, "01", "02", "03", "04") == []
        shift_and_retire(session)
        assert survey(session).split.written == {canary: 100}
        rule = rule or survey(session).split.state["arn"]
    assert survey(session).split.state["arn"] == rule
    session.notebook = "90_remove_load_balancer"
    stays = survey(session).plan_removal().stays
    assert [words.split(",")[0] for words in stays] == [f"target group {cluster}-web", f"target group {cluster}-web-v2"]
    take_away(session)
    assert there(session) == set()


def test_what_lets_a_release_into_the_rule_is_undone() -> None:
    session = open_bare(shift={"steps": [100]})
    do(session, "01", "02", "03", "04")
    shift_and_retire(session)
    session.finish("done")
    second = released(session, "web-v2", "web-v3")
    (joined,) = survey(second).plan_resources("03").changes  # only shown: 02 has not made the group
    assert [d.field for d in joined.diff] == [f"target group {session.parameters.cluster}-web-v3"]
    do(second, "01", "02", "03", "04")
    undo(second)
    assert survey(second).split.written == {"web-v2": 100}
    assert groups_of(second, "web-v3") == []


def test_a_builder_may_make_it_and_take_it_away_and_needs_each_statement() -> None:
    session = open_bare()
    builders = policy(session.parameters, "builder")
    guard = allow_only(account(), builders)
    try:
        check_environment(survey(session))
        do(session, "01", "02", "03", "04")
        undo(session)
        do(session, "01", "02", "03", "04")
        take_away(session)
    finally:
        GUARDS.clear()
    for statement in permissions_of(session.parameters)["builder"]:
        left = without(builders, statement.sid)
        lacking = {each.action for each in guard.asked if not allows(left, each)}
        assert lacking or statement.actions == ("ec2:DescribeVpcs",), statement.sid
        assert lacking <= {*statement.actions}


def test_a_rule_is_not_taken_away_while_callers_are_led_to_it() -> None:
    session = open_bare()
    do(session, "01", "02", "03", "04")
    plan = plan_undo(session, notebook=MADE["03"])
    with pytest.raises(GateError, match="04_attach_services"):
        apply(session, clear(plan))


def test_an_earlier_notebook_that_was_not_applied_stops_a_later_one() -> None:
    session = open_bare()
    with pytest.raises(GateError, match=r"load balancer .* \(01_create_load_balancer\)"):
        do(session, "03")


def test_without_a_holding_vpc_the_name_is_left_alone() -> None:
    session = open_bare(holding_vpc=None)
    do(session, "01", "02", "03", "04")
    assert not [key for key in there(session) if key.startswith(("zone", "record"))]
    assert groups_of(session, "web") == [f"{session.parameters.cluster}-web"]


def test_one_zone_is_refused_before_anything_is_made() -> None:
    vpc, (first, _) = network()
    where = {"VpcId": vpc, "CidrBlock": "10.0.7.0/24", "AvailabilityZone": f"{REGION}a"}
    same = other(account(), "ec2").create_subnet(**where)["Subnet"]["SubnetId"]
    session = open_bare(subnets=[first, same])
    with pytest.raises(PlanError, match="expected subnets in two zones at least; found us-west-2a, us-west-2a"):
        do(session, "01")


def group_of_somebody(name: str) -> str:
    asked = {"Protocol": "HTTP", "Port": 80, "VpcId": network()[0], "TargetType": "ip"}
    (made,) = other(account(), "elbv2").create_target_group(Name=name, **asked)["TargetGroups"]
    return str(made["TargetGroupArn"])


def tagged(session: Session, arn: str) -> None:
    """Give something the tags of the runbook's."""
    labels = [{"Key": key, "Value": value} for key, value in tags(session.parameters).items()]
    other(account(), "elbv2").add_tags(ResourceArns=[arn], Tags=labels)


def balancer_of(session: Session, name: str) -> str:
    (made,) = somebody(session, "elbv2").describe_load_balancers(Names=[name])["LoadBalancers"]
    return str(made["LoadBalancerArn"])


def test_names_of_somebody_else_are_refused_before_anything_is_made() -> None:
    session = open_bare()
    cluster, elbv2 = session.parameters.cluster, other(account(), "elbv2")
    group = group_of_somebody(f"{cluster}-web")
    with pytest.raises(PlanError, match=f"target group {cluster}-web: expected one that carries the runbook's tags"):
        do(session, "01")
    elbv2.delete_target_group(TargetGroupArn=group)
    elbv2.create_load_balancer(Name=cluster, Scheme="internal", Subnets=network()[1])
    with pytest.raises(PlanError, match=f"load balancer {cluster}: expected one that carries the runbook's tags"):
        do(session, "01")


def test_a_group_behind_another_load_balancer_and_a_taken_priority_are_refused_by_name() -> None:
    first, second = open_bare(), open_bare()
    do(first, "01", "02", "03")
    elbv2 = other(account(), "elbv2")
    theirs = group_of_somebody(f"{second.parameters.cluster}-web")
    tagged(second, theirs)
    (listener,) = elbv2.describe_listeners(LoadBalancerArn=balancer_of(first, first.parameters.cluster))["Listeners"]
    path = [{"Field": "path-pattern", "PathPatternConfig": {"Values": ["/theirs"]}}]
    forward = [{"Type": "forward", "TargetGroupArn": theirs}]
    rule = {"ListenerArn": listener["ListenerArn"], "Conditions": path, "Actions": forward}
    (made,) = elbv2.create_rule(Priority=7, **rule)["Rules"]
    with pytest.raises(PlanError, match=r"-web: expected no other load balancer's; found arn:"):
        do(second, "01", "02")
    elbv2.delete_rule(RuleArn=made["RuleArn"])
    elbv2.delete_rule(RuleArn=survey(first).split.state["arn"])
    elbv2.create_rule(Priority=100, **rule)
    words = f"rule {first.parameters.cluster}/100: expected one that forwards to target group"
    with pytest.raises(PlanError, match=words):
        do(first, "03")


def test_only_what_it_makes_needs_its_notebooks() -> None:
    assert alb.steps(open_bare().parameters) == ("01", "02", "03", "04", "05", "06", "90")


def failing(session: Session) -> list[str]:
    return [check.message for check in check_environment(survey(session)) if check.level == "FAIL"]


def test_00_says_what_01_to_04_would_break_on() -> None:
    session = open_bare()
    assert failing(session) == []
    wrong = {name: {**said, "ports": [81]} for name, said in session.given["services"].items()}
    zone = {"Name": session.parameters.shift.name, "VPC": {"VPCRegion": REGION, "VPCId": network()[0]}}
    other(account(), "route53").create_hosted_zone(
        **zone, CallerReference="theirs", HostedZoneConfig={"PrivateZone": True, "Comment": "theirs"}
    )
    found = failing(reopen({**session.given, "environment": session.parameters.environment, "services": wrong}))
    assert [words for words in found if "maps port 81; found [80]" in words] == found[:2]
    assert f"{network()[0]} asks another zone of that name already" in found[2]


@pytest.mark.parametrize(
    ("domains", "expected"),
    [
        (["apps.internal."], "apps.internal."),
        (["web.apps.internal.", "apps.internal.", "."], "web.apps.internal."),
        ([".", "internal."], "internal."),
        (["."], "."),
        (["web-v2.apps.internal.", "b.apps.internal.", "ps.internal.", "a.web.apps.internal.", ""], None),
        ([], None),
    ],
)
def test_a_query_takes_the_rule_of_the_most_specific_domain(domains: list[str], expected: str | None) -> None:
    rule = taken([Rule(f"rr-{n}", domain, "FORWARD") for n, domain in enumerate(domains)], "web.apps.internal")
    assert (rule and rule.domain) == expected


def test_of_one_domain_the_vpcs_own_rule_goes_before_a_profiles() -> None:
    own, profiles = Rule("rr-1", "internal.", "SYSTEM"), Rule("rr-2", "internal.", "FORWARD", "rp-1")
    assert taken([own, profiles], "web.internal") == own


def test_a_rule_that_delegates_takes_no_query() -> None:
    delegates, forwards = Rule("rr-1", "web.internal.", "DELEGATE"), Rule("rr-2", "internal.", "FORWARD")
    assert taken([delegates, forwards], "web.internal") == forwards


@pytest.mark.parametrize(
    ("status", "answers"),
    [
        ("CREATING", True),
        ("COMPLETE", True),
        ("DELETING", True),
        ("FAILED", False),
        ("OVERRIDDEN", False),
        ("", True),
    ],
)
def test_a_rule_answers_where_its_association_came_about_or_is_about_to(status: str, answers: bool) -> None:
    association = {"ResolverRuleId": "rr-1", "VPCId": "vpc-1", "Status": status}
    by_id = {"rr-1": {"Id": "rr-1", "DomainName": "Web.Internal.", "RuleType": "FORWARD"}}
    expected = [Rule("rr-1", "web.internal.", "FORWARD", is_leaving=status == "DELETING")] if answers else []
    assert rules_of([association], [], by_id) == expected


def test_a_rule_of_somebody_else_has_neither_domain_nor_kind_and_one_that_delegates_needs_no_domain() -> None:
    brought = [Held("rp-1", "arn:aws:route53resolver:us-west-2:1:resolver-rule/rr-2")]
    by_id = {"rr-1": {"Id": "rr-1", "RuleType": "DELEGATE", "DelegationRecord": "web.internal."}}
    found = rules_of([{"ResolverRuleId": "rr-1", "Status": "COMPLETE"}], brought, by_id)
    assert found == [Rule("rr-1", "", "DELEGATE"), Rule("rr-2", "", "", "rp-1")]


def test_00_says_which_rule_of_the_callers_vpc_answers_before_the_names_zone() -> None:
    session, vpc = open_bare(), network()[0]
    name, resolver = session.parameters.shift.name, other(account(), "route53resolver")

    def associate(domain: str, kind: str = "FORWARD") -> tuple[str, str]:
        """Return the level and the words of 00's check, with this rule at the VPC."""
        said = {"CreatorRequestId": f"{name} {domain} {kind}", "RuleType": kind, "DomainName": domain}
        id = resolver.create_resolver_rule(**said, Name="theirs")["ResolverRule"]["Id"]
        resolver.associate_resolver_rule(ResolverRuleId=id, VPCId=vpc, Name="theirs")
        made.append(id)
        return look()

    def look() -> tuple[str, str]:
        found = [each for each in check_environment(survey(session)) if each.where == f"resolver of {vpc}"]
        return found[0].level, f"{found[0].message} {found[0].hint}"

    made: list[str] = []
    try:
        assert look() == ("PASS", f"no rule forwards {name} ")
        level, words = associate(NAME)
        assert (level, f"rule {made[0]} forwards {NAME}. to other DNS servers;" in words) == ("WARN", True)
        assert associate(f"sub.{name}")[0] == "WARN"
        level, words = associate(name)
        assert (level, f"disassociate-resolver-rule --vpc-id {vpc} --resolver-rule-id {made[-1]} " in words) == (
            "FAIL",
            True,
        )
        resolver.disassociate_resolver_rule(ResolverRuleId=made.pop(), VPCId=vpc)
        assert associate(name, "SYSTEM")[0] == "PASS"
    finally:
        for id in made:
            resolver.disassociate_resolver_rule(ResolverRuleId=id, VPCId=vpc)


def profiles_in_00(session: Session, *, lacks: str) -> list[str]:
    """Return what 00 says of Profiles to a reader whose policy lacks an action."""
    readers = policy(session.parameters, "reader")
    for statement in readers["Statement"]:
        statement["Action"] = [action for action in statement["Action"] if action != lacks]
    allow_only(account(), readers)
    try:
        checks = check_environment(survey(session))
    finally:
        GUARDS.clear()
    return [f"{each.level} {each.message}" for each in checks if each.where == f"Route 53 Profile of {network()[0]}"]


def test_whoever_may_not_ask_for_profiles_is_told_that_nobody_asked() -> None:
    session, action = open_bare(), "route53profiles:ListProfileAssociations"
    (words,) = profiles_in_00(session, lacks=action)
    assert words.startswith("WARN not asked: ")
    assert action in words
    assert profiles_in_00(session, lacks="") == []


def test_a_change_of_names_is_pending_first_and_its_notebook_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    session = open_bare()
    do(session, "01", "02", "03")
    vpc, looks, everywhere = network()[0], [], iter([False, False, True])

    def is_everywhere(_self: Propagation, id: str) -> bool:
        looks.append(id)
        return next(everywhere)

    monkeypatch.setattr(Propagation, "is_everywhere", is_everywhere)
    monkeypatch.setattr(PROPAGATION, "seconds", 3600.0)
    do(session, "04")
    assert looks == [looks[0]] * 3
    assert session.parameters.shift.name not in zones(account(), vpc).aliases  # its VPC's resolver has it later
    assert session.parameters.shift.name in zones(account()).aliases


# --- TLS


def open_secure(issued_for: str = "", **more: Any) -> Session:
    """Open a session whose listener is to have a certificate, in an account that has one for a name."""
    arn = f"arn:aws:acm:{REGION}:{account()}:certificate/{next(NUMBERS):08d}"
    if issued_for:
        hold(account(), REGION, arn, issued_for)
    session = open_bare(certificate=arn, port=443)
    named = {"environment": session.parameters.environment, "protocol": "http2"}
    return reopen({**session.given, **named}, shared=clients())


def test_http2_takes_a_listener_with_a_certificate_and_groups_that_speak_it() -> None:
    session = open_secure(f"*.{NAME}")
    do(session, "01", "02", "03", "04")
    elbv2, p = somebody(session, "elbv2"), session.parameters
    (made,) = elbv2.describe_load_balancers(Names=[p.alb.name])["LoadBalancers"]
    (listener,) = elbv2.describe_listeners(LoadBalancerArn=made["LoadBalancerArn"])["Listeners"]
    assert (listener["Protocol"], listener["Port"]) == ("HTTPS", 443)
    assert listener["Certificates"] == [{"CertificateArn": p.alb.certificate}]
    groups = elbv2.describe_target_groups(LoadBalancerArn=made["LoadBalancerArn"])["TargetGroups"]
    assert [group["ProtocolVersion"] for group in groups] == ["HTTP2", "HTTP2"]
    assert failing(session) == []


def test_a_certificate_that_is_not_there_is_refused_before_anything_is_made() -> None:
    session = open_secure()
    words = "there is no such certificate in this account and region"
    assert failing(session) == [words]
    with pytest.raises(PlanError, match=f"alb.certificate: {words}"):
        do(session, "01")
    assert there(session) == set()


NOW = datetime(2026, 11, 29, tzinfo=UTC)
GOOD = {"status": "ISSUED", "until": NOW + timedelta(days=90), "names": ["*.shop.test"], "name": "shop.test"}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, ""),
        ({"names": None, "name": "B.shop.test"}, ""),
        ({"status": "EXPIRED"}, "expected one that is ISSUED; found EXPIRED"),
        ({"until": NOW + timedelta(hours=23)}, "it expires within 1 day, or has: 2026-11-29"),
        ({"until": NOW - timedelta(days=9)}, "it expires within 1 day, or has: 2026-11-20"),
        ({"names": ["a.shop.test"]}, "callers dial b.shop.test, which it does not name; found a.shop.test, shop.test"),
        ({"names": ["*.test"]}, "callers dial b.shop.test, which it does not name; found *.test, shop.test"),
    ],
)
def test_a_certificate_is_good_for_a_name_while_it_lasts(changed: dict[str, Any], expected: str) -> None:
    assert wrong("b.shop.test", {**GOOD, **changed}, NOW.timestamp()) == expected


def test_a_zone_that_is_asked_answers_for_all_below_its_name() -> None:
    zones = Zones({"a.test": "lb.test"}, ("a.test",))
    assert [zones.hides(name) for name in ("a.test", "x.a.test", "b.test", "ba.test")] == [False, True, False, False]
