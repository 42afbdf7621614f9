"""Secrets in task definitions and services: none is in anything that the product writes or prints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runbook_lib import plan_sidecars, plan_undo, record, survey
from runbook_lib.aws.session import Session
from runbook_lib.display import show
from runbook_lib.wording import fields_of
from tests.scenes import change, fact, lines, open_local, reopen, settle, somebody, step, writes

SECRETS = [f"planted-{number:02d}-Zq7" for number in range(30)]


def planted() -> dict[str, Any]:
    """Return what a container may hold, with a secret in each place."""
    (s,) = [iter(SECRETS)]
    return {
        "environment": [
            {"name": name, "value": value}
            for name, value in [
                ("DB_PASSWORD", next(s)),
                ("STRIPE", next(s)),
                ("DATABASE_URL", f"postgres://shop:{next(s)}@db/orders"),
                ("WEBHOOK", f"https://hooks.example/T0/{next(s)}"),
                ("JSON", f'{{"key": "{next(s)}"}}'),
                ("DSN", next(s)),
                ("A", next(s)),
                ("B", next(s)),
            ]
        ],
        "secrets": [{"name": "FROM", "valueFrom": f"arn:aws:ssm:us-west-2:1:parameter/{next(s)}"}],
        "command": ["serve", "--token", next(s), f"--password={next(s)}", f"--dsn=https://a:{next(s)}@x"],
        "entryPoint": ["/bin/sh", "-c", f"export KEY={next(s)}; exec app"],
        "dockerLabels": {"a": next(s), "traefik.auth": f"admin:{next(s)}", "c": next(s)},
        "logConfiguration": {
            "logDriver": "splunk",
            "options": {"splunk-token": next(s), "splunk-url": f"https://{next(s)}@splunk", "tag": next(s)},
        },
        "healthCheck": {
            "command": ["CMD-SHELL", f"curl -H 'Authorization: Bearer {next(s)}' localhost", next(s)],
            "interval": 30,
            "timeout": 5,
            "retries": 3,
        },
        "tags": [{"key": "pipeline", "value": next(s)}, {"key": "runner", "value": next(s)}],
        "service tags": [{"key": "owner", "value": next(s)}, {"key": "hook", "value": f"https://{next(s)}"}],
    }


def plant(ecs: Any, service: str, family: str) -> None:
    """Deploy a definition full of secrets, as somebody else does."""
    secret = planted()
    found = ecs.describe_task_definition(taskDefinition=family)["taskDefinition"]
    names = ("family", "networkMode", "cpu", "memory", "requiresCompatibilities", "executionRoleArn", "taskRoleArn")
    labels, of_service = secret.pop("tags"), secret.pop("service tags")
    containers = [{**container, **secret} for container in found["containerDefinitions"]]
    form = {name: found[name] for name in names if name in found}
    made = ecs.register_task_definition(**form, containerDefinitions=containers, tags=labels)["taskDefinition"]
    ecs.update_service(cluster="apps", service=service, taskDefinition=made["taskDefinitionArn"])
    arn = ecs.describe_services(cluster="apps", services=[service])["services"][0]["serviceArn"]
    ecs.tag_resource(resourceArn=arn, tags=of_service)


def definition(session: Session, service: str) -> dict[str, Any]:
    """Return the definition a service runs, without what each registration makes anew."""
    ecs = somebody(session, "ecs")
    arn = ecs.describe_services(cluster="apps", services=[service])["services"][0]["taskDefinition"]
    found = ecs.describe_task_definition(taskDefinition=arn, include=["TAGS"])
    anew = ("taskDefinitionArn", "revision", "registeredAt", "registeredBy", "status", "deregisteredAt")
    return {"tags": found["tags"], **{k: v for k, v in found["taskDefinition"].items() if k not in anew}}


def found_in(text: str) -> list[str]:
    return [secret for secret in SECRETS if secret in text]


def everything(folder: Path) -> str:
    return "\n".join(path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def session() -> Session:
    """Return a session whose stable service is full of secrets, before the mesh."""
    session = open_local(services=True)
    plant(somebody(session, "ecs"), "serviceB", "taskB")
    settle()
    return session


@pytest.mark.attack(19)
@pytest.mark.attack(20)
def test_of_thirty_secrets_none_is_in_record_plan_or_summary_and_all_come_back_by_undo(session: Session) -> None:
    before, said = definition(session, "serviceB"), []

    def look_at(plan: Any) -> None:
        said.extend(str(fields_of(each)) for each in plan)
        said.extend(repr(part) for part in show.shown(plan))

    for number in ("01", "02", "03"):
        step(session, number)
    look_at(plan_sidecars(survey(session)))
    step(session, "04")
    run = session.join_run()
    for number in ("05", "06"):
        step(session, number)
    assert found_in(everything(run.folder)) == []
    undone = reopen(session)
    plan = plan_undo(undone)
    look_at(plan)
    change(undone, plan, *map(fact, plan.needs))
    settle()
    run.summarise({"outcome": "rolled_back", "shift": []})
    assert found_in(everything(run.folder)) == []
    assert found_in(everything(record.root())) == []
    assert found_in("".join(said)) == []
    assert definition(session, "serviceB") == before
    assert "****" not in str(before)
    tags = somebody(session, "ecs").describe_services(cluster="apps", services=["serviceB"], include=["TAGS"])
    assert "****" not in str(tags["services"][0])
    assert len(lines(session, "intended")) > 30
    assert writes(session)
