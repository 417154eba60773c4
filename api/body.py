"""Reading a request body: its size, its type, its JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
from litestar import Request

from taskscheduler.api.problems import FieldError, Problem, invalid

LIMIT = 1024 * 1024
BATCH_LIMIT = 16 * LIMIT
DEEPEST = 64
"""Levels of nesting in opaque JSON such as a payload."""

_MOST_DIGITS = 4_300
"""Python's own limit for reading an integer."""

_JSON_TYPES = (b"application/json",)
PATCH_TYPES = (b"application/json", b"application/merge-patch+json")

_decode = msgspec.json.Decoder().decode


async def read_object(
    request: Request[Any, Any, Any], *, limit: int = LIMIT, types: tuple[bytes, ...] = _JSON_TYPES
) -> tuple[dict[str, Any], bool]:
    """The JSON object in the body (an empty body counts as `{}`), and whether it may be nested deeply.

    Raises Problem: 400, 413, 415 or 422.
    """
    data = await _read(request, limit)
    if not data:
        return {}, False
    for name, value in request.scope["headers"]:
        if name == b"content-encoding" and value.strip().lower() != b"identity":
            raise Problem("not-json", "send the body uncompressed")
    media_type = request.headers.get("content-type", "").encode("latin-1").split(b";")[0].strip().lower()
    if media_type not in types:
        raise Problem("not-json", f"send the body with Content-Type: {types[0].decode()}")
    value = decode(data)
    if not isinstance(value, dict):
        raise invalid([FieldError("", "must be a JSON object")])
    # The number of brackets bounds the depth, and few bodies have that many.
    return value, data.count(b"{") + data.count(b"[") > DEEPEST


async def _read(request: Request[Any, Any, Any], limit: int) -> bytes:
    announced = request.headers.get("content-length")
    if announced is not None and announced.isdecimal() and int(announced[:20]) > limit:
        raise _too_large(limit)
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await request.receive()
        if message["type"] != "http.request":
            raise Problem("malformed", "the request ended before its body did")
        if chunk := message.get("body", b""):
            size += len(chunk)
            if size > limit:
                raise _too_large(limit)
            chunks.append(chunk)
        if not message.get("more_body", False):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_large(limit: int) -> Problem:
    return Problem("too-large", f"the body is larger than {limit // LIMIT} MiB")


def decode(data: bytes) -> Any:
    """The JSON value. Raises Problem: 400 when it is malformed or nested beyond all use, 422 for a number too large."""
    try:
        return _decode(data)
    except msgspec.ValidationError:
        raise invalid(_overflows(data)) from None
    except UnicodeDecodeError:
        raise Problem("malformed", "the body is not UTF-8") from None
    except msgspec.DecodeError as error:
        raise Problem("malformed", f"the body is not JSON: {str(error).removeprefix('JSON is malformed: ')}") from None
    except RecursionError:
        raise Problem("malformed", f"the body is nested too deeply; at most {DEEPEST} levels are taken") from None


class _Overflow:
    pass


def _overflows(data: bytes) -> list[FieldError]:
    """Where the numbers are that do not fit: only looked for when there is one."""

    def check_int(text: str) -> object:
        return 0 if len(text) <= _MOST_DIGITS else _Overflow()

    def check_float(text: str) -> object:
        return 0 if abs(float(text)) != float("inf") else _Overflow()

    try:
        value = json.loads(data, parse_int=check_int, parse_float=check_float)
        found = [pointer for pointer, part in _parts(value) if isinstance(part, _Overflow)]
    except (ValueError, RecursionError):
        found = []
    return [FieldError(pointer, "is a number out of range") for pointer in found or [""]]


def _parts(root: Any) -> Iterator[tuple[str, Any]]:
    """Every value inside, with its pointer; not recursive, for it may be nested deeply."""
    waiting: list[tuple[str, Any]] = [("", root)]
    while waiting:
        pointer, value = waiting.pop()
        yield pointer, value
        if isinstance(value, dict):
            waiting += [(join(pointer, key), part) for key, part in value.items()]
        elif isinstance(value, list):
            waiting += [(f"{pointer}/{index}", part) for index, part in enumerate(value)]


def join(pointer: str, key: str) -> str:
    """The pointer to a member. A name of any length is cut: it only has to be recognised."""
    return f"{pointer}/{key[:100].replace('~', '~0').replace('/', '~1')}"


def is_deeper(value: Any, levels: int) -> bool:
    """Whether objects and arrays in it are nested over so many levels; not recursive."""
    layer = [value]
    for _ in range(levels):
        layer = [
            part
            for outer in layer
            if isinstance(outer, dict | list)
            for part in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not layer:
            return False
    return any(isinstance(part, dict | list) for part in layer)
