"""Where runs and locks are kept, and what a disk that takes nothing is turned into."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runbook_lib.errors import ParametersError, RecordError
from runbook_lib.shipped import home


def root() -> Path:
    """Return the folder of all runs: RUNBOOK_RUNS, or `runs/` of this runbook's home.

    A relative RUNBOOK_RUNS stays so in the runs started or joined there: a copied
    process writes to its own copy. Raises ParametersError where it is no folder.
    """
    said = os.environ.get("RUNBOOK_RUNS") or ""
    if "://" in said:
        raise ParametersError(
            f"RUNBOOK_RUNS: expected a folder of this machine; found {said}",
            hint="a bucket stands in the parameters file: records: s3://BUCKET/PREFIX",
        )
    return Path(said or home() / "runs")


def base_of(base: str | None) -> Path:
    """Return the folder runs are kept in; a relative one is this runbook's home,
    wherever the caller stands.
    """
    return home() / base if base and "://" not in base else root()


def local_state() -> Path:
    return Path(os.environ.get("RUNBOOK_STATE") or home() / ".runbook")


@contextmanager
def writing(folder: Path, *, but: type[OSError] | tuple[()] = ()) -> Iterator[None]:
    """Turn what a disk, or whoever took the folder away, does to a writer
    into one sentence.
    """
    try:
        yield
    except but:
        raise
    except OSError as error:
        raise RecordError(
            f"the record in {folder} cannot be written: {error.strerror or error}",
            hint="free the disk or give the folder back, then run again: it goes on "
            "from where AWS stands",
        ) from error
