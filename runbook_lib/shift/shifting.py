"""Take the steps of a shift: look, decide, write, wait and tell.

A generator that notebook, panel and command all iterate, and that yields one
`Decision` after another. It names no engine, writes only through `apply`, and decides
nothing about a step: that is `step`'s. However it ends, traffic is served and the
record says where it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from functools import partial
from typing import Any, NoReturn, TypeVar

from runbook_lib.aws import cloudwatch, ecs
from runbook_lib.aws.applying import apply
from runbook_lib.aws.session import Session
from runbook_lib.errors import (
    CallError,
    ForeignChangeError,
    GateError,
    Held,
    PrerequisiteError,
    ReadBackError,
    RecordError,
    RolledBack,
    RunbookError,
    StalePlanError,
    TargetError,
)
from runbook_lib.gates import evidence_for_shift
from runbook_lib.judging import error_judge
from runbook_lib.plan import Evidence, Need, Plan, clear, fingerprint
from runbook_lib.printable import counted
from runbook_lib.runs.approvals import (
    approval_of,
    heed,
    ran_out,
    require_approval,
    unheeded,
)
from runbook_lib.runs.history import read_attempt
from runbook_lib.shift.counts import Counts
from runbook_lib.shift.decision import Decision, write_down
from runbook_lib.shift.looking import Looking
from runbook_lib.shift.outlook import credentials_end_first, require_steps_passable
from runbook_lib.shift.rollback import roll_back
from runbook_lib.shift.rolling_back import RollingBack, undisturbed
from runbook_lib.shift.step import (
    ExtendBake,
    GoOn,
    Hold,
    InEffect,
    Look,
    Move,
    Pass,
    Promote,
    RollBack,
    approval_expired,
    begin_step,
    blind_to_others,
    cannot_look,
    clock_set,
    follow,
    gates_fail,
    held,
    next_move,
    nobody_looked,
    observe,
    rule_of,
    start_watch,
    stay_on,
    too_long_blind,
)
from runbook_lib.shift.steps import (
    has_passed,
    is_anything_left,
    left_out,
    steps_left,
    when_written,
)
from runbook_lib.shift.telling import counts_line, judgement_line, seen_at, settled
from runbook_lib.shift.trial import end_trial, try_canary
from runbook_lib.survey import Survey, survey
from runbook_lib.wording import divided

__all__ = [
    "anything_left",
    "go_back",
    "mark_of",
    "obstacle_by_hand",
    "plan_steps",
    "require_evidence",
    "require_ours",
    "shift_traffic",
    "take_step",
    "watch_traffic",
]

FIX = "fix the canary"  # before 05 is run again
# Reasons to roll back that are not the canary's fault, and what to do about each.
NOT_THE_CANARY = {
    "inconclusive": "give it more traffic or a longer bake",
    "approval": "get the step approved again",
    "blind": "see why AWS did not answer",
}
HELD_BY_SOMEBODY = "hold"  # the word of such a hold
BY_HAND = (HELD_BY_SOMEBODY, "interrupted")  # whoever asked has it in his own hands
BLIND_PAUSE_SECONDS = 1.0  # between two tries to look while nothing answers
# the last decision, where users are on it
ON_CANARY = ("written", "proved", "judged", "promoted")
# What stops a step before its write; once a trial or a step was written it is a hold.
BEFORE_STEP = (
    GateError,
    StalePlanError,
    ForeignChangeError,
    ReadBackError,
    RecordError,
)
AGAIN = "then run 05 again: it starts at the first step"
T = TypeVar("T")
Decisions = Generator[Decision, None, None]
Relieved = Callable[[], bool]  # says that another process is to take a step


# What a notebook, a panel and the command call.


def plan_steps(session: Session) -> list[Decision]:
    """Plan every step that is left, without writing anything."""
    found, shift = survey(session), session.parameters.shift
    if found.split.state is None or found.retired:
        return []
    now = found.canary_weight
    planned = []
    for step in steps_left(shift.steps, now):
        words = f"{now} → {step} %"
        planned.append(Decision("planned", step, shift.weights_at(step), words))
        now = step
    return planned


def shift_traffic(
    session: Session, *evidence: Evidence, relieved: Relieved | None = None
) -> Decisions:
    """Take every step that is left, watching each; in plan mode write nothing.

    A run that was interrupted goes on from the live weights, with the evidence so far.
    Where a step is refused, the one before it is watched until this is `relieved`,
    where that is given. Raises GateError before the first write where the evidence does
    not hold, Held where somebody must decide (weights stay), RolledBack once a FAIL was
    rolled back, RollbackError where it could not be.
    """
    require_evidence(evidence)
    if not session.applies:
        yield from plan_steps(session)
    elif session.connection.carries_traffic:
        yield from _Shift(session, evidence, relieved).run()
    else:
        for planned in plan_steps(session):
            yield _unwatched(session, planned.step, evidence)


def take_step(
    session: Session,
    step: int,
    shown: str,
    *evidence: Evidence,
    relieved: Relieved | None = None,
) -> Decisions:
    """Write one step with gates, trial and rehearsal, and watch it until it passes.

    While steps are left it goes on watching until it is `relieved`, where that is
    given. `shown` marks the plan that somebody looked at (`mark_of`). Raises
    StalePlanError where it is no longer what would be written, and what `shift_traffic`
    raises.
    """
    require_evidence(evidence)
    found = survey(session)
    require_ours(found)
    if mark_of(found.plan_step(step)) != shown:
        words = f"{step} %: it is no longer what was planned against"
        raise StalePlanError(words, hint="look at the new plan first")
    if words := obstacle_by_hand(session, found.canary_weight, step):
        raise GateError(words)
    if session.connection.carries_traffic:
        yield from _Shift(session, evidence, relieved).take(step)
    else:
        yield _unwatched(session, step, evidence)


def watch_traffic(session: Session, *, relieved: Relieved | None = None) -> Decisions:
    """Watch the weight that the canary has until it passes, and go on as `take_step`
    does; take no step.

    Its evidence is the record's where there is one; without it, it begins now. Raises
    what `shift_traffic` raises.
    """
    yield from _Shift(session, (), relieved).stand_by()


def anything_left(session: Session) -> bool:
    """Say whether a step is left to take, or to go on watching; it only reads."""
    found = survey(session)
    if found.retired or found.split.state is None:
        return False
    now, journal = found.canary_weight, read_attempt(session)
    return is_anything_left(session.parameters.shift.steps, now, journal)


def mark_of(plan: Plan) -> str:
    """Return what names a plan and the state it is for, that state's version too."""
    return fingerprint(asdict(plan))


