"""The wheel: what it carries, and that the runbook works where nothing else of this repository is."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email import message_from_bytes
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from runbook_lib.shipped import VERSION

ROOT = Path(__file__).parent.parent
SHIPPED = [*ROOT.glob("notebooks/*.ipynb"), *ROOT.glob("notebooks/alb/*.ipynb"), *ROOT.glob("parameters/*")]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel, built anew."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture
def installed(wheel: Path, tmp_path: Path) -> Path:
    """Return a folder with what the wheel installs, beside an empty one and a home."""
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(tmp_path / "site")
    (tmp_path / "empty").mkdir()
    (tmp_path / "home").mkdir()
    return tmp_path


def says(at: Path, *words: str) -> str:
    """Return what the installed command prints in the empty folder."""
    code = "from runbook_lib.command.cli import app; app(prog_name='runbook')"
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=at / "empty", env=environment(at), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def environment(at: Path) -> dict[str, str]:
    """Return the variables of a user who has nothing but the wheel."""
    # the others are how this machine reaches packages
    kept = {name: value for name, value in os.environ.items() if re.match("(PATH|LANG)$|(PIP|SSL|UV)_", name)}
    return {**kept, "HOME": str(at / "home"), "PYTHONPATH": str(at / "site"), "AWS_EC2_METADATA_DISABLED": "true"}


def test_it_carries_every_notebook_and_parameters_file_as_it_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as packed:
        carried = {name for name in packed.namelist() if name.startswith("runbook_lib/shipped/")}
        assert carried == {f"runbook_lib/shipped/{file.relative_to(ROOT)}" for file in SHIPPED}
        for file in SHIPPED:
            assert packed.read(f"runbook_lib/shipped/{file.relative_to(ROOT)}") == file.read_bytes()
        assert "runbook_lib/py.typed" in packed.namelist()
        assert not [name for name in packed.namelist() if name.startswith(("tests/", "tools/"))]


def test_it_asks_for_what_runs_the_runbook_alone(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as packed:
        (name,) = (name for name in packed.namelist() if name.endswith(".dist-info/METADATA"))
        said = message_from_bytes(packed.read(name))
    needed = {Requirement(text).name for text in said.get_all("Requires-Dist", []) if "extra ==" not in text}
    assert {"boto3", "papermill", "moto"} <= needed
    assert needed & {"pytest", "nbval", "jupyterlab", "hypothesis", "playwright"} == set()
    assert said["Version"] == VERSION


def test_in_an_empty_folder_it_says_its_version_and_checks_a_shipped_file_and_one_of_the_users(installed: Path) -> None:
    assert says(installed, "--version") == f"runbook {VERSION}\n"
    own = installed / "empty" / "mine.yaml"
    own.write_text(
        (ROOT / "parameters" / "staging.yaml").read_text().replace("environment: staging", "environment: mine")
    )
    assert says(installed, "lint", "production").endswith("production: no errors found\n")
    assert json.loads(says(installed, "lint", "mine.yaml", "--json"))["environment"] == "mine"
    assert says(installed, "runs") == "nothing is recorded\n"
    assert [path.name for path in (installed / "empty").iterdir()] == ["mine.yaml"]


UV = [sys.executable, "-m", "uv"]
LOCK = str(ROOT / "requirements.lock")


@dataclass(frozen=True)
class User:
    """Somebody with a command, an empty folder and a home, and nothing else of this repository."""

    at: Path
    command: Sequence[str | Path]

    @property
    def empty(self) -> Path:
        """The folder that the user stands in."""
        return self.at / "empty"

    @property
    def runs(self) -> Path:
        """Where records are."""
        return self.at / "home/.local/state/runbook/runs"

    def __call__(self, *words: str, code: int = 0) -> str:
        """Return what a command prints; it must end with this exit code."""
        env = {name: value for name, value in environment(self.at).items() if name != "PYTHONPATH"}
        done = subprocess.run([*self.command, *words], cwd=self.empty, env=env, capture_output=True, text=True)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout


@contextmanager
def user(at: Path, *command: str | Path) -> Iterator[User]:
    """Give a user a home, and stop the local mesh that is left there."""
    for folder in ("empty", "home"):
        (at / folder).mkdir()
    user = User(at, command)
    try:
        yield user
    finally:
        user("local", "down")


@pytest.fixture(scope="module")
def virtual(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel with the locked versions, by uv, beside nothing that only develops it; return the command."""
    return installed_with(tmp_path_factory.mktemp("venv"), wheel, "-c", LOCK)


