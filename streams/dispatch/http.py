"""The http target: one request per attempt, to addresses that the settings allow, redirects not followed."""

from __future__ import annotations

import socket
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from urllib.parse import urlsplit

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from taskscheduler.domain.definition import HttpTarget
from taskscheduler.domain.events import Error, Upstream
from taskscheduler.domain.values import DAY, Instant, Millis
from taskscheduler.streams.dispatch.addresses import forbidden_address, forbidden_literal
from taskscheduler.streams.dispatch.dispatcher import Attempted, Outcome

BODY_LIMIT = 16 * 1024
"""Bytes of a response that are kept."""

LONGEST_RETRY_AFTER: Millis = 366 * DAY


class Forbidden(OSError):
    """The address may not be called."""


class HttpCaller:
    """Implements Target for http. Open it on the event loop that uses it; `close` ends its connections."""

    group = "http"

    def __init__(
        self,
        *,
        clock: Callable[[], Instant],
        allow_loopback: bool,
        allow_private: bool,
        at_once: int,
        connect_timeout: float,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self.at_once = at_once
        self._clock = clock
        self._allow_loopback = allow_loopback
        self._allow_private = allow_private
        checked = _CheckedResolver(resolver or ThreadedResolver(), allow_loopback, allow_private)
        connector = aiohttp.TCPConnector(resolver=checked, use_dns_cache=False, limit=at_once)
        self._connect_timeout = connect_timeout
        self._session = aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=True, trust_env=False
        )

    async def close(self) -> None:
        """End the connections."""
        await self._session.close()

    async def call(self, attempt: Attempted) -> Outcome:
        """Send the request and judge the response. Every failure is an outcome."""
        target = attempt.definition.target
        assert isinstance(target, HttpTarget)
        left = max(1, attempt.deadline - self._clock()) / 1000
        timeout = aiohttp.ClientTimeout(total=left, connect=self._connect_timeout)
        try:
            refused = forbidden_literal(urlsplit(target.url).hostname or "", self._allow_loopback, self._allow_private)
            if refused is not None:
                return _failed("forbidden_address", f"the host of the URL {refused}")
            async with self._session.request(
                target.method,
                target.url,
                data=_body(target, attempt),
                headers=_headers(target, attempt),
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                text = await _excerpt(response)
                return self._judge(target, response, text)
        except TimeoutError:
            return _failed("timed_out", "no response in time")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            cause: BaseException | None = error
            while cause is not None:
                if isinstance(cause, Forbidden):
                    return _failed("forbidden_address", str(cause))
                cause = cause.__cause__
            return _failed("connection_failed", f"{type(error).__name__}: {error}")

    def _judge(self, target: HttpTarget, response: aiohttp.ClientResponse, text: str) -> Outcome:
        if any(_expects(expected, response.status) for expected in target.expect):
            result = msgspec.json.encode({"status": response.status, "body": text}).decode()
            return Outcome(result=result)
        excerpt = text[:200].strip()
        message = f"the response has status {response.status}" + (f": {excerpt}" if excerpt else "")
        return Outcome(
            error=Error(f"http_{response.status}", message),
            retry_after=retry_after(response.headers.get("Retry-After"), self._clock()),
        )


class _CheckedResolver(AbstractResolver):
    """Resolves names and refuses when any of the addresses may not be called; the connection goes to what it gives."""

    def __init__(self, inner: AbstractResolver, allow_loopback: bool, allow_private: bool) -> None:
        self._inner = inner
        self._allow_loopback = allow_loopback
        self._allow_private = allow_private

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of a name. Raises Forbidden."""
        found = await self._inner.resolve(host, port, family)
        for result in found:
            address = ip_address(result["host"].split("%")[0])
            refused = forbidden_address(address, self._allow_loopback, self._allow_private)
            if refused is not None:
                raise Forbidden(f"{host} resolves to {address}, which {refused}")
        return found

    async def close(self) -> None:
        """Nothing is held but the inner resolver."""
        await self._inner.close()


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
    payload = attempt.definition.payload
    if target.method in ("GET", "HEAD"):
        return None
    if payload is None and attempt.run.upstream:
        return msgspec.json.encode({"upstream": {name: _upstream(run) for name, run in attempt.run.upstream.items()}})
    return None if payload is None else payload.encode()


def _upstream(run: Upstream) -> dict[str, object]:
    result = None if run.result is None else msgspec.Raw(run.result.encode())
    return {"run_id": run.run_id, "status": run.status, "result": result, "left_out": run.left_out}


def _headers(target: HttpTarget, attempt: Attempted) -> dict[str, str]:
    headers = {name: value for name, value in target.headers.items() if name.lower() not in _OURS}
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
    if (cause := attempt.run.upstream.get(attempt.run.caused_by or "")) is not None:
        headers["Caused-By"] = f"{attempt.run.caused_by}/{cause.run_id}"
    return headers


_OURS = frozenset(("task-id", "run-id", "attempt", "scheduled-for", "caused-by"))


async def _excerpt(response: aiohttp.ClientResponse) -> str:
    data = bytearray()
    async for chunk in response.content.iter_chunked(BODY_LIMIT):
        data += chunk
        if len(data) >= BODY_LIMIT:
            break
    return _text(bytes(data[:BODY_LIMIT]), response.charset or "utf-8")


def _text(data: bytes, charset: str) -> str:
    try:
        return data.decode(charset, errors="replace")
    except (LookupError, ValueError):
        # What a server calls a charset may be unknown to Python, or no encoding of text.
        return data.decode("utf-8", errors="replace")


def _failed(kind: str, message: str) -> Outcome:
    return Outcome(error=Error(kind, message))
