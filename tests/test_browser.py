"""What a person does in JupyterLab, by keyboard: approve and apply a step, see it arrive, see it rolled back.

It covers: a step by the panel is watched; the panel has the live state, named sliders, and is the same one in a second
tab; recordings, and cells out of order; the chart has the page's colours; Promote asks who decides, and why.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runbook_lib import local, survey
from runbook_lib.aws.session import Session
from runbook_lib.local import supervisor
from tests.lab import Notebook, browse, copy_of, find_browser, lab, mesh_the_services

pytest.importorskip("playwright.sync_api", reason="the browser tests need Playwright: the dev extra has it")

CALM: dict[str, Any] = {"traffic": {"requests_per_second": 100}}  # enough for a verdict; the browser needs the machine
APPROVED = (
    "shift: dict = {'name': 'serviceb.apps.local', 'stable': 'serviceB', 'canary': 'serviceBv2', 'steps': [25, 100],"
    " 'bake_seconds': 600, 'prove_seconds': 900, 'approvals': {'steps': [25]}}"
    "  # as the file has it, but somebody must approve 25 %, and the step outlasts the slowest browser: it is held"
)


@pytest.fixture(scope="module")
def browser() -> str:
    try:
        return find_browser()
    except LookupError as reason:
        pytest.skip(f"no browser: {reason}")


@pytest.fixture(scope="module")
def alive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give this module a local mesh of its own that carries traffic."""
    folder = tmp_path_factory.mktemp("lab")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RUNBOOK_LOCAL", raising=False)
        patch.setenv("RUNBOOK_STATE", str(folder / "state"))
        patch.setenv("RUNBOOK_RUNS", str(folder / "runs"))
        try:
            yield folder
        finally:
            supervisor.down(folder / "state")


def press(button: Any, key: str = "Enter") -> None:
    """Press a button without a mouse."""
    button.focus()
    button.press(key)


@pytest.mark.timeout(900)  # a browser may have to be brought first
def test_a_step_by_keyboard_and_its_way_back(browser: str, alive: Path) -> None:
    ids = copy_of("05", alive, APPROVED, f"traffic: dict = {CALM['traffic']!r}")
    with lab(alive, os.environ) as address:
        session = mesh_the_services(**CALM)
        with browse(browser, address, "05", ids) as notebook:
            approve_and_apply(notebook)
            second = the_same_panel_in_a_second_tab(notebook)
            follow_and_hold(notebook, second)
            assert dict(survey(session).split.weights) == {"serviceB": 75, "serviceBv2": 25}
            fail_and_go_back(notebook, session)
            assert dict(survey(session).split.weights) == {"serviceB": 100, "serviceBv2": 0}
            restart_and_run_out_of_order(notebook)


def approve_and_apply(notebook: Notebook) -> None:
    """Type a weight, move the slider to 25, see the forecast change, approve and apply, all with keys."""
    notebook.run_through("panel")
    panel = notebook.cell("panel")
    panel.get_by_text(re.compile(r"forecast at 25\s%")).wait_for(timeout=60_000)  # the next step
    number = panel.get_by_role("textbox", name="serviceBv2, percent")
    number.fill("0")
    number.press("Enter")
    panel.get_by_text(re.compile(r"nothing to forecast at 0\s%")).wait_for(timeout=60_000)
    slider = panel.get_by_role("slider", name="weight of serviceBv2, percent")
    slider.focus()
    for key in ("PageUp", "PageUp", *["ArrowRight"] * 5):  # 10 each, and 1 each
        slider.press(key)
    assert slider.get_attribute("aria-valuetext") == "25 percent"
    panel.get_by_text(re.compile(r"forecast at 25\s%")).wait_for(timeout=60_000)
    panel.get_by_text(re.compile("needs an approval first")).wait_for(timeout=30_000)
    assert panel.get_by_role("button", name="Apply this step").is_disabled()
    tab_to(notebook, "Approve")
    notebook.page.keyboard.press("Enter")
    panel.get_by_text(re.compile("approved by")).wait_for(timeout=45_000)
    tab_to(notebook, "Apply this step", backwards=True)
    for _ in range(2):  # a second press never ends in "not done" for what was done
        notebook.page.keyboard.press("Space")
    panel.get_by_text(re.compile("now: serviceB 75 %, serviceBv2 25 %")).first.wait_for(timeout=45_000)
    panel.get_by_text(re.compile(r"✓ done.*0 → 25.%, read back")).first.wait_for(timeout=45_000)
    assert "not done" not in panel.inner_text()
    assert "nobody watches" not in panel.inner_text()


