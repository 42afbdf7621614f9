"""Imports point down, and each door has one keeper."""

from __future__ import annotations

import ast
import graphlib
import importlib
import json
import re
from collections.abc import Iterable
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

import runbook_lib

ROOT = Path(runbook_lib.__file__).parent
EVERYWHERE = sorted(ROOT.rglob("*.py"))
LIBRARY = [path for path in EVERYWHERE if "local" not in path.relative_to(ROOT).parts]


def part_of(path: Path) -> str:
    """Return what a file is part of: its folder's name, or its own where it lies in none."""
    return path.relative_to(ROOT).with_suffix("").parts[0]


def name_of(path: Path) -> str:
    """Return a module's dotted name below the library; a folder's face has the folder's."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(path): path for path in LIBRARY}
PARTS: dict[str, list[Path]] = {}
for each in LIBRARY:
    PARTS.setdefault(part_of(each), []).append(each)

# Each folder, or module outside of one, and what of ours it may import; the floor first, the face last.
ALLOWED: dict[str, set[str]] = {
    "private": set(),
    "detached": {"private"},
    "cells": set(),
    "shipped": set(),
    "redaction": set(),
    "printable": set(),
    "errors": {"printable", "redaction"},
    "plan": {"errors"},
    "verdict": {"errors"},
    "task_definition": {"errors"},
    "parameters": {"errors", "shipped", "task_definition"},
    "lifecycle": set(),
    "record": {"errors", "parameters", "plan", "private", "redaction", "shipped"},
    "notifying": {"detached", "errors", "record"},
    "aws": {"errors", "parameters", "plan", "printable", "record", "redaction", "task_definition", "verdict"},
    "opening": {"aws", "cells", "errors", "local", "parameters", "printable", "redaction"},
    "engines": {
        "aws", "errors", "lifecycle", "parameters", "plan", "printable", "task_definition",
    },
    "survey": {"aws", "engines", "lifecycle", "parameters", "plan"},
    "wording": {"plan", "printable", "redaction", "verdict"},
    "judging": {"aws", "errors", "parameters", "verdict"},
    "runs": {
        "aws", "engines", "errors", "judging", "opening", "parameters", "plan", "printable", "record",
        "redaction", "shipped", "survey", "verdict",
    },
    "gates": {"aws", "engines", "judging", "plan", "printable", "runs", "survey"},
    "checks": {"aws", "engines", "errors", "judging", "opening", "printable", "survey"},
    "shift": {
        "aws", "detached", "engines", "errors", "gates", "judging", "notifying", "opening", "parameters", "plan",
        "printable", "private", "record", "redaction", "runs", "survey", "verdict", "wording",
    },
    "display": {
        "aws", "engines", "errors", "parameters", "plan", "printable", "record", "redaction", "runs", "shift",
        "survey", "verdict", "wording",
    },
    "reporting": {"errors", "printable", "private", "record", "runs"},
    "unattended": {
        "aws", "engines", "errors", "notifying", "opening", "parameters", "printable", "private", "record",
        "redaction", "runs", "shift", "shipped",
    },
}  # fmt: skip
FACE = {"__init__", "command"}  # these may import anything below them
CORE = {  # parts, and modules of a part that is not pure as a whole
    "errors", "lifecycle", "parameters", "plan", "printable", "record.chain",
    "record.place", "redaction", "shift.rules", "shift.telling",
    "task_definition", "verdict",
}  # fmt: skip
IMPURE = {"boto3", "botocore", "datetime", "ipywidgets", "os", "pandas", "random", "secrets", "socket", "time"}
CLIENTS = {  # each by the module, or the folder, that alone names it
    "appmesh": "engines.appmesh",
    "elbv2": "engines.alb",
    "route53": "engines.alb.building",
    "ec2": "engines.alb.building",
    "acm": "engines.alb.building.certificate",
    "route53resolver": "engines.alb.building.forwarding",
    "route53profiles": "engines.alb.building.forwarding",
    "ecs": "aws.ecs",
    "application-autoscaling": "aws.ecs",
    "servicediscovery": "aws.cloud_map",
    "iam": "engines.appmesh.iam",
    "cloudwatch": "aws.cloudwatch",
    "sts": "aws.signing",
    "s3": "aws.calls",
}
# What only an engine may name: a route, a rule's target group, what stands beside a task.
ENGINE_WORDS = {
    "mesh", "meshed", "appmesh", "app mesh", "envoy", "sidecar", "route", "router", "virtual node", "virtual service",
    "virtual router", "weighted target", "load balancer", "listener", "target group",
}  # fmt: skip
LOCAL_MESH = re.compile(r"(?i)local ?mesh")  # the name of the local AWS
AWS_OWN = {"loadBalancers", "APPMESH_"}  # AWS's own names elsewhere: of an ECS service, of variables that are no secret
STILL_NAME_AN_ENGINE = {  # a list that only shrinks
    "__init__": "words of App Mesh's own notebooks",
    "aws.naming": "the tag's value is what it is on resources that exist",
    "command.local_aws": "the local mesh's sidecars",
    "command.steering": "the hint where nothing carries weights yet",
    "judging": "the hint for protocols that nobody counts",
    "parameters.alb": "the section of a load balancer's rule",
    "parameters.appmesh": "the sections of App Mesh",
    "parameters.checks": "which checks are which engine's",
    "parameters.checks.alb": "the section of a load balancer's rule",
    "parameters.checks.limits": "the time limits of routes",
    "parameters.checks.mesh": "who calls whom through App Mesh",
    "parameters.checks.protocols": "what a route's protocol can use",
    "parameters.checks.routes": "where a route leads",
    "parameters.checks.sections": "which section is which engine's",
    "parameters.loading": "a note on the case of names",
    "parameters.model": "which section is which engine's",
    "parameters.shift": "what a trial and a verdict are about",
    "redaction": "variables of Envoy that are no secret",
    "task_definition.envoy": "which container is Envoy",
    "task_definition.form": "AWS's own word for a proxy, and its default",
    "task_definition.image": "parameters check the file's image",
    "task_definition.lint": "what a definition with Envoy must say",
    "task_definition.lint.ecs": "Envoy's image, which is in ECR",
    "task_definition.lint.image": "Envoy's image",
    "task_definition.lint.ports": "which ports go through Envoy",
    "task_definition.lint.proxy": "what passes Envoy by",
    "task_definition.lint.rule": "the listener ports of the node it should be",
    "task_definition.lint.sidecar": "Envoy as a container",
    "task_definition.memory": "what a definition was before Envoy",
    "task_definition.sidecar": "Envoy put in and taken out",
}


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """Return every node of a module's syntax tree; a module is read once."""
    return tuple(ast.walk(ast.parse(path.read_text())))


