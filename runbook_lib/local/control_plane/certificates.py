"""Certificates that an environment's file names, held under those very ARNs; callers
here trust whoever issued them, and nobody else does.
"""

from __future__ import annotations

__all__ = ["hold", "pair", "trusted"]

# what is imported in a function takes half a second: not before somebody asks for TLS


def hold(account: str, region: str, arn: str, name: str) -> None:
    """Issue a certificate for a DNS name under an ARN, where there is none."""
    from moto.acm.models import CertBundle, acm_backends

    from runbook_lib.local.control_plane.authority import issue

    known = acm_backends[account][region]._certificates
    if arn not in known:
        certificate, key = issue(name)
        known[arn] = CertBundle(account, certificate, key, arn=arn)


def pair(account: str, region: str, arn: str) -> tuple[str, str] | None:
    """Return a certificate and its key in PEM; None where there is none."""
    from moto.acm.models import acm_backends

    found = acm_backends[account][region]._certificates.get(arn)
    return (found.cert.decode(), found.key.decode()) if found else None


def trusted() -> str:
    """Return the issuer's own certificate, in PEM."""
    from runbook_lib.local.control_plane.authority import root

    return root().decode()
