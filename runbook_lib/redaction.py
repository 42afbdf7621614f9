"""Mask what is shaped like a secret, before it reaches a screen, a
notebook, a record or a log.

Pure. Masking text may never be undone, so nothing that must be used again (an inverse,
say) relies on text that went through here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["MASK", "redacted", "scrubbed", "shown_definition"]

MASK = "****"
SHAPES = (
    re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),  # access key id
    re.compile(r"\b(?:IQoJ|FwoG|FQoG)[A-Za-z0-9/+=]{60,}"),  # session token
    # secret access key: forty of these, of all three kinds, standing alone (a part of
    # an ARN or path does not)
    re.compile(
        r"(?<![A-Za-z0-9/+:._-])(?=[A-Za-z0-9/+]*[a-z])(?=[A-Za-z0-9/+]*[A-Z])(?=[A-Za-z0-9/+]*[0-9])"
        r"[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+:._-])"
    ),
    # user:password@ in an address
    re.compile(r"(?<=://)[^/\s:@\"']+:[^/\s@\"']+(?=@)"),
    re.compile(r"(?i)(?<=password=)[^\s\"',;&]+"),
)
NAMES = re.compile(r"(?i)password|passwd|secret|token|api_?key|private_?key|credential")

# Envoy's own variables, and this product's own tags: none of them is a secret
OWN = re.compile(
    r"APPMESH_|ENVOY_|ENABLE_ENVOY_|AWS_XRAY_DAEMON_ADDRESS$|XRAY_|runbook"
)
PAIRS = ("environment", "secrets")  # of a container: names with values
COMMANDS = ("command", "entryPoint", "dockerSecurityOptions")


def shown_definition(definition: Mapping[str, Any]) -> dict[str, Any]:
    """Return a task definition as it may be shown: what may hold a secret is masked as
    a whole, whatever its name.

    Values of variables, secrets, labels, log options, and commands; Envoy's own
    settings are shown.
    """
    containers = definition.get("containerDefinitions") or []
    shown = dict(definition)
    shown["containerDefinitions"] = [_shown_container(each) for each in containers]
    if shown.get("tags"):
        shown["tags"] = [_shown_pair("key", tag) for tag in shown["tags"]]
    return shown


def _shown_container(container: Mapping[str, Any]) -> dict[str, Any]:
    shown = dict(container)
    for key in PAIRS:
        if shown.get(key):
            shown[key] = [_shown_pair("name", pair) for pair in shown[key]]
    for key in COMMANDS:
        if shown.get(key):
            shown[key] = _masked_words(shown[key])
    if shown.get("dockerLabels"):
        shown["dockerLabels"] = _masked_values(shown["dockerLabels"])
    check = shown.get("healthCheck") or {}
    if check.get("command") and not _is_envoy(container):
        shown["healthCheck"] = {**check, "command": _masked_words(check["command"])}
    log = shown.get("logConfiguration") or {}
    if log.get("options"):
        shown["logConfiguration"] = {**log, "options": _masked_values(log["options"])}
    return shown


def _is_envoy(container: Mapping[str, Any]) -> bool:
    variables = container.get("environment") or []
    return any(str(each.get("name")).startswith("APPMESH_") for each in variables)


def _shown_pair(name: str, pair: Mapping[str, Any]) -> dict[str, Any]:
    """Return a name with its value masked, unless it is no secret by its name."""
    if OWN.match(str(pair.get(name, ""))):
        return dict(pair)
    return {key: value if key == name else MASK for key, value in pair.items()}


def _masked_words(words: Sequence[str]) -> list[str]:
    return [MASK] * len(words)


def _masked_values(pairs: Mapping[str, str]) -> dict[str, str]:
    return dict.fromkeys(pairs, MASK)


def scrubbed(text: str) -> str:
    """Return text with access keys, session tokens, passwords in addresses masked."""
    for shape in SHAPES:
        text = shape.sub(MASK, text)
    return text


def redacted(value: Any) -> Any:
    """Return a copy of a JSON-like value with secret-shaped text masked.

    An environment variable (`{"name": …, "value": …}`) is masked by its name too; a
    picture, by its MIME type, is left as it is.
    """
    if isinstance(value, Mapping):
        return _redacted_fields(value)
    if isinstance(value, list | tuple):
        return [redacted(inner) for inner in value]
    return scrubbed(value) if isinstance(value, str) else value


def _redacted_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    shown = {}
    for key, inner in fields.items():
        shown[key] = inner if _is_picture(key, inner) else redacted(inner)
    names_a_secret = NAMES.search(str(fields.get("name", "")))
    if names_a_secret and isinstance(fields.get("value"), str):
        shown["value"] = MASK
    return shown


def _is_picture(key: Any, value: Any) -> bool:
    return str(key).startswith("image/") and isinstance(value, str)
