"""Find what the runbook ships, and where it keeps what it makes: in a checkout its own
folders; installed, those within the package and the user's own state folder.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["VERSION", "home", "shipped", "user_state"]

PACKAGE = Path(__file__).resolve().parent
CHECKOUT = PACKAGE.parent
VERSION = "0.2.0"  # of the distribution, which takes it from here


def shipped(name: str) -> Path:
    """Return a folder that comes with the runbook: `notebooks` or `parameters`."""
    return CHECKOUT / name if _is_checkout() else PACKAGE / "shipped" / name


def home() -> Path:
    """Return the folder that runs and the local mesh's state are kept in.

    Where it is installed this is the user's own, from whichever folder it is called:
    a hold or an undo must find a run wherever one stands.
    """
    return CHECKOUT if _is_checkout() else user_state()


def user_state() -> Path:
    """Return the folder that the user's platform keeps a program's state in."""
    said = os.environ.get("XDG_STATE_HOME")
    return Path(said or Path.home() / ".local" / "state") / "runbook"


def _is_checkout() -> bool:
    return (CHECKOUT / "pyproject.toml").is_file()
