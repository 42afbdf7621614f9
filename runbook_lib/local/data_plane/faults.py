"""What an application does wrong on purpose, and how that is told to it while it runs.

Pure but for the control file it reads.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Faults:
    """The faults in force; none by default."""

    error_rate: float = 0.0  # share of requests answered with `error_status`
    error_status: int = 500
    latency_ms: float = 0.0  # added to every answer
    crash: bool = False  # end at once, answering nobody
    slow_start_seconds: float = 0.0  # from the process's start until the port is opened
    data_delay_seconds: float = 0.0  # by which what is counted of it comes late

    def __post_init__(self) -> None:
        if not 0 <= self.error_rate <= 1:
            raise ValueError(
                f"error_rate is a share from 0 to 1, got {self.error_rate}"
            )
        if not 200 <= self.error_status <= 599:
            raise ValueError(f"error_status is an HTTP status, got {self.error_status}")
        times = ("latency_ms", "slow_start_seconds", "data_delay_seconds")
        if min(getattr(self, name) for name in times) < 0:
            raise ValueError(f"{', '.join(times)} cannot be negative")

    def changed(self, values: Mapping[str, Any]) -> Faults:
        """Return these faults with some replaced; ValueError for a name or a
        value that is none.
        """
        if not isinstance(values, Mapping):
            raise ValueError(f"faults are named by a mapping, got {values!r}")
        kinds = {field.name: type(field.default) for field in fields(self)}
        for name, value in values.items():
            kind = kinds.get(name)
            if kind is None:
                raise ValueError(
                    f"no fault is called {name!r}; there are {', '.join(kinds)}"
                )
            if isinstance(value, bool) != (kind is bool) or not isinstance(
                value, (bool, int, float)
            ):
                raise ValueError(f"{name} is a {kind.__name__}, got {value!r}")
        return replace(self, **values)

    def as_dict(self) -> dict[str, Any]:
        """Return the faults by name."""
        return asdict(self)

    def status(self, chance: random.Random) -> int:
        """Return one request's status."""
        return self.error_status if chance.random() < self.error_rate else 200


def read_faults(path: Path) -> Faults:
    """Return the faults that a file says; none where it is not there or is wrong."""
    try:
        return Faults().changed(json.loads(path.read_text()))
    except (OSError, ValueError):
        return Faults()


class ControlFile:
    """Faults in a JSON file somebody else replaces; a file that is
    not there means none.
    """

    def __init__(self, path: Path | None, otherwise: Faults) -> None:
        self.path = path
        self._otherwise = otherwise
        self._seen: tuple[int, int] | None = None

    def read(self) -> Faults | None:
        """Return the faults if the file changed since the last reading; a wrong
        one is left alone.
        """
        try:
            stamp = self.path.stat() if self.path else None
            seen = (stamp.st_mtime_ns, stamp.st_ino) if stamp else None
            if seen == self._seen:
                return None
            self._seen = seen
            return self._otherwise.changed(
                json.loads(self.path.read_text()) if self.path else {}
            )
        except FileNotFoundError:
            known, self._seen = self._seen, None
            return self._otherwise if known else None
        except ValueError:
            return None
