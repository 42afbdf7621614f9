"""Write the rollback of a shift under way, and wait until traffic shows it.

Nothing but the plan's own precondition can stop the write: it is made again while AWS
is away, and where somebody else wrote in between; never over their weights.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from runbook_lib.aws import cloudwatch
from runbook_lib.aws.applying import apply
from runbook_lib.aws.cloudwatch import Interval
from runbook_lib.aws.session import Session
from runbook_lib.errors import (
    CallError,
    Failed,
    Refused,
    RollbackError,
    TargetError,
)
from runbook_lib.plan import Plan, as_command, clear
from runbook_lib.shift.looking import Looking
from runbook_lib.shift.rollback import WRITTEN_BETWEEN
from runbook_lib.shift.rules.counts import Counts
from runbook_lib.shift.rules.moves import Hold, RolledBackElsewhere
from runbook_lib.shift.rules.others import others_weights
from runbook_lib.shift.rules.rule import Rule
from runbook_lib.survey import Survey, survey

__all__ = ["RollingBack", "undisturbed"]

HELD = (signal.SIGINT, signal.SIGTERM)  # the signals that hold a shift
TRIES = 3  # after the first, where somebody else writes the same thing in between
PAUSE_SECONDS = 1.0  # between two tries while AWS does not answer


@contextmanager
def undisturbed() -> Iterator[list[int]]:
    """Let SIGINT and SIGTERM not interrupt what is done meanwhile; say which came.

    No signal can stop a rollback. Python handles signals in the main thread alone.
    """
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield came
        return
    before = {n: signal.signal(n, lambda number, _: came.append(number)) for n in HELD}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class RollingBack:
    """One rollback: `found` is the newest look at the environment."""

    def __init__(
        self, session: Session, found: Survey, rule: Rule, looking: Looking
    ) -> None:
        self.session, self.found = session, found
        self.rule, self.looking = rule, looking
        self.plan = Plan("rollback")
        self.end = session.clock() + 60 * session.parameters.shift.blind_minutes

    def write(self, step: int) -> Hold | RolledBackElsewhere | None:
        """Put all traffic back on stable from a step; None once it is there.

        Otherwise return what it means that somebody else has written other weights.
        Raises RollbackError, with the command to do it by hand.
        """
        tries = 0
        while True:
            try:
                if tries == 0 or not self._is_back():
                    self._apply()
                return None
            except WRITTEN_BETWEEN as error:
                if tries >= TRIES:
                    words = f"somebody else writes it all the time: {error.message}"
                    raise self._failed(words) from error
                self.found = survey(self.session)
                others = self._others_weights(step)
                if others is not None:
                    return others
            except CallError as error:
                if not error.heals or self.session.clock() > self.end:
                    raise self._failed(error.message, error.hint) from error
                self._wait_for_answer(error)
            except (Failed, Refused) as error:
                raise self._failed(error.message, error.hint) from error
            tries += 1

    def wait_until_settled(self, began: float, look: Callable[[], Counts]) -> str:
        """Wait until traffic shows the rollback written at `began`; say what it shows.

        `look` reads the newest counts. Raises RollbackError where requests go on
        reaching the canary. That nobody could look is no failure of the rollback.
        """
        words, newest = "traffic has not shown it yet", None
        most, pause = self.rule.prove_seconds, cloudwatch.pause(self.session)
        try:
            for _ in self.session.looks("traffic to show the rollback", most, pause):
                newest = _newest_busy(look(), began)
                if newest is not None and not newest.errors.canary_requests:
                    return f"traffic is back on {self.rule.stable}"
        except (CallError, TargetError) as error:
            words = f"traffic could not be looked at: {error.message}"
        if newest is not None and newest.errors.canary_requests:
            raise self._not_followed(newest)
        return words

    def _is_back(self) -> bool:
        weights = dict(survey(self.session).split.weights)
        return weights == self.rule.weights_at(0)

    def _apply(self) -> None:
        self.plan = self.found.plan_step(0)
        apply(self.session, clear(self.plan), urgent=True)

    def _others_weights(self, step: int) -> Hold | RolledBackElsewhere | None:
        """Return what somebody else's weights mean; None where they cannot be read."""
        try:
            weights = dict(self.found.split.weights)
            if weights == self.rule.weights_at(0):
                return None
            oddity = self.looking.oddity(self.found)
        except CallError:
            return None
        return others_weights(weights, oddity, step, self.rule)

    def _wait_for_answer(self, error: CallError) -> None:
        """Wait a little, and look at what is there then: the write may have arrived."""
        what = f"AWS to take the rollback: {error.message}"
        self.session.waiting(what, 0, self.end - self.session.clock())
        self.session.sleep(PAUSE_SECONDS)
        with suppress(CallError):
            found = survey(self.session)
            if found.split.state:
                self.found = found

    def _failed(self, words: str, hint: str = "") -> RollbackError:
        region = self.session.parameters.region
        commands = [as_command(change.call, region) for change in self.plan]
        commands.append(f"runbook rollback {self.session.named}")
        by_hand = "\n".join(commands)
        said = f"the rollback failed: {words}\nby hand:\n{by_hand}"
        return RollbackError(said, hint=hint)

    def _not_followed(self, newest: Interval) -> RollbackError:
        got = f"{newest.errors.canary_requests} of {newest.requests} requests"
        return RollbackError(
            f"the rollback was written, but after {self.rule.prove_seconds} s "
            f"{self.rule.canary} still gets {got}",
            hint=self.found.engine.hints.unheard,
        )


def _newest_busy(counts: Counts, since: float) -> Interval | None:
    """Return the newest interval with requests that began after a moment."""
    busy = [i for i in counts.open if i.requests and i.start >= since]
    return busy[-1] if busy else None
