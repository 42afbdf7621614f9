"""Set up `.venv`: the locked packages, this project on its path, and the `runbook` command.

Standard library only, as it runs before anything is installed.
It writes `.venv` and `.venv.lock`, and with `--lock` makes `requirements.lock` again.
A set-up that came to its end leaves a stamp in `.venv`; while that fits, there is nothing to do.
"""

from __future__ import annotations

import ast
import contextlib
import fcntl
import hashlib
import importlib.util
import os
import platform
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

OLDEST, TOO_NEW = (3, 11), (3, 15)
ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
ENVIRONMENT = ROOT / ".venv"
PYTHON = ENVIRONMENT / "bin" / "python"
UV = ENVIRONMENT / "bin" / "uv"
STAMP = ENVIRONMENT / "set-up-complete"

# What `runbook` runs; an interrupt while it still loads ends it as a shell would say.
START = """
import sys
try:
    from runbook_lib.command.cli import app
except KeyboardInterrupt:
    print('interrupted: nothing was begun', file=sys.stderr)
    sys.exit(130)
app(prog_name='runbook')
"""
LOCKED_ONLY = ("--no-deps", "--require-hashes", "-r")
PIP_INSTALL = (PYTHON, "-m", "pip", "install", *LOCKED_ONLY)
LOCK_FORM = "--universal --generate-hashes --no-header --no-annotate --quiet"

# pip's option on the left, uv's variable and what stands between two values on the right.
UV_VARIABLES = {
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "cert": ("SSL_CERT_FILE", " "),
}


class SetupError(Exception):
    """A command of the set-up failed; the message is the end of what it said."""


def complaint(version: tuple[int, int], has_venv: bool) -> str:
    """Return in one line why this Python cannot be used, or nothing."""
    if not OLDEST <= version < TOO_NEW:
        found = f"{sys.executable} is {version[0]}.{version[1]}"
        wanted = f"Python 3.{OLDEST[1]} to 3.{TOO_NEW[1] - 1} is needed"
        return f"{wanted} and {found}; name another one with: make PYTHON=python3.12 run"
    if not has_venv:
        return f"{sys.executable} has no venv module; on Debian and Ubuntu: apt install python3-venv"
    return ""


def fingerprint() -> str:
    """Return what a finished set-up depends on: the lock, the Python, and the folder (scripts name it)."""
    parts = (LOCK.read_bytes(), platform.python_version().encode(), os.fsencode(ROOT))
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def is_ready() -> bool:
    return PYTHON.exists() and STAMP.exists() and STAMP.read_text() == fingerprint()


