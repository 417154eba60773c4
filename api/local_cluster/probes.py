"""Whether a server answers, asked over its own protocol with nothing but sockets."""

from __future__ import annotations

import json
import socket
import urllib.request
from typing import Any

_SECONDS = 2.0
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def kafka(port: int) -> bool:
    """Whether a broker answers an ApiVersions request."""
    # Length, key 18, version 0, correlation id 7, client id "ts"; the reply: length, correlation id.
    return _exchange(port, b"\0\0\0\x0c\0\x12\0\0\0\0\0\x07\0\x02ts", 8)[4:8] == b"\0\0\0\x07"


def cassandra(port: int) -> bool:
    """Whether a node answers OPTIONS with SUPPORTED, in version 4 of the native protocol."""
    return _exchange(port, b"\x04\0\0\0\x05\0\0\0\0", 9)[4:5] == b"\x06"


def accepts(port: int) -> bool:
    """Whether someone listens."""
    try:
        socket.create_connection(("127.0.0.1", port), _SECONDS).close()
    except OSError:
        return False
    return True


def get_json(url: str) -> Any:
    """What a server of this machine answers to GET; None when it does not answer, or not with JSON and success."""
    try:
        with _DIRECT.open(url, timeout=_SECONDS) as reply:
            return json.load(reply)
    except (OSError, ValueError):
        return None


def answers(url: str) -> bool:
    """Whether a server of this machine answers GET with success."""
    try:
        with _DIRECT.open(url, timeout=_SECONDS):
            return True
    except OSError:
        return False


def _exchange(port: int, request: bytes, size: int) -> bytes:
    try:
        with socket.create_connection(("127.0.0.1", port), _SECONDS) as connection:
            connection.settimeout(_SECONDS)
            connection.sendall(request)
            return connection.recv(size)
    except OSError:
        return b""
