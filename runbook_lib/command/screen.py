"""The terminal that commands print on, which obeys nothing in the text it is given."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table

from runbook_lib.errors import RunbookError
from runbook_lib.printable import visible
from runbook_lib.redaction import scrubbed


class Screen(Console):
    """A terminal, or what stands for one, that obeys nothing in
    the text it is given.
    """

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        """Yield the parts of what is printed, whatever it is made of: their text
        visible, the styles left.
        """
        for part in super().render(renderable, options):
            yield part if part.control else Segment(visible(part.text), part.style)

    def print_json(self, json: str | None = None, **options: Any) -> None:
        """Print JSON in ASCII, in which every other character has an
        escape of JSON's own.
        """
        super().print_json(json, **{"ensure_ascii": True, **options})


console = Screen(highlight=False, soft_wrap=True, markup=False, emoji=False)
complaints = Screen(
    stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False
)


def table(**options: Any) -> Table:
    """Return an empty table without lines, as every command shows one."""
    return Table(box=None, padding=(0, 2, 0, 0), **options)


def print_json(found: Any) -> None:
    """Print what was found as JSON, for programs."""
    console.print_json(json.dumps(found))


def as_data(error: RunbookError) -> dict[str, Any]:
    """Return an error for programs: its word, where and what, what to do next."""
    where, colon, what = error.message.partition(": ")
    if not colon:
        where, what = "", error.message
    return {
        "error": error.reason,
        "where": where,
        "what": what,
        "next": error.hint,
        "exit_code": error.exit_code,
    }


def complain(words: str) -> None:
    """Print words to the standard error, without what is secret."""
    complaints.print(scrubbed(words))


def alarm(words: str) -> None:
    """Print what must not be overlooked."""
    console.print(words, style="bold red")
