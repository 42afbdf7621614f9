"""The notebooks: their form, each alone under papermill, and what they change at every stage of the life-cycle."""

from __future__ import annotations

import ast
import html
import os
import re
import shutil
import statistics
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbconvert import HTMLExporter

from runbook_lib.errors import Refused
from runbook_lib.parameters import parameter_names
from tests.notebook_runner import (
    CHANGING,
    NOTEBOOKS,
    Environment,
    code_cells,
    folder,
    holdings,
    papermill,
    text_of,
)

__all__ = ["folder"]

SECTIONS = ["## Parameters", "## Before", "## Plan", "## Apply", "## Verify", "## Undo"]
ROWS = ["**Changes**", "**Leaves alone**", "**Takes**", "**To undo**"]
ACCOUNTS = {"123456789012", "840364872350"}  # the example, and the one AWS serves the Envoy image from
every_notebook = pytest.mark.parametrize("number", NOTEBOOKS)


def book_of(number: str) -> Any:
    return nbformat.read(NOTEBOOKS[number], as_version=4)


# --- their form ---------------------------------------------------------------------------------------------


def test_there_are_the_eight_of_the_design() -> None:
    assert list(NOTEBOOKS) == ["00", "01", "02", "03", "04", "05", "06", "90"]


@every_notebook
def test_opens_with_an_imperative_a_sentence_and_a_table_of_four_rows(number: str) -> None:
    title, sentence, *rest = [line for line in book_of(number).cells[0].source.splitlines() if line]
    rows = [line.split("|")[1].strip() for line in rest if line.startswith("| **")]
    assert re.fullmatch(r"# [A-Z][a-z]+ .+", title)
    assert sentence.endswith(".")
    assert rows == ROWS


@every_notebook
def test_has_the_sections_in_their_order(number: str) -> None:
    words = "\n".join(cell.source for cell in book_of(number).cells if cell.cell_type == "markdown")
    found = re.findall(r"^## .+$", words, re.MULTILINE)
    assert found == (SECTIONS if number in CHANGING else ["## Parameters", "## Before", "## Verify"])


@every_notebook
def test_parameters_are_one_tagged_cell_of_typed_literals_with_help(number: str) -> None:
    [cell] = [c for c in book_of(number).cells if "parameters" in c.metadata.get("tags", [])]
    names = []
    for line in cell.source.splitlines():
        assert re.fullmatch(r"\w+: (str|bool|int) = .+  # \S.+", line), line
        [node] = ast.parse(line).body
        assert isinstance(node, ast.AnnAssign)
        assert node.value is not None
        ast.literal_eval(node.value)
        names.append(ast.unparse(node.target))
    assert names == (["environment", "mode", "undo"] if number in CHANGING else ["environment", "mode"])
    assert set(names) <= set(parameter_names())


@every_notebook
def test_each_code_cell_follows_words_that_say_what_is_good(number: str) -> None:
    for before, cell in pairwise(book_of(number).cells):
        if cell.cell_type == "code":
            assert before.cell_type == "markdown", cell.id
            assert re.search(r"\*\*.+\*\*", before.source), cell.id


@every_notebook
def test_code_cells_are_short_and_hold_no_logic(number: str) -> None:
    cells = code_cells(number)
    for cell in cells:
        assert len(cell.source.splitlines()) <= 15, cell.id
        words = [type(node).__name__ for node in ast.walk(ast.parse(cell.source))]
        assert not {"FunctionDef", "ClassDef", "Try", "Lambda", "While"} & set(words), cell.id
        assert not re.search(r"boto|client|\bprint\(", cell.source), cell.id
    assert statistics.median(len(cell.source.splitlines()) for cell in cells) <= 3


@every_notebook
def test_what_is_measured_is_named_so_and_followed_by_what_is_compared(number: str) -> None:
    cells = code_cells(number)
    ignored = [cell.id for cell in cells if "nbval-ignore-output" in cell.metadata.get("tags", [])]
    assert ignored == [cell.id for cell in cells if cell.id.startswith("measured")]
    assert not [one for one, next in pairwise(cells) if one.id in ignored and next.id in ignored]
    assert cells[-1].id not in ignored


@every_notebook
def test_a_notebook_names_only_words_of_the_library(number: str) -> None:
    sources = {cell.id: cell.source for cell in code_cells(number)}
    importing = [id for id, source in sources.items() if re.search(r"\bimport\b", source)]
    assert importing == ["open"]
    assert sources["open"].startswith("import runbook_lib as runbook\n")


