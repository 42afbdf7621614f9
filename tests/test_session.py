"""Opening an environment: who may, how calls are made, what an error becomes."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError, NoCredentialsError
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from runbook_lib import record, survey
from runbook_lib.aws.identity import Keys
from runbook_lib.aws.session import Connection, Session
from runbook_lib.errors import CallError, ParametersError, TargetError, WaitError
from runbook_lib.local import keys
from runbook_lib.opening import open_session
from runbook_lib.parameters import Parameters
from runbook_lib.plan import Call, Plan, Reading, Wait
from tests.scenes import (
    ENDPOINT,
    LOCAL,
    Clock,
    change,
    connect,
    lines,
    load,
    one,
    open_at,
    open_local,
    reopen,
    writes,
)

KEYS = Keys("AKIAEXAMPLE", "secret")
SECRET = "wJalrXUtnFEMI/K7MDENG/" + "bPxRfiCYEXAMPLEKE9"
LIST = Reading(Call("appmesh", "list_meshes"), "length(meshes)")


class Nobody:
    """A way to AWS that is never taken: it counts who asks for one."""

    def __init__(self) -> None:
        self.asked: list[Parameters] = []

    def __call__(self, p: Parameters) -> Connection:
        self.asked.append(p)
        raise AssertionError("a connection was asked for")


def refused(**namespace: Any) -> str:
    """Return the refusal of a namespace, and make sure that nobody was called."""
    nobody = Nobody()
    with pytest.raises(ParametersError) as caught:
        open_session({"environment": "local", **namespace}, connect=nobody)
    assert nobody.asked == []
    return str(caught.value)


def kernel(injected: str = "", **more: Any) -> dict[str, Any]:
    """Return a namespace as a kernel's, after the parameters cell and papermill's own."""
    cells = ["", "environment: str = 'local'", *([f"# Parameters\n{injected}"] if injected else [])]
    space = {"__name__": "__main__", "In": cells, "__annotations__": {"environment": str, "mode": str, "undo": bool}}
    exec(injected, {}, space)
    return {"environment": "local", "mode": "", "undo": False, **space, **more}


# Names and types.


def test_a_name_nothing_knows_is_refused_with_the_nearest() -> None:
    assert "unknown name 'enviroment'; did you mean 'environment'?" in refused(enviroment="staging")


def test_a_misspelt_papermill_parameter_is_refused_in_a_kernel() -> None:
    assert "unknown name 'stepps'" in refused(**kernel("stepps = [25]"))


def test_an_annotated_injected_name_is_refused_too() -> None:
    assert "unknown name 'moed'" in refused(**kernel("moed: str = 'plan'"))


def test_a_name_the_parameters_cell_declares_is_refused_when_nothing_knows_it() -> None:
    assert "unknown name 'mod'" in refused(**kernel(__annotations__={"mod": str}, mod="plan"))


def test_a_variable_made_elsewhere_in_a_kernel_is_nobodys_business() -> None:
    session = open_session(
        kernel(found=1, _i1="x", get_ipython=None, account_id="800000000000"), connect=connect, sleep=Clock().sleep
    )
    assert session.parameters.environment == "local"


WRONG = {
    "a word for a boolean": ({"undo": "false"}, "undo: expected True or False; found 'false'"),
    "a number for a boolean": ({"undo": 1}, "undo: expected True or False; found 1"),
    "a number for an environment": ({"environment": 3}, "environment: expected a name or a file; found 3"),
    "no environment": ({"environment": ""}, "environment: expected a name or a file; found ''"),
    "a mode nobody knows": ({"mode": "Apply"}, "mode: "),
    "a boolean for a mode": ({"mode": True}, "mode: "),
    "a percent sign": ({"shift": {**LOCAL["shift"], "steps": ["25%"]}}, "shift.steps (item 1): "),
    "a quoted number": ({"port": "9080"}, "port: "),
}


@pytest.mark.parametrize(("given", "words"), WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("space", [dict, kernel], ids=["plain", "kernel"])
def test_a_wrong_value_is_refused(space: Callable[..., dict[str, Any]], given: dict[str, Any], words: str) -> None:
    assert words in refused(**{**space(), **given})


def test_values_of_papermill_replace_the_files() -> None:
    session = open_session(
        kernel("mode = 'plan'\nport = 8080\naccount_id = '800000000000'"), connect=connect, sleep=Clock().sleep
    )
    assert (session.parameters.mode, session.parameters.port) == ("plan", 8080)
    assert not session.applies


def test_undo_is_for_the_notebook_and_not_for_the_file() -> None:
    assert reopen(open_local(), undo=True).undo is True
    assert "undo" not in reopen(open_local(), undo=True).given


def test_an_empty_mode_is_the_environments_own() -> None:
    for environment, applies in (("local", True), ("staging", False)):
        session = open_session(kernel(environment=environment, mode="", target="local"), connect=connect)
        assert session.applies is applies


# Who may.


def another_account(p: Parameters) -> Connection:
    return connect(p.model_copy(update={"account_id": "555555555555"}))


def test_another_account_is_refused_after_one_call_and_no_other() -> None:
    calls: list[str] = []

    def counted(p: Parameters) -> Connection:
        def prepare(client: Any) -> None:
            client.meta.events.register("before-call", lambda model, **_: calls.append(model.name))

        return connect(p.model_copy(update={"account_id": "555555555555"}), prepare)

    with pytest.raises(TargetError, match="scene is account 123456789012; these credentials are for 555555555555"):
        open_session({**LOCAL, "environment": "scene"}, connect=counted)
    assert calls == ["GetCallerIdentity"]


def test_the_identity_is_kept_for_the_banner() -> None:
    session = open_local()
    assert session.identity.account == session.parameters.account_id
    assert session.identity.arn.startswith("arn:aws:sts::")


def test_where_nobody_is_logged_in_aws_is_refused_in_one_sentence() -> None:
    with pytest.raises(TargetError, match=r"staging is account 210987654321; nobody is logged in here") as caught:
        open_session({"environment": "staging"})
    assert "--rehearse" in caught.value.hint


# How calls are made.


def client_of(target: str, **environ: str) -> Any:
    p = load(target=target)
    connection = connect(p) if target == "local" else Connection()
    return Session(p, "", connection)._made("servicediscovery", KEYS)


def test_clients_retry_in_the_standard_way_five_times_and_do_not_wait_for_ever() -> None:
    config = client_of("local").meta.config
    assert config.retries["mode"] == "standard"
    assert config.retries["total_max_attempts"] == 5
    assert (config.connect_timeout, config.read_timeout) == (3, 10)


def test_the_region_is_the_files_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    assert client_of("local").meta.region_name == client_of("aws").meta.region_name == "us-west-2"


def test_no_host_prefix_is_put_before_an_explicit_endpoint_and_one_before_aws() -> None:
    assert client_of("local").meta.config.inject_host_prefix is False
    assert client_of("aws").meta.config.inject_host_prefix is True


def test_the_local_mesh_is_called_with_a_key_of_its_own_at_its_own_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA" + "IOSFODNN7EXAMPLE")
    session = open_local()
    client = session._client("appmesh")
    assert client._request_signer._credentials.access_key == keys.access_key("", session.parameters.account_id)
    assert client.meta.endpoint_url == ENDPOINT


@pytest.mark.parametrize(("run", "agent"), [("/runs/local/r1", "runbook/r1"), (None, "runbook/by-hand")])
def test_the_user_agent_names_the_run(run: str | None, agent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if run:
        monkeypatch.setenv("RUNBOOK_RUN", run)
    assert client_of("local").meta.config.user_agent_extra == agent


def test_a_client_is_made_once() -> None:
    session = open_local()
    assert session._client("appmesh") is session._client("appmesh")


def test_every_call_is_counted_as_reading_or_writing() -> None:
    session = open_local()
    change(session, Plan("a", (one(),)))
    assert session.calls == {"sts.GetCallerIdentity": 1, "appmesh.DescribeMesh": 2, "appmesh.CreateMesh": 1}
    assert session.counts() == {"read": 3, "write": 1}


def test_closing_leaves_the_counts_in_the_run() -> None:
    session = open_local("01_create_mesh")
    change(session, Plan("a", (one(),)))
    session.close()
    (line,) = lines(session, "calls")
    assert (line["notebook"], line["read"], line["write"]) == ("01_create_mesh", 3, 1)


def test_closing_a_session_without_a_run_opens_none() -> None:
    session = open_local()
    session.close()
    assert lines(session) == []


@pytest.mark.parametrize("way", ["joined", "named"])
def test_closing_a_session_whose_run_was_removed_says_nothing(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a kernel's exit nobody reads a traceback, and there is nothing left to write into."""
    session = open_local()
    if way == "joined":
        session.run = record.Run(tmp_path / "removed")
    else:
        monkeypatch.setenv("RUNBOOK_RUN", str(tmp_path / "removed"))
    session.close()
    assert not (tmp_path / "removed").exists()


