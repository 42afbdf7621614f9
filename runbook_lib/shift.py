"""Move the traffic from the stable service to the canary, one step at a time.

A generator that notebook, panel and command all iterate, and that yields one `Decision` after another: plan,
write, proof by traffic, bake, verdict. It names no engine and writes only through `apply`. However it ends,
traffic is served and the record says where it stands.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from runbook_lib import ecs, record, telemetry
from runbook_lib.apply import apply
from runbook_lib.approvals import approval_of, ran_out, require_approval
from runbook_lib.errors import CallError, Failed, GateError, Held, PrerequisiteError, RolledBack, StalePlanError
from runbook_lib.forecast import forecast, require_passable, separable, share_band
from runbook_lib.gates import evidence_for_shift
from runbook_lib.plan import Evidence, as_command, clear
from runbook_lib.session import Session
from runbook_lib.survey import survey
from runbook_lib.telemetry import Interval
from runbook_lib.trial import try_canary
from runbook_lib.verdict import Judgement, judge_all

__all__ = ["Decision", "plan_steps", "shift_traffic", "steps_left"]

Phase = Literal["planned", "tried", "rehearsed", "written", "proved", "watching", "judged", "rolled back"]
EXTENSIONS = 3  # bakes that an undecided step may take
CONFIDENCE = 0.99999  # of a band that is looked at again and again
LOOKED_BACK_SECONDS = 60
WAYS_BACK = 3  # tries, where somebody else writes the same thing in between


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided or seen at one moment; weights in percent, `share` the canary's, as a fraction.

    `requests` and `errors` are by service, since the step was written; share and band since it was real.
    """

    phase: Phase
    step: int
    weights: Mapping[str, int]
    words: str
    requests: Mapping[str, int] = field(default_factory=dict)
    errors: Mapping[str, int] = field(default_factory=dict)
    share: float | None = None
    band: tuple[float, float] | None = None
    verdict: str = ""
    at: float = 0.0


def steps_left(steps: Sequence[int], now: int) -> list[int]:
    """Return the steps above the weight the canary has now: a step that was passed is never taken again."""
    return [step for step in steps if step > now]


def plan_steps(session: Session) -> list[Decision]:
    """Plan every step that is left, without writing anything."""
    found, p = survey(session), session.parameters
    if found.split.state is None or found.lifecycle.retired:
        return []
    now = found.split.weights.get(p.shift.canary, 0)
    out = []
    for step in steps_left(p.shift.steps, now):
        out.append(Decision("planned", step, _weights(session, step), f"{now} → {step} %"))
        now = step
    return out


def _weights(session: Session, step: int) -> dict[str, int]:
    shift = session.parameters.shift
    return {shift.stable: 100 - step, shift.canary: step}


def shift_traffic(session: Session, *evidence: Evidence) -> Iterator[Decision]:
    """Take every step that is left, watching each; in plan mode write nothing.

    A run that was interrupted goes on from the live weights, with the evidence so far. Raises GateError before
    the first write where the evidence does not hold, Held where somebody must decide (weights stay), RolledBack
    once a FAIL was taken back.
    """
    if not evidence:
        raise GateError("shift: no evidence was given", hint="run the cells above again")
    for lacking in (e for e in evidence if e.name == "earlier steps" and not e.holds):  # with no route, no step is left
        raise PrerequisiteError(f"05_shift_traffic: {lacking.found}", hint=lacking.hint)
    if not session.applies:
        yield from plan_steps(session)
    elif session.connection.carries_traffic:
        yield from _Shift(session, evidence).run()
    else:
        yield from _unwatched(session, evidence)


def _unwatched(session: Session, evidence: Sequence[Evidence]) -> Iterator[Decision]:
    """On a control plane without traffic a weight can be read back, and nothing more."""
    for planned in plan_steps(session):
        apply(session, clear(survey(session).plan_weights(planned.weights), *evidence))
        yield Decision("written", planned.step, dict(survey(session).split.weights), f"{planned.words}, read back")


