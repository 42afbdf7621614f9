"""Show an account as one page of HTML that needs nothing else: no network, no script.

This alone imports Jinja and nbconvert.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from nbconvert import HTMLExporter
from pygments.formatters import HtmlFormatter
from traitlets.config import Config

from runbook_lib.errors import RecordError
from runbook_lib.printable import visible
from runbook_lib.private import replace_privately
from runbook_lib.record import Run
from runbook_lib.reporting.account import Account, account_of
from runbook_lib.runs.verify import Checked, verify

__all__ = ["page", "write_page"]

TEMPLATE = "page.html.j2"
NOTEBOOKS = "[0-9][0-9]_*.ipynb"
SHIFTING = "follow_shift("  # the call under which a notebook shows the shift's picture
PNG = "image/png"
# No widget and no script: the page says to the browser that none may run.
SHOWN = ["text/html", "image/svg+xml", PNG, "text/plain"]


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of a shift, as base64 of a PNG, and the same in words."""

    png: str
    words: str


@dataclass(frozen=True, slots=True)
class Executed:
    """An executed notebook: its name, and its cells as HTML."""

    name: str
    html: str


def write_page(run: Run, file: Path | None = None) -> Path:
    """Write the report of a run, into its folder where no file is named, readable by
    its user alone; return the file.

    Raises RecordError where the run cannot be read or the file not written.
    """
    file = file or run.folder / "report.html"
    text = page(run)
    try:
        replace_privately(file, text)
    except OSError as error:
        raise RecordError(
            f"the report cannot be written: {file}: {error.strerror or error}",
            hint="--output names another file",
        ) from error
    return file


def page(run: Run) -> str:
    """Return a run's report as HTML, from its record, summary and executed notebooks.

    Raises RecordError where the record cannot be read.
    """
    lines = list(run.lines())
    head = str(run.head()["head"])
    account = account_of(run.id, lines, run.summary() or {}, head)
    books = [_read(path) for path in sorted(run.folder.glob(NOTEBOOKS))]
    pictures = [picture for _, book in books for picture in pictures_in(book)]
    executed = [Executed(name, _cells(book)) for name, book in books]
    return render(account, verify(run), pictures, executed)


def render(
    account: Account,
    checks: Sequence[Checked],
    pictures: Sequence[Picture] = (),
    notebooks: Sequence[Executed] = (),
) -> str:
    """Return the page; whatever it is told is escaped, but the notebooks' own HTML."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    return environment.get_template(TEMPLATE).render(
        account=account,
        checks=checks,
        pictures=pictures,
        notebooks=notebooks,
        code_style=HtmlFormatter(style="default").get_style_defs(".highlight"),
    )


def pictures_in(book: Mapping[str, Any]) -> Iterator[Picture]:
    """Yield the last picture under each cell that shifts, with the words below it."""
    for cell in book["cells"]:
        outputs = cell.get("outputs", ()) if SHIFTING in cell["source"] else ()
        found = [place for place, one in enumerate(outputs) if PNG in _data(one)]
        if found:
            place = found[-1]
            below = outputs[place + 1] if place + 1 < len(outputs) else {}
            yield Picture(
                png="".join(_data(outputs[place])[PNG].split()),
                words=str(_data(below).get("text/plain", "")),
            )


def _printable(value: Any) -> Any:
    """Return what the template prints; text without what a page would obey."""
    return visible(value) if type(value) is str else value


def _data(output: Mapping[str, Any]) -> Mapping[str, Any]:
    data: Mapping[str, Any] = output.get("data", {})
    return data


def _read(path: Path) -> tuple[str, Any]:
    """Return an executed notebook by its name; one without cells where it is not
    readable, which its heading says.
    """
    try:
        book = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, nbformat.ValidationError) as error:
        unread = f"{path.name} cannot be read: {error}"
        cell = nbformat.v4.new_markdown_cell(unread)  # type: ignore[no-untyped-call]
        book = nbformat.v4.new_notebook(cells=[cell])  # type: ignore[no-untyped-call]
    return path.stem, book


def _cells(book: Any) -> str:
    """Return a notebook's cells as HTML, by nbconvert's template that adds no page."""
    settings = Config()
    settings.NbConvertBase.display_data_priority = SHOWN
    exporter = HTMLExporter(  # type: ignore[no-untyped-call]
        template_name="basic", config=settings
    )
    body, _ = exporter.from_notebook_node(_with_alternatives(book))
    return visible(str(body))


def _with_alternatives(book: Any) -> Any:
    """Return a notebook whose pictures say that their words stand below them."""
    for cell in book["cells"]:
        for output in cell.get("outputs", ()):
            if PNG in _data(output):
                described = output.metadata.setdefault(PNG, {})
                described.setdefault("alt", output.data.get("text/plain", ""))
    return book
