"""The panel proposes and shows; it applies through the same door, and every failure is seen."""

from __future__ import annotations

import html
import math
import re
import time
from collections import Counter
from dataclasses import replace
from typing import Any

import ipywidgets as ipw
import pytest
from botocore.exceptions import EndpointConnectionError
from hypothesis import given
from hypothesis import strategies as st

from runbook_lib import record
from runbook_lib.aws.cloudwatch import Interval
from runbook_lib.aws.session import Session
from runbook_lib.display import live as widgets
from runbook_lib.display import show, timeline
from runbook_lib.display.live import Live, Progress, show_progress, show_shift
from runbook_lib.display.panel import WeightsPanel, weights_panel
from runbook_lib.display.sliders import balanced
from runbook_lib.display.tables import Words
from runbook_lib.errors import CallError, GateError, Held, RolledBack
from runbook_lib.local.control_plane.calls import CALLS
from runbook_lib.plan import Evidence, Plan
from runbook_lib.runs.approvals import approve, hold
from runbook_lib.shift import go_back, shift_traffic, take_step
from runbook_lib.shift.decision import Decision
from runbook_lib.shift.shifting import mark_of
from runbook_lib.verdict import Sample
from tests.live import again, quick, take, under_sky
from tests.scenes import (
    LOCAL,
    ROUTE,
    fact,
    lines,
    open_at,
    open_local,
    reopen,
    route,
    settle,
    shift,
    somebody,
    step,
    weights,
    writes,
)

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


def button(made: WeightsPanel) -> Any:
    """Return the button that applies what is shown."""
    return made.actions["Apply this step"].button


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


def test_it_opens_at_the_next_step_and_writes_nothing() -> None:
    session = open_at("meshed")
    before = writes(session)
    made = panel(session)
    assert made.weights == {"serviceB": 75, "serviceBv2": 25}
    assert "100 → 75" in made.plan_view.value
    assert writes(session) == before


@pytest.mark.parametrize("stage", ["shifted", "retired"])
def test_where_no_step_is_left_it_opens_at_the_weights_in_force(stage: str) -> None:
    session = open_at(stage)
    made = panel(session)
    assert made.weights == weights(session)
    assert "traffic already has these weights" in made.message.value
    assert button(made).disabled


def at_rest(session: Session, *evidence: Evidence) -> WeightsPanel:
    """Return a panel moved to the weights in force."""
    made = panel(session, *evidence)
    made.linked.sliders["serviceBv2"].value = weights(session)["serviceBv2"]
    return made


def test_the_weights_in_force_cannot_be_applied() -> None:
    made = at_rest(open_at("meshed"))
    assert "traffic already has these weights" in made.message.value
    assert button(made).disabled


def test_moving_one_slider_moves_the_other_and_shows_the_plan() -> None:
    session = open_at("meshed")
    made = panel(session)
    before = writes(session)
    made.linked.sliders["serviceBv2"].value = 25
    assert made.weights == {"serviceB": 75, "serviceBv2": 25}
    assert "100 → 75" in made.plan_view.value
    assert not button(made).disabled
    assert writes(session) == before


def test_the_button_applies_what_is_shown_through_the_same_door() -> None:
    session = open_at("meshed")
    made = panel(session)
    made.linked.sliders["serviceBv2"].value = 25
    button(made).click()
    assert weights(session) == {"serviceB": 75, "serviceBv2": 25}
    assert "✓ done" in made.message.value  # PASS is the verdict's word
    assert "0 → 25 %, read back" in made.message.value
    assert [x["event"] for x in lines(session)[-3:]] == ["intended", "observed", "decision"]
    assert button(made).disabled


def test_a_second_click_changes_nothing() -> None:
    session = open_at("meshed")
    made = panel(session)
    made.linked.sliders["serviceBv2"].value = 25
    button(made).click()
    before = writes(session)
    button(made).click()
    assert writes(session) == before
    assert "✓ done</b> traffic already has these weights: nothing is left to write; written at " in made.message.value