def obstacle_by_hand(session: Session, now: int, step: int) -> str:
    """Say why a step by hand cannot be taken: the weight users are on must pass before
    it, and the file allow what leaves out some of its steps; "" if it can.
    """
    shift = session.parameters.shift
    if not shift.skip_steps and (out := left_out(shift.steps, now, step)):
        names = ", ".join(f"{each} %" for each in out)
        return f"{step} % skips {names}: the file says shift.skip_steps: false"
    if not session.connection.carries_traffic or not step > now > 0:
        return ""
    if has_passed(read_attempt(session), now):
        return ""
    what_to_do = "run the cell below, which watches it and goes on by itself"
    return f"{now} % has not passed yet: {what_to_do}"


def go_back(session: Session) -> Decision | None:
    """Put all traffic back on stable in one write, because somebody says so.

    A shift under way ends by it. None where all traffic is there already.
    """
    return roll_back(session, lambda command: None).decision


def require_ours(found: Survey) -> None:
    """Raise Held where targets or weights of somebody else carry the traffic."""
    shift, session = found.parameters.shift, found.session
    if words := found.split.oddity((shift.stable, shift.canary)):
        back = f"`runbook rollback {session.named}`"
        hint = f"put the weights right, then run 05 again; or {back}"
        raise Held(f"nothing was written: {words}", hint=hint, reason="foreign_change")


def require_evidence(evidence: Sequence[Evidence]) -> None:
    """Raise where no evidence was given, or an earlier step is missing."""
    if not evidence:
        raise GateError(
            "shift: no evidence was given", hint="run the cells above again"
        )
    for one in evidence:
        if (
            one.name == Need.EARLIER_STEPS and not one.holds
        ):  # without a route no step is left
            raise PrerequisiteError(f"05_shift_traffic: {one.found}", hint=one.hint)


