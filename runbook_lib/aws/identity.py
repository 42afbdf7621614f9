"""Find the credentials of this machine, say who they are and how long they last, and
where calls may not go.

This alone opens botocore sessions. A session here obeys no configured endpoint and no
model but `loader`'s, whatever made the client: the runbook, or botocore for an assumed
role or single sign-on. Proxies and certificate bundles stay the user's: they carry
calls to AWS, and lead none elsewhere.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from botocore.credentials import (
    AssumeRoleProvider,
    ProcessProvider,
    RefreshableCredentials,
)
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    ProfileNotFound,
)
from botocore.session import Session as Botocore
from botocore.utils import JSONFileCache, SSOTokenLoader

from runbook_lib.aws.service_models import loader
from runbook_lib.errors import CredentialsError, UnreachableError

__all__ = [
    "Identity",
    "Keys",
    "Lifetime",
    "aws_session",
    "ignored_settings",
    "keys_of",
    "lifetime_of",
    "local_session",
    "present",
    "utc",
]

# Whatever fails while credentials are looked for or renewed: botocore's errors, a
# `credential_process` that is not there or answers nonsense, a question for a one-time
# code that nobody can answer here.
TROUBLES = (
    BotoCoreError,
    ClientError,
    OSError,
    ValueError,
    RuntimeError,
    TypeError,
    AttributeError,
    LookupError,
)
# in which a `credential_process` must answer: time enough for a login in a browser
PROCESS_SECONDS = 60.0
NOWHERE: dict[str, tuple[Any, ...]] = {
    "profile": (None, [], None, None),
    "ca_bundle": (None, [], None, None),
    "config_file": (None, [], os.devnull, None),
    "credentials_file": (None, [], os.devnull, None),
    "ignore_configured_endpoint_urls": (None, [], True, None),
}


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the caller is, as AWS says."""

    account: str
    arn: str


@dataclass(frozen=True, slots=True, repr=False)
class Keys:
    """Credentials that change no more: an access key, its secret, and its
    token where it has one.
    """

    access_key: str
    secret_key: str
    token: str | None = None


@dataclass(frozen=True, slots=True)
class Lifetime:
    """How long credentials last: `ends` is there where they end and nothing
    renews them by itself.
    """

    kind: Literal["permanent", "renewed", "ends", "unknown"]
    source: str
    ends: datetime | None = None


