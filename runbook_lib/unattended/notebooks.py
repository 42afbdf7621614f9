"""Find the notebooks of an engine by their numbers, and choose which of them to run."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from runbook_lib.errors import ParametersError
from runbook_lib.shipped import shipped

__all__ = ["CHECK", "FOLDER", "REMOVAL", "SHIFT", "chosen", "files", "name_of"]

FOLDER = shipped("notebooks")
NUMBERED = "[0-9][0-9]_*.ipynb"
CHECK, SHIFT, REMOVAL = "00", "05", "90"


def files(engine: str = "") -> dict[str, Path]:
    """Return an engine's notebooks by their numbers: its own, else those of all."""
    shared = FOLDER.glob(NUMBERED)
    own = (FOLDER / engine).glob(NUMBERED)
    found = {path.stem[:2]: path for path in [*shared, *own]}
    return dict(sorted(found.items()))


def name_of(number: str, option: str, engine: str = "") -> str:
    """Return a notebook's name by its number, which was given with `option`; raise
    ParametersError where there is none.
    """
    known = files(engine)
    if number in known:
        return known[number].stem
    meant = number.zfill(2)
    raise ParametersError(
        f"notebook: no {number!r}; expected one of {', '.join(known)}",
        hint=f"{option} {meant}" if meant in known else f"{option} with one of these",
    )


def chosen(
    first: str = "00",
    last: str = "06",
    steps: Collection[str] | None = None,
    engine: str = "",
) -> list[Path]:
    """Return the notebooks of an engine from `first` through `last`, by their numbers;
    90 only where it is named.

    Beside 00, only those of `steps`; None for all. Raises ParametersError where no
    notebook is left.
    """
    for number, option in ((first, "--from"), (last, "--through")):
        name_of(number, option, engine)
    meant = {
        number: path
        for number, path in files(engine).items()
        if first <= number <= last and (number < REMOVAL or first == last == REMOVAL)
    }
    if not meant:
        raise _nothing_between(first, last)
    needed = [
        path
        for number, path in meant.items()
        if steps is None or number == CHECK or number in steps
    ]
    if not needed:
        raise ParametersError(
            f"--from {first} --through {last}: this file's engine has "
            "nothing to do there",
            hint=f"its notebooks are 00, {', '.join(steps or ())}",
        )
    return needed


def _nothing_between(first: str, last: str) -> ParametersError:
    earlier = f", or --from {last}" if REMOVAL not in (first, last) else ""
    return ParametersError(
        f"--from {first} --through {last}: no notebook lies between",
        hint=f"say --through {first}{earlier}",
    )
