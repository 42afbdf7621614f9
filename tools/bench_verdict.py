"""Measure the verdict beside its peers' rules on the same simulated traffic, and print the tables.

    python tools/bench_verdict.py [--runs 300] [--seed 1]

Each peer's rule is a small function written from its documentation, with the thresholds documented as
examples. Errors are independent, one metric, no metric delay (a delay adds the same to every row). Only
prints; exits 1 where one of our own targets is missed.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from statistics import NormalDist

import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))  # the checkout it lies in, installed or not

from runbook_lib.verdict import Sample, evidence_curve

ALPHA = 0.01
Rule = Callable[[Sequence[Sample]], int | None]  # the interval, counted from 1, after which it rolls back


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests per second to both versions, the canary's weight, and both versions' rates of errors."""

    name: str
    rps: float
    weight: float
    stable: float
    canary: float

    def draw(self, rng: np.random.Generator, looks: int, seconds: float) -> list[Sample]:
        """Draw one bake of `looks` intervals."""
        requests = rng.poisson(self.rps * seconds, looks)
        canary = rng.binomial(requests, self.weight)
        stable = requests - canary
        columns = stable, rng.binomial(stable, self.stable), canary, rng.binomial(canary, self.canary)
        return [Sample(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]


def first(hits: Iterable[bool]) -> int | None:
    """Return the number, from 1, of the first that is true."""
    return next((number for number, hit in enumerate(hits, 1) if hit), None)


def ours(samples: Sequence[Sample], alone: int = 0) -> int | None:
    """Roll back at evidence of 1 / alpha: the rule of `runbook_lib.verdict`, after every interval."""
    curve = evidence_curve(samples, alpha=ALPHA, alone=alone)
    return first(log_evidence >= -math.log(ALPHA) for log_evidence in curve)


def flagger(threshold: int) -> Rule:
    """Roll back after `threshold` failed checks, never forgotten, of success >= 99 % in a minute."""
    return lambda samples: first(n >= threshold for n in accumulate(not success(s, 0.99) for s in samples))


def argo(samples: Sequence[Sample]) -> int | None:
    """Roll back once more than failureLimit 3 measurements miss successCondition result >= 0.95."""
    return first(n > 3 for n in accumulate(bool(s.canary_requests) and not success(s, 0.95) for s in samples))


def success(sample: Sample, least: float) -> bool:
    return bool(sample.canary_requests) and 1 - sample.canary_errors / sample.canary_requests >= least


def aws_sample(more_than: int) -> Rule:
    """Roll back when the sum of the canary's 5xx in the last 600 s exceeds a constant (minute data)."""

    def rule(samples: Sequence[Sample]) -> int | None:
        errors = [s.canary_errors for s in samples]
        return first(sum(errors[max(0, i - 10) : i]) > more_than for i in range(1, len(errors) + 1))

    return rule


def cloudwatch_alarm(samples: Sequence[Sample]) -> int | None:
    """Roll back when the canary's error rate is above 1 % in 3 of 3 minutes; no data is not breaching."""
    breaching = [s.canary_requests > 0 and s.canary_errors / s.canary_requests > 0.01 for s in samples]
    return first(i >= 3 and all(breaching[i - 3 : i]) for i in range(1, len(breaching) + 1))


def z_test(samples: Sequence[Sample]) -> int | None:
    """Roll back when a plain one-sided two-proportion z-test, looked at every minute, says p < 5 %."""
    limit = NormalDist().inv_cdf(0.95)
    return first(z_score(total) > limit for total in accumulate(samples, Sample.__add__))


def z_score(total: Sample) -> float:
    both, errors = total.stable_requests + total.canary_requests, total.stable_errors + total.canary_errors
    variance = errors / both * (1 - errors / both) if both else 0.0
    if not (variance and total.stable_requests and total.canary_requests):
        return 0.0
    difference = total.canary_errors / total.canary_requests - total.stable_errors / total.stable_requests
    return difference / math.sqrt(variance * (1 / total.stable_requests + 1 / total.canary_requests))


def kayenta(samples: Sequence[Sample]) -> int | None:
    """Roll back when the judge, run on the minutes so far at 10, 20 and 30 minutes, classifies High."""
    looks = [n for n in (10, 20, 30) if n <= len(samples)]
    return next((n for n in looks if kayenta_high(*rates(samples[:n]))), None)


def rates(samples: Sequence[Sample]) -> tuple[list[float], list[float]]:
    canary = [s.canary_errors / s.canary_requests for s in samples if s.canary_requests]
    return canary, [s.stable_errors / s.stable_requests for s in samples if s.stable_requests]


def kayenta_high(experiment: Sequence[float], control: Sequence[float]) -> bool:
    """Classify as Kayenta's Mann-Whitney judge does: interval at 98 %, tolerance 0.25 of the estimate."""
    if not experiment or not control or sorted(experiment) == sorted(control) or len({*experiment, *control}) == 1:
        return False
    low, estimate, _ = mann_whitney(experiment, control, 0.98)
    rounding = 1e-6 * (max(*experiment, *control) - min(*experiment, *control))
    return low > 0.25 * abs(estimate) + rounding


def mann_whitney(x: Sequence[float], y: Sequence[float], confidence: float) -> tuple[float, float, float]:
    """Return the low end, the Hodges-Lehmann estimate and the high end, as R's wilcox.test does."""
    z, span = NormalDist().inv_cdf((1 + confidence) / 2), (min(x) - max(y), max(x) - min(y))

    def root(target: float, continuity: float) -> float:
        low, high = span
        if _standardised(x, y, low, continuity) <= target:
            return low
        if _standardised(x, y, high, continuity) >= target:
            return high
        while high - low > 1e-7 * (span[1] - span[0]):
            middle = (low + high) / 2
            above = _standardised(x, y, middle, continuity) > target
            low, high = (middle, high) if above else (low, middle)
        return (low + high) / 2

    return root(z, 0.5), root(0.0, 0.0), root(-z, 0.5)


def _standardised(x: Sequence[float], y: Sequence[float], shift: float, continuity: float) -> float:
    m, n = len(x), len(y)
    values = np.concatenate([np.asarray(x) - shift, y])
    _, inverse, ties = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(ties) - (ties - 1) / 2)[inverse]
    centred = float(ranks[:m].sum()) - m * (m + 1) / 2 - m * n / 2
    tied = float((ties**3 - ties).sum()) / ((m + n) * (m + n - 1))
    sigma = math.sqrt(m * n / 12 * max(m + n + 1 - tied, 1e-12))
    return (centred - math.copysign(continuity, centred) * (centred != 0)) / sigma


