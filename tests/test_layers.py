"""Imports point down, and each door has one keeper."""

from __future__ import annotations

import ast
import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import runbook_lib

ROOT = Path(runbook_lib.__file__).parent
MODULES = {path.stem: path for path in sorted(ROOT.glob("*.py"))}
EVERYWHERE = sorted(ROOT.rglob("*.py"))

# Each module, and those of ours it may import; the floor first, the face last.
ALLOWED: dict[str, set[str]] = {
    "private": set(),
    "redaction": set(),
    "printable": set(),
    "errors": {"printable", "redaction"},
    "service_models": set(),
    "plan": {"errors"},
    "stake": set(),
    "verdict": {"errors", "stake"},
    "forecast": {"errors", "stake"},
    "proof": {"forecast", "verdict"},
    "envoy_image": set(),
    "task_form": {"errors"},
    "task_memory": {"errors", "task_form"},
    "task_lint": {"envoy_image", "task_form"},
    "task_definition": {"errors", "task_form", "task_memory"},
    "parameter_checks": {"envoy_image", "parameters", "task_lint"},  # parameters for their types only
    "plain_yaml": set(),
    "parameters": {"errors", "parameter_checks", "plain_yaml"},
    "mesh_spec": {"parameters", "plan"},
    "interrupts": set(),
    "place": {"mesh_spec", "parameters"},
    "chain": set(),
    "record": {"chain", "errors", "place", "plan", "private", "redaction"},
    "progress": {"errors", "record"},
    "identity": {"errors", "service_models"},
    "session": {"errors", "identity", "local", "parameters", "place", "plan", "printable", "record", "redaction"},
    "telemetry": {"plan", "session", "verdict"},
    "mesh": {"envoy_image", "errors", "mesh_spec", "parameters", "plan", "session", "telemetry"},
    "ecs": {
        "envoy_image", "errors", "mesh_spec", "parameters", "plan", "redaction", "session", "task_definition",
        "task_form",
    },
    "discovery": {"parameters", "plan", "session"},
    "iam": {"mesh_spec", "parameters", "plan", "session"},
    "apply": {"errors", "plan", "session"},
    "archive": {"errors", "parameters", "plan", "record", "session"},
    "approvals": {"errors", "plan", "record", "session"},
    "verify": {"errors", "record", "redaction", "verdict"},
    "survey": {"discovery", "ecs", "iam", "mesh", "mesh_spec", "parameters", "plan", "session"},
    "undoable": {"discovery", "ecs", "iam", "mesh_spec", "parameters", "plan", "redaction"},
    "undo": {"errors", "plan", "record", "session", "survey", "undoable"},
    "wording": {"forecast", "plan", "redaction"},
    "judging": {"parameters", "telemetry", "verdict"},
    "history": {
        "approvals", "judging", "parameters", "plan", "record", "session", "survey", "telemetry", "verify",
    },
    "watching": {"errors", "history", "record", "session", "survey"},
    "gates": {
        "discovery", "ecs", "errors", "history", "iam", "judging", "plan", "survey", "task_definition", "telemetry",
    },
    "checks": {
        "discovery", "ecs", "errors", "iam", "identity", "judging", "mesh_spec", "session", "survey",
        "task_definition", "task_form", "task_lint",
    },
    "trial": {"apply", "errors", "judging", "plan", "session", "survey", "telemetry"},
    "outlook": {"ecs", "errors", "forecast", "identity", "judging", "parameters", "session", "survey", "telemetry"},
    "decision": {"session", "telemetry"},
    "rollback": {"apply", "decision", "ecs", "errors", "plan", "record", "session", "survey", "watching"},
    "hazards": {
        "approvals", "ecs", "errors", "history", "judging", "plan", "rollback", "session", "survey", "telemetry",
        "wording",
    },
    "shift": {
        "apply", "approvals", "decision", "ecs", "errors", "gates", "hazards", "history", "judging", "outlook", "plan",
        "proof", "rollback", "session", "survey", "telemetry", "trial", "verdict", "wording",
    },
    "drawing": {"printable"},
    "pictures": {"drawing"},
    "film": {"drawing", "forecast", "history", "telemetry", "verdict"},
    "topology": {"drawing", "plan", "survey", "wording"},
    "show": {
        "apply", "decision", "drawing", "film", "forecast", "history", "outlook", "parameters", "pictures", "plan",
        "printable", "session", "shift", "survey", "topology", "watching", "wording",
    },
    "widgets": {
        "approvals", "decision", "drawing", "errors", "film", "history", "outlook", "plan", "printable", "proof",
        "record", "redaction", "session", "shift", "show", "survey", "telemetry", "watching",
    },
}  # fmt: skip
FACE = {"__init__", "cli", "unattended"}  # these may import anything below them
CORE = {
    "chain", "envoy_image", "errors", "forecast", "mesh_spec", "parameter_checks", "parameters", "place", "plain_yaml",
    "plan", "printable", "proof", "redaction", "stake", "task_definition", "task_form", "task_lint",
    "task_memory", "verdict",
}  # fmt: skip
IMPURE = {"boto3", "botocore", "datetime", "ipywidgets", "os", "pandas", "random", "secrets", "socket", "time"}
CLIENTS = {
    "appmesh": "mesh",
    "ecs": "ecs",
    "application-autoscaling": "ecs",
    "servicediscovery": "discovery",
    "iam": "iam",
    "cloudwatch": "telemetry",
    "sts": "session",
    "s3": "archive",
}
ENGINE_WORDS = r"(?i)\bmesh|appmesh|app mesh|virtual (node|router|service)|virtualnode|weightedtarget|\broute\b"


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imported(path: Path) -> Iterator[str]:
    """Yield each module a file imports, by its full name, wherever the import stands."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def ours(path: Path) -> set[str]:
    """Return the top modules of the library a file imports."""
    names = {name.split(".")[1] for name in imported(path) if name.startswith("runbook_lib.")}
    return names & ({*MODULES, "local"})


def strings(path: Path) -> set[str]:
    return {n.value for n in ast.walk(tree(path)) if isinstance(n, ast.Constant) and isinstance(n.value, str)}


def importers(package: str, paths: list[Path]) -> set[str]:
    return {path.stem for path in paths if any(name.split(".")[0] == package for name in imported(path))}


def code_of(path: Path) -> str:
    """Return a file's code: the cells of a notebook, a module as it is."""
    if path.suffix != ".ipynb":
        return path.read_text()
    cells = json.loads(path.read_text())["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


@pytest.mark.parametrize("name", ALLOWED)
def test_a_module_imports_only_what_lies_below_it(name: str) -> None:
    assert ours(MODULES[name]) <= ALLOWED[name]


def test_every_module_has_its_place() -> None:
    assert set(MODULES) - FACE <= set(ALLOWED), "a new module: say in ALLOWED what it may import"


def test_what_may_be_imported_is_a_hierarchy() -> None:
    above: set[str] = set()
    for name in [n for n in reversed(ALLOWED) if n != "parameter_checks"]:
        assert ALLOWED[name].isdisjoint(above), f"{name} imports what lies above it"
        above.add(name)


@pytest.mark.parametrize("name", sorted(CORE))
def test_the_core_is_pure(name: str) -> None:
    assert {module.split(".")[0] for module in imported(MODULES[name])}.isdisjoint(IMPURE)


@pytest.mark.parametrize("name", ["plan", "verdict", "forecast"])
def test_planning_and_judging_know_no_engine(name: str) -> None:
    assert re.findall(ENGINE_WORDS, MODULES[name].read_text()) == []


@pytest.mark.parametrize("name", ["shift", "apply", "widgets"])
def test_moving_and_applying_name_no_engine(name: str) -> None:
    assert (
        re.findall(r"(?i)appmesh|app mesh|virtual_?(node|router|service)|weightedtarget", code_of(MODULES[name])) == []
    )


@pytest.mark.parametrize("number", ["05", "06"])
def test_the_notebooks_that_move_traffic_name_no_engine(number: str) -> None:
    (notebook,) = (ROOT.parent / "notebooks").glob(f"{number}_*.ipynb")
    assert re.findall(r"(?i)mesh|virtual_?(node|router|service)", code_of(notebook)) == []


@pytest.mark.parametrize(("client", "keeper"), CLIENTS.items())
def test_a_client_is_named_by_one_module(client: str, keeper: str) -> None:
    calls = {
        path.stem
        for path in MODULES.values()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name | ast.Attribute)
        and (node.func.id if isinstance(node.func, ast.Name) else node.func.attr)
        in ("Call", "client", "_list", "pages")
        and any(isinstance(a, ast.Constant) and a.value == client for a in node.args)
    }
    assert calls == {keeper}


