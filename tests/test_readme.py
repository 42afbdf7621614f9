"""README and docs say what there is: every command, target, parameter, notebook and exit code, and no dead link."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
import typer
import yaml

from runbook_lib import errors
from runbook_lib.command import cli
from runbook_lib.errors import RunbookError
from runbook_lib.unattended import summing_up

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
import document_parameters  # (a script, not a package)

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
DOCS = {path.name: path.read_text() for path in sorted((ROOT / "docs").glob("*.md"))}
TEXTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
NOTEBOOKS = sorted(path.name for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
FIRST_SCREEN = "\n".join(README.splitlines()[:40])
MAKEFILE = (ROOT / "Makefile").read_text()


def commands(app: typer.Typer, before: str = "runbook") -> Iterator[tuple[str, list[str]]]:
    """Yield every command with its options, as one types them."""
    for command in typer.main.get_command(app).commands.values():  # type: ignore[attr-defined]
        name = f"{before} {command.name}"
        if hasattr(command, "commands"):
            yield from ((f"{name} {inner.name}", options(inner)) for inner in command.commands.values())
        else:
            yield name, options(command)


def options(command: typer.core.TyperCommand) -> list[str]:
    return [word for parameter in command.params for word in parameter.opts if word.startswith("-")]


COMMANDS = dict(commands(cli.app))


def sections() -> dict[str, str]:
    """Return each section's text by its heading."""
    parts = re.split(r"^## (.+)$", README, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def anchor(heading: str) -> str:
    """Return a heading's anchor as code hosts make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


# the first screen


@pytest.mark.parametrize("command", ["make run", "make test"])
def test_first_screen_has_the_command_on_a_line_of_its_own_in_a_code_block(command: str) -> None:
    blocks = re.findall(r"^```\w*\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert command + "\n" in blocks
    target = command.removeprefix("make ")
    assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)


def test_first_screen_says_plainly_that_app_mesh_has_ended() -> None:
    assert FIRST_SCREEN.index("App Mesh has ended") < FIRST_SCREEN.index("\nmake run\n")
    assert "2026-09-30" in FIRST_SCREEN
    assert "local mesh" in FIRST_SCREEN


def test_nothing_is_left_to_fill_in() -> None:
    assert not re.findall(r"@@|TODO|TBD|XXX", README)


# what there is


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_its_options_are_documented(command: str) -> None:
    assert f"`{command}`" in DOCS["using.md"]
    about = [line for line in DOCS["using.md"].splitlines() if command in line or line.startswith("- `-")]
    assert [word for word in COMMANDS[command] if not any(word in line for line in about)] == []


@pytest.mark.parametrize("target", re.findall(r"^([a-z]+):.*## ", MAKEFILE, re.MULTILINE))
def test_every_make_target_is_documented_in_its_own_words(target: str) -> None:
    (words,) = re.findall(rf"^{target}:.*## (.+)$", MAKEFILE, re.MULTILINE)
    (said,) = re.findall(rf"^\| `make {target}` \| (.+) \|$", README, re.MULTILINE)
    assert said.replace("`", "") == words


def test_no_make_target_is_documented_that_does_not_exist() -> None:
    there = set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))
    assert set(re.findall(r"`make ([a-z]+)", README)) <= there


def test_parameters_are_in_step_with_their_model() -> None:
    table = DOCS["parameters.md"]
    assert document_parameters.in_step(table) == table, "run: python tools/document_parameters.py"


def test_the_schema_is_in_step_with_the_model() -> None:
    assert document_parameters.SCHEMA.read_text() == document_parameters.schema(), (
        "run: python tools/document_parameters.py"
    )


@pytest.mark.parametrize("file", sorted((ROOT / "parameters").glob("*.yaml")), ids=lambda file: file.stem)
def test_an_editor_checks_a_shipped_file_by_the_schema_that_it_names(file: Path) -> None:
    first, data = file.read_text().splitlines()[0], yaml.safe_load(file.read_text())
    named = first.removeprefix("# yaml-language-server: $schema=")
    validator = jsonschema.Draft202012Validator(json.loads((file.parent / named).read_text()))
    assert [error.message for error in validator.iter_errors(data)] == []
    misspelt = {**data, "shift": {**data["shift"], "bake_secnds": 5}}
    assert ["bake_secnds" in error.message for error in validator.iter_errors(misspelt)] == [True]
    assert len(list(validator.iter_errors({**data, "shift": {**data["shift"], "steps": ["25%"]}}))) == 1


def test_every_parameter_has_a_meaning() -> None:
    rows = document_parameters.rows()
    assert len(rows) > 100
    assert [row.name for row in rows if not row.meaning] == []


def test_notebooks_table_has_every_notebook_once() -> None:
    table = sections()["The notebooks"]
    rows = re.findall(r"^\| \[(\w+)\]\(notebooks/(\w+\.ipynb)\) \|", table, re.MULTILINE)
    assert [f"{name}.ipynb" for name, _ in rows] == NOTEBOOKS == [file for _, file in rows]


def test_exit_codes_are_the_commands_own() -> None:
    rows = re.findall(r"^\| (\d) \| `(\w+)` \|", README, re.MULTILINE)
    assert {outcome: int(code) for code, outcome in rows} == summing_up.EXIT


def test_troubleshooting_has_every_word_an_error_may_have() -> None:
    table = DOCS["when-it-stops.md"]
    words = {kind.reason for name in errors.__all__ if issubclass(kind := getattr(errors, name), RunbookError)}
    said = set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))
    assert words - {"refused", "failed"} <= said  # the two that are only ever a subclass's


def test_iam_lists_have_every_call_the_library_makes() -> None:
    table = DOCS["iam.md"]
    allowed = {pattern.lower() for pattern in re.findall(r"`([\w-]+:\w+\*?)`", table)}
    missing = {action for action in actions() if not granted(action, allowed)}
    assert missing == set()


def actions() -> set[str]:
    """Return every action the library's own calls need, by the calls written in it."""
    library = [path for path in (ROOT / "runbook_lib").rglob("*.py") if "local" not in path.parts]
    source = "\n".join(path.read_text() for path in library)
    calls = re.findall(r"(?:Call|pages)\(\s*\"([a-z-]+)\",\s*f?\"([a-z_]+)", source)
    named = {"elbv2": "elasticloadbalancing"}  # of whom IAM knows by another name
    return {
        f"{named.get(service, service)}:{operation.replace('_', '')}"
        for service, operation in calls
        if service != "sts"
    }


def granted(action: str, allowed: set[str]) -> bool:
    """Tell whether an action, or the beginning of one, is among those allowed."""
    service, operation = action.split(":")
    patterns = {pattern for pattern in allowed if pattern.startswith(f"{service}:")}
    return any(
        pattern == action or (pattern.endswith("*") and operation.startswith(pattern.split(":")[1][:-1]))
        for pattern in patterns
    )


# links and form


@pytest.mark.parametrize("file", TEXTS, ids=lambda file: file.name)
def test_links_lead_to_what_is_there(file: Path) -> None:
    text = file.read_text()
    targets = re.findall(r"\]\(([^)\s]+)\)|(?:src|srcset)=\"([^\"]+)\"", text)
    links = [one or other for one, other in targets]
    assert [link for link in links if not leads_somewhere(link, file)] == []


def leads_somewhere(link: str, file: Path) -> bool:
    """Tell whether a link's file is there, and a heading for its anchor in it."""
    path, _, heading = link.partition("#")
    target = file.parent / path if path else file
    if not target.exists() or not heading:
        return target.exists()
    headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
    return heading in map(anchor, headings)


def test_readme_is_read_in_a_few_minutes() -> None:
    assert len(README.splitlines()) <= 200


def test_readme_leads_to_every_document() -> None:
    linked = set(re.findall(r"\]\(docs/([\w-]+\.md)\)", README))
    assert linked == set(DOCS)


@pytest.mark.parametrize("file", TEXTS, ids=lambda file: file.name)
def test_prose_has_one_sentence_a_line(file: Path) -> None:
    prose = re.sub(r"^```.*?^```$|^\|.*$|^- .*$|^\d\. .*$", "", file.read_text(), flags=re.MULTILINE | re.DOTALL)
    assert re.findall(r"^.*[a-z]\. [A-Z].*$", prose, re.MULTILINE) == []
