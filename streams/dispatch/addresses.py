"""Which addresses a target may not name: a scheduler must not be a way into the network that it runs in."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Literal, TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network
Kind: TypeAlias = Literal["public", "loopback", "private", "never"]

_METADATA = {
    ip_address(text)
    for text in (
        "169.254.169.254",  # most clouds
        "169.254.170.2",  # AWS, credentials of a container
        "169.254.170.23",
        "100.100.100.200",  # Alibaba
        "168.63.129.16",  # Azure, a public address
        "192.0.0.192",  # Oracle
        "fd00:ec2::254",  # AWS
        "fd00:ec2::23",
        "fd20:ce::254",  # Google
    )
}
_METADATA_NAMES = {
    "metadata",
    "metadata.google.internal",
    "metadata.goog",
    "metadata.azure.internal",
    "metadata.platformequinix.com",
    "instance-data",
    "instance-data.ec2.internal",
}
_LOOPBACK_NAMES = {"localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback"}

_LOOPBACK: tuple[Network, ...] = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))
_PRIVATE: tuple[Network, ...] = (
    *(
        IPv4Network(text)
        for text in (
            "10.0.0.0/8",
            "100.64.0.0/10",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
        )
    ),
    *(IPv6Network(text) for text in ("fc00::/7", "2001::/23", "2001:db8::/32", "3fff::/20")),
)
_NEVER: dict[str, tuple[Network, ...]] = {
    "this network": (IPv4Network("0.0.0.0/8"), IPv6Network("::/128")),
    "a link-local address": (IPv4Network("169.254.0.0/16"), IPv6Network("fe80::/10"), IPv6Network("fec0::/10")),
    "a multicast address": (IPv4Network("224.0.0.0/4"), IPv6Network("ff00::/8")),
    "a reserved address": (IPv4Network("240.0.0.0/4"),),
    # What stands where in it is known to the network that translates alone.
    "an address of a local translator": (IPv6Network("64:ff9b:1::/48"),),
}
_UNICAST = IPv6Network("2000::/3")
"""All of IPv6 that is given out to the public."""

_IPV4_IN_LOW_BITS = (
    IPv6Network("64:ff9b::/96"),  # NAT64
    IPv6Network("::ffff:0:0/96"),  # mapped
    IPv6Network("::ffff:0:0:0/96"),  # translated
    IPv6Network("::/96"),  # compatible
)
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)


def plain(host: str) -> str:
    """A host in the one spelling that it is judged by: no brackets, no final dot, lower case, plain characters.

    So `parse` sees through `１２７.0.0.1.` as it does through `0x7f.1`, `2130706433` and `[::ffff:127.0.0.1]`.
    """
    name = unicodedata.normalize("NFKC", host).replace("。", ".").lower()
    return name.removeprefix("[").removesuffix("]").rstrip(".")


def forbidden_name(name: str, allow_loopback: bool) -> str | None:
    """Why a name may not be called, whatever it resolves to, or None. It is `plain`."""
    if name in _METADATA_NAMES:
        return "names the metadata service of a cloud"
    if name in _LOOPBACK_NAMES or name.endswith(".localhost"):
        return None if allow_loopback else "names this machine"
    return None


def is_in(address: Address, networks: Iterable[Network]) -> bool:
    """Whether the address is in one of the networks."""
    return any(address in network for network in networks)


def judge(address: Address) -> tuple[Kind, str]:
    """What kind of address it is, and the same in words. An IPv6 address that leads to an IPv4 one is judged as that.

    The networks are those of IANA's registries of special addresses, written out: what Python knows of them depends on
    its version.
    """
    if address in _METADATA:
        return "never", "is the metadata service of a cloud"
    for words, networks in _NEVER.items():
        if is_in(address, networks):
            return "never", f"is {words}"
    if is_in(address, _LOOPBACK):
        return "loopback", "is a loopback address"
    if isinstance(address, IPv6Address):
        found = [judge(inner) for inner in embedded(address)]
        if found:
            return max(found, key=lambda one: _WORST.index(one[0]))
    if is_in(address, _PRIVATE):
        return "private", "is a private address"
    if isinstance(address, IPv6Address) and address not in _UNICAST:
        return "never", "is a reserved address"
    return "public", "is a public address"


_WORST: tuple[Kind, ...] = ("public", "private", "loopback", "never")


def embedded(address: IPv6Address) -> list[IPv4Address]:
    """The IPv4 addresses that traffic to this one may reach in the end."""
    low = int(address) & 0xFFFF_FFFF
    if is_in(address, _IPV4_IN_LOW_BITS):
        return [IPv4Address(low)]
    if address.sixtofour is not None:
        return [address.sixtofour]
    if address.teredo is not None:
        return list(address.teredo)
    if (int(address) >> 32) & 0xFFFF_FFFF in _ISATAP:
        return [IPv4Address(low)]
    return []


def parse(name: str) -> Address | None:
    """The address that a `plain` host spells; None for a name. Raises ValueError for what is neither."""
    if ":" in name:
        if "%" in name:
            raise ValueError("an address with a zone")
        return unmapped(IPv6Address(name))
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


def unmapped(address: Address) -> Address:
    """An IPv4 address for what is one in the clothes of IPv6."""
    return address if isinstance(address, IPv4Address) else address.ipv4_mapped or address


def _is_number(part: str) -> bool:
    """By the rule of browsers a host whose last part is a number must be an IPv4 address."""
    return part.isdecimal() or part.startswith("0x")


def _number(part: str) -> int:
    if not part.isascii() or not part.isalnum() or len(part) > 64:
        raise ValueError("not a number")
    if part.startswith("0x"):
        return int(part[2:] or "0", 16)
    return int(part, 8) if len(part) > 1 and part.startswith("0") else int(part)
