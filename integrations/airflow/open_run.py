"""Open an environment's run, or join the one under way there, and print its folder.

The product's own Python runs it. Nothing is changed at AWS.
"""

from __future__ import annotations

import sys

from runbook_lib import open_session
from runbook_lib.errors import RunbookError


def main(file: str) -> str:
    """Print the run's folder; return why there is none, or nothing."""
    try:
        session = open_session({"environment": file, "mode": "apply"}, "open_run")
        run = session.join_run()
    except RunbookError as error:
        return str(error)
    sys.stdout.write(f"{run.folder.resolve()}\n")
    return ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]) or 0)
