"""The panel proposes and shows; it applies through the same door, and every failure is seen."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from hypothesis import given
from hypothesis import strategies as st

from runbook_lib.plan import Evidence
from runbook_lib.session import Session
from runbook_lib.show import Words
from runbook_lib.widgets import WeightsPanel, balanced, weights_panel
from tests.scenes import ROUTE, fact, lines, open_at, open_local, reopen, route, somebody, weights, writes

SECRET = "AKIA" + "IOSFODNN7EXAMPLE"


@st.composite
def splits(draw: st.DrawFn, least: int = 1) -> dict[str, int]:
    """Draw whole percents that sum to 100."""
    cuts = sorted(draw(st.lists(st.integers(0, 100), min_size=least - 1, max_size=5)))
    return {f"v{i}": b - a for i, (a, b) in enumerate(zip([0, *cuts], [*cuts, 100], strict=True))}


VALUES = st.integers(-50, 200)


@given(splits(), st.data(), VALUES)
def test_linked_weights_always_sum_to_100(split: dict[str, int], data: st.DataObject, value: int) -> None:
    new = balanced(split, data.draw(st.sampled_from(sorted(split))), value)
    assert sum(new.values()) == 100
    assert all(0 <= weight <= 100 for weight in new.values())
    assert list(new) == list(split)


@given(splits(least=2), st.data(), VALUES)
def test_the_moved_one_stands_where_it_was_put(split: dict[str, int], data: st.DataObject, value: int) -> None:
    moved = data.draw(st.sampled_from(sorted(split)))
    assert balanced(split, moved, value)[moved] == max(0, min(100, value))


@given(splits(least=2), st.data(), st.integers(0, 100))
def test_one_without_weight_gets_none_while_others_have_some(
    split: dict[str, int], data: st.DataObject, value: int
) -> None:
    moved = data.draw(st.sampled_from(sorted(split)))
    others = {name: weight for name, weight in split.items() if name != moved}
    new = balanced(split, moved, value)
    assert not any(others.values()) or all(new[name] == 0 for name, weight in others.items() if not weight)


@given(splits(least=2), st.data())
def test_a_slider_put_where_it_was_moves_nobody(split: dict[str, int], data: st.DataObject) -> None:
    moved = data.draw(st.sampled_from(sorted(split)))
    assert balanced(split, moved, split[moved]) == split


# The panel.


def panel(session: Session, *evidence: Evidence) -> WeightsPanel:
    made = weights_panel(session, evidence or (fact(),))
    assert isinstance(made, WeightsPanel)
    return made


def console(session: Session) -> None:
    """Write the route as it is: its version rises by one."""
    somebody(session).update_route(**ROUTE, spec=route(session)["spec"])


def lost(session: Session) -> dict[str, bool]:
    """Let the session's App Mesh be unreachable from the moment `now` becomes true."""
    switch = {"now": False}

    def fail(**_: Any) -> None:
        if switch["now"]:
            raise EndpointConnectionError(endpoint_url=f"https://me:{SECRET}@appmesh.example")

    session._client("appmesh").meta.events.register("before-call", fail)
    return switch


def test_without_a_route_there_is_a_sentence_instead() -> None:
    made = weights_panel(open_local())
    assert isinstance(made, Words)
    assert "03" in made.text


def test_the_sliders_show_the_weights_in_force() -> None:
    made = panel(open_at("meshed"))
    assert made.weights == {"serviceB": 100, "serviceBv2": 0}
    assert "these weights are in force" in made.message.value
    assert made.button.disabled


def test_moving_one_slider_moves_the_other_and_shows_the_plan() -> None:
    session = open_at("meshed")
    made = panel(session)
    before = writes(session)
    made.sliders["serviceBv2"].value = 25
    assert made.weights == {"serviceB": 75, "serviceBv2": 25}
    assert "100 → 75" in made.plan_view.value
    assert not made.button.disabled
    assert writes(session) == before


def test_the_button_applies_what_is_shown_through_the_same_door() -> None:
    session = open_at("meshed")
    made = panel(session)
    made.sliders["serviceBv2"].value = 25
    made.button.click()
    assert weights(session) == {"serviceB": 75, "serviceBv2": 25}
    assert "1 change(s) made and read back" in made.message.value
    assert [x["event"] for x in lines(session)[-2:]] == ["intended", "observed"]
    assert made.button.disabled


