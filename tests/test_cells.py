"""A cell that is run out of order says which one to run first."""

from __future__ import annotations

from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from runbook_lib.cells import load_ipython_extension, run_first
from tests.notebook_runner import NOTEBOOKS


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the kernel be that of notebook 05."""
    monkeypatch.setenv("JPY_SESSION_NAME", str(NOTEBOOKS["05"]))
    return NOTEBOOKS["05"]


def lacking(name: str) -> NameError:
    return NameError(f"name {name!r} is not defined", name=name)


@pytest.mark.parametrize(
    ("name", "heading"), [("runbook", "Parameters"), ("session", "Parameters"), ("gates", "Before"), ("steps", "Plan")]
)
def test_the_cell_that_makes_a_name_is_named_by_its_heading(notebook: Path, name: str, heading: str) -> None:
    words = run_first(lacking(name))
    assert words.startswith(f"{name!r} is made by a cell under {heading!r}, which has not run in this session")
    assert "Run All Above Selected Cell" in words


def test_what_no_cell_makes_and_what_is_no_such_error_is_left_as_it_is(notebook: Path) -> None:
    assert run_first(lacking("sesion")) == ""
    assert run_first(ValueError("session")) == ""


@pytest.mark.parametrize("where", [None, "gone.ipynb"])
def test_without_a_notebook_nothing_is_said(monkeypatch: pytest.MonkeyPatch, where: str | None) -> None:
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    if where:
        monkeypatch.setenv("JPY_SESSION_NAME", where)
    assert run_first(lacking("session")) == ""


def test_a_kernel_that_has_just_started_says_it_in_one_line(notebook: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "nocolor"
    shell = InteractiveShell(config=config)
    load_ipython_extension(shell)
    shell.run_cell("steps = runbook.plan_steps(session)")
    said = capsys.readouterr().out
    assert said.startswith("NameError: 'runbook' is made by a cell under 'Parameters', which has not run")
    assert len(said.splitlines()) == 1
    shell.run_cell("sesion")
    assert "name 'sesion' is not defined" in capsys.readouterr().out
