"""Turn what is wanted and what is there into ordered changes that can be checked and taken back.

Pure: no AWS, no clock, no printing, and no knowledge of any resource. A reader says what is there, a
builder what is wanted; here the two become a `Plan`, and `clear` alone makes a plan ready for `apply`.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any, Final

from runbook_lib.errors import GateError, PlanError

__all__ = [
    "ABSENT",
    "TAKEN_BACK",
    "TAKES_BACK",
    "Answer",
    "Call",
    "Change",
    "ClearedPlan",
    "Default",
    "Difference",
    "Evidence",
    "Inverse",
    "Plan",
    "Reading",
    "Wait",
    "as_command",
    "clear",
    "differences",
    "fingerprint",
    "holds",
    "kept",
    "mapped",
    "merged",
    "ordered",
    "spoken",
    "stated",
    "told",
    "turned",
    "without",
]

ABSENT: Final = None
"""The state of something that is not there."""

TAKES_BACK: Final = "it takes back a change"
TAKEN_BACK: Final = " taken back first"  # how a need ends that is another notebook's undo
"""Why the way back of a change has no inverse of its own."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an AWS API, by boto3's names.

    `arguments` may hold `Answer`s and `Reading`s in place of values, or be a `Reading` as a whole.
    """

    service: str
    operation: str
    arguments: Mapping[str, Any] | Reading = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reading:
    """How one thing is read: a call, a JMESPath query for the state that counts, the errors that mean absent."""

    call: Call
    query: str
    absent: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """A value nobody knows before another change of the same plan was made: a query on its answer."""

    change: str
    query: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Something to wait for before or after a change: JMESPath conditions on what `reading` shows.

    Ends well when `until` has been true for `lasting_seconds`, badly when `failed` is or after `timeout_seconds`.
    """

    what: str
    reading: Reading
    until: str
    failed: str = "`false`"
    timeout_seconds: int = 600
    lasting_seconds: int = 0


@dataclass(frozen=True, slots=True)
class Inverse:
    """The call that takes a change back, and the state it leads to; `ready` is waited for before it.

    Where it is read otherwise than the change, `reading` says how and `expected` what is there before it.
    Where the thing comes back under another name (a task definition's next revision), `renames` is the
    former name and `answer` the query for the new one.
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
class Difference:
    """One field that a change would alter."""

    field: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Change:
    """One call that alters something, with what must be there before it and after it.

    What is `ready` is waited for before the call, `waits` after it.
    """

    name: str
    verb: str
    call: Call
    reading: Reading
    expected: Any
    wanted: Any
    inverse: Inverse | None = None
    no_inverse: str = ""
    diff: tuple[Difference, ...] = ()
    ready: tuple[Wait, ...] = ()
    waits: tuple[Wait, ...] = ()
    back_on_failure: bool = False
    note: str = ""

    def __post_init__(self) -> None:
        if (self.inverse is None) == (not self.no_inverse):
            raise ValueError(f"{self.name}: expected an inverse or the reason there is none")


def turned(making: Change) -> Change:
    """Return the change that removes what `making` makes, and whose inverse makes it again."""
    if making.inverse is None:
        raise ValueError(f"{making.name}: it has no inverse to be turned into")
    return replace(
        making,
        verb=making.inverse.verb,
        call=making.inverse.call,
        expected=making.wanted,
        wanted=making.inverse.wanted,
        inverse=Inverse(making.verb, making.call, wanted=making.wanted),
        diff=tuple(Difference(d.field, d.after, d.before) for d in making.diff),
        note="",
    )


@dataclass(frozen=True, slots=True)
class Plan:
    """Ordered changes; `needs` names the evidence without which they may not be applied.

    `obstacle` says why there is no plan at all, where that is only to be shown; `kept` names what stays as it is
    since the parameters do not speak of it. What a run is about has ended with the plan that `ends` it.
    """

    title: str
    changes: tuple[Change, ...] = ()
    needs: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    obstacle: str = ""
    kept: tuple[str, ...] = ()
    ends: bool = False

    def __len__(self) -> int:
        return len(self.changes)

    def __iter__(self) -> Iterator[Change]:
        return iter(self.changes)

    def __add__(self, other: Plan) -> Plan:
        return replace(
            self,
            changes=self.changes + other.changes,
            needs=tuple(dict.fromkeys(self.needs + other.needs)),
            assumed=tuple(dict.fromkeys(self.assumed + other.assumed)),
            kept=tuple(dict.fromkeys(self.kept + other.kept)),
        )

    @property
    def hash(self) -> str:
        """Twelve hexadecimal digits that name exactly these changes against exactly this state.

        Version counters are left out: writing the same state once more makes it no other plan.
        """
        text = json.dumps([_uncounted(asdict(c)) for c in self.changes], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def _uncounted(change: dict[str, Any]) -> dict[str, Any]:
    expected = change["expected"]
    if isinstance(expected, Mapping):
        change["expected"] = {key: value for key, value in expected.items() if key != "version"}
    return change


@dataclass(frozen=True, slots=True)
class Evidence:
    """A claim somebody looked into: whether it holds, and what was found.

    Where the claim protects traffic, `again` looks once more at it and its kind:
    `apply` does so before the first write, however long ago the first look was.
    """

    name: str
    holds: bool
    found: str
    hint: str = ""
    again: Callable[[], tuple[Evidence, ...]] | None = field(default=None, repr=False, compare=False)


_KEY: Final = object()


@dataclass(frozen=True, slots=True)
class ClearedPlan:
    """A plan whose evidence holds. Only `clear` makes one, and only this can be applied."""

    plan: Plan
    evidence: tuple[Evidence, ...]
    key: object = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.key is not _KEY:
            raise TypeError("a ClearedPlan is made by clear(plan, *evidence) alone")


def clear(plan: Plan, *evidence: Evidence) -> ClearedPlan:
    """Return the plan ready for `apply`; raise GateError where evidence is missing or does not hold.

    A plan without changes needs no evidence.
    """
    if not isinstance(plan, Plan):
        raise TypeError(f"expected a Plan, found {type(plan).__name__}")
    if plan.obstacle:
        raise PlanError(plan.obstacle)
    if plan.changes:
        missing = sorted(set(plan.needs) - {e.name for e in evidence})
        if missing:
            first = [need for need in missing if need.endswith(TAKEN_BACK)]
            hint = f"undo {first[0].removesuffix(TAKEN_BACK)} first" if first else "run the cells above again"
            raise GateError(f"{plan.title}: no evidence of: {', '.join(missing)}", hint=hint)
        failing = [e for e in evidence if not e.holds]
        if failing:
            found = "\n".join(f"- {e.name}: {e.found}" for e in failing)
            raise GateError(f"{plan.title}: refused, since\n{found}", hint="; ".join(e.hint for e in failing if e.hint))
    return ClearedPlan(plan, evidence, _KEY)


def as_command(call: Call, region: str) -> str:
    """Return a call as the AWS CLI's command line, for somebody who must make it by hand."""
    arguments = shlex.quote(json.dumps(call.arguments, default=str))
    return f"aws {call.service} {call.operation.replace('_', '-')} --region {region} --cli-input-json {arguments}"


