"""Refusals of Elastic Load Balancing, in AWS's own words where a source has them;
moto writes the XML.
"""

from __future__ import annotations

from moto.elbv2.exceptions import ELBClientError

__all__ = ["refusal"]


def refusal(code: str, message: str) -> ELBClientError:
    """Return an error of the service: each of those used here is a 400."""
    return ELBClientError(code, message)
