"""Comparing and merging states, and the one way from a plan to what may be applied."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook_lib.errors import GateError
from runbook_lib.plan import (
    ClearedPlan,
    Difference,
    Plan,
    clear,
    differences,
    holds,
    merged,
    ordered,
    stated,
)
from tests.scenes import fact, one

KEYS = st.sampled_from(["a", "b", "c", "d"])
VALUES = st.booleans() | st.integers(0, 3) | st.sampled_from(["x", "y"])
STATES = st.recursive(
    VALUES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=10,
)
RECORDS = st.dictionaries(KEYS, STATES, max_size=4)
DESIRED = st.dictionaries(KEYS, STATES | st.none(), max_size=4)
EMPTIES: list[Any] = [None, {}, []]


# Merging what is wanted into what is there.


@given(RECORDS, DESIRED)
def test_fields_nobody_speaks_of_are_kept(live: dict[str, Any], desired: dict[str, Any]) -> None:
    new = merged(live, desired)
    assert {k: new.get(k) for k in live if k not in desired} == {k: v for k, v in live.items() if k not in desired}


@given(RECORDS, DESIRED)
def test_none_takes_a_field_out(live: dict[str, Any], desired: dict[str, Any]) -> None:
    new = merged(live, desired)
    assert [key for key, value in desired.items() if value is None and key in new] == []


@given(RECORDS, DESIRED)
def test_what_was_merged_holds_what_is_wanted(live: dict[str, Any], desired: dict[str, Any]) -> None:
    assert holds(merged(live, desired), desired)


@given(RECORDS, DESIRED)
def test_merging_twice_is_merging_once(live: dict[str, Any], desired: dict[str, Any]) -> None:
    once = merged(live, desired)
    assert merged(once, desired) == once


@given(RECORDS, DESIRED)
def test_merging_changes_neither_side(live: dict[str, Any], desired: dict[str, Any]) -> None:
    before = deepcopy((live, desired))
    merged(live, desired)
    assert (live, desired) == before


@given(RECORDS)
def test_wanting_nothing_changes_nothing(live: dict[str, Any]) -> None:
    assert merged(live, {}) == live


@given(DESIRED)
def test_from_nothing_comes_what_is_stated(desired: dict[str, Any]) -> None:
    assert merged(None, desired) == stated(desired) == merged({}, desired)


def test_a_record_in_a_list_keeps_its_own_fields_wherever_it_stands() -> None:
    live = [{"node": "b", "weight": 100, "port": 80}, {"node": "b2", "weight": 0, "port": 81}]
    assert merged(live, [{"node": "b2", "weight": 25}, {"node": "b", "weight": 75}]) == [
        {"node": "b2", "weight": 25, "port": 81},
        {"node": "b", "weight": 75, "port": 80},
    ]


def test_a_record_that_is_not_wanted_goes() -> None:
    assert merged([{"node": "b"}, {"node": "b2"}], [{"node": "b2"}]) == [{"node": "b2"}]


# Whether a state holds what is wanted.


@given(RECORDS)
def test_a_state_holds_itself(state: dict[str, Any]) -> None:
    assert holds(state, state)


@given(RECORDS, KEYS)
def test_a_state_may_hold_more(state: dict[str, Any], key: str) -> None:
    assert holds({**state, "more": 1}, state)


@given(RECORDS)
def test_absent_holds_only_absent(state: dict[str, Any]) -> None:
    assert not holds(None, state)
    assert not holds(state, None)
    assert holds(None, None)


@pytest.mark.parametrize("one_empty", EMPTIES, ids=repr)
@pytest.mark.parametrize("other", EMPTIES, ids=repr)
def test_empties_inside_a_state_are_equal(one_empty: Any, other: Any) -> None:
    assert holds({"a": one_empty}, {"a": other})
    assert differences({"a": one_empty}, {"a": other}) == ()


@pytest.mark.parametrize("value", [0, False, ""])
def test_a_value_that_only_looks_empty_is_not(value: Any) -> None:
    assert not holds({"a": None}, {"a": value})
    assert differences({}, {"a": value}) == (Difference("a", None, value),)


def test_a_list_of_another_length_does_not_hold() -> None:
    assert not holds({"a": [1, 2]}, {"a": [1]})
    assert not holds({"a": [1]}, {"a": [1, 2]})


# Differences.


@given(RECORDS)
def test_a_state_does_not_differ_from_itself(state: dict[str, Any]) -> None:
    assert differences(state, deepcopy(state)) == ()


@given(RECORDS, RECORDS)
def test_states_without_differences_hold_each_other(before: dict[str, Any], after: dict[str, Any]) -> None:
    if not differences(before, after):
        assert holds(before, after)
        assert holds(after, before)


@given(RECORDS, RECORDS)
def test_differences_read_both_ways(before: dict[str, Any], after: dict[str, Any]) -> None:
    there = {(d.field, repr(d.before), repr(d.after)) for d in differences(before, after)}
    back = {(d.field, repr(d.after), repr(d.before)) for d in differences(after, before)}
    assert there == back


def test_a_difference_names_the_field_by_its_path() -> None:
    before = {"spec": {"targets": [{"node": "b", "weight": 100}]}}
    after = {"spec": {"targets": [{"node": "b", "weight": 75}, {"node": "b2", "weight": 25}]}}
    assert differences(before, after) == (
        Difference("spec.targets[b].weight", 100, 75),
        Difference("spec.targets[b2]", None, {"node": "b2", "weight": 25}),
    )


def test_a_record_that_comes_first_is_not_taken_for_the_one_that_was_there() -> None:
    old, new = {"name": "app", "image": "app:1"}, {"name": "envoy", "image": "envoy:1"}
    assert differences([old], [new, old], "containers") == (Difference("containers[envoy]", None, new),)


@pytest.mark.parametrize(
    ("before", "after", "fields"),
    [
        ([{"port": {"port": 1}}], [{"port": {"port": 2}}], ["[0].port.port"]),  # nothing names it
        ([{"a": "x"}, {"a": "x"}], [{"a": "x"}, {"a": "y"}], ["[1].a"]),  # two of one name
        ([{"a": "x"}, {"a": "y"}], [{"a": "y"}, {"a": "x"}], ["[0].a", "[1].a"]),  # the order alone
        ([{"a": "x"}, "z"], [{"a": "y"}, "z"], ["[0].a"]),
    ],
)
def test_what_a_first_field_does_not_name_is_told_by_its_place(before: Any, after: Any, fields: list[str]) -> None:
    assert [d.field for d in differences(before, after)] == fields


# Plans.


def test_a_change_has_an_inverse_or_the_reason_there_is_none() -> None:
    with pytest.raises(ValueError, match="expected an inverse or the reason"):
        one(inverse=None)
    with pytest.raises(ValueError, match="expected an inverse or the reason"):
        one(no_inverse="it is final")


def test_plans_add_up_in_order_and_name_each_need_once() -> None:
    both = Plan("a", (one("mesh a"),), ("x", "y"), ("01",)) + Plan("b", (one("mesh b"),), ("y", "z"), ("01", "02"))
    assert [change.name for change in both] == ["mesh a", "mesh b"]
    assert (both.title, both.needs, both.assumed) == ("a", ("x", "y", "z"), ("01", "02"))


def test_the_hash_names_the_changes_and_what_they_expect() -> None:
    plan = Plan("a", (one(),))
    assert plan.hash == Plan("another title", (one(),)).hash
    assert len(plan.hash) == 12
    assert plan.hash != replace(plan, changes=(one(expected={"version": 2}),)).hash


# Clearing.


def test_a_plan_is_cleared_by_evidence_that_holds() -> None:
    cleared = clear(Plan("a", (one(),), needs=("fact",)), fact())
    assert [change.name for change in cleared.plan] == ["mesh scene"]


def test_missing_evidence_is_refused_by_name() -> None:
    with pytest.raises(GateError, match=r"a: no evidence of: second"):
        clear(Plan("a", (one(),), needs=("fact", "second")), fact())


def test_failing_evidence_is_refused_with_what_was_found_and_what_to_do() -> None:
    with pytest.raises(GateError, match=r"- fact: it does not\nNext: mend it"):
        clear(Plan("a", (one(),), needs=("fact",)), fact(holds=False))


def test_failing_evidence_refuses_even_where_nobody_asked_for_it() -> None:
    with pytest.raises(GateError):
        clear(Plan("a", (one(),)), fact(holds=False))


def test_a_gate_that_was_looked_into_twice_is_said_once() -> None:
    with pytest.raises(GateError) as refused:
        clear(Plan("a", (one(),), needs=("fact",)), fact(holds=False), fact(holds=False))
    assert (str(refused.value).count("- fact: "), refused.value.hint) == (1, "mend it")


def test_a_plan_without_changes_needs_no_evidence() -> None:
    assert len(clear(Plan("a", needs=("fact",)), fact(holds=False)).plan) == 0


def test_only_clear_makes_a_cleared_plan() -> None:
    with pytest.raises(TypeError, match="made by clear"):
        ClearedPlan(Plan("a"), (), object())


def test_a_cleared_plan_cannot_be_given_other_changes() -> None:
    cleared = clear(Plan("a"))
    with pytest.raises(AttributeError):
        cleared.plan = Plan("a", (one(),))  # type: ignore[misc]


def test_only_a_plan_can_be_cleared() -> None:
    with pytest.raises(TypeError, match="expected a Plan, found list"):
        clear([one()])  # type: ignore[arg-type]


# Order.


@given(st.permutations(["a", "b", "c", "d"]))
def test_what_is_referred_to_comes_first(names: list[str]) -> None:
    chain = {"a": ["b"], "b": ["c"], "c": ["d"]}
    out = ordered(names, chain)
    assert sorted(out) == sorted(names)
    assert all(out.index(late) < out.index(early) for early, late in pairwise("abcd"))


@given(st.dictionaries(KEYS, st.lists(KEYS, max_size=3)), st.permutations(["a", "b", "c", "d"]))
def test_a_circle_loses_nobody(after: dict[str, list[str]], names: list[str]) -> None:
    assert sorted(ordered(names, after)) == sorted(names)


def test_names_that_are_not_there_are_not_added() -> None:
    assert ordered(["a"], {"a": ["elsewhere"]}) == ["a"]
