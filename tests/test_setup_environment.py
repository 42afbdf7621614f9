"""Set-up happens once, survives a kill and a neighbour, and takes nothing that the lock does not name.

The cheap cases set up a project whose only dependency is a wheel made here, without a network.
The `soak` ones install the real lock on a machine that has nothing.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "tools" / "setup_environment.py"
NO_NETWORK = {
    **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9"),
    "PIP_NO_INDEX": "1",
}
CLI = "import sys\ndef app(prog_name): print(prog_name, *sys.argv[1:])\n"


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("setup_environment", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_wheel(folder: Path) -> Path:
    """Write the smallest wheel there is: package `tiny`, version 1."""
    info = "tiny-1.dist-info"
    files = {
        "tiny.py": "",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},,\n" for name in (*files, f"{info}/RECORD"))
    with zipfile.ZipFile(folder / "tiny-1-py3-none-any.whl", "w") as wheel:
        for name, text in (files | {f"{info}/RECORD": record}).items():
            wheel.writestr(name, text)
    return folder / "tiny-1-py3-none-any.whl"


class Project:
    """A project in a folder of its own, with a space in its name."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "a folder"
        for name in ("tools", "runbook_lib/command"):
            (self.root / name).mkdir(parents=True)
        shutil.copy(SCRIPT, self.root / "tools")
        (self.root / "runbook_lib" / "command" / "cli.py").write_text(CLI)
        self.wheel = make_wheel(folder)
        self.lock(hashlib.sha256(self.wheel.read_bytes()).hexdigest())

    @property
    def stamp(self) -> Path:
        return self.root / ".venv" / "set-up-complete"

    def lock(self, digest: str) -> None:
        (self.root / "requirements.lock").write_text(f"tiny==1 \\\n    --hash=sha256:{digest}\n")

    def start(self, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, self.root / "tools" / "setup_environment.py"],
            env={**os.environ, **NO_NETWORK, "PIP_FIND_LINKS": str(self.wheel.parent), **environment},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip

    def set_up(self, **environment: str) -> tuple[int, str]:
        return ended(self.start(**environment))

    def run(self, *command: str) -> str:
        program = self.root / ".venv" / "bin" / command[0]
        return subprocess.run(
            [program, *command[1:]], cwd="/", check=True, capture_output=True, text=True
        ).stdout.strip()


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    said, _ = process.communicate(timeout=120)
    return process.returncode, said


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("finished"))
    code, said = project.set_up()
    assert code == 0, said
    return project


@pytest.fixture
def fresh(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_a_second_call_does_nothing_and_says_nothing(finished: Project) -> None:
    before = finished.stamp.stat()
    assert finished.set_up(PIP_FIND_LINKS="") == (0, "")
    after = finished.stamp.stat()  # reading it may move its access time
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_locked_packages_and_the_project_can_be_imported_from_anywhere(finished: Project) -> None:
    assert finished.run("python", "-c", "import tiny, runbook_lib.command.cli") == ""


def test_the_command_hands_its_arguments_on_as_they_are(finished: Project) -> None:
    assert finished.run("runbook", "run", "a b", "$HOME") == "runbook run a b $HOME"


def test_a_package_with_another_hash_is_refused_and_leaves_no_stamp(fresh: Project) -> None:
    fresh.lock("0" * 64)
    code, said = fresh.set_up()
    assert code == 1
    assert "DO NOT MATCH THE HASHES" in said
    assert not fresh.stamp.exists()


def test_a_killed_set_up_is_redone_and_two_at_once_do_it_once(fresh: Project) -> None:
    killed = fresh.start()
    while not (fresh.root / ".venv" / "bin" / "python").exists():
        time.sleep(0.01)
    os.killpg(killed.pid, signal.SIGKILL)
    ended(killed)
    assert not fresh.stamp.exists()
    codes, said = zip(*map(ended, [fresh.start(), fresh.start()]), strict=True)
    assert codes == (0, 0), said
    assert sorted(text.count("Setting up") for text in said) == [0, 1]
    assert fresh.run("python", "-c", "import tiny") == ""


def test_the_stamp_changes_with_lock_python_and_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = load()
    seen = {script.fingerprint()}
    (tmp_path / "requirements.lock").write_text("another")
    changes = [
        (script, "LOCK", tmp_path / "requirements.lock"),
        (script, "ROOT", tmp_path),
        (script.platform, "python_version", lambda: "3.11.0"),
    ]
    for count, (owner, name, value) in enumerate(changes, start=2):
        monkeypatch.setattr(owner, name, value)
        seen.add(script.fingerprint())
        assert len(seen) == count


@pytest.mark.parametrize("version", [(3, 10), (3, 15), (2, 7)])
def test_another_python_is_refused_in_one_line(version: tuple[int, int]) -> None:
    complaint = load().complaint(version, has_venv=True)
    assert "Python 3.11 to 3.14 is needed" in complaint
    assert "\n" not in complaint


def test_a_python_without_venv_is_told_what_to_install() -> None:
    assert "apt install python3-venv" in load().complaint((3, 11), has_venv=False)


@pytest.mark.parametrize("version", [(3, 11), (3, 14)])
def test_a_fitting_python_is_not_complained_of(version: tuple[int, int]) -> None:
    assert load().complaint(version, has_venv=True) == ""


def test_uv_is_told_pips_indexes() -> None:
    listing = r"""
:env:.find-links='/wheels /more'
global.extra-index-url='\nhttps://a.example/simple\nhttps://b.example/simple'
global.find-links='/elsewhere'
global.index-url='https://mirror.example/simple'
global.timeout='180'
"""
    assert load().uv_environment(listing) == {
        "UV_DEFAULT_INDEX": "https://mirror.example/simple",
        "UV_INDEX": "https://a.example/simple https://b.example/simple",
        "UV_FIND_LINKS": "/wheels,/more",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }


def test_the_lock_pins_uv_with_its_hashes() -> None:
    lines = load().locked_entry("uv").splitlines()
    assert lines[0].startswith("uv==")
    assert len(lines) > 5
    assert all(line.strip().startswith("--hash=sha256:") for line in lines[1:])


@pytest.mark.soak
@pytest.mark.parametrize("with_uv", [True, False], ids=["uv", "pip"])
def test_a_clone_sets_up_on_a_machine_that_has_nothing(tmp_path: Path, with_uv: bool) -> None:
    clone = tmp_path / "a clone"
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    if not with_uv:
        lock = clone / "requirements.lock"
        lock.write_text(lock.read_text().replace(load().locked_entry("uv"), ""))
    nothing = {
        "HOME": str(tmp_path / "home"),
        "UV_CACHE_DIR": str(tmp_path / "cache"),
        "PIP_NO_CACHE_DIR": "1",
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    for label, network in (("first", {}), ("second, offline", NO_NETWORK)):
        start = time.monotonic()
        subprocess.run(["make", "setup"], cwd=clone, env=environment | nothing | network, check=True)
        print(f"{label}: {time.monotonic() - start:.1f} s")
    assert time.monotonic() - start < 2
    subprocess.run([clone / ".venv/bin/python", "-m", "pip", "check"], check=True)


def test_an_interrupt_while_the_command_still_loads_ends_it_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "runbook_lib").mkdir()
    (tmp_path / "runbook_lib" / "__init__.py").write_text("raise KeyboardInterrupt")
    command = [sys.executable, "-P", "-c", load().START]
    done = subprocess.run(command, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (130, "interrupted: nothing was begun\n")
