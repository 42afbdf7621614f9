"""Show what cannot be printed as what it is, at the door to every screen and page.

Pure. Names, AWS's messages and people's words may hold escape sequences,
which a terminal obeys, and marks that turn a line around; both come out as
the text of their numbers.
"""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Mapping

__all__ = ["counted", "divided", "escaped", "one_line", "visible"]

KEPT = "\n\t"


def visible(text: str) -> str:
    r"""Return text whose control characters and invisible marks are spelled
    out: `\x1b`, `\u202e`.
    """
    return text if text.isprintable() else "".join(map(_visible, text))


def counted(number: int, thing: str) -> str:
    """Return how many there are of a thing: `1 change`, `2 changes`, `0 addresses`."""
    plural = f"{thing}es" if thing.endswith("s") else f"{thing}s"
    return f"{number:,} {thing if number == 1 else plural}"


def divided(weights: Mapping[str, int]) -> str:
    """Return how traffic is divided, to be read."""
    return ", ".join(f"{name} {weight} %" for name, weight in weights.items())


def one_line(text: str) -> str:
    """Return text without line breaks, which would look like lines of
    the runbook's own.
    """
    return " ".join(text.split())


def escaped(text: str) -> str:
    """Return text as it may stand in a page of HTML, within an
    element or an attribute.
    """
    return html.escape(visible(text))


def _visible(character: str) -> str:
    if (
        character in KEPT
        or character.isprintable()
        or unicodedata.category(character) == "Zs"
    ):
        return character
    return character.encode("unicode_escape").decode()
