"""What is said of a parameters file without calling anything."""

from __future__ import annotations

import json
from collections.abc import Iterator

from runbook_lib import parameters
from runbook_lib.aws.permissions import document, permissions
from runbook_lib.aws.roles import Role
from runbook_lib.command.screen import console, print_json
from runbook_lib.engines.named import ENGINES
from runbook_lib.judging import unpassable
from runbook_lib.local import uncarried
from runbook_lib.parameters import Parameters
from runbook_lib.shift.outlook import harms_of, judge_of
from runbook_lib.wording import harm_words


def lint(file: str, *, as_json: bool) -> None:
    """Print what a file would not notice, and what a bad canary would cost."""
    p = parameters.load(file)
    refused = unpassable(p)
    if refused and p.rehearsed:
        raise refused
    warnings = [*p.notes, *_cautions(p)]
    rate = p.traffic.requests_per_second
    first = p.shift.steps[0]
    harm = harm_words(*harms_of(p, first, rate))
    cost = f"at {rate} requests/s and {first} %, a canary that fails half costs {harm}"
    if as_json:
        said = {"environment": p.environment, "warnings": warnings, "cost": cost}
        print_json(said)
        return
    for words in warnings:
        console.print(f"WARN {words}")
    console.print(cost)
    console.print(f"{p.environment}: no errors found")


def policy(environment: str, role: Role) -> None:
    """Print the IAM policy that a role needs by a file."""
    p = parameters.load(environment)
    own = ENGINES[p.engine].permissions(p, role)
    console.print_json(json.dumps(document([*permissions(p, role), *own])))


def _cautions(p: Parameters) -> Iterator[str]:
    """Yield what a shift by this file would not notice."""
    judge = judge_of(p, ENGINES[p.engine])
    if judge.by != "counts":
        hint = f"; {judge.hint}" if judge.hint else ""
        yield f"errors: {judge.words}{hint}"
    yield from ENGINES[p.engine].unmatched(p)
    refused = unpassable(p)
    if refused:
        yield f"shift: with the file's own traffic {refused.message}; {refused.hint}"
    not_carried = uncarried(p)
    if not_carried:
        yield f"a rehearsal is refused: {not_carried}"
