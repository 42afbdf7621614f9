"""Records in a bucket: what reaches it before AWS is changed, and what a colleague has of it on another machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from botocore.exceptions import ClientError
from typer.testing import CliRunner

from runbook_lib import record, survey
from runbook_lib.aws.session import Session
from runbook_lib.command import cli
from runbook_lib.errors import Held, RecordError, RolledBack
from runbook_lib.runs import approvals
from runbook_lib.shift.rollback import roll_back
from tests import scenes
from tests.live import CANARY, STABLE, Sky, again, ending, quick, take, under_sky, until
from tests.notebook_runner import Environment, own_mesh
from tests.scenes import reopen, step, writes

__all__ = ["own_mesh"]

BUCKET = "ada-records"
WHERE = f"s3://{BUCKET}/runs"
BACK, QUARTER = {STABLE: 100, CANARY: 0}, {STABLE: 75, CANARY: 25}


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return what takes one to a machine by its name: to its own folders of runs and state."""

    def go(name: str) -> None:
        monkeypatch.setenv("RUNBOOK_RUNS", str(tmp_path / name))

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "user"))
    go("here")
    return go


@pytest.fixture
def s3() -> Iterator[Any]:
    """Give the scenes' account a bucket, and return somebody else's client of it."""
    client = scenes.other(scenes.STAGED, "s3")
    client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    yield client
    gone(client)


def gone(s3: Any) -> None:
    """Let there be no such bucket any more, though something is being put there."""
    while BUCKET in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]:
        for key in stored(s3):
            s3.delete_object(Bucket=BUCKET, Key=key)
        with suppress(ClientError):
            s3.delete_bucket(Bucket=BUCKET)


def stored(s3: Any) -> dict[str, bytes]:
    """Return what is in the bucket, by its key."""
    if BUCKET not in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]:
        return {}
    found = s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])
    return {each["Key"]: s3.get_object(Bucket=BUCKET, Key=each["Key"])["Body"].read() for each in found}


def events(s3: Any) -> list[str]:
    """Return the events that are stored, in their order."""
    texts = [text for key, text in sorted(stored(s3).items()) if "/record/" in key]
    return [json.loads(line)["event"] for text in texts for line in text.splitlines()]


def kept(stage: str, prepare: Callable[[Any], None] | None = None) -> Session:
    """Open a session of the scenario whose records go to the bucket."""
    return reopen(scenes.open_at(stage), records=WHERE, prepare=prepare)


# Before anything is changed.


def test_what_is_about_to_be_done_is_stored_before_it_is_done(s3: Any) -> None:
    seen: list[list[str]] = []

    def look(client: Any) -> None:
        client.meta.events.register("before-call.app-mesh.CreateMesh", lambda **_: seen.append(events(s3)))

    step(kept("plain", look), "01")
    assert [each[-1] for each in seen] == ["intended"]


def test_nothing_is_changed_where_that_cannot_be_stored(s3: Any) -> None:
    session = kept("plain")
    session.join_run()
    gone(s3)
    before = writes(session)
    with pytest.raises(RecordError, match=rf"cannot be stored at {WHERE}: s3 put_object: NoSuchBucket"):
        step(session, "01")
    assert {name: n for name, n in (writes(session) - before).items() if "mesh" in name.lower()} == {}


def test_calls_about_copies_are_no_calls_about_the_application(s3: Any) -> None:
    session = kept("plain")
    session.join_run().require_stored()
    assert session.counts()["write"] == 0
    assert session.written == 0


# A shift, and a bucket that goes away meanwhile.


def sky_over_a_bucket(**changes: Any) -> tuple[Session, Sky]:
    _, sky = under_sky(shift=quick(**changes))
    return again(sky, records=WHERE), sky


@pytest.mark.attack(7)
def test_a_failing_canary_is_rolled_back_though_nothing_can_be_stored(s3: Any) -> None:
    session, sky = sky_over_a_bucket()
    ending(session, RolledBack, {"proved": lambda: (gone(s3), sky.errors.update({CANARY: 0.5}))})
    assert sky.weights() == BACK
    run = session.finished or session.join_run()
    phases = [line["phase"] for line in run.lines() if line["event"] == "decision"]
    assert phases[-2:] == ["rolled back", "settled"]  # it is all here, and goes there the next time


