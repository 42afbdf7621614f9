"""What befalls a real `runbook run` while it bakes under traffic: an Envoy killed, AWS away or throttling.

One local mesh and one run after another; each takes minutes, so `make soak` runs them.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import pytest

from tests.live import CANARY, STABLE, Live, meshed, until
from tests.test_outcomes import bakes, begin, end

QUARTER = {STABLE: 75, CANARY: 25}
BACK = {STABLE: 100, CANARY: 0}
SHIFTED = {STABLE: 0, CANARY: 100}
SECONDS = 20  # of a bake

pytestmark = [pytest.mark.soak, pytest.mark.attack(9)]


@pytest.fixture(scope="module")
def well(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Walk from nothing to the end of notebook 04, under traffic."""
    with meshed(tmp_path_factory.mktemp("hostile")) as it:
        yield it


@pytest.fixture
def mesh(well: Live) -> Live:
    """Return a mesh whose traffic goes well, all of it to stable."""
    code, said = well.runbook("rollback", str(well.file))
    assert code == 0, said
    assert well.weights() == BACK
    until(well.all_running, "every service runs")
    well.recovered()
    return well


def killed_envoy(mesh: Live, service: str) -> None:
    """Kill -9 the Envoy of a service's task."""
    os.kill(mesh.task(service)["envoy_pid"], signal.SIGKILL)


def test_the_canarys_envoy_killed_in_the_bake_ends_with_all_traffic_on_stable(mesh: Live) -> None:
    process = begin(mesh, bake_seconds=SECONDS)
    until(bakes, "the bake has begun")
    killed_envoy(mesh, CANARY)
    code, outcome, word, said = end(process)
    assert (code, outcome) == (4, "rolled_back"), said
    assert word in ("canary_tasks", "verdict"), said
    assert mesh.weights() == BACK


def test_stables_envoy_killed_in_the_bake_is_replaced_or_the_shift_is_held(mesh: Live) -> None:
    """Which of both depends on whether a look falls into the seconds in which nobody could take traffic back."""
    process = begin(mesh, bake_seconds=SECONDS)
    until(bakes, "the bake has begun")
    killed_envoy(mesh, STABLE)
    code, outcome, word, said = end(process)
    assert (code, outcome, word) in ((0, "done", "done"), (3, "held", "stable_tasks")), said
    until(mesh.all_running, "stable is back")
    assert mesh.weights() == (SHIFTED if outcome == "done" else QUARTER)


def test_the_callers_envoy_killed_in_the_bake_costs_requests_and_no_verdict(mesh: Live) -> None:
    """Both versions are without requests until its task was replaced, and neither is to blame."""
    process = begin(mesh, bake_seconds=SECONDS)
    until(bakes, "the bake has begun")
    before = mesh.ledger()["failed"]
    killed_envoy(mesh, "serviceA")
    code, outcome, word, said = end(process)
    assert mesh.ledger()["failed"] > before
    assert (code, outcome, word) == (0, "done", "done"), said
    assert mesh.weights() == SHIFTED


@pytest.fixture
def aws(mesh: Live) -> Iterator[Callable[..., None]]:
    """Return what makes the local AWS throttle or be away; it is well again afterwards."""

    def be(*options: str) -> None:
        code, said = mesh.runbook("local", "aws", *options)
        assert code == 0, said

    yield be
    be()


def test_aws_away_for_a_minute_in_the_bake_ends_no_shift(mesh: Live, aws: Callable[..., None]) -> None:
    process = begin(mesh, bake_seconds=SECONDS)
    until(bakes, "the bake has begun")
    aws("--away", "60")
    code, outcome, word, said = end(process)
    assert (code, outcome, word) == (0, "done", "done"), said
    assert mesh.weights() == SHIFTED


@pytest.mark.parametrize(("error_rate", "ends"), [(0.0, (0, "done", "done")), (0.3, (4, "rolled_back", "verdict"))])
def test_a_shift_ends_as_it_would_while_thirty_percent_of_calls_are_throttled(
    mesh: Live, aws: Callable[..., None], error_rate: float, ends: tuple[int, str, str]
) -> None:
    process = begin(mesh, bake_seconds=SECONDS)
    until(bakes, "the bake has begun")
    mesh.fault(CANARY, error_rate=error_rate)
    aws("--throttle", "0.3")
    try:
        code, outcome, word, said = end(process)
    finally:
        mesh.fault(CANARY)
    assert (code, outcome, word) == ends, said
    aws()
    assert mesh.weights() == (BACK if error_rate else SHIFTED)
