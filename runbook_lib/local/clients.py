"""Make clients of a local mesh, which know nothing of the user's own AWS settings.

No profile, credentials file, endpoint, proxy or bundle of certificates that somebody
set for AWS reaches them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from botocore.config import Config

from runbook_lib.aws.identity import local_session
from runbook_lib.local.keys import credentials

if TYPE_CHECKING:
    from runbook_lib.local.supervisor import LocalMesh

__all__ = ["clients"]


def clients(
    mesh: LocalMesh, account: str, region: str, **config: Any
) -> Callable[[str], Any]:
    """Return what makes a client of a service, in an account of a local mesh;
    `config` is botocore's.
    """
    made, keys = local_session(), credentials(mesh.key, account)
    settings = Config(
        **{"region_name": region, "inject_host_prefix": False, "proxies": {}, **config}
    )
    return lambda service: made.create_client(
        service, endpoint_url=mesh.endpoint, config=settings, **keys
    )