def told_odds(traffic: Traffic) -> Rule:
    """Make the two-sample SPRT that is told the true odds ratio: errors' versions given the shares (Wald)."""
    odds = traffic.canary / (1 - traffic.canary) / (traffic.stable / (1 - traffic.stable))
    return lambda samples: first(s >= math.log(0.95 / ALPHA) for s in accumulate(_told(s, odds) for s in samples))


def _told(s: Sample, odds: float) -> float:
    share = s.canary_requests / max(1, s.canary_requests + s.stable_requests)
    errors = s.canary_errors + s.stable_errors
    return s.canary_errors * math.log(odds) - errors * math.log1p((odds - 1) * share)


def omniscient(traffic: Traffic) -> Rule:
    """Make the SPRT that is told both rates of errors, and needs to look at the canary only."""
    bad = math.log(traffic.canary / traffic.stable)
    good = math.log((1 - traffic.canary) / (1 - traffic.stable))

    def rule(samples: Sequence[Sample]) -> int | None:
        steps = (s.canary_errors * bad + (s.canary_requests - s.canary_errors) * good for s in samples)
        return first(sum_ >= math.log(0.95 / ALPHA) for sum_ in accumulate(steps))

    return rule


PEERS: dict[str, Rule] = {
    "this runbook, alpha 1 %": ours,
    "Flagger, >= 99 %, threshold 10": flagger(10),
    "Flagger, >= 99 %, threshold 5": flagger(5),
    "Argo, >= 95 %, failureLimit 3": argo,
    "AWS sample, 5xx > 0 in 600 s": aws_sample(0),
    "AWS sample, 5xx > 1 in 600 s": aws_sample(1),
    "CloudWatch alarm, > 1 %, 3 of 3": cloudwatch_alarm,
    "Kayenta at 10, 20, 30 min": kayenta,
    "z-test each minute, 5 %": z_test,
}

