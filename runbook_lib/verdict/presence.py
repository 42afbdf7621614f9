"""When each version had requests: whether one has fallen silent, and whether the
canary took stable's over. Pure.

A version has fallen silent once the newest intervals without a request of its own would
have brought it ten, at the rate of those just before (as many, and ten at least).
"""

from __future__ import annotations

from collections import deque
from copy import copy
from typing import NamedTuple

__all__ = ["LOOKED_BACK", "Handover", "Presence"]

_MISSED = 10  # requests, and intervals looked back at, that make silence
# intervals before and after stable's last request that are compared, at most
LOOKED_BACK = 1_000


class _Busy(NamedTuple):
    """An interval with requests of a version: its number, and how many."""

    number: int
    requests: int


class _Requests(NamedTuple):
    """One interval's requests to each version."""

    stable: int
    canary: int


class Presence:
    """When one version had requests: as much of that as tells whether it
    has fallen silent.

    Of what came before a gap, the newest `_MISSED` intervals with requests are enough:
    each has one request at least, so that a window which holds all of them holds the
    `_MISSED` requests that make silence.
    """

    def __init__(self) -> None:
        self.intervals = 0
        self.requests = 0
        self.gap = 0  # the newest intervals without a request
        self.busy: deque[_Busy] = deque(maxlen=_MISSED)

    def copy(self) -> Presence:
        """Return another presence of the same intervals."""
        made = copy(self)
        made.busy = self.busy.copy()
        return made

    def take(self, requests: int) -> None:
        """Take in an interval with so many requests."""
        if requests:
            self.busy.append(_Busy(self.intervals, requests))
            self.requests += requests
            self.gap = 0
        else:
            self.gap += 1
        self.intervals += 1

    @property
    def silent(self) -> bool:
        """Say whether the version has fallen silent."""
        before = self.intervals - self.gap
        window = min(max(self.gap, _MISSED), before)
        if not self.gap or not window:
            return False
        return self._in_window(window, before) * self.gap >= _MISSED * window

    def _in_window(self, window: int, before: int) -> int:
        """Return the requests in the newest intervals before the gap, `window` of all
        `before` it; if many, `_MISSED` at least.
        """
        if window == before:
            return self.requests
        first = before - window
        return sum(busy.requests for busy in self.busy if busy.number >= first)


class Handover:
    """Whether the canary took stable's requests over: as many intervals before and
    after stable's last request are compared.
    """

    def __init__(self) -> None:
        self.newest: deque[_Requests] = deque(maxlen=LOOKED_BACK)
        # the newest when stable's requests ended
        self.before: tuple[_Requests, ...] = ()
        self.is_over = False  # whether stable had no request in the newest interval
        self._compare_nothing()

    def _compare_nothing(self) -> None:
        self.compared = 0  # intervals on each side
        self.stable_before = 0
        self.canary_before = 0
        self.canary_after = 0

    def copy(self) -> Handover:
        """Return another handover of the same intervals."""
        made = copy(self)
        made.newest = self.newest.copy()
        return made

    def take(self, stable_requests: int, canary_requests: int) -> None:
        """Take in an interval with so many requests to each version."""
        if stable_requests:
            self._compare_nothing()
        elif not self.is_over:
            self.before = tuple(self.newest)
        self.is_over = not stable_requests
        if self.is_over and self.compared < len(self.before):
            self._compare(canary_requests)
        self.newest.append(_Requests(stable_requests, canary_requests))

    def _compare(self, canary_requests: int) -> None:
        """Compare an interval after the end with the one as long before it."""
        self.compared += 1
        before = self.before[-self.compared]
        self.stable_before += before.stable
        self.canary_before += before.canary
        self.canary_after += canary_requests

    @property
    def happened(self) -> bool:
        """Say whether the canary's requests since stable's ended are, by ratio, nearer
        to all than to its own.
        """
        everyones = self.canary_before + self.stable_before
        return self.canary_after**2 > self.canary_before * everyones
