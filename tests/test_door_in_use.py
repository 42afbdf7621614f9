"""The local mesh's endpoint as its own user, any other program and a web page meet it: over a real socket."""

from __future__ import annotations

import http.client
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from runbook_lib.errors import TargetError
from runbook_lib.local import keys, supervisor
from runbook_lib.local.clients import clients
from runbook_lib.local.supervisor import LocalMesh
from tests.notebook_runner import Environment, child_environment, folder, own_mesh, runbook
from tests.test_cli import command, said

__all__ = ["folder", "own_mesh"]

PROXIES = dict.fromkeys(("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"), "http://127.0.0.1:9")


@pytest.fixture(scope="module")
def first(own_mesh: Path, folder: Path) -> Environment:
    """Return an environment of its own on a local mesh of its own, with a mesh; made with the usual umask."""
    before = os.umask(0o022)
    try:
        made = Environment.create(folder, "door")
    finally:
        os.umask(before)
    made.client("appmesh").create_mesh(meshName="apps")
    return made


@pytest.fixture
def mesh(first: Environment) -> LocalMesh:
    found = supervisor.find()
    assert found is not None
    return found


def sent(
    mesh: LocalMesh, method: str, path: str, headers: Mapping[str, str], body: str = ""
) -> tuple[int, dict[str, str], str]:
    """Send a request byte for byte as given; return status, headers and body of the answer."""
    connection = http.client.HTTPConnection(mesh.endpoint.removeprefix("http://"), timeout=10)
    try:
        connection.putrequest(method, path, skip_host="Host" in headers)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            connection.putheader(name, value)
        connection.endheaders(body.encode())
        answer = connection.getresponse()
        return answer.status, dict(answer.headers), answer.read().decode()
    finally:
        connection.close()


def signed(key: str, account: str, service: str = "appmesh") -> dict[str, str]:
    scope = f"{keys.access_key(key, account)}/20260101/us-west-2/{service}/aws4_request"
    return {"Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"}


def meshes(environment: Environment) -> list[str]:
    return [each["meshName"] for each in environment.client("appmesh").list_meshes()["meshes"]]


# --- what nobody else may do ---------------------------------------------------------------------------------------


@pytest.mark.attack(18)
@pytest.mark.parametrize("path", ["/moto-api/reset", "/moto-api/", "/moto-api/data.json", "/latest/meta-data/", "/"])
def test_a_web_page_changes_and_reads_nothing(first: Environment, mesh: LocalMesh, path: str) -> None:
    """A simple cross-site request needs no leave of the page it goes to, and is sent all the same."""
    page = {"Origin": "https://evil.example", "Content-Type": "text/plain", "Sec-Fetch-Site": "cross-site"}
    for method in ("POST", "GET", "OPTIONS"):
        status, headers, _ = sent(mesh, method, path, page)
        assert status == 403
        assert not {name for name in headers if name.lower().startswith("access-control")}
    assert meshes(first) == ["apps"]


@pytest.mark.attack(18)
@pytest.mark.parametrize("path", ["/moto-api/reset", "/moto-api/recorder/start-recording", "/latest/meta-data/"])
def test_motos_own_api_is_closed_to_its_user_too(first: Environment, mesh: LocalMesh, path: str) -> None:
    for service in ("appmesh", "moto_api", "moto_api._internal", "motoapi"):
        assert sent(mesh, "POST", path, signed(mesh.key, first.account, service))[0] in (404, 501)
    assert meshes(first) == ["apps"]


@pytest.mark.attack(18)
def test_a_name_that_leads_here_is_not_served(first: Environment, mesh: LocalMesh) -> None:
    """As after DNS rebinding: the page's own name resolves to this machine."""
    port = mesh.endpoint.rpartition(":")[2]
    for host in (f"evil.example:{port}", "127.0.0.1", f"127.0.0.2:{port}", f"127.0.0.1.evil.example:{port}"):
        asked = {**signed(mesh.key, first.account), "Host": host}
        assert sent(mesh, "GET", "/v20190125/meshes", asked)[0] == 403
    absolute = {**signed(mesh.key, first.account), "Host": mesh.endpoint.removeprefix("http://")}
    assert sent(mesh, "GET", "http://evil.example/v20190125/meshes", absolute)[0] == 403


