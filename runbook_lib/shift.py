"""Move the traffic from the stable service to the canary, one step at a time.

A generator that notebook, panel and command all iterate, and that yields one `Decision` after another: plan,
write, proof by traffic, bake, verdict. It names no engine and writes only through `apply`. However it ends,
traffic is served and the record says where it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from runbook_lib.approvals import approval_of, ran_out, require_approval
from runbook_lib.aws import cloudwatch, ecs
from runbook_lib.aws.applying import apply
from runbook_lib.aws.cloudwatch import Interval
from runbook_lib.aws.session import Session
from runbook_lib.decision import Decision, Phase, write_down
from runbook_lib.errors import (
    CallError,
    Failed,
    ForeignChangeError,
    GateError,
    Held,
    PrerequisiteError,
    ReadBackError,
    RecordError,
    Refused,
    RollbackError,
    RolledBack,
    RunbookError,
    StalePlanError,
    TargetError,
)
from runbook_lib.gates import evidence_for_shift
from runbook_lib.hazards import Hazard, Hazards
from runbook_lib.history import read_attempt
from runbook_lib.judging import counts_of, error_judge, settings_of
from runbook_lib.outlook import credentials_end_first, require_steps_passable
from runbook_lib.plan import Evidence, Plan, as_command, clear
from runbook_lib.proof import became_real, drifted, seen_of
from runbook_lib.rollback import roll_back
from runbook_lib.survey import Survey, survey
from runbook_lib.trial import end_trial, try_canary
from runbook_lib.verdict import Judgement, judge_all
from runbook_lib.wording import counted, divided

__all__ = ["go_back", "plan_steps", "shift_traffic", "steps_left", "take_step", "unpassed"]

UNDECIDED = ("inconclusive", "approval")  # why a canary goes back that nothing speaks against
WAYS_BACK = 3  # tries, where somebody else writes the same thing in between
BLIND_PAUSE = 1.0  # seconds between two tries to look while nothing answers
ON_CANARY = ("written", "proved", "judged")  # what an attempt ended with that left users there
BETWEEN = (StalePlanError, ForeignChangeError, ReadBackError)
BEFORE_STEP = (GateError, StalePlanError, ForeignChangeError, ReadBackError, RecordError)
T = TypeVar("T")


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
    found = survey(session)
    require_ours(found)
    if found.plan_step(step) != shown:
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
    return roll_back(session, lambda command: None).decision


def _require_evidence(evidence: Sequence[Evidence]) -> None:
    if not evidence:
        raise GateError("shift: no evidence was given", hint="run the cells above again")
    for lacking in (e for e in evidence if e.name == "earlier steps" and not e.holds):  # with no route, no step is left
        raise PrerequisiteError(f"05_shift_traffic: {lacking.found}", hint=lacking.hint)


def _unwatched(session: Session, step: int, evidence: Sequence[Evidence]) -> Decision:
    """On a control plane without traffic a weight can be read back, and nothing more."""
    found = survey(session)
    require_ours(found)
    former = found.canary_weight
    plan = found.plan_step(step)
    require_approval(session, step, plan, former)
    _require_no_hold(session, Hazards(session, ()), dict(found.split.weights))
    apply(session, clear(plan, *evidence, *evidence_for_shift(found)))
    words = f"{former} → {step} %, read back"
    return write_down(session, Decision("written", step, dict(survey(session).split.weights), words))


def _require_no_hold(session: Session, hazards: Hazards, weights: Mapping[str, int]) -> None:
    """Raise Held where somebody asked for a hold since the run began, and nothing was held by it yet."""
    if held := hazards.held():
        words = f"before the next step: {held.words}; {divided(weights)} stays as it is"
        hint = f"agree with them, then run 05 again; or `runbook rollback {session.named}`"
        raise Held(words, hint=hint, reason=held.word)


class _BlindError(Exception):
    """Nothing can be looked at any more: the word of the reason, a sentence, and what to do next."""

    def __init__(self, word: str, words: str, hint: str = "") -> None:
        self.word, self.hint = word, hint
        super().__init__(words)


@dataclass(frozen=True, slots=True)
class _Sight:
    """What one look at a step found."""

    seen: Sequence[Interval]
    judgement: Judgement
    bake_over: bool
    hazard: Hazard | None


def require_ours(found: Survey) -> None:
    """Raise Held where somebody else's targets or weights carry the traffic: they are not this shift's to move."""
    shift = found.parameters.shift
    if words := found.split.oddity((shift.stable, shift.canary)):
        session = found.session
        hint = f"put the weights right, then run 05 again; or `runbook rollback {session.named}`"
        raise Held(f"nothing was written: {words}", hint=hint, reason="foreign_change")


class _Shift:
    """One shift under way. What it knows it has read; what it writes is in the record."""

    def __init__(self, session: Session, evidence: Sequence[Evidence]) -> None:
        self.session, self.evidence, self.shift = session, tuple(evidence), session.parameters.shift
        self.found = survey(session)
        self.series = self.found.engine.series(session.parameters)
        self.error_judge = error_judge(self.shift, self.found.engine.counted(session.parameters))
        self.journal = read_attempt(session)
        self.hazards = Hazards(session, self.journal)
        self.moved = session.moved  # up to which this shift's moments have followed AWS's time
        self.began = self._since("written", 0) or session.now()
        self.step_began = self.began
        self.former, self.looked_until = 0, 0
        self.seen: list[Interval] = []
        self.real_since = 0  # of the step under way; 0 until traffic has proved it
        on_canary = bool(self.journal) and self.journal[-1]["phase"] in ON_CANARY
        self.weight = self.journal[-1]["step"] if on_canary else 0  # what the canary has, as far as is known
        self.standing = self.shift.weights_at(self.weight)  # at the last look
        if self.weight:
            self.session.outlast = self._outlast
        self.proved, self.prove_end = 0.0, 0.0  # of the step under way
        self.kept: list[Interval] = []  # seen before AWS's clock was set, as if it had stood right
        self.kept_until = 0.0
        self.judged: dict[str, Any] = {}  # the newest judgement as it is written down, empty once it was

    # the way

    def run(self) -> Iterator[Decision]:
        """Take every step that is left."""
        try:
            left = self._is_left()
        except _BlindError as blind:
            yield from self._end_blind(blind)
        if left:
            require_ours(self.found)
            with self._under_way():
                yield from self._heeding(self._steps())

    def take(self, step: int) -> Iterator[Decision]:
        """Write one step, and do not watch it; what was taken before it must have passed."""
        now = self._live()
        if words := unpassed(self.session, now, step):
            raise GateError(words)
        require_ours(self.found)
        self.weight, self.standing = now, dict(self.found.split.weights)
        with self._under_way():
            yield from self._heeding(self._one(now, step))

    def _one(self, now: int, step: int) -> Iterator[Decision]:
        if now == 0 and not self._is_prepared(step):
            yield from self._prepare([step])
        yield from self._write(step)

    def _heeding(self, steps: Iterator[Decision]) -> Iterator[Decision]:
        """Take steps, and end them as the file says where nothing can be looked at any more."""
        try:
            yield from steps
        except _BlindError as blind:
            yield from self._end_blind(blind)
        except TargetError as error:  # the credentials became another account's
            if not self.weight:
                raise
            yield from self._end_blind(_BlindError(error.reason, error.message, error.hint))

    @contextmanager
    def _under_way(self) -> Iterator[None]:
        """Hold the environment meanwhile; an interrupt leaves the weights, and says so."""
        self.session.outlast = self._outlast
        try:
            with self.session.holding():
                _require_no_hold(self.session, self.hazards, self.standing)
                yield
        except KeyboardInterrupt:
            now = self._last_known()
            self.session.note(lambda run: run.write("interrupted", weights=now))
            words = f"interrupted: {divided(now)} stays as it is{self._incomplete()}"
            raise Held(words, hint=f"run 05 again to go on, or {self._undo()}", reason="interrupted") from None
        finally:
            self.session.outlast = None

    def _is_left(self) -> bool:
        """Say whether anything is left to do: a step to take, or one to go on watching."""
        self.standing = dict(self.found.split.weights)
        if self.found.retired or self.found.split.state is None:
            return False
        now, last = self._live(), self.shift.steps[-1]
        unwatched = 0 < now <= last and not _passed(self.journal, now) and (now < last or bool(self.journal))
        return bool(steps_left(self.shift.steps, now)) or unwatched

    def _steps(self) -> Iterator[Decision]:
        self.weight = now = self.found.canary_weight
        left = steps_left(self.shift.steps, now)
        if now == 0 and left and not self._is_prepared(left[0]):
            yield from self._prepare(left)
        elif now and not _passed(self.journal, now):
            self.step_began = self._since("written", now) or self._time()
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
            yield self._told(Decision("tried", 0, self.shift.weights_at(0), try_canary(self.session)))
        else:
            end_trial(self.session)  # one that was killed while the file still asked for it
        kept = apply(self.session, clear(self.found.plan_capacity(running)))
        apply(self.session, cleared)
        words = "the way back was written once at weight 0"
        words += f"; {self.shift.stable} keeps at least {running} task(s)" if kept else ""
        yield self._told(Decision("rehearsed", 0, self.shift.weights_at(0), words, tasks={self.shift.stable: running}))

    def _write(self, step: int) -> Iterator[Decision]:
        self.former = self._live()
        _require_no_hold(self.session, self.hazards, self.standing)
        if expired := self._written(step):
            yield from self._roll_back(Decision("watching", self.former, self.standing, ""), "approval", expired)
        self.weight = step
        self.step_began = self._time()
        self.began = self.began if self.former else self.step_began
        now = self.shift.weights_at(step)
        self.session.saw(now)
        words = [f"{self.former} → {step} %, read back", credentials_end_first(self.session)]
        yield self._told(Decision("written", step, now, "; ".join(filter(None, words))))

    def _attempt(self, step: int) -> str:
        """Write a step, gates included; return in words the approval that ran out and asks for a rollback instead.

        Called again after an answer that was lost, it finds the step written.
        """
        self.found = survey(self.session)
        plan = self.found.plan_step(step)
        if not plan.changes:
            return ""
        require_ours(self.found)
        evidence = (*evidence_for_shift(self.found), *self.hazards.evidence()) if step > self.former else ()
        if evidence:
            self._require_holding(evidence)
            if self.former and (expired := ran_out(self.session, step, plan)):
                return expired
            require_approval(self.session, step, plan, self.former)
        try:
            if evidence:
                require_steps_passable(self.found, step)
            self.weight = step  # from here on it may be in force, whatever is answered
            apply(self.session, clear(plan, *evidence))
        except BEFORE_STEP as error:  # whatever was written before this step is no refusal any more
            raise self._before_step(error) from None
        return ""

    def _before_step(self, error: RunbookError) -> Held:
        words = f"before the next step: {error.message}{self._incomplete()}"
        return Held(words, hint=error.hint, reason=error.reason)

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
        self.weight, self.proved, self.real_since = step, 0.0, 0
        self.prove_end = self._time() + self.shift.prove_seconds
        bake = float(self.shift.bake_seconds)
        while True:
            sight = self._sight(step, bake)
            decision = self._decision("watching", step, sight.seen, sight.judgement)
            yield from self._meet(sight.hazard, decision)
            if sight.judgement.outcome == "FAIL":
                yield from self._roll_back(decision, "verdict", sight.judgement.reason)
            if not self.proved:
                if self._proves(step, sight.seen):
                    self.proved = self._time()
                    yield self._told(self._decision("proved", step, sight.seen, sight.judgement))
                elif self._time() > self.prove_end:
                    yield from self._hold(decision, "unproved", self._unproved(step, sight.seen))
                else:
                    yield decision
            else:
                yield from self._check_share(step, decision)
                if not sight.bake_over:
                    yield decision
                elif (yield from self._end(decision, sight.judgement, bake)):
                    return
                else:
                    bake += self.shift.bake_seconds
            self._next_interval()

    def _sight(self, step: int, bake: float) -> _Sight:
        """Look once at everything that can end a step."""
        seen = self._look()
        over = bool(self.proved) and self._data_until() >= self.proved + bake
        judgement = self._judge(step, bake_over=over)
        self.found = survey(self.session)
        hazard = self.hazards.first(self.found, step)
        self.standing = dict(self.found.split.weights)
        return _Sight(seen, judgement, over, hazard)

    def _outlast(self, ask: Callable[[], T], error: CallError) -> T:
        """Ask again while AWS throttles or is away, and return the answer: nobody else watches meanwhile.

        Time without an answer counts neither as bake nor as proof. Raises _BlindError where it lasts too long, will
        not heal, or somebody says hold; where users are not on the canary, the error itself.
        """
        self._require_healing(error)
        began, most = self.session.clock(), 60.0 * self.shift.blind_minutes
        for _ in self.session.looks(f"AWS to answer again: {error.message}", most, BLIND_PAUSE):
            if held := self.hazards.held():
                raise _BlindError(held.word, held.words)
            try:
                answer = ask()
            except CallError as again:
                error = again
                self._require_healing(error)
            else:
                self._count_blind(self.session.clock() - began)
                return answer
        minutes = counted(self.shift.blind_minutes, "minute")
        raise _BlindError("blind", f"nothing could be looked at for {minutes}: {error.message}")

    def _written(self, step: int) -> str:
        """Write a step, again where AWS did not take it; return what `_attempt` does."""
        try:
            return self._attempt(step)
        except CallError as error:
            return self._outlast(lambda: self._attempt(step), error)
        except RecordError as error:  # an approval cannot be read, say
            raise self._before_step(error) from None

    def _require_healing(self, error: CallError) -> None:
        """Raise where no waiting helps: while users are on the canary as _BlindError, since someone must decide."""
        mesh_is_gone = error.reason == "target"  # the local one, and all traffic with it
        if mesh_is_gone or not self.weight:
            raise error
        if not error.heals:
            raise _BlindError(error.reason, f"nothing can be looked at: {error.message}", error.hint) from error

    def _count_blind(self, seconds: float) -> None:
        """Move what ends by time past the time in which nobody looked."""
        self.prove_end += seconds
        self.proved += seconds if self.proved else 0

    def _end_blind(self, blind: _BlindError) -> Iterator[Decision]:
        """End a shift that cannot look any more as the file says."""
        decision = Decision("watching", self.weight, self.standing, str(blind), at=self._time())
        if blind.word == "blind" and self.shift.on_blind == "roll_back":
            yield from self._roll_back(decision, blind.word, str(blind))
        yield from self._hold(decision, blind.word, str(blind), blind.hint)

    def _end(self, decision: Decision, judgement: Judgement, bake: float) -> Generator[Decision, None, bool]:
        """End a bake and return whether the step is over: PASS goes on; undecided is extended, held or taken back."""
        self._tell_judgement("verdict")
        rule = self.shift.verdict
        if judgement.outcome == "PASS":
            passed = replace(decision, phase="judged", verdict="PASS", words=judgement.reason)
            yield self._told(replace(passed, carried=self.found.carried))
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
        self.seen = self._intervals()
        self.looked_until = self._data_until()
        return [interval for interval in self.seen if interval.start >= self.step_began]

    def _intervals(self) -> list[Interval]:
        """Read the whole intervals since the first step; where AWS's clock was set, those before are remembered."""
        until, since = self._data_until(), self.kept_until or self.began
        return [*self.kept, *cloudwatch.read_intervals(self.session, self.series, since, until)]

    def _time(self) -> float:
        """Return the time at AWS, every moment of this shift having moved with it."""
        self._follow_clock()
        return self.session.now()

    def _follow_clock(self) -> None:
        """Where AWS's time turned out to be another, let no bake and no proof be shorter or longer by it.

        The local mesh stamps its figures by this machine's clock: there what was seen moves along.
        """
        moved = self.session.moved - self.moved
        if not moved:
            return
        self.moved += moved
        self._count_blind(moved)
        if self.session.parameters.rehearsed:
            self.seen = [replace(interval, start=round(interval.start + moved)) for interval in self.seen]
            self.kept, self.kept_until = self.seen, self.looked_until + moved
            self.looked_until += round(moved)
            self.began += moved
            self.step_began += moved
            self.real_since += round(moved) if self.real_since else 0

    def _next_interval(self) -> None:
        """Wait until there is a whole interval that was not looked at yet."""
        most = 2 * self.session.parameters.telemetry.period_seconds
        for _ in self.session.looks("CloudWatch's next figures", most, cloudwatch.pause(self.session)):
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
        if judged := self.judged:
            self.session.note(lambda run: run.write("judged", **judged, cause=cause))
        self.judged = {}

    # how it ends early

    def _meet(self, hazard: Hazard | None, decision: Decision) -> Iterator[Decision]:
        """End the step where there is a hazard, as it says."""
        if hazard is None:
            return
        if hazard.ends == "gone back":
            yield from self._tell_rollback(hazard, decision)
            self.session.finish("rolled_back")
            raise RolledBack(f"{decision.step} %: {hazard.words}{self._incomplete()}", hint=MEND, reason=hazard.word)
        end = self._roll_back if hazard.ends == "roll back" else self._hold
        yield from end(decision, hazard.word, hazard.words)

    def _tell_rollback(self, hazard: Hazard, decision: Decision) -> Iterator[Decision]:
        """Write down what somebody else did, unless it is in the record."""
        self._tell_judgement(hazard.word)
        if not self.hazards.recorded_end():
            yield self._told(replace(decision, phase="rolled back", weights=self.standing, words=hazard.words))

    def _hold(self, decision: Decision, word: str, words: str, advice: str = "") -> Iterator[Decision]:
        self._tell_judgement(word)
        yield self._told(replace(decision, phase="judged", verdict="INCONCLUSIVE", words=f"{word}: {words}"))
        hint = f"{advice}; " if advice else ""
        hint += f"weights stay; settle it, then run 05 again, or {self._undo()}"
        raise Held(f"{decision.step} %: {words}{self._incomplete()}", hint=hint, reason=word)

    def _roll_back(self, decision: Decision, word: str, words: str) -> Iterator[Decision]:
        """Roll back in one write that nothing but the plan's own check can stop; then write it down, and verify it."""
        self.session.outlast, self.weight = None, 0  # it waits in its own way
        yield from self._put_back(decision)
        self._tell_judgement(word)
        told = f"{word}: {words}; back to 0 % in one write"
        verdict = "INCONCLUSIVE" if word in UNDECIDED else "FAIL"
        failed = replace(decision, verdict=verdict, weights=self.shift.weights_at(0))
        yield self._told(replace(failed, phase="rolled back", words=told))
        settled = self._told(self._settled(failed))
        yield settled
        words = f"{decision.step} %: {told}; {settled.words}{self._incomplete()}"
        self.session.finish("rolled_back")
        raise RolledBack(words, hint=MEND, reason=word)

    def _put_back(self, decision: Decision) -> Iterator[Decision]:
        """Write the rollback: again while AWS is away, and where somebody wrote just now; never over their weights."""
        plan, tries, end = Plan("rollback"), 0, self.session.clock() + 60 * self.shift.blind_minutes
        while True:
            try:
                if tries and self._now() == self.shift.weights_at(0):
                    return
                plan = self.found.plan_step(0)
                apply(self.session, clear(plan), urgent=True)
                return
            except BETWEEN as error:
                if tries >= WAYS_BACK:
                    raise self._not_back(f"somebody else writes it all the time: {error.message}", plan) from error
                self.found = survey(self.session)
                yield from self._meet(self._others_weights(decision), decision)
            except CallError as error:
                if not error.heals or self.session.clock() > end:
                    raise self._not_back(error.message, plan, error.hint) from error
                self._await_answer(error, end)
            except (Failed, Refused) as error:
                raise self._not_back(error.message, plan, error.hint) from error
            tries += 1

    def _others_weights(self, decision: Decision) -> Hazard | None:
        """Return what somebody else wrote instead of this step's weights; nothing where it cannot be looked at."""
        try:
            zero = dict(self.found.split.weights) == self.shift.weights_at(0)
            return None if zero else self.hazards.of_weights(self.found, decision.step)
        except CallError:
            return None

    def _await_answer(self, error: CallError, end: float) -> None:
        """Wait a little before AWS is asked again, and plan from what is there then: the write may have arrived."""
        self.session.waiting(f"AWS to take the rollback: {error.message}", 0, end - self.session.clock())
        self.session.sleep(BLIND_PAUSE)
        with suppress(CallError):
            found = survey(self.session)
            self.found = found if found.split.state else self.found

    def _not_back(self, words: str, plan: Plan, hint: str = "") -> RollbackError:
        commands = [as_command(change.call, self.session.parameters.region) for change in plan]
        by_hand = "\n".join([*commands, f"runbook rollback {self.session.named}"])
        return RollbackError(f"the rollback failed: {words}\nby hand:\n{by_hand}", hint=hint)

    def _settled(self, failed: Decision) -> Decision:
        """Wait until traffic shows the rollback, and count whom the canary harmed until then.

        Raises RollbackError where requests go on reaching the canary. That nobody could look is no failure of it.
        """
        canary, began = self.shift.canary, self._time()
        busy: list[Interval] = []
        words = "traffic has not shown it yet"
        try:
            most, pause = self.shift.prove_seconds, cloudwatch.pause(self.session)
            for _ in self.session.looks("traffic to show the rollback", most, pause):
                self.seen = self._intervals()
                busy = [i for i in self.seen if i.requests and i.start >= began]
                if busy and not busy[-1].errors.canary_requests:
                    words = f"traffic is back on {self.shift.stable}"
                    break
        except (CallError, TargetError) as error:
            words = f"traffic could not be looked at: {error.message}"
        if busy and busy[-1].errors.canary_requests:
            raise RollbackError(
                f"the rollback was written, but after {self.shift.prove_seconds} s {canary} still gets "
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
            at=self._time(),
            seen=tuple(self.seen),
        )

    def _by_service(self, seen: Sequence[Interval], counted: str, of: str = "errors") -> dict[str, int]:
        both = (("stable", self.shift.stable), ("canary", self.shift.canary))
        return {name: sum(getattr(getattr(i, of), f"{who}_{counted}") for i in seen) for who, name in both}

    def _told(self, decision: Decision) -> Decision:
        """Write a decision down, and return it."""
        told = write_down(self.session, replace(decision, at=self._time()))
        self.journal.append(told.line)
        return told

    def _since(self, phase: str, step: int) -> float | None:
        """Return when this attempt wrote a step (any, for 0), as the record has it."""
        times = [x["at"] for x in self.journal if x["phase"] == phase and step in (0, x["step"])]
        return (times[0] if step == 0 else times[-1]) if times else None

    def _last_known(self) -> dict[str, int]:
        try:
            return self._now()
        except CallError:
            return self.standing

    def _undo(self) -> str:
        return f"`runbook rollback {self.session.named}` to roll back"

    def _incomplete(self) -> str:
        return f"; {self.session.spare.words}" if self.session.spare.words else ""

    def _now(self) -> dict[str, int]:
        return dict(survey(self.session).split.weights)

    def _live(self) -> int:
        return survey(self.session).canary_weight

    def _data_until(self) -> int:
        return cloudwatch.complete_until(self.session, self._time())


MEND = "mend the canary, then run 05 again: it starts at the first step"
