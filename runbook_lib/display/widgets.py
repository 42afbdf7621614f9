"""What the panel, the live view and recorded outputs share of ipywidgets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import ipywidgets as ipw
from IPython import get_ipython
from IPython.display import display

from runbook_lib.display.tables import Picture, Words
from runbook_lib.printable import one_line

__all__ = [
    "WhoAndWhy",
    "alert",
    "bundle",
    "dense",
    "hear_at_once",
    "live",
    "mark_recording",
]

RECORDED = "Recorded, not of this session: run this cell to see how it is now."
# Jupyter sets the other class when the kernel has ended.
LIVE = "runbook-live"
VIEW = "application/vnd.jupyter.widget-view+json"  # what shows a widget on a page
HIDDEN = f".{LIVE}:not(.jupyter-widgets-disconnected) p {{display:none}}"
MARKED: dict[str, str] = {}  # which request for a cell was marked last


def bundle(
    widget: ipw.Widget, words: str, shown: str, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a live widget, and beside it what a reader without one sees,
    as text and as HTML.
    """
    data = _live_data(widget, options)
    data["text/plain"] = words
    data["text/html"] = shown
    return data


def _live_data(widget: ipw.Widget, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a widget says of itself, which without a page may be nothing."""
    return dict(widget._repr_mimebundle_(**options) or {})


class Said(NamedTuple):
    """Who decides, and why, each in one line; "" for what is not said yet."""

    by: str
    because: str


class WhoAndWhy:
    """Two fields, out of sight until they are asked for: who decides, and why."""

    def __init__(self) -> None:
        self.by = _field("Decided by")
        self.because = _field("Because")
        self.fields = [self.by, self.because]
        layout = {"flex_flow": "row wrap", "display": "none"}
        self.box = ipw.HBox(self.fields, layout=layout)

    @property
    def said(self) -> Said:
        """What the fields say."""
        return Said(one_line(self.by.value), one_line(self.because.value))

    def ask(self) -> None:
        """Show the fields, and put the cursor into the first that is empty."""
        self.box.layout.display = "flex"
        empty = [field for field in self.fields if not one_line(field.value)]
        if empty:
            empty[0].focus()

    def forget(self) -> None:
        """Take the fields out of sight, the reason emptied: it was for one decision."""
        self.box.layout.display = "none"
        self.because.value = ""


def _field(name: str) -> ipw.Text:
    field = ipw.Text(description=name, continuous_update=False)
    field.style.description_width = "6em"
    field.layout.width = "24em"
    return field


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
    if not text:
        return ""
    return f"<div role='alert'>{Words(text, 'UNWATCHED')._repr_html_()}</div>"


def dense(shown: str) -> str:
    """Return HTML whose lines stand as close as outside of a widget."""
    return f"<div style='line-height:1.35'>{shown}</div>"


class Recorded:
    """Says that what a cell shows is a recording, wherever it is not live: a page that
    has the kernel which ran the cell hides it, until that kernel has ended.
    """

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        style = "border-left:4px solid #9a6700;padding-left:.6em;font-style:italic"
        words = f"<p style='{style}'>{RECORDED}</p>"
        flat = {"margin": "0", "min_height": "0", "height": "auto"}
        hidden = ipw.HTML(f"<style>{HIDDEN}</style>{words}", layout=flat)
        hidden.add_class(LIVE)
        return bundle(hidden, RECORDED, words, options)


class Themed:
    """A picture that has the colours of the page where it is live, and is the same
    picture on a ground of its own where it is a recording.
    """

    def __init__(self, picture: Picture) -> None:
        self.picture = picture

    def _repr_mimebundle_(
        self, **options: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        still, sizes = self.picture._repr_mimebundle_()
        live = _live_data(ipw.HTML(self.picture.drawing.svg()), options)
        return {**live, **still}, sizes


def live(part: Any) -> Any:
    """Return what a kernel shows for a part: a picture in the colours of the page."""
    if isinstance(part, Picture) and get_ipython() is not None:
        return Themed(part)
    return part


def mark_recording() -> None:
    """Show that mark above whatever else this cell shows; once a cell, and in a kernel
    alone.
    """
    shell: Any = get_ipython()
    if not hasattr(shell, "get_parent"):
        return
    request = shell.get_parent()["header"]["msg_id"]  # a number is not always counted
    if MARKED.get("cell") == request:
        return
    MARKED["cell"] = request
    display(Recorded())
