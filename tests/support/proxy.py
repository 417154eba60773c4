"""A network between a worker and a server that can be cut, in either direction."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

Cut = Literal["refused", "requests", "replies"]
"""Nothing connects · what is sent is swallowed · what comes back is swallowed."""


class Proxy:
    """Passes bytes on, but for what is cut."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._cut: Cut | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self.url = ""
        self.swallowed = 0

    def cut(self, how: Cut) -> None:
        """From now on."""
        self._cut = how
        if how == "refused":
            self._break_all()

    def heal(self) -> None:
        """Pass on again. Connections that have lost bytes are broken."""
        if self._cut is not None:
            self._cut = None
            self._break_all()

    def _break_all(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        if self._cut == "refused":
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, far_writer}
        try:
            await asyncio.gather(self._pass(reader, far_writer, "requests"), self._pass(far_reader, writer, "replies"))
        finally:
            for one in (writer, far_writer):
                self._open.discard(one)
                one.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, what: Cut) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                if self._cut == what:
                    self.swallowed += 1
                else:
                    writer.write(data)
                    await writer.drain()
            writer.close()


@asynccontextmanager
async def proxied(port: int) -> AsyncIterator[Proxy]:
    """A proxy of a port of this machine."""
    proxy = Proxy(port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        proxy.heal()
        proxy._break_all()
