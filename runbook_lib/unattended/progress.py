"""Tell how a run comes along: on a terminal a bar for each notebook, elsewhere plain
lines as things happen.

It is told of cells and of the record's lines, and only prints.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from runbook_lib.errors import RecordError
from runbook_lib.record import Run

__all__ = ["Bars", "Lines", "Told", "following", "telling"]

LOOK_SECONDS = 0.5  # between two looks for new lines of the record


class Told:
    """What is told how a run comes along; this one says nothing."""

    def cell(self, name: str, done: int, total: int) -> None:
        """Hear how many cells of a notebook are done, of how many."""

    def line(self, line: Mapping[str, Any]) -> None:
        """Hear a line that came into the record."""

    def word(self, words: str) -> None:
        """Hear what the record does not say."""


class Bars(Told):
    """A bar for each notebook, and beside it what is waited for."""

    def __init__(self, progress: Progress) -> None:
        self.progress, self.now = progress, ""
        self.tasks: dict[str, TaskID] = {}

    def cell(self, name: str, done: int, total: int) -> None:
        """Show that so many cells of a notebook are done."""
        if name not in self.tasks:
            self.tasks[name] = self.progress.add_task(name, total=total, wait="")
        self.now = name
        self.progress.update(self.tasks[name], completed=done, wait="")

    def word(self, words: str) -> None:
        """Say it above the bars."""
        self.progress.console.print(words)

    def line(self, line: Mapping[str, Any]) -> None:
        """Show a wait until something else is written down."""
        if self.now:
            self.progress.update(
                self.tasks[self.now],
                wait=waited(line) if line["event"] == "waiting" else "",
            )


class Lines(Told):
    """One plain line when a notebook begins or ends, and for each decision and wait."""

    def __init__(self, console: Console) -> None:
        self.console, self.last = console, ""

    def cell(self, name: str, done: int, total: int) -> None:
        """Say that a notebook begins or is done."""
        if done in (0, total):
            self._say(f"{name} {'is done' if done else 'begins'}")

    def word(self, words: str) -> None:
        """Say it."""
        self._say(words)

    def line(self, line: Mapping[str, Any]) -> None:
        """Say a decision, who goes on watching, or a wait: the same one once."""
        if line["event"] == "decision":
            self._say(f"  {line['step']} % {line['phase']}: {line['words']}")
        elif line["event"] == "watcher":
            self._say(f"  {line['words']}")
        elif line["event"] == "waiting" and line["what"] != self.last:
            self._say(f"  {waited(line)}")
        self.last = line["what"] if line["event"] == "waiting" else ""

    def _say(self, words: str) -> None:
        self.console.print(f"{datetime.now():%H:%M:%S} {words}")


def waited(line: Mapping[str, Any]) -> str:
    """Return in words what is waited for, since when, and until when at most."""
    since = datetime.fromisoformat(line["since"]).astimezone()
    until = since + timedelta(seconds=line["most"])
    return (
        f"waiting for {line['what']} since {since:%H:%M:%S}, until "
        f"{until:%H:%M:%S} at most"
    )


@contextmanager
def telling(console: Console) -> Iterator[Told]:
    """Give what tells of a run on this console."""
    if not console.is_terminal:
        yield Lines(console)
        return
    columns = (
        SpinnerColumn(finished_text="✓"),
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
    )
    with Progress(
        *columns, TextColumn("{task.fields[wait]}"), console=console
    ) as progress:
        yield Bars(progress)


@contextmanager
def following(run: Run, tell: Callable[[Mapping[str, Any]], None]) -> Iterator[None]:
    """Tell each line that comes into a run's record meanwhile, whoever writes it."""
    over, seen = threading.Event(), len(_lines(run))

    def follow(seen: int) -> None:
        last = False
        while not last:
            last = over.wait(LOOK_SECONDS)
            lines = _lines(run)
            for line in lines[seen:]:
                tell(line)
            seen = len(lines)

    thread = threading.Thread(target=follow, args=(seen,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _lines(run: Run) -> list[dict[str, Any]]:
    """Return the record's lines; one that cannot be read has nothing to tell."""
    try:
        return list(run.lines())
    except RecordError:
        return []
