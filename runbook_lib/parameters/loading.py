"""Read one environment's parameters file, and what is given beside it, into
checked parameters.

This is the only door for parameters: a file, and values given beside it (papermill's,
the command line's), are checked here, once, before anything is touched. Nothing else
reads `parameters/`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from runbook_lib.errors import ParametersError
from runbook_lib.parameters.checks import notes, problems
from runbook_lib.parameters.model import Parameters
from runbook_lib.parameters.plain_yaml import MOST_BYTES, lines_of, plain, read_yaml
from runbook_lib.parameters.spelling import nearest
from runbook_lib.shipped import shipped

# how pydantic begins
SHOULD = re.compile(r"^(Input|String|List|Dictionary) should (be |have )?")
# what a pattern of the model asks for, in words
KINDS = {
    "^[0-9]{12}$": "expected 12 digits in quotes",
    "^[A-Za-z0-9_-]{1,255}$": "expected up to 255 letters, digits, '-' and '_'",
    "^[A-Za-z0-9_][A-Za-z0-9_-]{0,254}$": (
        "expected up to 255 letters, digits, '-' and '_', the first no '-'"
    ),
}
MOST_PROBLEMS = 20  # of one file, in one refusal
# what stands around the top-level name that a problem begins with
BEHIND_A_NAME = re.compile(r"^unknown key '|( \(item |[.:;']).*", re.DOTALL)
FOLDER = shipped("parameters")
CORRECT_WHAT_WAS_GIVEN = "correct what was given; nothing was changed"


def parameter_names() -> list[str]:
    """Return every name a notebook may be given: the file's own top-level
    names, and `undo`.
    """
    return [*Parameters.model_fields, "undo"]


def environments() -> list[str]:
    """Return the names of the environments in `parameters/`, in order."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def located(environment: str) -> str:
    """Return an environment as it is found from any folder: its name, or its
    file's whole path.
    """
    file = _file_of(environment)
    if file is None or file.parent == FOLDER:
        return environment
    return str(file.resolve())


def is_here(environment: str) -> bool:
    """Say whether this machine has a parameters file of this name, or at this path."""
    return _file_of(environment) is not None


def load(environment: str, given: Mapping[str, Any] | None = None) -> Parameters:
    """Read and check an environment, by name or file, with `given` top-level values in
    place of the file's.

    Raises ParametersError naming what, where, expected, found and what to do.
    """
    beside = _plain(given or {})
    path = _file_of(environment)
    data = _read(environment, path, beside)
    data |= {name: beside[name] for name in beside if name != "environment"}
    # what stands in place of a file is called by its name
    source = _Source(environment, None, set())
    if path is not None:
        source = _Source(path.name, path, set(beside))
    unquoted = list(_unquoted(data))
    if unquoted:
        raise _refusal(source, unquoted)
    try:
        parameters = Parameters.model_validate_json(json.dumps(data))
    except ValidationError as error:
        sentences = [_sentence(detail) for detail in error.errors()]
        raise _refusal(source, sentences, more=True) from None
    found = list(problems(parameters))
    if found:
        raise _refusal(source, found)
    parameters._notes = (*_notes(data, parameters.model_dump()), *notes(parameters))
    return parameters


