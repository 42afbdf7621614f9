"""A load balancer's rule as an engine, on plain values: what is planned, kept and refused."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import jmespath
import pytest
import yaml

from runbook_lib import (
    apply,
    check_environment,
    clear,
    evidence,
    evidence_for_shift,
    parameters,
    plan_undo,
    require_checks,
)
from runbook_lib.aws import cloudwatch
from runbook_lib.aws.session import Session
from runbook_lib.display.traffic_map import mapped
from runbook_lib.engines.alb import engine as alb
from runbook_lib.engines.named import engine_of
from runbook_lib.engines.protocol import Engine
from runbook_lib.errors import GateError, ParametersError, PlanError, ReadBackError, StalePlanError
from runbook_lib.parameters import Parameters
from runbook_lib.plan import Change, Evidence, Wait
from runbook_lib.shift.rollback import roll_back
from runbook_lib.shift.trial import end_trial
from runbook_lib.survey import Survey
from runbook_lib.verdict import Sample
from tests.mock_engine import ACCOUNT
from tests.plain_alb import FILE, LISTENER, RULE, Elb, Plain, forward, group, open_alb

STABLE = {"web": 100, "web-v2": 0}
QUARTER = {"web": 75, "web-v2": 25}
ALL = {"web": 0, "web-v2": 100}

CERTIFICATE = f"arn:aws:acm:us-east-1:{ACCOUNT}:certificate"
LOGIN = {
    "Type": "authenticate-oidc",
    "Order": 1,
    "AuthenticateOidcConfig": {"Issuer": "https://login.test", "ClientId": "shop"},
}
COGNITO = {"Type": "authenticate-cognito", "Order": 1, "AuthenticateCognitoConfig": {"UserPoolClientId": "shop"}}
HOST = {"Field": "host-header", "HostHeaderConfig": {"Values": ["shop.test", "*.shop.test"]}}
PATH = {"Field": "path-pattern", "PathPatternConfig": {"Values": ["/*"]}}
REWRITE = {"Type": "url-rewrite", "UrlRewriteConfig": {"Rewrites": [{"Regex": "^/old", "Replace": "/new"}]}}


def load(**said: Any) -> Parameters:
    return parameters.load("shop", {**FILE, **said})


def refusal(**said: Any) -> str:
    with pytest.raises(ParametersError) as caught:
        load(**said)
    return caught.value.message


def shift(opened: Plain, weight: int) -> list[Any]:
    """Write one weight as 05 does, with its gates."""
    found = opened.look()
    return apply(opened.session, clear(found.plan_step(weight), *evidence_for_shift(found)))


def only(opened: Plain, weight: int) -> Change:
    """Return the one change that a step plans."""
    (change,) = opened.look().plan_step(weight)
    return change


def holds_after(session: Session, wait: Wait) -> bool:
    """Say whether a wait would end well now."""
    return bool(jmespath.search(wait.until, session.read(wait.reading)))


def found_of(evidence: tuple[Evidence, ...], name: str) -> Evidence:
    (found,) = [each for each in evidence if each.name == name]
    return found


def of_retirement(found: Survey) -> tuple[Evidence, ...]:
    """Look into the gates before stable is retired."""
    return evidence(found, found.plan_retirement())


# --- the file -------------------------------------------------------------------------


def test_it_has_every_verb() -> None:
    assert isinstance(alb, Engine)
    assert engine_of(open_alb().session) is alb


def test_a_file_needs_no_key_of_app_mesh() -> None:
    p = load()
    assert (p.alb.rule, p.names, p.target_group_of("web")) == (RULE, [], "web")
    assert p.carrier == "listener rule app/shop/50dc6c495c0c9188/f2f7dc8efc522ab2/9683b2d02a6cabee"


def test_the_file_of_the_documentation_is_short_and_good() -> None:
    text = (parameters.FOLDER.parent / "docs" / "alb.md").read_text()
    shown = text.partition("```yaml\n")[2].partition("```")[0]
    assert len(shown.splitlines()) <= 13
    p = parameters.load("shop", yaml.safe_load(shown))
    assert (p.engine, p.shift.canary, p.mode) == ("alb", "web-v2", "plan")


def test_a_group_may_have_another_name_than_its_service() -> None:
    p = load(alb={"rule": RULE, "target_groups": {"web-v2": "green"}})
    assert [p.target_group_of(name) for name in p.services] == ["web", "green"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mesh", {"name": "apps"}),
        ("envoy", {"xray": True}),
        ("iam", {"manage": True}),
        ("virtual_services", {"shop.test": {"router": "shop"}}),
        ("routers", {"shop": {"routes": {"all": {"targets": ["web", "web-v2"]}}}}),
    ],
)
def test_a_section_of_app_mesh_is_refused_by_name(name: str, value: Any) -> None:
    words = f"shop: {name}: a section of engine appmesh; expected none, since engine is alb"
    assert refusal(**{name: value}) == words


def test_a_key_of_app_mesh_in_a_service_is_refused_by_name() -> None:
    services = {**FILE["services"], "web": {"task_definition": "web", "health_check": {"path": "/"}}}
    words = "services.web.health_check: a key of engine appmesh; expected none, since engine is alb"
    assert words in refusal(services=services)


def test_the_rule_is_required_and_refused_under_app_mesh() -> None:
    without = {name: value for name, value in FILE.items() if name != "alb"}
    with pytest.raises(ParametersError, match="alb: expected, since engine is alb; found none"):
        parameters.load("shop", without)
    with pytest.raises(ParametersError, match="alb: a section of engine alb; expected none, since engine is appmesh"):
        parameters.load("local", {"alb": {"rule": RULE}})


def test_app_mesh_still_requires_its_own_sections() -> None:
    said = refusal(engine="appmesh")
    for name in ("mesh", "namespace", "port", "protocol", "virtual_services", "services.web.hostname"):
        assert f"{name}: expected, since engine is appmesh; found none" in said


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (
            {"alb": {"rule": RULE.replace("eu-central-1", "us-east-1")}},
            r"alb\.rule: expected one of account .* us-east-1",
        ),
        ({"alb": {"rule": LISTENER}}, r"alb\.rule: expected "),
        ({"alb": {"rule": RULE, "target_groups": {"wbe": "x"}}}, r"no service 'wbe'; did you mean 'web'"),
        ({"alb": {"rule": RULE, "target_groups": {"web-v2": "web"}}}, r"expected distinct values; found 'web' 2 times"),
        ({"protocol": "tcp"}, r"protocol: expected http, http2 or grpc"),
        (
            {"alb": {"name": "shop"}, "port": 80, "protocol": "grpc"},
            "protocol: expected http or http2: .* found 'grpc'",
        ),
        (
            {"alb": {"name": "shop"}, "port": 80, "protocol": "http2"},
            r"alb\.certificate: expected one for",
        ),
        (
            {"alb": {"name": "shop", "certificate": f"{CERTIFICATE}/1"}},
            r"alb\.certificate: .* us-east-1",
        ),
        ({"alb": {"name": "shop", "certificate": "shop.test"}}, r"alb\.certificate: expected"),
        ({"alb": {"rule": RULE, "certificate": f"{CERTIFICATE}/1"}}, r"alb\.certificate: of a load balancer that the"),
        ({"shift": {**FILE["shift"], "trial": {"header": "x" * 41}}}, r"shift\.trial\.header: a rule takes at most 40"),
        ({"shift": {**FILE["shift"], "route": "all"}}, r"shift\.route: a key of engine appmesh"),
        ({"shift": {**FILE["shift"], "canary": "web-v3"}}, r"shift\.canary: no service 'web-v3'"),
    ],
)
def test_refuses_in_a_file(said: dict[str, Any], words: str) -> None:
    with pytest.raises(ParametersError, match=words):
        load(**said)


# --- how the traffic is divided -------------------------------------------------------


def test_a_weight_that_is_left_out_is_1() -> None:
    action = forward(web=1, web_v2=0)
    del action["ForwardConfig"]["TargetGroups"][0]["Weight"]
    assert open_alb(Elb([action])).look().split.written == {"web": 1, "web-v2": 0}


def test_the_order_of_the_groups_does_not_matter() -> None:
    split = open_alb(Elb([forward(web_v2=25, web=75)])).look().split
    assert split.written == QUARTER
    (change,) = alb.plan_split(split, STABLE)
    assert isinstance(change.call.arguments, dict)
    groups = change.call.arguments["Actions"][0]["ForwardConfig"]["TargetGroups"]
    assert groups == [{"TargetGroupArn": group(name), "Weight": STABLE[name]} for name in ("web-v2", "web")]


def test_series_have_both_names_that_exist_only_live() -> None:
    opened = open_alb(shift={**FILE["shift"], "verdict": {"slow_millis": 500}})
    series = opened.look().series["web-v2"]
    dimensions = {"LoadBalancer": "app/shop/50dc6c495c0c9188", "TargetGroup": group("web-v2").rpartition(":")[2]}
    assert {each.namespace for kind in series.values() for each in kind} == {"AWS/ApplicationELB"}
    assert {tuple(each.dimensions.items()) for kind in series.values() for each in kind} == {tuple(dimensions.items())}
    assert [each.metric for each in series["errors"]] == ["HTTPCode_Target_5XX_Count", "TargetConnectionErrorCount"]
    assert [(each.metric, each.stat) for each in series["latency"]] == [("TargetResponseTime", "TC(0.5:)")]


def test_a_group_that_left_the_rule_is_still_counted() -> None:
    opened = open_alb(Elb([forward(web_v2=100)], tags={"runbook:retired": "web"}))
    assert opened.look().series["web"]["requests"][0].dimensions["TargetGroup"].startswith("targetgroup/web/")


def test_a_group_that_is_gone_has_no_series() -> None:
    opened = open_alb(Elb([forward(web_v2=100)], groups=["web-v2"]))
    assert opened.look().series["web"]["requests"] == ()


# --- what is counted ------------------------------------------------------------------

COUNTED = {("RequestCount", "web"): 900, ("RequestCount", "web-v2"): 100}


def test_errors_are_those_of_targets_and_of_connections_together() -> None:
    opened = open_alb(traffic=True)
    failed = {("HTTPCode_Target_5XX_Count", "web-v2"): 7, ("TargetConnectionErrorCount", "web-v2"): 5}
    opened.metrics.counts = {**COUNTED, **failed}
    until = cloudwatch.complete_until(opened.session, opened.session.now())
    (interval,) = cloudwatch.read_intervals(opened.session, opened.look().series, until - 60, until)
    assert interval.errors == Sample(900, 0, 100, 12)


def test_more_failed_connections_than_requests_are_every_request() -> None:
    opened = open_alb(traffic=True)
    opened.metrics.counts = {**COUNTED, ("TargetConnectionErrorCount", "web-v2"): 400}
    until = cloudwatch.complete_until(opened.session, opened.session.now())
    (interval,) = cloudwatch.read_intervals(opened.session, opened.look().series, until - 60, until)
    assert interval.errors == Sample(900, 0, 100, 100)


def test_a_version_without_a_group_has_no_requests() -> None:
    opened = open_alb(Elb([forward(web_v2=100)], groups=["web-v2"]), traffic=True)
    opened.metrics.counts = COUNTED
    until = cloudwatch.complete_until(opened.session, opened.session.now())
    (interval,) = cloudwatch.read_intervals(opened.session, opened.look().series, until - 60, until)
    assert interval.errors == Sample(0, 0, 100, 0)


def test_slowness_is_asked_for_in_seconds() -> None:
    opened = open_alb(traffic=True, shift={**FILE["shift"], "verdict": {"slow_millis": 250}})
    opened.metrics.counts = {**COUNTED, ("TargetResponseTime", "web-v2"): 40}
    until = cloudwatch.complete_until(opened.session, opened.session.now())
    (interval,) = cloudwatch.read_intervals(opened.session, opened.look().series, until - 60, until)
    assert interval.slow == Sample(900, 0, 100, 40)
    asked = {each["Stat"] for each in opened.metrics.asked if each["Metric"]["MetricName"] == "TargetResponseTime"}
    assert asked == {"TC(0.25:)"}


@pytest.mark.parametrize(("stable", "canary", "holds"), [(0, 100, True), (1, 100, False), (0, 0, False)])
def test_stable_is_idle_once_only_the_canary_is_counted(stable: int, canary: int, holds: bool) -> None:
    opened = open_alb(Elb([forward(web=0, web_v2=100)]), traffic=True)
    opened.metrics.counts = {("RequestCount", "web"): stable, ("RequestCount", "web-v2"): canary}
    assert found_of(of_retirement(opened.look()), "stable is idle").holds is holds


def test_errors_of_grpc_need_an_alarm() -> None:
    assert load(protocol="grpc").protocol == "grpc"
    opened = open_alb(Elb([forward(web=100, web_v2=0)], version="GRPC"), protocol="grpc")
    with pytest.raises(GateError, match="errors are counted: gRPC failures travel in trailers of HTTP 200"):
        shift(opened, 25)


# --- one write, and all else kept -----------------------------------------------------


def test_a_weight_is_one_call_with_every_weight_written() -> None:
    opened = open_alb()
    shift(opened, 25)
    assert (opened.elb.calls, opened.elb.weights) == (["modify_rule"], QUARTER)


def test_a_step_says_whose_weight_becomes_what() -> None:
    change = only(open_alb(), 25)
    assert (change.verb, change.name) == ("shift", "rule shop/9683b2d02a6cabee")
    assert [(d.field, d.before, d.after) for d in change.diff] == [("web", 100, 75), ("web-v2", 0, 25)]


def test_what_is_in_force_is_not_written_again() -> None:
    found = open_alb(Elb([forward(web=75, web_v2=25)])).look()
    assert found.plan_step(25).changes == ()
    assert len(alb.plan_split(found.split, QUARTER, rewrite=True)) == 1


def test_every_foreign_part_of_the_rule_is_kept() -> None:
    last = {**forward(web=100, web_v2=0), "Order": 2}
    elb = Elb([COGNITO, last], conditions=[HOST, PATH], transforms=[REWRITE], tags={"team": "shop"})
    opened = open_alb(elb)
    shift(opened, 25)
    assert elb.actions == [COGNITO, {**forward(web=75, web_v2=25), "Order": 2}]
    assert (elb.conditions, elb.transforms, elb.tags) == ([HOST, PATH], [REWRITE], {"team": "shop"})


def test_a_login_goes_on_with_its_client_secret_which_aws_does_not_tell() -> None:
    elb = Elb([LOGIN, {**forward(web=100, web_v2=0), "Order": 2}])
    opened = open_alb(elb)
    shift(opened, 25)
    written = (elb.actions or [])[0]["AuthenticateOidcConfig"]
    assert written == {**LOGIN["AuthenticateOidcConfig"], "UseExistingClientSecret": True}
    back(opened)
    assert elb.weights == STABLE


def test_unknown_words_of_a_group_and_of_its_config_are_kept() -> None:
    action = forward(web=100, web_v2=0)
    action["ForwardConfig"]["New"] = "kept"
    action["ForwardConfig"]["TargetGroups"][1]["New"] = "kept"
    elb = Elb([action])
    shift(open_alb(elb), 25)
    config = (elb.actions or [])[0]["ForwardConfig"]
    assert (config["New"], config["TargetGroups"][1]["New"]) == ("kept", "kept")


# --- rules that cannot divide the traffic ---------------------------------------------

UNFIT = {
    "it is not there": (Elb(None), "there is no such rule"),
    "it answers by itself": (Elb([{"Type": "fixed-response", "Order": 1}]), "forwards; found fixed-response"),
    "it forwards without weights": (
        Elb([{"Type": "forward", "TargetGroupArn": group("web")}]),
        "expected target groups with weights; found one without",
    ),
    "the canary's group is not in it": (Elb([forward(web=1)]), "the target group of web-v2 is not in it: web 1"),
    "it has a third target": (
        Elb([forward(web=90, web_v2=0, blue=10)]),
        "target group blue is a target too: target group blue 10, web-v2 0, web 90",
    ),
    "it is the default rule": (Elb([forward(web=100, web_v2=0)], default=True), "its listener's default rule"),
}


@pytest.mark.parametrize(("elb", "words"), UNFIT.values(), ids=UNFIT)
def test_a_rule_that_cannot_divide_is_refused_before_a_write(elb: Elb, words: str) -> None:
    opened = open_alb(deepcopy(elb))
    with pytest.raises(PlanError, match=words):
        opened.look().plan_step(25)
    failing = [check for check in check_environment(opened.look()) if check.level == "FAIL"]
    assert failing
    assert opened.elb.calls == []


def test_weights_that_nobody_meant_as_percents_are_refused_by_a_gate() -> None:
    opened = open_alb(Elb([forward(web=3, web_v2=1)]))
    with pytest.raises(GateError, match="the rule divides: the weights do not sum to 100 but to 4"):
        shift(opened, 50)


def test_a_rule_of_1_and_0_may_be_shifted() -> None:
    opened = open_alb(Elb([forward(web=1, web_v2=0)]))
    shift(opened, 25)
    assert opened.elb.weights == QUARTER


# --- two operators, and a rule without a version ---------------------------------------


def edits() -> dict[str, Any]:
    def sticky(elb: Elb) -> None:
        kept = {"Enabled": True, "DurationSeconds": 60}
        elb.actions = [forward(kept, web=100, web_v2=0)]

    def weights(elb: Elb) -> None:
        elb.actions = [forward(web=90, web_v2=10)]

    def condition(elb: Elb) -> None:
        elb.conditions = [HOST]

    def word(elb: Elb) -> None:
        elb.conditions = [{**PATH, "RegexValues": ["^/a"]}]

    def login(elb: Elb) -> None:
        elb.actions = [LOGIN, *(elb.actions or [])]

    return {edit.__name__: edit for edit in (sticky, weights, condition, word, login)}


@pytest.mark.parametrize("edit", edits().values(), ids=edits())
def test_a_plan_is_stale_once_anything_of_the_rule_was_edited(edit: Any) -> None:
    opened = open_alb(Elb([forward(web=100, web_v2=0)], conditions=[PATH]))
    found = opened.look()
    plan = replace(found.plan_step(25), needs=())
    edit(opened.elb)
    with pytest.raises(StalePlanError, match="no longer what was planned against"):
        apply(opened.session, clear(plan))
    assert opened.elb.calls == []


def test_of_two_operators_the_second_has_a_stale_plan() -> None:
    opened = open_alb()
    first, second = opened.look().plan_step(25), opened.look().plan_step(5)
    apply(opened.session, clear(replace(first, needs=())))
    with pytest.raises(StalePlanError, match=r"weight: 0 → 25"):
        apply(opened.session, clear(replace(second, needs=())))
    assert (opened.elb.calls, opened.elb.weights) == (["modify_rule"], QUARTER)


def test_a_write_of_somebody_just_after_ours_is_seen() -> None:
    def overwrite(elb: Elb) -> None:
        elb.actions = [forward(web=0, web_v2=100)]

    opened = open_alb(Elb([forward(web=100, web_v2=0)], after=overwrite))
    with pytest.raises(ReadBackError, match="AWS does not show what was written"):
        shift(opened, 25)


# --- gates ----------------------------------------------------------------------------


def test_a_rising_weight_needs_the_load_balancers_own_gates() -> None:
    own = ("the rule divides", "services behind their groups", "nobody else moves the weights", "no stickiness")
    assert open_alb().look().plan_step(25).needs[1:6] == (*own, "targets healthy")


@pytest.mark.parametrize(
    ("version", "health", "holds"),
    [
        ("web", [], False),
        ("web", ["unhealthy"], False),
        ("web", ["healthy", "unhealthy"], True),
        ("web-v2", ["initial"], False),
        ("web-v2", ["healthy", "initial", "draining"], True),
        ("web-v2", ["healthy", "unhealthy"], False),
    ],
)
def test_targets_must_be_healthy_in_both_groups(version: str, health: list[str], holds: bool) -> None:
    opened = open_alb()
    opened.elb.health[version] = health
    assert found_of(evidence_for_shift(opened.look()), "targets healthy").holds is holds


def test_stickiness_of_the_rule_and_of_a_group_is_refused() -> None:
    kept = {"Enabled": True, "DurationSeconds": 60}
    sticky = Elb([forward(kept, web=100, web_v2=0)], attributes={"stickiness.enabled": "true"})
    with pytest.raises(GateError, match=r"stickiness is on: rule shop/.*, target group web, target group web-v2"):
        shift(open_alb(sticky), 25)


@pytest.mark.parametrize("what", ["stickiness", "health"])
def test_what_protects_traffic_is_looked_at_just_before_the_write(what: str) -> None:
    opened = open_alb()
    found = opened.look()
    cleared = clear(found.plan_step(25), *evidence_for_shift(found))
    if what == "stickiness":
        opened.elb.attributes["stickiness.enabled"] = "true"
    else:
        opened.elb.health["web-v2"] = ["unhealthy"]
    with pytest.raises(GateError, match="no longer as it was"):
        apply(opened.session, cleared)
    assert opened.elb.calls == []


def test_a_service_behind_another_group_is_refused() -> None:
    opened = open_alb(
        Elb([forward(web=100, green=0)], groups=["web", "green"], health={"web": ["healthy"], "green": ["healthy"]}),
        alb={"rule": RULE, "target_groups": {"web-v2": "green"}},
    )
    with pytest.raises(GateError, match="web-v2 registers no task in target group green"):
        shift(opened, 25)


def test_a_service_whose_weights_ecs_writes_is_refused() -> None:
    opened = open_alb()
    opened.ecs.strategy = "CANARY"
    with pytest.raises(GateError, match="web is deployed by strategy CANARY, which writes the weights itself"):
        shift(opened, 25)
    opened.ecs.strategy = "ROLLING"
    opened.ecs.advanced = {"productionListenerRule": RULE}
    with pytest.raises(GateError, match="ECS writes this rule for web"):
        shift(opened, 25)


def test_a_rule_of_a_kubernetes_controller_is_refused() -> None:
    opened = open_alb(Elb([forward(web=100, web_v2=0)], tags={"elbv2.k8s.aws/cluster": "prod"}))
    with pytest.raises(GateError, match="a Kubernetes controller writes it"):
        shift(opened, 25)


def test_a_falling_weight_needs_no_gate() -> None:
    opened = open_alb(Elb([forward(web=75, web_v2=25)], health={"web": ["healthy"], "web-v2": ["unhealthy"]}))
    assert clear(opened.look().plan_step(0)).plan.changes


# --- the checks of 00 -----------------------------------------------------------------


def test_an_environment_in_order_has_no_check_that_fails() -> None:
    checks = check_environment(open_alb().look())
    require_checks(checks)
    own = [check.where for check in checks if check.where in ("no stickiness", "targets healthy", "the rule divides")]
    assert own == ["the rule divides", "no stickiness", "targets healthy"]


def test_what_will_write_the_weights_again_is_told() -> None:
    opened = open_alb(Elb([forward(web=100, web_v2=0)], tags={"aws:cloudformation:stack-name": "shop"}))
    (check,) = [check for check in check_environment(opened.look()) if check.where == "owner of the rule"]
    assert check.level == "WARN"
    assert "its next deployment writes the weights of its template" in check.message


def test_a_group_that_speaks_grpc_must_be_said_to() -> None:
    opened = open_alb(Elb([forward(web=100, web_v2=0)], version="GRPC"))
    failing = [check.message for check in check_environment(opened.look()) if check.level == "FAIL"]
    assert failing == ["it speaks GRPC; the file says protocol http"] * 2


# --- rollback -------------------------------------------------------------------------


def test_a_rollback_is_one_write_whatever_the_gates_say() -> None:
    opened = open_alb(Elb([forward(web=75, web_v2=25)], health={"web": ["healthy"], "web-v2": []}))
    roll_back(opened.session, lambda words: None)
    assert (opened.elb.calls[0], opened.elb.weights) == ("modify_rule", STABLE)
    assert opened.elb.calls.count("modify_rule") == 1


def test_a_rollback_leaves_a_third_target_its_weight() -> None:
    split = open_alb(Elb([forward(web=60, web_v2=30, blue=10)])).look().split
    (change,) = alb.plan_rollback(split, "web", "web-v2")
    assert {d.field: d.after for d in change.diff} == {"web": 90, "web-v2": 0}


def test_a_rollback_needs_no_group_of_the_canary() -> None:
    split = open_alb(Elb([forward(web=0)])).look().split
    (change,) = alb.plan_rollback(split, "web", "web-v2")
    assert {d.field: d.after for d in change.diff} == {"web": 100}


def test_a_rollback_by_somebody_else_is_marked_on_the_rule() -> None:
    opened = open_alb(Elb([forward(web=75, web_v2=25)], tags={"team": "shop"}))
    roll_back(opened.session, lambda words: None)
    assert set(opened.elb.tags) == {"team", "runbook:rolled-back"}


# --- undo -----------------------------------------------------------------------------


def back(opened: Plain, notebook: str = "") -> list[Any]:
    """Undo what the newest run, or one notebook of it, changed."""
    plan = plan_undo(opened.session, notebook=notebook)
    return apply(opened.session, clear(replace(plan, needs=())))


def test_undo_writes_the_former_weights_in_one_call() -> None:
    opened = open_alb(Elb([COGNITO, {**forward(web=100, web_v2=0), "Order": 2}]))
    shift(opened, 5), shift(opened, 25)
    back(opened)
    assert (opened.elb.calls, opened.elb.weights) == (["modify_rule"] * 3, STABLE)
    assert (opened.elb.actions or [])[0] == COGNITO


def test_undo_twice_is_nothing_the_second_time_where_a_weight_was_written_twice() -> None:
    opened = open_alb()
    shift(opened, 25)
    apply(opened.session, clear(alb.plan_split(opened.look().split, STABLE)))
    shift(opened, 25)
    shift(opened, 50)
    back(opened)
    assert (opened.elb.weights, len(plan_undo(opened.session))) == (STABLE, 0)


def test_undo_shows_whose_weight_comes_back_and_nothing_else() -> None:
    opened = open_alb(Elb([LOGIN, {**forward(web=100, web_v2=0), "Order": 2}]))
    shift(opened, 25)
    (change,) = plan_undo(opened.session)
    told = {d.field: (d.before, d.after) for d in change.diff}
    assert told == {f"groups[{group('web')}].weight": (75, 100), f"groups[{group('web-v2')}].weight": (25, 0)}


def test_undo_stops_at_somebody_elses_edit() -> None:
    opened = open_alb()
    shift(opened, 25)
    opened.elb.conditions = [HOST]
    with pytest.raises(PlanError, match="somebody has changed it since"):
        plan_undo(opened.session)


def test_undo_never_raises_the_canary() -> None:
    opened = open_alb(Elb([forward(web=75, web_v2=25)]))
    apply(opened.session, clear(alb.plan_split(opened.look().split, STABLE)))
    with pytest.raises(PlanError, match="it would raise web-v2 from 0 to 25 %"):
        plan_undo(opened.session)


def test_undo_of_a_forged_record_changes_no_more_than_weights() -> None:
    opened = open_alb()
    shift(opened, 25)
    (change,) = alb.plan_split(opened.look().split, STABLE)
    assert change.inverse is not None
    for actions, words in (
        ([forward(web=100, evil=0)], "would send requests to target group evil, which nobody names"),
        ([{"Type": "redirect", "Order": 1}], "would change more than weights"),
    ):
        call = replace(change.call, arguments={"RuleArn": RULE, "Actions": actions})
        assert words in alb.foreign(opened.look(), replace(change.inverse, call=call))
    assert alb.foreign(opened.look(), change.inverse) == ""


# --- the trial ------------------------------------------------------------------------

TRIED = {**FILE["shift"], "trial": {"header": "x-runbook-trial"}}


def trial_of(elb: Elb, value: str = "run-1") -> dict[str, Any]:
    """Return the arguments of the call that makes a trial's rule."""
    opened = open_alb(elb, shift=TRIED)
    split = opened.look().split
    (change,) = alb.plan_trial(opened.session.parameters, split, "x-runbook-trial", value)
    assert isinstance(change.call.arguments, dict)
    return change.call.arguments


