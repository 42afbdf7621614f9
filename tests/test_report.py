"""A run as one page: what a reader of a change ticket asks of it, answered without any other source."""

from __future__ import annotations

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
from typer.testing import CliRunner

from runbook_lib.command import cli
from runbook_lib.errors import RolledBack
from runbook_lib.record import Run, start
from runbook_lib.reporting.account import account_of
from runbook_lib.reporting.github import job_summary
from runbook_lib.reporting.page import Picture, page, pictures_in, render
from runbook_lib.runs.approvals import hold
from runbook_lib.runs.verify import steps_of
from tests.lab import BROWSER, find_browser
from tests.live import CANARY, STABLE, ended, newest, quick, take, under_sky

HOSTILE = "<script>document.title = 'obeyed'</script>\x1b[2J"
PNG = "iVBORw0KGgo="


@pytest.fixture(scope="module")
def rolled_back() -> Run:
    """Return the run of a canary whose errors began at 25 %."""
    session, sky = under_sky(shift=quick())
    words = ended(session, RolledBack, on={"written": lambda: sky.errors.update({CANARY: 0.3})})[1]
    run = newest(session.parameters)
    run.summarise({"outcome": "rolled_back", "reason": f"rolled_back: {words}", "shift": steps_of(run.lines())})
    return run


@pytest.fixture(scope="module")
def promoted() -> Run:
    """Return the run of a shift that passed."""
    session, _ = under_sky(shift=quick())
    take(session)
    run = newest(session.parameters)
    run.summarise({"outcome": "done", "reason": "done: it passed", "shift": steps_of(run.lines())})
    return run


class Text(HTMLParser):
    """The text of a page, a line a cell or paragraph, and every address it names."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.addresses: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "data", "action")]

    def handle_data(self, data: str) -> None:
        self.lines += [data.strip()] if data.strip() else []


def executed(run: Run, *, html: str = "<b>a table</b>", source: str = "follow_shift(session)") -> None:
    """Leave an executed notebook in a run's folder."""
    outputs = [
        nbformat.v4.new_output("display_data", {"text/html": html, "text/plain": "a table"}),
        nbformat.v4.new_output("display_data", {"image/png": PNG, "text/plain": "(a picture)"}),
        nbformat.v4.new_output("display_data", {"text/plain": "47 s: none in error"}),
    ]
    cell = nbformat.v4.new_code_cell(source, outputs=outputs)
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Shift the traffic"), cell])
    nbformat.write(book, run.folder / "05_shift_traffic.ipynb")


@pytest.fixture
def copied(rolled_back: Run, tmp_path: Path) -> Run:
    """Return a copy that a test may add to."""
    return Run(Path(shutil.copytree(rolled_back.folder, tmp_path / rolled_back.id)))


def test_the_page_of_a_rolled_back_run_says_who_what_when_why_and_what_users_met(rolled_back: Run) -> None:
    lines = list(rolled_back.lines())
    account = account_of(rolled_back.id, lines, rolled_back.summary() or {})
    assert (account.title, account.kind) == ("Rolled back", "bad")
    (who,) = account.by
    assert re.fullmatch(r"arn:aws:sts::\d{12}:user/moto", who)
    (step,) = account.steps
    assert (step.weights, step.verdict) == ({STABLE: 75, CANARY: 25}, "FAIL")
    assert account.requests == step.requests
    failed = step.errors[CANARY]
    assert failed > 0
    assert account.felt == (
        f"While the canary was judged, {STABLE}: 0 failed requests of {step.requests[STABLE]:,}; "
        f"{CANARY}: {failed:,} failed requests of {step.requests[CANARY]:,}."
    )
    told = Text(page(rolled_back)).lines
    for words in (account.felt, account.reason, account.place, account.began, step.reason, "rolled back"):
        assert words in told
    assert [made.words for made in account.made][-1].startswith("shift ")
    assert all(made.observed for made in account.made)


def test_a_promoted_run_tells_each_step_in_its_order(promoted: Run) -> None:
    account = account_of(promoted.id, list(promoted.lines()), promoted.summary() or {})
    assert (account.title, account.kind) == ("Done", "good")
    assert [(step.weights[CANARY], step.verdict) for step in account.steps] == [(25, "PASS"), (100, "PASS")]
    what = [moment.what for moment in account.course]
    assert what[:3] == ["run opened", "rollback rehearsed", "25 %: weights written"]
    assert what[-1] == "100 % judged PASS"
    times = [moment.at for moment in account.course]
    assert times == sorted(times)


def test_who_approved_and_who_held_is_named(copied: Run) -> None:
    copied.write("approved", approver="ada", plan="0123456789ab", until="2026-11-29T20:00:00+00:00")
    hold(copied, "grace")
    copied.take_in()
    account = account_of(copied.id, list(copied.lines()), {})
    assert [(m.what, m.by) for m in account.course][-2:] == [("approved", "ada"), ("hold asked", "grace")]
    assert account.title == "Under way, or cut off before its end"


