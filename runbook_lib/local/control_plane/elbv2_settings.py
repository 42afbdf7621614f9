"""What AWS refuses of the settings of load balancers, target groups, listeners, rules
and targets. Pure.

Texts without a source are marked [inferred].
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from typing import Any

from runbook_lib.local.control_plane.elbv2_refusals import refusal

__all__ = [
    "check_certificates",
    "check_load_balancer_name",
    "check_matcher",
    "check_priority",
    "check_protocol_version",
    "check_target_address",
    "check_zones",
]

VERSIONS = ("HTTP1", "HTTP2", "GRPC")
PRIORITIES = range(1, 50001)
STATUSES = range(200, 500)  # that a matcher of an Application Load Balancer may name
# of RFC 6598: targets may be there, too
SHARED = ipaddress.IPv4Network("100.64.0.0/10")


def check_load_balancer_name(name: str) -> None:
    """Refuse a name that no load balancer can have."""
    said = f"The load balancer name '{name}'"
    if len(name) > 32:
        raise refusal(
            "ValidationError", f"{said} cannot be longer than '32' characters"
        )
    if not re.fullmatch(r"[A-Za-z0-9-]+", name):
        words = (
            f"{said} can only contain characters that are alphanumeric "
            "characters and hyphens(-)"
        )
        raise refusal("ValidationError", words)
    if name.startswith("-") or name.endswith("-"):
        raise refusal("ValidationError", f"{said} cannot begin or end with '-'")
    if name.startswith("internal-"):
        # [inferred]
        raise refusal("ValidationError", f"{said} cannot begin with 'internal-'")


def check_zones(zones: Sequence[str]) -> None:
    """Refuse subnets that lie in fewer than two availability zones, or
    two of them in one.
    """
    if len(set(zones)) < 2:
        words = (
            "At least two subnets in two different Availability Zones must be specified"
        )
        raise refusal("ValidationError", words)
    if len(set(zones)) < len(zones):
        words = (
            "A load balancer cannot be attached to multiple subnets in the same "
            "Availability Zone"
        )
        raise refusal("InvalidConfigurationRequest", words)


def check_protocol_version(version: str | None) -> None:
    """Refuse a protocol version that there is not."""
    if version is not None and version not in VERSIONS:
        # [inferred]
        words = f"Protocol version '{version}' must be one of '{', '.join(VERSIONS)}'"
        raise refusal("ValidationError", words)


def check_matcher(matcher: str | None) -> None:
    """Refuse a matcher of statuses outside of 200 to 499."""
    for status in re.findall(r"\d+", matcher or ""):
        if int(status) not in STATUSES:
            # [inferred]
            words = (
                f"Health check matcher HTTP code '{matcher}' must be within "
                "'200-499' inclusive"
            )
            raise refusal("ValidationError", words)


def check_certificates(
    protocol: str | None,
    certificate: str | None,
    policy: str | None,
    known: Iterable[str],
    *,
    is_there: bool = True,
) -> None:
    """Refuse HTTPS without a certificate that is there, and a security policy that is
    unknown or on HTTP.
    """
    if certificate and not is_there:
        # [inferred]
        raise refusal("CertificateNotFound", f"Certificate '{certificate}' not found")
    if protocol == "HTTPS" and not certificate:
        raise refusal(
            "ValidationError", "A certificate must be specified for HTTPS listeners"
        )
    if policy is not None and protocol == "HTTP":
        raise refusal(
            "ValidationError", "An SSL policy cannot be specified for HTTP listeners"
        )
    if policy is not None and policy not in set(known):
        raise refusal("SSLPolicyNotFound", f"SSL policy '{policy}' not found")


def check_priority(priority: int, taken: Iterable[Any]) -> None:
    """Refuse a priority outside of 1 to 50000, or one that another rule
    of the listener has.
    """
    if int(priority) not in PRIORITIES:
        # [inferred]
        words = f"Priority '{priority}' must be between '1-50000' inclusive"
        raise refusal("ValidationError", words)
    if str(priority) in {str(other) for other in taken}:
        raise refusal("PriorityInUse", f"Priority '{priority}' is currently in use")


def check_target_address(address: str) -> None:
    """Refuse what is no private IPv4 address."""
    try:
        parsed = ipaddress.IPv4Address(address)
    except ValueError:
        raise refusal(
            "ValidationError", f"The IP address '{address}' is not a valid IPv4 address"
        ) from None
    if not parsed.is_private and parsed not in SHARED:
        # [inferred]
        words = (
            f"The IP address '{address}' is not within a range that targets may have"
        )
        raise refusal("InvalidTarget", words)
