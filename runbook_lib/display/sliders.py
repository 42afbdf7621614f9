"""Linked sliders, one for each weight, that always sum to 100 percent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import anywidget
import ipywidgets as ipw
import traitlets

__all__ = ["Slider", "Sliders", "balanced"]

WEIGHTS = frozenset(map(str, range(101)))  # whatever may be typed


def balanced(weights: Mapping[str, int], moved: str, value: int) -> dict[str, int]:
    """Return weights that sum to 100 with `moved` at `value`, the rest
    shared as it was before.

    One alone stays at 100, and one without weight gets none while others have some.
    """
    others = {name: weight for name, weight in weights.items() if name != moved}
    if not others:
        return dict.fromkeys(weights, 100)
    value = max(0, min(100, value))
    shared = {**_shared(100 - value, others), moved: value}
    return {name: shared[name] for name in weights}


def _shared(whole: int, weights: Mapping[str, int]) -> dict[str, int]:
    """Return a whole shared out by weights, evenly where all are 0; what rounding
    leaves goes to the first of those that have a weight, one to each.
    """
    if not any(weights.values()):
        weights = dict.fromkeys(weights, 1)
    total = sum(weights.values())
    shares = {name: whole * weight // total for name, weight in weights.items()}
    rest = whole - sum(shares.values())
    weighted = [name for name, weight in weights.items() if weight]
    for name in weighted[:rest]:
        shares[name] += 1
    return shares


class Slider(anywidget.AnyWidget):
    """A weight in percent, moved by hand. It has a name for screen readers, which the
    slider of ipywidgets has not.
    """

    _esm = Path(__file__).with_name("slider.js").read_text()
    value = traitlets.Int(0, min=0, max=100).tag(sync=True)
    label = traitlets.Unicode().tag(sync=True)


class Sliders:
    """A slider and a number for each weight; whichever is moved, the others follow.

    `moved` is told once they have, `complain` in words of what was typed and is no
    weight: that moves nothing.
    """

    def __init__(
        self,
        weights: Mapping[str, int],
        moved: Callable[[], None],
        complain: Callable[[str], None],
    ) -> None:
        self.moved = moved
        self.complain = complain
        self._putting = False  # whether it is no hand that moves them
        self.sliders = {name: self._slider(name, w) for name, w in weights.items()}
        self.numbers = {name: self._number(name, w) for name, w in weights.items()}

    @property
    def weights(self) -> dict[str, int]:
        """The weights they show, in percent."""
        return {name: slider.value for name, slider in self.sliders.items()}

    def put(self, weights: Mapping[str, int]) -> None:
        """Show weights, without taking that for somebody's hand."""
        self._putting = True
        try:
            for name, weight in weights.items():
                self.sliders[name].value = weight
                self.numbers[name].value = str(weight)
        finally:
            self._putting = False

    def rows(self) -> list[ipw.HBox]:
        """Return each number with its slider, below it where a page is narrow."""
        layout = {"flex_flow": "row wrap", "align_items": "center"}
        rows = []
        for name, slider in self.sliders.items():
            rows.append(ipw.HBox([self.numbers[name], slider], layout=layout))
        return rows

    def _slider(self, name: str, weight: int) -> Slider:
        slider = Slider(value=weight, label=f"weight of {name}, percent")
        slider.layout.width = "20em"
        slider.observe(lambda change: self._moved(name, change["new"]), names="value")
        return slider

    def _number(self, name: str, weight: int) -> ipw.Text:
        """The number before each slider.

        It is text, since a field for numbers hands on 12.7 as 127, and nothing at all
        once it is emptied.
        """
        number = ipw.Text(
            str(weight), continuous_update=False, description=f"{name}, percent"
        )
        number.style.description_width = "11em"
        number.layout.width = "17em"
        number.tooltip = f"weight of {name}, percent, 0 to 100"
        number.observe(lambda change: self._typed(name, change["new"]), names="value")
        return number

    def _typed(self, name: str, text: str) -> None:
        """Move a weight to what was typed."""
        if self._putting:
            return
        if text.strip() in WEIGHTS:
            self._moved(name, int(text))
            return
        self.put(self.weights)
        expected = "expected 0 to 100, whole percent; nothing was moved"
        self.complain(f"{name}: {text!r} is no weight; {expected}")

    def _moved(self, name: str, value: int) -> None:
        """Let every weight follow the one that somebody moved."""
        if not self._putting:
            self.put(balanced(self.weights, name, value))
            self.moved()