def test_a_step_that_was_taken_in_another_tab_is_done_here_too() -> None:
    session = open_at("meshed")
    here, elsewhere = panel(session), panel(reopen(session))
    button(elsewhere).click()
    before = writes(session)
    assert "✓ done</b> traffic already has these weights" in click(here, "Apply this step")
    assert "0 → 25 %, read back" in here.standing.value
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
    made.linked.sliders["serviceBv2"].value = 25
    assert button(made).disabled
    assert words in made.message.value
    before = writes(session)
    button(made).click()  # a front end would not send it; `click` does
    assert writes(session) == before
    assert "✗ not done" in made.message.value


def test_a_plan_that_grew_stale_is_refused_and_the_refusal_is_shown() -> None:
    session = open_at("meshed")
    made = panel(session)
    made.linked.sliders["serviceBv2"].value = 25
    console(session)
    button(made).click()
    assert "somebody wrote since this was planned" in made.message.value
    assert "✗ not done" in made.message.value
    assert weights(session) == {"serviceB": 100, "serviceBv2": 0}


def test_a_lost_connection_is_shown_and_no_secret_with_it() -> None:
    session = reopen(open_at("meshed"), alone=True)
    switch, made = lost(session), panel(session)
    made.linked.sliders["serviceBv2"].value = 25
    switch["now"] = True
    button(made).click()
    assert "Could not connect" in made.message.value
    assert SECRET not in made.message.value


def test_a_plan_that_could_not_be_made_is_not_the_former_one() -> None:
    session = reopen(open_at("meshed"), alone=True)
    switch, made = lost(session), panel(session)
    made.linked.sliders["serviceBv2"].value = 25
    switch["now"] = True
    made.linked.sliders["serviceBv2"].value = 50
    assert button(made).disabled
    switch["now"] = False
    button(made).click()
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
    made.linked.sliders["serviceBv2"].value = 25
    button(made).click()
    assert "ForbiddenException" in made.message.value
    assert "<script>" not in made.message.value


def test_an_error_nobody_thought_of_is_shown_too() -> None:
    session = open_at("meshed")
    made = panel(session)
    made.linked.sliders["serviceBv2"].value = 25
    session.sleep = None  # type: ignore[assignment]
    session.clients = {}
    session.connection = None  # type: ignore[assignment]
    button(made).click()
    assert "AttributeError" in made.message.value


def test_who_sees_no_widget_sees_the_weights_and_the_plan() -> None:
    made = panel(open_at("meshed"))
    made.linked.sliders["serviceBv2"].value = 25
    bundle = made._repr_mimebundle_()
    assert bundle["text/plain"] == "weights shown: serviceB 75 %, serviceBv2 25 %"
    assert "100 → 75" in bundle["text/html"]
    assert "application/vnd.jupyter.widget-view+json" in bundle


def click(made: WeightsPanel, name: str) -> str:
    """Press a button, and return what is said then."""
    made.actions[name].button.click()
    return str(made.message.value)


def refuse(session: Session, operation: str, code: str = "ForbiddenException") -> None:
    """Let AWS refuse one operation of the session's clients from now on."""

    def answer(**_: Any) -> Any:
        class Answer:
            status_code, headers, content = 400, {}, b""

        error = {"Code": code, "Message": "<b>no</b>"}
        return Answer(), {"Error": error, "ResponseMetadata": {"HTTPStatusCode": 400}}

    session._client("appmesh").meta.events.register(f"before-call.app-mesh.{operation}", answer)


def in_need_of_approval() -> Session:
    """Open a session where 25 % needs an approval."""
    return open_at("meshed", shift={**LOCAL["shift"], "approvals": {"steps": [25]}})


def test_the_forecast_follows_the_slider() -> None:
    made = at_rest(open_at("meshed"))
    assert "nothing to forecast at 0\N{NO-BREAK SPACE}%" in made.forecast_view.value
    assert "WARN" not in made.forecast_view.value
    made.linked.sliders["serviceBv2"].value = 25
    assert "forecast at 25\N{NO-BREAK SPACE}%" in made.forecast_view.value
    for increase in ("0.5 percentage points", "1 percentage point<", "5 percentage points", "50 percentage points"):
        assert increase in made.forecast_view.value
    for words in ("requests at risk", "smallest detectable increase", "canary's tasks", "a PASS needs"):
        assert words in made.forecast_view.value


def test_without_traffic_the_forecast_says_whose_rate_it_took() -> None:
    made = panel(open_at("meshed"))
    assert "300 requests/s (the parameters' rate, since nothing carries traffic here" in html.unescape(
        made.forecast_view.value
    )


