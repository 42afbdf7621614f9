"""Find the models of AWS's services: App Mesh's in this package, every
other one in botocore.

Where else botocore would look (`AWS_DATA_PATH`, `~/.aws/models`) is never looked at: a
model says where its service's calls go, and with what.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from botocore.loaders import Loader

__all__ = ["FOLDER", "loader"]

FOLDER = Path(__file__).resolve().parent / "models"


@cache
def loader() -> Loader:
    """Return the one loader of this process, which reads each model once."""
    paths = [str(FOLDER), Loader.BUILTIN_DATA_PATH]
    return Loader(extra_search_paths=paths, include_default_search_paths=False)
