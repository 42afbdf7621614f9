"""People are told what came of a run, and nothing that goes wrong with that stops or spoils it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from runbook_lib.command import cli
from runbook_lib.errors import Held, ParametersError, RolledBack
from runbook_lib.notifying import Address, Message, addresses, require_known, sending, tell
from runbook_lib.notifying.address import VARIABLE
from runbook_lib.notifying.delivering import PAUSES, deliver
from runbook_lib.record import Run, start
from runbook_lib.runs.approvals import hold
from runbook_lib.unattended import summing_up
from tests.listener import Listener, listening
from tests.live import CANARY, Sky, newest, quick, under_sky
from tests.test_following import followed, shifting, watched

ROLLED_BACK = Message("staging", "2026", "rolled_back", "verdict", "25 %: 12 of 40 requests failed")


@pytest.fixture
def listener() -> Iterator[Listener]:
    with listening() as listener:
        yield listener


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Message]:
    """Return the messages that are handed over, without a process for each."""
    messages: list[Message] = []
    monkeypatch.setenv(VARIABLE, "https://hooks.example/t0ken")
    monkeypatch.setattr(sending, "_start", lambda run, message: messages.append(message))
    return messages


def undelivered(run: Run) -> list[tuple[str, str]]:
    run.take_in()
    return [(line["to"], line["why"]) for line in run.lines() if line["event"] == "undelivered"]


def no_pause(seconds: float) -> None:
    pass


@pytest.mark.parametrize(
    ("outcome", "reason", "title", "kind"),
    [
        ("done", "done", "staging: done", "success"),
        ("failed", "call", "staging: failed", "failure"),
        ("rolled_back", "verdict", "staging: rolled back", "failure"),
        ("held", "hold", "staging: held, weights stay", "warning"),
        ("held", "approval", "staging: waiting for approval", "warning"),
        ("held", "share", "staging: held: the canary's share of requests left its band", "warning"),
    ],
)
def test_a_title_says_what_came_of_it(outcome: str, reason: str, title: str, kind: str) -> None:
    message = Message("staging", "2026", outcome, reason, "words")
    assert (message.title, message.kind) == (title, kind)
    assert message.text == "words\nrun 2026"


def test_an_address_is_shown_without_what_may_be_a_token() -> None:
    slack = "slack://T0ken1234/B0ken1234/t0ken1234567890123456789/#ops"
    found = addresses({VARIABLE: f" https://hooks.example/t0ken  {slack} mailto://u:p@example.org "})
    assert [address.name for address in found] == ["https://hooks.example", "slack://", "mailto://example.org"]
    assert "t0ken" not in repr(found)
    assert addresses({}) == []


@pytest.mark.parametrize(
    ("said", "lacks"), [("hooks.example", "scheme"), ("https:///path", "host"), ("https://[::", "scheme")]
)
def test_what_is_no_address_is_refused_by_its_number(said: str, lacks: str) -> None:
    with pytest.raises(
        ParametersError, match=f"RUNBOOK_NOTIFY: address 2: expected a URL, found one without a {lacks}"
    ):
        addresses({VARIABLE: f"https://hooks.example {said}"})


@pytest.mark.parametrize("said", ["slack://abc", "ftp://files.example"])
def test_an_address_that_apprise_does_not_know_is_refused(said: str) -> None:
    with pytest.raises(
        ParametersError, match="RUNBOOK_NOTIFY: address 1: Apprise does not accept this form of"
    ) as refused:
        require_known(addresses({VARIABLE: said}))
    assert "abc" not in str(refused.value)


def test_without_apprise_its_addresses_are_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runbook_lib.notifying.address.find_spec", lambda name: None)
    assert addresses({VARIABLE: "https://hooks.example"})
    with pytest.raises(ParametersError, match="slack:// needs Apprise, which is not installed") as refused:
        addresses({VARIABLE: "slack://a/b/c"})
    assert refused.value.hint == "pip install apprise"


def test_a_bad_address_is_refused_before_a_run_has_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNBOOK_RUNS", str(tmp_path))
    monkeypatch.setenv(VARIABLE, "nowhere")
    done = CliRunner().invoke(cli.app, ["run", "local", "--through", "00"])
    assert done.exit_code == 2
    assert "RUNBOOK_NOTIFY: address 1: expected a URL" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what Apprise imports
def test_a_webhook_gets_json_and_apprise_the_same_in_words(listener: Listener) -> None:
    run = start("told")
    by_apprise = listener.url.replace("http://", "json://")
    deliver(run, ROLLED_BACK, [Address(listener.url), Address(by_apprise)], no_pause)
    webhook, apprised = listener.said
    assert webhook == ROLLED_BACK.data()
    assert (apprised["title"], apprised["message"], apprised["type"]) == (
        ROLLED_BACK.title, ROLLED_BACK.text, "failure",
    )  # fmt: skip
    assert undelivered(run) == []


def test_who_does_not_answer_is_tried_again_and_then_in_the_record(listener: Listener) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and nobody listens
        closed = f"http://127.0.0.1:{taken.getsockname()[1]}/t0ken"
        listener.statuses = [500] * (len(PAUSES) - 1)
        run = start("told")
        deliver(run, ROLLED_BACK, [Address(closed), Address(listener.url)], no_pause)
    assert len(listener.said) == len(PAUSES)  # the last was taken
    [(to, why)] = undelivered(run)
    assert (to, "refused" in why) == ("http://127.0.0.1", True)
    listener.statuses = [404] * len(PAUSES)
    deliver(run, ROLLED_BACK, [Address(listener.url)], no_pause)
    assert undelivered(run)[1:] == [("http://127.0.0.1", "Not Found")]
    assert "t0ken" not in run.file.read_text()


def test_telling_waits_for_nobody_and_arrives(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process of its own, as a run does it."""
    monkeypatch.setenv(VARIABLE, listener.url)
    run = start("told")
    tell(run, ROLLED_BACK, since=0)
    assert listener.wait(1) == [ROLLED_BACK.data()]
    told = [(line["to"], line["outcome"]) for line in run.lines() if line["event"] == "told"]
    assert told == [(["http://127.0.0.1"], "rolled_back")]


