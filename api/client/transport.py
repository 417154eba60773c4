"""HTTP on aiohttp: one request, one reply."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from urllib.parse import urlsplit

import aiohttp

from taskscheduler.client.backoff import Reply

ERRORS = (aiohttp.ClientError, TimeoutError, OSError)
AGENT = "taskscheduler-client"
LARGE_BYTES = 512 * 1024


def checked_url(base_url: str) -> str:
    """Give the URL without a slash at its end; raises ValueError when it is not an http or https URL."""
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"not the URL of a server: {base_url!r} (expected such as http://127.0.0.1:8080)")
    return base_url.rstrip("/")


class Http:
    """Connections to one server, opened on first use and to be closed; ERRORS are what sending raises."""

    def __init__(self, base_url: str) -> None:
        self._base = checked_url(base_url)
        self._session: aiohttp.ClientSession | None = None

    def session(self) -> aiohttp.ClientSession:
        """Give the session; the first call must be in the event loop that uses it."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": AGENT},
            )
        return self._session

    async def send(self, method: str, path: str, body: bytes | None, headers: dict[str, str], seconds: float) -> Reply:
        """Send one request and read the whole reply within `seconds`."""
        limit = aiohttp.ClientTimeout(total=seconds)
        url = self._base + path
        # aiohttp writes plain bytes in one go, and warns of it from 1 MiB.
        data = BytesIO(body) if body is not None and len(body) >= LARGE_BYTES else body
        async with self.session().request(
            method, url, data=data, headers=headers, timeout=limit, allow_redirects=False
        ) as response:
            return await read(response)

    @asynccontextmanager
    async def stream(
        self, path: str, headers: dict[str, str], connect: float, idle: float
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Open a reply without end, which breaks after `idle` seconds of silence."""
        limit = aiohttp.ClientTimeout(total=None, sock_connect=connect, sock_read=idle)
        async with self.session().get(
            self._base + path, headers=headers, timeout=limit, allow_redirects=False
        ) as response:
            yield response

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None


async def read(response: aiohttp.ClientResponse) -> Reply:
    """Read a reply to its end."""
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Reply(response.status, headers, await response.read())
