"""Measure a shift at AWS's grain: figures of a minute that come two minutes late, and none where nothing happened.

    python tools/bench_grain.py NAME [--folder FOLDER]      # one of SCENES, alone; prints JSON

`runbook run` shifts behind the rule of parameters/local-alb.yaml, with requests; what goes wrong begins with the
canary's first weight. What others' rules (`peer_alarms`) would have decided is told by the same series. Where
the rollback left no whole minute of them, the weight is put back by hand until there is one. Everything runs on
loopback, in a folder and a local mesh of its own; every process started here is ended by its id.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import peer_alarms as peers
import yaml
from peer_alarms import MINUTE, Minute

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the checkout it lies in, installed or not

STABLE, CANARY = "serviceB", "serviceBv2"
PERIOD_SECONDS, DELAY_SECONDS = 60, 120
REQUESTS_PER_SECOND = 40
IDLE_SECONDS = 10  # of the load balancer: a request that hangs is answered 504 then
WEIGHT = 25
LOOK_SECONDS = 0.3
UNDER_WAY_SECONDS = IDLE_SECONDS + 2  # after the rollback, until requests begun before it have ended
HORIZON_MINUTES = 60  # for which others' rules are given figures
WAITED_SECONDS = 3000
WARM_UP_SECONDS = 120  # of calls, so that 05 finds whole minutes of them to measure its bake by


@dataclass(frozen=True)
class Scene:
    """What goes wrong, by the names of `Faults`, and whose; tasks of the canary that are killed again and again."""

    faults: Mapping[str, Any] = field(default_factory=dict)
    services: Sequence[str] = (CANARY,)
    tasks: int = 1  # of the canary
    kill_once: bool = False
    kill_half: bool = False

    @property
    def is_healthy(self) -> bool:
        """Say whether it must not be rolled back: the canary is no worse than stable."""
        return CANARY not in self.services or STABLE in self.services


SCENES: dict[str, Scene] = {
    "healthy": Scene(services=()),
    "1.5 % of errors in both": Scene({"error_rate": 0.015}, (STABLE, CANARY)),
    "5 % of errors": Scene({"error_rate": 0.05}),
    "30 % of errors": Scene({"error_rate": 0.3}),
    "its port never opens: connection refused": Scene({"slow_start_seconds": 3600.0}, kill_once=True),
    "it hangs: 504 after 10 s": Scene({"latency_ms": 30_000.0}),
    "every task crashes: no healthy target": Scene({"crash": True}),
    "half of its tasks crash": Scene(tasks=2, kill_half=True),
}


@dataclass
class There:
    """The environment of a scene, with processes and requests."""

    p: Any
    mesh: Any
    file: Path
    client: Callable[[str], Any]

    @cached_property
    def elbv2(self) -> Any:
        return self.client("elbv2")

    @cached_property
    def groups(self) -> dict[str, str]:
        """The target groups' ARNs by service."""
        names = {name: self.p.target_group_of(name) for name in (STABLE, CANARY)}
        found = self.elbv2.describe_target_groups(Names=list(names.values()))["TargetGroups"]
        arns = {group["TargetGroupName"]: group["TargetGroupArn"] for group in found}
        return {name: arns[group] for name, group in names.items()}

    def weight(self) -> int:
        """Return the canary's weight, as the rule has it."""
        rule = self.elbv2.describe_rules(RuleArns=[self.p.alb.rule])["Rules"][0]
        groups = rule["Actions"][-1]["ForwardConfig"]["TargetGroups"]
        return next((int(each["Weight"]) for each in groups if each["TargetGroupArn"] == self.groups[CANARY]), 0)

    def put_weight(self, canary: int) -> None:
        weights = {self.groups[STABLE]: 100 - canary, self.groups[CANARY]: canary}
        groups = [{"TargetGroupArn": arn, "Weight": weight} for arn, weight in weights.items()]
        action = {"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}
        self.elbv2.modify_rule(RuleArn=self.p.alb.rule, Actions=[action])

    def wait_less(self) -> None:
        """Let the load balancer give up on a target after `IDLE_SECONDS`, not after AWS's 60."""
        from runbook_lib.engines.alb.arns import load_balancer_of

        idle = {"Key": "idle_timeout.timeout_seconds", "Value": str(IDLE_SECONDS)}
        balancer = load_balancer_of(self.p.alb.rule)
        self.elbv2.modify_load_balancer_attributes(LoadBalancerArn=balancer, Attributes=[idle])

    def kill(self, how_many: int) -> None:
        """Kill so many of the canary's tasks, the youngest: their order is that of their start."""
        rows = self.mesh.ask("/runbook/tasks")["tasks"]
        pids = [row["pid"] for row in rows if row["service"] == CANARY and row["pid"]]
        for pid in pids[len(pids) - how_many :]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def failed_by_second(self) -> dict[int, int]:
        """Return the requests that failed, by the second in which they ended, as their caller saw them."""
        snapshot = self.mesh.ask("/runbook/traffic")[self.p.environment]
        found: dict[int, int] = {}
        for line in Path(snapshot["file"]).with_name("ledger.jsonl").read_text().splitlines():
            row = json.loads(line)
            found[row["second"]] = found.get(row["second"], 0) + row["failed"]
        return found

    def minutes(self, since: float, until: float) -> list[Minute]:
        """Return the canary's whole minutes, as CloudWatch has them."""
        first, last = int(since) // MINUTE * MINUTE, int(until) // MINUTE * MINUTE
        requests = self._series("RequestCount", "Sum", first, last)
        errors_4xx = self._series("HTTPCode_Target_4XX_Count", "Sum", first, last)
        errors_5xx = self._series("HTTPCode_Target_5XX_Count", "Sum", first, last)
        unhealthy = self._series("UnHealthyHostCount", "Average", first, last)
        return [
            Minute(
                start,
                _whole(requests.get(start)),
                _whole(errors_4xx.get(start)),
                _whole(errors_5xx.get(start)),
                unhealthy.get(start),
            )
            for start in range(first, last, MINUTE)
        ]

    def _series(self, metric: str, stat: str, first: int, last: int) -> dict[int, float]:
        from runbook_lib.engines.alb.arns import load_balancer_dimension

        group = self.groups[CANARY].rsplit(":", 1)[-1]
        dimensions = {"LoadBalancer": load_balancer_dimension(self.p.alb.rule), "TargetGroup": group}
        named = [{"Name": name, "Value": value} for name, value in dimensions.items()]
        measured = {"Namespace": "AWS/ApplicationELB", "MetricName": metric, "Dimensions": named}
        query = {"Id": "a", "MetricStat": {"Metric": measured, "Period": PERIOD_SECONDS, "Stat": stat}}
        found = self.client("cloudwatch").get_metric_data(
            MetricDataQueries=[query],
            StartTime=datetime.fromtimestamp(first, UTC),
            EndTime=datetime.fromtimestamp(last, UTC),
        )["MetricDataResults"][0]
        stamps = [int(stamp.timestamp()) for stamp in found["Timestamps"]]
        return dict(zip(stamps, found["Values"], strict=True))


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


@contextmanager
def there(scene: Scene, folder: Path) -> Iterator[There]:
    """Bring up the environment of a scene in a local mesh of its own, and end it."""
    os.environ.update(RUNBOOK_STATE=str(folder / "state"), RUNBOOK_RUNS=str(folder / "runs"), RUNBOOK_LOCAL="")

    from runbook_lib import parameters
    from runbook_lib.local import supervisor, world
    from runbook_lib.local.clients import clients

    file = folder / "grain.yaml"
    file.write_text(yaml.safe_dump(contents(scene)))
    p = parameters.load(str(file))
    mesh = supervisor.ensure()
    try:
        world.ensure(p, mesh)
        yield There(p, mesh, file, clients(mesh, p.account_id, p.region))
    finally:
        supervisor.down()


def contents(scene: Scene) -> dict[str, Any]:
    """Return parameters/local-alb.yaml with AWS's grain."""
    found: dict[str, Any] = yaml.safe_load((ROOT / "parameters" / "local-alb.yaml").read_text())
    found["environment"] = "grain"
    found["services"][CANARY]["desired_count"] = scene.tasks
    found["telemetry"] = {"period_seconds": PERIOD_SECONDS, "delay_seconds": DELAY_SECONDS}
    found["traffic"] = {"requests_per_second": REQUESTS_PER_SECOND}
    found["shift"] |= {"bake_seconds": 180, "prove_seconds": 600}
    del found["shift"]["trial"]  # it would show the canary's fault before users see it
    return found


def measured(name: str, folder: Path) -> dict[str, Any]:
    """Shift in a scene, and return what became of it, and what others' rules say to the same series."""
    from runbook_lib.shift.process.report import OUTCOMES

    scene = SCENES[name]
    with there(scene, folder) as it:
        it.wait_less()
        time.sleep(WARM_UP_SECONDS)
        command = [sys.executable, "-m", "runbook_lib.command.cli", "run", str(it.file), "--through", "05"]
        log = (folder / "run.log").open("w")
        run = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        try:
            began = until(lambda: time.time() if it.weight() == WEIGHT else 0.0, run)
            begin(scene, it)
            ended = until(lambda: time.time() if run.poll() is not None or not it.weight() else 0.0, None, it, scene)
            outcome = OUTCOMES.get(run.wait(timeout=WAITED_SECONDS), "crashed")
            if outcome != "rolled_back":
                ended = time.time()
            seen = seen_until(ended, it, scene, began) if outcome == "rolled_back" else ended
            hold_on(seen + DELAY_SECONDS + 2 * LOOK_SECONDS + 3 - time.time(), scene, it)
            return told(name, it, outcome, began, ended, seen)
        finally:
            if run.poll() is None:
                run.kill()
                run.wait()


def begin(scene: Scene, it: There) -> None:
    """Let it go wrong."""
    from runbook_lib.local import inject

    for service in scene.services:
        if scene.faults:
            inject(it.p, service, **scene.faults)
    if scene.kill_once:
        it.kill(scene.tasks)


def until(
    condition: Callable[[], float], run: subprocess.Popen[bytes] | None, it: There | None = None, scene: Scene = Scene()
) -> float:
    """Wait for a moment, while what goes wrong goes on; fail where the run ended before."""
    end = time.monotonic() + WAITED_SECONDS
    while not (found := condition()):
        if time.monotonic() > end or (run and run.poll() is not None):
            raise SystemExit("the run ended, or hung, before the canary had its weight: see run.log")
        if it and scene.kill_half:
            it.kill(1)
        time.sleep(LOOK_SECONDS)
    return found


def seen_until(ended: float, it: There, scene: Scene, began: float) -> float:
    """Return until when there are figures of the fault: of a whole minute at least, by hand where it must be."""
    if whole_minutes(began, ended):
        return ended
    it.put_weight(WEIGHT)
    again = time.time()
    hold_on((int(again) // MINUTE + 2) * MINUTE + 1 - again, scene, it)
    it.put_weight(0)
    return time.time()


def whole_minutes(since: float, until: float) -> list[int]:
    """Return the starts of the minutes that lie within, the first of which may lack what was under way."""
    first = (int(since + UNDER_WAY_SECONDS) // MINUTE + 1) * MINUTE
    return list(range(first, int(until) // MINUTE * MINUTE, MINUTE))


def hold_on(seconds: float, scene: Scene, it: There) -> None:
    """Let time pass, while what goes wrong goes on."""
    end = time.time() + seconds
    while time.time() < end:
        if scene.kill_half:
            it.kill(1)
        time.sleep(LOOK_SECONDS)


def told(name: str, it: There, outcome: str, began: float, ended: float, seen: float) -> dict[str, Any]:
    """Return the figures of a scene, as plain data; moments are seconds since the fault began."""
    scene, figures = SCENES[name], it.minutes(began, seen)
    failed = it.failed_by_second()
    rolled_back = outcome == "rolled_back"
    failed_until = sum(n for second, n in failed.items() if began <= second <= ended + UNDER_WAY_SECONDS)
    if rolled_back:
        typical_start = [*whole_minutes(began, ended), *whole_minutes(ended, seen)][-1]
        typical = next(each for each in figures if each.start == typical_start)
        minutes = peers.as_if_nobody_rolled_back(figures, began, ended, typical, HORIZON_MINUTES)
        failing = sum(failed.get(second, 0) for second in range(typical.start, typical.end)) / MINUTE
    else:
        minutes, failing = figures, 0.0
    return {
        "scene": name,
        "healthy": scene.is_healthy,
        "outcome": outcome,
        "seconds": ended - began,
        "failed": failed_until,
        "failing_per_second": failing,
        "why": why(it.file.parent / "runs"),
        "minutes": [[m.start - int(began), m.requests, m.errors_4xx, m.errors_5xx, m.unhealthy] for m in minutes[:30]],
        "peers": peers_of(peers.Seen(minutes, began, DELAY_SECONDS), ended, failed, failing),
    }


def peers_of(seen: peers.Seen, known: float, failed: Mapping[int, int], failing: float) -> dict[str, Any]:
    """Return after how many seconds each rule rolls back, and how many requests failed by then; None for never.

    What failed until `known` is counted, what would have failed after it extrapolated.
    """
    found: dict[str, Any] = {}
    for name, rule in peers.PEERS.items():
        moment = rule(seen)
        found[name] = None
        if moment is not None:
            counted = sum(n for second, n in failed.items() if seen.since <= second <= min(moment, known))
            more = failing * max(0.0, moment - known)
            found[name] = {"seconds": moment - seen.since, "failed": counted + more}
    return found


def why(runs: Path) -> str:
    """Return in the words of the record why traffic went back."""
    for path in runs.glob("*/*/record.jsonl"):
        for line in path.read_text().splitlines():
            row = json.loads(line)
            if row.get("event") == "decision" and row.get("phase") == "rolled back":
                return str(row["words"])
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=SCENES)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    for variable in [variable for variable in os.environ if variable.startswith("AWS_")]:
        del os.environ[variable]
    os.environ.update(AWS_EC2_METADATA_DISABLED="true", PYTHONPATH=str(ROOT))
    with tempfile.TemporaryDirectory(prefix="runbook-grain-") as temporary:
        folder = given.folder or Path(temporary)
        print(json.dumps(measured(given.name, folder)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
