"""Build the spec of a service's virtual node, and name both node and mesh as AWS does.
Pure.
"""

from __future__ import annotations

from typing import Any

from runbook_lib.aws.naming import arn
from runbook_lib.engines.appmesh.spec.wanted import said, time_limits, value_of
from runbook_lib.parameters.appmesh import HealthCheck
from runbook_lib.parameters.model import Parameters


def mesh_arn(p: Parameters) -> str:
    """Return the ARN of the mesh; those of what is in it begin with it."""
    return arn(p, "appmesh", f"mesh/{p.mesh.name}")


def node_arn(p: Parameters, service: str) -> str:
    """Return the ARN of a service's virtual node: the identity of its Envoy."""
    return f"{mesh_arn(p)}/virtualNode/{service}"


def node_spec(p: Parameters, name: str) -> dict[str, Any]:
    """Return a node's spec; a service that only calls has no listener, and is found
    by nobody.
    """
    return {
        "listeners": [_listener(p, name, port) for port in p.ports_of(name)] or None,
        "serviceDiscovery": None if p.only_calls(name) else _discovery(p, name),
        "backends": _backends(p, name),
        "logging": _logging(p, name),
    }


def _backends(p: Parameters, name: str) -> Any:
    service = p.services[name]
    backends = [
        {"virtualService": {"virtualServiceName": backend}}
        for backend in service.backends
    ]
    return said(service, "backends", backends)


def _logging(p: Parameters, name: str) -> Any:
    """Return where Envoy writes its access log: as the service says, else as the file
    says of every Envoy.
    """
    service = p.services[name]
    speaker = service if "access_log" in service.model_fields_set else p.envoy
    log = None
    if speaker.access_log:
        log = {"accessLog": {"file": {"path": speaker.access_log}}}
    return said(speaker, "access_log", log)


def _listener(p: Parameters, name: str, port: int) -> dict[str, Any]:
    service = p.services[name]
    protocol = p.protocol_of(name)
    check = None
    if service.health_check:
        check = _health_check(service.health_check, protocol, port)
    timeout = None
    if service.timeout:
        timeout = {protocol: time_limits(service.timeout, protocol)}
    return {
        "portMapping": {"port": port, "protocol": protocol},
        "healthCheck": said(service, "health_check", check),
        "timeout": said(service, "timeout", timeout),
    }


def _health_check(check: HealthCheck, protocol: str, port: int) -> dict[str, Any]:
    path = None  # tcp and grpc know none
    if protocol in ("http", "http2"):
        path = said(check, "path", check.path or "/")
    return {
        "protocol": protocol,
        "port": port,
        "intervalMillis": value_of(check, "interval_millis"),
        "timeoutMillis": value_of(check, "timeout_millis"),
        "healthyThreshold": value_of(check, "healthy_threshold"),
        "unhealthyThreshold": value_of(check, "unhealthy_threshold"),
        "path": path,
    }


def _discovery(p: Parameters, name: str) -> dict[str, Any]:
    """Return how Envoys find a node: by a DNS name, or in Cloud Map."""
    service = p.services[name]
    cloud_map = service.cloud_map
    if cloud_map is None:
        return {"dns": {"hostname": service.hostname}, "awsCloudMap": None}
    attributes = [
        {"key": key, "value": value} for key, value in cloud_map.attributes.items()
    ]
    found = {
        "namespaceName": cloud_map.namespace or p.namespace,
        "serviceName": cloud_map.service,
        "attributes": said(cloud_map, "attributes", attributes),
    }
    return {"dns": None, "awsCloudMap": found}
