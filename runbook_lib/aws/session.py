"""One environment that is open: its parameters, the guard, the clients, the
clock, the record.

This alone makes AWS clients. Every call goes through here, so that it is counted, its
errors become sentences once, and nothing reaches an account that the parameters file
does not name: a call signs with credentials that STS has named, and with no others.
"""

from __future__ import annotations

import os
import shlex
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar, cast

import jmespath
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    HTTPClientError,
)
from botocore.parsers import ResponseParserError
from filelock import FileLock

from runbook_lib import parameters as files
from runbook_lib import record
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
from runbook_lib.aws.together import AT_ONCE, together
from runbook_lib.errors import (
    CallError,
    CredentialsError,
    RecordError,
    RunbookError,
    TargetError,
    ThrottledError,
    UnreachableError,
    WaitError,
)
from runbook_lib.parameters import Parameters
from runbook_lib.plan import Call, Reading, Wait
from runbook_lib.printable import one_line
from runbook_lib.record.place import Place, place_of

__all__ = ["Connection", "Session", "opening"]

# how the names of calls begin that only read
READS = ("describe", "list", "get", "discover")
# that AWS's time may differ from what is known of it; a Date has whole seconds
SKEW_SECONDS = 5.0
ASKED = "runbook_asked"
LONG_SECONDS = 2.0  # a wait is written down once it has lasted so long
# the last: what answered was not AWS
CALL_ERRORS = ClientError, BotoCoreError, ResponseParserError
ONLY_ONCE = "needs-retry.ecs.RegisterTaskDefinition"
NO_VARIANTS = {"use_fips_endpoint": False, "use_dualstack_endpoint": False}
SPARE_CONNECTIONS = 2  # of a client, for whoever calls from a thread of its own
NOT_ENDING = Lifetime("permanent", "the local mesh")
UNKNOWN = Identity("", "")
NOBODY = {
    "aws_access_key_id": "testing",
    "aws_secret_access_key": "testing",
    "aws_session_token": "testing",
}

T = TypeVar("T")


class _Group(threading.local):
    """Whether this thread asks for one of several things."""

    within = False


_GROUP = _Group()


def _as_member(ask: Callable[[], T]) -> T:
    """Return what is asked, as one of several things."""
    before, _GROUP.within = _GROUP.within, True
    try:
        return ask()
    finally:
        _GROUP.within = before


@dataclass(frozen=True)
class Connection:
    """Where calls go: AWS's own endpoints, or one endpoint with credentials that are
    worth nothing elsewhere.
    """

    endpoint: str | None = None
    prepare: Callable[[Any], None] = lambda session: None
    carries_traffic: bool = True
    probe: Callable[[Mapping[str, str], int], list[tuple[str, str]]] | None = None
    """Makes test requests with headers as the caller would: (version,
    status) of each answer.
    """
    world: str = ""
    """Tells a local mesh from any before it, with which its runs end."""
    credentials: Mapping[str, str] = field(default_factory=lambda: NOBODY, repr=False)
    """What calls to one endpoint are signed with, as boto3 names it; the
    user's own never are.
    """
    lifetime: Lifetime = NOT_ENDING
    """How long those last."""


