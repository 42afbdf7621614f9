"""Escape sequences from names, people and AWS reach no terminal and no page as such."""

from __future__ import annotations

import io
import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from runbook_lib.aws.call_errors import call_error
from runbook_lib.aws.session import Session
from runbook_lib.command.cli import app
from runbook_lib.command.screen import Screen, table
from runbook_lib.display.drawing import Drawing, Text
from runbook_lib.display.tables import Table, Words
from runbook_lib.errors import CallError
from runbook_lib.printable import escaped, visible
from runbook_lib.unattended.progress import Bars, Lines, telling
from tests.notebook_runner import Environment, folder, newest, own_mesh

__all__ = ["folder", "own_mesh"]

# OSC 8 (a link to elsewhere), OSC 52 (writes the clipboard), CSI (clears, moves), C1's own CSI, and what turns a line.
EVIL = "ann\x1b]8;;http://evil.example\x07bob\x1b]52;c;cm0gLXJm\x07\x1b[2J\x9b1A\u202egnp.exe\u2066\r\x08\x7f<b>"
SEEN = r"ann\x1b]8;;http://evil.example\x07bob\x1b]52;c;cm0gLXJm\x07\x1b[2J\x9b1A\u202egnp.exe\u2066\r\x08\x7f<b>"
LINK = r"ann\x1b]8;;http://evil.example"
OBEYED = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def obeyed(text: str) -> set[str]:
    """Return the characters of a text that a terminal obeys or that turn a line around."""
    return {c for c in text if c not in "\n\t" and unicodedata.category(c) in OBEYED}


@given(st.text())
def test_nothing_of_a_text_is_obeyed_and_the_rest_stays(text: str) -> None:
    shown = visible(text)
    assert not obeyed(shown)
    assert visible(shown) == shown
    plain = "".join(c for c in text if c.isprintable() or c in "\n\t")
    assert visible(plain) == plain


def test_what_is_not_obeyed_is_spelled_out() -> None:
    assert visible(EVIL) == SEEN
    assert visible("a\u00a0b ✓ é") == "a\u00a0b ✓ é"
    assert escaped(EVIL) == SEEN.replace("<", "&lt;").replace(">", "&gt;")


# Commands.


@pytest.mark.attack(22)
def test_whatever_a_command_prints_is_made_visible() -> None:
    file = io.StringIO()
    screen = Screen(file=file, force_terminal=False, width=300, markup=False, soft_wrap=True)
    shown = table(title=EVIL)
    shown.add_column(EVIL, no_wrap=True)
    shown.add_row(EVIL)
    screen.print(EVIL)
    screen.print(shown)
    screen.print_json(json.dumps({"by": EVIL}))
    Lines(screen).line({"event": "waiting", "what": EVIL, "since": "2026-11-28T00:00:00+00:00", "most": 1})
    said = file.getvalue()
    assert not obeyed(said)
    assert said.count(LINK) == 5
    assert json.loads(said[said.index("{") : said.index("}") + 1]) == {"by": EVIL}


@pytest.mark.attack(22)
def test_a_bar_says_what_is_waited_for_visibly() -> None:
    file = io.StringIO()
    screen = Screen(file=file, force_terminal=True, width=300)
    with telling(screen) as told:
        told.cell("04", 0, 2)
        told.line({"event": "waiting", "what": EVIL, "since": "2026-11-28T00:00:00+00:00", "most": 1})
        assert isinstance(told, Bars)
        told.progress.refresh()
    said = file.getvalue()
    assert LINK in said
    assert "\x1b]" not in said
    assert "\x9b" not in said
    assert "\u202e" not in said


@pytest.fixture(scope="module")
def routed(own_mesh: Path, folder: Path) -> Environment:
    """Give an environment with a route, whose next step somebody may approve."""
    environment = Environment.create(folder, "approving")
    environment.walk("01", "02", "03")
    return environment


@pytest.mark.attack(22)
def test_an_aws_message_reaches_no_terminal(routed: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Any, call: Any, arguments: Any) -> Any:
        answer = {"Error": {"Code": f"Evil{EVIL}", "Message": f"{EVIL}\noutcome: done"}}
        raise call_error(call, ClientError(answer, call.operation))

    monkeypatch.setattr(Session, "_call", refuse)
    done = CliRunner().invoke(app, ["status", str(routed.file)])
    assert done.exit_code == 1
    assert LINK in done.output
    assert "outcome: done" not in done.output.splitlines()
    assert not obeyed(done.output)


@pytest.mark.attack(22)
def test_who_approves_reaches_no_terminal(routed: Environment) -> None:
    done = CliRunner().invoke(app, ["approve", newest("approving").id, "--by", f"{EVIL}\noutcome: done"])
    assert done.exit_code == 0, done.output
    assert LINK in done.output.partition("approved by ")[2]
    assert "outcome: done" not in done.output.splitlines()
    assert not obeyed(done.output)


# Notebooks.


@pytest.mark.attack(22)
def test_an_aws_message_reaches_no_notebook(routed: Environment) -> None:
    body = json.dumps({"message": EVIL}).encode()
    answer = AWSResponse("", 400, {"x-amzn-ErrorType": "BadRequestException"}, None)
    answer._content = body

    def refuse(names: dict[str, Any]) -> None:
        client = names["session"]._client("ecs")
        parsed = {"Error": {"Code": "ServerException", "Message": EVIL}}
        client.meta.events.register("before-call", lambda **_: (answer, parsed))

    done = routed.notebook("04", before={"before": refuse})
    (error,) = done.errors.values()
    assert isinstance(error, CallError)
    assert LINK in str(error)
    assert not obeyed(str(error))


@pytest.mark.attack(22)
def test_a_definitions_image_reaches_no_notebook(routed: Environment) -> None:
    ecs = routed.client("ecs")
    found = ecs.describe_task_definition(taskDefinition="taskB")["taskDefinition"]
    keys = ("family", "networkMode", "requiresCompatibilities", "cpu", "memory", "executionRoleArn", "taskRoleArn")
    app_container = {**found["containerDefinitions"][0], "image": f"app:{EVIL}"}
    envoy = {"name": "envoy", "image": "x/aws-appmesh-envoy:v1\x1b]52;c;eA==\x07", "memory": 64}
    form = {key: found[key] for key in keys}
    revision = ecs.register_task_definition(**form, containerDefinitions=[app_container, envoy])["taskDefinition"]
    ecs.update_service(cluster="apps", service="serviceB", taskDefinition=revision["taskDefinitionArn"])
    shown = routed.notebook("00").shown
    assert r"x/aws-appmesh-envoy:v1\x1b]52;c;eA==\x07" in shown
    assert not obeyed(shown)


@pytest.mark.attack(22)
@pytest.mark.parametrize(
    "shown",
    [
        Table(EVIL, [{EVIL: EVIL}]),
        Table(EVIL, []),
        Words(EVIL, "FAIL"),
        Drawing(10, 10, (Text(0, 0, EVIL),), EVIL),
    ],
    ids=["a table", "an empty table", "a statement", "a picture"],
)
def test_what_a_notebook_shows_is_made_visible(shown: Any) -> None:
    page = shown.svg() if isinstance(shown, Drawing) else shown._repr_html_()
    assert not obeyed(page)
    assert r"\x1b]52;c;cm0gLXJm" in page
    assert "<b>" not in page.replace("<p><b>", "")
    text = "" if isinstance(shown, Drawing) else repr(shown)
    assert not obeyed(text)
