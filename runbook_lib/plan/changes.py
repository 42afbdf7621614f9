"""Changes as data: what is called, what was read before, what is wanted,
and how it is undone.

Pure, and it knows no resource. A reader says what is there, a builder what is wanted;
the two become a `Plan`, and `clear` alone makes a plan ready for `apply`.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from enum import StrEnum
from typing import Any, Final, Literal

from runbook_lib.errors import GateError, PlanError
from runbook_lib.plan.states import ABSENT, Difference

Before = Literal["resources", "services", "shift", "retirement", "removal"]
"""What a plan is about to do: that of notebooks 01 to 03, 04, 05, 06, 90."""


class Need(StrEnum):
    """What a plan needs to hold, whatever carries the weights; engines have more."""

    EARLIER_STEPS = "earlier steps"
    ERRORS_COUNTED = "errors are counted"
    CANARY_READY = "canary ready"
    NOT_RETIRED = "not retired"
    STABLE_CARRIES_NOTHING = "stable carries nothing"
    CANARY_PROVEN = "canary proven"
    STABLE_IDLE = "stable is idle"
    UNREFERENCED = "nothing else refers to it"
    CANARY_CARRIES_ALL = "canary carries all"
    STABLE_CAN_CARRY_ALL = "stable can carry all"


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an AWS API, by boto3's names.

    `arguments` may hold `Answer`s and `Reading`s in place of values, or be a
    `Reading` as a whole.
    """

    service: str
    operation: str
    arguments: Mapping[str, Any] | Reading = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reading:
    """How one thing is read: a call, a JMESPath query for the state that counts, the
    errors that mean absent.
    """

    call: Call
    query: str
    absent: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """A value nobody knows before another change of the same plan was made: a
    query on its answer.

    `seen` is the same value's key in the state of what that change makes, where it has
    one: so it can be known of what was made though nobody saw the answer.
    """

    change: str
    query: str
    seen: str = ""


@dataclass(frozen=True, slots=True)
class Wait:
    """Something to wait for before or after a change: JMESPath conditions on
    what `reading` shows.

    Ends well when `until` has been true for `lasting_seconds`, badly when `failed` is
    or after `timeout_seconds`.
    """

    what: str
    reading: Reading
    until: str
    failed: str = "`false`"
    timeout_seconds: int = 600
    lasting_seconds: int = 0


@dataclass(frozen=True, slots=True)
class Inverse:
    """The call that takes a change back, and the state it leads to; `ready` is
    waited for before it.

    Where it is read otherwise than the change, `reading` says how and
    `expected` what is there before it. Where the thing comes back under another
    name (a task definition's next revision), `renames` is the former name and
    `answer` the query for the new one.
    """

    verb: str
    call: Call
    wanted: Any
    waits: tuple[Wait, ...] = ()
    ready: tuple[Wait, ...] = ()
    reading: Reading | None = None
    expected: Any = ABSENT
    renames: str = ""
    answer: str = ""


@dataclass(frozen=True, slots=True)
class Moved:
    """Weights that a change moves, by service in whole percent."""

    before: Mapping[str, int]
    after: Mapping[str, int]

    @property
    def reversed(self) -> Moved:
        """What moves them back."""
        return Moved(self.after, self.before)

    def lowers(self, service: str) -> bool:
        """Say whether a service gets less than it had."""
        return self.after.get(service, 0) < self.before.get(service, 0)

    def raises(self, service: str) -> bool:
        """Say whether a service gets more than it had."""
        return self.reversed.lowers(service)


