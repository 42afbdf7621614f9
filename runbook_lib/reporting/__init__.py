"""Tell a run to somebody who was not there: one page for a change ticket."""

from runbook_lib.reporting.account import Account, account_of
from runbook_lib.reporting.page import page, write_page

__all__ = ["Account", "account_of", "page", "write_page"]