def test_an_outcome_is_told_once_in_an_invocation(told: list[Message]) -> None:
    run = start("told")
    for since in (0, 0, 4e9):
        tell(run, ROLLED_BACK, since)
    assert told == [ROLLED_BACK] * 2


def test_what_is_wrong_with_an_address_later_stands_in_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "nowhere")
    run = start("told")
    tell(run, ROLLED_BACK, since=0)
    [(to, why)] = undelivered(run)
    assert (to, "expected a URL" in why) == ("everybody", True)


def test_nobody_named_is_nobody_told() -> None:
    run = start("told")
    tell(run, ROLLED_BACK, since=0)
    assert len(list(run.lines())) == 1


def following(sky: Sky, error: type[BaseException] | None) -> None:
    watched(sky.session)
    if error is None:
        followed(sky.session, shifting(sky))
    else:
        with pytest.raises(error):
            followed(sky.session, shifting(sky))


def test_a_rollback_is_told_once_by_the_process_that_made_it(told: list[Message]) -> None:
    session, sky = under_sky(shift=quick(), errors={CANARY: 0.3})
    following(sky, RolledBack)
    [message] = told
    p = session.parameters
    assert (message.title, message.run) == (f"{p.environment}: rolled back", newest(p).id)
    assert message.reason == "verdict"
    assert "back to 0 % in one write" in message.words


def test_a_hold_is_told_with_who_held(told: list[Message]) -> None:
    session, sky = under_sky(shift=quick())
    hold(session.join_run(), "ada")
    following(sky, Held)
    [message] = told
    assert (message.outcome, message.reason) == ("held", "hold")
    assert "held by ada" in message.words


def test_a_shift_by_hand_that_passed_is_told_at_its_end(told: list[Message]) -> None:
    _, sky = under_sky(shift=quick())
    following(sky, None)
    assert [(message.outcome, message.words) for message in told] == [("done", "every step passed")]


def test_the_summary_of_a_run_is_what_is_told() -> None:
    summary = {"environment": "staging", "run": "2026", "outcome": "failed", "reason": "call: ECS: no such cluster"}
    assert summing_up.message_of(summary) == Message("staging", "2026", "failed", "call", "ECS: no such cluster")
