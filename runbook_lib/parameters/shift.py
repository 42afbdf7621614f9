"""The section of the shift: its steps, its verdict, who must agree. Pure."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from runbook_lib.parameters.fields import (
    Dns,
    HeaderName,
    Name,
    Percent,
    Positive,
    Seconds,
    Strict,
)


class VerdictRule(Strict):
    """How the canary is judged."""

    alpha: Annotated[float, Field(gt=0, lt=0.5)] = Field(
        0.01, description="chance of a false FAIL over the whole bake"
    )
    detectable_increase: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.01,
        description="rise of the error rate a PASS rules out; "
        "at weight 100, twice that",
    )
    power: Annotated[float, Field(gt=0.5, lt=1)] = Field(
        0.95, description="chance that such a rise would be detected"
    )
    ignored_increase: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="rise too small to roll back for"
    )
    on_inconclusive: Literal["hold", "extend", "roll_back"] = Field(
        "hold",
        description="when the bake ends undecided; "
        "extend: up to three bakes, then hold",
    )
    ceiling: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="error rate that is a FAIL in any case"
    )
    slow_millis: Positive | None = Field(
        None,
        description="requests over this are judged as errors are; null: not judged",
    )
    muted: list[Literal["errors", "slow"]] = Field(
        [], description="shown, but never deciding"
    )
    errors_by_alarm: bool = Field(
        False,
        description="where no metric counts errors (gRPC), accept `shift.alarms` as "
        "their only judge",
    )

    @property
    def bakes(self) -> int:
        """How many bakes an undecided step may take."""
        return 3 if self.on_inconclusive == "extend" else 1


class Trial(Strict):
    """Test requests of the canary's own, before users see it: a route of higher
    priority for one header.
    """

    header: HeaderName = Field("x-runbook-trial", description="its header")
    requests: Positive = Field(
        20, description="answered without an error before users see the canary"
    )
    wait_seconds: Seconds = Field(
        120,
        description="for requests with that header, where the runbook cannot make them",
    )


class Approvals(Strict):
    """Whether somebody must approve a step, and what happens when an
    approval runs out.
    """

    steps: list[Percent] = Field([], description="the steps that need one")
    approvers: list[str] = Field(
        [],
        description="who may approve: ARNs, or names; `*` stands for any part; "
        "empty: anybody",
    )
    required: Annotated[int, Field(ge=1, le=20)] = Field(
        1, description="how many different approvers a step needs"
    )
    exclude_starter: bool = Field(
        False, description="whoever starts or changes anything in the run may not"
    )
    identified_by: Literal["aws", "name"] = Field(
        "aws",
        description="by the identity that STS confirms, or by what `--by` says; "
        "a rehearsal always takes names",
    )
    valid_minutes: Positive = Field(60, description="how long an approval holds")
    on_expiry: Literal["hold", "roll_back"] = Field(
        "hold", description="when it ran out before the step was written"
    )


class Shift(Strict):
    """The route that moves, and how."""

    name: Dns = Field(
        description="the name callers dial; under `appmesh` a virtual service"
    )
    route: Name | None = Field(
        None, description="its route, only where the router has several"
    )
    stable: Name = Field(description="the service that carries the traffic now")
    canary: Name = Field(description="the new version")
    steps: Annotated[list[Annotated[int, Field(ge=1, le=100)]], Field(min_length=1)] = (
        Field(description="the canary's weights in percent, rising; may end below 100")
    )
    skip_steps: bool = Field(
        False, description="a step by hand may leave out some of them"
    )
    bake_seconds: Seconds = Field(description="watched at each step")
    prove_seconds: Seconds = Field(
        600, description="until traffic must show a new weight"
    )
    blind_minutes: Positive = Field(
        10,
        description="a shift that cannot look, AWS being away, tries again for so long",
    )
    on_blind: Literal["hold", "roll_back"] = Field(
        "hold", description="when that time is over"
    )
    allow_unprovable: bool = Field(
        False, description="bake although this traffic could never make it PASS"
    )
    trial: Trial | None = Field(
        None, description="try the canary with test requests first; null: do not"
    )
    alarms: list[str] = Field(
        [], description="CloudWatch alarms; one in ALARM rolls back"
    )
    approvals: Approvals = Field(Approvals(), description="who must agree")
    promotion: Literal["by_decision", "never"] = Field(
        "by_decision",
        description="whether a person may end a bake before its PASS: "
        "`runbook promote`",
    )
    verdict: VerdictRule = Field(VerdictRule(), description="how the canary is judged")

    @field_validator("steps")
    @classmethod
    def _rising(cls, steps: list[int]) -> list[int]:
        if steps != sorted(set(steps)):
            raise ValueError("expected steps that rise")
        return steps

    @property
    def versions(self) -> tuple[str, str]:
        """The two services under shift, stable first."""
        return self.stable, self.canary

    def weights_at(self, step: int) -> dict[str, int]:
        """Return both services' weights, in percent, where the canary has this one."""
        return {self.stable: 100 - step, self.canary: step}
