"""Make clients of AWS: for the file's region, and for where the connection leads."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from botocore.config import Config
from botocore.exceptions import ClientError

from runbook_lib.aws.environment import Environment
from runbook_lib.aws.identity import Keys
from runbook_lib.aws.recording import EXECUTES
from runbook_lib.aws.together import AT_ONCE

ONLY_ONCE = "needs-retry.ecs.RegisterTaskDefinition"
NO_VARIANTS = {"use_fips_endpoint": False, "use_dualstack_endpoint": False}
TRIES = {"s3": 2}  # of copies of records: who needs one goes on soon without
SPARE_CONNECTIONS = 2  # of a client, for whoever calls from a thread of its own

Hook = Callable[..., None]
"""Told of a call by botocore: before it, or of its answer."""


def make_client(
    opened: Environment, core: Any, service: str, keys: Keys, before: Hook, after: Hook
) -> Any:
    """Return a client of a service that signs with these credentials.

    `core` is the botocore session; `before` each call and `after` its answer are told.
    """
    connection = opened.connection
    local = connection.endpoint is not None
    run = Path(os.environ.get(EXECUTES) or "by-hand")
    config = Config(
        region_name=opened.parameters.region,
        retries={"mode": "standard", "total_max_attempts": TRIES.get(service, 5)},
        connect_timeout=3,
        read_timeout=10,
        max_pool_connections=AT_ONCE + SPARE_CONNECTIONS,
        user_agent_extra=f"runbook/{run.name}",
        inject_host_prefix=not local,
        proxies={} if local else None,
        **(NO_VARIANTS if local else {}),
    )
    client = core.create_client(
        service,
        config=config,
        endpoint_url=connection.endpoint,
        aws_access_key_id=keys.access_key,
        aws_secret_access_key=keys.secret_key,
        aws_session_token=keys.token,
    )
    client.meta.events.register("before-call", before)
    client.meta.events.register("after-call", after)
    client.meta.events.register_first(ONLY_ONCE, _not_again)
    connection.prepare(client)
    return client


def _not_again(
    operation: Any, response: Any, caught_exception: Exception | None, **_: Any
) -> None:
    """End a call that has no token to be known by where it may have been done: trying
    again could do it twice.
    """
    if caught_exception:
        raise caught_exception
    if response[0].status_code >= 500:
        raise ClientError(response[1], operation.name)
