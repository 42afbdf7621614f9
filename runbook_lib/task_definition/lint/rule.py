"""A rule, what it finds, and a task definition as rules read it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from runbook_lib.task_definition.form import Json

Level = Literal["FAIL", "WARN"]


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing that may be wrong: its name, and what it says of a place.

    `message` and `hint` name in braces what a finding of it gives.
    """

    name: str
    level: Level
    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong: FAIL will not work, WARN may not be what is meant.
    `rule` is its name in RULES.
    """

    level: Level
    where: str
    message: str
    hint: str
    rule: str


@dataclass(frozen=True, slots=True)
class View:
    """A definition as the checks read it: `raw` as it was written, `task`
    in comparison form.

    `proxy` is its Envoy container, empty where it has none or that is unclear;
    `node_arn` and `listener_ports` are those of the virtual node it should be.
    """

    raw: Mapping[str, Any]
    task: Json
    fargate: bool
    node_arn: str | None
    listener_ports: set[str]
    containers: list[Json]
    proxy: Json
    properties: dict[str, str]
    only_calls: bool

    def finding(self, rule: Rule, where: str, **named: object) -> Finding:
        """Return what a rule has to say of a place, with what its
        message and hint name.
        """
        family = self.task.get("family", "?")
        message = rule.message.format(**named)
        hint = rule.hint.format(**named)
        return Finding(rule.level, f"{family}: {where}", message, hint, rule.name)


Check = Callable[[View], Iterator[Finding]]


def at(container: Mapping[str, Any], key: str) -> str:
    """Return where a container's key stands in its definition."""
    return f"containerDefinitions[{container['name']}].{key}"


def unlike(expected: str, found: str) -> dict[str, str]:
    """Return what a message names where one text is expected and another found."""
    return {"expected": expected or "(none)", "found": found or "(none)"}


def reserved(container: Mapping[str, Any]) -> int:
    """Return the MiB that a task keeps for a container; 0 where it keeps none."""
    return int(container.get("memoryReservation") or container.get("memory") or 0)
