"""Plain YAML: whatever is read is a plain value, or refused in one sentence."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from runbook_lib.parameters import FOLDER
from runbook_lib.parameters.plain_yaml import plain, read_yaml
from tests.notebook_runner import ROOT

SHIPPED = [*sorted(FOLDER.glob("*.yaml")), ROOT / "tests" / "fixtures" / "parameters" / "second.yaml"]


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_a_shipped_file_is_read_as_yaml_is(file: Any) -> None:
    assert read_yaml(file.read_text()) == yaml.safe_load(file.read_text())


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("yes", True),
        ("off", False),
        ("-17", -17),
        ("1.5", 1.5),
        ("1.0e+3", 1000.0),
        ("012345670123", "012345670123"),
        ("0x10", "0x10"),
        ("22:22", "22:22"),
        ("1e3", "1e3"),
        (".nan", ".nan"),
        ("2026-02-28", "2026-02-28"),
        ("'17'", "17"),
        ("\"a\\nb\"", "a\nb"),
        ("|\n a\n b\n", "a\nb\n"),
        ("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\n", {"a": {"x": 1, "y": 2}, "b": {"x": 3, "y": 2}}),
        ("- &a {x: 1}\n- &b {x: 2, y: 2}\n- {<<: [*a, *b]}", [{"x": 1}, {"x": 2, "y": 2}, {"x": 1, "y": 2}]),
        ("{'<<': 1}", {"<<": 1}),
    ],
)  # fmt: skip
def test_a_value_is_what_it_looks_like(text: str, value: Any) -> None:
    found = read_yaml(text)
    assert found == value
    assert type(found) is type(value)


# Whatever is read: plain values, or one sentence.

NAMES = st.text("abcxyz 1", min_size=1, max_size=4)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**17), 10**17) | st.text("abc :-#'\"{}[]&*!é1.0", max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=12,
)


@given(PLAIN)
def test_plain_values_come_back_as_they_were_written(value: Any) -> None:
    assert read_yaml(yaml.safe_dump(value, allow_unicode=True)) == value
    assert plain(value, "it") == value


@given(st.text(st.characters(codec="utf-8") | st.sampled_from("[]{}&*!:-,\n\t\"'%@|>#?"), max_size=60))
def test_any_text_is_read_or_refused_in_one_sentence(text: str) -> None:
    refusal = ""
    try:
        plain(read_yaml(text), "it")
    except yaml.YAMLError as error:
        refusal = str(error)
    assert "\n" not in refusal
