"""Names nobody chose: ARNs, uids, task ids, deployment ids, interface ids, addresses.

They are derived from what they name and a serial number, never from chance, so that the
same calls give the same state in every process. Pure.
"""

from __future__ import annotations

import ipaddress
import uuid
from hashlib import sha256

from moto.utilities.utils import get_partition

__all__ = ["address", "arn", "digits", "hexadecimal", "uid"]


def arn(service: str, region: str, account: str, path: str) -> str:
    """Return an ARN in the region's own partition."""
    return f"arn:{get_partition(region)}:{service}:{region}:{account}:{path}"


def _digest(parts: tuple[object, ...]) -> str:
    return sha256("/".join(map(str, parts)).encode()).hexdigest()


def uid(*parts: object) -> str:
    """Return a UUID, as App Mesh's `metadata.uid`."""
    return str(uuid.UUID(_digest(parts)[:32], version=4))


def hexadecimal(length: int, *parts: object) -> str:
    """Return `length` hexadecimal digits, as in a task id (32) or an
    interface id (17).
    """
    return _digest(parts)[:length]


def digits(length: int, *parts: object) -> str:
    """Return `length` decimal digits, the first not 0, as in a deployment id (19)."""
    number = int(_digest(parts), 16) % (9 * 10 ** (length - 1))
    return str(number + 10 ** (length - 1))


def address(block: str, serial: int) -> str:
    """Return the `serial`-th address of a subnet (`10.0.1.0/24`); AWS keeps the first
    four and the last.
    """
    subnet = ipaddress.IPv4Network(block)
    usable = max(subnet.num_addresses - 5, 1)
    return str(subnet.network_address + 4 + serial % usable)
