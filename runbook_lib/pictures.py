"""Draw what people would rather look at than read.

This alone imports matplotlib. Pure but for the drawing: values in, PNG bytes out, the same for the same values.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runbook_lib.forecast import share_band
from runbook_lib.history import History

__all__ = ["Box", "history", "topology"]

STABLE, CANARY, GREY = "#0969da", "#bc4c00", "#57606a"
FILLS = ("#fff8c5", "#ddf4ff", "#fbefff", "#dafbe1", "#f6f8fa")
VERBS = {"create": "#1a7f37", "delete": "#cf222e"}


@dataclass(frozen=True, slots=True)
class Box:
    """One thing on the map: in which column, whether it is there, and the verb of what a plan would do to it."""

    column: int
    label: str
    there: bool = True
    verb: str = ""


def topology(boxes: Mapping[str, Box], edges: Sequence[tuple[str, str, str]], columns: Sequence[str]) -> bytes:
    """Return the map as a PNG: boxes by key in named columns, arrows between keys with words on them.

    What is not there is dashed; what a plan would change has its verb on it and a thick frame.
    """
    from matplotlib.figure import Figure  # here: half a second that only a picture is worth

    stacks = [[key for key, box in boxes.items() if box.column == x] for x in range(len(columns))]
    height = max(map(len, stacks), default=1)
    at = {k: (x, (height - 1) / 2 + (len(s) - 1) / 2 - i) for x, s in enumerate(stacks) for i, k in enumerate(s)}
    figure = Figure(figsize=(11, 0.9 + 0.85 * height), dpi=90)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(-0.5, len(columns) - 0.5)
    axes.set_ylim(-0.65, height + 0.05)
    for x, name in enumerate(columns):
        axes.text(x, height - 0.2, name, ha="center", fontsize=9, color=GREY, weight="bold")
    for a, b, label in edges:
        (x1, y1), (x2, y2) = at[a], at[b]
        arrow = {"arrowstyle": "-|>", "color": GREY, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", xy=(x2 - 0.37, y2), xytext=(x1 + 0.37, y1), arrowprops=arrow)
        if label:
            clear = {"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none"}
            middle = ((x1 + x2) / 2, (y1 + y2) / 2)
            axes.text(*middle, label, ha="center", va="center", fontsize=8.5, weight="bold", bbox=clear)
    for key, (x, y) in at.items():
        _draw_box(axes, boxes[key], x, y)
    return _png(figure)


def _draw_box(axes: Any, box: Box, x: float, y: float) -> None:
    from matplotlib.patches import FancyBboxPatch

    colour = VERBS.get(box.verb, "#9a6700") if box.verb else GREY
    frame = FancyBboxPatch(
        (x - 0.36, y - 0.27),
        0.72,
        0.54,
        boxstyle="round,pad=0,rounding_size=0.06",
        fc=FILLS[box.column] if box.there else "white",
        ec=colour,
        lw=2.6 if box.verb else 1.0,
        ls="-" if box.there else (0, (3, 2)),
    )
    axes.add_patch(frame)
    axes.text(x, y, box.label, ha="center", va="center", fontsize=8.5, color="#1f2328" if box.there else GREY)
    if box.verb:
        badge = {"boxstyle": "round,pad=0.25", "fc": colour, "ec": "white"}
        axes.text(x + 0.34, y + 0.27, box.verb, ha="right", va="center", fontsize=8, color="white", bbox=badge)


def history(shown: History) -> bytes:
    """Return a shift as a PNG: requests by version, the canary's share in its band, evidence, events on one axis."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6.5), dpi=100, layout="constrained")
    axes = figure.subplots(3, 1, sharex=True)
    zero = shown.intervals[0].start
    times = [i.start - zero for i in shown.intervals]
    axes[0].plot(times, [i.errors.stable_requests for i in shown.intervals], color=STABLE, label=shown.stable)
    axes[0].plot(times, [i.errors.canary_requests for i in shown.intervals], color=CANARY, ls="--", label=shown.canary)
    axes[0].plot(times, [i.errors.canary_errors for i in shown.intervals], color="#cf222e", ls=":", label="its errors")
    axes[0].set_ylabel("requests per interval")
    axes[0].legend(loc="center left", fontsize=8)
    _draw_share(axes[1], shown, zero)
    _draw_evidence(axes[2], shown, zero)
    for each in axes:
        each.grid(alpha=0.3)
        for step in shown.steps:
            each.axvline(step.at - zero, color=GREY, lw=0.8, ls="-.")
    for step in shown.steps:
        axes[0].annotate(step.words, (step.at - zero, 1), xycoords=("data", "axes fraction"), fontsize=8, va="bottom")
    axes[2].set_xlabel("seconds")
    return _png(figure)


def _draw_share(axes: Any, shown: History, zero: int) -> None:
    rows = [(i, _weight(shown, i.start)) for i in shown.intervals if i.requests]
    times = [i.start - zero for i, _ in rows]
    bands = [share_band(weight, i.requests) for i, weight in rows]
    axes.fill_between(
        times, [b[0] for b in bands], [b[1] for b in bands], step="mid", color=GREY, alpha=0.25, label="band"
    )
    axes.step(times, [w / 100 for _, w in rows], where="mid", color=GREY, label="weight")
    axes.plot(times, [i.errors.canary_requests / i.requests for i, _ in rows], "o", ms=3, color=CANARY, label="share")
    axes.set_ylabel(f"{shown.canary}'s share")
    axes.set_ylim(-0.03, 1.03)
    axes.legend(loc="center left", fontsize=8)


def _draw_evidence(axes: Any, shown: History, zero: int) -> None:
    later = shown.intervals[len(shown.intervals) - len(shown.evidence) :]
    axes.plot([i.start - zero for i in later], [e / math.log(10) for e in shown.evidence], color=CANARY)
    axes.axhline(2, color="#cf222e", lw=1)
    axes.annotate("FAIL at 100 to 1", (0, 2), fontsize=8, va="bottom", color="#cf222e")
    axes.set_ylabel("evidence, powers of ten")


def _weight(shown: History, at: float) -> int:
    passed = [step.step for step in shown.steps if step.at <= at]
    return passed[-1] if passed else 0


def _png(figure: Any) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None}, facecolor="white")
    return out.getvalue()
