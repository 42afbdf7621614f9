"""Elastic Load Balancing at the local endpoint: what AWS refuses is refused, what it echoes is echoed."""

# ruff: noqa: F401, F811  (a fixture is imported by the name it is asked for)

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.control_plane_fixtures import endpoint, refused, shared_clients
from tests.front import PATHS, UNAVAILABLE, Front, forward, front, network

# Rules.


def test_a_weight_is_written_and_read_back(front: Front) -> None:
    front.shift(stable=75, canary=25)
    groups = front.action()["ForwardConfig"]["TargetGroups"]
    assert {group["TargetGroupArn"]: group["Weight"] for group in groups} == {front.stable: 75, front.canary: 25}
    assert "TargetGroupArn" not in front.action()


def test_a_weight_that_is_left_out_is_1(front: Front) -> None:
    groups = [{"TargetGroupArn": front.stable}, {"TargetGroupArn": front.canary, "Weight": 0}]
    actions = [{"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}]
    front.elbv2.modify_rule(RuleArn=front.rule, Actions=actions)
    assert [group["Weight"] for group in front.action()["ForwardConfig"]["TargetGroups"]] == [1, 0]


def test_a_forward_to_one_group_is_described_in_both_forms(front: Front) -> None:
    front.elbv2.modify_rule(RuleArn=front.rule, Actions=[{"Type": "forward", "TargetGroupArn": front.canary}])
    action = front.action()
    assert action["TargetGroupArn"] == front.canary
    assert action["ForwardConfig"]["TargetGroups"] == [{"TargetGroupArn": front.canary, "Weight": 1}]
    front.elbv2.modify_rule(RuleArn=front.rule, Actions=forward({front.stable: 100}))
    assert front.action()["TargetGroupArn"] == front.stable


def test_what_is_described_can_be_written_back(front: Front) -> None:
    for actions in (forward({front.canary: 100}), forward({front.stable: 75, front.canary: 25})):
        front.elbv2.modify_rule(RuleArn=front.rule, Actions=actions)
        read = front.action()
        front.elbv2.modify_rule(RuleArn=front.rule, Actions=[read])
        assert front.action() == read


def test_actions_alone_leave_the_conditions(front: Front) -> None:
    before = front.elbv2.describe_rules(RuleArns=[front.rule])["Rules"][0]["Conditions"]
    front.shift(stable=0, canary=100)
    assert front.elbv2.describe_rules(RuleArns=[front.rule])["Rules"][0]["Conditions"] == before


def test_transforms_stay_until_they_are_replaced(front: Front) -> None:
    def transforms() -> Any:
        return front.elbv2.describe_rules(RuleArns=[front.rule])["Rules"][0].get("Transforms", [])

    rewrite = {"Regex": "^/a", "Replace": "/b"}
    wanted = [{"Type": "url-rewrite", "UrlRewriteConfig": {"Rewrites": [rewrite]}}]
    front.elbv2.modify_rule(RuleArn=front.rule, Transforms=wanted)
    front.shift(stable=75, canary=25)
    assert transforms() == wanted
    front.elbv2.modify_rule(RuleArn=front.rule, ResetTransforms=True)
    assert transforms() == []
    assert [group["Weight"] for group in front.action()["ForwardConfig"]["TargetGroups"]] == [75, 25]


def test_stickiness_is_echoed(front: Front) -> None:
    assert front.action()["ForwardConfig"]["TargetGroupStickinessConfig"] == {"Enabled": False}
    sticky = forward({front.stable: 75, front.canary: 25}, Enabled=True, DurationSeconds=60)
    front.elbv2.modify_rule(RuleArn=front.rule, Actions=sticky)
    config = front.action()["ForwardConfig"]["TargetGroupStickinessConfig"]
    assert config == {"Enabled": True, "DurationSeconds": 60}


Wrong = Callable[[Front], list[dict[str, Any]]]
WRONG_ACTIONS: dict[str, tuple[Wrong, str]] = {
    "weight 1000": (lambda f: forward({f.stable: 1000, f.canary: 0}), "ValidationError"),
    "weight -1": (lambda f: forward({f.stable: -1, f.canary: 100}), "ValidationError"),
    "six groups": (
        lambda f: forward({f.stable: 1, **{f.group(f"more-{n}"): 1 for n in range(5)}}),
        "TooManyTargetGroups",
    ),
    "a group twice": (
        lambda f: [
            {"Type": "forward", "ForwardConfig": {"TargetGroups": [{"TargetGroupArn": f.stable, "Weight": 1}] * 2}}
        ],
        "ValidationError",
    ),
    "unknown group": (lambda f: forward({f"{f.stable}0": 1}), "TargetGroupNotFound"),
    "stickiness without duration": (lambda f: forward({f.stable: 1}, Enabled=True), "InvalidLoadBalancerAction"),
    "two forms that differ": (
        lambda f: [{**forward({f.stable: 1})[0], "TargetGroupArn": f.canary}],
        "InvalidLoadBalancerAction",
    ),
    "HTTP/2 behind HTTP": (
        lambda f: forward({f.stable: 1, f.group("h2", ProtocolVersion="HTTP2"): 0}),
        "InvalidLoadBalancerAction",
    ),
}


@pytest.mark.parametrize("wrong", WRONG_ACTIONS)
def test_refuses_an_action_and_leaves_the_rule(front: Front, wrong: str) -> None:
    actions, code = WRONG_ACTIONS[wrong]
    before = front.action()
    assert refused(front.elbv2.modify_rule, RuleArn=front.rule, Actions=actions(front))[:2] == (code, 400)
    assert front.action() == before


def test_says_why_a_group_of_http2_is_refused_in_awss_words(front: Front) -> None:
    actions = forward({front.group("h2", ProtocolVersion="HTTP2"): 1})
    _, _, words = refused(front.elbv2.modify_rule, RuleArn=front.rule, Actions=actions)
    expected = "Listener protocol 'HTTP' is not supported with a target group with the protocol-version 'HTTP2'"
    assert words == expected


def test_refuses_a_priority_in_use(front: Front) -> None:
    new = {"ListenerArn": front.listener, "Conditions": PATHS, "Actions": forward({front.stable: 1})}
    expected = ("PriorityInUse", 400, "Priority '100' is currently in use")
    assert refused(front.elbv2.create_rule, Priority=100, **new) == expected
    assert refused(front.elbv2.create_rule, Priority=50001, **new)[0] == "ValidationError"


def test_refuses_a_rule_without_conditions(front: Front) -> None:
    new = {"ListenerArn": front.listener, "Priority": 1, "Actions": forward({front.stable: 1})}
    assert refused(front.elbv2.create_rule, Conditions=[], **new)[0] == "ValidationError"


def test_rules_change_places_in_one_call_and_take_no_others(front: Front) -> None:
    new = {"ListenerArn": front.listener, "Conditions": PATHS, "Actions": forward({front.stable: 1})}
    other = front.elbv2.create_rule(Priority=1, **new)["Rules"][0]["RuleArn"]

    def moved(**priorities: int) -> list[dict[str, Any]]:
        arns = {"rule": front.rule, "other": other}
        return [{"RuleArn": arns[name], "Priority": priority} for name, priority in priorities.items()]

    assert refused(front.elbv2.set_rule_priorities, RulePriorities=moved(rule=1))[0] == "PriorityInUse"
    front.elbv2.set_rule_priorities(RulePriorities=moved(rule=1, other=100))
    rules = front.elbv2.describe_rules(ListenerArn=front.listener)["Rules"]
    assert {rule["RuleArn"]: rule["Priority"] for rule in rules if not rule["IsDefault"]} == {
        front.rule: "1",
        other: "100",
    }


def test_a_rule_goes_once_and_the_default_rule_never(front: Front) -> None:
    rules = front.elbv2.describe_rules(ListenerArn=front.listener)["Rules"]
    default = next(rule["RuleArn"] for rule in rules if rule["IsDefault"])
    front.elbv2.delete_rule(RuleArn=front.rule)
    assert refused(front.elbv2.delete_rule, RuleArn=front.rule)[0] == "RuleNotFound"
    assert refused(front.elbv2.delete_rule, RuleArn=default)[0] == "OperationNotPermitted"


# Target groups.


def test_a_group_has_its_load_balancer_once_and_loses_it_with_its_rule(front: Front) -> None:
    def users() -> list[str]:
        described = front.elbv2.describe_target_groups(TargetGroupArns=[front.canary])["TargetGroups"][0]
        return list(described.get("LoadBalancerArns", []))

    front.shift(stable=75, canary=25)
    assert users() == [front.balancer]
    front.shift(stable=100)
    assert users() == []


def test_a_group_of_another_load_balancer_is_refused(front: Front) -> None:
    other = front.elbv2.create_load_balancer(Name="other", Scheme="internal", Subnets=front.subnets)
    listening = {
        "LoadBalancerArn": other["LoadBalancers"][0]["LoadBalancerArn"],
        "Protocol": "HTTP",
        "Port": 80,
        "DefaultActions": forward({front.stable: 1}),
    }
    words = f"The following target groups cannot be associated with more than one load balancer: {front.stable}"
    assert refused(front.elbv2.create_listener, **listening) == ("TargetGroupAssociationLimit", 400, words)


def test_a_group_is_returned_for_the_same_settings_and_refused_for_others(front: Front) -> None:
    assert front.group("serviceB") == front.stable
    words = "A target group with the same name 'serviceB' exists, but with different settings"
    settings = {"Protocol": "HTTP", "Port": 9081, "VpcId": front.vpc, "TargetType": "ip"}
    expected = ("DuplicateTargetGroupName", 400, words)
    assert refused(front.elbv2.create_target_group, Name="serviceB", **settings) == expected


def test_a_group_in_a_rule_stays_and_one_that_is_gone_may_be_deleted_again(front: Front) -> None:
    words = f"Target group '{front.canary}' is currently in use by a listener or a rule"
    assert refused(front.elbv2.delete_target_group, TargetGroupArn=front.canary) == ("ResourceInUse", 400, words)
    front.shift(stable=100)
    front.elbv2.delete_target_group(TargetGroupArn=front.canary)
    front.elbv2.delete_target_group(TargetGroupArn=front.canary)


@pytest.mark.parametrize("wrong", [{"ProtocolVersion": "BOGUS"}, {"Matcher": {"HttpCode": "200-599"}}])
def test_refuses_settings_of_a_group(front: Front, wrong: dict[str, Any]) -> None:
    settings = {"Protocol": "HTTP", "Port": 80, "VpcId": front.vpc, "TargetType": "ip", **wrong}
    assert refused(front.elbv2.create_target_group, Name="wrong", **settings)[0] == "ValidationError"


def test_a_target_is_initial_then_draining_and_unused_where_it_never_was(front: Front) -> None:
    targets = [{"Id": "10.0.0.9", "Port": 9080}]
    front.elbv2.register_targets(TargetGroupArn=front.stable, Targets=targets)
    assert front.health(front.stable) == [("initial", "Elb.RegistrationInProgress")]
    front.elbv2.deregister_targets(TargetGroupArn=front.stable, Targets=targets)
    assert front.health(front.stable) == [("draining", "Target.DeregistrationInProgress")]
    asked = [{"Id": "10.0.0.10", "Port": 9080}]
    told = front.elbv2.describe_target_health(TargetGroupArn=front.stable, Targets=asked)
    health = told["TargetHealthDescriptions"][0]["TargetHealth"]
    assert (health["State"], health["Reason"]) == ("unused", "Target.NotRegistered")


def test_a_target_of_a_group_without_a_rule_is_unused(front: Front) -> None:
    unused = front.group("unused")
    front.elbv2.register_targets(TargetGroupArn=unused, Targets=[{"Id": "10.0.0.9"}])
    assert front.health(unused) == [("unused", "Target.NotInUse")]


def test_a_target_drains_no_longer_than_the_delay(front: Front) -> None:
    delay = [{"Key": "deregistration_delay.timeout_seconds", "Value": "0"}]
    front.elbv2.modify_target_group_attributes(TargetGroupArn=front.stable, Attributes=delay)
    targets = [{"Id": "10.0.0.9"}]
    front.elbv2.register_targets(TargetGroupArn=front.stable, Targets=targets)
    front.elbv2.deregister_targets(TargetGroupArn=front.stable, Targets=targets)
    assert front.health(front.stable) == []


def test_a_public_address_is_no_target(front: Front) -> None:
    code, _, _ = refused(front.elbv2.register_targets, TargetGroupArn=front.stable, Targets=[{"Id": "8.8.8.8"}])
    assert code == "InvalidTarget"


# Load balancers and listeners.


@pytest.mark.parametrize("name", ["my_lb", "x" * 33, "internal-apps", "-apps"])
def test_refuses_a_name(front: Front, name: str) -> None:
    assert refused(front.elbv2.create_load_balancer, Name=name, Subnets=front.subnets)[0] == "ValidationError"


def test_refuses_a_load_balancer_that_cannot_be(front: Front) -> None:
    def code(**changes: Any) -> str:
        return refused(front.elbv2.create_load_balancer, **{"Name": "new", "Subnets": front.subnets, **changes})[0]

    assert code(Subnets=front.subnets[:1]) == "ValidationError"
    assert code(Subnets=[front.subnets[0], "subnet-0"]) == "SubnetNotFound"
    assert code(SecurityGroups=["sg-0"]) == "InvalidConfigurationRequest"
    assert code(Name="apps", Scheme="internet-facing") == "DuplicateLoadBalancerName"


def test_the_same_words_give_the_load_balancer_that_is_there(front: Front) -> None:
    made = front.elbv2.create_load_balancer(Name="apps", Scheme="internal", Type="application", Subnets=front.subnets)
    assert made["LoadBalancers"][0]["LoadBalancerArn"] == front.balancer


def test_a_protected_load_balancer_stays(front: Front) -> None:
    def protect(value: str) -> None:
        attributes = [{"Key": "deletion_protection.enabled", "Value": value}]
        front.elbv2.modify_load_balancer_attributes(LoadBalancerArn=front.balancer, Attributes=attributes)

    protect("true")
    words = f"Load balancer '{front.balancer}' cannot be deleted because deletion protection is enabled"
    expected = ("OperationNotPermitted", 400, words)
    assert refused(front.elbv2.delete_load_balancer, LoadBalancerArn=front.balancer) == expected
    protect("false")
    front.elbv2.delete_load_balancer(LoadBalancerArn=front.balancer)
    assert front.elbv2.describe_load_balancers()["LoadBalancers"] == []


def test_refuses_a_listener(front: Front) -> None:
    def code(**changes: Any) -> str:
        new = {"LoadBalancerArn": front.balancer, "Protocol": "HTTP", "Port": 81, "DefaultActions": UNAVAILABLE}
        return refused(front.elbv2.create_listener, **{**new, **changes})[0]

    assert code(Port=80) == "DuplicateListener"
    assert code(Protocol="HTTPS") == "ValidationError"
    h2 = front.group("h2", ProtocolVersion="HTTP2")
    assert code(DefaultActions=forward({h2: 1})) == "InvalidLoadBalancerAction"


def test_the_same_calls_give_the_same_arns_and_a_new_resource_has_a_new_one(front: Front) -> None:
    account = front.rule.split(":")[4]
    tail = front.rule.split("listener-rule/app/apps/")[1]
    assert [len(part) for part in tail.split("/")] == [16, 16, 16]
    assert account == front.balancer.split(":")[4]
    front.elbv2.delete_rule(RuleArn=front.rule)
    new = front.elbv2.create_rule(
        ListenerArn=front.listener, Priority=100, Conditions=PATHS, Actions=forward({front.stable: 1})
    )
    assert new["Rules"][0]["RuleArn"] != front.rule
