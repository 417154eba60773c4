"""What is kept of a response: the beginning of its body as text, with no secret in it, whatever a server sends."""

from __future__ import annotations

import codecs
import re
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import aiohttp

BODY_LIMIT = 16 * 1024
"""Bytes of a response that are kept."""

MASK = "********"
_SHORTEST_HIDDEN = 4
"""Nothing shorter is hidden: it is no secret, and would be found everywhere."""

_NOT_SHOWN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_NO_CHARSETS = {"idna", "punycode", "unicode_escape", "raw-unicode-escape", "undefined", "utf-7"}
"""Codecs that are slow on what was made for it, or fit for no text."""


class Captured(NamedTuple):
    """Text that can be shown; `cut` when there was more."""

    text: str
    cut: bool


async def capture(response: aiohttp.ClientResponse, hide: Sequence[str]) -> Captured:
    """The beginning of the body. Reads no more than is kept, packed or unpacked."""
    longest = max((len(secret.encode()) for secret in hide), default=0)
    data, cut = await _read(response, BODY_LIMIT + longest)
    text = hidden(_text(data, response.charset), hide)
    if cut and longest:
        # What a secret begins with may stand at the end.
        text = text[:-longest]
    return Captured(text[:BODY_LIMIT], cut or len(text) > BODY_LIMIT)


def hidden(text: str, hide: Sequence[str]) -> str:
    """The text without any of the secrets: servers repeat what they were sent."""
    for secret in sorted(hide, key=len, reverse=True):
        if len(secret) >= _SHORTEST_HIDDEN:
            text = text.replace(secret, MASK)
    return text


async def _read(response: aiohttp.ClientResponse, limit: int) -> tuple[bytes, bool]:
    coding = response.headers.get("Content-Encoding", "").strip().lower()
    unpack = zlib.decompressobj(wbits=47) if coding in ("gzip", "x-gzip", "deflate") else None
    data = bytearray()
    async for chunk in response.content.iter_chunked(BODY_LIMIT):
        try:
            # Never more than is wanted: a few bytes can be packed gigabytes.
            data += chunk if unpack is None else unpack.decompress(chunk, limit + 1 - len(data))
        except zlib.error:
            break
        if len(data) > limit:
            return bytes(data[:limit]), True
    return bytes(data), False


def _text(data: bytes, charset: str | None) -> str:
    try:
        codec = codecs.lookup(charset or "utf-8").name
        text = data.decode("utf-8" if codec in _NO_CHARSETS else codec, errors="replace")
    except (LookupError, ValueError):
        # What a server calls a charset may be unknown to Python, or no encoding of text.
        text = data.decode("utf-8", errors="replace")
    return _NOT_SHOWN.sub("\ufffd", text)
