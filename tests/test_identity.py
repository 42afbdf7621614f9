"""The identity that signs is the one that was checked, and nothing that is configured leads a call elsewhere.

What is here runs under `target: aws`: real clients with AWS's own host names, behind a proxy of this process.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import botocore
import pytest
import yaml
from typer.testing import CliRunner

from runbook_lib import check_environment, forecast_steps, open_session, parameters, record, show, survey
from runbook_lib.aws import identity
from runbook_lib.aws.identity import Lifetime
from runbook_lib.command import cli
from runbook_lib.errors import CredentialsError, Held, StalePlanError, UnreachableError
from runbook_lib.local.keys import credentials
from runbook_lib.plan import Plan
from tests import scenes
from tests.aws_proxy import Aws, Decoy, Seen, aws_behind_proxy
from tests.live import ending, quick, take, under_sky
from tests.notebook_runner import ROOT, Environment, Executed, execute, runbook

ACCOUNTS = itertools.count(610_000_000_000)
OURS, THEIRS = "AKIAOURS", "AKIATHEIRS"


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    with aws_behind_proxy(tmp_path_factory.mktemp("aws")) as aws:
        yield aws


@pytest.fixture
def aws(proxy: Aws) -> Aws:
    """Return AWS as nobody has called it yet."""
    proxy.forget()
    return proxy


@pytest.fixture
def decoy() -> Iterator[Decoy]:
    made = Decoy()
    yield made
    made.close()


class Place:
    """An environment on AWS: its file, its account and an access key of it; another account, with one as well."""

    def __init__(self, aws: Aws, folder: Path, **values: Any) -> None:
        self.aws, self.folder = aws, folder
        self.account, self.other = str(next(ACCOUNTS)), str(next(ACCOUNTS))
        aws.accounts |= {OURS: self.account, THEIRS: self.other}
        named = {"environment": f"place{self.account}", "target": "aws", "account_id": self.account, "mode": "apply"}
        self.file = folder / "place.yaml"
        self.file.write_text(yaml.safe_dump(scenes.given(**named, **values), sort_keys=False))
        self.parameters = parameters.load(str(self.file))

    def notebook(self, number: str, **given: Any) -> Executed:
        """Execute a notebook here, by hand: whoever does goes on after an error."""
        return execute(number, {"environment": str(self.file), **given}, go_on=True)


@pytest.fixture
def place(aws: Aws, tmp_path: Path) -> Place:
    return Place(aws, tmp_path)


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the environment hold a long-lived access key of the file's account."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", OURS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


def configure(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch, profile: str = "work") -> None:
    """Write the AWS config file, and choose a profile of it."""
    (folder / "config").write_text(text)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(folder / "config"))
    monkeypatch.setenv("AWS_PROFILE", profile)


# Where calls go.

STATIC = f"[profile work]\naws_access_key_id = {OURS}\naws_secret_access_key = secret\n"
SOURCES = {
    "a variable": ({"AWS_ENDPOINT_URL": "{url}"}, STATIC, "AWS_ENDPOINT_URL"),
    "a service's variable": ({"AWS_ENDPOINT_URL_APP_MESH": "{url}"}, STATIC, "AWS_ENDPOINT_URL_APP_MESH"),
    "the profile": ({}, f"{STATIC}endpoint_url = {{url}}\n", "endpoint_url of [profile work]"),
    "a service of the profile": (
        {},
        f"{STATIC}services = here\n[services here]\n"
        "app_mesh =\n  endpoint_url = {url}\nsts =\n  endpoint_url = {url}\n",
        "app_mesh endpoint_url of [services here], sts endpoint_url of [services here]",
    ),
}


@pytest.mark.attack(2)
@pytest.mark.parametrize(("variables", "config", "named"), SOURCES.values(), ids=SOURCES)
def test_no_configured_endpoint_reaches_aws(
    variables: dict[str, str],
    config: str,
    named: str,
    place: Place,
    decoy: Decoy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    configure(tmp_path, config.format(url=decoy.url), monkeypatch)
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(url=decoy.url))
    looked, made = place.notebook("00"), place.notebook("01")
    assert not {**looked.errors, **made.errors}
    assert decoy.calls == 0
    assert place.aws.writes(place.account) == {"appmesh.CreateMesh": 1, "appmesh.CreateVirtualService": 2}
    assert "ignored, since target: aws" in looked.shown
    (check,) = (c for c in check_environment(looked.names["found"]) if c.where == "settings")
    assert check.message == f"ignored, since target: aws calls AWS's own endpoints only: {named}"


@pytest.mark.attack(2)
def test_no_configured_endpoint_reaches_the_clients_of_credential_providers(
    place: Place, decoy: Decoy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A role is assumed by a client that botocore makes for itself."""
    role = f"arn:aws:iam::{place.account}:role/shifter"
    assumed = f"[profile work]\nrole_arn = {role}\nsource_profile = source\nregion = us-west-2\nservices = here\n"
    source = STATIC.replace("work", "source") + f"endpoint_url = {decoy.url}\n"
    services = f"[services here]\nsts =\n  endpoint_url = {decoy.url}\n"
    configure(tmp_path, assumed + source + services, monkeypatch)
    made = place.notebook("01")
    assert not made.errors
    assert decoy.calls == 0
    assert place.aws.operations()["sts.AssumeRole"] == 1
    assert place.aws.writes(place.account)["appmesh.CreateMesh"] == 1


