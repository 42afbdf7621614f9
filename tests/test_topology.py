"""The map of an environment: what is there, what leads where, and every change of a plan on one of its boxes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from runbook_lib import plan_permissions, plan_sidecars, survey
from runbook_lib.display.drawing import Line, Text
from runbook_lib.display.traffic_map import Topology, mapped
from runbook_lib.plan import Plan
from runbook_lib.survey import Survey
from tests.scenes import LOCAL, open_at, open_local

PLANS: dict[str, tuple[str, Callable[[Survey], Plan]]] = {
    "01": ("plain", lambda found: found.plan_resources("01")),
    "02": ("plain", lambda found: found.plan_resources("02")),
    "03": ("plain", lambda found: found.plan_resources("03")),
    "04": ("routed", lambda found: plan_permissions(found) + plan_sidecars(found)),
    "05": ("meshed", lambda found: found.plan_weights({"serviceB": 75, "serviceBv2": 25})),
    "06": ("shifted", lambda found: found.plan_retirement()),
    "90": ("retired", lambda found: found.plan_removal()),
}


def map_of(number: str) -> tuple[Topology, Plan]:
    """Return the map where a notebook is due, with its plan marked, and the plan."""
    stage, planned = PLANS[number]
    found = survey(open_at(stage))
    plan = planned(found)
    return mapped(found, plan), plan


def marked(shown: Topology) -> dict[str, list[str]]:
    return {key: [change.verb for change in changes] for key, changes in shown.changes_on.items()}


def said(shown: Topology) -> str:
    return shown.words().replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.parametrize("number", PLANS)
def test_every_change_of_a_notebooks_plan_is_marked_on_a_box_and_named_in_the_words(number: str) -> None:
    shown, plan = map_of(number)
    on_boxes = {change.title for changes in shown.changes_on.values() for change in changes}
    assert on_boxes == {change.title for change in plan}
    assert on_boxes
    assert all(title in shown.words() for title in on_boxes)


@pytest.mark.parametrize(
    ("number", "wanted"),
    [
        (
            "01",
            {
                "mesh apps": ["create"],
                "virtual service servicea.apps.local": ["create"],
                "virtual service serviceb.apps.local": ["create"],
            },
        ),
        (
            "04",
            {f"service {name}": ["create", "register", "deploy"] for name in ("serviceA", "serviceB", "serviceBv2")},
        ),
        ("05", {"route serviceB/serviceB": ["shift"]}),
        (
            "06",
            {
                "virtual service serviceb.apps.local": ["register"],
                "route serviceB/serviceB": ["shift", "mark"],
                "virtual node serviceB": ["delete"],
                "service serviceB": ["scale", "delete", "deregister", "deregister"],
            },
        ),
    ],
)
def test_only_what_a_notebook_changes_is_marked(number: str, wanted: dict[str, list[str]]) -> None:
    assert marked(map_of(number)[0]) == wanted


def test_what_runs_is_there_though_it_has_no_node_yet() -> None:
    shown = mapped(survey(open_local(services=True)))
    there = {key for key, box in shown.boxes.items() if box.there}
    assert there == {"caller serviceA", "service serviceA", "service serviceB", "service serviceBv2"}


def test_what_stands_has_weights_and_healthy_sidecars() -> None:
    shown = mapped(survey(open_at("meshed")))
    assert all(box.there for box in shown.boxes.values())
    assert not shown.changes_on
    assert ("route serviceB/serviceB", "virtual node serviceB", "100\N{NO-BREAK SPACE}%") in shown.edges
    assert shown.boxes["service serviceBv2"].lines == ("serviceBv2", "1 of 1 running", "1 sidecar healthy")


def test_a_step_ahead_is_on_the_arrows() -> None:
    shown = map_of("05")[0]
    assert "virtual node serviceB (100 → 75 %), virtual node serviceBv2 (0 → 25 %)" in said(shown)


def test_a_service_that_is_taken_off_the_route_is_so_on_its_arrow() -> None:
    assert "virtual node serviceB (0 → –), virtual node serviceBv2 (100 %)" in said(map_of("06")[0])


def test_only_the_route_under_shift_has_its_weights() -> None:
    routers, shift = LOCAL["routers"], {**LOCAL["shift"], "route": "serviceB"}
    own = {"match": {"prefix": "/own"}, "targets": ["serviceB"]}
    routes = {**routers["serviceB"]["routes"], "own": own}
    found = survey(open_at("routed", routers={"serviceB": {"routes": routes}}, shift=shift))
    shown = mapped(found, found.plan_weights({"serviceB": 75, "serviceBv2": 25}))
    labels = {
        (to, label.replace("\N{NO-BREAK SPACE}", " ")) for a, to, label in shown.edges if a == "route serviceB/own"
    }
    assert labels == {("virtual node serviceB", "")}
    assert "route serviceB/serviceB → virtual node serviceB (100 → 75 %)" in said(shown)


def test_a_retired_service_is_not_on_the_map() -> None:
    shown = mapped(survey(open_at("retired")))
    assert not [key for key in shown.boxes if key.endswith("serviceB") and not key.startswith("route")]
    assert ("route serviceB/serviceB", "virtual node serviceBv2", "100\N{NO-BREAK SPACE}%") in shown.edges


def test_without_a_route_no_weight_is_shown() -> None:
    assert {label for _, _, label in mapped(survey(open_local(services=True))).edges} == {""}


def test_the_words_name_all_that_is_drawn_and_what_is_missing() -> None:
    shown = mapped(survey(open_local(services=True)))
    names = [key.removeprefix("caller ").removeprefix("virtual service ") for key in shown.boxes]
    assert all(name in shown.words() for name in names)
    assert said(shown).startswith("mesh apps (not there yet); serviceA calls serviceb.apps.local (not there yet); ")
    assert "route serviceB/serviceB (not there yet)" in said(shown)
    assert "service serviceB (1 of 1 running, no sidecar)" in said(shown)


def dashed(shown: Topology) -> set[bool]:
    """Return whether arrows and frames are dashed."""
    return {bool(shape.dashes) for shape in shown.drawn().shapes if isinstance(shape, Line)}


def test_what_is_not_there_is_dashed_and_so_is_what_leads_to_it() -> None:
    plain, whole = mapped(survey(open_local(services=True))), mapped(survey(open_at("meshed")))
    assert dashed(plain) == {True, False}  # the tasks run
    assert dashed(whole) == {False}


def test_the_drawing_says_the_verbs_and_what_the_pens_mean() -> None:
    shown, _ = map_of("04")
    words = [shape.words for shape in shown.drawn().shapes if isinstance(shape, Text)]
    assert words.count("deploy +2") == 3
    assert any(each.startswith("dashed: not there yet") and "+n" in each for each in words)
    assert shown.drawn().words == shown.words()


def test_boxes_of_one_column_do_not_overlap() -> None:
    frames: dict[float, list[Any]] = {}
    for shape in mapped(survey(open_at("meshed"))).drawn().shapes:
        if isinstance(shape, Line) and len(shape.points) == 5:
            left, top = shape.points[0]
            frames.setdefault(left, []).append((top, shape.points[2][1]))
    assert sum(map(len, frames.values())) == 11
    for spans in frames.values():
        assert all(low < high for (_, low), (high, _) in zip(sorted(spans), sorted(spans)[1:], strict=False))