def test_a_session_that_is_printed_shows_none_of_its_parameters() -> None:
    session = open_local()
    assert session.parameters.account_id not in repr(session.close)


# Reading.


def test_a_reading_never_changes_anything() -> None:
    session = open_local()
    with pytest.raises(ValueError, match="create_mesh is not a call that only reads"):
        session.read(Reading(Call("appmesh", "create_mesh", {"meshName": "a"}), "@"))
    assert writes(session) == {}


def test_what_is_not_there_reads_as_absent_only_where_its_error_is_named() -> None:
    session, call = open_local(), Call("appmesh", "describe_mesh", {"meshName": "a"})
    assert session.read(Reading(call, "mesh", ("NotFoundException",))) is None
    with pytest.raises(CallError, match="appmesh describe_mesh: NotFoundException"):
        session.read(Reading(call, "mesh"))


def test_a_reading_within_a_reading_is_read_first() -> None:
    session = open_local()
    change(session, Plan("a", (one("mesh a"),)))
    name = Reading(Call("appmesh", "list_meshes"), "meshes[0].meshName")
    assert session.read(Reading(Call("appmesh", "describe_mesh", {"meshName": name}), "mesh.meshName")) == "a"


def test_a_reading_about_nothing_makes_no_call() -> None:
    session = open_local()
    nothing = Reading(Call("appmesh", "list_meshes"), "meshes[0].meshName")
    assert session.read(Reading(Call("appmesh", "describe_mesh", {"meshName": nothing}), "mesh")) is None
    assert session.calls["appmesh.DescribeMesh"] == 0


