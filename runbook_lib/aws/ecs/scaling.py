"""Read how services scale by themselves, and plan how far they may, or that they stop.

`read_` functions read; all others are pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from runbook_lib.aws.ecs.queries import SCALABLE, SCALABLES
from runbook_lib.aws.ecs.running import Running
from runbook_lib.aws.reads import Reads, read_in_portions
from runbook_lib.parameters import Parameters
from runbook_lib.plan import Call, Change, Inverse, Plan, Reading, differences

TARGETS = 50  # DescribeScalableTargets takes so many
OWN_KEYS = ("ServiceNamespace", "ResourceId", "ScalableDimension")


def read_scalables(session: Reads) -> dict[str, Mapping[str, Any] | None]:
    """Read how each service scales, by its name in the file; None for one that
    does not.
    """
    p = session.parameters
    ids = [_resource_id(p, name) for name in p.services]
    reading_of = partial(_reading, query=SCALABLES)
    targets = read_in_portions(session, ids, TARGETS, reading_of)
    by_id = {target["ResourceId"]: target for target in targets}
    return {name: by_id.get(_resource_id(p, name)) for name in p.services}


def _resource_id(p: Parameters, name: str) -> str:
    return f"service/{p.cluster}/{p.ecs_service_of(name)}"


def _reading(ids: Sequence[str], query: str) -> Reading:
    arguments = {"ServiceNamespace": "ecs", "ResourceIds": ids}
    call = Call("application-autoscaling", "describe_scalable_targets", arguments)
    return Reading(call, query)


def _reading_of(p: Parameters, name: str) -> Reading:
    return _reading([_resource_id(p, name)], SCALABLE)


def plan_capacity(p: Parameters, found: Running, least: int) -> Plan:
    """Plan that a service's scaling never goes below `least` tasks; nothing where it
    does not scale by itself.
    """
    title = "05_shift_traffic"
    target = found.scalable
    if not target or target["MinCapacity"] >= least:
        return Plan(title)
    most = max(least, target["MaxCapacity"])
    wanted = {**target, "MinCapacity": least, "MaxCapacity": most}
    change = Change(
        name=f"scaling of {found.service}",
        verb="update",
        call=_registered(wanted),
        reading=_reading_of(p, found.service),
        expected=target,
        wanted=wanted,
        about=_about(found.service),
        inverse=Inverse("update", _registered(target), wanted=target),
        diff=differences(target, wanted),
    )
    return Plan(title, (change,))


def without_scaling(p: Parameters, name: str, target: Mapping[str, Any]) -> Change:
    """Return what ends that a service scales by itself as `target` says."""
    own = {key: target[key] for key in OWN_KEYS}
    end = Call("application-autoscaling", "deregister_scalable_target", own)
    return Change(
        name=f"scaling of {name}",
        verb="delete",
        call=end,
        reading=_reading_of(p, name),
        expected=target,
        wanted=None,
        about=_about(name),
        inverse=Inverse("create", _registered(target), wanted=target),
        diff=differences(target, {}),
        note="its policies and scheduled actions go with it, and do not come back "
        "by undo",
    )


def _registered(target: Mapping[str, Any]) -> Call:
    return Call("application-autoscaling", "register_scalable_target", target)


def _about(name: str) -> tuple[str, ...]:
    return (f"scaling of {name}", f"service {name}")
