"""Names of files and folders for what AWS names as it likes. Pure.

A name is kept where it is short and made of harmless letters; of any other, what is
harmless is kept and a hash tells it apart. So no name leads out of its folder, and none
is longer than a file system takes.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

__all__ = ["cluster_folder", "faults_file", "file_name"]

HARMLESS = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,159}")
KEPT = 100


def file_name(name: str) -> str:
    """Return what a file or a folder is called that stands for a name; different names
    have different ones.
    """
    if HARMLESS.fullmatch(name):
        return name
    kept = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:KEPT]
    return f"{kept}.{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def cluster_folder(tasks: Path, account: str, region: str, cluster: str) -> Path:
    """Return the folder of a cluster's tasks."""
    return tasks / file_name(account) / file_name(region) / file_name(cluster)


def faults_file(folder: Path, service: str) -> Path:
    """Return the file in a cluster's folder that says how a service's
    application fails.
    """
    return folder / f"{file_name(service)}.faults.json"
