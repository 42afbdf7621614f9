"""Judge a canary against stable by their counts of requests and errors: PASS,
FAIL or INCONCLUSIVE.

Pure: figures in, a frozen record out; no clock, no AWS, no word of what carries the
weights. `judge` takes a list of intervals into one `Tally`, and returns the verdict
on what they show (`outcome`). The statistics, and why they hold however often one
looks, are in `evidence`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from runbook_lib.errors import ParametersError
from runbook_lib.verdict.outcome import Outcome, Verdict
from runbook_lib.verdict.sample import Sample
from runbook_lib.verdict.settings import Settings
from runbook_lib.verdict.tally import Tally, marked

__all__ = [
    "Judgement",
    "evidence_curve",
    "judge",
    "judge_all",
    "judge_tallies",
    "share_of_alpha",
    "tallies_of",
]


@dataclass(frozen=True, slots=True)
class Judgement:
    """The outcome over several metrics, and the verdict of each; muted ones are shown
    and decide nothing.
    """

    outcome: Outcome
    reason: str
    verdicts: Mapping[str, Verdict]
    muted: frozenset[str]


def judge(
    samples: Iterable[Sample],
    *,
    alpha: float = 0.01,
    detectable_increase: float = 0.01,
    ignored_increase: float = 0.0,
    power: float = 0.95,
    bake_over: bool = False,
    alone: int | None = None,
    ceiling: float | None = None,
    counted: str = "with an error",
) -> Verdict:
    """Judge the intervals seen so far, earliest first; to be called again with all of
    them as they come in.

    FAIL: evidence of 1 / `alpha` that the canary's odds of error exceed stable's, or,
    where stable has no traffic, that its rate exceeds the one stable showed plus
    `detectable_increase` (or as much as stable's requests leave open, if more), and a
    rate at least `ignored_increase` above stable's; or evidence that it exceeds
    `ceiling`. A canary no worse than stable meets any of these with probability `alpha`
    at most. PASS: the bake is over, no version has fallen silent, and this very rule
    would by now have shown an increase of `detectable_increase` with probability
    `power`; where stable has no traffic, one that much above the rate tested, so twice
    as much. Health before it hides no increase: one that begins late takes about twice
    the requests to show. Otherwise INCONCLUSIVE. `alone` is how many of the newest
    intervals stable has had no weight for; left out, it is told from the requests.
    `counted` says in the reason what is counted. Raises ParametersError for a setting
    that is no fraction.
    """
    tally = Tally(
        Settings(alpha, detectable_increase, ignored_increase, power, ceiling)
    )
    tally.take_all(samples, alone)
    return tally.verdict(bake_over=bake_over, counted=counted)


def judge_all(
    metrics: Mapping[str, Iterable[Sample]],
    *,
    muted: Collection[str] = (),
    ceilings: Mapping[str, float] | None = None,
    counted: Mapping[str, str] | None = None,
    alpha: float = 0.01,
    detectable_increase: float = 0.01,
    ignored_increase: float = 0.0,
    power: float = 0.95,
    bake_over: bool = False,
    alone: int | None = None,
) -> Judgement:
    """Judge several metrics, each by `judge`, `alpha` shared evenly between those that
    decide (Bonferroni).

    FAIL if any that decides fails, PASS if all of them pass, INCONCLUSIVE otherwise
    and where none decides. `muted` metrics get a verdict too, which counts for
    nothing. `ceilings` and `counted` are by metric. Raises ParametersError for a
    name no metric has.
    """
    tallies = tallies_of(
        metrics,
        muted=muted,
        ceilings=ceilings,
        alpha=alpha,
        detectable_increase=detectable_increase,
        ignored_increase=ignored_increase,
        power=power,
    )
    for name, samples in metrics.items():
        tallies[name].take_all(samples, alone)
    return judge_tallies(tallies, muted=muted, counted=counted, bake_over=bake_over)


def tallies_of(
    metrics: Iterable[str],
    *,
    muted: Collection[str] = (),
    ceilings: Mapping[str, float] | None = None,
    alpha: float = 0.01,
    detectable_increase: float = 0.01,
    ignored_increase: float = 0.0,
    power: float = 0.95,
) -> dict[str, Tally]:
    """Return an empty tally for each metric, with the settings that
    `judge_all` gives it.

    Raises ParametersError for a name no metric has.
    """
    names = list(metrics)
    ceilings = ceilings or {}
    _refuse_unknown({*muted, *ceilings}, names)
    share = share_of_alpha(alpha, names, muted)
    tallies = {}
    for name in names:
        settings = Settings(
            share, detectable_increase, ignored_increase, power, ceilings.get(name)
        )
        tallies[name] = Tally(settings)
    return tallies


def judge_tallies(
    tallies: Mapping[str, Tally],
    *,
    muted: Collection[str] = (),
    counted: Mapping[str, str] | None = None,
    bake_over: bool = False,
) -> Judgement:
    """Judge several metrics by what their intervals add up to;
    otherwise as `judge_all` does.
    """
    _refuse_unknown({*muted, *(counted or {})}, tallies)
    words = {"errors": "with an error", **(counted or {})}
    verdicts = {}
    for name, tally in tallies.items():
        counted_as = words.get(name, f"counted as {name}")
        verdicts[name] = tally.verdict(bake_over=bake_over, counted=counted_as)
    return _combine(verdicts, frozenset(muted))


def evidence_curve(
    samples: Iterable[Sample],
    *,
    alpha: float = 0.01,
    detectable_increase: float = 0.01,
    ceiling: float | None = None,
    alone: int | None = None,
) -> list[float]:
    """Return the natural logarithm of the evidence after each interval, as
    `judge` saw it then.
    """
    tally = Tally(Settings(alpha, detectable_increase, ceiling=ceiling))
    curve = []
    for one in marked(tuple(samples), alone):
        tally.take(one.sample, one.alone)
        curve.append(tally.log_evidence)
    return curve


def share_of_alpha(
    alpha: float, metrics: Iterable[str], muted: Collection[str] = ()
) -> float:
    """Return what of `alpha` each metric that decides is judged by (Bonferroni)."""
    return alpha / max(1, sum(name not in muted for name in metrics))


def _combine(verdicts: Mapping[str, Verdict], muted: frozenset[str]) -> Judgement:
    deciding = {n: verdict for n, verdict in verdicts.items() if n not in muted}
    outcome = _outcome_of(deciding.values())
    reasons = []
    for name, verdict in deciding.items():
        if verdict.outcome == outcome:
            reasons.append(f"{name}: {verdict.reason}")
    if not deciding:
        reasons = [_nothing_decides(verdicts)]
    return Judgement(outcome, " | ".join(reasons), verdicts, muted)


def _outcome_of(verdicts: Iterable[Verdict]) -> Outcome:
    """Return FAIL if any verdict is, PASS if there are any and all of them are."""
    outcomes = {verdict.outcome for verdict in verdicts}
    if "FAIL" in outcomes:
        return "FAIL"
    return "PASS" if outcomes == {"PASS"} else "INCONCLUSIVE"


def _nothing_decides(verdicts: Mapping[str, Verdict]) -> str:
    if verdicts:
        return "every metric is muted, so none can fail or pass"
    return "there is no metric to judge by"


def _refuse_unknown(names: Collection[str], metrics: Collection[str]) -> None:
    if unknown := sorted(set(names) - set(metrics)):
        raise ParametersError(
            f"verdict: no metric is called {', '.join(unknown)}; there are "
            f"{', '.join(metrics) or 'none'}",
            hint="correct the name, or leave it out",
        )
