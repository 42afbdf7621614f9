"""What is shown says what is, escapes what came from elsewhere, and keeps secrets."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import ipywidgets as ipw
import pytest

from runbook_lib import forecast_steps, plan_steps, survey
from runbook_lib.aws.applying import Made
from runbook_lib.checks import Check
from runbook_lib.display import forecasts, show, tables, widgets
from runbook_lib.display.drawing import Drawing, Text
from runbook_lib.display.show import plan_rows
from runbook_lib.display.tables import Banner, Picture, Table, Words
from runbook_lib.display.timeline import drawn
from runbook_lib.engines.appmesh import iam
from runbook_lib.parameters import load
from runbook_lib.plan import Difference, Plan
from runbook_lib.runs.history import History
from runbook_lib.shift.outlook import Ahead
from runbook_lib.verdict.load import forecast_load
from tests.scenes import MESH, ROUTE, change, fact, one, open_at, open_local, reopen, somebody
from tests.test_film import contrast

NASTY = "<script>alert(1)</script>"
SECRET = "AKIA" + "IOSFODNN7EXAMPLE"


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """Return what was displayed so far, as text and as HTML."""
    seen: list[Any] = []
    monkeypatch.setattr(show, "display", seen.append)

    def text() -> str:
        return "\n".join(f"{item!r}\n{getattr(item, '_repr_html_', str)()}" for item in seen)

    return text


# Tables and words.


def test_a_table_is_escaped_and_keeps_its_lines() -> None:
    html = Table(NASTY, [{NASTY: f"{NASTY}\nsecond"}])._repr_html_()
    assert "<script>" not in html
    assert "&lt;/script&gt;<br>second" in html


def test_a_table_shows_no_secret() -> None:
    table = Table("a", [{"found": f"key {SECRET}", "deep": {"name": "DB_PASSWORD", "value": "hunter2"}}])
    assert not any(word in table._repr_html_() + repr(table) for word in (SECRET, "hunter2"))


def test_as_text_every_column_begins_at_the_left_and_nothing_is_cut() -> None:
    table = Table("a", [{"one": "x", "two": "y\n" + "z " * 50}, {"one": "longer", "two": None}])
    head, first, second, *more = repr(table).splitlines()[1:]
    assert (head, first, second[:10]) == ("one     two", "x       y", "        z ")
    assert repr(table).count("z") == 50
    assert more[-1] == "longer  –"


def test_an_empty_table_says_so() -> None:
    assert "(none)" in Table("a", [])._repr_html_()
    assert repr(Table("a", [])) == "a: none"


def test_long_text_is_not_cut_in_html() -> None:
    assert "x" * 300 in Table("a", [{"b": "x" * 300}])._repr_html_()


def test_words_are_escaped() -> None:
    assert "<script>" not in Words(NASTY, "FAIL")._repr_html_()


@pytest.mark.parametrize(("kind", "mark"), [("PASS", "✓"), ("WARN", "!"), ("FAIL", "✗")])
def test_a_judgement_is_a_word_and_not_only_a_colour(kind: str, mark: str) -> None:
    assert repr(Words("so", kind)) == f"{mark} {kind} so"
    assert f"{mark} {kind}" in Words("so", kind)._repr_html_()


@pytest.mark.parametrize("kind", tables.GROUNDS)
def test_a_mark_is_readable_on_every_page(kind: str) -> None:
    ground, ink = re.findall(r"(?:background|color):(#\w+)", Words("so", kind)._repr_html_())
    assert contrast(ink.replace("#fff", "#ffffff"), ground) >= 4.5


# The banner.


def test_the_banner_says_where_who_and_what() -> None:
    assert repr(Banner(load("staging"))) == ("staging on AWS · account 210987654321 · us-west-2 · only plans")


def test_applying_on_aws_looks_like_nothing_else() -> None:
    def banner(target: str, mode: str) -> str:
        return Banner(load("staging", {"target": target, "mode": mode}))._repr_html_()

    danger = banner("aws", "apply")
    others = [banner(*each) for each in (("aws", "plan"), ("local", "apply"), ("local", "plan"))]
    assert "⚠" in danger
    assert "#cf222e" in danger
    assert not any("⚠" in other or "#cf222e" in other for other in others)


def test_a_session_shows_the_notes_of_its_file(shown: Callable[[], str]) -> None:
    show.show(reopen(open_local(), namespace="Apps.local"))
    assert "scene on the local mesh" in shown()
    assert "'Apps.local' was read as 'apps.local'" in shown()


# Plans and what came of them.


def test_a_plan_shows_each_field_and_the_way_back() -> None:
    planned = one(diff=(Difference("spec.egressFilter.type", "DROP_ALL", "ALLOW_ALL"),), note="mind the gap")
    assert plan_rows(Plan("a", (planned,))) == [
        {
            "change": "create mesh scene",
            "fields": "egressFilter.type: DROP_ALL → ALLOW_ALL\nnote: mind the gap",
            "undo": "delete",
        }
    ]


def test_a_change_without_a_way_back_says_why() -> None:
    (row,) = plan_rows(Plan("a", (one(inverse=None, no_inverse="it is final"),)))
    assert row["undo"] == "! none: it is final"


def test_a_way_back_has_none_in_its_turn() -> None:
    (row,) = plan_rows(Plan("undo", (one(verb="delete", inverse=None, undoes="mesh scene"),)))
    assert row == {"change": "delete mesh scene", "fields": "–"}


def test_what_is_assumed_is_said(shown: Callable[[], str]) -> None:
    show.show(replace(Plan("a"), assumed=("mesh apps (01_create_mesh)",)))
    assert "assumed applied: mesh apps (01_create_mesh)" in shown()
    assert "nothing to change" in shown()


def test_what_was_changed_is_shown_as_read_back(shown: Callable[[], str]) -> None:
    show.show(change(open_local(), Plan("a", (one(),))))
    show.show(Made())
    assert "1 change made and read back" in shown()
    assert "create mesh scene" in shown()
    assert "nothing was changed" in shown()


def test_a_plan_of_what_is_there_already_passes(shown: Callable[[], str]) -> None:
    show.show(Plan("a"))
    assert "✓ PASS nothing to change" in shown()


def test_fields_of_several_lines_that_were_shown_before_are_not_shown_again() -> None:
    fields = (Difference("a", 1, 2), Difference("b", 1, 2))
    rows = plan_rows(
        Plan("a", (one("mesh a", diff=fields), one("mesh b", diff=fields), one("mesh c", diff=fields[:1])))
    )
    assert [row["fields"] for row in rows] == ["a: 1 → 2\nb: 1 → 2", "the same as: create mesh a", "a: 1 → 2"]


def test_what_nobody_knows_how_to_show_is_refused() -> None:
    with pytest.raises(TypeError, match="show: nothing is known of a int"):
        show.show(7)


def test_a_single_gate_is_a_sentence(shown: Callable[[], str]) -> None:
    show.show(fact("the path", holds=False))
    assert shown().startswith("✗ FAIL the path: it does not")


def test_evidence_that_fails_comes_first_with_what_to_do(shown: Callable[[], str]) -> None:
    show.show([fact("first"), fact("second", holds=False)])
    text = shown()
    assert text.index("second") < text.index("first")
    assert text.count("mend it") == 2  # once as text, once as HTML, and only where it does not hold


def test_checks_that_fail_come_first(shown: Callable[[], str]) -> None:
    levels: list[Any] = ["PASS", "WARN", "FAIL"]
    show.show([Check(level, f"place {level}", "so") for level in levels])
    text = shown()
    assert text.index("place FAIL") < text.index("place WARN") < text.index("place PASS")


@pytest.mark.parametrize(
    ("increase", "words"),
    [
        (0.005, "0.5 percentage points"),
        (0.01, "1 percentage point"),
        (0.1346, "13 percentage points"),
        (0.998, "100 percentage points"),
    ],
)
def test_an_increase_is_said_in_points_of_two_digits(increase: float, words: str) -> None:
    assert forecasts._points(increase) == words


@pytest.mark.parametrize(
    ("weight_now", "words"),
    [
        (0, "1 running, 1 needed: 300 requests/s each; each of stable's has carried 300"),
        (100, "1 running: 300 requests/s each; what a task can carry is not known, since stable's carry nothing now"),
    ],
)
def test_the_canarys_load_is_held_against_what_stables_tasks_carry(weight_now: int, words: str) -> None:
    assert (
        forecasts._load_words(forecast_load(300, 100, stable_tasks=1, canary_tasks=1, weight_now=weight_now)) == words
    )


# What is there.


def test_the_split_says_weights_and_stage(shown: Callable[[], str]) -> None:
    show.show(survey(open_at("routed")))
    assert "serviceb.apps.local: a route divides the traffic, and gives the canary none (stage routed)" in shown()
    assert "100\N{NO-BREAK SPACE}%" in shown()


def test_the_review_shows_everything_the_mesh_holds(shown: Callable[[], str]) -> None:
    show.show(survey(open_at("routed")).review())
    for key in ("mesh apps", "virtual node serviceBv2", "virtual router serviceB", "route serviceB/serviceB"):
        assert key in shown()
    assert "review: all is as the parameters say" in shown()
    assert "weightedTargets: [serviceB: 100, serviceBv2: 0]" in shown()


def test_the_review_begins_with_what_is_not_as_the_parameters_say(shown: Callable[[], str]) -> None:
    session = open_at("routed")
    somebody(session).update_mesh(**MESH, spec={"egressFilter": {"type": "ALLOW_ALL"}})
    somebody(session).delete_route(**ROUTE)
    show.show(survey(session).review())
    missing, differs, *others = (
        line for line in shown().splitlines()[2:] if re.match(r"\S| +(mesh|route|virtual)", line)
    )
    assert missing.split("  ")[:1] == ["! WARN"]
    assert {missing.split()[2], differs.split()[2]} == {"mesh", "route"}
    assert not [line for line in others[:5] if "WARN" in line]
    assert "egressFilter.type: ALLOW_ALL → DROP_ALL" in shown()
    assert "not there" in shown()


def test_the_topology_is_a_picture_and_words(shown: Callable[[], str]) -> None:
    show.show(survey(open_at("routed")).map())
    assert "serviceA calls serviceb.apps.local" in shown()
    assert "virtual node serviceB (100\N{NO-BREAK SPACE}%)" in shown()


def test_a_picture_is_a_png_with_its_words_below_it(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(show, "display", seen.append)
    show.show(survey(open_at("routed")).map())
    data, about = seen[0]._repr_mimebundle_()
    assert base64.b64decode(data["image/png"]).startswith(b"\x89PNG")
    assert about["image/png"]["width"] == 960
    assert about["image/png"]["alt"] == repr(seen[1])  # for who shows a notebook as a page
    assert "serviceA calls serviceb.apps.local" in repr(seen[1])
    assert set(data) == {"image/png", "text/plain"}  # an SVG is dropped where a notebook is not trusted


def test_the_steps_to_come_are_on_the_map(shown: Callable[[], str]) -> None:
    session = open_at("meshed")
    found = survey(session)
    show.show(found.map(found.plan_next()))
    assert "100 → 75\N{NO-BREAK SPACE}%" in shown()
    assert "To be changed: shift route serviceB/serviceB" in shown()


def test_before_there_is_a_route_the_steps_to_come_change_nothing_on_the_map(shown: Callable[[], str]) -> None:
    session = open_local(services=True)
    found = survey(session)
    show.show(found.map(found.plan_next()))
    assert "To be changed" not in shown()


def test_before_there_is_a_route_no_step_is_said_to_be_left(shown: Callable[[], str]) -> None:
    session = open_local(services=True)
    show.show(survey(session))
    assert shown().count("! WARN no route yet: run 03_create_router_and_routes") == 1
    assert plan_steps(session) == []
    assert forecast_steps(survey(session)) == Ahead(())


def test_each_cell_is_marked_once_as_a_recording_which_a_live_page_hides(
    shown: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    marks: list[Any] = []
    header = {"msg_id": "one"}
    shell = SimpleNamespace(get_parent=lambda: {"header": header})
    monkeypatch.setattr(widgets, "display", marks.append)
    show.show(fact())
    assert marks == []  # in no kernel
    monkeypatch.setattr(widgets, "get_ipython", lambda: shell)
    monkeypatch.setattr(widgets, "MARKED", {})
    show.show(fact())
    show.show(fact())
    assert len(marks) == 1
    header["msg_id"] = "two"
    show.show(fact())
    assert len(marks) == 2
    bundle = marks[0]._repr_mimebundle_()
    assert "Recorded, not of this session: run this cell" in bundle["text/html"]
    hides = f".{widgets.LIVE}:not(.jupyter-widgets-disconnected) p {{display:none}}"
    assert hides in ipw.widgets.widget._instances[bundle[widgets.VIEW]["model_id"]].value


def test_a_picture_is_live_in_the_colours_of_the_page_and_recorded_on_a_ground_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    picture = Picture(Drawing(10, 10, (Text(1, 1, "here"),), "here"))
    assert widgets.live(picture) is picture  # in no kernel
    monkeypatch.setattr(widgets, "get_ipython", lambda: SimpleNamespace(execution_count=1))
    data, sizes = widgets.live(picture)._repr_mimebundle_()
    assert {widgets.VIEW, "image/png"} <= data.keys()
    assert data["text/plain"] == "(a picture; described below)"
    assert sizes == {"image/png": {"width": 10, "alt": "here"}}


def test_a_shift_without_traffic_is_said_and_not_drawn(shown: Callable[[], str]) -> None:
    show.show(drawn(History("one", "two", [], [], [], ())))
    assert shown().startswith("no traffic was seen")


def test_a_retired_service_is_not_in_the_topology(shown: Callable[[], str]) -> None:
    show.show(survey(open_at("retired")).map())
    assert "virtual node serviceB (" not in shown()
    assert "virtual node serviceBv2 (100\N{NO-BREAK SPACE}%)" in shown()


def test_tasks_show_each_containers_health(shown: Callable[[], str]) -> None:
    show.show(survey(open_at("meshed")).running_tasks())
    assert shown().count("HEALTHY") >= 3
    assert "taskB:2" in shown()


def test_a_task_that_is_not_well_comes_first(shown: Callable[[], str]) -> None:
    found = survey(open_at("meshed"))
    ill = [
        replace(t, health=dict.fromkeys(t.health, "UNHEALTHY"))
        for t in found.running_tasks()
        if t.service == "serviceBv2"
    ]
    show.show([*(task for task in found.running_tasks() if task.service != "serviceBv2"), *ill])
    first, *others = shown().splitlines()[2:5]
    assert first.split() == ["!", "WARN", "serviceBv2", "taskBv2:2", "UNHEALTHY", "UNHEALTHY"]
    assert not [line for line in others if "WARN" in line]


def test_a_container_nobody_checks_is_not_called_unknown(shown: Callable[[], str]) -> None:
    show.show(survey(open_at("meshed")).running_tasks())
    assert shown().count("no health check") == 6  # the applications, as text and as HTML
    assert "UNKNOWN" not in shown()


def test_credentials_show_who_signs(shown: Callable[[], str]) -> None:
    show.show(survey(open_at("plain")).facts())
    assert "apps-serviceB-task" in shown()
    assert "not yet" in shown()


def test_a_service_for_which_nobody_signs_comes_first(shown: Callable[[], str]) -> None:
    found = survey(open_at("plain"))
    credentials = iam.who_signs(found)
    credentials[-1] = replace(credentials[-1], role="")
    show.show(found.facts())
    assert shown().splitlines()[2].split()[:4] == ["✗", "FAIL", "serviceBv2", "none"]


def test_names_show_how_many_addresses_answer_and_those_that_lead_nowhere_first(shown: Callable[[], str]) -> None:
    found = survey(open_at("plain"))
    found.names["servicebv2.apps.local"] = replace(found.names["servicebv2.apps.local"], instances={})
    show.show(found.names)
    first, *others = shown().splitlines()[2:5]
    assert first.split() == ["!", "WARN", "servicebv2.apps.local", "0"]
    assert [line.split() for line in others] == [["servicea.apps.local", "1"], ["serviceb.apps.local", "1"]]


def test_what_is_missing_comes_first(shown: Callable[[], str]) -> None:
    show.show(survey(open_at("plain", "")).resources("01"))
    session = open_at("routed")
    somebody(session).delete_route(**ROUTE)
    show.show(survey(session).resources("03"))
    assert shown().splitlines()[-1:] != []
    assert re.search(r"resource +exists\nroute serviceB/serviceB +no\n", shown())


def test_resources_of_one_step_say_whether_they_are_there(shown: Callable[[], str]) -> None:
    show.show(survey(open_local()).resources("01"))
    assert "mesh apps" in shown()
    assert "virtual node" not in shown()


def test_what_stays_is_named(shown: Callable[[], str]) -> None:
    show.show(Plan("90", stays=("mesh apps: still needed",)))
    assert "! WARN left alone: mesh apps: still needed" in shown()


def test_what_somebody_wrote_into_aws_is_escaped(shown: Callable[[], str]) -> None:
    session = open_at("routed")
    node = {**MESH, "virtualNodeName": "serviceB"}
    spec = somebody(session).describe_virtual_node(**node)["virtualNode"]["spec"]
    spec["logging"] = {"accessLog": {"file": {"path": f"/{NASTY}"}}}
    somebody(session).update_virtual_node(**node, spec=spec)
    found = survey(session)
    show.show(found.review())
    html = shown().partition("<p>")[2]
    assert "&lt;script&gt;" in html
    assert "<script>" not in html
