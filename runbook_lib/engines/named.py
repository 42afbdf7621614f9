"""The engines that a parameters file may name, and the one that a session goes by."""

from __future__ import annotations

from collections.abc import Mapping

from runbook_lib.aws.session import Session
from runbook_lib.engines.alb import engine as alb
from runbook_lib.engines.appmesh import engine as appmesh
from runbook_lib.engines.protocol import Engine

ENGINES: Mapping[str, Engine] = {"appmesh": appmesh, "alb": alb}


def engine_of(session: Session) -> Engine:
    """Return what carries the weights: what was handed in, else what
    the parameters name.
    """
    handed_in = session.engine
    if handed_in is None:
        return ENGINES[session.parameters.engine]
    if not isinstance(handed_in, Engine):
        raise TypeError(
            f"expected an Engine, found {type(handed_in).__name__}: it lacks a "
            "verb of the protocol"
        )
    return handed_in
