"""A canary that nobody watches any more is named, with its weight and since when."""

from __future__ import annotations

import pytest

from runbook_lib import survey
from runbook_lib.shift.watching import unwatched
from tests.live import again, take, under_sky

pytestmark = pytest.mark.attack(9)


def test_after_the_watcher_was_killed_it_is_said_that_nobody_watches_and_since_when() -> None:
    session, sky = under_sky()
    assert unwatched(survey(session)) == ""
    take(session, until=lambda d: d.phase == "proved")
    words = unwatched(survey(again(sky)))
    assert words.startswith("serviceBv2 has 25 % of the traffic and nobody watches it, since 20")


def test_while_somebody_watches_and_once_the_last_step_passed_nothing_is_said() -> None:
    session, sky = under_sky()
    said: list[str] = []
    take(session, until=lambda d: said.append(unwatched(survey(again(sky)))) or False)
    assert set(said) == {""}
    assert unwatched(survey(again(sky))) == ""
