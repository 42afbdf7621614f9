"""AWS as the runbook finds it under `target: aws`: its own host names, real TLS, real signatures, no network.

A proxy of this process (proxies and certificate bundles are the user's to choose) answers for AWS's hosts from the
control plane in this process, each access key in an account of its own. What a client was asked to sign, and for
which host, is kept.
"""

from __future__ import annotations

import io
import json
import re
import socket
import ssl
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from werkzeug.test import EnvironBuilder, run_wsgi_app
from werkzeug.wrappers import Request

from runbook_lib.local import control_plane
from runbook_lib.local.control_plane.calls import is_read
from runbook_lib.local.control_plane.wire import ACCOUNT_HEADER, identify

Answer = tuple[int, dict[str, str], bytes]
ACCESS_KEY = re.compile(r"<AccessKeyId>(\w+)<")
# What a client says of a body that it sends in chunks.
OF_CHUNKS = ("transfer-encoding", "content-encoding", "x-amz-content-sha256", "x-amz-decoded-content-length",
             "x-amz-trailer")  # fmt: skip
CREDENTIAL = re.compile(r"Credential=([^/]+)/")


@dataclass(frozen=True, slots=True)
class Seen:
    """A request that reached AWS: where it was sent, who signed it, what it asked for."""

    host: str
    key: str
    method: str
    path: str
    body: bytes
    operation: str = ""


@dataclass
class Aws:
    """AWS behind a proxy. `accounts` says whose each access key is; `stead` may answer in place of it."""

    folder: Path
    accounts: dict[str, str] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    hosts: Counter[str] = field(default_factory=Counter)
    stead: Callable[[Seen], Answer | None] = lambda seen: None
    told: Callable[[Seen], object] = lambda seen: None

    def forget(self) -> None:
        """Forget who called, and answer everything oneself again."""
        self.accounts.clear()
        self.seen.clear()
        self.hosts.clear()
        self.stead, self.told = lambda seen: None, lambda seen: None

    def operations(self, account: str = "") -> Counter[str]:
        """Count the operations asked for, in one account where it is said."""
        return Counter(s.operation for s in self.seen if account in ("", self.accounts.get(s.key)))

    def writes(self, account: str = "") -> Counter[str]:
        """Count those that change something."""
        return Counter(
            {name: n for name, n in self.operations(account).items() if name and not is_read(name.split(".")[1])}
        )

    @cached_property
    def authority(self) -> tuple[Any, x509.Certificate]:
        """The key and the certificate of who vouches for AWS's hosts here."""
        key, name = ec.generate_private_key(ec.SECP256R1()), _name("tests")
        return key, _certificate(name, name, key, key, x509.BasicConstraints(ca=True, path_length=None))

    @cached_property
    def bundle(self) -> Path:
        """The file a client needs to trust this proxy."""
        file = self.folder / "authority.pem"
        file.write_bytes(self.authority[1].public_bytes(serialization.Encoding.PEM))
        return file

    def __post_init__(self) -> None:
        self.context = cache(self._context)
        self.open: set[ssl.SSLSocket] = set()

    def _context(self, host: str) -> ssl.SSLContext:
        """Return what a server called `host` shows its clients."""
        signer, authority = self.authority
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.DNSName(host)])
        made = _certificate(_name("aws"), authority.subject, key, signer, names)
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        with tempfile.NamedTemporaryFile(dir=self.folder, suffix=".pem") as file:
            file.write(made.public_bytes(serialization.Encoding.PEM) + secret)
            file.flush()
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(file.name)
        return context

    def answer(self, seen: Seen, headers: dict[str, str]) -> Answer:
        """Answer as AWS does: from the account whose access key signed."""
        self.seen.append(seen)
        if (instead := self.stead(seen)) is not None:
            return instead
        account = self.accounts.get(seen.key)
        if account is None:
            return unknown_key(seen)
        kept = {name: value for name, value in headers.items() if name.lower() not in ("host", "content-length")}
        bucket, is_bucket, _ = seen.host.partition(".s3.")  # S3 gives each a host of its own
        builder = EnvironBuilder(
            path=f"http://127.0.0.1/{bucket}{seen.path}" if is_bucket else f"http://127.0.0.1{seen.path}",
            method=seen.method,
            headers={**kept, ACCOUNT_HEADER: account},
            data=seen.body,
        )
        try:
            content, status, answered = run_wsgi_app(control_plane.application(), builder.get_environ(), buffered=True)
        finally:
            builder.close()
        answer = int(status.split()[0]), dict(answered), b"".join(content)
        if seen.operation == "sts.AssumeRole":  # its key is the role's account's
            self.accounts |= dict.fromkeys(ACCESS_KEY.findall(answer[2].decode()), account)
        self.told(seen)
        return answer


