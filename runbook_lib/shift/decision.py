"""Say what was decided or seen at one moment of a shift, and write it down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from runbook_lib.aws.cloudwatch import Interval
from runbook_lib.aws.session import Session
from runbook_lib.shift.rules.moves import Hold

__all__ = ["Decision", "Phase", "write_down"]

Phase = Literal[
    "planned",
    "tried",
    "rehearsed",
    "written",
    "proved",
    "watching",
    "judged",
    "promoted",
    "staying",
    "rolled back",
    "settled",
]


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided or seen at one moment; weights in percent, `share` the
    canary's, as a fraction.

    `requests`, `errors` and `slow` (where that is judged) are by service, since the
    step was written; share and band since it was real. `tasks` are those that ran
    when the attempt began; `carried` names what carried the weights when a verdict
    passed; `former` is the canary's weight before a step was written. `seen` are the
    intervals the verdict was made of, since the first step. `refused` is why a step
    that stays watched is not followed by the next. Neither is written down.
    """

    phase: Phase
    step: int
    weights: Mapping[str, int]
    words: str
    requests: Mapping[str, int] = field(default_factory=dict)
    errors: Mapping[str, int] = field(default_factory=dict)
    slow: Mapping[str, int] = field(default_factory=dict)
    share: float | None = None
    band: tuple[float, float] | None = None
    verdict: str = ""
    at: float = 0.0
    tasks: Mapping[str, int] = field(default_factory=dict)
    carried: str = ""
    former: int | None = None
    seen: Sequence[Interval] = field(default=(), repr=False, compare=False)
    refused: Hold | None = None

    @property
    def line(self) -> dict[str, Any]:
        """What is written down of it: all but what can be read again."""
        line = asdict(replace(self, seen=(), refused=None))
        del line["seen"], line["refused"]
        return line


def write_down(session: Session, decision: Decision) -> Decision:
    """Write a decision into the record as well as it can be, and return it."""
    session.note(lambda run: run.write("decision", **decision.line))
    return decision
