"""A server for tests of the command line: it gives the replies it was told to give and remembers what was asked."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, Any]
Run = Callable[..., tuple[int, str, str]]
"""A command line; gives the exit code, standard output and standard error."""

TASK = {
    "id": "t1",
    "name": "nightly",
    "schedule": {"cron": "0 2 * * *", "timezone": "Europe/Berlin"},
    "target": {"type": "noop"},
    "status": "scheduled",
    "revision": 1,
    "version": 1,
    "next_fire_at": "2030-01-31T01:00:00.000Z",
    "tags": {"team": "ops"},
}


def problem(status: int, detail: str, **more: Any) -> tuple[int, dict[str, Any]]:
    return status, {"title": "Refused", "status": status, "detail": detail, **more}


class StubServer:
    """`replies` maps `METHOD /path` (without the query) to replies given one after another, the last one for ever."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.replies: dict[str, list[Reply]] = {}
        self.requests: list[tuple[str, str, Any, dict[str, str]]] = []

    def on(self, request: str, *replies: Reply) -> None:
        self.replies[request] = list(replies)

    def bodies(self, request: str) -> list[Any]:
        return [body for method, path, body, _ in self.requests if f"{method} {path.split('?')[0]}" == request]

    def answer(self, method: str, path: str, body: Any, headers: dict[str, str]) -> Reply:
        self.requests.append((method, path, body, headers))
        replies = self.replies.get(f"{method} {path.split('?')[0]}")
        if not replies:
            return 404, {"title": "Not found", "status": 404, "detail": f"no {method} {path}"}
        return replies.pop(0) if len(replies) > 1 else replies[0]


@contextmanager
def stub_server(kind: type[StubServer] = StubServer) -> Iterator[StubServer]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, reply = stub.answer(self.command, self.path, json.loads(sent) if sent else None, dict(self.headers))
            problem = status >= 400
            stream = isinstance(reply, bytes)
            body = reply if stream else b"" if status == 204 else json.dumps(reply).encode()
            self.send_response(status)
            kind = "application/problem+json" if problem else "text/event-stream" if stream else "application/json"
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stub = kind(f"http://127.0.0.1:{http.server_address[1]}")
    serving = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    serving.start()
    try:
        yield stub
    finally:
        http.shutdown()
        http.server_close()
        serving.join()
