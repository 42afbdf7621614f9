"""Say what the runbook asks of an engine: of whatever carries the weights.

An engine is a module or an object with these verbs. `read_` verbs and `references`
read, by `Reads`, which cannot write; all others are pure, or ask a `Look` for what they
need. An engine never writes, waits, shows or raises a weight by itself: it hands out
plans, and `apply` alone makes them.

Everything an engine's own words appear in comes from here: what is shown of it, the
hints, the names of its gates. No other module knows what a route or a target group is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

from runbook_lib.aws.cloud_map import Registered
from runbook_lib.aws.ecs import Running, Task
from runbook_lib.aws.permissions import Statement
from runbook_lib.aws.reads import Reads
from runbook_lib.aws.roles import Role
from runbook_lib.aws.series import Counted, Series
from runbook_lib.errors import PlanError
from runbook_lib.lifecycle import Lifecycle
from runbook_lib.parameters import Parameters
from runbook_lib.plan import Before, Change, Inverse, Need, Plan, Reading

T = TypeVar("T")

Live = Mapping[str, Any]
"""The state of each of an engine's resources by its key; None where it is absent."""

SeriesOf = Mapping[str, Mapping[str, tuple[Series, ...]]]
"""What counts `requests`, `errors` and `latency`, by service: of several the sum.

Where the engine itself answers errors that it counts for neither version, they stand
under NOBODY, and each service has its `answers`: those it gave itself.
"""

Part = Literal["split", "live", "running", "counts", "tasks", "names", "references"]
"""A part of a look that is read by itself."""

Permitted = Callable[[Parameters, Any], bool]
"""Whether a call's arguments are about something that the file names."""


# --- what an engine may look at -------------------------------------------------------


class Look(Protocol):
    """One look at an environment; each part is read once, when it
    is first asked for.
    """

    @property
    def reads(self) -> Reads:
        """The environment, of which nothing is read twice."""

    @property
    def parameters(self) -> Parameters:
        """What its file says."""

    @property
    def split(self) -> Split:
        """How the traffic is divided."""

    @property
    def live(self) -> Live:
        """The state of each of the engine's resources."""

    @property
    def lifecycle(self) -> Lifecycle:
        """Where the application stands."""

    @property
    def running(self) -> Mapping[str, Running]:
        """Each ECS service with its definition, by its name in the file."""

    @property
    def tasks(self) -> list[Task]:
        """Each running task with its containers' health."""

    @property
    def names(self) -> Mapping[str, Registered]:
        """Each name callers may dial, as discovery has it."""

    def ahead(self, *parts: Part) -> object:
        """Read parts together, before they are asked for one by one."""

    def once(self, read: Callable[[Look], T]) -> T:
        """Return what else an engine wants to read at this look; it is read once."""


# --- how the traffic is divided -------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Target:
    """One that gets traffic: the service, and its weight as it is written."""

    service: str
    weight: int


