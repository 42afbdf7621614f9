"""Values, differences and changes in words: short, in the reader's own names, and nothing secret."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from runbook_lib import plan_permissions, plan_sidecars, plan_undo, survey
from runbook_lib.plan import Answer, Difference, Plan
from runbook_lib.printable import counted
from runbook_lib.wording import fields_of, lines_of, text_of
from tests.scenes import NOTEBOOKS, one, open_at


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "–"),
        (7, "7"),
        (["a", {"b": 1, "c": 2}], "[a, {b: 1, c: 2}]"),
        ({"name": "AppPorts", "value": "9080"}, "AppPorts: 9080"),
        ({"name": "DB_PASSWORD", "value": "hunter2"}, "DB_PASSWORD: ****"),
        ("arn:aws:ecs:us-west-2:123456789012:task-definition/taskB:2", "taskB:2"),
        (Answer("task definition taskB", "taskDefinition.taskDefinitionArn"), "(the revision registered above)"),
        (Answer("mesh apps", "mesh.uid"), "(known once there is mesh apps)"),
    ],
)
def test_a_value_is_one_line_of_words(value: Any, words: str) -> None:
    assert text_of(value) == words


def test_a_path_goes_as_far_as_it_has_no_fork() -> None:
    spec = {"listeners": [{"portMapping": {"port": 1, "protocol": "http"}}], "backends": [], "dns": {"hostname": "b"}}
    assert lines_of(spec) == ["listeners.portMapping: {port: 1, protocol: http}", "dns.hostname: b"]


def test_a_container_is_its_image_and_size_and_names_its_variables() -> None:
    form = {"name": "app", "image": "app:1", "cpu": 256, "user": "1337", "ulimits": []}
    form["environment"] = [{"name": "MODE", "value": "loud"}]
    assert text_of(form) == "image app:1; cpu 256; environment MODE; with user"


def fields(*found: Difference, **more: Any) -> list[str]:
    return fields_of(one(diff=found, **more))


@pytest.mark.parametrize(
    ("target", "whole"),
    [
        ("spec.http2Route.action.weightedTargets[two]", {"virtualNode": "two", "weight": 5}),
        ("targets[two]", {"service": "two", "weight": 5}),
    ],
)
def test_a_weight_is_its_services_whatever_carries_it(target: str, whole: dict[str, Any]) -> None:
    assert fields(Difference(f"{target}.weight", 0, 25)) == ["two: 0 → 25"]
    assert fields(Difference(target, whole, None)) == ["two: 5 → –"]
    assert text_of([whole]) == "[two: 5]"


def test_an_item_without_a_weight_keeps_its_place() -> None:
    assert fields(Difference("containers[two].cpu", 1, 2)) == ["containers[two].cpu: 1 → 2"]
    assert fields(Difference("backends[two]", None, {"name": "two", "port": 1})) == [
        "backends[two]: – → {name: two, port: 1}"
    ]


def test_a_whole_thing_is_said_field_by_field_without_what_aws_put_there() -> None:
    state = {"uid": "1-2-3", "version": 4, "spec": {"egressFilter": {"type": "DROP_ALL"}}}
    assert fields(Difference("", state, None)) == ["egressFilter.type: DROP_ALL → –"]
    assert fields(Difference("", None, {"a": 1, "b": 2})) == ["a: – → 1", "b: – → 2"]


def test_what_has_no_field_is_named_by_what_happens_to_it() -> None:
    assert fields(Difference("", "one", "two"), verb="deploy") == ["deploy: one → two"]


def test_many_fields_are_counted_and_not_all_shown() -> None:
    lines = fields(*(Difference(f"f{i}", 0, 1) for i in range(15)), note="mind the gap")
    assert (len(lines), lines[-2:]) == (14, ["… and 3 more fields", "note: mind the gap"])


def test_a_title_is_what_is_done_and_to_what() -> None:
    assert one("mesh apps").title == "create mesh apps"


@pytest.mark.parametrize(("number", "words"), [(0, "0 tasks"), (1, "1 task"), (2_000, "2,000 tasks")])
def test_a_count_has_its_plural(number: int, words: str) -> None:
    assert counted(number, "task") == words


def every_plan() -> Iterator[Plan]:
    """Yield each changing notebook's plan where it is due, and a long way back."""
    plain = survey(open_at("plain"))
    yield from (plain.plan_resources(step) for step in ("01", "02", "03"))
    routed = survey(open_at("routed"))
    yield plan_permissions(routed) + plan_sidecars(routed)
    yield survey(open_at("shifted")).plan_retirement()
    yield survey(open_at("retired")).plan_removal()
    yield plan_undo(open_at("retired"), notebook=NOTEBOOKS["06"])


def test_no_plan_of_a_notebook_shows_a_programs_words() -> None:
    lines = [line for plan in every_plan() for change in plan for line in fields_of(change)]
    assert len(lines) > 50
    assert not [line for line in lines if "Answer(" in line or "uid" in line or '"' in line or "None" in line]
    assert max(map(len, lines)) < 260
