"""The server's log: one line per event on standard error, as JSON or for people, with the trace of its request."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, TextIO

import msgspec
import structlog

from taskscheduler.api.settings import LogFormat, LogLevel
from taskscheduler.api.tracing import trace_parent

_SECRET = re.compile(r"(?i)(authorization|cookie|passw|secret|token|api[-_]?key|idempotency)")
_MASK = "********"
_CREDENTIALS = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^\s/@]+@")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_NOISY = ("asyncio", "uvicorn")

Event = MutableMapping[str, Any]


def configure(format: LogFormat = "auto", level: LogLevel = "info", stream: TextIO | None = None) -> None:
    """Send structlog's and the standard library's messages to `stream` (standard error) from now on."""
    out = sys.stderr if stream is None else stream
    pretty = format == "pretty" or (format == "auto" and out.isatty())
    plain = structlog.dev.plain_traceback  # anything richer would be rendered after secrets are masked
    console = structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=plain)
    render: Any = console if pretty else _render_json
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        _add_trace,
    ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            _mask,
            _escape,
            render,
        ],
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in _NOISY:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _add_trace(logger: Any, method: str, event: Event) -> Event:
    parent = trace_parent.get()
    if parent is not None:
        event["trace_id"], event["span_id"] = parent.split("-")[1:3]
    return event


def _mask(logger: Any, method: str, event: Event) -> Event:
    for key, value in event.items():
        event[key] = _MASK if _SECRET.search(key) and value is not None else _masked(value)
    return event


def _masked(value: Any) -> Any:
    if isinstance(value, str):
        return _CREDENTIALS.sub(rf"\1{_MASK}@", value)
    if isinstance(value, Mapping):
        return {key: _MASK if _SECRET.search(str(key)) else _masked(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(one) for one in value]
    return value


def _escape(logger: Any, method: str, event: Event) -> Event:
    return {key: _escaped(value, _KEEPS_LINES.get(key, _CONTROL)) for key, value in event.items()}


_KEEPS_LINES = {"exception": re.compile(_CONTROL.pattern.replace(r"\x00-\x1f", r"\x00-\x09\x0b-\x1f"))}
"""A traceback may keep its line ends; JSON escapes them."""


def _escaped(value: Any, control: re.Pattern[str]) -> Any:
    if isinstance(value, str):
        return control.sub(_code, value)
    if isinstance(value, Mapping):
        return {_escaped(str(key), control): _escaped(one, control) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_escaped(one, control) for one in value]
    return value


def _code(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


_encode: Callable[[Any], bytes] = msgspec.json.Encoder(enc_hook=repr).encode


def _render_json(logger: Any, method: str, event: Event) -> str:
    first = {"time": event.pop("time"), "level": event.pop("level"), "event": str(event.pop("event"))}
    return _encode({**first, **event}).decode()