def test_a_trial_matches_what_the_rule_matches_and_its_header() -> None:
    host = {**HOST, "Values": ["shop.test", "*.shop.test"]}  # which AWS says twice
    last = {**forward(web=100, web_v2=0), "Order": 2}
    said = trial_of(Elb([COGNITO, last], conditions=[host], transforms=[REWRITE]))
    only = {"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "x-runbook-trial", "Values": ["run-1"]}}
    assert (said["ListenerArn"], said["Priority"]) == (LISTENER, 1)
    assert said["Conditions"] == [HOST, only]
    assert said["Actions"] == [COGNITO, {**forward(web_v2=100), "Order": 2}]
    assert said["Transforms"] == [REWRITE]
    assert {"Key": "runbook:environment", "Value": "shop"} in said["Tags"]


def test_a_trial_needs_a_place_before_the_rule_and_for_its_condition() -> None:
    with pytest.raises(PlanError, match="it has priority 1, so no rule of a trial can come before it"):
        trial_of(Elb([forward(web=100, web_v2=0)], priority="1"))
    five = {**PATH, "PathPatternConfig": {"Values": [f"/{n}" for n in range(5)]}}
    with pytest.raises(PlanError, match="it logs callers in by a client secret, which AWS does not tell"):
        trial_of(Elb([LOGIN, {**forward(web=100, web_v2=0), "Order": 2}]))
    with pytest.raises(PlanError, match="its conditions have 5 values; a rule takes 5"):
        trial_of(Elb([forward(web=100, web_v2=0)], conditions=[five]))


@pytest.fixture
def left() -> Elb:
    """Return a load balancer on which a process died between making a trial and ending it."""
    opened = open_alb(shift=TRIED)
    trial = alb.plan_trial(opened.session.parameters, opened.look().split, "x-runbook-trial", "run-1")
    apply(opened.session, clear(trial))
    opened.elb.calls.clear()
    return opened.elb


ENDS: dict[str, Callable[[Plain], Any]] = {
    "05": lambda opened: end_trial(opened.session),
    "a rollback": lambda opened: roll_back(opened.session, lambda words: None),
    "undo": lambda opened: apply(opened.session, clear(plan_undo(opened.session))),
    "undo of 05": lambda opened: apply(opened.session, clear(plan_undo(opened.session, notebook="05_shift_traffic"))),
    "90": lambda opened: apply(opened.session, clear(replace(opened.look().plan_removal(), needs=()))),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_a_trial_that_a_crash_left_behind_is_found_and_ended(left: Elb, end: Callable[[Plain], Any]) -> None:
    end(open_alb(left))  # by a file that asks for no trial any more
    assert (left.calls, left.trial) == (["delete_rule"], None)
    end(open_alb(left))
    assert left.calls == ["delete_rule"]


def test_a_trial_of_somebody_else_is_left_alone(left: Elb) -> None:
    end_trial(open_alb(left, environment="their-shop").session)
    assert left.calls == []


def test_a_trial_that_was_left_behind_is_told_by_00(left: Elb) -> None:
    (check,) = [check for check in check_environment(open_alb(left).look()) if check.where == "trial"]
    assert check.level == "WARN"


def test_undo_of_another_notebook_leaves_a_trial(left: Elb) -> None:
    assert plan_undo(open_alb(left).session, notebook="06_tear_down_service_b").changes == ()


# --- retirement -----------------------------------------------------------------------


def test_the_group_leaves_the_rule_last_and_stays() -> None:
    plan = open_alb(Elb([forward(web=0, web_v2=100)]), "06_tear_down_service_b").look().plan_retirement()
    names = [change.name for change in plan]
    assert names == [
        "web as retired (tag on rule shop/9683b2d02a6cabee)",
        "service web's tasks",
        "service web",
        "rule shop/9683b2d02a6cabee",
    ]
    last = plan.changes[-1]
    assert [each["group"] for each in last.wanted["groups"]] == [group("web-v2")]
    assert "delete_target_group" not in [change.call.operation for change in plan]


def test_stable_is_not_retired_from_a_rule_without_the_canary_s_group() -> None:
    with pytest.raises(PlanError, match="the target group of web-v2 is not in it: web 100"):
        open_alb(Elb([forward(web=100)])).look().plan_retirement()


def test_what_comes_back_waits_until_it_is_healthy_in_its_group() -> None:
    opened = open_alb(Elb([forward(web=0, web_v2=100)]))
    inverse = opened.look().plan_retirement().changes[1].inverse
    assert inverse is not None
    assert [wait.what for wait in inverse.waits] == ["2 tasks of web running", "a healthy target of web"]
    last = inverse.waits[-1]
    assert holds_after(opened.session, last)
    opened.elb.health["web"] = ["initial", "draining"]
    assert not holds_after(opened.session, last)


@pytest.mark.parametrize(("target", "delay", "seconds"), [("aws", "30", 120), ("aws", "300", 300), ("local", "30", 30)])
def test_stable_must_be_idle_for_two_minutes_or_its_deregistration_delay(target: str, delay: str, seconds: int) -> None:
    elb = Elb([forward(web=0, web_v2=100)], attributes={"deregistration_delay.timeout_seconds": delay})
    assert alb.idle(open_alb(elb, target=target).look()).least_seconds == seconds


def test_another_rule_that_forwards_to_the_group_is_named() -> None:
    other = {
        "RuleArn": f"{RULE[:-16]}aaaaaaaaaaaaaaaa",
        "Actions": [{"Type": "forward", "TargetGroupArn": group("web")}],
    }
    found = open_alb(Elb([forward(web=0, web_v2=100)], others=[other])).look()
    unreferenced = found_of(of_retirement(found), "nothing else refers to it")
    assert (unreferenced.holds, unreferenced.found) == (False, "rule shop/aaaaaaaaaaaaaaaa")


def test_the_rule_itself_is_no_other_reference() -> None:
    found = open_alb(Elb([forward(web=0, web_v2=100)])).look()
    unreferenced = found_of(of_retirement(found), "nothing else refers to it")
    assert (unreferenced.holds, unreferenced.found) == (True, "only its own rule")


def test_once_it_is_retired_nothing_is_left_to_do_and_00_is_content() -> None:
    opened = open_alb(Elb([forward(web_v2=100)], tags={"runbook:retired": "web"}))
    del opened.ecs.tasks["web"]
    found = opened.look()
    assert found.plan_retirement().changes == ()
    require_checks(check_environment(found))


def test_nothing_is_removed_and_all_of_it_is_named() -> None:
    plan = open_alb(Elb([forward(web_v2=100)])).look().plan_removal()
    assert plan.changes == ()
    assert plan.stays[0] == "rule shop/9683b2d02a6cabee: it was there before"
    assert {words.split(":")[0] for words in plan.stays[1:]} == {"target group web", "target group web-v2"}


# --- the map --------------------------------------------------------------------------


def test_the_map_shows_the_rule_and_where_weights_go() -> None:
    found = open_alb(Elb([forward(web=100, web_v2=0)])).look()
    words = mapped(found, found.plan_step(25)).drawn().words.replace("\N{NO-BREAK SPACE}", " ")
    assert "a caller calls shop.test; shop.test → rule shop/9683b2d02a6cabee" in words
    assert "rule shop/9683b2d02a6cabee → web (100 → 75 %), web-v2 (0 → 25 %)" in words


def test_every_change_is_about_something_on_the_map() -> None:
    found = open_alb(Elb([forward(web=0, web_v2=100)])).look()
    plan = found.plan_retirement()
    shown = mapped(found, plan)
    on_boxes = {change.title for changes in shown.changes_on.values() for change in changes}
    assert on_boxes == {change.title for change in plan}
    assert shown.frame not in shown.changes_on
