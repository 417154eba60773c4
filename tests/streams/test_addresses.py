"""What the settings let http targets call, told by the URL alone."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from taskscheduler.api.settings import Http, Settings, SettingsError
from taskscheduler.streams.dispatch.egress import Egress

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
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
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
    "[fc00::1]",
    "[fd12::1]",
    "[::ffff:10.0.0.1]",
    "192.0.2.1",
    "198.18.0.1",
    "[2001:db8::1]",
    "[3fff::1]",
]
NEVER = [
    "169.254.169.254",
    "0xa9fea9fe",
    "[::ffff:169.254.169.254]",
    "[64:ff9b::a9fe:a9fe]",
    "[fd00:ec2::254]",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "metadata.google.internal",
    "169.254.1.1",
    "[fe80::1]",
    "[fec0::1]",
    "0.0.0.0",
    "0",
    "0.1.2.3",
    "[::]",
    "224.0.0.1",
    "[ff02::1]",
    "255.255.255.255",
    "240.0.0.1",
    "[64:ff9b:1::808:808]",
    "[5f00::1]",
    "[4000::1]",
]
NO_ADDRESS = ["1.2.3.4.5", "256.1.1.1", "1.2.3.999", "0x1ffffffff", "09.1.1.1", "[fe80::1%25eth0]", "a.1", "[:::]"]
NO_NAME = ["a..b", "a%2eb", "-a.example", "a" * 64 + ".example", "a." * 130 + "a", "exa\u00admple.com", "*.example"]
PUBLIC = [
    "example.com",
    "8.8.8.8",
    "1.2.3",
    "[2001:4860:4860::8888]",
    "[::ffff:8.8.8.8]",
    "[64:ff9b::808:808]",
    "xn--bcher-kva.example",
    "bücher.example",
    "under_score.example",
]
EVERYTHING = Http(allow_loopback=True, allow_private=True, allow=("0.0.0.0/0", "::/0"))


def wrong(host: str, reach: Http) -> str | None:
    return Egress(reach).wrong_with(f"http://{host}/")


@pytest.mark.parametrize("host", LOOPBACK)
def test_this_machine_is_forbidden_unless_loopback_is_allowed(host: str) -> None:
    assert wrong(host, Http()) is not None
    assert wrong(host, Http(allow_private=True)) is not None
    assert wrong(host, Http(allow_loopback=True)) is None


@pytest.mark.parametrize("host", PRIVATE)
def test_private_addresses_are_forbidden_unless_they_are_allowed(host: str) -> None:
    assert wrong(host, Http(allow_loopback=True)) is not None
    assert wrong(host, Http(allow_private=True)) is None


@pytest.mark.parametrize("host", [*NEVER, *NO_ADDRESS, *NO_NAME])
def test_some_are_never_allowed(host: str) -> None:
    assert wrong(host, EVERYTHING) is not None


@pytest.mark.parametrize("host", PUBLIC)
def test_names_and_public_addresses_may_be_called(host: str) -> None:
    assert wrong(host, Http()) is None


def test_an_address_that_a_name_resolved_to_is_judged_alike() -> None:
    closed, private = Egress(Http()), Egress(Http(allow_private=True))
    assert closed.wrong_with_address(ip_address("10.1.2.3")) == "is a private address"
    assert private.wrong_with_address(ip_address("10.1.2.3")) is None
    assert private.wrong_with_address(ip_address("169.254.169.254")) == "is the metadata service of a cloud"
    assert closed.wrong_with_address(ip_address("93.184.216.34")) is None


@pytest.mark.parametrize(
    ("entry", "host", "may"),
    [
        ("10.1.0.0/16", "10.1.2.3", True),
        ("10.1.0.0/16", "[::ffff:10.1.2.3]", True),
        ("10.1.0.0/16", "10.2.0.1", False),
        ("fd12::/16", "[fd12::1]", True),
        ("127.0.0.9", "127.0.0.9", True),
        ("127.0.0.9", "127.0.0.1", False),
        ("localhost", "localhost.", True),
        ("localhost", "127.0.0.1", False),
        ("Hooks.Internal.", "hooks.internal", True),
    ],
)
def test_an_entry_opens_what_it_names(entry: str, host: str, may: bool) -> None:
    assert (wrong(host, Http(allow=(entry,))) is None) == may


@pytest.mark.parametrize(
    ("allow", "host", "may"),
    [
        (("hooks.example",), "hooks.example", True),
        (("hooks.example",), "other.example", False),
        (("hooks.example",), "8.8.8.8", False),
        (("*.example",), "a.b.example", True),
        (("*.example",), "example", False),
        # A name may resolve to an address of the network: that is seen at the attempt.
        (("203.0.113.0/24",), "other.example", True),
        (("8.8.8.0/24",), "8.8.8.8", True),
        (("8.8.8.0/24",), "9.9.9.9", False),
    ],
)
def test_nothing_else_may_be_called_where_the_settings_say_so(allow: tuple[str, ...], host: str, may: bool) -> None:
    assert (wrong(host, Http(allow=allow, only_allowed=True)) is None) == may


def test_behind_a_proxy_a_name_has_to_be_among_the_names() -> None:
    reach = Http(allow=("203.0.113.0/24", "good.example"), only_allowed=True, proxy="http://127.0.0.1:3128")
    assert wrong("other.example", reach) == "names a host that may not be called: it is not among what http.allow names"
    assert wrong("good.example", reach) is None


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (
            "http://example.com:22/",
            "names port 22, and the server calls only the ports 80, 443, 1024-65535 (http.ports)",
        ),
        ("https://example.com:1023/", "names port 1023"),
        ("http://example.com:/", "is not a valid URL"),
        ("http://example.com:?a", "is not a valid URL"),
        ("http://@example.com/", "must not carry credentials"),
        ("http://u:p@example.com/", "must not carry credentials"),
        ("ftp://example.com/", "must begin with http:// or https://"),
    ],
)
def test_what_is_wrong_is_said(url: str, reason: str) -> None:
    assert (Egress(Http()).wrong_with(url) or "").startswith(reason)


def test_a_server_may_insist_on_https_and_on_a_port() -> None:
    egress = Egress(Http(schemes=("https",), ports=("443",)))
    assert egress.wrong_with("https://example.com/") is None
    assert "must begin with https://" in (egress.wrong_with("http://example.com/") or "")
    assert "names port 8443" in (egress.wrong_with("https://example.com:8443/") or "")


@pytest.mark.parametrize(
    ("reach", "setting"),
    [
        (Http(ports=("http",)), "http.ports"),
        (Http(ports=("0",)), "http.ports"),
        (Http(ports=("90-80",)), "http.ports"),
        (Http(ports=("1-70000",)), "http.ports"),
        (Http(allow=("10.1.2.3/16",)), "http.allow"),
        (Http(allow=("a b",)), "http.allow"),
        (Http(allow=("*",)), "http.allow"),
        (Http(allow=("256.0.0.1",)), "http.allow"),
        (Http(only_allowed=True), "http.allow"),
        (Http(proxy_username="me"), "http.proxy"),
    ],
)
def test_settings_that_cannot_be_used_stop_the_start(reach: Http, setting: str) -> None:
    with pytest.raises(SettingsError, match=f"^{setting}: "):
        Settings(http=reach).check()
