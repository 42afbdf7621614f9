"""The roles of those who use the runbook, each with what the one before it has."""

from typing import Literal

Role = Literal["reader", "shifter", "builder"]
ROLES: tuple[Role, ...] = ("reader", "shifter", "builder")
