"""Check what a parameters file's single fields cannot tell: references, sums,
protocols along a route.

Pure: it reads parsed parameters and yields a sentence for each thing
that must be mended.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Sequence

from runbook_lib.parameters.appmesh import Header, Match, Route
from runbook_lib.parameters.model import Parameters, Service
from runbook_lib.parameters.spelling import nearest
from runbook_lib.task_definition.fargate import has_size
from runbook_lib.task_definition.image import image_problems

HTTP = ("http", "http2")
MATCH_WORDS: dict[str, tuple[str, ...]] = {
    "prefix": HTTP,
    "path": HTTP,
    "path_regex": HTTP,
    "query_parameters": HTTP,
    "scheme": HTTP,
    "method": HTTP,
    "headers": (*HTTP, "grpc"),
    "service": ("grpc",),
    "grpc_method": ("grpc",),
}
HEADER_WAYS = ("exact", "prefix", "suffix", "regex", "range")
FARGATE_DRIVERS = ("awslogs", "awsfirelens", "splunk")  # the LogConfiguration's docs
HIDDEN_SECONDS = 15  # a request's time limit on a route or listener that states none


BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")

REQUIRED: dict[str, tuple[str, ...]] = {
    "appmesh": ("mesh", "namespace", "port", "protocol", "virtual_services"),
    "alb": ("alb",),
}
OWN: dict[str, tuple[str, ...]] = {
    "appmesh": ("mesh", "envoy", "iam", "virtual_services", "routers"),
    "alb": ("alb",),
}
MOST_HEADER = 40  # of a header's name in a rule
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


def problems(p: Parameters) -> Iterator[str]:
    """Yield what single fields cannot tell: references, sums,
    protocols along a route.
    """
    sections = list(_check_sections(p))
    yield from sections
    if sections:  # what is checked next stands in them
        return
    common = (_check_services, _check_shift, _check_verdict, _check_records)
    own = {
        "appmesh": (
            _check_image,
            _check_backends,
            _check_providers,
            _check_callers,
            _check_routes,
            _check_words,
            _check_router,
        ),
        "alb": (_check_rule, _check_groups, _check_dialled),
    }
    for check in (*common, *own[p.engine]):
        yield from check(p)


# --- which engine's section it is -----------------------------------------------------


def _check_sections(p: Parameters) -> Iterator[str]:
    """Yield each section that the file's engine needs and lacks, and each that
    is another engine's.
    """
    said = p.model_fields_set
    for name in REQUIRED[p.engine]:
        if name not in said:
            yield f"{name}: expected, since engine is {p.engine}; found none"
    for engine, names in OWN.items():
        for name in names:
            if engine != p.engine and name in said:
                yield (
                    f"{name}: a section of engine {engine}; expected none, since "
                    f"engine is {p.engine}"
                )
    yield from _check_keys_of_services(p)


def _check_keys_of_services(p: Parameters) -> Iterator[str]:
    for name, service in p.services.items():
        said = service.model_fields_set
        only_calls = service.ports == []
        if p.engine == "appmesh" and "hostname" not in said and not only_calls:
            yield (
                f"services.{name}.hostname: expected, since engine is "
                "appmesh; found none"
            )
        for key in OF_LISTENERS:
            if only_calls and key in said:
                yield (
                    f"services.{name}.{key}: applies to a service that listens; ports "
                    "is empty here: it only calls"
                )
        for key in OWN_OF_SERVICES:
            if p.engine != "appmesh" and key in said:
                yield (
                    f"services.{name}.{key}: a key of engine appmesh; expected none, "
                    f"since engine is {p.engine}"
                )


# --- the rule of a load balancer ------------------------------------------------------


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


def _check_rule(p: Parameters) -> Iterator[str]:
    if bool(p.alb.rule) == bool(p.alb.name):
        found = "both" if p.alb.name else "none"
        yield (
            "alb: expected rule, the ARN of one that is there, or name, that of a load "
            f"balancer to make; found {found}"
        )
    elif p.alb.rule:
        yield from _check_given(p, p.alb.rule)
    else:
        yield from _check_made(p)


def _check_given(p: Parameters, rule: str) -> Iterator[str]:
    yield from _check_place(p, "alb.rule", rule)
    for key in TO_MAKE:
        if key in p.alb.model_fields_set:
            yield (
                f"alb.{key}: of a load balancer that the runbook makes; expected none "
                "beside alb.rule"
            )


def _check_place(p: Parameters, key: str, arn: str) -> Iterator[str]:
    _, _, _, region, account, _ = arn.split(":", 5)
    if (region, account) != (p.region, p.account_id):
        yield (
            f"{key}: expected one of account {p.account_id} in "
            f"{p.region}, as the file says; "
            f"found account {account}, {region}"
        )


def _check_made(p: Parameters) -> Iterator[str]:
    if p.protocol == "grpc":
        yield (
            "protocol: expected http or http2: the runbook makes no load balancer for "
            "gRPC, whose errors none counts (alb.rule: one that is there); found 'grpc'"
        )
    elif p.protocol != "http" and p.alb.certificate is None:
        yield (
            "alb.certificate: expected one for protocol "
            f"{p.protocol}: a load balancer takes HTTP/2 over TLS alone; found none"
        )
    if p.alb.certificate is not None:
        yield from _check_place(p, "alb.certificate", p.alb.certificate)
    if len(p.alb.subnets) == 1:
        yield "alb.subnets: expected two at least, in two zones; found 1"
    check = p.alb.health_check
    if check.timeout_seconds >= check.interval_seconds:
        yield (
            "alb.health_check.timeout_seconds: expected less than interval_seconds "
            f"{check.interval_seconds}; found {check.timeout_seconds}"
        )
    for name in (p.shift.stable, p.shift.canary):
        if name in p.services and not (p.services[name].ports or p.port):
            yield f"services.{name}.ports: expected the port its targets listen on"


def _check_groups(p: Parameters) -> Iterator[str]:
    for name in p.alb.target_groups:
        yield from _known("alb.target_groups", "service", name, p.services)
    yield from _doubles(
        "alb.target_groups", [p.target_group_of(name) for name in p.services]
    )


def _check_dialled(p: Parameters) -> Iterator[str]:
    if p.protocol == "tcp":
        yield (
            "protocol: expected http, http2 or grpc: no rule of a load balancer "
            "divides tcp; found 'tcp'"
        )
    if p.shift.route is not None:
        yield (
            "shift.route: a key of engine appmesh; expected none; found "
            f"{p.shift.route!r}"
        )
    trial = p.shift.trial
    if trial is not None and len(trial.header) > MOST_HEADER:
        yield (
            f"shift.trial.header: a rule takes at most {MOST_HEADER} characters; "
            f"found {len(trial.header)}"
        )
    for name, service in p.services.items():
        for backend in service.backends:
            yield from _known(
                f"services.{name}.backends", "name", backend, [p.shift.name, *p.names]
            )


# --- what every file says -------------------------------------------------------------


def _check_image(p: Parameters) -> Iterator[str]:
    yield from image_problems(p.region, p.envoy.image_tag, fips=p.envoy.fips)
    if p.envoy.ignored_uid not in (None, p.envoy.user):
        yield (
            f"envoy.ignored_uid: expected Envoy's user {p.envoy.user!r}; found "
            f"{p.envoy.ignored_uid!r}"
        )
    on_fargate = [name for name in p.services if p.launch_type_of(name) == "FARGATE"]
    if p.envoy.log and on_fargate and p.envoy.log.driver not in FARGATE_DRIVERS:
        yield (
            f"envoy.log.driver: expected one of {', '.join(FARGATE_DRIVERS)}, since "
            f"{', '.join(on_fargate)} run on FARGATE; found {p.envoy.log.driver!r}"
        )


def _check_records(p: Parameters) -> Iterator[str]:
    scheme, separator, rest = (p.records or "").partition("://")
    if separator and (scheme != "s3" or not BUCKET.fullmatch(rest.partition("/")[0])):
        yield f"records: expected a folder, or s3://BUCKET/PREFIX; found {p.records!r}"


def _check_verdict(p: Parameters) -> Iterator[str]:
    rule = p.shift.verdict
    if {"errors", *(["slow"] if rule.slow_millis else [])} <= {*rule.muted}:
        yield (
            "shift.verdict.muted: expected a metric that decides; found all of them "
            f"muted: {', '.join(rule.muted)}"
        )
    if rule.errors_by_alarm and not p.shift.alarms:
        yield (
            "shift.verdict.errors_by_alarm: expected at least one alarm in "
            "shift.alarms; found none"
        )


def _check_services(p: Parameters) -> Iterator[str]:
    for name, service in p.services.items():
        where = f"services.{name}"
        sized = p.launch_type_of(name) == "FARGATE" and (service.cpu or service.memory)
        if sized and not has_size(service.cpu or 0, service.memory or 0):
            yield (
                f"{where}: Fargate has no size of {service.cpu} CPU units with "
                f"{service.memory} MiB; give both"
            )
    yield from _doubles(
        "services.*.hostname", [s.hostname for s in p.services.values() if s.hostname]
    )
    yield from _doubles(
        "services.*.ecs_service", [p.ecs_service_of(n) for n in p.services]
    )


def _check_backends(p: Parameters) -> Iterator[str]:
    for name, service in p.services.items():
        for backend in service.backends:
            yield from _known(
                f"services.{name}.backends",
                "virtual service",
                backend,
                p.virtual_services,
            )


def _doubles(where: str, values: list[str]) -> Iterator[str]:
    for value in sorted({v for v in values if values.count(v) > 1}):
        yield (
            f"{where}: expected distinct values; found {value!r} "
            f"{values.count(value)} times"
        )


def _check_callers(p: Parameters) -> Iterator[str]:
    """Yield where a service that only calls is to be called."""
    called = {
        f"virtual_services.{name}": [provider.node]
        for name, provider in p.virtual_services.items()
        if provider.node
    }
    for router_name, router in p.routers.items():
        for name, route in router.routes.items():
            called[f"routers.{router_name}.routes.{name}.targets"] = route.names
    for where, names in called.items():
        for name in names:
            if name in p.services and p.only_calls(name):
                yield f"{where}: expected a service that listens; {name} only calls"


def _check_providers(p: Parameters) -> Iterator[str]:
    for name, provider in p.virtual_services.items():
        if provider.node:
            yield from _known(
                f"virtual_services.{name}", "service", provider.node, p.services
            )
        elif provider.router:
            yield from _known(
                f"virtual_services.{name}", "router", provider.router, p.routers
            )


def _check_routes(p: Parameters) -> Iterator[str]:
    for router_name, router in p.routers.items():
        for name, route in router.routes.items():
            where = f"routers.{router_name}.routes.{name}.targets"
            yield from _check_targets(
                p, where, route, under_shift=_under_shift(p, router_name, name)
            )
            yield from _check_protocols(p, where, router.protocol or p.protocol, route)


def _check_words(p: Parameters) -> Iterator[str]:
    """Yield each word that the protocol it stands under cannot use: left out in silence
    it would mean everything.
    """
    for name, service in p.services.items():
        yield from _check_service_words(
            f"services.{name}", p.protocol_of(name), service
        )
    for router_name, router in p.routers.items():
        for name, route in router.routes.items():
            where, protocol = (
                f"routers.{router_name}.routes.{name}",
                router.protocol or p.protocol,
            )
            yield from _check_match(f"{where}.match", protocol, route.match)
            port = router.port or p.port
            if route.match.port not in (None, port):
                yield (
                    f"{where}.match.port: expected the router's {port}; "
                    f"found {route.match.port}"
                )
            yield from _check_retry(f"{where}.retry", protocol, route)
            yield from _check_limits(
                p, f"{where}.timeout.per_request_seconds", protocol, route
            )


def _check_service_words(where: str, protocol: str, service: Service) -> Iterator[str]:
    if service.health_check and service.health_check.path and protocol not in HTTP:
        yield _not_for(f"{where}.health_check.path", protocol, HTTP)
    if (
        service.timeout
        and service.timeout.per_request_seconds is not None
        and protocol == "tcp"
    ):
        yield _not_for(
            f"{where}.timeout.per_request_seconds", protocol, (*HTTP, "grpc")
        )


def _check_match(where: str, protocol: str, match: Match) -> Iterator[str]:
    for word, protocols in MATCH_WORDS.items():
        value = getattr(match, word)
        # says nothing, under any protocol
        everything = word == "prefix" and value == "/"
        if value and not everything and protocol not in protocols:
            yield _not_for(f"{where}.{word}", protocol, protocols)
    yield from _one_of(where, match, ("prefix", "path", "path_regex"))
    yield from _expression(f"{where}.path_regex", match.path_regex)
    if match.grpc_method and not match.service:
        yield f"{where}.grpc_method: expected a service beside it; found none"
    for number, header in enumerate(match.headers, 1):
        at = f"{where}.headers (item {number})"
        yield from _one_of(at, header, HEADER_WAYS)
        yield from _expression(f"{at}.regex", header.regex)
        if header.range and header.range.start >= header.range.end:
            found = f"{header.range.start} and {header.range.end}"
            yield f"{at}.range: expected a start below its end; found {found}"


def _one_of(where: str, record: Match | Header, words: Sequence[str]) -> Iterator[str]:
    """Yield where more than one of some words is said, of which one alone counts."""
    found = [word for word in words if getattr(record, word) is not None]
    if len(found) > 1:
        many = "both" if len(found) == 2 else f"{len(found)} of them"
        yield f"{where}: expected {' or '.join(found)}; found {many}"


def _expression(where: str, regex: str | None) -> Iterator[str]:
    """Yield where a regular expression is none; Envoy would keep its former routes."""
    try:
        re.compile(regex or "")
    except re.error as error:
        yield f"{where}: expected a regular expression; found {regex!r}: {error}"


def _check_retry(where: str, protocol: str, route: Route) -> Iterator[str]:
    retry, own = route.retry, "retry" in route.model_fields_set
    if protocol == "tcp":
        if own:
            yield _not_for(where, protocol, (*HTTP, "grpc"))
        return
    if (
        protocol in HTTP
        and "grpc_events" in retry.model_fields_set
        and retry.grpc_events
    ):
        yield _not_for(f"{where}.grpc_events", protocol, ("grpc",))
    kinds = [
        retry.http_events,
        retry.tcp_events,
        *([retry.grpc_events] if protocol == "grpc" else []),
    ]
    if not any(kinds):
        yield (
            f"{where}: expected at least one event; found none; to try nothing again "
            "say max_retries: 0"
        )


def _check_limits(
    p: Parameters, where: str, protocol: str, route: Route
) -> Iterator[str]:
    """A listener without a limit of its own cuts after 15 s,
    whatever the route allows.
    """
    limit = route.timeout.per_request_seconds
    if protocol == "tcp":
        if limit is not None and "timeout" in route.model_fields_set:
            yield _not_for(where, protocol, (*HTTP, "grpc"))
        return
    if limit and limit > HIDDEN_SECONDS:
        for name, cut in _cuts_before(p, route, limit):
            at = f"services.{name}.timeout.per_request_seconds"
            yield (
                f"{where}: {limit} s on the route, but {name} cuts a request at {cut} "
                f"s; expected as much at {at}"
            )


def notes(p: Parameters) -> Iterator[str]:
    """Yield what is legal and may surprise: time limits, and output that is lost."""
    yield from _unlimited(p)
    yield from _unlogged(p)


def _unlogged(p: Parameters) -> Iterator[str]:
    """Yield where Envoy's output is lost; the local mesh keeps it in a file."""
    if p.engine != "appmesh" or p.rehearsed or p.envoy.log:
        return
    on_fargate = [name for name in p.services if p.launch_type_of(name) == "FARGATE"]
    if on_fargate:
        yield (
            "envoy.log: none, so on Fargate Envoy's output goes nowhere, an access "
            f"log on /dev/stdout included; services: {', '.join(on_fargate)}"
        )


