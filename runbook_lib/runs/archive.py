"""Keep a copy of a run where its file says: in a bucket, signed by the
credentials that were proved.

It writes there and nowhere else, and only what was applied on AWS: a rehearsal and a
plan leave nothing behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runbook_lib.errors import RunbookError
from runbook_lib.opening import open_session
from runbook_lib.parameters import Parameters
from runbook_lib.plan import Call
from runbook_lib.record import Run

__all__ = ["archive"]


def archive(run: Run, p: Parameters, given: Mapping[str, Any]) -> str:
    """Copy a run's files to the bucket of `records`; return what came of it in words,
    "" where no bucket is named.
    """
    if not (p.records or "").startswith("s3://"):
        return ""
    where = f"{str(p.records).rstrip('/')}/{run.environment}/{run.id}/"
    if p.rehearsed or p.mode != "apply":
        what = "a rehearsal" if p.rehearsed else "a plan"
        return f"records: {what} stays here, nothing of it is stored at {p.records}"
    try:
        count = _copy(run, where, given)
    except (RunbookError, OSError) as error:
        return (
            f"records: not stored at {where}: {getattr(error, 'message', error)}; "
            "what the run did stands"
        )
    except KeyboardInterrupt:
        return f"records: not stored at {where}: interrupted; what the run did stands"
    return f"records: {count} files stored at {where}"


def _copy(run: Run, where: str, given: Mapping[str, Any]) -> int:
    session = open_session(given, "archive")
    bucket, _, prefix = where.removeprefix("s3://").partition("/")
    files = sorted(path for path in run.folder.rglob("*") if path.is_file())
    for file in files:
        key = prefix + file.relative_to(run.folder).as_posix()
        session.write(
            Call(
                "s3",
                "put_object",
                {"Bucket": bucket, "Key": key, "Body": file.read_bytes()},
            )
        )
    return len(files)