@pytest.mark.attack(2)
def test_no_model_of_somebody_elses_leads_calls_elsewhere(
    place: Place, decoy: Decoy, keys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Endpoints are part of the models, which AWS_DATA_PATH would replace."""
    for name in ("endpoints", "partitions"):
        data = json.loads((Path(botocore.__file__).parent / "data" / f"{name}.json").read_text())
        (tmp_path / f"{name}.json").write_text(json.dumps(data).replace("amazonaws.com", "elsewhere.example"))
    monkeypatch.setenv("AWS_DATA_PATH", str(tmp_path))
    assert not place.notebook("01").errors
    assert {host for host in place.aws.hosts if not host.endswith(".amazonaws.com")} == set()


# Who signs.


class Login:
    """A `credential_process`: it gives a key, for a moment only, and is asked again before each call."""

    def __init__(self, folder: Path, key: str = OURS) -> None:
        self.answer = folder / "answer.json"
        self.script = folder / "login.sh"
        self.script.write_text(f"#!/bin/sh\nexec cat {self.answer}\n")
        self.script.chmod(0o700)
        self.config = f"[profile work]\ncredential_process = {self.script}\n"
        self.give(key)

    def give(self, key: str, **more: Any) -> None:
        """Give this key from now on."""
        ends = datetime.now(UTC) + timedelta(minutes=5)
        said = {"Version": 1, "AccessKeyId": key, "SecretAccessKey": "s", "SessionToken": "t"}
        self.answer.write_text(json.dumps({**said, "Expiration": ends.isoformat(), **more}))


@pytest.fixture
def login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Login:
    made = Login(tmp_path)
    configure(tmp_path, made.config, monkeypatch)
    return made


def after(count: int, operation: str, do: Callable[[], object]) -> Callable[[Seen], None]:
    """Do something once so many of an operation were answered."""
    seen = itertools.count(1)

    def told(call: Seen) -> None:
        if call.operation == operation and next(seen) == count:
            do()

    return told


@pytest.mark.attack(3)
def test_credentials_of_another_account_make_no_call_but_the_one_that_finds_them_out(
    place: Place, login: Login
) -> None:
    place.notebook("01")
    place.aws.told = after(1, "appmesh.CreateVirtualNode", lambda: login.give(THEIRS))
    done = place.notebook("02")
    assert place.aws.operations(place.other) == {"sts.GetCallerIdentity": 1}
    assert place.aws.writes(place.account)["appmesh.CreateVirtualNode"] == 1
    assert f"is account {place.account}; these credentials are for {place.other}" in done.errors["apply"].args[0]


@pytest.mark.attack(3)
def test_after_another_account_nothing_is_called_any_more_whoever_logs_in(place: Place, login: Login) -> None:
    """What is left of the notebook was begun by somebody else; it is begun anew."""
    place.notebook("01")

    def change() -> None:
        login.give(THEIRS)
        place.aws.told = after(1, "sts.GetCallerIdentity", lambda: login.give(OURS))

    place.aws.told = after(1, "appmesh.CreateVirtualNode", change)
    done = place.notebook("02")
    seen = len(place.aws.seen)
    assert place.aws.writes(place.account)["appmesh.CreateVirtualNode"] == 1
    later = [str(error) for cell, error in done.errors.items() if cell != "apply"]
    assert any("start the notebook anew" in words for words in later)
    assert place.aws.seen[seen - 1].operation == "sts.GetCallerIdentity"
    assert not place.notebook("02").errors
    assert place.aws.writes(place.account)["appmesh.CreateVirtualNode"] == 3


@pytest.mark.attack(3)
def test_new_credentials_of_the_account_are_proved_and_used(place: Place, login: Login) -> None:
    place.notebook("01")
    place.aws.accounts["AKIANEXT"] = place.account
    place.aws.told = after(1, "appmesh.CreateVirtualNode", lambda: login.give("AKIANEXT"))
    asked = place.aws.operations()["sts.GetCallerIdentity"]
    assert not place.notebook("02").errors
    signed = [s.key for s in place.aws.seen if s.operation == "appmesh.CreateVirtualNode"]
    assert signed == [OURS, "AKIANEXT", "AKIANEXT"]
    assert place.aws.operations()["sts.GetCallerIdentity"] == asked + 2


@pytest.mark.attack(3)
def test_the_same_access_key_needs_no_new_proof(place: Place, login: Login) -> None:
    place.aws.told = after(1, "appmesh.CreateMesh", lambda: login.give(OURS, SessionToken="renewed"))
    assert not place.notebook("01").errors
    assert place.aws.operations()["sts.GetCallerIdentity"] == 1


@pytest.mark.attack(3)
@pytest.mark.parametrize("answer", ["", "{}", "[]", "not json"])
def test_credentials_that_cannot_be_renewed_end_it_in_a_sentence(place: Place, login: Login, answer: str) -> None:
    place.notebook("01")
    place.aws.told = after(1, "appmesh.CreateVirtualNode", lambda: login.answer.write_text(answer))
    done = place.notebook("02")
    assert place.aws.writes(place.account)["appmesh.CreateVirtualNode"] == 1
    assert isinstance(done.errors["apply"], CredentialsError)
    assert str(done.errors["apply"]).startswith("no credentials: ")


@pytest.mark.attack(3)
@pytest.mark.parametrize("of_a_role", [False, True], ids=["the profile's own", "a role's source"])
def test_a_credential_process_that_never_answers_is_ended(
    of_a_role: bool, place: Place, login: Login, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if of_a_role:
        role = f"[profile role]\nrole_arn = arn:aws:iam::{place.account}:role/shifter\nsource_profile = work\n"
        configure(tmp_path, role + login.config, monkeypatch, "role")
    mark = tmp_path / "pid"
    login.script.write_text(f"#!/bin/sh\necho $$ > {mark}\nexec sleep 600\n")
    monkeypatch.setattr(identity, "PROCESS_SECONDS", 0.3)
    with pytest.raises(CredentialsError, match=r"it gave no answer in 0\.3 s, and was ended"):
        identity.present(identity.aws_session())
    assert not Path("/proc", mark.read_text().strip()).exists()


@pytest.mark.attack(3)
def test_a_proof_that_fails_lets_no_call_be_made(place: Place, login: Login) -> None:
    place.notebook("01")
    place.aws.told = after(1, "appmesh.CreateVirtualNode", lambda: login.give("AKIANOBODY"))
    done = place.notebook("02")
    assert {s.operation for s in place.aws.seen if s.key == "AKIANOBODY"} == {"sts.GetCallerIdentity"}
    assert isinstance(done.errors["apply"], CredentialsError)
    assert "InvalidClientTokenId" in str(done.errors["apply"])
    assert "log in again" in str(done.errors["apply"])


@pytest.mark.attack(3)
def test_an_answer_that_is_not_awss_is_a_sentence(place: Place, keys: None) -> None:
    place.aws.stead = lambda seen: (200, {"Content-Type": "text/html"}, b"<html>log in to the hotel's network</html")
    done = place.notebook("01")
    assert done.first.startswith("UnreachableError: sts get_caller_identity: ")


@pytest.mark.attack(3)
def test_where_traffic_stands_is_said_when_nobody_can_look_any_more() -> None:
    session, sky = under_sky()

    def change() -> None:
        session.connection = replace(session.connection, credentials=credentials("", "699999999999"))

    caught = ending(session, Held, {"proved": change})
    words = str(caught)
    assert caught.reason == "target"
    assert "nothing more is called; when last read, traffic was at serviceB 75 %, serviceBv2 25 % (" in words
    assert sky.updates == 2  # the rollback's rehearsal and the step
    assert sky.weights() == {"serviceB": 75, "serviceBv2": 25}


@pytest.mark.attack(3)
def test_credentials_that_run_out_before_the_bake_ends_are_said_before_it_begins() -> None:
    session, sky = under_sky(shift=quick(steps=[25], bake_seconds=60))
    ends = datetime.fromtimestamp(sky.now + 30, UTC)
    session.connection = replace(session.connection, lifetime=Lifetime("ends", "env", ends))
    written = next(d for d in take(session) if d.phase == "written")
    assert (
        f"the credentials run out at {ends:%Y-%m-%d %H:%M:%S} UTC, before a bake begun now ends, at " in written.words
    )


@pytest.mark.attack(3)
def test_the_forecast_says_so_before_anything_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    session, sky = under_sky(shift=quick(steps=[25], bake_seconds=60))
    ends = datetime.fromtimestamp(sky.now + 30, UTC)
    session.connection = replace(session.connection, lifetime=Lifetime("ends", "env", ends))
    show(forecast_steps(survey(session)))
    assert f"! WARN the credentials run out at {ends:%Y-%m-%d %H:%M:%S} UTC" in capsys.readouterr().out


@pytest.mark.attack(3)
@pytest.mark.parametrize("kind", ["permanent", "renewed", "unknown"])
def test_credentials_that_do_not_run_out_by_themselves_are_no_news(kind: Any) -> None:
    session, _ = under_sky(shift=quick(steps=[25]))
    session.connection = replace(session.connection, lifetime=Lifetime(kind, "somewhere"))
    assert "run out" not in " ".join(d.words for d in take(session))


# How long they last.


def checked(place: Place) -> dict[str, str]:
    """Return what 00 says of the credentials, by level."""
    found = place.notebook("00").names["found"]
    return {check.level: check.message for check in check_environment(found) if check.where == "credentials"}


@pytest.mark.attack(3)
@pytest.mark.parametrize(("seconds", "level"), [(20, "WARN"), (7200, "PASS")])
def test_00_compares_when_credentials_run_out_with_when_the_bakes_end(
    place: Place, keys: None, monkeypatch: pytest.MonkeyPatch, seconds: int, level: str
) -> None:
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=seconds)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    monkeypatch.setenv("AWS_CREDENTIAL_EXPIRATION", ends.isoformat())
    words = checked(place)[level]
    assert words.startswith(f"they run out at {ends:%Y-%m-%d %H:%M:%S} UTC; this file's bakes, begun now, end at ")


@pytest.mark.attack(3)
def test_00_says_that_nobody_knows_how_long_a_session_token_lasts(
    place: Place, keys: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert checked(place) == {"PASS": "they do not run out by themselves"}
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    assert checked(place) == {"WARN": "temporary, and when they run out is not known; this file's bakes take 0:00:40"}


@pytest.mark.attack(3)
def test_00_takes_credentials_that_are_renewed_for_lasting(place: Place, login: Login) -> None:
    assert checked(place) == {"PASS": "they are renewed while they are used (custom-process)"}


# What a run says of it.


@pytest.mark.attack(2)
@pytest.mark.attack(3)
@pytest.mark.attack(23)
def test_a_run_that_has_written_ends_failed_when_the_account_changes(
    place: Place, login: Login, decoy: Decoy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`refused` means that nothing was written; the word stays, and says why. What was ignored is said once."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", decoy.url)
    place.aws.told = after(1, "appmesh.CreateVirtualNode", lambda: login.give(THEIRS))
    code, said = runbook("run", place.file, "--from", "01", "--through", "02")
    summary = record.called(place.parameters.environment)[0].summary() or {}
    assert (code, summary["outcome"], summary["reason"].partition(":")[0]) == (1, "failed", "target"), said
    assert [(n["name"][:2], n["outcome"]) for n in summary["notebooks"]] == [("01", "done"), ("02", "failed")]
    assert place.aws.operations(place.other) == {"sts.GetCallerIdentity": 1}
    assert "Traceback" not in said
    assert said.count("ignored, since target: aws calls AWS's own endpoints only: AWS_ENDPOINT_URL") == 1
    assert decoy.calls == 0


@pytest.mark.attack(23)
def test_nobody_refuses_half_way_through_a_plan() -> None:
    session = scenes.open_local()
    first, second = scenes.one("mesh first"), scenes.one("mesh second")
    scenes.somebody(session).create_mesh(meshName="second")
    with pytest.raises(StalePlanError) as alone:
        scenes.change(session, Plan("second", (second,)))
    with pytest.raises(StalePlanError) as half_way:
        scenes.change(session, Plan("both", (first, second)))
    assert (alone.value.exit_code, half_way.value.exit_code) == (2, 1)


# A profile that is not there.


@pytest.fixture
def lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let AWS_PROFILE name a profile that nobody made."""
    configure(tmp_path, "[profile work]\nregion = eu-west-1\n", monkeypatch, "gone")


@pytest.mark.attack(23)
@pytest.mark.parametrize(
    "command", [("lint", "staging"), ("status", "staging", "--rehearse"), ("status", "local"), ("local", "status")]
)
def test_a_profile_that_is_not_there_stops_nothing_that_needs_no_aws(lost: None, command: tuple[str, ...]) -> None:
    ended = CliRunner().invoke(cli.app, command)
    assert ended.exit_code == 0, ended.output


@pytest.mark.attack(23)
def test_a_profile_that_is_not_there_stops_no_rehearsal(lost: None, tmp_path: Path) -> None:
    environment = Environment.create(tmp_path, "unlogged", mode="plan")
    for number in ("00", "01", "02"):
        assert not environment.notebook(number).errors


@pytest.mark.attack(23)
def test_a_profile_that_is_not_there_is_named_where_aws_is_needed(lost: None) -> None:
    ended = CliRunner().invoke(cli.app, ("status", "staging"))
    assert ended.exit_code == 2
    words = " ".join(ended.output.split())
    assert "nobody is logged in here (AWS_PROFILE: there is no profile 'gone' on this machine)" in words
    assert "in AWS_PROFILE, or unset it, or rehearse on the local mesh: runbook run staging --rehearse" in words


@pytest.mark.attack(23)
@pytest.mark.parametrize("mode", ["plan", "apply"])
def test_a_run_that_is_refused_for_want_of_a_login_leaves_none(
    lost: None, mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNBOOK_RUNS", str(tmp_path / "runs"))
    ended = CliRunner().invoke(cli.app, ("run", "staging", "--mode", mode))
    assert ended.exit_code == 2
    assert "nobody is logged in here" in " ".join(ended.output.split())
    assert not (tmp_path / "runs").exists()


# What to do next.

HINTS = {
    "a number without its zero": (("run", "local", "--from", "5"), "--from 05"),
    "a last one without its zero": (("run", "local", "--through", "5"), "--through 05"),
    "a number there is not": (("run", "local", "--from", "99"), "--from with one of these"),
    "a name without a value": (("run", "local", "-p", "region"), "-p region us-west-2"),
}


@pytest.mark.attack(23)
@pytest.mark.parametrize(("command", "hint"), HINTS.values(), ids=HINTS)
def test_a_hint_is_about_what_was_typed(command: tuple[str, ...], hint: str) -> None:
    ended = CliRunner().invoke(cli.app, command)
    assert ended.exit_code == 2
    assert f"Next: {hint}\n" in ended.output


@pytest.mark.attack(23)
def test_undo_of_what_a_later_notebook_uses_names_what_to_undo_first(tmp_path: Path) -> None:
    environment = Environment.create(tmp_path, "inuse")
    environment.walk("01", "02", "03")
    before = environment.writes()
    done = environment.notebook("02", mode="apply", undo=True)
    assert "03_create_router_and_routes must be undone first" in done.first
    assert " --notebook 03" in done.first
    assert environment.writes() == before


@pytest.mark.attack(23)
def test_a_permission_that_lacks_leads_to_where_permissions_are_listed(place: Place, keys: None) -> None:
    denied = 403, {"x-amzn-errortype": "AccessDeniedException"}, b'{"message": "no"}'
    place.aws.stead = lambda seen: denied if seen.operation == "appmesh.CreateMesh" else None
    hint = str(place.notebook("01").errors["apply"]).partition("Next: ")[2]
    assert hint == "this identity lacks a permission; docs/iam.md lists what is needed"
    assert "`appmesh:Create*`" in (ROOT / "docs" / "iam.md").read_text()


@pytest.mark.attack(3)
def test_credentials_that_cannot_be_renewed_for_now_may_be_soon(
    place: Place, decoy: Decoy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that is away for a moment is no reason to end a shift."""
    role = f"arn:aws:iam::{place.account}:role/shifter"
    assumed = f"[profile work]\nrole_arn = {role}\nsource_profile = source\nregion = us-west-2\n"
    configure(tmp_path, assumed + STATIC.replace("work", "source"), monkeypatch)
    monkeypatch.setenv("https_proxy", decoy.url)  # which hangs up
    with pytest.raises(UnreachableError, match="credentials could not be renewed: "):
        open_session({"environment": str(place.file)})