@every_notebook
def test_cell_ids_mean_something(number: str) -> None:
    ids = [cell.id for cell in book_of(number).cells]
    applies = "apply" if number != "05" else "measured-shift"  # its output differs from run to run
    wanted = {"parameters", "open", "before", "verify"} | ({"plan", applies, "undo"} if number in CHANGING else set())
    assert len(set(ids)) == len(ids)
    assert wanted <= set(ids)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", id) for id in ids)


@every_notebook
def test_outputs_are_stored_with_counts_from_one_and_no_error(number: str) -> None:
    cells = code_cells(number)
    kinds = {output.output_type for cell in cells for output in cell.outputs}
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert all(cell.outputs for cell in cells if cell.id not in ("parameters",))
    assert kinds <= {"display_data", "execute_result"}


@every_notebook
def test_metadata_is_the_kernel_and_nothing_else(number: str) -> None:
    book = book_of(number)
    text = NOTEBOOKS[number].read_text()
    assert book.metadata.kernelspec.name == "python3"
    assert set(book.metadata) == {"kernelspec", "language_info"}
    assert not re.search(r"widget-(view|state)|IPY_MODEL|papermill|/(root|home|tmp)/", text)


@every_notebook
def test_no_account_but_the_example_is_stored(number: str) -> None:
    assert set(re.findall(r"(?<![\w-])\d{12}(?![\w-])", NOTEBOOKS[number].read_text())) <= ACCOUNTS


def links_of(cell: Any) -> list[str]:
    return re.findall(r"\]\((.+?)\)", cell.source)


@every_notebook
def test_neighbours_and_the_way_back_are_linked_and_nothing_else(number: str) -> None:
    names = {n: path.name for n, path in NOTEBOOKS.items()}
    order = list(names)
    place = order.index(number)
    before, after = order[:place][-1:], order[place + 1 :][:1]
    wanted = [names[n] for n in before + after] + (["#Undo"] if number in CHANGING else [])
    wanted += [names["90"]] if number != "90" and after != ["90"] else []
    wanted += [names["00"]] if number != "00" else []
    assert links_of(book_of(number).cells[0]) == wanted


def test_the_first_notebook_lists_all_of_them_as_they_name_themselves() -> None:
    [contents] = [cell for cell in book_of("00").cells if cell.id == "contents"]
    assert links_of(contents) == [path.name for path in NOTEBOOKS.values()]
    for number in NOTEBOOKS:
        title, sentence = [line for line in book_of(number).cells[0].source.splitlines() if line][:2]
        assert f"[{number} {title.removeprefix('# ')}]" in contents.source
        assert f": {sentence[0].lower()}{sentence[1:]}" in contents.source


@pytest.mark.parametrize("number", CHANGING)
def test_what_is_planned_is_marked_on_the_map(number: str) -> None:
    [cell] = [cell for cell in code_cells(number) if cell.id == "plan-map"]
    assert re.fullmatch(r"runbook\.show\(found\.map\(.+\)\)", cell.source)
    assert "To be changed" in str(cell.outputs)


@pytest.mark.parametrize("number", CHANGING)
def test_what_is_waited_for_is_told_from_the_start(number: str) -> None:
    [cell] = [cell for cell in code_cells(number) if cell.id == "open"]
    assert "runbook.show_progress(session)" in cell.source.splitlines()


@pytest.mark.parametrize("number", ["04", "06", "90"])
@pytest.mark.parametrize("id", ["apply", "undo"])
def test_a_cell_that_waits_for_tasks_tells_of_it_in_its_place(number: str, id: str) -> None:
    [cell] = [cell for cell in code_cells(number) if cell.id == id]
    lines = [line.strip() for line in cell.source.splitlines()]
    told = lines.index("runbook.show_progress(session)")
    assert re.match(r"(runbook\.show\(|changes = )runbook\.apply\(", lines[told + 1])
    assert lines[-1].startswith("runbook.show(")


@every_notebook
def test_every_stored_picture_has_its_words(number: str) -> None:
    outputs = [output for cell in code_cells(number) for output in cell.outputs]
    pictures = [output for output in outputs if "image/png" in output.data]
    assert all("image/svg+xml" not in output.data for output in outputs)
    assert bool(pictures) == (number in CHANGING)
    words = [below for above, below in pairwise(outputs) if "image/png" in above.data]
    assert len(words) == len(pictures)
    assert all(len(output.data["text/plain"]) > 100 for output in words)
    alternatives = [output.metadata["image/png"]["alt"] for output in pictures]
    assert alternatives == [output.data["text/plain"] for output in words]