@dataclass(repr=False)  # whatever prints one would print all of its parameters
class Session:
    """An environment that has been opened and proved to be the one meant.

    `applies` says whether cells may change anything. Nothing here is remembered
    about AWS but clients.
    """

    parameters: Parameters
    notebook: str
    connection: Connection
    file: str = ""
    given: Mapping[str, Any] = field(default_factory=dict)
    undo: bool = False
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    waiting: Callable[[str, float, float], None] = lambda what, passed, most: None
    """Told at each look of a wait: what for, for how many seconds by now, how many at
    most; no word once it ended.
    """
    calls: Counter[str] = field(default_factory=Counter)
    identity: Identity = UNKNOWN
    signing: Keys | None = None
    """The credentials that were proved, with which `clients` sign."""
    clients: dict[str, Any] = field(default_factory=dict)
    written: int = 0
    """How many calls that change something were made; after one no error of this
    notebook is a refusal.
    """
    refusal: str = ""
    """Why nothing is called any more: the credentials became another account's."""
    traffic: str = ""
    """How traffic was divided when it was last read, in words: whoever
    must stop says it.
    """
    ahead: float | None = None
    """How far AWS's time is ahead of the monotonic clock; None until somebody
    asks for the time.
    """
    moved: float = 0.0
    """By how many seconds in all AWS's time was found to be another than this
    machine's clock had said.
    """
    outlast: Callable[[Callable[[], Any], CallError], Any] | None = None
    """Asks again what a call that reads failed at, and returns the answer, or
    raises; None: it fails.
    """
    run: record.Run | None = None
    finished: record.Run | None = None
    """The run that ended in this session; what is begun next opens another one."""
    lock: FileLock | None = None
    shift_lock: FileLock | None = None
    """What keeps everybody else from shifting here, while this session does."""
    engine: object = None
    """What carries the weights, where it was handed in; which it is by the
    parameters, `survey` knows.
    """
    spare: record.Spare = field(default_factory=record.Spare)
    beside: Callable[[Sequence[Callable[[], Any]]], list[Any]] = together
    """Asks several things side by side; whoever counts calls has them asked in turn."""
    turn: threading.RLock = field(default_factory=threading.RLock)
    """Held by whoever changes what all that ask side by side share."""

    @property
    def applies(self) -> bool:
        """Whether the mode is apply."""
        return self.parameters.mode == "apply"

    @property
    def named(self) -> str:
        """How a command names this environment, its rehearsal as such."""
        return shlex.quote(self.file) + (
            " --rehearse" if self.given.get("target") == "local" else ""
        )

    def now(self) -> float:
        """Return the time at AWS, in seconds since 1970.

        It begins with this machine's clock and goes on with the monotonic one: whoever
        sets the machine's clock moves no bake and no approval. An answer's Date that is
        far off sets it right (a machine that was asleep, or wrong).
        """
        if self.ahead is None:
            self.ahead = self.wall() - self.clock()
        return self.clock() + self.ahead

    def hear(self, at: float, asked: float) -> None:
        """Hear the time at AWS, whole seconds since 1970, in an answer to what was
        asked at a moment of the clock.
        """
        with self.turn:
            self._hear(at, asked)

    def _hear(self, at: float, asked: float) -> None:
        now, ahead = self.now(), self.now() - self.clock()
        early, late = asked + ahead - SKEW_SECONDS, now + SKEW_SECONDS
        if not early <= at <= late:
            self.moved += at - now
            self.ahead = at - self.clock()

    def read(self, reading: Reading) -> Any:
        """Return the state a reading shows, ABSENT where the thing is not there."""
        if not reading.call.operation.startswith(READS):
            raise ValueError(f"{reading.call.operation} is not a call that only reads")
        arguments = self._resolved(reading.call.arguments)
        if any(value is None or value == [] for value in arguments.values()):
            return None

        def ask() -> Any:
            try:
                answer = self._call(reading.call, arguments)
            except CallError as error:
                cause = error.__cause__
                if (
                    isinstance(cause, ClientError)
                    and cause.response["Error"]["Code"] in reading.absent
                ):
                    return None
                raise
            return jmespath.search(reading.query, answer)

        return self._outlasting(ask)

    def pages(
        self, service: str, operation: str, key: str, **arguments: Any
    ) -> list[Any]:
        """Return every item of a paginated list call."""

        def ask() -> list[Any]:
            try:
                pages = (
                    self._client(service).get_paginator(operation).paginate(**arguments)
                )
                return [item for page in pages for item in page.get(key, [])]
            except CALL_ERRORS as error:
                raise self._error(Call(service, operation, arguments), error) from error

        return self._outlasting(ask)

    def together(self, asks: Sequence[Callable[[], Any]]) -> list[Any]:
        """Return what independent readings answer, in their order.

        Where some fail, the first in their order is raised; whoever watches asks for
        all of them again.
        """
        members = [partial(_as_member, ask) for ask in asks]
        return self._outlasting(lambda: self.beside(members))

    def _outlasting(self, ask: Callable[[], T]) -> T:
        """Return what is asked; what fails may be asked again by whoever watches."""
        if _GROUP.within:
            return ask()
        try:
            return ask()
        except CallError as error:
            if self.outlast is None:
                raise
            return cast("T", self.outlast(ask, error))

    def write(self, call: Call) -> Any:
        """Make one call that changes something. Only `apply` may use this, and
        `archive` for its copies.
        """
        answer = self._call(call, self._resolved(call.arguments))
        self.written += 1
        return answer

    def wait_for(self, wait: Wait) -> Any:
        """Read until `wait` ends well and return the last state; raise WaitError with
        it where it does not.
        """
        after, since = f" after {wait.timeout_seconds} s", None
        for _ in self.looks(
            wait.what, wait.timeout_seconds, 0.1 if self.parameters.rehearsed else 6.0
        ):
            state = self.read(wait.reading)
            if not jmespath.search(wait.until, state):
                since = None
            elif (
                self.clock() - (since := self.clock() if since is None else since)
                >= wait.lasting_seconds
            ):
                return state
            if jmespath.search(wait.failed, state):
                after = ""
                break
        raise WaitError(
            f"{wait.what}: did not come about{after}; last seen {state}",
            hint="look at the service's events",
        )

    def looks(self, what: str, most: float, interval: float) -> Iterator[None]:
        """Yield, and again every `interval` seconds until `most` have passed; whoever
        watches is told what for.
        """
        began, since, told = (
            self.clock(),
            datetime.now(UTC).isoformat(timespec="seconds"),
            False,
        )
        try:
            while True:
                yield
                if (passed := self.clock() - began) > most:
                    return
                self.waiting(what, passed, most)
                if not told and passed >= LONG_SECONDS and (run := _executing()):
                    said = {
                        "notebook": self.notebook,
                        "what": what,
                        "since": since,
                        "most": round(most),
                    }
                    # nothing but a word to whoever looks on
                    with suppress(RecordError):
                        run.write("waiting", **said)
                    told = True
                self.sleep(interval)
        finally:
            self.waiting("", self.clock() - began, most)

    def saw(self, weights: Mapping[str, int]) -> None:
        """Keep in words how traffic is divided now, for an error after which nobody
        can look any more.
        """
        at = utc(datetime.fromtimestamp(self.wall(), UTC))
        shares = ", ".join(f"{name} {weight} %" for name, weight in weights.items())
        self.traffic = f"{shares} ({at})" if weights else ""

    def latest_run(self) -> record.Run | None:
        """Return the newest run that applies in the session's place, ended or not."""
        p = self.parameters
        return _executing() or record.latest(p.environment, p.records, self.place)

    @property
    def place(self) -> Place:
        """Where the session is: the file's own place, in the local
        mesh that it reached.
        """
        return place_of(self.parameters, self.connection.world)

    @cached_property
    def core(self) -> Any:
        """The botocore session that every client is made by, and that knows this
        machine's credentials.
        """
        return local_session() if self.connection.endpoint else aws_session()

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
        # given with others of the same credentials
        known = self.clients.get("sts") if self.signing is None else None
        p = self.parameters
        try:
            sts = known or _client(self, "sts", now)
            answer = sts.get_caller_identity()
        except CALL_ERRORS as error:
            raise self._error(Call("sts", "get_caller_identity"), error) from error
        if answer["Account"] != p.account_id:
            words = (
                f"account: {p.environment} is account {p.account_id}; these "
                f"credentials are for {answer['Account']}"
            )
            if self.signing is None:
                raise TargetError(
                    words, hint="log in to the file's account; nothing was changed"
                )
            self.refusal = (
                f"{words}, and were for {self.identity.account} before: nothing more "
                f"is called{self.stood}"
            )
            raise TargetError(self.refusal, hint=self._anew)
        self.identity = Identity(answer["Account"], answer["Arn"])

    @property
    def _anew(self) -> str:
        return (
            f"log in to the file's account, see `runbook status {self.named}`, then "
            "start the notebook anew"
        )

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

    def join_run(self) -> record.Run:
        """Return the run under way, opening one where the last has ended."""
        if self.run is None:
            p, place = self.parameters, self.place
            opened = opening(p, self.file, self.given)
            about = (p.shift.stable, p.shift.canary)
            self.run = _executing() or record.open_or_join(
                p.environment, p.records, place, about=about, **opened
            )
            if place.world and not self.run.world:
                self.run.write("joined", world=place.world)
        return self.run

    def finish(self, outcome: str) -> None:
        """Close the run, since what it was about has ended; one that executes notebooks
        is closed by who executes them.

        Where its record takes no line it stays open, which costs nothing.
        """
        if self.run is None or _executing():
            return
        with suppress(RecordError):
            if not self.run.closed:
                self.run.write("closed", outcome=outcome)
        self.finished, self.run = self.run, None

    def leave_closed_run(self) -> None:
        """Let go of a run that another process has closed."""
        with suppress(RecordError):
            if self.run is not None and not self.is_executed and self.run.closed:
                self.finished, self.run = self.run, None

    @property
    def is_executed(self) -> bool:
        """Whether a command executes this notebook, and no hand."""
        return _executing() is not None

    def note(self, write: Callable[[record.Run], None]) -> None:
        """Let `write` put a line into the run, or beside it where its folder takes
        none: no disk stops what is watched.

        What then is missing in the record, and where it is, `spare` says.
        """
        try:
            write(self.join_run())
        except RecordError as error:
            self.spare.keep(write, error)

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Hold the environment against every other run on this machine; raise LockError
        where one holds it.
        """
        run = self.join_run()
        self.lock = self.lock or record.lock_of(run)
        shift = self.shift_lock
        with record.held(run, self.lock, self.identity.arn, shift=shift):
            run.take_in()
            yield

    @contextmanager
    def shifting(self) -> Iterator[None]:
        """Let nobody else shift here meanwhile, nor anybody be at work as it begins.

        Raises LockError where somebody shifts, or is at work.
        """
        run = self.join_run()
        self.shift_lock = self.shift_lock or record.shift_lock_of(self.place)
        with record.shifting(run, self.shift_lock, self.identity.arn):
            with self.holding():
                pass
            yield

    def _resolved(self, arguments: Mapping[str, Any] | Reading) -> dict[str, Any]:
        if isinstance(arguments, Reading):
            raise TypeError("a reading's arguments cannot be a reading as a whole")
        return {
            k: self.read(v) if isinstance(v, Reading) else v
            for k, v in arguments.items()
        }

    def _call(self, call: Call, arguments: Mapping[str, Any]) -> Any:
        try:
            answer = getattr(self._client(call.service), call.operation)(**arguments)
        except CALL_ERRORS as error:
            raise self._error(call, error) from error
        answer.pop("ResponseMetadata", None)  # headers are nobody's state
        return answer

    def _client(self, service: str) -> Any:
        """Return a client that signs with credentials that were proved now."""
        with self.turn:
            keys = self.prove()
            if service not in self.clients:
                self.clients[service] = _client(self, service, keys)
            return self.clients[service]

    def _error(self, call: Call, error: Exception) -> CallError:
        made = _call_error(call, error)
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

    def counts(self) -> dict[str, int]:
        """Return how many calls read and how many wrote."""
        read = sum(
            n
            for name, n in self.calls.items()
            if name.split(".")[1].lower().startswith(READS)
        )
        return {"read": read, "write": sum(self.calls.values()) - read}

    def ended(self, error: RunbookError) -> None:
        """Leave the word of the error that ended a notebook in the run that executes
        it, where one does.
        """
        if run := _executing():
            # another process may have taken the run over
            by = os.environ.get("RUNBOOK_PID")
            with suppress(RecordError):  # the error itself says it too
                run.write("ended", word=error.reason, error=type(error).__name__, by=by)

    def close(self) -> None:
        """Leave the counts of this session's calls in the run, where one is under way
        and its folder still there.
        """
        run = _executing() or self.run or self.finished
        if run and run.folder.is_dir():
            with suppress(RecordError):
                run.write("calls", notebook=self.notebook, **self.counts())


def _executing() -> record.Run | None:
    """Return the run that executes this notebook, None where somebody does by hand."""
    folder = os.environ.get("RUNBOOK_RUN")
    return record.Run(Path(folder)) if folder else None


def opening(p: Parameters, file: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run's first line says, beside its place: enough to come back to
    it from any folder.
    """
    return {"file": files.located(file), "given": dict(given), "target": p.target}


