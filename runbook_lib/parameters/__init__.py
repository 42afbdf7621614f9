"""What one environment's parameters file says: read, checked, and typed.

`load` is the only door: `Parameters` are made nowhere else. Pure but
for reading the file.
"""

from __future__ import annotations

from runbook_lib.parameters.loading import (
    FOLDER,
    environments,
    is_here,
    load,
    located,
    merged,
    parameter_names,
)
from runbook_lib.parameters.model import Parameters
from runbook_lib.parameters.plain_yaml import read_yaml
from runbook_lib.parameters.spelling import nearest

__all__ = [
    "FOLDER",
    "Parameters",
    "environments",
    "is_here",
    "load",
    "located",
    "merged",
    "nearest",
    "parameter_names",
    "read_yaml",
]
