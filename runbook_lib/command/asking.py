"""Ask something of the shift of a run that is under way: it looks for that."""

from __future__ import annotations

import getpass
import shlex
from collections.abc import Mapping
from typing import Any

from runbook_lib import record
from runbook_lib.command.meant import found_run
from runbook_lib.command.screen import console
from runbook_lib.errors import ParametersError
from runbook_lib.printable import one_line
from runbook_lib.runs import approvals


def hold(run: str, by: str, *, file: str, rehearse: bool) -> None:
    """Ask the shift of a run to hold; refuse where none is under way. One on another
    machine is asked through the copy of its record.
    """
    this = found_run(run, rehearse, file)
    this.require_whole("hold")
    holder = record.holder(this)
    if this.is_copied and not this.closed and (file or holder is None):
        this = _with_copy(this, file or run)
    else:
        _require_under_way(this, holder)
    approvals.hold(this, one_line(by) or getpass.getuser())
    console.print(
        f"{this.id}: hold is written down; the shift stops at its next "
        "look, weights stay"
    )


def _with_copy(this: record.Run, named: str) -> record.Run:
    """Return a run with the copy of its record, which is read wherever it runs."""
    from runbook_lib.command.opened import session_of  # loads what AWS needs

    session = session_of("hold", this, "plan", named)
    return record.with_copy(this, session.store)


def _require_under_way(this: record.Run, holder: Mapping[str, Any] | None) -> None:
    """Raise ParametersError unless a run is the one that holds the lock."""
    if holder is not None and holder["run"] == this.id:
        return
    busy = "no shift is running there"
    if holder:
        busy = f"run {holder['run']} is, by {holder['who']}"
    named = shlex.quote(str(this.opened.get("file", this.environment)))
    raise ParametersError(
        f"hold: run {this.id} is not under way; {busy}", hint=f"runbook status {named}"
    )