@cache
def imported(path: Path) -> frozenset[str]:
    """Return each module a file imports, by its full name, wherever the import stands; a name of one, as a module."""
    found: set[str] = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names
            if any(name.removeprefix("runbook_lib.") not in MODULES for name in names):
                found.add(node.module or "")
    return frozenset(found)


def ours(paths: Iterable[Path]) -> set[str]:
    """Return the parts of the library that files import."""
    names = {name.split(".")[1] for path in paths for name in imported(path) if name.startswith("runbook_lib.")}
    return names & ({*PARTS, "local"})


def strings(path: Path) -> set[str]:
    return {n.value for n in nodes(path) if isinstance(n, ast.Constant) and isinstance(n.value, str)}


def importers(package: str, paths: list[Path]) -> set[str]:
    return {name_of(path) for path in paths if any(name.split(".")[0] == package for name in imported(path))}


def code_of(path: Path) -> str:
    """Return a file's code: the cells of a notebook, a module as it is."""
    if path.suffix != ".ipynb":
        return path.read_text()
    cells = json.loads(path.read_text())["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


@pytest.mark.parametrize("part", ALLOWED)
def test_a_part_imports_only_what_lies_below_it(part: str) -> None:
    assert ours(PARTS[part]) - {part} <= ALLOWED[part]


def test_every_part_has_its_place() -> None:
    assert set(PARTS) - FACE <= set(ALLOWED), "a new part: say in ALLOWED what it may import"


def test_what_may_be_imported_is_a_hierarchy() -> None:
    above: set[str] = set()
    for part in reversed(ALLOWED):
        assert ALLOWED[part].isdisjoint(above), f"{part} imports what lies above it"
        above.add(part)


def test_modules_import_each_other_in_no_circle() -> None:
    needs = {}
    for name, path in MODULES.items():
        needs[name] = {n.removeprefix("runbook_lib.") for n in imported(path)} & (set(MODULES) - {name})
    graphlib.TopologicalSorter(needs).prepare()  # raises CycleError


@pytest.mark.parametrize("part", sorted(CORE))
def test_the_core_is_pure(part: str) -> None:
    paths = PARTS.get(part) or [MODULES[part]]
    packages = {module.split(".")[0] for path in paths for module in imported(path)}
    assert packages.isdisjoint(IMPURE)


def words_of(text: str) -> set[str]:
    """Return the words and pairs of words of a name or a text, in lower case and the singular."""
    told_apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", LOCAL_MESH.sub(" ", text)).lower()
    plain = re.findall("[a-z]+", told_apart)
    words = [word if word.endswith("ss") else word.removesuffix("s") for word in plain]
    return {*words, *(f"{first} {second}" for first, second in pairwise(words))}


def said_in(path: Path) -> set[str]:
    """Return every name and every text of a module's code; docstrings and comments are prose."""
    prose = set()
    for node in nodes(path):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            prose.add(node.value)
    said = set()
    for node in nodes(path):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in prose:
            said.add(node.value)
        named = [getattr(node, field, None) for field in ("id", "attr", "arg", "name", "asname")]
        said |= {name for name in named if isinstance(name, str)}
    return said - {name for name in said if name.startswith("runbook_lib.")}


def engine_words_in(path: Path) -> set[str]:
    """Return what of a module's code names an engine."""
    return {text for text in said_in(path) - AWS_OWN if words_of(text) & ENGINE_WORDS}


@pytest.mark.parametrize("name", sorted(name for name in MODULES if name.split(".")[0] != "engines"))
def test_only_an_engine_names_what_an_engine_is_made_of(name: str) -> None:
    found = engine_words_in(MODULES[name])
    if name in STILL_NAME_AN_ENGINE:
        assert found, f"{name} names no engine any more: take it off the list"
    else:
        assert found == set()


@pytest.mark.parametrize("name", sorted(n for n in MODULES if n.startswith("engines.") and n != "engines.named"))
def test_an_engine_can_neither_write_nor_wait(name: str) -> None:
    doors = {f"runbook_lib.aws.{name}" for name in ("session", "signing", "calls", "waits", "clients", "applying")}
    assert {*imported(MODULES[name])}.isdisjoint(doors)


def test_no_module_is_said_to_name_an_engine_that_is_not_there() -> None:
    assert {*STILL_NAME_AN_ENGINE} <= {*MODULES}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("plan_sidecars", {"sidecar"}),
        ("VirtualNode", {"virtual node"}),
        ("weightedTargets[", {"weighted target"}),
        ("see 04's sidecars", {"sidecar"}),
        ("the target groups of a load balancer", {"target group", "load balancer"}),
        ("routed", set()),
        ("on the local mesh", set()),
        ("LocalMesh", set()),
        ("address", set()),
    ],
)
def test_words_of_an_engine_are_found_in_names_and_texts(text: str, names: set[str]) -> None:
    assert words_of(text) & ENGINE_WORDS == names


