"""Check what several keys say of services, whatever carries the weights. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from runbook_lib.parameters.checks.sentences import doubled
from runbook_lib.parameters.model import Parameters
from runbook_lib.task_definition.fargate import has_size


def services(p: Parameters) -> Iterator[str]:
    """Yield sizes that Fargate does not have, and names that two services share."""
    yield from _sizes(p)
    hostnames = [each.hostname for each in p.services.values() if each.hostname]
    yield from doubled("services.*.hostname", hostnames)
    own_names = [p.ecs_service_of(name) for name in p.services]
    yield from doubled("services.*.ecs_service", own_names)


def _sizes(p: Parameters) -> Iterator[str]:
    for name, service in p.services.items():
        if p.launch_type_of(name) != "FARGATE":
            continue
        cpu = service.cpu or 0
        memory = service.memory or 0
        says_a_size = cpu or memory
        if says_a_size and not has_size(cpu, memory):
            yield (
                f"services.{name}: Fargate has no size of {service.cpu} CPU units with "
                f"{service.memory} MiB; give both"
            )
