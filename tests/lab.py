"""A real JupyterLab in a headless browser, for tests of what a person sees and for the pictures of it.

Nothing but this machine is reached: the browser's way out leads nowhere.
"""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat

from runbook_lib import (
    apply,
    clear,
    evidence,
    open_session,
    plan_permissions,
    plan_sidecars,
    survey,
)
from runbook_lib.aws.session import Session
from tests.notebook_runner import NOTEBOOKS, ROOT

LAB = [
    "lab", "--no-browser", "--ip=127.0.0.1", "--allow-root", "--expose-app-in-browser", "--ServerApp.port_retries=0",
    "--IdentityProvider.token=runbook", "--LabApp.extension_manager=readonly",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate", "--ServerApp.log_level=ERROR",
]  # fmt: skip
BROWSER = [
    "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
    "--proxy-server=http://127.0.0.1:9", "--proxy-bypass-list=127.0.0.1",
]  # fmt: skip
CONNECTED = """() => {
    const kernel = window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel;
    const waits = prompt => prompt.textContent.trim() === '[*]:';  // a subshell's idle is not the kernel's
    return kernel && kernel.connectionStatus === 'connected' && kernel.status === 'idle'
        && ![...document.querySelectorAll('.jp-InputPrompt')].some(waits);
}"""
SELECT = "i => { const c = window.jupyterapp.shell.currentWidget.content; c.deselectAll(); c.activeCellIndex = i; }"
EXECUTE = "([command, values]) => { window.jupyterapp.commands.execute(command, values); }"


BRINGS = {
    "playwright": [sys.executable, "-m", "playwright", "install", "chromium"],
    "apt-get": ["sh", "-c", "apt-get update -q && apt-get install -yq --no-install-recommends chromium"],
}


def find_browser() -> str:
    """Return the path of a browser, "" for Playwright's own; raise LookupError with the reason where there is none.

    What is not there is brought once: Playwright's own, and where that is refused, as root, Debian's package.
    """
    failed = []
    for way in ("", "playwright", *(["apt-get"] if os.geteuid() == 0 and shutil.which("apt-get") else [])):
        if way and (why := _bring(way)):
            failed.append(f"{way}: {why}")
        if (found := _browser()) is not None:
            return found
    raise LookupError(f"no Chromium: install your system's package; {'; '.join(failed)}")


def _browser() -> str | None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        if Path(playwright.chromium.executable_path).is_file():
            return ""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


def _bring(way: str) -> str:
    """Install a browser, and return in words why that did not go; "" where it did."""
    try:
        done = subprocess.run(BRINGS[way], capture_output=True, text=True, timeout=200, check=False)
    except subprocess.TimeoutExpired as late:
        return f"not within {late.timeout:.0f} s"
    return (done.stderr.strip() or done.stdout.strip())[-200:] if done.returncode else ""


