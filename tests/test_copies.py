"""`make lab` opens copies: what somebody does in them reaches no shipped notebook."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
SHIPPED = sorted(path.relative_to(ROOT / "notebooks") for path in (ROOT / "notebooks").rglob("*.ipynb"))
WORK = Path("05_shift_traffic.ipynb")


def copied(folder: Path, *options: str) -> str:
    command = [sys.executable, str(ROOT / "tools" / "copy_notebooks.py"), *options, str(folder)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_each_shipped_notebook_has_a_copy_that_is_the_same(tmp_path: Path) -> None:
    assert copied(tmp_path / "lab") == ""
    assert sorted(path.relative_to(tmp_path / "lab") for path in (tmp_path / "lab").rglob("*.ipynb")) == SHIPPED
    for name in SHIPPED:
        assert (tmp_path / "lab" / name).read_bytes() == (ROOT / "notebooks" / name).read_bytes()


def test_what_was_done_in_a_copy_is_kept_until_fresh_ones_are_asked_for(tmp_path: Path) -> None:
    copied(tmp_path)
    (tmp_path / WORK).write_text("mine")
    (tmp_path / "own.ipynb").write_text("mine too")
    assert "make lab FRESH=1" in copied(tmp_path)
    assert (tmp_path / WORK).read_text() == "mine"
    assert copied(tmp_path, "--fresh") == ""
    assert (tmp_path / WORK).read_bytes() == (ROOT / "notebooks" / WORK).read_bytes()
    assert (tmp_path / "own.ipynb").read_text() == "mine too"


def test_what_an_ended_kernel_showed_in_a_kept_copy_is_left_as_a_recording(tmp_path: Path) -> None:
    copied(tmp_path)
    book = json.loads((tmp_path / WORK).read_text())
    (cell,) = [cell for cell in book["cells"] if cell["id"] == "panel"]
    before = [dict(output["data"]) for output in cell["outputs"]]
    for output in cell["outputs"]:
        output["data"]["application/vnd.jupyter.widget-view+json"] = {"model_id": "1"}
    (tmp_path / WORK).write_text(json.dumps(book))
    copied(tmp_path)
    (cell,) = [cell for cell in json.loads((tmp_path / WORK).read_text())["cells"] if cell["id"] == "panel"]
    assert [output["data"] for output in cell["outputs"]] == before


def test_lab_opens_the_folder_of_copies_which_git_ignores() -> None:
    recipe = (ROOT / "Makefile").read_text().split("\nlab:")[1].split("\n\n")[0]
    assert re.search(r"copy_notebooks\.py.*\n(.*\n)*.*jupyter lab .* lab/00_check_environment\.ipynb", recipe)
    ignored = subprocess.run(["git", "check-ignore", f"lab/{WORK}"], cwd=ROOT, check=False, capture_output=True)
    assert ignored.returncode == 0
