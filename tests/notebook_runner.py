"""Run the notebooks as their users do, in environments of a test's own, and look at AWS from outside.

`Environment.notebook` executes a notebook's cells in this process (a kernel costs two seconds and this a tenth),
`papermill` and `runbook` are the real commands. Every environment has an account of its own on the one local
mesh of this test process, so worlds never meet and each account's calls can be counted.
"""

from __future__ import annotations

import ast
import atexit
import contextlib
import io
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml

from runbook_lib import local, open_session, parameters, record, survey
from runbook_lib.local import supervisor
from runbook_lib.local.clients import clients
from runbook_lib.survey import Survey
from runbook_lib.unattended import notebooks

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = {path.stem[:2]: path for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))}
CHANGING = [number for number in NOTEBOOKS if number != "00"]
TESTER = "app/tester"
_ACCOUNTS = itertools.count(400_000_000_000)

Hook = Callable[[dict[str, Any]], object]


@dataclass
class Executed:
    """What came of a notebook: the errors by cell id, what it showed, and its names."""

    errors: dict[str, BaseException] = field(default_factory=dict)
    shown: str = ""
    names: dict[str, Any] = field(default_factory=dict)

    @property
    def first(self) -> str:
        """The first error, as its class and its text; "" where there was none."""
        return next((f"{type(e).__name__}: {e}" for e in self.errors.values()), "")


def code_cells(number: str, engine: str = "appmesh") -> list[Any]:
    """Return the code cells of an engine's notebook."""
    path = notebooks.files(engine)[number]
    return [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]


def execute(
    number: str,
    given: Mapping[str, Any],
    *,
    go_on: bool = False,
    before: Mapping[str, Hook] | None = None,
    engine: str = "appmesh",
) -> Executed:
    """Execute a notebook's cells here, with `given` injected after its `parameters` cell as papermill does.

    With `go_on` an error does not end it: nbval, and a person who runs the next cell all the same, go on too.
    `before` maps a cell's id to what happens just before it.
    """
    done = Executed(names={"__name__": "__main__", "In": [""]})
    screen = io.StringIO()
    try:
        with contextlib.redirect_stdout(screen), warnings.catch_warnings():
            for cell in code_cells(number, engine):
                (before or {}).get(cell.id, lambda names: None)(done.names)
                sources = [cell.source]
                if cell.id == "parameters":
                    sources.append("# Parameters\n" + "\n".join(f"{k} = {v!r}" for k, v in given.items()))
                try:
                    for source in sources:
                        _run(source, done.names)
                except Exception as error:  # noqa: BLE001 - what a kernel would show under the cell
                    done.errors[cell.id] = error
                    if not go_on:
                        break
    finally:
        _end(done.names)
    done.shown = screen.getvalue()
    return done


def _run(source: str, names: dict[str, Any]) -> None:
    """Run a cell as a kernel does: what its last line evaluates to is shown."""
    names["In"].append(source)
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "<cell>", "exec"), names)
    value = eval(compile(ast.Expression(last.value), "<cell>", "eval"), names) if last else None
    if value is not None:
        print(value._repr_mimebundle_()["text/plain"] if hasattr(value, "_repr_mimebundle_") else repr(value))


def _end(names: dict[str, Any]) -> None:
    """Do what a kernel's end does to its session, and let go of its connections."""
    session = names.get("session")
    if session is not None:
        atexit.unregister(session.close)
        session.close()
        for client in session.clients.values():
            client.close()


@dataclass
class Environment:
    """An environment of a test's own: its parameters file, and its account on the local mesh."""

    file: Path
    said: dict[str, Any]
    clients: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def create(cls, folder: Path, name: str, source: str | Path = "local", **changes: Any) -> Environment:
        """Write a copy of a parameters file under another name and account, and make its world."""
        path = Path(source) if str(source).endswith(".yaml") else ROOT / "parameters" / f"{source}.yaml"
        said = yaml.safe_load(path.read_text())
        said |= {"environment": name, "account_id": str(next(_ACCOUNTS)), "target": "local", "mode": "apply", **changes}
        file = folder / f"{name}.yaml"
        file.write_text(yaml.safe_dump(said, sort_keys=False))
        local.connect(parameters.load(str(file)))
        return cls(file, said)

    @property
    def account(self) -> str:
        """The account this environment lives in."""
        return str(self.said["account_id"])

    @property
    def name(self) -> str:
        """What the environment is called."""
        return str(self.said["environment"])

    @property
    def runs(self) -> Path:
        """The folder of its runs."""
        return record.root() / self.name

    def notebook(
        self, number: str, *, go_on: bool = False, before: Mapping[str, Hook] | None = None, **given: Any
    ) -> Executed:
        """Execute a notebook on this environment, in this process."""
        engine = self.said.get("engine", "appmesh")
        return execute(number, {"environment": str(self.file), **given}, go_on=go_on, before=before, engine=engine)

    def walk(self, *numbers: str, **given: Any) -> None:
        """Apply notebooks in order; each must come to its end."""
        for number in numbers:
            done = self.notebook(number, mode="apply", **given)
            assert not done.errors, f"{number}: {done.first}"

    def shift(self, *steps: int) -> dict[str, Any]:
        """Return the file's shift with other steps, as a value to give beside the file."""
        return {**self.said["shift"], "steps": list(steps)}

    def look(self) -> Survey:
        """Return a look at the environment, as its notebooks take."""
        session = open_session({"environment": str(self.file)})
        atexit.unregister(session.close)
        return survey(session)

    def client(self, service: str) -> Any:
        """Return a client that acts in this account, as somebody else would."""
        if service not in self.clients:
            self.clients[service] = client(service, self.account, self.said["region"])
        return self.clients[service]

    def writes(self) -> int:
        """Count the calls that could change something, made in this account by anybody but the test itself."""
        return writes(self.account)

    def weights(self) -> dict[str, int]:
        """Return how the route under shift divides the traffic, as App Mesh says."""
        p = parameters.load(str(self.file))
        names = {"meshName": p.mesh.name, "virtualRouterName": p.router, "routeName": p.route}
        spec = self.client("appmesh").describe_route(**names)["route"]["spec"]
        body = next(spec[kind] for kind in ("http2Route", "httpRoute", "grpcRoute", "tcpRoute") if spec.get(kind))
        return {t["virtualNode"]: t["weight"] for t in body["action"]["weightedTargets"]}


