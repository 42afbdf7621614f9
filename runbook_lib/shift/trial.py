"""Try the canary with test requests of its own before users see it.

For as long as it lasts, requests that carry one header go to the canary alone; it is
ended again, whatever came of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from runbook_lib.aws import cloudwatch
from runbook_lib.aws.applying import apply
from runbook_lib.aws.session import Session
from runbook_lib.errors import Held
from runbook_lib.judging import error_judge
from runbook_lib.plan import clear
from runbook_lib.survey import survey

__all__ = ["end_trial", "try_canary"]

HEARD_SECONDS = 5  # until every caller knows of the trial; until then stable answers

Probe = Callable[[Mapping[str, str], int], list[tuple[str, str]]]


def try_canary(session: Session) -> str:
    """Send the canary its test requests and return what came of them in words; raise
    Held where one failed.

    Where the runbook cannot make requests itself, it waits for somebody to send them.
    """
    p, value = session.parameters, session.join_run().id
    trial = p.shift.trial
    if trial is None:
        return "no trial"
    end_trial(session)
    found = survey(session)
    apply(session, clear(found.engine.plan_trial(p, found.split, trial.header, value)))
    try:
        if session.connection.probe:
            headers = {trial.header: value}
            return _judged(
                session,
                _probed(session, session.connection.probe, headers, trial.requests),
            )
        return _awaited(session, trial.requests, trial.wait_seconds)
    finally:
        end_trial(session)


def end_trial(session: Session) -> None:
    """End the trial, where one is under way."""
    found = survey(session)
    trial = found.engine.read_trial(found.reads)
    if trial is not None:
        apply(session, clear(found.engine.plan_trial_end(found.split, trial)))


def _probed(
    session: Session, probe: Probe, headers: Mapping[str, str], wanted: int
) -> list[tuple[str, str]]:
    p = session.parameters
    stable, end = p.ecs_service_of(p.shift.stable), session.now() + HEARD_SECONDS
    while probe(headers, 1)[0][0] == stable and session.now() < end:
        session.sleep(0.1)
    return probe(headers, wanted)


def _judged(session: Session, answers: list[tuple[str, str]]) -> str:
    p = session.parameters
    good = p.ecs_service_of(p.shift.canary), "200"
    bad = [
        f"{status} from {version or 'nobody'}"
        for version, status in answers
        if (version, status) != good
    ]
    if bad:
        raise Held(
            f"trial: {len(bad)} of {len(answers)} test requests failed: "
            f"{', '.join(sorted(set(bad)))}",
            hint="users have not seen the canary; fix it, then run 05 again",
            reason="trial",
        )
    return (
        f"{p.shift.canary} answered {len(answers)} of {len(answers)} test requests "
        "without an error"
    )


def _awaited(session: Session, wanted: int, seconds: int) -> str:
    p, began = session.parameters, session.now()
    found = survey(session)
    judge = error_judge(p.shift, found.engine.counted(p))
    requests = 0
    most, pause = (
        seconds + p.telemetry.delay_seconds,
        min(p.telemetry.period_seconds, 5),
    )
    for _ in session.looks(f"{wanted} test requests that somebody sends", most, pause):
        seen = cloudwatch.read_intervals(
            session,
            found.series,
            began,
            cloudwatch.complete_until(session, session.now()),
        )
        requests = sum(i.errors.canary_requests for i in seen)
        errors = sum(i.errors.canary_errors for i in seen)
        if errors:
            words = f"trial: {errors} of {requests} test requests failed"
            raise Held(words, hint="users have not seen the canary", reason="trial")
        if requests >= wanted and judge.by == "counts":
            return (
                f"{p.shift.canary} answered {requests} test requests without an error"
            )
        if requests >= wanted:
            return f"{requests} test requests reached {p.shift.canary}; {judge.words}"
    words = f"trial: {requests} of {wanted} test requests came in {seconds} s"
    raise Held(words, hint="send them, or set trial: null", reason="trial")
