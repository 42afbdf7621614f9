"""The runbook's own mesh as App Mesh returns it, and its processes: what the data plane's tests share."""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from runbook_lib.local.data_plane.caller import Caller
from runbook_lib.local.data_plane.configuration import Mesh, Ports, sidecar_files
from runbook_lib.local.data_plane.faults import Faults
from runbook_lib.local.data_plane.reservation import Reservation
from runbook_lib.local.data_plane.sidecar import Sidecar
from runbook_lib.local.sockets import socket_folder, socket_of

NAME = "serviceb.apps.local"
PORT = 9080
HELD: list[Reservation] = []
CLUSTERS = {"v1": "cds_egress_apps_serviceB_http2_9080", "v2": "cds_egress_apps_serviceBv2_http2_9080"}


def free_ports(count: int) -> list[int]:
    """Return ports nobody else is given while this process lives."""
    HELD.append(Reservation(count))
    return HELD[-1].ports


def node(*backends: str, host: str = "", protocol: str = "http2", port: int = PORT, **listener: Any) -> dict[str, Any]:
    services = [{"virtualService": {"virtualServiceName": name}} for name in backends]
    listeners = [{"portMapping": {"port": port, "protocol": protocol}, **listener}]
    discovery = {"dns": {"hostname": host}} if host else {}
    return {"spec": {"listeners": listeners, "backends": services, "serviceDiscovery": discovery}}


def service(**provider: str) -> dict[str, Any]:
    [(kind, name)] = provider.items()
    key = {"router": "virtualRouter", "node": "virtualNode"}[kind]
    return {"spec": {"provider": {key: {f"{key}Name": name}}}}


def router(protocol: str = "http2", *ports: int) -> dict[str, Any]:
    return {"spec": {"listeners": [{"portMapping": {"port": p, "protocol": protocol}} for p in ports or (PORT,)]}}


def route(
    targets: Mapping[str, int],
    name: str = "serviceB",
    kind: str = "http2Route",
    priority: int | None = None,
    **body: Any,
) -> dict[str, Any]:
    weighted = [{"virtualNode": target, "weight": weight} for target, weight in targets.items()]
    spec = {kind: {"match": {"prefix": "/"}, "action": {"weightedTargets": weighted}, **body}}
    return {"routeName": name, "spec": spec | ({} if priority is None else {"priority": priority})}


def mesh(*routes: dict[str, Any], egress: str = "DROP_ALL", protocol: str = "http2", **changes: Any) -> Mesh:
    """Return the mesh of the tutorial, its route at 75/25 unless others are given."""
    listed = {
        "virtual_nodes": {
            "serviceA": node(NAME, host="servicea.apps.local", protocol=protocol),
            "serviceB": node(host="serviceb.apps.local", protocol=protocol),
            "serviceBv2": node(host="servicebv2.apps.local", protocol=protocol),
        },
        "virtual_services": {
            NAME: service(router="serviceB"),
            "servicea.apps.local": service(node="serviceA"),
        },
        "virtual_routers": {"serviceB": router(protocol)},
        "routes": {"serviceB": list(routes) or [route({"serviceB": 75, "serviceBv2": 25})]},
    }
    return Mesh({"meshName": "apps", "spec": {"egressFilter": {"type": egress}}}, **listed | changes)


def shifted(weight: int, **changes: Any) -> Mesh:
    """Return the mesh with `weight` percent on the canary."""
    return mesh(route({"serviceB": 100 - weight, "serviceBv2": weight}), **changes)


