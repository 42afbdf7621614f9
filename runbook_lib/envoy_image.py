"""Name the Envoy image of a region, and know which regions, tags and FIPS builds exist.

Pure: data and three checks. Nothing is looked up; the tables below name their sources.
"""

from __future__ import annotations

import re
from difflib import get_close_matches

from runbook_lib.errors import ParametersError

__all__ = [
    "DEFAULT_ENVOY_ACCOUNT",
    "ENVOY_ACCOUNTS",
    "FIPS_REGIONS",
    "MINIMUM_TAG",
    "PUBLIC_REPOSITORY",
    "REGIONS",
    "check_fips",
    "check_image_tag",
    "check_region",
    "envoy_image",
    "tag_version",
]

# Registry accounts: the tutorial's table, and aws-app-mesh-roadmap #500, #507, #513 for the last four.
DEFAULT_ENVOY_ACCOUNT = "840364872350"
ENVOY_ACCOUNTS = {
    "me-south-1": "772975370895",
    "ap-east-1": "856666278305",
    "ap-southeast-3": "909464085924",
    "eu-south-1": "422531588944",
    "il-central-1": "564877687649",
    "af-south-1": "924023996002",
    "eu-south-2": "992897592190",
    "eu-central-2": "704106688930",
    "cn-north-1": "919366029133",
    "cn-northwest-1": "919830735681",
}

# botocore 1.44.5, data/endpoints.json, service "appmesh", all partitions; a test compares.
FIPS_REGIONS = frozenset({"ca-central-1", "us-east-1", "us-east-2", "us-west-1", "us-west-2"})
REGIONS = (
    FIPS_REGIONS
    | frozenset(ENVOY_ACCOUNTS)
    | {
        "ap-northeast-1",
        "ap-northeast-2",
        "ap-northeast-3",
        "ap-south-1",
        "ap-southeast-1",
        "ap-southeast-2",
        "eu-central-1",
        "eu-north-1",
        "eu-west-1",
        "eu-west-2",
        "eu-west-3",
        "sa-east-1",
    }
)

PUBLIC_REPOSITORY = "public.ecr.aws/appmesh/aws-appmesh-envoy"

# "Starting from June 30, 2023 only v1.17.2.0-prod or later is compatible" (App Mesh user guide, envoy).
MINIMUM_TAG = "v1.17.2.0-prod"
_TAG = re.compile(r"v(\d+)\.(\d+)\.(\d+)\.(\d+)(?:-prod)?")


def tag_version(tag: str) -> tuple[int, ...] | None:
    """Return the four numbers of an image tag, FIPS build or not, or None where it is not a version."""
    found = _TAG.fullmatch(tag.removesuffix("-fips"))
    return tuple(int(part) for part in found.groups()) if found else None


def check_image_tag(tag: str) -> str:
    """Return `tag`, refusing one that is no version, a FIPS build or below v1.17.2.0 (ParametersError)."""
    version = tag_version(tag)
    if tag.endswith("-fips"):
        raise ParametersError(
            f"envoy image tag: expected the tag without its FIPS suffix, found {tag!r}",
            hint=f"write {tag.removesuffix('-fips')!r} and ask for FIPS with `fips: true`",
        )
    if version is None or version < (1, 17, 2, 0):
        raise ParametersError(
            f"envoy image tag: expected {MINIMUM_TAG} or later, found {tag!r}",
            hint="App Mesh serves no older Envoy since 2023-06-30; the last release is v1.39.1.0-prod",
        )
    return tag


def check_region(region: str) -> str:
    """Return `region`, refusing one App Mesh has no endpoint in (ParametersError, nearest name suggested)."""
    if region not in REGIONS:
        near = get_close_matches(region, REGIONS, n=1)
        raise ParametersError(
            f"region: expected one that App Mesh serves, found {region!r}",
            hint=f"did you mean {near[0]!r}?" if near else f"one of {', '.join(sorted(REGIONS))}",
        )
    return region


def check_fips(region: str) -> str:
    """Return `region`, refusing one without a FIPS endpoint: a FIPS Envoy would never connect there."""
    if region not in FIPS_REGIONS:
        raise ParametersError(
            f"envoy fips: expected a region with an App Mesh FIPS endpoint, found {region!r}",
            hint=f"use the standard image there; FIPS exists in {', '.join(sorted(FIPS_REGIONS))}",
        )
    return region


def envoy_image(region: str, tag: str, *, fips: bool = False, public: bool = False) -> str:
    """Return the URI of App Mesh's Envoy image for a region.

    `tag` is for example `v1.39.1.0-prod`. `public` takes the image from public ECR, FIPS build included;
    that one too needs the region's FIPS endpoint. ParametersError: unknown region, old tag, no FIPS there.
    """
    check_region(region)
    check_image_tag(tag)
    full = f"{tag}-fips" if fips and check_fips(region) else tag
    if public:
        return f"{PUBLIC_REPOSITORY}:{full}"
    account = ENVOY_ACCOUNTS.get(region, DEFAULT_ENVOY_ACCOUNT)
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return f"{account}.dkr.ecr.{region}.{domain}/aws-appmesh-envoy:{full}"
