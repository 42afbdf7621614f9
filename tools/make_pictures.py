"""Make the pictures of docs/pictures: notebook 05 in a real JupyterLab, light and dark, on a live local mesh."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the checkout it lies in, installed or not

from runbook_lib import local  # noqa: E402
from runbook_lib.local import supervisor  # noqa: E402
from tests.lab import Notebook, browse, copy_of, find_browser, lab, mesh_the_services  # noqa: E402

PICTURES = ROOT / "docs" / "pictures"
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}


def main() -> None:
    """Walk to notebook 05, look at the map, follow the shift, and let the canary fail."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    browser = find_browser()
    with tempfile.TemporaryDirectory(prefix="runbook-pictures-") as name:
        folder = Path(name)
        os.environ.update(RUNBOOK_STATE=f"{folder}/state", RUNBOOK_RUNS=f"{folder}/runs")
        ids = copy_of("05", folder)
        try:
            with lab(folder, os.environ) as address:
                session = mesh_the_services()
                with browse(browser, address, "05", ids) as notebook:
                    picture(notebook, lambda: local.inject(session.parameters, "serviceBv2", error_rate=0.05))
        finally:
            supervisor.down()


def picture(notebook: Notebook, break_canary: Any) -> None:
    """Take the panel at the next step, the map, the shift as it moves, and the shift as it failed."""
    notebook.command("application:toggle-left-area")
    notebook.run_through("panel")
    panel = notebook.cell("panel")
    panel.get_by_text(re.compile(r"forecast at 25\s%")).wait_for()
    take(notebook, "panel", "panel")
    take(notebook, "map", "plan-map")
    notebook.run("measured-shift")
    shift = notebook.cell("measured-shift")
    shift.get_by_text("proved").first.wait_for(timeout=60_000)
    notebook.page.wait_for_timeout(9_000)
    take(notebook, "live", "measured-shift")
    break_canary()
    shift.get_by_text("back to 0 % in one write").first.wait_for(timeout=60_000)
    notebook.wait_until_idle()
    take(notebook, "rolled-back", "measured-shift")


def take(notebook: Notebook, name: str, id: str) -> None:
    """Take one cell in both themes."""
    for kind, theme in THEMES.items():
        notebook.command("apputils:change-theme", theme=theme)
        notebook.page.wait_for_timeout(1_200)
        output = notebook.cell(id).locator(".jp-Cell-outputWrapper")
        output.screenshot(path=PICTURES / f"{name}-{kind}.png")
        print(f"{name}-{kind}.png: {(PICTURES / f'{name}-{kind}.png').stat().st_size // 1024} kB")


if __name__ == "__main__":
    main()
