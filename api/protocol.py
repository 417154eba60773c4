"""HTTP as uvicorn speaks it, but for what it says to bytes that are no request."""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from taskscheduler.api.problems import MEDIA_TYPE, Problem
from taskscheduler.api.reply import encode

LONGEST_HEAD = 64 * 1024
"""Bytes of a request line and headers, beyond what arrives together."""


class Protocol(HttpToolsProtocol):
    """Answers what cannot be parsed with a problem document, as every other error; bounds the headers."""

    _in_head = False
    _head_size = 0

    def on_message_begin(self) -> None:
        """A request begins."""
        self._in_head = True
        self._head_size = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Its headers are read."""
        self._in_head = False
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived. The parser would collect headers without end, and ever more slowly."""
        if self._in_head:
            self._head_size += len(data)
            if self._head_size > LONGEST_HEAD:
                self._refuse(f"the headers of the request are longer than {LONGEST_HEAD // 1024} KiB")
                return
        super().data_received(data)

    def send_400_response(self, msg: str) -> None:
        """Say that it is no request, and close the connection."""
        self._refuse("the request is no valid HTTP")

    def _refuse(self, detail: str) -> None:
        body = encode(Problem("malformed", detail).document("about:blank"))
        head = f"content-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[400] + head.encode() + body)
        self.transport.close()