SCENES = (
    Traffic("healthy, 0.1 %", 20, 0.25, 0.001, 0.001),
    Traffic("both 1.5 %", 20, 0.25, 0.015, 0.015),
    Traffic("both 50 %", 20, 0.25, 0.5, 0.5),
    Traffic("canary 0.5 %", 20, 0.25, 0.001, 0.005),
    Traffic("canary 1 %", 20, 0.25, 0.001, 0.01),
    Traffic("canary 5 %", 20, 0.25, 0.001, 0.05),
    Traffic("canary 50 %", 20, 0.25, 0.001, 0.5),
    Traffic("1 rps healthy", 1, 0.25, 0.001, 0.001),
    Traffic("1 rps 2 %", 1, 0.25, 0.001, 0.02),
)


def beside_peers(rng: np.random.Generator, runs: int) -> Table:
    """Measure table D.3: 30 minutes at 75/25, minute data; rolled back % / median minute / bad requests."""
    title = "20 requests per second (last two: 1), stable 0.1 %: rolled back % / median minute / bad requests"
    table = Table("rule", *(scene.name for scene in SCENES), title=title)
    bakes = {scene: [scene.draw(rng, 30, 60) for _ in range(runs)] for scene in SCENES}
    for name, rule in PEERS.items():
        few = max(20, runs // 5) if rule is kayenta else runs
        table.add_row(name, *(cell(rule, bakes[scene][:few]) for scene in SCENES))
    return table


def cell(rule: Rule, bakes: Sequence[Sequence[Sample]]) -> str:
    stops = [rule(bake) for bake in bakes]
    bad = np.mean([sum(s.canary_errors for s in bake[:stop]) for bake, stop in zip(bakes, stops, strict=True)])
    found = [stop for stop in stops if stop]
    if not found:
        return f"0 / - / {bad:.0f}"
    return f"{100 * len(found) / len(bakes):.3g} / {np.median(found):.0f} / {bad:.0f}"


def against_time(rng: np.random.Generator, runs: int) -> Table:
    """Measure table D.4: 20 requests per second, stable 0.1 %, a look every 10 seconds for an hour."""
    weights = (0.01, 0.05, 0.1, 0.25, 0.5)
    table = Table("canary errors", *(f"weight {w:.0%}" for w in weights), title="seconds to FAIL, median / p90")
    for rate in (0.005, 0.01, 0.02, 0.05, 0.5):
        times = (stops(ours, Traffic("", 20, w, 0.001, rate), rng, runs, 360 if rate < 0.02 else 180) for w in weights)
        table.add_row(f"{rate:.1%}", *(" / ".join(seconds(t, q) for q in (0.5, 0.9)) for t in times))
    return table


def stops(
    rule: Rule, traffic: Traffic, rng: np.random.Generator, runs: int, looks: int, every: int = 10
) -> list[float]:
    """Return the seconds to a rollback in each run, infinite where there was none."""
    found = (rule(traffic.draw(rng, looks, every)) for _ in range(runs))
    return [stop * every if stop else math.inf for stop in found]


def seconds(times: Sequence[float], quantile: float) -> str:
    at = np.quantile(times, quantile, method="higher")
    return "-" if math.isinf(at) else f"{at:.0f}"


HEALTHY_MINUTES = (0, 5, 30, 120)


def after_health(rng: np.random.Generator, runs: int) -> tuple[Table, dict[tuple[str, int], list[float]]]:
    """Measure what a healthy past costs: seconds from the onset of the errors to FAIL, a look every 10 seconds."""
    table = Table("canary errors", *(f"after {m} min" for m in HEALTHY_MINUTES))
    table.title = "seconds from a late onset to FAIL, median / p90"
    found: dict[tuple[str, int], list[float]] = {}
    for weight, rate in ((0.25, 0.01), (0.25, 0.05), (1.0, 0.02), (1.0, 0.05)):
        name = f"{rate:.0%} at weight {weight:.0%}"
        for minutes in HEALTHY_MINUTES:
            found[name, minutes] = [late_stop(rng, weight, rate, minutes) for _ in range(runs)]
        table.add_row(name, *(" / ".join(seconds(found[name, m], q) for q in (0.5, 0.9)) for m in HEALTHY_MINUTES))
    return table, found


def late_stop(rng: np.random.Generator, weight: float, rate: float, minutes: int) -> float:
    """Return the seconds from the onset to a rollback; before it ten minutes at 25 % where the weight is 100."""
    before = Traffic("", 20, 0.25, 0.001, 0.001).draw(rng, 60, 10) if weight == 1 else []
    before += Traffic("", 20, weight, 0.001, 0.001).draw(rng, 6 * minutes, 10)
    bake = [*before, *Traffic("", 20, weight, 0.001, rate).draw(rng, 180, 10)]
    stop = ours(bake, alone=len(bake) - 60 if weight == 1 else 0)
    return math.inf if stop is None else 10.0 * max(0, stop - len(before))  # 0: a false alarm before


def against_sprt(rng: np.random.Generator, runs: int) -> tuple[Table, list[float]]:
    """Measure our median time to FAIL beside the SPRT told the odds ratio, and the one told everything."""
    table = Table("stable", "canary", "ours s", "told odds s", "omniscient s", "ratio", title="median time to FAIL")
    ratios = []
    for stable, canary, every in (
        (0.001, 0.005, 10),
        (0.001, 0.01, 5),
        (0.001, 0.02, 2),
        (0.001, 0.05, 1),
        (0.01, 0.02, 10),
    ):
        traffic = Traffic("", 20, 0.25, stable, canary)
        bakes = [traffic.draw(rng, 160, every) for _ in range(4 * runs)]
        rules = (ours, told_odds(traffic), omniscient(traffic))
        medians = [float(np.median([(rule(bake) or math.inf) * every for bake in bakes])) for rule in rules]
        ratios.append(medians[0] / medians[1])
        table.add_row(f"{stable:.1%}", f"{canary:.1%}", *(f"{m:.0f}" for m in medians), f"{ratios[-1]:.2f}")
    return table, ratios


def targets(
    rng: np.random.Generator, runs: int, ratios: Sequence[float], late: dict[tuple[str, int], list[float]]
) -> list[tuple[str, str, bool]]:
    """Measure the figures we promise: what, found, and whether it holds."""
    healthy = Traffic("", 20, 0.25, 0.001, 0.001), Traffic("", 20, 0.25, 0.015, 0.015)
    false = [math.isfinite(t) for scene in healthy for t in stops(ours, scene, rng, 2 * runs, 360)]
    caught = stops(ours, Traffic("", 20, 0.25, 0.001, 0.01), rng, 5 * runs, 120)
    outage = [stops(ours, Traffic("", 20, 0.25, rate, rate), rng, runs, 30) for rate in (0.5, 1.0)]
    median, p90 = quantiles(caught)
    late_median, late_p90 = quantiles(late["1% at weight 25%", 30])
    alone_median, alone_p90 = quantiles(late["2% at weight 100%", 30])
    rolled_back = sum(math.isfinite(t) for times in outage for t in times)
    return [
        ("false rollbacks <= 1 % (360 looks)", f"{sum(false)} of {len(false)}", np.mean(false) <= 0.01),
        ("0.1 -> 1 % caught, median <= 180 s", f"{median:.0f} s", median <= 180),
        ("0.1 -> 1 % caught, p90 <= 300 s", f"{p90:.0f} s", p90 <= 300),
        ("after 30 healthy minutes, median <= 300 s", f"{late_median:.0f} s", late_median <= 300),
        ("after 30 healthy minutes, p90 <= 540 s", f"{late_p90:.0f} s", late_p90 <= 540),
        (
            "0.1 -> 2 % at weight 100 after 30 healthy minutes, p90 <= 600 s",
            f"{alone_median:.0f} s, p90 {alone_p90:.0f} s",
            alone_p90 <= 600,
        ),
        ("ratio to the SPRT told the odds <= 1.3", f"{max(ratios):.2f}", max(ratios) <= 1.3),
        (
            "shared outage, 50 and 100 %: no rollback",
            f"{rolled_back} of {2 * runs}",
            rolled_back <= 0.01 * 2 * runs,
        ),
    ]


def quantiles(times: Sequence[float]) -> tuple[float, float]:
    median, p90 = (float(np.quantile(times, q, method="higher")) for q in (0.5, 0.9))
    return median, p90


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=300, help="bakes simulated for each cell (Kayenta: a fifth)")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    rng, console = np.random.default_rng(given.seed), Console(width=200)
    sprt, ratios = against_sprt(rng, given.runs)
    health, late = after_health(rng, given.runs)
    for table in (beside_peers(rng, given.runs), against_time(rng, max(20, given.runs // 3)), health, sprt):
        console.print(table)
    found = targets(rng, given.runs, ratios, late)
    summary = Table("target", "measured", "holds", title="targets")
    for target, measured, holds in found:
        summary.add_row(target, measured, "yes" if holds else "NO")
    console.print(summary)
    return 0 if all(holds for _, _, holds in found) else 1


if __name__ == "__main__":
    raise SystemExit(main())