# Waiting.


def test_a_wait_polls_gently_on_aws_and_briskly_here() -> None:
    for target, pause in (("local", 0.1), ("aws", 6.0)):
        clock = Clock()
        session = Session(load(target=target), "", connect(load()), sleep=clock.sleep, clock=clock)
        with pytest.raises(WaitError):
            session.wait_for(Wait("a mesh", LIST, "@ > `0`", timeout_seconds=12))
        assert set(clock.slept) == {pause}
        assert clock.now == pytest.approx(12, abs=pause)


def test_what_must_last_is_looked_at_less_often_here() -> None:
    for target, pause in (("local", 0.5), ("aws", 6.0)):
        clock = Clock()
        session = Session(load(target=target), "", connect(load()), sleep=clock.sleep, clock=clock)
        session.wait_for(Wait("no mesh", LIST, "@ == `0`", lasting_seconds=10))
        assert set(clock.slept) == {pause}
        assert clock.now == pytest.approx(10, abs=pause)


# What an error becomes.


def failing(error: Exception) -> Session:
    session = open_local()

    def prepare(client: Any) -> None:
        def fail(**_: Any) -> None:
            raise error

        client.meta.events.register("before-call.app-mesh", fail)

    return reopen(session, prepare=prepare)


def answering(code: str, message: str = "no", status: int = 400) -> Session:
    """Return a session whose App Mesh answers every call with an error."""

    class Answer:
        status_code, headers = status, {"x-amzn-errortype": code}
        content = text = ""

    def prepare(client: Any) -> None:
        parsed = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
        client.meta.events.register("before-call.app-mesh", lambda **_: (Answer(), parsed))

    return reopen(open_local(), prepare=prepare)


