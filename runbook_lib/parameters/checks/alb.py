"""Check the section of a load balancer's rule: one that is there, or one made. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from runbook_lib.parameters.checks.sentences import doubled, unknown
from runbook_lib.parameters.model import Parameters

MOST_HEADER = 40  # of a header's name in a rule
# What of `alb` says how to make a load balancer.
TO_MAKE = (
    "port",
    "certificate",
    "priority",
    "path",
    "subnets",
    "security_groups",
    "health_check",
    "deregistration_delay_seconds",
    "idle_seconds",
    "deletion_protection",
    "holding_vpc",
)


def alb(p: Parameters) -> Iterator[str]:
    """Yield what is wrong with the section `alb`, and with a shift by it."""
    yield from _rule(p)
    yield from _groups(p)
    yield from _shift(p)
    yield from _backends(p)


def _rule(p: Parameters) -> Iterator[str]:
    if bool(p.alb.rule) == bool(p.alb.name):
        found = "both" if p.alb.name else "none"
        yield (
            "alb: expected rule, the ARN of one that is there, or name, that of a load "
            f"balancer to make; found {found}"
        )
    elif p.alb.rule:
        yield from _place(p, "alb.rule", p.alb.rule)
        yield from _keys_to_make(p)
    else:
        yield from _made(p)


def _place(p: Parameters, key: str, arn: str) -> Iterator[str]:
    """Yield where an ARN is another account's, or in another region."""
    _, _, _, region, account, _ = arn.split(":", 5)
    if (region, account) != (p.region, p.account_id):
        yield (
            f"{key}: expected one of account {p.account_id} in {p.region}, as the file "
            f"says; found account {account}, {region}"
        )


def _keys_to_make(p: Parameters) -> Iterator[str]:
    for key in TO_MAKE:
        if key in p.alb.model_fields_set:
            yield (
                f"alb.{key}: of a load balancer that the runbook makes; expected none "
                "beside alb.rule"
            )


# --- one to make ----------------------------------------------------------------------


def _made(p: Parameters) -> Iterator[str]:
    yield from _protocol_to_make(p)
    if p.alb.certificate is not None:
        yield from _place(p, "alb.certificate", p.alb.certificate)
    if len(p.alb.subnets) == 1:
        yield "alb.subnets: expected two at least, in two zones; found 1"
    yield from _health_check(p)
    for name in p.shift.versions:
        if name in p.services and not (p.services[name].ports or p.port):
            yield f"services.{name}.ports: expected the port its targets listen on"


def _protocol_to_make(p: Parameters) -> Iterator[str]:
    if p.protocol == "grpc":
        yield (
            "protocol: expected http or http2: the runbook makes no load balancer for "
            "gRPC, whose errors none counts (alb.rule: one that is there); found 'grpc'"
        )
    elif p.protocol != "http" and p.alb.certificate is None:
        yield (
            f"alb.certificate: expected one for protocol {p.protocol}: a load balancer "
            "takes HTTP/2 over TLS alone; found none"
        )


def _health_check(p: Parameters) -> Iterator[str]:
    check = p.alb.health_check
    if check.timeout_seconds >= check.interval_seconds:
        yield (
            "alb.health_check.timeout_seconds: expected less than interval_seconds "
            f"{check.interval_seconds}; found {check.timeout_seconds}"
        )


# --- what the shift needs of it -------------------------------------------------------


def _groups(p: Parameters) -> Iterator[str]:
    for name in p.alb.target_groups:
        yield from unknown("alb.target_groups", "service", name, p.services)
    groups = [p.target_group_of(name) for name in p.services]
    yield from doubled("alb.target_groups", groups)


def _shift(p: Parameters) -> Iterator[str]:
    if p.protocol == "tcp":
        yield (
            "protocol: expected http, http2 or grpc: no rule of a load balancer "
            "divides tcp; found 'tcp'"
        )
    route = p.shift.route
    if route is not None:
        yield f"shift.route: a key of engine appmesh; expected none; found {route!r}"
    trial = p.shift.trial
    if trial is not None and len(trial.header) > MOST_HEADER:
        yield (
            f"shift.trial.header: a rule takes at most {MOST_HEADER} characters; "
            f"found {len(trial.header)}"
        )


def _backends(p: Parameters) -> Iterator[str]:
    known = [p.shift.name, *p.names]
    for name, service in p.services.items():
        for backend in service.backends:
            yield from unknown(f"services.{name}.backends", "name", backend, known)
