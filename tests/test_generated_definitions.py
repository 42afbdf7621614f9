"""Whatever RegisterTaskDefinition's model allows: the sidecar goes in and out again, or it is refused in a sentence."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import botocore.validate
import pytest
from hypothesis import given, settings

from runbook_lib.errors import PlanError
from runbook_lib.local.control_plane.task_definition_rules import check_definition, normalised
from runbook_lib.local.control_plane.wire import ApiError
from runbook_lib.task_definition.envoy import IDENTITY
from runbook_lib.task_definition.form import register_input
from runbook_lib.task_definition.lint import lint
from runbook_lib.task_definition.sidecar import Sidecar, sidecar_of, with_envoy, without_envoy
from tests.generated_definitions import ANY, ENVOY, MODEL, PLAUSIBLE, complete, found_in, members

Json = dict[str, Any]
IMAGE = "840364872350.dkr.ecr.eu-west-1.amazonaws.com/aws-appmesh-envoy:v1.39.1.0-prod"
NODE = "arn:aws:appmesh:eu-west-1:111122223333:mesh/shop/virtualNode/orders"
SIDECARS = (Sidecar(IMAGE, NODE, (9080,), xray=True), Sidecar(IMAGE, NODE, (9080,), launch_type="EC2"))


def refusal_of(definition: Json) -> str:
    """Return the words the local ECS refuses a definition with; "" where it is registered."""
    if words := botocore.validate.ParamValidator().validate(definition, MODEL).generate_report():
        return words
    try:
        check_definition(definition, normalised(definition))
    except ApiError as error:
        return error.message
    return ""


def refused(definition: Json, sidecar: Sidecar) -> PlanError | None:
    try:
        with_envoy(definition, sidecar)
    except PlanError as error:
        return error
    return None


def applications(definition: Json) -> dict[str, str]:
    """Return the images of the containers that are neither Envoy nor a daemon, in other words than the library's."""
    images = {c["name"]: c["image"] for c in definition["containerDefinitions"]}
    others = ("aws-appmesh-envoy", "aws-xray-daemon")
    return {n: i for n, i in images.items() if n != "xray-daemon" and not any(other in i for other in others)}


def check(definition: Json, sidecar: Sidecar) -> Json | None:
    """Put the sidecar into a definition and take it out again; return it with the sidecar where it takes one."""
    given = copy.deepcopy(definition)
    lint(definition, launch_type=sidecar.launch_type)
    if error := refused(definition, sidecar):
        assert error.message.startswith("task definition ")
        assert error.hint
        return None
    after = with_envoy(definition, sidecar)
    assert definition == given
    assert applications(after) == applications(definition) != {}
    assert without_envoy(after) == register_input(definition)
    assert with_envoy(after, sidecar) == after
    assert sidecar_of(after) is not None
    lint(after, launch_type=sidecar.launch_type)
    return after


def check_registered(definition: Json) -> None:
    """Compare what the local ECS says before the sidecar, with it, and without it again: nothing."""
    assert refusal_of(definition) == ""
    for sidecar in SIDECARS:
        if after := check(definition, sidecar):
            assert refusal_of(after) == ""
            assert refusal_of(without_envoy(after)) == ""


def test_no_member_of_the_model_is_lost() -> None:
    definition = complete()
    assert set(found_in(definition)) == set(members())
    definition["containerDefinitions"].append({"name": "envoy", "image": ENVOY})
    for sidecar in SIDECARS:
        after = check(definition, replace(sidecar, launch_type="FARGATE"))
        assert after
        assert set(found_in(after)) == set(members())


@given(ANY)
@settings(max_examples=60)
def test_whatever_the_model_allows_takes_the_sidecar_or_is_refused_in_a_sentence(definition: Json) -> None:
    for sidecar in SIDECARS:
        check(definition, sidecar)


def test_a_variable_that_stands_twice_in_an_envoy_already_there_stays_so() -> None:
    twice = [{"name": "STAGE", "value": "a"}, {"name": "STAGE", "value": "b"}, {"name": IDENTITY[0], "value": NODE}]
    envoy = {"name": "worker", "image": ENVOY, "environment": [*twice, twice[0]]}
    definition = complete() | {"containerDefinitions": [{"name": "orders", "image": "orders:41"}, envoy]}
    del definition["proxyConfiguration"]
    for sidecar in SIDECARS:
        assert check(definition, replace(sidecar, launch_type="FARGATE"))


@given(PLAUSIBLE)
@settings(max_examples=60)
def test_what_registers_does_so_with_the_sidecar_too_and_without_it_again(definition: Json) -> None:
    check_registered(definition)


@pytest.mark.soak
@given(ANY)
@settings(max_examples=3000)
def test_thousands_of_definitions_take_the_sidecar_or_are_refused_in_a_sentence(definition: Json) -> None:
    for sidecar in SIDECARS:
        check(definition, sidecar)


@pytest.mark.soak
@given(PLAUSIBLE)
@settings(max_examples=3000)
def test_thousands_of_definitions_register_with_the_sidecar_and_without(definition: Json) -> None:
    check_registered(definition)
