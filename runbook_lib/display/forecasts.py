"""Show what a step can detect and what it risks: one weight's forecast as tables."""

from __future__ import annotations

from runbook_lib.display.drawing import percent
from runbook_lib.display.tables import MARK, Table, marked
from runbook_lib.shift.outlook import Outlook
from runbook_lib.verdict.load import Load
from runbook_lib.wording import harm_words

__all__ = ["outlook_tables"]


def outlook_tables(outlook: Outlook) -> list[Table]:
    """Return one weight's forecast: what it risks and needs, then how long each
    increase takes to show.
    """
    seen, traffic = outlook.forecast, outlook.traffic
    at = (
        f"at {percent(seen.weight / 100)} of {traffic.requests_per_second:,.0f} "
        f"requests/s ({traffic.source})"
    )
    sights = [
        {
            "errors higher by": _points(sight.increase),
            "detected after": _minutes(sight.minutes),
            "canary requests": "–"
            if sight.canary_requests is None
            else f"{sight.canary_requests:,}",
            "failed requests by then": "–"
            if sight.harmed_requests is None
            else f"{sight.harmed_requests:,}",
            "in this bake": "✓ detected" if sight.within_bake else "not detected",
        }
        for sight in seen.sights
    ]
    worse = f"how soon a worse canary is detected at {percent(seen.weight / 100)}"
    found = marked(f"forecast {at}", _outlook_rows(outlook))
    return [found, Table(worse, sights)]


def _outlook_rows(outlook: Outlook) -> list[dict[str, str]]:
    seen, load, traffic = outlook.forecast, outlook.load, outlook.traffic
    bake = _minutes(seen.bake_minutes)
    needs = "no number of requests would do"
    if seen.requests_to_pass is not None:
        needs = (
            f"{seen.requests_to_pass:,} canary requests, "
            f"{_minutes(seen.minutes_to_pass)}"
        )
    smallest = (
        "none" if seen.smallest_increase is None else _points(seen.smallest_increase)
    )
    rows = [
        ("a PASS needs", needs, seen.can_pass),
        ("canary's tasks", _load_words(load), load.carries),
        (
            "smallest detectable increase",
            f"{smallest}, in a bake of {bake}",
            seen.smallest_increase is not None,
        ),
        ("requests at risk", f"{seen.requests_at_risk:,} in a bake of {bake}", True),
        ("a canary that fails half", *_harm_words(outlook)),
        ("how errors are counted", outlook.judge.words, outlook.judge.by == "counts"),
        ("stable's errors", f"{percent(traffic.error_rate, 2)} of requests", True),
    ]
    return [
        {"": "" if good else MARK["WARN"], "what": what, "found": words}
        for what, words, good in rows
    ]


def _harm_words(outlook: Outlook) -> tuple[str, bool]:
    """Return in words what a bad canary costs until its verdict, and whether its errors
    are counted at all.
    """
    if outlook.judge.by != "counts":
        return "goes on until an alarm rings", False
    return harm_words(outlook.harm, outlook.gentler), True


def _load_words(load: Load) -> str:
    each = (
        "" if load.canary_then is None else f": {load.canary_then:,.0f} requests/s each"
    )
    if not load.capacity:
        return (
            f"{load.canary_tasks} running{each}; what a task can carry is not known, "
            "since stable's carry nothing now"
        )
    return (
        f"{load.canary_tasks} running, {load.tasks_needed} needed{each}; "
        f"each of stable's has carried {load.capacity:,.0f}"
    )


def _points(increase: float) -> str:
    points = f"{float(f'{100 * increase:.2g}'):g}"  # two digits, but 100 and not 1e+02
    return f"{points} percentage point{'' if points == '1' else 's'}"


def _minutes(minutes: float | None) -> str:
    if minutes is None:
        return "never"
    seconds = 60 * minutes
    if seconds < 1:
        return "< 1 s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.0f} h"