def test_a_typed_number_moves_the_slider() -> None:
    made = panel(open_at("meshed"))
    made.linked.numbers["serviceBv2"].value = " 30"
    assert made.weights == {"serviceB": 70, "serviceBv2": 30}
    assert made.linked.numbers["serviceB"].value == "70"


@pytest.mark.parametrize("typed", ["500", "101", "-1", "12.7", "", "many"])
def test_what_is_typed_and_is_no_weight_moves_nothing_and_is_quoted(typed: str) -> None:
    made = panel(open_at("meshed"))
    made.linked.numbers["serviceBv2"].value = "500"
    made.linked.numbers["serviceBv2"].value = typed
    assert made.weights == {"serviceB": 75, "serviceBv2": 25}
    assert made.linked.numbers["serviceBv2"].value == "25"
    assert f"{typed!r} is no weight" in html.unescape(made.message.value)


def test_the_number_is_the_first_control_of_a_weight_and_has_its_name() -> None:
    number, slider = panel(open_at("meshed")).controls().children[2].children
    assert number.description == "serviceBv2, percent"
    assert slider.label == "weight of serviceBv2, percent"


def test_each_button_says_what_it_lacks() -> None:
    made = at_rest(open_at("meshed"))
    assert "Apply this step: traffic already has these weights" in made.reasons.value
    assert "Approve: traffic already has these weights" in made.reasons.value
    assert [name for name, action in made.actions.items() if not action.button.disabled] == ["Roll back"]


def test_what_takes_traffic_back_is_never_out_of_reach() -> None:
    session = reopen(open_at("meshed"), alone=True)
    switch, made = lost(session), panel(session)
    switch["now"] = True
    made.linked.sliders["serviceBv2"].value = 50  # nothing can be planned
    assert [name for name, action in made.actions.items() if not action.button.disabled] == ["Roll back"]
    switch["now"] = False
    shift(session, 25)
    click(made, "Roll back")
    assert weights(session) == {"serviceB": 100, "serviceBv2": 0}


def test_rolling_back_where_all_is_on_stable_says_so_and_writes_nothing() -> None:
    session = open_at("meshed")
    made, before = panel(session), writes(session)
    assert "all traffic is on serviceB, read back" in click(made, "Roll back")
    assert writes(session) == before


def test_a_write_that_was_made_is_said_to_be_although_nothing_can_be_read_after_it() -> None:
    session = reopen(open_at("meshed"), alone=True)
    switch, made = lost(session), panel(session)
    made.linked.sliders["serviceBv2"].value = 25
    events = session._client("cloudwatch").meta.events  # nobody asks it here: what is made is made before
    events.register("before-call", lambda **_: switch.update(now=True))
    action = made.actions["Apply this step"]
    work = action.work
    made.actions["Apply this step"] = replace(action, work=lambda: (work(), switch.update(now=True))[0])
    made._do(made.actions["Apply this step"])
    assert "✓ done" in made.message.value
    assert "what is shown here is old" in made.message.value
    assert weights(session) == {"serviceB": 75, "serviceBv2": 25}


def test_a_button_that_lacks_something_does_nothing_and_says_why() -> None:
    session = open_at("meshed")
    made, before = at_rest(session), len(lines(session))
    assert "✗ not done" in click(made, "Approve")
    assert len(lines(session)) == before


def test_roll_back_takes_everything_back_in_one_write() -> None:
    session = open_at("meshed")
    shift(session, 25)
    made, before = panel(session), writes(session)
    assert "all traffic is back on serviceB" in click(made, "Roll back")
    assert weights(session) == made.weights == {"serviceB": 100, "serviceBv2": 0}
    assert writes(session) - before == {"appmesh.UpdateRoute": 1, "appmesh.TagResource": 1}  # and the mark of who did


@pytest.mark.attack(9)
def test_the_panel_says_first_that_a_canary_stands_unwatched_and_no_more_once_somebody_watches() -> None:
    session, sky = under_sky()
    assert "nobody watches" not in panel(session).standing.value
    take(session, until=lambda d: d.phase == "proved")
    session = again(sky)
    made = panel(session)
    assert "serviceBv2 has 25 % of the traffic and nobody watches it, since 20" in made.standing.value
    assert made.controls().children[0] is made.standing
    with session.shifting():
        made.enable()
    assert "nobody watches" not in made.standing.value