def installed_with(folder: Path, *what: str | Path) -> Path:
    python = folder / "venv" / "bin" / "python"
    subprocess.run([*UV, "venv", "--python", sys.executable, folder / "venv"], check=True)
    subprocess.run([*UV, "pip", "install", "--python", python, *what], check=True)
    return python.with_name("runbook")


def main_job_and_undo(runbook: User) -> None:
    """Run the main job from an empty folder, verify it and undo it."""
    summary = json.loads(runbook("run", "local", "--json"))
    assert (summary["outcome"], summary["version"]) == ("done", VERSION)
    assert [step["verdict"] for step in summary["shift"]] == ["PASS", "PASS"]
    assert json.loads(runbook("verify", summary["run"], "--json"))["holds"] is True
    assert "undone" in runbook("undo", summary["run"], "--yes")
    assert (runbook.runs / "local" / summary["run"] / "summary.json").is_file()
    assert list(runbook.empty.iterdir()) == []


@pytest.mark.soak
def test_the_whole_way_from_an_empty_folder_with_the_wheel_alone(virtual: Path, tmp_path: Path) -> None:
    with user(tmp_path, virtual) as runbook:
        main_job_and_undo(runbook)


@pytest.mark.soak
def test_a_held_run_of_a_users_own_file_is_reported_and_approved_there(virtual: Path, tmp_path: Path) -> None:
    with user(tmp_path, virtual) as runbook:
        said = yaml.safe_load((ROOT / "parameters" / "local.yaml").read_text())
        said |= {"environment": "mine", "shift": {**said["shift"], "approvals": {"steps": [100]}}}
        (runbook.empty / "mine.yaml").write_text(yaml.safe_dump(said, sort_keys=False))
        held = json.loads(runbook("run", "mine.yaml", "--json", code=3))
        assert held["reason"].startswith("approval: ")
        assert "approved by ada" in runbook("approve", held["run"], "--by", "ada")
        done = json.loads(runbook("run", "mine.yaml", "--from", "05", "--json"))
        assert (done["run"], done["outcome"]) == (held["run"], "done")
        runbook("report", done["run"], "--output", "page.html")
        page = (runbook.empty / "page.html").read_text()
        assert done["run"] in page
        assert ">approved</td><td>ada</td>" in page
        assert sorted(path.name for path in runbook.empty.iterdir()) == ["mine.yaml", "page.html"]


@pytest.mark.soak
def test_uvx_needs_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    with user(tmp_path, *UV, "tool", "run", "--from", wheel, "runbook") as runbook:
        main_job_and_undo(runbook)


@pytest.mark.soak
def test_pipx_needs_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    with user(tmp_path, *UV, "tool", "run", "pipx", "run", "--spec", wheel, "runbook") as runbook:
        assert runbook("--version") == f"runbook {VERSION}\n"
        assert "local: " in runbook("lint", "local")
        assert list(runbook.empty.iterdir()) == []


@pytest.mark.soak
def test_the_lowest_versions_that_it_asks_for_do(wheel: Path, tmp_path: Path) -> None:
    lowest = tmp_path / "lowest.txt"
    resolve = ["pip", "compile", "--resolution", "lowest-direct", "--python", sys.executable, "-o", lowest]
    subprocess.run([*UV, *resolve, ROOT / "pyproject.toml"], check=True, capture_output=True)
    with user(tmp_path, installed_with(tmp_path, wheel, "-r", lowest)) as runbook:
        main_job_and_undo(runbook)
