"""The http target: one request per attempt, to addresses that the settings allow, redirects not followed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple

import aiohttp
import msgspec
from yarl import URL

from taskscheduler.domain.definition import HttpTarget
from taskscheduler.domain.events import Error
from taskscheduler.domain.values import DAY, Instant, Millis
from taskscheduler.streams.dispatch.capture import Captured, capture, hidden
from taskscheduler.streams.dispatch.credentials import Contexts, Credentials, basic_auth, credentials
from taskscheduler.streams.dispatch.dispatcher import Attempted, Outcome
from taskscheduler.streams.dispatch.egress import Egress, Forbidden, Place, refused
from taskscheduler.streams.dispatch.interim import Response
from taskscheduler.streams.dispatch.payload import cause_of, payload_of
from taskscheduler.streams.dispatch.resolving import (
    PinnedResolver,
    Resolver,
    SystemResolver,
    Unresolved,
    checked,
    lookup,
    pinned,
)
from taskscheduler.streams.dispatch.secrets import Secrets, SecretUnusable
from taskscheduler.streams.dispatch.webhooks import message_id, signed

LONGEST_RETRY_AFTER: Millis = 366 * DAY

MOST_HEADERS = 128
LONGEST_HEADER = 8 * 1024
"""Of a response, in bytes. What sends more is not listened to."""

_CONNECTION = "connection content-length expect host keep-alive te trailer transfer-encoding upgrade".split()
RESERVED = frozenset(
    (
        "task-id",
        "run-id",
        "attempt",
        "scheduled-for",
        "caused-by",
        "proxy-authorization",
        "proxy-connection",
        *_CONNECTION,
    )
)
"""Headers that a task has no say in: they are set here, or belong to the connection."""

SIGNATURE = frozenset(("webhook-id", "webhook-timestamp", "webhook-signature"))


class Proxy(NamedTuple):
    """Through which all calls go. It resolves names, and says what it lets through."""

    url: str
    user: str | None = None
    password: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        """What it alone is told."""
        if self.user is None:
            return {}
        return {"Proxy-Authorization": basic_auth(self.user, self.password or "")}


class HttpCaller:
    """Implements Target for http. Open it on the event loop that uses it; `close` ends its connections."""

    group = "http"

    def __init__(
        self,
        egress: Egress,
        secrets: Secrets,
        *,
        clock: Callable[[], Instant],
        at_once: int,
        connect_timeout: float,
        proxy: Proxy | None = None,
        resolver: Resolver | None = None,
    ) -> None:
        self.at_once = at_once
        self._egress = egress
        self._secrets = secrets
        self._contexts = Contexts()
        self._clock = clock
        self._connect_timeout = connect_timeout
        self._proxy = None if proxy is None else URL(proxy.url)
        self._for_proxy = {} if proxy is None else proxy.headers
        self._resolver = resolver or SystemResolver()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=PinnedResolver(), use_dns_cache=False, limit=at_once),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            # Neither proxies nor passwords (.netrc) from the environment: what is set here holds.
            trust_env=False,
            headers={"User-Agent": "taskscheduler", "Accept-Encoding": "identity"},
            max_field_size=LONGEST_HEADER,
            max_line_size=LONGEST_HEADER,
            max_headers=MOST_HEADERS,
            response_class=Response,
        )

    async def close(self) -> None:
        """End the connections."""
        await self._session.close()
        self._resolver.close()

    async def call(self, attempt: Attempted) -> Outcome:
        """Send the request and judge the response. Every failure is an outcome."""
        target = attempt.definition.target
        assert isinstance(target, HttpTarget)
        try:
            place = self._egress.place(target.url)
        except (Forbidden, ValueError) as error:
            return _failed("forbidden_address", f"the URL {error}")
        known: Credentials | None = None
        try:
            async with asyncio.timeout(max(1, attempt.deadline - self._clock()) / 1000):
                known = credentials(target, self._secrets, self._contexts, place.host)
                async with self._reachable(place):
                    return await self._exchange(target, attempt, place, known)
        except TimeoutError:
            return _failed("timed_out", "no response in time")
        except SecretUnusable as error:
            return _failed("secret_unusable", str(error))
        except Unresolved as error:
            return _failed("unresolved", str(error))
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if (refusal := refused(error)) is not None:
                return _failed("forbidden_address", str(refusal))
            message = f"{type(error).__name__}: {error}"
            return _failed("connection_failed", hidden(message, known.hide if known else ()))

    @asynccontextmanager
    async def _reachable(self, place: Place) -> AsyncIterator[None]:
        """Connections made within go to addresses that were looked up and judged just now, or to the proxy."""
        if self._proxy is not None:
            host, port = self._proxy.raw_host or "", self._proxy.port or 0
            async with asyncio.timeout(self._connect_timeout):
                addresses = await lookup(self._resolver, host, port)
        elif place.address is not None:
            host, addresses = place.host, [place.address]
        else:
            host = place.host
            async with asyncio.timeout(self._connect_timeout):
                addresses = await checked(self._resolver, self._egress, host, place.port)
        with pinned(host, addresses):
            yield

    async def _exchange(self, target: HttpTarget, attempt: Attempted, place: Place, known: Credentials) -> Outcome:
        body = _body(target, attempt)
        headers = _headers(target, attempt) | known.headers
        if known.keys:
            headers |= signed(
                body or b"", message_id(attempt.task_id, attempt.run.id), self._clock() // 1000, known.keys
            )
        if place.url.scheme == "http":
            # There is no tunnel: the request itself is what the proxy reads.
            headers |= self._for_proxy
        async with self._session.request(
            target.method,
            place.url,
            data=body,
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=None, connect=self._connect_timeout),
            allow_redirects=False,
            ssl=known.tls or True,
            proxy=self._proxy,
            proxy_headers=self._for_proxy if self._proxy is not None else None,
        ) as response:
            return self._judge(target, response, await capture(response, known.hide))

    def _judge(self, target: HttpTarget, response: aiohttp.ClientResponse, body: Captured) -> Outcome:
        if any(_expects(expected, response.status) for expected in target.expect):
            result = {"status": response.status, "body": body.text, **({"truncated": True} if body.cut else {})}
            return Outcome(result=msgspec.json.encode(result).decode())
        excerpt = body.text[:200].strip()
        message = f"the response has status {response.status}" + (f": {excerpt}" if excerpt else "")
        return Outcome(
            error=Error(f"http_{response.status}", message),
            retry_after=retry_after(response.headers.get("Retry-After"), self._clock()),
        )


def retry_after(header: str | None, now: Instant) -> Millis | None:
    """How long a `Retry-After` (RFC 9110 section 10.2.3: seconds or a date) asks to wait; None when unreadable."""
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return min(int(text[:12]) * 1000, LONGEST_RETRY_AFTER)
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return max(0, min(int(at.timestamp() * 1000) - now, LONGEST_RETRY_AFTER))


def _expects(expected: int | str, status: int) -> bool:
    if isinstance(expected, int):
        return status == expected
    low, _, high = expected.partition("-")
    return int(low) <= status <= int(high or low)


def _body(target: HttpTarget, attempt: Attempted) -> bytes | None:
    if target.body is not None:
        value = msgspec.json.decode(target.body)
        return value.encode() if isinstance(value, str) else target.body.encode()
    return None if target.method in ("GET", "HEAD") else payload_of(attempt)


def _headers(target: HttpTarget, attempt: Attempted) -> dict[str, str]:
    headers = {name: value for name, value in target.headers.items() if name.lower() not in RESERVED}
    if not any(name.lower() == "content-type" for name in headers):
        text = target.body is not None and target.body.startswith('"')
        headers["Content-Type"] = "text/plain; charset=utf-8" if text else "application/json"
    scheduled = datetime.fromtimestamp(attempt.run.scheduled_for / 1000, UTC)
    headers |= {
        "Task-Id": attempt.task_id,
        "Run-Id": attempt.run.id,
        "Attempt": str(attempt.number),
        "Scheduled-For": scheduled.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }
    if (cause := cause_of(attempt)) is not None:
        headers["Caused-By"] = cause
    return headers


def _failed(kind: str, message: str) -> Outcome:
    return Outcome(error=Error(kind, message))