# What is in force, as it is now.


def test_the_panel_says_what_is_in_force_when_that_was_read_and_who_wrote_it() -> None:
    session, sky = under_sky()
    made = panel(session)
    assert "now: serviceB 100 %, serviceBv2 0 %</b> · read at " in made.standing.value
    assert "again every 2 s" in made.standing.value
    take(again(sky), until=lambda d: d.phase == "written")
    assert made.look()
    assert "now: serviceB 75 %, serviceBv2 25 %" in made.standing.value
    assert "nobody watches it" in made.standing.value  # whoever took the step is gone
    assert "traffic already has these weights" in made.message.value


def test_after_a_rollback_by_itself_the_panel_says_so_and_plans_from_there() -> None:
    session, sky = under_sky()
    made = panel(session)
    sky.at(8, lambda: sky.errors.update({"serviceBv2": 0.5}))
    with pytest.raises(RolledBack):
        take(again(sky))
    made.look()
    assert "now: serviceB 100 %, serviceBv2 0 %" in made.standing.value
    assert "rolled back at " in made.standing.value
    assert "back to 0 % in one write" in made.standing.value
    assert "100 → 75" in made.plan_view.value


def test_weights_of_somebody_else_are_said_to_be_and_planned_against() -> None:
    session = open_at("meshed")
    made = panel(session)
    button(made).click()
    shift(reopen(session), 40)
    made.look()
    assert "now: serviceB 60 %, serviceBv2 40 %" in made.standing.value
    assert "written by somebody else since " in made.standing.value
    assert "60 → 75" in made.plan_view.value


def test_buttons_follow_a_shift_that_begins_elsewhere_without_a_hand_on_a_slider() -> None:
    session, _ = under_sky()
    made = panel(session)
    assert (button(made).disabled, made.actions["Hold"].button.disabled) == (False, True)
    with reopen(session).shifting():
        made.look()
        assert (button(made).disabled, made.actions["Hold"].button.disabled) == (True, False)
        assert "a shift is under way: hold it first" in made.reasons.value
    made.look()
    assert (button(made).disabled, made.actions["Hold"].button.disabled) == (False, True)


def test_weights_that_cannot_be_read_now_are_marked_as_old() -> None:
    session = reopen(open_at("meshed"), alone=True)
    switch, made = lost(session), panel(session)
    switch["now"] = True
    with pytest.raises(CallError):
        made.look()
    assert "as it was at " in made.standing.value
    assert "and cannot be read now: " in made.standing.value
    assert SECRET not in made.standing.value


def calls(session: Session) -> Counter[str]:
    return Counter(CALLS.summary(session.parameters.account_id)["operations"])


def test_a_look_at_weights_that_nobody_wrote_is_one_call() -> None:
    session = open_at("meshed")
    made = panel(session)
    before = calls(session)
    assert not made.look()
    assert calls(session) - before == {"appmesh.DescribeRoute": 1}


@pytest.mark.parametrize("allowed", [False, True])
def test_a_step_that_leaves_out_one_of_the_files_says_so_and_needs_the_files_leave(allowed: bool) -> None:
    session = open_at("meshed", shift={**LOCAL["shift"], "skip_steps": allowed})
    made = panel(session)
    made.linked.sliders["serviceBv2"].value = 100
    said = "it skips a step of the file: 25\N{NO-BREAK SPACE}%"
    assert said in html.unescape(made.message.value)
    assert button(made).disabled is not allowed
    button(made).click()
    assert weights(session)["serviceBv2"] == (100 if allowed else 0)
    if not allowed:
        assert "100 % skips 25 %: the file says shift.skip_steps: false" in made.message.value
        with pytest.raises(GateError, match="100 % skips 25 %"):
            next(take_step(session, 100, mark_of(made.plan), fact()))


def test_of_a_shift_that_was_rolled_back_nothing_is_drawn_in_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    session, sky = under_sky()
    sky.at(8, lambda: sky.errors.update({"serviceBv2": 0.5}))
    with pytest.raises(RolledBack):
        take(session)
    sky.errors.clear()
    began, session = sky(), again(sky)
    live = Live(session)
    live.follow(shift_traffic(session, fact()))
    told = live.history()
    assert [step.verdict for step in told.steps] == ["PASS", "PASS"]
    assert min(line["at"] for line in told.decisions) >= began
    assert min(interval.start for interval in told.intervals) >= began - 1