def fingerprint(state: Any) -> str:
    """Return sixteen hexadecimal digits that name exactly this state; "" for what is not there.

    A state with an identity and a version is named by these and what it specifies.
    """
    if state is ABSENT:
        return ""
    if isinstance(state, Mapping) and "uid" in state:
        state = {key: state.get(key) for key in ("uid", "version", "spec")}
    return hashlib.sha256(json.dumps(state, sort_keys=True, default=str).encode()).hexdigest()[:16]


def empty(value: Any) -> bool:
    """Return whether the API makes no difference between this and nothing."""
    return value is None or value == {} or value == []


def holds(state: Any, wanted: Any) -> bool:
    """Return whether `state` contains all that `wanted` says.

    Absent is only ever equal to absent; inside a state empties are equal and more fields are allowed.
    """
    return (state is ABSENT) == (wanted is ABSENT) and _contains(state, wanted)


def _contains(state: Any, wanted: Any) -> bool:
    if isinstance(wanted, Mapping) and (empty(state) or isinstance(state, Mapping)):
        return all(_contains((state or {}).get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list) and isinstance(state, list):
        return len(wanted) == len(state) and all(map(_contains, state, wanted))
    return bool(state == wanted) or (empty(state) and empty(wanted))


@dataclass(frozen=True, slots=True)
class Default:
    """A value that nobody asked for: it is written where nothing is there yet, and what is there is kept."""

    value: Any


def merged(live: Any, desired: Any) -> Any:
    """Return `live` with what `desired` says put in.

    Fields that `desired` does not speak of are kept, and so is what it has a `Default` for; None takes one out.
    Records in lists are matched by the first field they name; items that are not wanted go.
    """
    if isinstance(desired, Default):
        return live
    if isinstance(live, Mapping) and isinstance(desired, Mapping):
        fields = dict(live)
        for key, value in desired.items():
            field = merged(live.get(key), value)
            if value is None or field is None:
                fields.pop(key, None)
            else:
                fields[key] = field
        return fields
    if isinstance(live, list) and isinstance(desired, list):
        left = [record for record in live if isinstance(record, Mapping)]
        return [merged(_taken_twin(item, left), item) for item in desired]
    return stated(desired)


def kept(live: Any, desired: Any, where: str = "") -> tuple[Difference, ...]:
    """Return what `merged` leaves as it is although `desired` has another `Default` for it: from the default, to it."""
    if isinstance(desired, Default):
        return differences(stated(desired), live, where) if not empty(live) else ()
    if isinstance(live, Mapping) and isinstance(desired, Mapping):
        pairs = [(f"{where}.{key}".lstrip("."), live.get(key), value) for key, value in desired.items()]
    elif isinstance(live, list) and isinstance(desired, list):
        left = [record for record in live if isinstance(record, Mapping)]
        pairs = [(f"{where}[{n}]", _taken_twin(item, left), item) for n, item in enumerate(desired)]
    else:
        return ()
    return tuple(d for path, found, value in pairs for d in kept(found, value, path))


def _taken_twin(item: Any, left: list[Mapping[str, Any]]) -> Any:
    """Take out of `left` the record that an item stands for; each stands for one."""
    if not isinstance(item, Mapping) or not item:
        return None
    name = next(iter(item))
    for index, record in enumerate(left):
        if _contains(record.get(name), item[name]):
            return left.pop(index)
    return None


def stated(desired: Any) -> Any:
    """Return `desired` as it is made from nothing: with its defaults, without the fields it wants out."""
    if isinstance(desired, Default):
        return stated(desired.value)
    if isinstance(desired, Mapping):
        fields = {key: stated(value) for key, value in desired.items()}
        return {key: value for key, value in fields.items() if value is not None}
    return [stated(value) for value in desired] if isinstance(desired, list) else desired


def without(before: Any, after: Any) -> Any:
    """Return `after` with None for each field that `before` has and it has not: so that `holds` sees what is left."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        gone = dict.fromkeys(key for key in before if key not in after)
        return gone | {key: without(before.get(key), value) for key, value in after.items()}
    if isinstance(before, list) and isinstance(after, list):
        left = [record for record in before if isinstance(record, Mapping)]
        return [without(_taken_twin(item, left), item) for item in after]
    return after


def differences(before: Any, after: Any, where: str = "") -> tuple[Difference, ...]:
    """Return the fields in which two states differ, as readable paths; empties are equal.

    Records in lists are told apart by their first field where that names them, else by their place.
    """
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        keys = [*before, *(k for k in after if k not in before)]
        pairs = [(f"{where}.{k}".lstrip("."), before.get(k), after.get(k)) for k in keys]
    elif isinstance(before, list) and isinstance(after, list) and before and after:
        one, other = _named(before, after) or (dict(enumerate(before)), dict(enumerate(after)))
        pairs = [(f"{where}[{key}]", one.get(key), other.get(key)) for key in {**one, **other}]
    elif before == after or (empty(before) and empty(after)):
        return ()
    else:
        return (Difference(where, before, after),)
    return tuple(d for path, a, b in pairs for d in differences(a, b, path))


def _named(before: list[Any], after: list[Any]) -> tuple[dict[Any, Any], dict[Any, Any]] | None:
    """Return two lists' records by their first field, where that names each of them; None where it does not.

    Where the order alone differs names would hide it.
    """
    records = before + after
    if not all(isinstance(record, Mapping) and record for record in records):
        return None
    name = next(iter(before[0]))
    one, other = ({r[name]: r for r in part if isinstance(r.get(name), str)} for part in (before, after))
    unique = next(iter(after[0])) == name and len(one) + len(other) == len(records)
    in_order = [key for key in one if key in other] == [key for key in other if key in one]
    return (one, other) if unique and in_order else None


def told(found: Sequence[Difference]) -> str:
    """Return the first eight differences, each in a line of its own."""
    said = ((d.field or "it", json.dumps(d.before, default=str), json.dumps(d.after, default=str)) for d in found[:8])
    return "\n".join(f"  {where}: {before} → {after}" for where, before, after in said)


def spoken(state: Any, wanted: Any) -> Any:
    """Return of a state what `wanted` speaks of."""
    both = isinstance(state, Mapping) and isinstance(wanted, Mapping)
    return {key: state.get(key) for key in wanted} if both else state


def mapped(value: Any, end: Callable[[Any], Any]) -> Any:
    """Return a value, or a part of a plan, with `end` applied to each value and `Answer` at its ends."""
    if isinstance(value, Mapping):
        return {key: mapped(inner, end) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(mapped(inner, end) for inner in value)
    if is_dataclass(value) and not isinstance(value, type | Answer):
        return replace(value, **{f.name: mapped(getattr(value, f.name), end) for f in fields(value)})
    return end(value)


def ordered(names: Iterable[str], after: Mapping[str, Iterable[str]]) -> list[str]:
    """Return names so that each comes behind those it refers to; a circle is broken where it is met."""
    out: list[str] = []
    names = list(names)

    def visit(name: str, path: tuple[str, ...]) -> None:
        for other in after.get(name, ()):
            if other in names and other not in path:
                visit(other, (*path, name))
        if name not in out:
            out.append(name)

    for name in names:
        visit(name, ())
    return out