def _unwatched(session: Session, step: int, evidence: Sequence[Evidence]) -> Decision:
    """Write a step where no traffic shows it: it can be read back, and nothing more."""
    found = survey(session)
    gates = evidence_for_shift(found)
    require_ours(found)
    former = found.canary_weight
    plan = found.plan_step(step)
    require_approval(session, step, former, plan)
    _require_no_hold(session, found.split.weights)
    made = apply(session, clear(plan, *evidence, *gates))
    now = found.split.weights
    if made:
        now = found.engine.weights_of(session.parameters, made[-1].state)
    words = f"{former} → {step} %, read back"
    written = Decision("written", step, now, words, former=former)
    return write_down(session, written)


def _require_no_hold(session: Session, weights: Mapping[str, int]) -> None:
    """Raise Held where somebody said hold since the run began and nothing was held."""
    asked: list[dict[str, Any]] = []
    with suppress(RecordError):  # nothing is written either, where it cannot be read
        asked = unheeded(session.join_run())
    if asked:
        heed(session)
        stay = f"{divided(weights)} stays as it is"
        words = f"before the next step: {held(str(asked[-1]['by'])).words}; {stay}"
        back = f"`runbook rollback {session.named}`"
        hint = f"agree with them, then run 05 again; or {back}"
        raise Held(words, hint=hint, reason="hold")


class _CannotLookError(Exception):
    """Nothing can be looked at any more: what follows."""

    def __init__(self, move: Hold | RollBack) -> None:
        self.move = move
        super().__init__(move.words)


class _RelievedError(Exception):
    """Another process goes on with the shift from here."""