def test_what_somebody_else_did_stands_in_the_table_and_no_figures_of_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown: list[Any] = []
    monkeypatch.setattr(widgets, "display", shown.append)
    monkeypatch.setattr(show, "display", shown.append)
    session, sky = under_sky()
    sky.at(8, lambda: go_back(again(sky)))
    with pytest.raises(RolledBack, match="by hand"):
        show_shift(shift_traffic(session, fact()), session)
    (table,) = [each for each in shown if getattr(each, "caption", "") == "decisions"]
    assert [row["phase"] for row in table.rows][-1] == "rolled back"
    (live,) = [each for each in shown if isinstance(each, Live)]
    assert "watching" not in live.numbers.value


def test_a_followed_shift_has_the_panels_controls_above_its_figures() -> None:
    session = open_at("meshed")
    live = Live(session)
    before = bundled(live)
    made = panel(session)
    assert len(bundled(live)) == len(before) + 1
    assert bundled(live)[0].children[0] is made.standing


def bundled(live: Live) -> Any:
    model = live._repr_mimebundle_()["application/vnd.jupyter.widget-view+json"]["model_id"]
    return ipw.widgets.widget._instances[model].children


def test_sliders_buttons_and_message_stand_above_what_changes_its_height() -> None:
    made = panel(open_at("meshed"))
    children = made.controls().children
    assert children[0] is made.standing
    assert children[4] is made.message
    assert made.box().children[-2:] == (made.plan_view, made.forecast_view)
    assert "min-height" in made.standing.value
    made.say("")
    assert "min-height" in made.message.value


def test_roll_back_needs_no_evidence() -> None:
    session = open_at("meshed")
    shift(session, 25)
    made = panel(session, fact(holds=False))
    click(made, "Roll back")
    assert weights(session) == {"serviceB": 100, "serviceBv2": 0}


def test_roll_back_is_refused_in_plan_mode() -> None:
    session = open_at("meshed")
    shift(session, 25)
    made = panel(reopen(session, mode="plan"))
    assert "the mode is plan" in click(made, "Roll back")
    assert weights(session) == {"serviceB": 75, "serviceBv2": 25}


def test_a_way_back_that_fails_shows_its_whole_error() -> None:
    session = open_at("meshed")
    shift(session, 25)
    session = reopen(session, alone=True)
    made = panel(session)
    refuse(session, "UpdateRoute")
    assert "ForbiddenException: &lt;b&gt;no&lt;/b&gt;" in click(made, "Roll back")
    assert weights(session) == {"serviceB": 75, "serviceBv2": 25}


def test_a_way_back_without_a_connection_says_so() -> None:
    session = open_at("meshed")
    shift(session, 25)
    session = reopen(session, alone=True)
    switch, made = lost(session), panel(session)
    switch["now"] = True
    assert "Could not connect" in click(made, "Roll back")
    assert weights(session) == {"serviceB": 75, "serviceBv2": 25}


def test_a_step_that_needs_an_approval_is_approved_and_then_applied() -> None:
    session = in_need_of_approval()
    made = panel(session)
    made.linked.sliders["serviceBv2"].value = 25
    assert "needs an approval first" in made.reasons.value
    assert "needs an approval first" in click(made, "Apply this step")
    assert weights(session) == {"serviceB": 100, "serviceBv2": 0}
    assert f"plan {made.plan.hash} approved by" in click(made, "Approve")
    assert "read back" in click(made, "Apply this step")
    assert len(lines(session, "approved")) == 1


def test_an_approval_that_cannot_be_written_says_why() -> None:
    session = in_need_of_approval()
    made = panel(session)
    made.linked.sliders["serviceBv2"].value = 25
    session.join_run()
    session.run = Lost(session.join_run().folder)
    assert "OSError: the disk is full" in click(made, "Approve")
    with session.holding():
        assert "the disk is full" in click(made, "Hold")