@pytest.mark.parametrize("way", [lambda s: s.read(LIST), lambda s: s.pages("appmesh", "list_meshes", "meshes")])
def test_a_lost_connection_becomes_one_sentence(way: Callable[[Session], Any]) -> None:
    with pytest.raises(CallError, match="appmesh list_meshes: Could not connect") as caught:
        way(failing(EndpointConnectionError(endpoint_url="https://appmesh.example")))
    assert "check the connection" in caught.value.hint


ADVISED = {
    "ExpiredTokenException": "log in again",
    "AccessDeniedException": "lacks a permission",
    "TooManyRequestsException": "throttled",
    "LimitExceededException": "a quota, not a rate",
    "BadRequestException": "run again",
}


@pytest.mark.parametrize(("code", "advice"), ADVISED.items())
def test_an_error_of_aws_keeps_its_words_and_says_what_to_do(code: str, advice: str) -> None:
    with pytest.raises(CallError, match=f"^appmesh list_meshes: {code}: no\n") as caught:
        answering(code).read(LIST)
    assert advice in caught.value.hint


def test_an_error_becomes_a_sentence_only_once() -> None:
    with pytest.raises(CallError) as caught:
        survey(answering("BadRequestException")).references  # noqa: B018
    assert str(caught.value).count("appmesh describe_mesh") == 1


def test_a_secret_in_an_answer_does_not_come_out() -> None:
    with pytest.raises(CallError) as caught:
        answering("BadRequestException", f"not with '{SECRET}'").read(LIST)
    assert SECRET not in str(caught.value)
    assert "****" in str(caught.value)


def test_a_secret_in_a_parameter_does_not_come_out() -> None:
    assert SECRET not in refused(region=SECRET)


def test_an_error_on_the_way_to_aws_keeps_its_cause() -> None:
    with pytest.raises(CallError) as caught:
        failing(NoCredentialsError()).read(LIST)
    assert isinstance(caught.value.__cause__, NoCredentialsError)


# In a kernel.


@pytest.fixture
def shell() -> Iterator[InteractiveShell]:
    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "nocolor"
    yield InteractiveShell.instance(config=config)
    InteractiveShell.clear_instance()


def shown(shell: InteractiveShell, cell: str) -> str:
    with redirect_stdout(io.StringIO()) as out:
        shell.run_cell(cell)
    return out.getvalue()


def test_in_a_kernel_our_errors_are_their_sentence_alone(shell: InteractiveShell) -> None:
    open_local()
    out = shown(shell, "from runbook_lib.errors import PlanError\nraise PlanError('no route', hint='apply 03')")
    assert out.strip() == "PlanError: no route\nNext: apply 03"


def test_in_a_kernel_no_error_shows_a_secret(shell: InteractiveShell) -> None:
    open_local()
    out = shown(shell, f"secret = '{SECRET}'\nraise ValueError('not ' + secret)")
    assert "ValueError" in out
    assert SECRET not in out


# Runs.


def test_a_later_notebook_joins_the_run_that_is_open() -> None:
    session = open_at("routed")
    assert reopen(session).join_run() == session.join_run()


def test_the_run_named_in_the_environment_is_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    session = open_at("routed")
    run = session.join_run()
    run.summarise({"outcome": "done"})
    monkeypatch.setenv("RUNBOOK_RUN", str(run.folder))
    assert reopen(session).join_run().folder.resolve() == run.folder.resolve()
