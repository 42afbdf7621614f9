"""Look an environment over before anything is changed: target, services, names,
quotas, definitions.

It only reads, and judges nothing but PASS, WARN or FAIL with what to do next. A
FAIL is what a later notebook would break on; what may be meant, or cannot be known
from here, is a WARN.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Literal

from runbook_lib.aws.ecs import Running
from runbook_lib.aws.identity import utc
from runbook_lib.engines.protocol import Check
from runbook_lib.errors import GateError
from runbook_lib.judging import error_judge, unpassable
from runbook_lib.opening import ignored
from runbook_lib.printable import counted
from runbook_lib.survey import Survey

__all__ = ["Check", "check_environment", "require_checks"]


def check_environment(found: Survey) -> list[Check]:
    """Return every check of an environment; nothing is changed, whatever they say."""
    found.ahead("split", "running")
    parts = (_target, _credentials, _notes, _counted, _bakes, _services)
    common = [check for part in parts for check in part(found)]
    return [*common, *found.engine.checks(found)]


def require_checks(checks: Iterable[Check]) -> None:
    """Raise GateError where a check is FAIL: a later notebook would break on it."""
    failing = [check for check in checks if check.level == "FAIL"]
    if not failing:
        return
    found = "\n".join(f"- {check.where}: {check.message}" for check in failing)
    raise GateError(
        f"00_check_environment: refused, since a check is FAIL:\n{found}",
        hint="; ".join(dict.fromkeys(check.hint for check in failing if check.hint)),
    )


def _target(found: Survey) -> Iterator[Check]:
    p, identity = found.parameters, found.session.identity
    yield Check(
        "PASS",
        "account",
        f"{identity.account}, as the file says; caller "
        f"{identity.arn.rsplit(':', 1)[-1]}",
    )
    if p.rehearsed:
        yield Check(
            "PASS",
            "endpoint",
            "the local mesh on this machine: a rehearsal, nothing reaches AWS",
        )
        return
    answer = found.engine.serves(found.session)
    if answer.holds:
        yield Check("PASS", "endpoint", answer.found, answer.hint)
    else:
        hint = (
            "planning and every rehearsal still work: runbook run "
            f"{found.session.named} --rehearse"
        )
        yield Check("FAIL", "endpoint", answer.found, hint)


def _credentials(found: Survey) -> Iterator[Check]:
    p = found.parameters
    if p.rehearsed:
        return
    if words := ignored(p):
        yield Check(
            "WARN",
            "settings",
            words,
            "unset them; to call another endpoint is what a rehearsal is for",
        )
    lasting = found.session.lifetime()
    if lasting.kind == "permanent":
        yield Check("PASS", "credentials", "they do not run out by themselves")
    elif lasting.kind == "renewed":
        yield Check(
            "PASS",
            "credentials",
            f"they are renewed while they are used ({lasting.source})",
        )
    else:
        yield _running_out(found, lasting.ends)


def _running_out(found: Survey, ends: datetime | None) -> Check:
    """Compare when credentials run out with when the file's bakes would end."""
    shift = found.parameters.shift
    baking = timedelta(seconds=len(shift.steps) * shift.bake_seconds)
    hint = "log in again just before 05"
    if ends is None:
        words = (
            "temporary, and when they run out is not known; this file's "
            f"bakes take {baking}"
        )
        return Check("WARN", "credentials", words, hint)
    until = datetime.fromtimestamp(found.session.wall(), UTC) + baking
    words = (
        f"they run out at {utc(ends)}; this file's bakes, begun now, end "
        f"at {utc(until)}"
    )
    return (
        Check("WARN", "credentials", words, hint)
        if ends < until
        else Check("PASS", "credentials", words)
    )


def _notes(found: Survey) -> Iterator[Check]:
    p = found.parameters
    for note in p.notes:
        yield Check("WARN", "file", note, "say in the file what is meant")


def _counted(found: Survey) -> Iterator[Check]:
    """A shift whose errors nobody counts is refused by 05."""
    p = found.parameters
    judge = error_judge(p.shift, found.engine.counted(p))
    level: dict[str, Literal["PASS", "WARN", "FAIL"]] = {
        "counts": "PASS",
        "alarms": "WARN",
        "nobody": "FAIL",
    }
    hint = judge.hint or (
        ""
        if judge.by == "counts"
        else "see that these alarms ring when the canary fails"
    )
    yield Check(level[judge.by], "errors", judge.words, hint)


def _bakes(found: Survey) -> Iterator[Check]:
    """A bake that can never pass is refused by 05, with the traffic that it finds.

    In the local mesh that is the file's own; on AWS users may send another.
    """
    p = found.parameters
    if refused := unpassable(p):
        level: Literal["WARN", "FAIL"] = "FAIL" if p.rehearsed else "WARN"
        words = f"with the file's own traffic {refused.message}"
        yield Check(level, "bake", words, refused.hint)


def _services(found: Survey) -> Iterator[Check]:
    p = found.parameters
    for name, running in found.running.items():
        where = f"service {name}"
        if name in found.lifecycle.retired:
            yield Check("PASS", where, "retired")
        elif running.state is None:
            yield Check(
                "WARN",
                where,
                f"not found in cluster {p.cluster}",
                "01 to 03 work without it, 04 does not",
            )
        else:
            yield _count(where, running)
            yield from _room(where, running)


def _count(where: str, running: Running) -> Check:
    state = running.state or {}
    wanted, there = state["desiredCount"], state["runningCount"]
    words = (
        f"runs {there} of {counted(wanted, 'task')} of "
        f"{running.arn.rsplit('/', 1)[-1] or 'no task definition'}"
    )
    if 0 < wanted <= there:
        return Check("PASS", where, words)
    return Check("WARN", where, words, "wait for its tasks before 04")


def _room(where: str, running: Running) -> Iterator[Check]:
    """A rolling update needs room: with one task, 100 % minimum and 150 %
    maximum it never starts.
    """
    if running.is_daemon:
        yield Check(
            "WARN",
            where,
            "schedulingStrategy DAEMON: 06 cannot retire it",
            "end it by hand once 05 is done",
        )
    if running.is_express:
        yield Check(
            "WARN",
            where,
            "made in Express mode: 06 cannot retire it",
            "end it by aws ecs delete-express-gateway-service once 05 is done",
        )
    if running.controller != "ECS":
        yield Check(
            "WARN",
            where,
            f"deployed by {running.controller}: 06 cannot retire it",
            "end it by what deploys it",
        )
        return
    if not running.pace.is_rolling:
        hint = "04 waits as long; to be quicker, set strategy ROLLING for the move"
        if running.pace.paused:
            hint += "; aws ecs continue-service-deployment ends a pause"
        yield Check("WARN", where, running.pace.words, hint)
        return
    state = running.state or {}
    settings = state["settings"].get("deploymentConfiguration") or {}
    wanted, most = state["desiredCount"], settings.get("maximumPercent", 200)
    if (
        wanted
        and wanted * most // 100 <= wanted
        and settings.get("minimumHealthyPercent", 100) >= 100
    ):
        yield Check(
            "FAIL",
            where,
            f"no room to roll: {counted(wanted, 'task')}, at most {most} %",
            "raise maximumPercent",
        )
    if not (settings.get("deploymentCircuitBreaker") or {}).get("enable"):
        yield Check(
            "WARN", where, "no deployment circuit breaker", "enable it with rollback"
        )