class Lost(record.Run):
    """A run that takes no more, neither lines nor requests."""

    def write(self, event: str, **fields: Any) -> None:
        raise OSError("the disk is full")

    def ask(self, event: str, **fields: Any) -> None:
        raise OSError("the disk is full")


# Promote.


def promoting(session: Session) -> WeightsPanel:
    """Return a panel whose Promote was pressed once, and who decides and why was then typed."""
    made = panel(session)
    click(made, "Promote")
    made.decided.fields[0].value, made.decided.fields[1].value = "ada", "the campaign begins"
    return made


def baking(**shift: Any) -> Session:
    """Return a session beside one whose step at 25 % bakes."""
    session, sky = under_sky(shift=quick(**shift))
    take(session, until=lambda decision: decision.phase == "proved")
    return again(sky)


def test_promote_asks_who_decides_and_why_before_anything_is_written() -> None:
    session = baking()
    made = panel(session)
    assert made.decided.box.layout.display == "none"
    assert "say below who decides, and why, then press Promote again" in click(made, "Promote")
    assert (made.decided.box.layout.display, lines(session, "promote")) == ("flex", [])
    assert [field.description for field in made.decided.fields] == ["Decided by", "Because"]


def test_promote_asks_the_shift_as_the_command_does() -> None:
    session = baking()
    made = promoting(session)
    assert "✓ done</b> the end of the bake at 25 % is asked for, by ada; run the cell below" in click(made, "Promote")
    run = session.latest_run()
    assert run is not None
    asked = [line for line in run.said() if line["event"] == "promote"]
    assert [(line["by"], line["because"]) for line in asked] == [("ada", "the campaign begins")]
    assert (made.decided.box.layout.display, made.decided.said) == ("none", ("ada", ""))  # one reason, one decision


def test_promote_is_refused_as_the_command_refuses_it() -> None:
    session = baking()
    session._client("ecs").update_service(cluster=session.parameters.cluster, service="serviceB", desiredCount=0)
    settle()
    made = promoting(session)
    assert "rollback possible: serviceB runs 0 of 1 task" in click(made, "Promote")
    assert made.decided.said == ("ada", "the campaign begins")  # what was typed stays


def test_promote_says_why_it_is_unavailable() -> None:
    assert "Promote: no step is baking" in panel(open_at("meshed")).reasons.value
    session, sky = under_sky()
    take(session, until=lambda decision: decision.phase == "judged")
    assert "Promote: the step at 25 % has passed" in panel(again(sky)).reasons.value
    never = panel(baking(promotion="never"))
    assert "Promote: the file says shift.promotion: never" in never.reasons.value
    assert never.actions["Promote"].button.disabled


def test_hold_is_written_into_the_run() -> None:
    session = open_at("meshed")
    with session.holding():  # as a shift does while it is under way
        assert "hold is written down" in click(panel(session), "Hold")
    assert [line["by"] for line in lines(session, "hold")] == [session.identity.arn]


def test_without_a_run_nothing_is_held() -> None:
    session = open_at("meshed")
    made = panel(session)
    session.join_run().summarise({"outcome": "done"})
    assert "no run is under way" in click(made, "Hold")
    assert lines(session, "hold") == []


def test_without_a_shift_under_way_nothing_is_held() -> None:
    session = open_at("meshed")
    made = panel(session)
    assert made.actions["Hold"].button.disabled
    assert "Hold: no shift is under way" in made.reasons.value
    assert "✗ not done" in click(made, "Hold")
    assert lines(session, "hold") == []


def test_hold_can_be_pressed_while_a_shift_is_under_way_below_and_not_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(widgets, "display", lambda *each: None)
    monkeypatch.setattr(show, "display", lambda *each: None)
    session, _ = under_sky()
    made, seen = panel(session), []

    def watched() -> Any:
        for decision in shift_traffic(session, fact()):
            seen.append(made.actions["Hold"].button.disabled)
            yield decision

    show_shift(watched(), session)
    assert (seen[0], set(seen[1:])) == (True, {False})
    assert made.actions["Hold"].button.disabled


