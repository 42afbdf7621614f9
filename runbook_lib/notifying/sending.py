"""Hand a message to a process that delivers it, and go on at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from runbook_lib.errors import ParametersError, RecordError
from runbook_lib.notifying.address import addresses
from runbook_lib.notifying.message import Message
from runbook_lib.record import Run

__all__ = ["tell"]

ROOT = Path(__file__).resolve().parents[2]
STARTED: list[subprocess.Popen[bytes]] = []  # kept, since none is waited for


class Delivery(subprocess.Popen[bytes]):
    """A process that may outlive whoever started it: that it runs is no warning."""

    def __del__(self) -> None:
        """Do nothing."""


def tell(run: Run, message: Message, since: float) -> None:
    """Tell everybody whom RUNBOOK_NOTIFY names what came of a run, without waiting for
    it; an outcome that was told `since` then (epoch seconds) is not told again.

    Nothing that goes wrong here stops a run: what is not delivered stands in the
    record.
    """
    if _is_told(run, message.outcome, since):
        return
    try:
        names = [address.name for address in addresses()]
    except ParametersError as error:
        _note(run, str(error))
        return
    if not names:
        return
    with suppress(RecordError):
        run.write("told", to=names, outcome=message.outcome, reason=message.reason)
    try:
        _start(run, message)
    except OSError as error:
        _note(run, f"no process could be started: {error.strerror or error}")


def _is_told(run: Run, outcome: str, since: float) -> bool:
    with suppress(RecordError):
        return any(
            line["event"] == "told"
            and line["outcome"] == outcome
            and datetime.fromisoformat(line["at"]).timestamp() >= since
            for line in run.lines()
        )
    return False


def _note(run: Run, why: str) -> None:
    with suppress(RecordError):
        run.write("undelivered", to="everybody", why=why)


def _start(run: Run, message: Message) -> None:
    STARTED[:] = [each for each in STARTED if each.poll() is None]
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    process = Delivery(
        [sys.executable, "-P", "-m", "runbook_lib.notifying.delivering"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    STARTED.append(process)
    assert process.stdin is not None
    with suppress(BrokenPipeError), process.stdin:
        said = {"folder": str(run.folder.resolve()), "message": asdict(message)}
        process.stdin.write(json.dumps(said).encode())
