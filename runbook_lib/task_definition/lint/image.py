"""Envoy's image: which version, for which processor, from which registry. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from runbook_lib.task_definition.form import Json, record_in, variables
from runbook_lib.task_definition.image import (
    DEFAULT_ENVOY_ACCOUNT,
    ENVOY_ACCOUNTS,
    FIPS_REGIONS,
    OLDEST,
    REGIONS,
    ecr_image,
    tag_version,
)
from runbook_lib.task_definition.lint.rule import Check, Finding, Rule, View, at

UNKNOWN = Rule(
    "image-unknown",
    "WARN",
    "{found}: no version to be read, so its age cannot be judged",
    "pin App Mesh's image to a version",
)
OLD = Rule(
    "image-old",
    "FAIL",
    "{found}: App Mesh serves v1.17.2.0-prod and later (user guide, envoy)",
    "take a later image",
)
ARM = Rule(
    "image-arm",
    "FAIL",
    "{found}: App Mesh's image runs on ARM64 from v1.20.0.1 on",
    "take a later image",
)
METRICS = Rule(
    "image-metrics",
    "WARN",
    "{found}: the metric extension needs v1.19.1.1 or later",
    "take a later image",
)
ACCOUNT = Rule(
    "image-account",
    "WARN",
    "App Mesh's registry in {region} is {expected}, found {found}",
    "right only for a mirror of your own",
)
FIPS = Rule(
    "image-fips",
    "FAIL",
    "a FIPS build in {region}, which has no App Mesh FIPS endpoint: it never connects",
    "take the standard image there",
)
RULES = (UNKNOWN, OLD, ARM, METRICS, ACCOUNT, FIPS)
OLDEST_ON_ARM = (1, 20, 0, 1)
OLDEST_WITH_METRICS = (1, 19, 1, 1)
METRICS_VARIABLE = "APPMESH_METRIC_EXTENSION_VERSION"


@dataclass(frozen=True, slots=True)
class _Image:
    """An image by its repository, registry included, and its tag."""

    repository: str
    tag: str


def _image_of(container: Json) -> _Image:
    without_digest = container.get("image", "").partition("@")[0]
    repository, _, tag = without_digest.rpartition(":")
    return _Image(repository, tag)


def _version(view: View) -> Iterator[Finding]:
    where = at(view.proxy, "image")
    tag = _image_of(view.proxy).tag
    version = tag_version(tag)
    if version is None:
        yield view.finding(UNKNOWN, where, found=view.proxy.get("image", ""))
        return
    if version < OLDEST:
        yield view.finding(OLD, where, found=tag)
    elif version < OLDEST_WITH_METRICS and METRICS_VARIABLE in variables(view.proxy):
        yield view.finding(METRICS, where, found=tag)
    platform = record_in(view.task, "runtimePlatform")
    if version < OLDEST_ON_ARM and platform.get("cpuArchitecture") == "ARM64":
        yield view.finding(ARM, where, found=tag)


def _registry(view: View) -> Iterator[Finding]:
    """What is not App Mesh's own repository, in a region it serves, is not judged."""
    where = at(view.proxy, "image")
    image = _image_of(view.proxy)
    ecr = ecr_image(image.repository)
    if ecr is None or ecr.region not in REGIONS or ecr.name != "aws-appmesh-envoy":
        return
    region = ecr.region
    expected = ENVOY_ACCOUNTS.get(region, DEFAULT_ENVOY_ACCOUNT)
    if ecr.account != expected:
        accounts = {"expected": expected, "found": ecr.account}
        yield view.finding(ACCOUNT, where, region=region, **accounts)
    if image.tag.endswith("-fips") and region not in FIPS_REGIONS:
        yield view.finding(FIPS, where, region=region)


CHECKS: tuple[Check, ...] = (_version, _registry)
