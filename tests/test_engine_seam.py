"""The seam: what surrounds an engine works with one that is no mesh, on plain values."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from runbook_lib import (
    apply,
    check_environment,
    clear,
    evidence,
    evidence_for_shift,
    plan_undo,
    record,
)
from runbook_lib.aws.series import Counted
from runbook_lib.display.traffic_map import mapped
from runbook_lib.engines import protocol
from runbook_lib.engines.alb import engine as alb
from runbook_lib.engines.appmesh import engine as appmesh
from runbook_lib.engines.named import engine_of
from runbook_lib.engines.protocol import Check, Engine, Finding, Gate, Split, Target
from runbook_lib.errors import ForeignChangeError, GateError, Held, PlanError, StalePlanError
from runbook_lib.gates import evidence_of_path
from runbook_lib.plan import Call, Evidence, Inverse, Moved, Reading, revived
from runbook_lib.shift.outlook import look_ahead, measure_traffic, require_steps_passable
from runbook_lib.shift.rollback import roll_back
from runbook_lib.shift.trial import end_trial
from runbook_lib.survey import Survey
from tests.mock_engine import READING, Mocked, MockEngine, open_mock

PLAIN = {"serviceB": 100, "serviceBv2": 0}
QUARTER = {"serviceB": 75, "serviceBv2": 25}
ALL = {"serviceB": 0, "serviceBv2": 100}
COUNTED = {("Requests", "serviceB"): 90, ("Requests", "serviceBv2"): 30}


def gate(holds: bool | None = True, words: str = "it is", **more: Any) -> Gate:
    """Return a gate of the engine's own that always answers this."""
    return Gate("pool reachable", lambda look: Finding(holds, words, "mend the pool"), **more)


def with_gate(own: Gate, before: protocol.Before = "shift") -> MockEngine:
    return MockEngine(own={before: (own,)})


def found_of(evidence: tuple[Evidence, ...], name: str) -> Evidence:
    (found,) = [each for each in evidence if each.name == name]
    return found


def of_retirement(found: Survey) -> tuple[Evidence, ...]:
    """Look into the gates before stable is retired."""
    return evidence(found, found.plan_retirement())


def shift(mocked: Mocked, weight: int) -> list[Any]:
    """Write one weight as 05 does, with its gates."""
    found = mocked.look()
    return apply(mocked.session, clear(found.plan_step(weight), *evidence_for_shift(found)))


# --- what an engine is ----------------------------------------------------------------


VERBS = sorted(name for name, verb in vars(Engine).items() if inspect.isfunction(verb) and name[0] != "_")
ENGINES = {"mock": MockEngine(), "appmesh": appmesh, "alb": alb}


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_an_engine_has_every_verb_of_the_protocol(engine: Any) -> None:
    assert isinstance(engine, Engine)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_a_verb_takes_what_the_protocol_says(engine: Any, verb: str) -> None:
    asked = list(inspect.signature(getattr(Engine, verb)).parameters)
    assert list(inspect.signature(getattr(engine, verb)).parameters) == asked[1:]


def test_every_verb_says_why_it_is_there() -> None:
    assert [verb for verb in VERBS if not inspect.getdoc(getattr(Engine, verb))] == []


def test_the_engine_handed_in_is_the_one_asked() -> None:
    mocked = open_mock(PLAIN)
    assert engine_of(mocked.session) is mocked.engine
    assert mocked.look().engine is mocked.engine


def test_what_lacks_a_verb_is_no_engine() -> None:
    mocked = open_mock(PLAIN)
    mocked.session.engine = object()
    with pytest.raises(TypeError, match="expected an Engine, found object"):
        mocked.look().split  # noqa: B018


def test_an_engine_can_read_and_not_write() -> None:
    verbs = {name for name in dir(protocol.Reads) if not name.startswith("_")}
    assert verbs == {"parameters", "read", "pages", "together", "saw", "now"}


# --- how the traffic is divided -------------------------------------------------------