@pytest.mark.attack(18)
def test_no_call_without_this_folders_key_does_anything(first: Environment, mesh: LocalMesh) -> None:
    body = json.dumps({"meshName": "theirs"})
    for headers in ({}, signed(keys.new_key(), first.account), {"x-moto-account-id": first.account}):
        status, answered, _ = sent(mesh, "PUT", "/v20190125/meshes", headers, body)
        assert status == 403
        assert answered["x-amzn-ErrorType"].endswith("Exception")
    assert meshes(first) == ["apps"]


@pytest.mark.attack(18)
def test_another_state_folders_key_opens_nothing_here(first: Environment, mesh: LocalMesh) -> None:
    other = LocalMesh(mesh.endpoint, mesh.pid, mesh.id, mesh.folder, keys.new_key())
    client = clients(other, first.account, "us-west-2")("appmesh")
    with pytest.raises(ClientError, match="UnrecognizedClientException"):
        client.create_mesh(meshName="theirs")
    with pytest.raises(TargetError, match="403"):
        other.ask("/runbook/traffic", {"environment": "../../elsewhere"})
    assert meshes(first) == ["apps"]


@pytest.mark.attack(18)
def test_a_refused_sender_reads_why_whatever_it_sends(mesh: LocalMesh) -> None:
    assert sent(mesh, "PUT", "/v20190125/meshes", {}, "x" * 100_000)[0] == 403


def modes(path: Path) -> dict[str, str]:
    """Return what is anybody else's to open, with its mode."""
    found = {each: stat.S_IMODE(each.lstat().st_mode) for each in (path, *path.rglob("*")) if not each.is_symlink()}
    return {str(each): oct(mode) for each, mode in found.items() if mode & 0o077}


@pytest.mark.attack(18)
def test_everything_in_the_state_folder_is_its_owners_alone(first: Environment, mesh: LocalMesh) -> None:
    assert {"endpoint.json", "supervisor.log", "worlds.json"} <= {path.name for path in mesh.folder.iterdir()}
    assert modes(mesh.folder) == {}


@pytest.mark.attack(18)
def test_a_state_folder_that_was_open_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "state").mkdir(mode=0o755)
    monkeypatch.setenv("RUNBOOK_STATE", str(tmp_path / "state"))
    assert modes(supervisor._own(supervisor.state_folder())) == {}


@pytest.mark.attack(18)
def test_a_folder_with_other_things_in_it_is_no_state_folder(tmp_path: Path) -> None:
    (tmp_path / "diary").touch()
    tmp_path.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-P", "-c", "from runbook_lib.command.cli import app; app()", "local", "up"],
        env=child_environment(RUNBOOK_STATE=str(tmp_path)), capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 2
    assert "expected a folder for the local mesh alone; other things in it" in done.stderr
    assert (stat.S_IMODE(tmp_path.stat().st_mode), [path.name for path in tmp_path.iterdir()]) == (0o755, ["diary"])


@pytest.mark.attack(18)
@pytest.mark.skipif(os.getuid() != 0, reason="only root can make a folder that is another user's")
def test_a_state_folder_that_somebody_else_has_planted_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "state").mkdir()
    os.chown(tmp_path / "state", 65534, 65534)
    monkeypatch.setenv("RUNBOOK_STATE", str(tmp_path / "state"))
    with pytest.raises(TargetError, match="the user with id 65534 owns it"):
        supervisor.ensure()
    assert list((tmp_path / "state").iterdir()) == []


# --- what its own user may do --------------------------------------------------------------------------------------