def utc(time: datetime) -> str:
    """Return a time in words, to the second."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def aws_session() -> Botocore:
    """Return a session with this machine's credentials and settings, but no endpoint
    and no model of theirs.
    """
    session = Botocore()
    session.register_component("data_loader", loader())
    session.set_config_variable("ignore_configured_endpoint_urls", True)
    session.set_config_variable("api_versions", {})
    return session


def local_session() -> Botocore:
    """Return a session that reads nothing of this machine's AWS settings: the
    local mesh needs none.
    """
    session = Botocore(session_vars=NOWHERE)
    session.register_component("data_loader", loader())
    return session


def present(session: Botocore) -> Keys:
    """Return the credentials as they are now, renewed where they had to be; raise
    CredentialsError where none are.
    """
    try:
        _limit_processes(session)
        found = session.get_credentials()
        if found is None:
            raise NoCredentialsError
        frozen = found.get_frozen_credentials()
    except ProfileNotFound as error:
        name = error.kwargs["profile"]
        hint = (
            "name a profile that exists (`aws configure list-profiles`) in "
            "AWS_PROFILE, or unset it"
        )
        raise CredentialsError(
            f"AWS_PROFILE: there is no profile {name!r} on this machine", hint=hint
        ) from error
    except (ConnectionError, HTTPClientError) as error:
        hint = "check the connection, then run again"
        raise UnreachableError(
            f"credentials could not be renewed: {error}", hint=hint
        ) from error
    except TROUBLES as error:
        raise CredentialsError(
            f"no credentials: {error}", hint="log in, then run again"
        ) from error
    return Keys(frozen.access_key, frozen.secret_key, frozen.token)


class _Process(subprocess.Popen[bytes]):
    """A `credential_process` that must answer in time: botocore would wait for ever,
    and nobody watch meanwhile.
    """

    def communicate(
        self, input: bytes | None = None, timeout: float | None = None
    ) -> tuple[bytes, bytes]:
        """Return what it writes; raise CredentialRetrievalError, the process killed,
        where that takes too long.
        """
        try:
            return super().communicate(
                input, PROCESS_SECONDS if timeout is None else timeout
            )
        except subprocess.TimeoutExpired:
            self.kill()
            self.wait()
            # whoever it started may hold the other end
            for stream in filter(None, (self.stdout, self.stderr)):
                stream.close()
            words = f"it gave no answer in {PROCESS_SECONDS:g} s, and was ended"
            raise CredentialRetrievalError(
                provider="credential_process", error_msg=words
            ) from None


def _limit_processes(session: Botocore) -> None:
    """Give each `credential_process` a time limit, that of a role's source profile too.

    botocore makes these providers itself and offers no other way to them.
    """
    for provider in session.get_component("credential_provider").providers:
        if isinstance(provider, ProcessProvider):
            provider._popen = _Process
        elif (
            isinstance(provider, AssumeRoleProvider)
            and provider._profile_provider_builder
        ):
            builder = provider._profile_provider_builder
            builder._create_process_provider = lambda name: ProcessProvider(
                name, lambda: session.full_config, popen=_Process
            )


def keys_of(named: Mapping[str, str]) -> Keys:
    """Return credentials that are given as boto3 names them."""
    return Keys(
        named["aws_access_key_id"],
        named["aws_secret_access_key"],
        named.get("aws_session_token"),
    )


def ignored_settings(environ: Mapping[str, str]) -> list[str]:
    """Name every setting that would lead calls to AWS elsewhere, and is ignored:
    variables, then the config file's.
    """
    names = sorted(
        name
        for name in environ
        if name.startswith("AWS_ENDPOINT_URL") or name == "AWS_DATA_PATH"
    )
    return [*names, *_configured()]


def _configured() -> Iterator[str]:
    """Yield the endpoints that the config file gives this profile,
    each with its section.
    """
    session = Botocore()
    try:
        profile = session.get_config_variable("profile") or "default"
        scoped, every = (
            session.get_scoped_config(),
            session.full_config.get("services", {}),
        )
    except BotoCoreError:  # there is no such profile or file: `present` says so
        return
    if "endpoint_url" in scoped:
        yield f"endpoint_url of [profile {profile}]"
    section = scoped.get("services", "")
    for service, settings in sorted(every.get(section, {}).items()):
        if isinstance(settings, Mapping) and "endpoint_url" in settings:
            yield f"{service} endpoint_url of [services {section}]"


def lifetime_of(session: Botocore) -> Lifetime:
    """Say how long the present credentials last; what renews itself as long as it is
    allowed to does not end.
    """
    found = session.get_credentials()
    source = str(found.method)
    if not isinstance(found, RefreshableCredentials):
        return Lifetime("unknown" if found.token else "permanent", source)
    profile = session.get_scoped_config()
    own = found._expiry_time  # botocore offers no other way to it
    if source == "env" or profile.get("mfa_serial"):
        return Lifetime("ends", source, own)
    if source == "sso" and "sso_session" not in profile:
        return Lifetime("ends", source, _login_ends(profile) or own)
    return Lifetime("renewed", source)


def _login_ends(profile: Mapping[str, str]) -> datetime | None:
    """Return when a single sign-on without a session, which
    nothing renews, runs out.
    """
    tokens = SSOTokenLoader(
        cache=JSONFileCache(str(Path.home() / ".aws" / "sso" / "cache"))
    )
    try:
        token = tokens(profile["sso_start_url"])
        return datetime.fromisoformat(token["expiresAt"].replace("UTC", "+00:00"))
    except (*TROUBLES, KeyError):
        return None
