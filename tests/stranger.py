"""Try, as another user, all that a local mesh must not let him do; print what came of it as JSON.

A program of its own, which imports nothing of the project: the other user cannot read it. It is told on stdin which
folders, sockets, ports and processes there are, which is more than another user would know.
"""

from __future__ import annotations

import contextlib
import encodings.idna  # noqa: F401 - which could not be read any more afterwards
import http.client
import json
import os
import socket
import sys
from pathlib import Path

NOBODY = 65534
CALLS = [
    ("GET", "/v20190125/meshes", {}),
    ("POST", "/moto-api/reset", {}),
    ("POST", "/runbook/traffic", {}),
    ("GET", "/runbook/tasks", {}),
    ("POST", "/quitquitquit", {}),
    ("GET", "/config_dump", {}),
    ("POST", "/", {"X-Amz-Target": "AmazonEC2ContainerServiceV20141113.ListClusters"}),
    ("PUT", "/__faults", {}),  # what applications listened to once
]


def readable(folder: Path) -> list[str]:
    """Return what can be listed or read in a folder."""
    found = []
    for path in [folder, *sorted(folder.rglob("*"))] if os.access(folder, os.X_OK) else [folder]:
        with contextlib.suppress(OSError):
            found += [str(path)] if (os.listdir(path) if path.is_dir() else path.read_bytes()) is not None else []  # noqa: PTH208
    return found


def writable(folder: Path) -> list[str]:
    """Return what could be made in a folder."""
    found = []
    for path in (folder / "theirs", folder / "endpoint.json", folder / "tasks" / "theirs"):
        with contextlib.suppress(OSError):
            path.write_text("mine")
            found.append(str(path))
    return found


def connected(path: str) -> bool:
    """Say whether a Unix socket lets this user in."""
    with socket.socket(socket.AF_UNIX) as it, contextlib.suppress(OSError):
        it.connect(path)
        return True
    return False


def served(port: int, account: str) -> list[str]:
    """Return the calls that a port answers as if they were its user's: by anything but a refusal."""
    found = []
    scope = f"LOCAL{account}{'0' * 32}/20260101/us-west-2/appmesh/aws4_request"
    signed = {"Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"}
    for method, path, headers in [*CALLS, ("GET", "/v20190125/meshes", signed)]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection.request(method, path, '{"crash": true}', headers)
            if (status := connection.getresponse().status) not in (401, 403):
                found.append(f"{method} {path}: {status}")
        connection.close()
    return found


def signalled(pid: int) -> bool:
    """Say whether a process could be ended."""
    with contextlib.suppress(OSError):
        os.kill(pid, 0)  # what is permitted, without doing it
        return True
    return False


def main() -> None:
    """Become the other user, try, tell."""
    given = json.load(sys.stdin)
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    folders = [Path(folder) for folder in given["folders"]]
    answer = {
        "user": os.getuid(),
        "read": [path for folder in folders for path in readable(folder)],
        "written": [path for folder in folders for path in writable(folder)],
        "connected": [path for path in given["sockets"] if connected(path)],
        "served": {port: served(port, given["account"]) for port in given["ports"]},
        "signalled": [pid for pid in given["pids"] if signalled(pid)],
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
