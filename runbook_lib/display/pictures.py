"""Make a drawing a PNG, which every reader shows: trusted or not,
printed, on a code host.

This alone imports matplotlib. Values in, bytes out, the same for the same values.
"""

from __future__ import annotations

import io
from typing import Any

from runbook_lib.display.drawing import PIXELS, Area, Dots, Drawing, Line, Shape, Text

__all__ = ["SCALE", "png"]

SCALE = 2  # pixels of the PNG for one of the drawing, for screens that have them
INK, GROUND = "#1f2328", "#ffffff"  # no ink holds 4.5 to one on white and on near-black
INCH = 100  # pixels
POINT = 72 / INCH
COLOURS = 64


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
    few = (
        Image.open(drawn)
        .convert("RGB")
        .quantize(COLOURS, method=Image.Quantize.FASTOCTREE)
    )
    few.save(out, format="png", optimize=True)
    return out.getvalue()


def _put(axes: Any, shape: Shape) -> None:
    match shape:
        case Line(points, colour, dashes, width, faint):
            # it counts in widths
            style = (0, [dash / width for dash in dashes]) if dashes else "-"
            pen = {
                "lw": width * POINT,
                "alpha": 0.6 if faint else 1,
                "solid_capstyle": "butt",
            }
            axes.plot(*zip(*points, strict=True), color=colour or INK, ls=style, **pen)
        case Area(points, faint):
            axes.fill(
                *zip(*points, strict=True), color=INK, alpha=0.25 if faint else 1, lw=0
            )
        case Dots(points, colour):
            axes.plot(
                *zip(*points, strict=True), "o", ms=4.4 * POINT, mew=0, color=colour
            )
        case Text(x, y, words, anchor, bold, colour):
            aligned = {"start": "left", "middle": "center", "end": "right"}[anchor]
            weight = "bold" if bold else "normal"
            axes.text(
                x,
                y,
                words,
                ha=aligned,
                color=colour or INK,
                fontsize=PIXELS * POINT,
                weight=weight,
            )