def split_of(**weights: int) -> Split:
    targets = tuple(Target(name, weight) for name, weight in weights.items())
    return Split("division shop", READING, {"version": 1}, targets, at_zero="nobody answers")


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"a": 75, "b": 25}, ""),
        ({"a": 1, "b": 0}, ""),
        ({"a": 3, "b": 1}, "the weights do not sum to 100 but to 4"),
        ({"a": 0, "b": 0}, "every weight is 0, and nobody answers"),
        ({"a": 50, "c": 50}, "c is a target too, and no part of this shift: a 50, c 50"),
    ],
)
def test_weights_that_are_no_shifts_are_said(weights: dict[str, int], words: str) -> None:
    oddity = split_of(**weights).oddity(("a", "b"))
    assert oddity.startswith(words)
    assert bool(oddity) == bool(words)


def test_a_service_that_is_a_target_twice_is_said() -> None:
    split = replace(split_of(a=50), targets=(Target("a", 50), Target("a", 30), Target("b", 20)))
    assert split.oddity(("a", "b")) == "a service is a target twice: a 80, b 20"
    assert split.weights == {"a": 80, "b": 20}


# --- gates ----------------------------------------------------------------------------


def test_a_rising_weight_needs_the_engines_own_gates() -> None:
    found = open_mock(PLAIN, engine=with_gate(gate())).look()
    needs = ("earlier steps", "pool reachable", "canary ready", "not retired", "errors are counted")
    assert found.plan_step(25).needs == needs
    with pytest.raises(GateError, match=r"no evidence of: .*pool reachable"):
        clear(found.plan_step(25))


def test_a_falling_weight_needs_nothing() -> None:
    found = open_mock(QUARTER, engine=with_gate(gate(holds=False))).look()
    assert clear(found.plan_step(0)).plan.changes


def test_a_gate_of_the_engine_that_is_shut_lets_nothing_be_written() -> None:
    mocked = open_mock(PLAIN, engine=with_gate(gate(holds=False, words="no way in")))
    with pytest.raises(GateError, match="pool reachable: no way in") as caught:
        shift(mocked, 25)
    assert caught.value.hint == "mend the pool"
    assert mocked.division.calls == []


def test_what_cannot_be_verified_here_is_said_and_stops_nobody() -> None:
    mocked = open_mock(PLAIN, engine=with_gate(gate(holds=None, words="cannot be verified here")))
    evidence = found_of(evidence_for_shift(mocked.look()), "pool reachable")
    assert (evidence.holds, evidence.found) == (True, "cannot be verified here")
    shift(mocked, 25)
    assert mocked.division.targets == QUARTER


@pytest.mark.parametrize(("assumable", "holds"), [(True, True), (False, False)])
def test_in_plan_mode_only_an_earlier_step_is_assumed(assumable: bool, holds: bool) -> None:
    engine = with_gate(gate(holds=False, words="not yet", assumable=assumable))
    evidence = evidence_for_shift(open_mock(PLAIN, engine=engine, mode="plan").look())
    assert found_of(evidence, "pool reachable").holds is holds


@pytest.mark.parametrize(("protects", "written"), [(True, []), (False, ["write_division"])])
def test_apply_looks_once_more_at_what_protects_traffic(protects: bool, written: list[str]) -> None:
    answers = [True, False]
    own = Gate("pool reachable", lambda look: Finding(answers.pop(0), "it was, once"), protects=protects)
    mocked = open_mock(PLAIN, engine=with_gate(own))
    found = mocked.look()
    cleared = clear(found.plan_step(25), *evidence_for_shift(found))
    if protects:
        with pytest.raises(GateError, match="no longer as it was"):
            apply(mocked.session, cleared)
    else:
        apply(mocked.session, cleared)
    assert mocked.division.calls == written


def test_where_nothing_divides_the_traffic_the_notebook_that_would_is_named() -> None:
    found = open_mock(None).look()
    assert found.stage == "plain"
    evidence = found_of(evidence_for_shift(found), "earlier steps")
    assert (evidence.holds, evidence.found) == (False, "missing: division shop (03_divide)")
    with pytest.raises(PlanError, match="division shop: it is not there"):
        found.plan_step(25)


def test_a_canary_whose_errors_nobody_counts_is_refused() -> None:
    engine = MockEngine(what_counts=Counted(False, False, "the mock counts nothing"))
    mocked = open_mock(PLAIN, engine=engine)
    with pytest.raises(GateError, match="errors are counted: the mock counts nothing"):
        shift(mocked, 25)