def tab_to(notebook: Notebook, button: str, *, backwards: bool = False) -> None:
    """Go on from what has the focus to a button, as somebody without a mouse does."""
    for _ in range(12):
        notebook.page.keyboard.press("Shift+Tab" if backwards else "Tab")
        if notebook.page.evaluate("document.activeElement.textContent") == button:
            return
    raise AssertionError(f"Tab never came to {button}")


def the_same_panel_in_a_second_tab(notebook: Notebook) -> Notebook:
    """Open the notebook once more: its panel has the live weights, and a hand on it moves the one in the first tab."""
    second = notebook.second_tab()
    panel = second.cell("panel")
    panel.get_by_text(re.compile("now: serviceB 75 %, serviceBv2 25 %")).first.wait_for(timeout=60_000)
    slider = "weight of serviceBv2, percent"
    panel.get_by_role("slider", name=slider).press("PageUp")
    panel.get_by_text(re.compile(r"forecast at 35\s%")).wait_for(timeout=60_000)
    assert notebook.cell("panel").get_by_role("slider", name=slider).get_attribute("aria-valuetext") == "35 percent"
    return second


def follow_and_hold(notebook: Notebook, second: Notebook) -> None:
    """Follow the shift: its share arrives; the panel is free meanwhile, and its Hold, in the second tab, is heeded."""
    notebook.run("measured-shift")
    followed = notebook.cell("measured-shift")
    followed.get_by_text(re.compile(r"share 2\d\.\d %")).wait_for(timeout=60_000)
    followed.locator("svg[role=img]").first.wait_for(timeout=45_000)
    panel = notebook.cell("panel")
    press(panel.get_by_role("button", name="Promote"))
    panel.get_by_role("textbox", name="Decided by").wait_for(timeout=45_000)
    focused = notebook.page.locator("input:focus")
    assert focused.evaluate("field => field.labels[0].textContent") == "Decided by"  # where one goes on typing
    press(second.cell("panel").get_by_role("button", name="Hold"))
    followed.get_by_text(re.compile("held by .+")).first.wait_for(timeout=45_000)
    followed.get_by_text(re.compile(r"runbook rollback .+ to roll back")).first.wait_for(
        timeout=45_000
    )  # its last output
    notebook.wait_until_idle()


def fail_and_go_back(notebook: Notebook, session: Session) -> None:
    """Go on; then the canary fails, and all traffic goes back by itself."""
    notebook.run("measured-shift")
    followed = notebook.cell("measured-shift")
    followed.get_by_text(re.compile("held by .+")).first.wait_for(state="detached", timeout=60_000)
    followed.get_by_text(re.compile("watching|proved")).first.wait_for(timeout=60_000)
    try:
        local.inject(session.parameters, "serviceBv2", error_rate=0.3)
        followed.get_by_text(re.compile("✗ FAIL")).first.wait_for(timeout=60_000)
        followed.get_by_text(re.compile(r"back to 0.% in one write")).first.wait_for(timeout=60_000)
    finally:
        local.inject(session.parameters, "serviceBv2")
    notebook.wait_until_idle()
    panel = notebook.cell("panel")
    panel.get_by_text(re.compile("now: serviceB 100 %, serviceBv2 0 %")).first.wait_for(timeout=30_000)
    panel.get_by_text(re.compile("rolled back at .* UTC: verdict: ")).first.wait_for(timeout=30_000)
    assert notebook.cell("measured-shift").locator("img").count() == 0  # a picture has the page's colours


def restart_and_run_out_of_order(notebook: Notebook) -> None:
    """Restart the kernel: what is shown is a recording then, and a cell says which one to run first."""
    mark = notebook.cell("plan").get_by_text(re.compile("^Recorded, not of this session"))
    assert not mark.is_visible()
    notebook.command("notebook:restart-kernel")
    notebook.page.locator(".jp-Dialog .jp-mod-accept").click()
    mark.wait_for(timeout=60_000)
    notebook.wait_until_idle()
    notebook.run("plan")
    notebook.cell("plan").get_by_text(re.compile("'runbook' is made by a cell under 'Parameters'")).wait_for()
