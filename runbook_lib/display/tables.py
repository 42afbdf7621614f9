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
from runbook_lib.display.drawing import Drawing
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
    "PASS": "#1a7f37",
    "DONE": "#1a7f37",
    "WARN": "#9a6700",
    "FAIL": "#cf222e",
    "NOT DONE": "#cf222e",
    "UNWATCHED": "#cf222e",
}


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
        rows = [
            {visible(name): visible(text_of(value)) for name, value in row.items()}
            for row in self.rows
        ]
        return pd.DataFrame(rows).fillna("–")

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
        if not self.rows:
            return f"{visible(self.caption)}: none"
        frame = self._frame()
        rows = [
            [_wrapped(cell) for cell in row]
            for row in (list(frame.columns), *frame.to_numpy().tolist())
        ]
        widths = [
            max(len(line) for cell in column for line in cell)
            for column in zip(*rows, strict=True)
        ]
        lines = [parts for row in rows for parts in zip_longest(*row, fillvalue="")]
        text = ["  ".join(map(str.ljust, parts, widths)).rstrip() for parts in lines]
        return "\n".join([visible(self.caption), *text])


def _wrapped(cell: str) -> list[str]:
    return [
        piece
        for line in cell.split("\n")
        for piece in wrap(line, 60, break_on_hyphens=False) or [""]
    ]


@dataclass(frozen=True)
class Words:
    """One statement; `kind` is PASS, WARN or FAIL where it judges something, DONE or
    NOT DONE of a deed, UNWATCHED of a canary, else "".
    """

    text: str
    kind: str = ""

    def _repr_html_(self) -> str:
        style = (
            f"background:{GROUNDS.get(self.kind)};color:#fff;padding:0 "
            ".4em;border-radius:3px"
        )
        mark = f"<b style='{style}'>{MARK[self.kind]}</b> " if self.kind else ""
        return f"<p>{mark}{escaped(self.text)}</p>"

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
        return {"image/png": png, "text/plain": repr(self)}, {
            "image/png": {
                "width": round(self.drawing.width),
                "alt": self.drawing.words,
            }
        }

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
        applies = self.parameters.mode == "apply"
        danger = applies and not self.parameters.rehearsed
        back = "#cf222e" if danger else "#1a7f37" if applies else "#0969da"
        style = (
            f"background:{back};color:#fff;padding:.6em "
            "1em;border-radius:6px;font-weight:600"
        )
        return (
            "<div role='status' "
            f"style='{style}'>{'⚠ ' if danger else ''}{escaped(repr(self))}</div>"
        )


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
