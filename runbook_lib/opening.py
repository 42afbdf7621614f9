"""Open the environment that a notebook or a command names, and prove that
it is the one meant.

Here it is decided where calls go: this alone knows of the local AWS.
"""

from __future__ import annotations

import ast
import atexit
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from botocore.exceptions import ClientError

from runbook_lib import local
from runbook_lib import parameters as files
from runbook_lib.aws.identity import ignored_settings
from runbook_lib.aws.session import Connection, Session
from runbook_lib.cells import run_first
from runbook_lib.errors import (
    CredentialsError,
    ParametersError,
    Refused,
    RunbookError,
    TargetError,
)
from runbook_lib.parameters import Parameters
from runbook_lib.printable import counted, visible
from runbook_lib.redaction import scrubbed

__all__ = ["ignored", "load_of", "open_session", "world_of"]

Connect = Callable[[Parameters], Connection]


def open_session(
    namespace: Mapping[str, Any],
    notebook: str = "",
    *,
    connect: Connect | None = None,
    **options: Any,
) -> Session:
    """Open the environment a notebook's parameters name, and prove that
    it is the one meant.

    `namespace` is the notebook's `globals()`, or a plain mapping of parameters. Raises
    ParametersError for a name nothing knows or a value of the wrong type, TargetError
    for the wrong account or endpoint; nothing has been changed then.
    """
    given = _given(namespace)
    undo = given.pop("undo", False)
    if not isinstance(undo, bool):
        raise ParametersError(
            f"undo: expected True or False; found {undo!r}", hint="-p undo True"
        )
    environment = given.pop("environment", "")
    if not isinstance(environment, str) or not environment:
        raise ParametersError(
            f"environment: expected a name or a file; found {environment!r}",
            hint="-p environment local",
        )
    parameters = files.load(environment, given)
    connection = (connect or _connect)(parameters)
    session = Session(
        parameters, notebook, connection, environment, given, undo, **options
    )
    _prove_first(session)
    atexit.register(session.close)
    _show_errors(session)
    return session


def world_of(p: Parameters) -> str:
    """Return what tells the local mesh that runs now from any before it; "" on AWS,
    and where none runs.
    """
    if not p.rehearsed:
        return ""
    return local.identity()


def load_of(p: Parameters) -> dict[str, int]:
    """Return what the local mesh's caller of an environment has sent since it came up,
    what failed, and what was due and not sent; empty on AWS.
    """
    return local.load_of(p) if p.rehearsed else {}


def ignored(p: Parameters) -> str:
    """Say in words which settings of this machine would lead calls elsewhere than to
    AWS; "" where none does.
    """
    names = [] if p.rehearsed else ignored_settings(os.environ)
    return (
        f"ignored, since target: aws calls AWS's own endpoints only: {', '.join(names)}"
        if names
        else ""
    )


def _connect(parameters: Parameters) -> Connection:
    if parameters.rehearsed:
        return local.connect(parameters)
    return Connection()


def _prove_first(session: Session) -> None:
    """Prove who calls before anything else (the region is the file's by
    the clients' making).
    """
    p = session.parameters
    try:
        session.prove()
    except CredentialsError as error:
        # AWS was asked, and has the last word
        if isinstance(error.__cause__, ClientError):
            raise
        raise TargetError(
            f"account: {p.environment} is account {p.account_id}; nobody is logged "
            f"in here ({error.message})",
            hint=f"{error.hint}, or rehearse on the local mesh: runbook run "
            f"{session.named} --rehearse",
        ) from error


def _given(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a namespace, refusing names nothing knows.

    In a kernel the names are those that are parameters, those the `parameters` cell
    declares, and those papermill's injected cell assigns, so that a variable somebody
    made elsewhere is not taken for one.
    """
    known = files.parameter_names()
    names = set(namespace)
    if "__name__" in namespace:
        injected = [
            source
            for source in namespace.get("In", ())
            if source.startswith("# Parameters")
        ]
        assigned = (name for source in injected for name in _assigned(source))
        names &= {*known, *namespace.get("__annotations__", ()), *assigned}
    for name in sorted(names - set(known)):
        nearest = files.nearest(name, known)
        raise ParametersError(
            f"parameters: unknown name {name!r}; {nearest or 'see docs/parameters.md'}",
            hint="nothing was changed",
        )
    return {name: namespace[name] for name in names}


def _assigned(source: str) -> list[str]:
    names = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name))
    return [name.id for name in names if isinstance(name.ctx, ast.Store)]


def _show_errors(session: Session) -> None:
    """In a kernel, show this library's errors as their sentence alone, and no error
    with a secret in it.

    Whatever cell such an error ended, and wherever it was raised, its word goes into
    the run from here.
    """
    kernel = sys.modules.get("IPython")  # where nobody has loaded it, this is no kernel
    shell: Any = kernel.get_ipython() if kernel else None
    if shell is None:
        return

    def show(
        shell: Any,
        kind: type[BaseException],
        error: BaseException,
        trace: Any,
        tb_offset: Any = None,
    ) -> None:
        error.args = tuple(
            visible(scrubbed(a)) if isinstance(a, str) else a for a in error.args
        )
        if first := run_first(error):
            error.args = (first,)
        lines = [f"{kind.__name__}: {error}"]
        if not first and not isinstance(error, RunbookError):
            lines = [
                scrubbed(line)
                for line in shell.InteractiveTB.structured_traceback(
                    kind, error, trace, tb_offset
                )
            ]
        if isinstance(error, Refused) and session.written:
            lines.append(
                "No refusal any more: this notebook had made "
                f"{counted(session.written, 'write call')} by then."
            )
        shell._showtraceback(kind, error, lines)
        if isinstance(error, RunbookError):
            session.ended(error)

    shell.set_custom_exc((Exception,), show)
