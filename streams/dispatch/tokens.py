"""Claim tokens: they name an attempt and cannot be guessed. Nothing about them is stored but a hash."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import NamedTuple

from taskscheduler.domain.errors import ClaimUnknown
from taskscheduler.domain.ids import digest

_MAC_BYTES = 18


class Token(NamedTuple):
    """What a token says. `nonce` is random, or follows from the claim request so that it can be given again."""

    task_id: str
    run_id: str
    number: int
    nonce: str


class Tokens:
    """Makes and reads tokens under a secret that stays with the server (HMAC-SHA256, RFC 2104)."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def make(self, token: Token) -> str:
        """The text that is given to the worker."""
        body = "\0".join((token.task_id, token.run_id, str(token.number), token.nonce)).encode()
        return _text(self._mac(body) + body)

    def read(self, text: str) -> Token:
        """What a token says. Raises ClaimUnknown when it was not made here."""
        try:
            data = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except ValueError:
            data = b""
        mac, body = data[:_MAC_BYTES], data[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(body)) or _text(data) != text:
            raise ClaimUnknown("no claim was given under this token")
        task_id, run_id, number, nonce = body.decode().split("\0")
        return Token(task_id, run_id, int(number), nonce)

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._secret, body, "sha256")[:_MAC_BYTES]


def token_hash(text: str) -> str:
    """What events hold of a token."""
    return digest("token", text)


def request_hash(worker: str, request_id: str) -> str:
    """What events hold of a claim request."""
    return digest("request", worker, request_id)


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def new_secret(randomness: bytes) -> bytes:
    """A secret from 32 bytes of randomness."""
    return hashlib.sha256(b"taskscheduler claim tokens" + randomness).digest()
