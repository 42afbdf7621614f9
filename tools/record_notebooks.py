"""Record the notebooks' stored outputs again: every notebook in order, on a local mesh of its own.

Recording twice leaves no diff. Cells tagged `nbval-ignore-output` hold measured outputs; they keep the
stored ones unless `--measured` is given.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
WIDGET = "application/vnd.jupyter.widget-view+json"
PICTURE = "image/png"  # its width is kept beside it


def record(path: Path, *, measured: bool) -> None:
    """Execute one notebook and store what it showed, without what differs from run to run."""
    stored = nbformat.read(path, as_version=4)
    fresh = nbformat.from_dict(stored)
    NotebookClient(fresh, timeout=300, resources={"metadata": {"path": str(path.parent)}}).execute()
    for cell, before in zip(fresh.cells, nbformat.read(path, as_version=4).cells, strict=True):
        cell.metadata = before.metadata
        if cell.cell_type != "code":
            continue
        if "nbval-ignore-output" in cell.metadata.get("tags", []) and before.outputs and not measured:
            cell.outputs = before.outputs
        for output in cell.outputs:
            _reduce(output)
    fresh.metadata = {
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    nbformat.write(fresh, path)


def _reduce(output: Any) -> None:
    """Leave of an output what a reader sees or is told of it."""
    output.get("data", {}).pop(WIDGET, None)
    for kind in set(output.get("metadata", {})) - {PICTURE}:
        del output["metadata"][kind]


def main() -> None:
    """Record every notebook in order."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=FOLDER, help="where the notebooks are")
    parser.add_argument("--measured", action="store_true", help="record measured outputs too")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="runbook-record-") as folder:
        os.environ.update(RUNBOOK_STATE=f"{folder}/state", RUNBOOK_RUNS=f"{folder}/runs")
        from runbook_lib.local import supervisor

        try:
            shared = given.folder.resolve().glob("[0-9][0-9]_*.ipynb")
            of_engines = given.folder.resolve().glob("[a-z]*/[0-9][0-9]_*.ipynb")
            for path in [*sorted(shared), *sorted(of_engines)]:
                began = time.monotonic()
                record(path, measured=given.measured)
                print(f"{path.stem}: {time.monotonic() - began:.1f} s", flush=True)
        finally:
            supervisor.down()


if __name__ == "__main__":
    main()
