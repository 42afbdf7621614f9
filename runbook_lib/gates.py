"""Look into what a plan needs to hold before it may be applied.

A plan names its gates; each is a function that takes one look at the environment and
says what it found. None of them changes or decides anything: `clear` does, and refuses.
What protects traffic is looked at again by `apply`, with a fresh survey. What only an
engine can know, its own gates say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from runbook_lib.aws import cloudwatch
from runbook_lib.aws.series import Series
from runbook_lib.engines.protocol import Finding, Gate, Idle, Part
from runbook_lib.judging import error_judge
from runbook_lib.plan import Evidence, Need, Plan
from runbook_lib.printable import counted
from runbook_lib.runs.history import doubt
from runbook_lib.survey import Survey, survey

__all__ = ["evidence", "evidence_for_shift", "evidence_of_path"]

NO_TRAFFIC = "there is no traffic here to look at"
TOO_FEW = "wait for its tasks, or look at the service's events"

Look = Callable[[Survey, Plan], Finding]
"""What one look at the environment shows of a condition, before a plan is applied."""


@dataclass(frozen=True, slots=True)
class Looks:
    """How a condition is looked into: at first, and again just before the first write.

    What protects no traffic is not looked at again.
    """

    first: Look
    again: Look | None = None
    parts: tuple[Part, ...] = ()
    """What is read ahead for it, together with what others need."""
    parts_again: tuple[Part, ...] = ()
    """The same for the second look."""


def evidence(found: Survey, plan: Plan) -> tuple[Evidence, ...]:
    """Look into every gate that a plan names, in its order.

    In plan mode steps that are missing are assumed to be applied.
    """
    gates = _gates_of(found, plan)
    found.ahead(*_parts(looks.parts for looks in gates.values()))
    again = _again(found, plan, gates)
    first = {name: looks.first(found, plan) for name, looks in gates.items()}
    return tuple(_said(name, finding, again) for name, finding in first.items())


def _again(
    found: Survey, plan: Plan, gates: Mapping[str, Looks]
) -> Callable[[], tuple[Evidence, ...]] | None:
    """Return what looks once more into the gates that protect traffic; None where
    none of them does.
    """
    again = {name: looks.again for name, looks in gates.items() if looks.again}
    needed = _parts(looks.parts_again for looks in gates.values())
    if not again:
        return None

    def look_again() -> tuple[Evidence, ...]:
        fresh = survey(found.session)
        fresh.ahead(*needed)
        return tuple(_said(name, look(fresh, plan)) for name, look in again.items())

    return look_again


def evidence_for_shift(found: Survey) -> tuple[Evidence, ...]:
    """Look into what must hold before any step up: whatever its weight is."""
    plan = found.due(Plan("05_shift_traffic"), "shift")
    needed = _parts(looks.parts for looks in _gates_of(found, plan).values())
    found.ahead("live", "counts", *needed)
    assumed = found.plan_resources("04").assumed
    return evidence(found, replace(plan, assumed=assumed))


def _gates_of(found: Survey, plan: Plan) -> dict[str, Looks]:
    known: dict[str, Looks] = {**NEUTRAL, **_engines_own(found, plan)}
    return {name: known[name] for name in plan.needs}


def _parts(needed: Iterable[tuple[Part, ...]]) -> tuple[Part, ...]:
    """Return parts of a look, each once."""
    return tuple(dict.fromkeys(part for parts in needed for part in parts))


def _said(
    name: str, finding: Finding, again: Callable[[], tuple[Evidence, ...]] | None = None
) -> Evidence:
    """Return a finding as evidence; what cannot be verified here stops nobody."""
    holds = finding.holds is not False
    hint = "" if holds else finding.hint
    return Evidence(str(name), holds, finding.found, hint, again)


def _engines_own(found: Survey, plan: Plan) -> dict[str, Looks]:
    """Return how the engine's own gates before a plan are looked into, by name."""
    own = found.engine.gates(found, plan.before, plan) if plan.before else ()
    looks: dict[str, Looks] = {}
    for gate in own:
        look = partial(_by_engine, gate)
        looks[gate.name] = Looks(look, parts=gate.parts)
        if gate.protects:
            looks[gate.name] = _both(look, gate.parts)
    return looks


def _both(look: Look, parts: tuple[Part, ...]) -> Looks:
    """Return one way to look for both times."""
    return Looks(look, again=look, parts=parts, parts_again=parts)


def _by_engine(gate: Gate, found: Survey, plan: Plan) -> Finding:
    finding = gate.look(found)
    return _or_assumed(found, finding) if gate.assumable else finding