def test_a_canary_that_lacks_tasks_is_refused() -> None:
    mocked = open_mock(PLAIN)
    mocked.ecs.tasks["serviceBv2"] = 1
    with pytest.raises(GateError, match=r"canary ready: serviceBv2 runs 1 of 2 tasks"):
        shift(mocked, 25)


def test_the_gates_of_a_step_are_the_engines() -> None:
    mocked = open_mock(PLAIN, engine=with_gate(gate(holds=False), before="resources"))
    looked = evidence(mocked.look(), mocked.look().plan_resources("03"))
    assert [each.name for each in looked] == ["earlier steps", "pool reachable"]


# --- the end of stable, and of the engine ---------------------------------------------


def retiring(**more: Any) -> Mocked:
    """Return an environment with traffic whose canary has all of it, counted by the mock."""
    mocked = open_mock(ALL, traffic=True, retirement={"quiet_seconds": 5}, **more)
    mocked.metrics.counts = {("Requests", "serviceBv2"): 50}
    return mocked


def quiet(mocked: Mocked) -> Evidence:
    return found_of(of_retirement(mocked.look()), "stable is idle")


def test_stable_is_quiet_where_its_witness_alone_is_counted() -> None:
    evidence = quiet(retiring())
    assert (evidence.holds, evidence.found) == (True, "no request in the last 5 s, while serviceBv2's are counted")


def test_where_nothing_is_counted_silence_shows_nothing() -> None:
    mocked = retiring()
    mocked.metrics.counts = {}
    evidence = quiet(mocked)
    assert not evidence.holds
    assert evidence.found.startswith("nothing is counted: serviceBv2 had no request")
    assert evidence.hint == "let somebody call"


def test_a_stable_that_is_still_called_stays() -> None:
    mocked = retiring()
    mocked.metrics.counts[("Requests", "serviceB")] = 3
    evidence = quiet(mocked)
    assert (evidence.holds, evidence.found) == (False, "3 requests in the last 5 s, while serviceBv2's are counted")
    assert evidence.hint == "find who calls"


def test_what_would_not_see_requests_is_no_evidence_of_silence() -> None:
    evidence = quiet(retiring(engine=MockEngine(blind="the mock sees half of it")))
    assert (evidence.holds, evidence.found, evidence.hint) == (False, "the mock sees half of it", "let it see")


def test_stable_is_silent_for_as_long_as_the_engine_needs() -> None:
    evidence = quiet(retiring(engine=MockEngine(least_seconds=120)))
    assert evidence.found == "no request in the last 120 s, while serviceBv2's are counted"


@pytest.mark.parametrize(
    ("refers", "holds", "words"),
    [((), True, "only its own division"), (("rule of others",), False, "rule of others")],
)
def test_what_else_refers_to_stable_is_named(refers: tuple[str, ...], holds: bool, words: str) -> None:
    looked = of_retirement(retiring(engine=MockEngine(refers=refers)).look())
    found = found_of(looked, "nothing else refers to it")
    assert (found.holds, found.found) == (holds, words)


def test_retirement_and_removal_need_the_engines_own_gates() -> None:
    own = {"retirement": (gate(),), "removal": (gate(),)}
    found = retiring(engine=MockEngine(own=own)).look()
    assert found.plan_retirement().needs[-1] == "pool reachable"
    plan = found.plan_removal()
    assert plan.needs == ("pool reachable", "stable can carry all")
    assert plan.stays == ("division shop: somebody else made it",)
    names = [each.name for each in evidence(found, plan)]
    assert names == ["pool reachable", "stable can carry all"]


@pytest.mark.parametrize(
    ("counts", "holds", "words"), [(COUNTED, True, "it counts them"), ({}, False, "the mock counts 0")]
)
def test_calls_take_the_engines_way_where_all_who_count_count(
    counts: dict[tuple[str, str], int], holds: bool, words: str
) -> None:
    mocked = open_mock(PLAIN, traffic=True)
    mocked.metrics.counts = counts
    evidence = evidence_of_path(mocked.look())
    assert (evidence.name, evidence.holds, evidence.found) == ("calls pass the mock", holds, words)


# --- the forecast ---------------------------------------------------------------------


