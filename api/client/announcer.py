"""A worker tells the server that it is there, and hears whether it is to drain."""

import contextlib
import logging
import os
import socket
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from uuid import uuid4

import msgspec

from taskscheduler.client.claims import Send
from taskscheduler.client.clock import Clock
from taskscheduler.client.requests import segment
from taskscheduler.client.transport import ERRORS

EVERY_SECONDS = 10.0
REPLY_SECONDS = 5.0
UNKNOWN = frozenset({404, 405, 422})
"""What a server says that keeps no registry, or takes no such name."""

log = logging.getLogger("taskscheduler.client")


class _Announced(msgspec.Struct, frozen=True, kw_only=True):
    drain_requested: bool = False


_read = msgspec.json.Decoder(_Announced)


class Announcer:
    """Says every few seconds what the worker is and how much it runs; `drain` is called once it is to end."""

    def __init__(
        self,
        send: Send,
        name: str,
        *,
        queue: str,
        kinds: list[str],
        concurrency: int,
        running: Callable[[], int],
        drain: Callable[[], None],
        clock: Clock,
    ) -> None:
        self._send = send
        self._path = f"/api/workers/{segment(name)}"
        self._info = {
            "instance": uuid4().hex,
            "queues": [queue],
            "kinds": kinds[:100],
            "concurrency": concurrency,
            "version": _version(),
            "host": socket.gethostname()[:200],
            "pid": os.getpid(),
        }
        self._running = running
        self._drain = drain
        self._clock = clock
        self._known = False

    async def run(self) -> None:
        """Until cancelled, or until the server says that it keeps no registry."""
        while True:
            reply = await self._post("announce", {**self._info, "running": self._running()})
            if reply is not None and reply.status in UNKNOWN:
                log.debug("the server keeps no registry of workers (%s)", reply.status)
                return
            if reply is not None and reply.status == 200:
                self._known = True
                with contextlib.suppress(msgspec.DecodeError):
                    if _read.decode(reply.body).drain_requested:
                        log.info("the worker was asked to drain")
                        self._drain()
            await self._clock.sleep(EVERY_SECONDS)

    async def leave(self) -> None:
        """Say that this process ends."""
        if self._known:
            await self._post("leave", {"instance": self._info["instance"]})

    async def _post(self, verb: str, body: dict[str, Any]) -> Any:
        try:
            return await self._send(f"{self._path}/{verb}", msgspec.json.encode(body), {}, REPLY_SECONDS)
        except ERRORS:
            return None


def _version() -> str:
    try:
        return version("taskscheduler")
    except PackageNotFoundError:
        return ""
