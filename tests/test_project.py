"""The project's files agree with one another: dependencies, commands, and no trace of anybody's machine."""

from __future__ import annotations

import ast
import configparser
import os
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from rattler import MatchSpec, Version, VersionSpec

ROOT = Path(__file__).parent.parent
SEVEN = {"jupyterlab", "ipywidgets", "boto3", "pandas", "papermill", "nbval", "moto"}
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONDA: dict[str, Any] = yaml.safe_load((ROOT / "environment.yml").read_text())
LOCK_TEXT = (ROOT / "requirements.lock").read_text()
AIRFLOW = ROOT / "integrations/airflow"
LOCKS = {"the product's": LOCK_TEXT, "Airflow's": (AIRFLOW / "requirements.lock").read_text()}
MAKEFILE = (ROOT / "Makefile").read_text()


def requirements() -> list[Requirement]:
    return [Requirement(text) for text in (*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"])]


def asked_for() -> list[Requirement]:
    """Return what running the runbook asks for, and working in its notebooks."""
    return [Requirement(text) for text in (*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["lab"])]


def lock_entries(lock: str = LOCK_TEXT) -> list[str]:
    """Return a lock's entries, each in one line."""
    return lock.replace("\\\n", "").splitlines()


def locked_versions() -> dict[str, set[str]]:
    """Return the locked versions of each package; there are several where Pythons need different ones."""
    versions = defaultdict(set)
    for entry in lock_entries():
        pinned = Requirement(entry.partition(" --hash")[0])
        (pin,) = pinned.specifier
        assert pin.operator == "==", entry
        versions[canonicalize_name(pinned.name)].add(pin.version)
    return versions


def conda_specs() -> dict[str, MatchSpec]:
    specs = [MatchSpec(spec, strict=True) for spec in CONDA["dependencies"] if isinstance(spec, str)]
    return {spec.name.normalized: spec for spec in specs}


def our_files() -> list[Path]:
    """Return every text file that is in git or is about to be."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    files = (ROOT / name for name in listing.stdout.split("\0") if name)
    return [file for file in files if file.is_file() and b"\0" not in file.read_bytes()]


# requirements.lock


@pytest.mark.parametrize("lock", LOCKS.values(), ids=LOCKS)
def test_lock_has_a_hash_for_every_entry_and_nothing_else_in_it(lock: str) -> None:
    for entry in lock_entries(lock):
        assert re.fullmatch(r"[a-z0-9._-]+==\S+( ; [^#]+?)?( +--hash=sha256:[0-9a-f]{64})+", entry), entry[:200]


@pytest.mark.parametrize("lock", LOCKS.values(), ids=LOCKS)
def test_lock_names_no_address(lock: str) -> None:
    assert not re.findall(r"://|--(?:extra-)?index|--find-links|--trusted-host", lock)


def test_what_airflow_is_asked_for_is_locked_and_named_where_it_says_what_was_tried() -> None:
    page = (ROOT / "docs/integrations.md").read_text()
    asked = [line for line in (AIRFLOW / "requirements.in").read_text().splitlines() if not line.startswith("#")]
    locked = {entry.partition(" ")[0] for entry in lock_entries(LOCKS["Airflow's"])}
    assert {*asked} <= locked
    assert [line for line in asked if line.partition("==")[2] not in page] == []


@pytest.mark.parametrize("requirement", requirements(), ids=lambda requirement: requirement.name)
def test_lock_satisfies_pyproject(requirement: Requirement) -> None:
    versions = locked_versions()[canonicalize_name(requirement.name)]
    assert versions
    assert all(requirement.specifier.contains(version) for version in versions), versions


# Imports


def imported() -> set[str]:
    """Return every package that the library imports and Python does not come with."""
    found = set()
    for file in (ROOT / "runbook_lib").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(str(node.module).partition(".")[0])
    return found - {*sys.stdlib_module_names, "_typeshed", "runbook_lib"}


def test_every_package_that_is_imported_is_asked_for() -> None:
    """What came along with another package goes when that one drops it."""
    asked = {canonicalize_name(Requirement(text).name) for text in PROJECT["dependencies"]}
    asked |= {canonicalize_name(Requirement(text).name) for text in PROJECT["optional-dependencies"]["notify"]}
    homes = packages_distributions()
    assert {
        name for name in imported() if not asked & {canonicalize_name(home) for home in homes.get(name, ())}
    } == set()


def test_what_runs_the_runbook_asks_for_nothing_that_only_develops_it() -> None:
    own = {canonicalize_name(Requirement(text).name) for text in PROJECT["dependencies"]}
    developing = {"pytest", "nbval", "jupyterlab", "hypothesis", "mypy", "ruff", "playwright", "awscli", "hatchling"}
    assert own & developing == set()


# environment.yml


def test_conda_environment_installs_the_locked_set_from_a_channel_without_an_address() -> None:
    assert CONDA["name"] == PROJECT["name"]
    assert CONDA["channels"] == ["conda-forge"]
    assert [part["pip"] for part in CONDA["dependencies"] if isinstance(part, dict)] == [["-r requirements.lock"]]


def test_conda_environment_names_python_pip_and_the_seven() -> None:
    assert set(conda_specs()) == {"python", "pip"} | SEVEN
    assert {requirement.name for requirement in asked_for()} >= SEVEN


@pytest.mark.parametrize("name", sorted(SEVEN))
def test_conda_range_is_pyprojects_and_admits_the_locked_version(name: str) -> None:
    asked = str(conda_specs()[name].version)
    wanted = {requirement.name: requirement.specifier for requirement in asked_for()}
    assert SpecifierSet(asked) == wanted[name]
    for version in locked_versions()[name]:
        assert VersionSpec(asked).matches(Version(version))


def test_every_file_that_names_the_python_range_names_the_same_one() -> None:
    wanted = SpecifierSet(PROJECT["requires-python"])
    assert SpecifierSet(str(conda_specs()["python"].version)) == wanted
    tested = (ROOT / ".github/workflows/ci.yml").read_text()
    assert all(wanted.contains(version) for version in re.findall(r'"(3\.\d+)"', tested))
    oldest, too_new = sorted(int(text) for text in re.findall(r"3\.(\d+)", str(wanted)))
    pair = rf"\(3, {oldest}\)\D+\(3, {too_new}\)"
    assert re.search(pair, MAKEFILE)
    assert re.search(pair, (ROOT / "tools/setup_environment.py").read_text())


# Commands


def make(*arguments: str) -> str:
    # An outer make would hand down its flags.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        ["make", *arguments], cwd=ROOT, env=environment, check=True, capture_output=True, text=True
    ).stdout


def test_make_alone_lists_every_target() -> None:
    (phony,) = re.findall(r"^\.PHONY: (.+)$", MAKEFILE, re.MULTILINE)
    targets = set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))
    assert targets == set(phony.split())
    assert {line.split()[1] for line in make().splitlines()} == targets - {"help"}


def test_scripts_that_make_calls_exist() -> None:
    scripts = set(re.findall(r"tools/\w+\.py", MAKEFILE))
    assert {script for script in scripts if not (ROOT / script).is_file()} == set()


def test_readme_names_the_two_commands() -> None:
    readme = (ROOT / "README.md").read_text()
    assert re.search(r"^(\$ )?make run$", readme, re.MULTILINE)
    assert re.search(r"^(\$ )?make test$", readme, re.MULTILINE)


def test_ci_runs_make_test_and_nothing_else() -> None:
    script = (ROOT / ".ci/run").read_text().splitlines()
    assert script[1:] == ["set -euo pipefail", 'cd "$(dirname "${BASH_SOURCE[0]}")/.."', "exec make test"]
    assert os.access(ROOT / ".ci/run", os.X_OK)
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    assert workflow["jobs"]["test"]["steps"][-1] == {"run": ".ci/run"}


def test_what_is_done_before_a_commit_is_what_make_check_does() -> None:
    (hooks,) = (repo["hooks"] for repo in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"])
    recipe = MAKEFILE.partition("\ncheck: ")[2].partition("\n\n")[0].splitlines()[1:]
    assert [hook["entry"] for hook in hooks] == [line.strip().replace("$(BIN)", ".venv/bin") for line in recipe]


# What must not be in any file

HOMES = "|".join(re.escape(str(path)) for path in {ROOT, Path.home()} - {Path("/")})
MACHINE = rf"(?<![\w.])(?:{HOMES}|/home/(?!ec2-user)\w+|/Users/\w+)/"
REGISTRY = r"pypi\.org|pythonhosted\.org|registry\.npmjs\.|conda\.anaconda\.|deb\.debian\."


@pytest.mark.parametrize("trace", [MACHINE, REGISTRY], ids=["machine", "registry"])
def test_no_file_names(trace: str) -> None:
    found = {
        f"{file.relative_to(ROOT)}: {match.group()}"
        for file in our_files()
        for match in re.finditer(trace, file.read_text(errors="replace"))
    }
    assert found == set()


# What nbval overlooks

SANITIZE = configparser.RawConfigParser()
SANITIZE.read(ROOT / "tests/sanitize.cfg")
WEIGHTS = ["90:10", "50:50", "100:0", "75/25", "75 / 25", "75 %", "0.25", "serviceB 75", "version 3"]


def test_sanitize_patterns_match_their_sample_and_never_a_weight() -> None:
    for name in SANITIZE.sections():
        pattern, sample = re.compile(SANITIZE[name]["regex"]), SANITIZE[name]["sample"]
        assert pattern.sub("", sample) != sample, name
        assert [weight for weight in WEIGHTS if pattern.search(weight)] == [], name
