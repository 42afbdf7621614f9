"""Inputs rebuilt from public bug reports, each through a door that a user has; `tests/cases` holds them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from runbook_lib.command import cli

CASES = Path(__file__).parent / "cases"
FIELD = r"routers\.orders\.routes\.orders\."
REFUSED = {
    "grpc-words-on-http2": FIELD + r"match\.service: applies to grpc only; the protocol here is http2",
    "header-by-regex": FIELD + r"match\.headers\.0: unknown key 'regex'",
    "header-exact-and-prefix": FIELD + r"match\.headers\.0: expected exact or prefix; found both",
    "method-in-lower-case": FIELD + r"match\.method: expected 'GET', .*; found 'get'",
    "path-on-grpc": FIELD + r"match\.prefix: applies to http, http2 only; the protocol here is grpc",
    "prefix-and-path": FIELD + r"match: expected prefix or path; found both",
    "prefix-on-tcp": FIELD + r"match\.prefix: applies to http, http2 only; the protocol here is tcp",
}


def lint(file: Path) -> tuple[int, str]:
    done = CliRunner().invoke(cli.app, ["lint", str(file)])
    return done.exit_code, done.output


@pytest.mark.parametrize("case", ["09-dot-in-a-cloud-map-name", "13-grpc-retries-only"])
def test_legal_input_is_taken(case: str) -> None:
    code, said = lint(CASES / case / "parameters.yaml")
    assert code == 0
    assert "shop-live: nothing to refuse\n" in said


@pytest.mark.parametrize("name", REFUSED)
def test_a_word_that_does_not_apply_is_refused_by_name(name: str) -> None:
    code, said = lint(CASES / "14-match-that-says-nothing" / f"{name}.yaml")
    assert code == 2
    assert re.search(REFUSED[name], said)


def test_no_time_limit_can_be_said_and_what_still_cuts_is_said() -> None:
    code, said = lint(CASES / "25-streams-without-a-time-limit" / "parameters.yaml")
    assert code == 0
    assert "orders cuts a request at 15 s without services.orders.timeout.per_request_seconds: 0" in said
