"""Secrets that stand in a definition in plain text: by their names alone. Pure.

Never repeats a variable's value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from runbook_lib.task_definition.form import variables
from runbook_lib.task_definition.lint.rule import Finding, Rule, View, at

SECRET = Rule(
    "secret",
    "WARN",
    "{name} looks like a secret in plain text",
    "move it to `secrets`: everybody who may describe the definition can read it",
)
RULES = (SECRET,)
_NAME = re.compile(
    r"PASSW(OR)?D|SECRET|TOKEN|PRIVATE_?KEY|API_?KEY|ACCESS_?KEY|CREDENTIAL",
    re.IGNORECASE,
)


def secrets(view: View) -> Iterator[Finding]:
    """Yield each variable that is set and named as secrets are."""
    for container in view.containers:
        where = at(container, "environment")
        for name, value in variables(container).items():
            if value and _NAME.search(name):
                yield view.finding(SECRET, where, name=name)