@contextmanager
def lab(folder: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """Run JupyterLab on a folder of its own; yields its address once it answers, and ends it with its kernels."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {f"JUPYTER_{name}_DIR": str(folder / ".jupyter" / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    settings = folder / ".jupyter" / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text('{"fetchNews": "false"}')
    own["JUPYTERLAB_SETTINGS_DIR"] = str(folder / ".jupyter" / "settings")
    command = [sys.executable, "-m", "jupyter", *LAB, f"--port={port}", f"--ServerApp.root_dir={folder}"]
    with (folder / "lab.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            env={**environment, **own, "PYTHONPATH": str(ROOT), "IPYTHONDIR": str(folder / ".ipython")},
            stdout=log,
            stderr=log,
            cwd=folder,
        )
        try:
            _wait_for(f"http://127.0.0.1:{port}/api?token=runbook", process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_for(address: str, process: subprocess.Popen[bytes], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=2).close()
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"JupyterLab did not answer at {address}")


def mesh_the_services(**given: Any) -> Session:
    """Do in this process what notebooks 01 to 04 do, with values beside the file; return the last session."""
    for number in ("01", "02", "03", "04"):
        session = open_session({"environment": "local", **given}, NOTEBOOKS[number].stem)
        found = survey(session)
        if number == "04":
            plan = plan_permissions(found) + plan_sidecars(found)
            apply(session, clear(plan, *evidence(found, plan)))
        else:
            plan = found.plan_resources(number)
            apply(session, clear(plan, *evidence(found, plan)))
        atexit.unregister(session.close)  # as at a kernel's end, while its run is still there
        session.close()
    return session


def copy_of(number: str, folder: Path, *lines: str) -> list[str]:
    """Copy a notebook without its outputs, with lines added to its parameters; return the ids of its cells."""
    book: Any = nbformat.read(NOTEBOOKS[number], as_version=4)
    for cell in book.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        if cell.id == "parameters":
            cell.source = "\n".join([cell.source, *lines])
    nbformat.write(book, folder / NOTEBOOKS[number].name)
    return [cell.id for cell in book.cells]


class Notebook:
    """A notebook that is open in the browser."""

    def __init__(self, page: Any, ids: list[str]) -> None:
        self.page, self.ids = page, ids

    def wait_until_idle(self, seconds: float = 60) -> None:
        """Wait for the kernel: a cell that is run before it is connected does nothing, without a word."""
        self.page.wait_for_function(CONNECTED, timeout=1000 * seconds)

    def command(self, name: str, **values: Any) -> None:
        """Execute one of JupyterLab's commands, without waiting for what it starts."""
        self.page.evaluate(EXECUTE, [name, values])

    def run_through(self, id: str) -> None:
        """Run every cell up to this one, this one included, and wait for the end of it."""
        self.select(id)
        self.command("notebook:run-all-above")
        time.sleep(0.3)
        self.wait_until_idle()
        self.run(id)
        time.sleep(0.3)
        self.wait_until_idle()

    def run(self, id: str) -> None:
        """Run one cell, and do not wait for it.

        What is sent while the kernel still throws away what stood behind a cell that failed is sent once more.
        """
        prompt = self.cell(id).locator(".jp-InputPrompt")
        for _ in range(5):
            self.select(id)
            self.command("notebook:run-cell")
            time.sleep(1)
            if prompt.inner_text().strip() != "[ ]:":
                return
        raise AssertionError(f"the cell {id} does not begin to run")

    def second_tab(self) -> Notebook:
        """Save the notebook, open it in another tab of the same browser, and wait for its kernel there."""
        self.command("docmanager:save")
        self.page.wait_for_function("() => !document.querySelector('.jp-mod-dirty')", timeout=60_000)
        page = self.page.context.new_page()
        page.goto(self.page.url)
        page.wait_for_selector(".jp-Notebook", timeout=60_000)
        second = Notebook(page, self.ids)
        second.wait_until_idle()
        return second

    def select(self, id: str) -> None:
        """Make a cell the active one."""
        self.page.evaluate(SELECT, self.ids.index(id))

    def cell(self, id: str) -> Any:
        """Return a cell's place on the page."""
        return self.page.locator(f".jp-Notebook .jp-Cell[data-windowed-list-index='{self.ids.index(id)}']")


@contextmanager
def browse(browser: str, address: str, number: str, ids: list[str], *, dark: bool = False) -> Iterator[Notebook]:
    """Open a notebook in a headless browser, and wait for its kernel."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser or None, args=BROWSER)
        try:
            page = chromium.new_context(viewport={"width": 1200, "height": 1700}).new_page()
            page.goto(f"{address}/lab/tree/{NOTEBOOKS[number].name}?token=runbook")
            page.wait_for_selector(".jp-Notebook", timeout=60_000)
            notebook = Notebook(page, ids)
            notebook.wait_until_idle()
            if dark:
                notebook.command("apputils:change-theme", theme="JupyterLab Dark")
            yield notebook
        finally:
            chromium.close()
