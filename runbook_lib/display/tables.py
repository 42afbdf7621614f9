"""Say how words, tables and pictures look, in a notebook and in a terminal.

This alone imports pandas. What came from AWS is escaped.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from textwrap import wrap
from typing import Any

from runbook_lib.display import pictures
from runbook_lib.display.drawing import BAD, GOOD, WARN, Drawing
from runbook_lib.parameters import Parameters
from runbook_lib.printable import escaped, visible
from runbook_lib.wording import text_of

# JupyterLab sets text to the right, and its widgets have no padding at all.
STYLED = {
    "\\n": "<br>",
    '<table class="dataframe">': '<table class="dataframe" cellpadding="4">',
    "<td>": "<td style='text-align:left'>",
    "<th>": "<th style='text-align:left'>",
}
MARK = {
    "PASS": "✓ PASS",
    "WARN": "! WARN",
    "FAIL": "✗ FAIL",
    "DONE": "✓ done",
    "NOT DONE": "✗ not done",
    "UNWATCHED": "✗ unwatched",
}
# White on a ground of its own is as readable on a dark page as on a light one.
GROUNDS = {
    "PASS": GOOD,
    "DONE": GOOD,
    "WARN": WARN,
    "FAIL": BAD,
    "NOT DONE": BAD,
    "UNWATCHED": BAD,
}
PLANS = "#0969da"  # the ground of a banner where nothing is applied
WIDEST = 60  # characters of a cell in plain text


@dataclass(frozen=True)
class Table:
    """Rows of text under a caption, as HTML where that can be shown and as
    plain text elsewhere.
    """

    caption: str
    rows: Sequence[Mapping[str, Any]]

    def _frame(self) -> Any:
        # here, since only a table that is shown is worth a third of a second
        import pandas as pd

        pd.set_option("display.max_colwidth", None)
        return pd.DataFrame([_printable(row) for row in self.rows]).fillna("–")

    def _repr_html_(self) -> str:
        caption = f"<p><b>{escaped(self.caption)}</b></p>"
        if not self.rows:
            return f"{caption}<p>(none)</p>"
        table: str = self._frame().to_html(
            index=False, border=0, escape=True, justify="left"
        )
        for plain, styled in STYLED.items():
            table = table.replace(plain, styled)
        return caption + table

    def __repr__(self) -> str:
        caption = visible(self.caption)
        if not self.rows:
            return f"{caption}: none"
        frame = self._frame()
        lines: list[list[str]] = []  # each with a part of every column
        for row in (list(frame.columns), *frame.to_numpy().tolist()):
            cells = [_wrapped(cell) for cell in row]
            lines += [list(parts) for parts in zip_longest(*cells, fillvalue="")]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        text = [caption]
        for parts in lines:
            padded = map(str.ljust, parts, widths)
            text.append("  ".join(padded).rstrip())
        return "\n".join(text)


def _printable(row: Mapping[str, Any]) -> dict[str, str]:
    return {visible(name): visible(text_of(value)) for name, value in row.items()}


def _wrapped(cell: str) -> list[str]:
    """Return the lines of a cell, none of them too wide; an empty one stays."""
    lines = []
    for line in cell.split("\n"):
        lines += wrap(line, WIDEST, break_on_hyphens=False) or [""]
    return lines


@dataclass(frozen=True)
class Words:
    """One statement; `kind` is PASS, WARN or FAIL where it judges something, DONE or
    NOT DONE of an action, UNWATCHED of a canary, else "".
    """

    text: str
    kind: str = ""

    def _repr_html_(self) -> str:
        text = escaped(self.text)
        if not self.kind:
            return f"<p>{text}</p>"
        ground = GROUNDS[self.kind]
        style = f"background:{ground};color:#fff;padding:0 .4em;border-radius:3px"
        return f"<p><b style='{style}'>{MARK[self.kind]}</b> {text}</p>"

    def __repr__(self) -> str:
        return visible(f"{MARK[self.kind]} {self.text}" if self.kind else self.text)


@dataclass(frozen=True)
class Picture:
    """A drawing that stays, as a PNG alone: pages that trust nobody drop SVG, and one
    as an image has no ink.

    Its words are its alternative text for whoever shows one; JupyterLab shows none, so
    they also stand below.
    """

    drawing: Drawing

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        png = base64.b64encode(pictures.png(self.drawing)).decode()
        data = {"image/png": png, "text/plain": repr(self)}
        size = {"width": round(self.drawing.width), "alt": self.drawing.words}
        return data, {"image/png": size}

    def __repr__(self) -> str:
        return "(a picture; described below)"


@dataclass(frozen=True)
class Banner:
    """Environment, account, region and mode."""

    parameters: Parameters

    def __repr__(self) -> str:
        p = self.parameters
        where = "the local mesh" if p.rehearsed else "AWS"
        does = "APPLIES changes" if p.mode == "apply" else "only plans"
        return (
            f"{p.environment} on {where} · account {p.account_id} · {p.region} · {does}"
        )

    def _repr_html_(self) -> str:
        ground = self._ground()
        sign = "⚠ " if ground == BAD else ""
        style = (
            f"background:{ground};color:#fff;padding:.6em "
            "1em;border-radius:6px;font-weight:600"
        )
        words = f"{sign}{escaped(repr(self))}"
        return f"<div role='status' style='{style}'>{words}</div>"

    def _ground(self) -> str:
        if self.parameters.mode != "apply":
            return PLANS
        return GOOD if self.parameters.rehearsed else BAD


def warning(needed: bool) -> str:
    """Return the mark of a row that needs attention, "" for any other."""
    return MARK["WARN"] if needed else ""


def marked(caption: str, rows: Iterable[dict[str, str]]) -> Table:
    """Return a table with the rows that have a mark first; without the column of
    marks where none has one.
    """
    ordered = sorted(rows, key=lambda row: not row[""])
    if not any(row[""] for row in ordered):
        ordered = [_unmarked(row) for row in ordered]
    return Table(caption, ordered)


def _unmarked(row: Mapping[str, str]) -> dict[str, str]:
    return {name: cell for name, cell in row.items() if name}