def test_only_session_makes_clients() -> None:
    made = re.compile(r"create_client\(|\.client\(")
    assert {name for name, path in MODULES.items() if made.search(path.read_text())} == {"session"}


def test_only_identity_opens_sessions_of_botocore() -> None:
    assert importers("boto3", list(MODULES.values())) == set()
    openers = {name for name, path in MODULES.items() if "botocore.session" in set(imported(path))}
    assert openers == {"identity"}


def test_only_apply_writes_and_archive_its_copies() -> None:
    pattern = re.compile(r"session\.write\(")
    assert {name for name, path in MODULES.items() if pattern.search(path.read_text())} == {"apply", "archive"}


@pytest.mark.parametrize(
    ("package", "keepers"),
    [("pandas", {"show"}), ("matplotlib", {"pictures"}), ("ipywidgets", {"widgets"}), ("papermill", {"unattended"})],
)
def test_a_heavy_package_has_one_importer(package: str, keepers: set[str]) -> None:
    assert importers(package, list(MODULES.values())) == keepers


def test_only_session_and_command_know_of_the_local_mesh() -> None:
    assert {name for name, path in MODULES.items() if "local" in ours(path)} == {"session", "cli"}


def test_only_record_touches_the_runs() -> None:
    assert {name for name, path in MODULES.items() if "record.jsonl" in strings(path)} == {"record"}


