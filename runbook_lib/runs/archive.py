"""Say what came of the copy of a run, where its file says that one is kept."""

from __future__ import annotations

from runbook_lib.errors import RecordError
from runbook_lib.parameters import Parameters
from runbook_lib.record import Run

__all__ = ["archive"]


def archive(run: Run, p: Parameters) -> str:
    """Store what a run's copy lacks; return what came of it in words, "" where no
    copy is kept.
    """
    if not p.bucket:
        return ""
    if run.copy is None:
        return f"records: a plan stays here, nothing of it is stored at {p.records}"
    local = " of the local mesh" if p.rehearsed else ""
    where = f"{run.copy.where}{local}"
    try:
        run.require_stored(files=True)
    except RecordError as error:
        return f"records: not stored at {where}: {error}; what the run did stands"
    except KeyboardInterrupt:
        return f"records: not stored at {where}: interrupted; what the run did stands"
    return f"records: stored at {where}"