def static_bootstrap(files: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Return all that the sidecar's files say as one static file, for `envoy --mode validate`."""
    tables = {name: files[name]["resources"][0] for name in files if name.startswith("rds")}
    tables = {table["name"]: table for table in tables.values()}
    bootstrap = {key: value for key, value in files["bootstrap.json"].items() if key != "dynamic_resources"}
    listeners = json.loads(json.dumps(files["lds.json"]["resources"]))
    for chain in (chain for listener in listeners for chain in listener["filter_chains"]):
        config = chain["filters"][0]["typed_config"]
        config["route_config"] = tables[config.pop("rds")["route_config_name"]]
    clusters = json.loads(json.dumps(files["cds.json"]["resources"]))
    for cluster in (cluster for cluster in clusters if cluster["type"] == "EDS"):
        del cluster["eds_cluster_config"]
        [assignment] = files[f"{cluster['name']}.json"]["resources"]
        cluster |= {"type": "STATIC", "load_assignment": {k: v for k, v in assignment.items() if k != "@type"}}
    static = {"listeners": listeners, "clusters": clusters}
    for each in [*listeners, *static["clusters"], *tables.values()]:
        del each["@type"]
    return bootstrap | {"static_resources": static}


def application(port: int, version: str, *options: str) -> subprocess.Popen[bytes]:
    module = "runbook_lib.local.data_plane.application"
    command = [sys.executable, "-m", module, "--port", str(port), "--version", version, *options]
    return subprocess.Popen(command)


def ask(port: int, path: str = "/", method: str = "GET", body: Any = None, **headers: str) -> tuple[int, str, str]:
    """Return status, version and body of one plain HTTP/1.1 request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        content = None if body is None else json.dumps(body)
        connection.request(method, path, content, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.headers.get("x-version", ""), answer.read().decode()
    finally:
        connection.close()


def fail(port: int, file: Path, **faults: Any) -> None:
    """Let the application of a port, which follows a file, fail from now on; no fault given: work again."""
    file.write_text(json.dumps(faults))
    until(lambda: json.loads(ask(port, "/__status")[2])["faults"] == Faults(**faults).as_dict())


def until(condition: Callable[[], Any], seconds: float = 10.0) -> Any:
    """Return the condition's first true value; AssertionError where it does not come."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
    return found


def answers(port: int) -> bool:
    with contextlib.suppress(OSError):
        return ask(port, "/__status")[0] == 200
    return False


def chance(observed: Sequence[int], weights: Sequence[float]) -> float:
    """Return the p-value of a two-way split (chi-square, one degree of freedom)."""
    total, whole = sum(observed), sum(weights)
    pairs = zip(observed, weights, strict=True)
    statistic = sum((count - total * weight / whole) ** 2 / (total * weight / whole) for count, weight in pairs)
    return math.erfc(math.sqrt(statistic / 2))


class World:
    """ServiceA's sidecar in front of serviceB and serviceBv2, each an application behind its own sidecar."""

    def __init__(self, directory: Path, first: Mesh, protocol: str = "http2") -> None:
        self.directory, self.mesh, self.protocol, self.version = directory, first, protocol, 0
        ports, self.sockets = free_ports(9), socket_folder()
        self.ports = {
            name: Ports(str(socket_of(self.sockets, name)), egress, {PORT: ingress}, {PORT: app})
            for name, (egress, ingress, app) in zip(
                first.virtual_nodes, (ports[i : i + 3] for i in range(0, 9, 3)), strict=True
            )
        }
        self.endpoints = {(name, PORT): [("127.0.0.1", p.ingress[PORT])] for name, p in self.ports.items()}
        self.sidecars = {name: Sidecar(directory / name, p.admin) for name, p in self.ports.items()}
        self.applications: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def egress(self) -> int:
        return self.ports["serviceA"].egress

    def app_port(self, name: str) -> int:
        return self.ports[name].app[PORT]

    def files(self, name: str, wanted: Mesh) -> dict[str, dict[str, Any]]:
        return sidecar_files(wanted, name, self.ports[name], self.endpoints, str(self.version), latency_limits_ms=[200])

    def start(self) -> World:
        for name, version in {"serviceB": "v1", "serviceBv2": "v2"}.items():
            self.applications[name] = application(
                self.app_port(name), version, "--faults-file", str(self.directory / f"{name}.faults")
            )
        for name, sidecar in self.sidecars.items():
            sidecar.write_files(self.files(name, self.mesh))
            sidecar.start()
        for sidecar in self.sidecars.values():
            until(sidecar.live)
        for name in self.applications:
            until(lambda name=name: answers(self.app_port(name)))
        return self

    def fail(self, name: str, **faults: Any) -> None:
        """Let an application fail from now on."""
        fail(self.app_port(name), self.directory / f"{name}.faults", **faults)

    def update(self, wanted: Mesh) -> list[str]:
        """Give serviceA's sidecar a new mesh and return the files written."""
        self.version, self.mesh = self.version + 1, wanted
        return self.sidecars["serviceA"].write_files(self.files("serviceA", wanted))

    def caller(self, rate: float = 300, name: str = NAME, **options: Any) -> Caller:
        given: dict[str, Any] = {
            "resolve": lambda _: ["10.0.0.1"],
            "route_to": lambda _: ("127.0.0.1", self.egress),
        }
        return Caller(name, PORT, self.protocol, requests_per_second=rate, **given | options)

    def stop(self) -> None:
        for sidecar in self.sidecars.values():
            sidecar.stop()
        for process in self.applications.values():
            process.kill()
            process.wait()
        shutil.rmtree(self.sockets)


@contextlib.contextmanager
def world(directory: Path, first: Mesh | None = None, protocol: str = "http2") -> Iterator[World]:
    built = World(directory, first or mesh(protocol=protocol), protocol)
    try:
        yield built.start()
    finally:
        built.stop()