def _unlimited(p: Parameters) -> Iterator[str]:
    """Yield each route without a time limit whose targets have one."""
    for router_name, router in p.routers.items():
        for name, route in router.routes.items():
            where = f"routers.{router_name}.routes.{name}.timeout.per_request_seconds"
            if route.timeout.per_request_seconds == 0:
                for target, cut in _cuts_before(p, route, math.inf):
                    at = f"services.{target}.timeout.per_request_seconds: 0"
                    yield (
                        f"{where}: no limit on the route, but {target} cuts a request "
                        f"at {cut} s without {at}"
                    )


def _cuts_before(
    p: Parameters, route: Route, limit: float
) -> Iterator[tuple[str, int]]:
    """Yield each target whose listener ends a request sooner than `limit` seconds,
    and after how many.
    """
    for name in route.names:
        timeout = p.services[name].timeout if name in p.services else None
        own = timeout.per_request_seconds if timeout else None
        cut = HIDDEN_SECONDS if own is None else own
        if 0 < cut < limit:  # 0 is no limit
            yield name, cut


def _not_for(where: str, protocol: str, protocols: Collection[str]) -> str:
    return (
        f"{where}: applies to {', '.join(protocols)} only; the protocol "
        f"here is {protocol}"
    )


def _under_shift(p: Parameters, router: str, route: str) -> bool:
    provider = p.virtual_services.get(p.shift.name)
    routes = p.routers[router].routes
    return (
        provider is not None
        and provider.router == router
        and (p.shift.route == route or len(routes) == 1)
    )