def _or_assumed(found: Survey, finding: Finding) -> Finding:
    """In plan mode a step that is missing is assumed applied, and said to be."""
    if finding.holds is False and not found.session.applies:
        return Finding(True, f"assumed, since {finding.found}")
    return finding


# --- what every engine's plans need ---------------------------------------------------


def _earlier_steps(found: Survey, plan: Plan) -> Finding:
    missing = ", ".join(plan.assumed)
    words = f"missing: {missing}" if missing else "all of them are applied"
    hint = "run the notebooks named there first"
    return _or_assumed(found, Finding(not missing, words, hint))


def _errors_counted(found: Survey, plan: Plan) -> Finding:
    """A canary whose errors nobody counts would pass whatever it answers."""
    p = found.parameters
    judge = error_judge(p.shift, found.engine.counted(p))
    return Finding(judge.by != "nobody", judge.words, judge.hint)


def _canary_runs(found: Survey, plan: Plan) -> Finding:
    canary = found.parameters.shift.canary
    state = found.running[canary].state
    if state is None:
        none = Finding(False, f"{canary} has no ECS service", "deploy it")
        return _or_assumed(found, none)
    return _all_run(canary, state["desiredCount"], state["runningCount"])


def _canary_still_runs(found: Survey, plan: Plan) -> Finding:
    """Look at the same by one call, which reads nothing of its definition."""
    canary = found.parameters.shift.canary
    return _all_run(canary, *found.counts[canary])


def _all_run(service: str, wanted: int, running: int) -> Finding:
    words = f"{service} runs {running} of {counted(wanted, 'task')}"
    return Finding(0 < wanted <= running, words, TOO_FEW)


def _stable_carries_nothing(found: Survey, plan: Plan) -> Finding:
    shift, weights = found.parameters.shift, found.split.weights
    stable, canary = weights.get(shift.stable, 0), weights.get(shift.canary, 0)
    words = f"{shift.stable} has {stable} %, {shift.canary} has {canary} %"
    finding = Finding((stable, canary) == (0, 100), words, "finish the shift first")
    return _or_assumed(found, finding)


def _unreferenced(found: Survey, plan: Plan) -> Finding:
    others = ", ".join(key for key in found.references if key != found.split.key)
    words = others or f"only its own {found.split.kind}"
    return Finding(not others, words, "take it out of those first")


def _not_retired(found: Survey, plan: Plan) -> Finding:
    retired = ", ".join(sorted(found.retired))
    words = f"retired: {retired}" if retired else "neither version is retired"
    return Finding(not retired, words, "only undo brings it back")


def _canary_proven(found: Survey, plan: Plan) -> Finding:
    """The canary was judged at the last step: that it carries everything is no proof
    that it does so well.
    """
    session, p = found.session, found.parameters
    if not session.connection.carries_traffic:
        return Finding(True, "there is no traffic here to judge by")
    doubts = doubt(session)
    if not doubts:
        return Finding(True, f"PASS at {p.shift.steps[-1]} %")
    if p.retirement.allow_unjudged:
        allowed = "allowed by retirement.allow_unjudged in the file"
        return Finding(True, f"{doubts}: {allowed}")
    hint = (
        "run 05 until it has, from the first step if need be; or say in the file that "
        "you know better: retirement: {allow_unjudged: true}"
    )
    return _or_assumed(found, Finding(False, doubts, hint))


def _stable_idle(found: Survey, plan: Plan, *, waits: bool = True) -> Finding:
    """Nobody sends the stable service anything any more, as far back as requests are
    known to be counted.

    That this is no mere lack of metrics is shown by a witness, the canary's requests,
    which are counted in the same window and in the same way.
    """
    session, p = found.session, found.parameters
    stable = p.shift.stable
    if not session.connection.carries_traffic:
        return Finding(True, NO_TRAFFIC)
    # this notebook was cut short behind its end
    if found.running[stable].state is None:
        return Finding(True, f"{stable} has no ECS service any more")
    idle = found.engine.idle(found)
    seconds = max(p.retirement.quiet_seconds, idle.least_seconds)
    requests, witnessed = _awaited_silence(found, idle, seconds, waits=waits)
    finding = _idle_finding(p.shift.canary, idle, seconds, requests, witnessed)
    return _or_assumed(found, finding)


def _idle_finding(
    canary: str, idle: Idle, seconds: int, requests: int, witnessed: int
) -> Finding:
    """Say what the counts of the last seconds show of a stable version."""
    if not witnessed:
        words = (
            f"nothing is counted: {canary} had no request in the last "
            f"{seconds} s either"
        )
        return Finding(False, words, idle.uncounted_hint)
    if idle.blind:
        return Finding(False, idle.blind, idle.blind_hint)
    came = counted(requests, "request") if requests else "no request"
    words = f"{came} in the last {seconds} s, while {canary}'s are counted"
    return Finding(requests == 0, words, idle.called_hint)


