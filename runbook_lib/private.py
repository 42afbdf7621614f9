"""Make folders and files that nobody but their owner can read.

It alone says which modes what the runbook writes has.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["UMASK", "private_folder", "private_opener", "replace_privately"]

UMASK = 0o077
"""What a process of the runbook's own sets, so that its children's
files are private, too.
"""


def private_folder(path: Path) -> Path:
    """Create a folder, and those above it that are missing, for its
    owner alone; return it.

    A folder that is there already keeps its mode.
    """
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)
    return path


def private_opener(path: str, flags: int) -> int:
    """Open a file; one that is created is its owner's alone. For `open(...,
    opener=private_opener)`.
    """
    return os.open(path, flags, 0o600)


def replace_privately(file: Path, text: str) -> None:
    """Write a file by rename, so that a reader never sees half of it."""
    part = file.with_name(f".{file.name}")
    # of a writer that was killed, with the mode of that time
    part.unlink(missing_ok=True)
    with open(part, "w", opener=private_opener) as new:
        new.write(text)
    part.replace(file)
