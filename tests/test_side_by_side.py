"""Environments side by side in one local mesh: each verdict is about its own application."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from runbook_lib.aws import cloud_map
from runbook_lib.aws.session import Session
from runbook_lib.errors import RolledBack
from runbook_lib.local import world
from runbook_lib.local.control_plane.ecs_resources import ecs_backends
from runbook_lib.local.data_plane.view import addresses
from tests.live import CANARY, Live, live, quick, take
from tests.scenes import open_local, other, reopen, settle

B = "serviceb.apps.local"


def created(session: Session) -> Session:
    """Create what the file expects to find."""
    p = session.parameters
    world.create(p, list(p.services), lambda service: other(p.account_id, service))
    settle()
    return session


def tasks_of(session: Session, service: str = "serviceB") -> list[Any]:
    p = session.parameters
    found = ecs_backends[p.account_id][p.region].state.tasks.values()
    return [task for task in found if (task.cluster, task.service) == (p.cluster, service)]


def test_a_name_leads_to_the_tasks_of_whose_vpc_asks() -> None:
    """Two clusters of one account: the same namespace, the same names, each in a VPC of its own."""
    first = created(open_local(cluster="first"))
    second = created(reopen(first, cluster="second"))
    seen = []
    for session in (first, second):
        p, (task,) = session.parameters, tasks_of(session)
        seen.append(task.address)
        assert addresses(p.account_id, p.region, task.vpc)[B] == (task.address,)
        assert cloud_map.read_names(session)[B].addresses == [task.address]
    assert len(set(seen)) == 2


CHANGES: dict[str, Any] = {
    "traffic": {"requests_per_second": 80},
    "shift": quick(steps=[50], bake_seconds=5, prove_seconds=40, verdict={"detectable_increase": 0.15}),
}


def open_in(first: Live, folder: Path, **changes: Any) -> Live:
    """Open one more environment in the local mesh of another."""
    folder.mkdir()
    made = Live(folder, **changes)
    made.state = first.state
    return made


def outcome(it: Live) -> str:
    """Return how its shift ends, in words."""
    try:
        return take(it.session())[-1].words
    except RolledBack as error:
        return error.message


def meshed(it: Live) -> None:
    """Walk from nothing to the end of notebook 04, and wait until traffic goes well."""
    for number in ("01", "02", "03", "04"):
        it.step(number)
    it.recovered()


@pytest.mark.soak
def test_each_verdict_is_about_its_own_application(tmp_path: Path) -> None:
    """Three of the same names: two clusters of one account, and another account. Two canaries fail, one more."""
    with live(tmp_path, environment="half", **CHANGES) as half, ThreadPoolExecutor() as pool:
        cluster = {"environment": "whole", "cluster": "whole", "mesh": {"name": "whole", "egress": "DROP_ALL"}}
        whole = open_in(half, tmp_path / "whole", **CHANGES, **cluster)
        none = open_in(half, tmp_path / "none", **CHANGES, environment="none", account_id="222222222222")
        there = (half, whole, none)
        beside = pool.submit(meshed, none)
        for each in (half, whole):  # one after another: an account's task definitions are shared
            meshed(each)
        beside.result()
        half.fault(CANARY, error_rate=0.5)
        whole.fault(CANARY, error_rate=1.0)
        ended = list(pool.map(outcome, there))
        failed = [each.ledger()["failed"] for each in there]
    found = [re.search(r"canary answered (\d+) of (\d+) requests with an error", words) for words in ended]
    shares = [int(each[1]) / int(each[2]) if each else -1.0 for each in found]
    assert ["back to 0 % in one write" in words for words in ended] == [True, True, False], ended
    assert 0.25 < shares[0] < 0.75, ended
    assert shares[1:] == [1.0, 0.0], ended
    assert failed[0] > 0
    assert failed[1] > 0
    assert failed[2] == 0
