from ipaddress import ip_address

import pytest

from taskscheduler.streams.dispatch.addresses import forbidden_address, forbidden_literal

LOOPBACK = [
    "127.0.0.1",
    "127.1",
    "127.255.255.254",
    "0x7f.1",
    "2130706433",
    "0177.0.0.1",
    "017700000001",
    "0x7f000001",
    "127.0.0.1.",
    "[::1]",
    "::1",
    "::ffff:127.0.0.1",
    "[::ffff:7f00:1]",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "localhost",
    "LOCALHOST.",
    "a.localhost",
    "localhost.localdomain",
    "ip6-localhost",
    "１２７.0.0.1",
    "127。0。0。1",
]
PRIVATE = [
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "0xc0a80101",
    "100.64.0.1",
    "fc00::1",
    "fd12::1",
    "::ffff:10.0.0.1",
    "192.0.2.1",
]
NEVER = [
    "169.254.169.254",
    "0xa9fea9fe",
    "::ffff:169.254.169.254",
    "fd00:ec2::254",
    "100.100.100.200",
    "metadata.google.internal",
    "169.254.1.1",
    "fe80::1",
    "0.0.0.0",
    "0",
    "::",
    "224.0.0.1",
    "ff02::1",
    "255.255.255.255",
    "240.0.0.1",
]
NO_ADDRESS = ["1.2.3.4.5", "256.1.1.1", "1.2.3.999", "0x1ffffffff", "09.1.1.1", "fe80::1%eth0", "a.1", ":::"]
PUBLIC = [
    "example.com",
    "8.8.8.8",
    "1.2.3",
    "2001:4860:4860::8888",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
    "xn--bcher-kva.example",
]


@pytest.mark.parametrize("host", LOOPBACK)
def test_this_machine_is_forbidden_unless_loopback_is_allowed(host: str) -> None:
    assert forbidden_literal(host, False) is not None
    assert forbidden_literal(host, False, True) is not None
    assert forbidden_literal(host, True) is None


@pytest.mark.parametrize("host", PRIVATE)
def test_private_addresses_are_forbidden_unless_they_are_allowed(host: str) -> None:
    assert forbidden_literal(host, True) is not None
    assert forbidden_literal(host, False, True) is None


@pytest.mark.parametrize("host", [*NEVER, *NO_ADDRESS])
def test_some_are_never_allowed(host: str) -> None:
    assert forbidden_literal(host, True, True) is not None


@pytest.mark.parametrize("host", PUBLIC)
def test_names_and_public_addresses_may_be_called(host: str) -> None:
    assert forbidden_literal(host, False) is None


def test_an_address_that_a_name_resolved_to_is_judged_alike() -> None:
    assert forbidden_address(ip_address("10.1.2.3"), True) == "is a private address"
    assert forbidden_address(ip_address("10.1.2.3"), False, True) is None
    assert forbidden_address(ip_address("169.254.169.254"), True, True) is not None
    assert forbidden_address(ip_address("93.184.216.34"), False) is None
