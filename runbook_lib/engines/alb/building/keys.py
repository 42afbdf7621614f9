"""Say what each thing that is made is called in plans. Pure."""

from __future__ import annotations

from runbook_lib.engines.alb import place
from runbook_lib.engines.alb.arns import group_key
from runbook_lib.parameters import Parameters


def balancer(p: Parameters) -> str:
    """Return the load balancer's key."""
    return f"load balancer {p.alb.name}"


def group(p: Parameters, service: str) -> str:
    """Return the key of a service's target group."""
    return group_key(p.target_group_of(service))


def groups(p: Parameters) -> list[str]:
    """Return the keys of both versions' target groups."""
    return [group(p, service) for service in p.shift.versions]


def listener(p: Parameters) -> str:
    """Return the listener's key."""
    return f"listener {p.alb.name}:{p.alb.port}"


def zone(p: Parameters) -> str:
    """Return the key of the dialled name's private zone."""
    return f"zone {p.shift.name}"


def record(p: Parameters) -> str:
    """Return the key of the dialled name's record."""
    return f"record {p.shift.name}"


def name(p: Parameters) -> str:
    """Return the key of whether callers are led by that zone."""
    return f"name {p.shift.name}"


def made_by(p: Parameters, step: str) -> list[str]:
    """Return the keys of what one of notebooks 01 to 03 makes."""
    if step == "01":
        return [balancer(p)]
    if step == "02":
        return groups(p)
    if step != "03":
        return []
    dialled = [zone(p), record(p)] if p.alb.holding_vpc is not None else []
    return [listener(p), place.key(p), *dialled]


def uses(p: Parameters) -> dict[str, list[str]]:
    """Return what each thing cannot be without; callers' way what answers them."""
    return {
        listener(p): [balancer(p)],
        place.key(p): [listener(p), *groups(p)],
        record(p): [zone(p), balancer(p)],
        name(p): [zone(p), record(p), place.key(p)],
    }
