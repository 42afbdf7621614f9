"""What a run has changed, by its record: each change with the state before, the state
after and its inverse, but for those undone. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jmespath

from runbook_lib import record
from runbook_lib.plan import (
    Answer,
    Change,
    Inverse,
    Reading,
    holds,
    leaves,
    map_leaves,
    revived,
)

__all__ = [
    "BY_ITSELF",
    "Made",
    "answers_in",
    "gone_for_good",
    "in_order_of_undoing",
    "intended_by",
    "lasting",
    "made_by",
    "part_of",
    "renamed",
    "shows_nothing",
    "still_there",
    "unfinished",
    "without",
]

REMOVAL = "90"  # the notebook that takes all away
# what changes in a state though nobody changes it
BY_ITSELF = ("runningCount", "rollout")
LEFT_OUT = (*BY_ITSELF, "version", "uid", "arn", "settings")


@dataclass(frozen=True, slots=True)
class Made:
    """A change that the record says a notebook made: what was there before, what
    after, and its inverse.

    It is not `sure` where a crash came between intending and observing it. `why` says
    why it has no inverse, `for_good` what makes again what a removal took away for
    good. It is `undoing` where an undo set out to undo it; whether it did, nobody saw.
    """

    notebook: str
    name: str
    about: tuple[str, ...]
    reading: Reading
    before: Any
    after: Any
    inverse: Inverse | None
    sure: bool = True
    why: str = ""
    for_good: str = ""
    undoing: bool = False

    @property
    def thing(self) -> str:
        """The key of what it made, altered or removed."""
        return self.about[0]

    @property
    def creates(self) -> bool:
        """Whether nothing was there before it."""
        return self.before is None

    @property
    def removes(self) -> bool:
        """Whether nothing is there after it."""
        return self.after is None

    @property
    def renames(self) -> str:
        """The name that the thing has no more once this is undone."""
        return self.inverse.renames if self.inverse else ""

    @property
    def read_as(self) -> str:
        """How what was changed is read, whatever it is called in plans."""
        return f"{self.reading.call}{self.reading.query}"


# From the record's lines.


def made_by(lines: Iterable[Mapping[str, Any]]) -> list[Made]:
    """Return each change of a record in its order, those a crash left open too,
    without those undone.
    """
    replay = _Replay()
    for line in lines:
        if line["event"] == "intended":
            replay.intend(line)
        elif line["event"] == "observed":
            replay.observe(line)
    return replay.made


def intended_by(lines: Iterable[Mapping[str, Any]]) -> Iterator[Made]:
    """Yield what a run set out to change, whether it has been undone or not."""
    for line in lines:
        if line["event"] == "intended":
            change = revived(line["change"])
            if not change.undoes:
                yield _intention(line["notebook"], change)


def unfinished(lines: Iterable[Mapping[str, Any]]) -> Change | None:
    """Return the last change that a run set out to make, where that was to undo one."""
    intended = [line["change"] for line in lines if line["event"] == "intended"]
    if not intended:
        return None
    last: Change = revived(intended[-1])
    return last if last.undoes else None


class _Replay:
    """A record gone through line by line: what it says was `made` by now; `open` are
    the changes that were set out for, by name, and not seen yet.
    """

    def __init__(self) -> None:
        self.made: list[Made] = []
        self.open: dict[str, _Intended] = {}

    def intend(self, line: Mapping[str, Any]) -> None:
        """Take in a change that somebody sets out to make."""
        change = revived(line["change"])
        made = _intention(line["notebook"], change)
        self.made = _without_failed(self.made, made)
        self.made = _begun(self.made, change)
        if not change.undoes and not _is_never_seen(change.inverse):
            self.made.append(made)
        self.open[change.name] = _Intended(change, made)

    def observe(self, line: Mapping[str, Any]) -> None:
        """Take in what came of it."""
        intended = self.open.pop(line["name"], None)
        if intended is None:
            return
        change = intended.change
        inverse = revived(line["inverse"])
        seen = _made(line["notebook"], change, revived(line["state"]), inverse)
        self.made = [m for m in self.made if m is not intended.made]
        if change.undoes:
            self.made = _without_undone(self.made, seen, line["answer"])
        else:
            self.made.append(seen)


@dataclass(frozen=True, slots=True)
class _Intended:
    """A change that nobody has seen made yet, as planned and as it is told."""

    change: Change
    made: Made


def _intention(notebook: str, change: Change) -> Made:
    """Return a change that nobody has seen made yet."""
    made = _made(notebook, change, change.wanted, change.inverse)
    return replace(made, sure=False)


def _made(notebook: str, change: Change, after: Any, inverse: Inverse | None) -> Made:
    made = Made(
        notebook,
        change.name,
        change.about,
        change.reading,
        before=change.expected,
        after=after,
        inverse=inverse,
    )
    if inverse and inverse.reading:
        return replace(
            made,
            reading=inverse.reading,
            before=inverse.wanted,
            after=inverse.expected,
        )
    if change.no_inverse == record.UNRECORDED:
        made = replace(made, why=change.no_inverse)
    if notebook.startswith(REMOVAL):
        made = replace(made, for_good=change.no_inverse)
    return made


def _begun(made: list[Made], change: Change) -> list[Made]:
    """Return changes, of which the latest that this one is to undo says so."""
    for index in range(len(made) - 1, -1, -1):
        m = made[index]
        if m.name == change.undoes and m.about == change.about:
            return [*made[:index], replace(m, undoing=True), *made[index + 1 :]]
    return made


def _without_failed(made: list[Made], next_one: Made) -> list[Made]:
    """Return changes without the latest of the same thing, where nobody saw it made and
    what was found before the next one shows nothing of it.
    """
    same = [m for m in made if m.read_as == next_one.read_as]
    if not same:
        return made
    latest = same[-1]
    if latest.sure or not shows_nothing(latest, next_one.before):
        return made
    return [m for m in made if m is not latest]


def _without_undone(made: list[Made], undone: Made, answer: Any) -> list[Made]:
    """Return changes without those that a recorded undo has undone, up to the state it
    reached.

    What came back under another name is called by that from there on.
    """
    left = list(made)
    for index in range(len(made) - 1, -1, -1):
        m = made[index]
        if m.read_as != undone.read_as:
            continue
        left = [each for each in left if each is not m]  # not the first one that equals
        if undone.removes and m.creates:
            left = _without_parts(left, m, made[index:])
        if m.inverse and m.renames:
            name = jmespath.search(m.inverse.answer, answer)
            return [renamed(other, {m.renames: name}) for other in left]
        if holds(undone.after, lasting(m.before)):
            break
    return left


def _without_parts(
    made: Sequence[Made], gone: Made, later: Iterable[Made]
) -> list[Made]:
    """Return changes without the `later` ones of what is gone, and of its parts."""
    went = {id(m) for m in later if gone.thing in m.about}
    return [m for m in made if id(m) not in went]


def _is_never_seen(value: Any) -> bool:
    """Tell whether a value holds an `Answer` that no state shows.

    That is a task definition's revision, which the next run takes up, and
    which does no harm.
    """
    return not all(answer.seen for answer in answers_in(value))


# Which of them an undo is about.


def part_of(made: Iterable[Made], notebook: str) -> list[Made]:
    """Return one notebook's changes with the later ones that stand on them; everything
    where none is named.
    """
    part: list[Made] = []
    things: set[str] = set()
    for m in made:
        if notebook in ("", m.notebook) or m.read_as in things:
            part.append(m)
            things.add(m.read_as)
    return part


def gone_for_good(made: Iterable[Made]) -> list[Made]:
    """Return what a removal has taken away, and nobody has made again since, that no
    undo brings back.
    """
    latest = {m.read_as: m for m in made}
    return [m for m in latest.values() if m.for_good]


def still_there(made: Iterable[Made], gone: Iterable[Made]) -> list[Made]:
    """Return changes without those that a removal has overtaken for good: of the same
    state, and of parts of what is gone.
    """
    overtaken = {m.read_as for m in gone}
    things = {m.thing for m in gone if m.removes}
    left = [m for m in made if m.read_as not in overtaken]
    return [m for m in left if things.isdisjoint(m.about)]


def shows_nothing(m: Made, state: Any) -> bool:
    """Say whether a state shows what was there before a change, and nothing of it."""
    return holds(state, lasting(m.before)) and not holds(state, lasting(m.after))


# In the order of their undoing.


def in_order_of_undoing(made: Sequence[Made]) -> list[Made]:
    """Return changes, the latest first, with updates in a row of the same kind on one
    thing as one.
    """
    kept: list[Made] = []  # the later ones, the latest first
    for m in reversed(made):
        place = _place_of_the_next(kept, m)
        if place is None:
            kept.append(m)
            continue
        later, between = kept[place], kept[place + 1 :]
        # what came in between may need the thing as it was then
        in_a_row = not any(each.inverse for each in between)
        if not between and m.creates and later.removes:
            kept.pop()  # nobody needs to see it again
        elif in_a_row and _both_update(m, later):
            del kept[place]
            kept.append(replace(m, after=later.after))
        else:
            kept.append(m)
    return kept


def _place_of_the_next(kept: Sequence[Made], m: Made) -> int | None:
    """Return where the next change of the same thing stands; None where none came."""
    for place in reversed(range(len(kept))):
        if kept[place].read_as == m.read_as and kept[place].name == m.name:
            return place
    return None


def _both_update(m: Made, later: Made) -> bool:
    if later.renames or later.undoing:
        return False
    return not any((m.creates, m.removes, later.creates, later.removes))


# States and names.


def lasting(state: Any) -> Any:
    """Return a state without what changes by itself, or with each write: versions,
    running counts, rollouts.
    """
    return without(LEFT_OUT, state)


def without(fields: Sequence[str], state: Any) -> Any:
    """Return a state without some of its fields."""
    if not isinstance(state, Mapping):
        return state
    return {key: value for key, value in state.items() if key not in fields}


def answers_in(value: Any) -> list[Answer]:
    """Return what a value still waits for: names that calls answer with."""
    return [leaf for leaf in leaves(value) if isinstance(leaf, Answer)]


def renamed(value: Any, names: Mapping[str, Answer | str]) -> Any:
    """Return a value with other names in it."""

    def by_its_name(leaf: Any) -> Any:
        return names.get(leaf, leaf) if isinstance(leaf, str) else leaf

    return map_leaves(value, by_its_name)
