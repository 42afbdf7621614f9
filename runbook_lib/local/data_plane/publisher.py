"""Publish what Envoys counted to CloudWatch: sidecars as App Mesh's metric extension
does, load balancers as theirs.

This alone writes metrics. A sidecar's retries are in them: a try that was tried again
counts, as does its error, so that a bad version cannot hide behind a retry policy. Data
appear as late as the environment's file says.
"""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from runbook_lib.local.control_plane import metrics_backends
from runbook_lib.local.control_plane.lock import LOCK
from runbook_lib.local.control_plane.metrics import Series, Sum, key
from runbook_lib.local.data_plane.admin import Counters
from runbook_lib.local.data_plane.balancers import Balancer
from runbook_lib.local.data_plane.faults import read_faults
from runbook_lib.local.data_plane.load_balancer_series import Counted, series
from runbook_lib.local.data_plane.member import Member
from runbook_lib.local.data_plane.resources import Mesh, nodes_behind
from runbook_lib.local.data_plane.view import look
from runbook_lib.local.paths import faults_file
from runbook_lib.local.troubles import Troubles

__all__ = ["Publisher"]


@dataclass(frozen=True, slots=True)
class Grain:
    """How often the data of a cluster are published, and how late, in seconds."""

    period_seconds: int = 1
    delay_seconds: int = 0
    namespace: str = "AppMesh"
    slow_millis: int | None = None  # a limit the requests' times are told apart at


class Publisher:
    """Reads every Envoy's counters each second and puts what was counted
    since the last reading.
    """

    def __init__(
        self,
        members: Callable[[], Iterable[Member]],
        troubles: Troubles,
        balancers: Callable[[], Iterable[Balancer]] = tuple,
    ) -> None:
        self._members, self._troubles, self._balancers = members, troubles, balancers
        self._before: dict[str, Mapping[str, Counters]] = {}
        self._counted: dict[str, Counted] = {}  # by load balancer
        self._waiting: deque[tuple[float, str, str, Series, int, Sum]] = deque()
        # by account, region, cluster
        self.grains: dict[tuple[str, str, str], Grain] = {}

    def run(self, stop: threading.Event) -> None:
        """Publish each second until `stop` is set."""
        while not stop.wait(1.0 - time.time() % 1.0):
            self.step(time.time())

    def step(self, now: float) -> None:
        """Read, and put what is due."""
        second = int(now) - 1  # what was counted since the last full second
        members = {member.task.id: member for member in self._members()}
        self._before = {
            id: counted for id, counted in self._before.items() if id in members
        }
        for id, member in members.items():
            if (
                member.sidecar
                and member.identity
                and member.live
                and member.phase in ("running", "leaving")
            ):
                with self._troubles.of(f"metrics of task {id[:8]}"):
                    self._read(member, second)
        for balancer in self._balancers():
            with self._troubles.of(f"metrics of load balancer {balancer.state.name}"):
                self._read_balancer(balancer, second)
        with self._troubles.of("metrics"):
            self._put(now)

    def _read(self, member: Member, second: int) -> None:
        counters = member.sidecar.counters() if member.sidecar else {}
        if not counters:
            return  # it is ending: what it counted last is lost, as with a real sidecar
        before = self._before.get(member.task.id, {})
        self._before[member.task.id] = counters
        task = member.task
        place = (task.account, task.region, task.cluster)
        grain = self.grains.get(place, Grain())
        meshes = look(task.account, task.region).meshes
        mesh = meshes.get(member.identity.mesh if member.identity else "")
        if mesh is None:
            return
        for name, now in counters.items():
            former = before.get(name, Counters())
            target = _target(mesh, member, name)
            late = self._late_seconds(place, target)
            for named, made in _data(mesh, member, name, former, now, grain.namespace):
                self._hold(place, second, named, made, late)

    def _late_seconds(self, place: tuple[str, str, str], target: str) -> float:
        """Return how late what is counted of a target comes, by its faults."""
        for member in self._members():
            task, identity = member.task, member.identity
            if (
                target
                and identity
                and identity.virtual_node == target
                and (task.account, task.region, task.cluster) == place
            ):
                file = faults_file(member.folder.parent, task.service or "task")
                return read_faults(file).data_delay_seconds
        return 0.0

    def _read_balancer(self, balancer: Balancer, second: int) -> None:
        counted = balancer.counted()
        if counted is None:
            return  # its Envoy starts, or has ended
        state = balancer.state
        before = self._counted.get(state.arn, Counted())
        self._counted[state.arn] = counted
        for named, made in series(state, counted.since(before)):
            place = (state.account, state.region, state.cluster)
            self._hold(place, second, named, made)

    def _hold(
        self,
        place: tuple[str, str, str],
        second: int,
        named: Series,
        made: Sum,
        late: float = 0.0,
    ) -> None:
        """Keep what was counted in a second until its period is published."""
        grain = self.grains.get(place, Grain())
        period = second - second % grain.period_seconds
        due = period + grain.period_seconds + grain.delay_seconds + late
        account, region, _ = place
        self._waiting.append((due, account, region, named, period, made))

    def _put(self, now: float) -> None:
        keep: list[Any] = []
        with LOCK:
            while self._waiting:
                item = self._waiting.popleft()
                due, account, region, named, second, made = item
                if due <= now:
                    metrics_backends[account][region].state.put(named, second, made)
                else:
                    keep.append(item)
        self._waiting.extend(keep)


