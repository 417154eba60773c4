"""A small HTTP/1.1 load generator: many keep-alive connections, one request at a time on each."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any


class Connection:
    """One keep-alive connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> None:
        self._reader = reader
        self._writer = writer
        self._host = host

    @classmethod
    async def open(cls, port: int) -> Connection:
        """To the server on this machine."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 26)
        return cls(reader, writer, f"127.0.0.1:{port}")

    async def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Send a request; status and body of the reply."""
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        self._writer.write(head.encode() + body)
        lines = (await self._reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        length = next((int(line.split(b":")[1]) for line in lines if line.lower().startswith(b"content-length")), 0)
        return int(lines[0].split()[1]), await self._reader.readexactly(length)

    async def json(self, method: str, path: str, body: Any = None) -> Any:
        """The same with JSON. Raises RuntimeError for an error status."""
        status, data = await self.ask(method, path, b"" if body is None else json.dumps(body).encode())
        if status >= 400:
            raise RuntimeError(f"{method} {path}: {status} {data[:300]!r}")
        return json.loads(data) if data else None

    def close(self) -> None:
        """End it."""
        self._writer.close()


async def flood(port: int, connections: int, path: str, bodies: Iterator[bytes], expect: int) -> float:
    """POST every body over so many connections; seconds it took."""
    opened = [await Connection.open(port) for _ in range(connections)]

    async def run(connection: Connection) -> None:
        for body in bodies:
            status, data = await connection.ask("POST", path, body)
            if status != expect:
                raise RuntimeError(f"POST {path}: {status} {data[:300]!r}")

    began = time.perf_counter()
    await asyncio.gather(*(run(connection) for connection in opened))
    took = time.perf_counter() - began
    for connection in opened:
        connection.close()
    return took
