"""What people are told of a run. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

__all__ = ["Kind", "Message"]

Kind = Literal["info", "success", "warning", "failure"]
KINDS: dict[str, Kind] = {
    "done": "success",
    "failed": "failure",
    "refused": "failure",
    "held": "warning",
    "rolled_back": "failure",
}
TITLES = {
    "done": "done",
    "failed": "failed",
    "refused": "refused",
    "held": "held, weights stay",
    "rolled_back": "rolled back",
}
# why a shift is held, where the one word of the reason is worth a title of its own
HELD = {
    "approval": "waiting for approval",
    "share": "held: the canary's share of requests left its band",
}


@dataclass(frozen=True, slots=True)
class Message:
    """What came of a run: the environment, the run's id, the outcome as
    `summary.json` names it, the reason as one word, and what happened as a sentence.
    """

    environment: str
    run: str
    outcome: str
    reason: str
    words: str

    @property
    def title(self) -> str:
        """One line: the environment and what came of it."""
        told = TITLES.get(self.outcome, self.outcome)
        if self.outcome == "held":
            told = HELD.get(self.reason, told)
        return f"{self.environment}: {told}"

    @property
    def text(self) -> str:
        """What happened, and which run it was."""
        return f"{self.words}\nrun {self.run}"

    @property
    def kind(self) -> Kind:
        """How urgent it is, in Apprise's words."""
        return KINDS.get(self.outcome, "info")

    def data(self) -> dict[str, str]:
        """Return it as a webhook gets it, in JSON."""
        return {"title": self.title, **asdict(self)}