def _target(mesh: Mesh, member: Member, cluster: str) -> str:
    """Return the node whose requests a cluster of a sidecar counts; "" for its own."""
    own = member.identity.virtual_node if member.identity else ""
    if cluster.startswith("cds_ingress_"):
        return ""
    return next((target for _, target in _led_to(mesh, own, cluster)), "")


def _data(
    mesh: Mesh,
    member: Member,
    cluster: str,
    before: Counters,
    now: Counters,
    namespace: str,
) -> Iterator[tuple[Series, Sum]]:
    requests = _grown(_tries(before), _tries(now))
    errors = _grown(before.errors + before.retried_5xx, now.errors + now.retried_5xx)
    own = member.identity.virtual_node if member.identity else ""
    base = [{"Name": "Mesh", "Value": mesh.name}, {"Name": "VirtualNode", "Value": own}]
    if cluster.startswith("cds_ingress_"):
        yield key(namespace, "RequestCount", base), _of((requests, 1))
        return
    for service, target in _led_to(mesh, own, cluster):
        dimensions = [
            *base,
            {"Name": "TargetVirtualService", "Value": service},
            {"Name": "TargetVirtualNode", "Value": target},
        ]
        yield key(namespace, "RequestCountPerTarget", dimensions), _of((requests, 1))
        yield key(namespace, "HTTPCode_Target_5XX_Count", dimensions), _of((errors, 1))
        former = dict(before.times)
        times = [
            (bound, _grown(former.get(bound, 0), count)) for bound, count in now.times
        ]
        yield key(namespace, "TargetResponseTime", dimensions), _of(*times)


def _of(*values: tuple[float, int]) -> Sum:
    made = Sum()
    for value, count in values:
        if count:
            made.add(value, count)
    return made


def _grown(before: int, now: int) -> int:
    """Return what a counter gained; one that fell counts from zero again, as in a
    cluster made anew.
    """
    return now - before if now >= before else now


def _tries(counters: Counters) -> int:
    return counters.completed + counters.retried_5xx


def _led_to(mesh: Mesh, own: str, cluster: str) -> list[tuple[str, str]]:
    """Return the virtual service and the node a cluster stands for; Envoy counts by
    cluster, so the first service.

    By the cluster's name alone: what the mesh says now may be refused, while Envoy goes
    on with what it had.
    """
    spec = mesh.virtual_nodes.get(own, {}).get("spec", {})
    for service in [
        entry["virtualService"]["virtualServiceName"]
        for entry in spec.get("backends") or []
    ]:
        for node in nodes_behind(mesh, service):
            if re.fullmatch(
                rf"cds_egress_{re.escape(f'{mesh.name}_{node}')}_[a-z0-9]+_\d+", cluster
            ):
                return [(service, node)]
    return []
