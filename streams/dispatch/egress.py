"""What http targets may call: schemes, ports, hosts and networks, by the settings.

A URL is judged twice: when a task is made, as far as it can be without asking the DNS, and at every attempt, with the
addresses that its name resolves to just then.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import ip_network
from typing import NamedTuple, Protocol

from yarl import URL

from taskscheduler.streams.dispatch.addresses import Address, Network, forbidden_name, is_in, judge, parse, plain

SCHEMES = {"http": 80, "https": 443}

_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f\\]")
_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_]([a-z0-9_-]{0,62}))*")
_AUTHORITY_ENDS = re.compile("[/?#]")
_PORTS = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")


class Reach(Protocol):
    """The settings, as the group `http` has them."""

    @property
    def allow_loopback(self) -> bool: ...
    @property
    def allow_private(self) -> bool: ...
    @property
    def allow(self) -> tuple[str, ...]: ...
    @property
    def only_allowed(self) -> bool: ...
    @property
    def schemes(self) -> tuple[str, ...]: ...
    @property
    def ports(self) -> tuple[str, ...]: ...
    @property
    def proxy(self) -> str | None: ...


class Forbidden(OSError):
    """The target may not be called; the text says why."""


class Place(NamedTuple):
    """Where a URL leads: `address` when its host is one, however it was spelled; else `host` is a name to resolve."""

    url: URL
    host: str
    port: int
    address: Address | None


class Egress:
    """What may be called. Raises ValueError, naming the setting, for settings that cannot be used."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._ports = [_ports(text) for text in reach.ports]
        self._networks = [network for text in reach.allow if (network := _network(text)) is not None]
        self._names = [plain(text) for text in reach.allow if _network(text) is None]
        for name in self._names:
            if not _is_name(name.removeprefix("*.")):
                raise ValueError(f"http.allow: {name!r} is no network, no host, and not such as *.example.org")

    def wrong_with(self, url: str) -> str | None:
        """Why a task may not have this URL, as far as that can be told without resolving its name; or None."""
        try:
            self.place(url)
        except (ValueError, Forbidden) as error:
            return str(error)
        return None

    def place(self, url: str) -> Place:
        """Where the URL leads. Raises Forbidden, and ValueError for what is no URL.

        One parser reads it for the check and for the call, so that the two cannot understand it differently.
        """
        if _UNPRINTABLE.search(url):
            raise ValueError("must not hold spaces, control characters or backslashes")
        try:
            parsed = URL(url)
            host, port = parsed.raw_host, parsed.explicit_port
        except ValueError:
            raise ValueError("is not a valid URL") from None
        if parsed.scheme not in SCHEMES:
            raise ValueError("must begin with http:// or https://")
        if parsed.scheme not in self._reach.schemes:
            allowed = " or ".join(f"{scheme}://" for scheme in self._reach.schemes)
            raise Forbidden(f"must begin with {allowed}: the server calls nothing else (http.schemes)")
        authority = _AUTHORITY_ENDS.split(url.partition("://")[2], 1)[0]
        if "@" in authority:
            raise ValueError("must not carry credentials; name a secret in `auth` instead")
        if not host or port == 0 or authority.endswith(":"):
            raise ValueError("is not a valid URL")
        port = SCHEMES[parsed.scheme] if port is None else port
        if not any(low <= port <= high for low, high in self._ports):
            shown = ", ".join(self._reach.ports)
            raise Forbidden(f"names port {port}, and the server calls only the ports {shown} (http.ports)")
        name = plain(host)
        try:
            address = parse(name)
        except ValueError:
            raise Forbidden("names a host that may not be called: it is not a valid address") from None
        if address is None and not _NAME.fullmatch(name):
            raise Forbidden("names a host that may not be called: it is not a valid name")
        reason = self._wrong_with_name(name) if address is None else self.wrong_with_address(address)
        if reason is not None:
            raise Forbidden(f"names a host that may not be called: it {reason}")
        return Place(parsed if address is None else parsed.with_host(str(address)), name, port, address)

    def wrong_with_address(self, address: Address, name: str | None = None) -> str | None:
        """Why an address may not be called, or None; `name` is what resolved to it."""
        kind, reason = judge(address)
        if kind == "never":
            return reason
        if self._is_named(name) or is_in(address, self._networks):
            return None
        if self._reach.only_allowed:
            return "is not among what http.allow names"
        if (kind == "loopback" and not self._reach.allow_loopback) or (
            kind == "private" and not self._reach.allow_private
        ):
            return reason
        return None

    def _wrong_with_name(self, name: str) -> str | None:
        named = self._is_named(name)
        if (reason := forbidden_name(name, self._reach.allow_loopback or named)) is not None:
            return reason
        # The networks are looked at when the name has been resolved, which behind a proxy it is not here.
        undecided = bool(self._networks) and self._reach.proxy is None
        return "is not among what http.allow names" if self._reach.only_allowed and not (named or undecided) else None

    def _is_named(self, name: str | None) -> bool:
        return name is not None and any(
            name.endswith(one[1:]) if one.startswith("*.") else name == one for one in self._names
        )


def _network(text: str) -> Network | None:
    try:
        return ip_network(text)
    except ValueError:
        return None


def _is_name(text: str) -> bool:
    try:
        return _NAME.fullmatch(text) is not None and parse(text) is None
    except ValueError:
        return False


def _ports(text: str) -> tuple[int, int]:
    match = _PORTS.fullmatch(text.strip())
    low, high = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 0 < low <= high < 65_536:
        raise ValueError(f"http.ports: {text!r} is no port and no range such as 8000-8999")
    return low, high


def refused(error: BaseException) -> Forbidden | None:
    """The refusal among the causes of an error."""
    for cause in _causes(error):
        if isinstance(cause, Forbidden):
            return cause
    return None


def _causes(error: BaseException | None) -> Iterable[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
