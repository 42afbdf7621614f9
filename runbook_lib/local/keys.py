"""The access keys of a local mesh: one for each account, made from one random key that
its state folder keeps.

Pure but for `new_key`. Whoever can read the state folder can act in every account;
nobody else knows a key.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping

__all__ = [
    "KEY_HEADER",
    "access_key",
    "account_named",
    "account_of",
    "credentials",
    "environment",
    "is_key",
    "new_key",
    "past_proxies",
]

ACCESS_KEY = re.compile(r"LOCAL(?P<account>[0-9]{12})[0-9A-F]{32}")
KEY_HEADER = "X-Runbook-Key"
SECRET = "no-signature-is-checked"  # any other would do as well


def new_key() -> str:
    """Return a random key for a local mesh that starts."""
    return secrets.token_hex(32)


def is_key(key: str, given: str) -> bool:
    """Say whether a given key is this one, in a time that tells
    nothing about either.
    """
    return hmac.compare_digest(key.encode(), given.encode())


def access_key(key: str, account: str) -> str:
    """Return the access key of an account (twelve digits)."""
    digest = hmac.new(key.encode(), account.encode(), hashlib.sha256).hexdigest()
    return f"LOCAL{account}{digest[:32].upper()}"


def account_of(key: str, given: str) -> str | None:
    """Return the account a given access key is for, None where it is none of
    this local mesh's.
    """
    account = account_named(given)
    return account if account and is_key(access_key(key, account), given) else None


def account_named(given: str) -> str | None:
    """Return the account an access key names, whether it is right or not; None where it
    is of another form.
    """
    found = ACCESS_KEY.fullmatch(given)
    return found["account"] if found else None


def credentials(key: str, account: str) -> dict[str, str]:
    """Return what calls to an account are signed with, as boto3 names it."""
    return {
        "aws_access_key_id": access_key(key, account),
        "aws_secret_access_key": SECRET,
    }


def environment(endpoint: str, key: str, account: str, region: str) -> dict[str, str]:
    """Return the variables with which any AWS SDK or CLI acts in an account
    of the local mesh.

    What else a shell may have set for AWS itself is set to nothing: no token of a real
    session is sent here.
    """
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": access_key(key, account),
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_SESSION_TOKEN": "",
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_EC2_METADATA_DISABLED": "true",
        # there is one name, and nothing before it
        "AWS_DISABLE_HOST_PREFIX_INJECTION": "true",
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "false",
    }


def past_proxies(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that let programs reach this machine although a proxy is
    set; none where none is.
    """
    names = {name.lower() for name, value in variables.items() if value}
    if not names & {"http_proxy", "all_proxy"}:
        return {}
    said = variables.get("no_proxy") or variables.get("NO_PROXY")
    hosts = f"{said},127.0.0.1" if said else "127.0.0.1"
    return {"NO_PROXY": hosts, "no_proxy": hosts}
