"""Names of private hosted zones, as the resolver of callers' VPC answers them: the most
specific zone that is associated with it alone, alias or nothing.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Zones", "zones"]

LOADED = "moto.route53.models"  # not before somebody has made a zone


@dataclass(frozen=True, slots=True)
class Zones:
    """What each name is an alias of, in lower case, and the zones that answer."""

    aliases: dict[str, str] = field(default_factory=dict)
    names: tuple[str, ...] = ()

    def hides(self, name: str) -> bool:
        """Say whether one of the zones answers for a name, though it has no record of
        it: then there is no such name.
        """
        below = (name == zone or name.endswith(f".{zone}") for zone in self.names)
        return name not in self.aliases and any(below)


def zones(account: str, vpc: str = "") -> Zones:
    """Return the private zones of an account that a VPC's resolver asks; all of them
    where no VPC is named.
    """
    if LOADED not in sys.modules:
        return Zones()
    from moto.route53.models import route53_backends

    found, names = {}, []
    for zone in route53_backends[account]["aws"].zones.values():
        if not zone.private_zone or not _is_asked(zone, vpc):
            continue
        names.append(_plain(zone.name))
        for record in zone.rrsets:
            if record.type == "A" and record.alias_target:
                target = _plain(record.alias_target["DNSName"])
                found[_plain(record.name)] = target.removeprefix("dualstack.")
    return Zones(found, tuple(names))


def _is_asked(zone: Any, vpc: str) -> bool:
    since = getattr(zone, "asked_from", {}).get(vpc, 0.0)
    associated = any(each["vpc_id"] == vpc for each in zone.vpcs)
    return not vpc or (associated and time.monotonic() >= since)


def _plain(name: str) -> str:
    return name.removesuffix(".").lower()
