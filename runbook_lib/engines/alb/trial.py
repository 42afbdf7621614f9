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

from runbook_lib.aws.naming import tags
from runbook_lib.aws.reads import Reads
from runbook_lib.engines.alb import elbv2, place
from runbook_lib.engines.alb.arns import listener_of
from runbook_lib.engines.alb.rule import (
    actions_with,
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
    p = session.parameters
    listener = place.listener_arn(p) if p.alb.rule is None else listener_of(p.alb.rule)
    first = elbv2.rules(listener, f"{_first(ANY_HEADER)}.RuleArn")
    arn = session.read(first)
    if arn is None:
        return None
    is_ours = tags(p).items() <= elbv2.read_tags(session, arn).items()
    found: Mapping[str, Any] | None = session.read(elbv2.rule(arn)) if is_ours else None
    return found


def plan_trial(p: Parameters, split: Split, header: str, value: str) -> Plan:
    """Plan a rule before the others that sends requests with one header
    to the canary alone.

    Raises PlanError where there is no place before the rule or for one more condition,
    or where its login cannot be copied.
    """
    state = require_shape(split, (p.shift.canary,))
    if state["priority"] == str(FIRST):
        raise PlanError(
            f"{split.key}: it has priority {FIRST}, so no rule of a trial "
            "can come before it",
            hint=NO_TRIAL,
        )
    if any(map(asks_for_secret, state["actions"])):
        raise PlanError(
            f"{split.key}: it logs callers in by a client secret, which AWS does not "
            "tell: no other rule can do so",
            hint=NO_TRIAL,
        )
    values = sum(map(_values_of, state["conditions"]))
    if values >= MOST_CONDITIONS:
        raise PlanError(
            f"{split.key}: its conditions have {values} values; a rule takes "
            f"{MOST_CONDITIONS}, and a trial's "
            "needs one more",
            hint=NO_TRIAL,
        )
    canary = group_of(split, state, p.shift.canary)
    only = {
        "Field": "http-header",
        "HttpHeaderConfig": {"HttpHeaderName": header, "Values": [value]},
    }
    said = {
        "ListenerArn": listener_of(state["arn"]),
        "Priority": FIRST,
        "Conditions": [*map(_condition, state["conditions"]), only],
        "Actions": actions_with(state, {canary: 100}),
        "Tags": [{"Key": key, "Value": label} for key, label in split.labels.items()],
    }
    if state["transforms"]:
        said["Transforms"] = state["transforms"]
    query = f"{_first(_asks_for(header, value))}.{{groups: {elbv2.GROUPS}}}"
    trial = Change(
        name=f"trial of {split.key}",
        verb="create",
        call=elbv2.create(said),
        reading=elbv2.rules(listener_of(state["arn"]), query),
        expected=None,
        wanted={"groups": [{"group": canary, "weight": 100}]},
        about=(f"trial of {split.key}", split.key),
        no_inverse="the trial's end takes it away",
        diff=differences(None, f"{header}: {value}", "http-header"),
    )
    return Plan("trial", (trial,))


def plan_trial_end(split: Split, state: Mapping[str, Any] | None) -> Plan:
    """Plan the end of the trial, where there is one."""
    if state is None:
        return Plan("trial")
    end = Change(
        name=f"trial of {split.key}",
        verb="delete",
        call=elbv2.delete(state["arn"]),
        reading=elbv2.rule(state["arn"]),
        expected={"arn": state["arn"], "exact": state["exact"]},
        wanted=None,
        about=(f"trial of {split.key}", split.key),
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
    in_full = any(key.endswith("Config") for key in said)
    return {
        key: value for key, value in said.items() if not (in_full and key == "Values")
    }


def _values_of(said: Mapping[str, Any]) -> int:
    """Return how many values a condition has."""
    configs = [value for key, value in said.items() if key.endswith("Config")] or [said]
    return sum(
        len(config.get("Values") or config.get("RegexValues") or ())
        for config in configs
    )
