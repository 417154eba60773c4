"""The serving process: binds the port, starts the node, serves, and stops gracefully."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from types import FrameType
from typing import Any

import structlog
import uvicorn
import uvloop

from taskscheduler.api import logs
from taskscheduler.api.app import create_app, create_probes
from taskscheduler.api.bootstrap import embedded
from taskscheduler.api.http_server import HttpServer
from taskscheduler.api.metrics import release
from taskscheduler.api.node import Running, StartRefused
from taskscheduler.api.protocol import Protocol
from taskscheduler.api.settings import Settings, SettingsError
from taskscheduler.streams.replica import LogDiverged
from taskscheduler.streams.rocksdb.refusals import CARRY, DataRefused, StorageFailed

KEEP_ALIVE_SECONDS = 75
LAST_REPLIES_SECONDS = 5
"""How long replies that are under way may take once nothing else runs."""

SAME_SIGNAL_SECONDS = 0.5
"""A signal so soon after the first is the same one: wrappers often pass on what the whole group has got already."""

_log = structlog.get_logger("taskscheduler.server")


class StartError(Exception):
    """The server cannot start: one sentence that says why and what to do."""


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises SettingsError and StartError when it cannot start."""
    logs.configure(settings.log.format, settings.log.level)
    listener = bind(settings.host, settings.port)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(settings, listener))
    except (DataRefused, LogDiverged, StartRefused) as error:
        raise StartError(str(error)) from error
    except StorageFailed as error:
        raise StartError(f"{error}. Look at the disk. {CARRY}") from error
    finally:
        listener.close()


def bind(host: str, port: int) -> socket.socket:
    """A socket bound to the address; it does not listen yet. Raises SettingsError, StartError when it is taken."""
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise SettingsError(f"host: {host!r} cannot be resolved; name an address of this machine") from error
    family, kind, protocol, _, address = found[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        why = error.strerror or str(error)
        raise StartError(f"cannot listen on {host} port {port}: {why}; choose another with --host or --port") from error
    return listener


class Stop:
    """Set by the first SIGTERM or SIGINT; the second one ends the process at once, which loses nothing acknowledged."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Callable[[], float] = time.monotonic) -> None:
        self._loop = loop
        self._clock = clock
        self._event = asyncio.Event()
        self._since = 0.0
        self.signal: int | None = None

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Handle the signals meanwhile."""
        # Not the loop's own handlers: those would not hear the second signal while the loop is busy.
        before = {number: signal.signal(number, self._received) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def wait(self) -> None:
        """Returns once the process has to stop."""
        await self._event.wait()

    def _received(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            if self._clock() - self._since >= SAME_SIGNAL_SECONDS:
                os._exit(128 + number)
            return
        self.signal = number
        self._since = self._clock()
        self._loop.call_soon_threadsafe(self._event.set)


def _tune() -> None:
    """Fit the interpreter to a server: few collections, and a quick change between threads.

    Nearly everything here lives either a moment or long, and neither in cycles: with the default thresholds a quarter
    of the time of a busy server went into looking for them. And the thread that waited for the disk should not wait
    5 ms more, which is the default, to say that a decision is durable.
    """
    sys.setswitchinterval(0.0005)
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


async def _serve(settings: Settings, listener: socket.socket) -> None:
    stop = Stop(asyncio.get_running_loop())
    with stop.listening():
        async with running(settings) as node:
            observe = node.metrics.observe_http
            routes = node.serving
            app = create_probes(node, observe) if routes is None else create_app(routes, settings, observe=observe)
            http = HttpServer(_config(app))
            serving = asyncio.create_task(http.serve([listener]), name="http")
            started, stopping = asyncio.create_task(http.listening.wait()), asyncio.create_task(stop.wait())
            await asyncio.wait((serving, started), return_when=asyncio.FIRST_COMPLETED)
            if started.done():
                _tune()
                _announce(settings, listener)
                await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
            if stop.signal is not None:
                _log.info("stopping", signal=signal.Signals(stop.signal).name, grace_ms=settings.shutdown.grace)
                # Requests are answered meanwhile, so that workers can report what they hold.
                await node.stop(settings.shutdown.grace / 1000)
            http.should_exit = True
            for waiting in (started, stopping):
                waiting.cancel()
            await serving
    _log.info("stopped")


def running(settings: Settings) -> AbstractAsyncContextManager[Running]:
    """The process that the settings ask for. Raises StartError where packages of the profile are missing."""
    if settings.profile == "embedded":
        return embedded(settings)
    try:
        from taskscheduler.api.cluster.node import cluster
    except ModuleNotFoundError as error:
        raise StartError(
            f"the cluster profile needs the package {error.name}: pip install 'taskscheduler[cluster]'"
        ) from error
    return cluster(settings)


def _config(app: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=LAST_REPLIES_SECONDS,
    )


def _announce(settings: Settings, listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    host = settings.host.strip("[]")
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    _log.info(
        f"serving on {url}",
        docs=f"{url}/docs",
        data_dir=str(settings.data_dir.absolute()),
        port=port,
        pid=os.getpid(),
        version=release(),
    )