def test_the_forecast_reads_the_engines_series_by_names_that_exist_only_live() -> None:
    mocked = open_mock(QUARTER, traffic=True)
    mocked.metrics.counts = {**COUNTED, ("Errors", "serviceB"): 5, ("Refused", "serviceB"): 4}
    traffic = measure_traffic(mocked.look())
    assert traffic is not None
    assert traffic.error_rate == pytest.approx(0.1)  # the sum of two series
    asked = {(m["Namespace"], m["MetricName"], m["Dimensions"][1]["Value"]) for m in mocked.metrics.asked}
    names = ("Requests", "Errors", "Refused")
    assert asked == {("Mock", name, "shop-7f3a") for name in names}  # nobody asked for slow requests


def test_a_series_without_a_statistic_is_not_read() -> None:
    mocked = open_mock(QUARTER, traffic=True)
    measure_traffic(mocked.look())
    assert "Seconds" not in {metric["MetricName"] for metric in mocked.metrics.asked}


def test_the_forecast_names_who_judges_errors_by_the_engine() -> None:
    mocked = open_mock(PLAIN)
    outlook = look_ahead(mocked.look(), 25)
    assert outlook.judge.words == "each answer of 5XX is counted"
    assert outlook.load.canary_tasks == 2


def test_without_traffic_no_step_is_taken_and_the_engine_says_what_to_do() -> None:
    mocked = open_mock(PLAIN, traffic=True)
    with pytest.raises(Held) as caught:
        require_steps_passable(mocked.look(), 25)
    assert caught.value.hint == "let somebody call"


# --- undo and rollback ----------------------------------------------------------------


def test_a_shift_is_undone_in_one_write() -> None:
    mocked = open_mock(PLAIN)
    shift(mocked, 25)
    shift(mocked, 50)
    apply(mocked.session, clear(plan_undo(mocked.session, notebook="05_shift_traffic")))
    assert mocked.division.targets == PLAIN
    assert mocked.division.calls == ["write_division"] * 3
    assert plan_undo(mocked.session, notebook="05_shift_traffic").changes == ()


def test_the_record_says_what_a_change_is_about_what_it_moves_and_what_it_undoes() -> None:
    mocked = open_mock(PLAIN)
    shift(mocked, 25)
    apply(mocked.session, clear(plan_undo(mocked.session, notebook="05_shift_traffic")))
    lines = mocked.session.join_run().lines()
    there, back = [revived(line["change"]) for line in lines if line["event"] == "intended"]
    before, after = {"serviceB": 100, "serviceBv2": 0}, {"serviceB": 75, "serviceBv2": 25}
    assert (there.about, there.undoes, there.weights) == (("division shop",), "", Moved(before, after))
    assert (back.about, back.undoes, back.weights) == (("division shop",), "division shop", Moved(after, before))


def test_an_undo_never_raises_the_canary() -> None:
    mocked = open_mock(QUARTER)
    found = mocked.look()
    apply(mocked.session, clear(found.plan_step(0)))
    with pytest.raises(PlanError, match="it would raise serviceBv2 from 0 to 25 %"):
        plan_undo(mocked.session)


def test_somebody_elses_weights_stop_an_undo() -> None:
    mocked = open_mock(PLAIN)
    shift(mocked, 25)
    mocked.division.write_division("shop", [{"service": "serviceB", "weight": 60}])
    with pytest.raises(PlanError, match="division shop: somebody has changed it since"):
        plan_undo(mocked.session)


def planted(mocked: Mocked, call: Call) -> None:
    """Write a change with this inverse into the record, as nobody's planner did."""
    shift(mocked, 25)
    run = mocked.session.join_run()
    (change,) = mocked.look().plan_step(50)
    run.intended("05_shift_traffic", replace(change, inverse=Inverse("shift", call, wanted=None)), None)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (Call("mock", "drop_everything", {"name": "shop"}), "mock drop_everything is no call that undo makes"),
        (Call("mock", "write_division", {"name": "theirs"}), "is about something that mock's file does not name"),
        (Call("appmesh", "delete_mesh", {"meshName": "apps"}), "appmesh delete_mesh is no call that undo makes"),
    ],
)
def test_undo_makes_only_calls_of_the_engine_that_carries_the_weights(call: Call, words: str) -> None:
    mocked = open_mock(PLAIN)
    planted(mocked, call)
    before = list(mocked.division.calls)
    with pytest.raises(PlanError, match=words):
        plan_undo(mocked.session)
    assert mocked.division.calls == before


