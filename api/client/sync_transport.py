"""HTTP on the standard library: one request, one reply, over connections kept alive."""

import http.client
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from taskscheduler.client.backoff import Reply
from taskscheduler.client.transport import AGENT, checked_url

ERRORS = (OSError, http.client.HTTPException)
CHUNK = 64 * 1024


class SyncHttp:
    """Connections to one server, shared by threads; ERRORS are what sending raises."""

    def __init__(self, base_url: str) -> None:
        parts = urlsplit(checked_url(base_url))
        secure = parts.scheme == "https"
        self._kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if secure else 80)
        self._prefix = parts.path
        self._idle: deque[http.client.HTTPConnection] = deque()

    def send(self, method: str, path: str, body: bytes | None, headers: dict[str, str], seconds: float) -> Reply:
        """Send one request and read the whole reply; `seconds` bounds each wait for the network."""
        while True:
            try:
                connection, kept = self._idle.pop(), True
            except IndexError:
                connection, kept = self._kind(self._host, self._port), False
            try:
                _set_timeout(connection, seconds)
                connection.request(method, self._prefix + path, body, {"User-Agent": AGENT, **headers})
                reply = read(connection.getresponse())
            except ERRORS as error:
                connection.close()
                # The server may have closed a connection that was kept: that says nothing about a new one.
                if not kept or isinstance(error, TimeoutError):
                    raise
            except BaseException:
                connection.close()
                raise
            else:
                self._idle.append(connection)
                return reply

    @contextmanager
    def stream(
        self, path: str, headers: dict[str, str], connect: float, idle: float
    ) -> Iterator[http.client.HTTPResponse]:
        """Open a reply without end, which breaks after `idle` seconds of silence."""
        connection = self._kind(self._host, self._port)
        try:
            _set_timeout(connection, connect)
            connection.connect()
            _set_timeout(connection, idle)
            connection.request("GET", self._prefix + path, headers={"User-Agent": AGENT, **headers})
            yield connection.getresponse()
        finally:
            connection.close()

    def close(self) -> None:
        """Close the connections that are not in use."""
        while self._idle:
            self._idle.pop().close()


def _set_timeout(connection: http.client.HTTPConnection, seconds: float) -> None:
    connection.timeout = seconds
    if connection.sock is not None:
        connection.sock.settimeout(seconds)


def read(response: http.client.HTTPResponse) -> Reply:
    """Read a reply to its end."""
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Reply(response.status, headers, response.read())


def chunks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """Give the bytes of a reply as they come."""
    while chunk := response.read1(CHUNK):
        yield chunk
