"""The W3C trace that a request belongs to, for its log lines and its decisions."""

from __future__ import annotations

import re
import secrets
from contextvars import ContextVar

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")

trace_parent: ContextVar[str | None] = ContextVar("trace_parent", default=None)
"""The traceparent of what is being served: its trace id, and a span id of ours."""


def begin_trace(header: str | None) -> str:
    """Take over the trace of a request, or begin one when its `traceparent` is missing or malformed; returns ours."""
    match = _TRACEPARENT.fullmatch(header) if header is not None and len(header) <= 128 else None
    trace_id, flags = (match[1], match[3]) if match else (secrets.token_hex(16), "00")
    ours = f"00-{trace_id}-{secrets.token_hex(8)}-{flags}"
    trace_parent.set(ours)
    return ours
