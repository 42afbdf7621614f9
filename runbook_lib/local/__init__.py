"""The local mesh: what a laptop can run of AWS, so that any environment's
file can be rehearsed.

`connect` is all the rest of the runbook asks of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # its processes import this package too, and need nothing of it
    from runbook_lib.aws.session import Connection
    from runbook_lib.parameters import Parameters

__all__ = ["connect", "inject", "uncarried"]

PROBE_SECONDS = 60.0  # a caller waits for an answer up to twenty


def connect(parameters: Parameters) -> Connection:
    """Return the way to the local mesh, started and holding the environment's services
    where it did not yet.

    Raises ParametersError for a file of which it cannot carry the traffic, before
    anything starts, and TargetError where the process that held a rehearsal has died:
    in one sentence, once. A call that finds it dead says the same, and is not tried
    again.
    """
    from runbook_lib.aws.session import Connection
    from runbook_lib.errors import CallError, ParametersError
    from runbook_lib.local import supervisor, world
    from runbook_lib.local.keys import credentials

    words = uncarried(parameters)
    if words and supervisor.carries_traffic():
        raise ParametersError(
            f"{parameters.environment}: {words}",
            hint="rehearse it with another protocol: -p protocol http2",
        )
    mesh = supervisor.ensure()
    name = world.ensure(parameters, mesh)

    def probe(headers: Mapping[str, str], count: int) -> list[tuple[str, str]]:
        asked = {"environment": name, "headers": dict(headers), "count": count}
        return [
            (version, status)
            for version, status in mesh.ask(
                "/runbook/probe", asked, timeout=PROBE_SECONDS
            )
        ]

    def door(name: str, port: int) -> tuple[str, int]:
        rows = mesh.ask("/runbook/tasks")["load_balancers"]
        ports = [row["ports"] for row in rows if row.get("dns_name") == name.lower()]
        return "127.0.0.1", (ports or [{}])[0].get(str(port), 0)

    def mourn(exception: Exception | None, **_: Any) -> None:
        if exception and supervisor.ended(mesh):
            raise CallError(
                f"the local mesh: {supervisor.GONE}",
                hint=supervisor.AGAIN,
                reason="target",
            )

    return Connection(
        mesh.endpoint,
        prepare=lambda client: client.meta.events.register("response-received", mourn),
        carries_traffic=mesh.ask("/runbook/id")["data_plane"],
        probe=probe,
        door=door,
        world=mesh.id,
        credentials=credentials(mesh.key, parameters.account_id),
    )


def uncarried(parameters: Parameters) -> str:
    """Say what of a file's traffic the local mesh cannot carry; "" where it can."""
    p = parameters
    tcp = [f"services.{name}" for name in p.services if p.protocol_of(name) == "tcp"]
    for name in p.routers:
        if p.protocol_of_router(name) == "tcp":
            tcp.append(f"routers.{name}")
    if not tcp:
        return ""
    return f"the local mesh carries http, http2 and grpc; found tcp: {', '.join(tcp)}"


def identity() -> str:
    """Return what tells the local mesh that runs here from any before it;
    "" where none does.
    """
    from runbook_lib.local import supervisor

    mesh = supervisor.there()
    return mesh.id if mesh else ""


def load_of(parameters: Parameters) -> dict[str, int]:
    """Return what an environment's caller has sent since the local mesh came up, what
    failed, and what was due and not sent; empty where no local mesh runs.
    """
    from runbook_lib.local import callers, supervisor

    mesh = supervisor.running()
    return callers.load_of(mesh, parameters) if mesh else {}


def inject(parameters: Parameters, service: str, **faults: Any) -> None:
    """Let a service's application fail from now on, by the names of `Faults`;
    nothing given mends it.

    Raises ParametersError for a fault there is not, and TargetError where
    no local mesh runs.
    """
    from runbook_lib.errors import ParametersError, TargetError
    from runbook_lib.local import supervisor
    from runbook_lib.local.data_plane.faults import Faults
    from runbook_lib.local.paths import cluster_folder, faults_file
    from runbook_lib.private import private_folder, replace_privately

    try:
        Faults().changed(faults)
    except ValueError as error:
        raise ParametersError(f"fault of {service}: {error}") from error
    if supervisor.there() is None:
        raise TargetError(
            f"fault of {service}: no local mesh is running here",
            hint="start it: `runbook local up`",
        )
    tasks = supervisor.state_folder() / "tasks"
    p = parameters
    folder = private_folder(cluster_folder(tasks, p.account_id, p.region, p.cluster))
    file = faults_file(folder, p.ecs_service_of(service))
    replace_privately(
        file, json.dumps({name: value for name, value in faults.items() if value})
    )