def _check_targets(
    p: Parameters, where: str, route: Route, *, under_shift: bool
) -> Iterator[str]:
    names = route.names
    if not 1 <= len(names) <= 10:
        yield f"{where}: expected 1 to 10 targets; found {len(names)}"
    yield from _doubles(where, names)
    for name in names:
        yield from _known(where, "service", name, p.services)
    if under_shift:
        if isinstance(route.targets, dict):
            yield (
                f"{where}: expected names only, since `shift` moves these "
                "weights; found weights"
            )
        if set(names) != {p.shift.stable, p.shift.canary}:
            yield (
                f"{where}: expected the shift's "
                f"{[p.shift.stable, p.shift.canary]}; found {names}"
            )
    elif isinstance(route.targets, dict):
        if sum(route.targets.values()) != 100:
            yield (
                f"{where}: expected weights that sum to 100; found "
                f"{sum(route.targets.values())}"
            )
    elif len(names) > 1:
        yield (
            f"{where}: expected a weight for each, since this route is not under "
            "shift; found names only"
        )


def _check_protocols(
    p: Parameters, where: str, protocol: str, route: Route
) -> Iterator[str]:
    for name in route.names:
        own = p.protocol_of(name) if name in p.services else protocol
        if own != protocol:
            yield (
                f"{where}: expected one protocol along a route, the router's "
                f"{protocol}; {name} has {own}"
            )


