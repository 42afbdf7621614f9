"""One environment as it was opened: its file, where its calls go, who calls."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from runbook_lib.aws.identity import Identity, Lifetime
from runbook_lib.parameters import Parameters
from runbook_lib.record.place import Place, place_of

NOT_ENDING = Lifetime("permanent", "the local mesh")
UNKNOWN = Identity("", "")
NOBODY = {
    "aws_access_key_id": "testing",
    "aws_secret_access_key": "testing",
    "aws_session_token": "testing",
}


@dataclass(frozen=True)
class Connection:
    """Where calls go: AWS's own endpoints, or one endpoint with credentials that are
    worth nothing elsewhere.
    """

    endpoint: str | None = None
    prepare: Callable[[Any], None] = lambda session: None
    carries_traffic: bool = True
    probe: Callable[[Mapping[str, str], int], list[tuple[str, str]]] | None = None
    """Makes test requests with headers as the caller would: (version,
    status) of each answer.
    """
    door: Callable[[str, int], tuple[str, int]] = lambda name, port: (name, port)
    """Where a name and a port are reached from this machine."""
    world: str = ""
    """Tells a local mesh from any before it, with which its runs end."""
    credentials: Mapping[str, str] = field(default_factory=lambda: NOBODY, repr=False)
    """What calls to one endpoint are signed with, as boto3 names it; the
    user's own never are.
    """
    lifetime: Lifetime = NOT_ENDING
    """How long those last."""


@dataclass(repr=False)  # whatever prints one would print all of its parameters
class Environment:
    """What was opened, by whom and how; `applies` says whether cells may change it."""

    parameters: Parameters
    notebook: str
    connection: Connection
    file: str = ""
    given: Mapping[str, Any] = field(default_factory=dict)
    undo: bool = False
    identity: Identity = UNKNOWN

    @property
    def applies(self) -> bool:
        """Whether the mode is apply."""
        return self.parameters.mode == "apply"

    @property
    def named(self) -> str:
        """How a command names this environment, its rehearsal as such."""
        return shlex.quote(self.file) + (
            " --rehearse" if self.given.get("target") == "local" else ""
        )

    @property
    def place(self) -> Place:
        """Where the session is: the file's own place, in the local
        mesh that it reached.
        """
        return place_of(self.parameters, self.connection.world)
