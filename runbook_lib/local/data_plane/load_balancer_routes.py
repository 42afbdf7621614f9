"""Rules of a listener as Envoy routes: conditions, weights, fixed answers
and redirects. Pure.

A condition on the caller's address is not carried, since every caller is on loopback,
nor one on a query's value without its key: such a rule matches nothing. An action that
authenticates is passed over; the actions after it are carried out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from runbook_lib.local.control_plane.elbv2_weights import weights_of
from runbook_lib.local.data_plane.load_balancer import Listener, Rule
from runbook_lib.local.data_plane.resources import Json

__all__ = ["FIXED", "routes"]

FIXED = "fixed"  # the name of a route whose answer is no error of the load balancer's
FORWARD = "forward"
ENDING = ("forward", "fixed-response", "redirect")
WILDCARDS = {"*": ".*", "?": "."}


def routes(
    listener: Listener, clusters: Mapping[str, str], idle_seconds: int
) -> list[Json]:
    """Return the routes of a listener in the order of its rules; `clusters` are named
    by their group's ARN: those that speak the version of HTTP that is asked in.
    """
    found = []
    for rule in listener.rules:
        ending = next(
            (action for action in rule.actions if action.get("Type") in ENDING), None
        )
        if ending is not None:
            does = _does(ending, clusters, idle_seconds)
            found += [{"match": match, **does} for match in _matches(rule)]
    return found


def _does(
    action: Mapping[str, Any], clusters: Mapping[str, str], idle_seconds: int
) -> Json:
    """Return what an action makes of a request, and the name of such a route."""
    if action["Type"] == "forward":
        return _forward(action, clusters, idle_seconds)
    if action["Type"] == "redirect":
        return {"name": FIXED, "redirect": _redirect(action["RedirectConfig"])}
    config = action["FixedResponseConfig"]
    answer = {
        "status": int(config["StatusCode"]),
        "body": {"inline_string": config.get("MessageBody") or ""},
    }
    return {"name": FIXED, "direct_response": answer}


def _forward(
    action: Mapping[str, Any], clusters: Mapping[str, str], idle_seconds: int
) -> Json:
    """Return a weighted route; 503 where every weight is 0, which
    Envoy would refuse, 464 where a group is none of the clusters.
    """
    named = weights_of(action)
    if any(arn not in clusters for arn, _ in named):
        return {"name": FORWARD, "direct_response": {"status": 464}}
    weights = [
        {"name": clusters[arn], "weight": weight} for arn, weight in named if weight
    ]
    if not weights:
        return {"name": FORWARD, "direct_response": {"status": 503}}
    route = {
        "weighted_clusters": {"clusters": weights},
        "timeout": "0s",
        "idle_timeout": f"{idle_seconds}s",
    }
    return {"name": FORWARD, "route": route}


def _redirect(config: Mapping[str, Any]) -> Json:
    code = "MOVED_PERMANENTLY" if config["StatusCode"] == "HTTP_301" else "FOUND"
    found: Json = {"response_code": code}
    if (config.get("Host") or "#{host}") != "#{host}":
        found["host_redirect"] = config["Host"]
    if (config.get("Protocol") or "#{protocol}") != "#{protocol}":
        found["scheme_redirect"] = config["Protocol"].lower()
    return found


def _matches(rule: Rule) -> Iterator[Json]:
    """Yield what Envoy matches a request by: any one of these is the rule's."""
    conditions = [_alternatives(condition) for condition in rule.conditions]
    for chosen in product(*conditions):
        match: Json = {}
        for part in chosen:
            for name, value in part.items():
                match[name] = (
                    [*match[name], *value]
                    if name in match and isinstance(value, list)
                    else value
                )
        if not match.keys() & {"prefix", "safe_regex"}:
            match["prefix"] = "/"
        yield match


def _alternatives(condition: Mapping[str, Any]) -> Sequence[Json]:
    """Return the ways to fulfil a condition; none for one that is not carried."""
    field = condition["Field"]
    if field == "path-pattern":
        return [_path(_values(condition, "PathPatternConfig"))]
    if field == "host-header":
        return [
            _header(
                ":authority", _values(condition, "HostHeaderConfig"), end=r"(:\d+)?"
            )
        ]
    if field == "http-header":
        config = condition["HttpHeaderConfig"]
        return [_header(config["HttpHeaderName"].lower(), config["Values"])]
    if field == "http-request-method":
        return [_header(":method", condition["HttpRequestMethodConfig"]["Values"])]
    if field == "query-string":
        return [
            _query(pair)
            for pair in condition["QueryStringConfig"]["Values"]
            if pair.get("Key")
        ]
    return []


def _values(condition: Mapping[str, Any], config: str) -> list[str]:
    return list(
        (condition.get(config) or {}).get("Values") or condition.get("Values") or []
    )


def _path(patterns: Iterable[str]) -> Json:
    known = list(patterns)
    if known == ["/*"] or "*" in known:
        return {"prefix": "/"}
    return {"safe_regex": {"regex": _any_of(known)}}


def _header(name: str, patterns: Iterable[str], end: str = "") -> Json:
    # AWS compares hosts and headers whatever their case
    regex = f"(?i){_any_of(patterns)}{end}"
    return {
        "headers": [{"name": name, "string_match": {"safe_regex": {"regex": regex}}}]
    }


def _query(pair: Mapping[str, str]) -> Json:
    """Return one key and value of a query string."""
    regex = {"safe_regex": {"regex": f"(?i){_any_of([pair['Value']])}"}}
    return {"query_parameters": [{"name": pair["Key"], "string_match": regex}]}


def _any_of(patterns: Iterable[str]) -> str:
    """Return a regular expression of AWS's patterns, in which `*` is any text and
    `?` any character.
    """
    return "(" + "|".join(_expression(pattern) for pattern in patterns) + ")"


def _expression(pattern: str) -> str:
    return "".join(WILDCARDS.get(letter) or re.escape(letter) for letter in pattern)
