"""Parameters as hostile input: one sentence soon, with the line and what is expected; never a traceback or a hang."""

from __future__ import annotations

import datetime
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given as tried
from hypothesis import is_hypothesis_test
from hypothesis import strategies as st
from typer.testing import CliRunner

from runbook_lib.command.cli import app
from runbook_lib.errors import ParametersError
from runbook_lib.parameters import FOLDER, load
from runbook_lib.parameters.plain_yaml import MOST_BYTES, read_yaml
from tests.notebook_runner import execute
from tests.scenes import given

pytestmark = pytest.mark.attack(22)

RUNNER = CliRunner()
LOCAL = (FOLDER / "local.yaml").read_text()
SECONDS = 1.0  # of this process's own time, however busy the machine is


def bomb(opening: str, item: str, closing: str, levels: int) -> str:
    """Return aliases of aliases: ten to the power of `levels` values."""
    lines = [f"a0: &a0 {opening}{','.join(['x' + item.format(n=n, value=1) for n in range(10)])}{closing}"]
    for level in range(1, levels):
        items = ",".join(item.format(n=n, value=f"*a{level - 1}") for n in range(10))
        lines.append(f"a{level}: &a{level} {opening}{items}{closing}")
    return "\n".join(lines)


# What is refused wherever it is read as YAML: the text, and what is said of it.
TEXTS = {
    "a list of a thousand million": (bomb("[", "{value}", "]", 9), "expected at most 20,000 values; found more"),
    "names of a hundred million": (bomb("{{", "k{n}: {value}", "}}", 8).replace("{{", "{").replace("}}", "}"),
                                   "expected at most 20,000 values; found more"),
    "a list in itself": ("a: &a [*a]", "line 1: expected a value that ends; found *a within itself"),
    "names in themselves": ("{a: &a {b: *a}}", "line 1: expected a value that ends; found *a within itself"),
    "an alias of nothing": ("[*nobody]", "line 1: expected &nobody before its use; found none"),
    "5,000 digits": ("\n\nport: " + "1" * 5000, "line 3: expected a number of at most 18 digits; found 5,000 char"),
    "5,000 digits below zero": ("{port: -" + "1" * 5000 + "}", "line 1: expected a number of at most 18 digits"),
    "5,000 decimals": ("{alpha: 0." + "1" * 5000 + "}", "line 1: expected a number of at most 18 digits"),
    "!!int": ("{port: !!int x}", "line 1: expected a plain value; found the tag '!!int'"),
    "!!float": ("{port: !!float x}", "found the tag '!!float'"),
    "!!bool": ("{port: !!bool x}", "found the tag '!!bool'"),
    "!!timestamp": ("{port: !!timestamp x}", "found the tag '!!timestamp'"),
    "!!binary": ("{port: !!binary x}", "found the tag '!!binary'"),
    "!!set": ("{port: !!set {x}}", "found the tag '!!set'"),
    "an unknown tag": ("{port: !mine x}", "found the tag '!mine'"),
    "a Python tag": ("{port: !!python/object/apply:os.getcwd []}", "found the tag '!!python/object/apply:os.getcwd'"),
    "3,000 levels": ("[" * 3000 + "]" * 3000, "line 1: expected at most 30 levels; found more"),
    "50,000 levels": ("- " * 50_000, "line 1: expected at most 30 levels; found more"),
    "600 levels by indentation": ("".join(" " * n + "a:\n" for n in range(600)), "line 31: expected at most 30 levels"),
    "an escape sequence": ('{port: "\\e]52;c;eA==\\a"}', "line 1: expected text that can be printed; found U+001B"),
    "half a character": ('{port: "\\uD800"}', "line 1: "),
    "a bell": ("{port: \a}", "line 1: expected text that can be printed; found U+0007"),
    "two documents": ("a: 1\n---\na: 2", "line 2: expected one document; found another"),
    "a list for a name": ("? [a]\n: 1", "line 1: expected a name before a colon; found something else"),
    "a name twice": ("{port: 1, port: 2}", "line 1: 'port' is there twice, first in line 1"),
    "brackets without end": ("{" * 50_000, "line 1: "),
    "too many values": ("[" + "1," * 30_000 + "]", "line 1: expected at most 20,000 values; found more"),
}  # fmt: skip


@contextmanager
def soon() -> Iterator[None]:
    """Fail where this process takes more than a second."""
    began = time.process_time()
    yield
    took = time.process_time() - began
    assert took < SECONDS, f"{took:.1f} s"


