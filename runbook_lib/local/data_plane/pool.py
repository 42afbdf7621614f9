"""The connections of one caller: opened when needed, replaced when
closed, closed when idle.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

from runbook_lib.local.data_plane.connections import Http1, Http2, Reply, Request
from runbook_lib.local.data_plane.resources import Address

IDLE_SECONDS = 10.0


class Connections:
    """The open connections to every address, of one protocol.

    Over TLS where `trust`, the certificates of who is believed in PEM, is given: then
    whoever answers must prove to be `name`.
    """

    def __init__(self, protocol: str, name: str = "", trust: str = "") -> None:
        self._kind: type[Http1] | type[Http2] = Http1 if protocol == "http" else Http2
        self._tls: dict[str, Any] = {}
        if trust:
            self._tls = {"ssl": _trusting(trust, protocol), "server_hostname": name}
        self._open: dict[Address, list[Http1 | Http2]] = {}
        self._opening: dict[Address, asyncio.Lock] = {}

    async def ask(self, address: Address, request: Request) -> Reply:
        """Send one request to `address`; OSError where nobody listens there."""
        connection = self._free(address) or await self._connect(address)
        connection.used = asyncio.get_running_loop().time()
        return await connection.ask(request)

    def sweep(self) -> None:
        """Forget what is closed, and close what nobody has used for a while."""
        now = asyncio.get_running_loop().time()
        for address, connections in list(self._open.items()):
            for connection in connections:
                if connection.idle and connection.used < now - IDLE_SECONDS:
                    connection.close()
            self._open[address] = [
                each for each in connections if each.free or not each.idle
            ]
            if not self._open[address]:
                del self._open[address]

    def close(self) -> None:
        """Close everything."""
        for connection in [
            each for connections in self._open.values() for each in connections
        ]:
            connection.close()

    def _free(self, address: Address) -> Http1 | Http2 | None:
        return next((each for each in self._open.get(address, ()) if each.free), None)

    async def _connect(self, address: Address) -> Http1 | Http2:
        """Open a connection; callers of one HTTP/2 address wait for
        the first of them.
        """
        if self._kind is Http1:
            return await self._new(address)
        async with self._opening.setdefault(address, asyncio.Lock()):
            return self._free(address) or await self._new(address)

    async def _new(self, address: Address) -> Http1 | Http2:
        loop = asyncio.get_running_loop()
        connection: Http1 | Http2
        _, connection = await loop.create_connection(self._kind, *address, **self._tls)
        self._open.setdefault(address, []).append(connection)
        return connection


def _trusting(certificates: str, protocol: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=certificates)
    context.set_alpn_protocols(["http/1.1" if protocol == "http" else "h2"])
    return context
