"""Ask AWS what nobody has verified: on things of its own, which are taken away again.

What it makes, it makes and takes away by plans, as notebooks do. Answers are of the
place that was asked: the local AWS's verify nothing.
"""

from __future__ import annotations

import http.client
import json
import signal
import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from runbook_lib import parameters
from runbook_lib.aws import cloudwatch
from runbook_lib.aws.applying import apply
from runbook_lib.aws.identity import utc
from runbook_lib.aws.session import Session
from runbook_lib.command.options import given_for
from runbook_lib.command.plans import agreed
from runbook_lib.command.screen import console
from runbook_lib.engines.alb import engine as alb
from runbook_lib.engines.alb.building import accepting
from runbook_lib.engines.appmesh.mesh import answer as answer_now
from runbook_lib.errors import CallError, ReadBackError, RunbookError
from runbook_lib.opening import open_session
from runbook_lib.plan import Plan, clear
from runbook_lib.private import replace_privately
from runbook_lib.shipped import VERSION
from runbook_lib.survey import survey

FORMAT = 1
NOT_ASKED = "not asked here: {}"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
WRITES = 10  # whose spread is measured
SURE = 20  # new answers in a row: old weights are gone
ANSWER_SECONDS = 0.5  # in which the load balancer's own 503 is there
REACHED_SECONDS = 60.0
SPREAD_SECONDS = 60.0
REQUESTS = 40  # that are looked for in the metrics
COUNTED_SECONDS = 600.0
EMPTY = 503  # of a group without a target

Send = Callable[[], int | None]
"""Sends one request; see `_status`."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What was asked, what AWS answered, and what was measured of it."""

    asked: str
    answer: str
    measured: Mapping[str, float] = field(default_factory=dict)


def accept(environment: str, *, yes: bool, rehearse: bool, output: Path | None) -> None:
    """Say what it costs, ask, make what it takes, ask AWS, and take all away again."""
    named = {"environment": environment, "mode": "apply", **given_for(rehearse)}
    own = accepting.scratch(parameters.load(environment, named))
    session = open_session(named, "accept")
    session.parameters = own
    console.print(f"{session.place}\n{accepting.COST}; {accepting.GONE}")
    again = f"runbook accept {session.named} --yes"
    refused = "accept: no terminal to answer on; nothing was made"
    if yes or agreed("Make it, and ask?", again, refused):
        answers_of(session, again, output)
    else:
        console.print("nothing was made")


def answers_of(session: Session, again: str, output: Path | None) -> None:
    """Ask, print each answer, and write all of them to a file, however that ends.

    `again` is the command that does all of it, `output` None a file in the run.
    """
    take_away(session)  # what one left that was killed
    answers: list[Answer] = []
    try:
        with _taken_away(session, again):
            for answer in _asked(session):
                answers.append(answer)
                console.print(f"{answer.asked}? {answer.answer}{_figures(answer)}")
    finally:
        _write(session, answers, output)


def _figures(answer: Answer) -> str:
    figures = [f"{name} {value:g}" for name, value in answer.measured.items()]
    return f" ({', '.join(figures)})" if figures else ""


def _write(session: Session, answers: list[Answer], output: Path | None) -> None:
    """Write the answers, with where and when they were given, and say where to."""
    p = session.parameters
    found = {
        "format": FORMAT,
        "runbook": VERSION,
        "target": p.target,
        "region": p.region,
        "at": utc(datetime.fromtimestamp(session.wall(), UTC)),
        "answers": [asdict(answer) for answer in answers],
    }
    file = output or session.join_run().folder / "acceptance.json"
    replace_privately(file, json.dumps(found, indent=2) + "\n")
    session.finish("done")
    console.print(f"answers: {file}")
    if p.rehearsed:
        console.print("they are the local AWS's: of AWS they verify nothing")


# --- made, and taken away -------------------------------------------------------------


@contextmanager
def _taken_away(session: Session, again: str) -> Iterator[None]:
    """Take all away at the end, however that comes; no second signal stops it."""
    before = {each: signal.signal(each, signal.default_int_handler) for each in SIGNALS}
    try:
        yield
    finally:
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        try:
            take_away(session)
        except RunbookError as error:
            error.hint = f"some of it stands still, and costs: {again} takes it away"
            raise
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)


def take_away(session: Session) -> None:
    """Take away what stands of it now, by its names and the runbook's tags."""
    made = _apply(session, accepting.plan_end(survey(session)))
    if made:
        names = ", ".join(each.change.name for each in made)
        console.print(f"taken away: {names}")


def _apply(session: Session, plan: Plan) -> Any:
    return apply(session, clear(plan))


# --- asked ----------------------------------------------------------------------------


def _asked(session: Session) -> Iterator[Answer]:
    began = session.clock()
    for plan in accepting.plans():
        _apply(session, plan(survey(session)))
    seconds = round(session.clock() - began, 1)
    yield Answer(accepting.ACTIVE, accepting.WHOLE, {"seconds": seconds})
    for question in accepting.QUESTIONS:
        yield _of_rule(session, question)
    yield from _of_requests(session)
    yield _of_the_ended(session)
    for asked, why in accepting.NOT_ASKED.items():
        yield Answer(asked, NOT_ASKED.format(why))


