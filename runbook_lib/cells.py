"""Say which cell to run first, where one was run that needs what another one makes.

A kernel loads this as an extension before any cell is run (`tools/setup_environment.py`
says so to it): after a restart nothing else is there that could say it.
"""

from __future__ import annotations

import ast
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = ["load_ipython_extension", "run_first"]

NOTEBOOK = "JPY_SESSION_NAME"  # where Jupyter's server says which notebook this is
HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)


def load_ipython_extension(shell: Any) -> None:
    """Let a kernel say it in place of a NameError; a session that is opened does so
    from then on.
    """

    def show(
        shell: Any,
        kind: type[BaseException],
        error: NameError,
        trace: Any,
        tb_offset: Any = None,
    ) -> None:
        words = run_first(error)
        if not words:
            shell.showtraceback((kind, error, trace), tb_offset=tb_offset)
            return
        error.args = (words,)
        shell._showtraceback(kind, error, [f"{kind.__name__}: {words}"])

    shell.set_custom_exc((NameError,), show)


def run_first(error: BaseException) -> str:
    """Return in words which cell makes the name that an error lacks; "" where it is no
    such error, or no cell of this notebook makes it.
    """
    notebook = os.environ.get(NOTEBOOK)
    if not isinstance(error, NameError) or not error.name or not notebook:
        return ""
    try:
        cells = json.loads(Path(notebook).read_bytes())["cells"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return _maker(error.name, cells)


def _maker(name: str, cells: list[Mapping[str, Any]]) -> str:
    heading = "the top"
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            heading = (HEADING.findall(source) or [heading])[-1]
        elif cell["cell_type"] == "code" and name in _made(source):
            return (
                f"{name!r} is made by a cell under {heading!r}, which has not run in "
                "this session. Next: run it and those above it first "
                "(Run ▸ Run All Above Selected Cell)"
            )
    return ""


def _made(source: str) -> Iterator[str]:
    """Yield the names that a cell makes."""
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except SyntaxError:
        return
    for node in nodes:
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from (each.asname or each.name for each in node.names)