def test_a_promoted_step_is_told_as_a_persons_decision(copied: Run) -> None:
    lines = list(copied.lines())
    (place,) = [n for n, line in enumerate(lines) if line.get("phase") == "rolled back"]
    words = "promoted: by ada, because it is well; INCONCLUSIVE so far: too few requests"
    lines[place] = {**lines[place], "phase": "promoted", "verdict": "INCONCLUSIVE", "words": words}
    account = account_of(copied.id, lines, {})
    (step,) = account.steps
    assert (step.ended, step.reason, step.kind) == ("PROMOTED, INCONCLUSIVE so far", words, "")
    assert ("promoted by a person's decision", words) in [(m.what, m.words) for m in account.course]
    assert "| PROMOTED, INCONCLUSIVE so far |" in job_summary(account)
    assert step.ended in Text(render(account, [])).lines


def test_an_undone_run_is_called_so() -> None:
    account = account_of("r", [], {"outcome": "rolled_back", "reason": "undo: the whole run was undone by hand"})
    assert account.title == "Undone"
    assert account.felt == "No request was judged in this run."
    assert account.signed == "nobody: nothing was changed"


def test_a_change_that_was_not_read_back_is_told_apart(copied: Run) -> None:
    lines = [line for line in copied.lines() if line["event"] != "observed"]
    account = account_of(copied.id, lines, {})
    assert account.made
    assert not any(made.observed for made in account.made)


def test_the_picture_of_the_shift_stands_with_the_evidence(copied: Run) -> None:
    executed(copied)
    book = nbformat.read(copied.folder / "05_shift_traffic.ipynb", as_version=4)
    assert list(pictures_in(book)) == [Picture(PNG, "47 s: none in error")]
    text = Text(page(copied))
    assert "47 s: none in error" in text.lines
    assert f"data:image/png;base64,{PNG}" in text.addresses


def test_a_page_needs_nothing_else(copied: Run) -> None:
    executed(copied)
    text = Text(page(copied))
    assert all(address.startswith(("data:", "#")) for address in text.addresses)
    assert not re.search(r"@import|url\(", page(copied))


def test_a_notebook_that_cannot_be_read_leaves_the_rest(copied: Run) -> None:
    (copied.folder / "05_shift_traffic.ipynb").write_text("{")
    assert any("05_shift_traffic.ipynb cannot be read" in line for line in Text(page(copied)).lines)


def test_the_page_obeys_nothing_that_it_is_told(copied: Run) -> None:
    """In the browser itself: words of people and AWS are text, and a script in a notebook does not run."""
    from playwright.sync_api import sync_playwright

    hold(copied, HOSTILE)
    copied.take_in()
    executed(copied, html=HOSTILE)
    file = copied.folder / "report.html"
    file.write_text(page(copied))
    path = find_browser()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path or None, args=BROWSER)
        tab = browser.new_page(viewport={"width": 560, "height": 800})
        asked: list[str] = []
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(file.as_uri())
        assert tab.title().endswith(f"({copied.id})")
        assert tab.get_by_text("<script>").first.is_visible()
        assert "\x1b" not in tab.content()
        assert tab.evaluate("document.documentElement.scrollWidth") == 560
        assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
        tab.emulate_media(media="print")
        assert tab.get_by_role("heading", name="Evidence").is_visible()
        assert not tab.get_by_text("Shift the traffic").is_visible()
        browser.close()


def test_the_command_writes_it_into_the_run_for_its_user_alone(rolled_back: Run, tmp_path: Path) -> None:
    command = CliRunner()
    done = command.invoke(cli.app, ["report", str(rolled_back.folder)])
    file = rolled_back.folder / "report.html"
    assert (done.exit_code, done.output) == (0, f"run {rolled_back.id}\n{file}\n")
    assert file.stat().st_mode & 0o777 == 0o600
    elsewhere = tmp_path / "ticket.html"
    assert command.invoke(cli.app, ["report", str(rolled_back.folder), "--output", str(elsewhere)]).exit_code == 0
    assert elsewhere.read_text() == file.read_text()


def test_a_file_that_cannot_be_written_is_a_sentence(rolled_back: Run, tmp_path: Path) -> None:
    nowhere = tmp_path / "no" / "ticket.html"
    done = CliRunner().invoke(cli.app, ["report", str(rolled_back.folder), "--output", str(nowhere)])
    assert done.exit_code != 0
    words = f"record: the report cannot be written: {nowhere}: No such file or directory"
    assert done.stderr == f"{words}\nNext: --output names another file\n"


def test_a_run_that_only_planned_has_a_page_too() -> None:
    run = start("planned", mode="plan")
    told = Text(page(run)).lines
    assert "No step was judged in this run." in told
    assert "Nothing was changed." in told
