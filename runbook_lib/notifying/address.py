"""Whom to tell: addresses of the environment variable RUNBOOK_NOTIFY, and nowhere else.

An address may hold a token, so it is never written down and never an argument of a
process; what is said of one is its scheme and host.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from urllib.parse import urlsplit

from runbook_lib.errors import ParametersError

__all__ = ["VARIABLE", "Address", "addresses", "require_known"]

VARIABLE = "RUNBOOK_NOTIFY"
WEBHOOK = ("http", "https")
HOSTED = {"mailto", "mailtos", "json", "jsons", "ntfy", "ntfys", "xml", "xmls"}
EXTRA = "pip install apprise"


@dataclass(frozen=True, slots=True, repr=False)
class Address:
    """One address. `url` may hold a token; `name` may be shown."""

    url: str

    @property
    def scheme(self) -> str:
        """What stands before the colon, in lower case."""
        return urlsplit(self.url).scheme

    @property
    def is_webhook(self) -> bool:
        """Whether JSON is posted to it, and Apprise is not asked."""
        return self.scheme in WEBHOOK

    @property
    def name(self) -> str:
        """Its scheme, and its host where that is no token."""
        if self.is_webhook or self.scheme in HOSTED:
            return f"{self.scheme}://{urlsplit(self.url).hostname or ''}"
        return f"{self.scheme}://"

    def __repr__(self) -> str:
        """Return its name: a traceback shows no token."""
        return f"Address({self.name})"


def addresses(environment: Mapping[str, str] | None = None) -> list[Address]:
    """Return whom to tell, by RUNBOOK_NOTIFY: URLs with spaces between them.

    Raises ParametersError where one is no URL, or needs Apprise and that is not there.
    Whether Apprise knows it is for `require_known` to say, which takes longer.
    """
    said = (os.environ if environment is None else environment).get(VARIABLE, "")
    found = [Address(url) for url in said.split()]
    for number, address in enumerate(found, 1):
        _check(address, f"{VARIABLE}: address {number}")
    return found


def _check(address: Address, where: str) -> None:
    try:
        scheme, host = address.scheme, urlsplit(address.url).hostname
    except ValueError:
        scheme, host = "", None
    if not scheme or (address.is_webhook and not host):
        lacks = "host" if scheme else "scheme"
        raise ParametersError(
            f"{where}: expected a URL, found one without a {lacks}",
            hint="https://… is a webhook; slack://…, mailto://… and others need "
            "Apprise, whose documentation lists them",
        )
    if not address.is_webhook and find_spec("apprise") is None:
        raise ParametersError(
            f"{where}: {address.name} needs Apprise, which is not installed",
            hint=EXTRA,
        )


def require_known(found: list[Address]) -> None:
    """Raise ParametersError where Apprise does not know an address that is its own."""
    for number, address in enumerate(found, 1):
        if not (address.is_webhook or _apprise_knows(address)):
            raise ParametersError(
                f"{VARIABLE}: address {number}: Apprise does not accept this form of "
                f"{address.name}",
                hint="its documentation lists the services and their forms",
            )


def _apprise_knows(address: Address) -> bool:
    import apprise  # an extra, and slow: only who has such an address needs it

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of what it imports
        return bool(apprise.Apprise.instantiate(address.url))