def _of_rule(session: Session, question: accepting.Question) -> Answer:
    look = survey(session)
    change = question.change(look.split, accepting.groups(look))
    try:
        _apply(session, Plan("accept", (change,)))
    except ReadBackError as error:
        return Answer(question.asked, f"yes, and it reads otherwise: {error.message}")
    except CallError as error:
        return Answer(question.asked, f"no, {_refusal(error)}")
    return Answer(question.asked, "yes")


def _refusal(error: CallError) -> str:
    """Return AWS's own words of a refusal; raise the error where it is none."""
    cause = error.__cause__
    if not isinstance(cause, ClientError) or type(error) is not CallError:
        raise error
    said = cause.response["Error"]
    return f"{said['Code']}: {said.get('Message', '')}"


def _of_the_ended(session: Session) -> Answer:
    if session.parameters.rehearsed:
        return Answer(accepting.ENDED, NOT_ASKED.format("this is the local AWS"))
    what, words = answer_now(session)
    return Answer(accepting.ENDED, f"it {what}: {words}")


# --- what takes requests --------------------------------------------------------------


def _of_requests(session: Session) -> Iterator[Answer]:
    """Send requests, as fast as they are answered; from where none gets through, ask
    nothing.
    """
    name, port = accepting.address(survey(session))

    def send() -> int | None:
        return _status(*session.connection.door(name, port))

    why_not = _prepare_to_send(session, send)
    if why_not:
        for asked in (accepting.SPREAD, accepting.COUNTED):
            yield Answer(asked, NOT_ASKED.format(why_not))
        return
    yield _spread(session, send)
    yield _counted(session, send)


def _prepare_to_send(session: Session, send: Send) -> str:
    """Register the target that answers nothing; return why no request can be sent, ""
    where they can.
    """
    if not session.connection.carries_traffic or not _is_reached(session, send):
        return "no request from this machine reaches it"
    try:
        _apply(session, accepting.plan_silent_target(survey(session)))
    except CallError as error:
        return _refusal(error)
    return ""


def _is_reached(session: Session, send: Send) -> bool:
    """Say whether a request gets through: its name may be known to nobody yet."""
    end = session.clock() + REACHED_SECONDS
    while send() is None:
        if session.clock() > end:
            return False
        session.sleep(ANSWER_SECONDS)
    return True


def _status(host: str, port: int) -> int | None:
    """Send one request; return its status, 0 where none comes in time, None where
    there is no connection.
    """
    connection = http.client.HTTPConnection(host, port, timeout=ANSWER_SECONDS)
    try:
        connection.connect()
    except OSError:
        return None
    try:
        connection.request("GET", "/")
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def _weigh(session: Session, to: str) -> None:
    """Give one service's group all of the weight."""
    shift = session.parameters.shift
    weights = {shift.stable: 0, shift.canary: 0, to: 100}
    _apply(session, alb.plan_split(survey(session).split, weights))


def _spread(session: Session, send: Send) -> Answer:
    """Give all of the weight to one and the other in turn, and time the last answer by
    the former weights.
    """
    shift = session.parameters.shift
    found = []
    for number in range(WRITES):
        to_stable = number % 2 == 1
        began = session.clock()
        _weigh(session, shift.stable if to_stable else shift.canary)
        found.append(_last_old(session, send, began, wants_empty=to_stable))
    figures = {
        "median seconds": round(statistics.median(found), 3),
        "max seconds": round(max(found), 3),
        "writes": len(found),
    }
    words = "measured from each write on; 0 where none came once it was read back"
    return Answer(accepting.SPREAD, words, figures)


def _last_old(
    session: Session, send: Send, began: float, *, wants_empty: bool
) -> float:
    """Return how many seconds after a write the last answer by the former weights
    came.
    """
    last = 0.0
    new_in_a_row = 0
    while new_in_a_row < SURE and session.clock() - began < SPREAD_SECONDS:
        sent = session.clock()
        is_empty = send() == EMPTY
        if is_empty == wants_empty:
            new_in_a_row += 1
        else:
            new_in_a_row = 0
            last = sent - began
    return last


def _counted(session: Session, send: Send) -> Answer:
    """Send requests to the group with a target from the beginning of a period on, and
    look until all of them are counted.
    """
    p = session.parameters
    _weigh(session, p.shift.canary)
    _last_old(session, send, session.clock(), wants_empty=False)
    period = p.telemetry.period_seconds
    first = (session.now() // period + 1) * period
    session.sleep(first - session.now())
    for _ in range(REQUESTS):
        send()
    end = (session.now() // period + 1) * period
    series = survey(session).series[p.shift.canary]["requests"][0]
    count = 0
    while count < REQUESTS and session.now() < end + COUNTED_SECONDS:
        session.sleep(cloudwatch.pause(session))
        count = cloudwatch.read_requests(session, series, first, end)
    late = round(session.now() - end, 1)
    figures = {"seconds after the period": late, "sent": REQUESTS, "counted": count}
    words = "measured from the end of the period"
    return Answer(accepting.COUNTED, words, figures)
