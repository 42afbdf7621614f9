"""Where a file's `records` names a bucket, an applied run is copied there by the credentials that were proved."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from runbook_lib import parameters, record
from runbook_lib.errors import ParametersError
from runbook_lib.runs.archive import archive
from tests import scenes
from tests.aws_proxy import Answer, Aws, Seen, aws_behind_proxy
from tests.notebook_runner import own_mesh, runbook

__all__ = ["own_mesh"]

ACCOUNT, OURS, BUCKET = "620000000000", "AKIAOURS", "ada-records"
HOST = f"{BUCKET}.s3.us-west-2.amazonaws.com"


def answering(status: int, code: str = "") -> Answer:
    """Return an answer of S3."""
    words = f"<Error><Code>{code}</Code><Message>no</Message></Error>" if code else ""
    return status, {"Content-Type": "application/xml"}, words.encode()


@pytest.fixture
def aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", OURS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with aws_behind_proxy(tmp_path) as made:
        made.accounts[OURS] = ACCOUNT
        made.stead = lambda seen: answering(200) if seen.host == HOST else None
        yield made


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a parameters file of an environment on AWS whose records go to a bucket."""
    said = {"environment": "kept", "target": "aws", "account_id": ACCOUNT, "mode": "apply"}
    path = tmp_path / "kept.yaml"
    path.write_text(yaml.safe_dump(scenes.given(**said, records=f"s3://{BUCKET}/runs/"), sort_keys=False))
    return path


def put(aws: Aws) -> list[Seen]:
    """Return what was asked of S3."""
    return [seen for seen in aws.seen if ".s3." in seen.host]


def kept(file: Path, **given: str) -> str:
    """Archive a run that was made elsewhere, and return what is said of it."""
    run = record.start("kept", None, None, mode="apply")
    (run.folder / "summary.json").write_text("{}")
    given = {**given, "environment": str(file)}
    return archive(run, parameters.load(str(file), {k: v for k, v in given.items() if k != "environment"}), given)


@pytest.mark.attack(6)
def test_an_applied_run_is_copied_as_it_is_by_the_proved_credentials(aws: Aws, file: Path) -> None:
    assert kept(file).startswith(f"records: 2 files stored at s3://{BUCKET}/runs/kept/")
    [journal, summary] = put(aws)
    assert {journal.key, summary.key} == {OURS}
    run = record.called("kept")[0]
    assert journal.path == f"/runs/kept/{run.id}/record.jsonl"
    assert (summary.method, summary.body) == ("PUT", b"{}")
    assert journal.body == (run.folder / "record.jsonl").read_bytes()
    assert aws.seen[0].operation == "sts.GetCallerIdentity"


@pytest.mark.attack(6)
@pytest.mark.parametrize(("status", "code"), [(404, "NoSuchBucket"), (403, "AccessDenied")])
def test_a_bucket_that_cannot_be_written_to_is_a_sentence(aws: Aws, file: Path, status: int, code: str) -> None:
    aws.stead = lambda seen: answering(status, code) if seen.host == HOST else None
    words = kept(file)
    assert words.startswith(f"records: not stored at s3://{BUCKET}/runs/kept/")
    assert f"s3 put_object: {code}: no" in words
    assert words.endswith("what the run did stands")


@pytest.mark.attack(6)
def test_another_accounts_credentials_store_nothing(aws: Aws, file: Path) -> None:
    aws.accounts[OURS] = "620000000001"
    assert "these credentials are for 620000000001" in kept(file)
    assert put(aws) == []


@pytest.mark.attack(6)
def test_what_was_only_planned_is_not_stored(aws: Aws, file: Path) -> None:
    assert kept(file, mode="plan") == f"records: a plan stays here, nothing of it is stored at s3://{BUCKET}/runs/"
    assert aws.seen == []


@pytest.mark.attack(6)
def test_a_missing_bucket_leaves_the_outcome_as_it_is(aws: Aws, file: Path, own_mesh: Path) -> None:
    aws.stead = lambda seen: answering(404, "NoSuchBucket") if seen.host == HOST else None
    code, said = runbook("run", file, "--through", "00")
    assert "records: not stored at s3://" in said
    assert "Traceback" not in said
    assert ("outcome: done" in said, code) == (True, 0), said
    assert json.loads((record.called("kept")[0].folder / "summary.json").read_text())["outcome"] == "done"


@pytest.mark.attack(6)
def test_a_rehearsal_calls_aws_not_even_to_store_its_record(aws: Aws, file: Path, own_mesh: Path) -> None:
    code, said = runbook("run", file, "--rehearse", "--through", "00")
    assert f"records: a rehearsal stays here, nothing of it is stored at s3://{BUCKET}/runs/" in said
    assert code == 0, said
    assert (aws.seen, sum(aws.hosts.values())) == ([], 0)


@pytest.mark.attack(6)
@pytest.mark.parametrize("records", ["file:///tmp/x", "gs://bucket/x", "s3://", "S3://bucket", "s3://a", "http://x/y"])
def test_a_place_for_records_that_nobody_writes_to_is_refused(records: str) -> None:
    with pytest.raises(ParametersError, match=r"records: expected a folder, or s3://BUCKET/PREFIX; found "):
        scenes.load(records=records)


def test_a_folder_is_a_place_for_records() -> None:
    assert scenes.load(records="../elsewhere").records == "../elsewhere"
