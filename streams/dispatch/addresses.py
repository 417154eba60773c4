"""Which addresses a target may not name: a scheduler must not be a way into the network that it runs in."""

from __future__ import annotations

import unicodedata
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address

_METADATA = {ip_address(text) for text in ("169.254.169.254", "169.254.170.2", "100.100.100.200", "fd00:ec2::254")}
_METADATA_NAMES = {"metadata.google.internal", "metadata.goog", "instance-data"}
_LOOPBACK_NAMES = {"localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback"}
_NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
_IPV4_COMPATIBLE = IPv6Network("::/96")


def forbidden_literal(host: str, allow_loopback: bool, allow_private: bool = False) -> str | None:
    """Why the host of a URL may not be called, or None; a name is judged when it is resolved.

    Sees through other spellings: `0x7f.1`, `2130706433`, `[::ffff:127.0.0.1]`, full-width digits, a final dot.
    """
    name = unicodedata.normalize("NFKC", host).replace("。", ".").lower()
    name = name.removeprefix("[").removesuffix("]").rstrip(".")
    if name in _METADATA_NAMES:
        return "names the metadata service of a cloud"
    if name in _LOOPBACK_NAMES or name.endswith(".localhost"):
        return None if allow_loopback else "names this machine"
    try:
        address = _parse(name)
    except ValueError:
        return "is not a valid address"
    return None if address is None else forbidden_address(address, allow_loopback, allow_private)


def forbidden_address(address: Address, allow_loopback: bool, allow_private: bool = False) -> str | None:
    """Why an address may not be called, or None."""
    if address in _METADATA:
        return "is the metadata service of a cloud"
    embedded = _embedded(address) if isinstance(address, IPv6Address) else None
    if embedded is not None:
        return forbidden_address(embedded, allow_loopback, allow_private)
    if address.is_loopback:
        return None if allow_loopback else "is a loopback address"
    if address.is_unspecified:
        return "is the unspecified address"
    if address.is_link_local:
        return "is a link-local address"
    if address.is_multicast:
        return "is a multicast address"
    if address.is_reserved:
        return "is a reserved address"
    if not address.is_global:
        return None if allow_private else "is a private address"
    return None


def _embedded(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that traffic to this one reaches in the end."""
    low = int(address) & 0xFFFF_FFFF
    if address in _IPV4_COMPATIBLE:
        return IPv4Address(low) if low > 1 else None
    if any(address in network for network in _NAT64):
        return IPv4Address(low)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)


def _parse(name: str) -> Address | None:
    """The address that a literal spells; None for a name. Raises ValueError for what is neither."""
    if ":" in name:
        if "%" in name:
            raise ValueError("an address with a zone")
        return IPv6Address(name)
    parts = name.split(".")
    if not _is_number(parts[-1]):
        return None
    if len(parts) > 4:
        raise ValueError("more than four parts")
    *bytes_, last = [_number(part) for part in parts]
    room = 256 ** (4 - len(bytes_))
    if last >= room or any(value > 255 for value in bytes_):
        raise ValueError("a part out of range")
    return IPv4Address(sum(value << (24 - 8 * index) for index, value in enumerate(bytes_)) + last)


def _is_number(part: str) -> bool:
    """By the rule of browsers a host whose last part is a number must be an IPv4 address."""
    return part.isdecimal() or part.startswith("0x")


def _number(part: str) -> int:
    if not part.isascii() or not part.isalnum() or len(part) > 64:
        raise ValueError("not a number")
    if part.startswith("0x"):
        return int(part[2:] or "0", 16)
    return int(part, 8) if len(part) > 1 and part.startswith("0") else int(part)
