"""Shifts while other processes keep the machine busy: what is late is waited for, and no verdict suffers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from runbook_lib.errors import Held, RolledBack
from tests.live import CANARY, Live, meshed, quick, take

SHIFTS = int(os.environ.get("RUNBOOK_SOAK_SHIFTS", "10"))
SHIFT = quick(steps=[50], bake_seconds=15, prove_seconds=60, verdict={"on_inconclusive": "extend"})
BURN = "while True: pass"


@contextmanager
def busy() -> Iterator[None]:
    """Let as many processes as there are cores, and as many again, never rest."""
    burning = [subprocess.Popen([sys.executable, "-c", BURN]) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        yield
    finally:
        for each in burning:
            each.kill()
            each.wait()


def outcome(it: Live) -> str:
    """Take the shift's one step; return how it ended."""
    try:
        take(it.session())
    except (Held, RolledBack) as error:
        return f"{type(error).__name__}: {error.reason}"
    return "PASS"


def outcomes(it: Live, error_rate: float) -> Counter[str]:
    """Return how often shifts ended in which way where the canary fails so often."""
    found: Counter[str] = Counter()
    for _ in range(SHIFTS):
        it.fault(CANARY)
        it.put(0)
        it.recovered()
        it.fault(CANARY, error_rate=error_rate)
        found[outcome(it)] += 1
    return found


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with meshed(tmp_path_factory.mktemp("busy"), shift=SHIFT) as it:
        yield it


@pytest.mark.soak
def test_a_canary_whose_figures_are_late_passes_and_a_failing_one_is_rolled_back(mesh: Live) -> None:
    """Nothing is held or passed for the lack of figures that come later."""
    mesh.fault(CANARY, data_delay_seconds=6.0)
    assert outcome(mesh) == "PASS"
    mesh.put(0)
    mesh.recovered()
    mesh.fault(CANARY, data_delay_seconds=6.0, error_rate=0.5)
    assert outcome(mesh) == "RolledBack: verdict"


@pytest.mark.soak
def test_healthy_canaries_pass_and_worse_ones_do_not_on_a_busy_machine(
    mesh: Live, capsys: pytest.CaptureFixture[str]
) -> None:
    with busy():
        healthy, worse = outcomes(mesh, 0.0), outcomes(mesh, 0.05)
    with capsys.disabled():
        print(f"\nbusy machine, {SHIFTS} shifts each: healthy {dict(healthy)}; 5 points worse {dict(worse)}")
    false_alarms = [how for how in healthy if how.startswith("RolledBack") or how in ("Held: share", "Held: unproved")]
    assert false_alarms == []
    assert healthy["PASS"] > 0
    assert worse["PASS"] == 0
    assert worse["RolledBack: verdict"] > 0
