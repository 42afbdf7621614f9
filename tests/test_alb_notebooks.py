"""Notebooks 00, 05 and 06 shift a load balancer's rule as they shift a mesh: the same files, with requests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.notebook_runner import Environment, folder, refused

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


def test_04_puts_no_envoy_beside_a_service_behind_a_rule(shop: Environment) -> None:
    refused(shop, "04", "only engine appmesh puts an Envoy beside each task; found engine alb")
