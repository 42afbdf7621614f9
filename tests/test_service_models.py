"""App Mesh outlives its model in botocore: the package has its own, which nothing takes the place of."""

from __future__ import annotations

import json
import os
from pathlib import Path

import botocore.loaders
import pytest

from runbook_lib.aws import service_models
from runbook_lib.local import supervisor
from tests.notebook_runner import ROOT, runbook

DATA = Path(botocore.__file__).parent / "data"
MODEL = "appmesh/2019-01-25/service-2"


def hidden(folder: Path) -> Path:
    """Make every Python under PYTHONPATH have a botocore that has forgotten App Mesh, wherever it was."""
    data = folder / "data"
    data.mkdir()
    for path in DATA.iterdir():
        if path.name not in ("appmesh", "endpoints.json"):
            (data / path.name).symlink_to(path)
    endpoints = json.loads((DATA / "endpoints.json").read_text())
    for partition in endpoints["partitions"]:
        partition["services"].pop("appmesh", None)
    (data / "endpoints.json").write_text(json.dumps(endpoints))
    lines = ["from botocore.loaders import Loader", f"Loader.BUILTIN_DATA_PATH = {str(data)!r}"]
    (folder / "sitecustomize.py").write_text("\n".join(lines) + "\n")
    return folder


def broken(folder: Path) -> Path:
    """Make a folder of models in which App Mesh's is not JSON."""
    file = folder / f"{MODEL}.json"
    file.parent.mkdir(parents=True)
    file.write_text("{")
    return folder


@pytest.mark.attack(24)
def test_the_mesh_is_made_by_a_botocore_that_knows_app_mesh_no_longer(tmp_path: Path) -> None:
    (tmp_path / "hidden").mkdir()
    own = {
        "PYTHONPATH": f"{hidden(tmp_path / 'hidden')}{os.pathsep}{ROOT}",
        "AWS_DATA_PATH": str(broken(tmp_path / "models")),
        "RUNBOOK_STATE": str(tmp_path / "state"),
        "RUNBOOK_RUNS": str(tmp_path / "runs"),
    }
    try:
        code, said = runbook("run", "local", "--from", "01", "--through", "01", **own)
    finally:
        supervisor.down(tmp_path / "state")
    assert (code, "outcome: done" in said) == (0, True), said
    assert "3 changes" in said


@pytest.mark.attack(24)
def test_the_shipped_model_comes_first_and_models_of_the_users_never(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DATA_PATH", str(broken(tmp_path)))
    loader = service_models.loader.__wrapped__()
    assert loader.load_data_with_path(MODEL)[1] == str(service_models.FOLDER / MODEL)
    assert loader.search_paths == [str(service_models.FOLDER), str(DATA)]


@pytest.mark.skipif(not (DATA / "appmesh").is_dir(), reason="this botocore has forgotten App Mesh")
def test_the_shipped_model_is_botocores_own() -> None:
    """An update of botocore that changes App Mesh's model is one to look at."""
    for name in ("service-2", "paginators-1", "endpoint-rule-set-1"):
        path = f"appmesh/2019-01-25/{name}"
        assert service_models.loader().load_data(path) == botocore.loaders.Loader().load_data(path)