@contextlib.contextmanager
def alone() -> Iterator[int]:
    """Hold this folder's set-up lock; yield its descriptor, for children to hold it as well.

    The system lets go of it when the last holder ends, so a kill leaves no stale lock, and no second
    set-up starts while a child of a killed one is still writing.
    """
    with (ROOT / ".venv.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Waiting for another set-up of this folder to end", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock.fileno()


@contextlib.contextmanager
def timed(title: str) -> Iterator[None]:
    start = time.monotonic()
    yield
    print(f"  {title:<24}{time.monotonic() - start:6.1f} s", flush=True)


def run(lock: int, *command: str | Path, **environment: str) -> str:
    """Run a command, quietly; return what it said."""
    done = subprocess.run(
        command,
        env={**environment, **os.environ},  # what is set already is meant, so it wins
        pass_fds=(lock,),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        said = [line[:300] for line in done.stdout.splitlines()[-15:]]
        raise SetupError("\n".join(said) or f"{command[0]} ended with {done.returncode}")
    return done.stdout


def uv_environment(pip_configuration: str) -> dict[str, str]:
    """Return `pip config list` as environment variables of uv, which does not read pip's configuration."""
    settings: dict[str, str] = {}
    for section in ("global", "install", ":env:"):  # the later one wins, as in pip
        for key, value in re.findall(rf"^{section}\.([\w-]+)=(.+)$", pip_configuration, re.MULTILINE):
            settings[key] = ast.literal_eval(value)
    found = {key: settings[key].split() for key in UV_VARIABLES if key in settings}
    variables = {UV_VARIABLES[key][0]: UV_VARIABLES[key][1].join(values) for key, values in found.items()}
    # pip looks at every index, while uv would stop at the first that knows a name, however old its copy.
    return {**variables, "UV_INDEX_STRATEGY": "unsafe-best-match"}


def locked_entry(name: str) -> str:
    """Return the lock's lines for one package, hashes included; nothing if it is not locked."""
    found = re.search(rf"^{name}==.*?(?=^\S|\Z)", LOCK.read_text(), re.MULTILINE | re.DOTALL)
    return found.group() if found else ""


def install_uv(lock: int) -> None:
    wanted = ENVIRONMENT / "uv.txt"
    wanted.write_text(locked_entry("uv"))
    if not wanted.read_text():
        raise SetupError("requirements.lock has no uv")
    run(lock, *PIP_INSTALL, wanted, "--only-binary", ":all:")  # from source it would need Rust


def run_uv(lock: int, *arguments: str | Path) -> None:
    run(lock, UV, "pip", *arguments, **uv_environment(run(lock, PYTHON, "-m", "pip", "config", "list")))


def install_packages(lock: int) -> None:
    """Install the lock, with uv if it will and else with pip, which is slower and needs nothing."""
    # uv compiles nothing unless told to, and then every kernel would compile everything again.
    try:
        with timed("uv"):
            install_uv(lock)
        with timed("packages"):
            run_uv(lock, "install", "--python", PYTHON, "--compile-bytecode", *LOCKED_ONLY, LOCK)
    except SetupError as error:
        print(f"  going on without uv: {str(error).splitlines()[-1]}", flush=True)
        with timed("packages, with pip"):
            run(lock, *PIP_INSTALL, LOCK)


def add_project() -> None:
    """Put this folder on the path and its command beside the others.

    Not by installing it: pip refuses that beside hashes, and it would need a build back end.
    """
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    (ENVIRONMENT / "lib" / version / "site-packages" / "runbook.pth").write_text(f"{ROOT}\n")
    command = ENVIRONMENT / "bin" / "runbook"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(str(PYTHON))} -P -c "{START}" "$@"\n')
    command.chmod(0o755)


# Errors alone: at every start a kernel would warn that it talks over loopback unencrypted.
KERNELS = """c.IPKernelApp.log_level = 40
c.IPKernelApp.extensions = ["runbook_lib.cells"]
"""


def configure_kernels() -> None:
    """Let kernels be quiet, and say which cell to run first where one lacks a name."""
    file = ENVIRONMENT / "etc" / "ipython" / "ipython_kernel_config.py"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(KERNELS)


def set_up(lock: int) -> None:
    """Make the environment anew; the stamp goes first and comes back last, so no half of one passes."""
    STAMP.unlink(missing_ok=True)
    print(f"Setting up .venv with Python {platform.python_version()} (once)", flush=True)
    with timed("virtual environment"):
        run(lock, sys.executable, "-m", "venv", "--clear", ENVIRONMENT)
    install_packages(lock)
    add_project()
    configure_kernels()
    unfinished = STAMP.with_suffix(".new")
    unfinished.write_text(fingerprint())
    unfinished.replace(STAMP)


def remake_lock(lock: int) -> None:
    """Make requirements.lock again, for every Python and system, without any address in it."""
    oldest = f"{OLDEST[0]}.{OLDEST[1]}"
    wanted = ("--extra", "dev", "--python-version", oldest, ROOT / "pyproject.toml")
    run_uv(lock, "compile", *LOCK_FORM.split(), *wanted, "-o", LOCK)


def main(arguments: list[str]) -> str:
    """Do what is asked; return what went wrong, or nothing."""
    has_venv = all(importlib.util.find_spec(name) for name in ("venv", "ensurepip"))
    unfit = complaint(sys.version_info[:2], has_venv)
    if unfit or (is_ready() and not arguments):
        return unfit
    try:
        with alone() as lock:
            if arguments == ["--lock"]:
                remake_lock(lock)
            elif not is_ready():  # another set-up may just have ended
                set_up(lock)
    except (SetupError, OSError, KeyboardInterrupt) as error:
        return f"{error}\nSet-up did not end; nothing needs cleaning up, the same command tries again."
    return ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]) or 0)
