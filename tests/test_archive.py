"""Where a file's `records` names a bucket, an applied run is kept there by the credentials that were proved."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from runbook_lib import open_session, parameters, record
from runbook_lib.errors import ParametersError, RecordError, TargetError
from runbook_lib.runs.archive import archive
from tests import scenes
from tests.aws_proxy import Answer, Aws, Seen, aws_behind_proxy
from tests.notebook_runner import client, own_mesh, runbook

__all__ = ["own_mesh"]

ACCOUNT, OURS, BUCKET = "620000000000", "AKIAOURS", "ada-records"
HOST = f"{BUCKET}.s3.us-west-2.amazonaws.com"
WHERE = f"s3://{BUCKET}/runs"


def answering(status: int, code: str = "") -> Answer:
    """Return an answer of S3."""
    words = f"<Error><Code>{code}</Code><Message>no</Message></Error>" if code else ""
    return status, {"Content-Type": "application/xml"}, words.encode()


@pytest.fixture
def aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", OURS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("RUNBOOK_RUNS", str(tmp_path / "runs"))
    with aws_behind_proxy(tmp_path) as made:
        made.accounts[OURS] = ACCOUNT
        yield made


@pytest.fixture
def bucket() -> Any:
    """Make the bucket, and return somebody else's client of it."""
    s3 = scenes.other(ACCOUNT, "s3")
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    yield s3
    for each in keys(s3):
        s3.delete_object(Bucket=BUCKET, Key=each)
    s3.delete_bucket(Bucket=BUCKET)


def keys(s3: Any) -> list[str]:
    return [each["Key"] for each in s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a parameters file of an environment on AWS whose records go to a bucket."""
    said = {"environment": "kept", "target": "aws", "account_id": ACCOUNT, "mode": "apply"}
    path = tmp_path / "kept.yaml"
    path.write_text(yaml.safe_dump(scenes.given(**said, records=f"{WHERE}/"), sort_keys=False))
    return path


def put(aws: Aws) -> list[Seen]:
    """Return what was asked of S3."""
    return [seen for seen in aws.seen if ".s3." in seen.host]


def begun(file: Path) -> record.Run:
    """Begin a run as a notebook does."""
    session = open_session({"environment": str(file)})
    return session.join_run()


@pytest.mark.attack(6)
def test_an_applied_run_is_kept_as_it_is_by_the_proved_credentials(aws: Aws, file: Path, bucket: Any) -> None:
    run = begun(file)
    run.summarise({"outcome": "held"})
    assert archive(run, parameters.load(str(file))) == f"records: stored at {WHERE}/kept/{run.id}"
    line, summary = keys(bucket)
    assert (line, summary) == (f"runs/kept/{run.id}/record/000001.jsonl", f"runs/kept/{run.id}/summary.json")
    assert bucket.get_object(Bucket=BUCKET, Key=line)["Body"].read() == (run.folder / "record.jsonl").read_bytes()
    assert {seen.key for seen in put(aws)} == {OURS}
    assert aws.seen[0].operation == "sts.GetCallerIdentity"


REFUSED = pytest.mark.parametrize(("status", "code"), [(404, "NoSuchBucket"), (403, "AccessDenied")])
NEXT = {
    "NoSuchBucket": "make the bucket, or correct `records` in the parameters file",
    "AccessDenied": "this identity lacks a permission; docs/iam.md lists what is needed",
}


@pytest.mark.attack(6)
@REFUSED
def test_a_bucket_that_cannot_be_used_refuses_a_run_before_anything_is_done(
    aws: Aws, file: Path, status: int, code: str
) -> None:
    aws.stead = lambda seen: answering(status, code) if seen.host == HOST else None
    exit_code, said = runbook("run", file)
    assert f"records: {WHERE} cannot be read: s3 list_objects_v2: {code}: no" in said
    assert f"Next: {NEXT[code]}" in said
    assert ("Traceback" in said, exit_code) == (False, 2)
    assert aws.writes() == {}
    assert record.called("kept") == []


@pytest.mark.attack(6)
def test_one_that_can_only_be_read_does_so_too_and_leaves_no_folder(aws: Aws, file: Path, bucket: Any) -> None:
    usual = aws.stead
    aws.stead = lambda seen: (
        answering(403, "AccessDenied") if (seen.host, seen.method) == (HOST, "PUT") else usual(seen)
    )
    exit_code, said = runbook("run", file)
    assert "records: the record of run kept/" in said
    assert f"cannot be stored at {WHERE}: s3 put_object: AccessDenied: no" in said
    assert ("docs/iam.md lists what is needed" in said, exit_code) == (True, 2)
    assert record.called("kept") == []


@pytest.mark.attack(6)
@REFUSED
def test_a_bucket_that_goes_away_is_a_sentence_at_the_end(
    aws: Aws, file: Path, bucket: Any, status: int, code: str
) -> None:
    run = begun(file)
    run.summarise({"outcome": "held"})
    aws.stead = lambda seen: answering(status, code) if seen.host == HOST else None
    words = archive(run, parameters.load(str(file)))
    assert words.startswith(f"records: not stored at {WHERE}/kept/")
    assert f"s3 put_object: {code}: no" in words
    assert words.endswith("what the run did stands")


@pytest.mark.attack(6)
def test_another_accounts_credentials_store_nothing(aws: Aws, file: Path) -> None:
    aws.accounts[OURS] = "620000000001"
    with pytest.raises(TargetError, match="these credentials are for 620000000001"):
        begun(file)
    assert put(aws) == []


@pytest.mark.attack(6)
def test_what_was_only_planned_is_not_stored(aws: Aws, file: Path) -> None:
    run = record.start("kept", mode="plan")
    assert (
        archive(run, parameters.load(str(file))) == f"records: a plan stays here, nothing of it is stored at {WHERE}/"
    )
    assert aws.seen == []


@pytest.mark.attack(6)
def test_a_rehearsal_keeps_its_record_in_the_local_meshs_own_s3_and_calls_aws_not_once(
    aws: Aws, file: Path, own_mesh: Path
) -> None:
    code, said = runbook("run", file, "--rehearse", "--through", "00")
    (run,) = record.called("kept")
    assert f"records: stored at {WHERE}/kept/{run.id} of the local mesh" in said
    assert code == 0, said
    assert (aws.seen, sum(aws.hosts.values())) == ([], 0)
    stored = keys(client("s3", ACCOUNT))
    assert f"runs/kept/{run.id}/00_check_environment.ipynb" in stored
    assert json.loads((run.folder / "summary.json").read_text())["outcome"] == "done"


@pytest.mark.attack(6)
@pytest.mark.parametrize("records", ["file:///tmp/x", "gs://bucket/x", "s3://", "S3://bucket", "s3://a", "http://x/y"])
def test_a_place_for_records_that_nobody_writes_to_is_refused(records: str) -> None:
    with pytest.raises(ParametersError, match=r"records: expected a folder, or s3://BUCKET/PREFIX; found "):
        scenes.load(records=records)


def test_a_folder_is_a_place_for_records() -> None:
    assert scenes.load(records="../elsewhere").records == "../elsewhere"


def test_a_step_by_hand_in_a_bucket_that_is_gone_is_refused_before_its_write(aws: Aws, file: Path) -> None:
    with pytest.raises(RecordError, match="cannot be read: s3 list_objects_v2: NoSuchBucket"):
        begun(file)
    assert aws.writes() == {}
