"""What the panel and the live view share of ipywidgets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ipywidgets as ipw

from runbook_lib.display.tables import Words

__all__ = ["alert", "bundle", "dense", "hear_at_once"]


def bundle(
    widget: ipw.Widget, words: str, shown: str, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a live widget, and beside it what a reader without one sees,
    as text and as HTML.
    """
    return {
        **(widget._repr_mimebundle_(**options) or {}),
        "text/plain": words,
        "text/html": shown,
    }


def hear_at_once(widget: ipw.Widget) -> None:
    """Let a hand on a widget be heard while a cell runs, in the subshell the
    front end chose for it.

    ipykernel (7.4) sends it to where the widget was last written from, which for a
    panel just made is the very cell queue that the shift keeps busy: a Hold would wait
    for the end of what it is to hold.
    """
    vars(widget.comm).pop("_reply_subshell_id", None)


def alert(text: str) -> str:
    """Return a sentence that a screen reader speaks at once; nothing
    where there is none.
    """
    return (
        f"<div role='alert'>{Words(text, 'UNWATCHED')._repr_html_()}</div>"
        if text
        else ""
    )


def dense(shown: str) -> str:
    """Return HTML whose lines stand as close as outside of a widget."""
    return f"<div style='line-height:1.35'>{shown}</div>"
