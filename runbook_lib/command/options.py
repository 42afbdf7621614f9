"""What several commands do with their options: hand them on, and spell them again."""

from __future__ import annotations

from collections.abc import Mapping


def given_for(rehearse: bool) -> dict[str, str]:
    """Return what is given beside a file: for its rehearsal, the local mesh."""
    return {"target": "local"} if rehearse else {}


def option_words(options: Mapping[str, str | bool | None]) -> list[str]:
    """Return the options that are set as words of a command: a flag alone, any other
    with its value.
    """
    words: list[str] = []
    for option, value in options.items():
        if value is True:
            words.append(option)
        elif value:
            words += [option, value]
    return words
