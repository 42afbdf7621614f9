"""Show a shift as it moves, and every wait: what a cell shows that follows one.

It decides nothing and calls nothing: it hears what the shift's process says.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import ipywidgets as ipw
from IPython.display import display

from runbook_lib.aws.cloudwatch import Interval
from runbook_lib.aws.session import Session
from runbook_lib.display import timeline
from runbook_lib.display.drawing import percent, weight_words
from runbook_lib.display.panel import look_again, newest_panel
from runbook_lib.display.show import show
from runbook_lib.display.tables import Table, Words
from runbook_lib.display.widgets import bundle, dense, mark_recording
from runbook_lib.errors import RecordError
from runbook_lib.plan import Evidence
from runbook_lib.record import Run
from runbook_lib.runs.history import History, read_attempt, read_events, seen_as
from runbook_lib.shift.decision import Decision
from runbook_lib.shift.process.following import follow_traffic
from runbook_lib.shift.watching import is_watched
from runbook_lib.verdict.share import Seen

__all__ = ["Live", "Progress", "follow_shift", "show_progress", "show_shift"]

SHARE_OF_A_CORE = 0.02  # what drawing may cost


class Live:
    """What follows a shift while it moves: numbers at each interval, a picture as often
    as its cost allows.

    It shows the intervals that the verdict is made of, and the events of the
    record; it calls nothing.
    """

    def __init__(self, session: Session) -> None:
        self.numbers = ipw.HTML()
        self.picture = ipw.HTML()
        self.session = session
        self.decisions: list[Decision] = []
        # what a shift that goes on was told before
        self.earlier = read_attempt(session)
        self.seen: Sequence[Interval] = ()
        self.spent = 0.0  # seconds of a core, for all drawing
        self._opened = session.now()
        self._next = 0.0  # when the picture may be drawn again
        self._phase = ""

    def follow(self, decisions: Iterable[Decision]) -> None:
        """Take each decision as it comes, and show it."""
        for decision in decisions:
            is_new_phase = decision.phase != self._phase
            self._phase = decision.phase
            if is_new_phase:
                look_again(self.session)
            began = time.thread_time()
            is_decided = decision.phase != "watching"
            if is_decided:
                self.decisions.append(decision)
            if decision.seen:
                self.seen = decision.seen
            # a phase is spoken once, not again each second
            self.numbers.value = _numbers(decision, is_spoken=is_new_phase)
            self.spent += time.thread_time() - began
            if is_decided or time.monotonic() >= self._next:
                self.draw()

    def draw(self) -> None:
        """Draw the picture anew, and reckon when that may be done again."""
        began = time.thread_time()
        self.picture.value = timeline.drawn(self.history()).svg()
        cost = time.thread_time() - began
        self.spent += cost
        self._next = time.monotonic() + max(cost / SHARE_OF_A_CORE, 0.9)

    def history(self) -> History:
        """Return what was seen so far, as it would be read back."""
        events = read_events(self._run, self._opened)
        told = _in_time([*self.earlier, *self.told(), *events])
        return seen_as(self.session.parameters, self.seen, told)

    def told(self) -> list[Mapping[str, Any]]:
        """Return what was decided since this view was opened, whoever decided it, and
        before that by the shift that it follows.
        """
        heard = [decision.line for decision in self.decisions]
        return _in_time([*heard, *self._recorded_since()])

    @property
    def _run(self) -> Run | None:
        """The run that the shift is in, or was in until it ended."""
        return self.session.run or self.session.finished

    def _recorded_since(self) -> list[dict[str, Any]]:
        """Return what was decided since this view was opened, whoever decided it: who
        rolls back from elsewhere does so in a run of his own.
        """
        decisions: list[dict[str, Any]] = []
        with suppress(RecordError):
            decisions = read_attempt(self.session, ended=True)
        return [line for line in decisions if line["at"] >= self._opened]

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        words = "live view: requests, share and verdict appear here during the shift"
        parts: list[ipw.Widget] = [self.numbers, self.picture]
        panel = newest_panel(self.session)
        if panel is not None and not self.session.is_executed:
            parts.insert(0, panel.controls())
        shown = self.numbers.value or f"<p>{words}</p>"
        return bundle(ipw.VBox(parts), words, shown, options)


def _numbers(decision: Decision, *, is_spoken: bool) -> str:
    """Return a decision's numbers and words as HTML; a screen reader speaks the words,
    where they are to be spoken.
    """
    caption = f"{decision.step} % · {decision.phase}{_share_words(decision)}"
    rows = [_row(decision, name) for name in decision.weights]
    table = Table(caption, rows)._repr_html_()
    kind = decision.verdict if decision.verdict in ("PASS", "FAIL") else ""
    words = Words(decision.words, kind)._repr_html_()
    role = " role='status'" if is_spoken else ""
    return dense(f"{table}<div{role}>{words}</div>")


def _share_words(decision: Decision) -> str:
    if decision.share is None:
        return ""
    words = f" · share {100 * decision.share:.1f} %"
    if decision.band:
        expected = Seen(0, decision.share, decision.band).expected
        words += f", {expected} expected"
    return words


def _row(decision: Decision, name: str) -> dict[str, str]:
    """Return what is known of one version."""
    requests = decision.requests.get(name, 0)
    errors = decision.errors.get(name, 0)
    row = {
        "version": name,
        "weight": f"{decision.weights[name]} %",
        "requests": f"{requests:,}",
        "errors": f"{errors:,}",
        "error rate": _rate(errors, requests),
    }
    if decision.slow:
        row["slow"] = _rate(decision.slow.get(name, 0), requests)
    return row


def _rate(errors: int, requests: int) -> str:
    return percent(errors / requests, 2) if requests else "–"


def follow_shift(session: Session, *evidence: Evidence) -> None:
    """Start the shift where none runs, and follow it, with a view that moves with it.

    It runs in a process of its own, and goes on where this cell is interrupted.
    """
    show_shift(follow_traffic(session, *evidence, alarm=_show_alarm), session)
    if session.leaves_shift and is_watched(session):
        display(Words("the shift goes on in its own process, without this cell"))


def _show_alarm(words: str) -> None:
    display(Words(words, "WARN"))


def show_shift(decisions: Generator[Decision, None, None], session: Session) -> None:
    """Take a shift's decisions as they come, with a view that follows them; then show
    them, and a still picture.
    """
    live = Live(session)
    show_progress(session)
    display(live)
    try:
        live.follow(decisions)
    except KeyboardInterrupt as interrupt:  # between two decisions: it is theirs
        live.follow(_after(interrupt, decisions))
    finally:
        decisions.close()
        look_again(session)
        _show_taken(live)


def _show_taken(live: Live) -> None:
    """Show the decisions of a shift that was followed, and a still picture of it."""
    told = live.told()
    rows = []
    for line in told:
        step = weight_words(line["step"])
        rows.append({"phase": line["phase"], "step": step, "words": line["words"]})
    display(Table("decisions", rows))
    if live.decisions and told[-1]["at"] > live.decisions[-1].at:
        live.numbers.value = ""  # of before somebody else ended it
    if live.seen:
        live.picture.value = ""  # from here on it is shown below
        show(timeline.drawn(live.history()))


def _in_time(lines: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return each line once, in the order of time."""
    once = {}
    for line in lines:
        once[line["phase"], line["at"]] = line
    return sorted(once.values(), key=lambda line: float(line["at"]))


def _after(
    interrupt: KeyboardInterrupt, decisions: Generator[Decision, None, None]
) -> Iterator[Decision]:
    """Yield what is decided after an interrupt, which most end by."""
    with suppress(StopIteration):
        yield decisions.throw(interrupt)
    yield from decisions


class Progress:
    """A line that says what is waited for, since when, and until when at most, in UTC
    as the pictures are; it is empty until something is.
    """

    def __init__(self) -> None:
        self.line = ipw.HTML()

    def tell(self, what: str, passed: float, most: float) -> None:
        """Show one look of a wait."""
        words = f"no wait now; the last one took {passed:.0f} s"
        if what:
            since = datetime.now(UTC) - timedelta(seconds=passed)
            until = since + timedelta(seconds=most)
            span = f"since {since:%H:%M:%S}, until {until:%H:%M:%S} UTC"
            words = f"waiting for {what}: {passed:.0f} s so far, {span}"
        self.line.value = Words(words)._repr_html_()

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        return bundle(self.line, "", "", options)


def show_progress(session: Session) -> None:
    """Show a line that tells of every wait of this session from now on; a cell that
    waits long has one of its own.
    """
    progress = Progress()
    session.waiting = progress.tell
    mark_recording()
    display(progress)