@pytest.mark.parametrize("number", ["05", "06"])
def test_the_notebooks_that_move_traffic_name_no_engine(number: str) -> None:
    (notebook,) = (ROOT.parent / "notebooks").glob(f"{number}_*.ipynb")
    assert re.findall(r"(?i)mesh|virtual_?(node|router|service)", code_of(notebook)) == []


@pytest.mark.parametrize(("client", "keeper"), CLIENTS.items())
def test_a_client_is_named_by_one_module(client: str, keeper: str) -> None:
    calls = {
        name
        for name, path in MODULES.items()
        for node in nodes(path)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name | ast.Attribute)
        and (node.func.id if isinstance(node.func, ast.Name) else node.func.attr)
        in ("Call", "client", "_list", "pages")
        and any(isinstance(a, ast.Constant) and a.value == client for a in node.args)
    }
    assert calls
    assert {name for name in calls if f"{name}.".startswith(f"{keeper}.")} == calls


def test_only_session_makes_clients() -> None:
    made = re.compile(r"create_client\(|\.client\(")
    assert {name for name, path in MODULES.items() if made.search(path.read_text())} == {"aws.clients"}


def test_only_identity_opens_sessions_of_botocore() -> None:
    assert importers("boto3", list(MODULES.values())) == set()
    openers = {name for name, path in MODULES.items() if "botocore.session" in set(imported(path))}
    assert openers == {"aws.identity"}


