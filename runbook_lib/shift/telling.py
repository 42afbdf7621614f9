"""Say what a look saw, as decisions and as lines of the record. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from runbook_lib.judging import settings_of
from runbook_lib.printable import counted
from runbook_lib.shift.decision import Decision
from runbook_lib.shift.rules.counts import Counts
from runbook_lib.shift.rules.rule import Rule
from runbook_lib.shift.rules.watch import Watch
from runbook_lib.verdict import Sample

__all__ = ["counts_line", "judgement_line", "seen_at", "settled"]


def seen_at(watch: Watch, rule: Rule, at: float) -> Decision:
    """Return what the newest look saw; what follows from it changes phase and words."""
    assert watch.judgement is not None
    errors, slow = watch.counts.of_step(watch.span)
    seen = watch.seen
    return Decision(
        phase="watching",
        step=watch.step,
        weights=rule.weights_at(watch.step),
        words=watch.judgement.reason,
        requests=_requests(errors, rule),
        errors=_errors(errors, rule),
        slow=_errors(slow, rule) if rule.verdict.slow_millis else {},
        share=seen.share,
        band=seen.band,
        verdict=watch.judgement.outcome,
        at=at,
        seen=watch.counts.picture,
    )


def settled(failed: Decision, words: str, counts: Counts, rule: Rule) -> Decision:
    """Return what came of a rollback, and how many requests the canary has harmed."""
    errors = counts.total("errors")
    words += f", {counted(errors.canary_errors, 'request')} failed"
    if limit := rule.verdict.slow_millis:
        slow = counts.total("slow").canary_errors
        words += f", {slow} slower than {limit} ms"
    return replace(
        failed,
        phase="settled",
        words=words,
        share=None,
        band=None,
        requests=_requests(errors, rule),
        errors=_errors(errors, rule),
        seen=counts.picture,
    )


def judgement_line(watch: Watch, rule: Rule, cause: str) -> dict[str, Any]:
    """Return the newest judgement with all it takes to judge again, and its cause."""
    assert watch.judgement is not None
    settings = settings_of(
        rule.verdict, bake_over=watch.bake_over, alone=watch.alone, judge=rule.judge
    )
    line: dict[str, Any] = {
        "samples": watch.counts.newest_samples,
        "settings": settings,
        "outcome": watch.judgement.outcome,
        "reason": watch.judgement.reason,
        "cause": cause,
    }
    if watch.counts.recorded:  # the intervals before them have lines of their own
        line["after"] = watch.counts.recorded
    return line


def counts_line(counts: Counts) -> dict[str, Any]:
    """Return settled counts of a long bake: judgements then hold only later ones."""
    return {"after": counts.recorded, "samples": counts.unrecorded_samples}


def _requests(sample: Sample, rule: Rule) -> dict[str, int]:
    return {rule.stable: sample.stable_requests, rule.canary: sample.canary_requests}


def _errors(sample: Sample, rule: Rule) -> dict[str, int]:
    return {rule.stable: sample.stable_errors, rule.canary: sample.canary_errors}
