"""A load balancer that speaks TLS, with traffic: HTTP/2 of callers who trust its certificate, and of nobody else."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from runbook_lib import parameters
from runbook_lib.local import supervisor, world
from runbook_lib.local.clients import clients
from runbook_lib.local.data_plane import traffic
from runbook_lib.local.data_plane.traffic import Calls, Traffic
from tests.demo_mesh import until

ROOT = Path(__file__).parent.parent
NEW, FORMER = "serviceb.apps.internal", "serviceb.apps.local"


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """The tutorial's services behind a rule that is there, and speaks HTTP/2."""
    folder = tmp_path_factory.mktemp("secure")
    said = yaml.safe_load((ROOT / "parameters" / "local-alb.yaml").read_text())
    (folder / "h2.yaml").write_text(yaml.safe_dump({**said, "protocol": "http2"}))
    p = parameters.load(str(folder / "h2.yaml"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUNBOOK_STATE", str(folder / "state"))
        patch.setenv("RUNBOOK_LOCAL", "")  # with processes
        mesh = supervisor.ensure()
        try:
            world.ensure(p, mesh)
            ledger = lambda: mesh.ask("/runbook/traffic")[p.environment]  # noqa: E731
            until(lambda: ledger().get("answered", 0) > 100, 30)
            yield SimpleNamespace(p=p, mesh=mesh, ledger=ledger, elbv2=clients(mesh, p.account_id, p.region)("elbv2"))
        finally:
            supervisor.down(folder / "state")


def test_callers_who_trust_it_are_answered_by_weights(there: SimpleNamespace) -> None:
    groups = there.elbv2.describe_target_groups(Names=["serviceB", "serviceBv2"])["TargetGroups"]
    assert [group["ProtocolVersion"] for group in groups] == ["HTTP2", "HTTP2"]
    weights = [{"TargetGroupArn": group["TargetGroupArn"], "Weight": 50} for group in groups]
    action = {"Type": "forward", "ForwardConfig": {"TargetGroups": weights}}
    there.elbv2.modify_rule(RuleArn=there.p.alb.rule, Actions=[action])
    until(lambda: "serviceBv2" in there.ledger()["versions"], 20)
    for version in ("serviceB", "serviceBv2"):
        before = there.ledger()["versions"][version]["requests"]
        until(lambda: there.ledger()["versions"][version]["requests"] > before + 100, 20)  # noqa: B023
    assert there.ledger()["failed"] == 0


def asked(there: SimpleNamespace, context: ssl.SSLContext) -> int:
    """Return the status of a request of HTTP/1.1 at the listener's port."""
    context.check_hostname = False
    (balancer,) = there.mesh.ask("/runbook/tasks")["load_balancers"]
    connection = http.client.HTTPSConnection("127.0.0.1", balancer["ports"]["443"], context=context, timeout=10)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status
    finally:
        connection.close()


def test_http1_is_answered_464_and_who_does_not_trust_the_certificate_not_at_all(there: SimpleNamespace) -> None:
    assert asked(there, ssl._create_unverified_context()) == 464
    with pytest.raises(ssl.SSLCertVerificationError):
        asked(there, ssl.create_default_context())


def test_a_caller_dials_its_former_url_until_there_is_the_new_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known: dict[str, tuple[str, ...]] = {FORMER: ("10.0.0.1",)}
    monkeypatch.setattr(traffic, "addresses", lambda account, region, vpc: known)
    calls = Calls("1", "us-west-2", "apps", "a", NEW, 443, "http2", 50, secure=True, former=[FORMER, 9080, "http2"])
    caller, told = Traffic(calls, tmp_path), []
    monkeypatch.setattr(caller, "_start", lambda: None)
    monkeypatch.setattr(traffic, "_replace", lambda file, plan: told.append(plan["dial"]))
    task = SimpleNamespace(account="1", region="us-west-2", cluster="apps", service="a", vpc="vpc-1", address="")
    member: Any = SimpleNamespace(task=task, phase="running", ports=None, inbound={})
    for now in ({}, {NEW: ("10.0.0.9",)}, {NEW: ()}):
        known |= now
        caller.step([member], lambda port: {})
    assert [(name, port, bool(trust)) for name, port, _, trust in told] == [
        (FORMER, 9080, False),
        (NEW, 443, True),
        (FORMER, 9080, False),
    ]
