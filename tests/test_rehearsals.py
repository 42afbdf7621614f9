"""Every shipped parameters file, rehearsed on the local mesh as a user would before its first use on AWS."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from runbook_lib import record
from tests.notebook_runner import ROOT, client, execute, newest, own_mesh, runbook, writes

__all__ = ["own_mesh"]

FILES = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((ROOT / "parameters").glob("*.yaml"))}


def test_seven_files_are_shipped() -> None:
    """Those not rehearsed here run elsewhere: local in test_unattended, local-alb in
    test_live_load_balancer, local-alb-new in test_alb_notebooks and on the way of its stored outputs,
    local-alb-h2 in test_secure_load_balancer, staging-alb as local-alb is, but for its names."""
    alb = ["local-alb-h2", "local-alb-new", "local-alb"]
    assert list(FILES) == [*alb, "local", "production", "staging-alb", "staging"]


@pytest.mark.parametrize("environment", ["staging", pytest.param("production", marks=pytest.mark.soak)])
def test_a_file_meant_for_aws_is_rehearsed_to_the_end_of_the_shift(environment: str, own_mesh: Path) -> None:
    """The last notebook by the command; those before it in this process."""
    said = FILES[environment]
    for number in ("00", "01", "02", "03", "04"):
        done = execute(number, {"environment": environment, "target": "local", "mode": "apply"})
        assert not done.errors, f"{number}: {done.first}"
    code, words = runbook("run", environment, "--rehearse", "--from", "05")
    assert code == 0, words
    assert "outcome: done" in words
    summary = newest(environment).summary() or {}
    named = {"meshName": said["mesh"]["name"], "virtualRouterName": "serviceB", "routeName": "serviceB"}
    route = client("appmesh", said["account_id"], said["region"]).describe_route(**named)["route"]["spec"]
    targets = {t["virtualNode"]: t["weight"] for t in route["http2Route"]["action"]["weightedTargets"]}
    assert targets == {"serviceB": 0, "serviceBv2": 100}
    assert [n["name"][:2] for n in summary["notebooks"]] == ["05"]
    assert summary["mode"] == "apply"


def test_without_rehearse_a_file_meant_for_aws_never_comes_here(own_mesh: Path) -> None:
    before = writes(FILES["production"]["account_id"])
    code, words = runbook("run", "production", "--through", "00")
    assert code == 2, words
    assert "target: account: production is account 345678901234; nobody is logged in here" in words
    assert record.called("production") == []
    assert writes(FILES["production"]["account_id"]) == before
