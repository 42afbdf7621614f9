"""What is shaped like a secret is masked, and what only looks long is not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook_lib.redaction import MASK, redacted, scrubbed

SECRETS = {
    "access key": "AKIA" + "IOSFODNN7EXAMPLE",
    "temporary access key": "ASIA" + "IOSFODNN7EXAMPLE",
    "secret access key": "wJalrXUtnFEMI/K7MDENG/" + "bPxRfiCYEXAMPLEKE9",
    "session token": "IQoJ" + "b3JpZ2luX2VjE" * 8,
}
HARMLESS = [
    "arn:aws:appmesh:us-west-2:123456789012:mesh/apps/virtualNode/serviceB",
    "arn:aws:ecs:us-west-2:123456789012:task/apps/0123456789abcdef0123456789abcdef",
    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "840364872350.dkr.ecr.us-west-2.amazonaws.com/aws-appmesh-envoy:v1.39.1.0-prod",
    "http://127.0.0.1:8080/path",
    "da39a3ee5e6b4b0d3255bfef95601890afd80709",
    "123456789012",
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(HARMLESS),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["a", "name", "spec"]), inner),
    max_leaves=12,
)


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
def test_a_secret_in_a_sentence_is_masked(secret: str) -> None:
    assert scrubbed(f"refused '{secret}' here") == f"refused '{MASK}' here"


def test_a_password_in_an_address_is_masked() -> None:
    assert scrubbed("s3 at https://me:hunter2@example.com/x") == f"s3 at https://{MASK}@example.com/x"


def test_a_password_in_a_query_is_masked() -> None:
    assert scrubbed("Password=hunter2&user=me") == f"Password={MASK}&user=me"


@pytest.mark.parametrize("text", HARMLESS)
def test_a_name_that_is_only_long_stays(text: str) -> None:
    assert scrubbed(text) == text


@pytest.mark.parametrize("name", ["DB_PASSWORD", "API_KEY", "github_token", "ClientSecret"])
def test_an_environment_variable_is_masked_by_its_name(name: str) -> None:
    assert redacted([{"name": name, "value": "hunter2"}]) == [{"name": name, "value": MASK}]


def test_an_ordinary_environment_variable_stays() -> None:
    assert redacted({"name": "PORT", "value": "9080"}) == {"name": "PORT", "value": "9080"}


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
def test_a_secret_is_found_however_deep_it_lies(secret: str) -> None:
    deep = {"a": [{"b": ({"c": f"x {secret}"},)}]}
    assert secret not in json.dumps(redacted(deep))


def test_a_picture_is_left_as_it_is_and_the_words_about_it_are_not() -> None:
    key = SECRETS["access key"]
    output = {"data": {"image/png": f"+{key}+"}, "metadata": {"image/png": {"alt": key}}}
    masked = {"data": {"image/png": f"+{key}+"}, "metadata": {"image/png": {"alt": MASK}}}
    assert redacted(output) == masked


@given(JSON)
def test_what_holds_no_secret_is_copied_as_it_is(value: Any) -> None:
    assert redacted(value) == value


@given(JSON, st.sampled_from(sorted(SECRETS.values())))
def test_masking_twice_is_masking_once(value: Any, secret: str) -> None:
    once = redacted([value, secret])
    assert redacted(once) == once