@pytest.mark.attack(7)
def test_a_failing_canary_is_rolled_back_though_somebody_has_spoilt_the_copy(s3: Any) -> None:
    session, sky = sky_over_a_bucket()

    def spoil() -> None:
        sky.errors[CANARY] = 0.5
        copy = session.join_run().copy
        assert copy
        # What a thread of another test still sends is another run's.
        key, text = min((key, text) for key, text in stored(s3).items() if f"{copy.name}/record/" in key)
        s3.put_object(Bucket=BUCKET, Key=key, Body=text.replace(b"opened", b"planted"))
        copy.bring(anew=True)  # as `runbook verify` does on this machine
        with pytest.raises(RecordError, match="is not as it was stored"):
            list(session.join_run().lines())

    ending(session, RolledBack, {"proved": spoil})
    assert sky.weights() == BACK


@pytest.mark.attack(7)
def test_a_step_up_is_not_written_where_its_line_cannot_be_stored(s3: Any) -> None:
    session, sky = sky_over_a_bucket()
    caught = ending(session, Held, {"proved": lambda: gone(s3)})
    assert caught.reason == "record"
    assert "cannot be stored at s3://" in str(caught)
    assert sky.weights() == QUARTER


@pytest.mark.attack(7)
def test_a_rollback_by_command_waits_for_no_bucket(s3: Any) -> None:
    session, sky = sky_over_a_bucket()
    take(session, until=lambda d: d.phase == "proved")
    gone(s3)
    other = again(sky, records=WHERE)
    roll_back(other, lambda words: None)
    assert sky.weights() == BACK


def test_another_machine_knows_what_the_first_has_seen(s3: Any, machine: Callable[[str], None]) -> None:
    session, sky = sky_over_a_bucket()
    take(session, until=lambda d: d.phase == "judged")
    run = session.join_run()
    run.require_stored()
    machine("there")
    other = again(sky, records=WHERE)
    assert other.join_run().id == run.id
    take(other)
    assert sky.weights() == {STABLE: 0, CANARY: 100}
    joined = other.finished or other.join_run()
    assert joined.faults() == []
    steps = [line["step"] for line in joined.lines() if line["event"] == "decision" and line["phase"] == "written"]
    assert steps == [25, 100]  # the first was not taken again


def test_a_held_shift_is_approved_on_another_machine_and_goes_on_on_a_third(
    s3: Any, machine: Callable[[str], None]
) -> None:
    session, sky = sky_over_a_bucket(approvals={"steps": [100]})
    caught = ending(session, Held, {})
    assert (caught.reason, sky.weights()) == ("approval", QUARTER)
    session.join_run().require_stored()
    machine("there")
    other = again(sky, records=WHERE)
    run, plan = other.join_run(), survey(other).plan_weights({STABLE: 0, CANARY: 100})
    approvals.approve(other, run, plan, approver="ada")
    machine("third")
    take(again(sky, records=WHERE))
    assert sky.weights() == {STABLE: 0, CANARY: 100}
    assert "approved" in events(s3)


# From an empty folder, by commands.