def test_a_second_click_changes_nothing() -> None:
    session = open_at("meshed")
    made = panel(session)
    made.sliders["serviceBv2"].value = 25
    made.button.click()
    before = writes(session)
    made.button.click()
    assert writes(session) == before


OBSTACLES: dict[str, tuple[dict[str, Any], tuple[Evidence, ...], str]] = {
    "plan mode": ({"mode": "plan"}, (fact(),), "the mode is plan: nothing is applied"),
    "no evidence": ({}, (), "no evidence yet"),
    "evidence that does not hold": ({}, (fact(holds=False),), "fact: it does not"),
}


@pytest.mark.parametrize(("given", "evidence", "words"), OBSTACLES.values(), ids=OBSTACLES)
def test_a_disabled_buttons_click_changes_nothing_and_says_why(
    given: dict[str, Any], evidence: tuple[Evidence, ...], words: str
) -> None:
    session = open_at("meshed", **given)
    made = weights_panel(session, evidence)
    assert isinstance(made, WeightsPanel)
    made.sliders["serviceBv2"].value = 25
    assert made.button.disabled
    assert words in made.message.value
    before = writes(session)
    made.button.click()  # a front end would not send it; `click` does
    assert writes(session) == before
    assert "not applied" in made.message.value


def test_a_plan_that_grew_stale_is_refused_and_the_refusal_is_shown() -> None:
    session = open_at("meshed")
    made = panel(session)
    made.sliders["serviceBv2"].value = 25
    console(session)
    made.button.click()
    assert "no longer what was planned against" in made.message.value
    assert "FAIL" in made.message.value
    assert weights(session) == {"serviceB": 100, "serviceBv2": 0}


def test_a_lost_connection_is_shown_and_no_secret_with_it() -> None:
    session = reopen(open_at("meshed"), alone=True)
    switch, made = lost(session), panel(session)
    made.sliders["serviceBv2"].value = 25
    switch["now"] = True
    made.button.click()
    assert "Could not connect" in made.message.value
    assert SECRET not in made.message.value


def test_a_plan_that_could_not_be_made_is_not_the_former_one() -> None:
    session = reopen(open_at("meshed"), alone=True)
    switch, made = lost(session), panel(session)
    made.sliders["serviceBv2"].value = 25
    switch["now"] = True
    made.sliders["serviceBv2"].value = 50
    assert made.button.disabled
    switch["now"] = False
    made.button.click()
    assert weights(session) == {"serviceB": 100, "serviceBv2": 0}


def test_an_error_of_aws_is_shown_escaped() -> None:
    session = reopen(open_at("meshed"), alone=True)
    made = panel(session)

    def refuse(**_: Any) -> Any:
        class Answer:
            status_code, headers, content = 400, {}, b""

        error = {"Code": "ForbiddenException", "Message": "<script>alert(1)</script>"}
        return Answer(), {"Error": error, "ResponseMetadata": {"HTTPStatusCode": 400}}

    session._client("appmesh").meta.events.register("before-call.app-mesh.UpdateRoute", refuse)
    made.sliders["serviceBv2"].value = 25
    made.button.click()
    assert "ForbiddenException" in made.message.value
    assert "<script>" not in made.message.value


def test_an_error_nobody_thought_of_is_shown_too() -> None:
    session = open_at("meshed")
    made = panel(session)
    made.sliders["serviceBv2"].value = 25
    session.sleep = None  # type: ignore[assignment]
    session.clients = {}
    session.connection = None  # type: ignore[assignment]
    made.button.click()
    assert "AttributeError" in made.message.value


def test_who_sees_no_widget_sees_the_weights_and_the_plan() -> None:
    made = panel(open_at("meshed"))
    made.sliders["serviceBv2"].value = 25
    bundle = made._repr_mimebundle_()
    assert bundle["text/plain"] == "weights: serviceB 75 %, serviceBv2 25 %"
    assert "100 → 75" in bundle["text/html"]
    assert "application/vnd.jupyter.widget-view+json" in bundle
