"""The commands of docs/tutorial.md, run by the AWS CLI, build the mesh that the notebooks build."""

# ruff: noqa: F401, F811  (a fixture is imported by the name it is asked for)

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3

from runbook_lib import parameters
from runbook_lib.engines.appmesh import engine as mesh
from runbook_lib.engines.appmesh.spec import desired
from runbook_lib.lifecycle import Lifecycle
from tests.control_plane_fixtures import REGION, endpoint
from tests.scenes import open_at, step

TUTORIAL = (Path(__file__).resolve().parent.parent / "docs" / "tutorial.md").read_text()
SCRIPT = """
import json, sys
from awscli.clidriver import create_clidriver
driver = create_clidriver()
for words in json.load(sys.stdin):
    if driver.main(words):
        sys.exit(" ".join(words))
"""  # one process for all commands: to start one takes a second


def commands() -> list[list[str]]:
    """Return the words behind `aws` of each command in a shell block."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", TUTORIAL, re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line)[1:] for line in lines]


def test_the_commands_build_the_notebooks_mesh(endpoint: str, tmp_path: Path) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    given = json.dumps(commands())
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, input=given, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    by_hand = specs(boto3.Session("local", "local", region_name=REGION).client("appmesh", endpoint_url=endpoint))
    assert by_hand == notebooks_specs()


def specs(client: Any) -> dict[str, Any]:
    """Return the spec of everything in the mesh, by key, as a client reads it."""
    found = {}
    for resource in desired(parameters.load("local"), Lifecycle()):
        operation = f"describe_{resource.kind.replace(' ', '_')}"
        answer = getattr(client, operation)(**resource.names)
        (body,) = (value for key, value in answer.items() if key != "ResponseMetadata")
        found[resource.key] = body["spec"]
    return found


def notebooks_specs() -> dict[str, Any]:
    """Return the same after notebooks 01 to 03 and the weights of 05."""
    session = open_at("plain", "01_create_mesh")
    for number in ("01", "02", "03", "05"):
        step(session, number)
    return {key: state["spec"] for key, state in mesh.read_live(session).items()}