def client(service: str, account: str, region: str = "us-west-2") -> Any:
    """Return a boto3 client of the local mesh that acts in an account and is told apart from the runbook."""
    mesh = supervisor.find()
    assert mesh is not None
    return clients(mesh, account, region, user_agent_extra=TESTER, retries={"total_max_attempts": 1})(service)


def writes(account: str) -> int:
    """Count the writing calls of an account at the endpoint, but those of this module's own clients."""
    mesh = supervisor.find()
    if mesh is None:
        return 0
    agents = mesh.ask(f"/runbook/calls?account={account}", timeout=10)["agents"]
    return sum(count["write"] for agent, count in agents.items() if agent != TESTER)


def holdings(app_mesh: Any, mesh: str) -> dict[str, list[str]]:
    """Return the names of everything in a mesh, by kind; nothing where there is no such mesh."""
    if mesh not in [item["meshName"] for item in app_mesh.list_meshes()["meshes"]]:
        return {}

    def names(kind: str, **where: str) -> list[str]:
        pages = app_mesh.get_paginator(f"list_{kind}s").paginate(meshName=mesh, **where)
        words = kind.split("_")
        camel = words[0] + "".join(word.capitalize() for word in words[1:])
        return sorted(item[f"{camel}Name"] for page in pages for item in page[f"{camel}s"])

    found = {kind: names(kind) for kind in ("virtual_service", "virtual_node", "virtual_router")}
    routers = found["virtual_router"]
    return {**found, "route": [f"{r}/{n}" for r in routers for n in names("route", virtualRouterName=r)]}


def child_environment(**more: str) -> dict[str, str]:
    """Return this process's environment for a command: another process finds the library by its path."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", **more}


def start(*arguments: str | Path, **environment: str) -> subprocess.Popen[str]:
    """Start the `runbook` command as `.venv/bin/runbook` does, from a folder that is not the checkout."""
    code = "from runbook_lib.command.cli import app; app(prog_name='runbook')"
    return subprocess.Popen(
        [sys.executable, "-P", "-c", code, *map(str, arguments)],
        cwd=tempfile.gettempdir(),
        env=child_environment(**environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def runbook(*arguments: str | Path, **environment: str) -> tuple[int, str]:
    """Run the `runbook` command to its end; return its exit code and all it said."""
    with start(*arguments, **environment) as process:
        said, _ = process.communicate(timeout=240)
    return process.returncode, said


def papermill(number: str, output: Path, *arguments: str | Path) -> tuple[int, str, Any]:
    """Run a notebook by plain papermill; return exit code, what it said, and the executed notebook if there is one."""
    command = [sys.executable, "-m", "papermill", str(NOTEBOOKS[number]), str(output), "--no-progress-bar"]
    done = subprocess.run(
        [*command, *map(str, arguments)],
        cwd=output.parent,
        env=child_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout, nbformat.read(output, as_version=4) if output.is_file() else None


def text_of(book: Any) -> str:
    """Return everything an executed notebook shows, as text."""
    outputs = [o for cell in book.cells if cell.cell_type == "code" for o in cell.outputs]
    return json.dumps([{k: v for k, v in o.items() if k != "metadata"} for o in outputs], ensure_ascii=False)


def newest(name: str) -> record.Run:
    """Return an environment's newest run, whatever its mode."""
    return record.Run((record.root() / name / "latest").resolve())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for a module's parameters files."""
    return tmp_path_factory.mktemp("environments")


@pytest.fixture(scope="module")
def own_mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give a module a local mesh and records of its own, as on a machine where nothing was ever run."""
    world = tmp_path_factory.mktemp("own")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUNBOOK_STATE", str(world / "state"))
        patch.setenv("RUNBOOK_RUNS", str(world / "runs"))
        yield world
        supervisor.down(world / "state")


def refused(environment: Environment, number: str, words: str, **given: Any) -> Executed:
    """Run a notebook to its last cell, whatever fails; its first error must say `words`, and nothing be written."""
    before = environment.writes()
    done = environment.notebook(number, **{"mode": "apply", **given}, go_on=True)
    assert environment.writes() == before, f"{number} wrote"
    assert re.search(words, done.first), done.first
    return done