def _client(session: Session, service: str, keys: Keys) -> Any:
    connection = session.connection
    local = connection.endpoint is not None
    run = Path(os.environ.get("RUNBOOK_RUN") or "by-hand")
    config = Config(
        region_name=session.parameters.region,
        retries={"mode": "standard", "total_max_attempts": 5},
        connect_timeout=3,
        read_timeout=10,
        max_pool_connections=AT_ONCE + SPARE_CONNECTIONS,
        user_agent_extra=f"runbook/{run.name}",
        inject_host_prefix=not local,
        proxies={} if local else None,
        **(NO_VARIANTS if local else {}),
    )
    client = session.core.create_client(
        service,
        config=config,
        endpoint_url=connection.endpoint,
        aws_access_key_id=keys.access_key,
        aws_secret_access_key=keys.secret_key,
        aws_session_token=keys.token,
    )
    client.meta.events.register("before-call", session._count)
    client.meta.events.register("after-call", session._hear_answer)
    client.meta.events.register_first(ONLY_ONCE, _not_again)
    connection.prepare(client)
    return client


def _not_again(
    operation: Any, response: Any, caught_exception: Exception | None, **_: Any
) -> None:
    """End a call that has no token to be known by where it may have been done: trying
    again could do it twice.
    """
    if caught_exception:
        raise caught_exception
    if response[0].status_code >= 500:
        raise ClientError(response[1], operation.name)


