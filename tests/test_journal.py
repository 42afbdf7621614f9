"""Plans as plain data, and back: nothing is lost, and nothing is taken for what it is not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runbook_lib.plan import (
    Answer,
    Call,
    Change,
    Difference,
    Inverse,
    Moved,
    Reading,
    Wait,
    revived,
    stored,
)

TEXT = st.text(max_size=4)
OURS = ("$type", "items", "service", "operation", "arguments", "change", "query", "call")
KEYS = st.sampled_from(OURS) | TEXT
ENDS = st.none() | st.booleans() | st.integers(-9, 9) | TEXT | st.sampled_from(["Call", "plain"])
DATA = st.recursive(
    ENDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
RECORDS = st.dictionaries(KEYS, DATA, max_size=3)
ANSWERS = st.builds(Answer, TEXT, TEXT)
VALUES = DATA | ANSWERS
PLAIN_CALLS = st.builds(Call, TEXT, TEXT, RECORDS)
READINGS = st.builds(Reading, PLAIN_CALLS, TEXT, st.tuples(TEXT))
ARGUMENTS = st.dictionaries(KEYS, VALUES | READINGS, max_size=3) | READINGS
CALLS = st.builds(Call, TEXT, TEXT, ARGUMENTS)
WAITS = st.tuples(st.builds(Wait, TEXT, READINGS, TEXT))
INVERSES = st.builds(Inverse, TEXT, CALLS, wanted=VALUES, waits=WAITS, reading=st.none() | READINGS)
WEIGHTS = st.dictionaries(KEYS, st.integers(0, 100), max_size=2)
CHANGES = st.builds(
    Change,
    name=TEXT,
    verb=TEXT,
    call=CALLS,
    reading=READINGS,
    expected=VALUES,
    wanted=VALUES,
    about=st.tuples(TEXT),
    inverse=INVERSES,
    weights=st.none() | st.builds(Moved, WEIGHTS, WEIGHTS),
    diff=st.tuples(st.builds(Difference, TEXT, DATA, DATA)),
    ready=WAITS,
)


def written_and_read(value: Any) -> Any:
    """Return a value as it comes back from a line of JSON."""
    return revived(json.loads(json.dumps(stored(value))))


@settings(max_examples=60)
@given(CHANGES)
def test_a_change_comes_back_from_the_record_as_it_was(change: Change) -> None:
    assert written_and_read(change) == change


@given(DATA)
def test_plain_data_stays_plain_whatever_its_keys(data: Any) -> None:
    assert written_and_read(data) == data


def test_a_label_that_looks_like_a_call_is_a_label() -> None:
    label = {"service": "checkout", "operation": "pay"}
    assert written_and_read({"dockerLabels": label}) == {"dockerLabels": label}


@pytest.mark.attack(5)
@pytest.mark.parametrize(
    "value",
    [
        {"$type": "Path", "of": "/etc/passwd"},
        {"$type": ["Call"]},
        {"$type": "Call", "service": "ecs", "more": 1},
        {"$type": "Answer", "change": "x"},
        {"$type": "plain"},
    ],
    ids=str,
)
def test_what_names_no_part_of_a_plan_is_refused(value: Any) -> None:
    with pytest.raises((ValueError, TypeError, KeyError)):
        revived(value)