@every_notebook
def test_converts_to_html_that_tells_the_story(number: str) -> None:
    page, _ = HTMLExporter().from_notebook_node(book_of(number))
    body = re.sub(r"base64,[\w+/=]+", "", page[page.index("<body") :])
    words = html.unescape(re.sub(r"<[^>]+>", "\n", body))
    assert not re.search(r"Traceback|object at 0x|Widget|^\s*…\s*$", words, re.MULTILINE)
    wanted = SECTIONS if number in CHANGING else ["## Parameters", "## Before", "## Verify"]
    sections = re.findall(r"<h2[^>]*>(\w+)", body)
    assert sections == [section.removeprefix("## ") for section in wanted]
    pictures = [o for cell in code_cells(number) for o in cell.outputs if "image/png" in o.data]
    assert body.count("<img") == len(pictures)


@pytest.mark.soak
def test_recording_again_leaves_no_difference(tmp_path: Path) -> None:
    for path in NOTEBOOKS.values():
        shutil.copy(path, tmp_path)
    tool = NOTEBOOKS["00"].parent.parent / "tools" / "record_notebooks.py"
    environment = {name: value for name, value in os.environ.items() if name != "RUNBOOK_LOCAL"}
    subprocess.run([sys.executable, tool, tmp_path], check=True, env=environment, timeout=600)
    for path in NOTEBOOKS.values():
        assert (tmp_path / path.name).read_text() == path.read_text(), path.name


# --- each alone ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plain(folder: Path) -> Environment:
    """Return an environment in which no notebook has been run."""
    return Environment.create(folder, "alone")


@every_notebook
def test_plans_alone_on_a_plain_world(number: str, plain: Environment) -> None:
    before = plain.writes()
    done = plain.notebook(number, mode="plan")
    assert not done.errors, done.first
    assert "only plans" in done.shown
    assert plain.writes() == before
    if number in ("02", "03", "04", "05", "06"):
        assert "assumed" in done.shown  # what earlier notebooks have not made yet, and named so


@pytest.mark.parametrize("number", [n if n == "05" else pytest.param(n, marks=pytest.mark.soak) for n in NOTEBOOKS])
def test_passes_papermill_alone_on_a_plain_world_in_plan_mode(number: str, plain: Environment, tmp_path: Path) -> None:
    before = plain.writes()
    code, said, book = papermill(number, tmp_path / "out.ipynb", "-p", "environment", plain.file, "-p", "mode", "plan")
    assert code == 0, said
    assert "only plans" in text_of(book)
    assert plain.writes() == before
    if number in ("02", "03", "04", "05", "06"):
        assert "assumed" in text_of(book)  # what earlier notebooks have not made yet, and named so


def test_papermill_takes_an_environment_by_name(tmp_path: Path) -> None:
    given = ("-p", "environment", "staging", "-p", "target", "local")
    code, said, book = papermill("00", tmp_path / "out.ipynb", *given)
    assert code == 0, said
    assert "staging on the local mesh · account 210987654321" in text_of(book)
    assert "only plans" in text_of(book)


def test_papermill_takes_a_whole_parameters_file_and_nested_values_beside_it(tmp_path: Path) -> None:
    file = NOTEBOOKS["01"].parent.parent / "parameters" / "staging.yaml"
    given = ("-f", file, "-p", "target", "local", "-y", "mesh: {name: other, egress: ALLOW_ALL}")
    code, said, book = papermill("01", tmp_path / "out.ipynb", *given)
    assert code == 0, said
    assert "staging on the local mesh · account 210987654321" in text_of(book)
    assert "create mesh other" in text_of(book)


# --- every stage × every notebook × both modes --------------------------------------------------------------

STAGES = {"plain": [], "routed": ["01", "02", "03", "04"], "shifting": ["05"], "shifted": ["05"], "retired": ["06"]}

