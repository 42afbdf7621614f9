"""The wheel: what it carries, and that the runbook works where nothing else of this repository is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest
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
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
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


@pytest.mark.soak
def test_the_whole_way_from_an_empty_folder_with_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    """Installed with the locked versions, by uv, beside nothing that only develops it."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "home").mkdir()
    python = tmp_path / "venv" / "bin" / "python"
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "--python", sys.executable, tmp_path / "venv"], check=True)
    lock = str(ROOT / "requirements.lock")
    subprocess.run([*uv, "pip", "install", "--python", python, wheel, "-c", lock], check=True)
    env = {name: value for name, value in environment(tmp_path).items() if name != "PYTHONPATH"}

    def runbook(*words: str) -> str:
        command = [python.with_name("runbook"), *words]
        done = subprocess.run(command, cwd=tmp_path / "empty", env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    try:
        summary = json.loads(runbook("run", "local", "--json"))
        assert (summary["outcome"], summary["version"]) == ("done", VERSION)
        assert [step["verdict"] for step in summary["shift"]] == ["PASS", "PASS"]
        assert json.loads(runbook("verify", summary["run"], "--json"))["holds"] is True
        assert "undone" in runbook("undo", summary["run"], "--yes")
    finally:
        runbook("local", "down")
    assert list((tmp_path / "empty").iterdir()) == []
    assert (tmp_path / "home/.local/state/runbook/runs/local" / summary["run"] / "summary.json").is_file()