def test_only_apply_writes_and_a_bucket_its_copies() -> None:
    doors = {r"session\.write\(": {"aws.applying"}, r"\.call_store\(": {"aws.bucket"}}
    for door, keepers in doors.items():
        assert {name for name, path in MODULES.items() if re.search(door, path.read_text())} == keepers


@pytest.mark.parametrize(
    ("package", "keepers"),
    [
        ("pandas", {"display.tables"}),
        ("matplotlib", {"display.pictures"}),
        ("ipywidgets", {"display.live", "display.panel", "display.sliders", "display.widgets"}),
        ("papermill", {"unattended.executing"}),
    ],
)
def test_a_heavy_package_has_one_importer(package: str, keepers: set[str]) -> None:
    assert importers(package, list(MODULES.values())) == keepers


def test_only_opening_and_the_command_know_of_the_local_mesh() -> None:
    assert {name for name, path in MODULES.items() if "local" in ours([path])} - {"opening"} == {
        f"command.{name}" for name in ("files", "local_aws", "opened", "running", "standing")
    }


def test_only_record_touches_the_runs() -> None:
    assert {part_of(path) for path in LIBRARY if "record.jsonl" in strings(path)} == {"record"}


def test_the_words_of_a_notebook_are_complete() -> None:
    for home, words in runbook_lib.HOMES.items():
        assert {*words} <= {*importlib.import_module(f"runbook_lib.{home}").__all__}
    assert {callable(getattr(runbook_lib, word)) for word in runbook_lib.__all__} == {True}


@pytest.mark.parametrize("name", sorted(name for name, path in MODULES.items() if "__all__" in path.read_text()))
def test_what_a_module_offers_exists(name: str) -> None:
    module = importlib.import_module(f"runbook_lib.{name}" if name != "__init__" else "runbook_lib")
    assert module.__all__ == sorted(module.__all__, key=lambda word: (not word.isupper(), word))
    assert [word for word in module.__all__ if not hasattr(module, word)] == []


def test_a_notebook_uses_only_the_offered_words() -> None:
    for notebook in (ROOT.parent / "notebooks").glob("*.ipynb"):
        words = {
            node.attr
            for node in ast.walk(ast.parse(code_of(notebook)))
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "runbook"
        }
        assert words <= set(runbook_lib.__all__), notebook.name
        assert words, notebook.name


@pytest.mark.parametrize("path", EVERYWHERE, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_dangerous_is_written(path: Path) -> None:
    for node in nodes(path):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"bare except in line {node.lineno}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name):
            called = ast.unparse(node.func)
            assert called not in ("yaml.load", "eval", "exec", "input", "os.system"), f"{called} in line {node.lineno}"
            assert called != "print" or path.stem == "__main__", f"print in line {node.lineno}"


def test_architecture_names_every_module_once() -> None:
    table = (ROOT.parent / "docs" / "architecture.md").read_text().partition("## Modules")[2].partition("\n`local/`")[0]
    rows = re.findall(r"^\| .+? \| (.+) \|$", table, re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`([\w.]+)`", row)]
    assert sorted(named) == sorted(MODULES)