def test_undo_reads_only_what_the_engine_reads() -> None:
    mocked = open_mock(PLAIN)
    shift(mocked, 25)
    run = mocked.session.join_run()
    (change,) = mocked.look().plan_step(50)
    secret = Reading(Call("mock", "get_secret", {"name": "shop"}), "secret")
    run.intended("05_shift_traffic", replace(change, reading=secret), None)
    with pytest.raises(PlanError, match="mock get_secret is no reading of this product"):
        plan_undo(mocked.session)


def test_a_rollback_is_one_write_and_leaves_word_of_who_did_it() -> None:
    mocked = open_mock(QUARTER)
    mocked.division.trial = {"header": "x-trial", "value": "1"}
    told: list[str] = []
    back = roll_back(mocked.session, told.append)
    assert back.weights == PLAIN
    assert mocked.division.calls == ["write_division", "write_mark", "delete_trial"]
    assert "user/somebody" in str(mocked.division.rolled_back)
    assert told[0].startswith("aws mock write-division")


def test_a_rollback_with_nothing_to_move_writes_nothing() -> None:
    mocked = open_mock(PLAIN)
    assert roll_back(mocked.session, lambda words: None).decision is None
    assert mocked.division.calls == []


def test_a_trial_that_was_left_behind_is_ended() -> None:
    mocked = open_mock(PLAIN)
    mocked.division.trial = {"header": "x-trial", "value": "1"}
    end_trial(mocked.session)
    assert mocked.division.trial is None


def meddled(mocked: Mocked, when: Callable[[], None]) -> None:
    """Let somebody write the division between the call and its reading back."""
    write = mocked.division.write_division

    def written(**arguments: Any) -> Any:
        answer = write(**arguments)
        when()
        return answer

    mocked.division.write_division = written  # type: ignore[method-assign]


def test_a_plan_that_became_stale_is_not_written() -> None:
    mocked = open_mock(PLAIN)
    found = mocked.look()
    cleared = clear(found.plan_step(25), *evidence_for_shift(found))
    mocked.division.write_division("shop", [{"service": "serviceB", "weight": 100}])
    with pytest.raises(StalePlanError, match="division shop: it is no longer what was planned against"):
        apply(mocked.session, cleared)


def test_somebody_who_writes_at_the_same_moment_is_noticed() -> None:
    mocked = open_mock(PLAIN)

    def again() -> None:
        mocked.division.version += 1

    meddled(mocked, again)
    with pytest.raises(ForeignChangeError, match="somebody else changed it at the same moment"):
        shift(mocked, 25)


def test_the_record_of_another_engines_run_is_read_like_any_other() -> None:
    mocked = open_mock(PLAIN)
    shift(mocked, 25)
    run = record.latest("mock", mocked.session.parameters.records)
    assert run is not None
    assert [line["event"] for line in run.lines() if line["event"] in ("intended", "observed")] == [
        "intended",
        "observed",
    ]


# --- what is shown --------------------------------------------------------------------


def test_the_map_is_the_engines() -> None:
    found = open_mock(PLAIN).look()
    shown = mapped(found, found.plan_step(25))
    words = shown.words().replace("\N{NO-BREAK SPACE}", " ")
    assert words == (
        "shop; caller calls shop; shop → division shop; "
        "division shop → pool serviceB (100 → 75 %), pool serviceBv2 (0 → 25 %); "
        "pool serviceB → service serviceB (1 of 1 running); pool serviceBv2 → service serviceBv2 (1 of 1 running). "
        "To be changed: shift division shop."
    )
    assert {key: [change.title for change in changes] for key, changes in shown.changes_on.items()} == {
        "division shop": ["shift division shop"]
    }
    assert shown.drawn().shapes


def test_a_map_of_nothing_says_so() -> None:
    assert mapped(open_mock(None).look()).words().startswith("shop (not there yet); caller calls shop (not there yet)")


def test_the_engines_checks_follow_the_common_ones() -> None:
    engine = MockEngine(found=(Check("FAIL", "pool", "too small", "make it larger"),))
    found: Survey = open_mock(PLAIN, engine=engine).look()
    checks = check_environment(found)
    assert checks[-1] == engine.found[0]
    assert {"account", "errors"} <= {check.where for check in checks}
