"""Look into the claims a plan needs before it may be applied.

Each gate takes one look at the environment and returns `Evidence`; none of them changes
or decides anything: `clear` does, and refuses. What protects traffic is looked at again
by `apply`, with a fresh survey. What only an engine can know, its own gates say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial

from runbook_lib.aws import cloudwatch
from runbook_lib.aws.series import Series
from runbook_lib.engines.protocol import Before, Gate, Idle, Part
from runbook_lib.judging import error_judge
from runbook_lib.plan import Evidence, Plan
from runbook_lib.printable import counted
from runbook_lib.runs.history import doubt
from runbook_lib.survey import Survey, survey

__all__ = [
    "evidence_for_removal",
    "evidence_for_retirement",
    "evidence_for_services",
    "evidence_for_shift",
    "evidence_for_step",
    "evidence_of_path",
]

Claim = Callable[[Survey], Evidence]
"""One condition that must hold before a write, as a function of a look
at the environment.
"""


# --- before each notebook -------------------------------------------------------------


def evidence_for_step(found: Survey, plan: Plan) -> tuple[Evidence, ...]:
    """Return whether the earlier notebooks have been applied, and whether callers will
    be led to somebody.

    In plan mode earlier notebooks are assumed to be applied.
    """
    return (_earlier(found, plan.assumed), *_engines_own(found, "resources", plan))


def evidence_for_services(found: Survey, plan: Plan) -> tuple[Evidence, ...]:
    """Return whether services could run behind the engine, and callers
    would be answered there.
    """
    return (_earlier(found, plan.assumed), *_engines_own(found, "services", plan))


def evidence_for_shift(found: Survey) -> tuple[Evidence, ...]:
    """Return whether a weight would have the effect it says, and somebody
    counts what comes of it.
    """
    canary = found.parameters.shift.canary
    ready = partial(_ready, service=canary, name="canary ready")
    still_ready = partial(_runs, service=canary, name="canary ready")
    own = found.engine.gates(found, "shift")
    claims: list[Claim] = [*map(_claim_of, own), ready, _not_retired, _counted]
    again: list[Claim] = [*_protecting(own), still_ready, _not_retired]
    found.ahead("split", "live", "running", "counts", *_parts(own))
    earlier = _earlier(found, found.plan_resources("04").assumed)
    anew = ("split", "counts", *_parts(own, protecting=True))
    return (earlier, *_looked(found, claims, again=again, anew=anew))


def evidence_for_retirement(found: Survey) -> tuple[Evidence, ...]:
    """Return whether the stable service can go without anybody noticing."""
    canary = found.parameters.shift.canary
    carries = partial(_ready, service=canary, name="canary carries all")
    still_carries = partial(_runs, service=canary, name="canary carries all")
    still_quiet = partial(_quiet, waits=False)
    own = found.engine.gates(found, "retirement")
    claims: list[Claim] = [_carries_nothing, _proven, _quiet, _unreferenced, carries]
    again: list[Claim] = [
        _carries_nothing,
        _proven,
        still_quiet,
        _unreferenced,
        still_carries,
    ]
    parts: tuple[Part, ...] = ("split", "running", "counts", "references", *_parts(own))
    return _looked(
        found.ahead(*parts),
        [*claims, *map(_claim_of, own)],
        again=[*again, *_protecting(own)],
        anew=parts,
    )


def evidence_for_removal(found: Survey) -> tuple[Evidence, ...]:
    """Return whether callers can do without the engine: each name they dial leads to
    tasks that can carry it all.
    """
    own = found.engine.gates(found, "removal")
    parts: tuple[Part, ...] = ("split", "counts", *_parts(own))
    return _looked(
        found.ahead(*parts),
        [*map(_claim_of, own), _can_carry_all],
        again=[*_protecting(own), _can_carry_all],
        anew=parts,
    )


def _looked(
    found: Survey,
    claims: Sequence[Claim],
    *,
    again: Sequence[Claim],
    anew: Sequence[Part],
) -> tuple[Evidence, ...]:
    """Look into claims now; `again` are those that protect traffic, which `apply`
    looks into once more, with the parts of a look that are read `anew` for them.
    """

    def look_again() -> tuple[Evidence, ...]:
        fresh = survey(found.session).ahead(*anew)
        return tuple(claim(fresh) for claim in again)

    return tuple(replace(claim(found), again=look_again) for claim in claims)


# --- the engine's own -----------------------------------------------------------------


def _engines_own(found: Survey, before: Before, plan: Plan) -> tuple[Evidence, ...]:
    """Look into the engine's own gates; each that protects traffic is
    looked at again by itself.
    """
    evidence: list[Evidence] = []
    own = found.engine.gates(found, before, plan)
    found.ahead(*_parts(own))
    for gate in own:
        claim = _claim_of(gate)
        if gate.protects:
            evidence += _looked(found, [claim], again=[claim], anew=gate.parts)
        else:
            evidence.append(claim(found))
    return tuple(evidence)


def _protecting(own: Iterable[Gate]) -> list[Claim]:
    return [_claim_of(gate) for gate in own if gate.protects]


def _parts(own: Iterable[Gate], *, protecting: bool = False) -> tuple[Part, ...]:
    """Return the parts of a look that gates need; or those that protect traffic."""
    wanted = [gate for gate in own if gate.protects or not protecting]
    return tuple(dict.fromkeys(part for gate in wanted for part in gate.parts))


def _claim_of(gate: Gate) -> Claim:
    """Return an engine's gate as a claim; what it cannot verify here stops nobody."""

    def look(found: Survey) -> Evidence:
        finding = gate.look(found)
        holds = finding.holds is not False
        if gate.assumable:
            return _claim(found, gate.name, holds, finding.found, finding.hint)
        return Evidence(gate.name, holds, finding.found, finding.hint)

    return look


