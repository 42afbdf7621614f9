"""The process that delivers one message: it tries each address a few times.

    python -m runbook_lib.notifying.delivering < message

What cannot be delivered is left in the run as a request, which whoever writes the
record takes in.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from runbook_lib.errors import RecordError
from runbook_lib.notifying.address import Address, addresses
from runbook_lib.notifying.message import Message
from runbook_lib.record import Run

PAUSES = (0, 2, 10)  # seconds before each try
TIMEOUT_SECONDS = 10


def deliver(
    run: Run,
    message: Message,
    to: list[Address],
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Deliver a message to each address; leave in the run to whom it was not, and why.

    Each is tried before any is tried again: one that does not answer delays no other.
    """
    why: dict[str, str] = {}
    left = to
    for pause in PAUSES:
        sleep(pause if left else 0)
        found = [(address, _sent(address, message)) for address in left]
        why |= {address.url: trouble for address, trouble in found}
        left = [address for address, trouble in found if trouble]
    for address in left:
        with suppress(RecordError):
            run.ask("undelivered", to=address.name, why=why[address.url])


def _sent(address: Address, message: Message) -> str:
    """Send a message to one address; return why that failed, "" where it did not."""
    send = _post if address.is_webhook else _by_apprise
    try:
        return send(address, message)
    except (OSError, ValueError) as error:  # of the network, or of the address
        return str(getattr(error, "reason", "")) or type(error).__name__


def _post(address: Address, message: Message) -> str:
    request = urllib.request.Request(
        address.url,
        data=json.dumps(message.data()).encode(),
        headers={"Content-Type": "application/json"},
        method="POST",
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS):
        return ""


def _by_apprise(address: Address, message: Message) -> str:
    import apprise  # an extra: only who has such an address needs it

    service = apprise.Apprise.instantiate(address.url)
    if not service:
        return "Apprise does not know this address"
    sent = service.notify(
        title=message.title, body=message.text, notify_type=message.kind
    )
    return "" if sent else "the service did not take it"


def main() -> None:
    """Deliver what standard input says."""
    said = json.loads(sys.stdin.buffer.read())
    deliver(Run(Path(said["folder"])), Message(**said["message"]), addresses())


if __name__ == "__main__":
    main()