@dataclass(frozen=True, slots=True)
class Change:
    """One call that alters something, with what must be there before it and after it.

    `about` names what it is about by keys: first the thing itself, then what that is a
    part of. It has an inverse, the reason there is none, or the name of the change that
    it `undoes`. What is `ready` is waited for before the call, `waits` after it.
    """

    name: str
    verb: str
    call: Call
    reading: Reading
    expected: Any
    wanted: Any
    about: tuple[str, ...]
    inverse: Inverse | None = None
    no_inverse: str = ""
    undoes: str = ""
    weights: Moved | None = None
    diff: tuple[Difference, ...] = ()
    ready: tuple[Wait, ...] = ()
    waits: tuple[Wait, ...] = ()
    back_on_failure: bool = False
    note: str = ""

    def __post_init__(self) -> None:
        said = [bool(each) for each in (self.inverse, self.no_inverse, self.undoes)]
        if sum(said) != 1:
            raise ValueError(
                f"{self.name}: expected an inverse or the reason there is none, or "
                "what it undoes"
            )
        if not self.about:
            raise ValueError(f"{self.name}: expected what it is about")

    @property
    def thing(self) -> str:
        """The key of what it makes, alters or removes."""
        return self.about[0]

    @property
    def title(self) -> str:
        """What it does to what, in words."""
        return f"{self.verb} {self.name}"


def turned(making: Change) -> Change:
    """Return the change that removes what `making` makes, and whose
    inverse makes it again.
    """
    if making.inverse is None:
        raise ValueError(f"{making.name}: it has no inverse to be turned into")
    weights = making.weights.reversed if making.weights else None
    return replace(
        making,
        verb=making.inverse.verb,
        call=making.inverse.call,
        expected=making.wanted,
        wanted=making.inverse.wanted,
        inverse=Inverse(making.verb, making.call, wanted=making.wanted),
        weights=weights,
        diff=tuple(difference.reversed for difference in making.diff),
        note="",
    )


@dataclass(frozen=True, slots=True)
class Plan:
    """Ordered changes; `needs` names the gates without which they may not be applied.

    `obstacle` says why there is no plan at all, where that is only to be shown; `kept`
    names what stays as it is since the parameters do not speak of it, `stays` what is
    not removed, and why. `undo_first` has the notebooks that must be undone before,
    each with the command that does it. What a run is about has ended with the plan
    that `ends` it.
    """

    title: str
    changes: tuple[Change, ...] = ()
    needs: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    obstacle: str = ""
    kept: tuple[str, ...] = ()
    stays: tuple[str, ...] = ()
    undo_first: Mapping[str, str] = field(default_factory=dict)
    before: Before | None = None
    ends: bool = False

    def __len__(self) -> int:
        return len(self.changes)

    def __iter__(self) -> Iterator[Change]:
        return iter(self.changes)

    def __add__(self, other: Plan) -> Plan:
        return replace(
            self,
            changes=self.changes + other.changes,
            needs=_each_once(self.needs + other.needs),
            assumed=_each_once(self.assumed + other.assumed),
            kept=_each_once(self.kept + other.kept),
            stays=_each_once(self.stays + other.stays),
            before=self.before or other.before,
        )

    @property
    def moved(self) -> Moved | None:
        """The weights that its last change of any moves; None where it moves none."""
        for change in reversed(self.changes):
            if change.weights:
                return change.weights
        return None

    @property
    def hash(self) -> str:
        """Twelve hexadecimal digits that name exactly these changes against
        exactly this state.

        Version counters are left out: writing the same state once more
        makes it no other plan.
        """
        changes = [_without_version(change) for change in self.changes]
        text = json.dumps(changes, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def _each_once(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))


def _without_version(change: Change) -> dict[str, Any]:
    """Return a change as plain data, without the version counter of what it expects."""
    plain = asdict(change)
    if isinstance(plain["expected"], dict):
        plain["expected"].pop("version", None)
    return plain


@dataclass(frozen=True, slots=True)
class Evidence:
    """A gate that was looked into: whether it holds, and what was found.

    Where it protects traffic, `again` looks once more at it and its kind: `apply` does
    so before the first write, however long ago the first look was.
    """

    name: str
    holds: bool
    found: str
    hint: str = ""
    again: Callable[[], tuple[Evidence, ...]] | None = field(
        default=None, repr=False, compare=False
    )


_KEY: Final = object()


