"""A DNS server for tests: answers over UDP as it is told, one answer after another, and tells what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

LONG = 3_600
"""Seconds for which the answers may be kept by who trusts them: nobody here may."""


class DnsServer(asyncio.DatagramProtocol):
    """`answers` maps names to what is answered first, second and so on; the last is repeated. None fails."""

    def __init__(self) -> None:
        self.answers: dict[str, list[list[str] | None]] = {}
        self.asked: list[str] = []
        self.port = 0
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        response = dns.message.make_response(query)
        response.flags |= dns.flags.AA
        name = question.name.to_text(omit_final_dot=True).lower()
        queue = self.answers.get(name, [[]])
        if question.rdtype == dns.rdatatype.A:
            self.asked.append(name)
        found = queue[min(max(1, self.asked.count(name)), len(queue)) - 1]
        if found is None:
            response.set_rcode(dns.rcode.SERVFAIL)
        elif name not in self.answers:
            response.set_rcode(dns.rcode.NXDOMAIN)
        else:
            wanted = [one for one in found if (":" in one) == (question.rdtype == dns.rdatatype.AAAA)]
            if wanted:
                kind = dns.rdatatype.to_text(question.rdtype)
                response.answer.append(dns.rrset.from_text(question.name, LONG, "IN", kind, *wanted))
        self._transport.sendto(response.to_wire(), addr)


class DnsResolver:
    """Asks such a server for addresses of IPv4, then of IPv6, as a system would that is set up with it."""

    def __init__(self, server: DnsServer) -> None:
        self._dns = dns.asyncresolver.Resolver(configure=False)
        self._dns.nameservers = ["127.0.0.1"]
        self._dns.port = server.port
        self._dns.lifetime = 5.0

    async def addresses(self, host: str, port: int) -> list[str]:
        found: list[str] = []
        for kind in ("A", "AAAA"):
            try:
                answer = await self._dns.resolve(host, kind, raise_on_no_answer=False, search=False)
            except dns.exception.DNSException as error:
                raise OSError(str(error)) from None
            found += [record.address for record in answer.rrset or ()]
        return found

    def close(self) -> None:
        pass


@asynccontextmanager
async def dns_server() -> AsyncIterator[DnsServer]:
    made = DnsServer()
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: made, ("127.0.0.1", 0))
    made.port = transport.get_extra_info("sockname")[1]
    try:
        yield made
    finally:
        transport.close()
