"""Suggest the known name that is closest to one nobody knows."""

from __future__ import annotations

import difflib

LONGEST_WORD = 300


def nearest(word: str, known: list[str]) -> str:
    """Return a question that names the closest known word, or nothing."""
    if len(word) > LONGEST_WORD:  # nobody's slip of a key, and slow to compare
        return ""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else ""