GO_ON = "run again: it goes on from where AWS stands"
OUT = CredentialsError, f"log in again and {GO_ON}"
EXPIRED = (
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
)
DENIED = "this identity lacks a permission; docs/iam.md lists what is needed"
IN_USE = "undo what uses it first: the later notebooks, last one first"
THROTTLED = ThrottledError, "throttled; nothing is half done, run again in a minute"
AWAY = (
    "InternalFailure",
    "InternalServerErrorException",
    "RequestTimeout",
    "RequestTimeoutException",
    "ServiceUnavailable",
    "ServiceUnavailableException",
)
KNOWN: dict[str, tuple[type[CallError], str]] = {
    **dict.fromkeys(EXPIRED, OUT),
    **dict.fromkeys(
        (
            "Throttling",
            "ThrottlingException",
            "ThrottledException",
            "RequestLimitExceeded",
            "TooManyRequestsException",
        ),
        THROTTLED,
    ),
    **dict.fromkeys(AWAY, (UnreachableError, GO_ON)),
    **dict.fromkeys(
        ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation"),
        (CallError, DENIED),
    ),
    "ResourceInUseException": (CallError, IN_USE),
    "PriorityInUse": (
        CallError,
        "another rule has the place of the trial's: move it, or say shift.trial: null",
    ),
    "LimitExceededException": (
        CallError,
        "a quota, not a rate: free some, or ask for more in Service Quotas",
    ),
}


def _call_error(call: Call, error: Exception) -> CallError:
    where = f"{call.service} {call.operation}"
    if isinstance(error, ClientError):
        code, message = (
            error.response["Error"]["Code"],
            error.response["Error"].get("Message", ""),
        )
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        unknown = (
            THROTTLED
            if status == 429
            else (UnreachableError if status >= 500 else CallError, GO_ON)
        )
        kind, advice = KNOWN.get(code, unknown)
        return kind(one_line(f"{where}: {code}: {message}"), hint=advice)
    kind = (
        UnreachableError
        if isinstance(error, (ConnectionError, HTTPClientError, ResponseParserError))
        else CallError
    )
    return kind(
        one_line(f"{where}: {error}"), hint="check the connection, then run again"
    )
