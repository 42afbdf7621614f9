"""Widgets that propose and show; they call the same functions a plain cell calls
and decide nothing.

This alone imports ipywidgets. A callback shows its success or its whole error, since a
button swallows exceptions; a disabled button still fires on `.click()`, so each
callback guards itself.
"""

from __future__ import annotations

import time
from collections.abc import (
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from weakref import WeakSet

import ipywidgets as ipw
from IPython.display import display

from runbook_lib.aws.cloudwatch import Interval
from runbook_lib.aws.session import Session
from runbook_lib.display import timeline
from runbook_lib.display.drawing import percent
from runbook_lib.display.forecasts import outlook_tables
from runbook_lib.display.show import plan_rows, show
from runbook_lib.display.tables import Table, Words
from runbook_lib.engines.named import engine_of
from runbook_lib.errors import RunbookError
from runbook_lib.plan import Evidence, Plan
from runbook_lib.printable import escaped
from runbook_lib.record import Run, holder
from runbook_lib.redaction import scrubbed
from runbook_lib.runs.approvals import approval_of, approve, hold, needs_approval
from runbook_lib.runs.history import History, read_attempt, read_events, seen_as
from runbook_lib.shift import go_back, steps_left, unpassed
from runbook_lib.shift.decision import Decision
from runbook_lib.shift.following import follow_step, follow_traffic
from runbook_lib.shift.outlook import look_ahead
from runbook_lib.shift.watching import is_watched, unwatched
from runbook_lib.survey import Survey, survey
from runbook_lib.verdict.share import Seen

__all__ = [
    "Live",
    "Progress",
    "WeightsPanel",
    "balanced",
    "follow_shift",
    "show_progress",
    "show_shift",
    "weights_panel",
]

SHARE_OF_A_CORE = 0.02  # what drawing may cost
IN_FORCE, PLANS = "these weights are in force", "the mode is plan: nothing is applied"
NO_SHIFT = "no shift was under way at the last look: move a weight to look again"
UNDER_WAY = "a shift is under way: hold it first"
WATCHED = "a process of its own watches it: run the cell below to follow it"
# what looks again when a shift begins or ends in this process
PANELS: WeakSet[WeightsPanel] = WeakSet()
NOTHING, NOT_PLANNED = (
    Plan("nothing yet"),
    "there is no plan yet: move a weight to make it again",
)

TOOLTIPS = {
    "Apply this step": (
        "write the weights shown above, through the same gate as the cells"
    ),
    "Approve": "write an approval of exactly this plan into the run's record",
    "Hold": "let the shift under way stop at its next look; weights stay as they are",
    "Roll back": "put all traffic back on the stable version in one write",
}


def balanced(weights: Mapping[str, int], moved: str, value: int) -> dict[str, int]:
    """Return weights that sum to 100 with `moved` at `value`, the rest
    shared as it was before.

    One alone stays at 100, and one without weight gets none while others have some.
    """
    value = max(0, min(100, value)) if len(weights) > 1 else 100
    others = {name: weight for name, weight in weights.items() if name != moved}
    left, total = 100 - value, sum(others.values())
    shares = {
        n: left * w // total if total else left // len(others)
        for n, w in others.items()
    }
    for name in [n for n in others if others[n] or not total][
        : left - sum(shares.values())
    ]:
        shares[name] += 1
    return {name: value if name == moved else shares[name] for name in weights}


@dataclass(frozen=True)
class Deed:
    """What a button does, and why it cannot now ("" where it can)."""

    work: Callable[[], str]
    obstacle: Callable[[], str]
    button: ipw.Button


class WeightsPanel:
    """Linked sliders, the plan as it would be written, its forecast, and buttons that
    do what the cells do.

    It opens at the next step, which writes nothing. `evidence` is what the cells
    gathered; without it the panel shows and plans but applies nothing.
    """

    def __init__(self, session: Session, evidence: Sequence[Evidence] = ()) -> None:
        self.session, self.evidence = session, tuple(evidence)
        self.shift, self.shown = session.parameters.shift, NOTHING
        found = survey(session)
        weights, self.former = found.split.weights, found.canary_weight
        first = [
            name for name in (self.shift.stable, self.shift.canary) if name in weights
        ]
        if len(first) == 2 and (left := steps_left(self.shift.steps, self.former)):
            weights = balanced(weights, self.shift.canary, left[0])
        self._moving = False
        self.sliders = {
            name: self._slider(name, weights[name])
            for name in dict.fromkeys([*first, *weights])
        }
        self.numbers = {
            name: self._number(name, slider.value)
            for name, slider in self.sliders.items()
        }
        (
            self.standing,
            self.plan_view,
            self.forecast_view,
            self.reasons,
            self.message,
        ) = (ipw.HTML() for _ in range(5))
        self.deeds = {
            "Apply this step": Deed(
                self.apply, self._obstacle_to_step, ipw.Button(button_style="warning")
            ),
            "Approve": Deed(self.approve, self._obstacle_to_approval, ipw.Button()),
            "Hold": Deed(self.hold, self._obstacle_to_hold, ipw.Button()),
            "Roll back": Deed(
                self.roll_back,
                self._obstacle_to_return,
                ipw.Button(button_style="danger"),
            ),
        }
        for name, deed in self.deeds.items():
            deed.button.description, deed.button.tooltip = name, TOOLTIPS[name]
            deed.button.on_click(
                lambda button: self._guarded(
                    lambda: self._do(self.deeds[button.description])
                )
            )
        self._guarded(self.refresh)
        PANELS.add(self)

    @property
    def weights(self) -> dict[str, int]:
        """The weights the sliders show, in percent."""
        return {name: slider.value for name, slider in self.sliders.items()}

    @property
    def step(self) -> int:
        """The canary's weight that the sliders show, in percent."""
        return self.weights.get(self.shift.canary, 0)

    @property
    def obstacle(self) -> str:
        """Why nothing can be applied from here now; "" where it can."""
        if not self.session.applies:
            return PLANS
        if not self.evidence:
            return "no evidence yet: run the cells above"
        return "; ".join(f"{e.name}: {e.found}" for e in self.evidence if not e.holds)

    def refresh(self) -> None:
        """Show the plan as it would be written, what it promises, and what
        each button lacks.
        """
        self.shown, self.plan_view.value, self.forecast_view.value = NOTHING, "", ""
        try:
            found = survey(self.session)
            self.standing.value = _alert(unwatched(found))
            self.shown = found.plan_weights(self.weights)
            self.former = found.split.weights.get(self.shift.canary, 0)
            self.plan_view.value = _dense(
                Table("as it would be written", plan_rows(self.shown))._repr_html_()
            )
            self.say(self.obstacle or ("" if self.shown.changes else IN_FORCE))
            self.forecast_view.value = self._forecast(found)
        finally:
            self.enable()

    def apply(self) -> str:
        """Let a process of its own take the step that is shown, as the cells do, trial
        and gates included, and watch it; this waits for the write alone.
        """
        words = ""
        steps = follow_step(self.session, self.step, self.shown, *self.evidence)
        for decision in steps:
            words = decision.words
            self.say(f"{decision.phase}: {words}")
            if decision.phase == "written":
                break
        steps.close()
        watched = is_watched(self.session)
        return f"{words}; {WATCHED if watched else 'run the cell below to watch it'}"

    def approve(self) -> str:
        """Write an approval of the plan that is shown into the run's record."""
        given = approve(self.session, self.session.join_run(), self.shown)
        return (
            f"plan {given['plan']} approved by {given['approver']} until "
            f"{given['until']}"
        )

    def hold(self) -> str:
        """Write down that the shift under way is to hold; it stops at its next look."""
        hold(self.session.join_run(), self.session.identity.arn)
        return (
            "hold is written down: the shift under way stops at its next look, "
            "weights stay; run 05 again to go on"
        )

    def roll_back(self) -> str:
        """Put all traffic back on stable in one write, which needs the plan and
        its own check alone.
        """
        made = go_back(self.session)
        self._put(
            {name: 100 if name == self.shift.stable else 0 for name in self.sliders}
        )
        return (
            f"all traffic is {'back ' if made else ''}on {self.shift.stable}, read back"
        )

    def say(self, text: str, kind: str = "") -> None:
        """Show one sentence under the buttons; screen readers speak it, at once where
        something is wrong.
        """
        words = Words(text, kind)._repr_html_() if text else ""
        role = "alert" if kind in ("WARN", "NOT DONE") else "status"
        self.message.value = f"<div role='{role}'>{words}</div>"

    # what each button lacks: said without a call, and what takes traffic back is never
    # out of reach

    def _unplanned(self) -> str:
        return (
            ""
            if self.shown.changes
            else NOT_PLANNED
            if self.shown is NOTHING
            else IN_FORCE
        )

    def _obstacle_to_step(self) -> str:
        if lacking := self.obstacle or self._unplanned():
            return lacking
        if is_watched(self.session):
            return UNDER_WAY
        if self._wants_approval():
            return f"plan {self.shown.hash} needs an approval first"
        return unpassed(self.session, self.former, self.step)

    def _obstacle_to_approval(self) -> str:
        if lacking := self._unplanned():
            return lacking
        if not needs_approval(self.shift, self.step, self.former):
            return f"a step to {self.step} % needs no approval"
        return self._no_run() or (
            "" if self._wants_approval() else "this plan has its approval"
        )

    def _no_run(self) -> str:
        run = self.session.run or self.session.latest_run()
        return "no run is under way" if run is None or run.closed else ""

    def _obstacle_to_hold(self) -> str:
        run = self.session.run or self.session.latest_run()
        return self._no_run() or ("" if run and holder(run) else NO_SHIFT)

    def _obstacle_to_return(self) -> str:
        if not self.session.applies:
            return PLANS
        gone = self.shift.stable not in self.sliders
        return (
            f"{self.shift.stable} is retired: see the undo of its notebook"
            if gone
            else ""
        )

    def _wants_approval(self) -> bool:
        return (
            needs_approval(self.shift, self.step, self.former)
            and approval_of(self.session, self.shown) is None
        )

    def enable(self) -> None:
        """Enable each button that can do something; say of the
        others what they lack.
        """
        items = ""
        if self.standing.value and is_watched(self.session):
            self.standing.value = ""
        for name, deed in self.deeds.items():
            lacking = deed.obstacle()
            deed.button.disabled = bool(lacking)
            items += f"<li>{name}: {escaped(lacking)}</li>" if lacking else ""
        for widget in (
            *(deed.button for deed in self.deeds.values()),
            *self.sliders.values(),
            *self.numbers.values(),
        ):
            _hear_at_once(widget)
        self.reasons.value = (
            f"<p>cannot be pressed now:</p><ul>{items}</ul>" if items else ""
        )

    def _forecast(self, found: Survey) -> str:
        if not self.step:
            return Words(f"nothing to forecast at {percent(0)}")._repr_html_()
        try:
            outlook = look_ahead(found, self.step)
        except RunbookError as error:
            return Words(f"no forecast: {error}", "WARN")._repr_html_()
        return _dense("".join(table._repr_html_() for table in outlook_tables(outlook)))

    # sliders and numbers

    def _slider(self, name: str, weight: int) -> ipw.IntSlider:
        slider = ipw.IntSlider(weight, 0, 100, continuous_update=False, readout=False)
        slider.layout.width, slider.tooltip = (
            "20em",
            f"weight of {name}, percent; arrow keys move it",
        )
        slider.observe(lambda change: self._moved(name, change["new"]), names="value")
        return slider

    def _number(self, name: str, weight: int) -> ipw.Text:
        """The number before each slider, which alone has a name for screen readers.

        It is text, since a field for numbers hands on 12.7 as 127, and nothing at all
        once it is emptied.
        """
        number = ipw.Text(
            str(weight), continuous_update=False, description=f"{name}, percent"
        )
        number.style.description_width, number.layout.width = "11em", "17em"
        number.tooltip = f"weight of {name}, percent, 0 to 100"
        number.observe(lambda change: self._typed(name, change["new"]), names="value")
        return number

    def _typed(self, name: str, text: str) -> None:
        """Move a weight to what was typed; what is no weight moves nothing."""
        if self._moving:
            return
        if text.strip() in map(str, range(101)):
            self._moved(name, int(text))
        else:
            self._put(self.weights)
            self.say(
                f"{name}: {text!r} is no weight; expected 0 to 100, whole percent; "
                "nothing was moved",
                "WARN",
            )

    def _moved(self, name: str, value: int) -> None:
        """Let every weight follow the one that somebody moved."""
        if not self._moving:
            self._put(balanced(self.weights, name, value))
            self._guarded(self.refresh)

    def _put(self, weights: Mapping[str, int]) -> None:
        """Show weights, without taking that for somebody's hand."""
        self._moving = True
        try:
            for name, weight in weights.items():
                self.sliders[name].value, self.numbers[name].value = weight, str(weight)
        finally:
            self._moving = False

    # callbacks

    def _do(self, deed: Deed) -> None:
        """Do what a button is for, unless something is missing: a disabled button fires
        on `.click()` too.
        """
        lacking = deed.obstacle()
        if lacking:
            self.say(lacking, "NOT DONE")
            return
        done = deed.work()
        try:
            self.refresh()
        except RunbookError as error:  # what was done stays done, and is said to be
            done += f"; what is shown here is old: {error}"
        self.say(done, "DONE")

    def _guarded(self, work: Callable[[], None]) -> None:
        """Do the work of a callback; its failure is shown, since nobody
        else would hear of it.
        """
        try:
            work()
        except RunbookError as error:
            self.say(str(error), "NOT DONE")
        except Exception as error:  # noqa: BLE001 - a callback's failure has no other way to be seen
            self.say(scrubbed(f"{type(error).__name__}: {error}"), "NOT DONE")

    def box(self) -> ipw.VBox:
        """Return the panel as one widget."""
        rows = [
            ipw.HBox([self.numbers[name], self.sliders[name]]) for name in self.sliders
        ]
        buttons = ipw.HBox([deed.button for deed in self.deeds.values()])
        buttons.layout.flex_flow = "row wrap"
        return ipw.VBox(
            [
                self.standing,
                *rows,
                self.plan_view,
                self.forecast_view,
                buttons,
                self.message,
                self.reasons,
            ]
        )

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        words = ", ".join(f"{name} {weight} %" for name, weight in self.weights.items())
        weights = f"<p><b>weights shown</b>: {escaped(words)}</p>"
        shown = (
            f"{self.standing.value}{weights}{self.plan_view.value}{self.message.value}"
        )
        return _bundle(
            self.box(), f"weights shown: {words}", shown + self.reasons.value, options
        )


def _bundle(
    widget: ipw.Widget, words: str, shown: str, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a live widget, and beside it what a reader without one sees,
    as text and as HTML.
    """
    return {
        **(widget._repr_mimebundle_(**options) or {}),
        "text/plain": words,
        "text/html": shown,
    }


def _hear_at_once(widget: ipw.Widget) -> None:
    """Let a hand on a widget be heard while a cell runs, in the subshell the
    front end chose for it.

    ipykernel (7.4) sends it to where the widget was last written from, which for a
    panel just made is the very cell queue that the shift keeps busy: a Hold would wait
    for the end of what it is to hold.
    """
    vars(widget.comm).pop("_reply_subshell_id", None)


def _alert(text: str) -> str:
    """Return a sentence that a screen reader speaks at once; nothing
    where there is none.
    """
    return (
        f"<div role='alert'>{Words(text, 'UNWATCHED')._repr_html_()}</div>"
        if text
        else ""
    )


def _dense(shown: str) -> str:
    """Return HTML whose lines stand as close as outside of a widget."""
    return f"<div style='line-height:1.35'>{shown}</div>"


class Live:
    """What follows a shift while it moves: numbers at each interval, a picture as often
    as its cost allows.

    It shows the intervals that the verdict is made of, and the events of the
    record; it calls nothing.
    """

    def __init__(self, session: Session) -> None:
        self.numbers, self.picture = ipw.HTML(), ipw.HTML()
        self.session, self.decisions = session, list[Decision]()
        # what a shift that goes on was told before
        self.earlier = read_attempt(session)
        self.seen: Sequence[Interval] = ()
        self.spent = 0.0  # seconds of a core, for all drawing
        self._opened, self._next, self._phase = session.now(), 0.0, ""

    def follow(self, decisions: Iterable[Decision]) -> None:
        """Take each decision as it comes, and show it."""
        for decision in decisions:
            if decision.phase != self._phase:
                _look_again(self.session)
            began = time.thread_time()
            self.decisions += [decision] if decision.phase != "watching" else []
            self.seen = decision.seen or self.seen
            self.numbers.value = self._numbers(decision)
            self.spent += time.thread_time() - began
            if time.monotonic() >= self._next or decision.phase != "watching":
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
        heard = [asdict(replace(decision, seen=())) for decision in self.decisions]
        told = [*self.earlier, *heard, *self._recorded_since()]
        once = {(line["phase"], line["at"]): line for line in told}
        events = [*once.values(), *read_events(self._run, self._opened)]
        in_time = sorted(events, key=lambda line: line["at"])
        return seen_as(self.session.parameters, self.seen, in_time)

    @property
    def _run(self) -> Run | None:
        """The run that the shift is in, or was in until it ended."""
        return self.session.run or self.session.finished

    def _recorded_since(self) -> list[dict[str, Any]]:
        """Return what was decided since this view was opened, whoever decided it."""
        lines = self._run.lines() if self._run else ()
        decisions = [line for line in lines if line["event"] == "decision"]
        return [line for line in decisions if line["at"] >= self._opened]

    def _numbers(self, decision: Decision) -> str:
        rows = [
            self._row(decision, name, f"{weight} %")
            for name, weight in decision.weights.items()
        ]
        share = (
            "" if decision.share is None else f" · share {100 * decision.share:.1f} %"
        )
        share += (
            f", {Seen(0, decision.share, decision.band).expected} expected"
            if share and decision.band
            else ""
        )
        table = Table(
            f"{decision.step} % · {decision.phase}{share}", rows
        )._repr_html_()
        said = Words(
            decision.words,
            decision.verdict if decision.verdict in ("PASS", "FAIL") else "",
        )._repr_html_()
        # not again each second
        spoken = " role='status'" if decision.phase != self._phase else ""
        self._phase = decision.phase
        return _dense(f"{table}<div{spoken}>{said}</div>")

    def _row(self, decision: Decision, name: str, weight: str) -> dict[str, str]:
        requests, errors, slow = (
            told.get(name, 0)
            for told in (decision.requests, decision.errors, decision.slow)
        )
        row = {
            "version": name,
            "weight": weight,
            "requests": f"{requests:,}",
            "errors": f"{errors:,}",
        }
        row["error rate"] = _rate(errors, requests)
        return {**row, "slow": _rate(slow, requests)} if decision.slow else row

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        words = (
            "the shift as it moves: requests, share and verdict stand "
            "here while it lasts"
        )
        return _bundle(
            ipw.VBox([self.numbers, self.picture]),
            words,
            self.numbers.value or f"<p>{words}</p>",
            options,
        )


def _look_again(session: Session) -> None:
    """Let the session's panels say anew what each button lacks: a shift has
    begun, moved or ended.
    """
    for panel in [panel for panel in PANELS if panel.session is session]:
        panel.enable()


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
        _look_again(session)
        rows = [
            {"phase": d.phase, "step": percent(d.step / 100), "words": d.words}
            for d in live.decisions
        ]
        display(Table("decisions", rows))
        if live.seen:
            live.picture.value = ""  # from here on it stands below
            show(timeline.drawn(live.history()))


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
        now = datetime.now(UTC)
        since, until = (
            now - timedelta(seconds=passed),
            now + timedelta(seconds=most - passed),
        )
        span = f"since {since:%H:%M:%S}, until {until:%H:%M:%S} UTC"
        words = f"waiting for {what}: {passed:.0f} s so far, {span}"
        done = f"no wait now; the last one took {passed:.0f} s"
        self.line.value = Words(words if what else done)._repr_html_()

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        return _bundle(self.line, "", "", options)


def show_progress(session: Session) -> None:
    """Show a line that tells of every wait of this session from now on; a cell that
    waits long has one of its own.
    """
    progress = Progress()
    session.waiting = progress.tell
    display(progress)


def weights_panel(
    session: Session, evidence: Sequence[Evidence] = ()
) -> WeightsPanel | Words:
    """Return the panel for the traffic's division, or a sentence where
    there is none to divide.
    """
    if survey(session).split.state is None:
        return Words(engine_of(session).hints.not_there, "WARN")
    return WeightsPanel(session, evidence)
