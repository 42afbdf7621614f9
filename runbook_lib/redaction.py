"""Mask what is shaped like a secret, before it reaches a screen, a
notebook, a record or a log.

Pure. Masking text may never be undone, so nothing that must be used again (an inverse,
say) relies on text that went through here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
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


OWN = re.compile(r"APPMESH_|ENVOY_|ENABLE_ENVOY_|AWS_XRAY_DAEMON_ADDRESS$|XRAY_")


def shown_definition(definition: Mapping[str, Any]) -> dict[str, Any]:
    """Return a task definition as it may be shown: what may hold a secret is masked as
    a whole, whatever its name.

    Values of variables, secrets, labels, log options, and commands; Envoy's own
    settings are shown.
    """
    containers = [
        _shown_container(c) for c in definition.get("containerDefinitions") or []
    ]
    shown = {**definition, "containerDefinitions": containers}
    if definition.get("tags"):
        shown["tags"] = [_shown_pair("key", tag) for tag in definition["tags"]]
    return shown


def _shown_container(container: Mapping[str, Any]) -> dict[str, Any]:
    shown = dict(container)
    own = any(
        str(e.get("name")).startswith("APPMESH_")
        for e in container.get("environment") or []
    )
    for key in ("environment", "secrets"):
        if shown.get(key):
            shown[key] = [_shown_pair("name", pair) for pair in shown[key]]
    for key in ("command", "entryPoint", "dockerSecurityOptions"):
        shown |= {key: [MASK for _ in shown[key]]} if shown.get(key) else {}
    if shown.get("dockerLabels"):
        shown["dockerLabels"] = dict.fromkeys(shown["dockerLabels"], MASK)
    if (check := shown.get("healthCheck")) and check.get("command") and not own:
        shown["healthCheck"] = {**check, "command": [MASK for _ in check["command"]]}
    if (log := shown.get("logConfiguration")) and log.get("options"):
        shown["logConfiguration"] = {
            **log,
            "options": dict.fromkeys(log["options"], MASK),
        }
    return shown


def _shown_pair(name: str, pair: Mapping[str, Any]) -> dict[str, Any]:
    own = OWN.match(str(pair.get(name, ""))) or str(pair.get(name, "")).startswith(
        "runbook"
    )
    return {key: value if key == name or own else MASK for key, value in pair.items()}


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
        out = {
            key: inner if _is_picture(key, inner) else redacted(inner)
            for key, inner in value.items()
        }
        if isinstance(value.get("value"), str) and NAMES.search(
            str(value.get("name", ""))
        ):
            out["value"] = MASK
        return out
    if isinstance(value, list | tuple):
        return [redacted(inner) for inner in value]
    return scrubbed(value) if isinstance(value, str) else value


def _is_picture(key: Any, value: Any) -> bool:
    return str(key).startswith("image/") and isinstance(value, str)
