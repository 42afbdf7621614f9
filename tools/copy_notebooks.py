"""Copy the notebooks to a folder to work in, so that the shipped ones stay as they are.

    python tools/copy_notebooks.py [--fresh] [FOLDER]

A copy that is there already is kept with what was done in it; `--fresh` replaces all of them. What a kernel that has
ended showed in it as a widget is left as the recording beside it.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

WIDGET = "application/vnd.jupyter.widget-view+json"
ROOT = Path(__file__).resolve().parent.parent


def copy(folder: Path, *, fresh: bool) -> list[Path]:
    """Copy each notebook that is not in `folder` yet, or every one; return those that were kept."""
    kept = []
    for shipped in sorted((ROOT / "notebooks").rglob("*.ipynb")):
        if ".ipynb_checkpoints" in shipped.parts:
            continue
        own = folder / shipped.relative_to(ROOT / "notebooks")
        if own.exists() and not fresh:
            leave_recordings(own)
            kept.append(own)
            continue
        own.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(shipped, own)
    return kept


def leave_recordings(copy: Path) -> None:
    """Take widgets out of a copy's outputs where something else says the same: a page would show them as errors."""
    try:
        book = json.loads(copy.read_text())
        shown = [output.get("data", {}) for cell in book["cells"] for output in cell.get("outputs", [])]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return  # whatever it is, it is the user's
    widgets = [data for data in shown if len(data) > 1 and data.pop(WIDGET, None)]
    if widgets:
        copy.write_text(json.dumps(book, indent=1, ensure_ascii=False) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fresh", action="store_true", help="replace the copies by the shipped notebooks")
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "lab")
    chosen = parser.parse_args()
    kept = copy(chosen.folder, fresh=chosen.fresh)
    if kept:
        print("lab/ has your copies, as you left them; `make lab FRESH=1` replaces them by the shipped notebooks")


if __name__ == "__main__":
    main()
