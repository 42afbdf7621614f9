"""Name the Envoy image of a region, and know which regions, tags and FIPS builds exist.

Pure. Nothing is looked up; the tables below name their sources.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches

# Registry accounts: the tutorial's table, and aws-app-mesh-roadmap #500, #507, #513 for
# the last four.
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

# botocore 1.44.5, data/endpoints.json, service "appmesh", all partitions; a test
# compares.
FIPS_REGIONS = frozenset(
    {"ca-central-1", "us-east-1", "us-east-2", "us-west-1", "us-west-2"}
)
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

# "Starting from June 30, 2023 only v1.17.2.0-prod or later is compatible" (App Mesh
# user guide, envoy).
OLDEST = (1, 17, 2, 0)
_ECR = re.compile(r"(\d{12})\.dkr\.ecr\.([\w-]+)\.amazonaws\.com(?:\.cn)?/(.+)")
_TAG = re.compile(r"v(\d+)\.(\d+)\.(\d+)\.(\d+)(?:-prod)?")


def tag_version(tag: str) -> tuple[int, ...] | None:
    """Return the four numbers of an image tag, FIPS build or not, or None where
    it is not a version.
    """
    found = _TAG.fullmatch(tag.removesuffix("-fips"))
    if found is None:
        return None
    return tuple(int(part) for part in found.groups())


@dataclass(frozen=True, slots=True)
class EcrImage:
    """An image in a private registry of ECR: whose, where, and its repository's name,
    with what follows that in the image's URI.
    """

    account: str
    region: str
    name: str


def ecr_image(image: str) -> EcrImage | None:
    """Return what an image in a private registry of ECR is; None for one elsewhere."""
    found = _ECR.fullmatch(image)
    return EcrImage(*found.groups()) if found else None


def image_problems(region: str, tag: str, *, fips: bool) -> Iterator[str]:
    """Yield what App Mesh does not serve of a file's region and image, by where it
    stands in the file.
    """
    if region not in REGIONS:
        instead = _instead_of(region)
        yield f"region: expected one that App Mesh serves, found {region!r}; {instead}"
    version = tag_version(tag)
    if tag.endswith("-fips"):
        yield (
            "envoy.image_tag: expected the tag without its FIPS suffix, found "
            f"{tag!r}; `fips: true` asks for FIPS"
        )
    elif version is None or version < OLDEST:
        yield (
            f"envoy.image_tag: expected v1.17.2.0-prod or later, found {tag!r}; the "
            "last is v1.39.1.0-prod"
        )
    if fips and region not in FIPS_REGIONS:
        known = ", ".join(sorted(FIPS_REGIONS))
        yield (
            "envoy.fips: expected a region with an App Mesh FIPS endpoint, one of "
            f"{known}; found {region!r}"
        )


def _instead_of(region: str) -> str:
    """Say which region is perhaps meant, or which there are."""
    known = sorted(REGIONS)
    near = get_close_matches(region, known, n=1)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"one of {', '.join(known)}"


def envoy_image(
    region: str, tag: str, *, fips: bool = False, public: bool = False
) -> str:
    """Return the URI of App Mesh's Envoy image for a region.

    `tag` is for example `v1.39.1.0-prod`. `public` takes the image from public ECR,
    FIPS build included; that one too needs the region's FIPS endpoint.
    """
    full = f"{tag}-fips" if fips else tag
    if public:
        return f"public.ecr.aws/appmesh/aws-appmesh-envoy:{full}"
    account = ENVOY_ACCOUNTS.get(region, DEFAULT_ENVOY_ACCOUNT)
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return f"{account}.dkr.ecr.{region}.{domain}/aws-appmesh-envoy:{full}"