@pytest.mark.parametrize(("until", "passed"), [("proved", False), ("judged", True)])
def test_a_higher_weight_waits_until_the_present_one_has_passed(until: str, passed: bool) -> None:
    session, sky = under_sky()
    take(session, until=lambda d: d.phase == until)
    session = again(sky)
    made = panel(session)
    made.linked.sliders["serviceBv2"].value = 100
    assert button(made).disabled is not passed
    assert ("25 % has not passed yet" in made.reasons.value) is not passed
    if not passed:
        assert "✗ not done</b> 25 % has not passed yet" in click(made, "Apply this step")
        with pytest.raises(GateError, match="25 % has not passed yet"):  # as the shift itself has it
            next(take_step(session, 100, mark_of(made.plan), fact()))
    assert sky.weights() == QUARTER


def test_a_lower_weight_and_the_way_back_wait_for_nothing() -> None:
    session, sky = under_sky()
    take(session, until=lambda d: d.phase == "proved")
    made = panel(again(sky))
    made.linked.sliders["serviceBv2"].value = 10
    assert not button(made).disabled
    assert not made.actions["Roll back"].button.disabled


# The live view.


QUARTER = {"serviceB": 75, "serviceBv2": 25}


def moving(at: int = 1_700_000_000) -> list[Any]:
    """Return a shift at 25 % that fails: each decision with the intervals it was made of."""
    errors = (0, 0, 10, 20)
    seen = [Interval(at + n, Sample(75, 0, 25, bad), Sample(75, 0, 25, bad // 5)) for n, bad in enumerate(errors)]

    def look(phase: Any, n: int, **more: Any) -> Decision:
        counted = {"requests": {"serviceB": 75 * n, "serviceBv2": 25 * n}, "errors": {"serviceBv2": sum(errors[:n])}}
        words, band = {"words": "as it is"}, (0.25 - 0.2 / n, 0.25 + 0.2 / n)
        return Decision(phase, 25, QUARTER, **words, **counted, share=0.25, band=band, at=at + n, seen=seen[:n], **more)

    return [
        Decision("written", 25, QUARTER, "0 → 25 %, read back", at=float(at)),
        look("watching", 1),
        look("proved", 2),
        look("watching", 3, slow={"serviceBv2": 2}),
        look("rolled back", 4, verdict="FAIL"),
    ]


def test_what_is_drawn_is_what_the_verdict_was_made_of() -> None:
    live = Live(open_at("meshed"))
    decisions = moving()
    live.follow(decisions)
    shown = live.history()
    assert list(shown.intervals) == list(decisions[-1].seen)
    assert [d["phase"] for d in shown.decisions] == ["written", "proved", "rolled back"]
    assert shown.evidence[-1] > math.log(100) > shown.evidence[1]


def test_a_shift_that_goes_on_is_drawn_at_its_own_weight_and_time() -> None:
    """Only its looks are told: what was written, an earlier process has said."""
    live = Live(open_at("meshed"))
    live.follow(d for d in moving() if d.phase == "watching")
    words = timeline.drawn_words(live.history())
    assert words.startswith("2 s from 22:13:20 UTC")
    assert "25 %" in live.numbers.value.replace("\N{NO-BREAK SPACE}", " ")


def test_what_an_earlier_process_wrote_is_on_the_axis_of_the_shift_that_goes_on() -> None:
    session, sky = under_sky()
    take(session, until=lambda d: d.phase == "proved")
    live = Live(again(sky))
    live.follow([])
    assert [d["phase"] for d in live.history().decisions] == ["rehearsed", "written", "proved"]


def test_approvals_and_holds_are_on_the_axis() -> None:
    session = open_at("meshed")
    live = Live(session)
    live._opened -= 1
    approve(session, session.join_run(), Plan("any"), approver="ada")
    hold(session.join_run(), "bob")
    assert [d["phase"] for d in live.history().decisions] == ["approved", "hold"]


def test_what_the_panel_wrote_meanwhile_is_on_the_axis_once() -> None:
    session, _ = under_sky()
    live, made = Live(session), panel(session)
    live.follow(take(session, until=lambda d: d.phase == "proved"))
    click(made, "Roll back")
    shown = [d["phase"] for d in live.history().decisions]
    assert shown == ["rehearsed", "written", "proved", "rolled back"]


def test_numbers_and_picture_are_shown_as_it_moves() -> None:
    live = Live(open_at("meshed"))
    live.follow(moving())
    assert "share 25.0 %, 20.0 to 30.0 % expected" in live.numbers.value
    assert "✗ FAIL" in live.numbers.value
    assert "ROLLED BACK" in live.picture.value
    assert "aria-label=" in live.picture.value


def test_slow_requests_are_shown_where_they_are_judged() -> None:
    live = Live(open_at("meshed"))
    live.follow(moving()[:3])
    assert "slow" not in live.numbers.value
    live.follow(moving()[3:4])
    assert "2.67\N{NO-BREAK SPACE}%" in live.numbers.value


def test_a_screen_reader_is_told_of_each_phase_once() -> None:
    live = Live(open_at("meshed"))
    spoken = []
    for decision in [*moving()[1:2] * 3, moving()[2]]:
        live.follow([decision])
        spoken.append("role='status'" in live.numbers.value)
    assert spoken == [True, False, False, True]


def test_a_shift_tells_of_its_waits_where_it_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    for module in (widgets, show):
        monkeypatch.setattr(module, "display", shown.append)
    session, _ = under_sky()
    show_shift(shift_traffic(session, fact()), session)
    assert isinstance(shown[0], Progress)
    assert "the last one took" in shown[0].line.value


def test_a_still_picture_and_the_decisions_remain_when_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    for module in (widgets, show):
        monkeypatch.setattr(module, "display", shown.append)

    def failing() -> Any:
        yield from moving()
        raise RolledBack("25 %: errors")

    with pytest.raises(RolledBack):
        show_shift(failing(), open_at("meshed"))
    *_, table, still, words = shown
    assert [row["phase"] for row in table.rows] == ["written", "proved", "rolled back"]
    assert set(still._repr_mimebundle_()[0]) >= {"image/png", "text/plain"}
    assert "serviceBv2 answered 100 requests, 30 in error" in words.text
    assert "ROLLED BACK" in words.text


def test_an_interrupt_between_two_decisions_ends_the_shift_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(widgets, "display", lambda *each: None)
    session, sky = under_sky()
    decisions = shift_traffic(session, fact())

    class Consumer(Live):
        def draw(self) -> None:
            if self.decisions[-1].phase == "proved":
                raise KeyboardInterrupt

    monkeypatch.setattr(widgets, "Live", Consumer)
    with pytest.raises(Held, match=r"interrupted: .* stays as it is"):
        show_shift(decisions, session)
    assert lines(session, "interrupted")
    assert sky.weights() == QUARTER


def test_what_is_decided_after_an_interrupt_is_shown_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under `runbook run` an interrupt is passed on to the process that shifts, which is followed to its end."""
    shown: list[Any] = []
    for module in (widgets, show):
        monkeypatch.setattr(module, "display", shown.append)

    def decisions() -> Any:
        try:
            yield moving()[0]
        except KeyboardInterrupt:
            yield from moving()[2:]
            raise Held("interrupted") from None

    class Interrupted(Live):
        def draw(self) -> None:
            if len(self.decisions) == 1:
                raise KeyboardInterrupt

    monkeypatch.setattr(widgets, "Live", Interrupted)
    with pytest.raises(Held, match="interrupted"):
        show_shift(decisions(), open_at("meshed"))
    table = next(each for each in shown if getattr(each, "rows", None))
    assert [row["phase"] for row in table.rows] == ["written", "proved", "rolled back"]


def test_drawing_keeps_to_its_share_of_a_core(monkeypatch: pytest.MonkeyPatch) -> None:
    spent = iter([0.0, 0.1])
    live = Live(open_at("meshed"))
    monkeypatch.setattr(widgets.time, "thread_time", lambda: next(spent))
    began = time.monotonic()
    live.draw()
    assert live._next - began >= 0.1 / widgets.SHARE_OF_A_CORE


def test_a_wait_says_what_for_since_when_and_until_when() -> None:
    progress = Progress()
    assert progress.line.value == ""
    progress.tell("service serviceB", 12, 600)
    assert re.search(
        r"waiting for service serviceB: 12 s so far, since [\d:]{8}, until [\d:]{8} UTC", progress.line.value
    )
    progress.tell("", 14, 600)
    assert "took 14 s" in progress.line.value


def test_a_session_tells_of_its_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    monkeypatch.setattr(widgets, "display", shown.append)
    session = open_at("routed")
    show_progress(session)
    step(session, "04")
    assert "the last one took" in shown[0].line.value
