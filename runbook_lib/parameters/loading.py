"""Read one environment's parameters file, and what is given beside it, into
checked parameters.

This is the only door for parameters: a file, and values given beside it (papermill's,
the command line's), are checked here, once, before anything is touched. Nothing else
reads `parameters/`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
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
    return environment if file is None or file.parent == FOLDER else str(file.resolve())


def is_here(environment: str) -> bool:
    """Say whether this machine has a parameters file of this name, or at this path."""
    return _file_of(environment) is not None


def load(environment: str, given: Mapping[str, Any] | None = None) -> Parameters:
    """Read and check an environment, by name or file, with `given` top-level values in
    place of the file's.

    Raises ParametersError naming what, where, expected, found and what to do.
    """
    given = _plain(
        {k: v for k, v in (given or {}).items() if not (k == "mode" and v == "")}
    )
    file, data = _read(environment, given)
    data |= {k: v for k, v in given.items() if k != "environment"}
    # what stands in place of a file is called by its name
    path = _file_of(environment)
    beside = set(given) if path else set()
    if unquoted := list(_unquoted(data)):
        raise _refusal(file, path, beside, unquoted)
    try:
        parameters = Parameters.model_validate_json(json.dumps(data))
    except ValidationError as error:
        sentences = [_sentence(e) for e in error.errors()]
        raise _refusal(file, path, beside, sentences, more=True) from None
    found = list(problems(parameters))
    if found:
        raise _refusal(file, path, beside, found)
    parameters._notes = (*_notes(data, parameters.model_dump()), *notes(parameters))
    return parameters


def merged(environment: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return given values by top-level names alone: one with dots in its name
    (`shift.bake_seconds`) as its section of the file with just that value replaced.

    Raises ParametersError where the file cannot be read, or has no section there.
    """
    dotted = {
        name: value
        for name, value in given.items()
        if "." in name and name.partition(".")[0] in Parameters.model_fields
    }
    plain_names = {name: given[name] for name in given if name not in dotted}
    if not dotted:
        return plain_names
    _, data = _read(environment, {})
    data |= plain_names
    for name, value in dotted.items():
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
    tops = {name.partition(".")[0] for name in dotted}
    return {**plain_names, **{top: data[top] for top in tops}}


def _form(data: Any) -> str:
    """Return in words what a file holds that holds no names and values."""
    if data is None:
        return "an empty file"
    return "a list" if isinstance(data, list) else "a single value"


def _read(environment: str, given: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    path = _file_of(environment)
    if path is None:
        if "services" in given:  # papermill -f gives the whole file
            return environment, {**given, "environment": environment}
        known = environments()
        found = _what_is(environment) or f"no parameters file {environment!r:.80}"
        raise ParametersError(
            f"environment: {found}; expected one of {', '.join(known)} or a path",
            hint=nearest(environment, known)
            or "name an environment of parameters/, or give a file's path",
        )
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
    return path.name, data


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
    """Return what was given beside a file as YAML would have given it; raise
    ParametersError where it is none.
    """
    try:
        return {name: plain(value, name) for name, value in given.items()}
    except ValueError as error:
        raise ParametersError(
            f"given: {_short(str(error))}",
            hint="correct what was given; nothing was changed",
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
        there, folder = Path(path).exists(), Path(path).is_dir()
    except (OSError, ValueError):  # a name no file can have
        return ""
    return (
        f"{path!r:.80} is {'a folder' if folder else 'no regular file'}"
        if there and path
        else ""
    )


def _unquoted(data: Any, where: str = "") -> Iterator[str]:
    """Yield the keys that YAML did not read as text: an unquoted `NO` is
    False, 1.10 a number.
    """
    for key, value in data.items() if isinstance(data, dict) else ():
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
            at, known = (
                f"{where}.{key}".lstrip("."),
                key if key in read else key.lower(),
            )
            yield from _notes(key, known, at)
            yield from _notes(value, read[known], at)


def _refusal(
    file: str,
    path: Path | None,
    given: Collection[str],
    problems: Iterable[str],
    *,
    more: bool = False,
) -> ParametersError:
    """Return what to raise: each problem is the file's, with its line, or of what was
    given beside it, by the name it begins with.

    `more` says that other checks come once these problems are fixed.
    """
    places = lines_of(_text_of(path)) if path else {}
    named = [(BEHIND_A_NAME.sub("", problem), problem) for problem in problems]
    lines = [
        f"{'given' if name in given else file + _line(problem, places)}: "
        f"{_short(problem)}"
        for name, problem in named[:MOST_PROBLEMS]
    ]
    if left := len(named) - len(lines):
        lines.append(f"{file}: and {left} more")
    own = all(name in given for name, _ in named)
    hint = (
        "correct what was given; nothing was changed"
        if own
        else "fix the file, then run `runbook lint` on it"
    )
    if more and not own:
        hint += "; further checks follow once these pass"
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
    where = ""
    for part in error["loc"]:
        if isinstance(part, int):
            where += f" (item {part + 1})"
        elif not part.startswith(("dict[", "list[", "constrained-")):
            where += f".{part}"
    where = where.removeprefix(".")
    message = SHOULD.sub("expected ", str(error["msg"]).removeprefix("Value error, "))
    found = error.get("input")
    shown = "" if isinstance(found, dict) else f"; found {found!r:.80}"
    if error["type"] == "string_pattern_mismatch":
        pattern = error["ctx"]["pattern"]
        message = KINDS.get(pattern, f"expected text that matches '{pattern}'")
    if error["type"] == "string_type" and isinstance(found, int | float):
        shown += ": put it in quotes"
    return f"{where + ': ' if where else ''}{message}{shown}"