def _awaited_silence(
    found: Survey, idle: Idle, seconds: int, *, waits: bool
) -> tuple[int, int]:
    """Wait until stable is silent, and return its requests and the
    witness's of the last seconds.
    """
    session, p = found.session, found.parameters
    stable = p.shift.stable
    most = seconds + p.telemetry.delay_seconds + 3 * p.telemetry.period_seconds
    still_carries = bool(found.split.weights.get(stable, 0))  # then waiting cannot help
    for _ in session.looks(
        f"{stable} to be idle for {seconds} s", most, min(p.telemetry.period_seconds, 5)
    ):
        requests, witnessed = (
            _recent(found, idle.stable, seconds),
            _recent(found, idle.witness, seconds),
        )
        silent = witnessed and not requests
        if silent or still_carries or not session.applies or not waits:
            break
    return requests, witnessed


def _recent(found: Survey, series: Iterable[Series], seconds: int) -> int:
    """Count the requests of the last seconds that are complete by now."""
    session = found.session
    until = cloudwatch.complete_until(session, session.now())
    return sum(
        cloudwatch.read_requests(session, one, until - seconds, until) for one in series
    )


def _stable_can_carry_all(found: Survey, plan: Plan) -> Finding:
    """Once nothing divides the traffic, stable gets at once what the canary has."""
    p, weight = found.parameters, found.canary_weight
    stable, canary = p.shift.versions
    if not weight or found.retired:
        return Finding(True, "no traffic moves")
    counts = found.counts
    needed, running = max(1, counts[canary][1]), counts[stable][1]
    words = (
        f"{weight} % of the traffic goes from {canary} to {stable} in one go; "
        f"{stable} runs {counted(running, 'task')}, {canary} {counts[canary][1]}"
    )
    if running < needed and p.removal.callers_may_fail:
        allowed = "allowed by removal.callers_may_fail in the file"
        return Finding(True, f"{words}: {allowed}")
    hint = (
        f"let {stable} run {counted(needed, 'task')} at least, or roll back first: "
        f"`runbook rollback {found.session.named}`"
    )
    return Finding(running >= needed, words, hint)


_RUNS: Final = Looks(
    _canary_runs,
    again=_canary_still_runs,
    parts=("running",),
    parts_again=("counts",),
)
NEUTRAL: Final[Mapping[str, Looks]] = {
    Need.EARLIER_STEPS: Looks(_earlier_steps),
    Need.ERRORS_COUNTED: Looks(_errors_counted),
    Need.CANARY_READY: _RUNS,
    Need.NOT_RETIRED: _both(_not_retired, ("split",)),
    Need.STABLE_CARRIES_NOTHING: _both(_stable_carries_nothing, ("split",)),
    Need.CANARY_PROVEN: _both(_canary_proven, ()),
    Need.STABLE_IDLE: Looks(
        _stable_idle,
        again=partial(_stable_idle, waits=False),
        parts=("split", "running"),
        parts_again=("split", "running"),
    ),
    Need.UNREFERENCED: _both(_unreferenced, ("split", "references")),
    Need.CANARY_CARRIES_ALL: _RUNS,
    Need.STABLE_CAN_CARRY_ALL: _both(_stable_can_carry_all, ("split", "counts")),
}
"""How each condition is looked into that is no engine's own."""


# --- the path, after services were moved ----------------------------------------------


def evidence_of_path(found: Survey) -> Evidence:
    """Return whether calls take the engine's way now: each who counts
    on it counts some.
    """
    session, p, path = found.session, found.parameters, found.engine.path(found)
    if not session.connection.carries_traffic:
        return Evidence(path.name, True, NO_TRAFFIC)
    began, period = session.now(), p.telemetry.period_seconds
    counts: dict[str, int] = {}
    for _ in session.looks(
        path.name, p.telemetry.delay_seconds + 3 * period + 10, min(period, 5)
    ):
        until = cloudwatch.complete_until(session, session.now())
        for who, series in path.counted.items():
            counts[who] = sum(
                cloudwatch.read_requests(session, one, began, until) for one in series
            )
        if all(counts.values()):
            break
    good = all(counts.values())
    seen = (
        path.good
        if good
        else ", ".join(f"{who} {count}" for who, count in counts.items())
    )
    return Evidence(path.name, good, seen, path.hint)
