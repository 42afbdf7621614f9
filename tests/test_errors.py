"""An error says what to do, ends the command with the right code, and keeps no secret."""

from __future__ import annotations

import re

import pytest

from runbook_lib import errors
from runbook_lib.errors import CallError, Failed, Held, NotFollowed, ParametersError, Refused, RolledBack, RunbookError

CLASSES = {name: getattr(errors, name) for name in errors.__all__}
CODES = {Refused: 2, Held: 3, RolledBack: 4, NotFollowed: 3}
KEY = "AKIA" + "ABCDEFGHIJKLMNOP"


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn = re.findall(r"^ {4}[ │├└─]*(\w+)", errors.__doc__ or "", re.MULTILINE)
    assert sorted(drawn) == sorted(CLASSES)


def test_every_error_has_the_root() -> None:
    assert all(issubclass(kind, RunbookError) for kind in CLASSES.values())


def test_every_reason_is_one_word_of_its_own() -> None:
    reasons = [kind.reason for kind in CLASSES.values()]
    assert all(re.fullmatch("[a-z_]+", reason) for reason in reasons)
    assert len(set(reasons)) == len(reasons)


@pytest.mark.parametrize("kind", CLASSES.values(), ids=CLASSES)
def test_the_exit_code_says_whether_anything_was_changed(kind: type[RunbookError]) -> None:
    expected = next((code for parent, code in CODES.items() if issubclass(kind, parent)), 1)
    assert kind.exit_code == expected
    assert issubclass(kind, (Failed, *CODES)) or kind is RunbookError


def test_an_error_ends_with_what_to_do_next() -> None:
    assert str(ParametersError("port: expected 1 to 65535; found 0", hint="mend it")).endswith("\nNext: mend it")


def test_an_error_without_a_hint_is_its_message() -> None:
    assert str(CallError("no answer")) == "no answer"


def test_an_error_keeps_no_secret() -> None:
    error = ParametersError(f"records: found {KEY}", hint=f"not {KEY}")
    assert KEY not in f"{error} {error!r} {error.args} {error.message} {error.hint}"
