"""What comes before a response (1xx): a little is read over, but nobody keeps the server busy with it."""

from __future__ import annotations

from typing import Any

import aiohttp
from aiohttp.connector import Connection

MOST_INTERIM = 16
"""Before one response."""


class Response(aiohttp.ClientResponse):
    """Gives up on a server that sends one interim response after another: aiohttp reads on for as long as they come."""

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        """Read the head. Raises ClientPayloadError where too much comes before it."""
        protocol: Any = connection.protocol
        read, heads = protocol.read, 0

        async def counted() -> Any:
            nonlocal heads
            heads += 1
            if heads > MOST_INTERIM + 1:
                raise aiohttp.ClientPayloadError(f"more than {MOST_INTERIM} interim responses")
            return await read()

        protocol.read = counted
        try:
            return await super().start(connection)
        finally:
            del protocol.read
