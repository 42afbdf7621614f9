"""Say where a run belongs: target, account, region, and what carries the weights there.

Pure. Nothing joins, undoes, approves or believes a run of another place, whatever its
environment is called.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from runbook_lib.parameters import Parameters

__all__ = ["Place", "place_in", "place_of"]


@dataclass(frozen=True, slots=True)
class Place:
    """What a run changes; `world` tells a local mesh from any before it, "" on AWS and
    where none runs yet.
    """

    target: str
    account: str
    region: str
    carrier: str
    world: str = ""

    @property
    def site(self) -> Place:
        """The place, whichever local mesh it is in."""
        return replace(self, world="")

    @property
    def key(self) -> str:
        """Sixteen hexadecimal digits that name the site, however long its names are."""
        text = json.dumps(asdict(self.site), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def __str__(self) -> str:
        local = (
            f" on the local mesh {self.world}".rstrip()
            if self.target == "local"
            else ""
        )
        return f"account {self.account}, {self.region}, {self.carrier}{local}"

    def has(self, other: Place) -> bool:
        """Say whether a run of `other` is of this place; one that met no local mesh yet
        may meet this one.
        """
        return self.site == other.site and other.world in ("", self.world)


def place_of(p: Parameters, world: str = "") -> Place:
    """Return the place an environment's parameters name, in this local mesh
    where one is said.
    """
    return Place(p.target, p.account_id, p.region, p.carrier, world)


def place_in(opened: Mapping[str, Any]) -> Place | None:
    """Return the place a run's first line names; None in a record of
    the former format.
    """
    said = opened.get("place")
    if not isinstance(said, Mapping) or said.keys() != {
        field.name for field in fields(Place)
    }:
        return None
    return (
        Place(**said)
        if all(isinstance(value, str) for value in said.values())
        else None
    )
