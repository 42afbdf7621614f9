"""Make boto3 clients of a local mesh, which know nothing of the user's own AWS settings.

No profile, credentials file, endpoint, proxy or bundle of certificates that somebody set for AWS reaches them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import boto3
import botocore.session
from botocore.config import Config

from runbook_lib.local.keys import credentials

if TYPE_CHECKING:
    from runbook_lib.local.supervisor import LocalMesh

__all__ = ["clients"]

UNSET: tuple[Any, ...] = (None, [], None, None)
ALONE: dict[str, tuple[Any, ...]] = {
    "profile": UNSET,
    "ca_bundle": UNSET,
    "config_file": (None, [], os.devnull, None),
    "credentials_file": (None, [], os.devnull, None),
    "ignore_configured_endpoint_urls": (None, [], True, None),
}


def clients(mesh: LocalMesh, account: str, region: str, **config: Any) -> Callable[[str], Any]:
    """Return what makes a client of a service, in an account of a local mesh; `config` is botocore's."""
    alone = botocore.session.Session(session_vars=ALONE)
    made = boto3.Session(botocore_session=alone, region_name=region, **credentials(mesh.key, account))
    settings = Config(**{"inject_host_prefix": False, "proxies": {}, **config})
    return lambda service: made.client(service, endpoint_url=mesh.endpoint, config=settings)
