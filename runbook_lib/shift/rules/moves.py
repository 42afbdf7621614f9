"""What may follow from a look at a step. Pure."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "ExtendBake",
    "GoOn",
    "Hold",
    "InEffect",
    "Move",
    "Pass",
    "Promote",
    "RollBack",
    "RolledBackElsewhere",
]


@dataclass(frozen=True, slots=True)
class GoOn:
    """Nothing: look again at the next interval."""


@dataclass(frozen=True, slots=True)
class InEffect:
    """Traffic confirms the weight, in intervals from `since` on: the bake begins."""

    since: int
    words: str


@dataclass(frozen=True, slots=True)
class ExtendBake:
    """The bake is over and undecided: another one follows."""

    words: str


@dataclass(frozen=True, slots=True)
class Pass:
    """The step is over: the next one may be taken."""

    words: str


@dataclass(frozen=True, slots=True)
class Promote:
    """The step is over because a person says so, without a PASS."""

    words: str


@dataclass(frozen=True, slots=True)
class Hold:
    """Weights stay, and someone must decide; `word` is the machine's reason."""

    word: str
    words: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class RollBack:
    """All traffic goes back to stable, in one write; `word` is the machine's reason."""

    word: str
    words: str


@dataclass(frozen=True, slots=True)
class RolledBackElsewhere:
    """Somebody else has put all traffic back on stable: the shift ends by it."""


Move = (
    GoOn
    | InEffect
    | ExtendBake
    | Pass
    | Promote
    | Hold
    | RollBack
    | RolledBackElsewhere
)