@pytest.fixture(autouse=True)
def each_soon(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that takes more than a second; one of many examples looks at each of them itself."""
    with nullcontext() if is_hypothesis_test(request.function) else soon():
        yield


def refused(*words: str | Path) -> str:
    """Run the command, which must refuse with one sentence and a hint; return what it said."""
    done = RUNNER.invoke(app, [str(word) for word in words])
    assert done.exit_code == 2, done.output
    assert "Traceback" not in done.output
    assert len(done.output) < 2000
    assert "\nNext: " in done.output
    return done.output


@pytest.mark.parametrize("case", TEXTS)
def test_a_file_is_refused_that_holds(case: str, tmp_path: Path) -> None:
    text, words = TEXTS[case]
    file = tmp_path / "hostile.yaml"
    file.write_text(text)
    found = refused("lint", file)
    assert f"hostile.yaml: not YAML: {words}" in found if words.startswith("line") else words in found


@pytest.mark.parametrize("case", [case for case, (text, _) in TEXTS.items() if not text.startswith("-")])
def test_a_value_on_the_command_line_is_refused_that_holds(case: str) -> None:
    text, words = TEXTS[case]
    found = refused("run", "local", "-p", "shift", text)
    assert "parameters: -p shift: not YAML: " in found
    assert words in found


BYTES = {
    "not UTF-8": (b"port: 1\nmesh: \xff\xfe", "not YAML: line 2: expected text in UTF-8; found the byte 0xff"),
    "UTF-16": ("port: 1".encode("utf-16"), "not YAML: line 1: expected text in UTF-8; found the byte 0xff"),
    "a NUL": (b"port: 1\nmesh: a\0b\n", "not YAML: line 2: expected text that can be printed; found U+0000"),
    "noise": (bytes(range(128)), "not YAML: line 1: expected text that can be printed; found U+0000"),
    "more than a parameters file": (b"#" * (MOST_BYTES + 1), f"expected at most {MOST_BYTES:,} bytes; found more"),
    "no character of Unicode": ("port: \ufffe".encode(), "not YAML: "),
}


@pytest.mark.parametrize("case", BYTES)
def test_a_file_of_other_bytes_is_refused(case: str, tmp_path: Path) -> None:
    said, words = BYTES[case]
    file = tmp_path / "hostile.yaml"
    file.write_bytes(said)
    assert f"hostile.yaml: {words}" in refused("lint", file)


def test_a_mark_of_the_byte_order_is_none_of_the_texts(tmp_path: Path) -> None:
    file = tmp_path / "bom.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + LOCAL.encode())
    assert load(str(file)) == load("local")


def test_a_gigabyte_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "huge.yaml"
    with file.open("wb") as opened:
        opened.truncate(2**30)
    assert f"huge.yaml: expected at most {MOST_BYTES:,} bytes; found more" in refused("lint", file)


def test_what_is_no_file_is_named_as_what_it_is(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert f"environment: {str(tmp_path)!r} is a folder; expected one of local" in refused("lint", tmp_path)
    assert "is no regular file; expected one of local" in refused("lint", tmp_path / "pipe")
    assert "environment: '/dev/zero' is no regular file" in refused("lint", "/dev/zero")


# Names and numbers that a model of text and whole numbers would take.

VALUES: dict[str, tuple[dict[str, Any], str]] = {
    "full-width digits": ({"account_id": "１２３４５６７８９０１２"}, "account_id: expected 12 digits in quotes"),
    "Arabic digits": ({"account_id": "١٢٣٤٥٦٧٨٩٠١٢"}, "account_id: expected 12 digits in quotes"),
    "an address in them": (
        {"retirement": {"placeholder_ip": "١.1.1.1"}},
        "retirement.placeholder_ip: expected text that matches",
    ),
    "a bake of 17 digits": ({"shift": {"bake_seconds": 10**16}}, "shift.bake_seconds: expected less than or equal"),
    "an option": (
        {"environment": "-rf"},
        "environment: expected up to 255 letters, digits, '-' and '_', the first no '-'",
    ),
    "the newest run": ({"environment": "latest"}, "environment: expected a name that is not that of a run"),
    "a run": ({"environment": "2026-11-28T120000-ab"}, "environment: expected a name that is not that of a run"),
    "a number for text": ({"account_id": 123456789012}, "account_id: expected a valid string; found 123456789012: put"),
    "a date for text": ({"shift": {"bake_seconds": "2026-02-30"}}, "shift.bake_seconds: expected a valid integer"),
}


@pytest.mark.parametrize("case", VALUES)
def test_a_file_is_refused_that_says(case: str, tmp_path: Path) -> None:
    values, words = VALUES[case]
    file = tmp_path / "hostile.yaml"
    file.write_text(yaml.safe_dump(given(**values), allow_unicode=True))
    assert re.search(rf"hostile\.yaml, line \d+: {re.escape(words)}", refused("lint", file))


@pytest.mark.parametrize("text", ["2026-02-30", "2026-13-01T00:00:00Z", "2026-02-30 25:61:00"])
def test_a_date_that_is_none_is_text(text: str, tmp_path: Path) -> None:
    file = tmp_path / "dated.yaml"
    file.write_text(f"{LOCAL}\napproval: {{approver: me, plan: 0123456789ab, until: {text}}}\n")
    last = len(file.read_text().splitlines())
    assert f"dated.yaml, line {last}: approval.until: expected a valid datetime" in refused("lint", file)


def test_a_date_that_is_one_is_read_in_quotes_and_without() -> None:
    for text in ("2026-02-28T10:00:00Z", "'2026-02-28T10:00:00Z'", "2026-02-28 10:00:00+00:00"):
        approval = {**read_yaml(f"{{approver: me, until: {text}}}"), "plan": "0123456789ab"}
        found = load("local", {"approval": approval}).approval
        assert found is not None
        assert found.until.isoformat() == "2026-02-28T10:00:00+00:00"


def test_a_long_name_of_nothing_is_refused_in_a_short_sentence(tmp_path: Path) -> None:
    file = tmp_path / "long.yaml"
    file.write_text(f"{'x' * 1000}: 1\n" + "".join(f"y{n}: 1\n" for n in range(2000)))
    assert "unknown key 'xxx" in refused("lint", file)


# What a notebook is given by papermill, or by hand.


def itself() -> list[Any]:
    value: list[Any] = []
    value.extend([value] * 10)
    return value


GIVEN = {
    "a list in itself": (itself, "shift: expected at most 30 levels and 20,000 values; found more"),
    "100,000 values": (lambda: [[1] * 1000] * 100, "shift: expected at most 30 levels and 20,000 values; found more"),
    "4,000 digits": (lambda: {"bake_seconds": 10**4000}, "shift.bake_seconds: expected a number of at most 18 digits"),
    "no number": (lambda: {"bake_seconds": float("nan")}, "shift.bake_seconds: expected a number of at most 18"),
    "without end": (lambda: {"bake_seconds": float("inf")}, "shift.bake_seconds: expected a number of at most 18"),
    "bytes": (lambda: {"name": b"x"}, "shift.name: expected text, a number, a list or names with values; found bytes"),
    "a thing of Python": (object, "shift: expected text, a number, a list or names with values; found object"),
    "half a character": (lambda: {"name": "\ud800"}, "shift.name: expected text that can be printed; found U+D800"),
    "an escape sequence": (lambda: {"name": "\x1b[2J"}, "shift.name: expected text that can be printed; found U+001B"),
    "a tuple for a name": (lambda: {("a",): 1}, "shift: expected names that are text; found tuple"),
}  # fmt: skip


@pytest.mark.parametrize("case", GIVEN)
def test_a_notebook_refuses_what_it_is_given(case: str) -> None:
    make, words = GIVEN[case]
    done = execute(
        "00", {"shift": 0}, before={"parameters": lambda names: None, "open": lambda names: names.update(shift=make())}
    )
    assert done.first.startswith(f"ParametersError: given: {words}"), done.first


def test_papermills_dates_are_taken() -> None:
    until = datetime.datetime(2026, 2, 28, 10, tzinfo=datetime.UTC)
    approval = {"approver": "me", "plan": "0123456789ab", "until": until}
    found = load("local", {"approval": approval}).approval
    assert found is not None
    assert found.until == until


@tried(st.text(alphabet="ab.'\": ;()=[]0 (item1)", min_size=1, max_size=12))
def test_whatever_a_name_is_made_of_its_refusal_comes_soon(name: str) -> None:
    """One that ended with a blank was looked for without end."""
    with soon(), pytest.raises(ParametersError):
        load("local", {name: 1})
