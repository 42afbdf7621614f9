"""Say what a picture is made of, once; a page shows it as SVG, and
`pictures` makes it a PNG.

Pure. Words without a colour have the page's; those with one stand on a
PNG's white ground.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runbook_lib.printable import escaped

__all__ = [
    "BAD",
    "GOOD",
    "WARN",
    "Area",
    "Dots",
    "Drawing",
    "Line",
    "Points",
    "Shape",
    "Text",
    "outline",
    "percent",
    "weight_words",
]

BAD, GOOD, WARN = "#cf222e", "#1a7f37", "#9a6700"  # 4.5 to one on white
INK = "currentColor"  # whatever the page writes with
PIXELS = 11  # the height of letters
LARGEST = 1.25  # by how much a page may enlarge a drawing that has room

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Line:
    """A line through points; widths and `dashes` in pixels; without a colour it has
    that of the page's text.
    """

    points: Points
    colour: str = ""
    dashes: tuple[int, ...] = ()
    width: float = 1.8
    faint: bool = False

    def svg(self) -> str:
        """Return the line as an element of SVG."""
        pen = f"stroke='{self.colour or INK}' stroke-width='{self.width}'"
        if self.dashes:
            lengths = " ".join(map(str, self.dashes))
            pen += f" stroke-dasharray='{lengths}'"
        if self.faint:
            pen += " stroke-opacity='.45'"
        return f"<polyline points='{_path(self.points)}' fill='none' {pen}/>"


@dataclass(frozen=True, slots=True)
class Area:
    """An area with this outline, faint unless it is a mark of its own."""

    points: Points
    faint: bool = True

    def svg(self) -> str:
        """Return the area as an element of SVG."""
        faint = " fill-opacity='.2'" if self.faint else ""
        return f"<polygon points='{_path(self.points)}' fill='{INK}'{faint}/>"


@dataclass(frozen=True, slots=True)
class Dots:
    """A dot at each point."""

    points: Points
    colour: str

    def svg(self) -> str:
        """Return all of them as one element of SVG."""
        path = "".join(f"M{x:.1f},{y:.1f}h0" for x, y in self.points)
        return (
            f"<path d='{path}' stroke='{self.colour}' stroke-width='4.4' "
            "stroke-linecap='round'/>"
        )


@dataclass(frozen=True, slots=True)
class Text:
    """Words on a base line that start, end or have their middle at x."""

    x: float
    y: float
    words: str
    anchor: str = "start"
    bold: bool = False
    colour: str = ""

    def svg(self) -> str:
        """Return the words as an element of SVG."""
        pen = f"x='{self.x:.1f}' y='{self.y:.1f}' text-anchor='{self.anchor}'"
        if self.bold:
            pen += " font-weight='600'"
        if self.colour:
            pen += f" fill='{self.colour}'"
        return f"<text {pen}>{escaped(self.words)}</text>"


Shape = Line | Area | Dots | Text


@dataclass(frozen=True, slots=True)
class Drawing:
    """Shapes on a paper of this size in pixels, the origin at its upper left, and
    the same in words.
    """

    width: float
    height: float
    shapes: tuple[Shape, ...]
    words: str

    def svg(self) -> str:
        """Return the drawing as SVG in the colours of the page it stands in; "" where
        there is nothing to draw.
        """
        if not self.shapes:
            return ""
        shapes = "".join(shape.svg() for shape in self.shapes)
        return (
            f"<svg viewBox='0 0 {self.width} {self.height}' width='100%' "
            f"style='max-width:{LARGEST * self.width:.0f}px' role='img' "
            f"font-family='sans-serif' font-size='{PIXELS}' fill='{INK}' "
            f"aria-label='{escaped(self.words)}'>"
            f"{shapes}</svg>"
        )


def _path(points: Points) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def outline(left: float, top: float, right: float, bottom: float) -> Points:
    """Return the corners of a box, the first one twice, for a line around it."""
    return (
        (left, top),
        (right, top),
        (right, bottom),
        (left, bottom),
        (left, top),
    )


def percent(fraction: float, digits: int = 0) -> str:
    """Return a fraction as percent; the space before the sign does not break."""
    return f"{100 * fraction:.{digits}f}\N{NO-BREAK SPACE}%"


def weight_words(weight: int) -> str:
    """Return a weight, in percent already, as `percent` writes it."""
    return percent(weight / 100)