class _Shift:
    """One shift under way. What it knows it has read; what it writes is in the record."""

    def __init__(self, session: Session, evidence: Sequence[Evidence]) -> None:
        self.session, self.evidence, self.shift = session, tuple(evidence), session.parameters.shift
        self.found = survey(session)
        self.series = self.found.engine.series(session.parameters)
        self.journal = self._attempt()
        self.began = self._since("written", 0) or session.wall()
        self.step_began = self.began
        self.former, self.looked_until, self.real_since = 0, 0, 0
        self.seen: list[Interval] = []

    # the way

    def run(self) -> Iterator[Decision]:
        """Take every step that is left."""
        try:
            if self._is_left():
                with self.session.holding():
                    yield from self._steps()
        except KeyboardInterrupt:
            now = self._now()
            self.session.join_run().write("interrupted", weights=now)
            raise Held(
                f"interrupted: {now} stays as it is", hint="run again to go on, or `runbook undo` to go back"
            ) from None

    def _is_left(self) -> bool:
        """Say whether anything is left to do: a step to take, or one to go on watching."""
        if self.found.lifecycle.retired or self.found.split.state is None:
            return False
        now = self._live()
        return bool(steps_left(self.shift.steps, now)) or (now in self.shift.steps and not self._passed(now))

    def _steps(self) -> Iterator[Decision]:
        now = self._live()
        left = steps_left(self.shift.steps, now)
        if now == 0 and left and not self._is_prepared(left[0]):
            yield from self._prepare(left[0])
        elif now in self.shift.steps and not self._passed(now):
            self.step_began = self._since("written", now) or self.session.wall()
            self.former = max((step for step in self.shift.steps if step < now), default=0)
            yield from self._watch(now)
        for step in left:
            yield from self._write(step)
            yield from self._watch(step)

    def _is_prepared(self, step: int) -> bool:
        """Say whether all but an approval had been done, and it was given: a rehearsal would change its plan."""
        approved = approval_of(self.session, self.found.plan_weights(_weights(self.session, step)))
        return bool(approved and self.journal and self.journal[-1]["phase"] == "rehearsed")

    def _prepare(self, step: int) -> Iterator[Decision]:
        """Before users see the canary: try it with requests of its own, and rehearse the way back."""
        back = self.found.engine.plan_split(self.found.split, _weights(self.session, 0), rewrite=True)
        cleared = clear(back, *self.evidence, *self._hazards())
        self._require_passable(step)
        if self.shift.trial:
            yield self._told(Decision("tried", 0, self._now(), try_canary(self.session)))
        apply(self.session, cleared)
        yield self._told(Decision("rehearsed", 0, self._now(), "the way back was written once at weight 0"))

    def _write(self, step: int) -> Iterator[Decision]:
        self.found = survey(self.session)
        self.former = self.found.split.weights.get(self.shift.canary, 0)
        plan = self.found.plan_weights(_weights(self.session, step))
        evidence = (*(evidence_for_shift(self.found) if self.former else self.evidence), *self._hazards())
        if self.former:
            self._require_holding(evidence)
        if self.former and (expired := ran_out(self.session, step, plan)):
            yield from self._roll_back(Decision("watching", self.former, self._now(), ""), "approval", expired)
        require_approval(self.session, step, plan)
        self._require_passable(step)
        try:
            apply(self.session, clear(plan, *evidence))
        except StalePlanError as error:
            if not self.former:
                raise
            raise Held(f"before the next step: {error.message}", hint=error.hint) from None
        self.step_began = self.session.wall()
        self.began = self.began if self.former else self.step_began
        yield self._told(Decision("written", step, self._now(), f"{self.former} → {step} %, read back"))

    def _hazards(self) -> tuple[Evidence, Evidence]:
        """Return what would end a step at once: nobody to go back to, an alarm that rings or is not there."""
        stable = self.shift.stable
        wanted, running = ecs.read_counts(self.session, (stable,))[stable]
        states = telemetry.read_alarms(self.session, self.shift.alarms)
        bad = [f"{name} is {state}" for name, state in states.items() if state in ("ALARM", "MISSING")]
        words = f"{stable} runs {running} of {wanted} task(s)"
        return (
            Evidence("a way back", 0 < wanted <= running, words, "it must be able to take everything back, until 06"),
            Evidence("alarms", not bad, ", ".join(bad) or "none of them rings", "settle it, or correct shift.alarms"),
        )

    def _require_holding(self, evidence: Sequence[Evidence]) -> None:
        """Between two steps a claim that no longer holds is a hold: users are on the canary already."""
        failing = [e for e in evidence if not e.holds]
        if failing:
            words = "; ".join(f"{e.name}: {e.found}" for e in failing)
            raise Held(f"before the next step: {words}", hint="; ".join(e.hint for e in failing if e.hint))

    def _require_passable(self, step: int) -> None:
        """Refuse a bake that this traffic could never make PASS; Held where no traffic is seen at all."""
        rate, errors = self._traffic()
        if rate == 0:
            raise Held(
                f"no request to {self.shift.name} was counted in the last {LOOKED_BACK_SECONDS} s",
                hint="metrics are missing, or nobody calls: see 04's sidecars and the metric extension",
            )
        rule = self.shift.verdict
        seen = forecast(
            rate,
            step,
            errors,
            self.shift.bake_seconds * (EXTENSIONS if rule.on_inconclusive == "extend" else 1),
            alpha=rule.alpha,
            detectable_increase=rule.detectable_increase,
            ignored_increase=rule.ignored_increase,
            power=rule.power,
        )
        try:
            require_passable(seen, allow=self.shift.allow_unprovable)
        except GateError as error:
            if not self.former:
                raise
            raise Held(f"before the next step: {error.message}", hint=error.hint) from None

    def _traffic(self) -> tuple[float, float]:
        """Return requests per second and stable's error rate of late, waiting for the first figures."""
        end = self.session.wall() + self._patience()
        while True:
            until = telemetry.complete_until(self.session, self.session.wall())
            seen = telemetry.read_intervals(self.session, self.series, until - LOOKED_BACK_SECONDS, until)
            busy = [i for i in seen if i.requests]
            if busy or self.session.wall() > end:
                break
            self._pause()
        total = sum(i.requests for i in busy)
        seconds = max(until - busy[0].start, 1) if busy else 1
        stable = sum(i.errors.stable_requests for i in busy)
        return total / seconds, sum(i.errors.stable_errors for i in busy) / max(stable, 1)

    # what traffic shows

    def _watch(self, step: int) -> Iterator[Decision]:
        """Wait until traffic shows the weight, then bake; every interval may end it."""
        proved, self.real_since = 0.0, 0
        end = self.session.wall() + self.shift.prove_seconds
        bake = float(self.shift.bake_seconds)
        while True:
            seen = self._look()
            over = bool(proved) and self._data_until() >= proved + bake
            judgement = self._judge(bake_over=over)
            decision = self._decision("watching", step, seen, judgement)
            yield from self._check_world(step, decision)
            if judgement.outcome == "FAIL":
                yield from self._roll_back(decision, "verdict", judgement.reason)
            if not proved and (real_since := self._real_since(step, seen)):
                proved, self.real_since = self.session.wall(), real_since
                yield self._told(self._decision("proved", step, seen, judgement))
            elif over:
                yield from self._end(decision, judgement, bake)
                if judgement.outcome == "PASS":
                    return
                bake += self.shift.bake_seconds
            elif not proved and self.session.wall() > end:
                yield from self._hold(decision, "unproved", self._unproved(step, seen))
            else:
                yield decision
            self._next_interval()

    def _end(self, decision: Decision, judgement: Judgement, bake: float) -> Iterator[Decision]:
        """End a bake: PASS goes on; undecided is extended, held or taken back, as the parameters say."""
        rule = self.shift.verdict.on_inconclusive
        if judgement.outcome == "PASS":
            yield self._told(_judged(decision, "PASS", judgement.reason))
        elif rule == "roll_back":
            yield from self._roll_back(decision, "inconclusive", judgement.reason)
        elif rule == "hold" or bake >= EXTENSIONS * self.shift.bake_seconds:
            yield self._told(_judged(decision, "INCONCLUSIVE", judgement.reason))
            self.session.join_run().write("ended", word="inconclusive")
            raise Held(f"{decision.step} %: {judgement.reason}", hint="run 05 again to watch longer, or roll back")
        else:
            yield _judged(decision, "INCONCLUSIVE", f"{judgement.reason}; the bake is extended")

    def _real_since(self, step: int, seen: Sequence[Interval]) -> int:
        """Return since when requests fit the new weight and could not be the former one's; 0 where they do not yet."""
        for first, interval in enumerate(seen):
            n, share = _share(seen[first:])
            low, high = share_band(step, n, CONFIDENCE)
            if share is not None and low <= share <= high and separable(self.former, step, n):
                return interval.start
        return 0

    def _unproved(self, step: int, seen: Sequence[Interval]) -> str:
        n, share = _share(seen)
        if share is None:
            return f"no request was counted in {self.shift.prove_seconds} s: the weight cannot be proved"
        low, high = share_band(step, n, CONFIDENCE)
        band = f"{low:.1%} to {high:.1%} of {n} requests were expected"
        return f"after {self.shift.prove_seconds} s the canary's share is {share:.1%}; {band}: the weight has no effect"

    def _look(self) -> list[Interval]:
        """Read the whole intervals since the first step, and return this step's."""
        self.looked_until = self._data_until()
        self.seen = telemetry.read_intervals(self.session, self.series, self.began, self.looked_until)
        return [interval for interval in self.seen if interval.start >= self.step_began]

    def _next_interval(self) -> None:
        """Wait until there is a whole interval that was not looked at yet."""
        while self._data_until() <= self.looked_until:
            self._pause()

    def _judge(self, *, bake_over: bool) -> Judgement:
        rule = self.shift.verdict
        metrics = {"errors": [i.errors for i in self.seen]}
        if rule.slow_millis:
            metrics["slow"] = [i.slow for i in self.seen]
        settings = {
            "alpha": rule.alpha,
            "detectable_increase": rule.detectable_increase,
            "ignored_increase": rule.ignored_increase,
            "power": rule.power,
            "bake_over": bake_over,
        }
        counted = {"slow": f"slower than {rule.slow_millis} ms"} if rule.slow_millis else None
        judgement = judge_all(
            metrics,
            muted=[m for m in rule.muted if m in metrics],
            ceilings={"errors": rule.ceiling} if rule.ceiling else None,
            counted=counted,
            **settings,  # type: ignore[arg-type]
        )
        if judgement.outcome == "FAIL" or bake_over:
            counts = {name: [s.counts for s in samples] for name, samples in metrics.items()}
            extra = {"muted": rule.muted, "ceiling": rule.ceiling, "counted": counted}
            said = {"outcome": judgement.outcome, "reason": judgement.reason}
            self.session.join_run().write("judged", samples=counts, settings={**settings, **extra}, **said)
        return judgement

    # hazards

    def _check_world(self, step: int, decision: Decision) -> Iterator[Decision]:
        """Look at what else can end a step: a foreign edit, missing tasks, an alarm."""
        yield from self._check_weights(step, decision)
        tasks = ecs.read_counts(self.session, (self.shift.stable, self.shift.canary))
        if tasks[self.shift.stable][1] == 0:
            words = f"{self.shift.stable} has no running task: nobody could take the traffic back"
            yield from self._hold(decision, "stable_tasks", words)
        if tasks[self.shift.canary][1] == 0:
            yield from self._roll_back(decision, "canary_tasks", f"{self.shift.canary} has no running task")
        alarms = telemetry.read_alarms(self.session, self.shift.alarms)
        ringing = [name for name, state in alarms.items() if state == "ALARM"]
        if ringing:
            yield from self._roll_back(decision, "alarm", f"in ALARM: {', '.join(ringing)}")

    def _check_weights(self, step: int, decision: Decision) -> Iterator[Decision]:
        self.found = survey(self.session)
        live = dict(self.found.split.weights)
        if live != _weights(self.session, step):
            yield from self._hold(decision, "foreign_change", f"somebody changed the weights to {live}")

    def _hold(self, decision: Decision, word: str, words: str) -> Iterator[Decision]:
        yield self._told(_judged(decision, "INCONCLUSIVE", f"{word}: {words}"))
        self.session.join_run().write("ended", word=word)
        raise Held(f"{decision.step} %: {words}", hint="weights stay; settle it, then run 05 again, or `runbook undo`")

    def _roll_back(self, decision: Decision, word: str, words: str) -> Iterator[Decision]:
        """Go back to weight 0 in one write that nothing but the plan's own check can stop; then verify it."""
        for _ in range(WAYS_BACK):
            plan = self.found.plan_weights(_weights(self.session, 0))
            try:
                apply(self.session, clear(plan))
                break
            except StalePlanError:  # somebody wrote just now: what else they changed is kept, weights are theirs
                yield from self._check_weights(decision.step, decision)
            except Failed as error:
                by_hand = "\n".join(as_command(change.call) for change in plan)
                raise Failed(f"the way back failed: {error.message}\nby hand:\n{by_hand}", hint=error.hint) from error
        else:
            raise Failed(f"the way back failed: somebody writes it all the time; {self._now()} stays", hint="run again")
        harmed = decision.errors.get(self.shift.canary, 0)
        told = f"{word}: {words}; back to 0 % in one write, at most {harmed} request(s) harmed{self._shown_back()}"
        self.session.join_run().write("ended", word=word)
        yield self._told(_judged(decision, "FAIL", told, weights=_weights(self.session, 0)))
        raise RolledBack(
            f"{decision.step} %: {told}", hint="mend the canary, then run 05 again: it starts at the first step"
        )

    def _shown_back(self) -> str:
        """Return in words what traffic lacks to show the way back: nothing once an interval has none of canary's."""
        try:
            return "" if self._is_back() else "; traffic has not shown it yet"
        except CallError as error:  # the way back is made and read back: that nobody could watch it is no failure of it
            return f"; traffic could not be looked at: {error.message}"

    def _is_back(self) -> bool:
        """Wait until a whole interval has requests and none of them is the canary's."""
        began, end = self.session.wall(), self.session.wall() + self.shift.prove_seconds
        while self.session.wall() < end:
            seen = telemetry.read_intervals(self.session, self.series, began, self._data_until())
            if any(i.requests and not i.errors.canary_requests for i in seen):
                return True
            self._pause()
        return False

    # small words

    def _decision(self, phase: Phase, step: int, seen: Sequence[Interval], judgement: Judgement) -> Decision:
        n, share = _share([i for i in seen if i.start >= self.real_since])
        requests = {
            self.shift.stable: sum(i.errors.stable_requests for i in seen),
            self.shift.canary: sum(i.errors.canary_requests for i in seen),
        }
        errors = {
            self.shift.stable: sum(i.errors.stable_errors for i in seen),
            self.shift.canary: sum(i.errors.canary_errors for i in seen),
        }
        band = share_band(step, n, CONFIDENCE)
        words = judgement.reason
        if phase == "proved":
            words = f"{step} % is real: {share:.1%} of {n} requests, {band[0]:.1%} to {band[1]:.1%} expected"
        weights = _weights(self.session, step)
        return Decision(
            phase, step, weights, words, requests, errors, share, band, judgement.outcome, self.session.wall()
        )

    def _told(self, decision: Decision) -> Decision:
        """Write a decision down, and return it."""
        decision = replace(decision, at=self.session.wall())
        self.session.join_run().write("decision", **asdict(decision))
        return decision

    def _attempt(self) -> list[dict[str, Any]]:
        """Return the newest attempt's decisions: those of the newest run that has any, since its last rehearsal."""
        p = self.session.parameters
        for run in record.runs(p.environment, p.records, p.target):
            decisions = [line for line in run.lines() if line["event"] == "decision"]
            rehearsed = (n for n, line in enumerate(decisions) if line["phase"] == "rehearsed")
            if decisions:
                return decisions[max(rehearsed, default=0) :]
        return []

    def _since(self, phase: str, step: int) -> float | None:
        """Return when this attempt wrote a step (any, for 0), as the record has it."""
        times = [x["at"] for x in self.journal if x["phase"] == phase and step in (0, x["step"])]
        return (times[0] if step == 0 else times[-1]) if times else None

    def _passed(self, step: int) -> bool:
        """Say whether the newest attempt ended this step with a PASS."""
        last = self.journal[-1] if self.journal else {"step": 0, "verdict": ""}
        return (last["step"], last["verdict"]) == (step, "PASS")

    def _now(self) -> dict[str, int]:
        return dict(survey(self.session).split.weights)

    def _live(self) -> int:
        return self._now().get(self.shift.canary, 0)

    def _data_until(self) -> int:
        return telemetry.complete_until(self.session, self.session.wall())

    def _patience(self) -> float:
        grain = self.session.parameters.telemetry
        return grain.delay_seconds + 3 * grain.period_seconds + 10

    def _pause(self) -> None:
        self.session.sleep(min(max(self.session.parameters.telemetry.period_seconds / 4, 0.2), 5.0))


def _judged(decision: Decision, verdict: str, words: str, weights: Mapping[str, int] | None = None) -> Decision:
    phase: Phase = "judged" if weights is None else "rolled back"
    return replace(decision, phase=phase, verdict=verdict, words=words, weights=weights or decision.weights)


def _share(seen: Sequence[Interval]) -> tuple[int, float | None]:
    """Return all requests of some intervals, and the canary's share of them."""
    total = sum(i.requests for i in seen)
    return total, sum(i.errors.canary_requests for i in seen) / total if total else None