# What writes nothing in apply mode, since it has been done; and what has no earlier step to stand on, or is not due.
# 00 has nothing to apply; 90 has a test of its own; the rest leads on to the next stage and is applied twice on the
# way there.
SETTLED = {
    "plain": ["00", "90"],
    "routed": ["01", "02", "03", "04"],
    "shifting": ["01", "02", "03", "04", "05"],
    "shifted": ["01", "02", "03", "04", "05"],
    "retired": ["01", "02", "03", "04", "05", "06"],
}
REFUSED = {"plain": ["02", "03", "04", "05", "06"], "routed": ["06"], "shifting": ["06"], "shifted": [], "retired": []}
NAMES = ["servicea.apps.local", "serviceb.apps.local"]
WEIGHTS = {
    "routed": {"serviceB": 100, "serviceBv2": 0},
    "shifting": {"serviceB": 75, "serviceBv2": 25},
    "shifted": {"serviceB": 0, "serviceBv2": 100},
    "retired": {"serviceBv2": 100},
}


class Journey:
    """One environment on its way through the stages; it only goes on."""

    def __init__(self, environment: Environment) -> None:
        self.environment, self.reached = environment, "plain"

    def go_to(self, stage: str) -> None:
        """Apply what leads to a stage, each notebook twice: the second time it must write nothing."""
        names = list(STAGES)
        for name in names[names.index(self.reached) + 1 : names.index(stage) + 1]:
            for number in STAGES[name]:
                self.environment.walk(number, **self.given(number, name))
                self.stays(number, name)
            self.reached = name

    def given(self, number: str, stage: str) -> dict[str, Any]:
        """Return what 05 is told so that it ends at 25 %."""
        return {"shift": self.environment.shift(25)} if (number, stage) == ("05", "shifting") else {}

    def stays(self, number: str, stage: str) -> None:
        """Apply a notebook once more: it comes to its end, and no call could have changed anything."""
        before = self.environment.writes()
        self.environment.walk(number, **self.given(number, stage))
        assert self.environment.writes() == before, f"{number} wrote again"

    def look(self) -> tuple[str, dict[str, list[str]], dict[str, int]]:
        """Return the stage the notebooks see, what the mesh holds, and the weights."""
        seen = self.environment.look()
        return seen.stage, holdings(self.environment.client("appmesh"), "apps"), dict(seen.split.weights)


@pytest.fixture(scope="module")
def journey(folder: Path) -> Journey:
    return Journey(Environment.create(folder, "journey"))


@pytest.fixture(scope="module", params=STAGES)
def stage(request: pytest.FixtureRequest, journey: Journey) -> str:
    """Take the journey's environment to a stage; pytest keeps the tests of one stage together."""
    journey.go_to(request.param)
    return str(request.param)


def test_the_mesh_holds_what_belongs_to_the_stage(stage: str, journey: Journey) -> None:
    """While shifting this is the tutorial's own summary: 2 virtual services, 3 nodes, 1 router, 1 route at 75/25."""
    nodes = ["serviceA", "serviceB", "serviceBv2"] if stage != "retired" else ["serviceA", "serviceBv2"]
    routed = {"virtual_router": ["serviceB"], "route": ["serviceB/serviceB"]}
    found = {"virtual_service": NAMES, "virtual_node": nodes, **routed} if stage != "plain" else {}
    assert journey.look() == (stage, found, WEIGHTS.get(stage, {}))


@every_notebook
def test_plan_mode_changes_nothing(stage: str, number: str, journey: Journey) -> None:
    before = journey.environment.writes()
    done = journey.environment.notebook(number, mode="plan")
    assert not done.errors, done.first
    assert journey.environment.writes() == before


def test_what_has_been_done_writes_nothing_in_apply_mode(stage: str, journey: Journey) -> None:
    for number in SETTLED[stage]:
        journey.stays(number, stage)


def test_what_is_not_due_is_refused_in_apply_mode(stage: str, journey: Journey) -> None:
    before = journey.environment.writes()
    for number in REFUSED[stage]:
        done = journey.environment.notebook(number, mode="apply", go_on=True)
        assert isinstance(next(iter(done.errors.values())), Refused), done.first
    assert journey.environment.writes() == before


def test_removal_is_done_once_and_its_undo_brings_the_stage_back(stage: str, journey: Journey) -> None:
    before = journey.look()
    journey.environment.walk("90")
    journey.stays("90", stage)
    assert journey.environment.client("appmesh").list_meshes()["meshes"] == []
    journey.environment.walk("90", undo=True)
    if stage in ("shifting", "shifted"):  # undo gives the canary no traffic: 05 alone does
        assert journey.look() == ("routed", before[1], WEIGHTS["routed"])
        journey.environment.walk("05", **journey.given("05", stage))
    assert journey.look() == before