def _check_shift(p: Parameters) -> Iterator[str]:
    if p.shift.stable == p.shift.canary:
        yield (
            "shift.canary: expected another service than shift.stable; found "
            f"{p.shift.canary!r} twice"
        )
    for field in ("stable", "canary"):
        if getattr(p.shift, field) not in p.services:
            yield (
                f"shift.{field}: no service {getattr(p.shift, field)!r}; expected one "
                f"of {list(p.services)}"
            )
    rule = p.shift.approvals
    listed = set(rule.approvers)
    may_be_many = not listed or any("*" in one for one in listed)
    if not may_be_many and rule.required > len(listed):
        yield (
            "shift.approvals.required: expected at most the number of approvers, "
            f"{len(listed)}; found {rule.required}"
        )


def _check_router(p: Parameters) -> Iterator[str]:
    """Yield where the shift's name and route are not among the routers'."""
    provider = p.virtual_services.get(p.shift.name)
    if provider is None or provider.router not in p.routers:
        routed = [n for n, v in p.virtual_services.items() if v.router]
        yield (
            f"shift.name: expected a virtual service with a router, one of {routed}; "
            f"found {p.shift.name!r}"
        )
        return
    routes = list(p.routers[provider.router].routes)
    if p.shift.route not in routes and not (p.shift.route is None and len(routes) == 1):
        yield f"shift.route: expected one of {routes}; found {p.shift.route!r}"


def _known(where: str, kind: str, name: str, known: Collection[str]) -> Iterator[str]:
    if name not in known:
        yield (
            f"{where}: no {kind} {name!r}; "
            f"{nearest(name, [*known]) or f'expected one of {[*known]}'}"
        )
