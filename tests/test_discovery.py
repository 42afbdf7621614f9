"""The names callers dial, and the placeholder that keeps one alive."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from runbook_lib import plan_undo, survey
from runbook_lib.aws import cloud_map
from runbook_lib.aws.cloud_map import PLACEHOLDER, Registered
from runbook_lib.aws.session import Session
from runbook_lib.errors import StalePlanError, WaitError
from runbook_lib.plan import Plan
from tests.scenes import Clock, change, open_at, open_local, reopen, settle, somebody, writes

B = "serviceb.apps.local"


def client(session: Session) -> Any:
    return somebody(session, "servicediscovery")


def registered(session: Session) -> Registered:
    return cloud_map.read_names(session)[B]


def placeholder(session: Session) -> Plan:
    return cloud_map.plan_placeholder(session.parameters, registered(session))


def register(session: Session, address: str, name: str = PLACEHOLDER) -> None:
    client(session).register_instance(
        ServiceId=registered(session).service_id, InstanceId=name, Attributes={"AWS_INSTANCE_IPV4": address}
    )


# Does it, reads it back, keeps the rest, refuses a stale plan.


def test_the_placeholder_outlives_the_tasks() -> None:
    session = open_at("shifted")
    change(session, placeholder(session))
    somebody(session, "ecs").update_service(cluster="apps", service="serviceB", desiredCount=0)
    settle()
    assert registered(session).addresses == ["10.10.10.10"]
    assert placeholder(session).changes == ()


def test_the_placeholder_is_read_back() -> None:
    session = open_at("shifted")
    (made,) = change(session, placeholder(session))
    assert made.state["AWS_INSTANCE_IPV4"] == "10.10.10.10"


def test_the_placeholder_leaves_the_tasks_own_address() -> None:
    session = open_at("shifted")
    (before,) = registered(session).addresses
    change(session, placeholder(session))
    assert registered(session).addresses == sorted([before, "10.10.10.10"])


def test_an_address_registered_in_between_refuses_the_plan() -> None:
    session = open_at("shifted")
    plan = placeholder(session)
    register(session, "10.1.1.1")
    before = writes(session)
    with pytest.raises(StalePlanError):
        change(session, plan)
    assert writes(session) == before


def test_the_files_own_address_is_taken() -> None:
    session = reopen(open_at("shifted"), retirement={"placeholder_ip": "192.0.2.1"})
    change(session, placeholder(session))
    assert "192.0.2.1" in registered(session).addresses


def test_a_name_nobody_registered_gets_no_placeholder() -> None:
    assert placeholder(open_local()).changes == ()


# Its end.


def test_the_placeholder_goes_and_the_other_addresses_stay() -> None:
    session = open_at("retired")
    register(session, "10.1.1.1", "theirs")
    change(session, cloud_map.plan_placeholder_end(registered(session), "90_remove_mesh"))
    assert registered(session).addresses == ["10.1.1.1"]
    assert cloud_map.plan_placeholder_end(registered(session), "90_remove_mesh").changes == ()


def test_a_placeholder_changed_in_between_is_not_taken() -> None:
    session = open_at("retired")
    plan = cloud_map.plan_placeholder_end(registered(session), "90_remove_mesh")
    register(session, "10.1.1.1")
    with pytest.raises(StalePlanError):
        change(session, plan)
    assert registered(session).addresses == ["10.1.1.1"]


def test_it_goes_only_once_a_task_answers_and_is_waited_for_until_nobody_is_sent_to_it() -> None:
    session = reopen(open_at("retired"), clock=Clock(speed=50.0))
    for cut_off in (True, False):
        plan = plan_undo(session, notebook="06_tear_down_service_b")
        gone = next(change for change in plan if change.call.operation == "deregister_instance")
        alone = replace(plan, changes=(gone,))
        if cut_off:
            with pytest.raises(WaitError, match=f"another address of {B}: did not come about"):
                change(session, alone)
            assert registered(session).addresses == ["10.10.10.10"]
            register(session, "10.1.1.1", "theirs")
    began = session.clock()
    change(session, alone)
    assert registered(session).addresses == ["10.1.1.1"]
    assert session.clock() - began >= registered(session).ttl_seconds == 10


def test_each_can_be_taken_back() -> None:
    session = open_at("shifted")
    (there,) = placeholder(session)
    change(session, placeholder(session))
    (gone,) = cloud_map.plan_placeholder_end(registered(session), "90_remove_mesh")
    assert there.inverse
    assert gone.inverse
    assert (there.inverse.call, gone.inverse.call.operation) == (gone.call, "register_instance")


# Reading.


def test_every_name_callers_may_dial_is_read() -> None:
    found = cloud_map.read_names(open_at("plain"))
    assert set(found) == {"servicea.apps.local", B, "servicebv2.apps.local"}
    assert all(len(name.addresses) == 1 for name in found.values())


def test_a_name_is_found_whatever_its_case() -> None:
    session = open_at("plain")
    space = client(session).list_namespaces()["Namespaces"][0]["Id"]
    client(session).create_service(Name="ServiceC", NamespaceId=space)
    services = cloud_map._services(session)
    assert "servicec.apps.local" in services


def test_without_a_namespace_nothing_resolves() -> None:
    found = cloud_map.read_names(open_local())
    assert {(name.service_id, *name.addresses) for name in found.values()} == {("",)}


def test_a_retired_services_name_still_resolves() -> None:
    assert survey(open_at("retired")).names[B].addresses == ["10.10.10.10"]
