"""Check which sections and keys the file's engine needs, and which are another's. Pure.

What else is checked stands in them.
"""

from __future__ import annotations

from collections.abc import Iterator

from runbook_lib.parameters.model import Parameters, Service

REQUIRED: dict[str, tuple[str, ...]] = {
    "appmesh": ("mesh", "namespace", "port", "protocol", "virtual_services"),
    "alb": ("alb",),
}
OWN: dict[str, tuple[str, ...]] = {
    "appmesh": ("mesh", "envoy", "iam", "virtual_services", "routers"),
    "alb": ("alb",),
}
# App Mesh's
OF_LISTENERS = ("hostname", "cloud_map", "protocol", "health_check", "timeout")
OWN_OF_SERVICES = (
    "cloud_map",
    "task_role",
    "execution_role",
    "access_log",
    "cpu",
    "memory",
    "health_check",
    "timeout",
)


def sections(p: Parameters) -> Iterator[str]:
    """Yield each section and key that the file's engine needs and lacks, and each that
    is another engine's.
    """
    yield from _required(p)
    yield from _of_another_engine(p)
    for name, service in p.services.items():
        where = f"services.{name}"
        yield from _hostname(p, where, service)
        yield from _of_who_listens(where, service)
        yield from _of_another_engine_s_service(p, where, service)


def _required(p: Parameters) -> Iterator[str]:
    for name in REQUIRED[p.engine]:
        if name not in p.model_fields_set:
            yield f"{name}: expected, since engine is {p.engine}; found none"


def _of_another_engine(p: Parameters) -> Iterator[str]:
    for engine, names in OWN.items():
        for name in names:
            if engine != p.engine and name in p.model_fields_set:
                yield (
                    f"{name}: a section of engine {engine}; expected none, since "
                    f"engine is {p.engine}"
                )


def _hostname(p: Parameters, where: str, service: Service) -> Iterator[str]:
    only_calls = service.ports == []
    if p.engine != "appmesh" or only_calls:
        return
    if "hostname" not in service.model_fields_set:
        yield f"{where}.hostname: expected, since engine is appmesh; found none"


def _of_who_listens(where: str, service: Service) -> Iterator[str]:
    only_calls = service.ports == []
    for key in OF_LISTENERS:
        if only_calls and key in service.model_fields_set:
            yield (
                f"{where}.{key}: applies to a service that listens; ports is empty "
                "here: it only calls"
            )


def _of_another_engine_s_service(
    p: Parameters, where: str, service: Service
) -> Iterator[str]:
    for key in OWN_OF_SERVICES:
        if p.engine != "appmesh" and key in service.model_fields_set:
            yield (
                f"{where}.{key}: a key of engine appmesh; expected none, since engine "
                f"is {p.engine}"
            )
