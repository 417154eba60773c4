"""HTTP as uvicorn speaks it, but for what it says to bytes that are no request."""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from taskscheduler.api.problems import MEDIA_TYPE, Problem
from taskscheduler.api.reply import encode


class Protocol(HttpToolsProtocol):
    """Answers what cannot be parsed with a problem document, as every other error."""

    def send_400_response(self, msg: str) -> None:
        """Say that it is no request, and close the connection."""
        body = encode(Problem("malformed", "the request is no valid HTTP").document("about:blank"))
        head = f"content-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[400] + head.encode() + body)
        self.transport.close()
