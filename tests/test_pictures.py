"""A drawing as a PNG: the same for the same drawing, small, on a ground of its own, with readable words."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from PIL import Image

from runbook_lib.display.drawing import BAD, GOOD, WARN, Area, Dots, Drawing, Line, Text
from runbook_lib.display.pictures import SCALE, png
from runbook_lib.display.timeline import drawn
from tests.test_film import contrast, event, shift


def past() -> Drawing:
    return drawn(shift(30, event("written", 5), event("proved", 8), event("judged", 29, verdict="PASS")))


def test_it_is_the_same_bytes_for_the_same_drawing() -> None:
    assert png(past()) == png(past())


def test_it_is_small_and_sharp() -> None:
    assert len(png(past())) < 50_000
    assert Image.open(io.BytesIO(png(past()))).size == (SCALE * past().width, SCALE * past().height)


@pytest.mark.parametrize("kind", [Line, Area, Dots, Text])
def test_every_kind_of_shape_is_drawn(kind: type) -> None:
    seen = past()
    shape = next(shape for shape in seen.shapes if isinstance(shape, kind))
    assert png(replace(seen, shapes=(shape,))) != png(replace(seen, shapes=(Text(0, 0, ""),)))


@pytest.mark.parametrize("colour", ["", BAD, GOOD, WARN])
def test_it_has_a_ground_and_words_that_are_readable_on_it(colour: str) -> None:
    bar = Line(((0, 10), (40, 10)), colour, width=8)
    image = Image.open(io.BytesIO(png(Drawing(40, 20, (bar,), "")))).convert("RGBA")
    ink, ground = ("#{:02x}{:02x}{:02x}{:02x}".format(*image.getpixel(at)) for at in ((40, 20), (40, 2)))  # type: ignore[misc]
    assert (ink[7:], ground) == ("ff", "#ffffffff")
    assert contrast(ink[:7], ground[:7]) >= 4.5


def test_no_label_is_cut_at_the_right_edge() -> None:
    ended = drawn(shift(30, event("written", 5), event("judged", 29, verdict="INCONCLUSIVE")))
    image = Image.open(io.BytesIO(png(ended))).convert("RGBA")
    assert len({image.getpixel((image.width - 1, y)) for y in range(image.height)}) == 1


def test_words_keep_to_their_side() -> None:
    image = Image.open(io.BytesIO(png(Drawing(200, 20, (Text(100, 14, "to the left of it", "end"),), ""))))
    inked = image.convert("L").point(lambda light: 255 * (light < 200))
    left, _, right, _ = inked.getbbox() or (0, 0, 0, 0)
    assert left < right <= 100 * SCALE + 2
