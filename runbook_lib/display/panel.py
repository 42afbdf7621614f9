"""Widgets that propose and show; they call the same functions a plain cell calls
and decide nothing.

This alone imports ipywidgets. A callback shows its success or its whole error, since a
button swallows exceptions; a disabled button still fires on `.click()`, so each
callback guards itself.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from weakref import WeakSet

import ipywidgets as ipw

from runbook_lib import record
from runbook_lib.aws.session import Session
from runbook_lib.display.drawing import weight_words
from runbook_lib.display.forecasts import outlook_tables
from runbook_lib.display.show import plan_rows
from runbook_lib.display.sliders import Sliders, balanced
from runbook_lib.display.tables import Table, Words
from runbook_lib.display.widgets import (
    WhoAndWhy,
    alert,
    bundle,
    dense,
    hear_at_once,
    mark_recording,
)
from runbook_lib.engines.named import engine_of
from runbook_lib.engines.protocol import Split
from runbook_lib.errors import RunbookError
from runbook_lib.parameters.shift import Shift
from runbook_lib.plan import Evidence, Plan
from runbook_lib.printable import divided, escaped
from runbook_lib.redaction import scrubbed
from runbook_lib.runs.approvals import approval_of, approve, hold, needs_approval
from runbook_lib.shift import go_back, obstacle_by_hand, steps_left
from runbook_lib.shift.outlook import look_ahead
from runbook_lib.shift.process.following import follow_step
from runbook_lib.shift.promoting import end_bake
from runbook_lib.shift.rules.steps import left_out
from runbook_lib.shift.watching import (
    is_past,
    is_staying,
    is_watched,
    unwatched_at,
    who_wrote,
)
from runbook_lib.survey import Survey, survey

__all__ = ["WeightsPanel", "look_again", "newest_panel", "weights_panel"]

SERVED = "JPY_SESSION_NAME"  # set by Jupyter's server, whose page is looked at
LOOK_SECONDS, LOCAL_LOOK_SECONDS = 10.0, 2.0  # between two readings of the weights
IN_FORCE = "traffic already has these weights"
PLANS = "the mode is plan: nothing is applied"
NO_RUN = "no run is under way"
NO_SHIFT = "no shift is under way"
UNDER_WAY = "a shift is under way: hold it first"
WATCHED = "a process of its own watches it: run the cell below to follow it"
STALE = "somebody wrote since this was planned: look at the new plan"
# what looks again when a shift begins or ends in this process
PANELS: WeakSet[WeightsPanel] = WeakSet()
NUMBERS = itertools.count()
NOTHING = Plan("nothing yet")
NOT_PLANNED = "there is no plan yet: move a weight to make one"

ASKED = "Promote ends the bake without its PASS: say below who decides, and why"
STEP = "Apply this step"
ROOM = "min-height:3.2em;line-height:1.35"  # that two lines take, or none
TOOLTIPS = {
    STEP: "write the weights shown above, through the same gate as the cells",
    "Approve": "write an approval of exactly this plan into the run's record",
    "Promote": "end the bake of the step now, without its PASS, as your decision",
    "Hold": "let the shift under way stop at its next look; weights stay as they are",
    "Roll back": "put all traffic back on the stable version in one write",
}


@dataclass(frozen=True)
class Action:
    """What a button does, why it cannot now, and what it asks for first ("" for
    nothing).
    """

    work: Callable[[], str]
    obstacle: Callable[[], str]
    button: ipw.Button
    asks: Callable[[], str] = str


class WeightsPanel:
    """What is in force now, linked sliders, buttons that do what the cells do, the plan
    as it would be written, and its forecast.

    It opens at the next step, which writes nothing. `evidence` is what the cells
    gathered; without it the panel shows and plans but applies nothing.
    """

    def __init__(self, session: Session, evidence: Sequence[Evidence] = ()) -> None:
        self.session = session
        self.evidence = tuple(evidence)
        self.shift = session.parameters.shift
        self.plan = NOTHING
        self.number = next(NUMBERS)
        self.working = 0  # how many buttons do their work just now
        found = survey(session)
        self.retired = found.retired
        self.split = found.split
        self.read_at = session.now()
        self.trouble = ""
        self.who = ""
        weights = _opening_weights(self.shift, found.split.weights)
        self.linked = Sliders(weights, self._moved, self._complain)
        self.decided = WhoAndWhy()
        self.standing = ipw.HTML()
        self.plan_view = ipw.HTML()
        self.forecast_view = ipw.HTML()
        self.reasons = ipw.HTML()
        self.message = ipw.HTML()
        self.actions = self._actions()
        for name, action in self.actions.items():
            action.button.description = name
            action.button.tooltip = TOOLTIPS[name]
            action.button.on_click(self._pressed)
        self._guarded(self.refresh)
        PANELS.add(self)

    def _actions(self) -> dict[str, Action]:
        orange = ipw.Button(button_style="warning")
        red = ipw.Button(button_style="danger")
        return {
            STEP: Action(self.apply, self._obstacle_to_step, orange),
            "Approve": Action(self.approve, self._obstacle_to_approval, ipw.Button()),
            "Promote": Action(
                self.promote,
                self._obstacle_to_promotion,
                ipw.Button(),
                self._ask_who_and_why,
            ),
            "Hold": Action(self.hold, self._obstacle_to_hold, ipw.Button()),
            "Roll back": Action(self.roll_back, self._obstacle_to_return, red),
        }

    @property
    def former(self) -> int:
        """The canary's weight at the last reading, in percent."""
        return self.split.weights.get(self.shift.canary, 0)

    @property
    def weights(self) -> dict[str, int]:
        """The weights the sliders show, in percent."""
        return self.linked.weights

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
        failing = [one for one in self.evidence if not one.holds]
        return "; ".join(f"{one.name}: {one.found}" for one in failing)

    def refresh(self) -> None:
        """Show the plan as it would be written, what it promises, and what
        each button lacks.
        """
        self.plan = NOTHING
        self.plan_view.value = ""
        self.forecast_view.value = ""
        try:
            found = survey(self.session)
            self.retired = found.retired
            self._know(found.split)
            self.plan = found.plan_weights(self.weights)
            table = Table("change to be applied", plan_rows(self.plan))
            self.plan_view.value = dense(table._repr_html_())
            self.say(self.obstacle or self._remark())
            self.forecast_view.value = self._forecast(found)
        finally:
            self.enable()

    def look(self) -> bool:
        """Read the live weights, and show them; plan anew where somebody has written
        since, and return whether that is so.

        Raises CallError where they cannot be read: what is shown then is marked as old.
        """
        before = self.split.state
        try:
            self._know(engine_of(self.session).read_weights(self.session))
        except RunbookError as error:
            self.trouble = error.message
            self.enable()
            raise
        changed = self.split.state != before
        if changed and not self.working:
            self.refresh()
        else:
            self.enable()
        return changed

    def _know(self, split: Split) -> None:
        self.split = split
        self.read_at = self.session.now()
        self.trouble = ""
        self.who = who_wrote(self.session, split.weights)

    def _remark(self) -> str:
        """Say what there is to say of the weights that are shown."""
        if not self.plan.changes:
            return IN_FORCE
        skipped = left_out(self.shift.steps, self.former, self.step)
        if not skipped:
            return ""
        return f"it skips a step of the file: {', '.join(map(weight_words, skipped))}"

    def apply(self) -> str:
        """Let a process of its own take the step that is shown, as the cells do, trial
        and gates included, and watch it; this waits for the write alone.
        """
        words = ""
        steps = follow_step(self.session, self.step, self.plan, *self.evidence)
        for decision in steps:
            words = decision.words
            self.say(f"{decision.phase}: {words}")
            if decision.phase == "written":
                break
        steps.close()
        if is_watched(self.session):
            return f"{words}; {WATCHED}"
        return f"{words}; run the cell below to watch it"

    def approve(self) -> str:
        """Write an approval of the plan that is shown into the run's record."""
        given = approve(self.session, self.session.join_run(), self.plan)
        return (
            f"plan {given['plan']} approved by {given['approver']} until "
            f"{given['until']}"
        )

    def promote(self) -> str:
        """Ask the shift to end the bake of the step now, as `runbook promote` does."""
        said = self.decided.said
        found = survey(self.session)
        run = self.session.join_run()
        end_bake(found, run, by=said.by, because=said.because)
        self.decided.forget()
        left = "" if is_watched(self.session) else "; run the cell below to go on"
        return (
            f"the end of the bake at {self.former} % is asked for, by {said.by}{left}"
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
        back = dict.fromkeys(self.weights, 0)
        self.linked.put({**back, self.shift.stable: 100})
        on = "back on" if made else "on"
        return f"all traffic is {on} {self.shift.stable}, read back"

    def say(self, text: str, kind: str = "") -> None:
        """Show one sentence under the buttons; screen readers speak it, at once where
        something is wrong. Its room is there without it, so that nothing moves.
        """
        in_one_line = text.replace("\nNext:", ". Next:")
        words = Words(in_one_line, kind)._repr_html_() if text else ""
        role = "alert" if kind in ("WARN", "NOT DONE") else "status"
        self.message.value = f"<div role='{role}' style='{ROOM}'>{words}</div>"

    # what each button lacks: said without a call, and what takes traffic back is never
    # out of reach

    def _unplanned(self) -> str:
        if self.plan is NOTHING:
            return NOT_PLANNED
        return "" if self.plan.changes else IN_FORCE

    def _obstacle_to_step(self) -> str:
        lacking = self.obstacle or self._unplanned()
        if lacking:
            return lacking
        if is_watched(self.session) and not is_staying(self.session):
            return UNDER_WAY
        refused = obstacle_by_hand(self.session, self.former, self.step)
        if refused:
            return refused
        if self._needs_approval() and not self._is_approved():
            return f"plan {self.plan.hash} needs an approval first"
        return ""

    def _obstacle_to_approval(self) -> str:
        lacking = self._unplanned()
        if lacking:
            return lacking
        if not self._needs_approval():
            return f"a step to {self.step} % needs no approval"
        if self._open_run() is None:
            return NO_RUN
        return "this plan has its approval" if self._is_approved() else ""

    def _obstacle_to_promotion(self) -> str:
        if not self.session.applies:
            return PLANS
        if self.shift.promotion == "never":
            return "the file says shift.promotion: never"
        if self.retired or not self.former:
            return "no step is baking"
        if is_past(self.session, self.former):
            return f"the step at {self.former} % has passed"
        return NO_RUN if self._open_run() is None else ""

    def _obstacle_to_hold(self) -> str:
        run = self._open_run()
        if run is None:
            return NO_RUN
        return "" if record.holder(run) else NO_SHIFT

    def _obstacle_to_return(self) -> str:
        if not self.session.applies:
            return PLANS
        if self.shift.stable in self.weights:
            return ""
        return f"{self.shift.stable} is retired: see the undo of its notebook"

    def _ask_who_and_why(self) -> str:
        if all(self.decided.said):
            return ""
        self.decided.ask()
        return f"{ASKED}, then press Promote again"

    def _needs_approval(self) -> bool:
        return needs_approval(self.shift, self.step, self.former)

    def _is_approved(self) -> bool:
        return approval_of(self.session, self.plan) is not None

    def _open_run(self) -> record.Run | None:
        """Return the run under way, None where there is none."""
        run = self.session.run or self.session.latest_run()
        return None if run is None or run.closed else run

    def enable(self) -> None:
        """Enable each button that can do something; say of the
        others what they lack.
        """
        self.standing.value = self._standing()
        items = ""
        for name, action in self.actions.items():
            lacking = action.obstacle()
            action.button.disabled = bool(lacking)
            if lacking:
                items += f"<li>{name}: {escaped(lacking)}</li>"
        for widget in self._used_by_hand():
            hear_at_once(widget)
        self.reasons.value = f"<p>Unavailable:</p><ul>{items}</ul>" if items else ""

    def _used_by_hand(self) -> Iterator[ipw.Widget]:
        for action in self.actions.values():
            yield action.button
        yield from self.linked.sliders.values()
        yield from self.linked.numbers.values()
        yield from self.decided.fields

    def _standing(self) -> str:
        """Return what is in force, when that was read, and who wrote it; first of all
        where nobody watches it.
        """
        clock = f"{datetime.fromtimestamp(self.read_at, UTC):%H:%M:%S} UTC"
        read = f"read at {clock}, again every {self._look_seconds:g} s"
        if self.trouble:
            read = f"as it was at {clock}, and cannot be read now: {self.trouble}"
        words = f"now: {divided(self.split.weights)}"
        now = f"<p><b>{escaped(words)}</b> · {escaped(read)}</p>"
        said = self._alone() or f"<p>{escaped(self.who)}</p>"
        return f"<div style='{ROOM}'>{now}{said}</div>"

    def _alone(self) -> str:
        """Return an alert where nobody watches the canary, "" where that is not so."""
        if self.retired:
            return ""
        return alert(unwatched_at(self.session, self.former))

    @property
    def _look_seconds(self) -> float:
        rehearsed = self.session.parameters.rehearsed
        return LOCAL_LOOK_SECONDS if rehearsed else LOOK_SECONDS

    def _forecast(self, found: Survey) -> str:
        if not self.step:
            return Words(f"nothing to forecast at {weight_words(0)}")._repr_html_()
        try:
            outlook = look_ahead(found, self.step)
        except RunbookError as error:
            return Words(f"no forecast: {error}", "WARN")._repr_html_()
        tables = [table._repr_html_() for table in outlook_tables(outlook)]
        return dense("".join(tables))

    # callbacks

    def _moved(self) -> None:
        self._guarded(self.refresh)

    def _complain(self, words: str) -> None:
        self.say(words, "WARN")

    def _pressed(self, button: ipw.Button) -> None:
        self._guarded(lambda: self._do(self.actions[button.description]))

    def _do(self, action: Action) -> None:
        """Do what a button is for, unless something is missing: a disabled button fires
        on `.click()` too.

        A step that is in effect already, after a second press here or elsewhere, is
        done.
        """
        is_step = action is self.actions[STEP]
        is_stale = False
        if is_step and not self.obstacle:
            is_stale = self.look()
        lacking = action.obstacle()
        if is_step and lacking == IN_FORCE:
            self.say(f"{IN_FORCE}: nothing is left to write; {self.who}", "DONE")
            return
        if lacking or is_stale:
            self.say(lacking or STALE, "NOT DONE")
            return
        asked = action.asks()
        if asked:
            self.say(asked)
            return
        self._work(action)

    def _work(self, action: Action) -> None:
        """Do a button's work, show what became of it, and say it."""
        self.working += 1
        try:
            done = action.work()
        finally:
            self.working -= 1
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

    def controls(self) -> ipw.VBox:
        """Return what is in force, the sliders, the buttons and what they say."""
        rows = self.linked.rows()
        buttons = ipw.HBox([action.button for action in self.actions.values()])
        buttons.layout.flex_flow = "row wrap"
        said = [self.message, self.decided.box]
        return ipw.VBox([self.standing, *rows, buttons, *said])

    def box(self) -> ipw.VBox:
        """Return the panel as one widget."""
        below = [self.reasons, self.plan_view, self.forecast_view]
        return ipw.VBox([self.controls(), *below])

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        words = divided(self.weights)
        weights = f"<p><b>weights shown</b>: {escaped(words)}</p>"
        shown = f"{self._alone()}{weights}{self.message.value}{self.reasons.value}"
        shown += self.plan_view.value
        if SERVED in os.environ and not self.session.is_executed:
            Refresher(self).start()
        return bundle(self.box(), f"weights shown: {words}", shown, options)


class Refresher(threading.Thread):
    """Lets a panel look again by itself: one reading at a time, and one file's state
    each second. The newest panel alone does.
    """

    newest: Refresher | None = None

    def __init__(self, panel: WeightsPanel) -> None:
        super().__init__(name="panel", daemon=True)
        self.panel, self.over = panel, threading.Event()
        if Refresher.newest is not None:
            Refresher.newest.over.set()
        Refresher.newest = self

    def run(self) -> None:
        """Look again until another panel is shown."""
        left = self.panel._look_seconds
        was_watched = False
        while not self.over.wait(1.0):
            left -= 1.0
            watched = is_watched(self.panel.session)
            if left <= 0 or watched != was_watched:
                left = self.panel._look_seconds
                with suppress(RunbookError):  # the panel says that it is old
                    self.panel.look()
            was_watched = watched


def newest_panel(session: Session) -> WeightsPanel | None:
    """Return the panel that a session has shown last; None where it has shown none."""
    return max(_panels(session), key=lambda panel: panel.number, default=None)


def look_again(session: Session) -> None:
    """Let the session's panels say anew what each button lacks: a shift has
    begun, moved or ended.
    """
    for panel in _panels(session):
        panel.enable()


def _panels(session: Session) -> list[WeightsPanel]:
    return [panel for panel in PANELS if panel.session is session]


def _opening_weights(shift: Shift, now: Mapping[str, int]) -> dict[str, int]:
    """Return the weights of the next step, or those in force where none is left, in
    percent; stable's and the canary's come first.
    """
    weights = dict(now)
    versions = [name for name in shift.versions if name in now]
    left = steps_left(shift.steps, now.get(shift.canary, 0))
    if len(versions) == 2 and left:
        weights = balanced(now, shift.canary, left[0])
    in_order = dict.fromkeys([*versions, *weights])
    return {name: weights[name] for name in in_order}


def weights_panel(
    session: Session, evidence: Sequence[Evidence] = ()
) -> WeightsPanel | Words:
    """Return the panel for the traffic's division, or a sentence where
    there is none to divide.
    """
    mark_recording()
    if survey(session).split.state is None:
        return Words(engine_of(session).hints.not_there, "WARN")
    return WeightsPanel(session, evidence)
