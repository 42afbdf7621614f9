"""A shift in a process of its own: what it says, what a follower makes of it, and how each of both ends."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from runbook_lib import errors, record
from runbook_lib.aws.cloudwatch import Interval
from runbook_lib.aws.session import Session
from runbook_lib.errors import Failed, GateError, Held, LockError, NotFollowed, RolledBack, RunbookError
from runbook_lib.shift.decision import Decision
from runbook_lib.shift.process import report
from runbook_lib.shift.process.following import TRIES, Start, follow_step, follow_traffic, follow_watch
from runbook_lib.shift.process.report import BUSY, Ending, Heard, Orders, Report, Wait
from runbook_lib.shift.process.watcher import Board, carry_out, conclude
from runbook_lib.shift.rules.moves import Hold
from runbook_lib.survey import survey
from runbook_lib.verdict import Sample
from tests.live import CANARY, STABLE, Sky, again, phases, quick, take, under_sky
from tests.scenes import fact, lines, open_at

WRITTEN = Decision("written", 25, {STABLE: 75, CANARY: 25}, "0 → 25 %, read back", at=1.5)
LOOK = Decision("watching", 25, {STABLE: 75, CANARY: 25}, "so far", share=0.25, band=(0.2, 0.3), at=2.5)
SEEN = (Interval(1, Sample(75, 0, 25, 0), Sample(75, 0, 25, 0)),)
KILLED = -9


# What it says.


def test_a_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    told = report.with_decision(Report("a", 7), replace(WRITTEN, seen=SEEN))
    told = replace(report.with_decision(told, LOOK), wait=Wait("figures", 1.0, 2.0), ending=Ending("Held", "why"))
    report.write(tmp_path / "report.json", told)
    assert report.read(tmp_path / "report.json") == told


@pytest.mark.parametrize("text", [None, "", "{", '{"id": "a"}', "[]"])
def test_what_is_no_whole_report_is_none(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "report.json").write_text(text)
    assert report.read(tmp_path / "report.json") is None


def test_each_decision_is_news_once_and_of_looks_the_newest() -> None:
    said = report.with_decision(Report("a", 7), replace(WRITTEN, seen=SEEN))
    said = report.with_decision(said, LOOK)
    fresh, heard = report.news(said, Heard())
    assert fresh == [WRITTEN, LOOK]
    assert fresh[-1].seen == SEEN
    assert report.news(said, heard) == ([], heard)
    later = report.with_decision(said, replace(LOOK, at=3.5))
    assert report.news(later, heard)[0] == [replace(LOOK, at=3.5)]
    proved = report.with_decision(later, replace(LOOK, phase="proved", at=4.5))
    assert [d.phase for d in report.news(proved, heard)[0]] == ["proved"]


def test_of_another_process_everything_is_news() -> None:
    said = report.with_decision(Report("a", 7), WRITTEN)
    _, heard = report.news(said, Heard())
    assert report.news(replace(said, id="b"), heard)[0] == [WRITTEN]


@pytest.mark.parametrize("kind", [each for each in errors.__all__ if each != "RunbookError"])
def test_each_error_is_the_very_same_on_the_other_side(kind: str) -> None:
    error: RunbookError = getattr(errors, kind)("what", hint="next", reason="word")
    error.exit_code = 1
    again = report.error_of(report.ending_of(error, 3), "log")
    assert type(again) is type(error)
    assert vars(again) == vars(error)  # type: ignore[arg-type]


def test_an_error_nobody_foresaw_is_a_failure_without_its_secrets() -> None:
    ending = report.ending_of(ValueError("password=hunter2"), 0)
    error = report.error_of(ending, "the log")
    assert isinstance(error, Failed)
    assert (error.reason, error.message) == ("error", "the shift's process failed: ValueError: password=****")
    assert "the log" in error.hint


@pytest.mark.parametrize(
    ("code", "kind"), [(1, "Failed"), (2, "Refused"), (3, "Held"), (4, "RolledBack"), (99, "Failed"), (0, "")]
)
def test_an_exit_code_alone_still_says_how_it_ended(code: int, kind: str) -> None:
    assert report.ending_of_code(code).error == kind


def test_a_board_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    board = Board(tmp_path / "gone" / "report.json", "a")
    board.wait("figures", 1.0, 2.0)
    assert board.report.wait == Wait("figures", 1.0, 2.0)


def test_a_board_knows_who_was_killed_before_it(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    assert Board(file, "a").killed == 0
    report.write(file, Report("b", 7))
    board = Board(file, "c")
    assert board.killed == 7
    board.put(replace(board.report, ending=Ending()))
    assert Board(file, "d").killed == 0


# What a follower makes of it. Here the process is made up: it does all it is to do as it is started.


@dataclass
class Past:
    """A process that has ended by the time anybody asks."""

    code: int
    pid: int = 7

    def poll(self) -> int | None:
        """Return its exit code."""
        return self.code


@dataclass
class Started:
    """Starts processes; what was ordered is kept."""

    do: Callable[[Orders], int]
    orders: list[Orders] = field(default_factory=list)

    def __call__(self, orders: Orders, log: Path) -> Past:
        """Start one."""
        self.orders.append(orders)
        return Past(self.do(orders))


class Relieved(Board):
    """Of a process that is relieved as soon as its step has passed."""

    def is_relieved(self) -> bool:
        return True


def shifting(sky: Sky, kind: type[Board] = Relieved) -> Started:
    """Start processes that shift under a sky, as the real one does."""

    def do(orders: Orders) -> int:
        board = kind(Path(orders.report), orders.id, leaves_steps=orders.what != "every step")
        session = again(sky)
        session.shift_lock = record.shift_lock_of(session.place)
        return conclude(orders, board, *carry_out(orders, board, lambda: session)).exit_code

    return Started(do)


def saying(*reports: Report, code: int = 0) -> Started:
    """Start processes of which each says one report."""
    left = list(reports)

    def do(orders: Orders) -> int:
        if left:
            report.write(Path(orders.report), replace(left.pop(0), id=orders.id))
        return code

    return Started(do)


def watched(session: Session) -> Session:
    """Let a session be of a place with traffic, where nothing is left from before."""
    session.connection = replace(session.connection, carries_traffic=True)
    file_of(session).unlink(missing_ok=True)
    session.sleep = lambda seconds: None
    return session


def file_of(session: Session) -> Path:
    return Path(record.shift_lock_of(session.place).lock_file).with_suffix(".json")


def followed(session: Session, start: Start, alarms: list[str] | None = None) -> list[Decision]:
    alarm = (alarms if alarms is not None else []).append
    return list(follow_traffic(session, fact(), alarm=alarm, start=start))


def test_a_shift_followed_to_its_end_is_told_as_one_in_this_process() -> None:
    session, sky = under_sky()
    start = shifting(sky)
    told = followed(session, start)
    assert phases(told) == ["rehearsed", "written", "proved", "judged", "written", "proved", "judged"]
    assert [d for d in told if d.phase == "judged"][-1].seen
    assert sky.weights() == {STABLE: 0, CANARY: 100}
    assert [line["at"] for line in lines(session, "decision")] == [d.at for d in told]
    assert session.written == 3
    assert followed(session, start) == []
    assert len(start.orders) == 1  # where nothing is left no process is started


def test_a_rollback_ends_the_follower_as_it_ended_the_shift() -> None:
    session, sky = under_sky(shift=quick(trial={"requests": 5}), tests_per_second=10)
    session.join_run()
    sky.at(8, lambda: sky.errors.update({CANARY: 0.5}))
    with pytest.raises(RolledBack, match=r"25 %: verdict: .*back to 0 % in one write") as caught:
        followed(session, shifting(sky))
    assert (caught.value.reason, caught.value.exit_code) == ("verdict", 4)
    assert session.run is None
    assert session.finished
    assert session.finished.closed


def test_the_cells_own_evidence_still_has_to_hold() -> None:
    session, sky = under_sky()
    lacking = fact("canary ready", holds=False)
    with pytest.raises(GateError, match="canary ready"):
        list(follow_traffic(session, lacking, alarm=print, start=shifting(sky)))
    assert sky.updates == 0
    with pytest.raises(GateError, match="no evidence"):
        list(follow_traffic(session, alarm=print, start=shifting(sky)))


@pytest.mark.parametrize(
    ("phase", "error", "words"),
    [
        ("proved", Held, "interrupted: serviceB 75 %, serviceBv2 25 % stays as it is"),
        ("rolled back", RolledBack, "back to 0 % in one write; interrupted before traffic showed it"),
    ],
)
def test_an_interrupt_between_two_decisions_holds_the_shift_and_no_rollback(
    phase: str, error: type[RunbookError], words: str
) -> None:
    session, sky = under_sky()
    sky.at(8, lambda: sky.errors.update({CANARY: 0.5}))

    class Interrupted(Relieved):
        came = False

        def put(self, said: Report) -> None:
            super().put(said)
            if not self.came and [d.phase for d in said.decisions[-1:]] == [phase]:
                self.came = True
                raise KeyboardInterrupt

    with pytest.raises(error, match=words):
        followed(session, shifting(sky, Interrupted))


def test_one_step_by_hand_is_watched_by_a_process_too() -> None:
    session, sky = under_sky()
    start = shifting(sky)
    told = follow_step(session, 25, survey(session).plan_step(25), fact(), start=start)
    assert phases(list(told)) == ["rehearsed", "written", "proved", "judged", "staying"]
    stale = survey(session).plan_step(100)
    sky.session.connection = session.connection
    with pytest.raises(RunbookError, match="no longer what was planned"):
        list(follow_step(session, 100, replace(stale, changes=()), fact(), start=start))


def test_a_canary_that_nobody_watches_is_watched_without_its_record_and_no_step_is_taken() -> None:
    session, sky = under_sky()
    take(session, until=lambda d: d.phase == "written")
    shutil.rmtree(session.join_run().folder)
    second = again(sky)
    report.write(file_of(session), Report("yesterday", 7))  # of somebody who was killed, elsewhere
    told = list(follow_watch(second, alarm=print, start=shifting(sky)))
    assert lines(second, "watcher") == []
    phases_of = [(d.phase, d.step) for d in told if d.phase != "watching"]
    assert phases_of == [("proved", 25), ("judged", 25), ("staying", 25)]
    assert sky.weights() == {STABLE: 75, CANARY: 25}
    sky.errors.update({CANARY: 0.5})
    with pytest.raises(RolledBack):
        list(follow_watch(second, alarm=print, start=shifting(sky)))
    assert sky.weights() == {STABLE: 100, CANARY: 0}
    assert list(follow_watch(second, alarm=print, start=saying())) == []


def test_a_process_that_was_killed_is_named_and_the_next_goes_on() -> None:
    session = watched(open_at("meshed"))
    one = report.with_decision(Report("", 7), WRITTEN)
    two = report.with_decision(Report("", 8), replace(WRITTEN, phase="proved", at=2.0))
    alarms: list[str] = []
    codes = iter([KILLED, 0])
    start = saying(one, replace(two, ending=Ending()))
    do = start.do
    start.do = lambda orders: (do(orders), next(codes))[1]
    assert phases(followed(session, start, alarms)) == ["written", "proved"]
    assert alarms == ["process 7, which watched the shift, was killed; a new one goes on with the evidence so far"]


def test_processes_killed_again_and_again_end_the_follower_in_words() -> None:
    session = watched(open_at("meshed"))
    start = saying(code=KILLED)
    with pytest.raises(Failed, match=f"was killed {TRIES} times in a row") as caught:
        followed(session, start)
    assert caught.value.reason == "watcher"
    assert "`runbook rollback " in caught.value.hint
    assert len({orders.id for orders in start.orders}) == TRIES


def test_a_full_disk_leaves_the_exit_code() -> None:
    with pytest.raises(Held, match="it could write down no more than that"):
        followed(watched(open_at("meshed")), saying(code=3))


def test_a_process_that_cannot_be_started_is_a_failure_in_words() -> None:
    def start(orders: Orders, log: Path) -> Past:
        raise OSError(12, "Cannot allocate memory")

    with pytest.raises(Failed, match="no process could be started: Cannot allocate memory"):
        followed(watched(open_at("meshed")), start)


def test_whoever_comes_late_hears_everything_and_the_end() -> None:
    session = watched(open_at("meshed"))
    waits: list[tuple[str, float, float]] = []
    session.waiting = lambda *told: waits.append(told)
    said = replace(report.with_decision(Report("a", 7), WRITTEN), wait=Wait("figures", 1.0, 2.0))
    ended = replace(said, wait=None, ending=Ending("Held", "held by ada"))
    lock = record.shift_lock_of(session.place)
    turns = iter([lambda: report.write(file_of(session), ended), lock.release])
    with lock:
        report.write(file_of(session), said)
        session.sleep = lambda seconds: next(turns)()
        decisions = follow_traffic(session, fact(), alarm=print, start=saying())
        assert next(decisions) == WRITTEN
        with pytest.raises(Held, match="held by ada"):
            next(decisions)
    assert waits == [("figures", 1.0, 2.0), ("", 1.0, 2.0)]


def test_the_end_of_a_shift_before_is_not_the_end_of_the_one_that_begins() -> None:
    session = watched(open_at("meshed"))
    report.write(file_of(session), Report("yesterday", 7, ending=Ending("RolledBack", "yesterday's")))
    new = replace(report.with_decision(Report("b", 8), WRITTEN), ending=Ending())
    assert followed(session, saying(new)) == [WRITTEN]


def test_of_two_who_start_at_once_one_follows_the_others() -> None:
    session = watched(open_at("meshed"))
    said = replace(report.with_decision(Report("others", 9), WRITTEN), ending=Ending())

    def do(orders: Orders) -> int:
        report.write(file_of(session), said)
        return BUSY

    assert followed(session, Started(do)) == [WRITTEN]


def test_whoever_finds_one_step_by_hand_under_way_follows_it_and_then_goes_on() -> None:
    session, sky = under_sky()
    file_of(session).unlink(missing_ok=True)
    lock, by_hand = record.shift_lock_of(session.place), shifting(sky)

    def passes(seconds: float) -> None:
        session.sleep = sky.sleep
        lock.release()
        list(follow_step(again(sky), 25, survey(session).plan_step(25), fact(), start=by_hand))

    start = shifting(sky)
    with lock:
        session.sleep = passes
        told = followed(session, start)
    first = ["rehearsed", "written", "proved", "judged", "staying"]
    assert phases(told) == [*first, "written", "proved", "judged"]
    assert [len(each.orders) for each in (by_hand, start)] == [1, 1]


def test_while_a_shift_is_under_way_no_step_is_taken_by_hand_beside_it() -> None:
    session = watched(open_at("meshed"))
    plan = survey(session).plan_step(25)
    with record.shift_lock_of(session.place), pytest.raises(LockError, match="a shift is under way"):
        list(follow_step(session, 25, plan, fact(), start=saying()))


def staying(session: Session) -> Report:
    """Return what a process says whose step has passed, and let it be the newest report."""
    said = report.with_decision(Report("a", 4711, leaves_steps=True), WRITTEN)
    said = report.with_decision(said, replace(WRITTEN, phase="staying", at=2.0))
    report.write(file_of(session), said)
    return said


def test_a_step_that_has_passed_is_told_as_watched_and_its_follower_leaves() -> None:
    session = watched(open_at("meshed"))
    start = saying()
    with record.shift_lock_of(session.place):
        said = staying(session)
        assert list(follow_watch(session, alarm=print, start=start)) == list(said.decisions)
    assert start.orders == []


def test_who_follows_hears_why_the_next_step_is_refused_while_the_one_before_it_stays_watched() -> None:
    session, _ = under_sky()
    refused = Hold("approval", "100 %: it needs an approval", "runbook approve")
    said = report.with_decision(Report("a", 4711), WRITTEN)
    said = report.with_decision(said, replace(WRITTEN, phase="staying", at=2.0, refused=refused), written=3)
    assert (said.stays, said.has_ended) == (True, False)
    start = saying()
    with record.shift_lock_of(watched(session).place):
        report.write(file_of(session), said)
        with pytest.raises(errors.Held, match="100 %: it needs an approval") as caught:
            list(follow_watch(session, alarm=print, start=start))
    assert (caught.value.hint, caught.value.reason, start.orders) == ("runbook approve", "approval", [])


def test_a_shift_that_waits_for_an_approval_says_so_once_and_its_end_is_the_next_processs_to_tell() -> None:
    session, sky = under_sky(shift=quick(approvals={"steps": [100]}))
    with pytest.raises(errors.Held, match=r"100 %: plan .* needs an approval; .*; 25 % stays watched until then"):
        followed(session, shifting(sky))
    said = report.read(file_of(session))
    assert said is not None
    assert (said.stays, said.ending and said.ending.reason) == (False, "approval")


def test_where_nobody_else_would_a_shift_that_waits_sums_its_run_up_and_again_once_it_has_rolled_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session, sky = under_sky(shift=quick(approvals={"steps": [100]}))
    run = session.join_run()
    monkeypatch.setenv("RUNBOOK_RUN", str(run.folder))
    sky.at(60, lambda: sky.errors.update({CANARY: 0.5}))
    with pytest.raises(RolledBack):
        followed(session, shifting(sky, Board))
    summed_up = [line for line in run.lines() if line["event"] == "summed up"]
    assert [line["outcome"] for line in summed_up] == ["held", "rolled_back"]
    assert summed_up[0]["reason"].startswith("approval: 100 %: plan ")
    assert run.closed


@pytest.mark.parametrize("what", ["one step", "every step"])
def test_whoever_takes_the_next_step_relieves_the_process_that_stays(what: str) -> None:
    session = watched(open_at("meshed"))
    plan = survey(session).plan_step(25)
    new = replace(report.with_decision(Report("b", 8), replace(WRITTEN, at=3.0)), ending=Ending())
    start = saying(new)
    with record.shift_lock_of(session.place):
        staying(session)
        told = (
            list(follow_step(session, 25, plan, fact(), start=start))
            if what == "one step"
            else followed(session, start)
        )
    assert [d.at for d in told] == [3.0]
    assert [orders.what for orders in start.orders] == [what]


def test_who_cannot_take_over_says_why_and_the_process_that_stays_goes_on() -> None:
    session = watched(open_at("meshed"))

    def do(orders: Orders) -> int:
        could_not = Report(orders.id, 8, ending=Ending("ParametersError", "bake_seconds: expected more", exit_code=2))
        report.write(report.claim_beside(Path(orders.report)), could_not)
        return 2

    with record.shift_lock_of(session.place):
        said = staying(session)
        with pytest.raises(errors.ParametersError, match="bake_seconds: expected more"):
            followed(session, Started(do))
        assert report.read(file_of(session)) == said


def test_a_board_is_relieved_by_who_is_ready_and_not_by_who_could_not_be(tmp_path: Path) -> None:
    board = Board(tmp_path / "report.json", "a")
    assert not board.is_relieved()
    report.write(board.claim, Report("b", 8, ending=Ending("Failed", "no")))
    assert not board.is_relieved()
    report.write(board.claim, Report("b", 8))
    assert board.is_relieved()


def test_an_interrupt_by_hand_stops_following_and_says_how_to_go_on() -> None:
    session = watched(open_at("meshed"))

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    with record.shift_lock_of(session.place):
        report.write(file_of(session), report.with_decision(Report("a", 4711), WRITTEN))
        session.sleep = interrupt
        with pytest.raises(NotFollowed, match="the shift goes on in process 4711") as caught:
            followed(session, saying())
    for command in ("run the cell again", "runbook hold ", "runbook rollback "):
        assert command in caught.value.hint


def test_what_is_ordered_survives_the_pipe() -> None:
    session = watched(open_at("meshed"))
    start = saying(Report("", 7, ending=Ending()))
    followed(session, start)
    (orders,) = start.orders
    assert report.orders_in(report.as_bytes(orders)) == orders
    assert orders.evidence == report.stated([fact()])
    assert json.loads(report.as_bytes(orders))["lock"].endswith(".shift.lock")


def test_where_nothing_carries_traffic_no_process_is_started() -> None:
    session = open_at("meshed")
    start = saying()
    told: list[Any] = followed(session, start)
    assert [d.phase for d in told] == ["written", "written"]
    assert start.orders == []