def unknown_key(seen: Seen) -> Answer:
    """Refuse a key that is nobody's, as STS does in XML and the others in JSON."""
    words = "The security token included in the request is invalid."
    if seen.host.startswith("sts."):
        error = f"<Error><Type>Sender</Type><Code>InvalidClientTokenId</Code><Message>{words}</Message></Error>"
        return 403, {"Content-Type": "text/xml"}, f"<ErrorResponse>{error}</ErrorResponse>".encode()
    return 403, {"x-amzn-errortype": "UnrecognizedClientException"}, json.dumps({"message": words}).encode()


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _certificate(subject: x509.Name, issuer: x509.Name, key: Any, signer: Any, extension: Any) -> x509.Certificate:
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(
        issuer, subject, key.public_key(), x509.random_serial_number(), now - timedelta(days=1), now + timedelta(days=1)
    )
    own = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    made = made.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
    made = made.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    return made.add_extension(own, critical=False).sign(signer, hashes.SHA256())


def _handler(aws: Aws) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        host = ""

        def do_CONNECT(self) -> None:
            self.host = self.path.split(":")[0]
            aws.hosts[self.host] += 1
            self.send_response(200)
            self.end_headers()
            self.wfile.flush()
            with suppress(OSError), aws.context(self.host).wrap_socket(self.connection, server_side=True) as secured:
                aws.open.add(secured)
                self.rfile, self.wfile = secured.makefile("rb"), secured.makefile("wb", buffering=0)
                self.close_connection = False
                while not self.close_connection:
                    self.handle_one_request()
            self.close_connection = True

        def serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            told = dict(self.headers.items())
            if self.headers.get("Transfer-Encoding") == "chunked":
                body = _unchunked(io.BytesIO(_unchunked(self.rfile)))  # by HTTP, and within by S3
                told = {name: value for name, value in told.items() if name.lower() not in OF_CHUNKS}
            key = CREDENTIAL.search(self.headers.get("Authorization", ""))
            seen = Seen(
                self.host, key.group(1) if key else "", self.command, self.path, body, _operation(self, told, body)
            )
            status, headers, content = aws.answer(seen, told)
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() not in ("content-length", "connection", "transfer-encoding"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            self.wfile.flush()

        do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = serve

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    return Handler


def _unchunked(file: Any) -> bytes:
    """Read a body that comes in chunks, and what may follow the last one."""
    body = b""
    while size := int(file.readline().split(b";")[0], 16):
        body += file.read(size)
        file.readline()
    while file.readline().strip():
        pass
    return body


def _operation(handler: BaseHTTPRequestHandler, headers: dict[str, str], body: bytes) -> str:
    builder = EnvironBuilder(path=f"http://127.0.0.1{handler.path}", method=handler.command, headers=headers, data=body)
    try:
        target = identify(Request(builder.get_environ()), body)
    finally:
        builder.close()
    return f"{target.service}.{target.operation}" if target else ""


@contextmanager
def aws_behind_proxy(folder: Path) -> Iterator[Aws]:
    """Serve AWS to whatever obeys `https_proxy` and AWS_CA_BUNDLE, in this process and its children."""
    aws = Aws(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(aws))
    server.daemon_threads = False  # each ends with its connection, and is waited for
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name in ("no_proxy", "NO_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
                patch.delenv(name, raising=False)
            patch.setenv("https_proxy", f"http://127.0.0.1:{server.server_port}")
            patch.setenv("AWS_CA_BUNDLE", str(aws.bundle))
            yield aws
    finally:
        server.shutdown()
        thread.join(timeout=5)
        for secured in aws.open:
            with suppress(OSError):
                secured.shutdown(socket.SHUT_RDWR)
        server.server_close()


class Decoy:
    """An endpoint that nobody must reach: it counts who does."""

    def __init__(self) -> None:
        self.calls = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._count, daemon=True).start()

    def _count(self) -> None:
        with suppress(OSError):
            while True:
                caller, _ = self._socket.accept()
                self.calls += 1
                caller.close()

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()
