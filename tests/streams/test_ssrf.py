"""Hostile URLs against listeners on this machine and a DNS server that lies: none gets a packet to where it must not.

What may be called here is 127.0.0.9 alone. Everything else on this machine listens too, and counts.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator

import aiohttp
import pytest

from taskscheduler.api.settings import Http
from taskscheduler.streams.dispatch.egress import Egress
from tests.streams.http_kit import attempt, call, caller, kind
from tests.support.dns_server import DnsResolver, DnsServer, dns_server

ALLOWED = "127.0.0.9"
DUAL = socket.has_dualstack_ipv6()
REACH = Http(allow=(ALLOWED,))

LITERALS = [
    # this machine, spelled in many ways
    "http://127.0.0.1:{port}/",
    "http://127.0.0.2:{port}/",
    "http://127.1:{port}/",
    "http://127.0.1:{port}/",
    "http://2130706433:{port}/",
    "http://2130706434:{port}/",
    "http://0x7f000001:{port}/",
    "http://0X7F000001:{port}/",
    "http://0x7f.0x0.0x0.0x1:{port}/",
    "http://0x7f.1:{port}/",
    "http://0177.0.0.1:{port}/",
    "http://017700000001:{port}/",
    "http://0177.0x0.0.1:{port}/",
    "http://00000000177.0.0.1:{port}/",
    "http://127.0.0.1.:{port}/",
    "http://127.0.0.1..:{port}/",
    "http://127.255.255.254:{port}/",
    "http://0:{port}/",
    "http://0.0.0.0:{port}/",
    "http://0x0:{port}/",
    "http://0.0.0.1:{port}/",
    "http://１２７.0.0.1:{port}/",
    "http://127。0。0。1:{port}/",
    "http://127．0．0．1:{port}/",
    "http://①②⑦.⓪.⓪.①:{port}/",
    "http://localhost:{port}/",
    "http://LOCALHOST:{port}/",
    "http://localhost.:{port}/",
    "http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ:{port}/",
    "http://a.localhost:{port}/",
    "http://localhost.localdomain:{port}/",
    "http://ip6-localhost:{port}/",
    # the same in IPv6
    "http://[::1]:{port}/",
    "http://[0:0:0:0:0:0:0:1]:{port}/",
    "http://[0000:0000:0000:0000:0000:0000:0000:0001]:{port}/",
    "http://[::]:{port}/",
    "http://[::127.0.0.1]:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "http://[::ffff:7f00:1]:{port}/",
    "http://[::FFFF:127.0.0.2]:{port}/",
    "http://[0:0:0:0:0:ffff:127.0.0.1]:{port}/",
    "http://[::ffff:0:127.0.0.1]:{port}/",
    "http://[::1%25lo]:{port}/",
    "http://[::1%lo]:{port}/",
    "http://[fe80::1%25lo]:{port}/",
    "http://[64:ff9b::7f00:1]:{port}/",
    "http://[64:ff9b:1::7f00:1]:{port}/",
    "http://[2002:7f00:1::]:{port}/",
    "http://[2001:0:7f00:1::]:{port}/",
    "http://[2001:0:808:808:0:0:80ff:fffe]:{port}/",
    "http://[2606:4700::5efe:7f00:1]:{port}/",
    # readers of URLs that do not agree
    "http://127.0.0.9@127.0.0.1:{port}/",
    "http://127.0.0.9:80@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}@127.0.0.2:{port}/",
    "http://@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}#@127.0.0.9/",
    "http://127.0.0.1:{port}?@127.0.0.9/",
    "http://127.0.0.9＠127.0.0.1:{port}/",
    "http://127.0.0.1:{port}／@127.0.0.9/",
    "http://127.0.0.1：{port}/",
    "http://127.0.0.1:{port}\\@127.0.0.9/",
    "http://127.0.0.9\\@127.0.0.1:{port}/",
    "http://127.0.0.9%40127.0.0.1:{port}/",
    "http://127.0.0.1%2f@127.0.0.2:{port}/",
    "http://%31%32%37.0.0.1:{port}/",
    "http://127.0.0.1%00.example.org:{port}/",
    "http://127.0.0.1%0d%0a:{port}/",
    "http://127.0.0.1\t:{port}/",
    "http://127.0.0.1:{port}:80/",
    "http://127.0.0.1 :{port}/",
    "http:///127.0.0.1:{port}/",
    "http:127.0.0.1:{port}/",
    "//127.0.0.1:{port}/",
    "127.0.0.1:{port}/",
    "http://[::1]x:{port}/",
    "http://[127.0.0.1]:{port}/",
    "http://1.1.1.1 &@127.0.0.1:{port}# @127.0.0.2:{port}/",
    # other schemes
    "ftp://127.0.0.9:{port}/",
    "file:///etc/passwd",
    "gopher://127.0.0.9:{port}/_x",
    "dict://127.0.0.9:{port}/x",
    "ws://127.0.0.9:{port}/",
    "unix:///run/docker.sock",
    "jar:http://127.0.0.9:{port}/!/",
    # ports where no web server is
    "http://127.0.0.9:22/",
    "http://127.0.0.9:25/",
    "http://127.0.0.9:0/",
    "http://127.0.0.9:65536/",
    # what clouds tell of a machine
    "http://169.254.169.254/latest/meta-data/",
    "http://0xa9fea9fe/",
    "http://2852039166/",
    "http://[::ffff:169.254.169.254]/",
    "http://[fd00:ec2::254]/",
    "http://169.254.170.2/v2/credentials",
    "http://100.100.100.200/",
    "http://168.63.129.16/",
    "http://metadata.google.internal/",
    "http://metadata.google.internal./",
    "http://METADATA/",
    # other networks
    "http://10.0.0.1:{port}/",
    "http://172.16.0.1:{port}/",
    "http://192.168.1.1:{port}/",
    "http://100.64.0.1:{port}/",
    "http://198.18.0.1:{port}/",
    "http://224.0.0.1:{port}/",
    "http://255.255.255.255:{port}/",
    "http://[fc00::1]:{port}/",
    "http://[fec0::1]:{port}/",
    "http://[ff02::1]:{port}/",
    "http://[::ffff:10.0.0.1]:{port}/",
    "http://1.2.3.4.5:{port}/",
    "http://256.256.256.256:{port}/",
]

NAMES: dict[str, list[list[str] | None]] = {
    "one.example": [["127.0.0.1"]],
    "other.example": [["127.0.0.2"]],
    "six.example": [["::1"]],
    "mapped.example": [["::ffff:127.0.0.1"]],
    "nat64.example": [["64:ff9b::7f00:1"]],
    "both.example": [[ALLOWED, "127.0.0.1"]],
    "both-six.example": [[ALLOWED, "::1"]],
    "late.example": [["127.0.0.1", ALLOWED]],
    "zero.example": [["0.0.0.0"]],
    "metadata.example": [["169.254.169.254"]],
    "private.example": [["10.0.0.1"]],
    "link.example": [["fe80::1"]],
    "xn--bcher-kva.example": [["127.0.0.1"]],
    "gone.example": [None],
    "empty.example": [[]],
    "127.0.0.1.nip.example": [["127.0.0.1"]],
    "under_score.example": [["127.0.0.1"]],
}


class Listener:
    """Counts the connections to this machine by the address that was connected to."""

    def __init__(self) -> None:
        self.connections: Counter[str] = Counter()
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections[writer.get_extra_info("sockname")[0].removeprefix("::ffff:")] += 1
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    @property
    def forbidden(self) -> dict[str, int]:
        return {address: count for address, count in self.connections.items() if address != ALLOWED}


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    made = Listener()
    everywhere = (
        socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        if DUAL
        else socket.create_server(("0.0.0.0", 0))
    )
    server = await asyncio.start_server(made.serve, sock=everywhere)
    made.port = everywhere.getsockname()[1]
    yield made
    server.close()
    await server.wait_closed()


@pytest.fixture
async def names() -> AsyncIterator[DnsServer]:
    async with dns_server() as made:
        made.answers.update(NAMES)
        yield made


def test_there_are_enough_of_them() -> None:
    assert len(LITERALS) + len(NAMES) > 120
    assert len({*LITERALS}) == len(LITERALS)


@pytest.mark.parametrize("url", LITERALS)
def test_a_task_that_names_it_is_refused(url: str) -> None:
    assert Egress(REACH).wrong_with(url.format(port=8080)) is not None


async def test_an_attempt_that_names_it_sends_nothing(listener: Listener, names: DnsServer) -> None:
    """As a task that was made under other settings would."""
    async with caller(reach=REACH, resolver=DnsResolver(names)) as made:
        for url in LITERALS:
            outcome = await made.call(attempt(url.format(port=listener.port)))
            assert kind(outcome) == "forbidden_address", (url, outcome)
        assert listener.connections == {}
        assert names.asked == []


async def test_a_name_for_it_sends_nothing(listener: Listener, names: DnsServer) -> None:
    async with caller(reach=REACH, resolver=DnsResolver(names)) as made:
        for name, answers in NAMES.items():
            url = f"http://{name.replace('xn--bcher-kva', 'bücher')}:{listener.port}/"
            assert Egress(REACH).wrong_with(url) is None
            outcome = await made.call(attempt(url))
            expected = "forbidden_address" if answers[0] else "unresolved"
            assert kind(outcome) == expected, (name, outcome)
    assert listener.connections == {}
    assert len(names.asked) == len(NAMES)


async def test_what_is_allowed_is_called(listener: Listener, names: DnsServer) -> None:
    """And by what was resolved, without asking again, with the name in the request."""
    names.answers["good.example"] = [[ALLOWED]]
    async with caller(reach=REACH, resolver=DnsResolver(names)) as made:
        for host in (ALLOWED, "good.example", "GOOD.example.", "2130706441", "[::ffff:127.0.0.9]"):
            outcome = await made.call(attempt(f"http://{host}:{listener.port}/"))
            assert outcome.error is None, (host, outcome)
    assert listener.connections == {ALLOWED: 5}
    assert names.asked == ["good.example", "good.example"]


@pytest.mark.parametrize(
    "answers",
    [
        [[ALLOWED], ["127.0.0.1"]],
        [[ALLOWED], [ALLOWED, "127.0.0.1"]],
        [[ALLOWED], ["::1"]],
        [[ALLOWED], ["169.254.169.254"]],
    ],
)
async def test_a_name_that_changes_between_two_attempts(
    listener: Listener, names: DnsServer, answers: list[list[str] | None]
) -> None:
    """Each attempt asks and judges again, whatever the time for which the answer may be kept."""
    names.answers["changing.example"] = answers
    async with caller(reach=REACH, resolver=DnsResolver(names)) as made:
        url = f"http://changing.example:{listener.port}/"
        assert (await made.call(attempt(url))).error is None
        for _ in range(3):
            assert kind(await made.call(attempt(url))) == "forbidden_address"
    assert listener.connections == {ALLOWED: 1}
    assert names.asked == ["changing.example"] * 4


async def test_a_name_that_changes_between_check_and_connection(listener: Listener, names: DnsServer) -> None:
    """One look-up for each attempt: there is no second one that could say something else."""
    names.answers["rebinding.example"] = [[ALLOWED], ["127.0.0.1"], [ALLOWED], ["127.0.0.1"]]
    outcomes = []
    async with caller(reach=REACH, resolver=DnsResolver(names)) as made:
        for _ in range(4):
            outcome = await made.call(attempt(f"http://rebinding.example:{listener.port}/"))
            outcomes.append(outcome.error.type if outcome.error else None)
    assert outcomes == [None, "forbidden_address", None, "forbidden_address"]
    assert listener.connections == {ALLOWED: 2}


async def test_many_attempts_at_once_on_a_name_that_changes(listener: Listener, names: DnsServer) -> None:
    names.answers["flapping.example"] = [[ALLOWED], ["127.0.0.1"]] * 50
    async with caller(reach=REACH, resolver=DnsResolver(names), at_once=4) as made:
        url = f"http://flapping.example:{listener.port}/"
        outcomes = await asyncio.gather(*[made.call(attempt(url)) for _ in range(50)])
    assert {outcome.error.type if outcome.error else None for outcome in outcomes} <= {None, "forbidden_address"}
    assert listener.forbidden == {}


async def test_an_entry_by_name_opens_that_name_alone(listener: Listener, names: DnsServer) -> None:
    """It never opens what clouds tell, and the connection is pinned as any other."""
    names.answers["hooks.internal"] = [["127.0.0.1"], ["169.254.169.254"], ["127.0.0.2"]]
    names.answers["a.svc.internal"] = [["127.0.0.3"]]
    names.answers["internal"] = names.answers["evil-hooks.internal"] = [["127.0.0.4"]]
    reach = Http(allow=("hooks.internal", "*.svc.internal"))
    async with caller(reach=reach, resolver=DnsResolver(names)) as made:
        found = []
        for host in ("hooks.internal", "hooks.internal", "hooks.internal", "a.svc.internal"):
            outcome = await made.call(attempt(f"http://{host}:{listener.port}/"))
            found.append(outcome.error.type if outcome.error else None)
        assert found == [None, "forbidden_address", None, None]
        for host in ("internal", "evil-hooks.internal", "127.0.0.1"):
            assert kind(await made.call(attempt(f"http://{host}:{listener.port}/"))) == "forbidden_address"
    assert listener.connections == {"127.0.0.1": 1, "127.0.0.2": 1, "127.0.0.3": 1}


async def test_redirects_lead_nowhere(listener: Listener, names: DnsServer) -> None:
    async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        to = f"http://127.0.0.1:{listener.port}/"
        head = f"HTTP/1.1 307 Temporary Redirect\r\nLocation: {to}\r\nRefresh: 0; url={to}\r\nContent-Length: 0\r\n\r\n"
        writer.write(head.encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(redirect, ALLOWED, 0)
    port = server.sockets[0].getsockname()[1]
    async with caller(reach=REACH, resolver=DnsResolver(names)) as made:
        assert kind(await made.call(attempt(f"http://{ALLOWED}:{port}/"))) == "http_307"
    server.close()
    await server.wait_closed()
    assert listener.connections == {}


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "ALL_PROXY", "https_proxy"])
async def test_proxies_from_the_environment_are_not_used(
    listener: Listener, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, f"http://127.0.0.1:{listener.port}")
    assert (await call(f"http://{ALLOWED}:{listener.port}/", settings={"reach": REACH})).error is None
    assert listener.connections == {ALLOWED: 1}


async def test_the_suite_has_teeth(listener: Listener, names: DnsServer) -> None:
    """A client without the defence reaches what must not be reached, by literals and by names."""
    reached = 0
    resolver = aiohttp.ThreadedResolver()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=resolver)) as naive:
        for url in LITERALS:
            if "{port}" not in url or "127" not in url:
                continue
            before = sum(listener.forbidden.values())
            try:
                async with naive.get(
                    url.format(port=listener.port), timeout=aiohttp.ClientTimeout(total=0.3)
                ) as response:
                    await response.read()
            except (aiohttp.ClientError, OSError, ValueError, TimeoutError):
                pass
            reached += sum(listener.forbidden.values()) > before
    assert reached >= 15
    # With all addresses allowed the same caller goes where the names lead.
    async with caller(reach=Http(allow=("127.0.0.0/8", "::1/128")), resolver=DnsResolver(names)) as made:
        for name in ("one.example", "other.example", "mapped.example", *(("six.example",) if DUAL else ())):
            assert (await made.call(attempt(f"http://{name}:{listener.port}/"))).error is None