@dataclass(frozen=True, slots=True)
class ClearedPlan:
    """A plan whose evidence holds. Only `clear` makes one, and only
    this can be applied.
    """

    plan: Plan
    evidence: tuple[Evidence, ...]
    key: object = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.key is not _KEY:
            raise TypeError("a ClearedPlan is made by clear(plan, *evidence) alone")


def clear(plan: Plan, *evidence: Evidence) -> ClearedPlan:
    """Return the plan ready for `apply`; raise GateError where a gate was not looked
    into, or does not hold.

    A plan without changes needs no evidence.
    """
    if not isinstance(plan, Plan):
        raise TypeError(f"expected a Plan, found {type(plan).__name__}")
    if plan.obstacle:
        raise PlanError(plan.obstacle)
    if plan.changes:
        _require_undone(plan)
        _require_holding(plan, evidence)
    return ClearedPlan(plan, evidence, _KEY)


def _require_undone(plan: Plan) -> None:
    if plan.undo_first:
        names = ", ".join(plan.undo_first)
        raise GateError(
            f"{plan.title}: {names} must be undone first: it has changed the same "
            "thing since, or made what uses it",
            hint=next(iter(plan.undo_first.values())),
        )


def _require_holding(plan: Plan, evidence: Sequence[Evidence]) -> None:
    looked_into = {each.name for each in evidence}
    missing = sorted(set(plan.needs) - looked_into)
    if missing:
        raise GateError(
            f"{plan.title}: no evidence of: {', '.join(missing)}",
            hint="run the cells above again",
        )
    failing = [each for each in evidence if not each.holds]
    if failing:
        # a gate may have been looked into by the cell above and again by the shift
        found = dict.fromkeys(f"- {each.name}: {each.found}" for each in failing)
        hints = dict.fromkeys(each.hint for each in failing if each.hint)
        raise GateError(
            f"{plan.title}: refused, since\n" + "\n".join(found),
            hint="; ".join(hints),
        )


def as_command(call: Call, region: str) -> str:
    """Return a call as the AWS CLI's command line, for somebody who
    must make it by hand.
    """
    arguments = shlex.quote(json.dumps(call.arguments, default=str))
    return (
        f"aws {call.service} {call.operation.replace('_', '-')} --region {region} "
        f"--cli-input-json {arguments}"
    )


def map_leaves(value: Any, leaf: Callable[[Any], Any]) -> Any:
    """Return a value, or a part of a plan, with `leaf` applied to each of its leaves.

    A leaf holds nothing else; an `Answer` is one.
    """
    if isinstance(value, Mapping):
        return {key: map_leaves(inner, leaf) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map_leaves(inner, leaf) for inner in value)
    if _is_part(value):
        return replace(value, **map_leaves(values_of(value), leaf))
    return leaf(value)


def leaves(value: Any) -> Iterator[Any]:
    """Yield the leaves of a value, or of a part of a plan: those of `map_leaves`."""
    if isinstance(value, Mapping):
        inside = list(value.values())
    elif isinstance(value, list | tuple):
        inside = list(value)
    elif _is_part(value):
        inside = list(values_of(value).values())
    else:
        yield value
        return
    for inner in inside:
        yield from leaves(inner)


def _is_part(value: Any) -> bool:
    return is_dataclass(value) and not isinstance(value, type | Answer)


def values_of(part: Any) -> dict[str, Any]:
    """Return the fields of a part of a plan by their names, as they are."""
    return {field.name: getattr(part, field.name) for field in fields(part)}


def ordered(names: Iterable[str], after: Mapping[str, Iterable[str]]) -> list[str]:
    """Return names so that each comes behind those it refers to; a circle is
    broken where it is met.
    """
    wanted = list(names)
    placed: list[str] = []

    def place(name: str, path: tuple[str, ...]) -> None:
        if name in placed:
            return
        for other in after.get(name, ()):
            if other in wanted and other not in path:
                place(other, (*path, other))
        placed.append(name)

    for name in wanted:
        place(name, (name,))
    return placed
