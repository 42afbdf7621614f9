"""Promotions as data: who ends the bake of a step, and why, without its PASS.

A command asks for one; the shift takes it in at its next look. It is for the weights as
they were when it was asked for, and for no later step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from runbook_lib import record
from runbook_lib.record import Run

if TYPE_CHECKING:
    from runbook_lib.aws.session import Session

__all__ = ["promote", "promotion_of", "promotions_before"]


def promote(run: Run, carried: str, *, by: str, because: str) -> None:
    """Ask for the end of the bake at what carries the weights now, by its name
    (`Survey.carried`).
    """
    run.ask("promote", by=by, because=because, carried=carried)


def promotion_of(lines: Iterable[Mapping[str, Any]], carried: str) -> str:
    """Return who ends the bake at what carries the weights, and why, by a journal's
    lines; "" for nobody.
    """
    words = ""
    for line in lines:
        if line["event"] == "promote" and line["carried"] == carried:
            words = f"by {line['by']}, because {line['because']}"
    return words


def promotions_before(session: Session) -> list[dict[str, Any]]:
    """Return the promotions asked of the newest runs of a session's place: of the one
    that is joined now, and of the one before it, which may have been held.
    """
    p = session.parameters
    newest = islice(record.runs(p.environment, p.records, session.place), 2)
    asked: list[dict[str, Any]] = []
    for run in newest:
        asked += [line for line in run.said() if line["event"] == "promote"]
    return asked
