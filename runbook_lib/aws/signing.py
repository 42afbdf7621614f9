"""Sign each call with credentials that STS has named, and with no others.

So nothing reaches an account that the parameters file does not name. Each call is
counted here, and the time at AWS heard from its answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any

from runbook_lib.aws.call_errors import CALL_ERRORS, call_error
from runbook_lib.aws.clients import make_client
from runbook_lib.aws.clock import Clock
from runbook_lib.aws.environment import Environment
from runbook_lib.aws.identity import (
    Identity,
    Keys,
    Lifetime,
    aws_session,
    keys_of,
    lifetime_of,
    local_session,
    present,
    utc,
)
from runbook_lib.errors import CallError, CredentialsError, TargetError
from runbook_lib.plan import Call
from runbook_lib.printable import divided

ASKED = "runbook_asked"


@dataclass(repr=False)
class Signing(Clock, Environment):
    """Who calls, by clients that sign with what was proved; nothing else is remembered
    about AWS.
    """

    calls: Counter[str] = field(default_factory=Counter)
    signing: Keys | None = None
    """The credentials that were proved, with which `clients` sign."""
    clients: dict[str, Any] = field(default_factory=dict)
    refusal: str = ""
    """Why nothing is called any more: the credentials became another account's."""
    traffic: str = ""
    """How traffic was divided when it was last read, in words: whoever
    must stop says it.
    """

    def prove(self) -> Keys:
        """Return the credentials as they are now; whose another access key is STS says
        before anything signs with it.

        Raises TargetError where the account is not the file's, then and ever after,
        CredentialsError where there are none any more, CallError where STS does not
        answer: the call that was to be made is not made then.
        """
        if self.refusal:
            raise TargetError(self.refusal, hint=self._anew)
        now = self._present()
        if now == self.signing:
            return now
        if self.signing is None or now.access_key != self.signing.access_key:
            self._identify(now)
        if self.signing is not None:
            self.clients.clear()  # they sign with the former ones
        self.signing = now
        return now

    def lifetime(self) -> Lifetime:
        """Say how long the credentials last that calls sign with now."""
        return (
            self.connection.lifetime
            if self.connection.endpoint
            else lifetime_of(self.core)
        )

    @cached_property
    def core(self) -> Any:
        """The botocore session that every client is made by, and that knows this
        machine's credentials.
        """
        return local_session() if self.connection.endpoint else aws_session()

    def _present(self) -> Keys:
        if self.connection.endpoint:
            return keys_of(self.connection.credentials)
        try:
            return present(self.core)
        except CredentialsError as error:
            raise self._standing(error) from error.__cause__

    def _identify(self, now: Keys) -> None:
        """Ask STS whose these credentials are, signed with exactly them; refuse any
        account but the file's.
        """
        is_first = self.signing is None
        # given with others of the same credentials
        known = self.clients.get("sts") if is_first else None
        try:
            sts = known or self._made("sts", now)
            answer = sts.get_caller_identity()
        except CALL_ERRORS as error:
            raise self._error(Call("sts", "get_caller_identity"), error) from error
        if answer["Account"] != self.parameters.account_id:
            raise self._foreign(answer["Account"], is_first=is_first)
        self.identity = Identity(answer["Account"], answer["Arn"])

    def _foreign(self, account: str, *, is_first: bool) -> TargetError:
        """Refuse an account that is not the file's; for good, where it was before."""
        p = self.parameters
        words = (
            f"account: {p.environment} is account {p.account_id}; these "
            f"credentials are for {account}"
        )
        if is_first:
            hint = "log in to the file's account; nothing was changed"
            return TargetError(words, hint=hint)
        self.refusal = (
            f"{words}, and were for {self.identity.account} before: nothing more "
            f"is called{self.stood}"
        )
        return TargetError(self.refusal, hint=self._anew)

    @property
    def _anew(self) -> str:
        return (
            f"log in to the file's account, see `runbook status {self.named}`, then "
            "start the notebook anew"
        )

    # where traffic stood when it was last read

    def saw(self, weights: Mapping[str, int]) -> None:
        """Keep in words how traffic is divided now, for an error after which nobody
        can look any more.
        """
        at = utc(datetime.fromtimestamp(self.wall(), UTC))
        self.traffic = f"{divided(weights)} ({at})" if weights else ""

    @property
    def stood(self) -> str:
        """Where traffic stood when it was last read, as the end of a sentence; ""
        where nobody read it.
        """
        return (
            f"; when last read, traffic was at {self.traffic}" if self.traffic else ""
        )

    def _standing(self, error: CallError) -> CallError:
        """Add to an error after which nothing more can be done where traffic stands."""
        return type(error)(error.message + self.stood, hint=error.hint)

    # clients

    def _client(self, service: str) -> Any:
        """Return a client that signs with credentials that were proved now."""
        with self.turn:
            keys = self.prove()
            if service not in self.clients:
                self.clients[service] = self._made(service, keys)
            return self.clients[service]

    def _made(self, service: str, keys: Keys) -> Any:
        return make_client(
            self,
            self.core,
            service,
            keys,
            before=self._count,
            after=self._hear_answer,
        )

    def _error(self, call: Call, error: Exception) -> CallError:
        made = call_error(call, error)
        return self._standing(made) if isinstance(made, CredentialsError) else made

    def _count(self, model: Any, context: dict[str, Any], **_: Any) -> None:
        with self.turn:
            self.calls[f"{model.service_model.service_name}.{model.name}"] += 1
        context[ASKED] = self.clock()

    def _hear_answer(
        self, http_response: Any, context: dict[str, Any], **_: Any
    ) -> None:
        said = getattr(http_response, "headers", {}).get("Date")
        # no date, or none that can be read, tells nothing
        with suppress(TypeError, ValueError):
            self.hear(parsedate_to_datetime(said or "").timestamp(), context[ASKED])
