"""Hand a message to a process that delivers it, and go on at once."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime

from runbook_lib.detached import start_detached
from runbook_lib.errors import ParametersError, RecordError
from runbook_lib.notifying.address import addresses
from runbook_lib.notifying.message import Message
from runbook_lib.record import Run

__all__ = ["tell"]


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
    said = {"folder": str(run.folder.resolve()), "message": asdict(message)}
    start_detached("runbook_lib.notifying.delivering", json.dumps(said).encode())