def test_the_words_of_a_notebook_are_complete() -> None:
    for home, words in runbook_lib.HOMES.items():
        assert {*words} <= {*importlib.import_module(f"runbook_lib.{home}").__all__}
    assert {callable(getattr(runbook_lib, word)) for word in runbook_lib.__all__} == {True}


@pytest.mark.parametrize("name", sorted(set(MODULES) - {"cli", "__init__"}))
def test_what_a_module_offers_exists(name: str) -> None:
    module = importlib.import_module(f"runbook_lib.{name}")
    assert module.__all__ == sorted(module.__all__, key=lambda word: (not word.isupper(), word))
    assert [word for word in module.__all__ if not hasattr(module, word)] == []


def test_a_notebook_uses_only_the_offered_words() -> None:
    for notebook in (ROOT.parent / "notebooks").glob("*.ipynb"):
        names = {
            alias.name
            for node in ast.walk(ast.parse(code_of(notebook)))
            if isinstance(node, ast.ImportFrom) and node.module == "runbook_lib"
            for alias in node.names
        }
        assert names <= set(runbook_lib.__all__), notebook.name


@pytest.mark.parametrize("path", EVERYWHERE, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_dangerous_is_written(path: Path) -> None:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"bare except in line {node.lineno}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name):
            called = ast.unparse(node.func)
            assert called not in ("yaml.load", "eval", "exec", "input", "os.system"), f"{called} in line {node.lineno}"
            assert called != "print" or path.stem == "__main__", f"print in line {node.lineno}"


def test_architecture_names_every_module_once() -> None:
    table = (ROOT.parent / "docs" / "architecture.md").read_text().partition("## Modules")[2].partition("\n`local/`")[0]
    rows = re.findall(r"^\| .+? \| (.+) \|$", table, re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted(named) == sorted(MODULES)