# --- what every engine needs ----------------------------------------------------------


def _claim(found: Survey, name: str, holds: bool, words: str, hint: str) -> Evidence:
    """In plan mode an earlier step that is missing is assumed
    applied, and said to be.
    """
    if not holds and not found.session.applies:
        return Evidence(name, True, f"assumed, since {words}")
    return Evidence(name, holds, words, "" if holds else hint)


def _earlier(found: Survey, missing: tuple[str, ...]) -> Evidence:
    what = f"missing: {', '.join(missing)}" if missing else "all of them are applied"
    return _claim(
        found, "earlier steps", not missing, what, "run the notebooks named there first"
    )


def _counted(found: Survey) -> Evidence:
    """A canary whose errors nobody counts would pass whatever it answers."""
    p = found.parameters
    judge = error_judge(p.shift, found.engine.counted(p))
    return Evidence("errors are counted", judge.by != "nobody", judge.words, judge.hint)


def _ready(found: Survey, service: str, name: str) -> Evidence:
    state = found.running[service].state
    if state is None:
        return _claim(found, name, False, f"{service} has no ECS service", "deploy it")
    return _all_run(service, name, state["desiredCount"], state["runningCount"])


def _runs(found: Survey, service: str, name: str) -> Evidence:
    """Return the same by one call, which reads nothing of its definition."""
    return _all_run(service, name, *found.counts[service])


def _all_run(service: str, name: str, wanted: int, running: int) -> Evidence:
    words = f"{service} runs {running} of {counted(wanted, 'task')}"
    return Evidence(
        name,
        0 < wanted <= running,
        words,
        "wait for its tasks, or look at the service's events",
    )


def _carries_nothing(found: Survey) -> Evidence:
    shift, weights = found.parameters.shift, found.split.weights
    stable, canary = weights.get(shift.stable, 0), weights.get(shift.canary, 0)
    divided = f"{shift.stable} has {stable} %, {shift.canary} has {canary} %"
    gone = (stable, canary) == (0, 100)
    return _claim(
        found, "stable carries nothing", gone, divided, "finish the shift first"
    )


