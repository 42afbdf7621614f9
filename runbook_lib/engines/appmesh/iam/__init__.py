"""Read whether each task's Envoy can sign its requests, and plan the permission it
lacks (tutorial, step 6).

The only caller of the IAM client.
"""

from __future__ import annotations

from runbook_lib.engines.appmesh.iam.credentials import (
    Credentials,
    credentials_of_retired,
    foreign,
    read_credentials,
    role_arns,
    signer_of,
    who_signs,
)
from runbook_lib.engines.appmesh.iam.granting import (
    finding,
    lacking_traces,
    plan_credentials,
    plan_credentials_end,
)
from runbook_lib.engines.appmesh.iam.policies import (
    MANAGED,
    STREAM,
    TRACE,
    XRAY_ACCESS,
    allows,
    managed_arn,
    policy,
    policy_name,
)

__all__ = [
    "MANAGED",
    "STREAM",
    "TRACE",
    "XRAY_ACCESS",
    "Credentials",
    "allows",
    "credentials_of_retired",
    "finding",
    "foreign",
    "lacking_traces",
    "managed_arn",
    "plan_credentials",
    "plan_credentials_end",
    "policy",
    "policy_name",
    "read_credentials",
    "role_arns",
    "signer_of",
    "who_signs",
]
