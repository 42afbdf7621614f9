"""What became of every request of a caller: the ground truth other counts
are compared with.

It alone writes the ledger's file: one JSON line for each second, version and status,
appended when the second is over.
"""

from __future__ import annotations

import json
import threading
import time
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

Row = dict[str, Any]
BOUNDS_MS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000)
KEPT_ANSWERS = 100_000
PACE_SECONDS = 3


class Ledger:
    """Counts by second, version and status; safe to read from any thread.

    A request is sent once and ends once: answered well, or failed (any other answer, or
    none). `version` is empty where no application answered. What the file holds already
    is counted on from; latencies are those since the start.
    """

    def __init__(
        self,
        file: Path | None = None,
        *,
        slow_ms: float = 250.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._file, self._slow_ms, self._clock = file, slow_ms, clock
        self._lock = threading.Lock()
        self._seconds: dict[int, dict[tuple[str, str], list[int]]] = {}
        self._written = 0
        self._totals: Counter[str] = Counter(
            sent=0, answered=0, failed=0, retried=0, shed=0, slow=0
        )
        self._statuses: dict[str, Counter[str]] = {}
        self._latencies: dict[str, Counter[int]] = {}
        self._ends: dict[str, list[float]] = {}
        self._recent: deque[tuple[float, str]] = deque(maxlen=KEPT_ANSWERS)
        self._started = clock()
        for row in _rows_in(file):
            self._take_over(row)

    def sent(self) -> None:
        """Count a request that begins."""
        with self._lock:
            self._totals["sent"] += 1

    def retried(self) -> None:
        """Count a request sent again because nobody had looked at it."""
        with self._lock:
            self._totals["retried"] += 1

    def shed(self, count: int) -> None:
        """Count requests that were due but never sent, too many being in flight."""
        with self._lock:
            self._totals["shed"] += count

    def ended(
        self, version: str, status: str, seconds: float, *, answered: bool, failed: bool
    ) -> None:
        """Count the end of a request; `status` says how it failed
        where nobody answered.
        """
        now, slow = self._clock(), seconds * 1000 > self._slow_ms
        with self._lock:
            self._totals.update(answered=answered, failed=failed, slow=slow)
            cell = self._seconds.setdefault(int(now), {}).setdefault(
                (version, status), [0, 0, 0, 0]
            )
            for place, counted in enumerate((True, slow, answered, failed)):
                cell[place] += counted
            self._statuses.setdefault(version, Counter())[status] += 1
            self._latencies.setdefault(version, Counter())[
                bisect_right(BOUNDS_MS, seconds * 1000)
            ] += 1
            self._ends.setdefault(version, [now, now])[1] = now
            if answered:
                self._recent.append((now, version))

    def first_after(self, version: str, since: float) -> float | None:
        """Return when `version` first answered after `since` (seconds since 1970), None
        if it has not yet.
        """
        with self._lock:
            return next(
                (at for at, name in self._recent if at >= since and name == version),
                None,
            )

    def snapshot(self) -> Row:
        """Return everything in one JSON-ready record; `sent` is `answered` +
        unanswered + `in_flight`.
        """
        with self._lock:
            ended = sum(sum(statuses.values()) for statuses in self._statuses.values())
            return {
                "started": self._started,
                "at": self._clock(),
                **self._totals,
                "requests_per_second": self._pace(),
                "in_flight": self._totals["sent"] - ended,
                "slow_ms": self._slow_ms,
                "versions": {
                    version: self._version(version)
                    for version in sorted(self._statuses)
                },
            }

    def write(self, *, everything: bool = False) -> None:
        """Append the seconds that are over to the file, with `everything` also
        the one that is not.
        """
        with self._lock:
            now = int(self._clock())
            end = now + 1 if everything else now
            over = sorted(
                second for second in self._seconds if self._written <= second < end
            )
            rows = [row for second in over for row in self._rows_of(second)]
            self._written = max(self._written, end)
            for second in [
                second for second in self._seconds if second < now - PACE_SECONDS
            ]:
                del self._seconds[second]
        if self._file and rows:
            with self._file.open("a") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows)

    def _take_over(self, row: Row) -> None:
        counted = {name: row[name] for name in ("slow", "answered", "failed")}
        self._totals.update(sent=row["requests"], **counted)
        self._statuses.setdefault(row["version"], Counter())[row["status"]] += row[
            "requests"
        ]
        self._ends.setdefault(row["version"], [row["second"], 0.0])[1] = row["second"]
        self._latencies.setdefault(row["version"], Counter())

    def _pace(self) -> float:
        """Return the requests that ended each second, over the last full ones."""
        now = int(self._clock())
        lately = [
            self._seconds.get(second, {}) for second in range(now - PACE_SECONDS, now)
        ]
        return (
            sum(cell[0] for second in lately for cell in second.values()) / PACE_SECONDS
        )

    def _rows_of(self, second: int) -> list[Row]:
        names = ("requests", "slow", "answered", "failed")
        return [
            {
                "second": second,
                "version": version,
                "status": status,
                **dict(zip(names, counts, strict=True)),
            }
            for (version, status), counts in self._seconds[second].items()
        ]

    def _version(self, version: str) -> Row:
        statuses, buckets = self._statuses[version], self._latencies[version]
        upper = [*map(str, BOUNDS_MS), "more"]
        return {
            "requests": sum(statuses.values()),
            "statuses": dict(statuses),
            "latency_ms": {upper[index]: buckets[index] for index in sorted(buckets)},
            "first": self._ends[version][0],
            "last": self._ends[version][1],
        }


def _rows_in(file: Path | None) -> list[Row]:
    """Return the rows of a ledger's file, but for a line its writer
    did not live to end.
    """
    lines = file.read_text().splitlines(keepends=True) if file and file.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]
