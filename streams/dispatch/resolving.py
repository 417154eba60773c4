"""Names of hosts: resolved for each attempt, judged, and then what connections go to; no cache, no second look-up."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from ipaddress import ip_address
from typing import Protocol

from aiohttp.abc import AbstractResolver, ResolveResult

from taskscheduler.streams.dispatch.addresses import Address, unmapped
from taskscheduler.streams.dispatch.egress import Egress, Forbidden

THREADS = 64
"""Look-ups at once. The system's resolver blocks, for many seconds where a name's servers do not answer."""


class Unresolved(OSError):
    """The name has no address now; it may have one later."""


class Resolver(Protocol):
    """Asks for the addresses of a name, afresh each time. Raises OSError."""

    async def addresses(self, host: str, port: int) -> list[str]: ...
    def close(self) -> None: ...


class SystemResolver:
    """What the machine is set up with: hosts file, DNS servers, search domains. It has threads of its own."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="resolve")

    async def addresses(self, host: str, port: int) -> list[str]:
        """In the order in which they should be tried."""
        found = await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        )
        return [str(place[4][0]) for place in found]

    def close(self) -> None:
        """Look-ups under way are not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)


async def checked(resolver: Resolver, egress: Egress, host: str, port: int) -> list[Address]:
    """The addresses of a name, when all of them may be called. Raises Forbidden, Unresolved.

    One that may not refuses them all: such a name is an attack or a mistake, and which of its addresses is tried first
    is chance.
    """
    found = await lookup(resolver, host, port)
    for address in found:
        if (reason := egress.wrong_with_address(address, host)) is not None:
            raise Forbidden(f"{host} resolves to {address}, which {reason}")
    return found


async def lookup(resolver: Resolver, host: str, port: int) -> list[Address]:
    """The addresses of a name, whatever they are. Raises Forbidden, Unresolved."""
    try:
        texts = await resolver.addresses(host, port)
    except (OSError, UnicodeError) as error:
        raise Unresolved(f"{host} cannot be resolved: {getattr(error, 'strerror', None) or error}") from None
    if not texts:
        raise Unresolved(f"{host} has no address")
    if any("%" in text for text in texts):
        raise Forbidden(f"{host} resolves to an address that is good on one link only")
    return [unmapped(address) for address in dict.fromkeys(ip_address(text) for text in texts)]


_pinned: ContextVar[tuple[str, list[Address]] | None] = ContextVar("pinned", default=None)


@contextmanager
def pinned(host: str, addresses: list[Address]) -> Iterator[None]:
    """Connections that are made within go to these addresses when they want to reach the host, else nowhere."""
    token = _pinned.set((host, addresses))
    try:
        yield
    finally:
        _pinned.reset(token)


class PinnedResolver(AbstractResolver):
    """What connections are made with: it knows the host that was pinned and asks nobody."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses that were pinned. Raises Forbidden."""
        known = _pinned.get()
        if known is None or known[0] != host.rstrip(".").lower():
            raise Forbidden(f"{host} was not looked at before a connection was made")
        return [_result(host, port, address) for address in known[1]]

    async def close(self) -> None:
        """Nothing is held."""


def _result(host: str, port: int, address: Address) -> ResolveResult:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    numeric = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return ResolveResult(hostname=host, host=str(address), port=port, family=family, proto=0, flags=numeric)
