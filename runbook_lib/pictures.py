"""Draw what people would rather look at than read.

This alone imports matplotlib. Pure but for the drawing: values in, PNG bytes out, the same for the same values.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

from runbook_lib.forecast import share_band
from runbook_lib.history import History

__all__ = ["history", "topology"]

STABLE, CANARY, GREY = "#0969da", "#bc4c00", "#57606a"


def topology(edges: Sequence[tuple[str, str, str]]) -> bytes:
    """Return who calls whom as a PNG: callers, the names they dial, who answers, with the weights on the arrows."""
    from matplotlib.figure import Figure  # here: half a second that only a picture is worth

    columns: list[list[str]] = [[], [], []]
    for a, b, _ in edges:
        columns[1 if "." in a else 0].append(a)
        columns[1 if "." in b else 2].append(b)
    columns = [list(dict.fromkeys(c)) for c in columns]
    columns[2] = [n for n in columns[2] if n not in columns[0]] + [n for n in columns[2] if n in columns[0]]
    height = max(map(len, columns), default=1)
    at = {(x, n): (x, (height - 1) / 2 + (len(c) - 1) / 2 - i) for x, c in enumerate(columns) for i, n in enumerate(c)}
    figure = Figure(figsize=(9, 0.9 + 0.9 * height), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(-0.5, 2.5)
    axes.set_ylim(-0.7, height - 0.3)
    for a, b, label in edges:
        start, end = at[(1 if "." in a else 0), a], at[(1 if "." in b else 2), b]
        axes.annotate(
            "",
            xy=(end[0] - 0.3, end[1]),
            xytext=(start[0] + 0.3, start[1]),
            arrowprops={"arrowstyle": "->", "color": "#57606a"},
        )
        axes.text((start[0] + end[0]) / 2, (start[1] + end[1]) / 2 + 0.12, label, ha="center", fontsize=9)
    for (x, name), (left, top) in at.items():
        colour = "#ddf4ff" if x == 1 else "#dafbe1"
        axes.text(
            left,
            top,
            name,
            ha="center",
            va="center",
            fontsize=10,
            bbox={"boxstyle": "round,pad=0.5", "fc": colour, "ec": "#57606a"},
        )
    return _png(figure)


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
