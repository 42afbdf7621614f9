"""Tell people what came of a run: by a webhook, or a service that Apprise knows."""

from runbook_lib.notifying.address import Address, addresses, require_known
from runbook_lib.notifying.message import Message
from runbook_lib.notifying.sending import tell

__all__ = ["Address", "Message", "addresses", "require_known", "tell"]
