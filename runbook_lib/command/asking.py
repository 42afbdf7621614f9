"""Ask something of the shift of a run that is under way: it looks for that."""

from __future__ import annotations

import getpass
import shlex

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
    is_asked_there = this.is_copied and not this.closed and (file or holder is None)
    if is_asked_there:
        from runbook_lib.command.opened import session_of  # loads what AWS needs

        store = session_of("hold", this, "plan", file or run).store
        this = record.with_copy(this, store)
    elif holder is None or holder["run"] != this.id:
        busy = "no shift is running there"
        if holder:
            busy = f"run {holder['run']} is, by {holder['who']}"
        named = shlex.quote(str(this.opened.get("file", this.environment)))
        raise ParametersError(
            f"hold: run {this.id} is not under way; {busy}",
            hint=f"runbook status {named}",
        )
    approvals.hold(this, one_line(by) or getpass.getuser())
    console.print(
        f"{this.id}: hold is written down; the shift stops at its next "
        "look, weights stay"
    )
