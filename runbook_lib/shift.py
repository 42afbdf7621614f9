"""Move the traffic from the stable service to the canary, one step at a time.

A generator that notebook, panel and command all iterate, and that yields one `Decision` after another: plan,
write, proof by traffic, bake, verdict. It names no engine and writes only through `apply`. However it ends,
traffic is served and the record says where it stands.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from runbook_lib import ecs, telemetry
from runbook_lib.apply import apply
from runbook_lib.approvals import approval_of, ran_out, require_approval
from runbook_lib.decision import Decision, Phase, write_down
from runbook_lib.errors import (
    CallError,
    Failed,
    ForeignChangeError,
    GateError,
    Held,
    PrerequisiteError,
    RollbackError,
    RolledBack,
    StalePlanError,
)
from runbook_lib.gates import evidence_for_shift
from runbook_lib.hazards import Hazard, Hazards
from runbook_lib.history import read_attempt
from runbook_lib.judging import counts_of, error_judge, settings_of
from runbook_lib.outlook import credentials_end_first, require_steps_passable
from runbook_lib.plan import Evidence, Plan, as_command, clear
from runbook_lib.proof import became_real, drifted, seen_of
from runbook_lib.session import Session
from runbook_lib.survey import survey
from runbook_lib.telemetry import Interval
from runbook_lib.trial import end_trial, try_canary
from runbook_lib.verdict import Judgement, judge_all
from runbook_lib.wording import divided

__all__ = ["go_back", "plan_steps", "shift_traffic", "steps_left", "take_step", "unpassed"]

UNDECIDED = ("inconclusive", "approval")  # why a canary goes back that nothing speaks against
WAYS_BACK = 3  # tries, where somebody else writes the same thing in between, or AWS is throttling


def steps_left(steps: Sequence[int], now: int) -> list[int]:
    """Return the steps above the weight the canary has now: a step that was passed is never taken again."""
    return [step for step in steps if step > now]


def plan_steps(session: Session) -> list[Decision]:
    """Plan every step that is left, without writing anything."""
    found, p = survey(session), session.parameters
    if found.split.state is None or found.retired:
        return []
    now = found.canary_weight
    out = []
    for step in steps_left(p.shift.steps, now):
        out.append(Decision("planned", step, p.shift.weights_at(step), f"{now} → {step} %"))
        now = step
    return out


def shift_traffic(session: Session, *evidence: Evidence) -> Iterator[Decision]:
    """Take every step that is left, watching each; in plan mode write nothing.

    A run that was interrupted goes on from the live weights, with the evidence so far. Raises GateError before
    the first write where the evidence does not hold, Held where somebody must decide (weights stay), RolledBack
    once a FAIL was taken back, RollbackError where it could not be.
    """
    _require_evidence(evidence)
    if not session.applies:
        yield from plan_steps(session)
    elif session.connection.carries_traffic:
        yield from _Shift(session, evidence).run()
    else:
        for planned in plan_steps(session):
            yield _unwatched(session, planned.step, evidence)


def take_step(session: Session, step: int, shown: Plan, *evidence: Evidence) -> Iterator[Decision]:
    """Write one step as `shift_traffic` does, gates, trial and rehearsal included, and leave the watching to it.

    Raises StalePlanError where `shown`, the plan somebody looked at, is no longer what would be written.
    """
    _require_evidence(evidence)
    if survey(session).plan_step(step) != shown:
        raise StalePlanError(f"{step} %: it is no longer what was planned against", hint="look at the new plan first")
    if session.connection.carries_traffic:
        yield from _Shift(session, evidence).take(step)
    else:
        yield _unwatched(session, step, evidence)


def unpassed(session: Session, now: int, step: int) -> str:
    """Say what must pass before a step may be taken by hand: the weight users are on now; "" where nothing must."""
    must = step > now > 0 and session.connection.carries_traffic and not _passed(read_attempt(session), now)
    return f"{now} % has not passed yet: run the cell below, which watches it and goes on by itself" if must else ""


def _passed(journal: Sequence[Mapping[str, Any]], step: int) -> bool:
    """Say whether an attempt ended this step with a PASS."""
    return bool(journal) and (journal[-1]["step"], journal[-1]["verdict"]) == (step, "PASS")


def go_back(session: Session) -> Decision | None:
    """Put all traffic back on stable in one write, because somebody says so; None where all of it is there.

    A shift under way ends by it.
    """
    found, back = survey(session), session.parameters.shift.weights_at(0)
    if not apply(session, clear(found.plan_step(0))):
        return None
    words = "by hand: back to 0 % in one write"
    return write_down(session, Decision("rolled back", found.canary_weight, back, words, at=session.wall()))


def _require_evidence(evidence: Sequence[Evidence]) -> None:
    if not evidence:
        raise GateError("shift: no evidence was given", hint="run the cells above again")
    for lacking in (e for e in evidence if e.name == "earlier steps" and not e.holds):  # with no route, no step is left
        raise PrerequisiteError(f"05_shift_traffic: {lacking.found}", hint=lacking.hint)


def _unwatched(session: Session, step: int, evidence: Sequence[Evidence]) -> Decision:
    """On a control plane without traffic a weight can be read back, and nothing more."""
    found = survey(session)
    former = found.canary_weight
    plan = found.plan_step(step)
    require_approval(session, step, plan, former)
    apply(session, clear(plan, *evidence, *evidence_for_shift(found)))
    words = f"{former} → {step} %, read back"
    return write_down(session, Decision("written", step, dict(survey(session).split.weights), words))


class _Shift:
    """One shift under way. What it knows it has read; what it writes is in the record."""

    def __init__(self, session: Session, evidence: Sequence[Evidence]) -> None:
        self.session, self.evidence, self.shift = session, tuple(evidence), session.parameters.shift
        self.found = survey(session)
        self.series = self.found.engine.series(session.parameters)
        self.error_judge = error_judge(self.shift, self.found.engine.counted(session.parameters))
        self.journal = read_attempt(session)
        self.hazards = Hazards(session, self.journal)
        self.began = self._since("written", 0) or session.wall()
        self.step_began = self.began
        self.former, self.looked_until = 0, 0
        self.seen: list[Interval] = []
        self.real_since = 0  # of the step under way; 0 until traffic has proved it
        self.judged: dict[str, Any] = {}  # the newest judgement as it is written down, empty once it was

    # the way

    def run(self) -> Iterator[Decision]:
        """Take every step that is left."""
        if self._is_left():
            with self._under_way():
                yield from self._steps()

    def take(self, step: int) -> Iterator[Decision]:
        """Write one step, and do not watch it; what was taken before it must have passed."""
        now = self._live()
        if words := unpassed(self.session, now, step):
            raise GateError(words)
        with self._under_way():
            if now == 0 and not self._is_prepared(step):
                yield from self._prepare([step])
            yield from self._write(step)

    @contextmanager
    def _under_way(self) -> Iterator[None]:
        """Hold the environment meanwhile; an interrupt leaves the weights, and says so."""
        self.hazards.begin()
        try:
            with self.session.holding():
                yield
        except KeyboardInterrupt:
            run, now = self.session.join_run(), self._now()
            run.write("interrupted", weights=now)
            words, hint = f"interrupted: {divided(now)} stays as it is", f"run 05 again to go on, or {_undo(run.id)}"
            raise Held(words, hint=hint, reason="interrupted") from None

    def _is_left(self) -> bool:
        """Say whether anything is left to do: a step to take, or one to go on watching."""
        if self.found.retired or self.found.split.state is None:
            return False
        now, last = self._live(), self.shift.steps[-1]
        unwatched = 0 < now <= last and not _passed(self.journal, now) and (now < last or bool(self.journal))
        return bool(steps_left(self.shift.steps, now)) or unwatched

    def _steps(self) -> Iterator[Decision]:
        now = self._live()
        left = steps_left(self.shift.steps, now)
        if now == 0 and left and not self._is_prepared(left[0]):
            yield from self._prepare(left)
        elif now and not _passed(self.journal, now):
            self.step_began = self._since("written", now) or self.session.wall()
            self.former = max((step for step in self.shift.steps if step < now), default=0)
            yield from self._watch(now)
        for step in left:
            yield from self._write(step)
            yield from self._watch(step)

    def _is_prepared(self, step: int) -> bool:
        """Say whether all but an approval had been done, and it was given."""
        approved = approval_of(self.session, self.found.plan_step(step))
        return bool(approved and self.journal and self.journal[-1]["phase"] == "rehearsed")

    def _prepare(self, steps: Sequence[int]) -> Iterator[Decision]:
        """Before users see the canary: try it with requests of its own, keep stable's tasks, rehearse the way back."""
        evidence = (*self.evidence, *evidence_for_shift(self.found), *self.hazards.evidence())
        back = self.found.engine.plan_split(self.found.split, self.shift.weights_at(0), rewrite=True)
        cleared = clear(back, *evidence)
        require_steps_passable(self.found, *steps)
        running = ecs.read_counts(self.session, (self.shift.stable,))[self.shift.stable][1]
        if self.shift.trial:
            yield self._told(Decision("tried", 0, self._now(), try_canary(self.session)))
        else:
            end_trial(self.session)  # one that was killed while the file still asked for it
        kept = apply(self.session, clear(self.found.plan_capacity(running)))
        apply(self.session, cleared)
        words = "the way back was written once at weight 0"
        words += f"; {self.shift.stable} keeps at least {running} task(s)" if kept else ""
        yield self._told(Decision("rehearsed", 0, self._now(), words, tasks={self.shift.stable: running}))

    def _write(self, step: int) -> Iterator[Decision]:
        self.found = survey(self.session)
        self.former = self.found.canary_weight
        plan = self.found.plan_step(step)
        evidence = (*evidence_for_shift(self.found), *self.hazards.evidence()) if step > self.former else ()
        if evidence:
            self._require_holding(evidence)
            if self.former and (expired := ran_out(self.session, step, plan)):
                yield from self._roll_back(Decision("watching", self.former, self._now(), ""), "approval", expired)
            require_approval(self.session, step, plan, self.former)
        try:
            if evidence:
                require_steps_passable(self.found, step)
            apply(self.session, clear(plan, *evidence))
        except (GateError, StalePlanError) as error:  # whatever was written before this step is no refusal any more
            raise Held(f"before the next step: {error.message}", hint=error.hint, reason=error.reason) from None
        self.step_began = self.session.wall()
        self.began = self.began if self.former else self.step_began
        words = [f"{self.former} → {step} %, read back", credentials_end_first(self.session)]
        yield self._told(Decision("written", step, self._now(), "; ".join(filter(None, words))))

    def _require_holding(self, evidence: Sequence[Evidence]) -> None:
        """Once a trial was made or users are on the canary, a claim that no longer holds is a hold."""
        failing = [e for e in evidence if not e.holds]
        if failing:
            words = "; ".join(f"{e.name}: {e.found}" for e in failing)
            hint = "; ".join(e.hint for e in failing if e.hint)
            raise Held(f"before the next step: {words}", hint=hint, reason="gate")

    # what traffic shows

    def _watch(self, step: int) -> Iterator[Decision]:
        """Wait until traffic shows the weight, then bake; every interval may end it."""
        proved, self.real_since = 0.0, 0
        end = self.session.wall() + self.shift.prove_seconds
        bake = float(self.shift.bake_seconds)
        while True:
            seen = self._look()
            over = bool(proved) and self._data_until() >= proved + bake
            judgement = self._judge(step, bake_over=over)
            decision = self._decision("watching", step, seen, judgement)
            self.found = survey(self.session)
            yield from self._meet(self.hazards.first(self.found, step), decision)
            if judgement.outcome == "FAIL":
                yield from self._roll_back(decision, "verdict", judgement.reason)
            if not proved:
                if self._proves(step, seen):
                    proved = self.session.wall()
                    yield self._told(self._decision("proved", step, seen, judgement))
                elif self.session.wall() > end:
                    yield from self._hold(decision, "unproved", self._unproved(step, seen))
                else:
                    yield decision
            else:
                yield from self._check_share(step, decision)
                if not over:
                    yield decision
                elif (yield from self._end(decision, judgement, bake)):
                    return
                else:
                    bake += self.shift.bake_seconds
            self._next_interval()

    def _end(self, decision: Decision, judgement: Judgement, bake: float) -> Generator[Decision, None, bool]:
        """End a bake and return whether the step is over: PASS goes on; undecided is extended, held or taken back."""
        self._tell_judgement("verdict")
        rule = self.shift.verdict
        if judgement.outcome == "PASS":
            yield self._told(replace(decision, phase="judged", verdict="PASS", words=judgement.reason))
            return True
        if rule.on_inconclusive == "roll_back":
            yield from self._roll_back(decision, "inconclusive", judgement.reason)
        if bake >= rule.bakes * self.shift.bake_seconds:
            yield from self._hold(decision, "inconclusive", judgement.reason)
        words = f"{judgement.reason}; the bake is extended"
        yield replace(decision, phase="judged", verdict="INCONCLUSIVE", words=words)
        return False

    def _proves(self, step: int, seen: Sequence[Interval]) -> bool:
        first = became_real([i.errors for i in seen], self.former, step)
        self.real_since = seen[first].start if first is not None else 0
        return first is not None

    def _unproved(self, step: int, seen: Sequence[Interval]) -> str:
        found = seen_of([i.errors for i in seen], step)
        if found.share is None:
            return f"no request was counted in {self.shift.prove_seconds} s: the weight cannot be proved"
        why = "the weight has no effect" if found.share < found.band[0] else "it is not what the weight says"
        return f"after {self.shift.prove_seconds} s the canary answers {found.words}: {why}"

    def _check_share(self, step: int, decision: Decision) -> Iterator[Decision]:
        """A weight that was real and is no longer is a hold, never a FAIL."""
        found = drifted([i.errors for i in self.seen if i.start >= self.real_since], step)
        if found:
            yield from self._hold(decision, "share", f"the weight stopped working: the canary answers {found.words}")

    def _look(self) -> list[Interval]:
        """Read the whole intervals since the first step, and return this step's."""
        self.looked_until = self._data_until()
        self.seen = telemetry.read_intervals(self.session, self.series, self.began, self.looked_until)
        return [interval for interval in self.seen if interval.start >= self.step_began]

    def _next_interval(self) -> None:
        """Wait until there is a whole interval that was not looked at yet."""
        most = 2 * self.session.parameters.telemetry.period_seconds
        for _ in self.session.looks("CloudWatch's next figures", most, telemetry.pause(self.session)):
            if self._data_until() > self.looked_until:
                return

    def _judge(self, step: int, *, bake_over: bool) -> Judgement:
        """Judge what was seen since the first step; the canary is alone once traffic has shown that it has all."""
        alone = sum(i.start >= self.real_since for i in self.seen) if step == 100 and self.real_since else 0
        counts = counts_of(self.shift.verdict, self.seen)
        settings = settings_of(self.shift.verdict, bake_over=bake_over, alone=alone, judge=self.error_judge)
        judgement = judge_all(counts, **settings)
        self.judged = {
            "samples": {name: [s.counts for s in samples] for name, samples in counts.items()},
            "settings": settings,
            "outcome": judgement.outcome,
            "reason": judgement.reason,
        }
        return judgement

    def _tell_judgement(self, cause: str) -> None:
        """Write down the newest judgement with its counts, once, and what it was called for."""
        if self.judged:
            self.session.join_run().write("judged", **self.judged, cause=cause)
        self.judged = {}

    # how it ends early

    def _meet(self, hazard: Hazard | None, decision: Decision) -> Iterator[Decision]:
        """End the step where there is a hazard, as it says."""
        if hazard is None:
            return
        if hazard.ends == "gone back":
            raise RolledBack(f"{decision.step} %: {hazard.words}", hint=MEND, reason=hazard.word)
        end = self._roll_back if hazard.ends == "roll back" else self._hold
        yield from end(decision, hazard.word, hazard.words)

    def _hold(self, decision: Decision, word: str, words: str) -> Iterator[Decision]:
        self._tell_judgement(word)
        yield self._told(replace(decision, phase="judged", verdict="INCONCLUSIVE", words=f"{word}: {words}"))
        hint = f"weights stay; settle it, then run 05 again, or {_undo(self.session.join_run().id)}"
        raise Held(f"{decision.step} %: {words}", hint=hint, reason=word)

    def _roll_back(self, decision: Decision, word: str, words: str) -> Iterator[Decision]:
        """Go back to weight 0 in one write that nothing but the plan's own check can stop; then verify it."""
        self._tell_judgement(word)
        yield from self._put_back(decision)
        told = f"{word}: {words}; back to 0 % in one write"
        verdict = "INCONCLUSIVE" if word in UNDECIDED else "FAIL"
        failed = replace(decision, verdict=verdict, weights=self.shift.weights_at(0))
        yield self._told(replace(failed, phase="rolled back", words=told))
        settled = self._told(self._settled(failed))
        yield settled
        raise RolledBack(f"{decision.step} %: {told}; {settled.words}", hint=MEND, reason=word)

    def _put_back(self, decision: Decision) -> Iterator[Decision]:
        """Write the way back, again where somebody wrote just now: what else they changed is kept, the weights not."""
        plan = Plan("the way back")
        try:
            for _ in range(WAYS_BACK):
                plan = self.found.plan_step(0)
                try:
                    apply(self.session, clear(plan))
                    return
                except (StalePlanError, ForeignChangeError):
                    if self._now() == self.shift.weights_at(0):
                        return
                    self.found = survey(self.session)
                    yield from self._meet(self.hazards.of_weights(self.found, decision.step), decision)
        except Failed as error:
            by_hand = "\n".join(as_command(change.call, self.session.parameters.region) for change in plan)
            raise RollbackError(
                f"the way back failed: {error.message}\nby hand:\n{by_hand}", hint=error.hint
            ) from error
        raise RollbackError(
            f"the way back failed: somebody writes it all the time; {divided(self._now())} stays", hint="run 05 again"
        )

    def _settled(self, failed: Decision) -> Decision:
        """Wait until traffic shows the way back, and count whom the canary harmed until then.

        Raises RollbackError where requests go on reaching the canary. That nobody could look is no failure of it.
        """
        canary, began = self.shift.canary, self.session.wall()
        busy: list[Interval] = []
        words = "traffic has not shown it yet"
        try:
            most, pause = self.shift.prove_seconds, telemetry.pause(self.session)
            for _ in self.session.looks("traffic to show the way back", most, pause):
                self.seen = telemetry.read_intervals(self.session, self.series, self.began, self._data_until())
                busy = [i for i in self.seen if i.requests and i.start >= began]
                if busy and not busy[-1].errors.canary_requests:
                    words = f"traffic is back on {self.shift.stable}"
                    break
        except CallError as error:
            words = f"traffic could not be looked at: {error.message}"
        if busy and busy[-1].errors.canary_requests:
            raise RollbackError(
                f"the way back was written, but after {self.shift.prove_seconds} s {canary} still gets "
                f"{busy[-1].errors.canary_requests} of {busy[-1].requests} requests",
                hint="look at the callers' sidecars: they do not hear the change",
            )
        requests, errors = self._by_service(self.seen, "requests"), self._by_service(self.seen, "errors")
        words += f", {errors[canary]} request(s) harmed"
        if self.shift.verdict.slow_millis:
            slow = self._by_service(self.seen, "errors", of="slow")
            words += f", {slow[canary]} slower than {self.shift.verdict.slow_millis} ms"
        told = replace(failed, phase="settled", words=words, share=None, band=None)
        return replace(told, requests=requests, errors=errors, seen=tuple(self.seen))

    # small words

    def _decision(self, phase: Phase, step: int, seen: Sequence[Interval], judgement: Judgement) -> Decision:
        found = seen_of([i.errors for i in seen if i.start >= self.real_since], step)
        words = judgement.reason
        if phase == "proved":
            words = f"{step} % is real: the canary answers {found.words}"
        return Decision(
            phase,
            step,
            self.shift.weights_at(step),
            words,
            requests=self._by_service(seen, "requests"),
            errors=self._by_service(seen, "errors"),
            slow=self._by_service(seen, "errors", of="slow") if self.shift.verdict.slow_millis else {},
            share=found.share,
            band=found.band,
            verdict=judgement.outcome,
            at=self.session.wall(),
            seen=tuple(self.seen),
        )

    def _by_service(self, seen: Sequence[Interval], counted: str, of: str = "errors") -> dict[str, int]:
        both = (("stable", self.shift.stable), ("canary", self.shift.canary))
        return {name: sum(getattr(getattr(i, of), f"{who}_{counted}") for i in seen) for who, name in both}

    def _told(self, decision: Decision) -> Decision:
        """Write a decision down, and return it."""
        told = write_down(self.session, replace(decision, at=self.session.wall()))
        self.journal.append(told.line)
        return told

    def _since(self, phase: str, step: int) -> float | None:
        """Return when this attempt wrote a step (any, for 0), as the record has it."""
        times = [x["at"] for x in self.journal if x["phase"] == phase and step in (0, x["step"])]
        return (times[0] if step == 0 else times[-1]) if times else None

    def _now(self) -> dict[str, int]:
        return dict(survey(self.session).split.weights)

    def _live(self) -> int:
        return survey(self.session).canary_weight

    def _data_until(self) -> int:
        return telemetry.complete_until(self.session, self.session.wall())


MEND = "mend the canary, then run 05 again: it starts at the first step"


def _undo(run: str) -> str:
    return f"`runbook undo {run} --notebook 05` to go back"
