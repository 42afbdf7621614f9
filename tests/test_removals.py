"""What the file takes out goes, what it does not speak of stays, and the plan says both."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from runbook_lib import survey
from runbook_lib.aws.session import Session
from runbook_lib.engines.appmesh import engine as mesh
from tests.scenes import LOCAL, MESH, change, fact, open_local, reopen, somebody, writes

NODE = {**MESH, "virtualNodeName": "serviceB"}
ROUTE = ("routers", "serviceB", "routes", "serviceB")
SERVICE = ("services", "serviceB")
STEPS = ("01", "02", "03")
EVENTS = ["gateway-error", "stream-error"]
TENANT = {"name": "x-tenant", "exact": "blue"}
CLOUD_MAP = {"service": "serviceb", "attributes": {"stage": "prod"}}

CHECK = "virtual node serviceB: listeners[0].healthCheck"

# where in the file, the value that is there first, and the empty one that takes it out
REMOVALS: dict[str, tuple[tuple[str, ...], Any, Any]] = {
    "access log": (("envoy", "access_log"), "/dev/stdout", None),
    "health check": ((*SERVICE, "health_check"), {"path": "/"}, None),
    "listener timeout": ((*SERVICE, "timeout"), {"per_request_seconds": 60}, None),
    "one of its limits": ((*SERVICE, "timeout", "per_request_seconds"), 60, None),
    "backends": ((*SERVICE, "backends"), ["servicea.apps.local"], []),
    "attributes": ((*SERVICE, "cloud_map"), CLOUD_MAP, {"service": "serviceb", "attributes": {}}),
    "method": ((*ROUTE, "match", "method"), "GET", None),
    "headers": ((*ROUTE, "match", "headers"), [TENANT], []),
    "one of its headers": ((*ROUTE, "match", "headers"), [TENANT, {"name": "x-any"}], [TENANT]),
    "how a header is matched": ((*ROUTE, "match", "headers"), [TENANT], [{"name": "x-tenant"}]),
    "path": ((*ROUTE, "match"), {"path": "/a"}, {"path": None}),
    "retry events": ((*ROUTE, "retry", "http_events"), EVENTS, []),
    "priority": ((*ROUTE, "priority"), 5, None),
    "idle limit": ((*ROUTE, "timeout", "idle_seconds"), 30, None),
    "time limit": ((*ROUTE, "timeout", "per_request_seconds"), 10, None),
}


def file_with(where: tuple[str, ...], value: Any) -> dict[str, Any]:
    """Return LOCAL's values with one of them replaced."""
    values = deepcopy(LOCAL)
    *outer, last = where
    inside = values
    for key in outer:
        inside = inside.setdefault(key, {})
    inside[last] = value
    return values


def file_without(where: tuple[str, ...]) -> dict[str, Any]:
    """Return LOCAL's values without one key."""
    values = deepcopy(LOCAL)
    *outer, last = where
    inside = values
    for key in outer:
        inside = inside[key]
    del inside[last]
    return values


def opened(values: dict[str, Any]) -> Session:
    """Open a session on an empty account, by a file of just these values."""
    session = open_local()
    return reopen(own(values, session), "03")


def own(values: dict[str, Any], session: Session) -> dict[str, Any]:
    kept = ("environment", "account_id", "records")
    return {**values, **{key: ({"environment": "scene"} | dict(session.given))[key] for key in kept}}


def apply_all(session: Session) -> list[str]:
    """Apply 01 to 03; return the fields that changed, each with what it became."""
    fields = []
    for number in STEPS:
        plan = survey(session).plan_resources(number)
        fields += [f"{d.field} -> {d.after}" for each in plan for d in each.diff]
        change(session, plan, *map(fact, plan.needs))
    return fields


def live(session: Session) -> dict[str, Any]:
    return {key: state["spec"] for key, state in mesh.read_live(session).items()}


@pytest.mark.parametrize("what", REMOVALS)
def test_null_or_empty_takes_out_and_the_plan_shows_it(what: str) -> None:
    where, value, empty = REMOVALS[what]
    session = opened(file_with(where, value))
    apply_all(session)
    without = reopen(own(file_with(where, empty), session), "03")
    assert apply_all(without)
    alone = opened(file_with(where, empty))
    apply_all(alone)
    assert live(without) == live(alone)
    before = writes(without)
    assert apply_all(reopen(without, "03")) == []
    assert writes(without) == before


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        (("envoy", "access_log"), 'virtual node serviceB: logging.accessLog.file.path: "/tmp/log"'),
        ((*SERVICE, "health_check", "interval_millis"), f"{CHECK}.intervalMillis: 6000"),
        ((*ROUTE, "priority"), "route serviceB/serviceB: priority: 7"),
        ((*ROUTE, "timeout"), "route serviceB/serviceB: http2Route.timeout.perRequest.value: 9"),
    ],
)
def test_a_key_the_file_does_not_have_keeps_what_is_live_and_is_listed(where: tuple[str, ...], kept: str) -> None:
    values: dict[tuple[str, ...], Any] = {
        ("envoy", "access_log"): "/tmp/log",
        (*SERVICE, "health_check", "interval_millis"): 6000,
        (*ROUTE, "priority"): 7,
        (*ROUTE, "timeout"): {"per_request_seconds": 9},
    }
    session = opened(file_with(where, values[where]))
    apply_all(session)
    before = live(session)
    silent = file_with((*SERVICE, "health_check"), {}) if "health_check" in where else LOCAL
    if where[-1] in ("access_log", "timeout"):
        silent = file_without(where)
    later = reopen(own(silent, session), "03")
    plans = [survey(later).plan_resources(number) for number in STEPS]
    assert kept in [line for plan in plans for line in plan.kept]
    apply_all(later)
    assert live(later) == before


def test_a_part_that_is_new_gets_the_defaults_of_what_it_leaves_out() -> None:
    session = opened(LOCAL)
    apply_all(session)
    checked = reopen(own(file_with((*SERVICE, "health_check"), {"interval_millis": 7000}), session), "03")
    apply_all(checked)
    check = somebody(checked).describe_virtual_node(**NODE)["virtualNode"]["spec"]["listeners"][0]["healthCheck"]
    assert (check["intervalMillis"], check["timeoutMillis"], check["path"]) == (7000, 5000, "/")


def test_a_removal_that_aws_does_not_make_is_not_taken_for_made() -> None:
    session = opened(file_with((*ROUTE, "priority"), 5))
    apply_all(session)
    later = reopen(own(file_with((*ROUTE, "priority"), None), session), "03")
    (planned,) = survey(later).plan_resources("03")
    assert planned.wanted["spec"]["priority"] is None
