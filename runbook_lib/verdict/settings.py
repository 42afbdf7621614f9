"""The settings that one metric is judged by. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from runbook_lib.errors import ParametersError

__all__ = ["Settings"]


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of `judge` for one metric, each a fraction of 1; ParametersError
    for one that is not.
    """

    alpha: float = 0.01
    detectable_increase: float = 0.01
    ignored_increase: float = 0.0
    power: float = 0.95
    ceiling: float | None = None

    def __post_init__(self) -> None:
        is_good = {
            "alpha": 0 < self.alpha < 1,
            "detectable_increase": 0 < self.detectable_increase <= 1,
            "ignored_increase": 0 <= self.ignored_increase <= 1,
            "power": 0 < self.power < 1,
            "ceiling": self.ceiling is None or 0 < self.ceiling < 1,
        }
        for name, good in is_good.items():
            if not good:
                raise ParametersError(
                    f"verdict: {name} must be a fraction between 0 and 1, found "
                    f"{getattr(self, name)!r}",
                    hint=f"one percent is written 0.01; correct {name} in "
                    "the parameters file",
                )

    @property
    def to_show(self) -> float:
        """Return the increase that a PASS rules out beside stable."""
        return max(self.detectable_increase, self.ignored_increase)
