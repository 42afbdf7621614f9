"""Widgets that propose and show; they call the same functions a plain cell calls and decide nothing.

This alone imports ipywidgets. A callback shows its success or its whole error, since a button swallows
exceptions; a disabled button still fires on `.click()`, so each callback guards itself.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import ipywidgets as ipw
from IPython.display import display

from runbook_lib.apply import apply
from runbook_lib.errors import RunbookError
from runbook_lib.plan import Evidence, Plan, clear
from runbook_lib.redaction import scrubbed
from runbook_lib.session import Session
from runbook_lib.shift import Decision
from runbook_lib.show import Table, Words, plan_rows
from runbook_lib.survey import survey

__all__ = ["Live", "WeightsPanel", "balanced", "follow_shift", "weights_panel"]

VERDICTS = {"PASS": "PASS", "FAIL": "FAIL"}


def balanced(weights: Mapping[str, int], moved: str, value: int) -> dict[str, int]:
    """Return weights that sum to 100 with `moved` at `value`, the rest shared as it was before.

    One alone stays at 100, and one without weight gets none while others have some.
    """
    value = max(0, min(100, value)) if len(weights) > 1 else 100
    others = {name: weight for name, weight in weights.items() if name != moved}
    left, total = 100 - value, sum(others.values())
    shares = {n: left * w // total if total else left // len(others) for n, w in others.items()}
    for name in [n for n in others if others[n] or not total][: left - sum(shares.values())]:
        shares[name] += 1
    return {name: value if name == moved else shares[name] for name in weights}


class WeightsPanel:
    """Linked sliders, the plan as it would be written, and a button that applies it.

    `evidence` is what the cells gathered; without it the panel shows and plans but applies nothing.
    """

    def __init__(self, session: Session, evidence: Sequence[Evidence] = ()) -> None:
        self.session, self.evidence = session, tuple(evidence)
        weights = dict(survey(session).split.weights)
        self.sliders = {name: self._slider(name, weight) for name, weight in weights.items()}
        self.button = ipw.Button(description="Apply these weights", button_style="warning")
        self.button.on_click(lambda _: self._guarded(self.apply))
        self.plan_view, self.message = ipw.HTML(), ipw.HTML()
        self.shown = Plan("nothing yet")
        self._moving = False
        self._guarded(self.refresh)

    @property
    def weights(self) -> dict[str, int]:
        """The weights the sliders show, in percent."""
        return {name: slider.value for name, slider in self.sliders.items()}

    @property
    def obstacle(self) -> str:
        """Why nothing can be applied from here now; "" where it can."""
        if not self.session.applies:
            return "the mode is plan: nothing is applied"
        if not self.evidence:
            return "no evidence yet: run the cells above"
        return "; ".join(f"{e.name}: {e.found}" for e in self.evidence if not e.holds)

    def plan(self) -> Plan:
        """Plan what the sliders show, against what is there now."""
        return survey(self.session).plan_weights(self.weights)

    def refresh(self) -> None:
        """Show the plan as it would be written, and why it cannot be applied where it cannot."""
        self.shown, self.button.disabled = Plan("nothing yet"), True
        self.shown = plan = self.plan()
        self.plan_view.value = Table("as it would be written", plan_rows(plan))._repr_html_()
        self.button.disabled = bool(self.obstacle) or not plan.changes
        self.say(self.obstacle or ("these weights are in force" if not plan.changes else ""))

    def apply(self) -> None:
        """Apply the plan that is shown, through the same door as the cells."""
        if self.obstacle:
            self.say(f"not applied: {self.obstacle}", "WARN")
            return
        made = apply(self.session, clear(self.shown, *self.evidence))
        self.refresh()
        self.say(f"{len(made)} change(s) made and read back", "PASS")

    def say(self, text: str, kind: str = "") -> None:
        """Show one sentence under the sliders."""
        self.message.value = Words(text, kind)._repr_html_() if text else ""

    def _slider(self, name: str, weight: int) -> ipw.IntSlider:
        slider = ipw.IntSlider(weight, 0, 100, description=name, continuous_update=False)
        slider.style.description_width = "8em"
        slider.observe(lambda change: self._moved(name, change["new"]), names="value")
        return slider

    def _moved(self, name: str, value: int) -> None:
        if self._moving:
            return
        self._moving = True
        try:
            for other, weight in balanced(self.weights, name, value).items():
                self.sliders[other].value = weight
        finally:
            self._moving = False
        self._guarded(self.refresh)

    def _guarded(self, work: Callable[[], None]) -> None:
        """Do the work of a callback; its failure is shown, since nobody else would hear of it."""
        try:
            work()
        except RunbookError as error:
            self.say(str(error), "FAIL")
        except Exception as error:  # noqa: BLE001 - a callback's failure has no other way to be seen
            self.say(scrubbed(f"{type(error).__name__}: {error}"), "FAIL")

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        """Return the live widget, and beside it what a reader without one sees."""
        box = ipw.VBox([*self.sliders.values(), self.plan_view, self.button, self.message])
        bundle = dict(box._repr_mimebundle_(**options) or {})
        words = ", ".join(f"{name} {weight} %" for name, weight in self.weights.items())
        bundle["text/plain"] = f"weights: {words}"
        bundle["text/html"] = f"<p><b>weights</b>: {html.escape(words)}</p>{self.plan_view.value}{self.message.value}"
        return bundle


class Live:
    """A line of HTML that follows a shift while it moves, and a plain table of its decisions afterwards."""

    def __init__(self) -> None:
        self.line, self.decisions = ipw.HTML(), list[Decision]()

    def follow(self, decisions: Iterable[Decision]) -> None:
        """Take each decision as it comes, and show it."""
        for decision in decisions:
            if decision.phase != "watching":
                self.decisions.append(decision)
            self.line.value = self._shown(decision)

    def _shown(self, decision: Decision) -> str:
        words = f"{decision.step} % · {decision.phase} · {decision.words}"
        return Words(words, VERDICTS.get(decision.verdict, ""))._repr_html_()

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        bundle = dict(self.line._repr_mimebundle_(**options) or {})
        return {**bundle, "text/plain": "the shift, as it moves", "text/html": self.line.value or "<p>…</p>"}


def follow_shift(decisions: Iterable[Decision]) -> None:
    """Take a shift's decisions as they come, with a line that follows them, then show them as a table."""
    live = Live()
    display(live)
    try:
        live.follow(decisions)
    finally:
        rows = [{"phase": d.phase, "step": f"{d.step} %", "words": d.words} for d in live.decisions]
        display(Table("decisions", rows))


def weights_panel(session: Session, evidence: Sequence[Evidence] = ()) -> WeightsPanel | Words:
    """Return the panel for the traffic's division, or a sentence where there is none to divide."""
    split = survey(session).split
    if split.state is None:
        return Words("no route yet: the panel opens once 03 has been applied")
    return WeightsPanel(session, evidence)