def _unreferenced(found: Survey) -> Evidence:
    others = ", ".join(key for key in found.references if key != found.split.key)
    words = others or f"only its own {found.split.kind}"
    return Evidence(
        "nothing else refers to it", not others, words, "take it out of those first"
    )


def _not_retired(found: Survey) -> Evidence:
    retired = ", ".join(sorted(found.retired))
    words = f"retired: {retired}" if retired else "nobody is"
    return Evidence("not retired", not retired, words, "only undo brings it back")


def _proven(found: Survey) -> Evidence:
    """The canary was judged at the last step: that it carries everything is no proof
    that it does so well.
    """
    session, p, name = found.session, found.parameters, "canary proven"
    if not session.connection.carries_traffic:
        return Evidence(name, True, "there is no traffic here to judge by")
    words = doubt(session)
    passed = not words
    hint = (
        "run 05 until it has, from the first step if need be; or say in the file that "
        "you know better: "
    )
    hint += "retirement: {allow_unjudged: true}"
    if p.retirement.allow_unjudged and not passed:
        return Evidence(name, True, f"{words}, and the file allows it")
    return _claim(
        found, name, passed, f"PASS at {p.shift.steps[-1]} %" if passed else words, hint
    )


def _quiet(found: Survey, *, waits: bool = True) -> Evidence:
    """Nobody sends the stable service anything any more, as far back as requests are
    known to be counted.

    That this is no mere lack of metrics is shown by a witness, the canary's requests,
    which are counted in the same window and in the same way.
    """
    session, p, name = found.session, found.parameters, "stable is idle"
    stable, canary = p.shift.stable, p.shift.canary
    if not session.connection.carries_traffic:
        return Evidence(name, True, "there is no traffic here to look at")
    # this notebook was cut short behind its end
    if found.running[stable].state is None:
        return Evidence(name, True, f"{stable} has no ECS service any more")
    idle = found.engine.idle(found)
    seconds = max(p.retirement.quiet_seconds, idle.least_seconds)
    requests, witnessed = _awaited_silence(found, idle, seconds, waits=waits)
    if not witnessed:
        words = (
            f"nothing is counted: {canary} had no request in the last "
            f"{seconds} s either"
        )
        return _claim(found, name, False, words, idle.uncounted_hint)
    if idle.blind:
        return _claim(found, name, False, idle.blind, idle.blind_hint)
    came = counted(requests, "request") if requests else "no request"
    words = f"{came} in the last {seconds} s, while {canary}'s are counted"
    return _claim(found, name, requests == 0, words, idle.called_hint)


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


def evidence_of_path(found: Survey) -> Evidence:
    """Return whether calls take the engine's way now: each who counts
    on it counts some.
    """
    session, p, path = found.session, found.parameters, found.engine.path(found)
    if not session.connection.carries_traffic:
        return Evidence(path.name, True, "there is no traffic here to look at")
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


def _can_carry_all(found: Survey) -> Evidence:
    """Without the mesh nobody divides the traffic: what the canary carries goes
    to stable in one go.
    """
    p, name = found.parameters, "stable can carry all"
    stable, canary, weight = p.shift.stable, p.shift.canary, found.canary_weight
    if not weight or found.retired:
        return Evidence(name, True, "no traffic changes sides")
    counts = found.counts
    needed, running = max(1, counts[canary][1]), counts[stable][1]
    words = f"{weight} % of the traffic goes from {canary} to {stable} in one go; "
    words += f"{stable} runs {counted(running, 'task')}, {canary} {counts[canary][1]}"
    hint = f"let {stable} run {counted(needed, 'task')} at least"
    hint += f", or roll back first: `runbook rollback {found.session.named}`"
    return Evidence(name, running >= needed or p.removal.callers_may_fail, words, hint)