@dataclass(frozen=True, slots=True)
class Split:
    """How the traffic is divided now, with what a change of it must find unchanged.

    `key` is what it is called in plans. `state` is None where nothing divides the
    traffic yet. `targets` are as they are written there, a service as often as it
    stands there. `labels` are the tags of what is made beside it. `at_zero` says what
    comes of it where every weight is 0, `where_absent` what to do where it is not
    there. `ids` are names that exist only live, where an engine's series need them.
    """

    key: str
    reading: Reading
    state: Mapping[str, Any] | None
    targets: tuple[Target, ...] = ()
    retired: frozenset[str] = frozenset()
    labels: Mapping[str, str] = field(default_factory=dict)
    at_zero: str = ""
    where_absent: str = ""
    ids: Mapping[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """What kind of thing it is: the first word of its key."""
        return self.key.split()[0]

    @property
    def written(self) -> dict[str, int]:
        """The weights as they are written, whatever they sum to, by service."""
        return summed(self.targets)

    @property
    def weights(self) -> dict[str, int]:
        """The weights as shares of their sum, in whole percent by service."""
        return shares(self.written)

    def require_state(self) -> Mapping[str, Any]:
        """Return the state; raise PlanError where nothing divides the traffic yet."""
        if self.state is None:
            words = f"{self.key}: there is no such {self.kind}"
            raise PlanError(words, hint=self.where_absent)
        return self.state

    def require_division(self, weights: Mapping[str, int], most: int) -> None:
        """Raise PlanError where weights are not 1 to `most` whole percents that sum to
        100, or do not name a target that would lose its traffic.
        """
        _require_percents(weights, most)
        left_out = sorted(self.written.keys() - weights.keys() - self.retired)
        if left_out:
            raise PlanError(
                f"{self.key}: {', '.join(left_out)} is a target too: {self.as_written}",
                hint="it is not this shift's to move: take it out of the "
                f"{self.kind}, or shift with a file that names it",
            )

    def oddity(self, names: Collection[str]) -> str:
        """Say why these weights cannot be a shift's between two services;
        "" where they can.
        """
        services = [target.service for target in self.targets]
        others = sorted({*services} - {*names})
        if others:
            return (
                f"{', '.join(others)} is a target too, and no part of this shift: "
                f"{self.as_written}"
            )
        if len(services) > len({*services}):
            return f"a service is a target twice: {self.as_written}"
        if self.state is None or sum(self.written.values()) == 100:
            return ""
        return self._unlike_percents()

    def _unlike_percents(self) -> str:
        total = sum(self.written.values())
        if total == 0:
            return f"every weight is 0, and {self.at_zero}"
        all_but_one = sorted(self.written.values())[:-1]
        if not any(all_but_one):  # 1 and 0: all of it for one, by whatever number
            return ""
        return (
            f"the weights do not sum to 100 but to {total}, so nobody meant percents: "
            f"{self.as_written}"
        )

    def moved_back(self, stable: str, canary: str, most: int) -> dict[str, int]:
        """Return the weights of a rollback: stable has all that the canary had,
        others keep theirs.

        No weight may be above `most`. Empty where the canary has none.
        """
        written = self.written
        nothing_to_move = not written.get(canary) and any(written.values())
        if nothing_to_move:
            return {}
        both = written.get(stable, 0) + written.get(canary, 0)
        moved = {**written, stable: both, canary: 0}
        if not moved.keys() - {stable, canary}:
            return {stable: 100, canary: 0}
        return shares(moved) if max(moved.values()) > most else moved

    def settled(self, survivor: str, retire: str) -> dict[str, int]:
        """Return the weights once a service is retired: the survivor has all, other
        targets keep theirs.
        """
        gone = {retire, *self.retired}
        left = {
            name: weight for name, weight in self.written.items() if name not in gone
        }
        return left | {survivor: 100}

    @property
    def as_written(self) -> str:
        """The weights as they are written, with the shares they come to."""
        written = self.written
        total = sum(written.values())
        weights = ", ".join(f"{name} {weight}" for name, weight in written.items())
        if total in (0, 100):
            return weights
        percents = ", ".join(
            f"{100 * weight / total:.4g} %" for weight in written.values()
        )
        return f"{weights} (shares of {percents})"


def summed(targets: Iterable[Target]) -> dict[str, int]:
    """Return the weights of targets as they are written, by service."""
    weights: Counter[str] = Counter()
    for target in targets:
        weights[target.service] += target.weight
    return dict(weights)


def shares(weights: Mapping[str, int]) -> dict[str, int]:
    """Return weights as shares of their sum in whole percent that sum to 100.

    Who has any weight has at least 1. Where every weight is 0 nobody has a share.
    """
    total = sum(weights.values())
    if total in (0, 100):
        return dict(weights)
    whole, lost = {}, {}
    for name, weight in weights.items():
        whole[name] = max(100 * weight // total, min(weight, 1))
        lost[name] = 100 * weight / total - whole[name]
    missing = max(100 - sum(whole.values()), 0)
    most_lost_first = sorted(lost, key=lambda name: -lost[name])
    for name in most_lost_first[:missing]:
        whole[name] += 1
    largest = max(whole, key=lambda name: whole[name])
    whole[largest] += 100 - sum(whole.values())
    return whole


def _require_percents(weights: Mapping[str, int], most: int) -> None:
    """Raise PlanError where weights are not 1 to `most` whole
    percents that sum to 100.
    """
    whole = all(
        type(weight) is int and 0 <= weight <= 100 for weight in weights.values()
    )
    few = 1 <= len(weights) <= most
    if not (whole and few and sum(weights.values()) == 100):
        raise PlanError(
            f"weights: expected 1 to {most} whole percents that sum to 100; found "
            f"{dict(weights)}"
        )


# --- what must hold -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look at a gate showed: whether it holds, what was
    found, what to do next.

    `holds` is None where it cannot be verified here: that stops nobody, and is said.
    """

    holds: bool | None
    found: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Gate:
    """One condition of an engine's own that must hold before a write.

    What `protects` traffic is looked at again by `apply`, just before its first
    write. One that is not `assumable` is not taken for granted in plan mode, where
    earlier steps are. `parts` of the look are read ahead, together with other gates'.
    """

    name: str
    look: Callable[[Look], Finding]
    protects: bool = False
    assumable: bool = False
    parts: tuple[Part, ...] = ()


NEUTRAL_NEEDS: Mapping[Before, tuple[tuple[Need, ...], tuple[Need, ...]]] = {
    "resources": ((Need.EARLIER_STEPS,), ()),
    "services": ((Need.EARLIER_STEPS,), ()),
    "shift": (
        (Need.EARLIER_STEPS,),
        (Need.CANARY_READY, Need.NOT_RETIRED, Need.ERRORS_COUNTED),
    ),
    "retirement": (
        (
            Need.STABLE_CARRIES_NOTHING,
            Need.CANARY_PROVEN,
            Need.STABLE_IDLE,
            Need.UNREFERENCED,
            Need.CANARY_CARRIES_ALL,
        ),
        (),
    ),
    "removal": ((), (Need.STABLE_CAN_CARRY_ALL,)),
}
"""What any plan needs, before and after what its engine's own gates say."""


def due(plan: Plan, before: Before, own: Iterable[Gate]) -> Plan:
    """Return a plan that names its gates: the engine's `own`, among everybody's."""
    first, last = NEUTRAL_NEEDS[before]
    needs = (*first, *(gate.name for gate in own), *last)
    return replace(plan, before=before, needs=needs)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at; `where` names it, `hint` says what to do
    where it is not PASS.
    """

    level: Literal["PASS", "WARN", "FAIL"]
    where: str
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Idle:
    """What shows that the stable version gets no request any more.

    `witness` is counted in the same way and by the same as `stable`, and gets
    traffic: that it is counted shows that `stable`'s silence is no lack of metrics.
    `blind` says why `stable` would miss requests, "" where it counts them all.
    Stable must be silent for `least_seconds`, where that is longer than the
    parameters say. Each `_hint` is for the case that is named: nothing is counted
    at all, it is blind, it is still called.
    """

    stable: tuple[Series, ...]
    witness: tuple[Series, ...]
    blind: str = ""
    least_seconds: int = 0
    uncounted_hint: str = ""
    blind_hint: str = ""
    called_hint: str = ""


@dataclass(frozen=True, slots=True)
class Path:
    """What shows that calls take the engine's way to the stable version.

    `counted` are series by the words for who counts; each must count a request. `name`
    is the gate's, `good` what is said where all count.
    """

    name: str
    counted: Mapping[str, tuple[Series, ...]]
    good: str
    hint: str


@dataclass(frozen=True, slots=True)
class Hints:
    """What to do next, in an engine's own words, where neutral code has
    found the trouble.

    `uncounted`: no request is counted before a shift. `unheard`: a weight was written
    and callers go on as before. `not_there`: nothing divides the traffic yet.
    """

    uncounted: str
    unheard: str
    not_there: str


@dataclass(frozen=True, slots=True)
class Undoable:
    """Which of an engine's calls an undo may make, and which readings: a
    record is only data.
    """

    writes: Mapping[tuple[str, str], Permitted]
    reads: frozenset[tuple[str, str]]


# --- what is shown --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fact:
    """One row: its cells by column; `level` where it is not as it should be."""

    cells: Mapping[str, str]
    level: Literal["", "WARN", "FAIL"] = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """What an engine has found out, to be shown in its own notebook."""

    caption: str
    rows: tuple[Fact, ...]


# --- the map --------------------------------------------------------------------------

CALLERS, NAMES, DIVIDES, ANSWERS, TASKS = range(5)
"""The columns of the map, from left to right; FRAME is around all but
callers and tasks.
"""
FRAME = -1


@dataclass(frozen=True, slots=True)
class Box:
    """One thing on the map: its column and lines, and whether it is there.

    `called` is its name in words, "" where that is its key.
    """

    column: int
    lines: tuple[str, ...]
    there: bool
    called: str = ""


@dataclass(frozen=True, slots=True)
class Arrow:
    """One thing leads to another, by their keys.

    `weight` is what goes there now, in percent, None where that is not said; `after`
    what a plan would make of it, None for nothing any more.
    """

    start: str
    end: str
    weight: int | None = None
    after: int | None = None


@dataclass(frozen=True, slots=True)
class Chart:
    """Who calls whom, through what, and on which tasks.

    `columns` are captions, `frame` is the key of the box around it all. `within` has
    the boxes in which things are shown that have none of their own, by keys.
    """

    columns: tuple[str, str, str, str, str]
    frame: str
    boxes: Mapping[str, Box]
    arrows: tuple[Arrow, ...]
    within: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


# --- the engine -----------------------------------------------------------------------


@runtime_checkable
class Engine(Protocol):
    """What carries the weights.

    `look` is one look at an environment, `p` its parameters, `split` how the traffic is
    divided as it was read. Weights are whole percents by service.
    """

    # What the parameters alone tell

    @property
    def hints(self) -> Hints:
        """What to do next where neutral code found the trouble."""

    @property
    def undoable(self) -> Undoable:
        """Its part of what an undo may do; all else in a record is refused."""

    def steps(self, p: Parameters) -> tuple[str, ...]:
        """Return the numbers of the notebooks that have something to change: a run
        leaves out the others, but 00.
        """

    def resources_of(self, p: Parameters, step: str) -> list[str]:
        """Return the keys of the resources that one of notebooks 01 to 03 makes."""

    def counted(self, p: Parameters) -> Counted:
        """Return what its series can show: a canary whose errors nobody
        counts is refused.
        """

    def unmatched(self, p: Parameters) -> list[str]:
        """Return a sentence for each kind of request that nobody would
        answer by this file.
        """

    def permissions(self, p: Parameters, role: Role) -> list[Statement]:
        """Return what a role may do at what carries the weights, and at what only this
        engine has to do with.
        """

    # How the traffic is divided: 05

    def split_reading(self, p: Parameters) -> Reading:
        """Return how the state is read: by it a recorded change is known to
        be of the weights.
        """

    def weights_of(
        self, p: Parameters, state: Mapping[str, Any] | None
    ) -> dict[str, int]:
        """Return the weights that a state of it gives: undo and history
        compare recorded ones.
        """

    def all_on(self, p: Parameters, change: Change, service: str) -> Change:
        """Return a change that makes it anew, with all traffic on one service:
        undo never raises.

        Raises PlanError where the runbook did not make it.
        """

    def read_split(self, session: Reads) -> Split:
        """Read how the traffic is divided, and who has been retired."""

    def read_weights(self, session: Reads) -> Split:
        """Read the same by as few calls as can be, without who was
        retired: for a rollback.
        """

    def plan_split(
        self, split: Split, weights: Mapping[str, int], *, rewrite: bool = False
    ) -> Plan:
        """Plan these weights, by one change that keeps all else; none where
        they are in force.

        With `rewrite` they are written all the same: the rollback, rehearsed. Raises
        PlanError where nothing divides the traffic, where they are no whole percents
        that sum to 100, or where a target would lose its traffic that they do not name.
        """

    def plan_rollback(self, split: Split, stable: str, canary: str) -> Plan:
        """Plan that stable gets all that the canary has, in one write; other
        targets keep theirs.
        """

    def read_mark(self, session: Reads, split: Split) -> str:
        """Read who rolled back last, and when, as `plan_mark` wrote it;
        "" where nobody did.
        """

    def plan_mark(self, split: Split, before: str, words: str) -> Plan:
        """Plan a mark beside the weights that says who rolled back: whoever watches
        elsewhere reads it.
        """

    # The trial: 05, before users see the canary

    def read_trial(self, session: Reads) -> Mapping[str, Any] | None:
        """Read what sends the trial's requests to the canary; None
        where there is none.
        """

    def plan_trial(self, p: Parameters, split: Split, header: str, value: str) -> Plan:
        """Plan that requests with one header, and they alone, go to the canary."""

    def plan_trial_end(self, split: Split, state: Mapping[str, Any] | None) -> Plan:
        """Plan the end of the trial, from what `read_trial` found."""

    # What is counted

    def series(self, p: Parameters, split: Split) -> SeriesOf:
        """Return what counts requests, errors and slow requests of stable and canary.

        `split` has the names that exist only live.
        """

    def read_unhealthy(self, session: Reads, split: Split, running: int) -> int:
        """Read how many of the canary's running tasks are unhealthy, by their own
        checks or by those of what sends them requests.
        """

    def idle(self, look: Look) -> Idle:
        """Return what shows that nobody calls the stable version any more:
        before it is retired.
        """

    def path(self, look: Look) -> Path:
        """Return what shows that calls take the engine's way: after services
        were moved behind it.
        """

    # What must hold, and what is looked at before

    def gates(
        self, look: Look, before: Before, plan: Plan | None = None
    ) -> tuple[Gate, ...]:
        """Return its own gates before what is about to be applied, in the order they
        are shown.
        """

    def checks(self, look: Look) -> Iterator[Check]:
        """Yield its part of notebook 00: what a later notebook would break on."""

    def serves(self, session: Reads) -> Finding:
        """Return whether its API answers now, and what it says; asked of AWS alone."""

    def references(self, session: Reads, service: str) -> list[str]:
        """List the keys of what still refers to a service: it would fail
        once that is gone.
        """

    def standing(self, session: Reads) -> Mapping[str, Collection[str]]:
        """Read all that stands there, whoever made it, by key: with the keys of what it
        needs to be there.
        """

    def foreign(self, look: Look, inverse: Inverse) -> str:
        """Say why an undo may not make a call of the engine's own, where a look must
        tell; "" where it may.
        """

    # What is shown

    def title(self, p: Parameters) -> str:
        """Return the name of what its resources are in."""

    def facts(self, look: Look) -> tuple[Facts, ...]:
        """Return what 04 shows of it before services move."""

    def chart(self, look: Look, plan: Plan) -> Chart:
        """Return the map of what was found, and what of it a plan would change."""

    # What is made and removed: 01 to 04, 06, 90

    def read_live(self, session: Reads) -> dict[str, Any]:
        """Read every resource that the parameters speak of,
        retired ones too, by key.
        """

    def plan_resources(self, look: Look, step: str) -> Plan:
        """Plan the resources of one of notebooks 01 to 03; for 04, what
        of them is missing.
        """

    def plan_retirement(self, look: Look) -> Plan:
        """Plan the stable service's end in the engine's own order: nobody
        notices, there and back.
        """

    def plan_removal(self, look: Look) -> Plan:
        """Plan the end of everything the runbook made; name what `stays`, and why."""
