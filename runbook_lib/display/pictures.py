"""Make a drawing a PNG, which every reader shows: trusted or not,
printed, on a code host.

This alone imports matplotlib. Values in, bytes out, the same for the same values.
"""

from __future__ import annotations

import io
from typing import Any

from runbook_lib.display.drawing import (
    PIXELS,
    Area,
    Dots,
    Drawing,
    Line,
    Points,
    Shape,
    Text,
)

__all__ = ["SCALE", "png"]

SCALE = 2  # pixels of the PNG for one of the drawing, for screens that have them
INK, GROUND = "#1f2328", "#ffffff"  # no ink holds 4.5 to one on white and on near-black
INCH = 100  # pixels
POINT = 72 / INCH
COLOURS = 64
ALIGNED = {"start": "left", "middle": "center", "end": "right"}  # by anchor


def png(drawing: Drawing) -> bytes:
    """Return a drawing as a PNG on a ground of its own, as readable on a dark page
    as on a light one.
    """
    # here: half a second that only a picture is worth
    from matplotlib.figure import Figure

    figure = Figure(
        figsize=(drawing.width / INCH, drawing.height / INCH),
        dpi=SCALE * INCH,
        facecolor=GROUND,
    )
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, drawing.width)
    axes.set_ylim(drawing.height, 0)
    for shape in drawing.shapes:
        _put(axes, shape)
    return _small(figure)


def _small(figure: Any) -> bytes:
    """Return a figure as a PNG of few colours, which has a third of the bytes."""
    from PIL import Image

    drawn, out = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", metadata={"Software": None})
    image = Image.open(drawn).convert("RGB")
    few = image.quantize(COLOURS, method=Image.Quantize.FASTOCTREE)
    few.save(out, format="png", optimize=True)
    return out.getvalue()


def _put(axes: Any, shape: Shape) -> None:
    match shape:
        case Line():
            _put_line(axes, shape)
        case Area():
            _put_area(axes, shape)
        case Dots():
            _put_dots(axes, shape)
        case Text():
            _put_text(axes, shape)


def _put_line(axes: Any, line: Line) -> None:
    style: Any = "-"
    if line.dashes:
        # it counts in widths
        style = (0, [dash / line.width for dash in line.dashes])
    xs, ys = _columns(line.points)
    axes.plot(
        xs,
        ys,
        color=line.colour or INK,
        linestyle=style,
        linewidth=line.width * POINT,
        alpha=0.6 if line.faint else 1,
        solid_capstyle="butt",
    )


def _put_area(axes: Any, area: Area) -> None:
    xs, ys = _columns(area.points)
    axes.fill(xs, ys, color=INK, alpha=0.25 if area.faint else 1, linewidth=0)


def _put_dots(axes: Any, dots: Dots) -> None:
    xs, ys = _columns(dots.points)
    size = 4.4 * POINT
    axes.plot(xs, ys, "o", markersize=size, markeredgewidth=0, color=dots.colour)


def _put_text(axes: Any, text: Text) -> None:
    axes.text(
        text.x,
        text.y,
        text.words,
        horizontalalignment=ALIGNED[text.anchor],
        color=text.colour or INK,
        fontsize=PIXELS * POINT,
        weight="bold" if text.bold else "normal",
    )


def _columns(points: Points) -> tuple[list[float], list[float]]:
    """Return the x and the y of each point."""
    return [x for x, _ in points], [y for _, y in points]
