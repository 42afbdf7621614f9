"""Start a process that goes on when whoever started it has ended."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from runbook_lib.private import UMASK

__all__ = ["Detached", "start_detached"]

ROOT = Path(__file__).resolve().parents[1]


class Detached(subprocess.Popen[bytes]):
    """A process that may outlive whoever started it: that it runs is no warning."""

    def __del__(self) -> None:
        """Do nothing: `STARTED` keeps it until it has ended."""


STARTED: list[Detached] = []  # kept until they end, to be reaped


def start_detached(
    module: str,
    said: bytes,
    words: Sequence[str] = (),
    output: IO[bytes] | int = subprocess.DEVNULL,
) -> Detached:
    """Start a module of the library in a session of its own, with `said` on its
    standard input; return the process.

    It knows nothing but that, its `words` and this process's environment; what it
    prints goes to `output`. Raises OSError.
    """
    STARTED[:] = [each for each in STARTED if each.poll() is None]
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    process = Detached(
        [sys.executable, "-P", "-m", module, *words],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=output,
        start_new_session=True,
        umask=UMASK,
    )
    STARTED.append(process)
    assert process.stdin is not None
    with suppress(BrokenPipeError), process.stdin:
        process.stdin.write(said)
    return process
