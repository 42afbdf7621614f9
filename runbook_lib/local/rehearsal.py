"""Put the parts of the local mesh together in one process: control plane, tasks,
traffic, telemetry.

This alone knows them all. `Rehearsal` is a WSGI application beside the AWS endpoint: it
answers for what the local mesh is (`/runbook/...`), and passes everything else on.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from runbook_lib.local import control_plane
from runbook_lib.local.data_plane.balancers import Balancers
from runbook_lib.local.data_plane.member import Member
from runbook_lib.local.data_plane.publisher import Grain, Publisher
from runbook_lib.local.data_plane.target_checks import TargetChecks
from runbook_lib.local.data_plane.tasks import Fleet
from runbook_lib.local.data_plane.traffic import Calls, Doors, Traffic
from runbook_lib.local.troubles import Troubles

__all__ = ["Rehearsal"]

MESH_PATH = "/v20190125/"
JOIN_SECONDS = 5.0
SUPPLY_SECONDS = 0.05  # between two looks at where callers find whom they call
NAMES_SECONDS = 1.0  # until a change of Route 53 is in effect; a minute at AWS


class Rehearsal:
    """Everything that runs; `last` is when somebody last asked for something."""

    def __init__(
        self, folder: Path, id: str, sockets: Path, *, data_plane: bool = True
    ) -> None:
        self.id, self.folder, self.last = id, folder, time.monotonic()
        self.aws = control_plane.application()
        # of the rehearsal before: its faults ended with it
        shutil.rmtree(folder / "tasks", ignore_errors=True)
        self.troubles = Troubles()
        self.fleet = Fleet(folder / "tasks", sockets, self.troubles)
        self.balancers = Balancers(
            folder / "balancers",
            sockets,
            self._members,
            self.fleet.limits_ms,
            self.troubles,
        )
        self.publisher = Publisher(self._members, self.troubles, self.balancers.all)
        self.checks = TargetChecks(self._members)
        self.threads: list[threading.Thread] = []
        self.traffic: dict[str, Traffic] = {}
        self.data_plane = data_plane
        if data_plane:
            control_plane.launch_with(self.fleet)
            control_plane.check_with(self.checks)
            control_plane.PROPAGATION.seconds = NAMES_SECONDS

    def _members(self) -> list[Member]:
        return list(self.fleet.members.values())

    def run(self, stop: threading.Event) -> None:
        """Keep everything moving, each in a thread of its own, until `stop` is set."""
        work: list[Callable[[threading.Event], None]] = [
            lambda stop: control_plane.converge(stop, self.troubles)
        ]
        if self.data_plane:
            work += [
                self.fleet.run,
                self.balancers.run,
                self.publisher.run,
                self._supply,
            ]
        self.threads = [
            threading.Thread(target=each, args=(stop,), daemon=True) for each in work
        ]
        for thread in self.threads:
            thread.start()

    def end(self) -> None:
        """End traffic, then every task, once nothing can start another one."""
        for thread in self.threads:
            thread.join(JOIN_SECONDS)
        for traffic in self.traffic.values():
            traffic.end()
        self.checks.end()
        self.balancers.end()
        self.fleet.end()

    def _supply(self, stop: threading.Event) -> None:
        while not stop.wait(SUPPLY_SECONDS):
            members = self._members()
            for name, traffic in list(self.traffic.items()):
                with self.troubles.of(f"traffic of {name}"):
                    traffic.step(members, self._doors(traffic.calls))

    def _doors(self, calls: Calls) -> Doors:
        return partial(self.balancers.doors, calls.account, calls.region)

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        self.last = time.monotonic()
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        own = self._own(path, method, environ)
        if own is None:
            answer: Iterable[bytes] = self.aws(environ, start_response)
            if method != "GET" and path.startswith(MESH_PATH):
                # sidecars hear of it now, not at the next look
                self.fleet.changed.set()
            return answer
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(own, default=str).encode()]

    def _own(self, path: str, method: str, environ: dict[str, Any]) -> Any:
        if path == "/runbook/id":
            return {"id": self.id, "data_plane": self.data_plane}
        if path == "/runbook/tasks":
            rows = {"tasks": self.fleet.rows(), "load_balancers": self.balancers.rows()}
            return {**rows, "troubles": dict(self.troubles.now)}
        if path == "/runbook/traffic" and method == "GET":
            return {name: traffic.snapshot() for name, traffic in self.traffic.items()}
        if path == "/runbook/probe":
            body = _body(environ)
            traffic = self.traffic[body["environment"]]
            return traffic.probe(
                self._members(),
                self._doors(traffic.calls),
                body["headers"],
                body["count"],
            )
        if path == "/runbook/traffic":
            body = _body(environ)
            return self._call(
                body["environment"], Calls(**body["calls"]), Grain(**body["grain"])
            )
        return None

    def _call(self, environment: str, calls: Calls, grain: Grain) -> dict[str, Any]:
        """Let a service call, and its counts be published, as the parameters say; a
        later word changes the pace.
        """
        place = (calls.account, calls.region, calls.cluster)
        self.publisher.grains[place] = grain
        self.fleet.limits_ms[place] = (grain.slow_millis,) if grain.slow_millis else ()
        known = self.traffic.get(environment)
        if known:
            known.calls = replace(
                known.calls, requests_per_second=calls.requests_per_second
            )
        elif self.data_plane and calls.requests_per_second:
            self.traffic[environment] = Traffic(calls, self.folder / "tasks")
        return {"calls": environment in self.traffic}


def _body(environ: dict[str, Any]) -> Any:
    return json.loads(
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    )
