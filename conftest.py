"""Give every test process a private world, without AWS, before the first kernel or server starts.

Hooks and not fixtures: nbval's cells never see a fixture, but their kernels inherit this environment.
"""

from __future__ import annotations

import gc
import os
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.quick_botocore import quicken_botocore

WORLD = pytest.StashKey[Path]()
LEFT = pytest.StashKey[dict[int, str]]()
GRACE_SECONDS = 10
# The suite tries the same examples each time, so that it fails by a change and not by chance; soak looks for new ones.
BUSY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("suite", BUSY, derandomize=True)
settings.register_profile("soak", BUSY)
# Python looks for cycles at each 700th new object; what moto and botocore hold makes that 7 % of a test's CPU.
OBJECTS_A_COLLECTION = 50_000
# What takes a minute or more is begun first, so that no worker is left alone with it at the end.
LONG = ("enumeration", "stored_outputs", "notebooks", "outcomes", "unattended", "gates", "undo", "live_mesh", "kill",
        "live_shift", "browser", "gates_at_the_write", "cli", "rehearsals", "identity", "one_family")  # fmt: skip


def private_environment(world: Path) -> dict[str, str]:
    """Return where everything that leaves traces shall leave them, and AWS settings that find nothing."""
    return {
        "RUNBOOK_STATE": str(world / "state"),
        "RUNBOOK_RUNS": str(world / "runs"),
        "XDG_STATE_HOME": str(world / "user"),  # locks of places on AWS
        "IPYTHONDIR": str(world / "ipython"),
        "JUPYTER_CONFIG_DIR": str(world / "jupyter" / "config"),
        "JUPYTER_DATA_DIR": str(world / "jupyter" / "data"),
        "JUPYTER_RUNTIME_DIR": str(world / "jupyter" / "runtime"),
        "AWS_CONFIG_FILE": str(world / "no-aws-config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(world / "no-aws-credentials"),
        "AWS_EC2_METADATA_DISABLED": "true",
        "MOTO_EC2_LOAD_DEFAULT_AMIS": "false",  # as in the local mesh's process
    }


def is_foreign(name: str) -> bool:
    """Tell whether a variable could let the caller's AWS account or desktop reach into a test."""
    # Without a display matplotlib draws off screen, and kernels keep their inline pictures; with a session's name
    # they would take the tests' terminal, opened in Jupyter, for a page.
    return name.startswith("AWS_") or name in {"DISPLAY", "JPY_SESSION_NAME", "MPLBACKEND", "WAYLAND_DISPLAY"}


def stop_local_mesh(state: Path) -> None:
    if state.exists():
        from runbook_lib.local import supervisor  # only where something was started: it is slow to import

        supervisor.down(state)


def processes_of(world: Path) -> dict[int, str]:
    """Return the commands, by pid, that name this world or were started in it (where there is a /proc)."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command, environment = ((process / name).read_bytes() for name in ("cmdline", "environ"))
        except OSError:
            continue  # it has just ended, or is somebody else's
        if str(world).encode() in command + environment and int(process.name) != os.getpid():
            found[int(process.name)] = command.replace(b"\0", b" ").decode(errors="replace").strip()
    return found


def end_processes_of(world: Path) -> dict[int, str]:
    """Give what still runs a moment to end, then kill it; return what had to be killed."""
    deadline = time.monotonic() + GRACE_SECONDS
    while (left := processes_of(world)) and time.monotonic() < deadline:
        time.sleep(0.1)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    return left


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    world = config.stash[WORLD] = Path(tempfile.mkdtemp(prefix="runbook-tests-"))
    config.stash[LEFT] = {}
    gc.set_threshold(OBJECTS_A_COLLECTION)
    settings.load_profile("soak" if config.option.markexpr == "soak" else "suite")
    for name in filter(is_foreign, list(os.environ)):
        del os.environ[name]
    os.environ.update(private_environment(world))
    quicken_botocore()
    if not config.getoption("--nbval", default=False):
        os.environ["RUNBOOK_LOCAL"] = "control-plane"  # tasks without processes; tests of traffic ask for their own


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {f"test_{name}.py": place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path.name, len(LONG)))
    for item in items:
        for kind in ("attack", "case"):
            numbers = [mark.args[0] for mark in item.iter_markers(kind)]
            item.user_properties += [(kind, number) for number in numbers]  # which xdist's workers report


def pytest_collection_finish() -> None:
    gc.freeze()  # what was imported stays: no collection need look at it


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    config = session.config
    if not config.pluginmanager.hasplugin("dsession"):  # xdist's controller runs no test: its workers do
        stop_local_mesh(config.stash[WORLD] / "state")
        config.stash[LEFT].update(end_processes_of(config.stash[WORLD]))
    if hasattr(config, "workeroutput"):
        config.workeroutput["left"] = config.stash[LEFT]
    elif config.stash[LEFT]:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what one of xdist's workers found at its end."""
    node.config.stash[LEFT].update(getattr(node, "workeroutput", {}).get("left", {}))


def numbers_of(kind: str, reports: Iterable[Any]) -> list[int]:
    """Return the numbers of the attacks, or cases, that these reports are about, one for each test."""
    return [value for report in reports for name, value in getattr(report, "user_properties", ()) if name == kind]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    good = terminalreporter.getreports("passed")
    bad = [*terminalreporter.getreports("failed"), *terminalreporter.getreports("error")]
    for kind, title in (("attack", "attacks by their numbers in docs/attacks.md"), ("case", "cases")):
        passed, failed = Counter(numbers_of(kind, good)), Counter(numbers_of(kind, bad))
        if tried := passed + failed:
            counts = ", ".join(f"{number}: {passed[number]}/{tried[number]}" for number in sorted(tried))
            held = len(tried.keys() - failed.keys())
            terminalreporter.write_line(f"{title}: {held}/{len(tried)} ({counts})")
    for pid, command in config.stash[LEFT].items():
        terminalreporter.write_line(f"left running by the tests, now killed: {pid} {command}", red=True)


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(config.stash[WORLD], ignore_errors=True)
