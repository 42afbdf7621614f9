"""Show what a step can detect and what it risks: one weight's forecast as tables."""

from __future__ import annotations

from runbook_lib.display.drawing import percent, weight_words
from runbook_lib.display.tables import Table, marked, warning
from runbook_lib.shift.outlook import Outlook
from runbook_lib.verdict.forecast import Forecast, Sight
from runbook_lib.verdict.load import Load
from runbook_lib.wording import harm_words

__all__ = ["outlook_tables"]


def outlook_tables(outlook: Outlook) -> list[Table]:
    """Return one weight's forecast: what it risks and needs, then how long each
    increase takes to show.
    """
    traffic = outlook.traffic
    weight = weight_words(outlook.forecast.weight)
    caption = (
        f"forecast at {weight} of {traffic.requests_per_second:,.0f} "
        f"requests/s ({traffic.source})"
    )
    sights = [_sight_row(sight) for sight in outlook.forecast.sights]
    return [
        marked(caption, _outlook_rows(outlook)),
        Table(f"how soon a worse canary is detected at {weight}", sights),
    ]


def _sight_row(sight: Sight) -> dict[str, str]:
    return {
        "errors higher by": _points(sight.increase),
        "detected after": _minutes(sight.minutes),
        "canary requests": _count(sight.canary_requests),
        "failed requests by then": _count(sight.harmed_requests),
        "in this bake": "✓ detected" if sight.within_bake else "not detected",
    }


def _outlook_rows(outlook: Outlook) -> list[dict[str, str]]:
    forecast, load = outlook.forecast, outlook.load
    bake = _minutes(forecast.bake_minutes)
    smallest = "none"
    if forecast.smallest_increase is not None:
        smallest = _points(forecast.smallest_increase)
    risk = f"{forecast.requests_at_risk:,} in a bake of {bake}"
    errors = f"{percent(outlook.traffic.error_rate, 2)} of requests"
    is_counted = outlook.judge.by == "counts"
    return [
        _row("a PASS needs", _needs_words(forecast), good=forecast.can_pass),
        _row("canary's tasks", _load_words(load), good=load.carries),
        _row(
            "smallest detectable increase",
            f"{smallest}, in a bake of {bake}",
            good=forecast.smallest_increase is not None,
        ),
        _row("requests at risk", risk),
        _row("a canary that fails half", _harm_words(outlook), good=is_counted),
        _row("how errors are counted", outlook.judge.words, good=is_counted),
        _row("stable's errors", errors),
    ]


def _row(what: str, found: str, *, good: bool = True) -> dict[str, str]:
    return {"": warning(not good), "what": what, "found": found}


def _needs_words(forecast: Forecast) -> str:
    """Return in words what a PASS takes."""
    if forecast.requests_to_pass is None:
        return "no number of requests would do"
    requests = f"{forecast.requests_to_pass:,} canary requests"
    return f"{requests}, {_minutes(forecast.minutes_to_pass)}"


def _harm_words(outlook: Outlook) -> str:
    """Return in words what a bad canary costs until its verdict."""
    if outlook.judge.by != "counts":
        return "goes on until an alarm rings"
    return harm_words(outlook.harm, outlook.gentler)


def _load_words(load: Load) -> str:
    each = ""
    if load.canary_then is not None:
        each = f": {load.canary_then:,.0f} requests/s each"
    if not load.capacity:
        return (
            f"{load.canary_tasks} running{each}; what a task can carry is not known, "
            "since stable's carry nothing now"
        )
    return (
        f"{load.canary_tasks} running, {load.tasks_needed} needed{each}; "
        f"each of stable's has carried {load.capacity:,.0f}"
    )


def _count(number: int | None) -> str:
    return "–" if number is None else f"{number:,}"


def _points(increase: float) -> str:
    two_digits = f"{100 * increase:.2g}"
    points = f"{float(two_digits):g}"  # 100 and not 1e+02
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
