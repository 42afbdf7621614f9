"""The table of attacks and the tests that carry them out name the same numbers."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROWS = re.findall(r"^\| (\d+) \| ", (ROOT / "docs" / "attacks.md").read_text(), re.MULTILINE)
MARKED = {
    number
    for file in sorted((ROOT / "tests").glob("test_*.py"))
    for number in re.findall(r"mark\.attack\((\d+)\)", file.read_text())
}


def test_rows_are_numbered_in_order() -> None:
    numbers = range(1, len(ROWS) + 1)
    assert list(map(int, ROWS)) == list(numbers)


def test_every_row_has_a_test_and_every_marked_test_its_row() -> None:
    assert set(ROWS) == MARKED