class _Shift:
    """One shift under way. What it knows it has read; what it writes is recorded."""

    def __init__(
        self,
        session: Session,
        evidence: Sequence[Evidence],
        relieved: Relieved | None = None,
    ) -> None:
        self.session, self.evidence = session, tuple(evidence)
        self.relieved = relieved
        self.shift = session.parameters.shift
        self.found = survey(session)
        judge = error_judge(self.shift, self.found.engine.counted(session.parameters))
        self.rule = rule_of(session.parameters, judge)
        self.journal = read_attempt(session)
        self.looking = Looking(session, self.found, judge, self.journal)
        self.moved = session.moved  # up to which the watch has followed AWS's time
        self.watch = start_watch(self.rule, self._began() or session.now())
        self.untold = False  # whether the newest judgement is not in the record
        on_canary = bool(self.journal) and self.journal[-1]["phase"] in ON_CANARY
        # What the canary has, as far as is known, and the weights at the last look.
        self.weight = self.journal[-1]["step"] if on_canary else 0
        self.standing = self.shift.weights_at(self.weight)
        if self.weight:
            self.session.outlast = self._outlast

    # The way.

    def run(self) -> Iterator[Decision]:
        """Take every step that is left."""
        try:
            left = self._is_anything_left()
        except _CannotLookError as blind:
            yield from self._end_unseen(blind.move)
        if left:
            require_ours(self.found)
            with self._under_way():
                yield from self._heeding(self._steps())

    def stand_by(self) -> Iterator[Decision]:
        """Watch the weight that is there."""
        now = self.found.canary_weight
        if not now or self.found.retired:
            return
        require_ours(self.found)
        self.weight, self.standing = now, dict(self.found.split.weights)
        with self._under_way():
            yield from self._heeding(self._watch_and_stay(now))

    def _watch_and_stay(self, now: int) -> Iterator[Decision]:
        yield from self._go_on_watching(now)
        yield from self._stay()

    def take(self, step: int) -> Iterator[Decision]:
        """Write one step and watch it."""
        now = self.found.canary_weight
        require_ours(self.found)
        self.weight, self.standing = now, dict(self.found.split.weights)
        with self._under_way():
            yield from self._heeding(self._one(now, step))

    def _one(self, now: int, step: int) -> Iterator[Decision]:
        if now == 0 and not self._is_prepared(step):
            yield from self._prepare([step])
        yield from self._take(step)
        if step:
            yield from self._watch()
            yield from self._stay()

    def _steps(self) -> Iterator[Decision]:
        now = self.found.canary_weight
        self.weight = now
        left = steps_left(self.shift.steps, now)
        if now == 0 and left and not self._is_prepared(left[0]):
            yield from self._prepare(left)
        elif now and not has_passed(self.journal, now):
            yield from self._go_on_watching(now)
        for step in left:
            yield from self._take(step)
            yield from self._watch()

    def _take(self, step: int) -> Iterator[Decision]:
        """Write a step. Where it is refused and the one before it has passed, that one
        is watched on until another process may take the step.
        """
        now = self.weight
        passed = has_passed(self.journal, now)
        if passed and self.watch.step != now:  # by an earlier process
            self._resume(now)
        try:
            yield from self._write(step)
        except Held as error:
            is_attempted = self.weight != now  # nobody knows what is in force
            if not passed or is_attempted or error.reason in BY_HAND:
                raise
            if self.relieved is None:  # nobody comes after this one
                raise
            words = f"{error.message}; {now} % stays watched until then"
            yield from self._stay(Hold(error.reason, words, error.hint))
            raise _RelievedError from None

    def _is_anything_left(self) -> bool:
        self.standing = dict(self.found.split.weights)
        if self.found.retired or self.found.split.state is None:
            return False
        now = self.found.canary_weight
        return is_anything_left(self.shift.steps, now, self.journal)

    def _heeding(self, steps: Iterator[Decision]) -> Iterator[Decision]:
        """Take steps; end as the file says where nothing can be looked at any more."""
        try:
            yield from steps
        except _RelievedError:
            return
        except _CannotLookError as blind:
            yield from self._end_unseen(blind.move)
        except TargetError as error:  # the credentials became another account's
            if not self.weight:
                raise
            yield from self._end_unseen(Hold(error.reason, error.message, error.hint))

    @contextmanager
    def _under_way(self) -> Iterator[None]:
        """Hold the environment; an interrupt leaves the weights, and says so."""
        self.session.outlast = self._outlast
        try:
            with self.session.shifting():
                _require_no_hold(self.session, self.standing)
                yield
        except KeyboardInterrupt:
            self._end_interrupted()
        finally:
            self.session.outlast = None

    # Before users see the canary, and each write.

    def _is_prepared(self, step: int) -> bool:
        """Say whether all but an approval had been done, and it was given."""
        approved = approval_of(self.session, self.found.plan_step(step))
        rehearsed = bool(self.journal) and self.journal[-1]["phase"] == "rehearsed"
        return bool(approved) and rehearsed

    def _prepare(self, steps: Sequence[int]) -> Iterator[Decision]:
        """Try the canary without users, keep stable's tasks, rehearse the rollback."""
        none = self.shift.weights_at(0)
        back = self.found.engine.plan_split(self.found.split, none, rewrite=True)
        gates = (*self.evidence, *evidence_for_shift(self.found))
        cleared = clear(back, *gates, *self.looking.evidence())
        require_steps_passable(self.found, *steps)
        stable = self.shift.stable
        _, running = ecs.read_counts(self.session, (stable,))[stable]
        if self.shift.trial:
            yield self._told(Decision("tried", 0, none, try_canary(self.session)))
        else:
            # One that was killed while the file still asked for it.
            end_trial(self.session)
        kept = apply(self.session, clear(self.found.plan_capacity(running)))
        apply(self.session, cleared)
        words = "the rollback was written once at weight 0"
        if kept:
            words += f"; {stable} keeps at least {counted(running, 'task')}"
        rehearsed = Decision("rehearsed", 0, none, words, tasks={stable: running})
        yield self._told(rehearsed)

    def _write(self, step: int) -> Iterator[Decision]:
        """Write a step once its gates and its approval are there."""
        self.found = survey(self.session)
        former = self.found.canary_weight
        _require_no_hold(self.session, self.standing)
        expired = self._written(step, former)
        if expired:
            unwritten = Decision("watching", former, self.standing, "")
            yield from self._carry_out(expired, unwritten)
        self.weight = step
        now = self._time()
        if not former:
            self.watch = start_watch(self.rule, now)
        self.watch = begin_step(self.watch, step, former, now, now, self.rule)
        self.session.saw(self.shift.weights_at(step))
        words = f"{former} → {step} %, read back"
        if ending := credentials_end_first(self.session):
            words += f"; {ending}"
        weights = self.shift.weights_at(step)
        yield self._told(Decision("written", step, weights, words, former=former))

    def _written(self, step: int, former: int) -> RollBack | None:
        """Write a step, again where AWS did not take it; return as `_attempt` does."""
        try:
            return self._attempt(step, former)
        except CallError as error:
            return self._outlast(lambda: self._attempt_again(step, former), error)
        except RecordError as error:  # an approval cannot be read, say
            raise self._before_step(error) from None

    def _attempt_again(self, step: int, former: int) -> RollBack | None:
        """Look anew, and attempt it: where the answer was lost, the step is written."""
        self.found = survey(self.session)
        return self._attempt(step, former)

    def _attempt(self, step: int, former: int) -> RollBack | None:
        """Write a step, gates included; or return what an expired approval asks for."""
        plan = self.found.plan_step(step)
        if not plan.changes:
            return None
        require_ours(self.found)
        evidence: tuple[Evidence, ...] = ()
        if step > former:
            evidence = (*evidence_for_shift(self.found), *self.looking.evidence())
            if lacking := gates_fail(evidence):
                raise Held(lacking.words, hint=lacking.hint, reason=lacking.word)
            expired = approval_expired(
                ran_out(self.session, step, former, plan), former
            )
            if expired:
                return expired
            require_approval(self.session, step, former, plan)
        try:
            if evidence:
                require_steps_passable(self.found, step)
            self.weight = step  # may be in force from here on, whatever is answered
            apply(self.session, clear(plan, *evidence))
        except BEFORE_STEP as error:
            raise self._before_step(error) from None
        return None

    def _before_step(self, error: RunbookError) -> Held:
        words = f"before the next step: {error.message}{self._incomplete()}"
        return Held(words, hint=error.hint, reason=error.reason)

    # Watching: look, decide, carry out.

    def _go_on_watching(self, step: int) -> Iterator[Decision]:
        """Watch a step that an earlier process, or somebody else, has written."""
        self._resume(step)
        yield from self._watch()

    def _resume(self, step: int) -> None:
        """Take up the evidence about a step that was written some time ago."""
        former = max((s for s in self.shift.steps if s < step), default=0)
        now = self._time()
        written_at = when_written(self.journal, step) or now
        self.watch = begin_step(self.watch, step, former, written_at, now, self.rule)

    def _watch(self) -> Iterator[Decision]:
        """Look at each interval until the step passes; any look may end the shift."""
        while not (yield from self._look_and_do()):
            self._wait_for_next_interval()

    def _stay(self, refused: Hold | None = None) -> Iterator[Decision]:
        """Go on watching a step that has passed, by the same rules, until another
        process is to take the next one, which may have been `refused` here.
        """
        if self.relieved is None or not steps_left(self.shift.steps, self.watch.step):
            return
        self.watch = stay_on(self.watch)
        words = "it has passed, and stays watched until the next step"
        stays = Decision("staying", self.watch.step, self.standing, words)
        yield replace(stays, at=self._time(), refused=refused)
        while not self._wait_for_next_interval(self.relieved):
            yield from self._look_and_do()

    def _look_and_do(self) -> Generator[Decision, None, bool]:
        """Look once, and do what follows; return whether the step has passed."""
        look = self._look()
        self.watch = observe(self.watch, look, self.rule)
        move = next_move(self.watch, look, self.rule)
        self.watch = follow(self.watch, move, look)
        self.untold = True
        self._record_counts()
        seen = seen_at(self.watch, self.rule, self._time())
        yield from self._carry_out(move, seen)
        return isinstance(move, Pass | Promote)

    def _look(self) -> Look:
        """Look once at everything that can end a step."""
        until, since = self._data_until(), self.watch.counts.since
        found = survey(self.session)
        intervals, tasks, alarms = self.session.together(
            [
                partial(self.looking.intervals, since, until),
                partial(self.looking.tasks, found),
                self.looking.alarms,
            ]
        )
        self.found, self.standing = found, dict(found.split.weights)
        return Look(
            at=self._time_of_watch(),
            since=since,
            data_until=until,
            intervals=tuple(intervals),
            weights=self.standing,
            oddity=self.looking.oddity(self.found),
            tasks=tasks,
            alarms=alarms,
            held_by=self.looking.held_by(),
            promotion=self.looking.promotion(found),
        )

    def _wait_for_next_interval(self, relieved: Relieved = lambda: False) -> bool:
        """Wait until there is a whole interval that was not looked at yet; return
        whether this was `relieved` before it.
        """
        most = 2 * self.rule.period_seconds
        pause = cloudwatch.pause(self.session)
        for _ in self.session.looks("CloudWatch's next figures", most, pause):
            if relieved():
                return True
            if self._data_until() > self.watch.looked_until:
                break
        return False

    def _carry_out(self, move: Move, decision: Decision) -> Iterator[Decision]:
        """Do what follows from a look; a hold or a rollback ends it by raising."""
        if isinstance(move, GoOn):
            yield decision
        elif isinstance(move, InEffect) and self.watch.passed:
            yield decision  # the record has it, of an earlier process
        elif isinstance(move, InEffect):
            yield self._told(replace(decision, phase="proved", words=move.words))
        elif isinstance(move, ExtendBake):
            self._tell_judgement("verdict")
            yield replace(
                decision, phase="judged", verdict="INCONCLUSIVE", words=move.words
            )
        elif isinstance(move, Pass):
            self._tell_judgement("verdict")
            passed = replace(decision, phase="judged", verdict="PASS", words=move.words)
            yield self._told(replace(passed, carried=self.found.carried))
        elif isinstance(move, Promote):
            self._tell_judgement("promoted")
            ended = replace(decision, phase="promoted", words=move.words)
            yield self._told(replace(ended, carried=self.found.carried))
        elif isinstance(move, Hold):
            yield from self._hold(move, decision)
        elif isinstance(move, RollBack):
            yield from self._roll_back(move, decision)
        else:
            yield from self._end_rolled_back_elsewhere(decision)

    # Where AWS does not answer, or its time turns out to be another.

    def _outlast(self, ask: Callable[[], T], error: CallError) -> T:
        """Ask again while AWS throttles or is away, and return the answer.

        Time without an answer counts neither as bake nor as proof. Raises
        _CannotLookError where it lasts too long, will not heal, or somebody says hold;
        where users are not on the canary, the error itself.
        """
        self._require_healing(error)
        began, most = self.session.clock(), 60.0 * self.shift.blind_minutes
        what = f"AWS to answer again: {error.message}"
        for _ in self.session.looks(what, most, BLIND_PAUSE_SECONDS):
            if by := self.looking.held_by():
                raise _CannotLookError(held(by))
            try:
                answer = ask()
            except CallError as again:
                error = again
                self._require_healing(error)
            else:
                blind = self.session.clock() - began
                self.watch = nobody_looked(self.watch, blind)
                return answer
        minutes = counted(self.shift.blind_minutes, "minute")
        words = f"nothing could be looked at for {minutes}: {error.message}"
        raise _CannotLookError(too_long_blind(words, self.rule))

    def _require_healing(self, error: CallError) -> None:
        # The local mesh is no more, and all traffic with it.
        target_gone = error.reason == "target"
        if target_gone or not self.weight:
            raise error
        if not error.heals:
            move = cannot_look(error.reason, error.message, error.hint)
            raise _CannotLookError(move) from error

    def _end_unseen(self, move: Hold | RollBack) -> Iterator[Decision]:
        """End a shift that cannot look any more, with the weights it last saw."""
        ours = (self.watch.step, self.weight)
        move = blind_to_others(move, self.standing, ours, self.rule)
        at = self._time()
        last = Decision("watching", self.weight, self.standing, move.words, at=at)
        yield from self._carry_out(move, last)

    def _time(self) -> float:
        """Return the time at AWS, every moment of the watch having moved with it."""
        moved = self.session.moved - self.moved
        if moved:
            self.moved += moved
            stamps_too = self.session.parameters.rehearsed
            self.watch = clock_set(self.watch, moved, stamps_too=stamps_too)
        return self.session.now()

    def _time_of_watch(self) -> float:
        """Return the time at AWS as the watch has it: a clock set now counts later."""
        return self.session.now() - (self.session.moved - self.moved)

    def _data_until(self) -> int:
        return cloudwatch.complete_until(self.session, self._time())

    # How it ends before its time.

    def _hold(self, move: Hold, decision: Decision) -> Iterator[Decision]:
        if move.word == HELD_BY_SOMEBODY:
            heed(self.session)
        self._tell_judgement(move.word)
        words = f"{move.word}: {move.words}"
        yield self._told(
            replace(decision, phase="judged", verdict="INCONCLUSIVE", words=words)
        )
        hint = f"weights stay; settle it, then run 05 again, or {self._undo()}"
        if move.word == "inconclusive" and self.rule.promotable:
            promote = f"runbook promote {self.session.named}"
            hint += f"; or go on: `{promote} --by NAME --because TEXT`, then run 05"
        if move.hint:
            hint = f"{move.hint}; {hint}"
        words = f"{decision.step} %: {move.words}{self._incomplete()}"
        raise Held(words, hint=hint, reason=move.word)

    def _roll_back(self, move: RollBack, decision: Decision) -> Iterator[Decision]:
        """Roll back in one write, write that down, and wait until traffic shows it."""
        self.session.outlast, self.weight = None, 0  # it waits in its own way
        rolling_back = RollingBack(self.session, self.found, self.rule, self.looking)
        told = f"{move.word}: {move.words}; back to 0 % in one write"
        failed = replace(
            decision,
            verdict="INCONCLUSIVE" if move.word in NOT_THE_CANARY else "FAIL",
            weights=self.shift.weights_at(0),
        )
        back = replace(failed, phase="rolled back", words=told)
        with undisturbed() as interrupts:
            others = rolling_back.write(decision.step)
            if others is None:
                self._tell_judgement(move.word)
                back = self._told(back)
        if others is not None:
            self.found = rolling_back.found
            self.standing = dict(self.found.split.weights)
            yield from self._carry_out(others, decision)
        words = "interrupted before traffic showed it"
        with suppress(KeyboardInterrupt):
            yield back
            if not interrupts:
                began = self._time()
                words = rolling_back.wait_until_settled(began, self._read_counts)
        last = self._told(settled(failed, words, self.watch.counts, self.rule))
        yield last
        words = f"{decision.step} %: {told}; {last.words}{self._incomplete()}"
        self.session.finish("rolled_back")
        hint = f"{NOT_THE_CANARY.get(move.word, FIX)}, {AGAIN}"
        raise RolledBack(words, hint=hint, reason=move.word)

    def _read_counts(self) -> Counts:
        """Read what was counted by now."""
        until, since = self._data_until(), self.watch.counts.since
        intervals = self.looking.intervals(since, until)
        counts = self.watch.counts.read_again(since, intervals)
        self.watch = replace(self.watch, counts=counts)
        return counts

    def _end_rolled_back_elsewhere(self, decision: Decision) -> Iterator[Decision]:
        """End by what somebody else did; write it down unless the record has it."""
        words = self.looking.who_rolled_back(self.found)
        self._tell_judgement("by_hand")
        if not self.looking.recorded_end():
            back = replace(decision, phase="rolled back", weights=self.standing)
            yield self._told(replace(back, words=words))
        words = f"{decision.step} %: {words}{self._incomplete()}"
        self.session.finish("rolled_back")
        raise RolledBack(words, hint=f"{FIX}, {AGAIN}", reason="by_hand")

    def _end_interrupted(self) -> NoReturn:
        try:
            now = dict(survey(self.session).split.weights)
        except CallError:
            now = self.standing
        self.session.note(lambda run: run.write("interrupted", weights=now))
        words = f"interrupted: {divided(now)} stays as it is{self._incomplete()}"
        hint = f"run 05 again to go on, or {self._undo()}"
        raise Held(words, hint=hint, reason="interrupted") from None

    # What is told, and written down.

    def _told(self, decision: Decision) -> Decision:
        """Write a decision down, and return it."""
        told = write_down(self.session, replace(decision, at=self._time()))
        self.journal.append(told.line)
        return told

    def _tell_judgement(self, word: str) -> None:
        """Write down the newest judgement with its counts, once, and its cause."""
        if not self.untold:
            return
        self.untold = False
        cause = "verdict" if word == "inconclusive" else word
        line = judgement_line(self.watch, self.rule, cause)
        self.session.note(lambda run: run.write("judged", **line))

    def _record_counts(self) -> None:
        """Write down the settled counts of a long bake, many at once."""
        counts = self.watch.counts
        if counts.fills_a_line:
            line = counts_line(counts)
            self.session.note(lambda run: run.write("counted", **line))
            self.watch = replace(self.watch, counts=counts.written_down())

    def _began(self) -> float | None:
        """Return when this attempt wrote its first step, as the record has it."""
        written = [line["at"] for line in self.journal if line["phase"] == "written"]
        return written[0] if written else None

    def _undo(self) -> str:
        return f"`runbook rollback {self.session.named}` to roll back"

    def _incomplete(self) -> str:
        spare = self.session.spare.words
        return f"; {spare}" if spare else ""
