"""What an http target's secrets make of a request: headers, a TLS context, and what must not be shown afterwards."""

from __future__ import annotations

import base64
import ssl
from pathlib import Path
from typing import NamedTuple

from taskscheduler.domain.definition import HttpTarget, HttpTls
from taskscheduler.streams.dispatch.secrets import Secrets, SecretUnusable
from taskscheduler.streams.dispatch.webhooks import keys_of

CONTEXTS = 256
"""TLS contexts kept, so that connections can be used again."""


class Credentials(NamedTuple):
    """`hide` are the values that went into it."""

    headers: dict[str, str]
    keys: list[bytes]
    tls: ssl.SSLContext | None
    hide: list[str]


class Contexts:
    """TLS contexts by the files that they are made from; a file that changed makes a new one."""

    def __init__(self) -> None:
        self._made: dict[tuple[tuple[Path, int, int] | None, ...], ssl.SSLContext] = {}

    def context(self, tls: HttpTls, secrets: Secrets, host: str) -> ssl.SSLContext:
        """It always checks the server's certificate against its name. Raises SecretUnusable."""
        names = (tls.cert, tls.key, tls.ca)
        cert, key, ca = (None if name is None else secrets.file(name, host) for name in names)
        state = tuple(None if path is None else _state(path) for path in (cert, key, ca))
        known = self._made.pop(state, None)
        made = known or _context(tls, cert, key, ca)
        self._made[state] = made
        if len(self._made) > CONTEXTS:
            del self._made[next(iter(self._made))]
        return made


def credentials(target: HttpTarget, secrets: Secrets, contexts: Contexts, host: str) -> Credentials:
    """Look up what the target names, to be sent to `host`. Raises SecretUnusable."""
    headers: dict[str, str] = {}
    hide: list[str] = []
    for header, name in target.secret_headers.items():
        headers[header] = secrets.line(name, host)
        hide.append(headers[header])
    if target.auth is not None and target.auth.bearer is not None:
        token = secrets.line(target.auth.bearer, host)
        headers["Authorization"] = f"Bearer {token}"
        hide.append(token)
    elif target.auth is not None and target.auth.password is not None:
        password = secrets.text(target.auth.password, host)
        headers["Authorization"] = basic_auth(target.auth.user or "", password)
        hide += [headers["Authorization"].removeprefix("Basic "), password]
    keys: list[bytes] = []
    if target.sign is not None:
        try:
            keys = keys_of(secrets.text(target.sign, host))
        except ValueError as error:
            raise SecretUnusable(f"the secret {target.sign!r} {error}") from None
    tls = None if target.tls is None else contexts.context(target.tls, secrets, host)
    return Credentials(headers, keys, tls, hide)


def basic_auth(user: str, password: str) -> str:
    """The value of an `Authorization` header (RFC 7617, UTF-8)."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _state(path: Path) -> tuple[Path, int, int]:
    found = path.stat()
    return path, found.st_mtime_ns, found.st_size


def _context(tls: HttpTls, cert: Path | None, key: Path | None, ca: Path | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError):
        raise SecretUnusable(f"the secret {tls.ca!r} must hold certificates to trust, as PEM") from None
    if cert is not None:
        try:
            # A password instead of none: OpenSSL would ask for one on the terminal.
            context.load_cert_chain(cert, key, "")
        except (OSError, ssl.SSLError):
            names = repr(tls.cert) if tls.key is None else f"{tls.cert!r} and {tls.key!r}"
            raise SecretUnusable(f"{names} must hold a certificate and its key without a password, as PEM") from None
    return context