@pytest.fixture(scope="module")
def done(own_mesh: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Apply 01 on a machine, and leave nothing there."""
    folder = tmp_path_factory.mktemp("first")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUNBOOK_RUNS", str(folder / "runs"))
        environment = Environment.create(folder, "kept", records=WHERE)
        environment.walk("01")
    file = folder.rename(folder.with_name("gone")) / "kept.yaml"  # the first machine's paths are nowhere
    return Environment(file, environment.said)


def says(*words: object, code: int = 0) -> str:
    said = CliRunner().invoke(cli.app, [str(word) for word in words])
    assert said.exit_code == code, said.output
    return str(said.output)


def test_a_colleague_has_what_the_first_machine_had(done: Environment, tmp_path: Path) -> None:
    assert "  kept  apply  open  account " in says("runs", done.file)
    (run,) = record.called("kept")
    assert f"run          {run.id}" in says("status", done.file)
    assert f"✓ copy: the same lines are at {WHERE}" in says("verify", done.file)
    says("report", run.id, "--file", done.file, "--output", tmp_path / "page.html")
    assert run.id in (tmp_path / "page.html").read_text()
    nothing = says("report", f"{WHERE}/kept/{run.id}", code=2)
    assert "expected --file too" in nothing
    held = says("hold", run.id, "--file", done.file, "--by", "ada")
    assert "hold is written down" in held
    requests = [key for key in stored(done.client("s3")) if "/requests/" in key]
    assert len(requests) == 1


def test_a_line_that_was_changed_in_the_bucket_is_found(done: Environment, machine: Callable[[str], None]) -> None:
    s3 = done.client("s3")
    key, text = next((key, text) for key, text in stored(s3).items() if b'"intended"' in text)
    s3.put_object(Bucket=BUCKET, Key=key, Body=text.replace(b"01_create_mesh", b"03_create_mesh"))
    try:
        machine("third")
        assert "was changed, or lines between it" in says("verify", done.file, code=1)
        assert "is not as it was written" in says("undo", done.file, "--yes", code=1)
    finally:
        s3.put_object(Bucket=BUCKET, Key=key, Body=text)


def test_a_colleague_undoes_what_the_first_machine_did(done: Environment, machine: Callable[[str], None]) -> None:
    machine("fourth")
    assert "3 changes undone" in says("undo", done.file, "--yes")
    machine("fifth")
    assert "  kept  apply  rolled_back  " in says("runs", done.file)
    assert "nothing to undo" in says("undo", done.file, "--yes")


@pytest.mark.soak
def test_a_release_goes_over_four_machines_each_of_which_is_lost(tmp_path: Path) -> None:
    """With real traffic: held by one machine while another shifts, approved on a third, finished on a fourth."""
    shift = quick(steps=[25, 100], bake_seconds=20, approvals={"steps": [100]})
    said = scenes.given(environment="kept", records=WHERE, shift=shift)
    (tmp_path / "kept.yaml").write_text(yaml.safe_dump(said, sort_keys=False))
    file = str(tmp_path / "kept.yaml")
    usual = {name: value for name, value in os.environ.items() if name != "RUNBOOK_LOCAL"}

    def started(machine: str, *words: str) -> subprocess.Popen[str]:
        folders = {"RUNBOOK_STATE": str(tmp_path / "mesh"), "RUNBOOK_RUNS": str(tmp_path / machine)}
        command = [sys.executable, "-m", "runbook_lib.command.cli", *words]
        return subprocess.Popen(
            command, env={**usual, **folders}, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def ends(process: subprocess.Popen[str], code: int) -> str:
        output, _ = process.communicate(timeout=600)
        assert process.returncode == code, output
        return output

    def on(machine: str, *words: str, code: int = 0) -> str:
        return ends(started(machine, *words), code)

    try:
        first = started("first", "run", file)
        until(lambda: "25 % proved" in (first.stdout.readline() if first.stdout else ""), "a step is written", 600)
        (run,) = [folder.name for folder in (tmp_path / "first" / "kept").glob("[0-9]*")]
        on("second", "hold", run, "--file", file, "--by", "ada")
        assert "outcome: held" in ends(first, 3)
        shutil.rmtree(tmp_path / "first")
        assert "approval" in on("second", "run", file, "--from", "05", code=3)
        shutil.rmtree(tmp_path / "second")
        assert "approved by ada" in on("third", "approve", file, "--by", "ada")
        assert "ada" in (Path(on("third", "report", file).split()[-1])).read_text()
        shutil.rmtree(tmp_path / "third")
        assert "outcome: done" in on("fourth", "run", file, "--from", "05")
        (summary,) = (tmp_path / "fourth" / "kept" / run).glob("summary.json")
        assert [step["weights"] for step in json.loads(summary.read_text())["shift"]][-1] == {STABLE: 0, CANARY: 100}
        shutil.rmtree(tmp_path / "fourth")
        assert "✗" not in on("fifth", "verify", file)
        assert "undone" in on("fifth", "undo", file, "--yes")
    finally:
        on("first", "local", "down")