def merged(environment: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return given values by top-level names alone: one with dots in its name
    (`shift.bake_seconds`) as its section of the file with just that value replaced.

    Raises ParametersError where the file cannot be read, or has no section there.
    """
    dotted = {name: given[name] for name in given if _is_dotted(name)}
    by_top_level = {name: given[name] for name in given if name not in dotted}
    if not dotted:
        return by_top_level
    data = _read(environment, _file_of(environment), {})
    data |= by_top_level
    for name, value in dotted.items():
        _replace(data, name, value)
        top = _top_of(name)
        by_top_level[top] = data[top]
    return by_top_level


def _is_dotted(name: str) -> bool:
    return "." in name and _top_of(name) in Parameters.model_fields


def _top_of(name: str) -> str:
    return name.partition(".")[0]


def _replace(data: dict[str, Any], name: str, value: Any) -> None:
    """Put a value in its place of the file's, by its name with dots."""
    *sections, last = name.split(".")
    within = data
    for section in sections:
        within = within.setdefault(section, {})
        if not isinstance(within, dict):
            raise ParametersError(
                f"given: {name}: {section} is no section; found {within!r:.80}",
                hint="give a name as docs/parameters.md has it",
            )
    within[last] = value


@dataclass(frozen=True, slots=True)
class _Source:
    """Where an environment's values are from: what that is called, the file, and the
    names of what was given beside it.
    """

    name: str
    file: Path | None
    given: Collection[str]

    def has_given(self, problem: str) -> bool:
        """Say whether a problem is of what was given, by the name it begins with."""
        return BEHIND_A_NAME.sub("", problem) in self.given


def _form(data: Any) -> str:
    """Return in words what a file holds that holds no names and values."""
    if data is None:
        return "an empty file"
    return "a list" if isinstance(data, list) else "a single value"


def _read(
    environment: str, path: Path | None, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what an environment's file says, or what was given in place of one."""
    if path is None and "services" in given:  # papermill -f gives the whole file
        return {**given, "environment": environment}
    if path is None:
        raise _no_file(environment)
    try:
        data = read_yaml(_text_of(path))
    except yaml.YAMLError as error:
        raise ParametersError(
            f"{path.name}: not YAML: {error}", hint="fix the line it names"
        ) from None
    if not isinstance(data, dict):
        raise ParametersError(
            f"{path.name}: expected names and values, found {_form(data)}",
            hint="begin with a copy of parameters/staging.yaml",
        )
    return data


def _no_file(environment: str) -> ParametersError:
    known = environments()
    found = _what_is(environment) or f"no parameters file {environment!r:.80}"
    instead = nearest(environment, known)
    return ParametersError(
        f"environment: {found}; expected one of {', '.join(known)} or a path",
        hint=instead or "name an environment of parameters/, or give a file's path",
    )


def _text_of(file: Path) -> str:
    """Return a file's text; raise ParametersError where it cannot be read, is too
    long or not in UTF-8.
    """
    try:
        with file.open("rb") as opened:
            said = opened.read(MOST_BYTES + 1)
    except OSError as error:
        raise ParametersError(
            f"{file.name}: {error.strerror}", hint="give a file that you may read"
        ) from None
    if len(said) > MOST_BYTES:
        raise ParametersError(
            f"{file.name}: expected at most {MOST_BYTES:,} bytes; found more",
            hint="give a parameters file",
        )
    try:
        return said.decode()
    except UnicodeDecodeError as error:
        line = said.count(b"\n", 0, error.start) + 1
        found = (
            f"line {line}: expected text in UTF-8; found the byte "
            f"{said[error.start]:#04x}"
        )
        raise ParametersError(
            f"{file.name}: not YAML: {found}", hint="save it as UTF-8"
        ) from None


def _plain(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was given beside a file as YAML would have given it, but for a mode
    left empty, which is the file's; raise ParametersError where it is none.
    """
    values = dict(given)
    if values.get("mode") == "":
        del values["mode"]
    try:
        return {name: plain(value, name) for name, value in values.items()}
    except ValueError as error:
        raise ParametersError(
            f"given: {_short(str(error))}", hint=CORRECT_WHAT_WAS_GIVEN
        ) from None


def _file_of(environment: str) -> Path | None:
    """Return an environment's file, by its name in `parameters/` or by its path."""
    path = Path(environment)
    try:
        if environment in environments():
            return FOLDER / f"{environment}.yaml"
        return path if path.is_file() else None
    except (OSError, ValueError):  # a name no file can have
        return None


def _what_is(path: str) -> str:
    """Return in words what a path is that is no file; "" where nothing is there."""
    try:
        is_there = Path(path).exists()
        is_folder = Path(path).is_dir()
    except (OSError, ValueError):  # a name no file can have
        return ""
    if not path or not is_there:
        return ""
    kind = "a folder" if is_folder else "no regular file"
    return f"{path!r:.80} is {kind}"


def _unquoted(data: Any, where: str = "") -> Iterator[str]:
    """Yield the keys that YAML did not read as text: an unquoted `NO` is
    False, 1.10 a number.
    """
    if not isinstance(data, dict):
        return
    for key, value in data.items():
        if not isinstance(key, str):
            yield (
                f"{where or 'file'}: expected names that are text; found {key!r}: "
                "put it in quotes"
            )
        yield from _unquoted(value, f"{where}.{key}".lstrip("."))


def _notes(said: Any, read: Any, where: str = "") -> Iterator[str]:
    """Yield what was read otherwise than it was said: names of DNS, in lower case."""
    if isinstance(said, str) and isinstance(read, str) and said != read:
        yield (
            f"{where}: {said!r} was read as {read!r}: DNS ignores case, "
            "App Mesh does not"
        )
    elif isinstance(said, list):
        for one, other in zip(said, read, strict=True):
            yield from _notes(one, other, where)
    elif isinstance(said, dict):
        for key, value in said.items():
            at = f"{where}.{key}".lstrip(".")
            known = key if key in read else key.lower()
            yield from _notes(key, known, at)
            yield from _notes(value, read[known], at)


def _refusal(
    source: _Source, problems: Sequence[str], *, more: bool = False
) -> ParametersError:
    """Return what to raise: each problem is the file's, with its line, or of what was
    given beside it, by the name it begins with.

    `more` says that other checks come once these problems are fixed.
    """
    places = lines_of(_text_of(source.file)) if source.file else {}
    lines = []
    for problem in problems[:MOST_PROBLEMS]:
        where = source.name + _line(problem, places)
        if source.has_given(problem):
            where = "given"
        lines.append(f"{where}: {_short(problem)}")
    left = len(problems) - len(lines)
    if left:
        lines.append(f"{source.name}: and {left} more")
    hint = "fix the file, then run `runbook lint` on it"
    if more:
        hint += "; further checks follow once these pass"
    if all(source.has_given(problem) for problem in problems):
        hint = CORRECT_WHAT_WAS_GIVEN
    return ParametersError("\n".join(lines), hint=hint)


def _line(problem: str, places: Mapping[str, int]) -> str:
    """Return in words in which line stands what a problem begins with, or what is
    around it; "" where nothing of it is there.
    """
    place = re.sub(r": unknown key '", ".", problem, count=1)
    place = re.sub(r"^unknown key '|[':;].*", "", place, flags=re.DOTALL)
    while place and place not in places:
        place = _around(place)
    return f", line {places[place]}" if place else ""


def _around(place: str) -> str:
    """Return the place that holds this one; "" for one at the top."""
    cut = max(place.rfind("."), place.rfind(" (item "), 0)
    return place[:cut]


def _short(problem: str, most: int = 600) -> str:
    return problem if len(problem) <= most else f"{problem[:most]}…"


def _sentence(error: Any) -> str:
    """Return one of pydantic's errors as the sentence of a problem."""
    message = SHOULD.sub("expected ", str(error["msg"]).removeprefix("Value error, "))
    found = error.get("input")
    shown = "" if isinstance(found, dict) else f"; found {found!r:.80}"
    if error["type"] == "string_pattern_mismatch":
        pattern = error["ctx"]["pattern"]
        message = KINDS.get(pattern, f"expected text that matches '{pattern}'")
    if error["type"] == "string_type" and isinstance(found, int | float):
        shown += ": put it in quotes"
    where = _place_of(error["loc"])
    return f"{where}: {message}{shown}" if where else f"{message}{shown}"


def _place_of(location: Sequence[str | int]) -> str:
    """Return where pydantic found something, as a problem begins: `shift.steps (item
    2)`.
    """
    place = ""
    for part in location:
        if isinstance(part, int):
            place += f" (item {part + 1})"
        elif not part.startswith(("dict[", "list[", "constrained-")):
            place += f".{part}"
    return place.removeprefix(".")
