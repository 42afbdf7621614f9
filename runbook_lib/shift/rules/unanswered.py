"""Say whether requests that no version answered were the canary's.

Pure. A load balancer answers by itself where a target hangs or breaks off, and counts
that for nobody. What it can be laid at a version's door by: how many requests each
version was sent, and how many it answered.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

from runbook_lib.aws.cloudwatch import Interval, Unclaimed
from runbook_lib.parameters.shift import VerdictRule
from runbook_lib.verdict import Sample, Verdict, judge

__all__ = ["judge_unanswered", "laid_at"]

NONE = Unclaimed(0, 0, 0)


def laid_at(interval: Interval) -> Sample:
    """Return an interval's requests; errors are those that a version did not answer.

    Errors that are counted for nobody are divided as the unanswered requests are. More
    errors than those stay nobody's; of more unanswered requests some are under way.
    """
    requests, lost = interval.errors, interval.unclaimed or NONE
    stable = max(0, requests.stable_requests - lost.stable_answers)
    canary = max(0, requests.canary_requests - lost.canary_answers)
    unanswered = stable + canary
    if not unanswered:
        return Sample(requests.stable_requests, 0, requests.canary_requests, 0)
    part = min(Fraction(1), Fraction(lost.errors, unanswered))
    return Sample(
        requests.stable_requests,
        round(stable * part),
        requests.canary_requests,
        round(canary * part),
    )


def judge_unanswered(intervals: Iterable[Interval], rule: VerdictRule) -> Verdict:
    """Judge the canary by the requests that each version left unanswered.

    Only a rise of `detectable_increase` and more is a FAIL: whose they were is not
    counted, but concluded. Where stable had no request, that much is too much.
    """
    limit = max(rule.detectable_increase, rule.ignored_increase)
    samples = [laid_at(interval) for interval in intervals]
    has_stable = any(sample.stable_requests for sample in samples)
    return judge(
        samples,
        alpha=rule.alpha,
        detectable_increase=rule.detectable_increase,
        ignored_increase=limit,
        power=rule.power,
        ceiling=None if has_stable else limit,
        counted="that it did not answer",
    )
