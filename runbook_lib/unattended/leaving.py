"""Leave a shift to the process that watches it: `runbook run --leave`.

The notebook's cell stops following once users are on the canary. What is said then is
how to follow, or how the shift has ended meanwhile.
"""

from __future__ import annotations

from runbook_lib import record
from runbook_lib.errors import ParametersError, RecordError
from runbook_lib.record.place import Place
from runbook_lib.shift.process import report
from runbook_lib.shift.process.report import Ending
from runbook_lib.shift.watching import report_file

__all__ = ["ended_since", "goes_on", "require_last"]


def require_last(last: str, shifted: str) -> None:
    """Refuse to go on to what needs the end of the shift: `last` is the notebook's
    number, `shifted` that of the one that shifts.
    """
    if last > shifted:
        raise ParametersError(
            f"--leave: {last} needs the end of the shift, which is not waited for",
            hint=f"--leave --through {shifted}",
        )


def goes_on(place: Place, named: str) -> str:
    """Say that a shift goes on at a place, and how to follow it; "" where none does."""
    try:
        shifter = record.shifter(place)
    except RecordError:
        return ""
    if shifter is None:
        return ""
    follow = f"`runbook watch {named}` follows it, `runbook rollback {named}` ends it"
    return f"process {shifter['pid']} goes on with the shift; {follow}"


def ended_since(place: Place, moment: float) -> Ending | None:
    """Return with which error the shift has ended that was under way at a place since a
    moment, in epoch seconds; None for none.
    """
    file = report_file(place)
    said = report.read(file)
    if said is None or said.ending is None or not said.ending.error:
        return None
    return said.ending if file.stat().st_mtime >= moment else None
