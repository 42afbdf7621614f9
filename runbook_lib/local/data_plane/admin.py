"""What one Envoy says of itself on its admin socket.

It alone reads an Envoy's state and statistics; apart from asking it to drain,
it changes nothing.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from runbook_lib.local.data_plane.clusters import endpoints_file

TIMEOUT_SECONDS = 1.0  # an Envoy that hangs keeps others waiting so long
CLUSTER_COUNTERS = (
    r"^cluster\.cds_[^.]+\."
    r"(upstream_rq_(completed|5xx|time)|retry\.upstream_rq_5xx)$"
)
CLUSTER_NAME = re.compile(r"^cluster\.(cds_[^.]+)\.(.+)$")


@dataclass(frozen=True, slots=True)
class Counters:
    """What one cluster counted since Envoy started.

    A try that is tried again is in `retried_5xx` if it was a 5xx, but in neither
    `completed` nor `errors`: what the caller never saw.
    """

    completed: int = 0  # answers, Envoy's own 503 included
    errors: int = 0  # of them 5xx
    retried_5xx: int = 0
    # answers by the upper bound of their time in milliseconds; 1 s late
    times: tuple[tuple[float, int], ...] = ()


class _Connection(http.client.HTTPConnection):
    """One HTTP connection over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("envoy", timeout=TIMEOUT_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Admin:
    """The admin socket of one Envoy, which only its own user can open."""

    def __init__(self, path: str) -> None:
        self.path = path

    def state(self) -> str:
        """Return LIVE, PRE_INITIALIZING, INITIALIZING or DRAINING; empty
        where nobody answers.
        """
        found = self._json("/server_info")
        return str(found["state"]) if found else ""

    def route_versions(self) -> dict[str, str]:
        """Return the version of every route configuration in force, by its name."""
        found = self._json("/config_dump?resource=dynamic_route_configs") or {}
        configs = found.get("configs", [])
        return {
            each["route_config"]["name"]: each.get("version_info", "")
            for each in configs
        }

    def file_versions(self) -> dict[str, str]:
        """Return the version Envoy took last of each file it follows,
        by the file's name.
        """
        found = self._json(
            "/stats?format=json&type=TextReadouts&filter=version_text"
        ) or {"stats": []}
        named = (
            (_file(each["name"]), each["value"])
            for each in found["stats"]
            if "name" in each
        )
        return {name: version for name, version in named if name}

    def stats(self, pattern: str) -> dict[str, int]:
        """Return the counters and gauges whose names match; one that never
        counted is missing.
        """
        found = self._stats(pattern)
        return {each["name"]: int(each["value"]) for each in found if "value" in each}

    def counters(self) -> dict[str, Counters]:
        """Return what each cluster of App Mesh's counted, by the cluster's name."""
        found = self._stats(CLUSTER_COUNTERS)
        plain: dict[str, dict[str, int]] = {}
        for each in found:
            if "value" in each and (match := CLUSTER_NAME.match(each["name"])):
                plain.setdefault(match[1], {})[match[2]] = int(each["value"])
        times = {name: buckets for each in found for name, buckets in _histograms(each)}
        return {
            name: _counters(values, times.get(name, []))
            for name, values in plain.items()
        }

    def active_requests(self) -> int:
        """Return how many requests are under way through its listeners."""
        return sum(
            self.stats(r"^http\.(ingress|egress)[^:]*\.downstream_rq_active$").values()
        )

    def drain(self) -> bool:
        """Ask the listeners to send their clients elsewhere; False
        where nobody answers.
        """
        return self._ask("POST", "/drain_listeners?graceful&skip_exit") is not None

    def _stats(self, pattern: str) -> list[dict[str, Any]]:
        path = (
            f"/stats?format=json&histogram_buckets=cumulative&filter={quote(pattern)}"
        )
        found = self._json(path) or {"stats": []}
        return list(found["stats"])

    def _json(self, path: str) -> dict[str, Any] | None:
        body = self._ask("GET", path)
        if not body:
            return None
        found: dict[str, Any] = json.loads(body)
        return found

    def _ask(self, method: str, path: str) -> bytes | None:
        connection = _Connection(self.path)
        try:
            connection.request(method, path)
            return connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            return None  # not up yet, or no longer
        finally:
            connection.close()


def _file(stat: str) -> str:
    """Return the file a `version_text` statistic is about."""
    if stat.startswith("cluster_manager.cds."):
        return "cds.json"
    if stat.startswith("listener_manager.lds."):
        return "lds.json"
    if cluster := re.fullmatch(r"cluster\.(cds_[^.]+)\.version_text", stat):
        return endpoints_file(cluster[1])
    routes = re.search(r"\.rds\.(rds_.+)\.version_text$", stat)
    if not routes:
        return ""
    return "rds.json" if routes[1] == "rds_egress_http_15001" else f"{routes[1]}.json"


def _histograms(each: dict[str, Any]) -> Iterable[tuple[str, list[dict[str, float]]]]:
    for histogram in each.get("histograms", []):
        if match := CLUSTER_NAME.match(histogram["name"]):
            yield match[1], histogram["buckets"]


def _counters(values: dict[str, int], buckets: list[dict[str, float]]) -> Counters:
    return Counters(
        completed=values.get("upstream_rq_completed", 0),
        errors=values.get("upstream_rq_5xx", 0),
        retried_5xx=values.get("retry.upstream_rq_5xx", 0),
        times=_by_bound(buckets),
    )


def _by_bound(buckets: list[dict[str, float]]) -> tuple[tuple[float, int], ...]:
    out, before = [], 0
    for bucket in buckets:
        out.append((bucket["upper_bound"], int(bucket["cumulative"]) - before))
        before = int(bucket["cumulative"])
    return tuple(out)
