"""Know which sizes of a task Fargate has. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

# CPU units -> MiB: RegisterTaskDefinition's documentation of `memory` (botocore 1.44.5,
# Linux).
FARGATE_SIZES: Mapping[int, Sequence[int]] = {
    256: (512, 1024, 2048),
    512: range(1024, 4096 + 1, 1024),
    1024: range(2048, 8192 + 1, 1024),
    2048: range(4096, 16384 + 1, 1024),
    4096: range(8192, 30720 + 1, 1024),
    8192: range(16384, 61440 + 1, 4096),
    16384: range(32768, 122880 + 1, 8192),
}


def has_size(cpu: int, memory: int) -> bool:
    """Tell whether Fargate has a task of these CPU units and MiB."""
    return memory in FARGATE_SIZES.get(cpu, ())


def sizes_with(cpu: int) -> str:
    """Say what memory goes with these CPU units; which CPU units there are where
    none does.
    """
    memories = FARGATE_SIZES.get(cpu)
    if memories is None:
        return f"{list(FARGATE_SIZES)} CPU units"
    return f"{memories[0]}-{memories[-1]} MiB with {cpu}"
