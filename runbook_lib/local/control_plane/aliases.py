"""Names that a private hosted zone leads to a load balancer: alias records, as the
VPC's resolver follows them.
"""

from __future__ import annotations

import sys

__all__ = ["aliases"]

LOADED = "moto.route53.models"  # not before somebody has made a zone


def aliases(account: str) -> dict[str, str]:
    """Return what each name in the private zones of an account is an alias of,
    both in lower case.
    """
    if LOADED not in sys.modules:
        return {}
    from moto.route53.models import route53_backends

    found = {}
    for zone in route53_backends[account]["aws"].zones.values():
        for record in zone.rrsets:
            if zone.private_zone and record.type == "A" and record.alias_target:
                found[_plain(record.name)] = _plain(
                    record.alias_target["DNSName"]
                ).removeprefix("dualstack.")
    return found


def _plain(name: str) -> str:
    return name.removesuffix(".").lower()
