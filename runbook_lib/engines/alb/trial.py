"""Plan the trial: a rule before the others that sends requests with one header
to the canary alone.

It matches what the rule under shift matches, and the header beside it; it is the first
of its listener, is tagged as the runbook's own, and is deleted again whatever came of
it. One that a crash left behind takes only requests with the header of its run, and the
next shift deletes it. `read_trial` reads, `plan_` functions are pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from runbook_lib.aws.reads import Reads
from runbook_lib.engines.alb import elbv2, place
from runbook_lib.engines.alb.arns import listener_of
from runbook_lib.engines.alb.rule import (
    actions_with,
    as_read,
    asks_for_secret,
    group_of,
    require_shape,
)
from runbook_lib.engines.protocol import Split
from runbook_lib.errors import PlanError
from runbook_lib.parameters import Parameters
from runbook_lib.plan import Change, Plan, differences

FIRST = 1  # the priority before all others
MOST_CONDITIONS = 5  # values in all conditions of a rule together
NO_TRIAL = "shift.trial: null"
ANY_HEADER = "Field=='http-header'"


def read_trial(session: Reads) -> Mapping[str, Any] | None:
    """Read the trial's rule; None where there is none that this environment made.

    A crash may have left it, and the file may ask for no trial any more.
    """
    listener = place.listener(session.parameters)
    arn = session.read(elbv2.rules(listener, f"{_first(ANY_HEADER)}.RuleArn"))
    if arn is None or not elbv2.is_ours(session, arn):
        return None
    found: Mapping[str, Any] | None = session.read(elbv2.rule(arn))
    return found


def plan_trial(p: Parameters, split: Split, header: str, value: str) -> Plan:
    """Plan a rule before the others that sends requests with one header
    to the canary alone.

    Raises PlanError where there is no place before the rule or for one more condition,
    or where its login cannot be copied.
    """
    state = require_shape(split, (p.shift.canary,))
    obstacle = _obstacle(state)
    if obstacle:
        raise PlanError(f"{split.key}: {obstacle}", hint=NO_TRIAL)
    listener = listener_of(state["arn"])
    weights = {group_of(split, p.shift.canary): 100}
    config = {"HttpHeaderName": header, "Values": [value]}
    conditions = [_condition(each) for each in state["conditions"]]
    conditions.append({"Field": "http-header", "HttpHeaderConfig": config})
    said = {
        "ListenerArn": listener,
        "Priority": FIRST,
        "Conditions": conditions,
        "Actions": actions_with(state, weights),
    }
    if state["transforms"]:
        said["Transforms"] = state["transforms"]
    query = f"{_first(_asks_for(header, value))}.{{groups: {elbv2.GROUPS}}}"
    name = f"trial of {split.key}"
    trial = Change(
        name=name,
        verb="create",
        call=elbv2.create(elbv2.RULE, said, split.labels),
        reading=elbv2.rules(listener, query),
        expected=None,
        wanted={"groups": as_read(weights)},
        about=(name, split.key),
        no_inverse="the trial's end takes it away",
        diff=differences(None, f"{header}: {value}", "http-header"),
    )
    return Plan("trial", (trial,))


def _obstacle(state: Mapping[str, Any]) -> str:
    """Say why no rule of a trial can stand before this one; "" where one can."""
    if state["priority"] == str(FIRST):
        return f"it has priority {FIRST}, so no rule of a trial can come before it"
    if any(asks_for_secret(action) for action in state["actions"]):
        return (
            "it logs callers in by a client secret, which AWS does not tell: no other "
            "rule can do so"
        )
    values = sum(_values_of(condition) for condition in state["conditions"])
    if values >= MOST_CONDITIONS:
        return (
            f"its conditions have {values} values; a rule takes {MOST_CONDITIONS}, and "
            "a trial's needs one more"
        )
    return ""


def plan_trial_end(split: Split, state: Mapping[str, Any] | None) -> Plan:
    """Plan the end of the trial, where there is one."""
    if state is None:
        return Plan("trial")
    name = f"trial of {split.key}"
    end = Change(
        name=name,
        verb="delete",
        call=elbv2.delete(elbv2.RULE, state["arn"]),
        reading=elbv2.rule(state["arn"]),
        expected={"arn": state["arn"], "exact": state["exact"]},
        wanted=None,
        about=(name, split.key),
        no_inverse="a trial is over once it was made",
    )
    return Plan("trial", (end,))


def _first(condition: str) -> str:
    """Return a query for the first rule of a listener where it has a condition."""
    return f"Rules[?Priority=='{FIRST}' && Conditions[?{condition}]] | [0]"


def _asks_for(header: str, value: str) -> str:
    """Return how a condition is told that asks for a value of a header."""
    named = f"HttpHeaderConfig.HttpHeaderName=={_literal(header)}"
    return f"{named} && contains(HttpHeaderConfig.Values, {_literal(value)})"


def _literal(text: str) -> str:
    escaped = json.dumps(text).replace("`", "\\`")
    return f"`{escaped}`"


def _condition(said: Mapping[str, Any]) -> dict[str, Any]:
    """Return a condition as CreateRule takes it: AWS says the values of some twice."""
    taken = dict(said)
    if _configs(said):
        taken.pop("Values", None)
    return taken


def _values_of(said: Mapping[str, Any]) -> int:
    """Return how many values a condition has."""
    count = 0
    for config in _configs(said) or [said]:
        count += len(config.get("Values") or config.get("RegexValues") or ())
    return count


def _configs(said: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return what a condition says in the form of its own field."""
    return [value for key, value in said.items() if key.endswith("Config")]
