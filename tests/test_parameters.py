"""A parameters file is right, or it is refused: what, where, expected, found, next."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from runbook_lib import parameters
from runbook_lib.errors import ParametersError
from runbook_lib.parameters import Parameters, load, model, parameter_names
from tests import scenes

B = "serviceb.apps.local"


def refusal(**values: Any) -> str:
    with pytest.raises(ParametersError) as caught:
        scenes.load(**values)
    return str(caught.value)


def other_route(**values: Any) -> dict[str, Any]:
    """Return a second router with one route that is not under shift."""
    return {"other": {"routes": {"x": {"targets": ["serviceB"], **values}}}}


def shifted(**values: Any) -> dict[str, Any]:
    """Return the route under shift with some values of its own."""
    return {"serviceB": {"routes": {"serviceB": values}}}


# What is refused, with where, what was expected and what was found.


WORKER = {"node": "worker"}


def filtered(**match: Any) -> dict[str, Any]:
    """Give the route under shift another match."""
    return {"routers": {"serviceB": {"routes": {"serviceB": {"match": match}}}}}


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a misspelt key": ({"mesh": {"nmae": "x"}}, r"mesh: unknown key 'nmae'; did you mean 'name'\?"),
    "a misspelt key deep down": (
        {"services": {"serviceA": {"backend": []}}},
        r"services\.serviceA: unknown key 'backend'; did you mean 'backends'\?",
    ),
    "a space in a name": ({"mesh": {"name": "a b"}}, r"mesh\.name: expected up to 255 letters, .*; found 'a b'"),
    "a dot in a name": ({"cluster": "a.b"}, r"cluster: .*found 'a\.b'"),
    "an empty name": ({"cluster": ""}, r"cluster: .*found ''"),
    "a name too long": ({"cluster": "x" * 256}, r"cluster: expected up to 255 letters"),
    "a megabyte of name": ({"mesh": {"name": "x" * 10**6}}, r"mesh\.name: .*; found 'x{79}$"),
    "a slash in a DNS name": ({"namespace": "apps/local"}, r"namespace: .*found 'apps/local'"),
    "an unquoted account": ({"account_id": 123456789012}, r"account_id: .*valid string; found 123456789012"),
    "a short account": ({"account_id": "1234"}, r"account_id: .*found '1234'"),
    "an unknown region": ({"region": "us-west-9"}, r"region: expected .*found 'us-west-9'"),
    "a region that YAML took for False": ({"region": False}, r"region: .*valid string; found False"),
    "a name that YAML took for False": (
        {"services": {False: {"hostname": "no.apps.local", "task_definition": "no"}}},
        r"services: expected names that are text; found False: put it in quotes",
    ),
    "Envoy as root": ({"envoy": {"user": "0"}}, r"envoy\.user: .*found '0'"),
    "Envoy as a user by name": ({"envoy": {"user": "envoy"}}, r"envoy\.user: .*found 'envoy'"),
    "FIPS where there is none": ({"region": "eu-west-1", "envoy": {"fips": True}}, r"envoy\.fips: .*found 'eu-west-1'"),
    "an image too old": (
        {"envoy": {"image_tag": "v1.17.1.0-prod"}},
        r"envoy\.image_tag: expected v1\.17\.2\.0-prod or later, found 'v1\.17\.1\.0-prod'",
    ),
    "another ignored user": (
        {"envoy": {"ignored_uid": "1000"}},
        r"envoy\.ignored_uid: expected Envoy's user '1337'; found '1000'",
    ),
    "sixteen ignored ports": ({"envoy": {"ignored_ports": list(range(1, 17))}}, r"envoy\.ignored_ports: .*at most 15"),
    "a log driver that Fargate does not have": (
        {"envoy": {"log": {"driver": "journald"}}},
        r"envoy\.log\.driver: expected one of awslogs, awsfirelens, splunk, since .*; found 'journald'",
    ),
    "two ways to match a header": (
        filtered(headers=[{"name": "x", "suffix": "a", "regex": "b"}]),
        r"match\.headers \(item 1\): expected suffix or regex; found both",
    ),
    "three ways to match a path": (
        filtered(path="/a", path_regex="/b"),
        r"match: expected prefix or path or path_regex; found 3 of them",
    ),
    "a regular expression that is none": (
        filtered(prefix=None, path_regex="/("),
        r"match\.path_regex: expected a regular expression; found '/\(': ",
    ),
    "an empty range": (
        filtered(headers=[{"name": "x", "range": {"start": 2, "end": 2}}]),
        r"match\.headers \(item 1\)\.range: expected a start below its end; found 2 and 2",
    ),
    "another port than the router's": (filtered(port=80), r"match\.port: expected the router's 9080; found 80"),
    "a caller that is called": (
        {"services": {"serviceA": {"ports": []}}},
        r"services\.serviceA\.hostname: applies to a service that listens; ports is empty here: it only calls",
    ),
    "a name whose node only calls": (
        {"services": {"worker": {"task_definition": "w", "ports": []}}, "virtual_services": {"w.apps.local": WORKER}},
        r"virtual_services\.w\.apps\.local: expected a service that listens; worker only calls",
    ),
    "a target that only calls": (
        {
            "services": {"worker": {"task_definition": "w", "ports": []}},
            "routers": {"other": {"routes": {"x": {"targets": ["worker"]}}}},
        },
        r"routers\.other\.routes\.x\.targets: expected a service that listens; worker only calls",
    ),
    "a quoted port": ({"port": "9080"}, r"port: .*valid integer; found '9080'"),
    "port 0": ({"port": 0}, r"port: .*greater than or equal to 1; found 0"),
    "port 65536": ({"port": 65536}, r"port: .*65535; found 65536"),
    "an unknown protocol": ({"protocol": "http3"}, r"protocol: .*'http2'.*; found 'http3'"),
    "a word for a boolean": ({"envoy": {"xray": "false"}}, r"envoy\.xray: .*valid boolean; found 'false'"),
    "an unknown target": ({"target": "asw"}, r"target: .*'local' or 'aws'; found 'asw'"),
    "an unknown mode": ({"mode": "aply"}, r"mode: .*'plan' or 'apply'; found 'aply'"),
    "steps that fall": ({"shift": {"steps": [50, 25]}}, r"shift\.steps: expected steps that rise; found \[50, 25\]"),
    "every metric muted": (
        {"shift": {"verdict": {"muted": ["errors"]}}},
        r"shift\.verdict\.muted: expected a metric that decides; found all of them muted: errors",
    ),
    "alarms as the only judge, and none": (
        {"shift": {"verdict": {"errors_by_alarm": True}}},
        r"shift\.verdict\.errors_by_alarm: expected at least one alarm in shift\.alarms; found none",
    ),
    "a step twice": ({"shift": {"steps": [25, 25]}}, r"shift\.steps: expected steps that rise"),
    "no step": ({"shift": {"steps": []}}, r"shift\.steps: .*at least 1"),
    "step 0": ({"shift": {"steps": [0, 100]}}, r"shift\.steps \(item 1\): .*found 0"),
    "step 101": ({"shift": {"steps": [101]}}, r"shift\.steps \(item 1\): .*found 101"),
    "a step with a percent sign": ({"shift": {"steps": ["25%"]}}, r"shift\.steps \(item 1\): .*integer; found '25%'"),
    "a step that is a float": ({"shift": {"steps": [12.5]}}, r"shift\.steps \(item 1\): .*integer; found 12\.5"),
    "a stable service nobody knows": (
        {"shift": {"stable": "serviceC"}},
        r"shift\.stable: no service 'serviceC'; expected one of \['serviceA', 'serviceB', 'serviceBv2'\]",
    ),
    "a shift to itself": ({"shift": {"canary": "serviceB"}}, r"shift\.canary: expected another service"),
    "a shift without a router": (
        {"shift": {"name": "servicea.apps.local"}},
        r"shift\.name: expected a virtual service with a router, one of \['serviceb\.apps\.local'\]",
    ),
    "a shift on a route nobody knows": ({"shift": {"route": "x"}}, r"shift\.route: expected one of .*; found 'x'"),
    "weights on the route under shift": (
        {"routers": shifted(targets={"serviceB": 75, "serviceBv2": 25})},
        r"routers\.serviceB\.routes\.serviceB\.targets: expected names only.*; found weights",
    ),
    "other targets under shift": (
        {"routers": shifted(targets=["serviceA", "serviceB"])},
        r"expected the shift's \['serviceB', 'serviceBv2'\]; found \['serviceA', 'serviceB'\]",
    ),
    "weights of 110": (
        {"routers": other_route(targets={"serviceB": 60, "serviceBv2": 50})},
        r"routers\.other\.routes\.x\.targets: expected weights that sum to 100; found 110",
    ),
    "weights of 0": (
        {"routers": other_route(targets={"serviceB": 0, "serviceBv2": 0})},
        r"expected weights that sum to 100; found 0",
    ),
    "a weight that is a float": (
        {"routers": other_route(targets={"serviceB": 62.5, "serviceBv2": 37.5})},
        r"targets\.serviceB: .*integer; found 62\.5",
    ),
    "a negative weight": (
        {"routers": other_route(targets={"serviceB": -10, "serviceBv2": 110})},
        r"targets\.serviceB: .*greater than or equal to 0; found -10",
    ),
    "eleven targets": (
        {"routers": other_route(targets={f"n{i}": 10 for i in range(11)})},
        r"targets: expected 1 to 10 targets; found 11",
    ),
    "no target": ({"routers": other_route(targets=[])}, r"targets: expected 1 to 10 targets; found 0"),
    "a target twice": (
        {"routers": shifted(targets=["serviceB", "serviceB"])},
        r"targets: expected distinct values; found 'serviceB' 2 times",
    ),
    "a target nobody knows": (
        {"routers": other_route(targets=["serviceBv3"])},
        r"targets: no service 'serviceBv3'; did you mean 'serviceBv2'\?",
    ),
    "several targets without weights": (
        {"routers": other_route(targets=["serviceB", "serviceBv2"])},
        r"expected a weight for each",
    ),
    "a router without routes": ({"routers": {"other": {"routes": {}}}}, r"routers\.other\.routes: .*at least 1"),
    "a prefix without a slash": (
        {"routers": other_route(match={"prefix": "api"})},
        r"match\.prefix: .*'\^/'; found 'api'",
    ),
    "a retry policy that never retries": (
        {"routers": other_route(retry={"http_events": [], "tcp_events": []})},
        r"routers\.other\.routes\.x\.retry: expected at least one event",
    ),
    "two protocols along a route": (
        {"services": {"serviceB": {"protocol": "http"}}},
        r"expected one protocol along a route, the router's http2; serviceB has http",
    ),
    "a backend nobody knows": (
        {"services": {"serviceA": {"backends": ["servicec.apps.local"]}}},
        r"services\.serviceA\.backends: no virtual service 'servicec\.apps\.local'; did you mean '.+'\?",
    ),
    "one hostname twice": (
        {"services": {"serviceB": {"hostname": "servicebv2.apps.local"}}},
        r"services\.\*\.hostname: expected distinct values; found 'servicebv2\.apps\.local' 2 times",
    ),
    "a hostname left out": (
        {"services": {"serviceC": {"task_definition": "c"}}},
        r"services\.serviceC\.hostname: expected, since engine is appmesh; found none",
    ),
    "a size Fargate has not": (
        {"services": {"serviceB": {"cpu": 256, "memory": 4096}}},
        r"services\.serviceB: Fargate has no size of 256 CPU units with 4096 MiB",
    ),
    "half a size on Fargate": ({"services": {"serviceB": {"cpu": 256}}}, r"Fargate has no size of 256 .* give both"),
    "neither node nor router": ({"virtual_services": {"x.apps.local": {}}}, r"expected either node or router"),
    "both node and router": ({"virtual_services": {B: {"node": "serviceB"}}}, r"expected either node or router"),
    "a provider nobody knows": (
        {"virtual_services": {"x.apps.local": {"node": "serviceBB"}}},
        r"virtual_services\.x\.apps\.local: no service 'serviceBB'; did you mean 'serviceB'\?",
    ),
    "two names that differ only by case": (
        {"virtual_services": {"ServiceB.apps.local": {"router": "serviceB"}}},
        r"virtual_services: serviceb\.apps\.local is there twice, differing only by case",
    ),
    "a health check too eager": (
        {"services": {"serviceB": {"health_check": {"interval_millis": 1000}}}},
        r"services\.serviceB\.health_check\.interval_millis: .*5000; found 1000",
    ),
    "a null where a service should be": ({"services": {"serviceC": None}}, r"services\.serviceC: .*found None"),
}


@pytest.mark.parametrize(("values", "pattern"), REFUSED.values(), ids=REFUSED)
def test_refuses(values: dict[str, Any], pattern: str) -> None:
    found = refusal(**values)
    assert re.search(rf"^scene: .*{pattern}", found, re.MULTILINE), found
    assert "\nNext: " in found


def test_every_problem_is_named_at_once() -> None:
    found = refusal(services={"serviceA": {"backends": ["x.apps.local"]}}, envoy={"ignored_uid": "1"})
    assert "services.serviceA.backends" in found
    assert "envoy.ignored_uid" in found


def test_a_refusal_shows_no_secret() -> None:
    assert "IOSFODNN7EXAMPLE" not in refusal(mesh={"name": "AKIAIOSFODNN7EXAMPLE !"})


@pytest.mark.parametrize("tag", ["v1.17.2.0-prod", "v1.39.1.0-prod"])
def test_an_image_new_enough_is_taken(tag: str) -> None:
    assert scenes.load(envoy={"image_tag": tag}).envoy.image_tag == tag


def test_a_shift_may_end_below_100() -> None:
    assert scenes.load(shift={"steps": [5, 50]}).shift.steps == [5, 50]


def test_a_router_may_listen_elsewhere_than_its_nodes() -> None:
    p = scenes.load(routers={"serviceB": {"port": 80}})
    assert p.routers["serviceB"].port == 80
    assert p.ports_of("serviceB") == [9080]


def test_ec2_is_not_bound_to_fargate_sizes() -> None:
    p = scenes.load(services={"serviceB": {"launch_type": "EC2", "cpu": 300, "memory": 700}})
    assert p.launch_type_of("serviceB") == "EC2"


# Files.


def written(tmp_path: Path, text: str) -> str:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    return str(file)


UNREADABLE = {
    "empty": ("", "expected names and values, found an empty file"),
    "a list": ("- environment: local\n", "expected names and values, found a list"),
    "not YAML": ("mesh: {name: apps\nport: 1", "not YAML"),
    "a tab": ("mesh:\n\tname: apps", "not YAML"),
    "a key twice": ("shift:\n  steps: [25]\n  steps: [100]", "line 3: 'steps' is there twice, first in line 2"),
    "a Python tag": ("mesh: !!python/object/apply:os.getcwd []", "not YAML"),
    "code in a key": ("'environment=1;import os#': local", "unknown key 'environment=1;import os#'"),
    "an account as a number": (
        "account_id: 123456789012\n",
        "account_id: expected a valid string; found 123456789012: put it in quotes",
    ),
    "a region called NO": ("region: NO\n", "region: expected a valid string; found False"),
}


@pytest.mark.parametrize(("text", "words"), UNREADABLE.values(), ids=UNREADABLE)
def test_a_file_is_refused_that_is(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ParametersError, match=re.escape(words)) as caught:
        load(written(tmp_path, text))
    assert "mine.yaml" in str(caught.value)


@pytest.mark.parametrize(
    ("former", "now", "where", "words"),
    [
        ("  bake_seconds: 20", "  bake_secnds: 20", "  bake_secnds", "shift: unknown key 'bake_secnds'"),
        (
            "steps: [25, 100]",
            "steps:\n    - 25\n    - many",
            "    - many",
            "shift.steps (item 2): expected a valid integer",
        ),
        ("cluster: ", "clutser: ", "clutser: ", "unknown key 'clutser'"),
    ],
    ids=["a key within", "an item of a list", "a top-level key"],
)
def test_a_refusal_names_the_line(former: str, now: str, where: str, words: str, tmp_path: Path) -> None:
    text = (parameters.FOLDER / "local.yaml").read_text()
    assert former in text
    text = text.replace(former, now)
    (line,) = (number for number, said in enumerate(text.splitlines(), 1) if said.startswith(where))
    with pytest.raises(ParametersError) as caught:
        load(written(tmp_path, text))
    assert f"mine.yaml, line {line}: {words}" in str(caught.value)


def test_what_was_given_beside_a_file_is_not_blamed_on_it(tmp_path: Path) -> None:
    file = written(tmp_path, (parameters.FOLDER / "local.yaml").read_text().replace("port: 9080", "port: 0"))
    with pytest.raises(ParametersError) as caught:
        load(file, {"mode": False, "regoin": "eu-west-1"})
    assert "given: unknown key 'regoin'" in str(caught.value)
    with pytest.raises(ParametersError) as caught:
        load(file, {"mode": False})
    assert "given: mode: expected" in str(caught.value)
    assert "mine.yaml, line 11: port: expected greater than or equal to 1; found 0" in str(caught.value)
    assert caught.value.hint.startswith("fix the file")


def test_a_file_with_other_bytes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ParametersError, match=r"mine\.yaml: not YAML"):
        load(str(tmp_path / "mine.yaml"))


def test_an_unknown_environment_names_the_nearest() -> None:
    with pytest.raises(
        ParametersError,
        match="expected one of local, local-alb, local-alb-h2, local-alb-new, production, staging, staging-alb",
    ) as caught:
        load("stagin")
    assert caught.value.hint == "did you mean 'staging'?"


@pytest.mark.parametrize("name", ["", "x" * 10**6, "no\0where"], ids=["empty", "a megabyte", "a null"])
def test_an_impossible_environment_is_refused_in_one_short_sentence(name: str) -> None:
    with pytest.raises(ParametersError) as caught:
        load(name)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("name", ["local", "staging", "production"])
def test_the_shipped_file_is_taken(name: str) -> None:
    p = load(name)
    assert p.environment == name
    assert p.notes == ()


def test_the_shipped_files_name_three_accounts() -> None:
    assert len({load(name).account_id for name in ("local", "staging", "production")}) == 3


def test_only_local_applies_when_not_told() -> None:
    assert {name: load(name).mode for name in ("local", "staging", "production")} == {
        "local": "apply",
        "staging": "plan",
        "production": "plan",
    }


def test_a_path_is_as_good_as_a_name(tmp_path: Path) -> None:
    assert load(written(tmp_path, yaml.safe_dump(scenes.LOCAL))) == load("local")


# Values given beside the file.


def test_a_given_value_replaces_the_files() -> None:
    assert load("staging", {"mode": "apply", "region": "eu-west-1"}).region == "eu-west-1"


def test_a_given_mapping_replaces_the_files_as_a_whole() -> None:
    with pytest.raises(ParametersError, match=r"mesh\.name: Field required"):
        load("local", {"mesh": {"egress": "ALLOW_ALL"}})


def test_an_empty_mode_takes_the_files() -> None:
    assert load("staging", {"mode": ""}).mode == "plan"


def test_given_values_are_checked_like_the_files() -> None:
    with pytest.raises(ParametersError, match=r"given: port: .*found '9080'"):
        load("local", {"port": "9080"})


def test_a_whole_file_may_be_given_without_one() -> None:
    assert load("mine", {**scenes.LOCAL, "environment": "ignored"}).environment == "mine"


def test_a_notebook_may_be_given_every_top_level_name_and_undo() -> None:
    assert set(parameter_names()) == {*Parameters.model_fields, "undo"}


# Names.


def test_dns_names_are_lower_cased_with_a_note() -> None:
    p = scenes.load(
        namespace="Apps.local",
        services={"serviceB": {"hostname": "serviceB.apps.local"}, "serviceA": {"backends": ["ServiceB.apps.local"]}},
        shift={"name": "ServiceB.apps.local"},
    )
    assert (p.namespace, p.services["serviceB"].hostname) == ("apps.local", "serviceb.apps.local")
    assert p.services["serviceA"].backends == [p.shift.name] == [B]
    assert {note.split(":")[0] for note in p.notes} == {
        "namespace",
        "shift.name",
        "services.serviceB.hostname",
        "services.serviceA.backends",
    }
    assert any("'serviceB.apps.local' was read as 'serviceb.apps.local'" in note for note in p.notes)


def test_the_namespace_of_a_service_is_lower_cased_too() -> None:
    found = scenes.load(services={"serviceB": {"cloud_map": {"service": "b", "namespace": "Apps.local"}}})
    assert found.services["serviceB"].cloud_map.namespace == "apps.local"  # type: ignore[union-attr]
    assert [note.split(":")[0] for note in found.notes] == ["services.serviceB.cloud_map.namespace"]


def test_a_moment_is_no_name_that_was_lower_cased() -> None:
    approval = {"approver": "Ada", "plan": "0123456789ab", "until": "2030-01-31T12:00:00+00:00"}
    assert scenes.load(approval=approval).notes == ()


def test_the_names_of_nodes_keep_their_case() -> None:
    assert list(scenes.load().services) == ["serviceA", "serviceB", "serviceBv2"]


# What the record answers.


def test_what_a_service_does_not_say_is_the_files() -> None:
    p = scenes.load(services={"serviceB": {"ports": [8080, 8081], "ecs_service": "b-svc"}})
    assert (p.ports_of("serviceA"), p.ports_of("serviceB")) == ([9080], [8080, 8081])
    assert (p.ecs_service_of("serviceA"), p.ecs_service_of("serviceB")) == ("serviceA", "b-svc")
    assert (p.protocol_of("serviceA"), p.launch_type_of("serviceA")) == ("http2", "FARGATE")


def test_callers_and_callees_follow_the_backends() -> None:
    p = scenes.load()
    assert p.callees_of("serviceA") == {"serviceB", "serviceBv2"}
    assert p.callees_of("serviceB") == set()
    assert p.callers_of(B) == ["serviceA"]


def test_router_and_route_follow_from_the_name_under_shift() -> None:
    assert (scenes.load().router, scenes.load().route) == ("serviceB", "serviceB")


def test_parameters_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        scenes.load().port = 1  # type: ignore[misc]


def models() -> list[type[BaseModel]]:
    found = [m for m in vars(model).values() if isinstance(m, type) and issubclass(m, model.Strict)]
    return [m for m in found if m is not model.Strict]


@pytest.mark.parametrize("model", models(), ids=lambda model: model.__name__)
def test_every_key_says_what_it_is_for(model: type[BaseModel]) -> None:
    assert [name for name, field in model.model_fields.items() if not field.description] == []


@settings(max_examples=60)
@drawn(st.lists(st.integers(-5, 110), min_size=1, max_size=4, unique=True))
def test_steps_are_taken_exactly_when_they_rise_within_1_to_100(steps: list[int]) -> None:
    wanted = steps == sorted(steps) and steps[0] >= 1 and steps[-1] <= 100
    try:
        taken = scenes.load(shift={"steps": steps}).shift.steps == steps
    except ParametersError:
        taken = False
    assert taken == wanted


@settings(max_examples=60)
@drawn(st.lists(st.integers(-10, 110), min_size=1, max_size=3))
def test_fixed_weights_are_taken_exactly_when_they_are_percents_that_sum_to_100(weights: list[int]) -> None:
    wanted = sum(weights) == 100 and all(0 <= w <= 100 for w in weights)
    names = ["serviceA", "serviceB", "serviceBv2"]
    targets = dict(zip(names, weights, strict=False))
    try:
        scenes.load(routers=other_route(targets=targets))
        taken = True
    except ParametersError:
        taken = False
    assert taken == wanted


def test_more_approvals_than_there_are_approvers_are_refused() -> None:
    shift = scenes.given()["shift"]
    names = ["ada", "ada", "grace"]
    with pytest.raises(ParametersError, match=r"shift\.approvals\.required: expected at most .*, 2; found 3"):
        scenes.load(shift={**shift, "approvals": {"approvers": names, "required": 3}})
    for approvers in ([], ["arn:aws:sts::111122223333:assumed-role/Release/*"]):
        assert scenes.load(shift={**shift, "approvals": {"approvers": approvers, "required": 3}})
