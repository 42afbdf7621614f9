"""Check what a parameters file's single fields cannot tell: references, sums,
protocols along a route.

Pure: it reads parsed parameters and yields a sentence for each thing
that is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from runbook_lib.parameters.checks import mesh, shift
from runbook_lib.parameters.checks.alb import alb
from runbook_lib.parameters.checks.limits import unlimited
from runbook_lib.parameters.checks.protocols import keys_under_protocols
from runbook_lib.parameters.checks.routes import routes
from runbook_lib.parameters.checks.sections import sections
from runbook_lib.parameters.checks.services import services
from runbook_lib.parameters.model import Parameters

Check = Callable[[Parameters], Iterator[str]]

OF_EVERY_FILE: tuple[Check, ...] = (
    services,
    shift.shift,
    shift.verdict,
    shift.records,
)
OF_ENGINE: dict[str, tuple[Check, ...]] = {
    "appmesh": (
        mesh.envoy,
        mesh.backends,
        mesh.providers,
        mesh.only_callers,
        routes,
        keys_under_protocols,
        mesh.under_shift,
    ),
    "alb": (alb,),
}


def problems(p: Parameters) -> Iterator[str]:
    """Yield what single fields cannot tell: references, sums,
    protocols along a route.
    """
    found = list(sections(p))
    if found:  # what is checked next stands in the sections
        yield from found
        return
    for check in OF_EVERY_FILE + OF_ENGINE[p.engine]:
        yield from check(p)


def notes(p: Parameters) -> Iterator[str]:
    """Yield what is legal and may surprise: time limits, and output that is lost."""
    yield from unlimited(p)
    if p.engine == "appmesh":
        yield from _unlogged(p)


def _unlogged(p: Parameters) -> Iterator[str]:
    """Yield where Envoy's output is lost; the local mesh keeps it in a file."""
    if p.rehearsed or p.envoy.log:
        return
    names = mesh.on_fargate(p)
    if names:
        yield (
            "envoy.log: none, so on Fargate Envoy's output goes nowhere, an access "
            f"log on /dev/stdout included; services: {', '.join(names)}"
        )
