"""Notebooks 00, 05 and 06 shift a load balancer's rule as they shift a mesh: the same files, with requests."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.notebook_runner import ROOT, Environment, execute, folder, refused

__all__ = ["folder"]

ACCOUNT = "410000000001"
RULE = f"arn:aws:elasticloadbalancing:us-west-2:{ACCOUNT}:listener-rule/app/apps/50dc6c495c0c9188/f2f7dc8efc522ab2"
FAST: dict[str, Any] = {"steps": [50, 100], "bake_seconds": 3, "verdict": {"detectable_increase": 0.1}}


@pytest.fixture(scope="module")
def shop(folder: Path) -> Environment:
    """Return the tutorial's services behind a rule that sends everything to stable."""
    made = Environment.create(
        folder, "behind-a-rule", "local-alb", account_id=ACCOUNT, alb={"rule": f"{RULE}/9683b2d02a6cabee"}
    )
    made.said["shift"] |= FAST
    return made


def weights(shop: Environment) -> dict[str, int]:
    """Return the weights by target group, as AWS says."""
    found = shop.client("elbv2").describe_rules(RuleArns=[shop.said["alb"]["rule"]])["Rules"][0]
    groups = found["Actions"][0]["ForwardConfig"]["TargetGroups"]
    return {each["TargetGroupArn"].split("/")[-2]: each["Weight"] for each in groups}


def test_00_05_and_06_shift_and_retire_and_their_undo_brings_the_version_back(shop: Environment) -> None:
    shift = shop.said["shift"]
    shop.walk("00", "05", shift=shift)
    assert weights(shop) == {"serviceB": 0, "serviceBv2": 100}
    shop.walk("06", shift=shift)
    assert weights(shop) == {"serviceBv2": 100}
    before = shop.writes()
    shop.walk("00", "05", "06", shift=shift)
    assert shop.writes() == before
    shop.walk("06", undo=True, shift=shift)
    assert weights(shop) == {"serviceB": 0, "serviceBv2": 100}
    shop.walk("05", undo=True, shift=shift)
    assert weights(shop) == {"serviceB": 100, "serviceBv2": 0}


def test_01_to_06_make_a_load_balancer_and_retire_a_version_and_90_takes_it_away(folder: Path) -> None:
    made = Environment.create(folder, "without-a-rule", "local-alb-new")
    shift = made.said["shift"] | FAST
    made.walk("00", "01", "02", "03", "04", "05", shift=shift)
    before = made.writes()
    made.walk("00", "01", "02", "03", "04", "05", shift=shift)
    assert made.writes() == before
    made.walk("06", shift=shift)
    refused(made, "90", "the hostname has an address: serviceb.apps.local has no address in discovery")
    made.walk("06", undo=True, shift=shift)
    made.walk("90", shift=shift)
    assert made.client("elbv2").describe_load_balancers()["LoadBalancers"] == []
    assert made.client("elbv2").describe_target_groups()["TargetGroups"] == []


OWN = sorted((ROOT / "notebooks" / "alb").glob("*.ipynb"))


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.stem)
def test_a_notebook_of_its_own_has_the_form_of_all(path: Path) -> None:
    book = nbformat.read(path, as_version=4)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    words = "\n".join(cell.source for cell in book.cells if cell.cell_type == "markdown")
    assert re.findall(r"^## (\w+)$", words, re.MULTILINE) == [
        "Parameters", "Before", "Plan", "Apply", "Verify", "Undo",
    ]  # fmt: skip
    assert re.findall(r"^\| \*\*(.+?)\*\* \|", words, re.MULTILINE) == ["Changes", "Leaves alone", "Takes", "To undo"]
    assert f'open_session(globals(), "{path.stem}")' in code[1].source
    for before, cell in pairwise(book.cells):
        assert cell.cell_type == "markdown" or re.search(r"\*\*.+\*\*", before.source), cell.id
    for cell in code:
        assert len(cell.source.splitlines()) <= 15
        assert not re.search(r"\b(def|class|try|boto|client|print)\b", cell.source), cell.id
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert all(cell.outputs for cell in code if cell.id != "parameters")
    for link in re.findall(r"\]\(([\w./]+\.ipynb)\)", words):
        assert (path.parent / link).is_file(), link


def test_app_meshs_04_puts_no_envoy_beside_a_service_behind_a_rule(shop: Environment) -> None:
    before = shop.writes()
    done = execute("04", {"environment": str(shop.file), "mode": "apply"}, go_on=True)
    assert "only engine appmesh puts an Envoy beside each task; found engine alb" in done.first
    assert shop.writes() == before
