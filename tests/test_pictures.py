"""The pictures: the same for the same values, small, and with what will change marked."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from runbook_lib import pictures, show, survey
from runbook_lib.history import History, Step
from runbook_lib.pictures import Box
from runbook_lib.telemetry import Interval
from runbook_lib.verdict import Sample
from tests.scenes import open_at, open_local

BOXES = {"a": Box(0, "a"), "b": Box(1, "b", there=False, verb="create")}
EDGES = [("a", "b", "25 %")]
COLUMNS = ("calls", "answers")


def size(png: bytes) -> tuple[int, int]:
    """Return a PNG's width and height in pixels."""
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def past() -> History:
    """Return a shift to 25 % that took twenty seconds."""
    seen = [Interval(i, Sample(75, 0, 25, 0), Sample(0, 0, 0, 0)) for i in range(20)]
    return History("one", "two", seen, [], [0.0] * 20, [Step("0 → 25 %", 25, 0.0, True, "PASS", "")])


def test_a_map_is_the_same_bytes_for_the_same_boxes() -> None:
    assert pictures.topology(BOXES, EDGES, COLUMNS) == pictures.topology(BOXES, EDGES, COLUMNS)


def test_what_a_plan_would_change_is_drawn_otherwise() -> None:
    plain = {**BOXES, "b": Box(1, "b")}
    assert pictures.topology(plain, EDGES, COLUMNS) != pictures.topology(BOXES, EDGES, COLUMNS)


def test_a_map_is_small() -> None:
    png = pictures.topology(BOXES, EDGES, COLUMNS)
    assert len(png) < 50_000
    assert size(png)[0] == 990


def test_a_shift_is_the_same_bytes_for_the_same_history() -> None:
    assert pictures.history(past()) == pictures.history(past())


# The map of an environment.


def boxes_of(stage: str, step: str = "") -> tuple[dict[str, Box], list[tuple[str, str, str]]]:
    """Return the map where the shipped scenario is at a stage, with one notebook's plan marked."""
    found = survey(open_at(stage))
    plans: dict[str, Any] = {"": lambda: None, "04": found.plan_sidecars, "06": found.plan_retirement}
    return show._map(found, plans[step]())


def test_a_plan_to_come_is_marked_and_not_there_yet() -> None:
    found = survey(open_local(services=True))
    boxes, _ = show._map(found, found.plan_resources("01"))
    marked = {key: box.verb for key, box in boxes.items() if box.verb}
    assert marked == dict.fromkeys(
        ["virtual service servicea.apps.local", "virtual service serviceb.apps.local"], "create"
    )
    assert not boxes["virtual service servicea.apps.local"].there
    assert boxes["service serviceB"].there


def test_what_stands_has_weights_and_healthy_sidecars() -> None:
    boxes, edges = boxes_of("meshed")
    assert all(box.there and not box.verb for box in boxes.values())
    assert ("route serviceB/serviceB", "virtual node serviceB", "100 %") in edges
    assert boxes["service serviceBv2"].label == "serviceBv2\n1 of 1 run\n1 sidecar healthy"


@pytest.mark.parametrize(
    ("stage", "step", "marked"),
    [
        ("routed", "04", {"service serviceA": "deploy", "service serviceB": "deploy", "service serviceBv2": "deploy"}),
        (
            "shifted",
            "06",
            {"route serviceB/serviceB": "shift", "virtual node serviceB": "delete", "service serviceB": "delete"},
        ),
    ],
)
def test_only_what_a_notebook_changes_is_marked(stage: str, step: str, marked: dict[str, str]) -> None:
    boxes, _ = boxes_of(stage, step)
    assert {key: box.verb for key, box in boxes.items() if box.verb} == marked


def test_a_retired_service_is_not_on_the_map() -> None:
    boxes, edges = boxes_of("retired")
    assert not [key for key in boxes if key.endswith("serviceB") and not key.startswith("route")]
    assert ("route serviceB/serviceB", "virtual node serviceBv2", "100 %") in edges


def test_without_a_route_no_weight_is_shown() -> None:
    _, edges = show._map(survey(open_local(services=True)), None)
    assert {label for _, _, label in edges} == {""}
