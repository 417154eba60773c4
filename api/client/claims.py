"""Long polling for work; a reply that is lost loses no run."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import msgspec

from taskscheduler.client.backoff import Backoff, Reply
from taskscheduler.client.clock import Clock
from taskscheduler.client.job import Claim
from taskscheduler.client.requests import reader, segment
from taskscheduler.client.transport import ERRORS

MOST_CLAIMS = 100
TRY_AGAIN = frozenset({408, 409, 429})
REPLY_SECONDS = 10.0
LAST_LOOKS_SECONDS = (0.25, 0.5, 1.0, 2.0)
LAST_LOOK_PAUSE = 0.05
NO_WAIT = 0.001
"""Seconds, for who does not want to wait. Not 0: a server need not notice that nobody waits any more for a request that
it must not hold."""

Send = Callable[[str, bytes, dict[str, str], float], Awaitable[Reply]]
"""Posts a body to a path, with more headers, within some seconds; raises transport.ERRORS."""

log = logging.getLogger("taskscheduler.client")


class _Claims(msgspec.Struct, frozen=True, kw_only=True):
    claims: list[Claim]
    drain_requested: bool = False


_read_claims = reader(_Claims)


class Claims:
    """Asks for work for one worker; `wait` and `lease` are in seconds."""

    def __init__(
        self,
        send: Send,
        queue: str,
        *,
        worker: str,
        kinds: list[str],
        wait: float,
        lease: float,
        clock: Clock,
        backoff: Backoff,
        drain: Callable[[], None],
    ) -> None:
        self._send = send
        self._path = f"/api/queues/{segment(queue)}/claims"
        self._fixed = {"worker": worker, "kinds": kinds, "lease": _milliseconds(lease)}
        self._wait = wait
        self._clock = clock
        self._backoff = backoff
        self._drain = drain
        self._away = False
        self._open: dict[str, Any] | None = None

    async def next(self, most: int, *, hold: bool = True) -> list[Claim]:
        """Wait for work and give up to `most` claims, perhaps none; raises ApiError when the server refuses the worker.

        With `hold` False there is no waiting for work to come.

        While the server is away it is asked again and again.
        """
        wait = self._wait if hold else NO_WAIT
        request = {**self._fixed, "max": min(most, MOST_CLAIMS), "wait": _milliseconds(wait)}
        self._open = {**request, "request_id": uuid4().hex}
        while True:
            asked_at = self._clock.now()
            outcome = await self._ask(self._open, wait + REPLY_SECONDS)
            if isinstance(outcome, Exception):
                await self._pause(f"does not answer ({str(outcome) or type(outcome).__name__})")
            elif outcome.status >= 500 or outcome.status in TRY_AGAIN:
                if outcome.status == 409:
                    self._open["request_id"] = uuid4().hex
                await self._pause(f"answers {outcome.status}", outcome.retry_after())
            else:
                self._open = None
                reply = _read_claims(outcome)
                if reply.drain_requested:
                    self._drain()
                claims = reply.claims
                self._back()
                if claims:
                    self._backoff.reset()
                elif wait > NO_WAIT and self._clock.now() - asked_at < min(1.0, wait / 2):
                    # A server that cannot hold the request must not be asked in a tight loop.
                    await self._clock.sleep(self._backoff.next())
                return claims

    async def rest(self) -> list[Claim]:
        """Give what an interrupted `next` may have been granted, so that it does not wait for its lease to run out."""
        if self._open is None:
            return []
        request = {**self._open, "wait": _milliseconds(NO_WAIT)}
        self._open = None
        for seconds in LAST_LOOKS_SECONDS:
            outcome = await self._ask(request, seconds)
            if isinstance(outcome, Reply) and outcome.status == 200:
                return _read_claims(outcome).claims
            # It may have joined the interrupted request, if the server had not noticed the interruption yet.
            await self._clock.sleep(LAST_LOOK_PAUSE)
        return []

    async def _ask(self, request: dict[str, Any], seconds: float) -> Reply | Exception:
        try:
            return await self._send(self._path, msgspec.json.encode(request), {}, seconds)
        except ERRORS as error:
            return error

    async def _pause(self, what: str, at_least: float | None = None) -> None:
        if not self._away:
            self._away = True
            log.warning("the server %s; asking again until it does", what)
        await self._clock.sleep(self._backoff.next(at_least))

    def _back(self) -> None:
        if self._away:
            self._away = False
            self._backoff.reset()
            log.info("the server is back")


def _milliseconds(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"
