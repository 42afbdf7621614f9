"""Health checks of targets, carried out: an HTTP request to the
task's port on loopback.

`TargetChecks` is the control plane's checker. It alone makes these requests; they are
in no load balancer's counts, as on AWS.
"""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from runbook_lib.local.control_plane import Outcome, Probe
from runbook_lib.local.data_plane.member import LOOPBACK, Member

__all__ = ["TargetChecks"]

AT_ONCE = 8  # a target that hangs keeps one of them busy until its timeout
USER_AGENT = "ELB-HealthChecker/2.0"


class TargetChecks:
    """Asks tasks whether they are well; what is asked is answered at a later look."""

    def __init__(self, members: Callable[[], Iterable[Member]]) -> None:
        self._members = members
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="health-check")
        self._asked: dict[Probe, Future[Outcome]] = {}

    def outcome(self, probe: Probe) -> Outcome | None:
        """Return what a check has found, or None while it is under way; the
        first call begins it.
        """
        asked = self._asked.get(probe)
        if asked is None:
            self._asked[probe] = self._pool.submit(
                _ask, self._port(probe), probe.path, probe.timeout_seconds
            )
            return None
        if not asked.done():
            return None
        del self._asked[probe]
        return asked.result()

    def end(self) -> None:
        """Begin no other check."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _port(self, probe: Probe) -> int | None:
        place = (probe.account, probe.region, probe.address)
        for member in self._members():
            if (member.task.account, member.task.region, member.task.address) == place:
                return member.inbound.get(probe.port)
        return None


def _ask(port: int | None, path: str, timeout_seconds: float) -> Outcome:
    """Make one request; nobody is there where there is no port."""
    if port is None:
        return Outcome()
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=timeout_seconds)
    try:
        connection.request("GET", path, headers={"User-Agent": USER_AGENT})
        return Outcome(status=connection.getresponse().status)
    except TimeoutError:
        return Outcome(timed_out=True)
    except (OSError, http.client.HTTPException):
        return Outcome()
    finally:
        connection.close()