def listed(environment: Mapping[str, str], program: Sequence[str]) -> str:
    """Return what a program of its own prints that has nothing but these variables."""
    own = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **environment}
    done = subprocess.run([sys.executable, *program], env=own, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


BOTO = "import boto3; print([m['meshName'] for m in boto3.client('appmesh').list_meshes()['meshes']])"
CLI = ["-m", "awscli", "appmesh", "list-meshes", "--query", "meshes[].meshName", "--output", "text"]


@pytest.mark.attack(18)
def test_any_sdk_and_the_cli_reach_it_with_the_variables_that_status_prints(first: Environment) -> None:
    found = said(command("local", "status", "--json"))["environment"]
    assert listed(found, ["-c", BOTO]) == "['apps']\n"
    assert listed(found, CLI) == "apps\n"


@pytest.mark.attack(23)
def test_the_variables_lead_past_a_proxy(first: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in PROXIES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("no_proxy", "intranet")
    found = said(command("local", "status", "--json"))["environment"]
    assert found["no_proxy"] == "intranet,127.0.0.1"
    assert listed({**PROXIES, **found}, ["-c", BOTO]) == "['apps']\n"


@pytest.mark.attack(18)
def test_with_two_accounts_there_are_variables_for_each(first: Environment, tmp_path: Path) -> None:
    """Two files of one name, too, are two environments."""
    second = Environment.create(tmp_path, "door")
    found = said(command("local", "status", "--json"))["environment"]
    assert found.keys() == {first.account, second.account}
    assert listed(found[first.account], ["-c", BOTO]) == "['apps']\n"
    assert listed(found[second.account], ["-c", BOTO]) == "[]\n"


# --- a local mesh that is slow to answer ---------------------------------------------------------------------------


@pytest.fixture
def stopped(mesh: LocalMesh, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalMesh]:
    """Return a local mesh whose process stands still, to those who wait a moment only."""
    monkeypatch.setattr(supervisor, "ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(supervisor, "SLOW_SECONDS", 0.3)
    os.kill(mesh.pid, signal.SIGSTOP)
    try:
        yield mesh
    finally:
        os.kill(mesh.pid, signal.SIGCONT)


@pytest.mark.attack(23)
def test_a_local_mesh_that_does_not_answer_is_not_forgotten(stopped: LocalMesh, first: Environment) -> None:
    done = command("local", "up", first.file)
    assert done.exit_code == 2
    assert f"no answer in 0.3 s; its process {stopped.pid} goes on" in done.output
    assert "runbook local down" in done.output
    assert f"not answering; its process {stopped.pid} goes on" in command("local", "status").output
    assert supervisor.find() == stopped
    os.kill(stopped.pid, signal.SIGCONT)
    supervisor.ANSWER_SECONDS = supervisor.SLOW_SECONDS = 20.0
    assert supervisor.ensure() == stopped
    assert meshes(first) == ["apps"]


@pytest.mark.attack(23)
@pytest.mark.parametrize("note", ["", "{", "[]", '{"endpoint": "http://127.0.0.1:1"}', "\0"])
def test_a_note_that_is_cut_off_does_not_hide_its_process(
    mesh: LocalMesh, note: str, first: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "SLOW_SECONDS", 0.1)
    whole = (mesh.folder / "endpoint.json").read_text()
    (mesh.folder / "endpoint.json").write_text(note)
    try:
        done = command("local", "up", first.file)
        assert done.exit_code == 2
        assert f"its process {mesh.pid} goes on" in done.output
        assert f"its process {mesh.pid} goes on" in command("local", "status").output
    finally:
        (mesh.folder / "endpoint.json").write_text(whole)
    assert meshes(first) == ["apps"]


@pytest.mark.attack(23)
@pytest.mark.parametrize("notes", ["", "{", "[]", '{"door": 1}', '{"door": {}}'])
def test_notes_of_its_environments_that_are_cut_off_are_named(mesh: LocalMesh, notes: str, first: Environment) -> None:
    file = mesh.folder / "worlds.json"
    whole = file.read_text()
    file.write_text(notes)
    try:
        for words in (("local", "status"), ("local", "up", first.file)):
            done = command(*words)
            assert done.exit_code == 2
            assert f"{file}: not as the runbook left it" in done.output
            assert "runbook local down" in done.output
    finally:
        file.write_text(whole)


@pytest.mark.attack(23)
def test_a_proxy_is_not_asked_and_a_mesh_that_stands_still_is_stopped(first: Environment, mesh: LocalMesh) -> None:
    """The last of this module: it ends the local mesh."""
    code, words = runbook("status", first.file, "--json", **PROXIES)
    assert (code, json.loads(words)["services"]["serviceA"]) == (0, "taskA:1"), words
    os.kill(mesh.pid, signal.SIGSTOP)
    assert runbook("local", "down", **PROXIES) == (0, "the local mesh is stopped\n")
    assert not supervisor._exists(mesh.pid)
    assert supervisor.find() is None
