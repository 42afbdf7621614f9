"""What a field of the parameters may hold, and the record that refuses what it does
not know. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from runbook_lib.parameters.spelling import nearest


def _lowered(value: Any) -> Any:
    """Lower-case a DNS name: DNS ignores case, App Mesh does not, Envoy refuses
    two that differ so.
    """
    return value.lower() if isinstance(value, str) else value


def _no_run(name: str) -> str:
    if name == "latest" or re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T", name):
        raise ValueError("expected a name that is not that of a run")
    return name


Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,255}$")]
EnvironmentName = Annotated[
    str,
    # It names a folder of runs and stands in commands: no option, no run's id, nor what
    # points at the newest run.
    StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_-]{0,254}$"),
    AfterValidator(_no_run),
]
Dns = Annotated[
    str,
    BeforeValidator(_lowered),
    StringConstraints(
        pattern=r"^[a-z0-9_]([a-z0-9_-]*[a-z0-9])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9])?)*$"
    ),
]
RoleName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_+=,.@-]{1,64}$")]
Port = Annotated[int, Field(ge=1, le=65535)]
Percent = Annotated[int, Field(ge=0, le=100)]
Positive = Annotated[int, Field(ge=1, le=1_000_000_000)]
Seconds = Annotated[int, Field(ge=1, le=2_592_000)]  # of a wait: 30 days at most
HeaderName = Annotated[str, StringConstraints(min_length=1, max_length=50)]
UrlPath = Annotated[str, StringConstraints(pattern="^/")]
Threshold = Annotated[int, Field(ge=2, le=10)]  # of health checks in a row
Protocol = Literal["http", "http2", "grpc", "tcp"]
LaunchType = Literal["FARGATE", "EC2"]
OF_AN_ENGINE: Any = None
"""The default of what one engine alone reads: it has its type, and is None
under another engine.
"""


class Strict(BaseModel):
    """A record that refuses unknown keys by naming the nearest known one,
    and never coerces.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _know_every_key(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        unknown = sorted(str(key) for key in data if key not in cls.model_fields)
        if unknown:
            problems = [_unknown(key, cls.model_fields) for key in unknown]
            raise ValueError("; ".join(problems))
        return data


def _unknown(key: str, known: Mapping[str, Any]) -> str:
    instead = nearest(key, list(known)) or f"expected one of {', '.join(known)}"
    return f"unknown key {key!r:.80}; {instead}"
