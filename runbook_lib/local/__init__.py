"""The local mesh: what a laptop can run of AWS, so that any environment's file can be rehearsed.

`connect` is all the rest of the runbook asks of it.
"""

from __future__ import annotations

from runbook_lib.local import supervisor, world
from runbook_lib.parameters import Parameters
from runbook_lib.session import Connection

__all__ = ["connect"]


def connect(parameters: Parameters) -> Connection:
    """Return the way to the local mesh, started and holding the environment's services where it did not yet.

    Raises TargetError where the process that held a rehearsal has died: in one sentence, once.
    """
    mesh = supervisor.ensure()
    account = world.ensure(parameters, mesh)
    return Connection(mesh.endpoint, {world.ACCOUNT_HEADER: account})
